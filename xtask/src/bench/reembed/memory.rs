//! What a worker takes of memory for a bot of gigabytes: the program itself, and it together with the processes that
//! read its documents.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vecferry_testkit::bedrock::{Behaviour, StandIn};
use vecferry_testkit::{Database, Options, Pair};

use super::super::memory::{Peaks, peaks_of};

/// Bytes of the largest document; the others have an eighth of it.
const LARGE: u64 = 64 << 20;

/// Often enough for a run of minutes; a process's own peak is not missed in between.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a worker may take, in MiB.
const BOUND: u64 = 256;

/// Chunks of four thousand characters with vectors of 1024 numbers: as much of both in memory as a model's limits
/// allow, and a quarter of the rows on disk.
const BOT: &str = "[[bots]]\nid = 'large'\nowner = 'bench'\nchunk_chars = 4000\nchunk_overlap = 200\nfolders = ['docs']\n";

const TABLE: &str = "CREATE EXTENSION vector; CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), \
    content text, source text, embedding vector(1024)); CREATE INDEX ON items (botid)";

/// Measures it; the figure, and its lines for people.
pub(super) fn measure(megabytes: u64, vecferry: &Path) -> Result<(Value, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pair = Pair::start(&Options::new()).context("start the clusters")?;
    let folder = pair.target.folder().join("documents");
    let documents = write(&folder, megabytes << 20)?;
    let target = runtime.block_on(async {
        let target = Database::create(&pair.target, "memory").await?;
        target.batch(TABLE).await?;
        anyhow::Ok(target)
    })?;
    let model = StandIn::start(Behaviour::default())?;
    let mut command = Command::new(vecferry);
    command.current_dir(&folder).args(["worker", "--bot", "bench/large", "--quiet"]);
    command.args(["--bot-file", "bots.toml", "--target", target.url(), "--provider", "openai"]);
    command.args(["--model", "bench", "--dimensions", "1024", "--model-url", &model.openai_url()]);
    eprintln!("{documents} documents, {megabytes} MiB");
    let begun = Instant::now();
    let (status, peaks) = peaks_of(&mut command, LOOK_EVERY)?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(status.success(), "vecferry worker ended with {status}");
    let rows: i64 = runtime.block_on(target.query_one("SELECT count(*) FROM items"))?.get(0);
    // Nothing was left out: a chunk has four thousand characters at most.
    ensure!(rows as u64 >= (megabytes << 20) / 4000, "{rows} rows of {megabytes} MiB");
    let Peaks { own, at_once, .. } = peaks;
    let (own, at_once) = (own / 1024, at_once / 1024);
    ensure!(own < BOUND, "the worker took {own} MiB");
    let lines = format!(
        "| one bot of {megabytes} MiB, {documents} documents, {rows} rows of 1024 dimensions | MiB |\n\
         | --- | ---: |\n| the worker at most | {own} |\n| with its reading processes, at once | {at_once} |\n\n\
         {seconds:.0} s.\n\n",
    );
    let figure = json!({
        "megabytes": megabytes, "documents": documents, "rows": rows, "worker_mib": own,
        "with_readers_mib": at_once, "seconds": seconds,
    });
    Ok((figure, lines))
}

/// Writes the bot and its documents; how many there are.
fn write(folder: &Path, bytes: u64) -> Result<u64> {
    let docs = folder.join("docs");
    std::fs::create_dir_all(&docs)?;
    std::fs::write(folder.join("bots.toml"), BOT)?;
    let documents = 1 + bytes.saturating_sub(LARGE).div_ceil(LARGE / 8);
    for number in 0..documents {
        let wanted = if number == 0 { LARGE.min(bytes) } else { LARGE / 8 };
        let file = std::fs::File::create(docs.join(format!("{number:05}.txt")))?;
        let mut out = BufWriter::new(file);
        let (mut written, mut sentence) = (0, 0_u64);
        while written < wanted {
            let text = format!("Sentence {sentence} of document {number} is like no other one. ");
            out.write_all(text.as_bytes())?;
            written += text.len() as u64;
            sentence += 1;
        }
        out.flush()?;
    }
    Ok(documents)
}
