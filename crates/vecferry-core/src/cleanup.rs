//! Finds and removes what a migration left on the clusters.
//!
//! A finished copy leaves only its record. An unfinished one also leaves tables it created, rows it copied into
//! prepared tables, and prepared tables without the indexes that were taken down: those are dropped, removed and
//! built again, so that the target is as it was. Nothing of a copy is ever on the source.

use std::time::Duration;

use serde::Serialize;

use crate::copy::resume::empty_statement;
use crate::error::{Result, Side};
use crate::index::build::rebuild_dropped;
use crate::pg::Session;
use crate::phase::Phase;
use crate::policy::Clusters;
use crate::store::{self, IndexRecord, MigrationRecord, RelationRecord};

/// How long a table may be locked by somebody before we give up on it; cleaning up has time.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Something of ours on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Where it is.
    pub side: Side,
    /// What it is, in the operator's words: `record`, `half-copied table`, `dropped index`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What removing it does.
    pub effect: String,
}

/// Lists what [`cleanup`] would remove; changes nothing.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target cannot be read.
pub async fn leftovers(clusters: &Clusters) -> Result<Vec<Leftover>> {
    let session = Session::open(&clusters.target, Side::Target, "cleanup").await?;
    list(&session).await
}

/// Removes everything of ours and returns what it was. Killed in the middle, it is run again: the record goes last.
///
/// # Errors
/// [`crate::Error::Refused`] while a migration runs, [`crate::Error::Postgres`] when the target fails.
pub async fn cleanup(clusters: &Clusters) -> Result<Vec<Leftover>> {
    let session = Session::open(&clusters.target, Side::Target, "cleanup").await?;
    store::lock(&session).await?;
    let timeout = format!("SET lock_timeout = {}", LOCK_TIMEOUT.as_millis());
    session.batch("set the lock timeout", &timeout).await?;
    let found = list(&session).await?;
    if store::exists(&session).await? {
        undo_unfinished(&session).await?;
        session
            .batch("drop the record", &format!("DROP SCHEMA IF EXISTS {} CASCADE", store::SCHEMA))
            .await?;
    }
    Ok(found)
}

/// Forgets the newest migration so that a new one can begin: unfinished work is undone, a finished one leaves its
/// rows, which the next run then finds as existing.
pub(crate) async fn abandon(_clusters: &Clusters, session: &Session) -> Result<()> {
    if !store::exists(session).await? {
        return Ok(());
    }
    undo_unfinished(session).await?;
    if let Some(record) = MigrationRecord::newest(session).await? {
        store::forget(session, &record.id).await?;
    }
    Ok(())
}

async fn list(session: &Session) -> Result<Vec<Leftover>> {
    if !store::exists(session).await? {
        return Ok(Vec::new());
    }
    let leftover = |kind: &str, name: String, effect: &str| Leftover {
        side: Side::Target,
        kind: kind.to_owned(),
        name,
        effect: effect.to_owned(),
    };
    let mut found = Vec::new();
    if let Some(record) =
        MigrationRecord::newest(session).await?.filter(|record| record.phase != Phase::Done)
    {
        for table in RelationRecord::all(session, &record.id).await? {
            let name = table.relation.name.plain();
            found.push(match table.relation.existed {
                false => leftover("half-copied table", name, "dropped with its rows"),
                true => leftover("copied rows", name, "removed; rows that were there before stay"),
            });
        }
        for index in IndexRecord::all(session, &record.id)
            .await?
            .into_iter()
            .filter(|index| index.plan.from_target)
        {
            found.push(leftover(
                "index taken down",
                index.plan.name,
                "built again if it is missing",
            ));
        }
    }
    found.push(leftover(
        "record",
        format!("schema {}", store::SCHEMA),
        "dropped; status and resume end with it",
    ));
    Ok(found)
}

/// Puts the target back to what it was before an unfinished migration; does nothing after a finished one.
async fn undo_unfinished(session: &Session) -> Result<()> {
    let Some(record) =
        MigrationRecord::newest(session).await?.filter(|record| record.phase != Phase::Done)
    else {
        return Ok(());
    };
    let tables = RelationRecord::all(session, &record.id).await?;
    for table in tables.iter().filter(|table| table.relation.existed) {
        let doing = format!("remove copied rows from {}", table.relation.name.plain());
        session.batch(&doing, &empty_statement(&table.relation)).await?;
    }
    rebuild_dropped(session, &IndexRecord::all(session, &record.id).await?).await?;
    // Tables before the rest: the sequence of an identity column goes with its table and cannot go alone.
    let sql = "SELECT kind, identity FROM vecferry.created WHERE migration = $1 \
               ORDER BY kind <> 'table', ordinal DESC";
    for row in session.query("read what was created", sql, &[&record.id]).await? {
        let (kind, identity): (String, String) = (row.get(0), row.get(1));
        if let Some(statement) = drop_statement(&kind, &identity) {
            session.batch(&format!("drop {kind} {identity}"), &statement).await?;
        }
    }
    for row in
        session.query("read large objects", "SELECT oid FROM vecferry.large_object", &[]).await?
    {
        let oid = u32::try_from(row.get::<_, i64>(0)).unwrap_or(0);
        let sql = "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = $1";
        session.query("remove a large object", sql, &[&oid]).await?;
    }
    Ok(())
}

/// `DROP` for the kinds that stand on their own; what hangs on them goes with them. The identity is PostgreSQL's own,
/// quoted where needed.
fn drop_statement(kind: &str, identity: &str) -> Option<String> {
    let kind = match kind {
        "table" | "view" | "materialized view" | "foreign table" | "sequence" | "type"
        | "function" | "procedure" | "aggregate" | "schema" | "collation" | "domain"
        | "statistics object" | "extension" => kind,
        "composite type" => "type",
        _ => return None,
    };
    let keyword = if kind == "statistics object" { "statistics" } else { kind };
    // A schema or extension that somebody else uses by now stays: without CASCADE it cannot be dropped, and must not
    // be.
    if matches!(kind, "schema" | "extension") {
        return Some(format!(
            "DO $vecferry$ BEGIN EXECUTE 'DROP {kind} IF EXISTS {}'; \
             EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END $vecferry$",
            identity.replace('\'', "''")
        ));
    }
    Some(format!("DROP {keyword} IF EXISTS {identity} CASCADE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_that_stand_on_their_own_are_dropped() {
        assert_eq!(
            drop_statement("function", "public.f(integer)").as_deref(),
            Some("DROP function IF EXISTS public.f(integer) CASCADE")
        );
        assert_eq!(drop_statement("default value", "for public.t.a"), None);
        assert!(
            drop_statement("extension", "vector")
                .unwrap()
                .contains("DROP extension IF EXISTS vector'")
        );
        assert!(drop_statement("schema", "\"it's\"").unwrap().contains("\"it''s\""));
    }
}
