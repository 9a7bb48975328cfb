//! Judgements about what replication carries, and what it does not. Pure.

use super::{SOURCE, TARGET, of};
use crate::error::Side;
use crate::follow::identity::{mend, obstacle};
use crate::inventory::{Table, TableKind};
use crate::policy::Existing;
use crate::preflight::facts::{Facts, FiringTrigger};
use crate::preflight::tables::names;
use crate::preflight::{Finding, blocker, counted, human_bytes, note, some_of, warning};

/// Above this a table takes seconds to be read, which the target does for each changed row without an index.
const LARGE: u64 = 64 << 20;

pub(super) fn identity(facts: &Facts) -> Vec<Finding> {
    let tables: Vec<&Table> =
        facts.selected().into_iter().filter(|table| table.holds_rows()).collect();
    let lacking: Vec<(&Table, &str)> =
        tables.iter().filter_map(|table| Some((*table, obstacle(table)?))).collect();
    let mut found = vec![];
    let statements: Vec<String> = lacking.iter().map(|(table, _)| mend(table)).collect();
    if !lacking.is_empty() && facts.policy.follow.set_replica_identity {
        found.push(note(
            SOURCE,
            format!(
                "set on the source before the copy, and back by `vecferry cleanup`: {}",
                statements.join("; ")
            ),
            "chosen by --set-replica-identity; each takes a short ACCESS EXCLUSIVE lock",
        ));
    } else if !lacking.is_empty() {
        let reasons: Vec<String> =
            lacking.iter().map(|(table, why)| format!("{} ({why})", table.name.plain())).collect();
        found.push(blocker(
            SOURCE,
            format!(
                "updates and deletes cannot be followed, and would be refused on the source once it is published: {}",
                some_of(&reasons)
            ),
            format!("{}; or let vecferry do it with --set-replica-identity", statements.join("; ")),
        ));
    }
    let whole: Vec<&Table> = tables.iter().copied().filter(|table| by_whole_row(table)).collect();
    found.extend(slow(&whole));
    found.extend(refused_by_18(facts, &whole));
    found
}

/// Whether the table's changes name rows by all columns, now or after [`mend`].
fn by_whole_row(table: &Table) -> bool {
    table.replica_identity == 'f'
        || (obstacle(table).is_some() && mend(table).ends_with("REPLICA IDENTITY FULL"))
}

/// The target reads the table for each row where no index serves.
fn slow(whole: &[&Table]) -> Option<Finding> {
    let serves = |table: &Table| {
        table.indexes.iter().any(|index| index.valid && !index.partial && index.method == "btree")
    };
    let large: Vec<String> = whole
        .iter()
        .filter(|table| table.table_bytes > LARGE && !serves(table))
        .map(|table| format!("{} ({})", table.name.plain(), human_bytes(table.table_bytes)))
        .collect();
    (!large.is_empty()).then(|| {
        warning(
            SOURCE,
            format!("with REPLICA IDENTITY FULL and no b-tree index, the target reads the whole table for each row updated or deleted: {}", some_of(&large)),
            "add a primary key, or an index over a column that tells rows apart",
        )
    })
}

/// Since 18, UPDATE and DELETE fail on a published table whose identity holds a generated column.
fn refused_by_18(facts: &Facts, whole: &[&Table]) -> Option<Finding> {
    let generated = generated(whole);
    let young = facts.source.known().is_some_and(|known| known.inventory.server.major() >= 18);
    (young && !generated.is_empty()).then(|| {
        blocker(
            SOURCE,
            format!("with REPLICA IDENTITY FULL and generated columns, PostgreSQL 18 refuses updates and deletes once it is published: {}", some_of(&generated)),
            "give the table a primary key and ALTER TABLE … REPLICA IDENTITY DEFAULT, or leave it out with --exclude",
        )
    })
}

/// Of the tables, those with generated columns.
pub(super) fn generated(tables: &[&Table]) -> Vec<String> {
    let has = |table: &&&Table| table.columns.iter().any(|column| column.generated.is_some());
    tables.iter().filter(has).map(|table| table.name.plain()).collect()
}

pub(super) fn left_behind(facts: &Facts) -> Vec<Finding> {
    let Some(known) = facts.source.known() else { return vec![] };
    let mut found = vec![];
    if facts.policy.existing == Existing::Keep {
        found.push(blocker(
            TARGET,
            "--existing keep does not go with follow: changes to every bot of the source are applied".into(),
            "use --existing replace, or --method copy",
        ));
    }
    found.extend(unlogged(facts));
    let views: Vec<String> = known
        .inventory
        .views
        .iter()
        .filter(|view| view.materialized)
        .map(|view| view.name.plain())
        .collect();
    if !views.is_empty() {
        found.push(warning(
            SOURCE,
            format!("materialized views hold on the target what was copied until they are refreshed there: {}", some_of(&views)),
            "REFRESH MATERIALIZED VIEW on the target at cutover",
        ));
    }
    let objects = known.inventory.large_objects;
    if objects > 0 {
        found.push(warning(
            SOURCE,
            format!("{}: changes to them are not followed", counted(objects, "large object")),
            "nothing to do: cutover copies those that differ again, while writes are refused",
        ));
    }
    let sequences = known.inventory.sequences.len();
    if sequences > 0 {
        found.push(note(
            SOURCE,
            format!("{}: positions are not followed", counted(sequences as u64, "sequence")),
            "nothing to do: cutover sets them, ahead of the source by a margin",
        ));
    }
    found
}

fn unlogged(facts: &Facts) -> Option<Finding> {
    let tables: Vec<&Table> = facts
        .selected()
        .into_iter()
        .filter(|table| table.unlogged && table.kind != TableKind::Foreign)
        .collect();
    let first = tables.first()?;
    let all: Vec<String> =
        tables.iter().map(|table| format!("ALTER TABLE {} SET LOGGED", table.name)).collect();
    Some(blocker(
        SOURCE,
        format!("unlogged tables cannot be published: {}", some_of(&names(&tables))),
        format!("{}; or leave them out with --exclude {}", all.join("; "), first.name.plain()),
    ))
}

/// Changes are applied under `session_replication_role = replica`: of triggers, only those made for it fire.
pub(super) fn triggers(facts: &Facts) -> Vec<Finding> {
    let (Some((_, source)), Some((target, there))) =
        (of(facts, Side::Source), of(facts, Side::Target))
    else {
        return vec![];
    };
    let tables = facts.selected();
    let chosen = |firing: &&FiringTrigger| tables.iter().any(|table| table.name == firing.table);
    let name = |firing: &FiringTrigger| format!("{} on {}", firing.trigger, firing.table.plain());
    let on_target: Vec<String> = there.firing.iter().filter(chosen).map(name).collect();
    let carried: Vec<String> = source
        .firing
        .iter()
        .filter(chosen)
        .filter(|firing| target.inventory.table(&firing.table).is_none())
        .map(name)
        .collect();
    let mut found = vec![];
    if !on_target.is_empty() {
        found.push(warning(
            TARGET,
            format!("enabled ALWAYS or for REPLICA on the target, so it fires for every change that is applied: {}", some_of(&on_target)),
            "ALTER TABLE … ENABLE TRIGGER … (or DISABLE) on the target until cutover",
        ));
    }
    if !carried.is_empty() {
        found.push(warning(
            SOURCE,
            format!("enabled ALWAYS or for REPLICA on the source, so on the target it fires a second time for every change that is applied: {}", some_of(&carried)),
            "ALTER TABLE … DISABLE TRIGGER … on the target once it is there, until cutover",
        ));
    }
    found
}
