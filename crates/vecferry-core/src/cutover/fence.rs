//! The fence: statement triggers by which a cluster refuses every write to the moved tables, a superuser's as well.
//!
//! It goes up in one transaction that first locks every table against writers, so that at its commit no write is under
//! way: whatever was acknowledged before is in the WAL before, and nothing comes after. Triggers are those of ordinary
//! sessions, so that a subscription's apply passes. The fence outlives our process; whether it is up is read from the
//! catalog and from nowhere else.
//!
//! It comes down in two moves. [`open`] replaces the triggers' function by one that lets everything through: no table
//! is locked for that, and writes pass at once. [`remove`] then drops the triggers, for which each table must be free
//! of readers for a moment; what cannot be had quickly stays behind, open, until `cleanup`.
//!
//! Both take an advisory lock, so that a late commit of a raising that was given up cannot follow an opening.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::pg::{QualifiedName, Session, quote_literal};

/// The schema of the fence's function, on the fenced cluster.
pub(crate) const SCHEMA: &str = "vecferry_fence";

/// Serialises raising and opening: "fence" in ASCII.
const LOCK_KEY: i64 = 0x66_656e_6365;

/// The pause between two tries. The application's writes that queued behind the last one get through.
const PAUSE: Duration = Duration::from_millis(500);

/// A table to fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub oid: u32,
    pub name: QualifiedName,
    partitioned: bool,
    /// Whether it is moved itself; otherwise it stands above one that is.
    pub moved: bool,
    /// Whether our role may fence it.
    pub allowed: bool,
    /// Whether its trigger is there.
    fenced: bool,
}

impl Target {
    /// Statements that could reach a moved row by way of this table. An insert into a plain parent stays there.
    fn events(&self) -> &'static str {
        match self.moved || self.partitioned {
            true => "INSERT OR UPDATE OR DELETE OR TRUNCATE",
            false => "UPDATE OR DELETE OR TRUNCATE",
        }
    }
}

/// How patiently the fence is raised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How long one try waits for a lock; writers queue behind it meanwhile.
    pub timeout: Duration,
    /// How many tries there are.
    pub tries: u32,
}

/// How raising ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raised {
    /// It went up.
    Now,
    /// It was up.
    Before,
    /// Somebody's locks did not let it up.
    Blocked,
}

/// The tables to fence for these moved ones, in the order in which they are locked.
///
/// # Errors
/// [`Error::Postgres`] when the catalog cannot be read.
pub(crate) async fn targets(session: &Session, moved: &[QualifiedName]) -> Result<Vec<Target>> {
    let schemas: Vec<&str> = moved.iter().map(|name| name.schema.as_str()).collect();
    let names: Vec<&str> = moved.iter().map(|name| name.name.as_str()).collect();
    let sql = include_str!("targets.sql");
    let rows = session.query("read the tables to fence", sql, &[&schemas, &names]).await?;
    let target = |row: &tokio_postgres::Row| Target {
        oid: row.get(0),
        name: QualifiedName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
        partitioned: row.get::<_, &str>(3) == "p",
        moved: row.get(4),
        allowed: row.get(5),
        fenced: row.get(6),
    };
    Ok(rows.iter().map(target).collect())
}

/// Whether the fence is up on every one of these tables.
///
/// # Errors
/// [`Error::Postgres`] when the catalog cannot be read.
pub(crate) async fn is_up(session: &Session, moved: &[QualifiedName]) -> Result<bool> {
    let sql = "SELECT COALESCE((SELECT prosrc LIKE '%RAISE EXCEPTION%' FROM pg_proc \
               WHERE oid = to_regprocedure('vecferry_fence.refuse()')), false)";
    let refuses: bool = session.query_one("look at the fence", sql, &[]).await?.get(0);
    let targets = targets(session, moved).await?;
    let all = targets.iter().filter(|target| target.moved).count() == moved.len();
    Ok(refuses && all && targets.iter().all(|target| target.fenced))
}

/// The migration that a fence here belongs to, as the comment of its function says; `None` where there is none. One
/// database has one fence: two migrations of it cut over one after the other.
///
/// # Errors
/// [`Error::Postgres`] when the catalog cannot be read.
pub(crate) async fn owner(session: &Session) -> Result<Option<String>> {
    let sql = "SELECT COALESCE(obj_description(oid, 'pg_proc'), '') FROM pg_proc \
               WHERE oid = to_regprocedure('vecferry_fence.refuse()')";
    Ok(session.query_opt("look whose the fence is", sql, &[]).await?.map(|row| row.get(0)))
}

/// Whether a fence is here that another migration raised.
async fn is_of_another(session: &Session, migration: &str) -> Result<bool> {
    Ok(owner(session).await?.is_some_and(|owner| owner != migration))
}

/// Raises the fence, trying again while somebody's locks are in the way.
///
/// # Errors
/// [`Error::Postgres`] on the fenced cluster, [`Error::Interrupted`] when cancelled between two tries.
pub(crate) async fn raise(
    session: &Session,
    (migration, moved): (&str, &[QualifiedName]),
    patience: Patience,
    cancel: &CancellationToken,
) -> Result<Raised> {
    if !is_of_another(session, migration).await? && is_up(session, moved).await? {
        return Ok(Raised::Before);
    }
    for attempt in 0..patience.tries.max(1) {
        if attempt > 0 {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        if cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let tried = try_to_raise(session, (migration, moved), patience.timeout).await;
        let Err(error) = tried else { return Ok(Raised::Now) };
        session.batch("end the transaction", "ROLLBACK").await?;
        // A deadlock is one as well: the application goes first.
        if !matches!(error.sqlstate(), Some("55P03" | "40P01")) {
            return Err(error);
        }
    }
    Ok(Raised::Blocked)
}

async fn try_to_raise(
    session: &Session,
    (migration, moved): (&str, &[QualifiedName]),
    timeout: Duration,
) -> Result<()> {
    let begin = format!(
        "BEGIN; SET LOCAL lock_timeout = {}; SELECT pg_advisory_xact_lock({LOCK_KEY})",
        timeout.as_millis().max(1)
    );
    session.batch("begin to fence", &begin).await?;
    // Under the lock: whoever raised one before has committed.
    if is_of_another(session, migration).await? {
        return Err(Error::Refused {
            side: session.side(),
            what: "the fence of another migration is on this database".into(),
            hint: Some("finish that one and clean it up, then cut over this one".into()),
        });
    }
    let targets = targets(session, moved).await?;
    let names: Vec<String> = targets.iter().map(|target| target.name.to_string()).collect();
    if !names.is_empty() {
        let lock = format!("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE", names.join(", ONLY "));
        session.batch("lock the tables against writers", &lock).await?;
    }
    session.batch("create the fence's function", &function(REFUSES, migration)).await?;
    // Read again: what was fenced is known for certain only under the locks.
    for target in self::targets(session, moved).await?.iter().filter(|target| !target.fenced) {
        let sql = format!(
            "DROP TRIGGER IF EXISTS vecferry_fence ON {0}; \
             CREATE TRIGGER vecferry_fence BEFORE {1} ON {0} FOR EACH STATEMENT \
             EXECUTE FUNCTION vecferry_fence.refuse()",
            target.name,
            target.events()
        );
        session.batch(&format!("fence {}", target.name.plain()), &sql).await?;
    }
    session.batch("commit the fence", "COMMIT").await
}

/// The body of a fence that is up. 25006 is what a standby answers to a write: drivers know it, and many look for the
/// writer's address again.
const REFUSES: &str = "RAISE EXCEPTION USING ERRCODE = '25006', \
    MESSAGE = format('vecferry: writes to %I.%I are refused: database %I moves to another cluster', \
      TG_TABLE_SCHEMA, TG_TABLE_NAME, current_database()), \
    HINT = 'Connect to the other cluster. To take writes here again: vecferry rollback, or vecferry cleanup after it.';";

/// The body of one that is open.
const OPEN: &str = "RETURN NULL;";

fn function(body: &str, migration: &str) -> String {
    format!(
        "CREATE SCHEMA IF NOT EXISTS {SCHEMA}; \
         CREATE OR REPLACE FUNCTION {SCHEMA}.refuse() RETURNS trigger LANGUAGE plpgsql \
         SET search_path = pg_catalog AS $vecferry$ BEGIN {body} END $vecferry$; \
         COMMENT ON FUNCTION {SCHEMA}.refuse() IS {}",
        quote_literal(migration)
    )
}

/// Lets writes through, where a fence of this migration is. Locks no table.
///
/// # Errors
/// [`Error::Postgres`] on the fenced cluster.
pub(crate) async fn open(session: &Session, migration: &str) -> Result<()> {
    let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK_KEY})");
    session.batch("begin to open the fence", &begin).await?;
    if owner(session).await?.as_deref() == Some(migration) {
        session.batch("open the fence", &function(OPEN, migration)).await?;
    }
    session.batch("commit the opening", "COMMIT").await
}

/// How long removing waits for a table's readers each time; writers queue behind it.
const REMOVE_MILLIS: u32 = 300;

/// How often removing is tried.
const REMOVE_TRIES: u32 = 5;

/// Drops what is left of an open fence; whether all of it went.
///
/// # Errors
/// [`Error::Postgres`] on the fenced cluster.
pub(crate) async fn remove(session: &Session, migration: &str) -> Result<bool> {
    if is_of_another(session, migration).await? {
        return Ok(true);
    }
    let sql = format!(
        "BEGIN; SET LOCAL lock_timeout = {REMOVE_MILLIS}; SET LOCAL client_min_messages = warning; \
         DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; COMMIT"
    );
    for _ in 0..REMOVE_TRIES {
        let Err(error) = session.batch("remove the fence", &sql).await else { return Ok(true) };
        session.batch("end the transaction", "ROLLBACK").await?;
        if !matches!(error.sqlstate(), Some("55P03" | "40P01")) {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(false)
}
