//! Which rows differ: a merge of both sides in the order of their keys, which holds one row of each side at a time.
//! The keys are shown, they are ids; values never are, only the names of the columns they are in.

use std::cmp::Ordering;

use serde::Serialize;

use super::content::{Scope, Standing, filter};
use super::reading::Place;
use super::rows::{Row, Rows};
use crate::copy::digest::BotKey;
use crate::copy::part::column_list;
use crate::error::Result;
use crate::inventory::Table;
use crate::pg::quote_ident;

/// The rows of a table that differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RowDifferences {
    /// Columns of the key.
    pub key: Vec<String>,
    /// Rows on the source only.
    pub missing: u64,
    /// Rows on the target only.
    pub extra: u64,
    /// Rows on both sides with different values.
    pub changed: u64,
    /// How many of `changed` differ in generated columns alone, which the target computes for itself.
    pub derived: u64,
    /// Rows that were written while they were compared, and are therefore not judged: not among those above.
    pub changing: u64,
    /// The first of them in the order of their keys.
    pub first: Vec<KeyDifference>,
    /// Why rows cannot be named, or not all of them.
    pub obstacle: Option<String>,
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyDifference {
    /// Values of the key columns as text.
    pub key: Vec<String>,
    /// The bot it belongs to, in a table with bots.
    pub bot: Option<String>,
    /// How it stands.
    pub standing: Standing,
    /// The columns whose values differ; empty for missing and extra rows.
    pub columns: Vec<String>,
}

/// What to compare row by row, and how much of it to show.
pub(super) struct Search<'a> {
    pub(super) scope: &'a Scope,
    pub(super) source: &'a Table,
    /// Selects the rows of the bots that differ; all rows when `None`.
    pub(super) bots: Option<String>,
    /// Keys to show.
    pub(super) show: usize,
}

/// The snapshots to read in. While changes flow between the clusters there are two pairs, taken one after the other
/// as [`super::moment`] does: a row is judged only if on each side both show the same version of it, or none.
pub(super) struct Places<'a> {
    /// Source and target.
    pub(super) first: (&'a Place, &'a Place),
    /// The same, later.
    pub(super) again: Option<(&'a Place, &'a Place)>,
}

/// Reads the rows in question from both sides and finds those that differ.
///
/// # Errors
/// [`crate::Error::Postgres`] when either side cannot be read.
pub(super) async fn find(places: &Places<'_>, search: &Search<'_>) -> Result<RowDifferences> {
    let mut finder = Finder::new(search);
    if search.source.key.is_empty() {
        let obstacle = "the table has no key that could name its rows";
        finder.found.obstacle = Some(obstacle.into());
        return Ok(finder.found);
    }
    let again = places.again.unzip();
    // Both sides sort before they send: at the same time.
    let (mut theirs, mut ours) = tokio::try_join!(
        SideRows::begin((places.first.0, again.0), search),
        SideRows::begin((places.first.1, again.1), search)
    )?;
    loop {
        let in_order = match finder.meet(theirs.current(), ours.current()) {
            Advance::Source => theirs.step().await?,
            Advance::Target => ours.step().await?,
            Advance::Both => {
                let (one, other) = tokio::try_join!(theirs.step(), ours.step())?;
                one && other
            }
            Advance::End => return Ok(finder.found),
        };
        if !in_order {
            let obstacle = "the two databases' encodings order the keys differently";
            finder.found.obstacle = Some(obstacle.into());
            return Ok(finder.found);
        }
    }
}

/// One side's rows in the order of their keys, out of one snapshot or two.
struct SideRows {
    first: Stream,
    again: Option<Stream>,
}

/// A side's row, and whether it is the same version in all its snapshots.
type Met<'a> = (&'a Row, bool);

impl SideRows {
    async fn begin(places: (&Place, Option<&Place>), search: &Search<'_>) -> Result<SideRows> {
        let versions = places.1.is_some();
        let again = async {
            match places.1 {
                Some(place) => Stream::begin(place, search, versions).await.map(Some),
                None => Ok(None),
            }
        };
        let (first, again) = tokio::try_join!(Stream::begin(places.0, search, versions), again)?;
        Ok(SideRows { first, again })
    }

    /// How the rows of the two snapshots at hand stand to each other; `None` when there is one snapshot only.
    fn order(&self) -> Option<Ordering> {
        let again = self.again.as_ref()?;
        Some(match (&self.first.at, &again.at) {
            (None, None) => Ordering::Equal,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(first), Some(again)) => first.compare_key(again),
        })
    }

    fn current(&self) -> Option<Met<'_>> {
        let again = self.again.as_ref().and_then(|again| again.at.as_ref());
        match self.order() {
            None => Some((self.first.at.as_ref()?, true)),
            Some(Ordering::Less) => Some((self.first.at.as_ref()?, false)),
            Some(Ordering::Greater) => Some((again?, false)),
            Some(Ordering::Equal) => {
                Some((self.first.at.as_ref()?, self.first.at.as_ref() == again))
            }
        }
    }

    /// Goes past the current row; false when the next one should have come before it.
    async fn step(&mut self) -> Result<bool> {
        let order = self.order();
        let mut in_order = true;
        if order != Some(Ordering::Greater) {
            in_order &= self.first.step().await?;
        }
        if let Some(again) = self.again.as_mut().filter(|_| order != Some(Ordering::Less)) {
            in_order &= again.step().await?;
        }
        Ok(in_order)
    }
}

/// The rows of one snapshot.
struct Stream {
    rows: Rows,
    at: Option<Row>,
}

impl Stream {
    async fn begin(place: &Place, search: &Search<'_>, versions: bool) -> Result<Stream> {
        let doing = format!("compare the rows of {}", search.scope.table.plain());
        let connection = place.connect().await?;
        let (sql, keys) = (select(search, versions), search.source.key.len());
        let mut rows = Rows::begin(connection, doing, &sql, search.scope.format, keys).await?;
        let at = rows.next().await?;
        Ok(Stream { rows, at })
    }

    /// Reads the next row in place of the one at hand; false when it should have come before that one.
    async fn step(&mut self) -> Result<bool> {
        let next = self.rows.next().await?;
        let before = std::mem::replace(&mut self.at, next);
        let pair = before.as_ref().zip(self.at.as_ref());
        Ok(pair.is_none_or(|(before, at)| before.compare_key(at).is_le()))
    }
}

/// Key columns as text, then all columns, then who wrote the row if asked; ordered by the key in an order that no
/// locale changes.
fn select(search: &Search<'_>, versions: bool) -> String {
    let keys: Vec<String> = search
        .source
        .key
        .iter()
        .map(|name| format!("{}::text COLLATE \"C\"", quote_ident(name)))
        .collect();
    let order: Vec<String> = (1..=keys.len()).map(|place| place.to_string()).collect();
    let columns: Vec<&str> = search.scope.columns.iter().map(String::as_str).collect();
    format!(
        "SELECT {}, {}{} FROM ONLY {}{} ORDER BY {}",
        keys.join(", "),
        column_list(&columns),
        if versions { ", ctid, xmin" } else { "" },
        search.scope.table,
        filter(&[search.bots.clone(), search.scope.ours.clone()]),
        order.join(", ")
    )
}

/// Which side's next row to read.
#[derive(Debug, PartialEq, Eq)]
enum Advance {
    Source,
    Target,
    Both,
    End,
}

/// Whose row comes first; `None` at the end of both.
fn order(source: Option<&Row>, target: Option<&Row>) -> Option<Ordering> {
    Some(match (source, target) {
        (None, None) => return None,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(source), Some(target)) => source.compare_key(target),
    })
}

/// What has been found so far. Pure.
struct Finder<'a> {
    search: &'a Search<'a>,
    found: RowDifferences,
}

impl<'a> Finder<'a> {
    fn new(search: &'a Search<'a>) -> Self {
        let key = search.source.key.clone();
        Finder { search, found: RowDifferences { key, ..RowDifferences::default() } }
    }

    /// Judges the rows at hand, unless somebody writes them.
    fn meet(&mut self, source: Option<Met<'_>>, target: Option<Met<'_>>) -> Advance {
        let (one, other) = (source.map(|met| met.0), target.map(|met| met.0));
        let Some(order) = order(one, other) else { return Advance::End };
        let still = |met: Option<Met<'_>>| met.is_none_or(|met| met.1);
        let (advance, still) = match order {
            Ordering::Less => (Advance::Source, still(source)),
            Ordering::Greater => (Advance::Target, still(target)),
            Ordering::Equal => (Advance::Both, still(source) && still(target)),
        };
        if still {
            return self.take(one, other);
        }
        self.found.changing += 1;
        advance
    }

    /// Judges the rows at hand.
    fn take(&mut self, source: Option<&Row>, target: Option<&Row>) -> Advance {
        let Some(order) = order(source, target) else { return Advance::End };
        match (order, source, target) {
            (Ordering::Less, Some(source), _) => {
                self.found.missing += 1;
                self.show(source, Standing::Missing, Vec::new());
                Advance::Source
            }
            (Ordering::Greater, _, Some(target)) => {
                self.found.extra += 1;
                self.show(target, Standing::Extra, Vec::new());
                Advance::Target
            }
            (_, Some(source), Some(target)) => {
                self.judge_pair(source, target);
                Advance::Both
            }
            _ => Advance::End,
        }
    }

    fn judge_pair(&mut self, source: &Row, target: &Row) {
        let keys = self.search.source.key.len();
        // Who wrote a row stands behind its columns, and is each side's own.
        let names = source.differing(target).into_iter();
        let names = names.filter_map(|at| self.search.scope.columns.get(at - keys).cloned());
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            return;
        }
        self.found.changed += 1;
        let generated = |name: &String| {
            self.search.source.column(name).is_some_and(|column| column.generated.is_some())
        };
        self.found.derived += u64::from(names.iter().all(generated));
        self.show(source, Standing::Changed, names);
    }

    fn show(&mut self, row: &Row, standing: Standing, columns: Vec<String>) {
        if self.found.first.len() >= self.search.show {
            return;
        }
        // The bot is the first column after the key.
        let bot =
            self.search.scope.bot.as_ref().map(|_| {
                BotKey(row.value(self.search.source.key.len()).map(<[u8]>::to_vec)).display()
            });
        self.found.first.push(KeyDifference { key: row.key_text(), bot, standing, columns });
    }
}

#[cfg(test)]
mod tests;
