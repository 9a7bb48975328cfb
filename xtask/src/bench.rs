//! `cargo xtask bench copy`: vecferry beside what one would use instead, on one dataset, in one
//! run, round by round, so that a machine that slows down slows all of them down. `cargo xtask
//! bench follow`: what a cutover costs an application that writes, see [`follow`]. `cargo xtask bench
//! reembed`: documents and bots embedded anew, see [`reembed`].

mod contestant;
mod dataset;
mod follow;
mod memory;
mod record;
mod reembed;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;
use vecferry_testkit::{Options, Pair, Session, Version};

use crate::program;
use contestant::{Contestant, Course};
use record::{Record, Setting};

/// What to measure.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Move one table by every means there is
    Copy(CopyArguments),
    /// Cut over under writes: downtime, catch-up, what the application notices
    Follow(follow::FollowArguments),
    /// Embed documents anew, and many bots through ECS
    Reembed(reembed::ReembedArguments),
}

/// Size and shape of the run.
#[derive(Debug, Clone, clap::Args)]
struct CopyArguments {
    /// Rows of the table
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
    /// Rounds; each contestant runs once in each
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Dimensions of the embeddings
    #[arg(long, default_value_t = 1024)]
    dims: usize,
    /// Also an HNSW index on the embeddings
    #[arg(long)]
    hnsw: bool,
    /// Only these contestants (default: all that can run here)
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Contestant>,
    /// Servers that do not flush to disk: for trying the bench itself
    #[arg(long)]
    no_fsync: bool,
    /// Use this vecferry instead of building one
    #[arg(long)]
    vecferry: Option<PathBuf>,
    /// Folder for the record [default: bench/runs/DATE-ROWSrows]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Runs the bench; exit code 1 when a contestant failed.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Copy(arguments) => copy(arguments),
        What::Follow(arguments) => follow::run(arguments),
        What::Reembed(arguments) => reembed::run(arguments),
    }
}

fn copy(arguments: &CopyArguments) -> Result<ExitCode> {
    let contestants = contestants(&arguments.only)?;
    let vecferry = if contestants.contains(&Contestant::Vecferry) {
        Some(program::vecferry(arguments.vecferry.as_deref(), true)?)
    } else {
        None
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pair = Pair::start(&options(arguments.no_fsync)).context("start the clusters")?;
    eprintln!("filling the source with {} rows of {} dimensions", arguments.rows, arguments.dims);
    let source = pair.source.url("postgres");
    let dataset = runtime.block_on(dataset::fill(&source, arguments.rows, arguments.dims))?;
    if arguments.hnsw {
        runtime.block_on(dataset::index(&source))?;
    }
    let course = Course {
        source,
        target: pair.target.url("bench"),
        pg_bin_dir: Version::Pg18.bin_dir()?,
        vecferry,
        folder: pair.target.folder().join("scratch"),
        pages: dataset.pages,
        hnsw: arguments.hnsw,
    };
    std::fs::create_dir_all(&course.folder)?;
    let mut record = Record::new(setting(arguments, dataset.bytes), arguments.out.clone());
    for round in 1..=arguments.runs {
        for contestant in &contestants {
            fresh_target(&runtime, &pair)?;
            eprintln!("round {round}: {}", contestant.name());
            for (name, outcome) in contestant.run(&course, &runtime) {
                let complete = |outcome| complete(&runtime, &course, arguments).map(|()| outcome);
                record.add(&name, outcome.and_then(complete));
            }
            // After each, so that a crash keeps what was measured before it.
            record.save()?;
        }
    }
    println!("{}", record.table());
    println!("written to {}", record.folder().display());
    Ok(if record.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Those asked for, or all; one that cannot run here is named, never silently left out.
fn contestants(only: &[Contestant]) -> Result<Vec<Contestant>> {
    let able = |contestant: &Contestant| {
        *contestant != Contestant::Pgcopydb || program::on_path("pgcopydb")
    };
    if let Some(missing) = only.iter().find(|contestant| !able(contestant)) {
        bail!("{} is not on the PATH", missing.name());
    }
    let chosen = if only.is_empty() { &Contestant::ALL[..] } else { only };
    for missing in chosen.iter().filter(|contestant| !able(contestant)) {
        eprintln!("{} is not on the PATH and left out", missing.name());
    }
    Ok(chosen.iter().copied().filter(|contestant| able(contestant)).collect())
}

/// As a production server would be set for a load: flushing, and no checkpoint in mid-race.
fn options(no_fsync: bool) -> Options {
    let options = Options::new().set("max_wal_size", "16GB").set("checkpoint_timeout", "1h");
    if no_fsync { options } else { options.durable() }
}

/// An empty database, the former one gone and all its pages written: nobody pays for another.
fn fresh_target(runtime: &Runtime, pair: &Pair) -> Result<()> {
    runtime.block_on(async {
        let session = Session::open(&pair.target.url("postgres")).await?;
        for statement in
            ["DROP DATABASE IF EXISTS bench WITH (FORCE)", "CREATE DATABASE bench", "CHECKPOINT"]
        {
            session.batch_execute(statement).await.context(statement)?;
        }
        Ok(())
    })
}

/// A contestant that loses rows or an index has no time worth recording.
fn complete(runtime: &Runtime, course: &Course, arguments: &CopyArguments) -> Result<()> {
    let rows = arguments.rows;
    let (found, indexes): (i64, i64) = runtime.block_on(async {
        let session = Session::open(&course.target).await?;
        let sql = "SELECT (SELECT count(*) FROM items),
                          (SELECT count(*) FROM pg_indexes WHERE tablename = 'items')";
        let row = session.query_one(sql, &[]).await.context("look at the target")?;
        anyhow::Ok((row.get(0), row.get(1)))
    })?;
    let expected = if course.hnsw { 3 } else { 2 };
    if found != rows as i64 || indexes != expected {
        bail!("the target has {found} of {rows} rows and {indexes} of {expected} indexes");
    }
    Ok(())
}

fn setting(arguments: &CopyArguments, bytes: i64) -> Setting {
    Setting {
        rows: arguments.rows,
        dims: arguments.dims,
        hnsw: arguments.hnsw,
        fsync: !arguments.no_fsync,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_bench_runs_every_means_that_is_always_there() {
        let out = tempfile::tempdir().unwrap();
        // Cargo builds it for its own tests, beside the folder of ours.
        let vecferry =
            std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("vecferry");
        if !vecferry.exists() {
            program::build("vecferry", "vecferry", false).unwrap();
        }
        let arguments = CopyArguments {
            rows: 2000,
            runs: 2,
            dims: 32,
            hnsw: true,
            only: vec![
                Contestant::Vecferry,
                Contestant::DumpRestore,
                Contestant::Subscription,
                Contestant::Pipe,
                Contestant::TwoPipes,
            ],
            no_fsync: true,
            vecferry: Some(vecferry),
            out: Some(out.path().to_owned()),
        };
        assert_eq!(copy(&arguments).unwrap(), ExitCode::SUCCESS);
        let json = std::fs::read_to_string(out.path().join("result.json")).unwrap();
        let result: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(result["rows"], 2000);
        let contestants = result["contestants"].as_array().unwrap();
        // vecferry has three figures: migrate, migrate before VACUUM ANALYZE, verify.
        assert_eq!(contestants.len(), 7);
        assert!(contestants.iter().all(|one| one["seconds"].as_array().unwrap().len() == 2));
        let readme = std::fs::read_to_string(out.path().join("README.md")).unwrap();
        assert!(readme.contains("two psql binary pipes"), "{readme}");
    }
}
