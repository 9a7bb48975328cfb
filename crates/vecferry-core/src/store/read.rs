//! Reading the record back.

use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};

use super::Relation;
use crate::copy::digest::{BotKey, Digest, Digests};
use crate::copy::part::{Part, PreservedBots};
use crate::error::{Error, Result, on};
use crate::index::IndexPlan;
use crate::pg::{CopyFormat, QualifiedName, Session};
use crate::phase::{Phase, Route};
use crate::source::{SnapshotBounds, SourceIdentity};

/// A migration as recorded.
#[derive(Debug, Clone)]
pub(crate) struct MigrationRecord {
    /// Migration id.
    pub id: String,
    /// Its method and the order of its phases.
    pub route: Route,
    /// Source it belongs to.
    pub source: SourceIdentity,
    /// Phase in progress.
    pub phase: Phase,
    /// Seconds per phase over all runs, in phase order.
    pub phase_seconds: Vec<(Phase, f64)>,
    /// Seconds per phase as planned, in phase order.
    pub estimates: Vec<(Phase, f64)>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// RFC 3339.
    pub finished_at: Option<String>,
    /// What ended the last run early.
    pub last_error: Option<String>,
}

impl MigrationRecord {
    /// The newest migration on the target.
    ///
    /// # Errors
    /// [`Error::Postgres`] when the target cannot be read.
    pub(crate) async fn newest(session: &Session) -> Result<Option<MigrationRecord>> {
        let sql = format!("{SELECT} ORDER BY started_at DESC LIMIT 1");
        let row = session.query_opt("read the record", &sql, &[]).await?;
        row.as_ref().map(migration).transpose()
    }

    /// Every migration on the target, the newest last.
    ///
    /// # Errors
    /// [`Error::Postgres`] when the target cannot be read.
    pub(crate) async fn all(session: &Session) -> Result<Vec<MigrationRecord>> {
        let sql = format!("{SELECT} ORDER BY started_at");
        let rows = session.query("read the record", &sql, &[]).await?;
        rows.iter().map(migration).collect()
    }
}

/// What [`migration`] takes apart.
const SELECT: &str = r#"SELECT id, route, source, phase, phase_seconds, estimates,
    to_char(started_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), to_char(updated_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    to_char(finished_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), last_error FROM vecferry.migration"#;

fn migration(row: &Row) -> Result<MigrationRecord> {
    let (route, phase): (String, String) = (row.get(1), row.get(3));
    let Json(source): Json<SourceIdentity> = row.get(2);
    Ok(MigrationRecord {
        id: row.get(0),
        route: Route::parse(&route).ok_or_else(|| Error::Bug {
            what: format!("the record names a route {route:?} that is unknown"),
        })?,
        source,
        phase: Phase::parse(&phase).ok_or_else(|| Error::Bug {
            what: format!("the record names a phase {phase:?} that is unknown"),
        })?,
        phase_seconds: by_phase(row, 4),
        estimates: by_phase(row, 5),
        started_at: row.get(6),
        updated_at: row.get(7),
        finished_at: row.get(8),
        last_error: row.get(9),
    })
}

fn by_phase(row: &Row, column: usize) -> Vec<(Phase, f64)> {
    let Json(seconds): Json<serde_json::Value> = row.get(column);
    Phase::ALL
        .into_iter()
        .filter_map(|phase| Some((phase, seconds.get(phase.as_str())?.as_f64()?)))
        .collect()
}

/// A table of a migration with its parts.
#[derive(Debug, Clone)]
pub(crate) struct RelationRecord {
    /// The table.
    pub relation: Relation,
    /// Parts not finished, in order.
    pub open: Vec<Part>,
    /// Parts finished, in order.
    pub finished: Vec<FinishedPart>,
}

/// A part whose rows are on the target.
#[derive(Debug, Clone)]
pub(crate) struct FinishedPart {
    /// The part.
    pub part: Part,
    /// Rows copied.
    pub rows: u64,
    /// COPY bytes copied.
    pub bytes: u64,
    /// Digest of all its rows.
    pub digest: Digest,
    /// Snapshot under which it was read.
    pub snapshot: SnapshotBounds,
}

impl RelationRecord {
    /// Every table of the migration, with its parts, in order of name.
    ///
    /// # Errors
    /// [`Error::Postgres`] when the target cannot be read.
    pub(crate) async fn all(session: &Session, id: &str) -> Result<Vec<RelationRecord>> {
        let sql = "SELECT oid, schema, name, relfilenode, shape, columns, format, bot, existed, preserved, link \
                   FROM vecferry.relation WHERE migration = $1 ORDER BY schema, name";
        let rows = session.query("read the record's tables", sql, &[&id]).await?;
        let mut records: Vec<RelationRecord> = rows.iter().map(relation).collect();
        let sql = "SELECT relation, ordinal, first_page, end_page, planned_bytes, rows, bytes, digest, \
                   snapshot_xmin, snapshot_xmax, finished_at IS NOT NULL \
                   FROM vecferry.part WHERE migration = $1 ORDER BY relation, ordinal";
        for row in session.query("read the record's parts", sql, &[&id]).await? {
            let oid = unsigned(row.get(0));
            let Some(record) = records.iter_mut().find(|record| record.relation.oid == oid) else {
                continue;
            };
            let part = part(&row, &record.relation);
            if row.get(10) {
                record.finished.push(finished(&row, part)?);
            } else {
                record.open.push(part);
            }
        }
        Ok(records)
    }

    /// The digests recorded while the table was copied, by bot.
    ///
    /// # Errors
    /// [`Error::Postgres`] when the target cannot be read.
    pub(crate) async fn digests(&self, session: &Session, id: &str) -> Result<Digests> {
        let mut digests = Digests::default();
        for part in &self.finished {
            digests.total += part.digest;
            digests.bytes += part.bytes;
        }
        let sql = "SELECT bot, rows, digest FROM vecferry.part_bot WHERE migration = $1 AND relation = $2";
        let (doing, side) = ("read the record's digests", session.side());
        let params: [&(dyn ToSql + Sync); 2] = [&id, &i64::from(self.relation.oid)];
        // One row per part and bot: read as they come, only their sums are kept.
        let rows = session.client().query_raw(sql, params).await.map_err(on(side, doing))?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await.map_err(on(side, doing))? {
            let digest = digest(row.get::<_, i64>(1).cast_unsigned(), row.get(2))?;
            *digests.bots.entry(BotKey(row.get(0))).or_default() += digest;
        }
        Ok(digests)
    }
}

fn relation(row: &Row) -> RelationRecord {
    let Json(preserved): Json<serde_json::Value> = row.get(9);
    let bots = preserved["bots"].as_array().into_iter().flatten();
    let relation = Relation {
        oid: unsigned(row.get(0)),
        name: QualifiedName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
        relfilenode: unsigned(row.get(3)),
        shape: row.get(4),
        columns: row.get(5),
        format: if row.get::<_, &str>(6) == "text" { CopyFormat::Text } else { CopyFormat::Binary },
        bot: row.get(7),
        existed: row.get(8),
        preserved: PreservedBots {
            bots: bots.filter_map(|bot| bot.as_str().map(str::to_owned)).collect(),
            null: preserved["null"].as_bool().unwrap_or(false),
        },
        link: row.get(10),
    };
    RelationRecord { relation, open: Vec::new(), finished: Vec::new() }
}

fn part(row: &Row, relation: &Relation) -> Part {
    Part {
        table: relation.name.clone(),
        table_oid: relation.oid,
        ordinal: row.get::<_, i32>(1).cast_unsigned(),
        first_page: unsigned(row.get(2)),
        end_page: row.get::<_, Option<i64>>(3).map(unsigned),
        bytes: row.get::<_, i64>(4).cast_unsigned(),
    }
}

fn finished(row: &Row, part: Part) -> Result<FinishedPart> {
    let rows = row.get::<_, i64>(5).cast_unsigned();
    Ok(FinishedPart {
        part,
        rows,
        bytes: row.get::<_, i64>(6).cast_unsigned(),
        digest: digest(rows, row.get(7))?,
        snapshot: SnapshotBounds { xmin: row.get(8), xmax: row.get(9) },
    })
}

fn digest(rows: u64, hex: &str) -> Result<Digest> {
    Digest::from_hex(rows, hex)
        .ok_or_else(|| Error::Bug { what: format!("the record holds a digest {hex:?}") })
}

/// OIDs and page numbers are stored as bigint because PostgreSQL has no unsigned integers.
pub(crate) fn unsigned(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// An index to build, or built.
#[derive(Debug, Clone)]
pub(crate) struct IndexRecord {
    /// Its place in the record.
    pub ordinal: i32,
    /// What to build.
    pub plan: IndexPlan,
    /// Whether it is built.
    pub finished: bool,
}

impl IndexRecord {
    /// Every index of the migration, in order.
    ///
    /// # Errors
    /// [`Error::Postgres`] when the target cannot be read.
    pub(crate) async fn all(session: &Session, id: &str) -> Result<Vec<IndexRecord>> {
        let sql = "SELECT ordinal, plan, finished_at IS NOT NULL FROM vecferry.index_build \
                   WHERE migration = $1 ORDER BY ordinal";
        let rows = session.query("read the record's indexes", sql, &[&id]).await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let Json(plan): Json<IndexPlan> = row.get(1);
                IndexRecord { ordinal: row.get(0), plan, finished: row.get(2) }
            })
            .collect())
    }
}

/// Sums over the parts of a migration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Rows in finished parts.
    pub rows: u64,
    /// COPY bytes in finished parts.
    pub bytes: u64,
    /// Parts finished.
    pub parts: usize,
    /// Parts in all.
    pub parts_total: usize,
    /// Planned bytes (heap and TOAST) of finished parts.
    pub planned_finished: u64,
    /// Planned bytes of all parts.
    pub planned: u64,
}

impl Totals {
    /// Sums over the records.
    pub(crate) fn of(records: &[RelationRecord]) -> Totals {
        let mut totals = Totals::default();
        for record in records {
            totals.parts_total += record.open.len() + record.finished.len();
            totals.planned += record.open.iter().map(|part| part.bytes).sum::<u64>();
            for part in &record.finished {
                totals.parts += 1;
                totals.rows += part.rows;
                totals.bytes += part.bytes;
                totals.planned_finished += part.part.bytes;
                totals.planned += part.part.bytes;
            }
        }
        totals
    }

    /// COPY bytes to expect in all: planned bytes scaled by what the finished ones turned out to be.
    pub(crate) fn bytes_expected(&self) -> u64 {
        if self.planned_finished == 0 {
            return self.planned;
        }
        let scaled =
            u128::from(self.planned) * u128::from(self.bytes) / u128::from(self.planned_finished);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}
