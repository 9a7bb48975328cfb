//! vecferry as an operator drives it: its command line, exit codes and JSON, and nothing else.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::runtime::Runtime;

/// No command takes so long; one that hangs must not hang the bench.
const LONGEST: Duration = Duration::from_secs(1800);

/// The program on one pair of databases.
pub(super) struct Vecferry<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) program: PathBuf,
    pub(super) pg_bin_dir: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) source: String,
    pub(super) target: String,
}

/// What a cutover or a rollback said of itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Switched {
    /// From the fence to the end of the switch, as it reports it.
    pub(super) downtime: f64,
    /// Its steps with their seconds.
    pub(super) steps: Vec<(String, f64)>,
    /// The whole command.
    pub(super) seconds: f64,
}

impl Vecferry<'_> {
    /// Copies, and returns when the target follows; how long that took in seconds.
    pub(super) fn migrate(&self) -> Result<f64> {
        let started = Instant::now();
        let words = ["migrate", "--method", "follow", "--detach", "--yes"];
        self.run(&[&words[..], &["--no-estimate", "--no-check"]].concat())?;
        Ok(started.elapsed().as_secs_f64())
    }

    /// What `status` says of the following.
    pub(super) fn lag_bytes(&self) -> Result<u64> {
        let status = self.json(&["status", "--json"])?;
        let lag = &status["follow"]["lag_bytes"];
        lag.as_u64().with_context(|| format!("status has no follow.lag_bytes but {lag}"))
    }

    /// Makes the target the application's database; the file then says so.
    pub(super) fn cutover(&self, url_file: &Path) -> Result<Switched> {
        self.switch("cutover", url_file)
    }

    /// Makes the source the application's database again.
    pub(super) fn rollback(&self, url_file: &Path) -> Result<Switched> {
        self.switch("rollback", url_file)
    }

    /// Removes all that the migration needed.
    pub(super) fn cleanup(&self) -> Result<()> {
        self.json(&["cleanup", "--yes", "--json"]).map(drop)
    }

    fn switch(&self, command: &str, url_file: &Path) -> Result<Switched> {
        let hook = hook(url_file)?;
        let started = Instant::now();
        let answer = self.json(&[command, "--yes", "--json", "--switch", &hook])?;
        Switched::read(&answer, started.elapsed().as_secs_f64())
            .with_context(|| format!("{command} answered {answer}"))
    }

    /// The object that a command prints.
    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.run(arguments)?;
        let answer: Value = serde_json::from_str(&output)
            .with_context(|| format!("{} printed no JSON object: {output}", arguments[0]))?;
        let version = &answer["version"];
        ensure!(version.as_u64().is_some(), "{} has version {version}", arguments[0]);
        Ok(answer)
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command
            .args(["--source", &self.source, "--target", &self.target, "--quiet"])
            .args(arguments)
            .env("VECFERRY_PG_BIN_DIR", &self.pg_bin_dir)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = async { tokio::time::timeout(LONGEST, command.output()).await };
        let output = self.runtime.block_on(ended);
        let output = output.with_context(|| format!("vecferry {} hangs", arguments[0]))?;
        let output = output.with_context(|| format!("start vecferry {}", arguments[0]))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (status, answer, said) = (output.status, text(&output.stdout), text(&output.stderr));
        let command = arguments[0];
        // A refused cutover says its reasons in the object that it prints.
        ensure!(status.success(), "vecferry {command} ended with {status}: {said} {answer}");
        Ok(answer)
    }
}

impl Switched {
    fn read(answer: &Value, seconds: f64) -> Result<Switched> {
        let downtime = answer["downtime_seconds"].as_f64().context("no downtime_seconds")?;
        let step =
            |step: &Value| Some((step["name"].as_str()?.to_owned(), step["seconds"].as_f64()?));
        let steps = answer["steps"].as_array().context("no steps")?.iter().map(step);
        let steps = steps.collect::<Option<_>>().context("a step without name or seconds")?;
        Ok(Switched { downtime, steps, seconds })
    }
}

/// Tells the writer where to go. Renamed into place, so that it never reads half a URL.
fn hook(url_file: &Path) -> Result<String> {
    let path = url_file.to_str().context("the scratch folder's name is not UTF-8")?;
    ensure!(!path.contains('\''), "the scratch folder's name has a quote in it");
    Ok(format!(
        "printf '%s\\n' \"$VECFERRY_SWITCH_URL\" > '{path}.next' && mv '{path}.next' '{path}'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_without_its_figures_is_an_error() {
        let whole = json!({"downtime_seconds": 0.5, "steps": [{"name": "fence", "seconds": 0.1}]});
        let switched = Switched::read(&whole, 2.0).unwrap();
        assert_eq!((switched.downtime, switched.seconds), (0.5, 2.0));
        assert_eq!(switched.steps, [("fence".to_owned(), 0.1)]);
        assert!(Switched::read(&json!({"steps": []}), 1.0).is_err());
        assert!(Switched::read(&json!({"downtime_seconds": 1}), 1.0).is_err());
        let nameless = json!({"downtime_seconds": 1, "steps": [{"seconds": 1}]});
        assert!(Switched::read(&nameless, 1.0).is_err());
    }

    #[test]
    fn the_hook_writes_the_url_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a url");
        let url = "postgresql://u:p%40'\"$x@127.0.0.1:5432/db";
        let status = std::process::Command::new("sh")
            .args(["-c", &hook(&file).unwrap()])
            .env("VECFERRY_SWITCH_URL", url)
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), url);
        assert!(hook(Path::new("it's")).is_err());
    }
}
