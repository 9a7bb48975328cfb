//! `cargo xtask bench reembed`: what embedding a knowledge base anew takes. Two figures: documents of one bot beside the
//! way of the application's own worker (ten texts a call, one call after the other, one row an INSERT), on the same
//! model with the same answers and latency; and many bots through ECS at a given rate, with throttles and lost tasks,
//! beside the time that the rate alone would take.

mod bots;
mod documents;

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::record::{commit, without_paths};
use crate::program;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// Documents of one bot, beside the application's own way
    Documents,
    /// Many bots through ECS, beside the rate's own bound
    Bots,
}

/// Size and shape of the run.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ReembedArguments {
    /// Documents of the bot
    #[arg(long, default_value_t = 1_000)]
    documents: usize,
    /// Milliseconds that the model takes for a call
    #[arg(long, default_value_t = 150)]
    latency: u64,
    /// Bots that go through ECS
    #[arg(long, default_value_t = 10_000)]
    bots: usize,
    /// Launches per second
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Only these figures (default: both)
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Figure>,
    /// Use this vecferry instead of building one
    #[arg(long)]
    vecferry: Option<PathBuf>,
    /// Folder for the record [default: bench/runs/DATE-reembed-DOCUMENTSdocuments]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Runs the bench; an error when anything failed, was lost or doubled.
pub(super) fn run(arguments: &ReembedArguments) -> Result<ExitCode> {
    let vecferry = program::vecferry(arguments.vecferry.as_deref(), true)?;
    let wanted = |figure| arguments.only.is_empty() || arguments.only.contains(&figure);
    let (mut figures, mut table) = (serde_json::Map::new(), String::new());
    if wanted(Figure::Documents) {
        let (figure, lines) = documents::measure(arguments, &vecferry)?;
        figures.insert("documents".into(), figure);
        table.push_str(&lines);
    }
    if wanted(Figure::Bots) {
        let (figure, lines) = bots::measure(arguments, &vecferry)?;
        figures.insert("bots".into(), figure);
        table.push_str(&lines);
    }
    println!("{table}");
    save(arguments, figures, &table)?;
    Ok(ExitCode::SUCCESS)
}

fn save(
    arguments: &ReembedArguments,
    figures: serde_json::Map<String, Value>,
    table: &str,
) -> Result<()> {
    let day = jiff::Zoned::now().date();
    let name = format!("{day}-reembed-{}documents", arguments.documents);
    let folder =
        arguments.out.clone().unwrap_or_else(|| program::root().join("bench/runs").join(name));
    std::fs::create_dir_all(&folder)?;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let all = json!({ "version": 1, "commit": commit(), "cores": cores, "figures": figures });
    let text = serde_json::to_string_pretty(&all)? + "\n";
    std::fs::write(folder.join("result.json"), text).context("write result.json")?;
    let mut readme = format!(
        "# Embedding anew\n\n`cargo xtask {}` at commit {} on {cores} cores; servers, doubles, tasks and vecferry \
         share the machine.\n\n{table}",
        without_paths(std::env::args().skip(1)).join(" "),
        commit(),
    );
    writeln!(readme)?;
    std::fs::write(folder.join("README.md"), readme).context("write README.md")?;
    println!("written to {}", folder.display());
    Ok(())
}
