//! The methods beside each other. Pure.
//!
//! Only `copy` is in this version; the others are shown with what they would need here, as far as the facts tell.

use super::facts::Facts;
use super::{Method, MethodPlan, Price};
use crate::phase::Phase;

const NOT_HERE: &str = "not in this version";

pub(super) fn all(
    facts: &Facts,
    estimates: Option<&[(Phase, f64)]>,
    verify_seconds: Option<f64>,
) -> Vec<MethodPlan> {
    let seconds = estimates.map(|phases| phases.iter().map(|(_, seconds)| seconds).sum());
    vec![copy(facts, seconds, verify_seconds), follow(facts), reembed(), delta()]
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

fn follow(facts: &Facts) -> MethodPlan {
    let mut needs = vec![];
    if facts.source.server.wal_level != "logical" {
        needs.push(format!(
            "wal_level = logical on the source (now {})",
            facts.source.server.wal_level
        ));
    }
    if facts.source.server.in_recovery {
        needs.push("the writer as source".into());
    }
    let keyless = facts
        .with_rows()
        .filter(|table| table.key.is_empty() && table.replica_identity != 'f')
        .count();
    if keyless > 0 {
        needs.push(format!("a primary key or replica identity on {keyless} tables"));
    }
    let needs = if needs.is_empty() {
        "this source has what it needs".into()
    } else {
        format!("it would need {}", needs.join(", "))
    };
    unavailable(
        Method::Follow,
        format!("{NOT_HERE}; {needs}"),
        "from the moment writes are refused until the last change has arrived and the application is switched",
        Price {
            dollars: Some(0.0),
            note: "nothing is embedded again; both clusters run until cutover".into(),
        },
        "nothing that was committed before the cutover; sequences jump ahead by a margin",
    )
}

fn reembed() -> MethodPlan {
    unavailable(
        Method::Reembed,
        format!("{NOT_HERE}; it would need the bots' documents and an embedding model"),
        "none for reading: a bot's rows are replaced when all of its documents succeeded",
        Price {
            dollars: None,
            note: "unknown: the documents and the model's price are not read in this version"
                .into(),
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
