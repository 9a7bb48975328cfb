//! Who is to be taken up: the registry's bots, the record of earlier runs and the tasks that live, put together. Pure.

use std::collections::{HashMap, HashSet};

use super::adopt::adopt;
use super::attempt::Work;
use super::registry::Listing;
use super::store::{AttemptRecord, Batch, BotRecord, BotState, Counts, Skip};
use super::task::Task;
use crate::bot::{Bot, BotKey, Splitting};

/// What earlier runs have left.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) bots: Vec<BotRecord>,
    pub(super) attempts: Vec<AttemptRecord>,
    pub(super) tasks: Vec<Task>,
}

/// What the registry says now.
pub(super) struct Listed {
    /// Every bot in it, selected or not.
    pub(super) all: HashSet<BotKey>,
    /// The selected ones.
    pub(super) selected: Listing,
}

impl Listed {
    /// Takes the keys of a listing and narrows it.
    pub(super) fn new(
        listing: Listing,
        select: impl FnOnce(Listing) -> crate::Result<Listing>,
    ) -> crate::Result<Listed> {
        let others = listing.knowledge_base.iter().chain(&listing.without_documents);
        let all = listing.bots.iter().map(|bot| &bot.key).chain(others).cloned().collect();
        Ok(Listed { all, selected: select(listing)? })
    }
}

/// What there is to do.
#[derive(Debug, Default)]
pub(super) struct Muster {
    /// Bots whose task was launched.
    pub(super) running: Vec<Work>,
    /// Bots to launch: those begun first, then the largest first, because the last one to end decides.
    pub(super) waiting: Vec<Work>,
    /// What is to be recorded before anything is done.
    pub(super) changed: Batch,
    /// Where all bots are then.
    pub(super) counts: Counts,
    /// Tasks to stop.
    pub(super) surplus: Vec<String>,
}

/// Puts it together.
pub(super) fn muster(known: Known, listed: Listed, retry_failed: bool) -> Muster {
    let mut attempts: HashMap<BotKey, Vec<AttemptRecord>> = HashMap::new();
    for attempt in known.attempts {
        attempts.entry(attempt.bot.clone()).or_default().push(attempt);
    }
    let adoption = adopt(&known.bots, &attempts, &known.tasks);
    let mut muster = Muster { surplus: adoption.surplus, ..Muster::default() };
    let Listed { all, selected } = listed;
    let skips = [
        (Skip::KnowledgeBase, selected.knowledge_base),
        (Skip::NoDocuments, selected.without_documents),
    ];
    let mut skipped: HashMap<BotKey, Skip> = HashMap::new();
    for (why, keys) in skips {
        skipped.extend(keys.into_iter().map(|key| (key, why)));
    }
    let mut bots: HashMap<BotKey, Bot> =
        selected.bots.into_iter().map(|bot| (bot.key.clone(), bot)).collect();
    let mut settled = Vec::new();
    for record in known.bots {
        let bot = bots.remove(&record.key);
        let fate = match adoption.running.get(&record.key) {
            Some((number, task)) => Fate::Adopted(*number, task.clone()),
            None => {
                fate(&record, bot.is_some(), skipped.get(&record.key).copied(), &all, retry_failed)
            }
        };
        skipped.remove(&record.key);
        let attempts = attempts.remove(&record.key).unwrap_or_default();
        if let Some(state) = muster.take(record, bot, attempts, fate) {
            settled.push(state);
        }
    }
    for bot in bots.into_values() {
        let documents = u32::try_from(bot.documents.len()).unwrap_or(u32::MAX);
        let record = BotRecord::waiting(bot.key.clone(), bot.title.clone(), documents);
        muster.changed.bots.push(record.clone());
        muster.waiting.push(work(bot, record, Vec::new()));
    }
    for (key, why) in skipped {
        let state = BotState::Skipped { why };
        settled.push(state.clone());
        let record = BotRecord { state, ..BotRecord::waiting(key, String::new(), 0) };
        muster.changed.bots.push(record);
    }
    let launched = |work: &Work| work.record.state.token().is_some();
    muster.waiting.sort_by(|one, other| {
        let size = |work: &Work| (launched(work), work.record.documents);
        size(other).cmp(&size(one)).then_with(|| one.bot.key.cmp(&other.bot.key))
    });
    let works = muster.running.iter().chain(&muster.waiting);
    muster.counts = Counts::of(works.map(|work| &work.record.state).chain(&settled));
    muster
}

/// What becomes of a recorded bot.
enum Fate {
    /// Its task was found.
    Adopted(u32, String),
    /// It is taken up as it is.
    Resumed,
    /// It is taken up anew.
    Anew,
    /// Nothing is to be done for it.
    Skipped(Skip),
    /// It stays as it is.
    Left,
}

fn fate(
    record: &BotRecord,
    selected: bool,
    skipped: Option<Skip>,
    all: &HashSet<BotKey>,
    retry_failed: bool,
) -> Fate {
    match &record.state {
        BotState::Proven => Fate::Left,
        // Looked at even when it is gone or not selected: it may have a task.
        BotState::Running { .. } => Fate::Resumed,
        BotState::Skipped { .. } if selected => Fate::Anew,
        BotState::Skipped { .. } => Fate::Left,
        _ if !all.contains(&record.key) => Fate::Skipped(Skip::Gone),
        BotState::Launching { .. } if selected => Fate::Resumed,
        BotState::Failed { .. } if selected && retry_failed => Fate::Anew,
        BotState::Failed { .. } => skipped.map_or(Fate::Left, Fate::Skipped),
        BotState::Waiting if selected => Fate::Resumed,
        BotState::Waiting | BotState::Launching { .. } => skipped.map_or(Fate::Left, Fate::Skipped),
    }
}

impl Muster {
    /// Takes a recorded bot in; its state when nothing is done for it.
    fn take(
        &mut self,
        mut record: BotRecord,
        bot: Option<Bot>,
        attempts: Vec<AttemptRecord>,
        fate: Fate,
    ) -> Option<BotState> {
        match fate {
            Fate::Left => return Some(record.state),
            Fate::Skipped(why) => {
                record.state = BotState::Skipped { why };
                self.changed.bots.push(record.clone());
                return Some(record.state);
            }
            Fate::Anew => {
                (record.state, record.attempts) = (BotState::Waiting, 0);
                record.finished_at = None;
            }
            // Attempts are counted per run: an operator's kill must not use them up.
            Fate::Resumed | Fate::Adopted(..) => record.attempts = 0,
        }
        let bot = bot.unwrap_or_else(|| unlisted(&record));
        record.title.clone_from(&bot.title);
        if !bot.documents.is_empty() {
            record.documents = u32::try_from(bot.documents.len()).unwrap_or(u32::MAX);
        }
        let mut work = work(bot, record, attempts);
        let number = match fate {
            Fate::Adopted(number, task) => {
                work.adopt(number, task);
                Some(number)
            }
            _ => None,
        };
        self.changed.bots.push(work.record.clone());
        if number.is_some() {
            self.changed.attempts.extend(work.attempts.get(work.at).cloned());
        }
        match work.record.state {
            BotState::Running { .. } => self.running.push(work),
            _ => self.waiting.push(work),
        }
        None
    }
}

impl Work {
    /// Puts a bot back to the attempt whose task was found.
    fn adopt(&mut self, number: u32, task: String) {
        let Some(at) = self.attempts.iter().position(|attempt| attempt.number == number) else {
            return;
        };
        self.at = at;
        let attempt = &mut self.attempts[at];
        (attempt.task, attempt.end) = (Some(task.clone()), None);
        self.record.state = BotState::Running { token: attempt.token.clone(), task };
        self.record.finished_at = None;
    }
}

fn work(bot: Bot, record: BotRecord, attempts: Vec<AttemptRecord>) -> Work {
    let token = record.state.token();
    let current = attempts.iter().position(|attempt| Some(attempt.token.as_str()) == token);
    let at = current.unwrap_or(attempts.len().saturating_sub(1));
    Work { bot, record, attempts, at, contested: None }
}

/// A bot whose task runs though the registry does not list it, or not as selected.
fn unlisted(record: &BotRecord) -> Bot {
    Bot {
        key: record.key.clone(),
        title: record.title.clone(),
        documents: Vec::new(),
        splitting: Splitting::default(),
        sync: None,
    }
}

#[cfg(test)]
mod tests;
