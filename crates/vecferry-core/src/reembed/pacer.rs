//! The [`Pace`] of all launches, on the run's own clock. Whoever asked first is served first.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::pace::{Call, Pace};

/// Shared by every bot that waits to be launched.
pub(super) struct Pacer {
    begun: Instant,
    pace: Mutex<Pace>,
    /// Held by the one whose place is next.
    next: tokio::sync::Mutex<()>,
    /// Held by the one whose call is next.
    next_call: tokio::sync::Mutex<()>,
}

impl Pacer {
    /// Launches held to `bound` per second.
    pub(super) fn new(bound: f64) -> Pacer {
        Pacer {
            begun: Instant::now(),
            pace: Mutex::new(Pace::new(bound)),
            next: tokio::sync::Mutex::default(),
            next_call: tokio::sync::Mutex::default(),
        }
    }

    /// Waits for the place of one launch.
    pub(super) async fn place(&self) {
        let _next = self.next.lock().await;
        while let Err(seconds) = self.with(Pace::take) {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
    }

    /// Waits until the runner may be asked once.
    pub(super) async fn call(&self) -> Call {
        let _next = self.next_call.lock().await;
        loop {
            match self.with(Pace::call) {
                Ok(call) => return call,
                Err(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
            }
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

    /// The runner refused one bot for what it is.
    pub(super) fn rejected(&self) {
        self.with(|pace, _| pace.rejected());
    }

    /// The runner refused for the number of requests. The rate when it fell since the call before.
    pub(super) fn throttled(&self, call: Call) -> Option<f64> {
        self.with(|pace, now| {
            let before = pace.rate();
            pace.throttled(call, now);
            (pace.rate() < before).then(|| pace.rate())
        })
    }

    /// The runner has no room. For how many seconds nothing is launched, if not only this call was refused.
    pub(super) fn no_room(&self, call: Call) -> Option<f64> {
        self.with(|pace, now| pace.no_room(call, now))
    }

    /// The runner does not answer.
    pub(super) fn held(&self) {
        self.with(|pace, now| pace.held(now));
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
