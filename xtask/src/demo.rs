//! `cargo xtask demo`: a small knowledge base of real text with real embeddings is moved from one
//! throwaway cluster to another by the real program, and both are asked the same questions; then a
//! second one moves, is switched and moves back while an application writes to it.
//!
//! Nothing here stops servers at Ctrl-C: they end with this process, however it ends.

mod embed;
mod knowledge;
mod live;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use vecferry_testkit::corpus::bot_id;
use vecferry_testkit::{Options, Pair, Version};

use crate::program;
use knowledge::Answer;

/// The database of the application on both clusters.
const DATABASE: &str = "postgres";

/// What is asked of whom: a guide's file name names its bot, "vecferry" the project's documents.
const QUESTIONS: [(&str, &str); 5] = [
    ("guide.en.md", "What does re-calculating all embeddings cost?"),
    ("guide.en.md", "Does the Database Migration Service support pgvector?"),
    ("guide.pt-BR.md", "Quais permissões IAM o script de migração precisa?"),
    ("guide.pl.md", "Jak przywrócić dane z migawki bazy danych?"),
    ("vecferry", "How does an interrupted migration go on?"),
];

/// How the demo is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Keep the clusters running after the end, until Enter is pressed
    #[arg(long)]
    keep: bool,
    /// Use this vecferry instead of building one
    #[arg(long)]
    vecferry: Option<PathBuf>,
}

/// Plays the demo; exit code 1 when the two clusters answer differently.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let started = Instant::now();
    say(1, "build vecferry and the embedding model (the model takes minutes the first time)");
    let vecferry = program::vecferry(arguments.vecferry.as_deref(), false)?;
    let embedder = embed::Embedder::prepare()?;

    say(2, "start PostgreSQL 16.2 with pgvector 0.6.2 and 18.4 with pgvector 0.8.5");
    let pair = Pair::start(&Options::new()).context("start the clusters")?;
    let demo = Demo::new(&pair, vecferry)?;
    println!("source {}\ntarget {}", demo.source, demo.target);

    say(3, "fill the source as the application does");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let chunks = knowledge::chunks(program::root())?;
    let texts: Vec<&str> = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
    let embedding = Instant::now();
    let vectors = embedder.embed(&texts)?;
    let seconds = embedding.elapsed().as_secs_f64();
    println!("{} chunks embedded in {seconds:.1} s", chunks.len());
    runtime.block_on(knowledge::fill(&demo.source, &chunks, &vectors))?;

    say(4, "move it");
    demo.vecferry(&["check"])?;
    demo.vecferry(&["plan"])?;
    demo.vecferry(&["migrate", "--method", "copy", "--yes"])?;
    demo.vecferry(&["status"])?;
    demo.vecferry(&["verify"])?;

    say(5, "ask both clusters the same questions");
    // The project's own documents may be missing from a source tree; the guides never are.
    let known = |bot: &str| chunks.iter().any(|chunk| chunk.bot == bot_id(bot));
    let asked: Vec<_> = QUESTIONS.into_iter().filter(|(bot, _)| known(bot)).collect();
    let questions: Vec<&str> = asked.iter().map(|(_, question)| *question).collect();
    let vectors = embedder.embed(&questions)?;
    let mut same = 0;
    for ((bot, question), vector) in asked.iter().zip(&vectors) {
        let source = runtime.block_on(knowledge::ask(&demo.source, bot, vector))?;
        let target = runtime.block_on(knowledge::ask(&demo.target, bot, vector))?;
        show(question, &source, &target);
        same += usize::from(source == target && !source.is_empty());
    }
    println!("\n{same} of {} questions were answered alike", asked.len());

    say(6, "move a database that is in use, switch the application, and go back");
    runtime.block_on(live::follow(&pair, &demo))?;
    if arguments.keep {
        println!("both clusters run until Enter is pressed");
        std::io::stdin().read_line(&mut String::new())?;
    }
    drop(pair);
    println!("all stopped after {:.0} s", started.elapsed().as_secs_f64());
    let alike = same == asked.len();
    Ok(if alike { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The two ends and the program that moves between them.
#[derive(Clone)]
struct Demo {
    source: String,
    target: String,
    vecferry: PathBuf,
    pg_bin_dir: PathBuf,
    /// Where the program runs, so that no vecferry.toml of the developer's plays along.
    folder: PathBuf,
}

impl Demo {
    fn new(pair: &Pair, vecferry: PathBuf) -> Result<Demo> {
        Ok(Demo {
            source: pair.source.url(DATABASE),
            target: pair.target.url(DATABASE),
            vecferry,
            pg_bin_dir: Version::Pg18.bin_dir()?,
            folder: pair.source.folder().to_owned(),
        })
    }

    fn vecferry(&self, arguments: &[&str]) -> Result<()> {
        println!("\n$ vecferry {}", arguments.join(" "));
        let status = Command::new(&self.vecferry)
            .args(["--source", &self.source, "--target", &self.target])
            .args(arguments)
            .env("VECFERRY_PG_BIN_DIR", &self.pg_bin_dir)
            .current_dir(&self.folder)
            .status()
            .with_context(|| format!("start {}", Path::display(&self.vecferry)))?;
        ensure!(status.success(), "vecferry {} ended with {status}", arguments.join(" "));
        Ok(())
    }
}

fn say(number: usize, what: &str) {
    println!("\n=== {number} of 6: {what}");
}

/// Both answers in two columns.
fn show(question: &str, source: &[Answer], target: &[Answer]) {
    const WIDTH: usize = 56;
    println!("\n? {question}");
    println!("  {:<WIDTH$}   target, 18.4", "source, 16.2");
    for place in 0..source.len().max(target.len()) {
        let column = |answers: &[Answer]| -> Vec<String> {
            let Some(answer) = answers.get(place) else { return vec!["(nothing)".into()] };
            let start: String = answer.content.chars().take(3 * WIDTH - 10).collect();
            wrap(&format!("{}. {} [{}]", place + 1, start, answer.source), WIDTH)
        };
        let (left, right) = (column(source), column(target));
        for line in 0..left.len().max(right.len()) {
            let text = |column: &[String]| column.get(line).cloned().unwrap_or_default();
            println!("  {:<WIDTH$}   {}", text(&left), text(&right));
        }
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split_whitespace() {
        let more = word.chars().count();
        if length > 0 && length + 1 + more > width {
            lines.push(String::new());
            length = 0;
        }
        if let Some(line) = lines.last_mut() {
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += more;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_at_words_and_a_long_word_keeps_its_line() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("a incomprehensible b", 5), ["a", "incomprehensible", "b"]);
    }
}
