//! How fast tasks are launched. Pure: time is passed in, as seconds since the run began.
//!
//! Two gates. A bot takes a *place* before anything is done for it: a token bucket holds those to a bound (ECS: 20
//! `RunTask` a second per account and Region), so that no more bots are claimed than can be launched. What follows takes
//! as long as the registry and the target take, so places may come to the runner in a heap; right before the runner is
//! asked, a *call* is let through only when no second has more of them than the bound. The first call of all goes alone:
//! a runner that refuses everything is found out by one request.
//!
//! Services refuse a few requests even below their bound; a refused call has started nothing, so it no longer counts and
//! the bound is still reached. That is allowed up to a share of the rate. When more of a second's calls are refused, the
//! bound is lower than believed: then the rate falls by a third, and climbs again by a twentieth of the bound for every
//! second without such a share (AIMD). One refusal for lack of room says as little; when several come in a row, every
//! launch waits, twice as long each time, until one succeeds.

use std::collections::VecDeque;

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

/// Refusals for lack of room in a row, after which there is none. One in fifty launches may be refused so while the
/// others succeed (one zone is full, another is not), and then three in a row come once in a hundred thousand.
const NO_ROOM: u32 = 3;

/// Seconds after which to ask again while the first call has no answer yet.
const FIRST: f64 = 0.02;

/// Launches per second, as they are allowed now.
#[derive(Debug, Clone)]
pub struct Pace {
    bound: f64,
    rate: f64,
    /// Places that may be taken at once; at most what one window allows.
    tokens: f64,
    /// Up to when `tokens` is filled.
    filled: f64,
    window: Window,
    calls: Calls,
    held_until: f64,
    hold: f64,
    /// Refusals for lack of room since a launch succeeded.
    without_room: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    since: f64,
    /// Answers, not calls: on a busy machine they come in heaps, those of a second long after its calls.
    answers: u32,
    refused: u32,
}

/// One request to the runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call(u64);

/// When requests went out that were accepted, or have no answer yet.
#[derive(Debug, Clone, Default)]
struct Calls {
    at: VecDeque<(Call, f64)>,
    /// When calls were refused that no longer count.
    forgotten: VecDeque<f64>,
    number: u64,
    answered: bool,
}

impl Calls {
    /// Lets a request out, at most `bound` of them in any second (or one in any `1 / bound` seconds).
    fn take(&mut self, bound: f64, now: f64) -> Result<Call, f64> {
        if !self.answered && !self.at.is_empty() {
            return Err(FIRST);
        }
        let most = bound.floor().max(1.0);
        let span = most / bound;
        while self.at.front().is_some_and(|(_, at)| now - at >= span) {
            self.at.pop_front();
        }
        if let (true, Some((_, at))) = (self.at.len() >= most as usize, self.at.front()) {
            return Err(at + span - now);
        }
        self.number += 1;
        let call = Call(self.number);
        self.at.push_back((call, now));
        Ok(call)
    }

    /// The request has started nothing, and no longer counts unless `most` were forgotten within a second.
    fn forget(&mut self, call: Call, most: f64, now: f64) -> bool {
        while self.forgotten.front().is_some_and(|at| now - at >= WINDOW) {
            self.forgotten.pop_front();
        }
        let few = (self.forgotten.len() as f64) < most;
        if few {
            self.forgotten.push_back(now);
            self.at.retain(|(other, _)| *other != call);
        }
        few
    }
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
            calls: Calls::default(),
            held_until: 0.0,
            hold: 0.0,
            without_room: 0,
        }
    }

    /// Launches per second now.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes a bot's place.
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
        Ok(())
    }

    /// A place was taken and nothing was asked of the runner.
    pub fn give_back(&mut self) {
        self.tokens += 1.0;
    }

    /// Lets a request to the runner out.
    ///
    /// # Errors
    /// The seconds after which to ask again, when none may go out now.
    pub fn call(&mut self, now: f64) -> Result<Call, f64> {
        self.fill(now);
        self.calls.take(self.bound, now)
    }

    /// The runner started a task.
    pub fn launched(&mut self) {
        self.answered();
        (self.hold, self.without_room) = (0.0, 0);
    }

    /// The runner refused one bot for what it is.
    pub fn rejected(&mut self) {
        self.answered();
    }

    /// The runner refused a call for the number of requests.
    pub fn throttled(&mut self, call: Call, now: f64) {
        self.fill(now);
        self.refused(call, now);
    }

    /// The runner refused a call for lack of room. `None` while others may still succeed; otherwise nothing is launched
    /// for a while, whose seconds are returned.
    pub fn no_room(&mut self, call: Call, now: f64) -> Option<f64> {
        self.fill(now);
        self.without_room += 1;
        if self.without_room < NO_ROOM {
            self.refused(call, now);
            return None;
        }
        Some(self.held(now))
    }

    /// The runner does not answer: nothing is launched for a while, whose seconds are returned.
    pub fn held(&mut self, now: f64) -> f64 {
        self.fill(now);
        self.calls.answered = true;
        if now >= self.held_until {
            self.hold = (self.hold * 2.0).clamp(HOLD.0, HOLD.1);
            self.held_until = now + self.hold;
            // One launch finds out whether there is room again, not a whole bucket.
            (self.tokens, self.filled) = (1.0, self.held_until);
        }
        self.held_until - now
    }

    /// A refused call no longer counts, and another may go out in its place, as long as they are not too many.
    fn refused(&mut self, call: Call, now: f64) {
        self.answered();
        self.window.refused += 1;
        if self.calls.forget(call, TOLERATED * self.rate * WINDOW, now) {
            self.tokens += 1.0;
        }
    }

    fn answered(&mut self) {
        self.calls.answered = true;
        self.window.answers += 1;
    }

    /// Closes windows that are over and adds what has come in since.
    fn fill(&mut self, now: f64) {
        if now - self.window.since >= WINDOW {
            let Window { answers, refused, .. } = self.window;
            // Fewer than four answers say nothing about a share.
            if answers >= 4 && f64::from(refused) > TOLERATED * f64::from(answers) {
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
            let call = call_after_place(pace, &mut now);
            if answer(now) {
                pace.throttled(call, now);
            } else {
                pace.launched();
                launched += 1;
            }
        }
        now
    }

    /// Waits for a place and for the call.
    fn call_after_place(pace: &mut Pace, now: &mut f64) -> Call {
        while let Err(wait) = pace.take(*now) {
            *now += wait.max(1e-6);
        }
        loop {
            match pace.call(*now) {
                Ok(call) => return call,
                Err(wait) => *now += wait.max(1e-6),
            }
        }
    }

    /// The most of these times that lie within one second.
    fn most_in_a_second(times: &[f64]) -> usize {
        let within =
            |from: &f64| times.iter().filter(|at| (*from..from + 0.999).contains(*at)).count();
        times.iter().map(within).max().unwrap_or(0)
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
    fn no_second_has_more_calls_than_the_rate_though_places_come_in_a_heap() {
        let (mut pace, mut now) = (Pace::new(20.0), 0.0);
        call_after_place(&mut pace, &mut now);
        pace.launched();
        // The registry stood still: all at once want to call the runner.
        let (mut now, mut out) = (60.0, Vec::new());
        while out.len() < 200 {
            match pace.call(now) {
                Ok(_) => out.push(now),
                Err(wait) => now += wait.max(1e-6),
            }
        }
        assert_eq!(most_in_a_second(&out), 20);
        assert!((69.0..69.1).contains(&now), "{now}: as many as the rate allows");
    }

    #[test]
    fn a_runner_that_refuses_everything_is_asked_a_little_more_often_than_the_rate_at_most() {
        let (mut pace, mut now, mut out) = (Pace::new(20.0), 0.0, Vec::new());
        while now < 30.0 {
            let call = call_after_place(&mut pace, &mut now);
            out.push(now);
            pace.throttled(call, now);
        }
        let most = most_in_a_second(&out);
        assert!(most <= 26, "{most}");
        let late = out.iter().filter(|at| **at > 20.0).count();
        assert!(late <= 40, "{late} calls in ten seconds: the rate has fallen to a fifth");
    }

    #[test]
    fn the_first_call_goes_alone_until_it_is_answered() {
        for answer in [
            (|pace: &mut Pace, _| pace.launched()) as fn(&mut Pace, Call),
            |pace, _| pace.rejected(),
            |pace, call| pace.throttled(call, 0.0),
            |pace, call| assert_eq!(pace.no_room(call, 0.0), None),
            |pace, _| assert_eq!(pace.held(0.0), 1.0),
        ] {
            let mut pace = Pace::new(20.0);
            let first = pace.call(0.0).unwrap();
            assert!(pace.call(0.0).is_err() && pace.call(5.0).is_err());
            answer(&mut pace, first);
            assert!(pace.call(5.0).is_ok() && pace.call(5.0).is_ok());
        }
    }

    #[test]
    fn slow_rates_are_kept_as_well() {
        let (mut pace, mut now, mut out) = (Pace::new(0.5), 0.0, Vec::new());
        for _ in 0..5 {
            call_after_place(&mut pace, &mut now);
            pace.launched();
            out.push(now);
        }
        assert!(out.windows(2).all(|two| two[1] - two[0] > 1.99), "{out:?}");
    }

    #[test]
    fn a_launch_without_room_now_and_then_stops_nobody() {
        let (mut pace, mut now, mut launched) = (Pace::new(20.0), 0.0, 0);
        for number in 1.. {
            let call = call_after_place(&mut pace, &mut now);
            if number % 40 == 0 {
                assert_eq!(pace.no_room(call, now), None);
                continue;
            }
            pace.launched();
            launched += 1;
            if launched == 1_000 {
                break;
            }
        }
        assert!((48.9..51.0).contains(&now), "{now}");
    }

    #[test]
    fn without_room_all_wait_longer_each_time_and_one_launch_ends_it() {
        let mut pace = Pace::new(20.0);
        let call = |pace: &mut Pace| pace.call(0.5).unwrap();
        let first = call(&mut pace);
        assert_eq!(pace.no_room(first, 0.5), None);
        let second = call(&mut pace);
        assert_eq!(pace.no_room(second, 0.5), None);
        let third = call(&mut pace);
        assert_eq!(pace.no_room(third, 0.5), Some(1.0));
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
