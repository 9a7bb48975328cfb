//! Judgements about the ways between the servers: the target's to the source, and the one back. Pure.

use super::travels::generated;
use super::{SOURCE, TARGET, change, of, receiver, sender};
use crate::error::Side;
use crate::inventory::Table;
use crate::pg::quote_ident;
use crate::preflight::facts::{Answer, Facts, Known, SideFacts, Way};
use crate::preflight::{Finding, blocker, warning};

pub(super) fn forward(facts: &Facts) -> Vec<Finding> {
    let Some(way) = &facts.source_from_target else { return vec![] };
    let lost = astray(way, &facts.target);
    let mut found = vec![];
    if let Some(what) = failed(way, (Side::Target, Side::Source)) {
        let remedy = remedy(facts, way, Side::Source);
        let also = if lost { ", as the address means the target's own machine there" } else { "" };
        found.push(blocker(TARGET, format!("{what}{also}"), remedy));
    } else if lost {
        found.push(warning(
            TARGET,
            format!("{} is the source as this machine reaches it; on the target's server it is that server's own machine, and something answered there", way.address),
            "make sure that it is the source (a tunnel), or give the address that the target's server sees with --source-from-target",
        ));
    }
    found
}

/// Whether the address means one machine here and another one there.
fn astray(way: &Way, from: &SideFacts) -> bool {
    let seen = from.known().and_then(|known| known.extra.identity.address.as_deref());
    // `host:port`, without brackets for IPv6.
    let host = seen.and_then(|address| Some(address.rsplit_once(':')?.0));
    let loopback =
        |host: &str| host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    way.local && (!from.is_local() || host.is_some_and(|host| !loopback(host)))
}

fn failed(way: &Way, (from, to): (Side, Side)) -> Option<String> {
    let said = match &way.answer {
        Answer::Reached => return None,
        Answer::Refused { sqlstate, message } => format!("{message} (SQLSTATE {sqlstate})"),
        Answer::Silence { seconds } => format!("no answer within {seconds} s"),
    };
    Some(format!("the {from}'s server cannot reach the {to} at {}: {said}", way.address))
}

/// What to do, by what the server said. `to` is the side that was to be reached.
fn remedy(facts: &Facts, way: &Way, to: Side) -> String {
    let (from, option) = match to {
        Side::Source => (Side::Target, "--source-from-target"),
        Side::Target => (Side::Source, "--target-from-source"),
    };
    let said = match &way.answer {
        Answer::Refused { message, .. } => message.as_str(),
        _ => "",
    };
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let (role, database) = facts.side(to).known().map_or_else(Default::default, |known| {
        let server = &known.inventory.server;
        (quote_ident(&server.role), quote_ident(&server.database))
    });
    if says(&["pg_hba.conf"]) {
        return format!(
            "add to the {to}'s pg_hba.conf: host {database} {role} <address of the {from}'s server>/32 scram-sha-256 (a line for the database: logical replication does not match `replication`), then SELECT pg_reload_conf()"
        );
    }
    if says(&["WAL sender", "walsender"]) {
        return match of(facts, to) {
            Some((known, replication)) if replication.rds || known.inventory.server.aurora => {
                format!("GRANT rds_replication TO {role} on the {to}")
            }
            _ => format!("ALTER ROLE {role} REPLICATION on the {to}"),
        };
    }
    if says(&["max_wal_senders"]) {
        return of(facts, to).map_or_else(String::new, |(known, replication)| {
            let more = (replication.max_senders + 4).to_string();
            format!("on the {to}: {}", change(known, replication, "max_wal_senders", &more))
        });
    }
    if says(&["password"]) {
        return format!(
            "give a password that the {to} takes from there, in VECFERRY_{}_PASSWORD or in the URL of {option}; a role that is no superuser must log in by one",
            to.to_string().to_uppercase()
        );
    }
    if says(&["SSL", "sslmode", "certificate"]) {
        return format!(
            "give a URL with sslmode=require, or with sslrootcert= naming a file on the {from}'s server, with {option}"
        );
    }
    format!(
        "let the {from}'s server through to port {} (security group, firewall, listen_addresses, a line for the database in pg_hba.conf), or give the address that it sees with {option}",
        way.address.rsplit_once(':').map_or("", |(_, port)| port)
    )
}

/// Everything that would keep the source from following the target once the application has moved. No blocker: a
/// migration without a way back is the operator's to choose.
pub(super) fn back(facts: &Facts) -> Vec<Finding> {
    let (Some((source, from)), Some((target, to))) =
        (of(facts, Side::Source), of(facts, Side::Target))
    else {
        return vec![];
    };
    let no = |side, (what, remedy): (String, String)| {
        warning(side, format!("no way back after the cutover: {what}"), remedy)
    };
    let mut found: Vec<Finding> = vec![];
    let on_the =
        |side: Side, (what, remedy): (String, String)| (format!("on the {side}, {what}"), remedy);
    let target_lacks = [sender::not_logical(target, to), sender::may_not_replicate(target, to)];
    let lacks = target_lacks.into_iter().flatten().map(|lack| on_the(Side::Target, lack));
    found.extend(lacks.map(|lack| no(TARGET, lack)));
    for limit in sender::limits_of(to) {
        if let Some((what, true)) = limit.shortage() {
            let more = change(target, to, limit.setting, &(limit.max + 4).to_string());
            found.push(no(TARGET, on_the(Side::Target, (what, more))));
        }
    }
    let lack = receiver::may_not_subscribe(source, from);
    found.extend(lack.map(|lack| no(SOURCE, on_the(Side::Source, lack))));
    for limit in receiver::limits_of(source, from) {
        if let Some((what, true)) = limit.shortage() {
            let more = change(source, from, limit.setting, &(limit.max + 4).to_string());
            found.push(no(SOURCE, on_the(Side::Source, (what, more))));
        }
    }
    found.extend(unpublishable(facts, target).map(|lack| no(TARGET, lack)));
    if let Some(way) = &facts.target_from_source
        && let Some(what) = failed(way, (Side::Source, Side::Target))
    {
        found.push(no(SOURCE, (what, remedy(facts, way, Side::Target))));
    }
    found
}

/// Publishing on a target of 18 would make it refuse updates of these tables.
fn unpublishable(facts: &Facts, target: &Known) -> Option<(String, String)> {
    let whole: Vec<&Table> = facts
        .selected()
        .into_iter()
        .filter(|table| table.holds_rows() && table.replica_identity == 'f')
        .collect();
    let tables = generated(&whole);
    (target.inventory.server.major() >= 18 && !tables.is_empty()).then(|| {
        (
            format!("PostgreSQL 18 refuses updates of a published table with REPLICA IDENTITY FULL and generated columns: {}", tables.join(", ")),
            "give the table a primary key and ALTER TABLE … REPLICA IDENTITY DEFAULT".into(),
        )
    })
}
