//! What a re-embedding has taken, to be set beside what was expected. Pure.

use serde::Serialize;

use super::estimate::Estimate;
use super::store::{AttemptRecord, BotRecord, Outcome};

/// What it has taken, over all runs of a migration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spent {
    /// Tokens paid for; `None` when no worker said any. The application's own containers do not.
    pub tokens: Option<u64>,
    /// Bots whose workers said how many.
    pub told: u64,
    /// USD for these tokens, at the price of the estimate.
    pub embedding_usd: Option<f64>,
    /// Hours of all tasks, from the launch until their end was seen: a little more than is charged.
    pub task_hours: f64,
    /// USD for these, at the price of the estimate; `None` for workers on the operator's machine.
    pub tasks_usd: Option<f64>,
    /// Hours that the runs took.
    pub hours: f64,
}

impl Spent {
    /// USD in all, as far as they can be told.
    pub fn usd(&self) -> Option<f64> {
        self.embedding_usd.map(|embedding| embedding + self.tasks_usd.unwrap_or(0.0))
    }
}

/// Sums up. `seconds` are those of all runs.
pub(super) fn spent(
    bots: &[BotRecord],
    attempts: &[AttemptRecord],
    seconds: f64,
    estimate: Option<&Estimate>,
) -> Spent {
    let tokens: Vec<u64> = bots.iter().filter_map(|bot| bot.got.tokens).collect();
    let told = tokens.len() as u64;
    let tokens = (told > 0).then(|| tokens.iter().sum::<u64>());
    let task_hours: f64 = attempts.iter().map(hours).sum();
    let price = estimate.and_then(|estimate| estimate.usd_per_million_tokens);
    Spent {
        tokens,
        told,
        embedding_usd: tokens.zip(price).map(|(tokens, price)| tokens as f64 / 1e6 * price),
        task_hours,
        tasks_usd: estimate.and_then(|estimate| estimate.fargate).map(|task| task.usd(task_hours)),
        hours: seconds / 3600.0,
    }
}

/// Hours of an attempt's task; none while nobody has seen its end, or when there was no task.
fn hours(attempt: &AttemptRecord) -> f64 {
    let ended = attempt.end.as_ref().filter(|end| end.outcome != Outcome::NotLaunched);
    let Some(end) = ended else { return 0.0 };
    let seconds = end.at.duration_since(attempt.launched_at).as_secs_f64();
    // Clocks of two machines may disagree.
    seconds.max(0.0) / 3600.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bot::BotKey;
    use crate::reembed::estimate::Fargate;
    use crate::reembed::store::{AttemptEnd, Yield};

    fn key() -> BotKey {
        BotKey { owner: "o".into(), id: "b".into() }
    }

    fn bot(tokens: Option<u64>) -> BotRecord {
        let got = Yield { tokens, ..Yield::default() };
        BotRecord { got, ..BotRecord::waiting(key(), "t".into(), 1) }
    }

    fn attempt(minutes: i64, outcome: Option<Outcome>) -> AttemptRecord {
        let launched_at = jiff::Timestamp::UNIX_EPOCH;
        let at = launched_at + jiff::SignedDuration::from_mins(minutes);
        AttemptRecord {
            bot: key(),
            number: 1,
            token: "t".into(),
            task: None,
            launched_at,
            seen: None,
            end: outcome.map(|outcome| AttemptEnd {
                at,
                outcome,
                cause: None,
                reason: String::new(),
            }),
        }
    }

    #[test]
    fn tokens_and_tasks_are_paid_at_the_prices_of_the_estimate() {
        let fargate = Fargate { vcpus: 2.0, gigabytes: 4.0, vcpu_hour_usd: 0.1, gb_hour_usd: 0.01 };
        let estimate = Estimate {
            usd_per_million_tokens: Some(0.5),
            fargate: Some(fargate),
            ..Estimate::default()
        };
        let attempts = [
            attempt(30, Some(Outcome::Proven)),
            attempt(60, Some(Outcome::Repeated)),
            attempt(60, Some(Outcome::NotLaunched)),
            attempt(-5, Some(Outcome::Failed)),
            attempt(60, None),
        ];
        let bots = [bot(Some(1_000_000)), bot(None), bot(Some(3_000_000))];
        let spent = spent(&bots, &attempts, 7200.0, Some(&estimate));
        assert_eq!((spent.tokens, spent.told, spent.hours), (Some(4_000_000), 2, 2.0));
        assert_eq!((spent.embedding_usd, spent.task_hours), (Some(2.0), 1.5));
        assert!((spent.usd().unwrap() - (2.0 + 1.5 * 0.24)).abs() < 1e-9, "{spent:?}");
    }

    #[test]
    fn what_nobody_said_or_priced_is_unknown() {
        let spent_of = spent(&[bot(None)], &[], 0.0, None);
        assert_eq!((spent_of.tokens, spent_of.usd(), spent_of.tasks_usd), (None, None, None));
        let unpriced = spent(&[bot(Some(5))], &[], 0.0, Some(&Estimate::default()));
        assert_eq!((unpriced.tokens, unpriced.usd()), (Some(5), None));
    }
}
