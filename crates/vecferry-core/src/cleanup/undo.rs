//! Takes back what an unfinished migration did on the target.

use crate::copy::brought;
use crate::error::Result;
use crate::index::build::rebuild_dropped;
use crate::pg::Session;
use crate::store::{IndexRecord, MigrationRecord, RelationRecord};

/// Puts the target back to what it was before the migration: rows, indexes, objects, large objects. Safe to repeat.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(super) async fn undo(session: &Session, record: &MigrationRecord) -> Result<()> {
    let tables = RelationRecord::all(session, &record.id).await?;
    for table in tables.iter().filter(|table| table.relation.existed) {
        brought::remove(session, &record.id, &table.relation).await?;
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
