//! The source as one consistent picture: identity, locks and an exported snapshot, held for as long as rows are read.
//!
//! Order matters. Locks come before the snapshot: TRUNCATE and table rewrites are not MVCC-safe, so a snapshot taken
//! first could see a table empty that somebody rewrites a moment later. ACCESS SHARE, as pg_dump takes it, keeps DDL
//! out and lets reads and writes through. A `follow` does without locks and looks afterwards
//! ([`crate::follow::begin`]). Nothing here writes to the source.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Side};
use crate::inspect::inspect;
use crate::inventory::{Inventory, Server, Table};
use crate::pg::{Dsn, Session, WireConnection, quote_literal};
use crate::policy::Policy;

/// What makes a source this source: state of another one must never be mixed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceIdentity {
    /// `host:port/database`, for people; the same cluster may have several addresses.
    pub address: String,
    /// Identity of the cluster; `None` where the role may not read it.
    pub system_identifier: Option<String>,
    /// Timeline: changes when a standby is promoted or a backup restored.
    pub timeline: Option<u32>,
    /// Database name.
    pub database: String,
    /// Database OID.
    pub database_oid: u32,
}

impl SourceIdentity {
    /// The identity of the source at `dsn`, whose inventory was read.
    pub(crate) fn new(dsn: &Dsn, inventory: &Inventory) -> Self {
        let server = &inventory.server;
        SourceIdentity {
            address: format!("{}/{}", dsn.address(), dsn.database),
            system_identifier: server.system_identifier.clone(),
            timeline: server.timeline,
            database: server.database.clone(),
            database_oid: server.database_oid,
        }
    }

    /// What stands in a source's place where rows are made anew: the registry that lists the bots.
    pub(crate) fn of_registry(registry: &str) -> Self {
        SourceIdentity {
            address: registry.to_owned(),
            system_identifier: None,
            timeline: None,
            database: String::new(),
            database_oid: 0,
        }
    }

    /// Whether `server` is the recorded cluster and database, as far as can be told; a later timeline of it is.
    pub(crate) fn is_of(&self, server: &Server) -> bool {
        let same_cluster = match (&server.system_identifier, &self.system_identifier) {
            (Some(found), Some(recorded)) => found == recorded,
            // Withheld by a managed service: the database must do.
            _ => true,
        };
        same_cluster && server.database_oid == self.database_oid
    }

    /// What differs from `recorded` so that its state cannot be used, in words. An address may differ.
    pub(crate) fn conflict_with(&self, recorded: &SourceIdentity) -> Option<String> {
        if self.system_identifier != recorded.system_identifier {
            let name = |identifier: &Option<String>| {
                identifier.clone().unwrap_or_else(|| "unknown".into())
            };
            return Some(format!(
                "its system identifier is {}, recorded is {}",
                name(&self.system_identifier),
                name(&recorded.system_identifier)
            ));
        }
        if (self.database_oid, &self.database) != (recorded.database_oid, &recorded.database) {
            return Some(format!(
                "its database is {:?}, recorded is {:?}",
                self.database, recorded.database
            ));
        }
        if self.timeline != recorded.timeline {
            let name = |timeline: Option<u32>| {
                timeline.map_or("unknown".into(), |timeline| timeline.to_string())
            };
            return Some(format!(
                "its timeline is {}, recorded is {} (a failover or restore happened in between)",
                name(self.timeline),
                name(recorded.timeline)
            ));
        }
        None
    }
}

/// The bounds of a snapshot in 64-bit transaction ids (`pg_current_snapshot()`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotBounds {
    /// Every transaction below this is finished and visible if it committed.
    pub xmin: i64,
    /// No transaction from this on is visible.
    pub xmax: i64,
}

/// The open picture. Dropping it ends the transaction, and with it the snapshot and the locks.
pub(crate) struct SourceSnapshot {
    session: Session,
    /// Name under which other sessions import the snapshot.
    pub name: String,
    /// Its bounds.
    pub bounds: SnapshotBounds,
    /// Who the source is.
    pub identity: SourceIdentity,
    /// What it holds.
    pub inventory: Inventory,
}

impl SourceSnapshot {
    /// Locks the selected tables, takes and exports a snapshot, and reads the inventory under it.
    ///
    /// # Errors
    /// [`Error::Postgres`] on the source; SQLSTATE 55P03 when a table stays locked longer than the policy allows.
    pub(crate) async fn take(dsn: &Dsn, policy: &Policy) -> Result<SourceSnapshot> {
        let session = open(dsn, policy).await?;
        // A table created between the two looks is not locked: look again. Tables are rarely created that fast.
        for _ in 0..5 {
            let seen = locked_tables(&inspect(&session).await?, policy);
            session.batch("begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            lock(&session, &seen).await?;
            let inventory = inspect(&session).await?;
            if locked_tables(&inventory, policy) == seen {
                return SourceSnapshot::of(session, inventory, dsn).await;
            }
            session.batch("begin again", "ROLLBACK").await?;
        }
        Err(Error::Refused {
            side: Side::Source,
            what: "tables are being created or dropped on the source all the time".into(),
            hint: Some("stop schema changes on the source while the migration starts".into()),
        })
    }

    /// Opens the picture that `snapshot` shows, exported elsewhere, without locks on tables.
    ///
    /// # Errors
    /// [`Error::Postgres`] on the source.
    pub(crate) async fn import(
        dsn: &Dsn,
        policy: &Policy,
        snapshot: &str,
    ) -> Result<SourceSnapshot> {
        let set = format!("; SET TRANSACTION SNAPSHOT {}", quote_literal(snapshot));
        SourceSnapshot::begin(dsn, policy, &set).await
    }

    /// A picture of now, without locks on tables: for what no change of a table's shape concerns.
    ///
    /// # Errors
    /// [`Error::Postgres`] on the source.
    pub(crate) async fn unlocked(dsn: &Dsn, policy: &Policy) -> Result<SourceSnapshot> {
        SourceSnapshot::begin(dsn, policy, "").await
    }

    async fn begin(dsn: &Dsn, policy: &Policy, more: &str) -> Result<SourceSnapshot> {
        let session = open(dsn, policy).await?;
        let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY{more}");
        session.batch("open a snapshot", &begin).await.map_err(importing)?;
        let inventory = inspect(&session).await?;
        SourceSnapshot::of(session, inventory, dsn).await
    }

    /// Exports the snapshot of the session's transaction, under which `inventory` was read.
    async fn of(session: Session, inventory: Inventory, dsn: &Dsn) -> Result<SourceSnapshot> {
        let sql = "SELECT pg_export_snapshot(), pg_snapshot_xmin(s)::text::bigint, \
                   pg_snapshot_xmax(s)::text::bigint FROM pg_current_snapshot() s";
        let row = session.query_one("export a snapshot", sql, &[]).await?;
        Ok(SourceSnapshot {
            name: row.get(0),
            bounds: SnapshotBounds { xmin: row.get(1), xmax: row.get(2) },
            identity: SourceIdentity::new(dsn, &inventory),
            inventory,
            session,
        })
    }

    /// The session that holds the transaction.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Tables the policy selects, in the inventory's order.
    pub(crate) fn selected<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = &'a Table> {
        self.inventory.tables.iter().filter(|table| policy.selects(table))
    }
}

/// Makes a connection see exactly an exported snapshot.
///
/// # Errors
/// [`Error::Postgres`], with [`crate::pg::Failure::SnapshotGone`] when the session that exported it has ended.
pub(crate) async fn import_snapshot(connection: &mut WireConnection, snapshot: &str) -> Result<()> {
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
        quote_literal(snapshot)
    );
    connection.simple("import the snapshot", &begin).await.map_err(importing)?;
    Ok(())
}

fn importing(error: Error) -> Error {
    match error {
        Error::Postgres { side, doing, failure, hint } => {
            Error::Postgres { side, doing, failure: Box::new(failure.importing()), hint }
        }
        other => other,
    }
}

/// A session that waits no longer for a lock than the policy says.
async fn open(dsn: &Dsn, policy: &Policy) -> Result<Session> {
    let session = Session::open(dsn, Side::Source, "snapshot").await?;
    // For all it does: even reading the catalog waits for a table that is being altered.
    let timeout = format!("SET lock_timeout = {}", policy.lock_timeout.as_millis());
    session.batch("set the lock timeout", &timeout).await?;
    Ok(session)
}

fn locked_tables(inventory: &Inventory, policy: &Policy) -> Vec<(u32, String)> {
    let selected =
        inventory.tables.iter().filter(|table| policy.selects(table) && table.holds_rows());
    selected.map(|table| (table.oid, table.name.to_string())).collect()
}

async fn lock(session: &Session, tables: &[(u32, String)]) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = tables.iter().map(|(_, name)| name.as_str()).collect();
    let sql = format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", names.join(", ONLY "));
    session.batch("lock the tables against schema changes", &sql).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_of_another_cluster_database_or_timeline_is_refused() {
        let base = SourceIdentity {
            address: "a:1/kb".into(),
            system_identifier: Some("7".into()),
            timeline: Some(1),
            database: "kb".into(),
            database_oid: 5,
        };
        assert_eq!(
            SourceIdentity { address: "b:2/kb".into(), ..base.clone() }.conflict_with(&base),
            None
        );
        for other in [
            SourceIdentity { system_identifier: Some("8".into()), ..base.clone() },
            SourceIdentity { system_identifier: None, ..base.clone() },
            SourceIdentity { timeline: Some(2), ..base.clone() },
            SourceIdentity { database_oid: 6, ..base.clone() },
        ] {
            assert!(other.conflict_with(&base).is_some(), "{other:?}");
        }
    }
}
