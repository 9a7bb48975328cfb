//! How the double misbehaves. What happens to a launch depends on the seed, its client token and how often that token
//! was tried, never on the order in which concurrent requests arrive: the same run has the same faults.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::vectors::SplitMix;

/// One thing that goes wrong with a `RunTask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Refused with `ThrottlingException`.
    Throttle,
    /// A good answer (200) without a task and with this reason in `failures`.
    Failure(String),
    /// Refused with this error code and message (status 400).
    Refuse(String, String),
    /// `ServerException` (500); nothing was started.
    ServerError,
    /// The connection breaks before anything was started.
    Unheard,
    /// The task is started, and the connection breaks before the answer.
    Unanswered,
    /// The task is accepted and never heard of again: it never runs, and looking at it says `MISSING`.
    Vanish,
    /// The task stops before its program runs, with this `stoppedReason`.
    NeverStarts(String),
    /// The program is killed for memory as soon as it runs.
    OutOfMemory,
    /// The program gets SIGTERM, then SIGKILL, as soon as it runs: its place is taken back.
    Interrupt,
    /// Another task with the same input runs beside it, as when the application starts one for the same bot.
    Twice,
    /// The first so many looks at the task say `MISSING`: the service is eventually consistent.
    Late(u32),
    /// Nothing goes wrong; keeps a place in [`super::Ecs::next`].
    None,
}

impl Fault {
    /// No Fargate capacity, in the service's words.
    pub fn capacity() -> Fault {
        let reason = "Capacity is unavailable at this time. Please try again later or in a different availability zone";
        Fault::Failure(reason.into())
    }

    /// The account's vCPU quota is used up, in the service's words.
    pub fn vcpu_limit() -> Fault {
        Fault::Refuse("ClientException".into(), VCPU_LIMIT.into())
    }

    /// An image that cannot be pulled, in the service's words.
    pub fn no_image() -> Fault {
        let reason = "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref \
                      docker.io/library/none:latest: not found";
        Fault::NeverStarts(reason.into())
    }

    /// A secret that cannot be read, in the service's words.
    pub fn no_secret() -> Fault {
        let reason = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource \
                      retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s)";
        Fault::NeverStarts(reason.into())
    }

    /// No network interface in time, in the service's words.
    pub fn no_interface() -> Fault {
        Fault::NeverStarts("Timeout waiting for network interface provisioning to complete.".into())
    }

    /// Whether it is decided before a task exists.
    fn refuses(&self) -> bool {
        matches!(
            self,
            Fault::Throttle
                | Fault::Failure(_)
                | Fault::Refuse(..)
                | Fault::ServerError
                | Fault::Unheard
        )
    }
}

/// What Fargate says when the account's vCPUs are used up; the apostrophe is the service's.
pub(super) const VCPU_LIMIT: &str =
    "You’ve reached the limit on the number of vCPUs you can run concurrently";

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Tokens it holds at most, and at first.
    pub burst: f64,
    /// Tokens per second that come back.
    pub rate: f64,
}

/// How long a task takes from state to state; all zero by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// In `PROVISIONING` (a network interface is attached).
    pub provisioning: Duration,
    /// In `PENDING` (the image is pulled).
    pub pending: Duration,
    /// Between the start of the program and a fault of it ([`Fault::OutOfMemory`], [`Fault::Interrupt`]).
    pub fault: Duration,
    /// Between SIGTERM and SIGKILL: the container's `stopTimeout`, 30 s as on the real service.
    pub grace: Duration,
    /// In `DEPROVISIONING`.
    pub deprovisioning: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Delays {
            provisioning: Duration::ZERO,
            pending: Duration::ZERO,
            fault: Duration::ZERO,
            grace: Duration::from_secs(30),
            deprovisioning: Duration::ZERO,
        }
    }
}

/// How the service misbehaves; not at all by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// Same seed, same faults.
    pub seed: u64,
    /// Faults of `RunTask` and the share (0–1) of requests that have each; drawn independently.
    pub shares: Vec<(Fault, f64)>,
    /// Share (0–1) of the other operations that are throttled.
    pub throttled_reads: f64,
    /// `RunTask` calls; the real service has 20 with 20 per second.
    pub calls: Option<Bucket>,
    /// Fargate launches; the real service has 100 with 20 per second.
    pub launches: Option<Bucket>,
    /// How long states take.
    pub delays: Delays,
    /// Stopped tasks that are remembered; the oldest beyond are forgotten. The real service keeps them for an hour.
    pub remembered: Option<usize>,
}

impl Faults {
    /// The real service's buckets (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/throttling.html>).
    pub fn with_real_rates(mut self) -> Faults {
        self.calls = Some(Bucket { burst: 20.0, rate: 20.0 });
        self.launches = Some(Bucket { burst: 100.0, rate: 20.0 });
        self
    }

    /// Faults of this attempt to launch: first those that refuse it, of which one is enough.
    pub(super) fn draw(&self, token: &str, attempt: usize) -> Vec<Fault> {
        let mut drawn = Vec::new();
        for (number, (fault, share)) in self.shares.iter().enumerate() {
            if chance(&(self.seed, number, token, attempt)) < *share {
                drawn.push(fault.clone());
            }
        }
        match drawn.iter().position(Fault::refuses) {
            Some(first) => vec![drawn.swap_remove(first)],
            None => drawn,
        }
    }

    /// Whether this call of another operation is throttled.
    pub(super) fn throttles_read(&self, operation: &str, number: usize) -> bool {
        chance(&(self.seed, operation, number)) < self.throttled_reads
    }
}

/// A number in [0, 1) that belongs to `facts`.
fn chance(facts: &impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    facts.hash(&mut hasher);
    // 53 bits, as many as a double has.
    (SplitMix::new(hasher.finish()).next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// What a bucket holds at an instant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    bucket: Bucket,
    tokens: f64,
    at: Instant,
}

impl Level {
    pub(super) fn full(bucket: Bucket, now: Instant) -> Level {
        Level { bucket, tokens: bucket.burst, at: now }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let refilled = now.saturating_duration_since(self.at).as_secs_f64() * self.bucket.rate;
        self.tokens = (self.tokens + refilled).min(self.bucket.burst);
        self.at = now;
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_attempt_always_has_the_same_faults() {
        let faults = Faults { seed: 7, shares: vec![(Fault::Throttle, 0.5)], ..Faults::default() };
        for attempt in 0..20 {
            assert_eq!(faults.draw("token", attempt), faults.draw("token", attempt));
        }
        let drawn: Vec<_> = (0..20).map(|attempt| faults.draw("token", attempt).len()).collect();
        assert!(drawn.contains(&0) && drawn.contains(&1), "{drawn:?}");
    }

    #[test]
    fn a_share_is_about_that_share_of_the_launches() {
        let faults = Faults { seed: 1, shares: vec![(Fault::Vanish, 0.1)], ..Faults::default() };
        let hit = (0..10_000).filter(|n| !faults.draw(&n.to_string(), 0).is_empty()).count();
        assert!((900..1100).contains(&hit), "{hit}");
    }

    #[test]
    fn a_refused_launch_has_no_other_fault() {
        let shares = vec![(Fault::Twice, 1.0), (Fault::Throttle, 1.0), (Fault::Vanish, 1.0)];
        let faults = Faults { shares, ..Faults::default() };
        assert_eq!(faults.draw("token", 0), vec![Fault::Throttle]);
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut level = Level::full(Bucket { burst: 2.0, rate: 4.0 }, start);
        assert!(level.take(start) && level.take(start) && !level.take(start));
        assert!(!level.take(start + Duration::from_millis(200)));
        assert!(level.take(start + Duration::from_millis(250)));
        let later = start + Duration::from_secs(60);
        assert!(level.take(later) && level.take(later) && !level.take(later));
    }
}
