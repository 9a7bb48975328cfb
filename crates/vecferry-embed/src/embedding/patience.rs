//! When to try again, and when to stop trying. Pure: times are passed in.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// How failures are waited out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long nothing but failures are borne. Throttles count only while no call at all is answered.
    pub give_up_after: Duration,
    /// Pause after the first failure; each further one is about twice as long.
    pub first_pause: Duration,
    /// Longest pause between two tries.
    pub longest_pause: Duration,
}

impl Default for Patience {
    /// Ten minutes: an incident of a service or a busy neighbour on the quota passes; a broken set-up is told before
    /// the operator has gone home.
    fn default() -> Self {
        Patience {
            give_up_after: Duration::from_secs(600),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// Kinds of failures that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    /// The service asks for fewer calls.
    Throttle,
    /// It, or the way to it, failed.
    Failure,
}

impl Patience {
    /// Pauses between tries, without end, each longer by a random part of itself so that workers do not return together.
    pub(super) fn pauses(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .with_jitter()
            .without_max_times()
            .build()
    }

    /// Whether a batch that has failed since `failing_since` is given up. Answers to other batches prove that a
    /// throttle is only the quota at work; they prove nothing about a batch that fails by itself.
    pub(super) fn gives_up(
        &self,
        kind: Passing,
        failing_since: Instant,
        last_answer: Option<Instant>,
        now: Instant,
    ) -> bool {
        let since = match kind {
            Passing::Throttle => last_answer.map_or(failing_since, |last| last.max(failing_since)),
            Passing::Failure => failing_since,
        };
        now.saturating_duration_since(since) >= self.give_up_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_never_end() {
        let patience = Patience::default();
        let pauses: Vec<Duration> = patience.pauses().take(50).collect();
        assert_eq!(pauses.len(), 50);
        assert!(pauses[0] >= patience.first_pause && pauses[0] <= patience.first_pause * 2);
        assert!(pauses[2] >= patience.first_pause * 4);
        let longest = patience.longest_pause;
        assert!(pauses.iter().all(|pause| *pause <= longest * 2), "{pauses:?}");
    }

    #[test]
    fn throttles_are_borne_as_long_as_anything_is_answered() {
        let patience = Patience::default();
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let gives_up = |kind, last_answer, now| patience.gives_up(kind, start, last_answer, now);
        assert!(!gives_up(Passing::Throttle, None, at(9)));
        assert!(gives_up(Passing::Throttle, None, at(10)));
        assert!(!gives_up(Passing::Throttle, Some(at(55)), at(60)));
        assert!(gives_up(Passing::Throttle, Some(at(50)), at(60)));
        assert!(gives_up(Passing::Failure, Some(at(9)), at(10)));
        assert!(!gives_up(Passing::Failure, None, at(9)));
    }
}
