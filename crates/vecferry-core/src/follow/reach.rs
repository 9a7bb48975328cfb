//! Whether one server can reach the other as a subscription would. Nothing is left behind.

use crate::error::Result;
use crate::pg::{Dsn, Session};

/// How long a server may try to connect. A firewall that drops packets would keep it for minutes.
const ANSWER_WITHIN: u64 = 10;

/// What a server met when it connected to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was let in as a replication connection to the database.
    Reached,
    /// It was not.
    Refused {
        /// SQLSTATE.
        sqlstate: String,
        /// The server's words, in one line.
        message: String,
    },
    /// Nothing answered in time.
    Silence {
        /// How long was waited.
        seconds: u64,
    },
}

/// Connects and gives up on purpose: the subscription's connection asks for a standby, which the other server is not.
/// That is found out when everything else has worked: route, encryption, password, the right to replicate, a free
/// sender, the database.
///
/// The connection string holds a password. A server writes statements that fail into its log, and those around a
/// warning, so none may do either: the string is a parameter, and the failure is caught where it happens.
///
/// # Errors
/// [`crate::Error::Postgres`] when the connection to the server itself is lost.
pub(crate) async fn reach(session: &Session, to: &Dsn) -> Result<Answer> {
    let doing = "let the server connect to the other one";
    let conninfo = format!("{} target_session_attrs='standby'", to.conninfo());
    let begin = format!("BEGIN; SET LOCAL statement_timeout = '{ANSWER_WITHIN}s'");
    session.batch(doing, &begin).await?;
    let sql = "SELECT set_config('vecferry.conninfo', $1, true)";
    session.query_one(doing, sql, &[&conninfo]).await?;
    let name = format!("vecferry_check_{}", uuid::Uuid::now_v7().simple());
    session.batch(doing, &include_str!("reach.sql").replace("vecferry_check", &name)).await?;
    let sql = "SELECT current_setting('vecferry.sqlstate'), current_setting('vecferry.message')";
    let row = session.query_one(doing, sql, &[]).await?;
    session.batch(doing, "ROLLBACK").await?;
    Ok(answer(row.get(0), row.get(1), to))
}

fn answer(sqlstate: String, message: String, to: &Dsn) -> Answer {
    if sqlstate == "00000" || message.contains("not in hot standby mode") {
        return Answer::Reached;
    }
    if sqlstate == "57014" {
        return Answer::Silence { seconds: ANSWER_WITHIN };
    }
    let words = message.split_once("could not connect to the publisher: ");
    let lines = words.map_or(message.as_str(), |(_, words)| words).lines();
    let line = lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    // No message is known to hold it; it is not to be found out by one.
    let message = match to.login().password.filter(|password| !password.is_empty()) {
        Some(password) => line.replace(&password, "…"),
        None => line,
    };
    Answer::Refused { sqlstate, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_are_one_line_without_the_password() {
        let dsn: Dsn = "postgresql://u:hunter2@h/d".parse().unwrap();
        let of = |message: &str| answer("08006".into(), message.into(), &dsn);
        let prefix = "subscription \"x\" could not connect to the publisher: ";
        assert_eq!(of(&format!("{prefix}… server is not in hot standby mode")), Answer::Reached);
        assert_eq!(
            of(&format!("{prefix}connection failed: refused\n\tIs hunter2 running?\n")),
            Answer::Refused {
                sqlstate: "08006".into(),
                message: "connection failed: refused; Is … running?".into()
            }
        );
        assert_eq!(answer("57014".into(), "x".into(), &dsn), Answer::Silence { seconds: 10 });
    }
}
