//! Before anything is paid for: the table's shape, our own tables, a rehearsal of the swap, and what an earlier run
//! left.

use std::collections::HashMap;

use vecferry_core::error::{Error, Result, Side};
use vecferry_core::pg::Session;

use super::shape::{self, Column, Need, Shape};
use super::{Kept, Making, Place, Stage};

/// `CREATE … IF NOT EXISTS` of two sessions at once fails in one of them, so ours go one after the other. Another
/// program's does not know this lock; hence [`CREATE_TRIES`].
const SCHEMA_LOCK: &str =
    "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('vecferry schema', 0))";

/// A race over `CREATE … IF NOT EXISTS` is lost once: then the object is there.
const CREATE_TRIES: u32 = 3;

/// Columns of one table, in their order.
const COLUMNS: &str = "
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), t.typname,
       CASE WHEN t.typname IN ('bpchar', 'varchar') AND a.atttypmod > 4 THEN a.atttypmod - 4 END,
       CASE WHEN t.typname IN ('vector', 'halfvec') AND a.atttypmod > 0 THEN a.atttypmod END,
       a.attnotnull OR t.typnotnull,
       a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
       a.attgenerated <> ''
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum";

/// Reads the application's table and decides how rows are made for it.
///
/// # Errors
/// [`Error::Refused`] naming what does not fit.
pub(super) async fn read_shape(session: &Session, place: &Place, making: &Making) -> Result<Shape> {
    let doing = "read the knowledge table";
    let table = &place.knowledge.table;
    let refused = |what: String| Error::Refused {
        side: Side::Target,
        what: format!("{}: {what}", table.plain()),
        hint: Some("correct the names in [knowledge], the model, or the table".into()),
    };
    let sql = "SELECT c.oid, c.relkind::text FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
    let found = session.query_opt(doing, sql, &[&table.schema, &table.name]).await?;
    let Some(found) = found else { return Err(refused("there is no such table".into())) };
    if !matches!(found.get::<_, &str>(1), "r" | "p") {
        return Err(refused("it is not a table".into()));
    }
    let rows = session.query(doing, COLUMNS, &[&found.get::<_, u32>(0)]).await?;
    let columns: Vec<Column> = rows
        .iter()
        .map(|row| Column {
            name: row.get(0),
            type_name: row.get(1),
            base: row.get(2),
            chars: row.get(3),
            dimensions: row.get(4),
            not_null: row.get(5),
            filled: row.get(6),
            generated: row.get(7),
        })
        .collect();
    let need = Need { dimensions: making.dimensions, chunk_chars: making.chunk_chars };
    let shape = shape::decide(&place.knowledge, &columns, need)
        .map_err(|misfit| refused(misfit.to_string()))?;
    if let Some(bot_type) = &shape.bot_type {
        // An id that the column's type cuts short would name another bot's rows.
        let sql = format!("SELECT lower((($1::text)::{bot_type})::text) = lower($1)");
        let whole = session.query_one("read the bot's id", &sql, &[&place.bot]).await?;
        if !whole.get::<_, bool>(0) {
            return Err(refused(format!("its bot column, {bot_type}, cuts {} short", place.bot)));
        }
    }
    Ok(shape)
}

impl Stage {
    /// Creates what is missing. A role that may not create schemas needs none when everything is there.
    pub(super) async fn create_tables(&self) -> Result<()> {
        let doing = "prepare schema vecferry on the target";
        let chunk_table = self.shape.chunk_table();
        let sql = "SELECT to_regclass('vecferry.bot_result') IS NOT NULL \
                      AND to_regclass('vecferry.staged_document') IS NOT NULL AND to_regclass($1) IS NOT NULL";
        let name = chunk_table.to_string();
        if self.session.query_one(doing, sql, &[&name]).await?.get(0) {
            return Ok(());
        }
        let create = format!(
            "BEGIN; {SCHEMA_LOCK}; {}; {}; COMMIT",
            include_str!("schema.sql").trim_end().trim_end_matches(';'),
            self.shape.create_chunk_table()
        );
        for left in (0..CREATE_TRIES).rev() {
            let Err(error) = self.session.batch(doing, &create).await else { break };
            // Unique violation in a catalog, duplicate schema, duplicate table: somebody else made it just now.
            let raced = matches!(error.sqlstate(), Some("23505" | "42P06" | "42P07"));
            self.session.batch(doing, "ROLLBACK").await?;
            if !raced || left == 0 {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Runs the swap's statements over no rows and undoes them: privileges, row-level security, types and the
    /// database's writability are known before anything is paid for.
    pub(super) async fn rehearse(&self) -> Result<()> {
        let doing = format!("write {}", self.place.knowledge.table.plain());
        let statements = &self.statements;
        let (bot, migration) = (&self.place.bot, &self.place.migration);
        self.session.batch(&doing, "BEGIN").await?;
        let delete = format!("DELETE FROM {} WHERE {} AND false", statements.table, statements.own);
        self.session.execute(&doing, &delete, &[bot]).await?;
        let insert = format!("{} LIMIT 0", statements.insert);
        self.session.execute(&doing, &insert, &[bot, migration, &self.run]).await?;
        self.session.batch(&doing, "ROLLBACK").await
    }

    /// Drops what cannot be used and puts this run's name on the rest, which is returned.
    pub(super) async fn take_over(&mut self) -> Result<HashMap<String, Kept>> {
        let doing = "take over staged documents";
        let (migration, bot) = (&self.place.migration, &self.place.bot);
        let drop = "DELETE FROM vecferry.staged_document \
                    WHERE migration = $1 AND bot = $2 AND NOT (complete AND fingerprint = $3)";
        let take = "UPDATE vecferry.staged_document SET run = $3 WHERE migration = $1 AND bot = $2 \
                    RETURNING source, version, chunks";
        self.session.execute(doing, drop, &[migration, bot, &self.making.fingerprint]).await?;
        let rows = self.session.query(doing, take, &[migration, bot, &self.run]).await?;
        self.known = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let kept = |row: &tokio_postgres::Row| {
            let chunks = u32::try_from(row.get::<_, i32>(2)).unwrap_or_default();
            (row.get(0), Kept { version: row.get(1), chunks })
        };
        Ok(rows.iter().map(kept).collect())
    }

    /// Drops documents that [`Stage::open`] gave and that the bot no longer has, or that are made anew.
    ///
    /// # Errors
    /// [`Error::Postgres`]; tried again by itself while that may help.
    pub async fn discard(&mut self, sources: &[String]) -> Result<()> {
        let sql = "DELETE FROM vecferry.staged_document \
                   WHERE migration = $1 AND bot = $2 AND run = $3 AND source = ANY($4)";
        // Before the answer: it may be lost, and the rows with it.
        self.known -= i64::try_from(sources.len()).unwrap_or_default();
        for left in (0..self.tries()).rev() {
            let (migration, bot) = (&self.place.migration, &self.place.bot);
            let doing = "drop staged documents";
            match self.session.execute(doing, sql, &[migration, bot, &self.run, &sources]).await {
                Ok(_) => return Ok(()),
                Err(error) if left > 0 && passes(&error) => self.come_back().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the same statements may succeed when tried again: the connection was lost, a deadlock, a lock not had in
/// time.
pub(super) fn passes(error: &Error) -> bool {
    error.class() == vecferry_core::Class::Transient || error.sqlstate() == Some("55P03")
}
