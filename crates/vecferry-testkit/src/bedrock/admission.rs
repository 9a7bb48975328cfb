//! Who is let in: limits over a sliding window, then the seeded shares of throttles and failures. Plain state with the
//! time passed in; the lock is the caller's.

use std::collections::VecDeque;
use std::time::Instant;

use super::words::text_hash;
use super::{Asked, Behaviour, Refusal, Seen};
use crate::vectors::SplitMix;

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Answer,
    Refuse(Refusal),
    Throttle { retry_after: Option<u64> },
    Fail { status: u16 },
}

impl Verdict {
    /// The error to answer with, and what `Retry-After` says.
    pub(super) fn refusal(self) -> (Refusal, Option<u64>) {
        let refusal =
            |status, code, message: &str| Refusal { status, code, message: message.to_owned() };
        match self {
            Verdict::Refuse(refusal) => (refusal, None),
            Verdict::Throttle { retry_after } => {
                let message = "Too many requests, please wait before trying again.";
                (refusal(429, "ThrottlingException", message), retry_after)
            }
            Verdict::Fail { status: 503 } => {
                (refusal(503, "ServiceUnavailableException", "Service is unavailable."), None)
            }
            Verdict::Fail { .. } | Verdict::Answer => {
                let message = "The system encountered an unexpected error.";
                (refusal(500, "InternalServerException", message), None)
            }
        }
    }
}

/// Where calls come in.
#[derive(Debug)]
pub(super) struct Door {
    behaviour: Behaviour,
    random: SplitMix,
    /// Accepted calls of the last window with their tokens, oldest first.
    accepted: VecDeque<(Instant, u64)>,
    /// The sum of their tokens.
    tokens: u64,
    at_work: usize,
    seen: Seen,
}

impl Door {
    pub(super) fn new(behaviour: Behaviour) -> Door {
        let random = SplitMix::new(behaviour.seed);
        let accepted = VecDeque::new();
        Door { behaviour, random, accepted, tokens: 0, at_work: 0, seen: Seen::default() }
    }

    pub(super) fn behave(&mut self, behaviour: Behaviour) {
        self.random = SplitMix::new(behaviour.seed);
        self.accepted.clear();
        self.tokens = 0;
        self.behaviour = behaviour;
    }

    pub(super) fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Decides about a call and counts it; [`Door::leave`] follows when it is answered.
    pub(super) fn admit(&mut self, asked: &Result<Asked, Refusal>, now: Instant) -> Verdict {
        self.seen.calls += 1;
        self.at_work += 1;
        self.seen.most_at_once = self.seen.most_at_once.max(self.at_work);
        let asked = match asked {
            Ok(asked) => asked,
            Err(refusal) => {
                self.seen.refused += 1;
                return Verdict::Refuse(refusal.clone());
            }
        };
        let throttle = Verdict::Throttle { retry_after: self.behaviour.retry_after };
        if self.exceeds(asked.tokens, now) {
            self.seen.over_limit += 1;
            return throttle;
        }
        let drawn = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        if drawn < self.behaviour.throttles {
            self.seen.throttled += 1;
            return throttle;
        }
        if drawn < self.behaviour.throttles + self.behaviour.failures {
            self.seen.failed += 1;
            return Verdict::Fail { status: [500, 503][self.random.below(2) as usize] };
        }
        self.accepted.push_back((now, asked.tokens));
        self.tokens += asked.tokens;
        self.count(asked);
        Verdict::Answer
    }

    /// A call has got its answer.
    pub(super) fn leave(&mut self) {
        self.at_work -= 1;
    }

    fn exceeds(&mut self, tokens: u64, now: Instant) -> bool {
        let window = self.behaviour.window;
        while let Some((at, tokens)) = self.accepted.front()
            && now.duration_since(*at) >= window
        {
            self.tokens -= tokens;
            self.accepted.pop_front();
        }
        let (calls, tokens) = (self.accepted.len() as u64 + 1, self.tokens + tokens);
        self.behaviour.requests.is_some_and(|limit| calls > limit)
            || self.behaviour.tokens.is_some_and(|limit| tokens > limit)
    }

    fn count(&mut self, asked: &Asked) {
        let seen = &mut self.seen;
        seen.answered += 1;
        seen.texts += asked.texts.len() as u64;
        seen.tokens += asked.tokens;
        seen.largest_batch = seen.largest_batch.max(asked.texts.len());
        if let Some(kind) = &asked.input_type {
            *seen.input_types.entry(kind.clone()).or_default() += 1;
        }
        for text in &asked.texts {
            *seen.hashes.entry(text_hash(text)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    fn call(tokens: u64) -> Result<Asked, Refusal> {
        let texts = vec!["text".to_owned()];
        Ok(Asked { texts, tokens, input_type: None, answer: Value::Null })
    }

    #[test]
    fn a_limit_counts_the_last_window_only() {
        let mut door = Door::new(Behaviour { tokens: Some(10), ..Behaviour::default() });
        let start = Instant::now();
        assert_eq!(door.admit(&call(6), start), Verdict::Answer);
        let throttled = Verdict::Throttle { retry_after: None };
        assert_eq!(door.admit(&call(5), start + Duration::from_secs(59)), throttled);
        assert_eq!(door.admit(&call(4), start + Duration::from_secs(59)), Verdict::Answer);
        assert_eq!(door.admit(&call(6), start + Duration::from_secs(60)), Verdict::Answer);
        assert_eq!((door.seen().over_limit, door.seen().answered), (1, 3));
    }

    #[test]
    fn shares_are_about_as_large_as_asked_for_and_the_same_for_the_same_seed() {
        let behaviour =
            Behaviour { throttles: 0.1, failures: 0.05, seed: 7, ..Behaviour::default() };
        let run = |behaviour: &Behaviour| {
            let mut door = Door::new(behaviour.clone());
            for _ in 0..10_000 {
                door.admit(&call(1), Instant::now());
                door.leave();
            }
            door.seen().clone()
        };
        let seen = run(&behaviour);
        assert!((900..1100).contains(&seen.throttled), "{seen:?}");
        assert!((400..600).contains(&seen.failed), "{seen:?}");
        assert_eq!((seen.calls, seen.most_at_once), (10_000, 1));
        assert_eq!(seen, run(&behaviour));
    }
}
