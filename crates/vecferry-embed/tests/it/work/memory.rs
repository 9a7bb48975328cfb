//! What a run takes of memory, measured by hand: it needs minutes and gigabytes of disk.
//!
//! `VECFERRY_TEST_MEGABYTES=400 cargo test -p vecferry-embed --test it memory -- --ignored --nocapture`

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::NamedTempFile;
use vecferry_core::bot::{Bot, DocumentAddress};
use vecferry_embed::document::{Document, DocumentSource, Fetched, Found, Lost};
use vecferry_embed::sources::Sources;
use vecferry_embed::work::Ending;
use vecferry_testkit::{Database, pair};

use super::fixture::{Bench, Tripwire, model_of};
use super::run;

/// Bytes of the largest document; the others have an eighth of it.
const LARGE: u64 = 64 << 20;

const DIMENSIONS: usize = 1024;

/// Documents that are written when they are fetched, so that the test holds none of them.
struct Mountain {
    documents: u64,
}

#[async_trait]
impl DocumentSource for Mountain {
    fn takes(&self, _: &DocumentAddress) -> bool {
        true
    }

    async fn find(&self, _: &Bot, address: &DocumentAddress) -> Result<Found, Lost> {
        let one = |number| Document {
            address: address.clone(),
            source: format!("s3://b/{number}.txt"),
            bytes: Some(if number == 0 { LARGE } else { LARGE / 8 }),
            version: None,
            modified: None,
        };
        Ok((0..self.documents).map(one).collect::<Vec<_>>().into())
    }

    async fn fetch(&self, document: &Document, folder: &Path) -> Result<Fetched, Lost> {
        let file = NamedTempFile::new_in(folder).unwrap();
        let mut out = BufWriter::new(file.as_file());
        let (wanted, mut bytes, mut sentence) = (document.bytes.unwrap(), 0, 0_u64);
        while bytes < wanted {
            let text = format!("Sentence {sentence} of {} is no other. ", document.source);
            out.write_all(text.as_bytes()).unwrap();
            bytes += text.len() as u64;
            sentence += 1;
        }
        out.flush().unwrap();
        drop(out);
        let name = Some("document.txt".into());
        Ok(Fetched { file, bytes, name, media_type: None, charset: None })
    }
}

/// The most memory that this process had at once, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes and gigabytes"]
async fn a_run_takes_little_memory_however_large_the_bot_is() {
    let megabytes: u64 =
        std::env::var("VECFERRY_TEST_MEGABYTES").map_or(200, |text| text.parse().unwrap());
    let documents = 1 + (megabytes << 20).saturating_sub(LARGE).div_ceil(LARGE / 8);
    let database = Database::with_vector(&pair().await.target, "memory").await.unwrap();
    let table = format!(
        "CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, \
         embedding vector({DIMENSIONS}))"
    );
    database.batch(&table).await.unwrap();
    let mut bench = Bench::new(database.url(), Tripwire::default());
    bench.bench.sources = Sources::new(vec![Arc::new(Mountain { documents })]);
    bench.bench.embedding = model_of(DIMENSIONS, 96);
    bench.bot.splitting = vecferry_core::bot::Splitting::default();
    let before = peak();
    let outcome = run(&bench, "t1").await.unwrap();
    let after = peak();
    println!(
        "{documents} documents, {megabytes} MB, {} rows in {:.0} s; at most {before} MiB before, {after} MiB in all",
        outcome.rows, outcome.seconds
    );
    assert_eq!(outcome.ending, Ending::Swapped);
    assert!(after < 256, "{after} MiB");
}
