//! Waiting for states of RDS, which nobody announces: looks that become rarer, and a limit.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use vecferry_core::error::on_one_line;
use vecferry_core::{Class, Error, Result, Side};

use super::progress::{Progress, Report};

/// A state that does not change is told again after this long: whoever waits wants to know that we still do.
const TELL_EVERY: Duration = Duration::from_secs(120);

/// How long a run waits in all, and how rarely it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// After this long the run gives up; what was begun goes on in AWS.
    pub limit: Duration,
    /// Longest pause between two looks; the first ones are shorter.
    pub poll: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        // A restore takes ten to thirty minutes, whatever the size: the volume is filled lazily.
        Patience { limit: Duration::from_secs(3600), poll: Duration::from_secs(15) }
    }
}

/// The patience of one run, and what it has told.
pub(super) struct Waiting<'a> {
    patience: Patience,
    begun: Instant,
    pause: Duration,
    told: Option<(String, String, Instant)>,
    report: Report<'a>,
    cancel: &'a CancellationToken,
    trouble: Option<String>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(
        patience: Patience,
        report: Report<'a>,
        cancel: &'a CancellationToken,
    ) -> Waiting<'a> {
        let pause = patience.poll / 8;
        let begun = Instant::now();
        Waiting { patience, begun, pause, told: None, report, cancel, trouble: None }
    }

    /// A step begins; the next looks are close together again.
    pub(super) fn doing(&mut self, what: impl Into<String>) {
        self.pause = self.patience.poll / 8;
        (self.report)(&Progress::Doing { what: what.into() });
    }

    /// Pauses before the next look at something that is not yet as it should be.
    pub(super) async fn pause_for(&mut self, what: &str, id: &str, status: &str) -> Result<()> {
        let now = Instant::now();
        let known = self.told.as_ref().is_some_and(|(told_id, told_status, at)| {
            told_id == id && told_status == status && now.duration_since(*at) < TELL_EVERY
        });
        if !known {
            self.told = Some((id.to_owned(), status.to_owned(), now));
            (self.report)(&Progress::Waiting {
                what: what.to_owned(),
                id: id.to_owned(),
                status: status.to_owned(),
                seconds: self.begun.elapsed().as_secs(),
                limit: self.patience.limit.as_secs(),
            });
        }
        self.trouble = None;
        self.pause(&format!("the {what} {id} is in state {status}")).await
    }

    /// Pauses after an error that may pass, or gives it back.
    pub(super) async fn pause_after(&mut self, error: Error) -> Result<()> {
        if error.class() != Class::Transient {
            return Err(error);
        }
        let said = on_one_line(&error);
        if self.trouble.as_ref() != Some(&said) {
            self.trouble = Some(said.clone());
            (self.report)(&Progress::Again { error: said.clone() });
        }
        self.pause(&said).await
    }

    async fn pause(&mut self, why: &str) -> Result<()> {
        if self.begun.elapsed() >= self.patience.limit {
            return Err(Error::Refused {
                side: Side::Source,
                what: format!(
                    "not done after {} minutes: {why}",
                    self.patience.limit.as_secs().div_ceil(60)
                ),
                hint: Some(
                    "AWS goes on by itself: run the same command again, and give it longer with --wait"
                        .to_owned(),
                ),
            });
        }
        let pause = self.pause;
        self.pause = (pause + pause / 2 + Duration::from_millis(1)).min(self.patience.poll);
        tokio::select! {
            () = self.cancel.cancelled() => Err(Error::Interrupted),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// Whether the operator has interrupted; nothing new is begun then.
    pub(super) fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }
}
