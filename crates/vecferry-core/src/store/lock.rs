//! Who may write to a target: one run at a time, and nobody of an earlier one.
//!
//! The control session holds the target's lock for as long as its run lives. The other sessions that write (copy
//! workers, index builders) hold a second lock, shared, by which a later run recognises them. After a SIGKILL, or when
//! the operator's machine has vanished, their servers go on for a while: a commit may still arrive, an index may still
//! be built. The run that takes the target's lock ends them before it reads the record, so that what it reads stays.

use crate::error::{Error, Result, Side};
use crate::pg::Session;

/// Key of the advisory lock that a running migration holds on its target: "vecferry" in ASCII, cut to 63 bits.
const LOCK_KEY: i64 = 0x7665_6366_6572_7279;

/// Key of the lock that its workers share.
const WORKERS_KEY: i64 = LOCK_KEY + 1;

/// A server needs a second to see that its client is gone (`client_connection_check_interval`); more for a busy one.
const PATIENCE_MILLIS: u32 = 3_000;

/// A terminated session first undoes what it did, which takes a moment after a large part.
const REMAINS_MILLIS: u32 = 30_000;

/// Takes the target's lock for this session, to be held until it ends, and ends what an earlier run left behind.
///
/// # Errors
/// [`Error::Refused`] when another migration holds it, naming its session.
pub(crate) async fn lock(session: &Session) -> Result<()> {
    if !acquire(session, LOCK_KEY, PATIENCE_MILLIS).await? {
        let holder =
            lock_holder(session).await?.unwrap_or_else(|| "a session that has just ended".into());
        return Err(Error::Refused {
            side: Side::Target,
            what: format!("another migration is running on this target ({holder})"),
            hint: Some(
                "watch it with `vecferry status`; if its machine is gone, end that process with pg_terminate_backend"
                    .into(),
            ),
        });
    }
    let sql = format!(
        "SELECT pg_terminate_backend(a.pid) FROM ({HOLDERS}) a WHERE a.usename = current_user"
    );
    session.query("end an earlier run's sessions", &sql, &[&WORKERS_KEY]).await?;
    if !acquire(session, WORKERS_KEY, REMAINS_MILLIS).await? {
        return Err(Error::Refused {
            side: Side::Target,
            what: "sessions of an earlier run are still at work on this target".into(),
            hint: Some("wait for them, or end them: they are named `vecferry copy` and `vecferry index` in pg_stat_activity".into()),
        });
    }
    session
        .query("release the workers' lock", "SELECT pg_advisory_unlock($1)", &[&WORKERS_KEY])
        .await?;
    Ok(())
}

/// Gives the target's lock back, so that another process may work on the migration while this one watches.
///
/// # Errors
/// [`Error::Postgres`] when the target fails.
pub(crate) async fn unlock(session: &Session) -> Result<()> {
    session
        .query("release the migration lock", "SELECT pg_advisory_unlock($1)", &[&LOCK_KEY])
        .await?;
    Ok(())
}

/// The statement by which a session that writes for a run makes itself known to later ones.
pub(crate) fn enlist_sql() -> String {
    format!("SELECT pg_advisory_lock_shared({WORKERS_KEY})")
}

/// The session that holds the target's lock, in words; `None` when no migration runs.
///
/// # Errors
/// [`Error::Postgres`] when the target cannot be read.
pub(crate) async fn lock_holder(session: &Session) -> Result<Option<String>> {
    let sql = format!(
        "SELECT format('process %s from %s since %s', a.pid, COALESCE(host(a.client_addr), 'a local socket'), \
         to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS TZ')) FROM ({HOLDERS}) a"
    );
    Ok(session
        .query_opt("look for a running migration", &sql, &[&LOCK_KEY])
        .await?
        .map(|row| row.get(0)))
}

/// Sessions that hold an advisory lock in this database. A bigint key is shown as two halves, with objsubid 1.
const HOLDERS: &str = "SELECT s.* FROM pg_locks l JOIN pg_stat_activity s USING (pid) JOIN pg_database d ON d.oid = l.database \
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND d.datname = current_database() \
    AND (l.classid::bigint << 32 | l.objid::bigint) = $1";

/// Takes an advisory lock, exclusively; false when it is not to be had in that time.
async fn acquire(session: &Session, key: i64, millis: u32) -> Result<bool> {
    let doing = "take the migration lock";
    session.batch(doing, &format!("SET lock_timeout = {millis}")).await?;
    let taken = session.query(doing, "SELECT pg_advisory_lock($1)", &[&key]).await;
    session.batch(doing, "SET lock_timeout = 0").await?;
    match taken {
        Ok(_) => Ok(true),
        Err(error) if error.sqlstate() == Some("55P03") => Ok(false),
        Err(error) => Err(error),
    }
}
