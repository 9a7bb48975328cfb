//! `cargo xtask bench reembed`: what embedding a knowledge base anew takes. Documents of one bot beside the way of the
//! application's own worker (ten texts a call, one call after the other, one row an INSERT), on the same model with the
//! same answers and latency; many bots through ECS at a given rate, with throttles and failures, beside the time that
//! the rate alone would take; and, when asked for, the memory that a worker takes for a bot of gigabytes.

mod bots;
mod documents;
mod memory;

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
    /// The worker's memory for one large bot; takes gigabytes of disk
    Memory,
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
    /// Share of the tasks that are never heard of again, 0 to 1. Each is waited for a minute before it counts as
    /// gone, so that the run ends as much later
    #[arg(long, default_value_t = 0.0)]
    lost: f64,
    /// Megabytes of text of the bot whose worker's memory is measured
    #[arg(long, default_value_t = 2_048)]
    megabytes: u64,
    /// Only these figures [default: documents, bots]
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
    let wanted = |figure| match arguments.only.is_empty() {
        true => figure != Figure::Memory,
        false => arguments.only.contains(&figure),
    };
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
    if wanted(Figure::Memory) {
        let (figure, lines) = memory::measure(arguments.megabytes, &vecferry)?;
        figures.insert("memory".into(), figure);
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
