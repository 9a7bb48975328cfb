//! Judgements about the cluster that receives: workers, origins, and our role's rights there. Pure.

use super::{Limit, TARGET, of};
use crate::error::Side;
use crate::pg::quote_ident;
use crate::preflight::facts::{Facts, Known, Replication, TableOwner};
use crate::preflight::{Finding, blocker, note, some_of, warning};

/// What a server needs to apply changes.
pub(super) fn limits_of<'a>(known: &Known, replication: &'a Replication) -> [Limit<'a>; 3] {
    let spare = Some("a copy that is interrupted and continued wants a second");
    [
        Limit {
            setting: "max_logical_replication_workers",
            max: replication.max_apply_workers,
            users: &replication.apply_workers,
            unit: "logical replication worker",
            spare,
        },
        Limit {
            setting: "max_worker_processes",
            max: replication.max_workers,
            users: &replication.workers,
            unit: "background worker",
            spare: Some("parallel index builds take from the same number"),
        },
        Limit {
            setting: if known.inventory.server.major() < 18 {
                "max_replication_slots"
            } else {
                "max_active_replication_origins"
            },
            max: replication.max_origins,
            users: &replication.origins,
            unit: "replication origin",
            spare,
        },
    ]
}

pub(super) fn room(facts: &Facts) -> Vec<Finding> {
    let Some((known, replication)) = of(facts, Side::Target) else { return vec![] };
    let judge = |limit: Limit<'_>| limit.judge(Side::Target, known, replication);
    limits_of(known, replication).into_iter().filter_map(judge).collect()
}

pub(super) fn privileges(facts: &Facts) -> Vec<Finding> {
    let Some((known, replication)) = of(facts, Side::Target) else { return vec![] };
    let mut found: Vec<Finding> = may_not_subscribe(known, replication)
        .map(|(what, remedy)| blocker(TARGET, what, remedy))
        .into_iter()
        .collect();
    let tables = facts.selected();
    let strangers: Vec<&TableOwner> = replication
        .owners
        .iter()
        .filter(|owner| !owner.may_become && known.inventory.server.major() >= 16)
        .filter(|owner| tables.iter().any(|table| table.name == owner.table))
        .collect();
    if !strangers.is_empty() {
        let names: Vec<String> = strangers.iter().map(|owner| owner.table.plain()).collect();
        let mut owners: Vec<String> =
            strangers.iter().map(|owner| quote_ident(&owner.owner)).collect();
        owners.sort_unstable();
        owners.dedup();
        found.push(blocker(
            TARGET,
            format!(
                "changes are applied as the tables' owner, which the role may not become: {}",
                some_of(&names)
            ),
            format!(
                "GRANT {} TO {} WITH SET TRUE",
                owners.join(", "),
                quote_ident(&known.inventory.server.role)
            ),
        ));
    }
    found
}

/// What our role lacks to subscribe, and how it gets it. `CREATE` on the database is another check's.
pub(super) fn may_not_subscribe(
    known: &Known,
    replication: &Replication,
) -> Option<(String, String)> {
    if replication.may_subscribe || known.extra.managed_superuser {
        return None;
    }
    let role = quote_ident(&known.inventory.server.role);
    let remedy = if replication.rds || known.inventory.server.aurora {
        format!("GRANT rds_superuser TO {role}")
    } else if known.inventory.server.major() < 16 {
        "connect as a superuser; before PostgreSQL 16 nobody else may subscribe".into()
    } else {
        format!("GRANT pg_create_subscription TO {role}")
    };
    Some((format!("role {role} may not create subscriptions"), remedy))
}

/// What older servers do not know.
pub(super) fn versions(facts: &Facts) -> Vec<Finding> {
    let Some((source, target)) = facts.both() else { return vec![] };
    let (from, to) = (source.inventory.server.major(), target.inventory.server.major());
    let mut found = vec![];
    if to < 15 {
        found.push(warning(
            TARGET,
            format!("PostgreSQL {to} does not count errors of apply (15 does), so a change that cannot be applied looks like a lost connection"),
            "when `vecferry status` shows no progress, the target's log names the cause",
        ));
    }
    if from < 16 || to < 16 {
        found.push(note(
            None,
            "changes of a large transaction are applied when it has ended (streaming = parallel needs 16 on both sides)".into(),
            "nothing to do",
        ));
    }
    found
}
