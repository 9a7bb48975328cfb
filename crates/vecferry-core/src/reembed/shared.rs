//! What all bots of a run share: the registry, the runner, the record, the pace, the counts.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::attempt::Work;
use super::brake::{Brake, Told};
use super::decide::Registered;
use super::ledger::Ledger;
use super::order::ReembedOrder;
use super::pacer::Pacer;
use super::patience::{Stop, patiently};
use super::proof::Target;
use super::registry::{Expected, Written};
use super::store::{BotState, Counts};
use super::verdict::Evidence;
use super::watch::Watch;
use crate::bot::{BotKey, SyncRecord, SyncStatus};
use crate::error::Error;
use crate::report::{Event, Reporter};

pub(super) struct Shared {
    pub(super) order: ReembedOrder,
    /// Migration id.
    pub(super) run: String,
    pub(super) ledger: Ledger,
    pub(super) watch: Watch,
    pub(super) pacer: Pacer,
    pub(super) target: Option<Target>,
    pub(super) reporter: Arc<dyn Reporter>,
    /// Set when nothing more is to be launched.
    pub(super) cancel: CancellationToken,
    pub(super) counts: Mutex<Counts>,
    pub(super) brake: Mutex<Brake>,
}

impl Shared {
    /// Moves a bot to a state and makes that durable, together with its current attempt.
    pub(super) async fn enter(&self, work: &mut Work, state: BotState) -> Result<(), Stop> {
        let before = std::mem::replace(&mut work.record.state, state);
        let record = &mut work.record;
        record.finished_at = record.state.is_settled().then(now);
        self.ledger.write(record.clone(), work.attempts.get(work.at).cloned()).await?;
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .moved(&before, &work.record.state);
        Ok(())
    }

    /// How many bots are where.
    pub(super) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the target holds of a bot; `None` without a route to it.
    pub(super) async fn evidence(&self, bot: &BotKey) -> Result<Option<Evidence>, Stop> {
        let Some(target) = &self.target else { return Ok(None) };
        let reporter = self.reporter.as_ref();
        Ok(Some(patiently(reporter, || target.evidence(&bot.id)).await?))
    }

    /// What the registry says of a bot.
    pub(super) async fn registered(&self, bot: &BotKey) -> Result<Registered, Stop> {
        let registry = self.order.registry.as_ref();
        if !registry.keeps_sync() {
            return Ok(Registered::NotKept);
        }
        let found = patiently(self.reporter.as_ref(), || registry.get(bot)).await?;
        Ok(found.map_or(Registered::Gone, |bot| Registered::Record(bot.sync)))
    }

    /// Writes a bot's record in the registry.
    pub(super) async fn write_sync(
        &self,
        bot: &BotKey,
        expected: Expected<'_>,
        status: SyncStatus,
        (reason, exec_id): (&str, &str),
    ) -> Result<Written, Stop> {
        let record = SyncRecord { status, reason: reason.into(), exec_id: exec_id.into() };
        let registry = self.order.registry.as_ref();
        let write = || registry.write_sync(bot, expected, &record);
        Ok(patiently(self.reporter.as_ref(), write).await?)
    }

    /// Ends the registry's record of an attempt that does not end it itself, if it is still that attempt's.
    pub(super) async fn close_record(
        &self,
        work: &Work,
        status: SyncStatus,
        reason: &str,
    ) -> Result<(), Stop> {
        let Registered::Record(Some(record)) = self.registered(&work.bot.key).await? else {
            return Ok(());
        };
        if !record.status.is_busy() || !work.is_ours(&record.exec_id) {
            return Ok(());
        }
        let expected = Expected::Exec(&record.exec_id);
        // Changed meanwhile means that somebody else answers for it now; gone needs no record.
        self.write_sync(&work.bot.key, expected, status, (reason, &record.exec_id)).await?;
        Ok(())
    }

    /// Takes note of what an attempt's end tells about containers in general.
    ///
    /// # Errors
    /// [`Error::Tasks`] when the first bots' containers have all died alike.
    pub(super) fn brake(&self, bot: &BotKey, told: Told, reason: &str) -> Result<(), Stop> {
        let mut brake = self.brake.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bots) = brake.tell(bot, told) else { return Ok(()) };
        self.tell(Event::Braked { bots, reason: reason.to_owned() });
        Err(Stop::Failed(Error::Tasks {
            what: format!(
                "the tasks of the first {bots} bots have all ended in the same way without embedding anything: {reason}"
            ),
            hint: Some(
                "look at one task's log, and at image, role, network and memory of the task definition; \
                 try one bot with --bots, then run the same command again to go on"
                    .into(),
            ),
        }))
    }

    pub(super) fn tell(&self, event: Event) {
        self.reporter.event(&event);
    }
}

/// Now, as precise as every store keeps it.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}
