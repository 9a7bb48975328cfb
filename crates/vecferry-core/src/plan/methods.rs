//! The methods beside each other. Pure.
//!
//! `copy` and `follow` are in this version; the others are shown with what they would need here, as far as the facts
//! tell.

use super::facts::Facts;
use super::{Method, MethodPlan, Price};
use crate::follow::identity::obstacle;
use crate::inventory::Table;
use crate::policy::Existing;
use crate::preflight::human_bytes;

const NOT_HERE: &str = "not in this version";

/// `copy_seconds` and `follow_seconds`: until all is there, and until the target has caught up.
pub(super) fn all(
    facts: &Facts,
    copy_seconds: Option<f64>,
    follow_seconds: Option<f64>,
    verify_seconds: Option<f64>,
) -> Vec<MethodPlan> {
    vec![
        copy(facts, copy_seconds, verify_seconds),
        follow(facts, follow_seconds),
        reembed(),
        delta(),
    ]
}

fn copy(facts: &Facts, seconds: Option<f64>, verify_seconds: Option<f64>) -> MethodPlan {
    let why_not = copy_refused(facts);
    MethodPlan {
        method: Method::Copy,
        possible: why_not.is_none(),
        why_not,
        seconds,
        downtime_seconds: seconds.zip(verify_seconds).map(|(copy, verify)| copy + verify),
        downtime: "writes pause from the first row until the application is switched, verification included; none where nobody writes anyway, as on a restored snapshot".into(),
        price: Price {
            dollars: Some(0.0),
            note: "nothing is embedded again; both clusters run meanwhile, and traffic between zones or regions may be charged".into(),
        },
        could_lose: "rows written to the source after the copy's snapshot; everything before it is proven by verify".into(),
    }
}

/// What would make a copy fail for certain. `check` has all the findings; this is what no choice can mend.
fn copy_refused(facts: &Facts) -> Option<String> {
    let target = match &facts.target {
        Ok(target) => target,
        Err(_) => return Some("the target cannot be read".into()),
    };
    if target.server.in_recovery {
        return Some("the target is a standby and takes no writes".into());
    }
    if facts.selected().next().is_none() && !facts.policy.selects_everything() {
        return Some("no table is selected".into());
    }
    None
}

fn follow(facts: &Facts, seconds: Option<f64>) -> MethodPlan {
    let why_not = copy_refused(facts).or_else(|| {
        let needs = follow_needs(facts);
        (!needs.is_empty()).then(|| format!("it needs {}", needs.join(", ")))
    });
    MethodPlan {
        method: Method::Follow,
        possible: why_not.is_none(),
        why_not,
        seconds,
        // Made of what happens at that moment; a number would be made up.
        downtime_seconds: None,
        downtime: "seconds as a rule, at cutover: locks on every table, the last changes to arrive and be applied, a quick comparison of both sides, sequences and large objects, and the switch of the application; not measured beforehand. Before that nobody waits".into(),
        price: Price {
            dollars: Some(0.0),
            note: "nothing is embedded again; both clusters run until cutover, and the source keeps its write-ahead log until it is applied".into(),
        },
        could_lose: "nothing that was committed before the cutover; changes of definitions are not followed, sequences jump ahead by a margin".into(),
    }
}

/// What this source and these choices lack, as far as the facts tell. `check --method follow` knows more: rights, free
/// slots, whether the servers reach each other.
fn follow_needs(facts: &Facts) -> Vec<String> {
    let server = &facts.source.server;
    let mut needs = vec![];
    if server.wal_level != "logical" {
        needs.push(format!("wal_level = logical on the source (now {})", server.wal_level));
    }
    if server.in_recovery {
        needs.push("the writer as source".into());
    }
    let count = |wanted: &dyn Fn(&Table) -> bool| facts.with_rows().filter(|t| wanted(t)).count();
    let keyless = count(&|table| obstacle(table).is_some());
    if keyless > 0 && !facts.policy.follow.set_replica_identity {
        needs.push(format!(
            "a primary key or replica identity on {keyless} tables (or --set-replica-identity)"
        ));
    }
    let unlogged = count(&|table| table.unlogged);
    if unlogged > 0 {
        needs.push(format!("{unlogged} unlogged tables to be logged or left out"));
    }
    if facts.policy.existing == Existing::Keep {
        needs.push("another choice than --existing keep".into());
    }
    needs
}

/// Downtime that a pause of writes is simpler than: a minute can be announced.
const SHORT_PAUSE: f64 = 60.0;
/// A second. Less than this is the server's own housekeeping.
const WRITING_TRANSACTIONS: f64 = 1.0;
const WRITTEN_BYTES: f64 = 1024.0;

/// The method to take, and why. A copy is the simplest of all, so it is recommended unless the source is seen being
/// written to and the copy would refuse writes for more than a minute.
pub(super) fn recommend(facts: &Facts, methods: &[MethodPlan]) -> Option<(Method, String)> {
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
        (Some(_), None, None) => {
            Some((Method::Copy, "the only method that is possible here".into()))
        }
        (None, Some(_), _) => {
            Some((Method::Follow, "the only method that is possible here".into()))
        }
        (None, None, _) => None,
    }
}

fn reembed() -> MethodPlan {
    unavailable(
        Method::Reembed,
        "this plan reads neither bots nor documents; `vecferry migrate --method reembed --dry-run` estimates it"
            .into(),
        "none for reading: a bot's rows are replaced when all of its documents succeeded",
        Price {
            dollars: None,
            note: "see `vecferry migrate --method reembed --dry-run`".into(),
        },
        "text whose document is gone or changed since it was embedded",
    )
}

fn delta() -> MethodPlan {
    unavailable(
        Method::Delta,
        format!(
            "{NOT_HERE}; it would need a snapshot of the source and the bots that changed since"
        ),
        "none for reading, as with reembed",
        Price {
            dollars: None,
            note: "unknown: which bots changed is not read in this version".into(),
        },
        "for the bots that changed since the snapshot: text whose document is gone",
    )
}

fn unavailable(
    method: Method,
    why_not: String,
    downtime: &str,
    price: Price,
    could_lose: &str,
) -> MethodPlan {
    MethodPlan {
        method,
        possible: false,
        why_not: Some(why_not),
        seconds: None,
        downtime_seconds: None,
        downtime: downtime.into(),
        price,
        could_lose: could_lose.into(),
    }
}
