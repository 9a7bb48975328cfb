//! What a [`super::MigrationStore`] holds, as plain data, and the words in which it is written.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bot::{BotKey, Splitting};
use crate::error::{Error, Result};
use crate::knowledge::Knowledge;
use crate::reembed::estimate::Estimate;
use crate::reembed::task::StopCause;

/// Settings that a run has from its first day: a bot embedded by another model, split otherwise or written into
/// another table would not belong to the same knowledge base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The registry in words, see [`crate::reembed::registry::BotRegistry::describe`].
    pub registry: String,
    /// Embedding model.
    pub model: String,
    /// Length of its vectors.
    pub dimensions: usize,
    /// Where rows go.
    pub knowledge: Knowledge,
    /// How every bot is split, whatever the registry says; `None` when each bot is split as its registry says.
    pub splitting: Option<Splitting>,
}

impl Settings {
    /// What differs from the recorded ones, one line each; empty when a run may be continued with these.
    pub fn differences(&self, recorded: &Settings) -> Vec<String> {
        let split = |splitting: Option<Splitting>| match splitting {
            Some(it) => format!("{}/{} characters", it.chunk_chars, it.overlap_chars),
            None => "as the registry says".into(),
        };
        let knowledge = |it: &Knowledge| {
            let bot = it.bot.as_deref().unwrap_or("-");
            let columns = [&it.id, bot, &it.content, &it.source, &it.embedding];
            format!("{} ({})", it.table.plain(), columns.join(", "))
        };
        [
            ("registry", recorded.registry.clone(), self.registry.clone()),
            ("model", recorded.model.clone(), self.model.clone()),
            ("dimensions", recorded.dimensions.to_string(), self.dimensions.to_string()),
            ("knowledge table", knowledge(&recorded.knowledge), knowledge(&self.knowledge)),
            ("splitting", split(recorded.splitting), split(self.splitting)),
        ]
        .into_iter()
        .filter(|(_, before, now)| before != now)
        .map(|(what, before, now)| format!("{what}: recorded is {before}, now it is {now}"))
        .collect()
    }

    /// Refuses to go on with a run that was begun with others; `place` is where it is recorded.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming what differs.
    pub fn refuse_others(&self, recorded: &Settings, place: &str) -> Result<()> {
        let differences = self.differences(recorded);
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::Configuration {
            what: format!(
                "the unfinished run in {place} was begun otherwise: {}",
                differences.join("; ")
            ),
            hint: Some("go on with what is recorded, or begin again with --restart".into()),
        })
    }
}

/// A re-embedding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRecord {
    /// Migration id.
    pub id: String,
    /// What must not change.
    pub settings: Settings,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was finished: every bot proven or skipped.
    pub finished_at: Option<Timestamp>,
    /// Seconds that its runs have taken.
    pub seconds: f64,
    /// What ended the last run early.
    pub last_error: Option<String>,
    /// What it was expected to take when it began; `None` when nobody estimated.
    pub estimate: Option<Estimate>,
}

/// Where a bot is. All of it is written by the orchestrator that holds the store's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BotState {
    /// Nothing runs for it: it was found in the registry, or an attempt has ended without proof and another follows.
    Waiting,
    /// Durable before the registry's record is claimed and before the runner is asked: whatever was begun with this
    /// token is found again by it.
    Launching {
        /// Token of the attempt.
        token: String,
    },
    /// The runner has taken the task on. Durable as soon as it has said so; killed before that, a launch with the same
    /// token returns the same task.
    Running {
        /// Token of the attempt.
        token: String,
        /// The runner's id.
        task: String,
    },
    /// Its rows are proven on the target, or by the registry's record of exactly this attempt.
    Proven,
    /// No further attempt is made in the run that wrote this.
    Failed {
        /// Why, in one line.
        reason: String,
        /// Whether another attempt may succeed without anybody changing anything.
        retryable: bool,
    },
    /// Nothing is to be done for it.
    Skipped {
        /// Why.
        why: Skip,
    },
}

/// Why nothing is done for a bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// It is no longer in the registry.
    Gone,
    /// A Bedrock Knowledge Base serves it.
    KnowledgeBase,
    /// It has no documents.
    NoDocuments,
}

impl Skip {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Skip::Gone => "no longer in the registry",
            Skip::KnowledgeBase => "served by a Bedrock Knowledge Base",
            Skip::NoDocuments => "without documents",
        }
    }
}

impl BotState {
    /// The state's name in the record and in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            BotState::Waiting => "waiting",
            BotState::Launching { .. } => "launching",
            BotState::Running { .. } => "running",
            BotState::Proven => "proven",
            BotState::Failed { .. } => "failed",
            BotState::Skipped { .. } => "skipped",
        }
    }

    /// Token of the attempt that is under way.
    pub fn token(&self) -> Option<&str> {
        match self {
            BotState::Launching { token } | BotState::Running { token, .. } => Some(token),
            _ => None,
        }
    }

    /// Whether nothing more is done in the run that wrote it.
    pub fn is_settled(&self) -> bool {
        matches!(self, BotState::Proven | BotState::Failed { .. } | BotState::Skipped { .. })
    }
}

/// What an embedding has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Yield {
    /// Rows on the target; `None` when nobody could look.
    pub rows: Option<u64>,
    /// Tokens paid for, where the worker says so.
    pub tokens: Option<u64>,
    /// Rows whose vector was taken from the source, where the worker says so.
    pub reused: Option<u64>,
}

/// A bot of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BotRecord {
    /// Owner and id.
    pub key: BotKey,
    /// Title when it was last listed.
    pub title: String,
    /// Its document addresses when it was last listed.
    pub documents: u32,
    /// Where it is.
    #[serde(flatten)]
    pub state: BotState,
    /// Attempts used up; those that found no room or were throttled are not.
    pub attempts: u32,
    /// Why the last attempt gave no proof.
    pub last_reason: Option<String>,
    /// What came of it.
    #[serde(flatten)]
    pub got: Yield,
    /// When it was settled.
    pub finished_at: Option<Timestamp>,
}

impl BotRecord {
    /// A bot that was just found.
    pub fn waiting(key: BotKey, title: String, documents: u32) -> BotRecord {
        BotRecord {
            key,
            title,
            documents,
            state: BotState::Waiting,
            attempts: 0,
            last_reason: None,
            got: Yield::default(),
            finished_at: None,
        }
    }
}

/// One try for one bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttemptRecord {
    /// The bot.
    pub bot: BotKey,
    /// 1-based.
    pub number: u32,
    /// Token; another one when the runner had no room for the first.
    pub token: String,
    /// The runner's id for its task, once known.
    pub task: Option<String>,
    /// When the launch was written down.
    pub launched_at: Timestamp,
    /// Transactions that had written the bot's rows on the target before the launch (`xmin`), what the proof compares
    /// with; `None` when nobody could look.
    pub seen: Option<Vec<String>>,
    /// How it ended.
    pub end: Option<AttemptEnd>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// When that was seen.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// How its task ended, when it had one.
    pub cause: Option<StopCause>,
    /// In words.
    pub reason: String,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The bot is proven.
    Proven,
    /// The bot failed.
    Failed,
    /// Another attempt follows, and this one counts.
    Repeated,
    /// No task ran; it does not count.
    NotLaunched,
}

/// How many bots are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Nothing runs for them yet, or again.
    pub waiting: u64,
    /// A task is being launched or runs.
    pub running: u64,
    /// Proven.
    pub proven: u64,
    /// Failed.
    pub failed: u64,
    /// Nothing is to be done.
    pub skipped: u64,
}

impl Counts {
    /// Counts the states.
    pub fn of<'a>(states: impl IntoIterator<Item = &'a BotState>) -> Counts {
        let mut counts = Counts::default();
        for state in states {
            *counts.place(state.as_str()) += 1;
        }
        counts
    }

    /// The number of bots in a state of that name.
    pub(super) fn place(&mut self, state: &str) -> &mut u64 {
        match state {
            "launching" | "running" => &mut self.running,
            "proven" => &mut self.proven,
            "failed" => &mut self.failed,
            "skipped" => &mut self.skipped,
            _ => &mut self.waiting,
        }
    }

    /// A bot moved from one state to another.
    pub fn moved(&mut self, from: &BotState, to: &BotState) {
        *self.place(from.as_str()) -= 1;
        *self.place(to.as_str()) += 1;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.waiting + self.running + self.proven + self.failed + self.skipped
    }
}

/// Bots and attempts as they are now, written in one transaction. A bot or attempt that is there already is replaced.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Bots, each once.
    pub bots: Vec<BotRecord>,
    /// Attempts, each once, of bots that are recorded or stand in `bots`.
    pub attempts: Vec<AttemptRecord>,
}

/// A bot as both stores write it: one column each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BotRow {
    pub(super) owner: String,
    pub(super) bot: String,
    pub(super) title: String,
    pub(super) documents: u32,
    pub(super) state: String,
    pub(super) token: Option<String>,
    pub(super) task: Option<String>,
    pub(super) retryable: Option<bool>,
    pub(super) attempts: u32,
    pub(super) reason: Option<String>,
    pub(super) rows: Option<u64>,
    pub(super) tokens: Option<u64>,
    pub(super) reused: Option<u64>,
    pub(super) finished_at: Option<Timestamp>,
}

impl From<&BotRecord> for BotRow {
    fn from(record: &BotRecord) -> BotRow {
        let (mut task, mut retryable, mut reason) = (None, None, record.last_reason.clone());
        match &record.state {
            BotState::Running { task: id, .. } => task = Some(id.clone()),
            BotState::Failed { reason: why, retryable: again } => {
                (reason, retryable) = (Some(why.clone()), Some(*again));
            }
            // Its name in the record is the serialised one.
            BotState::Skipped { why } => reason = Some(skip_name(*why).to_owned()),
            _ => {}
        }
        BotRow {
            owner: record.key.owner.clone(),
            bot: record.key.id.clone(),
            title: record.title.clone(),
            documents: record.documents,
            state: record.state.as_str().to_owned(),
            token: record.state.token().map(str::to_owned),
            task,
            retryable,
            attempts: record.attempts,
            reason,
            rows: record.got.rows,
            tokens: record.got.tokens,
            reused: record.got.reused,
            finished_at: record.finished_at,
        }
    }
}

const SKIPS: [Skip; 3] = [Skip::Gone, Skip::KnowledgeBase, Skip::NoDocuments];

fn skip_name(skip: Skip) -> &'static str {
    match skip {
        Skip::Gone => "gone",
        Skip::KnowledgeBase => "knowledge_base",
        Skip::NoDocuments => "no_documents",
    }
}

impl TryFrom<BotRow> for BotRecord {
    type Error = Error;

    fn try_from(row: BotRow) -> Result<BotRecord> {
        let odd = || Error::Bug {
            what: format!(
                "the record of bot {} has state {:?} without its facts",
                row.bot, row.state
            ),
        };
        let (token, task) = (row.token.clone(), row.task.clone());
        let state = match row.state.as_str() {
            "waiting" => BotState::Waiting,
            "launching" => BotState::Launching { token: token.ok_or_else(odd)? },
            "running" => {
                BotState::Running { token: token.ok_or_else(odd)?, task: task.ok_or_else(odd)? }
            }
            "proven" => BotState::Proven,
            "failed" => BotState::Failed {
                reason: row.reason.clone().unwrap_or_default(),
                retryable: row.retryable.ok_or_else(odd)?,
            },
            "skipped" => {
                let named = |skip: &Skip| Some(skip_name(*skip)) == row.reason.as_deref();
                BotState::Skipped { why: SKIPS.into_iter().find(named).ok_or_else(odd)? }
            }
            _ => return Err(odd()),
        };
        let last_reason = match state {
            BotState::Skipped { .. } => None,
            _ => row.reason,
        };
        Ok(BotRecord {
            key: BotKey { owner: row.owner, id: row.bot },
            title: row.title,
            documents: row.documents,
            state,
            attempts: row.attempts,
            last_reason,
            got: Yield { rows: row.rows, tokens: row.tokens, reused: row.reused },
            finished_at: row.finished_at,
        })
    }
}

/// An attempt as both stores write it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AttemptRow {
    pub(super) owner: String,
    pub(super) bot: String,
    pub(super) number: u32,
    pub(super) token: String,
    pub(super) task: Option<String>,
    pub(super) launched_at: Timestamp,
    pub(super) seen: Option<Vec<String>>,
    /// `None` while the attempt is under way.
    pub(super) ended: Option<AttemptEnd>,
}

impl From<&AttemptRecord> for AttemptRow {
    fn from(record: &AttemptRecord) -> AttemptRow {
        let AttemptRecord { bot, number, token, task, launched_at, seen, end } = record.clone();
        AttemptRow {
            owner: bot.owner,
            bot: bot.id,
            number,
            token,
            task,
            launched_at,
            seen,
            ended: end,
        }
    }
}

impl From<AttemptRow> for AttemptRecord {
    fn from(row: AttemptRow) -> AttemptRecord {
        AttemptRecord {
            bot: BotKey { owner: row.owner, id: row.bot },
            number: row.number,
            token: row.token,
            task: row.task,
            launched_at: row.launched_at,
            seen: row.seen,
            end: row.ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bot(state: BotState) -> BotRecord {
        let key = BotKey { owner: "u".into(), id: "b".into() };
        BotRecord { state, ..BotRecord::waiting(key, "title".into(), 3) }
    }

    fn every_state() -> Vec<BotState> {
        let mut states = vec![
            BotState::Waiting,
            BotState::Launching { token: "t".into() },
            BotState::Running { token: "t".into(), task: "id".into() },
            BotState::Proven,
            BotState::Failed { reason: "no".into(), retryable: true },
        ];
        states.extend(SKIPS.map(|why| BotState::Skipped { why }));
        states
    }

    #[test]
    fn every_state_is_read_back_as_it_was_written() {
        for state in every_state() {
            let mut record = bot(state.clone());
            if let BotState::Failed { reason, .. } = &state {
                record.last_reason = Some(reason.clone());
            }
            assert_eq!(BotRecord::try_from(BotRow::from(&record)).unwrap(), record);
        }
    }

    #[test]
    fn a_state_without_its_facts_is_a_defect() {
        for state in every_state().iter().filter(|state| state.token().is_some()) {
            let row = BotRow { token: None, ..BotRow::from(&bot(state.clone())) };
            assert!(BotRecord::try_from(row).is_err(), "{state:?}");
        }
        let row = BotRow { state: "asleep".into(), ..BotRow::from(&bot(BotState::Waiting)) };
        assert!(BotRecord::try_from(row).is_err());
    }

    #[test]
    fn counts_follow_the_states() {
        let mut counts = Counts::of(&every_state());
        let expected = Counts { waiting: 1, running: 2, proven: 1, failed: 1, skipped: 3 };
        assert_eq!((counts, counts.total()), (expected, 8));
        counts.moved(&BotState::Waiting, &BotState::Proven);
        assert_eq!((counts.waiting, counts.proven, counts.total()), (0, 2, 8));
    }

    #[test]
    fn settings_name_what_differs() {
        let settings = crate::sample::settings();
        assert!(settings.differences(&settings).is_empty());
        let other = Settings {
            model: "n".into(),
            splitting: Some(Splitting::default()),
            ..settings.clone()
        };
        assert_eq!(
            other.differences(&settings),
            [
                "model: recorded is m, now it is n",
                "splitting: recorded is as the registry says, now it is 1000/200 characters"
            ]
        );
    }
}
