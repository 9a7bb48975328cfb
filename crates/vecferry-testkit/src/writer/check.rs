//! The ledger against a database: every bot's rows in one query, read as a stream, compared whole.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::book::{Found, Key, RowState};
use super::ledger::Ledger;
use crate::database::Session;
use crate::error::{Error, Result};

/// What was found in each lot.
type Lots = BTreeMap<usize, BTreeMap<Key, Found>>;

/// A vector as it came.
struct Embedding<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Embedding<'a> {
    fn from_sql(
        _: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Embedding<'a>, Box<dyn StdError + Sync + Send>> {
        Ok(Embedding(raw))
    }

    fn accepts(of: &Type) -> bool {
        of.name() == "vector"
    }
}

impl Ledger {
    /// Compares what is in the database of this URL with what must be: what is wrong, a line each.
    /// The writer must have stopped or be paused, and nothing else may write to its bots.
    ///
    /// Every acknowledged write must be there as last acknowledged, nothing refused, rolled back
    /// or deleted, a transaction of unknown outcome whole or not at all, and no other row among
    /// the writer's bots. A write that did not meet the rows it should have is a violation too,
    /// whichever database it was sent to.
    pub async fn check(&self, url: &str) -> Result<Vec<String>> {
        let session = Session::open(url).await?;
        let mut violations = self.surprises.clone();
        let mut found = Lots::new();
        self.read_items(&session, &mut found, &mut violations).await?;
        if let Some(side) = &self.side_table {
            self.read_side(&session, side, &mut found, &mut violations).await?;
        }
        let nothing = BTreeMap::new();
        for (place, lot) in self.lots.iter().enumerate() {
            violations.extend(lot.violations(found.get(&place).unwrap_or(&nothing)));
        }
        Ok(violations)
    }

    async fn read_items(
        &self,
        session: &Session,
        found: &mut Lots,
        violations: &mut Vec<String>,
    ) -> Result<()> {
        let bots: Vec<&str> = self.bots().collect();
        let sql = format!(
            "SELECT id, botid, content, source, embedding FROM {} WHERE botid = ANY($1)",
            self.table
        );
        let lots = self.lot_of();
        let rows = session.query_raw(&sql, [&bots]).await.map_err(failed)?;
        let mut rows = pin!(rows);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let (key, bot): (&str, &str) = read(&row)?;
            let (key, bot): (Key, Key) = (key.into(), bot.into());
            let state = self.found(&key, &row)?;
            let lot = lots.get(&Some(bot.clone())).map(|lot| found.entry(*lot).or_default());
            if lot.is_some_and(|rows| rows.insert(key.clone(), state).is_some()) {
                violations.push(format!("bot {bot}: row {key} is there twice"));
            }
        }
        Ok(())
    }

    async fn read_side(
        &self,
        session: &Session,
        side: &str,
        found: &mut Lots,
        violations: &mut Vec<String>,
    ) -> Result<()> {
        let Some(lot) = self.lot_of().get(&None).copied() else { return Ok(()) };
        let sql = format!("SELECT id, content FROM {side}");
        for row in session.query(&sql, &[]).await.map_err(failed)? {
            let (key, content): (&str, &str) = read(&row)?;
            let key: Key = key.into();
            let version = self.book.version_of_content(&key, content);
            let state = version.map_or(Found::Damaged("content"), |version| {
                Found::Intact(RowState { content: version, vector: version })
            });
            if found.entry(lot).or_default().insert(key.clone(), state).is_some() {
                violations.push(format!("the side table: row {key} is there twice"));
            }
        }
        Ok(())
    }

    fn found(&self, key: &str, row: &Row) -> Result<Found> {
        let content: Option<&str> = row.try_get(2).map_err(failed)?;
        let source: Option<&str> = row.try_get(3).map_err(failed)?;
        let vector: Option<Embedding<'_>> = row.try_get(4).map_err(failed)?;
        let content = content.and_then(|content| self.book.version_of_content(key, content));
        let vector = vector.and_then(|vector| self.book.version_of_vector(key, vector.0));
        Ok(match (content, vector) {
            _ if source != Some(&self.book.source(key)) => Found::Damaged("source"),
            (Some(content), Some(vector)) => Found::Intact(RowState { content, vector }),
            (None, _) => Found::Damaged("content"),
            (_, None) => Found::Damaged("vector"),
        })
    }
}

fn read(row: &Row) -> Result<(&str, &str)> {
    Ok((row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?))
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::Database { action: "read the writer's rows".into(), source }
}
