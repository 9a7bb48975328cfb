//! Reads a bot's rows on the target as [`Evidence`].
//!
//! One session for all bots, on which their queries are pipelined; it is opened again after it was lost. A bot's rows
//! are found by the index on the bot column, which [`super::precheck()`] asks for.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_postgres::types::Json;

use super::rows::bot_type;
use super::verdict::{BotResult, Evidence};
use crate::error::{Class, Error, Result, Side};
use crate::knowledge::Knowledge;
use crate::pg::{Dsn, Session, quote_ident};

/// The target as a witness.
pub(super) struct Target {
    dsn: Dsn,
    knowledge: Knowledge,
    dimensions: usize,
    run: String,
    open: Mutex<Option<Arc<Open>>>,
}

struct Open {
    session: Session,
    /// The query for the rows, whose one parameter is the bot.
    rows: String,
}

impl Target {
    /// A witness that connects when it is first asked.
    pub(super) fn new(dsn: Dsn, knowledge: Knowledge, dimensions: usize, run: &str) -> Target {
        Target { dsn, knowledge, dimensions, run: run.to_owned(), open: Mutex::default() }
    }

    /// What is there of a bot.
    ///
    /// # Errors
    /// [`Error::Postgres`] when the target cannot be read.
    pub(super) async fn evidence(&self, bot: &str) -> Result<Evidence> {
        let open = self.open().await?;
        let evidence = self.read(&open, bot).await;
        if let Err(error) = &evidence
            && error.class() == Class::Transient
        {
            let mut held = self.open.lock().await;
            // Another bot may have opened a new one already.
            if held.as_ref().is_some_and(|other| Arc::ptr_eq(other, &open)) {
                *held = None;
            }
        }
        evidence
    }

    async fn open(&self) -> Result<Arc<Open>> {
        let mut held = self.open.lock().await;
        if let Some(open) = held.as_ref() {
            return Ok(open.clone());
        }
        let session = Session::open(&self.dsn, Side::Target, "prove").await?;
        let rows = rows_sql(&session, &self.knowledge, self.dimensions).await?;
        let open = Arc::new(Open { session, rows });
        *held = Some(open.clone());
        Ok(open)
    }

    async fn read(&self, open: &Open, bot: &str) -> Result<Evidence> {
        let session = &open.session;
        let row = session.query_one("read a bot's rows", &open.rows, &[&bot]).await?;
        let writers = parsed(row.get(0))?;
        Ok(Evidence { writers, result: self.result(session, bot).await? })
    }

    /// The table is made by the first of vecferry's own workers; other workers never make it.
    async fn result(&self, session: &Session, bot: &str) -> Result<Option<BotResult>> {
        let doing = "read the workers' record";
        let there = "SELECT to_regclass('vecferry.bot_result') IS NOT NULL";
        if !session.query_one(doing, there, &[]).await?.get::<_, bool>(0) {
            return Ok(None);
        }
        let sql = "SELECT to_jsonb(r) FROM vecferry.bot_result r WHERE migration = $1 AND bot = $2";
        let row = session.query_opt(doing, sql, &[&self.run, &bot]).await?;
        row.map(|row| parsed(row.get(0))).transpose()
    }
}

fn parsed<T: serde::de::DeserializeOwned>(Json(value): Json<serde_json::Value>) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::Bug {
        what: format!("the target's answer has another shape: {error}"),
    })
}

/// Rows of a bot by the transaction that wrote them.
async fn rows_sql(session: &Session, knowledge: &Knowledge, dimensions: usize) -> Result<String> {
    let table = knowledge.table.to_string();
    let faulty = faulty_sql(session, knowledge, dimensions).await?;
    let of_bot = match &knowledge.bot {
        Some(bot) => {
            format!("{} = $1::text::{}", quote_ident(bot), bot_type(session, knowledge, bot).await?)
        }
        None => "$1::text IS NOT NULL".into(),
    };
    let source = quote_ident(&knowledge.source);
    // A worker that finds no text in a document may write one empty row; that document is missing all the same.
    let content = quote_ident(&knowledge.content);
    Ok(format!(
        "SELECT COALESCE(jsonb_agg(to_jsonb(w) ORDER BY w.transaction), '[]') FROM ( \
           SELECT xmin::text AS transaction, count(*) AS rows, \
             count(*) FILTER (WHERE {faulty}) AS faulty, \
             COALESCE(jsonb_agg(DISTINCT {source}) FILTER (WHERE {source} IS NOT NULL AND {content}::text <> ''), \
             '[]') AS sources \
           FROM {table} WHERE {of_bot} GROUP BY xmin::text) w"
    ))
}

/// When an embedding is none: it is missing, of another length, or zeros only. What the last two are asked by depends on
/// the column's type: `vector` has both functions, `halfvec` calls the norm `l2_norm`, the type of a `sparsevec` alone
/// says how long it is (<https://github.com/pgvector/pgvector#reference>).
///
/// # Errors
/// [`Error::Postgres`] when the catalog cannot be read.
pub(crate) async fn faulty_sql(
    session: &Session,
    knowledge: &Knowledge,
    dimensions: usize,
) -> Result<String> {
    // search_path is empty, so the extension's functions are called by their schema.
    let sql = "SELECT n.nspname, p.proname::text FROM pg_attribute a \
               JOIN pg_proc p ON p.pronargs = 1 AND p.proargtypes[0] = a.atttypid \
                 AND p.proname IN ('vector_dims', 'vector_norm', 'l2_norm') \
               JOIN pg_namespace n ON n.oid = p.pronamespace \
               WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped";
    let doing = "look at the knowledge table";
    let table = knowledge.table.to_string();
    let embedding = quote_ident(&knowledge.embedding);
    let mut faulty = format!("{embedding} IS NULL");
    for row in session.query(doing, sql, &[&table, &knowledge.embedding]).await? {
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        let call = format!("{}.{name}({embedding})", quote_ident(&schema));
        faulty += &match name.as_str() {
            "vector_dims" => format!(" OR {call} <> {dimensions}"),
            _ => format!(" OR {call} = 0"),
        };
    }
    Ok(faulty)
}
