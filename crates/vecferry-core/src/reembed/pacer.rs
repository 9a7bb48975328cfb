//! The [`Pace`] of all launches, on the run's own clock. Whoever asked first is served first.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::pace::Pace;

/// Shared by every bot that waits to be launched.
pub(super) struct Pacer {
    begun: Instant,
    pace: Mutex<Pace>,
    /// Held by the one that is next.
    next: tokio::sync::Mutex<()>,
}

impl Pacer {
    /// Launches held to `bound` per second.
    pub(super) fn new(bound: f64) -> Pacer {
        Pacer {
            begun: Instant::now(),
            pace: Mutex::new(Pace::new(bound)),
            next: tokio::sync::Mutex::default(),
        }
    }

    /// Waits for the place of one launch.
    pub(super) async fn place(&self) {
        let _next = self.next.lock().await;
        while let Err(seconds) = self.with(Pace::take) {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
    }

    /// Gives a place back with which nothing was asked of the runner.
    pub(super) fn give_back(&self) {
        self.with(|pace, _| pace.give_back());
    }

    /// The runner started a task.
    pub(super) fn launched(&self) {
        self.with(|pace, _| pace.launched());
    }

    /// The runner refused for the number of requests. The rate when it fell since the call before.
    pub(super) fn throttled(&self) -> Option<f64> {
        self.with(|pace, now| {
            let before = pace.rate();
            pace.throttled(now);
            (pace.rate() < before).then(|| pace.rate())
        })
    }

    /// The runner has no room, or does not answer.
    pub(super) fn held(&self) -> f64 {
        self.with(Pace::held)
    }

    /// Launches per second now.
    pub(super) fn rate(&self) -> f64 {
        self.with(|pace, _| pace.rate())
    }

    fn with<T>(&self, change: impl FnOnce(&mut Pace, f64) -> T) -> T {
        // Nothing panics while it is held, and a pace is never half changed.
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut pace, self.begun.elapsed().as_secs_f64())
    }
}
