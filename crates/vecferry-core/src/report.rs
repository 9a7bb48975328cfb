//! What the migration tells the outside while it works. Core emits; the program draws bars, writes lines or JSON.

use serde::Serialize;

use crate::bot::BotKey;
use crate::cutover::step::Stage;
use crate::delta::Compared;
use crate::phase::Phase;
use crate::policy::Method;
use crate::reembed;
use crate::reembed::store::{Counts, Skip};

/// Receives events; called from several threads, so it must not block for long.
pub trait Reporter: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);
}

/// Something that happened. Serialised as `{"event": "part_finished", …}`; names, counts and times only, never rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began.
    Started {
        /// Migration id.
        migration: String,
        /// Whether an earlier run's work is continued.
        resumed: bool,
        /// Tables to move.
        tables: usize,
        /// Bytes of their heaps and TOAST on the source.
        bytes: u64,
    },
    /// A phase began.
    PhaseStarted {
        /// Which.
        phase: Phase,
        /// Its place, 1-based.
        step: usize,
        /// How many there are.
        steps: usize,
    },
    /// A phase ended and is recorded.
    PhaseFinished {
        /// Which.
        phase: Phase,
        /// How long it took in this run.
        seconds: f64,
    },
    /// Rows are moving. Sent about four times a second while they are.
    Copying {
        /// Rows moved, finished and in flight, over all runs of this migration.
        rows: u64,
        /// COPY bytes moved, likewise.
        bytes: u64,
        /// Parts finished.
        parts: usize,
        /// Parts in all.
        parts_total: usize,
        /// COPY bytes expected in all, extrapolated from the parts finished.
        bytes_expected: u64,
    },
    /// A part and its record are committed on the target.
    PartFinished {
        /// Table, `schema.name`.
        table: String,
        /// Ordinal of the part in its table, 0-based.
        part: u32,
        /// Parts of the table.
        parts: u32,
        /// Rows.
        rows: u64,
        /// COPY bytes.
        bytes: u64,
        /// How long it took.
        seconds: f64,
    },
    /// A finished table was changed on the source since it was copied, and is copied again.
    TableRedone {
        /// Table, `schema.name`.
        table: String,
        /// What gave it away.
        reason: String,
    },
    /// An index or constraint build began.
    IndexStarted {
        /// Index or constraint name.
        index: String,
        /// Table, `schema.name`.
        table: String,
        /// `maintenance_work_mem` given to it, in bytes.
        memory: u64,
        /// Whether a vector index's graph or lists are expected to fit into that memory; `None` for others.
        fits: Option<bool>,
    },
    /// What `pg_stat_progress_create_index` says.
    IndexProgress {
        /// Index name.
        index: String,
        /// The server's name of the phase.
        phase: String,
        /// Percent of that phase, 0 to 100, when the server counts.
        percent: Option<f64>,
    },
    /// An index is built and recorded.
    IndexFinished {
        /// Index name.
        index: String,
        /// How long it took.
        seconds: f64,
    },
    /// Apply works off, or keeps up with, what the source writes. Sent about once a second while it is watched.
    Following {
        /// Bytes of WAL that the source has written and the target has not confirmed, of the slot furthest behind.
        lag_bytes: u64,
        /// Seconds the target is behind, as far as the source can tell.
        lag_seconds: Option<f64>,
        /// Bytes of WAL that the source keeps for the slots.
        retained_bytes: u64,
        /// Bytes of WAL confirmed per second lately.
        bytes_per_second: Option<f64>,
        /// Whether the target has caught up.
        caught_up: bool,
    },
    /// A stage of a cutover or rollback began.
    StageStarted {
        /// Which.
        stage: Stage,
    },
    /// It ended well.
    StageFinished {
        /// Which.
        stage: Stage,
        /// How long it took.
        seconds: f64,
    },
    /// The switch command wrote a line.
    SwitchSaid {
        /// The line.
        line: String,
    },
    /// A server said something the operator should read (an HNSW graph that no longer fits, say).
    Notice {
        /// The text.
        text: String,
    },
    /// A connection was lost; the run starts over from what is recorded.
    Retrying {
        /// What failed.
        error: String,
        /// Which retry this is, 1-based.
        attempt: u32,
        /// How many there are at most.
        attempts: u32,
    },
    /// Verification goes on.
    Verifying {
        /// Table, `schema.name`, or the name of the check.
        what: String,
        /// Bytes read on both sides.
        bytes: u64,
        /// Bytes expected.
        bytes_expected: u64,
    },
    /// The source's bots were compared with the registry and the documents as they are now.
    DeltaCompared {
        /// The migration's phase that comes next: `schema` before a copy that begins now.
        phase: Phase,
        /// What is done with the bots, in numbers.
        #[serde(flatten)]
        compared: Compared,
    },
    /// The rows of bots that are gone were removed from the target, and what is done with the others is recorded.
    DeltaSettled {
        /// Migration id.
        migration: String,
        /// Rows removed in this run.
        rows_removed: u64,
    },
    /// A re-embedding began, or goes on.
    ReembedStarted {
        /// Migration id.
        migration: String,
        /// Whether an earlier run is continued.
        resumed: bool,
        /// Where its bots are.
        bots: Counts,
    },
    /// Where the bots of a re-embedding are. Sent about twice a second while that changes.
    Bots {
        /// How many are where.
        counts: Counts,
        /// Launches per second that are allowed now.
        launches_per_second: f64,
    },
    /// The runner has taken a bot's task on.
    BotStarted {
        /// The bot.
        bot: BotKey,
        /// Which attempt, 1-based.
        attempt: u32,
        /// The runner's id for the task.
        task: String,
    },
    /// A bot's embedding is proven and recorded.
    BotProven {
        /// The bot.
        bot: BotKey,
        /// By which attempt, 1-based.
        attempt: u32,
        /// Its rows on the target, where somebody could look.
        rows: Option<u64>,
    },
    /// An attempt gave no proof; another follows.
    BotRepeated {
        /// The bot.
        bot: BotKey,
        /// Attempts used up.
        attempts: u32,
        /// Why.
        reason: String,
        /// Seconds until the next.
        seconds: f64,
    },
    /// A bot failed; no further attempt is made in this run.
    BotFailed {
        /// The bot.
        bot: BotKey,
        /// Why.
        reason: String,
        /// Whether another run may succeed without anybody changing anything.
        retryable: bool,
    },
    /// Nothing is to be done for a bot any more.
    BotSkipped {
        /// The bot.
        bot: BotKey,
        /// Why.
        why: Skip,
    },
    /// Somebody else works on a bot, which is waited for.
    BotBusy {
        /// The bot.
        bot: BotKey,
        /// The task or claim that the registry names; may be empty.
        by: String,
    },
    /// The runner refuses so many launches that they were slowed down.
    Throttled {
        /// Launches per second that are allowed now.
        launches_per_second: f64,
    },
    /// The runner has no room for tasks; nothing is launched for a while.
    NoRoom {
        /// Its words.
        reason: String,
        /// For how many seconds.
        seconds: f64,
    },
    /// The first bots' containers have all died in the same way: nothing more is launched.
    Braked {
        /// How many bots.
        bots: usize,
        /// Why the last of them was.
        reason: String,
    },
    /// Every bot of a re-embedding is settled, and that is recorded.
    ReembedFinished(Box<reembed::Summary>),
    /// The run is complete and recorded.
    Finished(Summary),
}

/// What a run of `migrate` did, over all its runs where it was interrupted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Migration id.
    pub migration: String,
    /// How it moves rows.
    pub method: Method,
    /// Where it is: `done`, or `following` when a `follow` was left to itself.
    pub phase: Phase,
    /// Per table.
    pub tables: Vec<TableSummary>,
    /// Rows in all.
    pub rows: u64,
    /// COPY bytes in all.
    pub bytes: u64,
    /// Seconds of each phase, in order, over all runs.
    pub phases: Vec<(Phase, f64)>,
    /// What `plan` had estimated for each phase before the first run, where it did.
    pub estimated: Vec<(Phase, f64)>,
    /// Seconds of this run.
    pub seconds: f64,
}

/// What was done for one table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableSummary {
    /// Table, `schema.name`.
    pub table: String,
    /// Rows.
    pub rows: u64,
    /// COPY bytes.
    pub bytes: u64,
    /// Parts.
    pub parts: u32,
    /// Indexes and index-backed constraints built.
    pub indexes: u32,
}
