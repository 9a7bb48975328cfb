//! Where a cluster is and how to log in: a connection string parsed once, whose password no `Display` or `Debug`
//! ever shows. The login is the string's own, or that of [`Credentials`], which may change while it is in use.

mod parse;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::authorities;
use super::credentials::{Credentials, Login};
use crate::error::{Error, Result};
pub use parse::DsnParts;

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
    /// Host name, address, or the directory of a Unix socket (starts with `/`). A certificate is made out to it.
    pub host: String,
    /// Address to connect to in place of what the host's name resolves to, as libpq's `hostaddr`.
    pub hostaddr: Option<String>,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// Role to log in as; of credentials that change, the one they had at first.
    pub user: String,
    /// Its password, if one is needed.
    password: Option<String>,
    /// Where user and password come from, when they may change.
    credentials: Option<Credentials>,
    /// Database to connect to.
    pub database: String,
    /// TLS mode.
    pub sslmode: SslMode,
    /// Whether the mode is ours, by the host's name, and was not asked for.
    assumed: bool,
    /// File of trusted certificates in PEM form; when absent the system's, and for a host of RDS also Amazon's.
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

    /// The same address, whose login is read again when the server refuses it.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.user = credentials.login().user;
        self.password = None;
        self.credentials = Some(credentials);
        self
    }

    /// The same address with the other's password, where it has none of its own and the user is the same: another way
    /// to the same cluster.
    #[must_use]
    pub fn with_password_of(mut self, other: &Dsn) -> Self {
        if !self.has_password() && self.user == other.user {
            self.password.clone_from(&other.password);
            self.credentials.clone_from(&other.credentials);
        }
        self
    }

    /// Whether there is a password to log in with.
    pub fn has_password(&self) -> bool {
        self.password.is_some() || self.credentials.is_some()
    }

    /// Whether the login may change while it is in use.
    pub(crate) fn changes_login(&self) -> bool {
        self.credentials.is_some()
    }

    /// User and password as they are now, to log in with or to hand over; nothing may print the password.
    pub fn login(&self) -> Login {
        match &self.credentials {
            Some(credentials) => credentials.login(),
            None => Login { user: self.user.clone(), password: self.password.clone() },
        }
    }

    /// Says that the server let this login in.
    pub(crate) fn accepted(&self, login: &Login) {
        if let Some(credentials) = &self.credentials {
            credentials.accepted(login);
        }
    }

    /// Whether to try again after `error`: the server refused this login, and reading the credentials again gave
    /// another one.
    ///
    /// # Errors
    /// `error` itself, when it is about something else or there is no other login.
    pub(crate) async fn renewed(&self, login: &Login, error: Error) -> Result<()> {
        let refused = matches!(error.sqlstate(), Some("28P01" | "28000"));
        match &self.credentials {
            Some(credentials) if refused => credentials.renew(login, error).await,
            _ => Err(error),
        }
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
    /// so that no password stands in an argument list. `authorities` is a file with what [`Dsn::authorities`] gives.
    pub(crate) fn libpq_environment(
        &self,
        login: &Login,
        authorities: Option<&Path>,
    ) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", login.user.clone()),
            ("PGDATABASE", self.database.clone()),
            ("PGSSLMODE", self.sslmode.as_str().to_owned()),
            ("PGCONNECT_TIMEOUT", self.connect_timeout.to_string()),
        ];
        if let Some(address) = &self.hostaddr {
            environment.push(("PGHOSTADDR", address.clone()));
        }
        if let Some(password) = &login.password {
            environment.push(("PGPASSWORD", password.clone()));
        }
        if let Some(file) = self.sslrootcert.as_deref().or(authorities) {
            environment.push(("PGSSLROOTCERT", file.display().to_string()));
        }
        environment
    }

    /// The authorities in PEM form that a program without them must be given to verify this host.
    pub(crate) fn authorities(&self) -> Option<&'static [u8]> {
        let verifies = matches!(self.sslmode, SslMode::VerifyCa | SslMode::VerifyFull);
        let ours = verifies && self.sslrootcert.is_none() && authorities::is_rds(&self.host);
        ours.then_some(authorities::RDS)
    }

    /// The same place as others are told of it, who may not have the authorities that this program has: encryption
    /// that nobody asked to be verified is only required.
    #[must_use]
    pub(crate) fn for_others(&self) -> Dsn {
        let mut told = self.clone();
        if self.assumed && self.sslrootcert.is_none() {
            (told.sslmode, told.assumed) = (SslMode::Require, false);
        }
        told
    }

    /// The connection string by which another server connects here, as `CREATE SUBSCRIPTION` takes it. Holds the
    /// password; nothing may print it. A certificate file is named only when the string itself named one, for it has
    /// to be on that server.
    pub(crate) fn conninfo(&self) -> String {
        let (told, login) = (self.for_others(), self.login());
        let mut pairs = vec![
            ("host", told.host),
            ("port", told.port.to_string()),
            ("user", login.user),
            ("dbname", told.database),
            ("sslmode", told.sslmode.as_str().to_owned()),
            ("connect_timeout", told.connect_timeout.to_string()),
        ];
        pairs.extend(told.hostaddr.map(|address| ("hostaddr", address)));
        pairs.extend(login.password.map(|password| ("password", password)));
        pairs.extend(told.sslrootcert.map(|file| ("sslrootcert", file.display().to_string())));
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
        let login = self.login();
        let password = login.password.as_deref().map(|text| format!(":{}", plain(text)));
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => plain(&self.host),
        };
        let certificate = self.sslrootcert.as_ref();
        let certificate =
            certificate.map(|file| format!("&sslrootcert={}", encode(&file.display().to_string())));
        let address = self.hostaddr.as_ref().map(|text| format!("&hostaddr={}", encode(text)));
        format!(
            "postgresql://{}{}@{host}:{}/{}?sslmode={}{}{}",
            plain(&login.user),
            password.unwrap_or_default(),
            self.port,
            plain(&self.database),
            self.sslmode.as_str(),
            certificate.unwrap_or_default(),
            address.unwrap_or_default()
        )
    }

    /// The same place without the certificate file, which is a path on this machine.
    #[must_use]
    pub(crate) fn without_certificate_file(mut self) -> Self {
        self.sslrootcert = None;
        self
    }
}

impl Default for Dsn {
    fn default() -> Self {
        Dsn {
            host: "localhost".into(),
            hostaddr: None,
            port: 5432,
            user: "postgres".into(),
            password: None,
            credentials: None,
            database: String::new(),
            sslmode: SslMode::Prefer,
            assumed: false,
            sslrootcert: None,
            // Long enough for a paused serverless cluster to wake, short enough for a mistyped host.
            connect_timeout: 30,
        }
    }
}

impl FromStr for Dsn {
    type Err = Error;

    /// Parses a `postgresql://` URL or a `key=value` string. A message never repeats the input: it holds a password.
    fn from_str(text: &str) -> Result<Self> {
        text.parse::<DsnParts>().map(DsnParts::complete)
    }
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

    fn password_of(dsn: &Dsn) -> Option<String> {
        dsn.login().password
    }

    #[test]
    fn urls_are_read_with_every_part() {
        let dsn: Dsn =
            "postgresql://app%40x:p%2Fw@db.example:6432/kb?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=5"
                .parse()
                .unwrap();
        assert_eq!(
            (dsn.user.as_str(), password_of(&dsn).as_deref(), dsn.port),
            ("app@x", Some("p/w"), 6432)
        );
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
                (password_of(&dsn).as_deref(), dsn.host.as_str(), dsn.port),
                (Some(password), "h", 1),
                "{password}"
            );
        }
    }

    #[test]
    fn key_value_strings_and_sockets_are_read() {
        let dsn: Dsn =
            "host=/run/pg port=5433 user=me password='a b\\'c' dbname=kb".parse().unwrap();
        assert_eq!((dsn.host.as_str(), password_of(&dsn).as_deref()), ("/run/pg", Some("a b'c")));
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

    #[test]
    fn what_was_not_asked_to_be_verified_is_only_required_of_others() {
        let rds: Dsn = "postgres://u:p@c.x.us-east-1.rds.amazonaws.com/d".parse().unwrap();
        assert!(rds.authorities().is_some());
        let login = rds.login();
        let environment = rds.libpq_environment(&login, Some(Path::new("/tmp/ca.pem")));
        assert!(environment.contains(&("PGSSLMODE", "verify-full".into())));
        assert!(environment.contains(&("PGSSLROOTCERT", "/tmp/ca.pem".into())));
        assert!(rds.conninfo().contains("sslmode='require'"), "{}", rds.conninfo());
        assert!(rds.for_others().url().ends_with("?sslmode=require"));

        let asked: Dsn = "postgres://c.x.rds.amazonaws.com/d?sslmode=verify-full&sslrootcert=/mine"
            .parse()
            .unwrap();
        assert!(asked.authorities().is_none());
        assert!(asked.conninfo().contains("sslmode='verify-full'"));
        let elsewhere: Dsn = "postgres://db.example/d?sslmode=verify-full".parse().unwrap();
        assert!(elsewhere.authorities().is_none(), "the system's");
    }
}
