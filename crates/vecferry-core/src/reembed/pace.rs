//! How fast tasks are launched. Pure: time is passed in, as seconds since the run began.
//!
//! A token bucket holds launches to a bound (ECS: 20 `RunTask` a second per account and Region). Services refuse a few
//! requests even below their bound; a refused launch has started nothing, so its place is given back and the bound is
//! still reached. Only when a large share of a second's calls is refused is the bound lower than believed: then the rate
//! falls by a third, and climbs again by a twentieth of the bound for every second without such a share (AIMD). Without
//! room for tasks, every launch waits, twice as long each time, until one succeeds.

/// Calls are judged by the second.
const WINDOW: f64 = 1.0;

/// Share of refused calls in a window above which the bound is lower than believed; also the share of calls that may be
/// made beyond the rate in place of refused ones.
const TOLERATED: f64 = 0.3;

/// What remains of the rate after a bad window.
const DECREASE: f64 = 0.67;

/// Part of the bound that is added after a good window.
const INCREASE: f64 = 0.05;

/// Part of the bound below which the rate never falls.
const FLOOR: f64 = 0.02;

/// First and longest wait for room, in seconds.
const HOLD: (f64, f64) = (1.0, 30.0);

/// Launches per second, as they are allowed now.
#[derive(Debug, Clone)]
pub struct Pace {
    bound: f64,
    rate: f64,
    /// Launches that may happen at once; at most what one window allows.
    tokens: f64,
    /// Up to when `tokens` is filled.
    filled: f64,
    window: Window,
    held_until: f64,
    hold: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    since: f64,
    calls: u32,
    refused: u32,
}

impl Pace {
    /// Launches held to `bound` per second, which must be positive.
    pub fn new(bound: f64) -> Pace {
        let bound = bound.max(0.01);
        Pace {
            bound,
            rate: bound,
            tokens: (bound * WINDOW).max(1.0),
            filled: 0.0,
            window: Window::default(),
            held_until: 0.0,
            hold: 0.0,
        }
    }

    /// Launches per second now.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes a launch's place.
    ///
    /// # Errors
    /// The seconds after which to ask again, when there is none now.
    pub fn take(&mut self, now: f64) -> Result<(), f64> {
        self.fill(now);
        if now < self.held_until {
            return Err(self.held_until - now);
        }
        if self.tokens < 1.0 {
            return Err((1.0 - self.tokens) / self.rate);
        }
        self.tokens -= 1.0;
        self.window.calls += 1;
        Ok(())
    }

    /// A place was taken and nothing was asked of the runner.
    pub fn give_back(&mut self) {
        self.tokens += 1.0;
        self.window.calls = self.window.calls.saturating_sub(1);
    }

    /// The runner started a task.
    pub fn launched(&mut self) {
        self.hold = 0.0;
    }

    /// The runner refused for the number of requests.
    pub fn throttled(&mut self, now: f64) {
        self.fill(now);
        self.window.refused += 1;
        if f64::from(self.window.refused) <= TOLERATED * self.rate * WINDOW {
            self.tokens += 1.0;
        }
    }

    /// The runner has no room, or does not answer: nothing is launched for a while, whose seconds are returned.
    pub fn held(&mut self, now: f64) -> f64 {
        self.fill(now);
        if now >= self.held_until {
            self.hold = (self.hold * 2.0).clamp(HOLD.0, HOLD.1);
            self.held_until = now + self.hold;
            // One launch finds out whether there is room again, not a whole bucket.
            (self.tokens, self.filled) = (1.0, self.held_until);
        }
        self.held_until - now
    }

    /// Closes windows that are over and adds what has come in since.
    fn fill(&mut self, now: f64) {
        if now - self.window.since >= WINDOW {
            let Window { calls, refused, .. } = self.window;
            // Fewer than four calls say nothing about a share.
            if calls >= 4 && f64::from(refused) > TOLERATED * f64::from(calls) {
                self.rate = (self.rate * DECREASE).max(self.bound * FLOOR);
            } else {
                self.rate = (self.rate + self.bound * INCREASE).min(self.bound);
            }
            self.window = Window { since: now, ..Window::default() };
        }
        let most = (self.rate * WINDOW).max(1.0);
        let added = (now - self.filled).max(0.0) * self.rate;
        self.tokens = (self.tokens + added).min(most.max(self.tokens));
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the call of this number is refused, as a coin with the given share would have it (a fixed sequence).
    fn refused(call: u64, share: f64) -> bool {
        let mixed = call.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31);
        let mixed = mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33;
        #[allow(clippy::cast_precision_loss)]
        let unit = mixed as f64 / f64::from(1u32 << 31);
        unit < share
    }

    /// Launches `bots` tasks; `answer` says whether a call at that time is refused. Returns the seconds it took.
    fn launch(pace: &mut Pace, bots: u64, mut answer: impl FnMut(f64) -> bool) -> f64 {
        let (mut now, mut launched) = (0.0, 0);
        while launched < bots {
            match pace.take(now) {
                Err(wait) => now += wait.max(1e-6),
                Ok(()) if answer(now) => pace.throttled(now),
                Ok(()) => {
                    pace.launched();
                    launched += 1;
                }
            }
        }
        now
    }

    #[test]
    fn ten_thousand_bots_with_a_tenth_of_the_calls_refused_stay_within_five_percent_of_the_bound() {
        let (mut pace, mut call) = (Pace::new(20.0), 0);
        let seconds = launch(&mut pace, 10_000, |_| {
            call += 1;
            refused(call, 0.1)
        });
        assert!(call > 10_900, "a tenth was refused: {call} calls");
        assert!((495.0..525.0).contains(&seconds), "{seconds} s, the bound is 500");
    }

    #[test]
    fn the_rate_never_exceeds_the_bound_beyond_one_second_of_it() {
        let mut pace = Pace::new(20.0);
        let seconds = launch(&mut pace, 2_000, |_| false);
        assert!((98.9..100.1).contains(&seconds), "{seconds}");
    }

    #[test]
    fn a_lower_bound_of_the_service_is_found_and_calls_do_not_pile_up() {
        let (mut allowed, mut before, mut calls) = (5.0_f64, 0.0, 0);
        let mut pace = Pace::new(20.0);
        let seconds = launch(&mut pace, 1_000, |now| {
            calls += 1;
            allowed = (allowed + (now - before) * 5.0).min(5.0);
            before = now;
            let refused = allowed < 1.0;
            allowed -= if refused { 0.0 } else { 1.0 };
            refused
        });
        assert!(seconds < 220.0, "{seconds} s, the service allows 200");
        assert!(calls < 1_700, "{calls} calls for 1000 launches");
        assert!(pace.rate() < 12.0, "{}", pace.rate());
    }

    #[test]
    fn the_rate_recovers_when_refusals_end() {
        let mut pace = Pace::new(20.0);
        launch(&mut pace, 100, |now| now < 10.0 && !refused((now * 100.0) as u64, 0.2));
        launch(&mut pace, 400, |_| false);
        assert!((pace.rate() - 20.0).abs() < f64::EPSILON, "{}", pace.rate());
    }

    #[test]
    fn without_room_all_wait_longer_each_time_and_one_launch_ends_it() {
        let mut pace = Pace::new(20.0);
        pace.take(0.0).unwrap();
        pace.take(0.0).unwrap();
        assert_eq!(pace.held(0.5), 1.0);
        assert_eq!(
            pace.held(0.75),
            0.75,
            "the second answer of the same moment does not double it"
        );
        assert_eq!(pace.take(1.0), Err(0.5));
        pace.take(1.5).unwrap();
        assert!(pace.take(1.5).is_err(), "one finds out");
        assert_eq!(pace.held(2.0), 2.0);
        for _ in 0..10 {
            let again = pace.held_until;
            pace.held(again);
        }
        assert_eq!(pace.hold, 30.0);
        pace.launched();
        let again = pace.held_until;
        assert_eq!(pace.held(again), 1.0);
    }

    #[test]
    fn a_place_that_was_not_used_is_the_next_ones() {
        let mut pace = Pace::new(1.0);
        pace.take(0.0).unwrap();
        assert!(pace.take(0.0).is_err());
        pace.give_back();
        pace.take(0.0).unwrap();
    }
}
