//! How long each phase will take, extrapolated from what the probe measured. Pure.
//!
//! No estimate is made up: a phase whose cost was not measured has none, and then the whole has none.

use super::facts::{Build, Facts};
use super::size::estimated_rows;
use crate::index::memory::{build_bytes, indexed_value, memory_budget};
use crate::inventory::{Index, Table};
use crate::phase::{Phase, Route};

/// An HNSW build that outgrows `maintenance_work_mem` goes on page by page. Measured on 200 000 rows of 1024
/// dimensions: 268 s against 82 s in memory.
const OVERFLOW: f64 = 3.3;
/// pgvector's defaults.
pub(crate) const DEFAULT_M: u64 = 16;
pub(crate) const DEFAULT_EF_CONSTRUCTION: u64 = 64;
pub(crate) const DEFAULT_LISTS: u64 = 100;
/// Passes of k-means over its samples, in units of one assignment of all of them: Elkan's bounds spare the rest.
/// With this, a probe of 1 246 rows gave two thirds of what a build over 40 000 took on a busy machine.
const KMEANS_PASSES: f64 = 2.0;
/// IVFFlat's samples: 50 a list, at least 10 000.
const SAMPLES_PER_LIST: f64 = 50.0;
const MIN_SAMPLES: f64 = 10_000.0;
/// Starting pg_dump and pg_restore, and the statements that do not depend on the number of tables.
const PROGRAMS_SECONDS: f64 = 0.5;
/// Round trips for one table in the schema and constraints phases; for one part; for one sequence or large object.
const TRIPS_PER_TABLE: f64 = 6.0;
const TRIPS_PER_PART: f64 = 5.0;
const TRIPS_PER_OBJECT: f64 = 3.0;
/// `VACUUM (ANALYZE)` passes over heap and TOAST inside the server, without COPY and network: this many times
/// faster than one connection copies.
const VACUUM_SPEEDUP: f64 = 3.0;

/// Round trips for a subscription: publications, tables, the transaction around it.
const TRIPS_PER_SUBSCRIPTION: f64 = 10.0;

/// Seconds of every phase of the route, in order; `None` where something it depends on was not measured, and where
/// it depends on what will be written.
pub(super) fn phases(facts: &Facts, route: Route) -> Vec<(Phase, Option<f64>)> {
    route
        .phases()
        .iter()
        .filter(|phase| **phase != Phase::Done)
        .map(|phase| (*phase, seconds(facts, route, *phase)))
        .collect()
}

/// Whether the phase ends by something else than work that can be measured beforehand.
pub(super) fn is_open_ended(phase: Phase) -> bool {
    matches!(phase, Phase::CatchUp | Phase::Following)
}

/// Whether the index is built in that phase of the route.
pub(super) fn built_in(route: Route, phase: Phase, index: &Index) -> bool {
    // As `IndexPlan::serves_apply` judges.
    let key = index.method == "btree" && !index.partial;
    match phase {
        Phase::Keys => key,
        Phase::Indexes => route != Route::FollowApplyFirst || !key,
        _ => false,
    }
}

fn seconds(facts: &Facts, route: Route, phase: Phase) -> Option<f64> {
    let trip = facts.probe.round_trip_seconds?;
    let tables = float(facts.selected().count() as u64);
    match phase {
        Phase::Schema => Some(
            PROGRAMS_SECONDS + 2.0 * facts.probe.catalog_seconds + tables * TRIPS_PER_TABLE * trip,
        ),
        Phase::Rows => rows(facts, trip),
        Phase::Sequences => {
            let objects = facts.source.sequences.len() as u64 + facts.source.large_objects;
            Some(float(objects) * TRIPS_PER_OBJECT * trip)
        }
        Phase::Keys | Phase::Indexes => facts
            .with_rows()
            .flat_map(|table| table.indexes.iter().map(move |index| (table, index)))
            .filter(|(_, index)| built_in(route, phase, index))
            .map(|(table, index)| build(facts, table, index))
            .sum(),
        Phase::Constraints => constraints(facts, tables * TRIPS_PER_TABLE * trip),
        Phase::Analyze => {
            let bytes = table_bytes(facts);
            if bytes == 0 {
                return Some(tables * trip);
            }
            let rate =
                facts.probe.read?.bytes_per_second() / facts.probe.bytes_ratio.unwrap_or(1.0);
            Some(float(bytes) / (rate * VACUUM_SPEEDUP))
        }
        Phase::Subscribe => Some(TRIPS_PER_SUBSCRIPTION * trip),
        Phase::CatchUp | Phase::Following | Phase::Embedding | Phase::Done => None,
    }
}

fn rows(facts: &Facts, trip: f64) -> Option<f64> {
    let bytes = table_bytes(facts);
    if bytes == 0 {
        return Some(0.0);
    }
    let parts = float(bytes / facts.policy.part_bytes.max(1) + facts.with_rows().count() as u64);
    let jobs = float(facts.policy.jobs.max(1) as u64);
    // The pages were in the source's cache when they were written, and may not be in the run.
    let reading = facts.probe.read.map_or(f64::INFINITY, |read| read.bytes_per_second() * jobs);
    let rate = facts.probe.write?.bytes_per_second().min(reading);
    Some(float(copy_bytes(facts)) / rate + parts * TRIPS_PER_PART * trip / jobs)
}

/// Reading both sides once, which is what a verification costs at most.
pub(super) fn verify_seconds(facts: &Facts) -> Option<f64> {
    let bytes = copy_bytes(facts);
    if bytes == 0 {
        return Some(0.0);
    }
    Some(float(bytes) / facts.probe.read?.bytes_per_second())
}

/// Checking foreign keys and the like reads each table once.
fn constraints(facts: &Facts, trips: f64) -> Option<f64> {
    let bytes: u64 = facts
        .with_rows()
        .filter(|table| table.constraints.iter().any(|constraint| constraint.kind == 'f'))
        .map(|table| table.heap_bytes)
        .sum();
    if bytes == 0 {
        return Some(trips);
    }
    Some(trips + float(bytes) / facts.probe.read?.bytes_per_second())
}

/// Bytes of heap and TOAST to move.
pub(super) fn table_bytes(facts: &Facts) -> u64 {
    facts.with_rows().map(|table| table.table_bytes).sum()
}

/// COPY bytes to move.
pub(super) fn copy_bytes(facts: &Facts) -> u64 {
    super::size::scaled(table_bytes(facts), facts.probe.bytes_ratio.unwrap_or(1.0))
}

/// Seconds to build one index over the whole table.
fn build(facts: &Facts, table: &Table, index: &Index) -> Option<f64> {
    let rows = estimated_rows(table);
    if rows == 0 {
        return facts.probe.round_trip_seconds;
    }
    // Methods we cannot try on a few rows sort or hash as a B-tree does.
    let method = if index.is_vector() { index.method.as_str() } else { "btree" };
    let measured = facts
        .probe
        .builds
        .iter()
        .filter(|build| build.method == method)
        .max_by_key(|build| build.rows)?;
    let dimensions =
        indexed_value(table, index).map_or(measured.dimensions, |(_, dimensions)| dimensions);
    let wider = float(dimensions.max(1)) / float(measured.dimensions.max(1));
    Some(match method {
        "hnsw" => {
            let effort = |m: u64, ef: u64| float(m.max(2)).sqrt() * float(ef.max(4));
            let m = index.option("m").unwrap_or(DEFAULT_M);
            let ef = index.option("ef_construction").unwrap_or(DEFAULT_EF_CONSTRUCTION);
            let harder = effort(m, ef) / effort(measured.parameter, measured.ef_construction);
            let overflow = if fits(facts, table, index, rows) { 1.0 } else { OVERFLOW };
            n_log_n(rows, measured) * wider * harder * overflow
        }
        "ivfflat" => {
            let lists = index.option("lists").unwrap_or(DEFAULT_LISTS);
            let ratio = ivfflat_cost(rows, lists) / ivfflat_cost(measured.rows, measured.parameter);
            measured.seconds * ratio * wider
        }
        _ => n_log_n(rows, measured),
    })
}

/// Whether the build's graph is expected to stay in memory.
pub(super) fn fits(facts: &Facts, table: &Table, index: &Index, rows: u64) -> bool {
    let Ok(target) = &facts.target else { return true };
    let budget = memory_budget(&target.server, facts.policy.index_memory);
    build_bytes(table, index, rows).is_none_or(|wanted| wanted <= budget.bytes)
}

fn n_log_n(rows: u64, measured: &Build) -> f64 {
    let cost = |rows: u64| float(rows.max(1)) * float(rows.max(2)).ln();
    measured.seconds * cost(rows) / cost(measured.rows)
}

/// Distances computed: k-means over the samples, then every row against every centre.
fn ivfflat_cost(rows: u64, lists: u64) -> f64 {
    let (rows, lists) = (float(rows.max(1)), float(lists.max(1)));
    let samples = (SAMPLES_PER_LIST * lists).max(MIN_SAMPLES).min(rows);
    lists * (KMEANS_PASSES * samples + rows)
}

#[allow(clippy::cast_precision_loss, reason = "an estimate needs no more than a few digits")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
