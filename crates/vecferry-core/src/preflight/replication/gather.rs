//! Reads what replication needs to know of both clusters, and lets each server try to reach the other one. Changes
//! nothing and leaves nothing behind.

use std::time::Duration;

use crate::error::{Error, Result, Side};
use crate::follow::reach::{Answer, reach};
use crate::follow::{source_from_target, target_from_source};
use crate::pg::{Dsn, Session};
use crate::policy::Clusters;
use crate::preflight::NotRun;
use crate::preflight::facts::{Facts, Known, Replication, Way, is_local};
use crate::preflight::gather::unreadable;

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
    let to_target = target_from_source(clusters, &facts.policy);
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
        reach(&session, to).await
    };
    let answer = match tokio::time::timeout(GIVE_UP_AFTER, trying).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(unreadable(&error).what),
        Err(_) => Answer::Silence { seconds: GIVE_UP_AFTER.as_secs() },
    };
    Ok(Way { address: to.address(), local: is_local(&to.host), answer })
}
