//! Proof under the fence that the receiver has what the sender has: `verify`, without what takes long.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Options;
use super::decide::Reason;
use super::step::Direction;
use crate::error::Result;
use crate::policy::{Clusters, Policy};
use crate::report::Reporter;
use crate::verify::structure::What;
use crate::verify::{self, Verdict, verify};

/// Differences that are named; more are counted.
const NAMED: usize = 5;

/// How long a difference may wait for apply before it is read again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Compares both sides; `Some` says what differs or could not be proven.
///
/// # Errors
/// Those of [`verify()`].
pub(super) async fn prove(
    clusters: &Clusters,
    policy: &Policy,
    options: &Options,
    reporter: &dyn Reporter,
    cancel: &CancellationToken,
) -> Result<Option<Reason>> {
    let how = verify::Options {
        quick: !options.full,
        vectors: options.full,
        recall_bots: 0,
        // Both sides are drained: whatever takes longer than this is a no, and the application waits for it.
        apply_wait: PATIENCE,
        ..verify::Options::default()
    };
    let verdict = verify(clusters, policy, &how, reporter, cancel).await?;
    let mut found = differences(&verdict, options.direction);
    found.extend(verdict.not_proven);
    if found.is_empty() {
        return Ok(None);
    }
    let more = found.len().saturating_sub(NAMED);
    let mut text = found[..found.len().min(NAMED)].join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    let remedy = "`vecferry verify` shows everything that differs";
    Ok(Some(Reason::no(format!("source and target differ: {text}"), remedy)))
}

/// What differs, in words. A rollback proves rows and structure: the target's sequences are rightly behind once the
/// source's are set, and large objects do not travel back.
fn differences(verdict: &Verdict, direction: Direction) -> Vec<String> {
    let mut found = Vec::new();
    let counts = |what: What| direction == Direction::Cutover || what != What::Sequence;
    let structure = verdict.structure.iter().flat_map(|structure| &structure.differences);
    for one in structure.filter(|one| counts(one.what)) {
        let what = format!("{:?}", one.what).to_lowercase();
        found.push(format!("{what} {}: {}", one.name, one.difference));
    }
    for table in verdict.content.tables.iter().filter(|table| !table.matches) {
        let rows = |sum: &Option<verify::content::Sum>| {
            sum.as_ref().map_or("no table".into(), |sum| format!("{} rows", sum.rows))
        };
        let (source, target) = (rows(&table.source), rows(&table.target));
        let bots = match table.bots_differing.len() {
            0 => String::new(),
            bots => format!(", {bots} bots differ"),
        };
        found.push(format!("table {}: {target}, on the source {source}{bots}", table.table));
    }
    if direction == Direction::Cutover
        && let Some(objects) = verdict.large_objects.as_ref().filter(|objects| !objects.matches)
    {
        let (missing, changed) = (objects.missing, objects.changed);
        found.push(format!("large objects: {missing} missing, {changed} changed"));
    }
    for column in verdict.vectors.columns.iter().filter(|column| !column.matches) {
        found
            .push(format!("vectors of {}.{} are worse on the target", column.table, column.column));
    }
    if let Some(embedded) = &verdict.embedded {
        let differing = embedded.differing.iter();
        found.extend(
            differing.map(|one| format!("bot {}: {}", one.bot, one.differences.join(", "))),
        );
        let failed = embedded.failed.iter();
        found.extend(failed.map(|one| format!("bot {} is not embedded: {}", one.bot, one.reason)));
    }
    found
}
