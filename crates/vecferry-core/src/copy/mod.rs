//! Rows: parts from one queue over all tables, largest first, copied by several connections under one snapshot.
//!
//! A part goes like this: the target's connection opens a transaction, the rows are piped through it, the part's
//! record (rows, bytes, digests per bot) is written, the transaction commits. The record is durable exactly when the
//! rows are. `synchronous_commit` is off: losing the last commits in a crash of the target loses rows and records
//! alike, and the synchronous commit that ends the phase makes everything before it durable.
//!
//! Killed anywhere, a rerun finds each part either finished with its rows or open without any. A commit whose answer
//! was lost is found too: a part that turns out to be finished is rolled back and passed over.

pub(crate) mod brought;
pub mod digest;
pub mod part;
pub(crate) mod resume;
pub mod stream;
mod worker;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::migration::Run;
use crate::report::Event;
use crate::source::SourceSnapshot;
use crate::store::{RelationRecord, Totals};
use part::Part;
use worker::Worker;

/// Finished parts waiting to be reported. Reporting is quick; the bound only keeps a stuck terminal from collecting
/// them.
const REPORTS: usize = 256;

/// Source tables that each worker locks before its first part. An ALTER TABLE that waits for the run to end makes all
/// that come after it queue, so a lock asked for in the middle could wait for ever. Every lock takes a place in a table
/// that all sessions share (`max_locks_per_transaction` of 64 for each connection); the smallest tables do without.
const LOCKED: usize = 500;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(250);

/// Rows and bytes that have passed in this run, finished or in flight.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Passed {
    /// Adds what one buffer held.
    fn add(&self, bytes: u64, rows: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
}

/// Copies every open part.
///
/// # Errors
/// The first failure of any worker; [`Error::Interrupted`] when cancelled. Finished parts are recorded.
pub(crate) async fn copy_rows(
    run: &Run<'_>,
    source: &SourceSnapshot,
    records: &[RelationRecord],
) -> Result<()> {
    let mut open: Vec<Part> =
        records.iter().flat_map(|record| record.open.iter().cloned()).collect();
    if open.is_empty() {
        return Ok(());
    }
    open.sort_by_key(|part| (std::cmp::Reverse(part.bytes), part.table_oid, part.ordinal));
    let jobs = run.policy.jobs.clamp(1, open.len());
    let relations = records.iter().map(|record| (record.relation.oid, record.relation.clone()));
    let relations = Arc::new(relations.collect::<HashMap<_, _>>());
    let locked = run.route.locks_source().then(|| Arc::new(first_tables(&open)));
    let queue = Arc::new(Mutex::new(VecDeque::from(open)));
    let passed = Arc::new(Passed::default());
    let (reports, reported) = mpsc::channel(REPORTS);
    let cancel = run.cancel.child_token();
    let mut workers = JoinSet::new();
    for _ in 0..jobs {
        let worker = Worker {
            clusters: run.clusters.clone(),
            migration: run.id.clone(),
            snapshot: source.name.clone(),
            bounds: source.bounds,
            locked: locked.clone(),
            lock_timeout: run.policy.lock_timeout,
            silence_triggers: run.target_may_silence_triggers,
            relations: Arc::clone(&relations),
            queue: Arc::clone(&queue),
            passed: Arc::clone(&passed),
            reports: reports.clone(),
            cancel: cancel.clone(),
        };
        // A thread with a runtime of its own for each connection pair: no frame crosses threads.
        workers.spawn_blocking(move || worker.run());
    }
    drop(reports);
    let progress = Progress { run, records, passed };
    watch(progress, workers, reported, &cancel).await
}

/// The quoted names of the tables whose parts come first.
fn first_tables(open: &[Part]) -> Vec<String> {
    let mut seen = HashSet::new();
    let tables = open.iter().filter(|part| seen.insert(part.table_oid));
    tables.take(LOCKED).map(|part| part.table.to_string()).collect()
}

/// What the watcher needs to tell how far the copy is.
struct Progress<'a> {
    run: &'a Run<'a>,
    records: &'a [RelationRecord],
    passed: Arc<Passed>,
}

impl Progress<'_> {
    fn tell(&self, totals: &Totals, before: &Totals) {
        let bytes = before.bytes + self.passed.bytes.load(Ordering::Relaxed);
        self.run.reporter.event(&Event::Copying {
            rows: before.rows + self.passed.rows.load(Ordering::Relaxed),
            bytes,
            parts: totals.parts,
            parts_total: totals.parts_total,
            bytes_expected: totals.bytes_expected().max(bytes),
        });
    }
}

/// A finished part, as a worker tells it.
pub(crate) struct PartReport {
    part: Part,
    rows: u64,
    bytes: u64,
    seconds: f64,
}

/// Reports until every worker has ended. The first failure cancels the others and is returned.
async fn watch(
    progress: Progress<'_>,
    mut workers: JoinSet<Result<()>>,
    mut reported: mpsc::Receiver<PartReport>,
    cancel: &tokio_util::sync::CancellationToken,
) -> Result<()> {
    let before = Totals::of(progress.records);
    let mut totals = before;
    let mut failed: Option<Error> = None;
    let mut ticker = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            Some(report) = reported.recv() => {
                totals.rows += report.rows;
                totals.bytes += report.bytes;
                totals.parts += 1;
                totals.planned_finished += report.part.bytes;
                progress.run.reporter.event(&part_finished(report, progress.records));
            }
            ended = workers.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => {
                    cancel.cancel();
                    // Whoever is cancelled because of a failure is not its cause.
                    if failed.as_ref().is_none_or(|first| matches!(first, Error::Interrupted)) {
                        failed = Some(error);
                    }
                }
                Some(Err(panic)) => {
                    cancel.cancel();
                    failed = Some(Error::Bug { what: format!("a copy worker ended abnormally: {panic}") });
                }
            },
            _ = ticker.tick() => progress.tell(&totals, &before),
        }
    }
    while let Ok(report) = reported.try_recv() {
        totals.parts += 1;
        totals.bytes += report.bytes;
        totals.planned_finished += report.part.bytes;
        progress.run.reporter.event(&part_finished(report, progress.records));
    }
    progress.tell(&totals, &before);
    failed.map_or(Ok(()), Err)
}

fn part_finished(report: PartReport, records: &[RelationRecord]) -> Event {
    let record = records.iter().find(|record| record.relation.oid == report.part.table_oid);
    let parts = record.map_or(0, |record| record.open.len() + record.finished.len());
    Event::PartFinished {
        table: report.part.table.plain(),
        part: report.part.ordinal,
        parts: u32::try_from(parts).unwrap_or(u32::MAX),
        rows: report.rows,
        bytes: report.bytes,
        seconds: report.seconds,
    }
}
