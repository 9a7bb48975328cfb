//! Where a secret's text says that its database is, changed in place: every other key, and all the white space, stays as
//! it is byte for byte. Pure. No error holds any of the text.

use std::ops::Range;

use serde_json::Value;
use vecferry_core::pg::{Dsn, Login};

/// The application's own defaults, for what a secret does not say.
const PORT: u16 = 5432;
const DATABASE: &str = "postgres";

/// What a secret is to say.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: String,
    /// Left as it is when `None`, and when it has no password.
    pub(super) login: Option<Login>,
}

impl Place {
    /// The cluster at this address, with its login.
    pub(super) fn of(dsn: &Dsn) -> Place {
        Place {
            host: dsn.host.clone(),
            port: dsn.port,
            database: dsn.database.clone(),
            login: Some(dsn.login()).filter(|login| login.password.is_some()),
        }
    }

    /// The identifier of the Aurora cluster whose writer this is, where its name tells: `NAME.cluster-….rds.amazonaws.com`
    /// (<https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Endpoints.Cluster.html>).
    fn cluster(&self) -> Option<&str> {
        let (name, rest) = self.host.split_once('.')?;
        let (kind, domain) = rest.split_once('.')?;
        let writer = kind.starts_with("cluster-")
            && !kind.starts_with("cluster-ro-")
            && !kind.starts_with("cluster-custom-");
        (writer && domain.contains("rds.amazonaws.com")).then_some(name)
    }
}

/// Whether only this machine could reach the host.
pub(super) fn is_here(host: &str) -> bool {
    let address: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost" || host.starts_with('/') || address.is_some_and(|one| one.is_loopback())
}

/// A secret's text, and where its members are.
pub(super) struct Text<'a> {
    text: &'a str,
    members: Vec<(String, Range<usize>)>,
    /// Where the object ends: the place of its brace.
    end: usize,
}

impl<'a> Text<'a> {
    /// Finds the members of the object.
    pub(super) fn read(text: &'a str) -> Result<Text<'a>, &'static str> {
        // What follows may then rely on its form.
        let value: Value = serde_json::from_str(text).map_err(|_| "it is not JSON")?;
        let Value::Object(_) = value else { return Err("it is not a JSON object") };
        scan(text).ok_or("it is not a JSON object")
    }

    /// What a key says.
    pub(super) fn get(&self, key: &str) -> Option<Value> {
        let (_, range) = self.members.iter().find(|(name, _)| name == key)?;
        serde_json::from_str(&self.text[range.clone()]).ok()
    }

    /// The text that says that the database is there.
    pub(super) fn pointing_to(&self, place: &Place) -> Result<String, &'static str> {
        let mut keys: Vec<&str> = self.members.iter().map(|(name, _)| name.as_str()).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("it names a key twice");
        }
        let mut edits = Vec::new();
        if self.get("host").is_none() {
            return Err("it names no host, so that no application learns of one by it");
        }
        self.set("host", Value::from(place.host.as_str()), &mut edits);
        self.set_port(place.port, &mut edits);
        match self.get("dbname") {
            None | Some(Value::Null) if place.database == DATABASE => {}
            _ => self.set("dbname", Value::from(place.database.as_str()), &mut edits),
        }
        if let Some(Login { user, password: Some(password) }) = &place.login {
            self.set("username", Value::from(user.as_str()), &mut edits);
            self.set("password", Value::from(password.as_str()), &mut edits);
        }
        // Who has it wants the cluster's; who has it not does not ask.
        if let (Some(_), Some(name)) = (self.get("dbClusterIdentifier"), place.cluster()) {
            self.set("dbClusterIdentifier", Value::from(name), &mut edits);
        }
        Ok(apply(self.text, edits))
    }

    /// RDS writes a number, people write texts: what is there keeps its kind.
    fn set_port(&self, port: u16, edits: &mut Vec<(Range<usize>, String)>) {
        match self.get("port") {
            None | Some(Value::Null) if port == PORT => {}
            Some(Value::String(text)) if text.trim() == port.to_string() => {}
            Some(Value::String(_)) => self.set("port", Value::from(port.to_string()), edits),
            _ => self.set("port", Value::from(port), edits),
        }
    }

    /// Replaces a value that is another one, and adds one that is not there.
    fn set(&self, key: &str, value: Value, edits: &mut Vec<(Range<usize>, String)>) {
        let found = self.members.iter().find(|(name, _)| name == key);
        match found {
            Some(_) if self.get(key) == Some(value.clone()) => {}
            Some((_, range)) => edits.push((range.clone(), value.to_string())),
            None => {
                let comma = if self.members.is_empty() { "" } else { "," };
                edits.push((self.end..self.end, format!("{comma}{}:{value}", Value::from(key))));
            }
        }
    }
}

fn apply(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    // From the back, so that what is before keeps its place; the sort is stable, and what is added goes in backwards.
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut edited = text.to_owned();
    for (range, value) in edits {
        edited.replace_range(range, &value);
    }
    edited
}

/// The members of an object that is known to be sound JSON.
fn scan(text: &str) -> Option<Text<'_>> {
    let bytes = text.as_bytes();
    let mut at = blank(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    at = blank(bytes, at + 1);
    let mut members = Vec::new();
    while *bytes.get(at)? != b'}' {
        let key = at..string_end(bytes, at)?;
        let name = serde_json::from_str(&text[key.clone()]).ok()?;
        let begin = blank(bytes, blank(bytes, key.end) + 1);
        let end = value_end(bytes, begin)?;
        members.push((name, begin..end));
        at = blank(bytes, end);
        if bytes.get(at) == Some(&b',') {
            at = blank(bytes, at + 1);
        }
    }
    let end = members.last().map_or(at, |(_, range)| range.end);
    Some(Text { text, members, end })
}

fn blank(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Where the string that begins here has ended.
fn string_end(bytes: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the value that begins here has ended.
fn value_end(bytes: &[u8], begin: usize) -> Option<usize> {
    let (mut at, mut depth) = (begin, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => at = string_end(bytes, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' | b',' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            byte if depth == 0 && byte.is_ascii_whitespace() => return Some(at),
            _ => at += 1,
        }
        // A string, an object or an array at the top ends where it closes.
        if depth == 0 && matches!(bytes[at - 1], b'"' | b'}' | b']') {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, login: Option<(&str, &str)>) -> Place {
        let login = login
            .map(|(user, password)| Login { user: user.into(), password: Some(password.into()) });
        Place { host: host.into(), port: 5433, database: "chat".into(), login }
    }

    fn pointed(text: &str, place: &Place) -> Result<String, &'static str> {
        Text::read(text)?.pointing_to(place)
    }

    const SECRET: &str = "{ \"dbClusterIdentifier\":\"old\",\n\t\"password\" : \"a\\\"}b\\u00fc,\", \"engine\":\"postgres\",\
        \"port\":5432,\"more\":{\"host\":[\"x\",{\"a\":\"}\"}]}, \"host\":\"old.example\",\"username\":\"u\",\"n\": 1.50 ,\
        \"dbname\":\"postgres\"  }\n";

    #[test]
    fn the_place_changes_and_all_else_stays_byte_for_byte() {
        let to = place("new.cluster-x.us-east-1.rds.amazonaws.com", Some(("admin", "p\"ü\\")));
        let expected = SECRET
            .replace("\"old\"", "\"new\"")
            .replace("\"a\\\"}b\\u00fc,\"", "\"p\\\"ü\\\\\"")
            .replace("5432", "5433")
            .replace("old.example", "new.cluster-x.us-east-1.rds.amazonaws.com")
            .replace("\"username\":\"u\"", "\"username\":\"admin\"")
            .replace("\"dbname\":\"postgres\"", "\"dbname\":\"chat\"");
        let edited = pointed(SECRET, &to).unwrap();
        assert_eq!(edited, expected);
        assert_eq!(pointed(&edited, &to).unwrap(), edited, "again changes nothing");
    }

    #[test]
    fn what_says_the_same_already_is_not_written_anew() {
        let same = Place {
            host: "old.example".into(),
            port: 5432,
            database: "postgres".into(),
            login: Some(Login { user: "u".into(), password: Some("a\"}bü,".into()) }),
        };
        assert_eq!(pointed(SECRET, &same).unwrap(), SECRET);
    }

    #[test]
    fn a_port_keeps_its_kind_and_what_is_missing_is_added_where_it_matters() {
        let to = place("h", None);
        for (text, expected) in [
            (
                r#"{"host":"x","port":"1","dbname":"y"}"#,
                r#"{"host":"h","port":"5433","dbname":"chat"}"#,
            ),
            (r#"{"host":"x","port":null}"#, r#"{"host":"h","port":5433,"dbname":"chat"}"#),
            (r#"{"host":"x" }"#, r#"{"host":"h","dbname":"chat","port":5433 }"#),
        ] {
            let edited: Value = serde_json::from_str(&pointed(text, &to).unwrap()).unwrap();
            assert_eq!(edited, serde_json::from_str::<Value>(expected).unwrap(), "{text}");
        }
        let usual = Place { port: 5432, database: "postgres".into(), ..place("h", None) };
        assert_eq!(pointed(r#"{"host":"x"}"#, &usual).unwrap(), r#"{"host":"h"}"#);
    }

    #[test]
    fn a_secret_that_no_application_could_follow_is_refused() {
        let to = place("h", None);
        for (text, why) in [
            ("hunter2", "not JSON"),
            ("[1]", "not a JSON object"),
            (r#"{"username":"u","password":"hunter2"}"#, "no host"),
            (r#"{"host":"a","host":"b"}"#, "twice"),
        ] {
            let said = pointed(text, &to).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(
            pointed("{}", &to).unwrap_err(),
            "it names no host, so that no application learns of one by it"
        );
    }

    #[test]
    fn only_a_writers_name_tells_its_cluster() {
        for (host, name) in [
            ("chat.cluster-abc.us-east-1.rds.amazonaws.com", Some("chat")),
            ("chat.cluster-ro-abc.us-east-1.rds.amazonaws.com", None),
            ("chat.cluster-custom-abc.us-east-1.rds.amazonaws.com", None),
            ("chat.abc.us-east-1.rds.amazonaws.com", None),
            ("chat.cluster-abc.example.org", None),
        ] {
            assert_eq!(place(host, None).cluster(), name, "{host}");
        }
        assert!(["localhost", "127.0.0.1", "::1", "/run"].into_iter().all(is_here));
        assert!(!is_here("db.example"));
    }
}
