//! `cargo xtask bench follow`: what following and cutting over cost an application that goes on
//! writing. Three figures, each with the writer's ledger as proof that nothing was lost:
//! the downtime of a cutover as vecferry reports it and as the writer sees it; the time to catch up
//! with a backlog beside a plain subscription; and the latency of writes without us, during the
//! copy and while following.

mod catch_up;
mod cutovers;
mod ground;
mod latency;
mod program;
mod record;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;

use ground::Ground;
use record::Record;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// Downtime of cutovers
    Cutovers,
    /// Time to catch up with a backlog
    CatchUp,
    /// Latency of the application's writes
    Latency,
}

/// Size and shape of the run.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FollowArguments {
    /// Rows of the table before the writer begins
    #[arg(long, default_value_t = 20_000)]
    rows: u64,
    /// Dimensions of the embeddings
    #[arg(long, default_value_t = 1024)]
    dims: usize,
    /// Cutovers, each between fresh databases
    #[arg(long, default_value_t = 20)]
    cutovers: u32,
    /// Also roll every cutover back
    #[arg(long)]
    rollback: bool,
    /// Writes per second
    #[arg(long, default_value_t = 500)]
    writes: u32,
    /// Connections that write
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Backlog to catch up with, in MiB of WAL
    #[arg(long, default_value_t = 200)]
    backlog: u64,
    /// Rounds of the catch-up; each contestant once in each
    #[arg(long, default_value_t = 2)]
    runs: u32,
    /// Seconds for which latency is measured without us, and again while following
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Only these figures (default: all)
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Figure>,
    /// Only what needs no vecferry: the plain subscription, and latency without us
    #[arg(long, conflicts_with = "vecferry")]
    no_vecferry: bool,
    /// Servers that do not flush to disk: for trying the bench itself
    #[arg(long)]
    no_fsync: bool,
    /// Use this vecferry instead of building one
    #[arg(long)]
    vecferry: Option<PathBuf>,
    /// Folder for the record [default: bench/runs/DATE-follow-ROWSrows]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Runs the bench; exit code 1 when anything failed or was lost.
pub(super) fn run(arguments: &FollowArguments) -> Result<ExitCode> {
    let figures = figures(arguments)?;
    let ground = Ground::prepare(arguments)?;
    let mut record = Record::new(arguments);
    for figure in figures {
        match figure {
            Figure::Cutovers => {
                for round in 1..=arguments.cutovers {
                    eprintln!("cutover {round} of {}", arguments.cutovers);
                    record.add_cutover(cutovers::round(&ground, round));
                    // After each, so that a crash keeps what was measured before it.
                    record.save()?;
                }
            }
            Figure::CatchUp => {
                for round in 1..=arguments.runs {
                    eprintln!("catch-up {round} of {}", arguments.runs);
                    record.add_catch_up(catch_up::round(&ground, round));
                    record.save()?;
                }
            }
            Figure::Latency => {
                eprintln!("latency");
                record.add_latency(latency::measure(&ground));
                record.save()?;
            }
        }
    }
    println!("{}", record.tables());
    println!("written to {}", record.folder().display());
    for failure in record.failures() {
        eprintln!("failed: {failure}");
    }
    Ok(if record.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Those asked for, or all that can be measured; what is left out is said.
fn figures(arguments: &FollowArguments) -> Result<Vec<Figure>> {
    let all = Figure::value_variants();
    let mut chosen = if arguments.only.is_empty() { all.to_vec() } else { arguments.only.clone() };
    if arguments.no_vecferry {
        if arguments.only.contains(&Figure::Cutovers) {
            bail!("cutovers need vecferry: leave out --no-vecferry");
        }
        eprintln!("without vecferry: no cutovers, and only the other half of each comparison");
        chosen.retain(|figure| *figure != Figure::Cutovers);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: FollowArguments,
    }

    fn parse(line: &str) -> Result<FollowArguments, clap::Error> {
        let words = std::iter::once("follow").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.arguments)
    }

    /// Seconds instead of minutes.
    fn small(line: &str, out: &Path) -> FollowArguments {
        let sizes = "--rows 1000 --dims 32 --cutovers 1 --writes 100 --connections 4 --backlog 4 \
                     --runs 1 --seconds 2 --no-fsync";
        let arguments = parse(&format!("{sizes} {line}")).unwrap();
        FollowArguments { out: Some(out.to_owned()), ..arguments }
    }

    fn result(out: &Path) -> serde_json::Value {
        let json = std::fs::read_to_string(out.join("result.json")).unwrap();
        serde_json::from_str(&json).unwrap()
    }

    /// A program that keeps vecferry's contract by means of psql, with a fault of this name.
    fn stand_in(folder: &Path, fault: &str) -> PathBuf {
        let path = folder.join(format!("stand-in-{fault}"));
        let script =
            include_str!("follow/stand_in.sh").replace("FAULT=none", &format!("FAULT={fault}"));
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_command_line_says_what_is_measured() {
        let all = parse("").unwrap();
        assert_eq!((all.rows, all.dims, all.cutovers, all.writes), (20_000, 1024, 20, 500));
        assert_eq!(figures(&all).unwrap(), Figure::value_variants());
        let some = parse("--only latency,catch-up --rows 5").unwrap();
        assert_eq!(figures(&some).unwrap(), [Figure::Latency, Figure::CatchUp]);
        let without = parse("--no-vecferry").unwrap();
        assert_eq!(figures(&without).unwrap(), [Figure::CatchUp, Figure::Latency]);
        assert!(figures(&parse("--no-vecferry --only cutovers").unwrap()).is_err());
        assert!(parse("--no-vecferry --vecferry x").is_err());
    }

    #[test]
    fn a_small_bench_measures_the_halves_that_need_no_vecferry() {
        let out = tempfile::tempdir().unwrap();
        assert_eq!(run(&small("--no-vecferry", out.path())).unwrap(), ExitCode::SUCCESS);
        let result = result(out.path());
        assert!(result["catch_up"]["plain"]["seconds"][0].as_f64().unwrap() > 0.0, "{result}");
        assert!(result["catch_up"]["vecferry"]["seconds"].as_array().unwrap().is_empty());
        assert_eq!(result["latency"].as_array().unwrap().len(), 1);
        let readme = std::fs::read_to_string(out.path().join("README.md")).unwrap();
        assert!(readme.contains("plain subscription"), "{readme}");
    }

    #[test]
    fn a_small_bench_drives_a_program_that_keeps_the_contract_through_all_figures() {
        let out = tempfile::tempdir().unwrap();
        let arguments = FollowArguments {
            vecferry: Some(stand_in(out.path(), "none")),
            cutovers: 2,
            ..small("--rollback", out.path())
        };
        assert_eq!(run(&arguments).unwrap(), ExitCode::SUCCESS);
        let result = result(out.path());
        assert_eq!(result["cutovers"].as_array().unwrap().len(), 2, "{result}");
        assert!(result["cutovers"][0]["seen_seconds"].as_f64().unwrap() > 0.0);
        assert!(result["cutovers"][1]["rollback"]["seen_seconds"].as_f64().unwrap() > 0.0);
        assert!(result["step_seconds"]["all"]["p50"].as_f64().unwrap() > 0.0);
        assert!(result["catch_up"]["ratio"].as_f64().unwrap() > 0.0);
        assert_eq!(result["latency"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_program_that_loses_one_row_or_leaves_something_behind_fails_the_bench() {
        let out = tempfile::tempdir().unwrap();
        // The lost row is missing, or missed by whoever wrote to it since.
        let found = [("loses-a-row", ["missing", " met "]), ("leaves-a-slot", ["left on", "slot"])];
        for (fault, words) in found {
            let arguments = FollowArguments {
                vecferry: Some(stand_in(out.path(), fault)),
                ..small("--only cutovers", out.path())
            };
            assert_eq!(run(&arguments).unwrap(), ExitCode::FAILURE);
            let failures = result(out.path())["failures"].to_string();
            assert!(words.iter().any(|word| failures.contains(word)), "{failures}");
        }
    }

    #[test]
    fn a_small_bench_measures_vecferry() {
        let out = tempfile::tempdir().unwrap();
        let vecferry =
            std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("vecferry");
        if !vecferry.exists() {
            crate::program::build("vecferry", "vecferry", false).unwrap();
        }
        let arguments =
            FollowArguments { vecferry: Some(vecferry), ..small("--rollback", out.path()) };
        assert_eq!(run(&arguments).unwrap(), ExitCode::SUCCESS);
    }
}
