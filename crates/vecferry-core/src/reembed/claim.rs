//! Claiming a bot in its registry, so that nobody else embeds it at the same time.
//!
//! A claim is the record RUNNING with our token as `LastExecId`; never QUEUED, which would start the application's own
//! task. Somebody else's record is respected for as long as he may be at work ([`contest`]).

use std::time::{Duration, Instant};

use super::attempt::Work;
use super::decide::{Claim, Writer, contest};
use super::patience::{Stop, patiently};
use super::registry::{Expected, Written};
use super::shared::Shared;
use super::task::TaskState;
use crate::bot::{SyncRecord, SyncStatus};
use crate::report::Event;

/// How often a record that changes while we look at it is looked at again at once.
const RACES: u32 = 5;

/// What came of a claim.
pub(super) enum Claimed {
    /// The bot is ours, or its registry keeps no records.
    Ours,
    /// It no longer exists.
    Gone,
    /// Somebody else works on it; to be asked for again after this time.
    Busy(Duration),
    /// Somebody else has worked on it for longer than we wait.
    GivenUp(String),
}

impl Shared {
    /// Claims the bot for this token.
    pub(super) async fn claim(&self, work: &mut Work, token: &str) -> Result<Claimed, Stop> {
        if !self.order.registry.keeps_sync() {
            return Ok(Claimed::Ours);
        }
        let mut expected: Option<String> = None;
        for _ in 0..RACES {
            let expect = expected.as_deref().map_or(Expected::Idle, Expected::Exec);
            let key = &work.bot.key;
            let written = self.write_sync(key, expect, SyncStatus::Running, ("", token)).await?;
            let record = match written {
                Written::Done => {
                    work.contested = None;
                    return Ok(Claimed::Ours);
                }
                Written::Gone => return Ok(Claimed::Gone),
                Written::Changed(record) => record,
            };
            // Idle by now: whoever was there has just ended.
            expected = None;
            let Some(record) = record.filter(|record| record.status.is_busy()) else { continue };
            if record.exec_id == token {
                return Ok(Claimed::Ours);
            }
            match self.contested(work, record).await? {
                Claim::TakeOver(exec_id) => expected = Some(exec_id),
                Claim::Busy => return Ok(Claimed::Busy(self.busy_again())),
                Claim::GiveUp(reason) => return Ok(Claimed::GivenUp(reason)),
            }
        }
        Ok(Claimed::Busy(self.busy_again()))
    }

    /// Gives our claim another token of ours.
    pub(super) async fn hand_on(
        &self,
        work: &mut Work,
        before: &str,
        token: &str,
    ) -> Result<(), Stop> {
        if self.order.registry.keeps_sync() {
            let (key, expected) = (&work.bot.key, Expected::Exec(before));
            // Not ours any more: the worker's own first write will find that out, as it does at every start.
            self.write_sync(key, expected, SyncStatus::Running, ("", token)).await?;
        }
        Ok(())
    }

    async fn contested(&self, work: &mut Work, record: SyncRecord) -> Result<Claim, Stop> {
        let since = match &work.contested {
            Some((before, since)) if *before == record => *since,
            _ => {
                if !work.is_ours(&record.exec_id) {
                    let by = record.exec_id.clone();
                    self.tell(Event::BotBusy { bot: work.bot.key.clone(), by });
                }
                Instant::now()
            }
        };
        let ours = work.is_ours(&record.exec_id);
        let task = match ours || record.exec_id.is_empty() {
            true => None,
            false => self.look_at(&record.exec_id).await?,
        };
        let claim = contest(&Writer {
            record: &record,
            ours,
            task: task.as_ref(),
            unchanged: since.elapsed().as_secs_f64(),
            patience: self.order.policy.patience.as_secs_f64(),
        });
        work.contested = Some((record, since));
        Ok(claim)
    }

    async fn look_at(&self, task: &str) -> Result<Option<TaskState>, Stop> {
        let ids = [task.to_owned()];
        let runner = self.order.runner.as_ref();
        let tasks = patiently(self.reporter.as_ref(), || runner.look(&ids)).await?;
        Ok(tasks.into_iter().find(|found| found.id == task).map(|found| found.state))
    }

    fn busy_again(&self) -> Duration {
        // Sooner than the patience ends, seldom enough for a registry that is paid by the request.
        (self.order.policy.patience / 4).clamp(self.order.policy.poll, self.order.policy.poll * 12)
    }
}
