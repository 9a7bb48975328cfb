//! Judges changes in the order they would be applied: given what the target holds now, and what earlier changes make of
//! it, which is the first that it refuses? Pure; what the target holds is asked for many changes at once, in `lookup`.
//!
//! A row found on the target counts only while no earlier change has touched it: one that was deleted makes room, and
//! one that was updated may have another key since. So a change is called refused only for a row that will surely be
//! there when it is applied.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::cause::Cause;
use super::counterpart::Counterpart;
use crate::follow::pgoutput::{Tuple, Value};
use crate::pg::Lsn;

/// Values of key columns in text; `None` for NULL.
pub(super) type Key = Vec<Option<String>>;

/// A change, with no other values than those of key columns.
pub(super) struct Change {
    /// The transaction it belongs to, and how many are applied before that.
    pub(super) lsn: Lsn,
    pub(super) transactions_before: u64,
    pub(super) table: Arc<Counterpart>,
    action: Action,
    /// What the target shall be asked.
    pub(super) questions: Vec<Question>,
}

/// Which row has this key?
pub(super) struct Question {
    /// Which of the table's unique indexes.
    pub(super) unique: usize,
    pub(super) key: Key,
    /// The identity of the row that has it, once it is known.
    pub(super) answer: Option<Key>,
}

enum Action {
    Insert {
        row: Option<Key>,
        refused: Option<Cause>,
    },
    /// `found` is the question that tells whether there is a row to update.
    Update {
        before: Option<Key>,
        after: Option<Key>,
        found: Option<usize>,
        refused: Option<Cause>,
    },
    Delete {
        row: Option<Key>,
        found: Option<usize>,
    },
    Truncate,
    /// The table takes no such change, or none is applied to it.
    Refused(Cause),
    Ignored,
}

/// What comes of a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Applied,
    /// There is no such row: PostgreSQL passes over the change.
    Absent,
    Refused(Cause),
}

/// Where a change stands: its transaction, and how many come before.
pub(super) type At = (Lsn, u64);

impl Change {
    pub(super) fn insert(at: At, table: &Arc<Counterpart>, new: &Tuple) -> Change {
        if let Some(change) = Change::refused(at, table, table.refuses_inserts.as_ref()) {
            return change;
        }
        let row = key(new, None, &table.identity);
        let refused = null_refused(table, new);
        Change::new(at, table, Action::Insert { row, refused }, questions(table, new))
    }

    pub(super) fn update(
        at: At,
        table: &Arc<Counterpart>,
        old: Option<&Tuple>,
        new: &Tuple,
    ) -> Change {
        if let Some(change) = Change::refused(at, table, table.refuses_updates.as_ref()) {
            return change;
        }
        let before = key(old.unwrap_or(new), None, &table.identity);
        let after = key(new, old, &table.identity);
        let mut questions = questions(table, new);
        let found = presence(table, old.unwrap_or(new), &mut questions);
        let refused = null_refused(table, new);
        Change::new(at, table, Action::Update { before, after, found, refused }, questions)
    }

    pub(super) fn delete(at: At, table: &Arc<Counterpart>, old: &Tuple) -> Change {
        if let Some(change) = Change::refused(at, table, table.refuses_updates.as_ref()) {
            return change;
        }
        let mut questions = Vec::new();
        let found = presence(table, old, &mut questions);
        let row = key(old, None, &table.identity);
        Change::new(at, table, Action::Delete { row, found }, questions)
    }

    pub(super) fn truncate(at: At, table: &Arc<Counterpart>) -> Change {
        Change::refused(at, table, None)
            .unwrap_or_else(|| Change::new(at, table, Action::Truncate, Vec::new()))
    }

    /// A change that the table's definition forbids, or that is not applied at all.
    fn refused(at: At, table: &Arc<Counterpart>, also: Option<&Cause>) -> Option<Change> {
        let action = match table.refuses_all.as_ref().or(also.filter(|_| table.applied)) {
            Some(cause) => Action::Refused(cause.clone()),
            None if table.applied => return None,
            None => Action::Ignored,
        };
        Some(Change::new(at, table, action, Vec::new()))
    }

    fn new(at: At, table: &Arc<Counterpart>, action: Action, questions: Vec<Question>) -> Change {
        let (lsn, transactions_before) = at;
        Change { lsn, transactions_before, table: Arc::clone(table), action, questions }
    }

    /// Whether nothing that the target holds can change the verdict.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.action, Action::Refused(_))
    }
}

/// What earlier changes made of the target's rows.
#[derive(Default)]
pub(super) struct Effects {
    /// Rows that were touched, by table and hash of their identity: whether they are there now.
    rows: HashMap<(u32, u128), bool>,
    /// Tables that were emptied.
    emptied: HashSet<u32>,
}

impl Effects {
    /// Judges the next change, all its questions answered.
    pub(super) fn judge(&mut self, change: &Change) -> Verdict {
        let table = change.table.relation;
        match &change.action {
            Action::Refused(cause) => return Verdict::Refused(cause.clone()),
            Action::Ignored => {}
            Action::Insert { row, refused } => {
                if let Some(cause) = refused.clone().or_else(|| self.duplicate(change, None, None))
                {
                    return Verdict::Refused(cause);
                }
                self.set(table, row.as_ref(), true);
            }
            Action::Update { before, after, found, refused } => {
                if !self.is_there(change, before.as_ref(), *found) {
                    return Verdict::Absent;
                }
                let duplicate = || self.duplicate(change, before.as_ref(), *found);
                if let Some(cause) = refused.clone().or_else(duplicate) {
                    return Verdict::Refused(cause);
                }
                self.set(table, before.as_ref(), false);
                self.set(table, after.as_ref(), true);
            }
            Action::Delete { row, found } => {
                if !self.is_there(change, row.as_ref(), *found) {
                    return Verdict::Absent;
                }
                self.set(table, row.as_ref(), false);
            }
            Action::Truncate => {
                self.rows.retain(|(of, _), _| *of != table);
                self.emptied.insert(table);
            }
        }
        Verdict::Applied
    }

    /// The first key of the change that another row has.
    fn duplicate(
        &self,
        change: &Change,
        itself: Option<&Key>,
        presence: Option<usize>,
    ) -> Option<Cause> {
        let in_the_way = |question: &Question| {
            let Some(row) = &question.answer else { return false };
            Some(row) != itself && self.state(change.table.relation, row).is_none()
        };
        let asked = change.questions.iter().enumerate();
        let found = asked
            .filter(|(at, _)| Some(*at) != presence)
            .map(|(_, question)| question)
            .find(|question| in_the_way(question))?;
        let unique = &change.table.uniques[found.unique];
        Some(Cause::DuplicateKey {
            table: change.table.name.clone(),
            index: unique.name.clone(),
            columns: unique.columns.iter().map(|column| column.name.clone()).collect(),
            key: found.key.clone(),
        })
    }

    /// Where it cannot be told, the row is taken to be there: that is what a replica has.
    fn is_there(&self, change: &Change, row: Option<&Key>, found: Option<usize>) -> bool {
        match row.and_then(|row| self.state(change.table.relation, row)) {
            Some(there) => there,
            None => found.is_none_or(|at| change.questions[at].answer.is_some()),
        }
    }

    /// Whether a row is there, if that has changed.
    fn state(&self, table: u32, row: &Key) -> Option<bool> {
        let touched = self.rows.get(&(table, hash(row))).copied();
        touched.or_else(|| self.emptied.contains(&table).then_some(false))
    }

    fn set(&mut self, table: u32, row: Option<&Key>, there: bool) {
        if let Some(row) = row.filter(|row| !row.is_empty()) {
            self.rows.insert((table, hash(row)), there);
        }
    }
}

/// Which rows have the keys of a new row. A NULL makes most keys equal to no other.
fn questions(table: &Counterpart, new: &Tuple) -> Vec<Question> {
    let asked = table.uniques.iter().enumerate().filter_map(|(at, unique)| {
        let key = key(new, None, &unique.places())?;
        let comparable = !unique.nulls_distinct || key.iter().all(Option::is_some);
        comparable.then_some(Question { unique: at, key, answer: None })
    });
    asked.collect()
}

/// Asks for the row that is to be changed, where an index leads to it.
fn presence(table: &Counterpart, old: &Tuple, questions: &mut Vec<Question>) -> Option<usize> {
    let unique = table.identity_unique?;
    let key = key(old, None, &table.uniques[unique].places())?;
    questions.push(Question { unique, key, answer: None });
    Some(questions.len() - 1)
}

fn null_refused(table: &Counterpart, new: &Tuple) -> Option<Cause> {
    let null = |(place, _): &&(usize, String)| new.get(*place) == Some(&Value::Null);
    let columns: Vec<String> =
        table.required.iter().filter(null).map(|(_, name)| name.clone()).collect();
    (!columns.is_empty()).then(|| Cause::ValueRequired { table: table.name.clone(), columns })
}

/// The values at `places`; a value that was not sent again is taken from the row before. `None` when one is not known.
fn key(tuple: &Tuple, before: Option<&Tuple>, places: &[usize]) -> Option<Key> {
    let value = |place: &usize| match (tuple.get(*place)?, before.and_then(|row| row.get(*place))) {
        (Value::Text(bytes), _) | (Value::Unchanged, Some(Value::Text(bytes))) => {
            std::str::from_utf8(bytes).ok().map(|text| Some(text.to_owned()))
        }
        (Value::Null, _) => Some(None),
        (Value::Unchanged, _) => None,
    };
    places.iter().map(value).collect()
}

fn hash(key: &Key) -> u128 {
    let mut hasher = Xxh3::new();
    for value in key {
        // The length keeps ("a", "b") apart from ("ab", ""); nothing has the length of NULL.
        let length = value.as_ref().map_or(u64::MAX, |text| text.len() as u64);
        hasher.update(&length.to_le_bytes());
        hasher.update(value.as_deref().unwrap_or_default().as_bytes());
    }
    hasher.digest128()
}

#[cfg(test)]
mod tests;
