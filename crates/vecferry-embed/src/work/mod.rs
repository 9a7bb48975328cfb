//! One bot's run: its documents become staged rows, and the staged rows become the bot's.
//!
//! [`work`] checks first what can be checked for nothing (the lock, the table, the model's dimensions), then takes the
//! bot in the registry, stages document after document (`pipeline`), decides by [`LostPolicy`] what a lost document
//! means, makes sure that the bot is still there and still ours, and swaps.
//!
//! What is durable when, and what another run of the same migration does after a crash:
//!
//! | killed | durable | the next run |
//! | --- | --- | --- |
//! | before the registry's RUNNING | nothing | starts at the beginning |
//! | while documents are staged | each complete document, until the bot is swapped | stages what is missing; documents that were half done are done again, and paid for again |
//! | before the swap's commit | the same; the old rows are untouched | swaps |
//! | at the swap's commit | the new rows and `bot_result`, or neither | under the same token: finds its result; under another: works anew |
//! | before the registry's SUCCEEDED | the swap | under the same token: writes SUCCEEDED |
//!
//! A run that fails or is cancelled says so in the registry and in `bot_result`; one that is killed leaves RUNNING, and
//! whoever started it looks at `bot_result` and the rows. Temporary files are in [`Workbench::folder`], removed by the
//! run, or with the folder by whoever made it.

mod find;
mod ledger;
mod local;
mod pipeline;
mod policy;
mod read;
mod record;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use vecferry_core::bot::{Bot, BotKey, SyncStatus};
use vecferry_core::error::{Error, Result};
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::Dsn;
use vecferry_core::reembed::registry::BotRegistry;

use crate::embedding::Service;
use crate::sources::Sources;
use crate::split::Splitter;
use crate::stage::{LostDocument, Making, Patience, Place, Record, Stage};
use crate::text::Extractor;
use pipeline::Made;
use policy::{Counts, Decision, decide};
use record::{Records, Standing};

pub use local::LocalTasks;
pub use policy::{LostPolicy, UnknownPolicy};

/// What runs are made with; the same for all bots of a process.
#[derive(Clone)]
pub struct Workbench {
    /// The target.
    pub target: Dsn,
    /// The application's table on it.
    pub knowledge: Knowledge,
    /// Where the application keeps the state of a bot's embedding, if anywhere.
    pub registry: Option<Arc<dyn BotRegistry>>,
    /// Where documents come from.
    pub sources: Sources,
    /// Reads documents in child processes.
    pub extractor: Arc<Extractor>,
    /// The embedding model and its pace; clones share the pace.
    pub embedding: Service,
    /// Where vectors of unchanged chunks may be taken from, if anywhere.
    pub reuse: Option<Reuse>,
    /// What a lost document means.
    pub policy: LostPolicy,
    /// What a run may take.
    pub limits: Limits,
    /// How long a target that fails in passing is borne.
    pub patience: Patience,
    /// Where documents and their texts are while they are read.
    pub folder: PathBuf,
}

/// Rows whose vectors may be taken instead of paid for.
#[derive(Debug, Clone)]
pub struct Reuse {
    /// The cluster they are on; it is only read.
    pub source: Dsn,
    /// The application's table on it.
    pub knowledge: Knowledge,
    /// Id of the model that made them. Nothing is reused for another model: vectors of equal length may lie in different
    /// spaces.
    pub model: String,
}

/// What a run may take besides memory, which is bounded by its queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Documents fetched, read or split at the same time.
    pub documents_at_once: usize,
    /// Bytes of documents and texts on disk, about: a document whose size is not known before counts as 32 MiB twice.
    pub disk_bytes: u64,
}

impl Default for Limits {
    /// Eight documents at once hide the latency of S3 and of web servers; 4 GiB are a fifth of the disk that Fargate
    /// gives a task without being asked (20 GiB).
    fn default() -> Self {
        Limits { documents_at_once: 8, disk_bytes: 4 << 30 }
    }
}

/// Which attempt a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Migration id; what earlier runs of it staged is used.
    pub migration: String,
    /// The launch's token, which is also the claim in the registry; `None` for a run that nobody launched.
    pub token: Option<String>,
    /// The task's own id, as the registry will name it.
    pub exec_id: String,
}

impl Attempt {
    /// What `bot_result` knows the attempt by.
    fn name(&self) -> &str {
        self.token.as_deref().unwrap_or(&self.exec_id)
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum Ending {
    /// The bot's rows are this run's.
    Swapped,
    /// Nothing was swapped, because documents were lost or there are none.
    Failed {
        /// Why, as the bot's owner is told.
        reason: String,
    },
    /// The bot no longer exists; nothing of this run is left.
    Gone,
    /// Somebody else works on the bot; nothing was swapped.
    GaveWay {
        /// Task or claim that the registry names.
        to: String,
    },
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Swapped => f.write_str("swapped"),
            Ending::Failed { reason } => write!(f, "failed: {reason}"),
            Ending::Gone => f.write_str("the bot is gone"),
            Ending::GaveWay { to } => write!(f, "gave way to {to}"),
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BotOutcome {
    /// The bot.
    pub bot: BotKey,
    /// How it ended.
    #[serde(flatten)]
    pub ending: Ending,
    /// Rows that were swapped in.
    pub rows: u64,
    /// Documents whose rows are staged or swapped in.
    pub documents: u32,
    /// Documents that gave no rows, and addresses behind which nothing was found.
    pub lost: Vec<LostDocument>,
    /// Chunks that took their vector from the source.
    pub reused: u64,
    /// Calls of the model.
    pub calls: u64,
    /// Tokens the model's service counted; estimated where it does not.
    pub tokens: u64,
    /// How long it took.
    pub seconds: f64,
}

impl BotOutcome {
    /// The outcome of a run that ended before it did anything.
    pub fn nothing(bot: BotKey, ending: Ending) -> BotOutcome {
        BotOutcome {
            bot,
            ending,
            rows: 0,
            documents: 0,
            lost: Vec::new(),
            reused: 0,
            calls: 0,
            tokens: 0,
            seconds: 0.0,
        }
    }
}

/// Makes the bot's rows of its documents. `cancel` ends it between two steps, within a second or so; a swap that has
/// begun is brought to its end first.
///
/// # Errors
/// [`Error::Refused`] when another run is at work on the bot or its rows cannot be written, [`Error::Interrupted`] when
/// cancelled, and whatever ended the run otherwise; nothing is swapped then. Lost documents are no error but an
/// [`Ending`].
pub async fn work(
    bot: &Bot,
    attempt: &Attempt,
    bench: &Workbench,
    cancel: &CancellationToken,
) -> Result<BotOutcome> {
    let run = Run {
        bot,
        attempt,
        bench,
        records: Records::new(bench.registry.as_deref(), &bot.key, attempt),
        started: Instant::now(),
    };
    run.run(cancel).await
}

/// What became of staged documents.
enum Ended {
    /// They are the bot's rows; the registry is yet to be told.
    Swapped { rows: u64, reason: String },
    /// They are not.
    Unswapped(Ending),
}

struct Run<'a> {
    bot: &'a Bot,
    attempt: &'a Attempt,
    bench: &'a Workbench,
    records: Records<'a>,
    started: Instant,
}

impl Run<'_> {
    async fn run(&self, cancel: &CancellationToken) -> Result<BotOutcome> {
        let mut made = Made::default();
        let opened = Stage::open(self.place(), self.making());
        let (mut stage, kept) = unless(cancel, opened).await?;
        if let Some(swapped) = stage.swapped(self.attempt.name()).await? {
            return self.was_swapped(&mut stage, swapped).await;
        }
        match unless(cancel, self.records.begin()).await? {
            Standing::Ours => {}
            Standing::Gone => {
                stage.abandon().await?;
                return Ok(self.outcome(Ending::Gone, 0, made));
            }
            Standing::Others(to) => return Ok(self.outcome(Ending::GaveWay { to }, 0, made)),
        }
        let staged = pipeline::run(self.bot, self.bench, &mut stage, kept, &mut made);
        let staged = unless(cancel, staged).await;
        let ended = match staged {
            Ok(()) => self.end(&mut stage, &made).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(Ended::Unswapped(ending)) => Ok(self.outcome(ending, 0, made)),
            // Whatever fails from here on, the swap has happened: nothing may call it a failure.
            Ok(Ended::Swapped { rows, reason }) => {
                let ending = self.tell_success(&mut stage, &reason).await?;
                Ok(self.outcome(ending, rows, made))
            }
            Err(error) => {
                self.tell_failure(&mut stage, &made, &error).await;
                Err(error)
            }
        }
    }

    /// Everything is staged that will be: decides, and swaps or fails.
    async fn end(&self, stage: &mut Stage, made: &Made) -> Result<Ended> {
        let counts = counts(made);
        let reason = policy::reason(counts, &made.ledger.lost);
        let keep = match decide(self.bench.policy, counts) {
            Decision::Swap(keep) => keep,
            Decision::Fail => {
                stage.record_failure(&self.record(made)).await?;
                let standing = self.records.end(SyncStatus::Failed, &reason).await?;
                if standing == Standing::Gone {
                    stage.abandon().await?;
                    return Ok(Ended::Unswapped(Ending::Gone));
                }
                return Ok(Ended::Unswapped(Ending::Failed { reason }));
            }
        };
        // Last, because staging may have taken an hour in which the owner did something.
        match self.records.look().await? {
            Standing::Ours => {}
            Standing::Gone => {
                stage.abandon().await?;
                return Ok(Ended::Unswapped(Ending::Gone));
            }
            Standing::Others(to) => return Ok(Ended::Unswapped(Ending::GaveWay { to })),
        }
        let rows = stage.swap(keep, made.ledger.chunks, &self.record(made)).await?;
        Ok(Ended::Swapped { rows, reason })
    }

    /// An earlier process of this very attempt swapped, and died before it could say so.
    async fn was_swapped(
        &self,
        stage: &mut Stage,
        swapped: crate::stage::Swapped,
    ) -> Result<BotOutcome> {
        let mut made = Made { reused: swapped.reused, ..Made::default() };
        made.usage.tokens = swapped.tokens;
        made.ledger.documents = swapped.documents;
        made.ledger.lost = swapped.lost;
        let reason = policy::reason(counts(&made), &made.ledger.lost);
        let ending = self.tell_success(stage, &reason).await?;
        Ok(self.outcome(ending, swapped.rows, made))
    }

    /// The rows are swapped in; whose the record is now changes nothing about that, unless the bot is gone.
    async fn tell_success(&self, stage: &mut Stage, reason: &str) -> Result<Ending> {
        match self.records.end(SyncStatus::Succeeded, reason).await? {
            Standing::Ours => Ok(Ending::Swapped),
            Standing::Gone => {
                stage.withdraw().await?;
                Ok(Ending::Gone)
            }
            Standing::Others(to) => {
                let bot = &self.bot.key.id;
                tracing::info!(
                    bot,
                    to,
                    "somebody else works on the bot since its rows were swapped"
                );
                Ok(Ending::Swapped)
            }
        }
    }

    /// Records a failure where that is still possible; the failure itself is what the caller hears.
    async fn tell_failure(&self, stage: &mut Stage, made: &Made, error: &Error) {
        let bot = &self.bot.key.id;
        if let Err(second) = stage.record_failure(&self.record(made)).await {
            tracing::warn!(bot, error = %second, "the failure is not recorded on the target");
        }
        let reason = match std::error::Error::source(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        if let Err(second) = self.records.end(SyncStatus::Failed, &reason).await {
            tracing::warn!(bot, error = %second, "the failure is not in the registry");
        }
    }

    fn place(&self) -> Place {
        Place {
            target: self.bench.target.clone(),
            knowledge: self.bench.knowledge.clone(),
            migration: self.attempt.migration.clone(),
            bot: self.bot.key.id.clone(),
            patience: self.bench.patience,
        }
    }

    fn making(&self) -> Making {
        let model = self.bench.embedding.model();
        let splitter = Splitter::new(self.bot.splitting, model.chars_per_text);
        let (chars, overlap) = (splitter.chunk_chars(), splitter.overlap_chars());
        let (id, dimensions) = (&model.id, model.dimensions);
        let version = env!("CARGO_PKG_VERSION");
        let fingerprint =
            format!("{id} {dimensions}, chunks {chars}/{overlap}, vecferry {version}");
        Making { fingerprint, dimensions, chunk_chars: chars }
    }

    fn record<'b>(&'b self, made: &'b Made) -> Record<'b> {
        Record {
            token: self.attempt.name(),
            exec_id: &self.attempt.exec_id,
            model: &self.bench.embedding.model().id,
            documents: made.ledger.documents,
            reused: made.reused,
            tokens: made.usage.tokens,
            lost: &made.ledger.lost,
        }
    }

    fn outcome(&self, ending: Ending, rows: u64, made: Made) -> BotOutcome {
        BotOutcome {
            bot: self.bot.key.clone(),
            ending,
            rows,
            documents: made.ledger.documents,
            lost: made.ledger.lost,
            reused: made.reused,
            calls: made.usage.calls,
            tokens: made.usage.tokens,
            seconds: self.started.elapsed().as_secs_f64(),
        }
    }
}

fn counts(made: &Made) -> Counts {
    Counts {
        staged: made.ledger.documents as usize,
        lost: made.ledger.lost.len(),
        lost_addresses: made.ledger.lost_addresses,
    }
}

/// The step's result, unless the run is cancelled first.
async fn unless<T>(cancel: &CancellationToken, step: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Interrupted),
        done = step => done,
    }
}
