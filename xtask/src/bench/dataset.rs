//! The table to be moved: the application's shape, made-up text of real words, clustered vectors.

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use vecferry_testkit::corpus::{bot_id, guides};
use vecferry_testkit::vectors::{SplitMix, Vectors, binary};
use vecferry_testkit::{Session, corpus::Chunk};

/// Tenants the rows are spread over.
const BOTS: u64 = 20;

/// Length of each text in bytes, about.
const TEXT: usize = 1000;

/// Rows come from this seed, so that two runs measure the same data.
const SEED: u64 = 20_240_529;

/// Sent to the server at once.
const PIECE: usize = 1 << 20;

/// What was made.
pub(super) struct Dataset {
    /// Pages of the table's heap, for cutting it in halves by ctid.
    pub(super) pages: i64,
    /// Size on disk with TOAST, without indexes.
    pub(super) bytes: i64,
}

/// Creates and fills `items` by binary COPY.
pub(super) async fn fill(url: &str, rows: u64, dims: usize) -> Result<Dataset> {
    let session = Session::open(url).await?;
    let schema = format!(
        "CREATE EXTENSION vector;
         CREATE TABLE items (id char(26) NOT NULL, botid char(26) NOT NULL, content text NOT NULL,
                             source text NOT NULL, embedding vector({dims}) NOT NULL)"
    );
    session.batch_execute(&schema).await.context("create the table")?;
    let sink = session.copy_in::<_, Bytes>("COPY items FROM STDIN (FORMAT binary)").await?;
    let mut sink = std::pin::pin!(sink);
    let (vectors, words) = (Vectors::new(SEED, dims, 200), words()?);
    let mut buffer = BytesMut::from(&b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"[..]);
    for number in 0..rows {
        append_row(&mut buffer, number, &words, &vectors.get(number));
        if buffer.len() >= PIECE {
            sink.send(buffer.split().freeze()).await.context("fill the table")?;
        }
    }
    buffer.extend_from_slice(&(-1_i16).to_be_bytes());
    sink.send(buffer.freeze()).await.context("fill the table")?;
    sink.finish().await.context("fill the table")?;
    let after = "ALTER TABLE items ADD PRIMARY KEY (id);
                 CREATE INDEX idx_items_botid ON items (botid)";
    session.batch_execute(after).await.context("index the table")?;
    for statement in ["VACUUM (ANALYZE) items", "CHECKPOINT"] {
        session.batch_execute(statement).await.context(statement)?;
    }
    let sql = "SELECT pg_relation_size('items') / current_setting('block_size')::bigint,
                      pg_table_size('items')";
    let row = session.query_one(sql, &[]).await?;
    Ok(Dataset { pages: row.get(0), bytes: row.get(1) })
}

/// The approximate index. The memory is for making it here; no contestant gets it from us.
pub(super) async fn index(url: &str) -> Result<()> {
    let session = Session::open(url).await?;
    let sql = "SET maintenance_work_mem = '2GB'";
    session.batch_execute(sql).await?;
    session.batch_execute(super::contestant::HNSW).await.context("build the HNSW index")
}

fn append_row(buffer: &mut BytesMut, number: u64, words: &[String], vector: &[f32]) {
    let mut random = SplitMix::new(SEED ^ number);
    let mut content = String::with_capacity(TEXT + 20);
    while content.len() < TEXT {
        content.push_str(&words[random.below(words.len() as u64) as usize]);
        content.push(' ');
    }
    let bot = random.below(BOTS);
    let source = format!("s3://documents/{bot}/{}.pdf", number / 100);
    buffer.extend_from_slice(&5_i16.to_be_bytes());
    for field in [
        bot_id(&number.to_string()).as_bytes(),
        bot_id(&format!("bot {bot}")).as_bytes(),
        content.as_bytes(),
        source.as_bytes(),
        &binary(vector),
    ] {
        // A row is a few KB; COPY's length field holds far more.
        buffer.extend_from_slice(&(field.len() as i32).to_be_bytes());
        buffer.extend_from_slice(field);
    }
}

fn words() -> Result<Vec<String>> {
    let of_chunk = |chunk: &Chunk| chunk.text.split_whitespace().map(str::to_owned).collect();
    let words: Vec<Vec<String>> = guides()?.iter().map(of_chunk).collect();
    Ok(words.concat())
}
