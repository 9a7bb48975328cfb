//! The preflight: everything that would stop or surprise a migration, found before it starts, all at once, each with
//! what to do about it.
//!
//! [`gather`] reads both clusters into [`Facts`] and judges nothing; every judgement is a pure function over them,
//! listed in [`CHECKS`] and, for `follow`, in `replication::CHECKS`. A side that cannot be read is a finding, and whatever needs only the other side still runs.
//! Nothing is changed on either cluster.

mod access;
mod capacity;
mod connection;
mod facts;
mod gather;
mod replication;
mod tables;
#[cfg(test)]
mod tests;
mod versions;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use facts::{
    Answer, Available, Connections, Extra, Facts, FiringTrigger, Identity, Known, OpenTransaction,
    Prepared, Replication, Schema, SideFacts, TableOwner, Unreadable, VectorSample, Way,
};

use crate::error::{Result, Side};
use crate::policy::{Clusters, Policy};

/// How much a finding matters. Ordered: what blocks comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The migration would fail or do harm; it must not start.
    Blocker,
    /// It can go on, with a consequence somebody should have accepted.
    Warning,
    /// Worth knowing.
    Note,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Name of the check, one of [`Report::checked`].
    pub check: String,
    /// The cluster it is about; `None` when it is about both or about this machine.
    pub side: Option<Side>,
    /// What was found, in lower case, with the facts.
    pub what: String,
    /// What to do about it, or why nothing needs to be done.
    pub remedy: String,
}

/// A check that had to be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotRun {
    /// Name of the check.
    pub check: String,
    /// Why.
    pub why: String,
}

/// What the preflight found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Layout version of this object.
    pub version: u32,
    /// Most severe first, then in the order of the checks.
    pub findings: Vec<Finding>,
    /// Names of the checks that ran, so that their silence means something.
    pub checked: Vec<String>,
    /// Checks that could not run.
    pub could_not_run: Vec<NotRun>,
}

impl Report {
    /// Takes over what other checks found; most severe first.
    pub fn add(&mut self, other: Report) {
        self.findings.extend(other.findings);
        self.checked.extend(other.checked);
        self.could_not_run.extend(other.could_not_run);
        self.findings.sort_by_key(|finding| finding.severity);
    }

    /// Whether the migration must not start.
    pub fn blocks(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Blocker)
    }
}

/// Checks both clusters and this machine.
///
/// # Errors
/// [`crate::Error::Interrupted`] when cancelled. A cluster that cannot be reached is a finding, not an error.
pub async fn check(
    clusters: &Clusters,
    policy: &Policy,
    cancel: &CancellationToken,
) -> Result<Report> {
    Ok(examine(clusters, policy, cancel).await?.report)
}

/// What the preflight found, and what checks elsewhere derive from the same facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The findings.
    pub report: Report,
    /// Memory that the largest build of a vector index wants on the target, in bytes; `None` when there is none, or
    /// the source cannot be read.
    pub index_bytes: Option<u64>,
}

/// Checks both clusters and this machine, for whoever checks more.
///
/// # Errors
/// As [`check`].
pub async fn examine(
    clusters: &Clusters,
    policy: &Policy,
    cancel: &CancellationToken,
) -> Result<Examined> {
    let facts = gather::gather(clusters, policy, cancel).await?;
    Ok(Examined { report: judge(&facts), index_bytes: capacity::largest_build(&facts) })
}

/// Runs every check over the facts. Pure.
pub fn judge(facts: &Facts) -> Report {
    let mut report =
        Report { version: 1, findings: vec![], checked: vec![], could_not_run: vec![] };
    let follow: &[Check] = if facts.follows() { replication::CHECKS } else { &[] };
    for check in CHECKS.iter().chain(follow) {
        match check.missing(facts) {
            Some(why) => report.could_not_run.push(NotRun { check: check.name.into(), why }),
            None => {
                report.checked.push(check.name.into());
                let found = (check.run)(facts).into_iter();
                report
                    .findings
                    .extend(found.map(|finding| Finding { check: check.name.into(), ..finding }));
            }
        }
    }
    report.could_not_run.extend(facts.left_out.iter().cloned());
    // Stable, so that findings of one severity keep the order of the checks.
    report.findings.sort_by_key(|finding| finding.severity);
    report
}

/// The sides a check reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Source,
    Target,
    Both,
}

/// A named judgement.
struct Check {
    name: &'static str,
    needs: Needs,
    run: fn(&Facts) -> Vec<Finding>,
}

impl Check {
    /// Why it cannot run, if it cannot.
    fn missing(&self, facts: &Facts) -> Option<String> {
        let wanted: &[Side] = match self.needs {
            Needs::Nothing => &[],
            Needs::Source => &[Side::Source],
            Needs::Target => &[Side::Target],
            Needs::Both => &[Side::Source, Side::Target],
        };
        let missing: Vec<String> = wanted
            .iter()
            .filter(|side| facts.side(**side).known().is_none())
            .map(ToString::to_string)
            .collect();
        (!missing.is_empty()).then(|| format!("the {} cannot be read", missing.join(" and the ")))
    }
}

/// Every check, in the order in which an operator would look.
const CHECKS: &[Check] = &[
    Check { name: "reachable", needs: Needs::Nothing, run: connection::reachable },
    Check { name: "client programs", needs: Needs::Nothing, run: versions::programs },
    Check { name: "different databases", needs: Needs::Both, run: connection::different_databases },
    Check {
        name: "one server behind the address",
        needs: Needs::Nothing,
        run: connection::one_server,
    },
    Check { name: "source is the writer", needs: Needs::Source, run: connection::source_writer },
    Check { name: "target is writable", needs: Needs::Target, run: connection::target_writable },
    Check { name: "encryption", needs: Needs::Nothing, run: connection::encryption },
    Check { name: "free connections", needs: Needs::Nothing, run: connection::free_connections },
    Check { name: "session limits", needs: Needs::Nothing, run: connection::session_limits },
    Check { name: "other migrations", needs: Needs::Target, run: connection::other_migrations },
    Check { name: "server versions", needs: Needs::Both, run: versions::servers },
    Check { name: "pgvector version", needs: Needs::Both, run: versions::pgvector },
    Check { name: "extensions", needs: Needs::Both, run: versions::extensions },
    Check { name: "selected tables", needs: Needs::Source, run: tables::selected },
    Check { name: "source privileges", needs: Needs::Source, run: access::source },
    Check { name: "row security", needs: Needs::Source, run: access::row_security },
    Check { name: "target privileges", needs: Needs::Both, run: access::target },
    Check { name: "roles", needs: Needs::Both, run: access::roles },
    Check { name: "target tables", needs: Needs::Both, run: tables::differences },
    Check { name: "rows on the target", needs: Needs::Both, run: tables::rows },
    Check { name: "keys", needs: Needs::Source, run: tables::keys },
    Check { name: "binary format", needs: Needs::Source, run: tables::binary },
    Check { name: "special tables", needs: Needs::Source, run: tables::special },
    Check { name: "triggers", needs: Needs::Both, run: tables::triggers },
    Check { name: "encoding", needs: Needs::Both, run: tables::encoding },
    Check { name: "index memory", needs: Needs::Both, run: capacity::index_memory },
    Check { name: "disk space", needs: Needs::Both, run: capacity::disk },
    Check { name: "vectors", needs: Needs::Source, run: capacity::vectors },
];

fn blocker(side: Option<Side>, what: String, remedy: impl Into<String>) -> Finding {
    found(Severity::Blocker, side, what, remedy.into())
}

fn warning(side: Option<Side>, what: String, remedy: impl Into<String>) -> Finding {
    found(Severity::Warning, side, what, remedy.into())
}

fn note(side: Option<Side>, what: String, remedy: impl Into<String>) -> Finding {
    found(Severity::Note, side, what, remedy.into())
}

/// The check's name is filled in by [`judge`], so that no function can get it wrong.
fn found(severity: Severity, side: Option<Side>, what: String, remedy: String) -> Finding {
    Finding { severity, check: String::new(), side, what, remedy }
}

/// How many names a line shows before it counts the rest.
const SHOWN: usize = 5;

/// `a, b, c, d, e and 7 more`.
fn some_of<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// `1 table`, `3 tables`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// A size with one decimal: `1.5 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, size) in UNITS {
        if bytes >= size {
            let tenths = bytes / (size / 10).max(1);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}
