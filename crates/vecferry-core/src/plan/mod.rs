//! The plan: what there is, which methods could move it, how long each takes and what it could lose, side by side.
//!
//! Pure and synchronous: [`plan`] decides from [`Facts`], which `gather` reads and `probe` measures.

mod apply_start;
mod estimate;
mod facts;
mod gather;
mod methods;
pub mod size;
mod summary;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use apply_start::Choice;
pub(crate) use estimate::{DEFAULT_EF_CONSTRUCTION, DEFAULT_LISTS, DEFAULT_M};
pub use facts::{Build, Facts, Probe, Rate, Wal};
pub use gather::gather;
pub use summary::{ClusterSummary, VectorColumn, VectorIndex};

pub use crate::policy::Method;

use crate::inventory::TableKind;
use crate::phase::{Phase, Route};
use crate::policy::ApplyStart;
use crate::preflight::human_bytes;
use size::estimated_rows;

/// The plan of a migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Layout version of this object.
    pub version: u32,
    /// What the source holds.
    pub source: ClusterSummary,
    /// What the target holds; `None` when it could not be read.
    pub target: Option<ClusterSummary>,
    /// Every method, possible or not.
    pub methods: Vec<MethodPlan>,
    /// The one to take; `None` when none is possible.
    pub recommended: Option<Method>,
    /// Why that one.
    pub reason: Option<String>,
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
    /// How long nobody may write; `None` when that cannot be told.
    pub downtime_seconds: Option<f64>,
    /// Where the downtime comes from, in words.
    pub downtime: String,
    /// What it costs beyond the clusters themselves.
    pub price: Price,
    /// What could be lost.
    pub could_lose: String,
}

/// Money for services that are called because of the migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Price {
    /// US dollars; `None` when unknown.
    pub dollars: Option<f64>,
    /// What it covers, or why it is unknown.
    pub note: String,
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

/// Makes the plan.
pub fn plan(facts: &Facts) -> Plan {
    let choice = choose_apply_start(facts);
    let follow_route = match choice.start {
        ApplyStart::First => Route::FollowApplyFirst,
        ApplyStart::Last | ApplyStart::Auto => Route::FollowApplyLast,
    };
    let (copy, follow) =
        (estimate::phases(facts, Route::Copy), estimate::phases(facts, follow_route));
    let verify_seconds = estimate::verify_seconds(facts);
    let methods = methods::all(facts, total(&copy), total(&follow), verify_seconds);
    let possible = |wanted| methods.iter().any(|one| one.method == wanted && one.possible);
    let (recommended, reason) = methods::recommend(facts, &methods).unzip();
    let shown =
        facts.policy.method.map_or(recommended, |wanted| possible(wanted).then_some(wanted));
    let (route, phases) = match shown {
        Some(Method::Follow) => (follow_route, follow),
        _ => (Route::Copy, copy),
    };
    Plan {
        version: 1,
        source: summary::summarize(&facts.source, &|table| facts.policy.selects(table)),
        target: facts.target.as_ref().ok().map(|target| summary::summarize(target, &|_| true)),
        steps: if shown.is_some() { steps(facts, route, &phases) } else { vec![] },
        estimates: shown.and_then(|_| estimates(&phases)).unwrap_or_default(),
        apply_start: possible(Method::Follow).then_some(choice),
        methods,
        recommended,
        reason,
        verify_seconds,
        warnings: warnings(facts),
    }
}

/// Seconds of each phase; `None` unless all of them could be told that can be.
fn estimates(phases: &[(Phase, Option<f64>)]) -> Option<Vec<(Phase, f64)>> {
    let measurable = phases.iter().filter(|(phase, _)| !estimate::is_open_ended(*phase));
    measurable.map(|(phase, seconds)| Some((*phase, (*seconds)?))).collect()
}

fn total(phases: &[(Phase, Option<f64>)]) -> Option<f64> {
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

fn steps(facts: &Facts, route: Route, phases: &[(Phase, Option<f64>)]) -> Vec<Step> {
    let step = |(phase, seconds): &(Phase, Option<f64>)| Step {
        phase: *phase,
        what: describe(facts, route, *phase),
        seconds: *seconds,
    };
    phases.iter().map(step).collect()
}

/// What a phase does here, with its numbers.
fn describe(facts: &Facts, route: Route, phase: Phase) -> String {
    let prepared = |wanted: bool| {
        facts
            .selected()
            .filter(|table| {
                let there =
                    facts.target.as_ref().is_ok_and(|target| target.table(&table.name).is_some());
                there == wanted
            })
            .count()
    };
    let indexes = |vector: bool| {
        let of = facts.with_rows().flat_map(|table| &table.indexes);
        of.filter(|index| index.is_vector() == vector && estimate::built_in(route, phase, index))
            .count()
    };
    let follows = route.method() == Method::Follow;
    match phase {
        Phase::Schema => {
            let (there, missing) = (prepared(true), prepared(false));
            let drop = if there > 0 {
                format!("; compare {there} that are there and drop their indexes for the load")
            } else {
                String::new()
            };
            let slot = if follows { "publication and replication slot on the source, whose snapshot is copied; " } else { "" };
            format!(
                "{slot}create extensions, schemas, types, functions and {missing} tables on the target{drop}"
            )
        }
        Phase::Rows => format!(
            "copy {} tables, {} ({} on the wire), over {} connections in parts of {}",
            facts.with_rows().count(),
            human_bytes(estimate::table_bytes(facts)),
            human_bytes(estimate::copy_bytes(facts)),
            facts.policy.jobs,
            human_bytes(facts.policy.part_bytes),
        ),
        Phase::Sequences => format!(
            "set {} sequences, copy {} large objects",
            facts.source.sequences.len(),
            facts.source.large_objects
        ),
        Phase::Indexes => {
            let beside = if route == Route::FollowApplyFirst { ", one at a time beside apply" } else { "" };
            format!("build {} vector indexes and {} others{beside}", indexes(true), indexes(false))
        }
        Phase::Keys => {
            format!("build {} b-tree indexes, by which changes find their rows", indexes(false))
        }
        Phase::Subscribe => "subscribe the target to the slot: its server connects to the source, and changes begin to arrive".into(),
        Phase::CatchUp => "apply what was written since the slot was made; as long as that takes".into(),
        Phase::Following => "apply changes as they come, until `vecferry cutover` ends it; with --detach nobody need wait".into(),
        Phase::Constraints => format!(
            "add {} foreign keys and other constraints, triggers, rules and policies",
            facts.selected().map(|table| table.constraints.len()).sum::<usize>()
        ),
        Phase::Analyze => "VACUUM (ANALYZE) every table, so that the planner knows them".into(),
        Phase::Embedding => "embed every bot's documents anew, one task per bot".into(),
        Phase::Done => "nothing left".into(),
    }
}

fn warnings(facts: &Facts) -> Vec<String> {
    let mut warnings = vec![];
    if let Err(why) = &facts.target {
        warnings.push(format!("the target could not be read: {why}"));
    }
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
