//! Which method to take, and why. Pure.

use super::MethodPlan;
use super::facts::Facts;
use super::situation::{Origin, Situation};
use crate::policy::Method;
use crate::preflight::human_bytes;

/// Downtime that a pause of writes is simpler than: a minute can be announced.
const SHORT_PAUSE: f64 = 60.0;
/// A second. Less than this is the server's own housekeeping.
const WRITING_TRANSACTIONS: f64 = 1.0;
const WRITTEN_BYTES: f64 = 1024.0;

/// The method, and why. Where the vectors that are there serve, rows are moved rather than embedded again; of these a
/// copy is the simplest.
pub(super) fn recommend(situation: &Situation, methods: &[MethodPlan]) -> Option<(Method, String)> {
    let possible = |wanted: Method| methods.iter().any(|one| one.method == wanted && one.possible);
    let reembed = |why: String| possible(Method::Reembed).then_some((Method::Reembed, why));
    let models = &situation.models;
    if !models.are_one() {
        return reembed(format!(
            "the model changes from {} to {}, so every text needs a new vector",
            models.source, models.target
        ));
    }
    if let (Origin::Snapshot { .. }, true) = (situation.origin, possible(Method::Delta)) {
        return Some(of_snapshot(situation));
    }
    match &situation.clusters {
        Ok(facts) => of_source(facts, methods).or_else(|| {
            reembed("no rows can be moved as things are, and the documents are there".into())
        }),
        Err(_) if possible(Method::Copy) => {
            Some((Method::Copy, "the snapshot has the rows; no registry tells of changes".into()))
        }
        Err(unread) => reembed(format!("{}, and the documents are there", unread.why)),
    }
}

fn of_snapshot(situation: &Situation) -> (Method, String) {
    let changed = situation.bots.as_ref().ok().and_then(|bots| bots.changed);
    match changed {
        Some(changed) if changed.bots == 0 => (
            Method::Copy,
            "the snapshot has all rows, and no bot has changed since it was taken".into(),
        ),
        _ => (
            Method::Delta,
            "the snapshot has the rows of every bot that did not change since; only the others are embedded and paid for".into(),
        ),
    }
}

/// A copy, unless the source is seen being written to and the copy would refuse writes for more than a minute.
fn of_source(facts: &Facts, methods: &[MethodPlan]) -> Option<(Method, String)> {
    let possible = |wanted: Method| methods.iter().find(|one| one.method == wanted && one.possible);
    let written = facts.probe.wal.filter(|wal| {
        wal.transactions_per_second() >= WRITING_TRANSACTIONS
            && wal.bytes_per_second() >= WRITTEN_BYTES
    });
    let writes = written.map(|wal| {
        format!(
            "the source is being written to ({:.0} transactions and {} of write-ahead log a second)",
            wal.transactions_per_second(),
            human_bytes(super::size::scaled(1, wal.bytes_per_second()))
        )
    });
    let (copy, follow) = (possible(Method::Copy), possible(Method::Follow));
    let short = |copy: &MethodPlan| copy.downtime_seconds.is_some_and(|time| time <= SHORT_PAUSE);
    let only = match possible(Method::Reembed) {
        Some(_) => "the rows' vectors serve as they are, so nothing need be embedded again",
        None => "the only method that is possible here",
    };
    match (copy, follow, writes) {
        (Some(copy), Some(_), Some(writes)) if !short(copy) => Some((
            Method::Follow,
            format!("{writes}, and a copy refuses writes for longer than a minute"),
        )),
        (Some(_), Some(_), Some(writes)) => Some((
            Method::Copy,
            format!(
                "{writes}, but a copy takes less than a minute; follow where even that is too long"
            ),
        )),
        (Some(_), Some(_), None) => Some((
            Method::Copy,
            "nothing was seen to write to the source, or it can pause; follow where it cannot"
                .into(),
        )),
        (Some(_), None, Some(writes)) => Some((
            Method::Copy,
            format!("{writes}: they have to pause until the application is switched"),
        )),
        (Some(_), None, None) => Some((Method::Copy, only.into())),
        (None, Some(_), _) => Some((Method::Follow, only.into())),
        (None, None, _) => None,
    }
}
