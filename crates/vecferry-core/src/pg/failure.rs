//! What a server or a socket said when something failed, with everything removed that could be a row's content.

use std::io;

use crate::error::{Class, Side};

/// The cause below an [`crate::Error::Postgres`].
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server refused a statement or the connection.
    #[error("{message} (SQLSTATE {sqlstate})")]
    Server {
        /// Five characters, see appendix A of PostgreSQL's manual.
        sqlstate: String,
        /// The primary message; quoted values are cut where the class of error can carry row content.
        message: String,
        /// The server's own hint.
        hint: Option<String>,
        /// Character offset into the statement, 1-based, when the parser gave one.
        position: Option<u32>,
    },
    /// The socket failed.
    #[error("{0}")]
    Socket(#[source] io::Error),
    /// The server closed the connection without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The session that exported the snapshot, which another was to import, has ended.
    #[error("the session that held the snapshot has ended")]
    SnapshotGone,
    /// Nothing answered within the connect timeout.
    #[error("no answer within {seconds} s")]
    Timeout {
        /// The limit that passed.
        seconds: u64,
    },
    /// TLS could not be agreed on.
    #[error("TLS: {0}")]
    Tls(String),
    /// The peer does not speak PostgreSQL's protocol as we know it.
    #[error("{0}")]
    Protocol(String),
}

impl Failure {
    /// A server's answer, with row content removed.
    pub fn server(
        sqlstate: &str,
        message: &str,
        hint: Option<&str>,
        position: Option<u32>,
    ) -> Self {
        Failure::Server {
            sqlstate: sqlstate.to_owned(),
            message: without_row_content(sqlstate, message),
            hint: hint.map(str::to_owned),
            position,
        }
    }

    /// The SQLSTATE, when a server gave one.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Failure::Server { sqlstate, .. } => Some(sqlstate),
            _ => None,
        }
    }

    /// The same where a snapshot was to be imported. Whoever loses all sessions on the source at once hears of it here,
    /// from whichever session is opened next; in a class of its own, for the codes alone are those of mistakes.
    #[must_use]
    pub fn importing(self) -> Failure {
        match self.sqlstate() {
            // Not there: 22023 up to PostgreSQL 15, 42704 since; there, and its transaction is not: 55000
            // (`ImportSnapshot`, `SetTransactionSnapshot`).
            Some("22023" | "42704" | "55000") => Failure::SnapshotGone,
            _ => self,
        }
    }

    /// Whether repeating helps. Unknown server errors are permanent: repeating them only hides them.
    pub fn class(&self) -> Class {
        match self {
            Failure::Socket(_)
            | Failure::Closed
            | Failure::SnapshotGone
            | Failure::Timeout { .. } => Class::Transient,
            Failure::Tls(_) | Failure::Protocol(_) => Class::Operator,
            Failure::Server { sqlstate, .. } => class_of(sqlstate),
        }
    }

    /// What to do about it, for the failures that operators meet.
    pub fn hint(&self, side: Side) -> Option<String> {
        let option = format!("--{side}");
        match self {
            Failure::Server { message, .. } if message.contains("row-level security policy") => {
                Some(format!(
                    "rows are hidden from the role of --{side}; use the tables' owner, or ALTER ROLE … BYPASSRLS"
                ))
            }
            Failure::Server { sqlstate, hint, .. } => {
                hint_for(sqlstate, side).or_else(|| hint.clone())
            }
            Failure::Socket(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Some(format!("is the server running, and are host and port in {option} right?"))
            }
            Failure::Socket(error) if error.to_string().contains("lookup") => {
                Some(format!("the host name in {option} does not resolve from this machine"))
            }
            Failure::Socket(_) | Failure::Closed | Failure::SnapshotGone => {
                Some("what was finished is recorded; run the same command again to go on".into())
            }
            Failure::Timeout { .. } => Some(format!(
                "check the route, security group and port for {option}, or raise connect_timeout in its URL"
            )),
            Failure::Tls(_) => {
                Some(format!("set sslmode and sslrootcert in the URL given with {option}"))
            }
            Failure::Protocol(_) => None,
        }
    }
}

fn class_of(sqlstate: &str) -> Class {
    match sqlstate {
        // Shutdowns, crashes, start-up; too many connections; serialization failure and deadlock.
        "57P01" | "57P02" | "57P03" | "53300" | "40001" | "40P01" => Class::Transient,
        _ if sqlstate.starts_with("08") => Class::Transient,
        // Authorisation, resources, locks, cancelled by somebody, read-only, missing privilege.
        "55P03" | "57014" | "25006" | "42501" | "3D000" => Class::Operator,
        _ if sqlstate.starts_with("28") || sqlstate.starts_with("53") => Class::Operator,
        _ => Class::Permanent,
    }
}

fn hint_for(sqlstate: &str, side: Side) -> Option<String> {
    let text = match sqlstate {
        "28P01" | "28000" => format!(
            "check user and password of --{side}; special characters in a URL's password must be percent-encoded \
             (@ is %40, / is %2F, # is %23), or put it into VECFERRY_{}_PASSWORD",
            side.to_string().to_uppercase()
        ),
        "3D000" => {
            format!("the database named in --{side} does not exist; create it or correct the name")
        }
        "53100" => format!("free or add disk space on the {side}, then run the same command again"),
        "53200" => {
            format!("the {side} is out of memory; lower --index-memory or --jobs and run again")
        }
        "53300" => {
            format!("the {side} has no connection left; lower --jobs or raise max_connections")
        }
        "23503" => "rows refer to rows that were not moved (--existing keep, --include and --exclude leave some behind); \
                    move those too, or leave the table out with --exclude"
            .to_owned(),
        "55P03" => {
            "end the session that holds the lock, or raise --lock-timeout, and run again".to_owned()
        }
        "57014" => {
            "a statement was cancelled by somebody or by a timeout; run the same command again"
                .to_owned()
        }
        "25006" => format!(
            "the {side} is read-only (a standby, or default_transaction_read_only); use the writer"
        ),
        "42501" => format!(
            "grant the missing privilege to the role of --{side}; `vecferry check` lists all of them"
        ),
        "57P01" | "57P02" | "57P03" => {
            format!("the {side} is stopping or starting; run the same command again when it is up")
        }
        _ => return None,
    };
    Some(text)
}

/// Class 22 (data exception) quotes the offending value and class 23 may name it: neither belongs in a log. Quoted
/// words that name a thing of the schema stay.
fn without_row_content(sqlstate: &str, message: &str) -> String {
    if !sqlstate.starts_with("22") && sqlstate != "23514" {
        return message.to_owned();
    }
    const NAMED: [&str; 8] =
        ["column ", "relation ", "constraint ", "encoding ", "domain ", "type ", "enum ", "table "];
    let mut shown = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once('"') {
        shown.push_str(before);
        // A value may hold quotes itself: what follows the last of them is the server's again.
        let named = NAMED.iter().any(|word| before.ends_with(word));
        let end = if named { after.split_once('"') } else { after.rsplit_once('"') };
        let Some((value, after)) = end else { return format!("{shown}(value not shown)") };
        match named {
            true => shown.push_str(&format!("\"{value}\"")),
            false => shown.push_str("(value not shown)"),
        }
        rest = after;
    }
    shown + rest
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            let position = match db.position() {
                Some(tokio_postgres::error::ErrorPosition::Original(at)) => Some(*at),
                _ => None,
            };
            return Failure::server(db.code().code(), db.message(), db.hint(), position);
        }
        if error.is_closed() {
            return Failure::Closed;
        }
        let text = error.to_string();
        match error.into_source().map(|source| source.downcast::<io::Error>()) {
            Some(Ok(io)) => Failure::Socket(*io),
            Some(Err(other)) => Failure::Protocol(format!("{text}: {other}")),
            None => Failure::Protocol(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Failure::Closed,
            _ => Failure::Socket(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_exception_never_shows_the_value() {
        let failure = Failure::server(
            "22P02",
            "invalid input syntax for type integer: \"my secret\"",
            None,
            None,
        );
        assert!(!failure.to_string().contains("secret"), "{failure}");
        for (message, shown) in [
            (
                "value \"12345\" is out of range for type integer",
                "value (value not shown) is out of range for type integer",
            ),
            (
                "null value in column \"a\" of relation \"b\" is wrong: \"x \"y\" z\"",
                "null value in column \"a\" of relation \"b\" is wrong: (value not shown)",
            ),
            (
                "invalid byte sequence for encoding \"UTF8\": 0xff",
                "invalid byte sequence for encoding \"UTF8\": 0xff",
            ),
        ] {
            assert_eq!(without_row_content("22003", message), shown);
        }
    }

    #[test]
    fn lost_servers_are_transient_and_full_disks_are_not() {
        for (code, class) in [
            ("57P01", Class::Transient),
            ("08006", Class::Transient),
            ("40P01", Class::Transient),
            ("53100", Class::Operator),
            ("28P01", Class::Operator),
            ("55P03", Class::Operator),
            ("42P01", Class::Permanent),
            ("XX000", Class::Permanent),
        ] {
            assert_eq!(Failure::server(code, "m", None, None).class(), class, "{code}");
        }
        assert_eq!(Failure::Closed.class(), Class::Transient);
        for (code, class) in [
            ("22023", Class::Transient),
            ("42704", Class::Transient),
            ("55000", Class::Transient),
            ("57P01", Class::Transient),
            ("55P03", Class::Operator),
            ("0A000", Class::Permanent),
        ] {
            let class_of_it = Failure::server(code, "m", None, None).importing().class();
            assert_eq!(class_of_it, class, "importing: {code}");
        }
    }
}
