//! The program under test, started with a clean environment in an empty folder.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// One invocation's outcome.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn new(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The only object on stdout.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {}", self.stdout))
    }

    /// Fails with everything that was printed, unless the exit code is this one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ran {
        let Ran { code: got, stdout, stderr } = &self;
        assert_eq!(*got, Some(code), "stdout:\n{stdout}\nstderr:\n{stderr}");
        self
    }
}

/// A folder of its own and the variables it sets.
pub(crate) struct Program {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Program {
    pub(crate) fn new() -> Program {
        Program { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Program {
        self.variables.push((name.into(), value.into()));
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vecferry"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        let ours = std::env::vars().map(|(name, _)| name);
        for name in ours.filter(|name| name.starts_with("VECFERRY_") || name.starts_with("PG")) {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().cloned());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::new(self.command(arguments).output().unwrap())
    }
}
