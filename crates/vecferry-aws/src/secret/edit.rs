//! Where a secret's text says that its database is, changed in place: every other key, and all the white space, stays as
//! it is byte for byte. Pure. No error holds any of the text.

use std::ops::Range;

use serde_json::Value;
use vecferry_core::pg::{Dsn, Login};

use crate::endpoint;

/// Keys that a switch may change.
const KEYS: [&str; 6] = ["host", "port", "dbname", "username", "password", "dbClusterIdentifier"];

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
}

/// Whether only this machine could reach the host.
pub(super) fn is_here(host: &str) -> bool {
    let address: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost" || host.starts_with('/') || address.is_some_and(|one| one.is_loopback())
}

/// Why a secret does not go back that leads to neither side.
const ELSEWHERE: &str = "somebody has changed its host since the cutover, so that the application may be elsewhere: set it \
                         by hand, or leave the switch out of the rollback";

/// What a rollback makes of a secret.
pub(super) struct Back {
    pub(super) text: String,
    /// Keys that go back although somebody had changed their values since the cutover.
    pub(super) edited: Vec<&'static str>,
    /// How many other keys somebody has changed since; they stay so.
    pub(super) others: usize,
}

/// Names of hosts know no case.
fn same_host(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one.and_then(Value::as_str), other.and_then(Value::as_str)) {
        (Some(one), Some(other)) => one.trim().eq_ignore_ascii_case(other.trim()),
        _ => false,
    }
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

    fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(name, _)| name.as_str())
    }

    /// Who reads a key that is there twice takes the one or the other.
    fn unambiguous(&self) -> Result<(), &'static str> {
        let mut keys: Vec<&str> = self.names().collect();
        keys.sort_unstable();
        match keys.windows(2).any(|pair| pair[0] == pair[1]) {
            true => Err("it names a key twice"),
            false => Ok(()),
        }
    }

    /// The text that says that the database is there.
    pub(super) fn pointing_to(&self, place: &Place) -> Result<String, &'static str> {
        self.unambiguous()?;
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
        if let (Some(_), Some(name)) =
            (self.get("dbClusterIdentifier"), endpoint::writer(&place.host))
        {
            self.set("dbClusterIdentifier", Value::from(name), &mut edits);
        }
        Ok(apply(self.text, edits))
    }

    /// The text in which what a cutover has changed is again as it was before, in `kept`; `written` is what the cutover
    /// wrote, where that is still there, and without it all that a cutover may change goes back. Whatever else somebody
    /// has changed since stays.
    pub(super) fn going_back(
        &self,
        kept: &Text<'_>,
        written: Option<&Text<'_>>,
    ) -> Result<Back, &'static str> {
        self.unambiguous()?;
        let switched = |key: &str| {
            let changed = written.is_none_or(|written| written.get(key) != kept.get(key));
            KEYS.contains(&key) && changed
        };
        let is = |other: &Text<'_>, key: &str| {
            let (now, then) = (self.get(key), other.get(key));
            now == then || (key == "host" && same_host(now.as_ref(), then.as_ref()))
        };
        if written.is_some_and(|written| !is(written, "host") && !is(kept, "host")) {
            return Err(ELSEWHERE);
        }
        let mut back = Back { text: self.text.to_owned(), edited: Vec::new(), others: 0 };
        for key in KEYS.into_iter().filter(|key| switched(key) && !is(kept, key)) {
            if written.is_some_and(|written| !is(written, key)) {
                back.edited.push(key);
            }
            back.text = Text::read(&back.text)?.with(key, kept.raw(key));
        }
        let before = written.unwrap_or(kept);
        let mut others: Vec<&str> = self.names().chain(before.names()).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(|key| !switched(key) && self.get(key) != before.get(key));
        back.others = others.len();
        Ok(back)
    }

    /// The text with another password, where this is the user's.
    pub(super) fn with_password_of(&self, login: &Login) -> Option<String> {
        let password = login.password.as_deref().map(Value::from)?;
        let his = self.get("username") == Some(Value::from(login.user.as_str()));
        (his && self.get("password") != Some(password.clone()))
            .then(|| self.with("password", Some(&password.to_string())))
    }

    /// A value as it is written.
    fn raw(&self, key: &str) -> Option<&'a str> {
        let (_, range) = self.members.iter().find(|(name, _)| name == key)?;
        Some(&self.text[range.clone()])
    }

    /// The text with this value, as it is to be written; without the key where there is none.
    fn with(&self, key: &str, raw: Option<&str>) -> String {
        let at = self.members.iter().position(|(name, _)| name == key);
        let edit = match (at, raw) {
            (None, None) => return self.text.to_owned(),
            (None, Some(raw)) => (self.end..self.end, self.member(key, raw)),
            (Some(at), Some(raw)) => (self.members[at].1.clone(), raw.to_owned()),
            (Some(at), None) => (self.whole(at), String::new()),
        };
        apply(self.text, vec![edit])
    }

    /// A member that goes to the end.
    fn member(&self, key: &str, raw: &str) -> String {
        let comma = if self.members.is_empty() { "" } else { "," };
        format!("{comma}{}:{raw}", Value::from(key))
    }

    /// A member with the comma that goes with it.
    fn whole(&self, at: usize) -> Range<usize> {
        let end = self.members[at].1.end;
        let bytes = self.text.as_bytes();
        match at.checked_sub(1) {
            Some(before) => self.members[before].1.end..end,
            None => {
                let comma = blank(bytes, end);
                let more = usize::from(bytes.get(comma) == Some(&b','));
                blank(bytes, 0) + 1..comma + more
            }
        }
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
            None => edits.push((self.end..self.end, self.member(key, &value.to_string()))),
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

    const KEPT: &str = r#"{"host":"Old.example","port":5432,"username":"app","password":"p","note":"a", "dbname":"chat"}"#;

    fn written() -> String {
        let place = Place {
            host: "new.example".into(),
            port: 5433,
            database: "chat".into(),
            login: Some(Login { user: "u".into(), password: Some("q".into()) }),
        };
        pointed(KEPT, &place).unwrap()
    }

    fn back(current: &str, written: Option<&str>) -> Result<Back, &'static str> {
        let written = written.map(|text| Text::read(text).unwrap());
        Text::read(current).unwrap().going_back(&Text::read(KEPT).unwrap(), written.as_ref())
    }

    #[test]
    fn what_nobody_has_touched_goes_back_byte_for_byte() {
        let written = written();
        for known in [Some(written.as_str()), None] {
            let back = back(&written, known).unwrap();
            assert_eq!((back.text.as_str(), back.edited.len()), (KEPT, 0), "{known:?}");
            assert_eq!(back.others, 0);
        }
        assert_eq!(back(KEPT, Some(&written)).unwrap().text, KEPT, "twice is once");
    }

    #[test]
    fn what_somebody_else_has_changed_since_stays() {
        let written = written();
        let edited = written
            .replace(r#""note":"a""#, r#""note":"b""#)
            .replacen('{', r#"{"new":[1, 2],"#, 1)
            .replace("q", "rotated");
        let back = back(&edited, Some(&written)).unwrap();
        let expected =
            KEPT.replace(r#""note":"a""#, r#""note":"b""#).replacen('{', r#"{"new":[1, 2],"#, 1);
        assert_eq!(back.text, expected);
        assert_eq!((back.edited, back.others), (vec!["password"], 2));
        // A key that somebody has taken out stays out.
        let without = written.replace(r#""note":"a","#, "");
        let back = self::back(&without, Some(&written)).unwrap();
        assert_eq!((back.text, back.others), (KEPT.replace(r#""note":"a","#, ""), 1));
    }

    #[test]
    fn what_the_cutover_left_alone_is_left_alone() {
        // Same login on both sides: only the place was changed, and a rotation since holds for both.
        let written = KEPT.replace("Old.example", "new.example");
        let rotated = written.replace(r#""p""#, r#""rotated""#);
        let back = back(&rotated, Some(&written)).unwrap();
        assert_eq!(back.text, KEPT.replace(r#""p""#, r#""rotated""#));
        assert_eq!((back.edited.len(), back.others), (0, 1));
    }

    #[test]
    fn what_the_cutover_has_added_goes_whoever_stands_beside_it() {
        let kept = r#"{"host":"a" }"#;
        let written = r#"{"host":"b","username":"u","password":"p" }"#;
        let (kept_text, written_text) = (Text::read(kept).unwrap(), Text::read(written).unwrap());
        for (current, expected) in [
            (written, kept),
            (
                r#"{"host":"b","username":"u","password":"p","more":1 }"#,
                r#"{"host":"a","more":1 }"#,
            ),
            (r#"{ "password":"p" , "username":"u", "host":"b"}"#, r#"{ "host":"a"}"#),
            (r#"{"username":"u","host":"b"}"#, r#"{"host":"a"}"#),
        ] {
            let text = Text::read(current).unwrap();
            let back = text.going_back(&kept_text, Some(&written_text)).unwrap();
            assert_eq!(back.text, expected, "{current}");
        }
    }

    #[test]
    fn a_secret_that_leads_elsewhere_by_now_is_not_touched() {
        let written = written();
        for elsewhere in ["proxy.example", "", "old.example.org"] {
            let current = written.replace("new.example", elsewhere);
            let said = back(&current, Some(&written)).err().unwrap();
            assert!(said.contains("changed its host"), "{said}");
        }
        // Another spelling is the same host, and one that is back already is no matter.
        let spelled = written.replace("new.example", "NEW.example");
        assert_eq!(back(&spelled, Some(&written)).unwrap().text, KEPT);
        let by_hand = written.replace("new.example", "OLD.example");
        let back_already = KEPT.replace("Old.example", "OLD.example");
        assert_eq!(back(&by_hand, Some(&written)).unwrap().text, back_already);
        assert!(
            back(r#"{"host":"a","host":"b"}"#, Some(&written)).err().unwrap().contains("twice")
        );
    }

    #[test]
    fn a_password_changes_for_its_own_user_only() {
        let login = |user: &str, password: Option<&str>| Login {
            user: user.into(),
            password: password.map(str::to_owned),
        };
        let text = Text::read(KEPT).unwrap();
        let changed = text.with_password_of(&login("app", Some("x\"y"))).unwrap();
        assert_eq!(changed, KEPT.replace(r#""p""#, r#""x\"y""#));
        for other in [login("app", Some("p")), login("app", None), login("u", Some("x"))] {
            assert_eq!(text.with_password_of(&other), None);
        }
    }

    #[test]
    fn a_host_of_this_machine_is_told_from_others() {
        assert!(["localhost", "127.0.0.1", "::1", "/run"].into_iter().all(is_here));
        assert!(!is_here("db.example"));
    }
}
