//! When a call may start: quotas, the window of calls at once, and what the service asks for. One per worker, or one
//! for all workers of a process.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::rates::{Due, Rates};
use super::tokens::Calibration;
use super::window::{Start, Window};

/// How fast a worker may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Requests in any stretch of [`Pace::per`], when the quota is known.
    pub requests: Option<NonZeroU32>,
    /// Tokens in any stretch of [`Pace::per`], when the quota is known.
    pub tokens: Option<NonZeroU32>,
    /// The stretch: quotas are per minute.
    pub per: Duration,
    /// Calls under way at once, at most.
    pub calls_at_once: usize,
}

impl Default for Pace {
    /// No quota known, eight calls at once: a call takes 100 to 300 ms, so they make some 3 000 texts a second, more
    /// than a target takes in.
    fn default() -> Self {
        let per = Duration::from_secs(60);
        Pace { requests: None, tokens: None, per, calls_at_once: 8 }
    }
}

/// Lets calls go. Shared by whoever calls the same model of the same account.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    rates: Rates,
    state: Mutex<State>,
    /// A call ended, or the window opened.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    window: Window,
    calibration: Calibration,
    last_answer: Option<Instant>,
}

/// Leave to make one call; counts as under way until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pacer: &'a Pacer,
    started: Instant,
    estimated: u64,
}

impl Pacer {
    /// A pacer with nothing under way.
    pub fn new(pace: Pace) -> Pacer {
        let window = Window::new(pace.calls_at_once);
        let state = State { window, calibration: Calibration::new(), last_answer: None };
        Pacer { pace, rates: Rates::new(&pace), state: Mutex::new(state), changed: Notify::new() }
    }

    /// The pace it keeps.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// When the service last answered with vectors.
    pub(super) fn last_answer(&self) -> Option<Instant> {
        self.state().last_answer
    }

    /// Waits until a call of so many estimated tokens may start. The place in the window is taken first: tokens taken
    /// before it would be sent in one burst when the window opens.
    pub(super) async fn turn(&self, estimated: u64) -> Turn<'_> {
        self.enter().await;
        let mut turn = Turn { pacer: self, started: Instant::now(), estimated };
        let mut due = Due::call(self.state().calibration.corrected(estimated));
        while let Some(wait) = self.rates.take(&mut due) {
            tokio::time::sleep(wait).await;
        }
        turn.started = Instant::now();
        turn
    }

    async fn enter(&self) {
        loop {
            // Listens before it looks, so that no change between the two is missed.
            let changed = self.changed.notified();
            let start = self.state().window.start(Instant::now());
            match start {
                Start::Now => return,
                Start::At(until) => tokio::time::sleep_until(until.into()).await,
                Start::WhenOneEnds => changed.await,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The call was answered; `counted` is the service's count of tokens.
    pub(super) fn answered(self, counted: Option<u64>) {
        let mut state = self.pacer.state();
        state.window.answered();
        state.last_answer = Some(Instant::now());
        if let Some(counted) = counted {
            state.calibration.learn(self.estimated, counted);
        }
    }

    /// The call was throttled, with what the service asked for.
    pub(super) fn throttled(self, retry_after: Option<Duration>) {
        self.pacer.state().window.throttled(self.started, Instant::now(), retry_after);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pacer.state().window.ended();
        self.pacer.changed.notify_waiters();
    }
}
