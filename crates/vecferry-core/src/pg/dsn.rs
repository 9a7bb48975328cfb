//! Where a cluster is and how to log in: a connection string parsed once, whose password no `Display` or `Debug`
//! ever shows.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::Error;

/// libpq's `sslmode`, with libpq's meanings
/// (<https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS when the server offers it, unverified. libpq's default, and ours.
    Prefer,
    /// TLS or nothing, unverified.
    Require,
    /// TLS with a certificate from a known authority.
    VerifyCa,
    /// TLS with a certificate from a known authority for this host name.
    VerifyFull,
}

impl SslMode {
    /// libpq's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }
}

/// A parsed connection string.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    /// Host name, address, or the directory of a Unix socket (starts with `/`).
    pub host: String,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// Role to log in as.
    pub user: String,
    /// Its password, if one is needed.
    password: Option<String>,
    /// Database to connect to.
    pub database: String,
    /// TLS mode.
    pub sslmode: SslMode,
    /// File of trusted certificates in PEM form; the system's when absent.
    pub sslrootcert: Option<PathBuf>,
    /// Seconds to wait for a connection.
    pub connect_timeout: u64,
}

impl Dsn {
    /// The same address with another password, for a password that comes from the environment or a secret store.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The same address with the other's password, where it has none of its own and the user is the same: another way
    /// to the same cluster.
    #[must_use]
    pub fn with_password_of(mut self, other: &Dsn) -> Self {
        if self.password.is_none() && self.user == other.user {
            self.password.clone_from(&other.password);
        }
        self
    }

    /// Whether the connection string carried a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// The password, for logging in only; nothing may print it.
    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// How long connecting may take, and logging in after it.
    pub(crate) fn patience(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.connect_timeout.max(1))
    }

    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The environment by which PostgreSQL's own programs find the same database. Passed to child processes only,
    /// so that no password stands in an argument list.
    pub(crate) fn libpq_environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", self.user.clone()),
            ("PGDATABASE", self.database.clone()),
            ("PGSSLMODE", self.sslmode.as_str().to_owned()),
            ("PGCONNECT_TIMEOUT", self.connect_timeout.to_string()),
        ];
        if let Some(password) = &self.password {
            environment.push(("PGPASSWORD", password.clone()));
        }
        if let Some(file) = &self.sslrootcert {
            environment.push(("PGSSLROOTCERT", file.display().to_string()));
        }
        environment
    }

    /// The connection string by which another server connects here, as `CREATE SUBSCRIPTION` takes it. Holds the
    /// password; nothing may print it. A certificate file is named only when the string itself named one, for it has
    /// to be on that server.
    pub(crate) fn conninfo(&self) -> String {
        let mut pairs = vec![
            ("host", self.host.clone()),
            ("port", self.port.to_string()),
            ("user", self.user.clone()),
            ("dbname", self.database.clone()),
            ("sslmode", self.sslmode.as_str().to_owned()),
            ("connect_timeout", self.connect_timeout.to_string()),
        ];
        if let Some(password) = &self.password {
            pairs.push(("password", password.clone()));
        }
        if let Some(file) = &self.sslrootcert {
            pairs.push(("sslrootcert", file.display().to_string()));
        }
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let pairs: Vec<String> =
            pairs.iter().map(|(key, value)| format!("{key}='{}'", quoted(value))).collect();
        pairs.join(" ")
    }

    /// The connection string as a URL, for programs that take one. Holds the password; nothing may print it.
    pub(crate) fn url(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        // The characters that cannot be misread, so that people can read the rest.
        let plain = |text: &str| match text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        {
            true => text.to_owned(),
            false => encode(text),
        };
        let password = self.password.as_deref().map(|text| format!(":{}", plain(text)));
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => plain(&self.host),
        };
        let certificate = self.sslrootcert.as_ref();
        let certificate =
            certificate.map(|file| format!("&sslrootcert={}", encode(&file.display().to_string())));
        format!(
            "postgresql://{}{}@{host}:{}/{}?sslmode={}{}",
            plain(&self.user),
            password.unwrap_or_default(),
            self.port,
            plain(&self.database),
            self.sslmode.as_str(),
            certificate.unwrap_or_default()
        )
    }

    /// The same place without the certificate file, which is a path on this machine.
    #[must_use]
    pub(crate) fn without_certificate_file(mut self) -> Self {
        self.sslrootcert = None;
        self
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match key {
            "host" | "hostaddr" => self.host = value,
            "port" => {
                self.port = value.parse().map_err(|_| format!("port {value:?} is not a number"))?
            }
            "user" => self.user = value,
            "password" => self.password = Some(value),
            "dbname" => self.database = value,
            "sslmode" => {
                self.sslmode = match value.as_str() {
                    "disable" => SslMode::Disable,
                    "allow" | "prefer" => SslMode::Prefer,
                    "require" => SslMode::Require,
                    "verify-ca" => SslMode::VerifyCa,
                    "verify-full" => SslMode::VerifyFull,
                    other => return Err(format!("sslmode {other:?} is unknown")),
                }
            }
            "sslrootcert" => self.sslrootcert = Some(PathBuf::from(value)),
            "connect_timeout" => {
                self.connect_timeout = value
                    .parse()
                    .map_err(|_| format!("connect_timeout {value:?} is not a number of seconds"))?;
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

impl Default for Dsn {
    fn default() -> Self {
        Dsn {
            host: "localhost".into(),
            port: 5432,
            user: "postgres".into(),
            password: None,
            database: String::new(),
            sslmode: SslMode::Prefer,
            sslrootcert: None,
            // Long enough for a paused serverless cluster to wake, short enough for a mistyped host.
            connect_timeout: 30,
        }
    }
}

impl FromStr for Dsn {
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
        let mut dsn = parsed.map_err(|what| Error::Configuration {
            what: format!("the connection string cannot be used: {what}"),
            hint: Some(
                "write postgresql://user:password@host:port/database?sslmode=verify-full; in the password, \
                 percent-encode @ as %40, / as %2F, : as %3A, ? as %3F, # as %23 and % as %25"
                    .into(),
            ),
        })?;
        if dsn.database.is_empty() {
            dsn.database = dsn.user.clone();
        }
        Ok(dsn)
    }
}

fn parse_url(rest: &str) -> Result<Dsn, String> {
    let mut dsn = Dsn::default();
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
            dsn.user = decode(user)?;
        }
        dsn.password = password.map(decode).transpose()?;
    }
    parse_host(&mut dsn, host)?;
    let (path, query) = match rest[path_start..].split_once('?') {
        Some((path, query)) => (path, query),
        None => (&rest[path_start..], ""),
    };
    dsn.database = decode(path.trim_start_matches('/'))?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("a parameter has no value")?;
        dsn.set(key, decode(value)?)?;
    }
    Ok(dsn)
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

fn parse_host(dsn: &mut Dsn, host: &str) -> Result<(), String> {
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
        dsn.host = decode(name)?;
    }
    if let Some(port) = port {
        dsn.port =
            port.parse().map_err(|_| "the part after the host's colon is not a port number")?;
    }
    Ok(())
}

fn parse_pairs(text: &str) -> Result<Dsn, String> {
    let mut dsn = Dsn::default();
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
        dsn.set(key.trim(), value)?;
        rest = remaining.trim_start();
    }
    Ok(dsn)
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

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgresql://{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_every_part() {
        let dsn: Dsn =
            "postgresql://app%40x:p%2Fw@db.example:6432/kb?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=5"
                .parse()
                .unwrap();
        assert_eq!((dsn.user.as_str(), dsn.password(), dsn.port), ("app@x", Some("p/w"), 6432));
        assert_eq!(
            (dsn.database.as_str(), dsn.sslmode, dsn.connect_timeout),
            ("kb", SslMode::VerifyFull, 5)
        );
        assert_eq!(dsn.sslrootcert, Some(PathBuf::from("/ca.pem")));
    }

    #[test]
    fn special_characters_left_unencoded_in_a_password_still_work() {
        for password in
            ["p@ss", "p/ss", "a:b", "x#y", "100%", "é ü", "p@ss:w/rd?#%é", "1?2", "a@b/c", "/?@"]
        {
            let dsn: Dsn = format!("postgres://u:{password}@h:1/d").parse().unwrap();
            assert_eq!(
                (dsn.password(), dsn.host.as_str(), dsn.port),
                (Some(password), "h", 1),
                "{password}"
            );
        }
    }

    #[test]
    fn key_value_strings_and_sockets_are_read() {
        let dsn: Dsn =
            "host=/run/pg port=5433 user=me password='a b\\'c' dbname=kb".parse().unwrap();
        assert_eq!((dsn.host.as_str(), dsn.password()), ("/run/pg", Some("a b'c")));
        let dsn: Dsn = "postgresql://[::1]:5433/kb".parse().unwrap();
        assert_eq!((dsn.host.as_str(), dsn.port), ("::1", 5433));
    }

    #[test]
    fn neither_display_nor_debug_nor_errors_show_the_password() {
        let dsn: Dsn = "postgres://u:hunter2@h/d".parse().unwrap();
        assert!(!format!("{dsn} {dsn:?}").contains("hunter2"));
        let error = "postgres://u:hunter2@h:port/d".parse::<Dsn>().unwrap_err();
        assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("hunter2"));
    }
}
