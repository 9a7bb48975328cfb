//! Going on after an interruption: which finished parts still are what the source holds?
//!
//! A new run reads under a new snapshot. A finished part fits it when none of its rows changed in between, and that
//! can be proved without reading the rows' contents:
//!
//! - when no transaction id has been handed out since the part's snapshot and none was in progress then, nothing was
//!   written at all (a restored snapshot, a paused application);
//! - otherwise, when the table's file is the same (no TRUNCATE, no rewrite), no visible row in the part's range was
//!   written by a transaction as young as the part's snapshot, and the range holds as many rows as were copied.
//!   An insert or update leaves a young row; a delete leaves fewer.
//!
//! A table with a part that does not pass is copied again from its first part, after what was copied of it is removed
//! from the target ([`brought`]).

use crate::copy::brought;
use crate::copy::part::{Part, split};
use crate::error::{Error, Result, Side};
use crate::inventory::{Inventory, Table};
use crate::migration::Run;
use crate::policy::Policy;
use crate::report::Event;
use crate::schema::shape;
use crate::source::{SnapshotBounds, SourceSnapshot};
use crate::store::{self, FinishedPart, Relation, RelationRecord};

/// Checks every table of the record against the source and reopens those that changed. Returns the record as it is
/// afterwards.
///
/// # Errors
/// [`Error::Refused`] when a table was dropped or altered, or one appeared, since the migration began.
pub(crate) async fn reconcile(
    run: &Run<'_>,
    source: &SourceSnapshot,
) -> Result<Vec<RelationRecord>> {
    let records = RelationRecord::all(&run.control, &run.id).await?;
    refuse_altered(run, &source.inventory, &records)?;
    let mut reopened = false;
    for record in &records {
        let Some(table) = source.inventory.table(&record.relation.name) else { continue };
        if record.finished.is_empty() {
            continue;
        }
        let lost = lost(run, record).await?;
        if let Some(reason) = lost.or(changed(source, table, record).await?) {
            run.reporter.event(&Event::TableRedone { table: table.name.plain(), reason });
            run.control.batch("begin", "BEGIN").await?;
            reopen(run, &source.inventory, table, &record.relation).await?;
            run.control.batch("commit", "COMMIT").await?;
            reopened = true;
        }
    }
    if reopened { RelationRecord::all(&run.control, &run.id).await } else { Ok(records) }
}

/// Tables that are not what they were when the schema was made: their rows cannot be told apart any more.
pub(crate) fn refuse_altered(
    run: &Run<'_>,
    source: &Inventory,
    records: &[RelationRecord],
) -> Result<()> {
    let found = altered(run.policy, source, records);
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::Refused {
        side: Side::Source,
        what: format!(
            "the source's schema changed since the migration began: {}",
            found.join(", ")
        ),
        hint: Some(
            "run `vecferry migrate --restart` to begin again with the schema as it is now".into(),
        ),
    })
}

/// What differs between the source's tables and those recorded, table by table; empty when nothing does.
pub(crate) fn altered(
    policy: &Policy,
    source: &Inventory,
    records: &[RelationRecord],
) -> Vec<String> {
    let mut found = Vec::new();
    for record in records {
        let name = record.relation.name.plain();
        match source.table(&record.relation.name) {
            None => found.push(format!("{name} was dropped")),
            Some(table) if table.oid != record.relation.oid => {
                found.push(format!("{name} was dropped and created"))
            }
            Some(table) if shape(table) != record.relation.shape => {
                found.push(format!("{name} was altered"))
            }
            Some(_) => {}
        }
    }
    let known = |table: &&Table| records.iter().any(|record| record.relation.name == table.name);
    let moved = source.tables.iter().filter(|table| table.holds_rows() && policy.selects(table));
    found.extend(
        moved
            .filter(|table| !known(table))
            .map(|table| format!("{} was created", table.name.plain())),
    );
    found
}

/// Why the finished parts cannot be kept, if they cannot.
async fn changed(
    source: &SourceSnapshot,
    table: &Table,
    record: &RelationRecord,
) -> Result<Option<String>> {
    if record.finished.iter().all(|part| nothing_written_since(part.snapshot, source.bounds)) {
        return Ok(None);
    }
    if table.relfilenode != record.relation.relfilenode {
        return Ok(Some("it was truncated or rewritten on the source".into()));
    }
    for part in &record.finished {
        if let Some(reason) = part_changed(source, &record.relation, part).await? {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// Why the finished parts are not on the target any more, if they are not: a crash of its server empties an unlogged
/// table, while the record, which is logged, stays.
async fn lost(run: &Run<'_>, record: &RelationRecord) -> Result<Option<String>> {
    let name = &record.relation.name;
    let (sql, quoted) =
        ("SELECT relpersistence = 'u' FROM pg_class WHERE oid = to_regclass($1)", name.to_string());
    let found = run.control.query_opt("look for an unlogged table", sql, &[&quoted]).await?;
    if !found.is_some_and(|row| row.get(0)) {
        return Ok(None);
    }
    let ours = record.relation.bot.as_deref().and_then(|bot| record.relation.preserved.ours(bot));
    let filter = ours.map_or(String::new(), |ours| format!(" WHERE {ours}"));
    let sql = format!("SELECT count(*) FROM ONLY {name}{filter}");
    let doing = format!("count the rows of {}", name.plain());
    let rows: i64 = run.control.query_one(&doing, &sql, &[]).await?.get(0);
    let copied: u64 = record.finished.iter().map(|part| part.rows).sum();
    Ok((rows.cast_unsigned() != copied)
        .then(|| format!("{copied} rows were copied and the target holds {rows}: unlogged tables are emptied by a crash")))
}

/// Whether no transaction can have written between the two snapshots: none was in progress at the first, and no id
/// was handed out since.
fn nothing_written_since(then: SnapshotBounds, now: SnapshotBounds) -> bool {
    then.xmin == then.xmax && then.xmax == now.xmax && now.xmin == now.xmax
}

async fn part_changed(
    source: &SourceSnapshot,
    relation: &Relation,
    part: &FinishedPart,
) -> Result<Option<String>> {
    // Row versions carry 32 bits of the id; beyond two billion transactions ages say nothing.
    let Ok(span) = i32::try_from(source.bounds.xmax - part.snapshot.xmin) else {
        return Ok(Some("more than two billion transactions passed on the source".into()));
    };
    let ours = relation.bot.as_deref().and_then(|bot| relation.preserved.ours(bot));
    let conditions: Vec<String> = part.part.condition().into_iter().chain(ours).collect();
    let filter = if conditions.is_empty() {
        String::new()
    } else {
        format!("WHERE {}", conditions.join(" AND "))
    };
    // Both ages are counted from the same transaction id, whatever it is now.
    let sql = format!(
        "SELECT count(*), count(*) FILTER (WHERE age(xmin) <= age($1::text::xid)) FROM ONLY {} {filter}",
        relation.name
    );
    let recorded = (part.snapshot.xmin & 0xffff_ffff).to_string();
    let doing = format!("look for changes in {}", relation.name.plain());
    let row = source.session().query_one(&doing, &sql, &[&recorded]).await?;
    let (rows, young) = (row.get::<_, i64>(0).cast_unsigned(), row.get::<_, i64>(1));
    Ok(if young > 0 {
        Some(format!("{young} rows were written on the source since (over {span} transactions)"))
    } else if rows != part.rows {
        Some(format!("a part that held {} rows holds {rows} now", part.rows))
    } else {
        None
    })
}

/// Removes what was copied of the table on the target and opens all its parts, cut anew. To be run in a transaction of the control
/// session.
pub(crate) async fn reopen(
    run: &Run<'_>,
    source: &Inventory,
    table: &Table,
    relation: &Relation,
) -> Result<()> {
    let parts: Vec<Part> = split(table, run.policy.part_bytes, source.server.version_num);
    let session = &run.control;
    brought::remove(session, &run.id, relation).await?;
    store::reopen_relation(session, &run.id, relation.oid, table.relfilenode, &parts).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_idle_source_is_taken_as_unwritten() {
        let at = |xmin, xmax| SnapshotBounds { xmin, xmax };
        assert!(nothing_written_since(at(10, 10), at(10, 10)));
        assert!(!nothing_written_since(at(9, 10), at(10, 10)), "one was in progress then");
        assert!(!nothing_written_since(at(10, 10), at(10, 11)), "an id was handed out since");
        assert!(!nothing_written_since(at(10, 10), at(9, 10)), "one is in progress now");
    }
}
