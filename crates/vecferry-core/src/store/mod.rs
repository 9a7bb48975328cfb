//! The record of a migration, in schema `vecferry` on the target.
//!
//! Rule: a record that speaks of rows or objects on the target is written in the transaction that makes them true.
//! The functions here therefore take the session (or return the statement) of whoever holds that transaction.

mod crossing;
mod link;
mod lock;
mod read;

use tokio_postgres::types::Json;

use crate::copy::digest::Digests;
use crate::copy::part::{Part, PreservedBots};
use crate::error::{Error, Result, Side};
use crate::index::IndexPlan;
use crate::pg::{CopyFormat, QualifiedName, Session, quote_literal};
use crate::phase::{Phase, Route};
use crate::schema::Objects;
use crate::source::{SnapshotBounds, SourceIdentity};

pub(crate) use crossing::{CrossingRecord, Entry, begin_crossing, enter_crossing};
pub(crate) use link::{
    LinkRecord, insert_link, move_to_link, record_consistent_point, record_replica_identity,
    replica_identities,
};
pub(crate) use lock::{enlist_sql, lock, lock_holder, unlock};
pub(crate) use read::{
    FinishedPart, IndexRecord, MigrationRecord, RelationRecord, Totals, unsigned,
};

/// Name of the schema.
pub(crate) const SCHEMA: &str = "vecferry";

/// A table as the migration moves it, fixed when the schema is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    /// OID on the source.
    pub oid: u32,
    /// Name, the same on both sides.
    pub name: QualifiedName,
    /// Name of the file on the source; another one means the table was rewritten or truncated since.
    pub relfilenode: u32,
    /// Names and types of all columns as one text; another one means the table was altered since.
    pub shape: String,
    /// Columns in the order in which they travel, bot first.
    pub columns: Vec<String>,
    /// How rows travel.
    pub format: CopyFormat,
    /// The bot column, which is then the first of `columns`.
    pub bot: Option<String>,
    /// Whether the table was on the target before the migration.
    pub existed: bool,
    /// Bots whose rows on the target are left alone.
    pub preserved: PreservedBots,
    /// Ordinal of the slot that sends its changes; `None` in a `copy`.
    pub link: Option<i32>,
}

/// Creates the schema and its tables where they are missing.
///
/// # Errors
/// [`crate::Error::Postgres`] when the role may not create schemas.
pub(crate) async fn prepare(session: &Session) -> Result<()> {
    session.batch("create the schema vecferry for the record", include_str!("schema.sql")).await
}

/// Layout of the record that this version writes and reads; see `schema.sql`.
const LAYOUT: i32 = 2;

/// Whether the target has a record at all.
///
/// # Errors
/// [`Error::Refused`] when another version of vecferry wrote it, [`Error::Postgres`] when the target cannot be read.
pub(crate) async fn exists(session: &Session) -> Result<bool> {
    let sql = "SELECT to_regclass('vecferry.migration') IS NOT NULL";
    if !session.query_one("look for the record", sql, &[]).await?.get::<_, bool>(0) {
        return Ok(false);
    }
    let sql = "SELECT layout FROM vecferry.migration WHERE layout <> $1 LIMIT 1";
    let Some(row) = session.query_opt("look for the record", sql, &[&LAYOUT]).await? else {
        return Ok(true);
    };
    let layout: i32 = row.get(0);
    Err(Error::Refused {
        side: Side::Target,
        what: format!(
            "the record on the target has layout {layout}, and this version of vecferry knows {LAYOUT}"
        ),
        hint: Some(
            "go on with the version that began the migration, or have that one clean it up".into(),
        ),
    })
}

/// Inserts a migration in its first phase, unless it is there already: `copy` does so in the transaction that creates
/// the schema, `follow` before it makes its slot.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn insert(
    session: &Session,
    id: &str,
    route: Route,
    source: &SourceIdentity,
    estimates: &[(Phase, f64)],
) -> Result<()> {
    let estimates: serde_json::Map<String, serde_json::Value> =
        estimates.iter().map(|(phase, seconds)| (phase.to_string(), (*seconds).into())).collect();
    let sql = "INSERT INTO vecferry.migration (id, method, route, source, phase, estimates) \
               VALUES ($1, $2, $3, $4, $6, $5) ON CONFLICT (id) DO NOTHING";
    let first = route.phases()[0].as_str();
    let (method, route) = (route.method().as_str(), route.as_str());
    session
        .execute(
            "record the migration",
            sql,
            &[&id, &method, &route, &Json(source), &Json(estimates), &first],
        )
        .await?;
    Ok(())
}

/// Inserts a table and its parts, unfinished.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn insert_relation(
    session: &Session,
    id: &str,
    relation: &Relation,
    parts: &[Part],
) -> Result<()> {
    let preserved =
        serde_json::json!({ "bots": relation.preserved.bots, "null": relation.preserved.null });
    let format = crate::copy::stream::keyword(relation.format);
    let oid = i64::from(relation.oid);
    let sql = "INSERT INTO vecferry.relation (migration, oid, schema, name, relfilenode, shape, columns, format, \
               bot, existed, preserved, link) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    session
        .execute(
            "record a table",
            sql,
            &[
                &id,
                &oid,
                &relation.name.schema,
                &relation.name.name,
                &i64::from(relation.relfilenode),
                &relation.shape,
                &relation.columns,
                &format,
                &relation.bot,
                &relation.existed,
                &Json(preserved),
                &relation.link,
            ],
        )
        .await?;
    insert_parts(session, id, oid, parts).await
}

async fn insert_parts(session: &Session, id: &str, oid: i64, parts: &[Part]) -> Result<()> {
    let ordinals: Vec<i32> = parts.iter().map(|part| part.ordinal.cast_signed()).collect();
    let first: Vec<i64> = parts.iter().map(|part| part.first_page.into()).collect();
    let end: Vec<Option<i64>> = parts.iter().map(|part| part.end_page.map(i64::from)).collect();
    let bytes: Vec<i64> = parts.iter().map(|part| part.bytes.cast_signed()).collect();
    let sql = "INSERT INTO vecferry.part (migration, relation, ordinal, first_page, end_page, planned_bytes) \
               SELECT $1, $2, o, f, e, b FROM unnest($3::int[], $4::bigint[], $5::bigint[], $6::bigint[]) x(o, f, e, b)";
    session.execute("record the parts", sql, &[&id, &oid, &ordinals, &first, &end, &bytes]).await?;
    Ok(())
}

/// Inserts the indexes to build, unfinished.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn insert_indexes(session: &Session, id: &str, plans: &[IndexPlan]) -> Result<()> {
    let sql = "INSERT INTO vecferry.index_build (migration, ordinal, relation, name, origin, plan) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    for (ordinal, plan) in plans.iter().enumerate() {
        let ordinal = i32::try_from(ordinal).unwrap_or(i32::MAX);
        let relation = i64::from(plan.relation_oid);
        let origin = if plan.from_target { "target" } else { "source" };
        session
            .execute(
                "record an index",
                sql,
                &[&id, &ordinal, &relation, &plan.name, &origin, &Json(plan)],
            )
            .await?;
    }
    Ok(())
}

/// Records the dump of the schema.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn insert_archive(
    session: &Session,
    id: &str,
    dump: &[u8],
    objects: &Objects,
) -> Result<()> {
    let sql = "INSERT INTO vecferry.archive (migration, dump, objects) VALUES ($1, $2, $3)";
    session.execute("record the schema's dump", sql, &[&id, &dump, &Json(objects)]).await?;
    Ok(())
}

/// Removes the dump of the schema from the record.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn forget_archive(session: &Session, id: &str) -> Result<()> {
    let sql = "DELETE FROM vecferry.archive WHERE migration = $1";
    session.execute("forget the schema's dump", sql, &[&id]).await?;
    Ok(())
}

/// Reads the dump of the schema back.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn archive(session: &Session, id: &str) -> Result<(Vec<u8>, Objects)> {
    let sql = "SELECT dump, objects FROM vecferry.archive WHERE migration = $1";
    let row = session.query_one("read the schema's dump", sql, &[&id]).await?;
    let Json(objects) = row.get(1);
    Ok((row.get(0), objects))
}

/// Records what the schema step created, in order.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn insert_created(
    session: &Session,
    id: &str,
    objects: &[(String, String)],
) -> Result<()> {
    let kinds: Vec<&str> = objects.iter().map(|(kind, _)| kind.as_str()).collect();
    let identities: Vec<&str> = objects.iter().map(|(_, identity)| identity.as_str()).collect();
    let sql = "INSERT INTO vecferry.created (migration, ordinal, kind, identity) \
               SELECT $1, n, k, i FROM unnest($2::text[], $3::text[]) WITH ORDINALITY x(k, i, n)";
    session.execute("record the objects created", sql, &[&id, &kinds, &identities]).await?;
    Ok(())
}

/// Moves the migration to `phase` and adds the seconds that the phase before took in this run.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn enter(
    session: &Session,
    id: &str,
    phase: Phase,
    finished: Option<(Phase, f64)>,
) -> Result<()> {
    let (name, seconds) = match finished {
        Some((phase, seconds)) => (phase.as_str(), seconds),
        None => ("", 0.0),
    };
    let sql = "UPDATE vecferry.migration SET phase = $2, updated_at = clock_timestamp(), last_error = NULL, \
               finished_at = CASE WHEN $2 = 'done' THEN clock_timestamp() END, \
               phase_seconds = CASE WHEN $3 = '' THEN phase_seconds ELSE phase_seconds || jsonb_build_object($3, \
                 COALESCE((phase_seconds->>$3)::float8, 0) + $4::float8) END \
               WHERE id = $1";
    session.execute("record the phase", sql, &[&id, &phase.as_str(), &name, &seconds]).await?;
    Ok(())
}

/// Adds seconds that a phase took in a run that did not finish it, and why.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn note_interruption(
    session: &Session,
    id: &str,
    spent: (Phase, f64),
    why: &str,
) -> Result<()> {
    let sql = "UPDATE vecferry.migration SET last_error = $2, updated_at = clock_timestamp(), \
               phase_seconds = phase_seconds || jsonb_build_object($3::text, \
                 COALESCE((phase_seconds->>$3)::float8, 0) + $4::float8) WHERE id = $1";
    session
        .execute("record the interruption", sql, &[&id, &why, &spent.0.as_str(), &spent.1])
        .await?;
    Ok(())
}

/// The statements that record a part as finished; to be run in the transaction that holds its rows. The first
/// returns one row exactly when the part was still open.
pub(crate) fn part_finished_sql(
    id: &str,
    part: &Part,
    digests: &Digests,
    snapshot: SnapshotBounds,
    seconds: f64,
) -> String {
    let id = quote_literal(id);
    let (relation, ordinal) = (part.table_oid, part.ordinal);
    let mut sql = format!(
        "UPDATE vecferry.part SET rows = {}, bytes = {}, digest = '{}', seconds = {seconds}, snapshot_xmin = {}, \
         snapshot_xmax = {}, finished_at = clock_timestamp() \
         WHERE migration = {id} AND relation = {relation} AND ordinal = {ordinal} AND finished_at IS NULL RETURNING 1",
        digests.total.rows,
        digests.bytes,
        digests.total.hex(),
        snapshot.xmin,
        snapshot.xmax,
    );
    // In batches, so that no statement grows with the number of bots.
    let bots: Vec<_> = digests.bots.iter().collect();
    for batch in bots.chunks(1000) {
        let rows: Vec<String> = batch
            .iter()
            .map(|(bot, digest)| {
                let bot = match &bot.0 {
                    None => "NULL".to_owned(),
                    Some(bytes) => {
                        format!(
                            "'\\x{}'::bytea",
                            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
                        )
                    }
                };
                format!("({id}, {relation}, {ordinal}, {bot}, {}, '{}')", digest.rows, digest.hex())
            })
            .collect();
        sql.push_str("; INSERT INTO vecferry.part_bot (migration, relation, ordinal, bot, rows, digest) VALUES ");
        sql.push_str(&rows.join(", "));
    }
    sql
}

/// Marks all parts of a table as open again; run in the transaction that removes its rows.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn reopen_relation(
    session: &Session,
    id: &str,
    oid: u32,
    relfilenode: u32,
    parts: &[Part],
) -> Result<()> {
    let relation = i64::from(oid);
    let sql = "DELETE FROM vecferry.part WHERE migration = $1 AND relation = $2";
    session.execute("reopen a table", sql, &[&id, &relation]).await?;
    let sql = "UPDATE vecferry.relation SET relfilenode = $3 WHERE migration = $1 AND oid = $2";
    session.execute("reopen a table", sql, &[&id, &relation, &i64::from(relfilenode)]).await?;
    insert_parts(session, id, relation, parts).await
}

/// Records the names and types of a table's columns anew, after both clusters were altered alike.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn record_shape(session: &Session, id: &str, relation: &Relation) -> Result<()> {
    let sql = "UPDATE vecferry.relation SET shape = $3 WHERE migration = $1 AND oid = $2";
    let oid = i64::from(relation.oid);
    session.execute("record a table's columns", sql, &[&id, &oid, &relation.shape]).await?;
    Ok(())
}

/// Records an index as built; run in the transaction that builds it.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn index_finished(
    session: &Session,
    id: &str,
    ordinal: i32,
    seconds: f64,
    notices: &[String],
) -> Result<()> {
    let sql = "UPDATE vecferry.index_build SET finished_at = clock_timestamp(), seconds = $3, notices = $4 \
               WHERE migration = $1 AND ordinal = $2";
    session.execute("record an index", sql, &[&id, &ordinal, &seconds, &notices]).await?;
    Ok(())
}

/// Forgets a migration; its rows on the target are the caller's business.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn forget(session: &Session, id: &str) -> Result<()> {
    session
        .execute("forget the migration", "DELETE FROM vecferry.migration WHERE id = $1", &[&id])
        .await?;
    Ok(())
}
