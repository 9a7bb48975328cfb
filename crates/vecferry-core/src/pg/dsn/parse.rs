//! Reading connection strings: what each names, and nothing that it does not, so that two of them can be laid over each
//! other (a URL over a secret) before defaults fill the gaps.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::{Dsn, SslMode};
use crate::error::Error;
use crate::pg::authorities::is_rds;

/// What a connection string, or whatever else describes a database, says. [`DsnParts::complete`] makes an address of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DsnParts {
    /// Host name: what a certificate must be made out to.
    pub host: Option<String>,
    /// Address to connect to in place of what the name resolves to.
    pub hostaddr: Option<String>,
    /// TCP port.
    pub port: Option<u16>,
    /// Role to log in as.
    pub user: Option<String>,
    /// Its password. No `Debug` shows it.
    pub password: Option<String>,
    /// Database.
    pub database: Option<String>,
    /// TLS mode.
    pub sslmode: Option<SslMode>,
    /// File of trusted certificates.
    pub sslrootcert: Option<PathBuf>,
    /// Seconds to wait for a connection.
    pub connect_timeout: Option<u64>,
}

impl DsnParts {
    /// What these parts say, and where they say nothing, what the others do. Host and `hostaddr` are one thing: an
    /// address must not be taken for another host's.
    #[must_use]
    pub fn or(self, other: DsnParts) -> DsnParts {
        let (host, hostaddr) = match (self.host, self.hostaddr) {
            (None, None) => (other.host, other.hostaddr),
            // An address alone: the name to verify is the other's.
            (None, address) => (other.host, address),
            own => own,
        };
        DsnParts {
            host,
            hostaddr,
            port: self.port.or(other.port),
            user: self.user.or(other.user),
            password: self.password.or(other.password),
            database: self.database.or(other.database),
            sslmode: self.sslmode.or(other.sslmode),
            sslrootcert: self.sslrootcert.or(other.sslrootcert),
            connect_timeout: self.connect_timeout.or(other.connect_timeout),
        }
    }

    /// The same without user and password, for an address whose login comes from elsewhere.
    #[must_use]
    pub fn without_login(self) -> DsnParts {
        DsnParts { user: None, password: None, ..self }
    }

    /// The address, with libpq's defaults in the gaps; but RDS's own host names are verified unless the parts say
    /// otherwise, because the authorities that vouch for them are known.
    pub fn complete(self) -> Dsn {
        let default = Dsn::default();
        let user = self.user.unwrap_or(default.user);
        let host = self.host.or_else(|| self.hostaddr.clone()).unwrap_or(default.host);
        let assumed = self.sslmode.is_none() && is_rds(&host);
        let usual = if assumed { SslMode::VerifyFull } else { default.sslmode };
        Dsn {
            hostaddr: self.hostaddr.filter(|address| *address != host),
            host,
            port: self.port.unwrap_or(default.port),
            database: self.database.unwrap_or_else(|| user.clone()),
            user,
            password: self.password,
            credentials: None,
            sslmode: self.sslmode.unwrap_or(usual),
            assumed,
            sslrootcert: self.sslrootcert,
            connect_timeout: self.connect_timeout.unwrap_or(default.connect_timeout),
        }
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match key {
            "host" => self.host = given(value),
            "hostaddr" => self.hostaddr = given(value),
            "port" => {
                let port = value.parse().map_err(|_| format!("port {value:?} is not a number"))?;
                self.port = Some(port);
            }
            "user" => self.user = given(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = given(value),
            "sslmode" => {
                self.sslmode = Some(match value.as_str() {
                    "disable" => SslMode::Disable,
                    "allow" | "prefer" => SslMode::Prefer,
                    "require" => SslMode::Require,
                    "verify-ca" => SslMode::VerifyCa,
                    "verify-full" => SslMode::VerifyFull,
                    other => return Err(format!("sslmode {other:?} is unknown")),
                });
            }
            "sslrootcert" => self.sslrootcert = Some(PathBuf::from(value)),
            "connect_timeout" => {
                let seconds = value.parse();
                self.connect_timeout = Some(seconds.map_err(|_| {
                    format!("connect_timeout {value:?} is not a number of seconds")
                })?);
            }
            // Accepted by libpq, of no consequence to us: our own name and session settings are set by us.
            "application_name"
            | "options"
            | "target_session_attrs"
            | "channel_binding"
            | "gssencmode"
            | "keepalives"
            | "keepalives_idle" => {}
            other => {
                return Err(format!("parameter {other:?} is not supported in a connection string"));
            }
        }
        Ok(())
    }
}

/// An empty value counts as absent, as in libpq.
fn given(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

impl fmt::Debug for DsnParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DsnParts")
            .field("host", &self.host)
            .field("hostaddr", &self.hostaddr)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("sslmode", &self.sslmode)
            .finish_non_exhaustive()
    }
}

impl FromStr for DsnParts {
    type Err = Error;

    /// Parses a `postgresql://` URL or a `key=value` string. A message never repeats the input: it holds a password.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let parsed =
            match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
                Some(rest) => parse_url(rest),
                None if text.contains('=') && !text.contains("://") => parse_pairs(text),
                None => Err("it is neither a postgresql:// URL nor key=value pairs".into()),
            };
        parsed.map_err(|what| Error::Configuration {
            what: format!("the connection string cannot be used: {what}"),
            hint: Some(
                "write postgresql://user:password@host:port/database?sslmode=verify-full; in the password, \
                 percent-encode @ as %40, / as %2F, : as %3A, ? as %3F, # as %23 and % as %25"
                    .into(),
            ),
        })
    }
}

fn parse_url(rest: &str) -> Result<DsnParts, String> {
    let mut parts = DsnParts::default();
    // The last @ before the path ends the password, so that an unencoded @ in it still works.
    let (authority_end, path_start) = authority_bounds(rest);
    let (login, host) = match rest[..authority_end].rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, &rest[..authority_end]),
    };
    if let Some(login) = login {
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        if !user.is_empty() {
            parts.user = Some(decode(user)?);
        }
        parts.password = password.map(decode).transpose()?;
    }
    parse_host(&mut parts, host)?;
    let (path, query) = match rest[path_start..].split_once('?') {
        Some((path, query)) => (path, query),
        None => (&rest[path_start..], ""),
    };
    parts.database = given(decode(path.trim_start_matches('/'))?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("a parameter has no value")?;
        parts.set(key, decode(value)?)?;
    }
    Ok(parts)
}

/// Where user, password and host end, and where the path begins. Characters left unencoded in a password (`@`, `/`,
/// `?`, `#`) would cut it short, and its rest would be taken for a host name, which messages show; so the login ends at
/// the last `@` that is not part of a parameter. A database name with an `@` must be written with `%40`.
fn authority_bounds(rest: &str) -> (usize, usize) {
    let parameters = rest.find('?').filter(|at| {
        let after = &rest[*at..];
        // Between the question mark of a password and the login's end there is no parameter.
        after.rfind('@').is_none_or(|login_end| after[..login_end].contains('='))
    });
    let before = &rest[..parameters.unwrap_or(rest.len())];
    let host = before.rfind('@').unwrap_or(0);
    let end = rest[host..].find(['/', '?']).map_or(rest.len(), |offset| host + offset);
    (end, end)
}

fn parse_host(parts: &mut DsnParts, host: &str) -> Result<(), String> {
    if host.contains(',') {
        return Err("several hosts are not supported; name the writer".into());
    }
    let (name, port) = match host.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, after)) => (v6, after.strip_prefix(':')),
        None => match host.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    if !name.is_empty() {
        parts.host = Some(decode(name)?);
    }
    if let Some(port) = port {
        let port = port.parse();
        parts.port =
            Some(port.map_err(|_| "the part after the host's colon is not a port number")?);
    }
    Ok(())
}

fn parse_pairs(text: &str) -> Result<DsnParts, String> {
    let mut parts = DsnParts::default();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or("a word has no =")?;
        let after = after.trim_start();
        let (value, remaining) = if let Some(quoted) = after.strip_prefix('\'') {
            unquote(quoted)?
        } else {
            let end = after.find(char::is_whitespace).unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        };
        parts.set(key.trim(), value)?;
        rest = remaining.trim_start();
    }
    Ok(parts)
}

fn unquote(quoted: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    Err("a quoted value does not end".into())
}

fn decode(text: &str) -> Result<String, String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|decoded| decoded.into_owned())
        .map_err(|_| "a percent-encoded part is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> DsnParts {
        text.parse().unwrap()
    }

    #[test]
    fn what_one_says_wins_and_what_it_does_not_say_is_the_others() {
        let secret = DsnParts {
            host: Some("secret.example".into()),
            port: Some(5433),
            user: Some("admin".into()),
            database: Some("chat".into()),
            ..DsnParts::default()
        };
        let both = parts("postgresql:///?sslmode=require").or(secret.clone()).complete();
        assert_eq!(both.to_string(), "postgresql://admin@secret.example:5433/chat");
        assert_eq!(both.sslmode, SslMode::Require);
        let other = parts("postgresql://h:1/kb").without_login().or(secret.clone()).complete();
        assert_eq!(other.to_string(), "postgresql://admin@h:1/kb");
        let tunnel = parts("hostaddr=127.0.0.1 port=7").or(secret).complete();
        assert_eq!((tunnel.host.as_str(), tunnel.port), ("secret.example", 7));
        assert_eq!(tunnel.hostaddr.as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn a_name_is_verified_at_another_address() {
        let both = parts("host=db.example hostaddr=127.0.0.1").complete();
        assert_eq!(
            (both.host.as_str(), both.hostaddr.as_deref()),
            ("db.example", Some("127.0.0.1"))
        );
        let alone = parts("hostaddr=10.0.0.7").complete();
        assert_eq!((alone.host.as_str(), alone.hostaddr), ("10.0.0.7", None));
    }

    #[test]
    fn hosts_of_rds_are_verified_unless_the_string_says_otherwise() {
        for (text, mode) in [
            ("postgresql://c.cluster-x.us-east-1.rds.amazonaws.com/d", SslMode::VerifyFull),
            ("postgresql://C.X.US-EAST-1.RDS.AMAZONAWS.COM./d", SslMode::VerifyFull),
            ("postgresql://c.x.cn-north-1.rds.amazonaws.com.cn/d", SslMode::VerifyFull),
            ("postgresql://c.x.us-east-1.rds.amazonaws.com/d?sslmode=require", SslMode::Require),
            ("postgresql://c.x.us-east-1.rds.amazonaws.com/d?sslmode=disable", SslMode::Disable),
            ("postgresql://c.x.rds.amazonaws.com/d?sslrootcert=/ca.pem", SslMode::VerifyFull),
            ("postgresql://rds.amazonaws.com.example.org/d", SslMode::Prefer),
            ("postgresql://xrds.amazonaws.com/d", SslMode::Prefer),
            ("postgresql://localhost/d", SslMode::Prefer),
        ] {
            assert_eq!(parts(text).complete().sslmode, mode, "{text}");
        }
    }

    #[test]
    fn parts_show_no_password() {
        let shown = format!("{:?}", parts("postgres://u:hunter2@h/d"));
        assert!(shown.contains("\"u\"") && !shown.contains("hunter2"), "{shown}");
    }
}
