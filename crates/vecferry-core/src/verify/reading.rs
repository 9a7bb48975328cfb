//! Reads the clusters at once: one queue of jobs per side, the largest first, and as many connections to each side
//! as the policy allows, every one on a thread of its own. Answers of one subject are merged where they are read, so
//! memory grows with tables and bots, not with parts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::copy::digest::Digests;
use crate::copy::stream::{self, CopyQuery};
use crate::error::{Error, Result, Side};
use crate::pg::{Dsn, TextRow, WireConnection};
use crate::report::{Event, Reporter};
use crate::source::import_snapshot;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(250);

/// A cluster and the snapshot to read it in.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) dsn: Dsn,
    pub(super) side: Side,
    /// Name of the exported snapshot.
    pub(super) snapshot: String,
}

impl Place {
    /// A connection that sees exactly the snapshot.
    ///
    /// # Errors
    /// [`Error::Postgres`] when connecting fails or the snapshot is gone.
    pub(super) async fn connect(&self) -> Result<WireConnection> {
        let mut connection = WireConnection::open(&self.dsn, self.side, "verify").await?;
        import_snapshot(&mut connection, &self.snapshot).await?;
        Ok(connection)
    }
}

/// One thing to read.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// What the answer is about; answers of the same subject are merged.
    pub(super) subject: usize,
    /// Bytes it is expected to read; orders the queue and measures progress.
    pub(super) bytes: u64,
    /// What to read.
    pub(super) what: Reading,
}

/// What a job reads.
#[derive(Debug, Clone)]
pub(super) enum Reading {
    /// Rows, for their digest.
    Digest(CopyQuery),
    /// A query's answer; `doing` is said when it fails.
    Query {
        /// Continuation of "cannot ".
        doing: String,
        /// The query.
        sql: String,
    },
}

/// What was read about one subject.
#[derive(Debug, Clone, Default)]
pub(super) struct Gathered {
    /// Sum of the digests.
    pub(super) digests: Digests,
    /// Rows of all queries.
    pub(super) rows: Vec<TextRow>,
}

/// Answers by subject.
pub(super) type Answers = BTreeMap<usize, Gathered>;

/// Who asks, and who may stop it.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) reporter: &'a dyn Reporter,
    pub(super) cancel: &'a CancellationToken,
    /// Connections to each side.
    pub(super) jobs: usize,
}

/// Does all jobs of the sides at once and returns the source's and the target's answers; those of a side that is not
/// among them are empty.
///
/// # Errors
/// The first failure, after which nothing more is read; [`Error::Interrupted`] when cancelled.
pub(super) async fn read(
    context: Context<'_>,
    sides: Vec<(&Place, Vec<Job>)>,
) -> Result<(Answers, Answers)> {
    let stop = context.cancel.child_token();
    // Threads cannot be aborted; they end when this function does, however it does.
    let _stop_at_the_end = stop.clone().drop_guard();
    let progress = Arc::new(Progress::new(sides.iter().flat_map(|(_, jobs)| jobs)));
    let mut workers = JoinSet::new();
    for (place, jobs) in sides {
        let connections = context.jobs.clamp(1, jobs.len().max(1));
        let queue = Arc::new(Queue::new(jobs));
        for _ in 0..connections.min(queue.jobs.len()) {
            let (place, queue) = (place.clone(), queue.clone());
            let (progress, stop) = (progress.clone(), stop.clone());
            workers.spawn_blocking(move || work_alone(&place, &queue, &progress, &stop));
        }
    }
    collect(context, &mut workers, &progress, &stop).await
}

/// What one thread read.
struct Worked {
    side: Side,
    answers: Result<Answers>,
}

async fn collect(
    context: Context<'_>,
    workers: &mut JoinSet<Worked>,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<(Answers, Answers)> {
    let (mut source, mut target) = (Answers::new(), Answers::new());
    let mut failed = None;
    let mut tick = tokio::time::interval(TICK);
    loop {
        let joined = tokio::select! {
            biased;
            joined = workers.join_next() => joined,
            _ = tick.tick() => {
                context.reporter.event(&progress.event());
                continue;
            }
        };
        match joined {
            None => break,
            Some(Ok(Worked { side: Side::Source, answers: Ok(more) })) => merge(&mut source, more),
            Some(Ok(Worked { side: Side::Target, answers: Ok(more) })) => merge(&mut target, more),
            Some(Ok(Worked { answers: Err(error), .. })) => {
                stop.cancel();
                // What the others say after that is only that they were stopped.
                failed = failed.or(Some(error));
            }
            Some(Err(panic)) => {
                return Err(Error::Bug { what: format!("a reading thread ended: {panic}") });
            }
        }
    }
    context.reporter.event(&progress.event());
    failed.map_or(Ok((source, target)), Err)
}

fn merge(answers: &mut Answers, more: Answers) {
    for (subject, answer) in more {
        let merged = answers.entry(subject).or_default();
        merged.digests += answer.digests;
        merged.rows.extend(answer.rows);
    }
}

struct Queue {
    /// Largest first: a large part begun last would keep one connection busy alone.
    jobs: Vec<Job>,
    next: AtomicUsize,
}

impl Queue {
    fn new(mut jobs: Vec<Job>) -> Self {
        jobs.sort_by_key(|job| std::cmp::Reverse(job.bytes));
        Queue { jobs, next: AtomicUsize::new(0) }
    }

    fn take(&self) -> Option<&Job> {
        self.jobs.get(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

fn work_alone(
    place: &Place,
    queue: &Queue,
    progress: &Progress,
    stop: &CancellationToken,
) -> Worked {
    let answers = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(async {
            let work = stop.run_until_cancelled(work(place, queue, progress, stop));
            work.await.unwrap_or(Err(Error::Interrupted))
        }),
        Err(source) => Err(Error::Local { doing: "start a reading thread".into(), source }),
    };
    Worked { side: place.side, answers }
}

async fn work(
    place: &Place,
    queue: &Queue,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Answers> {
    let mut connection = place.connect().await?;
    let mut answers = Answers::new();
    while let Some(job) = queue.take() {
        let answer = answers.entry(job.subject).or_default();
        match &job.what {
            Reading::Digest(query) => {
                progress.begin(&query.table);
                let count = |bytes, _rows| progress.read(bytes);
                answer.digests += stream::digest(&mut connection, query, stop, &count).await?;
            }
            Reading::Query { doing, sql } => {
                progress.begin(doing.strip_prefix("read ").unwrap_or(doing));
                answer.rows.extend(connection.simple(doing, sql).await?);
                // A query's answer says nothing of how much the server read.
                progress.read(job.bytes);
            }
        }
        progress.finish(job.bytes);
    }
    Ok(answers)
}

/// What has been read, for the reporter.
struct Progress {
    current: Mutex<String>,
    expected: u64,
    read: AtomicU64,
    finished: AtomicU64,
}

impl Progress {
    fn new<'a>(jobs: impl Iterator<Item = &'a Job>) -> Self {
        Progress {
            current: Mutex::default(),
            expected: jobs.map(|job| job.bytes).sum(),
            read: AtomicU64::new(0),
            finished: AtomicU64::new(0),
        }
    }

    fn begin(&self, what: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.clear();
        current.push_str(what);
    }

    fn read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    fn finish(&self, expected: u64) {
        self.finished.fetch_add(expected, Ordering::Relaxed);
    }

    fn event(&self) -> Event {
        let what = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let bytes = self.read.load(Ordering::Relaxed);
        let left = self.expected.saturating_sub(self.finished.load(Ordering::Relaxed));
        // Table sizes only estimate COPY bytes: what is finished no longer counts by its estimate.
        let bytes_expected = if left == 0 { bytes } else { self.expected.max(bytes) };
        Event::Verifying { what, bytes, bytes_expected }
    }
}
