//! A short measurement of this source and this target, so that a plan's times come from them and not from a table of
//! constants.
//!
//! The first pages of one table are read once for the rate of the source, then moved by as many connections as a run
//! would use, each into a table of its own, and indexed. All of it happens in transactions that are rolled back: no
//! schema, table, extension or index outlives the probe, also when it is killed, because the server ends what its
//! client leaves open. A few seconds in all; whatever cannot be measured is left out with the reason.

mod build;
mod shape;
pub(crate) mod wal;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::copy::stream::{self, CopyQuery};
use crate::error::{Error, Result, Side};
use crate::inventory::Table;
use crate::pg::WireConnection;
use crate::plan::{Build, Facts, Rate};
use crate::policy::Clusters;
use shape::{Shape, Slice, choose, slices};

/// Heap and TOAST to read and to write. Enough that a connection's start does not count, little enough for a second.
const PROBE_BYTES: u64 = 64 << 20;
/// No COPY of the probe runs longer; on a slow link it measures less.
const COPY_LIMIT: Duration = Duration::from_secs(2);
/// How long moving the rows should take where the link is slow.
const WRITE_SECONDS: f64 = 1.0;
/// More connections tell nothing new about a rate and take longer to open.
const MOST_JOBS: usize = 16;

/// Measures and writes the results into `facts.probe`. Failures are facts too: they go to `left_out`.
pub(crate) async fn measure(clusters: &Clusters, facts: &mut Facts, cancel: &CancellationToken) {
    let Ok(target) = &facts.target else { return };
    let Some(table) = choose(facts.with_rows()).cloned() else {
        facts.probe.left_out.push("no table holds rows, so there was nothing to measure".into());
        return;
    };
    let jobs = facts.policy.jobs.clamp(1, MOST_JOBS);
    let shape = Arc::new(Shape::new(&table, &facts.source, target));
    let cancel = cancel.child_token();
    // Ends the workers' threads when this future is dropped.
    let _stop = cancel.clone().drop_guard();
    let mut bytes = PROBE_BYTES;
    match read(clusters, &table, &cancel).await {
        Ok((rate, ratio)) => {
            (facts.probe.read, facts.probe.bytes_ratio) = (Some(rate), ratio);
            bytes = bytes.min(passing_in(WRITE_SECONDS, rate));
        }
        Err(error) => left_out(facts, "reading the source", &error),
    }
    let mut written = write(clusters, &shape, slices(&table, bytes, jobs), &cancel).await;
    // The way to the target may be slower than the one from the source: once more, with as much as will pass.
    if let Ok(Written { cut: true, rate, .. }) = written {
        let pages = slices(&table, passing_in(WRITE_SECONDS / 2.0, rate), jobs);
        written = write(clusters, &shape, pages, &cancel).await;
    }
    match written {
        Ok(written) => {
            facts.probe.write = Some(written.rate);
            facts.probe.builds = written.builds;
            facts.probe.left_out.extend(written.left_out);
        }
        Err(error) => left_out(facts, "writing to the target", &error),
    }
}

/// Bytes that pass in some seconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far from the limits")]
fn passing_in(seconds: f64, rate: Rate) -> u64 {
    (rate.bytes_per_second() * seconds) as u64
}

pub(crate) fn left_out(facts: &mut Facts, what: &str, error: &Error) {
    let why = match error {
        Error::Postgres { side, doing, failure, .. } => {
            format!("{side}: cannot {doing}: {failure}")
        }
        other => other.to_string(),
    };
    facts.probe.left_out.push(format!("{what} was not measured: {why}"));
}

/// Reads the probed pages with one connection. Also returns COPY bytes per byte of table.
async fn read(
    clusters: &Clusters,
    table: &Table,
    cancel: &CancellationToken,
) -> Result<(Rate, Option<f64>)> {
    let mut source = WireConnection::open(&clusters.source, Side::Source, "probe").await?;
    let whole = slices(table, PROBE_BYTES, 1).first().copied().unwrap_or_default();
    let query = shape::query(table, whole);
    let copied = limited(cancel, async |cancel, passed| {
        stream::digest(&mut source, &query, cancel, &|bytes, _| count(passed, bytes))
            .await
            .map(drop)
    })
    .await?;
    let on_disk = whole.share_of(table) * float(table.table_bytes);
    let ratio = (!copied.cut && on_disk > 0.0).then(|| float(copied.bytes) / on_disk);
    Ok((Rate { bytes: copied.bytes, seconds: copied.seconds }, ratio))
}

/// What moving rows gave.
struct Written {
    rate: Rate,
    /// Whether the limit ended it before the rows did.
    cut: bool,
    builds: Vec<Build>,
    left_out: Vec<String>,
}

/// Moves the slices, one connection pair and one thread for each, as a run does.
async fn write(
    clusters: &Clusters,
    shape: &Arc<Shape>,
    pages: Vec<Slice>,
    cancel: &CancellationToken,
) -> Result<Written> {
    let together = Arc::new(Barrier::new(pages.len()));
    let mut workers = JoinSet::new();
    for (ordinal, slice) in pages.into_iter().enumerate() {
        let worker = Worker {
            clusters: clusters.clone(),
            shape: Arc::clone(shape),
            slice,
            ordinal,
            together: Arc::clone(&together),
            cancel: cancel.clone(),
        };
        workers.spawn_blocking(move || worker.run());
    }
    let mut moved = vec![];
    while let Some(ended) = workers.join_next().await {
        moved.push(
            ended.map_err(|panic| Error::Bug { what: format!("the probe failed: {panic}") })??,
        );
    }
    Ok(merge(moved))
}

/// What one worker moved.
struct Moved {
    bytes: u64,
    cut: bool,
    started: Instant,
    ended: Instant,
    builds: Vec<Build>,
    left_out: Vec<String>,
}

fn merge(moved: Vec<Moved>) -> Written {
    let started = moved.iter().map(|moved| moved.started).min();
    let ended = moved.iter().map(|moved| moved.ended).max();
    let seconds = started.zip(ended).map_or(0.0, |(start, end)| (end - start).as_secs_f64());
    let bytes = moved.iter().map(|moved| moved.bytes).sum();
    let mut written = Written {
        rate: Rate { bytes, seconds },
        cut: moved.iter().any(|moved| moved.cut),
        builds: vec![],
        left_out: vec![],
    };
    for worker in moved {
        written.builds.extend(worker.builds);
        written.left_out.extend(worker.left_out);
    }
    written
}

struct Worker {
    clusters: Clusters,
    shape: Arc<Shape>,
    slice: Slice,
    ordinal: usize,
    /// Where all wait for each other, so that they measure the same moment.
    together: Arc<Barrier>,
    cancel: CancellationToken,
}

impl Worker {
    fn run(self) -> Result<Moved> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Local { doing: "start a probe".into(), source })?;
        runtime.block_on(async {
            tokio::select! {
                biased;
                // Dropping the connection in the middle is what a kill does; the server rolls back.
                () = self.cancel.cancelled() => Err(Error::Interrupted),
                moved = self.work() => moved,
            }
        })
    }

    async fn work(&self) -> Result<Moved> {
        let prepared = self.prepare().await;
        // Also after a failure: the others wait here.
        self.together.wait().await;
        let (mut source, mut target, usable) = prepared?;
        let table = self.shape.scratch(self.ordinal);
        let insert = self.shape.insert(self.ordinal);
        let query: CopyQuery = shape::query(&self.shape.table, self.slice);
        let started = Instant::now();
        let copied = limited(&self.cancel, async |cancel, passed| {
            let progress = |bytes, _| count(passed, bytes);
            stream::forward(
                stream::Pipe { source: &mut source, target: &mut target },
                &query,
                &insert,
                cancel,
                &progress,
            )
            .await
            .map(drop)
        })
        .await?;
        let ended = Instant::now();
        let mut moved = Moved {
            bytes: copied.bytes,
            cut: copied.cut,
            started,
            ended,
            builds: vec![],
            left_out: vec![],
        };
        if copied.cut {
            if self.ordinal == 0 && !self.shape.indexes.is_empty() {
                moved.left_out.push(
                    "index builds were not measured: the connection is too slow for a probe".into(),
                );
            }
            return Ok(moved);
        }
        if self.ordinal == 0 {
            (moved.builds, moved.left_out) =
                build::measure(&mut target, &self.shape, &table, usable).await?;
        }
        target.simple("roll back the probe", "ROLLBACK").await?;
        Ok(moved)
    }

    /// Connects and creates this worker's table in an open transaction. Also tells whether vectors are vectors there.
    async fn prepare(&self) -> Result<(WireConnection, WireConnection, bool)> {
        let source = WireConnection::open(&self.clusters.source, Side::Source, "probe").await?;
        let mut target = WireConnection::open(&self.clusters.target, Side::Target, "probe").await?;
        let begin = "BEGIN; SET LOCAL lock_timeout = '2s'; SET LOCAL synchronous_commit = off";
        target.simple("begin the probe", begin).await?;
        let mut usable = self.shape.vector_installed;
        // One worker only: a second CREATE EXTENSION would wait for the first one's transaction.
        if let (false, 0, Some(create)) = (usable, self.ordinal, self.shape.create_vector()) {
            target.simple("try the extension", "SAVEPOINT extension").await?;
            usable = target.simple("try the extension", &create).await.is_ok();
            if !usable {
                target.simple("try the extension", "ROLLBACK TO extension").await?;
            }
        }
        let create = self.shape.create(self.ordinal, usable);
        target.simple("create a table for the probe", &create).await?;
        Ok((source, target, usable))
    }
}

/// What passed within the limit.
struct Copied {
    bytes: u64,
    seconds: f64,
    /// Whether the limit ended it; the connections are then in the middle of a COPY.
    cut: bool,
}

/// Runs a COPY for [`COPY_LIMIT`] at most.
async fn limited<F>(cancel: &CancellationToken, copy: F) -> Result<Copied>
where
    F: AsyncFnOnce(&CancellationToken, &AtomicU64) -> Result<()>,
{
    let passed = AtomicU64::new(0);
    let limit = cancel.child_token();
    let started = Instant::now();
    let copying = copy(&limit, &passed);
    let mut copying = std::pin::pin!(copying);
    let ended = tokio::select! {
        ended = &mut copying => Some(ended),
        () = tokio::time::sleep(COPY_LIMIT) => None,
    };
    let seconds = started.elapsed().as_secs_f64();
    match ended {
        Some(ended) => ended?,
        None if cancel.is_cancelled() => return Err(Error::Interrupted),
        None => {}
    }
    let bytes = passed.load(Ordering::Relaxed);
    Ok(Copied { bytes, seconds, cut: seconds >= COPY_LIMIT.as_secs_f64() })
}

fn count(passed: &AtomicU64, bytes: u64) {
    passed.fetch_add(bytes, Ordering::Relaxed);
}

#[allow(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
fn float(count: u64) -> f64 {
    count as f64
}
