//! What a migration is doing, read from the record on the target and from PostgreSQL's own progress views: from any
//! machine, while it runs and after a crash.

mod follow;

use std::collections::HashMap;

use serde::Serialize;

use crate::cutover::step::{Direction, Step};
use crate::error::{Error, Result, Side};
use crate::index::build::read_progress;
use crate::pg::{Dsn, Session};
use crate::phase::{Phase, Route};
use crate::policy::Method;
use crate::reembed::store::{Counts, bot_counts};
use crate::store::{self, CrossingRecord, IndexRecord, MigrationRecord, RelationRecord, Totals};
pub use follow::{FollowState, FollowStatus, LinkStatus};

/// The newest migration found on a target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Layout version of this object.
    pub version: u32,
    /// Migration id.
    pub migration: String,
    /// `copy`, `follow`, `reembed` or `delta`.
    pub method: String,
    /// Source as `host:port/database`; in a `reembed` the registry in words.
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
    /// How apply is doing; `None` in a `copy`.
    pub follow: Option<FollowStatus>,
    /// The cutover and the rollback, as far as they were begun.
    pub crossings: Vec<CrossingStatus>,
    /// How many bots are where; only in a `reembed`, and in a `delta` once its bots' turn has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bots: Option<Counts>,
}

/// How far a cutover or rollback is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossingStatus {
    /// Which way.
    pub direction: Direction,
    /// The step that is recorded; before `switching` and after `undone` the sender's fence may be up.
    pub step: Step,
    /// Whether a cutover has, or is to have, a way back.
    pub way_back: bool,
    /// When the application was switched, RFC 3339.
    pub switched_at: Option<String>,
    /// Seconds from the fence to the switch.
    pub downtime_seconds: Option<f64>,
    /// Why it was undone, or what stopped it.
    pub last_error: Option<String>,
}

impl Status {
    /// Whether the application was taken back to the source, or may have been: the source then is in use again. A
    /// cutover that follows takes the rollback's record back.
    pub fn rolled_back(&self) -> bool {
        self.crossings.iter().any(|crossing| {
            crossing.direction == Direction::Rollback
                && matches!(crossing.step, Step::Switching | Step::Switched | Step::Finished)
        })
    }
}

/// Cutover and rollback of a migration, in that order.
async fn crossings(session: &Session, id: &str) -> Result<Vec<CrossingStatus>> {
    let mut found = Vec::new();
    for direction in [Direction::Cutover, Direction::Rollback] {
        if let Some(record) = CrossingRecord::read(session, id, direction).await? {
            found.push(CrossingStatus {
                direction,
                step: record.step,
                way_back: record.way_back,
                switched_at: record.switched_at,
                downtime_seconds: record.downtime_seconds,
                last_error: record.last_error,
            });
        }
    }
    Ok(found)
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

/// Reads the newest migration recorded on the target; `None` when there is none. Of a `follow` it tells what the target
/// knows; [`status_of`] asks the source as well.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target cannot be read.
pub async fn status(target: &Dsn) -> Result<Option<Status>> {
    status_of(target, None).await
}

/// Likewise, with what the source says of a `follow`, if it is named and answers: that it does not is a fact and no
/// error. Takes a second longer while changes are applied, for the rate.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target cannot be read.
pub async fn status_of(target: &Dsn, source: Option<&Dsn>) -> Result<Option<Status>> {
    let session = Session::open(target, Side::Target, "status").await?;
    if !store::exists(&session).await? {
        return Ok(None);
    }
    let Some(record) = MigrationRecord::newest(&session).await? else { return Ok(None) };
    let relations = RelationRecord::all(&session, &record.id).await?;
    let indexes = IndexRecord::all(&session, &record.id).await?;
    let totals = Totals::of(&relations);
    let running = store::lock_holder(&session).await?.is_some();
    let (rows, bytes) = in_flight(&session).await?;
    let (bytes, rows) = (totals.bytes + bytes, totals.rows + rows);
    let bytes_expected = totals.bytes_expected().max(bytes);
    let copying = running && record.phase == Phase::Rows;
    let bytes_per_second = if copying { rate(&session, &record.id).await? } else { None };
    // Whoever watched a follow stopped watching, which stopped nothing.
    let (following, interrupted) =
        (record.phase == Phase::Following, Error::Interrupted.to_string());
    let follow = match record.route.method() {
        Method::Follow => Some(follow::read(&session, source, &record).await?),
        _ => None,
    };
    let crossings = crossings(&session, &record.id).await?;
    let bots = match (record.route, record.phase) {
        (Route::Reembed | Route::Delta, Phase::Embedding | Phase::Done) => {
            bot_counts(&session, &record.id).await?
        }
        _ => None,
    };
    Ok(Some(Status {
        version: 1,
        crossings,
        bots,
        migration: record.id,
        method: record.route.method().to_string(),
        source: record.source.address,
        phase: record.phase,
        running,
        started_at: record.started_at,
        updated_at: record.updated_at,
        finished_at: record.finished_at,
        rows,
        bytes,
        bytes_expected,
        parts: totals.parts as u64,
        parts_total: totals.parts_total as u64,
        bytes_per_second,
        eta_seconds: bytes_per_second.and_then(|rate| eta(bytes_expected - bytes, rate)),
        tables: relations.iter().map(table).collect(),
        indexes: if running { building(&session).await? } else { Vec::new() },
        indexes_finished: indexes.iter().filter(|index| index.finished).count() as u64,
        indexes_total: indexes.len() as u64,
        last_error: record.last_error.filter(|why| !running && (!following || *why != interrupted)),
        follow,
    }))
}

/// Seconds for `bytes` at `rate` bytes per second.
#[allow(clippy::cast_precision_loss)] // A rough figure for people.
fn eta(bytes: u64, rate: f64) -> Option<f64> {
    (rate > 0.0).then(|| bytes as f64 / rate)
}

fn table(record: &RelationRecord) -> TableStatus {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    TableStatus {
        table: record.relation.name.plain(),
        rows: record.finished.iter().map(|part| part.rows).sum(),
        bytes: record.finished.iter().map(|part| part.bytes).sum(),
        parts: count(record.finished.len()),
        parts_total: count(record.finished.len() + record.open.len()),
    }
}

/// Rows and bytes of the parts being copied now, from `pg_stat_progress_copy`.
async fn in_flight(session: &Session) -> Result<(u64, u64)> {
    let sql = "SELECT COALESCE(sum(tuples_processed), 0)::bigint, COALESCE(sum(bytes_processed), 0)::bigint \
               FROM pg_stat_progress_copy JOIN pg_stat_activity USING (pid) \
               WHERE application_name = 'vecferry copy' AND command = 'COPY FROM' \
               AND pg_stat_activity.datname = current_database()";
    // The view exists from PostgreSQL 14.
    let there = "SELECT to_regclass('pg_catalog.pg_stat_progress_copy') IS NOT NULL";
    if !session.query_one("look for a view", there, &[]).await?.get::<_, bool>(0) {
        return Ok((0, 0));
    }
    let row = session.query_one("read the progress of the copy", sql, &[]).await?;
    Ok((row.get::<_, i64>(0).cast_unsigned(), row.get::<_, i64>(1).cast_unsigned()))
}

/// COPY bytes per second over the newest parts.
async fn rate(session: &Session, id: &str) -> Result<Option<f64>> {
    let sql = "SELECT (sum(bytes) / NULLIF(extract(epoch FROM max(finished_at) - min(finished_at - seconds * interval '1 s')), 0))::float8 \
               FROM (SELECT bytes, finished_at, seconds FROM vecferry.part WHERE migration = $1 \
                     AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 16) recent";
    Ok(session.query_one("read the rate", sql, &[&id]).await?.get(0))
}

/// Index builds of ours, by the name in their session's application name.
async fn building(session: &Session) -> Result<Vec<IndexStatus>> {
    let sql = "SELECT pid, substr(application_name, length('vecferry index ') + 1) FROM pg_stat_activity \
               WHERE application_name LIKE 'vecferry index %' AND datname = current_database()";
    let rows = session.query("look for index builds", sql, &[]).await?;
    let names: HashMap<i32, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let progress = read_progress(session).await?;
    let status = |(pid, phase, percent): (i32, String, Option<f64>)| {
        Some(IndexStatus { index: names.get(&pid)?.clone(), phase, percent })
    };
    Ok(progress.into_iter().filter_map(status).collect())
}
