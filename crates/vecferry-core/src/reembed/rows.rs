//! What a cluster holds of each bot: how many rows, how much text, in which scripts.

use std::collections::HashMap;

use crate::error::{Error, Result, Side};
use crate::knowledge::Knowledge;
use crate::pg::{Dsn, Session, quote_ident};
use crate::reembed::script::Scripts;

/// A bot's rows on one cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Rows.
    pub rows: u64,
    /// Characters of their texts, overlaps counted as often as they occur.
    pub chars: u64,
}

/// Rows and characters of every bot, by id; no text leaves the server. All rows belong to the bot `""` where the table has no bot column; a table
/// that is not there holds nothing.
///
/// # Errors
/// [`crate::Error::Postgres`] when the cluster cannot be read.
pub async fn held(dsn: &Dsn, side: Side, knowledge: &Knowledge) -> Result<HashMap<String, Held>> {
    let session = Session::open(dsn, side, "count the rows of bots").await?;
    let table = knowledge.table.to_string();
    let there = "SELECT to_regclass($1) IS NOT NULL";
    if !session.query_one("look for the knowledge table", there, &[&table]).await?.get::<_, bool>(0)
    {
        return Ok(HashMap::new());
    }
    let bot = match &knowledge.bot {
        Some(column) => format!("COALESCE({}::text, '')", quote_ident(column)),
        None => "''::text".to_owned(),
    };
    let content = quote_ident(&knowledge.content);
    let sql = format!(
        "SELECT {bot}, count(*), COALESCE(sum(char_length({content}::text)), 0)::bigint FROM {table} GROUP BY 1"
    );
    let rows = session.query("count the rows of bots", &sql, &[]).await?;
    let held = rows.into_iter().map(|row| {
        let (rows, chars): (i64, i64) = (row.get(1), row.get(2));
        // A char(n) column pads what is shorter.
        let bot: String = row.get(0);
        (
            bot.trim_end().to_owned(),
            Held { rows: rows.cast_unsigned(), chars: chars.cast_unsigned() },
        )
    });
    Ok(held.collect())
}

/// Length of the vectors that the embedding column takes; `None` when its type names none, or there is no such column.
///
/// # Errors
/// [`crate::Error::Postgres`] when the cluster cannot be read.
pub async fn column_dimensions(
    dsn: &Dsn,
    side: Side,
    knowledge: &Knowledge,
) -> Result<Option<usize>> {
    let session = Session::open(dsn, side, "look at the knowledge table").await?;
    // pgvector keeps the length in the type's modifier; -1 is none.
    let sql = "SELECT atttypmod FROM pg_attribute \
               WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped";
    let table = knowledge.table.to_string();
    let row = session
        .query_opt("look at the knowledge table", sql, &[&table, &knowledge.embedding])
        .await?;
    Ok(row.and_then(|row| usize::try_from(row.get::<_, i32>(0)).ok()).filter(|length| *length > 0))
}

/// Type of the bot column, so that a parameter cast to it is served by the column's index; without a length, which would
/// cut a longer id.
///
/// # Errors
/// [`Error::Refused`] when the table has no such column, [`Error::Postgres`] when it cannot be looked at.
pub(crate) async fn bot_type(
    session: &Session,
    knowledge: &Knowledge,
    bot: &str,
) -> Result<String> {
    let sql = "SELECT n.nspname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
               JOIN pg_namespace n ON n.oid = t.typnamespace \
               WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped";
    let table = knowledge.table.to_string();
    let row = session.query_opt("look at the knowledge table", sql, &[&table, &bot]).await?;
    let Some(row) = row else {
        return Err(Error::Refused {
            side: session.side(),
            what: format!("table {} has no column {bot:?}", knowledge.table.plain()),
            hint: Some("`vecferry check` says what the knowledge table lacks".into()),
        });
    };
    let (schema, name): (String, String) = (row.get(0), row.get(1));
    Ok(format!("{}.{}", quote_ident(&schema), quote_ident(&name)))
}

/// Pages of the table that are sampled at most: some thousand chunks, read in a moment.
const SAMPLED_PAGES: f64 = 1_000.0;

/// Rows of the sample that are read at most, and characters of each. They bound what is held here to a few MB.
const SAMPLED_ROWS: i64 = 5_000;
const SAMPLED_CHARS: i32 = 300;

/// Scripts of a sample of each bot's texts, and under `None` those of the whole sample, for bots that it missed. A
/// bounded number of the table's pages is read, whatever its size; texts are counted and dropped. A table that is not
/// there gives nothing.
///
/// # Errors
/// [`crate::Error::Postgres`] when the cluster cannot be read, or the table is a view, which has no pages.
pub async fn scripts(
    dsn: &Dsn,
    side: Side,
    knowledge: &Knowledge,
) -> Result<HashMap<Option<String>, Scripts>> {
    let session = Session::open(dsn, side, "sample texts").await?;
    let doing = "sample the texts of bots";
    let table = knowledge.table.to_string();
    // Partitions hold their parent's pages.
    let pages = "SELECT COALESCE((SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree(c.oid)), \
                 pg_relation_size(c.oid))::float8 / current_setting('block_size')::float8 \
                 FROM pg_class c WHERE c.oid = to_regclass($1)";
    let Some(row) = session.query_opt(doing, pages, &[&table]).await? else {
        return Ok(HashMap::new());
    };
    let pages: f64 = row.get(0);
    let percent = (100.0 * SAMPLED_PAGES / pages.max(1.0)).min(100.0);
    let bot = match &knowledge.bot {
        Some(column) => format!("COALESCE({}::text, '')", quote_ident(column)),
        None => "''::text".to_owned(),
    };
    let content = quote_ident(&knowledge.content);
    let sql = format!(
        "SELECT {bot}, COALESCE(left({content}::text, {SAMPLED_CHARS}), '') \
         FROM {table} TABLESAMPLE SYSTEM ({percent}) LIMIT {SAMPLED_ROWS}"
    );
    let mut scripts: HashMap<Option<String>, Scripts> = HashMap::new();
    for row in session.query(doing, &sql, &[]).await? {
        let (bot, text): (String, String) = (row.get(0), row.get(1));
        let counted = Scripts::of(&text);
        // A char(n) column pads what is shorter.
        for whose in [Some(bot.trim_end().to_owned()), None] {
            scripts.entry(whose).or_default().add(&counted);
        }
    }
    Ok(scripts)
}
