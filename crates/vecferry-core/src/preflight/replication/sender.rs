//! Judgements about the cluster that sends: its log, slots, settings, and our role's rights there. Pure.

use super::{Limit, SOURCE, change, of};
use crate::error::Side;
use crate::inventory::Table;
use crate::pg::{QualifiedName, quote_ident};
use crate::plan::size::index_bytes;
use crate::preflight::access::{may, plain};
use crate::preflight::facts::{Facts, Known, Replication};
use crate::preflight::{Finding, blocker, human_bytes, note, some_of, warning};

/// A transaction younger than this is everyday work; a slot waits for it without anybody noticing.
const OLD_SECONDS: f64 = 10.0;
/// PostgreSQL's own default for `logical_decoding_work_mem`.
const USUAL_DECODING_MEMORY: u64 = 64 << 20;

pub(super) fn wal_level(facts: &Facts) -> Vec<Finding> {
    let Some((known, replication)) = of(facts, Side::Source) else { return vec![] };
    not_logical(known, replication)
        .map(|(what, remedy)| blocker(SOURCE, format!("on the source, {what}"), remedy))
        .into_iter()
        .collect()
}

/// What is wrong with a server's `wal_level`, and how to mend it.
pub(super) fn not_logical(known: &Known, replication: &Replication) -> Option<(String, String)> {
    let level = &known.inventory.server.wal_level;
    if level == "logical" {
        return None;
    }
    let remedy = if replication.rds || known.inventory.server.aurora {
        "set rds.logical_replication = 1 in the cluster's parameter group (RDS: the instance's) and reboot the writer".into()
    } else {
        change(known, replication, "wal_level", "logical")
    };
    Some((format!("wal_level is {level}, and logical replication needs logical"), remedy))
}

/// Slots and WAL senders; an interrupted copy that is continued holds two of each for a while.
pub(super) fn limits_of(replication: &Replication) -> [Limit<'_>; 2] {
    let spare = Some("a copy that is interrupted and continued wants a second");
    [
        Limit {
            setting: "max_replication_slots",
            max: replication.max_slots,
            users: &replication.slots,
            unit: "replication slot",
            spare,
        },
        Limit {
            setting: "max_wal_senders",
            max: replication.max_senders,
            users: &replication.senders,
            unit: "WAL sender",
            spare,
        },
    ]
}

pub(super) fn room(facts: &Facts) -> Vec<Finding> {
    let Some((known, replication)) = of(facts, Side::Source) else { return vec![] };
    let judge = |limit: Limit<'_>| limit.judge(Side::Source, known, replication);
    limits_of(replication).into_iter().filter_map(judge).collect()
}

pub(super) fn kept_wal(facts: &Facts) -> Vec<Finding> {
    let Some((known, replication)) = of(facts, Side::Source) else { return vec![] };
    let Some(kept) = replication.kept_wal else {
        return vec![warning(
            SOURCE,
            "max_slot_wal_keep_size is -1: the slot keeps write-ahead log without limit, and a migration that is abandoned fills the source's disk".into(),
            "watch it with `vecferry status`, end it with `vecferry cutover` or `vecferry cleanup`; or set max_slot_wal_keep_size to what the disk can spare",
        )];
    };
    let tables: Vec<&Table> =
        facts.selected().into_iter().filter(|table| table.holds_rows()).collect();
    let rows: u64 = tables.iter().map(|table| table.table_bytes).sum();
    let indexes: u64 = tables
        .iter()
        .flat_map(|table| table.indexes.iter().map(|index| index_bytes(table, index)))
        .sum();
    if kept >= rows + indexes {
        return vec![];
    }
    vec![warning(
        SOURCE,
        format!(
            "max_slot_wal_keep_size is {}: if more write-ahead log than that is written while {} are copied and {} of indexes are built, the slot is lost and everything begins again",
            human_bytes(kept),
            human_bytes(rows),
            human_bytes(indexes),
        ),
        format!(
            "`vecferry plan --method follow` measures how much is written; {} for the time",
            change(known, replication, "max_slot_wal_keep_size", "'…'")
                .replace(", then restart the server", "; SELECT pg_reload_conf()")
        ),
    )]
}

/// Settings that end a slot or a connection, or slow decoding down.
pub(super) fn limits(facts: &Facts) -> Vec<Finding> {
    let Some((_, replication)) = of(facts, Side::Source) else { return vec![] };
    let mut found = vec![];
    if let Some(timeout) = &replication.idle_slot_timeout {
        found.push(warning(
            SOURCE,
            format!("idle_replication_slot_timeout is {timeout}: the slot is idle while rows are copied and indexes built, and is lost when that takes longer"),
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf() for the time",
        ));
    }
    if !replication.senders_time_out {
        found.push(note(
            SOURCE,
            "wal_sender_timeout is 0: a receiver that vanishes is noticed by TCP alone, and holds the slot until then".into(),
            "nothing to do; a value of '1min' lets a new connection have the slot sooner",
        ));
    }
    if replication.decoding_memory < USUAL_DECODING_MEMORY {
        found.push(note(
            SOURCE,
            format!("logical_decoding_work_mem is {}: larger transactions are sent in pieces while they run, or written to the source's disk first", human_bytes(replication.decoding_memory)),
            "nothing to do; more of it helps where large transactions are usual",
        ));
    }
    found
}

pub(super) fn open_transactions(facts: &Facts) -> Vec<Finding> {
    let Some((_, replication)) = of(facts, Side::Source) else { return vec![] };
    let mut found = vec![];
    let old: Vec<_> = replication
        .open_transactions
        .iter()
        .filter_map(|open| Some((open, open.seconds.filter(|seconds| *seconds >= OLD_SECONDS)?)))
        .collect();
    if let Some((first, _)) = old.first() {
        let names: Vec<String> = old
            .iter()
            .map(|(open, seconds)| {
                format!("process {} ({}, for {seconds:.0} s)", open.pid, open.name)
            })
            .collect();
        found.push(warning(
            SOURCE,
            format!(
                "the slot waits until every transaction that has written ends, in all databases; open now: {}",
                some_of(&names)
            ),
            format!("let them end, or SELECT pg_terminate_backend({})", first.pid),
        ));
    }
    if let Some(first) = replication.prepared.first() {
        let names: Vec<String> = replication
            .prepared
            .iter()
            .map(|open| format!("{:?} (for {:.0} s)", open.name, open.seconds))
            .collect();
        found.push(warning(
            SOURCE,
            format!("the slot waits for prepared transactions: {}", some_of(&names)),
            format!(
                "COMMIT PREPARED or ROLLBACK PREPARED '{}' in its database",
                first.name.replace('\'', "''")
            ),
        ));
    }
    found
}

pub(super) fn privileges(facts: &Facts) -> Vec<Finding> {
    let Some((known, replication)) = of(facts, Side::Source) else { return vec![] };
    let server = &known.inventory.server;
    let role = quote_ident(&server.role);
    let mut found: Vec<Finding> = may_not_replicate(known, replication)
        .map(|(what, remedy)| blocker(SOURCE, what, remedy))
        .into_iter()
        .collect();
    if !server.can_create {
        found.push(blocker(
            SOURCE,
            "the role may not create a publication in the source database".into(),
            format!("GRANT CREATE ON DATABASE {} TO {role}", quote_ident(&server.database)),
        ));
    }
    let tables: Vec<&Table> =
        facts.selected().into_iter().filter(|table| table.holds_rows()).collect();
    let owned = |table: &&&Table| may(table, "OWNER");
    let foreign: Vec<&QualifiedName> =
        tables.iter().filter(|table| !owned(table)).map(|table| &table.name).collect();
    if !foreign.is_empty() {
        found.push(blocker(
            SOURCE,
            format!("only their owner may publish: {}", some_of(&plain(&foreign))),
            ownership(replication, &foreign, &role),
        ));
    }
    let chosen = facts.selected();
    let open: Vec<String> = replication
        .owners
        .iter()
        .filter(|owner| !owner.may_fence && !foreign.contains(&&owner.table))
        .filter(|owner| chosen.iter().any(|table| table.name == owner.table))
        .map(|owner| owner.table.to_string())
        .collect();
    if !open.is_empty() {
        found.push(blocker(
            SOURCE,
            format!("the role may not lock and put a trigger on them, by which a cutover refuses writes: {}", some_of(&open)),
            format!("GRANT TRIGGER, UPDATE ON {} TO {role}", some_of(&open)),
        ));
    }
    found
}

/// What our role lacks to open a replication connection, and how it gets it.
pub(super) fn may_not_replicate(
    known: &Known,
    replication: &Replication,
) -> Option<(String, String)> {
    if replication.may_replicate {
        return None;
    }
    let role = quote_ident(&known.inventory.server.role);
    let remedy = if replication.rds || known.inventory.server.aurora {
        format!("GRANT rds_replication TO {role}")
    } else {
        format!("ALTER ROLE {role} REPLICATION")
    };
    Some((format!("role {role} may not replicate"), remedy))
}

/// The grants by which our role owns the tables.
fn ownership(replication: &Replication, tables: &[&QualifiedName], role: &str) -> String {
    let mut owners: Vec<&str> = replication
        .owners
        .iter()
        .filter(|owner| tables.contains(&&owner.table))
        .map(|owner| owner.owner.as_str())
        .collect();
    owners.sort_unstable();
    owners.dedup();
    let grants: Vec<String> =
        owners.iter().map(|owner| format!("GRANT {} TO {role}", quote_ident(owner))).collect();
    let alter = tables.first().map(|table| format!("ALTER TABLE {table} OWNER TO {role}"));
    match (grants.as_slice(), alter) {
        ([], alter) => alter.unwrap_or_default(),
        (grants, Some(alter)) if tables.len() == 1 => format!("{}; or {alter}", grants.join("; ")),
        (grants, _) => grants.join("; "),
    }
}
