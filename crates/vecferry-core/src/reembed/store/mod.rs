//! The record of a re-embedding: what is known of each bot, so that any later run goes on from there.
//!
//! One trait, two places: schema `vecferry` on the target ([`PostgresStore`]), which works from any machine, or a file
//! ([`SqliteStore`]) where the operator's machine has no route to the database. Both keep the same rows and pass the
//! same tests. [`BotState`] says what is durable when; the rest of the rules:
//!
//! - One orchestrator per store: the target's migration lock, or a lock on the file.
//! - A batch is one transaction and holds whole rows, so writing it twice does no harm, and a write whose answer was
//!   lost is simply repeated.
//! - Nothing here proves anything: a bot is `Proven` because rows on the target or the registry's record said so.

mod postgres;
mod record;
mod sqlite;

use async_trait::async_trait;

use crate::bot::BotKey;
use crate::error::Result;
use crate::reembed::estimate::Estimate;
pub use postgres::PostgresStore;
pub(crate) use postgres::{begin_run, bot_counts};
pub use record::{
    AttemptEnd, AttemptRecord, Batch, BotRecord, BotState, Counts, Outcome, RunRecord, Settings,
    Skip, Yield,
};
pub use sqlite::SqliteStore;

/// Keeps a re-embedding's record.
#[async_trait]
pub trait MigrationStore: Send + Sync {
    /// The store in words, for messages: `schema vecferry on db.example:5432/postgres`.
    fn describe(&self) -> String;

    /// Becomes the one orchestrator of this store, until [`MigrationStore::unlock`], or until the store is dropped or
    /// its connection lost. A store that reconnects takes the lock again first.
    ///
    /// # Errors
    /// [`crate::Error::Refused`] or [`crate::Error::Configuration`] when another one is at work, naming it; otherwise
    /// when the store cannot be reached.
    async fn lock(&self) -> Result<()>;

    /// Gives the lock back.
    ///
    /// # Errors
    /// When the store cannot be reached, which has given the lock back as well.
    async fn unlock(&self) -> Result<()>;

    /// Who holds the lock, in words; `None` when no orchestrator is at work.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn holder(&self) -> Result<Option<String>>;

    /// The newest re-embedding (of this store's kind), finished or not; `None` when there is none or the target holds another migration
    /// since.
    ///
    /// # Errors
    /// When the store cannot be read, or another version of vecferry wrote it.
    async fn newest(&self) -> Result<Option<RunRecord>>;

    /// Records a re-embedding that begins now, or goes on, with what it is expected to take; without an estimate the one
    /// that is recorded stays.
    ///
    /// # Errors
    /// [`crate::Error::Refused`] when the target holds an unfinished migration by another method.
    async fn begin(&self, id: &str, settings: &Settings, estimate: Option<&Estimate>)
    -> Result<()>;

    /// Every bot of a run, by owner and id.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn bots(&self, run: &str) -> Result<Vec<BotRecord>>;

    /// Attempts of a run, by owner, id and number; of one bot when it is named.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn attempts(&self, run: &str, bot: Option<&BotKey>) -> Result<Vec<AttemptRecord>>;

    /// How many bots of a run are where.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn counts(&self, run: &str) -> Result<Counts>;

    /// Writes bots and attempts in one durable transaction.
    ///
    /// # Errors
    /// When the store cannot be written; whether it was may then be unknown, and the same batch may be written again.
    async fn write(&self, run: &str, batch: &Batch) -> Result<()>;

    /// Records how this process's part of the run ended and how many seconds it took: finished when `why` is `None`.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn end(&self, run: &str, seconds: f64, why: Option<&str>) -> Result<()>;

    /// Forgets a run, so that another may begin.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn forget(&self, run: &str) -> Result<()>;
}
