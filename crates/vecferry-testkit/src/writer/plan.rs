//! What a worker writes next: a seeded random choice over what is there. Pure.

use std::time::Duration;

use super::book::{Book, Key};
use super::lot::{Lot, Write};
use super::outcome::Kind;
use crate::vectors::SplitMix;

/// Rows that go in one statement: a few MB at most, whatever the transaction.
pub(super) const ROWS_AT_ONCE: usize = 500;

/// How often each kind of write comes, relative to the others; 0 is never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    /// One new row.
    pub insert: u32,
    /// Several new rows in one statement.
    pub insert_many: u32,
    /// Another text, its vector unchanged.
    pub content: u32,
    /// Another vector, its text unchanged.
    pub vector: u32,
    /// One row deleted.
    pub delete: u32,
    /// A whole bot replaced in one transaction.
    pub replace_bot: u32,
    /// A transaction of [`Mix::transaction_rows`] rows.
    pub transaction: u32,
    /// How many rows that is.
    pub transaction_rows: u32,
    /// A transaction left open for [`Mix::hold`].
    pub hold_open: u32,
    /// How long that is.
    pub hold: Duration,
    /// A transaction rolled back.
    pub roll_back: u32,
    /// Rows into the side table, where there is one.
    pub side_insert: u32,
    /// The side table truncated, where there is one.
    pub truncate: u32,
}

impl Default for Mix {
    /// An application's: mostly single rows, now and then a bot synchronised anew.
    fn default() -> Mix {
        Mix {
            insert: 30,
            insert_many: 6,
            content: 30,
            vector: 14,
            delete: 14,
            replace_bot: 2,
            transaction: 1,
            transaction_rows: 50,
            hold_open: 0,
            hold: Duration::from_millis(300),
            roll_back: 3,
            side_insert: 10,
            truncate: 1,
        }
    }
}

impl Mix {
    /// Nothing at all: a start for naming the few kinds that a test wants.
    pub fn none() -> Mix {
        Mix {
            insert: 0,
            insert_many: 0,
            content: 0,
            vector: 0,
            delete: 0,
            replace_bot: 0,
            transaction: 0,
            hold_open: 0,
            roll_back: 0,
            side_insert: 0,
            truncate: 0,
            ..Mix::default()
        }
    }

    fn weights(&self, side: bool) -> [(Kind, u32); 11] {
        [
            (Kind::Insert, self.insert),
            (Kind::InsertMany, self.insert_many),
            (Kind::Content, self.content),
            (Kind::Vector, self.vector),
            (Kind::Delete, self.delete),
            (Kind::ReplaceBot, self.replace_bot),
            (Kind::Transaction, self.transaction),
            (Kind::HoldOpen, self.hold_open),
            (Kind::RollBack, self.roll_back),
            (Kind::SideInsert, if side { self.side_insert } else { 0 }),
            (Kind::Truncate, if side { self.truncate } else { 0 }),
        ]
    }
}

/// How the write is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// By its one statement.
    Itself,
    Commit,
    RollBack,
}

/// A write to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Intent {
    pub(super) kind: Kind,
    /// The place of its lot among the worker's.
    pub(super) lot: usize,
    pub(super) version: u64,
    pub(super) writes: Vec<Write>,
    pub(super) ending: Ending,
    pub(super) hold: Duration,
}

/// The lots of a worker that may be written to.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) bots: Vec<usize>,
    pub(super) side: Option<usize>,
}

/// Chooses one write after the other.
#[derive(Debug)]
pub(super) struct Planner {
    random: SplitMix,
    mix: Mix,
    rows_per_bot: u64,
    version: u64,
}

impl Planner {
    pub(super) fn new(seed: u64, mix: Mix, rows_per_bot: u64) -> Planner {
        Planner { random: SplitMix::new(seed), mix, rows_per_bot: rows_per_bot.max(1), version: 0 }
    }

    /// The next write. Every one has a version of its own, also when it repeats one that failed:
    /// so what a failed one wrote can be told from what its repetition wrote.
    pub(super) fn next(&mut self, book: &Book, lots: &[Lot], open: &Open) -> Intent {
        self.version += 1;
        let mut kind = self.kind(open.side.is_some());
        let lot = match (kind, open.side) {
            (Kind::SideInsert | Kind::Truncate, Some(side)) => side,
            _ => open.bots[self.random.below(open.bots.len() as u64) as usize],
        };
        let rows = &lots[lot].rows;
        if lots[lot].bot.is_some() && rows.len() as u64 > 2 * self.rows_per_bot {
            // Otherwise a bot would grow for as long as the writer runs.
            kind = Kind::ReplaceBot;
        }
        if lots[lot].bot.is_some() && rows.is_empty() {
            kind = Kind::ReplaceBot;
        }
        let writes = self.writes(kind, book, &lots[lot]);
        let ending = match kind {
            Kind::RollBack => Ending::RollBack,
            _ if writes.len() == 1 && writes[0].rows() <= ROWS_AT_ONCE as u64 => Ending::Itself,
            _ => Ending::Commit,
        };
        let hold = if kind == Kind::HoldOpen { self.mix.hold } else { Duration::ZERO };
        Intent { kind, lot, version: self.version, writes, ending, hold }
    }

    fn kind(&mut self, side: bool) -> Kind {
        let weights = self.mix.weights(side);
        let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
        let mut point = self.random.below(u64::from(sum.max(1)));
        for (kind, weight) in weights {
            match point.checked_sub(u64::from(weight)) {
                Some(rest) => point = rest,
                None => return kind,
            }
        }
        Kind::Insert
    }

    fn writes(&mut self, kind: Kind, book: &Book, lot: &Lot) -> Vec<Write> {
        let owner = lot.bot.as_deref().unwrap_or("side");
        let version = self.version;
        let insert = |rows: u64| {
            Write::Insert((0..rows).map(|number| book.key(owner, version, number)).collect())
        };
        match kind {
            Kind::Insert => vec![insert(1)],
            Kind::InsertMany => vec![insert(2 + self.random.below(7))],
            Kind::Content => vec![Write::Content(self.any(book, lot))],
            Kind::Vector => vec![Write::Vector(self.any(book, lot))],
            Kind::Delete => vec![Write::Delete(self.any(book, lot))],
            Kind::ReplaceBot if lot.rows.is_empty() => vec![insert(self.rows_per_bot)],
            Kind::ReplaceBot => {
                let removed = Write::DeleteAll(lot.rows.len() as u64);
                vec![
                    removed,
                    insert(self.rows_per_bot / 2 + 1 + self.random.below(self.rows_per_bot)),
                ]
            }
            Kind::Transaction => {
                let changed = u64::from(self.mix.transaction_rows / 4);
                let new = u64::from(self.mix.transaction_rows) - changed;
                let mut writes = vec![insert(new.max(1))];
                writes.extend((0..changed).map(|_| Write::Content(self.any(book, lot))));
                // More than one statement, so that it is committed as a transaction.
                writes.push(Write::Vector(self.any(book, lot)));
                writes
            }
            Kind::HoldOpen => vec![insert(1), Write::Content(self.any(book, lot))],
            Kind::RollBack => {
                let key = self.any(book, lot);
                vec![insert(3), Write::Content(key.clone()), Write::Delete(key)]
            }
            Kind::SideInsert => vec![insert(1 + self.random.below(3))],
            Kind::Truncate => vec![Write::Truncate],
        }
    }

    /// One of the rows, which are not none.
    fn any(&mut self, book: &Book, lot: &Lot) -> Key {
        let point = book.key("any", self.random.next_u64(), 0);
        let after = lot.rows.range(point.clone()..).next();
        after.or(lot.rows.iter().next()).map_or(point, |(key, _)| key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::outcome::Outcome;

    #[test]
    fn a_seed_gives_the_same_writes_of_every_kind_and_bots_do_not_grow_for_ever() {
        let book = Book::new(7, 8, 100).unwrap();
        let run = || {
            let mix = Mix { hold_open: 1, transaction: 2, ..Mix::default() };
            let mut planner = Planner::new(7, mix, 20);
            let bots = (0..3).map(|number| Lot::new(Some(book.bot(0, number))));
            let mut lots: Vec<Lot> = bots.chain([Lot::new(None)]).collect();
            let open = Open { bots: vec![0, 1, 2], side: Some(3) };
            let mut intents = Vec::new();
            for _ in 0..3000 {
                let intent = planner.next(&book, &lots, &open);
                let lot = &mut lots[intent.lot];
                let count = lot.rows.len() as u64;
                for write in &intent.writes {
                    match write {
                        Write::Content(key) | Write::Vector(key) | Write::Delete(key) => {
                            assert!(lot.rows.contains_key(key), "{intent:?}");
                        }
                        Write::DeleteAll(rows) => assert_eq!(*rows, count),
                        Write::Insert(_) | Write::Truncate => {}
                    }
                }
                let outcome = match intent.ending {
                    Ending::RollBack => Outcome::RolledBack,
                    _ => Outcome::Acknowledged,
                };
                lot.note(intent.version, &intent.writes, outcome);
                assert!(lot.bot.is_none() || lot.rows.len() < 100, "{}", lot.rows.len());
                intents.push(intent);
            }
            intents
        };
        let intents = run();
        assert_eq!(intents, run());
        let mut kinds: Vec<Kind> = intents.iter().map(|intent| intent.kind).collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), 11, "{kinds:?}");
    }
}
