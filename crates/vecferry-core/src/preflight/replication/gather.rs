//! Reads what replication needs to know of both clusters, and lets each server try to reach the other one. Changes
//! nothing and leaves nothing behind.

use std::time::Duration;

use crate::error::{Error, Result, Side};
use crate::follow::source_from_target;
use crate::pg::{Dsn, Session};
use crate::policy::Clusters;
use crate::preflight::NotRun;
use crate::preflight::facts::{Answer, Facts, Known, Replication, Way, is_local};
use crate::preflight::gather::unreadable;

/// How long a server may try to connect. A firewall that drops packets would keep it for minutes.
const ANSWER_WITHIN: u64 = 10;
/// A server cannot be interrupted while it looks a name up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Reads one cluster.
///
/// # Errors
/// [`Error::Postgres`]; [`Error::Bug`] when the answer has another shape.
pub(in crate::preflight) async fn read(session: &Session) -> Result<Replication> {
    let doing = "read what replication needs";
    let text: String = session.query_one(doing, include_str!("replication.sql"), &[]).await?.get(0);
    serde_json::from_str(&text).map_err(|error| Error::Bug {
        what: format!("{doing}: the answer has another shape: {error}"),
    })
}

/// Both ways between the servers, as far as they could be tried.
#[derive(Default)]
pub(in crate::preflight) struct Ways {
    /// From the target's server to the source.
    pub(in crate::preflight) forward: Option<Way>,
    /// From the source's server to the target.
    pub(in crate::preflight) back: Option<Way>,
    pub(in crate::preflight) left_out: Vec<NotRun>,
}

/// Tries both ways at the same time, for `follow` only.
pub(in crate::preflight) async fn ways(clusters: &Clusters, facts: &Facts) -> Ways {
    let Some((source, target)) = facts.both().filter(|_| facts.follows()) else {
        return Ways::default();
    };
    let to_source = source_from_target(clusters, &facts.policy);
    let ours = || clusters.target.clone().without_certificate_file();
    let to_target = facts.policy.follow.target_from_source.clone().unwrap_or_else(ours);
    let (forward, back) = tokio::join!(
        attempt((Side::Target, &clusters.target, target), (&to_source, source)),
        attempt((Side::Source, &clusters.source, source), (&to_target, target)),
    );
    let mut ways = Ways::default();
    let mut keep = |outcome: Result<Way, String>, side: Side| {
        let left_out = |why| NotRun { check: format!("way from the {side}'s server"), why };
        outcome.map_err(|why| ways.left_out.push(left_out(why))).ok()
    };
    let (forward, back) = (keep(forward, Side::Target), keep(back, Side::Source));
    (ways.forward, ways.back) = (forward, back);
    ways
}

/// Lets the server on one side try to reach `to`, or says why that was not tried.
async fn attempt(
    (side, dsn, from): (Side, &Dsn, &Known),
    (to, reached): (&Dsn, &Known),
) -> Result<Way, String> {
    if from.inventory.server.in_recovery || from.extra.read_only {
        return Err(format!("the {side} takes no writes"));
    }
    // By what tells a standby from a primary it is known that the connection worked.
    if reached.inventory.server.in_recovery {
        return Err("the other server is a standby".into());
    }
    let may = from.replication.as_ref().is_some_and(|replication| replication.may_subscribe)
        || from.extra.managed_superuser;
    if !may || !from.inventory.server.can_create {
        return Err(format!("the role may not create subscriptions on the {side}"));
    }
    let trying = async {
        let session = Session::open(dsn, side, "check").await?;
        try_to_connect(&session, to).await
    };
    let answer = match tokio::time::timeout(GIVE_UP_AFTER, trying).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(unreadable(&error).what),
        Err(_) => Answer::Silence { seconds: GIVE_UP_AFTER.as_secs() },
    };
    Ok(Way { address: to.address(), local: is_local(&to.host), answer })
}

/// Connects and gives up on purpose: the subscription's connection asks for a standby, which the other server is not.
/// That is found out when everything else has worked: route, encryption, password, the right to replicate, a free
/// sender, the database.
///
/// The connection string holds a password. A server writes statements that fail into its log, and those around a
/// warning, so none may do either: the string is a parameter, and the failure is caught where it happens.
async fn try_to_connect(session: &Session, to: &Dsn) -> Result<Answer> {
    let doing = "let the server connect to the other one";
    let conninfo = format!("{} target_session_attrs='standby'", to.conninfo());
    let begin = format!("BEGIN; SET LOCAL statement_timeout = '{ANSWER_WITHIN}s'");
    session.batch(doing, &begin).await?;
    let sql = "SELECT set_config('vecferry.conninfo', $1, true)";
    session.query_one(doing, sql, &[&conninfo]).await?;
    let name = format!("vecferry_check_{}", uuid::Uuid::now_v7().simple());
    session.batch(doing, &include_str!("connect.sql").replace("vecferry_check", &name)).await?;
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
    let message = match to.password().filter(|password| !password.is_empty()) {
        Some(password) => line.replace(password, "…"),
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
