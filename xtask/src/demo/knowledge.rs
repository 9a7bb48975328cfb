//! The application's side of the demo: its table, its rows, its query.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use vecferry_testkit::Session;
use vecferry_testkit::corpus::{Chunk, bot_id, guides, project};

/// As the application sets it up: the approximate index is made while the table is empty.
const SCHEMA: &str = "
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE items (
    id char(26) PRIMARY KEY,
    botid char(26) NOT NULL,
    content text NOT NULL,
    source text NOT NULL,
    embedding vector(384) NOT NULL
);
CREATE INDEX idx_items_botid ON items (botid);
CREATE INDEX idx_items_embedding ON items USING ivfflat (embedding vector_l2_ops)
    WITH (lists = 100);
";

/// The application's own query; the vector comes as text because the driver knows no such type.
const QUERY: &str = "
SELECT source, content FROM items WHERE botid = $1
 ORDER BY embedding <-> $2::text::vector LIMIT 3";

/// One row of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) source: String,
    pub(super) content: String,
}

/// Chunks of each of the project's documents: embedding is what takes the demo's time.
const OF_EACH_DOCUMENT: usize = 4;

/// The corpus: five guides, and the beginnings of what documents the project has.
pub(super) fn chunks(root: &Path) -> Result<Vec<Chunk>> {
    let mut chunks = guides()?;
    chunks.extend(project(root)?.into_iter().filter(|chunk| chunk.ordinal < OF_EACH_DOCUMENT));
    Ok(chunks)
}

/// Creates the table on the source and fills it.
pub(super) async fn fill(url: &str, chunks: &[Chunk], vectors: &[String]) -> Result<()> {
    ensure!(chunks.len() == vectors.len(), "each chunk needs a vector");
    let session = Session::open(url).await?;
    session.batch_execute(SCHEMA).await.context("create the table")?;
    let insert = "INSERT INTO items VALUES ($1, $2, $3, $4, $5::text::vector)";
    let insert = session.prepare(insert).await?;
    for (chunk, vector) in chunks.iter().zip(vectors) {
        let id = bot_id(&format!("{}#{}", chunk.source, chunk.ordinal));
        session
            .execute(&insert, &[&id, &chunk.bot, &chunk.text, &chunk.source, vector])
            .await
            .context("insert a chunk")?;
    }
    session.batch_execute("ANALYZE items").await.context("analyze the table")?;
    let sql = "SELECT count(*), count(DISTINCT botid) FROM items";
    let row = session.query_one(sql, &[]).await?;
    println!("{} rows of {} bots in items", row.get::<_, i64>(0), row.get::<_, i64>(1));
    Ok(())
}

/// Asks as the application asks.
pub(super) async fn ask(url: &str, bot: &str, vector: &str) -> Result<Vec<Answer>> {
    let session = Session::open(url).await?;
    let rows = session.query(QUERY, &[&bot_id(bot), &vector]).await.context("ask")?;
    let answer = |row: &tokio_postgres::Row| Answer { source: row.get(0), content: row.get(1) };
    Ok(rows.iter().map(answer).collect())
}
