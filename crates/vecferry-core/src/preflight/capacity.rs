//! Judgements about room and content: memory for index builds, disk, vectors that no index will find. Pure.

use super::facts::{Facts, VectorSample};
use super::{Finding, human_bytes, note, warning};
use crate::error::Side;
use crate::index::memory::{Budget, build_bytes, memory_budget};
use crate::inventory::{Index, Table};
use crate::plan::size::{estimated_rows, index_bytes};

pub(super) fn index_memory(facts: &Facts) -> Vec<Finding> {
    let Some((_, target)) = facts.both() else { return vec![] };
    let budget = memory_budget(&target.inventory.server, facts.policy.index_memory);
    facts
        .selected()
        .into_iter()
        .filter(|table| table.holds_rows())
        .flat_map(|table| table.indexes.iter().map(move |index| (table, index)))
        .filter(|(_, index)| index.is_vector())
        .filter_map(|(table, index)| too_large(table, index, budget))
        .collect()
}

/// Memory that the largest build of a vector index wants.
pub(super) fn largest_build(facts: &Facts) -> Option<u64> {
    let tables = facts.selected().into_iter().filter(|table| table.holds_rows());
    tables
        .flat_map(|table| table.indexes.iter().map(move |index| (table, index)))
        .filter(|(_, index)| index.is_vector())
        .filter_map(|(table, index)| build_bytes(table, index, estimated_rows(table)))
        .max()
}

fn too_large(table: &Table, index: &Index, budget: Budget) -> Option<Finding> {
    let rows = estimated_rows(table);
    let wanted = build_bytes(table, index, rows)?;
    if wanted <= budget.bytes {
        return None;
    }
    let (consequence, other_way) = match index.method.as_str() {
        "hnsw" => (
            "the build goes on, several times slower, once the graph outgrows memory",
            "index (embedding::halfvec) instead, which takes half",
        ),
        _ => ("pgvector refuses the build", "use fewer lists"),
    };
    Some(warning(
        Some(Side::Target),
        format!(
            "index {} over about {rows} rows wants {} of memory, and builds may use {} ({}): {consequence}",
            index.name,
            human_bytes(wanted),
            human_bytes(budget.bytes),
            budget.from.describe(),
        ),
        format!("use a larger instance for the migration and set --index-memory, or {other_way}"),
    ))
}

pub(super) fn disk(facts: &Facts) -> Vec<Finding> {
    let Some((_, target)) = facts.both() else { return vec![] };
    let tables = facts.selected();
    let rows: u64 = tables.iter().map(|table| table.table_bytes).sum();
    let indexes: u64 = tables
        .iter()
        .filter(|table| table.holds_rows())
        .flat_map(|table| table.indexes.iter().map(|index| index_bytes(table, index)))
        .sum();
    // Between two checkpoints the log may grow to about twice its limit, and never beyond what is written.
    let wal = (2 * target.inventory.server.max_wal_size).min(rows + indexes);
    if rows + indexes == 0 {
        return vec![];
    }
    vec![note(
        Some(Side::Target),
        format!(
            "about {} will be needed on the target's disk: {} of rows, {} of indexes, up to {} of write-ahead log",
            human_bytes(rows + indexes + wal),
            human_bytes(rows),
            human_bytes(indexes),
            human_bytes(wal),
        ),
        "free space cannot be seen through SQL; compare it yourself where storage does not grow by itself",
    )]
}

pub(super) fn vectors(facts: &Facts) -> Vec<Finding> {
    facts.vectors.iter().flat_map(odd).collect()
}

fn odd(sample: &VectorSample) -> Vec<Finding> {
    let side = Some(Side::Source);
    let place = format!("{}.{}", sample.table.plain(), sample.column);
    let scanned = if sample.share < 1.0 {
        format!("{} rows, {:.2} % of the table, were looked at", sample.rows, sample.share * 100.0)
    } else {
        format!("all {} rows were looked at", sample.rows)
    };
    let mut found = vec![];
    if sample.not_finite > 0 {
        found.push(warning(
            side,
            format!("{} vectors in {place} are not finite ({scanned})", sample.not_finite),
            "the target may refuse them; embed these rows again",
        ));
    }
    if sample.zeros > 0 {
        found.push(warning(
            side,
            format!("{} vectors in {place} are zero ({scanned})", sample.zeros),
            "copied as they are; a cosine search never finds them, usually an embedding call failed: embed these rows again",
        ));
    }
    if sample.nulls > 0 {
        found.push(warning(
            side,
            format!("{} rows of {place} have no vector ({scanned})", sample.nulls),
            "copied as they are; a vector index does not hold them and no search finds them",
        ));
    }
    found
}
