//! What a writer has seen: what must be in the tables, and how every write ended.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use super::book::{Book, Key};
use super::lot::Lot;
use super::outcome::{Kind, Operation, Outcome};
use super::state::{Shared, State};

/// A stay at one database: from being sent there to being sent elsewhere. Times are since the
/// writer's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// `host:port/database`, without user and password.
    pub database: String,
    /// When the writer was sent there.
    pub since: Duration,
    /// When the first write there was acknowledged.
    pub first_acknowledged: Option<Duration>,
    /// When the last one was.
    pub last_acknowledged: Option<Duration>,
    /// When the first one there was refused.
    pub first_refused: Option<Duration>,
    /// How many were acknowledged there.
    pub acknowledged: u64,
}

/// The truth about a writer's rows, as far as the servers told it.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(super) book: Arc<Book>,
    pub(super) table: String,
    pub(super) side_table: Option<String>,
    pub(super) lots: Vec<Lot>,
    pub(super) surprises: Vec<String>,
    operations: Vec<Operation>,
    visits: Vec<Visit>,
    connections_failed: u64,
}

/// A transaction of unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncertain {
    /// The bot; nothing for the side table.
    pub bot: Option<String>,
    /// Rows it has if the transaction was not committed.
    pub without: usize,
    /// Rows it has if it was.
    pub with: usize,
}

impl Visit {
    pub(super) fn at(url: &str, since: Duration) -> Visit {
        Visit {
            database: without_secrets(url),
            since,
            first_acknowledged: None,
            last_acknowledged: None,
            first_refused: None,
            acknowledged: 0,
        }
    }

    pub(super) fn note(&mut self, operation: &Operation) {
        match operation.outcome {
            Outcome::Acknowledged => {
                self.first_acknowledged.get_or_insert(operation.ended);
                self.last_acknowledged = Some(operation.ended);
                self.acknowledged += 1;
            }
            Outcome::Refused(_) => drop(self.first_refused.get_or_insert(operation.ended)),
            _ => {}
        }
    }
}

impl Ledger {
    pub(super) fn of(shared: &Shared, state: &State) -> Ledger {
        Ledger {
            book: shared.book.clone(),
            table: shared.options.table.clone(),
            side_table: shared.options.side_table.clone(),
            lots: state.lots.clone(),
            surprises: state.surprises.clone(),
            operations: state.operations.clone(),
            visits: state.visits.clone(),
            connections_failed: state.connections_failed,
        }
    }

    /// Every write, in the order in which they ended.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Where the writer was, in order.
    pub fn visits(&self) -> &[Visit] {
        &self.visits
    }

    /// How many writes were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.count(|outcome| outcome == Outcome::Acknowledged)
    }

    /// How many were refused.
    pub fn refused(&self) -> u64 {
        self.count(|outcome| matches!(outcome, Outcome::Refused(_)))
    }

    /// How many ended so that nobody knows.
    pub fn unknown(&self) -> u64 {
        self.count(|outcome| outcome == Outcome::Unknown)
    }

    /// How many ended as `wanted` says.
    pub fn count(&self, wanted: impl Fn(Outcome) -> bool) -> u64 {
        self.operations.iter().filter(|operation| wanted(operation.outcome)).count() as u64
    }

    /// Refusals by SQLSTATE.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for operation in &self.operations {
            if let Some(code) = operation.outcome.sqlstate() {
                *counts.entry(code.to_owned()).or_default() += 1;
            }
        }
        counts
    }

    /// Attempts to connect that failed.
    pub fn connections_failed(&self) -> u64 {
        self.connections_failed
    }

    /// The transactions of unknown outcome, with the numbers of rows of both cases.
    pub fn uncertain(&self) -> Vec<Uncertain> {
        let of = |lot: &Lot| {
            let with = lot.perhaps.as_ref()?.1.len();
            let bot = lot.bot.as_deref().map(str::to_owned);
            Some(Uncertain { bot, without: lot.rows.len(), with })
        };
        self.lots.iter().filter_map(of).collect()
    }

    /// Rows of the main table that must be there; bots of unknown outcome are not counted.
    pub fn rows(&self) -> usize {
        self.certain().map(|lot| lot.rows.len()).sum()
    }

    /// The ids of rows that must be there, bot by bot; for tests that plant damage.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.certain().flat_map(|lot| {
            let bot = lot.bot.as_deref().unwrap_or_default();
            lot.rows.keys().map(move |key| (bot, key.as_ref()))
        })
    }

    /// The bots the writer has written to.
    pub fn bots(&self) -> impl Iterator<Item = &str> {
        self.lots.iter().filter_map(|lot| lot.bot.as_deref())
    }

    fn certain(&self) -> impl Iterator<Item = &Lot> {
        self.lots.iter().filter(|lot| lot.bot.is_some() && lot.perhaps.is_none())
    }

    /// How long nothing was acknowledged at each change of place: from the last acknowledged write
    /// at the one database to the first at the next. Zero when they overlap.
    pub fn downtimes(&self) -> Vec<Duration> {
        let served: Vec<&Visit> =
            self.visits.iter().filter(|visit| visit.acknowledged > 0).collect();
        let gap = |pair: &[&Visit]| {
            Some(pair[1].first_acknowledged?.saturating_sub(pair[0].last_acknowledged?))
        };
        served.windows(2).filter_map(gap).collect()
    }

    /// Latencies of the acknowledged writes that ended in this time since the start, sorted.
    pub fn latencies(&self, within: impl RangeBounds<Duration>) -> Vec<Duration> {
        let counted = |operation: &&Operation| {
            operation.outcome == Outcome::Acknowledged
                && operation.kind != Kind::HoldOpen
                && within.contains(&operation.ended)
        };
        let mut latencies: Vec<Duration> =
            self.operations.iter().filter(counted).map(|operation| operation.latency).collect();
        latencies.sort();
        latencies
    }
}

/// The value that `share` (0 to 1) of the sorted ones do not exceed; nothing of nothing.
pub fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// `host:port/database` of a URL.
fn without_secrets(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('?').next().unwrap_or_default().to_owned()
}

/// The rows by lot, for comparing with what is found.
impl Ledger {
    pub(super) fn lot_of(&self) -> BTreeMap<Option<Key>, usize> {
        self.lots.iter().enumerate().map(|(place, lot)| (lot.bot.clone(), place)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<u32> = (1..=20).collect();
        assert_eq!(percentile::<u32>(&[], 0.5), None);
        assert_eq!(percentile(&[7], 0.99), Some(7));
        assert_eq!(percentile(&values, 0.0), Some(1));
        assert_eq!(percentile(&values, 0.5), Some(10));
        assert_eq!(percentile(&values, 0.99), Some(20));
        assert_eq!(percentile(&values, 1.0), Some(20));
    }

    #[test]
    fn a_place_is_named_without_its_password() {
        let url = "postgresql://app:p%40ss@db.example:5433/shop?sslmode=disable";
        assert_eq!(without_secrets(url), "db.example:5433/shop");
        assert_eq!(without_secrets("db.example/shop"), "db.example/shop");
    }
}
