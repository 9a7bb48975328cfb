//! PostgreSQL's own client programs on this machine: where they are and which version they are. What to do with
//! them is the caller's business.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::{Error, Result};

/// One program that answered `--version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What to start: a path, or a bare name that the operating system finds on `PATH`.
    pub path: PathBuf,
    /// Version as it says itself, for example `18.4`.
    pub version: String,
    /// Major version, for example 18.
    pub major: u32,
}

/// The programs that move a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// `pg_dump`. Refuses a server newer than itself.
    pub pg_dump: Program,
    /// `pg_restore`. Refuses an archive of a `pg_dump` newer than itself.
    pub pg_restore: Program,
}

impl Programs {
    /// Finds both in `bin_dir`, or on `PATH` when that is `None`.
    ///
    /// # Errors
    /// [`Error::Configuration`] when one is missing, cannot be run or says no version.
    pub async fn find(bin_dir: Option<&Path>) -> Result<Programs> {
        Ok(Programs {
            pg_dump: Program::find("pg_dump", bin_dir).await?,
            pg_restore: Program::find("pg_restore", bin_dir).await?,
        })
    }

    /// The newest server major that both can handle.
    pub fn major(&self) -> u32 {
        self.pg_dump.major.min(self.pg_restore.major)
    }
}

impl Program {
    async fn find(name: &'static str, bin_dir: Option<&Path>) -> Result<Program> {
        let path = bin_dir.map_or_else(|| PathBuf::from(name), |dir| dir.join(name));
        let place = match bin_dir {
            Some(dir) => format!("in {}", dir.display()),
            None => "on PATH".to_owned(),
        };
        let output = Command::new(&path)
            .arg("--version")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => unusable(format!("{name} was not found {place}")),
                _ => unusable(format!("{name} {place} cannot be run: {error}")),
            })?;
        let said = String::from_utf8_lossy(&output.stdout);
        match parse_version(&said) {
            Some((version, major)) if output.status.success() => {
                Ok(Program { path, version, major })
            }
            _ => Err(unusable(format!("{name} {place} does not say its version"))),
        }
    }
}

fn unusable(what: String) -> Error {
    Error::Configuration {
        what,
        hint: Some(
            "install PostgreSQL's client programs, or name their directory with --pg-bin-dir"
                .into(),
        ),
    }
}

/// The version in `pg_dump (PostgreSQL) 18.4 (Debian 18.4-1)`, and its major number.
fn parse_version(said: &str) -> Option<(String, u32)> {
    let version = said.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((version.to_owned(), digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_whatever_a_distribution_adds() {
        for (said, version, major) in [
            ("pg_dump (PostgreSQL) 18.4\n", "18.4", 18),
            ("pg_restore (PostgreSQL) 16.10 (Debian 16.10-1.pgdg13+1)\n", "16.10", 16),
            ("pg_dump (PostgreSQL) 19beta1\n", "19beta1", 19),
        ] {
            assert_eq!(parse_version(said), Some((version.to_owned(), major)), "{said}");
        }
        assert_eq!(parse_version("pg_dump: command not understood"), None);
        assert_eq!(parse_version("pg_dump (PostgreSQL)"), None);
    }

    #[tokio::test]
    async fn a_missing_program_is_named_with_the_place_searched() {
        let dir = tempfile::tempdir().unwrap();
        let error = Programs::find(Some(dir.path())).await.unwrap_err();
        assert!(error.to_string().starts_with("pg_dump was not found in /"), "{error}");
        assert!(error.hint().unwrap().contains("--pg-bin-dir"));
    }
}
