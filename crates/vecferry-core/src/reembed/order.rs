//! What a re-embedding is asked to do, and what it did.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::estimate::Estimate;
use super::registry::{BotRegistry, OddItem};
use super::select::Selection;
use super::spent::Spent;
use super::store::{Counts, MigrationStore, Settings};
use super::task::TaskRunner;
use crate::bot::BotKey;
use crate::pg::Dsn;

/// A re-embedding to run, or to go on with.
#[derive(Clone)]
pub struct ReembedOrder {
    /// Lists the bots and keeps the application's record of their embedding.
    pub registry: Arc<dyn BotRegistry>,
    /// Starts one task per bot.
    pub runner: Arc<dyn TaskRunner>,
    /// Keeps what is known of each bot.
    pub store: Arc<dyn MigrationStore>,
    /// The target, where it can be reached from here: then rows prove a bot, otherwise the registry's record does.
    pub target: Option<Dsn>,
    /// What must not change while the run is continued.
    pub settings: Settings,
    /// What it is expected to take, to be recorded when it begins; `None` when nobody estimated.
    pub estimate: Option<Estimate>,
    /// Which bots.
    pub selection: Selection,
    /// What vecferry's own worker reads besides the bot's key, for every launch.
    pub environment: Vec<(String, String)>,
    /// How fast, how often, how long.
    pub policy: TaskPolicy,
    /// Forget the run that the store holds and begin again.
    pub restart: bool,
}

/// How tasks are launched, watched and repeated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TaskPolicy {
    /// Attempts per bot and run. Launches that found no room or were throttled do not count.
    pub attempts: u32,
    /// Launches per second at most; the runner's own limit when that is lower.
    pub launches_per_second: f64,
    /// Tasks at the same time at most; the runner's own limit when that is lower.
    pub in_flight: usize,
    /// How long a bot that somebody else works on is waited for.
    pub patience: Duration,
    /// How often tasks are looked at.
    pub poll: Duration,
    /// How long a task must be unknown to its runner before it counts as gone: a service that has just started one may
    /// not show it for a while, and a second task would be paid for.
    pub vanished_after: Duration,
    /// Wait before the second attempt; doubled for each later one, up to 32 times.
    pub repeat_after: Duration,
    /// Whether bots that failed in an earlier run are tried again.
    pub retry_failed: bool,
    /// Whether a bot counts as embedded though documents of it have no rows. Concerns workers other than vecferry's,
    /// which leave out what they cannot read without saying so.
    pub accept_missing: bool,
    /// Whether an interruption stops the tasks. Tasks on ECS go on by themselves; those in this process cannot.
    pub stop_tasks: bool,
}

impl Default for TaskPolicy {
    fn default() -> Self {
        TaskPolicy {
            attempts: 3,
            // ECS takes 20 RunTask calls a second, and Fargate refills its launches at that rate.
            launches_per_second: 20.0,
            in_flight: 100,
            patience: Duration::from_secs(15 * 60),
            poll: Duration::from_secs(5),
            vanished_after: Duration::ZERO,
            repeat_after: Duration::from_secs(5),
            retry_failed: true,
            accept_missing: false,
            stop_tasks: false,
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Migration id.
    pub migration: String,
    /// Where the bots are, over all runs of this migration.
    pub counts: Counts,
    /// Bots that failed, with the reason, by owner and id.
    pub failed: Vec<FailedBot>,
    /// Rows of proven bots, where somebody could look.
    pub rows: u64,
    /// Tokens paid for, where workers say so.
    pub tokens: u64,
    /// Vectors taken from the source instead.
    pub reused: u64,
    /// Aliases of other users' bots in the registry: nothing is to be done for them.
    pub aliases: u64,
    /// Items of the registry whose shape is unknown: nothing was done for them.
    pub odd: Vec<OddItem>,
    /// Seconds of this run.
    pub seconds: f64,
    /// What was expected when the migration began; `None` when nobody estimated.
    pub estimated: Option<Estimate>,
    /// What it has taken, over all runs of this migration.
    pub spent: Spent,
}

/// A bot that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedBot {
    /// Owner and id.
    pub bot: BotKey,
    /// Title.
    pub title: String,
    /// Why.
    pub reason: String,
    /// Whether another run may succeed without anybody changing anything.
    pub retryable: bool,
}
