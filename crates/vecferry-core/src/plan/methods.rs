//! The methods beside each other: whether each can be used here, how long it takes, what it costs and what it could
//! lose. Pure.

use super::facts::Facts;
use super::money::{Line, Price, Range, embedding};
use super::situation::{Bots, Origin, Situation};
use super::{MethodPlan, costs};
use crate::follow::identity::obstacle;
use crate::inventory::Table;
use crate::policy::{Existing, Method};
use crate::reembed::estimate::{Amount, Estimate};

/// What no price counts.
const NOT_COUNTED: &str = "the target's own hours, storage and requests are not counted";

/// Seconds that were measured and extrapolated; `None` is "not measured".
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// Until a copy is complete.
    pub(super) copy: Option<f64>,
    /// Until a follow has caught up.
    pub(super) follow: Option<f64>,
    /// Of a verification.
    pub(super) verify: Option<f64>,
}

/// All four, possible or not.
pub(super) fn all(situation: &Situation, times: &Times) -> Vec<MethodPlan> {
    vec![
        copy(situation, times),
        follow(situation, times),
        reembed(situation),
        delta(situation, times),
    ]
}

fn copy(situation: &Situation, times: &Times) -> MethodPlan {
    let why_not = rows_refused(situation);
    MethodPlan {
        price: match &situation.clusters {
            Ok(facts) => copying(situation, facts, times.copy, vec![]),
            Err(_) => hourly(situation),
        },
        seconds: times.copy,
        seconds_low: times.copy,
        seconds_high: times.copy,
        downtime_seconds: times.copy.zip(times.verify).map(|(copy, verify)| copy + verify),
        ..of(
            Method::Copy,
            why_not,
            "writes pause from the first row until the application is switched, verification included; none where nobody writes anyway, as on a restored snapshot",
            "rows written to the source after the copy's snapshot; everything before it is proven by verify",
        )
    }
}

/// A method without figures.
fn of(method: Method, why_not: Option<String>, downtime: &str, could_lose: &str) -> MethodPlan {
    MethodPlan {
        method,
        possible: why_not.is_none(),
        why_not,
        seconds: None,
        seconds_low: None,
        seconds_high: None,
        downtime_seconds: None,
        downtime: downtime.into(),
        price: Price::unknown(vec![], String::new()),
        could_lose: could_lose.into(),
    }
}

/// What copying costs, with `more` besides.
fn copying(situation: &Situation, facts: &Facts, seconds: Option<f64>, more: Vec<Line>) -> Price {
    let mut lines = costs::transfer(situation, facts);
    let snapshot = situation.origin != Origin::Live;
    if let Some(seconds) = seconds {
        lines.extend(costs::temporary(situation, facts, seconds));
    }
    lines.extend(more);
    let embedded = if lines.iter().any(|line| line.unit == "million tokens") {
        "the bots that changed are embedded"
    } else {
        "nothing is embedded again"
    };
    if snapshot && seconds.is_none() {
        let note = format!("{embedded}; {}", hourly(situation).note);
        return Price::unknown(lines, note);
    }
    let clusters = match situation.origin {
        Origin::Snapshot { .. } => "the temporary cluster is counted until it is cleaned up",
        Origin::Live if lines.is_empty() => {
            "both clusters run meanwhile, and traffic between zones or regions may be charged"
        }
        Origin::Live => "both clusters run meanwhile",
    };
    Price::of(lines, format!("{embedded}; {clusters}; {NOT_COUNTED}"))
}

/// What can be told of a temporary cluster that nobody knows how long to keep.
fn hourly(situation: &Situation) -> Price {
    let note = match costs::temporary_hour(situation) {
        Some(usd) => format!(
            "the temporary cluster costs up to ${usd:.2} an hour besides its volume; how long it is needed shows when it can be read"
        ),
        None => "not known without the source".to_owned(),
    };
    Price::unknown(vec![], note)
}

/// What would make a transfer of rows fail for certain. `check` has all the findings; this is what no choice can mend.
fn rows_refused(situation: &Situation) -> Option<String> {
    let models = &situation.models;
    if !models.are_one() {
        return Some(format!(
            "the source's vectors are of {} and the target's are to be of {}: vectors of different models cannot be compared",
            models.source, models.target
        ));
    }
    match situation.target() {
        Err(_) => return Some("the target cannot be read".into()),
        Ok(target) if target.server.in_recovery => {
            return Some("the target is a standby and takes no writes".into());
        }
        Ok(_) => {}
    }
    match (&situation.clusters, situation.origin) {
        (Ok(facts), _) => (facts.selected().next().is_none() && !facts.policy.selects_everything())
            .then(|| "no table is selected".into()),
        // It is restored first, as part of the run.
        (Err(_), Origin::Snapshot { .. }) => None,
        (Err(unread), Origin::Live) => Some(unread.why.clone()),
    }
}

fn follow(situation: &Situation, times: &Times) -> MethodPlan {
    let why_not = rows_refused(situation).or_else(|| follow_refused(situation));
    MethodPlan {
        seconds: times.follow,
        seconds_low: times.follow,
        seconds_high: times.follow,
        price: match &situation.clusters {
            Ok(facts) => following(situation, facts, times.follow),
            Err(_) => Price::unknown(vec![], "not known without the source".into()),
        },
        // The downtime is made of what happens at that moment; a number would be made up.
        ..of(
            Method::Follow,
            why_not,
            "seconds as a rule, at cutover: locks on every table, the last changes to arrive and be applied, a quick comparison of both sides, sequences and large objects, and the switch of the application; not measured beforehand. Before that nobody waits",
            "nothing that was committed before the cutover; changes of definitions are not followed, sequences jump ahead by a margin",
        )
    }
}

fn follow_refused(situation: &Situation) -> Option<String> {
    let Ok(facts) = &situation.clusters else {
        return Some("a snapshot receives no changes that could be followed".into());
    };
    if situation.origin != Origin::Live {
        return Some("a snapshot receives no changes that could be followed".into());
    }
    let needs = follow_needs(facts);
    (!needs.is_empty()).then(|| format!("it needs {}", needs.join(", ")))
}

fn following(situation: &Situation, facts: &Facts, seconds: Option<f64>) -> Price {
    let kept = "the source keeps its write-ahead log until it is applied";
    let mut lines = costs::transfer(situation, facts);
    lines.extend(costs::until_cutover(situation, facts, seconds.unwrap_or(0.0)));
    let clusters = match facts.source.server.aurora {
        true => "both clusters run until the cutover, of which the source is counted",
        false => "both clusters run until the cutover and are not counted",
    };
    Price::of(lines, format!("nothing is embedded again; {clusters}; {kept}; {NOT_COUNTED}"))
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

fn reembed(situation: &Situation) -> MethodPlan {
    let plan = of(
        Method::Reembed,
        situation.bots.as_ref().err().cloned(),
        "none for reading: a bot's rows are replaced when all of its documents succeeded",
        "text whose document is gone or changed since it was embedded",
    );
    let bots = match &situation.bots {
        Ok(bots) => bots,
        Err(why) => return MethodPlan { price: of_unknown_bots(why), ..plan },
    };
    let all = &bots.all;
    let note = format!("every bot is embedded, which is {}; {NOT_COUNTED}", amount(all));
    let price = paid(embedding(all, &situation.models.target, &situation.prices), all, note);
    let seconds = |of: &Amount| Some(of.hours * 3600.0);
    MethodPlan {
        seconds: seconds(&all.expected),
        seconds_low: seconds(&all.low),
        seconds_high: seconds(&all.high),
        price,
        ..plan
    }
}

/// The price where nobody knows how much is embedded: no registry is named, or something else is missing.
fn of_unknown_bots(why: &str) -> Price {
    Price::unknown(vec![], format!("not known without the bots and what embeds them: {why}"))
}

/// The price of lines, unless that of the model is missing among them.
fn paid(lines: Vec<Line>, estimate: &Estimate, note: String) -> Price {
    match estimate.usd_per_million_tokens {
        Some(_) => Price::of(lines, note),
        None => Price::unknown(
            lines,
            format!("{note}; the model's price is not known, --price or --prices sets it"),
        ),
    }
}

fn amount(estimate: &Estimate) -> String {
    let bots = estimate.bots;
    let tokens = estimate.expected.tokens as f64 / 1e6;
    let tokens = if tokens >= 10.0 { format!("{tokens:.0}") } else { format!("{tokens:.2}") };
    let s = if bots == 1 { "" } else { "s" };
    format!("{bots} bot{s} with about {tokens} million tokens")
}

fn delta(situation: &Situation, times: &Times) -> MethodPlan {
    let why_not = rows_refused(situation).or_else(|| delta_refused(situation));
    let plan = of(
        Method::Delta,
        why_not,
        "none for reading, as with reembed",
        "for the bots that changed since the time of the source: text whose document is gone",
    );
    let bots = match &situation.bots {
        Ok(bots) => bots,
        Err(why) => return MethodPlan { price: of_unknown_bots(why), ..plan },
    };
    if !plan.possible {
        let note = "not reckoned, as it is not possible".into();
        return MethodPlan { price: Price::unknown(vec![], note), ..plan };
    }
    let changed = changed(bots);
    let lines = embedding(&changed, &situation.models.target, &situation.prices);
    let hours = Range::new(changed.low.hours, changed.expected.hours, changed.high.hours);
    let seconds = |hours: f64| Some(times.copy? + hours * 3600.0);
    let mut price = match &situation.clusters {
        // The temporary cluster is no longer read while bots are embedded, but it is still there.
        Ok(facts) => copying(situation, facts, seconds(hours.expected), lines),
        Err(_) => Price { lines, ..hourly(situation) },
    };
    if changed.usd_per_million_tokens.is_none() {
        price = paid(price.lines, &changed, price.note);
    }
    let which = match &bots.changed {
        Ok(changed) => format!("{} of {} bots changed", changed.bots, bots.all.bots),
        Err(why) => format!(
            "which bots changed is not known ({why}): at least none, at most all {}, for which the figure stands",
            bots.all.bots
        ),
    };
    price.note = format!("{which}; {}", price.note);
    MethodPlan {
        seconds: seconds(hours.expected),
        seconds_low: seconds(hours.low),
        seconds_high: seconds(hours.high),
        price,
        ..plan
    }
}

fn delta_refused(situation: &Situation) -> Option<String> {
    if situation.origin == Origin::Live && situation.source_time.is_none() {
        return Some(
            "it is for a source as it was at a certain time: a snapshot (--source snapshot, or --temporary-cluster for its price), or one whose time is given (--source-time); the newest rows are moved by copy and follow".into(),
        );
    }
    situation.bots.as_ref().err().cloned()
}

/// What embedding the changed bots takes; from none to all of them while nobody has compared them.
fn changed(bots: &Bots) -> Estimate {
    match &bots.changed {
        Ok(changed) => changed.clone(),
        Err(_) => Estimate { low: Amount::default(), ..bots.all.clone() },
    }
}

/// The way without vecferry, where it exists: the restored cluster itself becomes the target.
pub(super) fn alternative(situation: &Situation) -> Option<String> {
    let target = situation.target().ok()?;
    let is_snapshot = situation.origin != Origin::Live;
    if !target.server.aurora || !situation.models.are_one() {
        return None;
    }
    let major = target.server.version_num / 10_000;
    let condition = match &situation.clusters {
        Ok(facts) if facts.source.server.version_num / 10_000 != major => return None,
        Ok(facts) if !facts.source.server.aurora && !is_snapshot => return None,
        Ok(_) => String::new(),
        Err(_) if is_snapshot => format!(" if the snapshot is of PostgreSQL {major}, too,"),
        Err(_) => return None,
    };
    Some(format!(
        "without vecferry,{condition} no row need be copied: the restored cluster itself can become the target. Restore the snapshot with RestoreDBClusterFromSnapshot and KmsKeyId, which encrypts the copy; add an instance of the same class; set its master password and write it into the application's secret; let the stack own the cluster (in CDK `rds.DatabaseClusterFromSnapshot` in place of `DatabaseCluster`, which replaces the cluster of the stack once more); delete the cluster that it replaces. What was written to the target since is lost, and bots that changed since the snapshot have to be synchronised. vecferry does not do it, because only you can change what your stack owns; afterwards `vecferry verify` still proves it"
    ))
}
