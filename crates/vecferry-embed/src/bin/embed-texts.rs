//! `embed-texts MODEL_FOLDER`: JSON lines `{"text": …}` in, `{"embedding": […]}` out, one for one
//! and in order. A program of its own, so that who wants a few embeddings need not link a model.

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use vecferry_embed::LocalModel;

/// Lines answered together: large enough for the model to work in batches, small enough that
/// memory stays bounded whatever is piped in.
const LINES: usize = 64;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: embed-texts MODEL_FOLDER <texts.jsonl >embeddings.jsonl");
        return ExitCode::from(2);
    };
    match run(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause = Some(error.as_ref() as &dyn Error);
            while let Some(error) = cause {
                eprintln!("error: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let model = LocalModel::load(folder)?;
    let mut lines = stdin().lock().lines();
    let mut out = stdout().lock();
    loop {
        let texts = lines.by_ref().take(LINES).map(|line| text_of(&line?));
        let texts = texts.collect::<Result<Vec<String>, Box<dyn Error>>>()?;
        if texts.is_empty() {
            return Ok(());
        }
        let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
        for embedding in model.embed(&borrowed)? {
            writeln!(out, "{}", json!({ "embedding": embedding }))?;
        }
        out.flush()?;
    }
}

/// The error names no text: it may be a user's.
fn text_of(line: &str) -> Result<String, Box<dyn Error>> {
    let value: Value = serde_json::from_str(line)?;
    let text = value.get("text").and_then(Value::as_str);
    Ok(text.ok_or("a line holds no \"text\"")?.to_owned())
}
