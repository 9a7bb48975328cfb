//! The plan: what there is, which methods could move it, how long each takes and what it could lose, side by side.
//!
//! Pure and synchronous: [`plan`] decides from [`Facts`], which `gather` reads and `probe` measures.

mod estimate;
mod facts;
mod gather;
mod methods;
pub mod size;
mod summary;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub(crate) use estimate::{DEFAULT_EF_CONSTRUCTION, DEFAULT_LISTS, DEFAULT_M};
pub use facts::{Build, Facts, Probe, Rate};
pub use gather::gather;
pub use summary::{ClusterSummary, VectorColumn, VectorIndex};

pub use crate::policy::Method;

use crate::inventory::TableKind;
use crate::phase::Phase;
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
    /// What the recommended method does, in order.
    pub steps: Vec<Step>,
    /// Seconds expected for each phase, to be set beside the outcome; empty unless every phase could be told.
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
    let phases = estimate::phases(facts);
    let estimates: Option<Vec<(Phase, f64)>> =
        phases.iter().map(|(phase, seconds)| Some((*phase, (*seconds)?))).collect();
    let verify_seconds = estimate::verify_seconds(facts);
    let methods = methods::all(facts, estimates.as_deref(), verify_seconds);
    let recommended = methods.iter().find(|method| method.possible).map(|possible| possible.method);
    Plan {
        version: 1,
        source: summary::summarize(&facts.source, &|table| facts.policy.selects(table)),
        target: facts.target.as_ref().ok().map(|target| summary::summarize(target, &|_| true)),
        steps: if recommended.is_some() { steps(facts, &phases) } else { vec![] },
        methods,
        recommended,
        estimates: estimates.unwrap_or_default(),
        verify_seconds,
        warnings: warnings(facts),
    }
}

fn steps(facts: &Facts, phases: &[(Phase, Option<f64>)]) -> Vec<Step> {
    let step = |(phase, seconds): &(Phase, Option<f64>)| Step {
        phase: *phase,
        what: describe(facts, *phase),
        seconds: *seconds,
    };
    phases.iter().map(step).collect()
}

/// What a phase does here, with its numbers.
fn describe(facts: &Facts, phase: Phase) -> String {
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
        of.filter(|index| index.is_vector() == vector).count()
    };
    match phase {
        Phase::Schema => {
            let (there, missing) = (prepared(true), prepared(false));
            let drop = if there > 0 {
                format!("; compare {there} that are there and drop their indexes for the load")
            } else {
                String::new()
            };
            format!(
                "create extensions, schemas, types, functions and {missing} tables on the target{drop}"
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
            format!("build {} vector indexes and {} others", indexes(true), indexes(false))
        }
        Phase::Constraints => format!(
            "add {} foreign keys and other constraints, triggers, rules and policies",
            facts.selected().map(|table| table.constraints.len()).sum::<usize>()
        ),
        Phase::Analyze => "VACUUM (ANALYZE) every table, so that the planner knows them".into(),
        // Not on the route of a copy.
        _ => "nothing left".into(),
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
