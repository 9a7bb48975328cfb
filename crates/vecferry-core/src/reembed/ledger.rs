//! Writes the record for all bots at once: what waits while one batch commits goes into the next.
//!
//! A write returns when it is durable. A store that cannot be reached is tried again for some minutes; bots are not
//! failed for it. When it stays away the keeper ends with the error, and every writer learns that the run is over.

use std::collections::HashMap;

use tokio::sync::{mpsc, oneshot};

use super::patience::{Stop, patiently};
use super::store::{AttemptRecord, Batch, BotRecord, MigrationStore};
use crate::bot::BotKey;
use crate::error::Result;
use crate::report::Reporter;

/// Entries of one batch at most: a few hundred kilobytes, and no transaction that others wait for.
const BATCH: usize = 500;

/// Entries that wait. Each bot has at most one, and waits for it.
const WAITING: usize = 1024;

/// What one bot writes.
struct Entry {
    bot: BotRecord,
    attempt: Option<AttemptRecord>,
    written: oneshot::Sender<()>,
}

/// Where bots hand their entries in.
#[derive(Clone)]
pub(super) struct Ledger {
    inbox: mpsc::Sender<Entry>,
}

/// The other end, for [`Keeper::keep`].
pub(super) struct Keeper {
    inbox: mpsc::Receiver<Entry>,
}

/// A ledger and its keeper.
pub(super) fn ledger() -> (Ledger, Keeper) {
    let (sender, inbox) = mpsc::channel(WAITING);
    (Ledger { inbox: sender }, Keeper { inbox })
}

impl Ledger {
    /// Writes a bot and its attempt as they are now; returns when they are durable.
    ///
    /// # Errors
    /// [`Stop::Over`] when the keeper has ended.
    pub(super) async fn write(
        &self,
        bot: BotRecord,
        attempt: Option<AttemptRecord>,
    ) -> Result<(), Stop> {
        let (written, done) = oneshot::channel();
        self.inbox.send(Entry { bot, attempt, written }).await.map_err(|_| Stop::Over)?;
        done.await.map_err(|_| Stop::Over)
    }
}

impl Keeper {
    /// Writes until no ledger is left.
    ///
    /// # Errors
    /// When the store stays away or refuses.
    pub(super) async fn keep(
        mut self,
        store: &dyn MigrationStore,
        run: &str,
        reporter: &dyn Reporter,
    ) -> Result<()> {
        let mut entries = Vec::with_capacity(BATCH);
        while self.inbox.recv_many(&mut entries, BATCH).await > 0 {
            let (batch, waiting) = batch(std::mem::take(&mut entries));
            patiently(reporter, || store.write(run, &batch)).await?;
            for written in waiting {
                // A bot whose future was dropped does not wait.
                let _ = written.send(());
            }
        }
        Ok(())
    }
}

/// The entries as one batch, in which every bot and attempt stands once, as its last entry has it.
fn batch(entries: Vec<Entry>) -> (Batch, Vec<oneshot::Sender<()>>) {
    let mut bots: HashMap<BotKey, BotRecord> = HashMap::new();
    let mut attempts: HashMap<(BotKey, u32), AttemptRecord> = HashMap::new();
    let mut waiting = Vec::with_capacity(entries.len());
    for Entry { bot, attempt, written } in entries {
        if let Some(attempt) = attempt {
            attempts.insert((attempt.bot.clone(), attempt.number), attempt);
        }
        bots.insert(bot.key.clone(), bot);
        waiting.push(written);
    }
    let batch =
        Batch { bots: bots.into_values().collect(), attempts: attempts.into_values().collect() };
    (batch, waiting)
}
