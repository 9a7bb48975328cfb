//! Which method to take, and why. Pure.

use super::MethodPlan;
use super::facts::{Facts, Wal};
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
    if possible(Method::Delta) && !is_in_use(situation) {
        return Some(of_the_past(situation));
    }
    match &situation.clusters {
        Ok(facts) => of_source(facts, methods).or_else(|| {
            reembed("no rows can be moved as things are, and the documents are there".into())
        }),
        Err(_) if possible(Method::Copy) => Some((
            Method::Copy,
            "the snapshot has the rows; where a registry of bots can be read (--bot-table, --bot-file), a delta embeds anew what changed since".into(),
        )),
        Err(unread) => {
            let delta = match situation.source_time {
                Some(time) => format!(
                    "; a delta would embed only what changed since {time}, once the source can be read (`vecferry restore` makes one of a snapshot)"
                ),
                None => String::new(),
            };
            reembed(format!("{}, and the documents are there{delta}", unread.why))
        }
    }
}

/// Whether the source was seen being written to, though somebody says that it is as it was at a certain time: its newest
/// rows are what counts then.
fn is_in_use(situation: &Situation) -> bool {
    let facts = situation.clusters.as_ref().ok().filter(|_| situation.origin == Origin::Live);
    facts.is_some_and(|facts| written(facts).is_some())
}

/// Of a snapshot, or of any source as it was at a certain time: its rows alone would lack what changed since.
fn of_the_past(situation: &Situation) -> (Method, String) {
    let source = match situation.origin {
        Origin::Snapshot { .. } => "snapshot",
        Origin::Live => "source",
    };
    match situation.changed() {
        Some(changed) if changed.bots == 0 => (
            Method::Copy,
            format!("the {source} has all rows, and no bot has changed since its time"),
        ),
        _ => (
            Method::Delta,
            format!(
                "the {source} has the rows of every bot that did not change since its time; only the others are embedded and paid for"
            ),
        ),
    }
}

/// What is written to the source, if that is more than the server's own housekeeping.
fn written(facts: &Facts) -> Option<Wal> {
    facts.probe.wal.filter(|wal| {
        wal.transactions_per_second() >= WRITING_TRANSACTIONS
            && wal.bytes_per_second() >= WRITTEN_BYTES
    })
}

/// A copy, unless the source is seen being written to and the copy would refuse writes for more than a minute.
fn of_source(facts: &Facts, methods: &[MethodPlan]) -> Option<(Method, String)> {
    let possible = |wanted: Method| methods.iter().find(|one| one.method == wanted && one.possible);
    let writes = written(facts).map(|wal| {
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
