//! Requests and tokens per stretch of time, smoothed so that no stretch of that length ever holds more than the quota,
//! wherever it begins. The service's own counting is not documented; a minute that begins anywhere is the strictest.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::pacing::Pace;

/// Part of a quota that may be used at once; the rest trickles over the stretch. Both together are the quota.
const BURST: u32 = 10;

/// Part of a quota left unused, since calls reach the service later than they were let go, and not evenly.
const MARGIN: u32 = 20;

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Both limits, each where it is known.
#[derive(Debug)]
pub(super) struct Rates<C: Clock = DefaultClock> {
    clock: C,
    requests: Option<Limited<C>>,
    tokens: Option<Limited<C>>,
}

#[derive(Debug)]
struct Limited<C: Clock> {
    limiter: Limiter<C>,
    burst: NonZeroU32,
}

/// What a call still has to be let through for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    requests: u64,
    tokens: u64,
}

impl Due {
    pub(super) fn call(tokens: u64) -> Due {
        Due { requests: 1, tokens }
    }
}

impl Rates<DefaultClock> {
    pub(super) fn new(pace: &Pace) -> Rates {
        Rates::with_clock(pace, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock(pace: &Pace, clock: C) -> Rates<C> {
        let limited = |limit: Option<NonZeroU32>| {
            limit.and_then(|limit| {
                let (burst, quota) = smoothed(limit, pace.per)?;
                let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
                Some(Limited { limiter, burst })
            })
        };
        let (requests, tokens) = (limited(pace.requests), limited(pace.tokens));
        Rates { clock, requests, tokens }
    }

    /// Takes from both limits what is due. How long to wait before asking again for the rest; `None` when nothing is
    /// left. More tokens than the burst are taken in several helpings: a large call waits, it is not refused.
    pub(super) fn take(&self, due: &mut Due) -> Option<Duration> {
        let wait = take(self.requests.as_ref(), &mut due.requests, &self.clock);
        wait.or_else(|| take(self.tokens.as_ref(), &mut due.tokens, &self.clock))
    }
}

fn take<C: Clock>(limited: Option<&Limited<C>>, due: &mut u64, clock: &C) -> Option<Duration> {
    let Some(limited) = limited else {
        *due = 0;
        return None;
    };
    while *due > 0 {
        let helping = u32::try_from(*due).unwrap_or(u32::MAX).min(limited.burst.get());
        // Neither happens: due is more than 0, and a helping is at most the burst.
        let helping = NonZeroU32::new(helping).unwrap_or(NonZeroU32::MIN);
        match limited.limiter.check_n(helping) {
            Ok(Err(not_until)) => return Some(not_until.wait_time_from(clock.now())),
            Ok(Ok(())) | Err(_) => *due -= u64::from(helping.get()),
        }
    }
    None
}

/// The burst and the quota that keep any stretch of this length below the limit; `None` for a stretch of no length.
fn smoothed(limit: NonZeroU32, per: Duration) -> Option<(NonZeroU32, Quota)> {
    let limit = limit.get();
    let burst = NonZeroU32::new(limit / BURST).unwrap_or(NonZeroU32::MIN);
    let trickle = (limit - limit / MARGIN).saturating_sub(burst.get()).max(1);
    let quota = Quota::with_period(per / trickle)?;
    Some((burst, quota.allow_burst(burst)))
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Calls of these tokens as fast as they are let go for ten minutes: when each went, in milliseconds.
    fn run(pace: &Pace, tokens: u64) -> Vec<u64> {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(pace, clock.clone());
        let (mut now, mut went) = (0, Vec::new());
        let mut due = Due::call(tokens);
        while now < 600_000 {
            match rates.take(&mut due) {
                None => {
                    went.push(now);
                    due = Due::call(tokens);
                }
                Some(wait) => {
                    let wait = wait.as_millis() as u64 + 1;
                    clock.advance(Duration::from_millis(wait));
                    now += wait;
                }
            }
        }
        went
    }

    fn most_in_a_minute(went: &[u64]) -> usize {
        let ends = |start: u64| went.partition_point(|at| *at < start + 60_000);
        went.iter().enumerate().map(|(first, at)| ends(*at) - first).max().unwrap_or_default()
    }

    fn pace(requests: u32, tokens: u32) -> Pace {
        let (requests, tokens) = (NonZeroU32::new(requests), NonZeroU32::new(tokens));
        Pace { requests, tokens, per: MINUTE, ..Pace::default() }
    }

    #[test]
    fn no_minute_holds_more_requests_than_the_quota_and_nearly_all_of_them_are_used() {
        for limit in [1, 7, 60, 2000] {
            let went = run(&pace(limit, 0), 5);
            assert!(most_in_a_minute(&went) <= limit as usize, "{limit}");
            let used = went.len() as f64 / (10.0 * f64::from(limit));
            assert!(used > 0.8, "{limit}: {used}");
        }
    }

    #[test]
    fn no_minute_holds_more_tokens_than_the_quota_even_in_calls_larger_than_the_burst() {
        for tokens in [100, 20_000, 50_000] {
            let went = run(&pace(0, 100_000), tokens);
            let most = most_in_a_minute(&went) as u64 * tokens;
            // A call larger than the burst has waited for its last tokens only; the first were taken before.
            assert!(most <= 100_000 + tokens.saturating_sub(10_000), "{tokens}: {most}");
            assert!(went.len() as u64 * tokens > 800_000, "{tokens}");
        }
    }

    #[test]
    fn without_limits_nothing_waits() {
        let rates = Rates::new(&Pace::default());
        assert_eq!(rates.take(&mut Due::call(u64::MAX)), None);
    }
}
