//! One bot of many documents: vecferry, and the application's own way, on a model of the same latency.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vecferry_embed::embedder::Embedder;
use vecferry_embed::embedding::openai::{Endpoint, OpenAi};
use vecferry_embed::split::Splitter;
use vecferry_testkit::bedrock::{Behaviour, Seen, StandIn};
use vecferry_testkit::{Database, Options, Pair};

use super::ReembedArguments;
use crate::program;

/// Length of the vectors.
const DIMENSIONS: usize = 1024;

/// Texts that the application's worker puts into a call
/// (`calculate_document_embeddings` of Bedrock Chat v1.4.0).
const REFERENCE_BATCH: usize = 10;

const TABLE: &str = "CREATE EXTENSION vector; CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), \
    content text, source text, embedding vector(1024)); CREATE INDEX ON items (botid)";

/// What one way took.
struct Took {
    seconds: f64,
    seen: Seen,
    rows: i64,
}

/// Measures both ways; the figure, and its lines for people.
pub(super) fn measure(arguments: &ReembedArguments, vecferry: &Path) -> Result<(Value, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pair = Pair::start(&Options::new().durable()).context("start the clusters")?;
    let folder = pair.target.folder().join("documents");
    std::fs::create_dir_all(folder.join("docs"))?;
    let texts: Vec<String> = (0..arguments.documents).map(document).collect();
    for (n, text) in texts.iter().enumerate() {
        std::fs::write(folder.join(format!("docs/{n:05}.txt")), text)?;
    }
    eprintln!("vecferry: {} documents", texts.len());
    let ours = runtime.block_on(async {
        let target = fresh(&pair, "ours").await?;
        with_vecferry(arguments, vecferry, &folder, &target).await
    })?;
    eprintln!("reference: {} documents", texts.len());
    let theirs = runtime.block_on(async {
        let target = fresh(&pair, "theirs").await?;
        reference(arguments, &texts, &target).await
    })?;
    ensure!(ours.rows == theirs.rows, "{} rows beside {}", ours.rows, theirs.rows);
    let (faster, fewer) =
        (theirs.seconds / ours.seconds, theirs.seen.calls as f64 / ours.seen.calls.max(1) as f64);
    let lines = format!(
        "| {} documents, {} chunks, {} ms a call | seconds | calls | chunks/s |\n| --- | ---: | ---: | ---: |\n\
         | vecferry | {:.1} | {} | {:.0} |\n| ten texts a call, one after the other | {:.1} | {} | {:.0} |\n\n\
         {faster:.1} times fewer seconds, {fewer:.1} times fewer calls.\n\n",
        arguments.documents,
        ours.rows,
        arguments.latency,
        ours.seconds,
        ours.seen.calls,
        ours.rows as f64 / ours.seconds,
        theirs.seconds,
        theirs.seen.calls,
        theirs.rows as f64 / theirs.seconds,
    );
    let one = |took: &Took| json!({ "seconds": took.seconds, "calls": took.seen.calls, "rows": took.rows });
    let figure = json!({
        "documents": arguments.documents, "latency_ms": arguments.latency, "vecferry": one(&ours),
        "reference": one(&theirs), "times_fewer_seconds": faster, "times_fewer_calls": fewer,
    });
    Ok((figure, lines))
}

/// A document of 1 to 20 chunks; no two are alike, and none has two chunks alike.
fn document(n: usize) -> String {
    let sentences = 12 * (1 + n * 7 % 20);
    let sentence = |at: usize| {
        format!(
            "Sentence {at} of document {n} says what nobody else has said about berth {}. ",
            n * 1009 + at
        )
    };
    (0..sentences).map(sentence).collect()
}

async fn fresh(pair: &Pair, name: &str) -> Result<Database> {
    let target = Database::create(&pair.target, name).await?;
    target.batch(TABLE).await?;
    Ok(target)
}

fn model(arguments: &ReembedArguments) -> Result<StandIn> {
    let latency = Duration::from_millis(arguments.latency);
    Ok(StandIn::start(Behaviour { latency, ..Behaviour::default() })?)
}

async fn with_vecferry(
    arguments: &ReembedArguments,
    vecferry: &Path,
    folder: &Path,
    target: &Database,
) -> Result<Took> {
    let model = model(arguments)?;
    let bots = "[[bots]]\nid = 'bench'\ntitle = 'Bench'\nfolders = ['docs']\n";
    std::fs::write(folder.join("bots.toml"), bots)?;
    let mut command = Command::new(vecferry);
    command.current_dir(folder).args(["migrate", "--method", "reembed", "--yes", "--quiet"]);
    command.args(["--target", target.url(), "--bot-file", "bots.toml", "--provider", "openai"]);
    command.args(["--model", "bench", "--dimensions", "1024", "--model-url", &model.openai_url()]);
    let started = Instant::now();
    program::succeed(&mut command)?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Took { seconds, seen: model.seen(), rows: rows(target).await? })
}

/// As the application's worker does it: all documents one after the other, ten texts a call, then every row by a
/// statement of its own in one transaction.
async fn reference(
    arguments: &ReembedArguments,
    texts: &[String],
    target: &Database,
) -> Result<Took> {
    let model = model(arguments)?;
    let embedder: Arc<dyn Embedder> = Arc::new(OpenAi::new(Endpoint {
        base: model.openai_url().parse()?,
        model: "bench".into(),
        key: None,
        dimensions: DIMENSIONS,
        send_dimensions: true,
        texts_per_call: Some(REFERENCE_BATCH),
        tokens_per_text: None,
    })?);
    let started = Instant::now();
    let splitter = Splitter::new(vecferry_core::bot::Splitting::default(), None);
    let mut rows_to_write = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let chunks = splitter.chunks(text.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        for batch in chunks.chunks(REFERENCE_BATCH) {
            let embedded = embedder.embed(batch).await?;
            for (chunk, vector) in batch.iter().zip(embedded.vectors) {
                rows_to_write.push((n, chunk.clone(), vector));
            }
        }
    }
    let session = target.connect().await?;
    session.batch_execute("BEGIN; DELETE FROM items WHERE botid = 'bench'").await?;
    let insert =
        session.prepare("INSERT INTO items VALUES ($1, 'bench', $2, $3, $4::text::vector)").await?;
    for (at, (n, content, vector)) in rows_to_write.iter().enumerate() {
        let (id, source) = (format!("{at:026}"), format!("docs/{n:05}.txt"));
        let vector = serde_json::to_string(vector)?;
        session.execute(&insert, &[&id, content, &source, &vector]).await?;
    }
    session.batch_execute("COMMIT").await?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Took { seconds, seen: model.seen(), rows: rows(target).await? })
}

async fn rows(target: &Database) -> Result<i64> {
    Ok(target.query_one("SELECT count(*) FROM items").await?.get(0))
}
