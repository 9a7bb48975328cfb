//! The plan: what there is, which methods could move it, how long each takes, what it costs and what it could lose, side
//! by side.
//!
//! Pure and synchronous: [`plan`] decides from a [`Situation`], whose [`Facts`] `gather` reads and `probe` measures. The
//! source may be gone; then there are no facts, and the methods that need no rows of it are still judged.

mod apply_start;
mod costs;
mod estimate;
mod facts;
mod gather;
mod methods;
mod money;
mod recommend;
mod situation;
pub mod size;
mod steps;
mod summary;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use apply_start::Choice;
pub(crate) use estimate::{DEFAULT_EF_CONSTRUCTION, DEFAULT_LISTS, DEFAULT_M};
pub use facts::{Build, Facts, Probe, Rate, Wal};
pub use gather::{gather, gather_target};
pub use money::{Line, Price, Range};
pub use situation::{Bots, Models, Origin, Situation, Unread};
pub use summary::{ClusterSummary, VectorColumn, VectorIndex};

pub use crate::policy::Method;

use crate::inventory::TableKind;
use crate::phase::{Phase, Route};
use crate::policy::ApplyStart;
use crate::reembed::estimate::Estimate;
use size::estimated_rows;

/// The plan of a migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Layout version of this object: 2 since the source may be missing and prices count what runs because of the
    /// migration.
    pub version: u32,
    /// What the source holds; `None` when it could not be read.
    pub source: Option<ClusterSummary>,
    /// What the target holds; `None` when it could not be read.
    pub target: Option<ClusterSummary>,
    /// What embedding every bot takes; `None` without a registry of bots.
    pub embedding: Option<Estimate>,
    /// What embedding those bots takes that changed since the time of the source; `None` where they were not compared.
    pub changed: Option<Estimate>,
    /// Every method, possible or not.
    pub methods: Vec<MethodPlan>,
    /// The one to take; `None` when none is possible.
    pub recommended: Option<Method>,
    /// Why that one.
    pub reason: Option<String>,
    /// How the target could be had without moving rows, and why vecferry does not do it; `None` where that does not fit.
    pub alternative: Option<String>,
    /// What the method asked for does ([`crate::policy::Policy::method`]), else the recommended one, in order. Empty
    /// when it is not possible.
    pub steps: Vec<Step>,
    /// When apply would start in a follow; `None` when that is not possible here.
    pub apply_start: Option<Choice>,
    /// Seconds expected for each phase of `steps`, to be set beside the outcome; empty unless every phase could be told,
    /// apart from those that end by what others write: catch-up and following.
    pub estimates: Vec<(Phase, f64)>,
    /// Seconds a verification will take; `None` when not measured.
    pub verify_seconds: Option<f64>,
    /// Which prices were used, in words.
    pub prices: String,
    /// What the estimates rest on, and what could not be measured.
    pub warnings: Vec<String>,
}

/// One method, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodPlan {
    /// Which.
    pub method: Method,
    /// Whether it can be used here.
    pub possible: bool,
    /// Why not.
    pub why_not: Option<String>,
    /// How long it takes; `None` when that could not be measured.
    pub seconds: Option<f64>,
    /// The least that it may take, likewise.
    pub seconds_low: Option<f64>,
    /// The most that it may take, likewise.
    pub seconds_high: Option<f64>,
    /// How long nobody may write; `None` when that cannot be told.
    pub downtime_seconds: Option<f64>,
    /// Where the downtime comes from, in words.
    pub downtime: String,
    /// What it costs beyond the target itself.
    pub price: Price,
    /// What could be lost.
    pub could_lose: String,
}

/// One step of a method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Phase it belongs to.
    pub phase: Phase,
    /// What is done.
    pub what: String,
    /// How long it takes; `None` when not measured.
    pub seconds: Option<f64>,
}

/// Phases of a route with their seconds.
type Phases = Vec<(Phase, Option<f64>)>;

/// Makes the plan.
pub fn plan(situation: &Situation) -> Plan {
    let facts = situation.clusters.as_ref().ok();
    let choice = facts.map(choose_apply_start);
    let follow_route = match &choice {
        Some(Choice { start: ApplyStart::First, .. }) => Route::FollowApplyFirst,
        _ => Route::FollowApplyLast,
    };
    let phases = |route| facts.map(|facts| estimate::phases(facts, route)).unwrap_or_default();
    let (copy, follow) = (phases(Route::Copy), phases(follow_route));
    let times = methods::Times {
        copy: total(&copy),
        follow: total(&follow),
        verify: facts.and_then(estimate::verify_seconds),
    };
    let methods = methods::all(situation, &times);
    let possible = |wanted| methods.iter().any(|one| one.method == wanted && one.possible);
    let (recommended, reason) = recommend::recommend(situation, &methods).unzip();
    let asked = situation.asked();
    let shown = asked.map_or(recommended, |wanted| possible(wanted).then_some(wanted));
    let embedding = |method| {
        let seconds = methods.iter().find(|one| one.method == method).and_then(|one| one.seconds);
        let rows = if method == Method::Delta { times.copy } else { Some(0.0) };
        (Phase::Embedding, seconds.zip(rows).map(|(all, rows)| all - rows))
    };
    let (route, phases) = match shown {
        Some(Method::Follow) => (follow_route, follow),
        Some(Method::Reembed) => (Route::Reembed, vec![embedding(Method::Reembed)]),
        Some(Method::Delta) => (Route::Copy, [copy, vec![embedding(Method::Delta)]].concat()),
        _ => (Route::Copy, copy),
    };
    Plan {
        version: 2,
        source: facts
            .map(|facts| summary::summarize(&facts.source, &|table| facts.policy.selects(table))),
        target: situation.target().ok().map(|target| summary::summarize(target, &|_| true)),
        embedding: situation.bots.as_ref().ok().map(|bots| bots.all.clone()),
        changed: situation.changed().cloned(),
        steps: match shown {
            Some(method) => steps::steps(situation, method, route, &phases),
            None => vec![],
        },
        estimates: shown.and_then(|_| estimates(&phases)).unwrap_or_default(),
        apply_start: choice.filter(|_| possible(Method::Follow)),
        alternative: methods::alternative(situation),
        methods,
        recommended,
        reason,
        verify_seconds: times.verify,
        prices: situation.prices.note(situation.region.as_deref()),
        warnings: warnings(situation),
    }
}

/// Seconds of each phase; `None` unless all of them could be told that can be, and when there is none.
fn estimates(phases: &Phases) -> Option<Vec<(Phase, f64)>> {
    let measurable = phases.iter().filter(|(phase, _)| !estimate::is_open_ended(*phase));
    let told: Option<Vec<_>> =
        measurable.map(|(phase, seconds)| Some((*phase, (*seconds)?))).collect();
    told.filter(|told| !told.is_empty())
}

fn total(phases: &Phases) -> Option<f64> {
    Some(estimates(phases)?.iter().map(|(_, seconds)| seconds).sum())
}

/// When apply starts, from what was measured.
fn choose_apply_start(facts: &Facts) -> Choice {
    let of = |route: Route, wanted: &[Phase]| -> Option<f64> {
        let phases = estimate::phases(facts, route).into_iter();
        phases.filter(|(phase, _)| wanted.contains(phase)).map(|(_, seconds)| seconds).sum()
    };
    use Phase::{Analyze, Constraints, Indexes, Keys, Rows, Schema, Sequences};
    let measured = apply_start::Measured {
        rate: facts.probe.wal.map(Wal::bytes_per_second),
        copy: of(Route::Copy, &[Schema, Rows, Sequences]),
        keys: of(Route::FollowApplyFirst, &[Keys]),
        rest: of(Route::FollowApplyLast, &[Indexes, Constraints, Analyze]),
        limit: facts.probe.wal.and_then(|wal| wal.kept_bytes),
    };
    apply_start::choose(facts.policy.follow.apply_start, &measured)
}

fn warnings(situation: &Situation) -> Vec<String> {
    let mut warnings = vec![];
    if let Err(why) = situation.target() {
        warnings.push(format!("the target could not be read: {why}"));
    }
    if let Ok(bots) = &situation.bots {
        warnings.extend(bots.all.guesses.iter().cloned());
    }
    match &situation.clusters {
        Ok(facts) => warnings.extend(warnings_of_rows(facts)),
        Err(unread) => warnings.push(format!("nothing was measured: {}", unread.why)),
    }
    warnings
}

fn warnings_of_rows(facts: &Facts) -> Vec<String> {
    let mut warnings = vec![];
    warnings.extend(facts.probe.left_out.iter().cloned());
    let unknown: Vec<String> = facts
        .with_rows()
        .filter(|table| table.estimated_rows.is_none() && table.table_bytes > 0)
        .map(|table| table.name.plain())
        .collect();
    if !unknown.is_empty() {
        warnings.push(format!(
            "never analysed on the source, so their rows are guessed from their size: {}",
            unknown.join(", ")
        ));
    }
    for table in facts.with_rows() {
        for index in table.indexes.iter().filter(|index| index.is_vector()) {
            if !estimate::fits(facts, table, index, estimated_rows(table)) {
                warnings.push(format!(
                    "index {} does not fit into the memory for builds; more memory (--index-memory, a larger instance) makes it several times faster",
                    index.name
                ));
            }
        }
    }
    if facts.selected().any(|table| table.kind == TableKind::Foreign) {
        warnings.push("foreign tables are moved without their rows".into());
    }
    warnings
}
