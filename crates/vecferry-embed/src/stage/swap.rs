//! The one transaction that replaces a bot's rows, and the record of how an attempt ended.

use serde::{Deserialize, Serialize};
use tokio_postgres::types::Json;
use vecferry_core::error::{Error, Result};

use super::Stage;
use super::prepare::passes;
use crate::document::Lost;

/// A document that gave no rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostDocument {
    /// What the source column holds for it, or the address nothing was found behind.
    pub source: String,
    /// Why.
    #[serde(flatten)]
    pub lost: Lost,
}

/// An attempt, for `vecferry.bot_result`.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// Token of the attempt: an attempt whose token is recorded as swapped is done.
    pub token: &'a str,
    /// Task that makes it.
    pub exec_id: &'a str,
    /// The embedding model's id.
    pub model: &'a str,
    /// Documents that succeeded.
    pub documents: u32,
    /// Chunks that took their vector from the source.
    pub reused: u64,
    /// Tokens the model's service counted.
    pub tokens: u64,
    /// Documents that did not.
    pub lost: &'a [LostDocument],
}

/// Which of the bot's old rows stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// None.
    Nothing,
    /// Those of lost documents, by source.
    Lost,
    /// All but those of documents that succeeded: where an address was lost that stands for many documents, nobody
    /// can say which rows are theirs.
    AllButStaged,
}

/// A swap that happened, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swapped {
    /// Rows made.
    pub rows: u64,
    /// Documents they are made of.
    pub documents: u32,
    /// Chunks that took their vector from the source.
    pub reused: u64,
    /// Tokens the model's service counted.
    pub tokens: u64,
    /// Documents that gave no rows.
    pub lost: Vec<LostDocument>,
}

/// What a swap must find staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    documents: i64,
    chunks: i64,
}

impl Stage {
    /// Whether this attempt's swap has happened: then there is nothing left to do.
    ///
    /// # Errors
    /// [`Error::Postgres`].
    pub async fn swapped(&self, token: &str) -> Result<Option<Swapped>> {
        let sql = "SELECT rows, documents, reused, tokens, lost FROM vecferry.bot_result \
                   WHERE migration = $1 AND bot = $2 AND token = $3 AND swapped";
        let (migration, bot) = (&self.place.migration, &self.place.bot);
        let doing = "read the bot's result";
        let row = self.session.query_opt(doing, sql, &[migration, bot, &token]).await?;
        let big = |row: &tokio_postgres::Row, at| row.get::<_, i64>(at).unsigned_abs();
        Ok(row.map(|row| Swapped {
            rows: big(&row, 0),
            documents: row.get::<_, i32>(1).unsigned_abs(),
            reused: big(&row, 2),
            tokens: big(&row, 3),
            lost: row.get::<_, Json<Vec<LostDocument>>>(4).0,
        }))
    }

    /// Replaces the bot's rows by the staged ones, `chunks` of them from `record.documents` documents, and records it.
    /// Returns how many rows there are now.
    ///
    /// When the answer to the commit is lost, the record tells whether it happened: the lock that is taken again first
    /// is free only after the old session has ended one way or the other.
    ///
    /// # Errors
    /// [`Error::Refused`] when another run took the bot over, [`Error::Postgres`] when repeating does not help; nothing
    /// was swapped then.
    pub async fn swap(&mut self, keep: Keep, chunks: u64, record: &Record<'_>) -> Result<u64> {
        let expected = Expected {
            documents: i64::from(record.documents),
            chunks: i64::try_from(chunks).unwrap_or(i64::MAX),
        };
        let tries = self.tries();
        let mut last = None;
        for _ in 0..tries {
            if last.is_some() {
                self.recover().await?;
                match self.swapped(record.token).await {
                    Ok(Some(swapped)) => return Ok(swapped.rows),
                    Ok(None) => {}
                    Err(error) if passes(&error) => continue,
                    Err(error) => return Err(error),
                }
            }
            match self.try_swap(keep, expected, record).await {
                Ok(rows) => {
                    self.known = 0;
                    return Ok(rows);
                }
                Err(error) if passes(&error) => {
                    tracing::warn!(bot = self.place.bot, %error, "the swap is tried again");
                    last = Some(error);
                }
                Err(error) => {
                    // Ends the transaction, so that the failure can be recorded over the same session.
                    self.recover().await?;
                    return Err(error);
                }
            }
        }
        self.recover().await?;
        Err(last.unwrap_or_else(|| Error::Bug { what: "a swap was given no try".into() }))
    }

    /// No savepoint in here: a subtransaction's rows would carry another xmin, and one xmin is the proof of a swap.
    async fn try_swap(&self, keep: Keep, expected: Expected, record: &Record<'_>) -> Result<u64> {
        let doing = format!("swap the rows of bot {}", self.place.bot);
        let limit = self.place.patience.rows.as_millis();
        let begin = format!("BEGIN; SET LOCAL lock_timeout = '{limit}ms'");
        self.session.batch(&doing, &begin).await?;
        self.check_staged(&doing, expected).await?;
        self.delete_old(&doing, keep, record).await?;
        let (migration, bot) = (&self.place.migration, &self.place.bot);
        let rows = self
            .session
            .execute(&doing, &self.statements.insert, &[bot, migration, &self.run])
            .await?;
        if i64::try_from(rows) != Ok(expected.chunks) {
            return Err(Error::Bug {
                what: format!("{rows} rows were made of {} staged chunks", expected.chunks),
            });
        }
        self.write_result(&doing, Some(rows), record).await?;
        let drop = "DELETE FROM vecferry.staged_document WHERE migration = $1 AND bot = $2";
        self.session.execute(&doing, drop, &[migration, bot]).await?;
        self.session.batch(&doing, "COMMIT").await?;
        Ok(rows)
    }

    async fn check_staged(&self, doing: &str, expected: Expected) -> Result<()> {
        let sql = "SELECT count(*), COALESCE(sum(chunks), 0)::bigint FROM vecferry.staged_document \
                   WHERE migration = $1 AND bot = $2 AND run = $3 AND complete";
        let (migration, bot) = (&self.place.migration, &self.place.bot);
        let row = self.session.query_one(doing, sql, &[migration, bot, &self.run]).await?;
        let found = Expected { documents: row.get(0), chunks: row.get(1) };
        match found == expected {
            true => Ok(()),
            false if found.documents < expected.documents => Err(super::replaced(bot)),
            false => {
                Err(Error::Bug { what: format!("staged are {found:?}, made were {expected:?}") })
            }
        }
    }

    async fn delete_old(&self, doing: &str, keep: Keep, record: &Record<'_>) -> Result<()> {
        let statements = &self.statements;
        let (migration, bot) = (&self.place.migration, &self.place.bot);
        let own = format!("DELETE FROM {} WHERE {}", statements.table, statements.own);
        let source = &statements.source;
        match keep {
            Keep::Nothing => self.session.execute(doing, &own, &[bot]).await?,
            Keep::Lost => {
                let lost: Vec<&str> = record.lost.iter().map(|lost| lost.source.as_str()).collect();
                let sql = format!("{own} AND ({source} = ANY($2::text[])) IS NOT TRUE");
                self.session.execute(doing, &sql, &[bot, &lost]).await?
            }
            Keep::AllButStaged => {
                let sql = format!(
                    "{own} AND {source} IN (SELECT d.source FROM vecferry.staged_document d \
                     WHERE d.bot = $1 AND d.migration = $2 AND d.run = $3 AND d.complete)"
                );
                self.session.execute(doing, &sql, &[bot, migration, &self.run]).await?
            }
        };
        Ok(())
    }

    /// Records an attempt that swapped nothing. A swap of the same migration stays recorded, and so do its rows. Ends
    /// whatever transaction was open: the attempt may have been cut off in the middle of a batch.
    ///
    /// # Errors
    /// [`Error::Postgres`] when repeating does not help.
    pub async fn record_failure(&mut self, record: &Record<'_>) -> Result<()> {
        self.recover().await?;
        for left in (0..self.tries()).rev() {
            match self.write_result("record the bot's failure", None, record).await {
                Err(error) if left > 0 && passes(&error) => self.recover().await?,
                done => return done,
            }
        }
        Ok(())
    }

    async fn write_result(
        &self,
        doing: &str,
        swapped: Option<u64>,
        record: &Record<'_>,
    ) -> Result<()> {
        let sql = "INSERT INTO vecferry.bot_result AS r \
            (migration, bot, token, exec_id, model, dimensions, swapped, rows, documents, reused, tokens, lost) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
            ON CONFLICT (migration, bot) DO UPDATE SET token = EXCLUDED.token, exec_id = EXCLUDED.exec_id, \
              model = EXCLUDED.model, dimensions = EXCLUDED.dimensions, swapped = EXCLUDED.swapped, \
              rows = EXCLUDED.rows, documents = EXCLUDED.documents, reused = EXCLUDED.reused, \
              tokens = EXCLUDED.tokens, lost = EXCLUDED.lost, finished_at = clock_timestamp() \
            WHERE EXCLUDED.swapped OR NOT r.swapped";
        let dimensions = i32::try_from(self.making.dimensions).unwrap_or(i32::MAX);
        let big = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let documents = i32::try_from(record.documents).unwrap_or(i32::MAX);
        let rows = big(swapped.unwrap_or_default());
        let (reused, tokens) = (big(record.reused), big(record.tokens));
        self.session
            .execute(
                doing,
                sql,
                &[
                    &self.place.migration,
                    &self.place.bot,
                    &record.token,
                    &record.exec_id,
                    &record.model,
                    &dimensions,
                    &swapped.is_some(),
                    &rows,
                    &documents,
                    &reused,
                    &tokens,
                    &Json(record.lost),
                ],
            )
            .await?;
        Ok(())
    }

    /// Drops everything staged for the bot: it is gone.
    ///
    /// # Errors
    /// [`Error::Postgres`] when repeating does not help.
    pub async fn abandon(&mut self) -> Result<()> {
        self.clear("drop staged documents", false).await
    }

    /// Takes a swap back: the bot was deleted while it happened, and the application, which deletes the rows of a
    /// deleted bot, may have looked before they were there.
    ///
    /// # Errors
    /// [`Error::Postgres`] when repeating does not help.
    pub async fn withdraw(&mut self) -> Result<()> {
        self.clear("delete the rows of a deleted bot", true).await
    }

    async fn clear(&mut self, doing: &str, rows_too: bool) -> Result<()> {
        for left in (0..self.tries()).rev() {
            match self.try_clear(doing, rows_too).await {
                Err(error) if left > 0 && passes(&error) => self.recover().await?,
                done => return done,
            }
        }
        Ok(())
    }

    async fn try_clear(&self, doing: &str, rows_too: bool) -> Result<()> {
        let (migration, bot) = (&self.place.migration, &self.place.bot);
        self.session.batch(doing, "BEGIN").await?;
        let mut ours = vec!["staged_document"];
        if rows_too {
            let statements = &self.statements;
            let own = format!("DELETE FROM {} WHERE {}", statements.table, statements.own);
            self.session.execute(doing, &own, &[bot]).await?;
            ours.push("bot_result");
        }
        for table in ours {
            let sql = format!("DELETE FROM vecferry.{table} WHERE migration = $1 AND bot = $2");
            self.session.execute(doing, &sql, &[migration, bot]).await?;
        }
        self.session.batch(doing, "COMMIT").await
    }
}
