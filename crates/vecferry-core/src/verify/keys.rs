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

/// Reads the rows in question from both sides and finds those that differ.
///
/// # Errors
/// [`crate::Error::Postgres`] when either side cannot be read.
pub(super) async fn find(
    source: &Place,
    target: &Place,
    search: &Search<'_>,
) -> Result<RowDifferences> {
    let mut finder = Finder::new(search);
    if search.source.key.is_empty() {
        let obstacle = "the table has no key that could name its rows";
        finder.found.obstacle = Some(obstacle.into());
        return Ok(finder.found);
    }
    // Both sides sort before they send: at the same time.
    let (mut theirs, mut ours) = tokio::try_join!(begin(source, search), begin(target, search))?;
    let (mut at_source, mut at_target) = tokio::try_join!(theirs.next(), ours.next())?;
    loop {
        let in_order = match finder.take(at_source.as_ref(), at_target.as_ref()) {
            Advance::Source => step(&mut theirs, &mut at_source).await?,
            Advance::Target => step(&mut ours, &mut at_target).await?,
            Advance::Both => {
                let steps = (step(&mut theirs, &mut at_source), step(&mut ours, &mut at_target));
                let (one, other) = tokio::try_join!(steps.0, steps.1)?;
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

/// Reads the next row in place of the one at hand; false when it should have come before that one.
async fn step(rows: &mut Rows, at: &mut Option<Row>) -> Result<bool> {
    let next = rows.next().await?;
    let before = std::mem::replace(at, next);
    Ok(before.as_ref().zip(at.as_ref()).is_none_or(|(before, at)| before.compare_key(at).is_le()))
}

async fn begin(place: &Place, search: &Search<'_>) -> Result<Rows> {
    let doing = format!("compare the rows of {}", search.scope.table.plain());
    let connection = place.connect().await?;
    let keys = search.source.key.len();
    Rows::begin(connection, doing, &select(search), search.scope.format, keys).await
}

/// Key columns as text, then all columns; ordered by the key in an order that no locale changes.
fn select(search: &Search<'_>) -> String {
    let keys: Vec<String> = search
        .source
        .key
        .iter()
        .map(|name| format!("{}::text COLLATE \"C\"", quote_ident(name)))
        .collect();
    let order: Vec<String> = (1..=keys.len()).map(|place| place.to_string()).collect();
    let columns: Vec<&str> = search.scope.columns.iter().map(String::as_str).collect();
    format!(
        "SELECT {}, {} FROM ONLY {}{} ORDER BY {}",
        keys.join(", "),
        column_list(&columns),
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

    /// Judges the rows at hand.
    fn take(&mut self, source: Option<&Row>, target: Option<&Row>) -> Advance {
        let order = match (source, target) {
            (None, None) => return Advance::End,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(source), Some(target)) => source.compare_key(target),
        };
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
        let names = source.differing(target).into_iter().map(|column| {
            let name = self.search.scope.columns.get(column - keys);
            name.cloned().unwrap_or_default()
        });
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
