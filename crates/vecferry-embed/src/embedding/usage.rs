//! What embedding cost, and why it stopped.

use std::time::Duration;

use vecferry_core::{Class, Error};

/// What a run used. Sums may be added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls, repeated ones included.
    pub calls: u64,
    /// Texts that got a vector, each once for all pieces of a batch that share it.
    pub texts: u64,
    /// Pieces that got a vector.
    pub pieces: u64,
    /// Pieces that the model refused.
    pub refused: u64,
    /// Tokens of answered calls: the service's count, or an estimate where it has none.
    pub tokens: u64,
    /// Part of [`Usage::tokens`] that is estimated.
    pub estimated: u64,
    /// Calls that were throttled.
    pub throttles: u64,
    /// Calls that failed in passing and were repeated.
    pub failures: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.calls += other.calls;
        self.texts += other.texts;
        self.pieces += other.pieces;
        self.refused += other.refused;
        self.tokens += other.tokens;
        self.estimated += other.estimated;
        self.throttles += other.throttles;
        self.failures += other.failures;
        self.elapsed += other.elapsed;
    }
}

/// The run ended before its input did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot embed with {model}")]
pub struct Stopped {
    /// The model's id.
    pub model: String,
    /// Why.
    #[source]
    pub why: Why,
    /// What was used until then.
    pub usage: Usage,
}

/// Why a run stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// No call can succeed, in the service's words.
    #[error("{0}")]
    Permanent(String),
    /// Nothing but passing failures for so long.
    #[error("nothing but failures for {} s; the last: {said}", after.as_secs())]
    NoAnswer {
        /// How long.
        after: Duration,
        /// What the last try said.
        said: String,
    },
    /// Every text of the first batch was refused: it is not the texts.
    #[error("the model refuses every text: {0}")]
    RefusesAll(String),
    /// Nobody takes the vectors any more.
    #[error("the vectors' receiver is gone")]
    Abandoned,
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Error {
        let class = match stopped.why {
            Why::Cancelled => return Error::Interrupted,
            Why::Abandoned => {
                return Error::Bug { what: format!("{stopped}: {}", stopped.why) };
            }
            Why::NoAnswer { .. } => Class::Transient,
            Why::Permanent(_) | Why::RefusesAll(_) => Class::Operator,
        };
        let doing = format!("embed with {}", stopped.model);
        Error::Service {
            service: "embedding model",
            doing,
            class,
            source: Box::new(stopped.why),
            hint: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_becomes_the_error_that_says_whom_to_ask() {
        let stopped = |why| Stopped { model: "m".to_owned(), why, usage: Usage::default() };
        let error = Error::from(stopped(Why::Permanent("not enabled".to_owned())));
        assert_eq!(error.to_string(), "embedding model: cannot embed with m");
        assert_eq!(error.class(), Class::Operator);
        let why = Why::NoAnswer { after: Duration::from_secs(600), said: "throttled".to_owned() };
        assert_eq!(why.to_string(), "nothing but failures for 600 s; the last: throttled");
        assert_eq!(Error::from(stopped(why)).class(), Class::Transient);
        assert!(matches!(Error::from(stopped(Why::Cancelled)), Error::Interrupted));
    }
}
