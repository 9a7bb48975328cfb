//! A run of `migrate --json` in the middle: its events as they come, and its end at a chosen one.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use serde_json::Value;
use vecferry_testkit::{Database, FaultProxy, Version};

use crate::program::Program;

/// Parts so small that every table of a few hundred rows has several.
pub(crate) const MIGRATE: [&str; 7] =
    ["migrate", "--json", "--yes", "--no-check", "--no-estimate", "--part-size", "64KiB"];

/// The program between two clusters, with the newest pg_dump.
pub(crate) fn program(source: &str, target: &str) -> Program {
    let programs = Version::Pg18.bin_dir().unwrap();
    Program::new()
        .set("VECFERRY_SOURCE", source)
        .set("VECFERRY_TARGET", target)
        .set("VECFERRY_PG_BIN_DIR", programs.to_str().unwrap())
}

/// A run in progress. Dropping it kills it.
pub(crate) struct Migrating {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) events: Vec<Value>,
}

impl Migrating {
    pub(crate) fn start(program: &Program, more: &[&str]) -> Migrating {
        let arguments: Vec<&str> = MIGRATE.iter().chain(more).copied().collect();
        Migrating::start_with(program, &arguments)
    }

    /// A run with these words alone.
    pub(crate) fn start_with(program: &Program, arguments: &[&str]) -> Migrating {
        let mut command = program.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Migrating { child, stdout, events: Vec::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next event; `None` at the end of the run.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        // A line cut short by a kill is no event.
        let event: Value = serde_json::from_str(&line).ok()?;
        self.events.push(event.clone());
        Some(event)
    }

    /// Reads until an event fits; fails when the run ends before.
    #[track_caller]
    pub(crate) fn until(&mut self, fits: impl Fn(&Value) -> bool) {
        while let Some(event) = self.next() {
            if fits(&event) {
                return;
            }
        }
        let stderr = self.stderr();
        panic!("the run ended before the event: {:#?}\n{stderr}", self.events);
    }

    /// SIGKILL. Events that were written before it are read.
    pub(crate) fn kill(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        while self.next().is_some() {}
        self.child.wait().unwrap();
        std::mem::take(&mut self.events)
    }

    /// Waits for the end: exit code, events, stderr.
    pub(crate) fn finish(mut self) -> (Option<i32>, Vec<Value>, String) {
        while self.next().is_some() {}
        let stderr = self.stderr();
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.events), stderr)
    }

    /// Runs until so many bytes have passed the proxy; false when the run ended before.
    pub(crate) fn until_passed(&mut self, proxy: &FaultProxy, bytes: u64) -> bool {
        while !proxy.wait_until_passed(bytes, Duration::from_millis(20)) {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
        }
        true
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Migrating {
    fn drop(&mut self) {
        // Fails only for a run that has ended already.
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// `event` of this name, and of this phase where one is given.
pub(crate) fn is(event: &Value, name: &str, phase: &str) -> bool {
    event["event"] == name && (phase.is_empty() || event["phase"] == phase)
}

/// Which parts the runs of one migration have reported; each must be reported once.
#[derive(Default)]
pub(crate) struct Parts(HashSet<(String, u64)>);

impl Parts {
    #[track_caller]
    pub(crate) fn add(&mut self, events: &[Value], what: &str) {
        for event in events {
            assert!(!is(event, "table_redone", ""), "{what}: {event}");
            if is(event, "part_finished", "") {
                let part = (event["table"].to_string(), event["part"].as_u64().unwrap());
                assert!(self.0.insert(part), "{what}: copied twice: {event}");
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Waits until a query gives true. For what the server does by itself, a moment after we did something.
pub(crate) async fn wait_until(database: &Database, sql: &str) {
    let session = database.connect().await.unwrap();
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    while !session.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(tokio::time::Instant::now() < patience, "never came true: {sql}");
    }
}
