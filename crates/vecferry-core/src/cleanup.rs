//! Finds and removes what a migration left on the clusters.
//!
//! A finished copy leaves only its record. An unfinished one also leaves tables it created, rows it copied into
//! prepared tables, and prepared tables without the indexes that were taken down: those are dropped, removed and
//! built again, so that the target is as it was. A `follow` has publications and slots on the source, subscriptions on
//! the target, perhaps a fence, and replica identities that it set; after a cutover also the way back. One that has
//! caught up is a complete copy: its rows stay.
//!
//! Order, so that a cleanup that is killed in the middle can be run again and finds all that is left:
//!
//! 1. Subscriptions on both clusters: nothing applies any more, so nothing arrives in tables that are being undone.
//! 2. Slots and publications, then replica identities on both clusters: nothing is kept or sent any more.
//! 3. The fence, table by table, then its schema.
//! 4. Rows, tables and indexes on the target ([`undo`]).
//! 5. The record. Until then it says which objects are of this target's migrations, and what replica identities were.
//!
//! Every step passes over what is gone already.

mod objects;
mod steps;
mod undo;

use std::time::Duration;

use serde::Serialize;
use tokio_postgres::types::ToSql;

use crate::cutover::fence::SCHEMA as FENCE;
use crate::cutover::step::{Direction, Step as Crossed};
use crate::error::{Error, Result, Side};
use crate::follow::link::{self, Link};
use crate::inspect::inspect_server;
use crate::pg::{Dsn, QualifiedName, Session, quote_ident};
use crate::phase::Phase;
use crate::policy::{Clusters, Method};
use crate::store::{
    self, CrossingRecord, IndexRecord, LinkRecord, MigrationRecord, RelationRecord,
};
use objects::Objects;
use steps::{Action, Facts, Recorded, Step, steps};

/// How long a table may be locked by somebody before we give up on it; cleaning up has time.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Something of ours on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Where it is.
    pub side: Side,
    /// What it is, in the operator's words: `record`, `half-copied table`, `slot`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What removing it does, or why it stays.
    pub effect: String,
    /// Whether it stays.
    pub kept: bool,
}

/// Where to clean up.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The target, whose record says what is whose.
    pub target: &'a Dsn,
    /// The source; when `None`, what must be there is listed by name and left.
    pub source: Option<&'a Dsn>,
    /// Whether objects of migrations that the target has no record of are removed as well.
    pub orphans: bool,
}

impl<'a> From<&'a Clusters> for Scope<'a> {
    /// Both clusters; other migrations' objects stay.
    fn from(clusters: &'a Clusters) -> Scope<'a> {
        Scope { target: &clusters.target, source: Some(&clusters.source), orphans: false }
    }
}

/// Lists what [`cleanup`] would remove, in its order, and what of ours it would leave; changes nothing.
///
/// # Errors
/// [`Error::Postgres`] when the target cannot be read, or the source of a `follow`; [`Error::Refused`] when the source
/// is another one than the recorded.
pub async fn leftovers(scope: impl Into<Scope<'_>>) -> Result<Vec<Leftover>> {
    let scope = scope.into();
    let target = Session::open(scope.target, Side::Target, "cleanup").await?;
    let (steps, _) = look(&scope, &target).await?;
    Ok(steps.into_iter().map(|step| step.leftover).collect())
}

/// Removes everything of ours and returns what it was, and what was left. Killed in the middle, it is run again: the
/// record goes last.
///
/// # Errors
/// [`Error::Refused`] while a migration runs, [`Error::Postgres`] when a cluster fails, otherwise as [`leftovers`].
pub async fn cleanup(scope: impl Into<Scope<'_>>) -> Result<Vec<Leftover>> {
    let scope = scope.into();
    let target = Session::open(scope.target, Side::Target, "cleanup").await?;
    store::lock(&target).await?;
    let timeout = format!("SET lock_timeout = {}", LOCK_TIMEOUT.as_millis());
    target.batch("set the lock timeout", &timeout).await?;
    let (steps, source) = look(&scope, &target).await?;
    for step in &steps {
        perform(step, source.as_ref(), &target).await?;
    }
    let undone = steps.iter().any(|step| step.action == Action::DropRecord);
    if undone {
        undo_newest(&target).await?;
        let sql = format!("DROP SCHEMA IF EXISTS {} CASCADE", store::SCHEMA);
        target.batch("drop the record", &sql).await?;
    }
    Ok(steps.into_iter().map(|step| step.leftover).collect())
}

/// Undoes the newest migration unless its rows are a complete copy.
async fn undo_newest(target: &Session) -> Result<()> {
    match MigrationRecord::newest(target).await? {
        Some(record) if !matches!(record.phase, Phase::Following | Phase::Done) => {
            undo::undo(target, &record).await
        }
        _ => Ok(()),
    }
}

/// Forgets the newest migration so that a new one can begin, and removes its objects from both clusters. Unfinished
/// work is undone, that of a `follow` that had caught up too: its rows are copied again. A finished copy leaves its
/// rows, which the next run then finds as existing; a fence of its cutover or rollback goes, for without the record
/// nobody would know whose it is.
///
/// # Errors
/// [`Error::Refused`] after a cutover, or when the source is another one than the recorded `follow`'s, or than that of a
/// copy which may have fenced it; [`Error::Postgres`] when a cluster fails.
pub(crate) async fn abandon(clusters: &Clusters, session: &Session) -> Result<()> {
    if !store::exists(session).await? {
        return Ok(());
    }
    let Some(record) = MigrationRecord::newest(session).await? else { return Ok(()) };
    let recorded = recorded(session, &record).await?;
    let follows = recorded.method == Method::Follow;
    // Rows of a copy that was rolled back are found by the next run, and kept or replaced as it is told.
    if follows || !recorded.rolled_back() {
        refuse_cut_over(&recorded)?;
    }
    if follows || recorded.fenced(Side::Source) || recorded.fenced(Side::Target) {
        let source = open_source(&clusters.source).await?;
        refuse_other_source(&source, &clusters.source, &record).await?;
        let target = Objects::read(session).await?;
        let facts = facts(vec![recorded], Some(&source), target).await?;
        for step in &steps(&facts) {
            perform(step, Some(&source), session).await?;
        }
    }
    if record.phase != Phase::Done {
        undo::undo(session, &record).await?;
    }
    store::forget(session, &record.id).await
}

/// A restart would throw away what the application wrote on the target.
fn refuse_cut_over(recorded: &Recorded) -> Result<()> {
    let (what, hint) = match (recorded.cut_over(), recorded.rolled_back()) {
        (false, _) => return Ok(()),
        (true, false) => (
            "the application was cut over to the target, whose rows are its own by now",
            "`vecferry cleanup` ends the migration and keeps the rows; `vecferry rollback` takes the application back",
        ),
        (true, true) => (
            "the application was on the target and was taken back, and its rows are still there",
            "`vecferry cleanup` ends the migration; the next one may then begin with --existing replace",
        ),
    };
    Err(Error::Refused { side: Side::Target, what: what.into(), hint: Some(hint.into()) })
}

/// Reads both clusters and decides.
async fn look(scope: &Scope<'_>, target: &Session) -> Result<(Vec<Step>, Option<Session>)> {
    let there = store::exists(target).await?;
    let records = if there { MigrationRecord::all(target).await? } else { Vec::new() };
    let mut migrations = Vec::new();
    for record in &records {
        migrations.push(recorded(target, record).await?);
    }
    let follow = records.iter().rev().find(|record| record.route.method() == Method::Follow);
    let (mut source, mut unreachable) = (None, None);
    if let Some(dsn) = scope.source {
        match open_source(dsn).await {
            Ok(session) => source = Some(session),
            Err(error) if follow.is_some() || scope.orphans => {
                return Err(error.with_hint(
                    "reach it and run again, or clean the target alone with `vecferry cleanup --without-source`",
                ));
            }
            Err(error) => unreachable = Some(error.to_string()),
        }
        if let (Some(session), Some(record)) = (&source, follow) {
            refuse_other_source(session, dsn, record).await?;
        }
    }
    let objects = Objects::read(target).await?;
    let facts = facts(migrations, source.as_ref(), objects).await?;
    let facts = Facts { record: there, unreachable, orphans: scope.orphans, ..facts };
    Ok((steps(&facts), source))
}

async fn facts(
    migrations: Vec<Recorded>,
    source: Option<&Session>,
    target: Objects,
) -> Result<Facts> {
    let (objects, published) = match source {
        Some(source) => (Some(Objects::read(source).await?), published(source).await?),
        None => (None, Vec::new()),
    };
    Ok(Facts {
        migrations,
        record: false,
        source: objects,
        unreachable: None,
        target,
        published,
        orphans: false,
    })
}

async fn open_source(dsn: &Dsn) -> Result<Session> {
    let source = Session::open(dsn, Side::Source, "cleanup").await?;
    let timeout = format!("SET lock_timeout = {}", LOCK_TIMEOUT.as_millis());
    source.batch("set the lock timeout", &timeout).await?;
    Ok(source)
}

/// Slots that are not found would be taken for dropped, and keep WAL on their own cluster until its disk is full.
async fn refuse_other_source(source: &Session, dsn: &Dsn, record: &MigrationRecord) -> Result<()> {
    let recorded = &record.source;
    let how = if record.route.method() == Method::Follow { "follows" } else { "comes from" };
    if recorded.is_of(&inspect_server(source).await?) {
        return Ok(());
    }
    Err(Error::Refused {
        side: Side::Source,
        what: format!(
            "the migration on the target {how} {}, and {}/{} is another cluster or database",
            recorded.address,
            dsn.address(),
            dsn.database
        ),
        hint: Some(
            "name that source with --source; if it is gone, `vecferry cleanup --without-source` cleans the target alone"
                .into(),
        ),
    })
}

/// Tables of which some publication publishes updates or deletes, with it.
async fn published(source: &Session) -> Result<Vec<(QualifiedName, String)>> {
    let sql = "SELECT t.schemaname, t.tablename, t.pubname FROM pg_publication_tables t \
               JOIN pg_publication p USING (pubname) WHERE p.pubupdate OR p.pubdelete";
    let rows = source.query("read the publications", sql, &[]).await?;
    let table = |row: &tokio_postgres::Row| {
        QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1))
    };
    Ok(rows.iter().map(|row| (table(row), row.get(2))).collect())
}

async fn crossed(
    target: &Session,
    record: &MigrationRecord,
    direction: Direction,
) -> Result<Option<Crossed>> {
    let crossing = CrossingRecord::read(target, &record.id, direction).await?;
    Ok(crossing.map(|crossing| crossing.step))
}

async fn recorded(target: &Session, record: &MigrationRecord) -> Result<Recorded> {
    let tables = RelationRecord::all(target, &record.id).await?;
    let indexes = IndexRecord::all(target, &record.id).await?;
    let links = LinkRecord::all(target, &record.id).await?;
    Ok(Recorded {
        id: record.id.clone(),
        method: record.route.method(),
        phase: record.phase,
        address: record.source.address.clone(),
        cutover: crossed(target, record, Direction::Cutover).await?,
        rollback: crossed(target, record, Direction::Rollback).await?,
        links: links.into_iter().map(|link| link.ordinal).collect(),
        tables: tables
            .into_iter()
            .map(|table| (table.relation.name, table.relation.existed))
            .collect(),
        indexes: indexes
            .into_iter()
            .filter(|index| index.plan.from_target)
            .map(|index| index.plan.name)
            .collect(),
        identities: store::replica_identities(target, &record.id).await?,
    })
}

/// Does one step, except those that are done in one go at the end.
async fn perform(step: &Step, source: Option<&Session>, target: &Session) -> Result<()> {
    let Leftover { side, name, .. } = &step.leftover;
    let session = match (side, source) {
        (Side::Target, _) => target,
        (Side::Source, Some(source)) => source,
        // Nothing but lines about what stays there.
        (Side::Source, None) => return Ok(()),
    };
    let link = Link { name: name.clone(), from: *side };
    match &step.action {
        Action::DropSubscription => link::drop_subscription(session, name).await,
        Action::DropSlot => link::drop_slot(session, &link).await,
        Action::DropPublication => link::drop_publication(session, &link).await,
        Action::SetIdentityBack { table, statement } => {
            if *side == Side::Target && is_published(session, table).await? {
                return Ok(());
            }
            set_identity_back(session, table, statement).await
        }
        Action::DropTrigger { table, trigger } => {
            let sql = format!("DROP TRIGGER IF EXISTS {} ON {table}", quote_ident(trigger));
            session.batch(&format!("lift the fence of {}", table.plain()), &sql).await
        }
        Action::DropFence => {
            let sql = format!("DROP SCHEMA IF EXISTS {FENCE} CASCADE");
            session.batch("drop the fence", &sql).await
        }
        Action::Keep | Action::Undo | Action::DropRecord => Ok(()),
    }
}

/// Whether somebody else's publication has the table.
async fn is_published(session: &Session, table: &QualifiedName) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_publication_tables WHERE schemaname = $1 AND tablename = $2 \
               AND NOT starts_with(pubname, $3))";
    let params: [&(dyn ToSql + Sync); 3] = [&table.schema, &table.name, &link::PREFIX];
    Ok(session.query_one("look for publications of a table", sql, &params).await?.get(0))
}

/// Does nothing when the table is gone, or the index that was its identity.
async fn set_identity_back(source: &Session, table: &QualifiedName, statement: &str) -> Result<()> {
    let doing = format!("set back the replica identity of {}", table.plain());
    match source.batch(&doing, statement).await {
        Err(error) if matches!(error.sqlstate(), Some("42P01" | "42704" | "3F000")) => Ok(()),
        outcome => outcome,
    }
}
