//! What a run leaves behind: numbers for programs, a table for people, and all one needs to run
//! it again.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vecferry_testkit::Version;

use super::contestant::Outcome;
use crate::program;

/// What was measured on.
pub(super) struct Setting {
    pub(super) rows: u64,
    pub(super) dims: usize,
    pub(super) hnsw: bool,
    pub(super) fsync: bool,
    /// The table's size on the source.
    pub(super) bytes: i64,
}

/// All figures of a run so far.
pub(super) struct Record {
    setting: Setting,
    folder: PathBuf,
    started: jiff::Timestamp,
    figures: Vec<Figures>,
}

#[derive(Default)]
struct Figures {
    name: String,
    seconds: Vec<f64>,
    peaks_kib: Vec<u64>,
    errors: Vec<String>,
}

impl Record {
    pub(super) fn new(setting: Setting, folder: Option<PathBuf>) -> Record {
        let started = jiff::Timestamp::now();
        let date = started.strftime("%Y-%m-%d");
        let index = if setting.hnsw { "-hnsw" } else { "" };
        let name = format!("{date}-{}rows{index}", setting.rows);
        let folder = folder.unwrap_or_else(|| program::root().join("bench/runs").join(name));
        Record { setting, folder, started, figures: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str, outcome: Result<Outcome>) {
        let place = self.figures.iter().position(|figures| figures.name == name);
        let place = place.unwrap_or_else(|| {
            self.figures.push(Figures { name: name.to_owned(), ..Figures::default() });
            self.figures.len() - 1
        });
        let figures = &mut self.figures[place];
        match outcome {
            Ok(outcome) => {
                eprintln!("  {name}: {:.2} s", outcome.seconds);
                figures.seconds.push(outcome.seconds);
                figures.peaks_kib.extend(outcome.peak_kib);
            }
            Err(error) => {
                eprintln!("  {name}: failed: {error:#}");
                figures.errors.push(format!("{error:#}"));
            }
        }
    }

    pub(super) fn failed(&self) -> bool {
        self.figures.iter().any(|figures| !figures.errors.is_empty())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes `result.json` and `README.md`.
    pub(super) fn save(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let json = serde_json::to_string_pretty(&self.json())? + "\n";
        std::fs::write(self.folder.join("result.json"), json).context("write result.json")?;
        let arguments = without_paths(std::env::args().skip(1));
        let setting = &self.setting;
        let readme = format!(
            "# {} rows of {} dimensions, {} MB, {}\n\n`cargo xtask {}` at commit {} on {} cores, \
             {}.\nPostgreSQL {} → {}, fsync {}. Seconds of wall time; ratio: median against \
             vecferry's.\nPeak memory is the sum over the contestant's processes, servers not \
             counted.\n\n{}\n",
            setting.rows,
            setting.dims,
            setting.bytes / 1_000_000,
            if setting.hnsw { "rows and HNSW index" } else { "rows only" },
            arguments.join(" "),
            commit(),
            cores(),
            self.started.strftime("%Y-%m-%d %H:%M UTC"),
            Version::Pg16.postgres(),
            Version::Pg18.postgres(),
            if setting.fsync { "on" } else { "off" },
            self.table(),
        );
        std::fs::write(self.folder.join("README.md"), readme).context("write README.md")
    }

    /// Median, spread, memory and ratio of each contestant.
    pub(super) fn table(&self) -> String {
        let own = self.figures.iter().find(|figures| figures.name == "vecferry migrate");
        let own = own.and_then(|figures| median(&figures.seconds));
        let mut table = String::from(
            "| contestant | median s | min–max s | peak MiB | ratio | runs |\n\
             | --- | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for figures in &self.figures {
            let seconds = median(&figures.seconds);
            let peak = figures.peaks_kib.iter().max();
            let (least, most) = spread(&figures.seconds);
            // Writing to a String cannot fail.
            let _ = writeln!(
                table,
                "| {} | {} | {least:.2}–{most:.2} | {} | {} | {}{} |",
                figures.name,
                seconds.map_or("–".into(), |seconds| format!("{seconds:.2}")),
                peak.map_or("–".into(), |kib| format!("{:.0}", *kib as f64 / 1024.0)),
                seconds.zip(own).map_or("–".into(), |(it, own)| format!("{:.2}", it / own)),
                figures.seconds.len(),
                match figures.errors.len() {
                    0 => String::new(),
                    failed => format!(", {failed} failed"),
                },
            );
        }
        table
    }

    fn json(&self) -> Value {
        let figures = |figures: &Figures| {
            let (least, most) = spread(&figures.seconds);
            json!({
                "name": figures.name,
                "seconds": figures.seconds,
                "median": median(&figures.seconds),
                "min": least,
                "max": most,
                "peak_kib": figures.peaks_kib,
                "errors": figures.errors,
            })
        };
        json!({
            "version": 1,
            "started": self.started.to_string(),
            "commit": commit(),
            "cores": cores(),
            "rows": self.setting.rows,
            "dimensions": self.setting.dims,
            "hnsw": self.setting.hnsw,
            "fsync": self.setting.fsync,
            "table_bytes": self.setting.bytes,
            "source": { "postgres": Version::Pg16.postgres(), "pgvector": Version::Pg16.pgvector() },
            "target": { "postgres": Version::Pg18.postgres(), "pgvector": Version::Pg18.pgvector() },
            "versions": {
                "vecferry": env!("CARGO_PKG_VERSION"),
                "pg_dump": Version::Pg18.postgres(),
                "pgcopydb": first_line("pgcopydb", &["--version"]),
            },
            "contestants": self.figures.iter().map(figures).collect::<Vec<_>>(),
        })
    }
}

pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) =
        (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

pub(super) fn spread(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().reduce(f64::min).unwrap_or_default();
    (least, values.iter().copied().reduce(f64::max).unwrap_or_default())
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The commit, marked where the tree differs from it.
pub(super) fn commit() -> String {
    let described = first_line("git", &["describe", "--always", "--dirty", "--abbrev=12"]);
    described.unwrap_or_else(|| "unknown".into())
}

/// What a program says of itself, or nothing where it is not to be had.
fn first_line(name: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(name).args(arguments).current_dir(program::root()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned();
    output.status.success().then_some(text)
}

/// The command without the options that name places on this machine.
pub(super) fn without_paths(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--vecferry" | "--out" => drop(arguments.next()),
            _ => kept.push(argument),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_middles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
