//! Tasks: one worker run for one bot, started by a [`TaskRunner`].

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::bot::BotKey;
use crate::error::Result;

/// Starts tasks and tells what became of them: ECS (`vecferry-aws`), or this process (`vecferry-embed`).
#[async_trait]
pub trait TaskRunner: Send + Sync {
    /// The runner in words, for messages: `ECS cluster chat in us-east-1`.
    fn describe(&self) -> String;

    /// What the runner can take, where it can tell.
    ///
    /// # Errors
    /// [`crate::Error::Service`] when it should be able to tell and fails.
    async fn limits(&self) -> Result<RunnerLimits>;

    /// Starts a task. Started again with the same token, it returns the same task.
    ///
    /// # Errors
    /// [`LaunchFailure`], which says whether and how to go on.
    async fn launch(&self, launch: &Launch) -> std::result::Result<String, LaunchFailure>;

    /// Tasks of a migration that the runner still knows, running or stopped.
    ///
    /// # Errors
    /// [`crate::Error::Service`].
    async fn list(&self, migration: &str) -> Result<Vec<Task>>;

    /// The state of these tasks, one answer for each id.
    ///
    /// # Errors
    /// [`crate::Error::Service`].
    async fn look(&self, ids: &[String]) -> Result<Vec<Task>>;

    /// Ends a task; not an error when it has ended.
    ///
    /// # Errors
    /// [`crate::Error::Service`].
    async fn stop(&self, id: &str, reason: &str) -> Result<()>;
}

/// What a runner can take.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RunnerLimits {
    /// Launches per second.
    pub launches_per_second: Option<f64>,
    /// Tasks at the same time.
    pub in_flight: Option<usize>,
}

/// One attempt for one bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The bot.
    pub bot: BotKey,
    /// Migration id; tasks are found again by it.
    pub migration: String,
    /// Which attempt of this bot, 1-based.
    pub attempt: u32,
    /// Same token, same task; at most 64 printable ASCII characters.
    pub token: String,
    /// What vecferry's own worker reads besides the bot's key; other workers ignore it.
    pub environment: Vec<(String, String)>,
}

/// A task as its runner sees it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The runner's id for it, which a worker writes as `LastExecId`.
    pub id: String,
    /// The bot it works for, when the runner can tell.
    pub bot: Option<BotKey>,
    /// Token it was launched with, when the runner can tell.
    pub token: Option<String>,
    /// State.
    pub state: TaskState,
}

/// Where a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Accepted, not running yet.
    Pending,
    /// Running.
    Running,
    /// Ended.
    Stopped(Stop),
    /// The runner no longer knows it (or never did).
    Vanished,
}

/// How a task ended. Says nothing about the bot: workers end with exit code 0 after a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// What kind of end.
    pub cause: StopCause,
    /// Exit code of the worker's container or process.
    pub exit_code: Option<i32>,
    /// The runner's words.
    pub reason: String,
}

/// Kinds of ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// The worker ended by itself.
    Exited,
    /// It was killed for memory.
    OutOfMemory,
    /// It never ran: no image, no network interface, no secret.
    NeverStarted,
    /// The platform took its place back.
    Interrupted,
    /// A person stopped it.
    Stopped,
}

/// Why a task was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchFailure {
    /// Too many requests: slow down and try again.
    #[error("the runner asks for fewer requests ({0})")]
    Throttled(String),
    /// No room now: try again later.
    #[error("no capacity now ({0})")]
    NoCapacity(String),
    /// The request may or may not have arrived: try again with the same token.
    #[error("no answer ({0})")]
    Unclear(String),
    /// Nothing can be started this way, for any bot: stop.
    #[error("the runner refuses ({0})")]
    Refused(String),
    /// This bot cannot be started; others can.
    #[error("the runner refuses this bot ({0})")]
    Rejected(String),
}
