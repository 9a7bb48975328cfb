//! What a run leaves behind: `result.json` for programs, `README.md` for people.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vecferry_testkit::{Version, percentile};

use super::FollowArguments;
use super::catch_up::CatchUp;
use super::cutovers::{Round, Switch};
use super::latency::{Latency, Window};
use crate::bench::record::{commit, cores, median, spread, without_paths};
use crate::program;

/// Lines of one round that are shown; a lost table would be a line for each row.
const SHOWN: usize = 20;

/// All figures of a run so far.
pub(super) struct Record {
    arguments: FollowArguments,
    folder: PathBuf,
    started: jiff::Timestamp,
    cutovers: Vec<Round>,
    catch_ups: Vec<CatchUp>,
    windows: Vec<Window>,
    failures: Vec<String>,
}

impl Record {
    pub(super) fn new(arguments: &FollowArguments) -> Record {
        let started = jiff::Timestamp::now();
        let name = format!("{}-follow-{}rows", started.strftime("%Y-%m-%d"), arguments.rows);
        let folder =
            arguments.out.clone().unwrap_or_else(|| program::root().join("bench/runs").join(name));
        Record {
            arguments: arguments.clone(),
            folder,
            started,
            cutovers: Vec::new(),
            catch_ups: Vec::new(),
            windows: Vec::new(),
            failures: Vec::new(),
        }
    }

    pub(super) fn add_cutover(&mut self, round: Result<Round>) {
        let number = self.cutovers.len() + 1;
        match round {
            Ok(round) => {
                eprintln!("  {}", told(&round));
                self.fail(&format!("cutover {number}"), &round.violations);
                self.cutovers.push(round);
            }
            Err(error) => self.fail("cutover", &[format!("{error:#}")]),
        }
    }

    pub(super) fn add_catch_up(&mut self, round: Result<CatchUp>) {
        match round {
            Ok(round) => {
                let ours = round.vecferry.map_or("–".into(), |ours| format!("{ours:.2} s"));
                eprintln!("  plain {:.2} s, vecferry {ours}", round.plain);
                self.catch_ups.push(round);
            }
            Err(error) => self.fail("catch-up", &[format!("{error:#}")]),
        }
    }

    pub(super) fn add_latency(&mut self, latency: Result<Latency>) {
        match latency {
            Ok(latency) => {
                self.fail("latency", &latency.violations);
                self.windows = latency.windows;
            }
            Err(error) => self.fail("latency", &[format!("{error:#}")]),
        }
    }

    /// All that went wrong, a ledger's violations among them.
    pub(super) fn failures(&self) -> &[String] {
        &self.failures
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn fail(&mut self, what: &str, lines: &[String]) {
        for line in lines.iter().take(SHOWN) {
            eprintln!("  {what}: {line}");
            self.failures.push(format!("{what}: {line}"));
        }
        if lines.len() > SHOWN {
            self.failures.push(format!("{what}: and {} more", lines.len() - SHOWN));
        }
    }

    /// Writes `result.json` and `README.md`.
    pub(super) fn save(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let json = serde_json::to_string_pretty(&self.json())? + "\n";
        std::fs::write(self.folder.join("result.json"), json).context("write result.json")?;
        let arguments = &self.arguments;
        let readme = format!(
            "# Following {} rows of {} dimensions under {} writes/s\n\n`cargo xtask {}` at commit \
             {} on {} cores, {}.\nPostgreSQL {} → {}, fsync {}; servers, writer and vecferry share \
             the machine.\nA write is a statement or a transaction: 25 % inserts of a row, 35 % \
             updates of a text, 15 % of a vector,\n21 % deletes, 2 % inserts of several rows, 1 % \
             whole bots replaced, 1 % rolled back; {} connections.\n\n{}{}",
            arguments.rows,
            arguments.dims,
            arguments.writes,
            without_paths(std::env::args().skip(1)).join(" "),
            commit(),
            cores(),
            self.started.strftime("%Y-%m-%d %H:%M UTC"),
            Version::Pg16.postgres(),
            Version::Pg18.postgres(),
            if arguments.no_fsync { "off" } else { "on" },
            arguments.connections,
            self.tables(),
            self.verdict(),
        );
        std::fs::write(self.folder.join("README.md"), readme).context("write README.md")
    }

    fn verdict(&self) -> String {
        match (self.failures.len(), self.cutovers.len()) {
            (0, 0) => String::new(),
            (0, _) => {
                let writes: u64 = self.cutovers.iter().map(|round| round.acknowledged).sum();
                format!(
                    "Of {writes} writes acknowledged around the cutovers none was lost, and none \
                     that was refused came through.\n"
                )
            }
            (failed, _) => format!("**{failed} failures, see result.json.**\n"),
        }
    }

    /// The figures as Markdown.
    pub(super) fn tables(&self) -> String {
        let tables = [self.downtime_table(), self.catch_up_table(), self.latency_table()];
        tables.into_iter().filter(|table| !table.is_empty()).map(|table| table + "\n").collect()
    }

    /// Writing to a String cannot fail, here and below.
    fn downtime_table(&self) -> String {
        let mut text = String::new();
        if self.cutovers.is_empty() {
            return text;
        }
        text.push_str(
            "| downtime, seconds | switches | p50 | p99 | min–max |\n\
             | --- | ---: | ---: | ---: | ---: |\n",
        );
        let steps = self.steps().into_iter().map(|(name, values)| (format!("… {name}"), values));
        let downtimes = self.downtimes().into_iter();
        let downtimes = downtimes.map(|(name, values)| (name.to_owned(), values));
        for (name, values) in downtimes.chain(steps) {
            let (least, most) = spread(&values);
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {least:.3}–{most:.3} |",
                values.len(),
                shown(percentile_of(&values, 0.5)),
                shown(percentile_of(&values, 0.99)),
            );
        }
        text
    }

    fn catch_up_table(&self) -> String {
        let mut text = String::new();
        if self.catch_ups.is_empty() {
            return text;
        }
        let mib = self.catch_ups.iter().map(|one| one.bytes >> 20).max().unwrap_or_default();
        let _ = writeln!(
            text,
            "| catch-up with {mib} MiB of WAL | runs | median s | ratio |\n\
             | --- | ---: | ---: | ---: |"
        );
        let contestants =
            [("plain subscription", self.plain(), None), ("vecferry", self.ours(), self.ratio())];
        for (name, values, ratio) in contestants {
            let (runs, seconds) = (values.len(), shown(median(&values)));
            let _ = writeln!(text, "| {name} | {runs} | {seconds} | {} |", shown(ratio));
        }
        text
    }

    fn latency_table(&self) -> String {
        let mut text = String::new();
        if self.windows.is_empty() {
            return text;
        }
        text.push_str(
            "| writes to the source | writes/s | p50 ms | p99 ms | longest ms |\n\
             | --- | ---: | ---: | ---: | ---: |\n",
        );
        for window in &self.windows {
            let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1000.0;
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.2} | {:.2} | {:.1} |",
                window.name,
                window.writes as f64 / window.seconds,
                ms(window.p50),
                ms(window.p99),
                ms(window.longest),
            );
        }
        text
    }

    /// Each step of the cutovers with its seconds, in the order in which they come.
    fn steps(&self) -> Vec<(String, Vec<f64>)> {
        let mut steps: Vec<(String, Vec<f64>)> = Vec::new();
        for (name, seconds) in self.cutovers.iter().flat_map(|round| &round.cutover.said.steps) {
            match steps.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => values.push(*seconds),
                None => steps.push((name.clone(), vec![*seconds])),
            }
        }
        steps
    }

    /// Each kind of downtime with its values.
    fn downtimes(&self) -> Vec<(&'static str, Vec<f64>)> {
        let cutovers = || self.cutovers.iter().map(|round| &round.cutover);
        let rollbacks = || self.cutovers.iter().filter_map(|round| round.rollback.as_ref());
        let mut all = vec![
            ("cutover, as vecferry reports it", cutovers().map(|one| one.said.downtime).collect()),
            ("cutover, as the writer saw it", cutovers().map(|one| one.seen).collect()),
            (
                "rollback, as vecferry reports it",
                rollbacks().map(|one| one.said.downtime).collect(),
            ),
            ("rollback, as the writer saw it", rollbacks().map(|one| one.seen).collect()),
        ];
        all.retain(|(_, values): &(_, Vec<f64>)| !values.is_empty());
        all
    }

    fn plain(&self) -> Vec<f64> {
        self.catch_ups.iter().map(|round| round.plain).collect()
    }

    fn ours(&self) -> Vec<f64> {
        self.catch_ups.iter().filter_map(|round| round.vecferry).collect()
    }

    /// How many times as long as the plain subscription.
    fn ratio(&self) -> Option<f64> {
        Some(median(&self.ours())? / median(&self.plain())?)
    }

    fn json(&self) -> Value {
        let arguments = &self.arguments;
        let figures = |values: &[f64]| {
            json!({
                "p50": percentile_of(values, 0.5),
                "p99": percentile_of(values, 0.99),
                "values": values,
            })
        };
        let downtimes: serde_json::Map<String, Value> = self
            .downtimes()
            .into_iter()
            .map(|(name, values)| (name.to_owned(), figures(&values)))
            .collect();
        let steps: serde_json::Map<String, Value> =
            self.steps().into_iter().map(|(name, values)| (name, figures(&values))).collect();
        json!({
            "version": 1,
            "started": self.started.to_string(),
            "commit": commit(),
            "cores": cores(),
            "rows": arguments.rows,
            "dimensions": arguments.dims,
            "writes_per_second": arguments.writes,
            "connections": arguments.connections,
            "fsync": !arguments.no_fsync,
            "source": { "postgres": Version::Pg16.postgres(), "pgvector": Version::Pg16.pgvector() },
            "target": { "postgres": Version::Pg18.postgres(), "pgvector": Version::Pg18.pgvector() },
            "downtime_seconds": downtimes,
            "step_seconds": steps,
            "cutovers": self.cutovers.iter().map(round).collect::<Vec<_>>(),
            "catch_up": {
                "wal_bytes": self.catch_ups.iter().map(|one| one.bytes).collect::<Vec<_>>(),
                "plain": { "seconds": self.plain(), "median": median(&self.plain()) },
                "vecferry": { "seconds": self.ours(), "median": median(&self.ours()) },
                "ratio": self.ratio(),
            },
            "latency": self.windows.iter().map(window).collect::<Vec<_>>(),
            "failures": self.failures,
        })
    }
}

fn round(round: &Round) -> Value {
    let mut value = switch(&round.cutover);
    value["migrate_seconds"] = json!(round.migrate);
    value["rollback"] = round.rollback.as_ref().map_or(Value::Null, switch);
    value["acknowledged"] = json!(round.acknowledged);
    value["refused"] = json!(round.refused);
    value["unknown"] = json!(round.unknown);
    value["violations"] = json!(round.violations.len());
    value
}

fn switch(switch: &Switch) -> Value {
    let step = |(name, seconds): &(String, f64)| json!({ "name": name, "seconds": seconds });
    json!({
        "downtime_seconds": switch.said.downtime,
        "seen_seconds": switch.seen,
        "command_seconds": switch.said.seconds,
        "steps": switch.said.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn window(window: &Window) -> Value {
    json!({
        "name": window.name,
        "seconds": window.seconds,
        "writes": window.writes,
        "p50_ms": window.p50.as_secs_f64() * 1000.0,
        "p99_ms": window.p99.as_secs_f64() * 1000.0,
        "longest_ms": window.longest.as_secs_f64() * 1000.0,
    })
}

fn told(round: &Round) -> String {
    let one = |name: &str, switch: &Switch| {
        format!("{name}: {:.3} s reported, {:.3} s seen", switch.said.downtime, switch.seen)
    };
    let rollback = round.rollback.as_ref().map(|switch| one("; rollback", switch));
    format!(
        "{}{}; {} writes acknowledged, {} refused, {} unknown, {} violations",
        one("cutover", &round.cutover),
        rollback.unwrap_or_default(),
        round.acknowledged,
        round.refused,
        round.unknown,
        round.violations.len(),
    )
}

fn percentile_of(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, share)
}

fn shown(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.3}"))
}
