//! The registry's record of the bot's embedding, as this run writes it, and what it says of others.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use vecferry_core::bot::{BotKey, SyncRecord, SyncStatus};
use vecferry_core::error::{Class, Error, Result};
use vecferry_core::reembed::registry::{BotRegistry, Expected, Written};

use super::Attempt;

/// What stands in a run's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// The bot is ours.
    Ours,
    /// The bot is gone.
    Gone,
    /// Somebody else wrote the record: task or claim.
    Others(String),
}

/// The record of one bot.
pub(super) struct Records<'a> {
    registry: Option<&'a dyn BotRegistry>,
    key: &'a BotKey,
    attempt: &'a Attempt,
}

impl<'a> Records<'a> {
    /// The record in `registry`; without one the bot is always ours.
    pub(super) fn new(
        registry: Option<&'a dyn BotRegistry>,
        key: &'a BotKey,
        attempt: &'a Attempt,
    ) -> Records<'a> {
        Records { registry, key, attempt }
    }

    /// Writes RUNNING over the claim, or over what this same task wrote before it was started again.
    pub(super) async fn begin(&self) -> Result<Standing> {
        let claim = match &self.attempt.token {
            Some(token) => Expected::Exec(token),
            None => Expected::Exists,
        };
        match self.write(claim, SyncStatus::Running, "").await? {
            Standing::Others(exec) if exec == self.attempt.exec_id => {
                self.write(self.own(), SyncStatus::Running, "").await
            }
            standing => Ok(standing),
        }
    }

    /// Whether the bot is still ours. A bot that its owner edits is queued by the application, under our name at first.
    pub(super) async fn look(&self) -> Result<Standing> {
        let Some(registry) = self.registry else { return Ok(Standing::Ours) };
        let Some(bot) = patiently(|| registry.get(self.key)).await? else {
            return Ok(Standing::Gone);
        };
        Ok(standing(registry.keeps_sync(), bot.sync.as_ref(), &self.attempt.exec_id))
    }

    /// Writes how the run ended.
    pub(super) async fn end(&self, status: SyncStatus, reason: &str) -> Result<Standing> {
        self.write(self.own(), status, reason).await
    }

    fn own(&self) -> Expected<'_> {
        Expected::Exec(&self.attempt.exec_id)
    }

    async fn write(
        &self,
        expected: Expected<'_>,
        status: SyncStatus,
        reason: &str,
    ) -> Result<Standing> {
        let Some(registry) = self.registry else { return Ok(Standing::Ours) };
        let exec_id = self.attempt.exec_id.clone();
        let record = SyncRecord { status, reason: reason.to_owned(), exec_id };
        let written = patiently(|| registry.write_sync(self.key, expected, &record)).await?;
        Ok(match written {
            Written::Done => Standing::Ours,
            Written::Gone => Standing::Gone,
            // A write whose answer was lost finds its own record when it is repeated.
            Written::Changed(Some(found)) if found == record => Standing::Ours,
            Written::Changed(found) => {
                Standing::Others(found.map(|record| record.exec_id).unwrap_or_default())
            }
        })
    }
}

/// Whose a bot is, by its record.
fn standing(keeps_sync: bool, record: Option<&SyncRecord>, own: &str) -> Standing {
    match record {
        _ if !keeps_sync => Standing::Ours,
        Some(record) if record.exec_id == own && record.status == SyncStatus::Running => {
            Standing::Ours
        }
        Some(record) => Standing::Others(record.exec_id.clone()),
        None => Standing::Others(String::new()),
    }
}

/// Tries again what may pass, for about a minute: registries throttle.
async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let backoff = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(10))
        .without_max_times()
        .with_total_delay(Some(Duration::from_secs(60)));
    let call = || call();
    call.retry(backoff).when(|error: &Error| error.class() == Class::Transient).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bot_is_ours_only_while_its_record_says_that_we_run() {
        let record = |status, exec: &str| SyncRecord {
            status,
            reason: String::new(),
            exec_id: exec.to_owned(),
        };
        let others = |exec: &str| Standing::Others(exec.to_owned());
        for (found, expected) in [
            (Some(record(SyncStatus::Running, "me")), Standing::Ours),
            (Some(record(SyncStatus::Queued, "me")), others("me")),
            (Some(record(SyncStatus::Failed, "me")), others("me")),
            (Some(record(SyncStatus::Running, "you")), others("you")),
            (None, others("")),
        ] {
            assert_eq!(standing(true, found.as_ref(), "me"), expected, "{found:?}");
            assert_eq!(standing(false, found.as_ref(), "me"), Standing::Ours);
        }
    }
}
