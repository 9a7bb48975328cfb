//! How many calls may be under way: additive increase, multiplicative decrease, as TCP finds out what a network
//! carries. Needed besides the stated rates because a quota is shared with whoever else uses the account. Pure: the
//! time is passed in.

use std::time::{Duration, Instant};

/// What a call does that wants to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Now,
    /// Nobody starts before this instant.
    At(Instant),
    /// When a call under way has ended.
    WhenOneEnds,
}

/// Pauses of the whole window once it is down to one call and is still throttled.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The window.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Calls at once; a fraction, so that it can grow by less than one per answer.
    limit: f64,
    most: usize,
    under_way: usize,
    closed_until: Option<Instant>,
    /// When the limit last shrank: calls started before it say nothing about the limit after it.
    shrunk_at: Option<Instant>,
    /// Times in a row that the smallest window was throttled.
    throttled_alone: u32,
}

impl Window {
    /// A fully open window of so many calls (at least one).
    pub(super) fn new(most: usize) -> Window {
        let most = most.max(1);
        Window {
            limit: most as f64,
            most,
            under_way: 0,
            closed_until: None,
            shrunk_at: None,
            throttled_alone: 0,
        }
    }

    /// Lets a call start, or says what to wait for.
    pub(super) fn start(&mut self, now: Instant) -> Start {
        if let Some(until) = self.closed_until {
            if now < until {
                return Start::At(until);
            }
            self.closed_until = None;
        }
        if self.under_way >= self.limit as usize {
            return Start::WhenOneEnds;
        }
        self.under_way += 1;
        Start::Now
    }

    /// A call ended, however.
    pub(super) fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// A call was answered: one more call at once after a whole window of answers.
    pub(super) fn answered(&mut self) {
        self.throttled_alone = 0;
        self.limit = (self.limit + 1.0 / self.limit).min(self.most as f64);
    }

    /// A call was throttled: half the window, once for all calls that were under way together.
    pub(super) fn throttled(
        &mut self,
        started: Instant,
        now: Instant,
        retry_after: Option<Duration>,
    ) {
        let mut pause = retry_after;
        if self.shrunk_at.is_none_or(|shrunk| started >= shrunk) {
            self.shrunk_at = Some(now);
            if self.limit < 2.0 {
                let doubled = PAUSES.0.saturating_mul(1 << self.throttled_alone.min(16));
                pause = pause.max(Some(doubled.min(PAUSES.1)));
                self.throttled_alone += 1;
            }
            self.limit = (self.limit / 2.0).max(1.0);
        }
        if let Some(pause) = pause {
            let until = now.checked_add(pause);
            self.closed_until = self.closed_until.max(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn open(window: &mut Window, now: Instant) -> usize {
        let mut started = 0;
        while window.start(now) == Start::Now {
            started += 1;
        }
        for _ in 0..started {
            window.ended();
        }
        started
    }

    #[test]
    fn no_more_calls_start_than_the_window_is_wide() {
        let (mut window, now) = (Window::new(3), Instant::now());
        for _ in 0..3 {
            assert_eq!(window.start(now), Start::Now);
        }
        assert_eq!(window.start(now), Start::WhenOneEnds);
        window.ended();
        assert_eq!(window.start(now), Start::Now);
        assert_eq!(Window::new(0).start(now), Start::Now);
    }

    #[test]
    fn a_throttle_halves_the_window_once_for_all_calls_under_way() {
        let (mut window, start) = (Window::new(16), Instant::now());
        for second in 1..=5 {
            window.throttled(start, start + SECOND * second, None);
        }
        assert_eq!(open(&mut window, start + SECOND * 6), 8);
        window.throttled(start + SECOND * 6, start + SECOND * 7, None);
        assert_eq!(open(&mut window, start + SECOND * 8), 4);
    }

    #[test]
    fn answers_open_the_window_again_by_one_call_a_round() {
        let (mut window, start) = (Window::new(8), Instant::now());
        window.throttled(start, start, None);
        assert_eq!(open(&mut window, start), 4);
        for _ in 0..5 {
            window.answered();
        }
        assert_eq!(open(&mut window, start), 5);
        for _ in 0..1000 {
            window.answered();
        }
        assert_eq!(open(&mut window, start), 8);
    }

    #[test]
    fn nobody_starts_before_the_service_said() {
        let (mut window, start) = (Window::new(4), Instant::now());
        window.throttled(start, start, Some(SECOND * 9));
        window.throttled(start, start, Some(SECOND * 2));
        assert_eq!(window.start(start + SECOND * 8), Start::At(start + SECOND * 9));
        assert_eq!(window.start(start + SECOND * 9), Start::Now);
    }

    #[test]
    fn the_smallest_window_pauses_twice_as_long_each_time_up_to_a_bound() {
        let (mut window, mut now) = (Window::new(1), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..9 {
            window.throttled(now, now, None);
            let Start::At(until) = window.start(now) else { panic!("the window is open") };
            pauses.push((until - now).as_millis());
            now = until + SECOND;
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        window.answered();
        window.throttled(now, now, None);
        assert_eq!(window.start(now), Start::At(now + PAUSES.0));
    }
}
