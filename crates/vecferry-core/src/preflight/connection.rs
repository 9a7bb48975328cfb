//! Judgements about reaching the clusters: the right server, enough connections, nobody else at work. Pure.

use super::facts::{Facts, Known, SideFacts};
use super::{Finding, blocker, note, some_of, warning};
use crate::error::Side;

/// Connections besides those that copy: the record, the exported snapshot, progress.
const BESIDE_JOBS: u32 = 3;
/// And these where the source is followed: locks, publication and the look at who is waited for, or apply.
const BESIDE_FOLLOW: u32 = 3;

pub(super) fn reachable(facts: &Facts) -> Vec<Finding> {
    let failed = |side: &SideFacts| {
        let unreadable = side.state.as_ref().err()?;
        Some(blocker(Some(side.side), unreadable.what.clone(), unreadable.remedy.clone()))
    };
    facts.sides().into_iter().filter_map(failed).collect()
}

pub(super) fn different_databases(facts: &Facts) -> Vec<Finding> {
    let Some((source, target)) = facts.both() else { return vec![] };
    let (one, two) = (&source.inventory.server, &target.inventory.server);
    if one.database_oid != two.database_oid || one.database != two.database {
        return vec![];
    }
    let same_start = source.extra.identity.started_at == target.extra.identity.started_at;
    let same_identifier = match (&one.system_identifier, &two.system_identifier) {
        (Some(one), Some(two)) => one == two,
        _ => same_start,
    };
    let replicates = one.in_recovery || two.in_recovery;
    if same_identifier && (same_start || replicates) {
        vec![blocker(
            None,
            format!("source and target are the same database ({:?} of one cluster)", one.database),
            "name another cluster or database with --target",
        )]
    } else if same_identifier {
        vec![warning(
            Some(Side::Target),
            "the target is a physical copy of the source (same system identifier), restored or cloned from it".into(),
            "make sure that --target is the cluster to be filled; an empty one is the usual target",
        )]
    } else {
        vec![]
    }
}

pub(super) fn one_server(facts: &Facts) -> Vec<Finding> {
    facts
        .sides()
        .into_iter()
        .flat_map(|side| side.known().and_then(|known| shared(side, known)))
        .collect()
}

fn shared(side: &SideFacts, known: &Known) -> Option<Finding> {
    let (first, second) = (&known.extra.identity, known.second.as_ref()?);
    if first.started_at != second.started_at || first.address != second.address {
        let seen = |address: &Option<String>| address.clone().unwrap_or_else(|| "a socket".into());
        return Some(blocker(
            Some(side.side),
            format!(
                "two connections to {} reached different servers ({} and {}): a load balancer or reader endpoint",
                side.host,
                seen(&first.address),
                seen(&second.address),
            ),
            format!("give the address of one server, the writer, with --{}", side.side),
        ));
    }
    (first.backend_pid == second.backend_pid).then(|| {
        blocker(
            Some(side.side),
            "two open connections share one server process: a pooler in transaction mode".into(),
            format!(
                "connect past the pooler with --{}: snapshots, locks and settings belong to a session",
                side.side
            ),
        )
    })
}

pub(super) fn source_writer(facts: &Facts) -> Vec<Finding> {
    let Some(known) = facts.source.known() else { return vec![] };
    let server = &known.inventory.server;
    let side = Some(Side::Source);
    if is_reader_endpoint(&facts.source.host) || (server.aurora && server.in_recovery) {
        return vec![blocker(
            side,
            format!(
                "{} is an Aurora reader: a snapshot exported there holds for no other connection of the endpoint, and cannot be told from later writes",
                facts.source.host
            ),
            "give the cluster (writer) endpoint, or that of a cluster restored from a snapshot, with --source",
        )];
    }
    if server.in_recovery && facts.follows() {
        return vec![blocker(
            side,
            "the source is a standby, where no publication can be made".into(),
            "give the primary with --source",
        )];
    }
    if server.in_recovery {
        return vec![warning(
            side,
            "the source is a standby: replay may cancel long reads, and a table is then read again"
                .into(),
            "give the primary with --source, or set max_standby_streaming_delay = -1 on the standby for the time",
        )];
    }
    vec![]
}

/// Aurora names its reader endpoints so.
fn is_reader_endpoint(host: &str) -> bool {
    host.contains(".cluster-ro-")
}

pub(super) fn target_writable(facts: &Facts) -> Vec<Finding> {
    let Some(known) = facts.target.known() else { return vec![] };
    let (what, remedy) =
        if is_reader_endpoint(&facts.target.host) || known.inventory.server.in_recovery {
            (
                "the target is a standby or a reader and takes no writes",
                "give the primary or the writer endpoint with --target",
            )
        } else if known.extra.read_only {
            (
                "the target's sessions are read-only (default_transaction_read_only)",
                "reset default_transaction_read_only for the role, the database or the server",
            )
        } else {
            return vec![];
        };
    vec![blocker(Some(Side::Target), what.into(), remedy)]
}

pub(super) fn encryption(facts: &Facts) -> Vec<Finding> {
    facts
        .sides()
        .into_iter()
        .flat_map(|side| side.known().and_then(|known| exposed(side, known)))
        .collect()
}

fn exposed(side: &SideFacts, known: &Known) -> Option<Finding> {
    if side.is_local() {
        return None;
    }
    let (what, remedy) = if !known.inventory.server.encrypted {
        ("is not encrypted", "add sslmode=verify-full and sslrootcert=FILE to the URL of")
    } else if !side.verifies {
        (
            "is encrypted, but the server's certificate is not verified",
            "add sslmode=verify-full and, for a private authority, sslrootcert=FILE to the URL of",
        )
    } else {
        return None;
    };
    Some(warning(
        Some(side.side),
        format!("the connection to {} {what}", side.host),
        format!("{remedy} --{}", side.side),
    ))
}

pub(super) fn free_connections(facts: &Facts) -> Vec<Finding> {
    let jobs = u32::try_from(facts.policy.jobs).unwrap_or(u32::MAX);
    let beside = BESIDE_JOBS + if facts.follows() { BESIDE_FOLLOW } else { 0 };
    facts
        .sides()
        .into_iter()
        .flat_map(|side| side.known().and_then(|known| crowded(side, known, (jobs, beside))))
        .collect()
}

fn crowded(side: &SideFacts, known: &Known, (jobs, beside): (u32, u32)) -> Option<Finding> {
    let wanted = jobs.saturating_add(beside);
    let (server, now) = (&known.inventory.server, &known.extra.connections);
    let reserved = if server.superuser { 0 } else { server.reserved_connections + now.reserved };
    let limits = [
        Some(("max_connections", server.max_connections.saturating_sub(reserved), now.used)),
        now.role_limit.map(|limit| ("the role's connection limit", limit, now.role_used)),
        now.database_limit
            .map(|limit| ("the database's connection limit", limit, now.database_used)),
    ];
    let (name, limit, used) =
        limits.into_iter().flatten().min_by_key(|(_, limit, used)| limit.saturating_sub(*used))?;
    let free = limit.saturating_sub(used);
    if free >= wanted {
        return None;
    }
    let what = format!(
        "{free} connections are free ({used} of {limit} in use, by {name}), and the run wants {wanted}"
    );
    Some(match free.checked_sub(beside).filter(|jobs| *jobs > 0) {
        Some(jobs) => blocker(Some(side.side), what, format!("use --jobs {jobs}, or raise {name}")),
        None => blocker(
            Some(side.side),
            what,
            format!("end sessions that are not needed, or raise {name}"),
        ),
    })
}

pub(super) fn session_limits(facts: &Facts) -> Vec<Finding> {
    let limited = |side: &SideFacts| {
        let settings = &side.known()?.extra.role_settings;
        (!settings.is_empty()).then(|| {
            note(
                Some(side.side),
                format!("role or database sets {}", some_of(settings)),
                "nothing to do: the migration's own sessions override it",
            )
        })
    };
    facts.sides().into_iter().filter_map(limited).collect()
}

pub(super) fn other_migrations(facts: &Facts) -> Vec<Finding> {
    let Some(known) = facts.target.known() else { return vec![] };
    let side = Some(Side::Target);
    if known.extra.migration_running {
        return vec![blocker(
            side,
            "another migration into this database is running".into(),
            "watch it with `vecferry status`, and start when it is done",
        )];
    }
    if known.extra.has_store {
        return vec![note(
            side,
            "the target holds the record of an earlier migration (schema vecferry)".into(),
            "`vecferry status` shows it; `migrate` continues it where it stopped; `vecferry cleanup` removes it",
        )];
    }
    vec![]
}
