//! Runs pg_dump and pg_restore: the archive of the schema, and scripts cut from it.
//!
//! Scripts are run by us and not by pg_restore, so that objects and the record of them commit together. What psql
//! alone would understand (`\restrict`) and what an older server would refuse (`SET transaction_timeout`) stands in
//! the script's preamble only, which is cut off.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use super::toc::{self, Entry};
use crate::error::{Error, Result, Side};
use crate::pg::programs::Programs;
use crate::pg::{Dsn, WireConnection};
use crate::source::import_snapshot;

/// An archive of a source's schema, in a directory that goes with it.
pub(super) struct Archive {
    directory: TempDir,
    programs: Programs,
}

/// What to dump, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dump<'a> {
    /// Name of the exported snapshot.
    pub(super) snapshot: &'a str,
    /// Tables to leave out, as quoted names.
    pub(super) excluded: &'a [String],
    /// How long pg_dump may wait for a table's lock.
    pub(super) lock_timeout: Duration,
}

/// The two halves of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Schemas, types, functions, tables, views.
    PreData,
    /// Indexes, constraints, triggers, rules, policies, refreshes.
    PostData,
}

impl Section {
    fn flag(self) -> &'static str {
        match self {
            Section::PreData => "--section=pre-data",
            Section::PostData => "--section=post-data",
        }
    }
}

impl Archive {
    /// Dumps the schema under an exported snapshot, without the `excluded` tables (quoted names).
    ///
    /// # Errors
    /// [`Error::Program`] with pg_dump's last words.
    pub(super) async fn dump(programs: Programs, source: &Dsn, dump: Dump<'_>) -> Result<Archive> {
        let archive = Archive { directory: temporary_directory()?, programs };
        let authorities = archive.authorities(source).await?;
        loop {
            let login = source.login();
            let environment = source.libpq_environment(&login, authorities.as_deref());
            let mut command = archive.dump_command(dump);
            command.envs(environment);
            let Err(error) = run(command, "pg_dump").await else { return Ok(archive) };
            // pg_dump does not say whether it was its login that was refused, or that the snapshot is gone; a session of
            // our own does, and takes the new login when there is one.
            let mut session = WireConnection::open(source, Side::Source, "dump").await?;
            import_snapshot(&mut session, dump.snapshot).await?;
            if source.login() == login {
                return Err(error);
            }
        }
    }

    fn dump_command(&self, dump: Dump<'_>) -> Command {
        let mut command = command(&self.programs.pg_dump.path);
        command
            .args(["--format=custom", "--section=pre-data", "--section=post-data", "--no-password"])
            .args([
                "--no-publications",
                "--no-subscriptions",
                "--no-tablespaces",
                "--exclude-schema=vecferry",
            ])
            // Quoted names are taken literally. pg_dump locks what it dumps, which an excluded table may not allow.
            .args(dump.excluded.iter().map(|name| format!("--exclude-table={name}")))
            .arg(format!("--snapshot={}", dump.snapshot))
            .arg(format!("--lock-wait-timeout={}", dump.lock_timeout.as_millis()))
            .arg(format!("--file={}", self.path().display()));
        command
    }

    /// A file with the authorities that pg_dump needs to verify this host, in our directory, which nobody else can
    /// write to.
    async fn authorities(&self, source: &Dsn) -> Result<Option<PathBuf>> {
        let Some(pem) = source.authorities() else { return Ok(None) };
        let path = self.directory.path().join("authorities.pem");
        let written = tokio::fs::write(&path, pem).await;
        written.map_err(|error| Error::Local {
            doing: format!("write {}", path.display()),
            source: error,
        })?;
        Ok(Some(path))
    }

    /// An archive that was recorded.
    ///
    /// # Errors
    /// [`Error::Local`] when it cannot be written down.
    pub(super) async fn restore(programs: Programs, bytes: &[u8]) -> Result<Archive> {
        let archive = Archive { directory: temporary_directory()?, programs };
        let path = archive.path();
        tokio::fs::write(&path, bytes).await.map_err(|source| Error::Local {
            doing: format!("write {}", path.display()),
            source,
        })?;
        Ok(archive)
    }

    /// The archive as it is to be recorded.
    ///
    /// # Errors
    /// [`Error::Local`] when it cannot be read.
    pub(super) async fn bytes(&self) -> Result<Vec<u8>> {
        let path = self.path();
        tokio::fs::read(&path)
            .await
            .map_err(|source| Error::Local { doing: format!("read {}", path.display()), source })
    }

    /// The table of contents.
    ///
    /// # Errors
    /// [`Error::Program`] with pg_restore's last words.
    pub(super) async fn entries(&self) -> Result<Vec<Entry>> {
        let mut command = command(&self.programs.pg_restore.path);
        command.arg("--list").arg(self.path());
        Ok(toc::parse(&run(command, "pg_restore").await?))
    }

    /// The SQL of the given entries that are in `section`, without the preamble.
    ///
    /// # Errors
    /// [`Error::Program`] with pg_restore's last words.
    pub(super) async fn script(
        &self,
        section: Section,
        entries: &[Entry],
        with_roles: bool,
    ) -> Result<String> {
        let list = self.directory.path().join("list");
        let lines: String = entries.iter().map(|entry| format!("{}\n", entry.line)).collect();
        tokio::fs::write(&list, lines).await.map_err(|source| Error::Local {
            doing: format!("write {}", list.display()),
            source,
        })?;
        let mut command = command(&self.programs.pg_restore.path);
        command.arg(section.flag()).arg("--use-list").arg(&list).arg("--file=-").arg(self.path());
        if !with_roles {
            command.args(["--no-owner", "--no-privileges"]);
        }
        Ok(body(&run(command, "pg_restore").await?).to_owned())
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("schema.dump")
    }
}

fn temporary_directory() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("vecferry-")
        .tempdir()
        .map_err(|source| Error::Local { doing: "create a temporary directory".into(), source })
}

/// The statements between preamble and epilogue; empty when the script holds none.
fn body(script: &str) -> &str {
    let Some(start) = script.find("\n--\n-- Name: ") else { return "" };
    let end = script.rfind("\n--\n-- PostgreSQL database dump complete").unwrap_or(script.len());
    &script[start..end.max(start)]
}

/// A command that sees none of the operator's own libpq settings.
fn command(path: &std::path::Path) -> Command {
    let mut command = Command::new(path);
    for name in [
        "PGSERVICE",
        "PGOPTIONS",
        "PGHOSTADDR",
        "PGSSLCERT",
        "PGSSLKEY",
        "PGPASSFILE",
        "PGCLIENTENCODING",
    ] {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(mut command: Command, program: &'static str) -> Result<String> {
    let output = command
        .output()
        .await
        .map_err(|source| Error::Local { doing: format!("start {program}"), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let hint = [
        (
            "server version mismatch",
            "pg_dump must be at least as new as the source; point --pg-bin-dir to a newer one",
        ),
        (
            // pg_dump's way of waiting for a lock.
            "statement timeout",
            "somebody locks a table of the source or waits to; end that session, or raise --lock-timeout, and run again",
        ),
    ]
    .into_iter()
    .find_map(|(said, hint)| stderr.contains(said).then(|| hint.to_owned()));
    Err(Error::Program {
        side: Side::Source,
        program,
        said: said[said.len().saturating_sub(3)..].join("; "),
        // libpq's own words, in the C locale (fe-misc.c, fe-connect.c).
        lost_connection: [
            "server closed the connection",
            "connection to server",
            "terminating connection",
        ]
        .iter()
        .any(|words| stderr.contains(words)),
        hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preamble_and_epilogue_are_cut_off() {
        let script = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET transaction_timeout = 0;\n\n\
                      --\n-- Name: s; Type: SCHEMA; Schema: -; Owner: -\n--\n\nCREATE SCHEMA s;\n\n\n\
                      --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n";
        assert!(body(script).contains("CREATE SCHEMA s;"));
        assert!(
            !body(script).contains("restrict") && !body(script).contains("transaction_timeout")
        );
        assert_eq!(body("--\n-- PostgreSQL database dump\n--\n\nSET x = 0;\n"), "");
    }
}
