//! How a follow begins, and begins again after an interruption: the source's picture is that of a new slot.
//!
//! What is durable when, in this order:
//!
//! 1. The record names the slot (target). Killed here: `cleanup` and the next run know what to look for.
//! 2. Tables that start over are emptied, opened and handed to the new slot, in one transaction (target). Killed here:
//!    they are incomplete under a slot that is not there, which is the same state that led here.
//! 3. Old slots give those tables up, or are dropped when they have no others (source). Killed here: likewise.
//! 4. Publication, then slot (source). The snapshot lives in this process. Killed here: likewise.
//!
//! Before 2, and before any lock of ours, replica identities are set where that is wanted, each recorded first. The
//! publication is made before the slot, because a slot's stream sees the publications of its own time. No table is
//! locked. A snapshot does not show a table's TRUNCATE or rewrite for what it is, so tables are looked at afterwards:
//! here at once, and by the copy after each part.

use std::collections::HashSet;
use std::time::Duration;

use super::identity;
use super::link::{self, Link};
use super::regroup::{Member, start_over};
use super::state::read_slot;
use crate::copy::{copy_rows, resume};
use crate::error::{Error, Result, Side};
use crate::inspect::inspect;
use crate::inventory::{Inventory, Table};
use crate::migration::Run;
use crate::pg::{QualifiedName, Session};
use crate::phase::Phase;
use crate::policy::Existing;
use crate::report::Event;
use crate::schema::shape;
use crate::source::{SourceIdentity, SourceSnapshot};
use crate::store::{self, LinkRecord, MigrationRecord, RelationRecord};

/// How often the beginning is tried again when tables change their shape or file in the middle of it.
const TRIES: u32 = 5;

/// Takes the source's snapshot: from a slot made now where tables are to be copied, a plain one where none is.
///
/// # Errors
/// [`Error::Refused`] when the source cannot be followed or is another one; [`Error::Postgres`] otherwise.
pub(crate) async fn take_source(
    run: &Run<'_>,
    record: Option<&MigrationRecord>,
    estimates: &[(Phase, f64)],
) -> Result<SourceSnapshot> {
    refuse_keep(run)?;
    let dsn = &run.clusters.source;
    let sender = Session::open(dsn, Side::Source, "follow").await?;
    let lock_timeout = format!("SET lock_timeout = {}", run.policy.lock_timeout.as_millis());
    sender.batch("set the lock timeout", &lock_timeout).await?;
    let inventory = inspect(&sender).await?;
    let identity = SourceIdentity::new(dsn, &inventory);
    run.refuse_other_source(&identity, record)?;
    match record.map_or(Phase::Schema, |record| record.phase) {
        Phase::Schema => {
            begin_record(run, &identity, estimates).await?;
            make_identifiable(run, &inventory, &sender).await?;
            first_source(run, &sender).await
        }
        Phase::Rows => match regroup(run, &inventory, &sender).await? {
            Some((ordinal, tables)) => slot_source(run, &sender, ordinal, &tables).await,
            None => SourceSnapshot::unlocked(dsn, run.policy).await,
        },
        _ => SourceSnapshot::unlocked(dsn, run.policy).await,
    }
}

/// The first slot's picture. What it shows must be what was published before it: a table made in between would be
/// copied and not followed, and one that got another file may look empty in a snapshot from before.
async fn first_source(run: &Run<'_>, sender: &Session) -> Result<SourceSnapshot> {
    for _ in 0..TRIES {
        let before = inspect(sender).await?;
        refuse_unidentifiable(&lacking(run, &before))?;
        let tables: Vec<_> = moved(run, &before).map(|table| table.name.clone()).collect();
        let source = slot_source(run, sender, 0, &tables).await?;
        let files = |inventory| {
            let file = |table: &Table| (table.oid, table.relfilenode, shape(table));
            moved(run, inventory).map(file).collect::<Vec<_>>()
        };
        if files(&before) == files(&source.inventory) {
            return Ok(source);
        }
    }
    Err(Error::Refused {
        side: Side::Source,
        what: "tables are being created, altered or truncated on the source all the time".into(),
        hint: Some("stop schema changes on the source while the migration starts".into()),
    })
}

/// Publishes the tables, makes the slot and opens its picture.
async fn slot_source(
    run: &Run<'_>,
    sender: &Session,
    ordinal: i32,
    tables: &[QualifiedName],
) -> Result<SourceSnapshot> {
    let link = Link::forward(&run.id, ordinal);
    link::create_publication(sender, &link, tables).await?;
    let slot = create_slot(run, &link, sender).await?;
    store::record_consistent_point(&run.control, &run.id, ordinal, slot.consistent_point).await?;
    SourceSnapshot::import(&run.clusters.source, run.policy, &slot.snapshot).await
}

/// Copies the rows under the slot's snapshot. Tables that were truncated or rewritten meanwhile start over under
/// another slot, with others that were not complete; each time there are fewer.
///
/// # Errors
/// [`Error::Rewritten`] when that happens again and again; those of the copy.
pub(crate) async fn copy_rows_unlocked(
    run: &Run<'_>,
    source: &mut Option<SourceSnapshot>,
) -> Result<()> {
    let mut tries = 0;
    loop {
        let records = RelationRecord::all(&run.control, &run.id).await?;
        let Some(picture) = source.as_ref() else {
            return Err(Error::Bug { what: "rows are copied without a snapshot".into() });
        };
        match copy_rows(run, picture, &records).await {
            Err(error @ Error::Rewritten { .. }) if tries < TRIES => {
                tries += 1;
                run.reporter.event(&Event::Notice { text: format!("{error}; it starts over") });
                drop(source.take());
                let record = MigrationRecord::newest(&run.control).await?;
                *source = Some(take_source(run, record.as_ref(), &[]).await?);
            }
            ended => return ended,
        }
    }
}

/// Every change of the source is applied, those of bots that were to be kept as well.
fn refuse_keep(run: &Run<'_>) -> Result<()> {
    if run.policy.existing != Existing::Keep {
        return Ok(());
    }
    Err(Error::Configuration {
        what: "--existing keep does not go with follow: changes to every bot of the source are applied".into(),
        hint: Some("use --existing replace, or --method copy".into()),
    })
}

/// Tables whose rows are moved.
fn moved<'a>(run: &'a Run<'_>, inventory: &'a Inventory) -> impl Iterator<Item = &'a Table> {
    inventory.tables.iter().filter(|table| table.holds_rows() && run.policy.selects(table))
}

async fn begin_record(
    run: &Run<'_>,
    identity: &SourceIdentity,
    estimates: &[(Phase, f64)],
) -> Result<()> {
    let session = &run.control;
    session.batch("begin", "BEGIN").await?;
    store::prepare(session).await?;
    store::insert(session, &run.id, run.route, identity, estimates).await?;
    store::insert_link(session, &run.id, 0).await?;
    session.batch("commit the record", "COMMIT").await
}

/// Tables whose updates and deletes could not be told apart, and why.
fn lacking<'a>(run: &'a Run<'_>, inventory: &'a Inventory) -> Vec<(&'a Table, &'static str)> {
    moved(run, inventory).filter_map(|table| Some((table, identity::obstacle(table)?))).collect()
}

fn refuse_unidentifiable(lacking: &[(&Table, &str)]) -> Result<()> {
    if lacking.is_empty() {
        return Ok(());
    }
    let facts: Vec<String> =
        lacking.iter().map(|(table, why)| format!("{}: {why}", table.name.plain())).collect();
    let statements: Vec<String> = lacking.iter().map(|(table, _)| identity::mend(table)).collect();
    Err(Error::Refused {
        side: Side::Source,
        what: format!("updates and deletes cannot be followed: {}", facts.join("; ")),
        hint: Some(format!(
            "run on the source: {}; or let vecferry do it with --set-replica-identity",
            statements.join("; ")
        )),
    })
}

/// Refuses tables without a replica identity, or sets it where the policy says so. The record of what was there comes
/// first.
async fn make_identifiable(run: &Run<'_>, inventory: &Inventory, sender: &Session) -> Result<()> {
    let lacking = lacking(run, inventory);
    if !run.policy.follow.set_replica_identity {
        return refuse_unidentifiable(&lacking);
    }
    for (table, _) in lacking {
        let back = identity::restore(table);
        store::record_replica_identity(&run.control, &run.id, &table.name, &back).await?;
        let doing = format!("set the replica identity of {}", table.name.plain());
        sender.batch(&doing, &identity::mend(table)).await?;
        let text = format!("replica identity of {} set; cleanup sets it back", table.name.plain());
        run.reporter.event(&Event::Notice { text });
    }
    Ok(())
}

/// Hands the tables that start over to a slot of their own and returns its ordinal and them; `None` when all are
/// complete.
async fn regroup(
    run: &Run<'_>,
    inventory: &Inventory,
    sender: &Session,
) -> Result<Option<(i32, Vec<QualifiedName>)>> {
    let records = RelationRecord::all(&run.control, &run.id).await?;
    resume::refuse_altered(run, inventory, &records)?;
    let links = LinkRecord::all(&run.control, &run.id).await?;
    let mut usable = HashSet::new();
    for link in links.iter().filter(|link| link.consistent_point.is_some()) {
        let slot = read_slot(sender, &Link::forward(&run.id, link.ordinal).name).await?;
        if slot.is_some_and(|slot| !slot.is_lost()) {
            usable.insert(link.ordinal);
        }
    }
    let member = |record: &RelationRecord| Member {
        oid: record.relation.oid,
        link: record.relation.link.unwrap_or(0),
        complete: record.open.is_empty(),
    };
    let members: Vec<Member> = records.iter().map(member).collect();
    let over = start_over(&members, &references(sender).await?, &usable);
    let ordinal = 1 + links.iter().map(|link| link.ordinal).max().unwrap_or(-1);
    if !over.is_empty() {
        hand_over(run, inventory, &records, (&over, ordinal)).await?;
    }
    let over: Vec<&RelationRecord> =
        records.iter().filter(|record| over.contains(&record.relation.oid)).collect();
    let over: Vec<QualifiedName> = over.iter().map(|record| record.relation.name.clone()).collect();
    give_up(run, &links, sender, &over).await?;
    Ok((!over.is_empty()).then_some((ordinal, over)))
}

/// Foreign keys as pairs of table OIDs.
async fn references(sender: &Session) -> Result<Vec<(u32, u32)>> {
    let sql = "SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f'";
    let rows = sender.query("read the foreign keys", sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Empties the tables on the target and opens all their parts under the new slot, in one transaction.
async fn hand_over(
    run: &Run<'_>,
    inventory: &Inventory,
    records: &[RelationRecord],
    (over, ordinal): (&HashSet<u32>, i32),
) -> Result<()> {
    let session = &run.control;
    session.batch("begin", "BEGIN").await?;
    store::insert_link(session, &run.id, ordinal).await?;
    for record in records.iter().filter(|record| over.contains(&record.relation.oid)) {
        let Some(table) = inventory.table(&record.relation.name) else { continue };
        resume::reopen(run, inventory, table, &record.relation).await?;
        store::move_to_link(session, &run.id, record.relation.oid, ordinal).await?;
        if !record.finished.is_empty() {
            let reason = "its slot's snapshot ended with the interrupted run".to_owned();
            run.reporter.event(&Event::TableRedone { table: table.name.plain(), reason });
        }
    }
    session.batch("commit", "COMMIT").await
}

/// Old slots let the tables go; those that have none left are dropped with their publications.
async fn give_up(
    run: &Run<'_>,
    links: &[LinkRecord],
    sender: &Session,
    over: &[QualifiedName],
) -> Result<()> {
    let records = RelationRecord::all(&run.control, &run.id).await?;
    for old in links {
        let link = Link::forward(&run.id, old.ordinal);
        if records.iter().any(|record| record.relation.link == Some(old.ordinal)) {
            link::retire_tables(sender, &link, over).await?;
        } else {
            link::drop_slot(sender, &link).await?;
            link::drop_publication(sender, &link).await?;
        }
    }
    Ok(())
}

/// How long making a slot may take before it is said what it waits for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Makes the slot, which waits for every transaction that is writing; says whom it waits for.
async fn create_slot(run: &Run<'_>, link: &Link, sender: &Session) -> Result<link::ExportedSlot> {
    let creating = link::create_slot_exporting(&run.clusters.source, sender, link);
    tokio::pin!(creating);
    let watcher = Session::open(&run.clusters.source, Side::Source, "watch").await?;
    let mut said = String::new();
    loop {
        tokio::select! {
            made = &mut creating => return made,
            () = run.cancel.cancelled() => return Err(Error::Interrupted),
            () = tokio::time::sleep(PATIENCE) => {
                let writing = writing(&watcher).await?;
                if writing != said && !writing.is_empty() {
                    let text = format!("the slot waits for transactions that are open on the source: {writing}");
                    run.reporter.event(&Event::Notice { text });
                }
                said = writing;
            }
        }
    }
}

/// Transactions that have written and not ended, in words.
async fn writing(session: &Session) -> Result<String> {
    let sql = "SELECT COALESCE(string_agg(w, ', '), '') FROM ( \
               (SELECT format('process %s (%s, since %s)', pid, COALESCE(NULLIF(application_name, ''), usename), \
                  to_char(xact_start, 'HH24:MI:SS')) AS w FROM pg_stat_activity \
                WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend' \
                ORDER BY xact_start LIMIT 5) \
               UNION ALL (SELECT format('prepared transaction %L', gid) FROM pg_prepared_xacts ORDER BY prepared LIMIT 5)) x";
    Ok(session.query_one("look for open transactions", sql, &[]).await?.get(0))
}
