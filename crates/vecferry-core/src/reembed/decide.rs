//! What follows when a task has ended, and what a claim that was refused means. Pure.
//!
//! The order of the rules is their meaning: a bot that is gone needs nothing; a proof stands whatever became of the
//! task; rows that are wrong are written again; what the worker itself says of its documents is believed; only then does
//! it matter how the task ended. Exit codes say nothing: workers end with 0 after a failure.

use super::store::{Skip, Yield};
use super::task::{Stop, StopCause, TaskState};
use super::verdict::{BotResult, Verdict};
use crate::bot::{SyncRecord, SyncStatus};

/// First word of every token of ours, so that a claim is told from a task's id.
pub const TOKEN_PREFIX: &str = "vecferry-";

/// How a task ended, as far as its runner can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It stopped.
    Stopped(Stop),
    /// The runner no longer knows it.
    Vanished,
}

impl Ending {
    /// The cause, where there is one.
    pub fn cause(&self) -> Option<StopCause> {
        match self {
            Ending::Stopped(stop) => Some(stop.cause),
            Ending::Vanished => None,
        }
    }
}

/// What the registry says of a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// The registry keeps no records.
    NotKept,
    /// The bot is gone.
    Gone,
    /// Its record, if it has one.
    Record(Option<SyncRecord>),
}

/// What a decision is made of.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// How the task ended.
    pub ending: &'a Ending,
    /// What the target says.
    pub verdict: &'a Verdict,
    /// What the registry says.
    pub registered: &'a Registered,
    /// What vecferry's own worker recorded for this attempt.
    pub result: Option<&'a BotResult>,
    /// Token and task of the attempt: what its worker writes as `LastExecId`.
    pub ours: [&'a str; 2],
    /// Attempts used up, this one included.
    pub attempts: u32,
    /// Attempts allowed.
    pub allowed: u32,
    /// Whether documents without rows are accepted.
    pub accept_missing: bool,
}

/// What is done about a bot whose task has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is embedded.
    Proven(Yield),
    /// Another attempt.
    Repeat {
        /// Why.
        reason: String,
    },
    /// No further attempt in this run.
    Failed {
        /// Why.
        reason: String,
        /// Whether another attempt may succeed without anybody changing anything.
        retryable: bool,
    },
    /// Nothing is to be done any more.
    Skip(Skip),
}

/// Decides.
pub fn decide(facts: &Facts<'_>) -> Decision {
    match judge(facts) {
        Decision::Repeat { reason } if facts.attempts >= facts.allowed => Decision::Failed {
            reason: match facts.attempts {
                1 => reason,
                many => format!("{many} attempts, the last one: {reason}"),
            },
            retryable: true,
        },
        decision => decision,
    }
}

/// The decision while there are attempts left.
fn judge(facts: &Facts<'_>) -> Decision {
    if *facts.registered == Registered::Gone {
        return Decision::Skip(Skip::Gone);
    }
    match facts.verdict {
        Verdict::Proven(got) => return Decision::Proven(*got),
        Verdict::Doubled { transactions } => {
            return repeat(format!("rows of {transactions} runs stand beside each other"));
        }
        Verdict::Faulty { rows } => {
            return repeat(format!(
                "{rows} rows have no embedding, one of zeros only, or one of another length"
            ));
        }
        Verdict::Unseen | Verdict::Untouched | Verdict::Incomplete { .. } => {}
    }
    let said = said_by_worker(facts).or_else(|| said_by_registry(facts));
    if let Some(decision) = said {
        return decision;
    }
    if let Verdict::Incomplete { missing, got } = facts.verdict {
        if facts.accept_missing {
            return Decision::Proven(*got);
        }
        return failed(format!("no rows for {}", some_of(missing)), false);
    }
    by_cause(facts.ending)
}

/// Whether the attempt's worker got so far as to say what became of the bot.
pub(super) fn spoke(facts: &Facts<'_>) -> bool {
    said_by_worker(facts).is_some() || said_by_registry(facts).is_some()
}

/// vecferry's worker says which documents failed, in the target.
fn said_by_worker(facts: &Facts<'_>) -> Option<Decision> {
    let result = facts.result.filter(|result| facts.ours.contains(&result.token.as_str()))?;
    if result.swapped {
        return None;
    }
    if result.lost.is_empty() {
        return Some(repeat(gave_up(facts)));
    }
    let lost: Vec<String> =
        result.lost.iter().map(|lost| format!("{} ({})", lost.source, lost.reason)).collect();
    let left = if result.documents == 0 { format!("; {NONE_LEFT}") } else { String::new() };
    Some(failed(format!("lost {}{left}", some_of(&lost)), false))
}

/// What is said of a bot that lost every document: nothing would be left of it, so its rows stay under every policy.
pub const NONE_LEFT: &str = "no document of the bot is left, so its rows stay as they were";

/// What Bedrock Chat's worker writes when it has embedded nothing (`embedding/main.py`, v0.4 to v1.4).
const NOTHING_EMBEDDED: &str = "No contents to embed";

/// Why a worker gave up that lost no document: what it wrote into the registry, else how its task ended.
fn gave_up(facts: &Facts<'_>) -> String {
    let written = match facts.registered {
        Registered::Record(Some(record)) if facts.ours.contains(&record.exec_id.as_str()) => {
            record.reason.trim()
        }
        _ => "",
    };
    let ended = match facts.ending {
        Ending::Stopped(stop) => stop.reason.as_str(),
        _ => "",
    };
    match [written, ended].into_iter().find(|words| !words.is_empty()) {
        Some(words) => format!("the worker gave up: {words}"),
        None => "the worker gave up".to_owned(),
    }
}

/// What the attempt's worker wrote into the registry.
fn said_by_registry(facts: &Facts<'_>) -> Option<Decision> {
    let Registered::Record(Some(record)) = facts.registered else { return None };
    if !facts.ours.contains(&record.exec_id.as_str()) {
        return None;
    }
    match (record.status, facts.verdict) {
        (SyncStatus::Failed, _) if passes(&record.reason) => Some(repeat(record.reason.clone())),
        (SyncStatus::Failed, _) => {
            let reason = match record.reason.trim() {
                "" => "the worker failed without a reason".to_owned(),
                reason => reason.to_owned(),
            };
            Some(failed(reason, false))
        }
        // Success without rows: what it says of a bot whose only documents it does not know (`s3_urls`).
        (SyncStatus::Succeeded, Verdict::Unseen) if record.reason.starts_with(NOTHING_EMBEDDED) => {
            Some(failed("the worker found nothing that it can embed".into(), false))
        }
        (SyncStatus::Succeeded, Verdict::Unseen) => Some(Decision::Proven(Yield::default())),
        // Bedrock Chat's worker does so for a bot in whose documents it finds no text.
        (SyncStatus::Succeeded, Verdict::Untouched) => {
            let reason = "the worker reports success and has written no rows";
            Some(failed(reason.into(), false))
        }
        (SyncStatus::Succeeded | SyncStatus::Running | SyncStatus::Queued, _) => None,
    }
}

/// Nobody said anything: the task's end is all there is.
fn by_cause(ending: &Ending) -> Decision {
    let Ending::Stopped(stop) = ending else {
        return repeat("its task is no longer known to the runner".into());
    };
    let said = if stop.reason.is_empty() { String::new() } else { format!(" ({})", stop.reason) };
    match stop.cause {
        StopCause::OutOfMemory => {
            failed(format!("its task ran out of memory{said}: give the task more memory"), false)
        }
        StopCause::Stopped => failed(format!("its task was stopped by a person{said}"), true),
        StopCause::NeverStarted => repeat(format!("its task never started{said}")),
        StopCause::Interrupted => repeat(format!("its task was interrupted{said}")),
        StopCause::Exited => match stop.exit_code {
            Some(code) => {
                // ECS's word for every container that ended.
                let plain = stop.reason.to_ascii_lowercase().starts_with("essential container");
                let said = if plain { "" } else { said.as_str() };
                repeat(format!("its worker ended with exit code {code} and no result{said}"))
            }
            None => repeat(format!("its worker ended without a result{said}")),
        },
    }
}

fn repeat(reason: String) -> Decision {
    Decision::Repeat { reason }
}

fn failed(reason: String, retryable: bool) -> Decision {
    Decision::Failed { reason, retryable }
}

/// Three of them and how many more: a reason is one line.
fn some_of(items: &[String]) -> String {
    let shown = items.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    match items.len() {
        0..=3 => shown,
        many => format!("{shown} and {} more", many - 3),
    }
}

/// Whether a worker's reason is one that passes. Bedrock Chat's worker repeats nothing around its calls, so a throttled
/// one ends in `SyncStatusReason`.
fn passes(reason: &str) -> bool {
    const WORDS: [&str; 10] = [
        "throttl",
        "too many requests",
        "toomanyrequests",
        "rate exceeded",
        "serviceunavailable",
        "service unavailable",
        "internalserver",
        "timed out",
        "timeout",
        "connection",
    ];
    let reason = reason.to_lowercase();
    WORDS.iter().any(|word| reason.contains(word))
}

/// What a busy record means for somebody who wants to launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Whoever wrote it is gone: claim again, expecting this id.
    TakeOver(String),
    /// Somebody is at work, or may be: look again later.
    Busy,
    /// Somebody has been at work for longer than we wait; why, in words.
    GiveUp(String),
}

/// What is known of the writer of a busy record.
#[derive(Debug, Clone)]
pub struct Writer<'a> {
    /// The record.
    pub record: &'a SyncRecord,
    /// Whether its id is that of an attempt of ours, none of whose tasks runs.
    pub ours: bool,
    /// The runner's word on a task of that id.
    pub task: Option<&'a TaskState>,
    /// Seconds for which the record has been the same.
    pub unchanged: f64,
    /// Seconds after which we no longer wait.
    pub patience: f64,
}

/// Decides about a busy record. A claim of another vecferry is no task, so that the runner has never heard of it: it is
/// respected. A task that the runner has forgotten is believed dead only when its record has not changed for as long as
/// we wait, because another runner may know it.
pub fn contest(writer: &Writer<'_>) -> Claim {
    let SyncRecord { status, exec_id, .. } = writer.record;
    // What the application has queued may start at any moment, whoever ran last.
    if writer.ours && *status == SyncStatus::Running {
        return Claim::TakeOver(exec_id.clone());
    }
    let waited = writer.unchanged >= writer.patience;
    let named = !exec_id.is_empty() && !exec_id.starts_with(TOKEN_PREFIX);
    match (status, writer.task) {
        (SyncStatus::Running, Some(TaskState::Stopped(_))) => Claim::TakeOver(exec_id.clone()),
        (SyncStatus::Running, Some(TaskState::Vanished)) if named && waited => {
            Claim::TakeOver(exec_id.clone())
        }
        _ if waited => {
            let by = if exec_id.is_empty() { "nobody it names" } else { exec_id };
            Claim::GiveUp(format!("busy elsewhere: the registry says {status} by {by}"))
        }
        _ => Claim::Busy,
    }
}

#[cfg(test)]
mod tests;
