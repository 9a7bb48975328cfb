//! Runs in this process instead of tasks in a cluster: as many bots at a time as asked for, all with one embedding
//! service, so that they share one quota.
//!
//! A task's id is made of its launch's token, so a launch that is repeated finds its task. Nothing is durable: after a
//! restart of the process its tasks are unknown, their claims are released by whoever made them, and what they staged
//! is used by the next attempt. Dropping [`LocalTasks`] drops the runs where they are, like a process that is killed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vecferry_core::error::{Error, Result};
use vecferry_core::reembed::registry::BotRegistry;
use vecferry_core::reembed::task::{
    Launch, LaunchFailure, RunnerLimits, Stop, StopCause, Task, TaskRunner, TaskState,
};

use super::{Attempt, BotOutcome, Ending, Workbench, work};

/// Tasks that wait for their turn, for each that may run: launches beyond are told to come later.
const WAITING_PER_TURN: usize = 4;

/// Runs bots in this process.
pub struct LocalTasks {
    shared: Arc<Shared>,
    /// The tasks; dropped with the runner.
    running: Mutex<JoinSet<()>>,
    at_once: usize,
}

struct Shared {
    bench: Workbench,
    bots: Arc<dyn BotRegistry>,
    turns: Semaphore,
    entries: Mutex<HashMap<String, Entry>>,
}

/// A task, running or ended. Ended ones stay: one per launch of this process, some hundred bytes each.
struct Entry {
    launch: Launch,
    state: TaskState,
    cancel: CancellationToken,
    /// Why somebody stopped it.
    stopped_for: Option<String>,
    outcome: Option<BotOutcome>,
}

impl LocalTasks {
    /// A runner of at most `at_once` bots at a time, which are read from `bots` when their turn comes.
    pub fn new(bench: Workbench, bots: Arc<dyn BotRegistry>, at_once: usize) -> LocalTasks {
        let at_once = at_once.max(1);
        let shared =
            Shared { bench, bots, turns: Semaphore::new(at_once), entries: Mutex::default() };
        LocalTasks { shared: Arc::new(shared), running: Mutex::default(), at_once }
    }

    /// What a task did, once it has ended by itself without an error.
    pub fn outcome(&self, id: &str) -> Option<BotOutcome> {
        lock(&self.shared.entries).get(id).and_then(|entry| entry.outcome.clone())
    }
}

#[async_trait]
impl TaskRunner for LocalTasks {
    fn describe(&self) -> String {
        format!("this process, {} bots at a time", self.at_once)
    }

    async fn limits(&self) -> Result<RunnerLimits> {
        Ok(RunnerLimits { launches_per_second: None, in_flight: Some(self.at_once) })
    }

    async fn launch(&self, launch: &Launch) -> std::result::Result<String, LaunchFailure> {
        let id = format!("local-{}", launch.token);
        let cancel = CancellationToken::new();
        {
            let mut entries = lock(&self.shared.entries);
            if entries.contains_key(&id) {
                return Ok(id);
            }
            let busy = entries.values().filter(|entry| !entry.has_ended()).count();
            let most = self.at_once * (1 + WAITING_PER_TURN);
            if busy >= most {
                return Err(LaunchFailure::NoCapacity(format!("{busy} bots run or wait here")));
            }
            let entry = Entry {
                launch: launch.clone(),
                state: TaskState::Pending,
                cancel: cancel.clone(),
                stopped_for: None,
                outcome: None,
            };
            entries.insert(id.clone(), entry);
        }
        let mut running = lock(&self.running);
        // Ended ones are only taken out; what they were is in their entries.
        while running.try_join_next().is_some() {}
        let (shared, task) = (Arc::clone(&self.shared), id.clone());
        running.spawn(async move { shared.task(task, cancel).await });
        Ok(id)
    }

    async fn list(&self, migration: &str) -> Result<Vec<Task>> {
        let entries = lock(&self.shared.entries);
        let ours = entries.iter().filter(|(_, entry)| entry.launch.migration == migration);
        Ok(ours.map(|(id, entry)| entry.task(id)).collect())
    }

    async fn look(&self, ids: &[String]) -> Result<Vec<Task>> {
        let entries = lock(&self.shared.entries);
        let look = |id: &String| match entries.get(id) {
            Some(entry) => entry.task(id),
            None => Task { id: id.clone(), bot: None, token: None, state: TaskState::Vanished },
        };
        Ok(ids.iter().map(look).collect())
    }

    async fn stop(&self, id: &str, reason: &str) -> Result<()> {
        if let Some(entry) = lock(&self.shared.entries).get_mut(id)
            && !entry.has_ended()
        {
            entry.stopped_for.get_or_insert_with(|| reason.to_owned());
            entry.cancel.cancel();
        }
        Ok(())
    }
}

impl Shared {
    /// One task from its turn to its end. A panic in it costs this bot.
    async fn task(self: Arc<Self>, id: String, cancel: CancellationToken) {
        let turn = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            turn = self.turns.acquire() => turn.ok(),
        };
        let ended = match turn {
            None => Err("stopped before its turn".to_owned()),
            Some(_turn) => {
                let launch = self.set(&id, |entry| entry.state = TaskState::Running);
                let (shared, exec_id) = (Arc::clone(&self), id.clone());
                let mut alone = JoinSet::new();
                alone.spawn(async move {
                    match launch {
                        Some(launch) => shared.bot(&launch, exec_id, &cancel).await,
                        None => Err(Error::Bug { what: format!("no task {exec_id}") }),
                    }
                });
                match alone.join_next().await {
                    Some(Ok(ended)) => ended.map_err(|error| in_words(&error)),
                    Some(Err(error)) if error.is_panic() => Err("the worker panicked".to_owned()),
                    Some(Err(_)) | None => Err("the process ends".to_owned()),
                }
            }
        };
        self.set(&id, |entry| entry.end(ended));
    }

    async fn bot(
        &self,
        launch: &Launch,
        exec_id: String,
        cancel: &CancellationToken,
    ) -> Result<BotOutcome> {
        let Some(bot) = self.bots.get(&launch.bot).await? else {
            let bot = launch.bot.clone();
            return Ok(BotOutcome::nothing(bot, Ending::Gone));
        };
        let (migration, token) = (launch.migration.clone(), Some(launch.token.clone()));
        work(&bot, &Attempt { migration, token, exec_id }, &self.bench, cancel).await
    }

    fn set(&self, id: &str, change: impl FnOnce(&mut Entry)) -> Option<Launch> {
        let mut entries = lock(&self.entries);
        let entry = entries.get_mut(id)?;
        change(entry);
        Some(entry.launch.clone())
    }
}

impl Entry {
    fn has_ended(&self) -> bool {
        matches!(self.state, TaskState::Stopped(_))
    }

    fn task(&self, id: &str) -> Task {
        Task {
            id: id.to_owned(),
            bot: Some(self.launch.bot.clone()),
            token: Some(self.launch.token.clone()),
            state: self.state.clone(),
        }
    }

    fn end(&mut self, ended: std::result::Result<BotOutcome, String>) {
        let (exit_code, reason) = match &ended {
            Ok(outcome) => (0, outcome.ending.to_string()),
            Err(words) => (1, words.clone()),
        };
        let (cause, reason) = match (&self.stopped_for, &ended) {
            (Some(why), Err(_)) => (StopCause::Stopped, why.clone()),
            _ => (StopCause::Exited, reason),
        };
        self.state = TaskState::Stopped(Stop { cause, exit_code: Some(exit_code), reason });
        self.outcome = ended.ok();
    }
}

fn in_words(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A panic elsewhere leaves a map of plain states, which stays true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
