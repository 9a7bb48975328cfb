//! A lot is what one transaction of the writer touches: the rows of one bot, or those of the side
//! table. It belongs to one worker, so what must be in it is known without looking. Pure.

use std::collections::BTreeMap;

use super::book::{Found, Key, RowState};
use super::outcome::Outcome;

/// Rows by their id.
pub(super) type Rows = BTreeMap<Key, RowState>;

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    /// New rows.
    Insert(Vec<Key>),
    /// Another text, the vector untouched.
    Content(Key),
    /// Another vector, the text untouched.
    Vector(Key),
    /// One row away.
    Delete(Key),
    /// All rows of the lot away; how many there are.
    DeleteAll(u64),
    /// The side table emptied.
    Truncate,
}

/// What must be in a bot's rows, or in the side table.
#[derive(Debug, Clone)]
pub(super) struct Lot {
    /// The bot, or nothing for the side table.
    pub(super) bot: Option<Key>,
    /// As of the last acknowledged write.
    pub(super) rows: Rows,
    /// Set when the outcome of a write was never learnt. Nothing is written to the lot after it,
    /// so either these rows are there or the ones above, and no mixture.
    pub(super) perhaps: Option<(u64, Rows)>,
    /// Versions that certainly did not come to be, and why.
    pub(super) failed: BTreeMap<u64, Outcome>,
    /// Versions of the lot that came to be end here.
    pub(super) last: u64,
}

impl Lot {
    pub(super) fn new(bot: Option<Key>) -> Lot {
        let (rows, failed) = (Rows::new(), BTreeMap::new());
        Lot { bot, rows, perhaps: None, failed, last: 0 }
    }

    /// Notes how a write of this lot ended.
    pub(super) fn note(&mut self, version: u64, writes: &[Write], outcome: Outcome) {
        match outcome {
            Outcome::Acknowledged => {
                apply(&mut self.rows, version, writes);
                self.last = version;
            }
            Outcome::Unknown => {
                let mut rows = self.rows.clone();
                apply(&mut rows, version, writes);
                self.perhaps = Some((version, rows));
            }
            _ => drop(self.failed.insert(version, outcome)),
        }
    }

    /// How messages call it.
    pub(super) fn name(&self) -> String {
        self.bot.as_ref().map_or("the side table".into(), |bot| format!("bot {bot}"))
    }

    /// What is wrong with the rows that were found.
    pub(super) fn violations(&self, found: &BTreeMap<Key, Found>) -> Vec<String> {
        let before = self.differences(&self.rows, found);
        let Some((version, rows)) = &self.perhaps else { return before };
        let after = self.differences(rows, found);
        match (before.first(), after.first()) {
            (Some(without), Some(with)) => vec![format!(
                "{}: whether version {version} was committed is unknown, but the rows are neither \
                 as without it ({} differ; {without}) nor as with it ({} differ; {with})",
                self.name(),
                before.len(),
                after.len(),
            )],
            _ => Vec::new(),
        }
    }

    fn differences(&self, rows: &Rows, found: &BTreeMap<Key, Found>) -> Vec<String> {
        let mut differences = Vec::new();
        for (key, state) in rows {
            let what = match found.get(key) {
                Some(Found::Intact(there)) if there == state => continue,
                Some(Found::Intact(there)) => self.stale(*state, *there),
                Some(Found::Damaged(column)) => format!("has a {column} that was never written"),
                None => format!("of version {} is missing", state.content.max(state.vector)),
            };
            differences.push(format!("{}: row {key} {what}", self.name()));
        }
        for (key, there) in found.iter().filter(|(key, _)| !rows.contains_key(*key)) {
            let what = match there {
                Found::Intact(there) => self.extra(there.content.max(there.vector)),
                Found::Damaged(column) => format!("has a {column} that was never written"),
            };
            differences.push(format!("{}: row {key} is there but {what}", self.name()));
        }
        differences
    }

    fn stale(&self, state: RowState, there: RowState) -> String {
        let column = |name, wanted: u64, there: u64| {
            let why = self.failed.get(&there).map(|why| format!(", which was {why}"));
            (wanted != there).then(|| {
                let why = why.unwrap_or_default();
                format!("{name} of version {there}{why}; last acknowledged was {wanted}")
            })
        };
        let content = column("content", state.content, there.content);
        let vector = column("vector", state.vector, there.vector);
        let both: Vec<String> = content.into_iter().chain(vector).collect();
        format!("has {}", both.join(", and "))
    }

    fn extra(&self, version: u64) -> String {
        match self.failed.get(&version) {
            Some(why) => format!("its version {version} was {why}"),
            None if version <= self.last => format!("was deleted after version {version}"),
            None => format!("its version {version} was never acknowledged"),
        }
    }
}

/// What the writes of one version make of the rows.
fn apply(rows: &mut Rows, version: u64, writes: &[Write]) {
    for write in writes {
        match write {
            Write::Insert(keys) => {
                let state = RowState { content: version, vector: version };
                rows.extend(keys.iter().map(|key| (key.clone(), state)));
            }
            Write::Content(key) => {
                rows.entry(key.clone()).and_modify(|state| state.content = version);
            }
            Write::Vector(key) => {
                rows.entry(key.clone()).and_modify(|state| state.vector = version);
            }
            Write::Delete(key) => drop(rows.remove(key)),
            Write::DeleteAll(_) | Write::Truncate => rows.clear(),
        }
    }
}

impl Write {
    /// How many rows the server must say it touched; it does not count for TRUNCATE.
    pub(super) fn rows(&self) -> u64 {
        match self {
            Write::Insert(keys) => keys.len() as u64,
            Write::Content(_) | Write::Vector(_) | Write::Delete(_) => 1,
            Write::DeleteAll(rows) => *rows,
            Write::Truncate => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        name.into()
    }

    fn intact(content: u64, vector: u64) -> Found {
        Found::Intact(RowState { content, vector })
    }

    fn found(rows: &[(&str, Found)]) -> BTreeMap<Key, Found> {
        rows.iter().map(|(name, found)| (key(name), *found)).collect()
    }

    /// a written in 1, its text in 3; b in 2; c in 1 and away in 4; version 5 was refused.
    fn lot() -> Lot {
        let mut lot = Lot::new(Some(key("B")));
        let refused = Outcome::Refused(*b"P0001");
        lot.note(1, &[Write::Insert(vec![key("a"), key("c")])], Outcome::Acknowledged);
        lot.note(2, &[Write::Insert(vec![key("b")])], Outcome::Acknowledged);
        lot.note(3, &[Write::Content(key("a"))], Outcome::Acknowledged);
        lot.note(4, &[Write::Delete(key("c"))], Outcome::Acknowledged);
        lot.note(5, &[Write::Vector(key("b")), Write::Insert(vec![key("d")])], refused);
        lot
    }

    #[test]
    fn the_last_acknowledged_state_and_nothing_else_is_right() {
        let right = [("a", intact(3, 1)), ("b", intact(2, 2))];
        assert!(lot().violations(&found(&right)).is_empty());
        let wrong = |rows: &[(&str, Found)], what: &str| {
            let violations = lot().violations(&found(rows));
            assert!(violations.len() == 1 && violations[0].contains(what), "{violations:?}");
        };
        wrong(&right[1..], "row a of version 3 is missing");
        wrong(&[("a", intact(1, 1)), right[1]], "content of version 1; last acknowledged was 3");
        wrong(&[right[0], ("b", intact(2, 5))], "vector of version 5, which was refused (P0001)");
        wrong(&[right[0], ("b", Found::Damaged("source"))], "a source that was never written");
        wrong(&[right[0], right[1], ("c", intact(1, 1))], "deleted after version 1");
        wrong(&[right[0], right[1], ("d", intact(5, 5))], "version 5 was refused (P0001)");
        wrong(&[right[0], right[1], ("e", intact(9, 9))], "never acknowledged");
    }

    #[test]
    fn a_transaction_of_unknown_outcome_is_there_whole_or_not_at_all() {
        let mut lot = lot();
        let writes = [Write::DeleteAll(2), Write::Insert(vec![key("x"), key("y")])];
        lot.note(6, &writes, Outcome::Unknown);
        let before = [("a", intact(3, 1)), ("b", intact(2, 2))];
        let after = [("x", intact(6, 6)), ("y", intact(6, 6))];
        assert!(lot.violations(&found(&before)).is_empty());
        assert!(lot.violations(&found(&after)).is_empty());
        for half in [&after[..1], &before[..1], &[before[0], after[1]], &[]] {
            let violations = lot.violations(&found(half));
            assert!(violations.len() == 1 && violations[0].contains("unknown"), "{violations:?}");
        }
    }
}
