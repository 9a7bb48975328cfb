//! Judgements about versions: servers, pgvector, other extensions, client programs. Pure.

use super::facts::{Available, Extra, Facts, Known};
use super::{Finding, blocker, note, some_of, warning};
use crate::error::Side;
use crate::inventory::{Extension, Server, Table};
use crate::pg::quote_ident;

/// The inventory's queries and ctid ranges need what came with 14.
pub(super) const OLDEST: u32 = 14;

pub(super) fn programs(facts: &Facts) -> Vec<Finding> {
    let programs = match &facts.programs {
        Ok(programs) => programs,
        Err(unreadable) => {
            return vec![blocker(None, unreadable.what.clone(), unreadable.remedy.clone())];
        }
    };
    let Some(source) = facts.source.known().map(|known| known.inventory.server.major()) else {
        return vec![];
    };
    if programs.major() >= source {
        return vec![];
    }
    vec![blocker(
        None,
        format!(
            "pg_dump is {} and pg_restore {}; the source is PostgreSQL {source}, which they cannot read",
            programs.pg_dump.version, programs.pg_restore.version
        ),
        format!(
            "install PostgreSQL's client programs, {source} or newer, and name their directory with --pg-bin-dir"
        ),
    )]
}

pub(super) fn servers(facts: &Facts) -> Vec<Finding> {
    let Some((source, target)) = facts.both() else { return vec![] };
    let (from, to) = (&source.inventory.server, &target.inventory.server);
    if to.major() < from.major() { downgrade(facts, from, to) } else { vec![] }
}

/// Going to an older major works for plain schemas; what only the newer one knows would fail in the middle.
fn downgrade(facts: &Facts, from: &Server, to: &Server) -> Vec<Finding> {
    let mut found: Vec<Finding> = facts
        .selected()
        .into_iter()
        .flat_map(|table| too_new(table, to.major()))
        .map(|what| {
            blocker(
                Some(Side::Target),
                format!("{what}, and the target is PostgreSQL {}", to.version),
                format!(
                    "move to PostgreSQL {} or newer, or leave the table out with --exclude",
                    from.major()
                ),
            )
        })
        .collect();
    if found.is_empty() {
        found.push(warning(
            Some(Side::Target),
            format!(
                "the target ({}) is an older major version than the source ({})",
                to.version, from.version
            ),
            if facts.follows() {
                "changes are applied by an older server as well, but its definitions may not restore where functions or views use what it lacks; try the schema first"
            } else {
                "works unless functions or views use what the older one lacks; try the schema first"
            },
        ));
    }
    found
}

/// Features of a table that a server of `major` does not have.
fn too_new(table: &Table, major: u32) -> Vec<String> {
    let name = table.name.plain();
    let mut found = vec![];
    if major < 18
        && table.columns.iter().any(|column| column.generated.as_deref() == Some("virtual"))
    {
        found.push(format!("{name} has a virtual generated column"));
    }
    let definitions: Vec<&str> = table
        .indexes
        .iter()
        .map(|index| index.definition.as_str())
        .chain(
            table
                .indexes
                .iter()
                .filter_map(|index| Some(index.constraint.as_ref()?.definition.as_str())),
        )
        .chain(table.constraints.iter().map(|constraint| constraint.definition.as_str()))
        .collect();
    for (words, since) in
        [("NULLS NOT DISTINCT", 15), ("WITHOUT OVERLAPS", 18), (" NOT ENFORCED", 18)]
    {
        if major < since && definitions.iter().any(|definition| definition.contains(words)) {
            found.push(format!(
                "{name} uses{}{words}",
                if words.starts_with(' ') { "" } else { " " }
            ));
        }
    }
    if major < 14 && table.columns.iter().any(|column| column.base_type.ends_with("multirange")) {
        found.push(format!("{name} has a multirange column"));
    }
    found
}

pub(super) fn pgvector(facts: &Facts) -> Vec<Finding> {
    let Some((source, target)) = facts.both() else { return vec![] };
    let Some(vector) = source.inventory.extension("vector") else { return vec![] };
    let mut found = on_the_target(vector, target, true);
    let Some(there) = effective(vector, target) else { return found };
    let mut young: Vec<String> = facts
        .selected()
        .into_iter()
        .flat_map(|table| table.columns.iter().map(move |column| (table, column)))
        .filter(|(_, column)| matches!(column.base_type.as_str(), "halfvec" | "sparsevec"))
        .map(|(table, column)| format!("{}.{}", table.name.plain(), column.name))
        .collect();
    young.dedup();
    if !young.is_empty() && is_older(&there, "0.7") {
        found.push(blocker(
            Some(Side::Target),
            format!("{} need pgvector 0.7 (halfvec, sparsevec), and the target has {there}", some_of(&young)),
            "ALTER EXTENSION vector UPDATE on the target, after installing a newer pgvector where needed",
        ));
    }
    found
}

pub(super) fn extensions(facts: &Facts) -> Vec<Finding> {
    let Some((source, target)) = facts.both() else { return vec![] };
    source
        .inventory
        .extensions
        .iter()
        .filter(|extension| !matches!(extension.name.as_str(), "plpgsql" | "vector"))
        .flat_map(|extension| {
            on_the_target(extension, target, source.extra.used_extensions.contains(&extension.name))
        })
        .collect()
}

/// The version that will be in use on the target: what is installed, else the newest that can be.
fn effective(wanted: &Extension, target: &Known) -> Option<String> {
    match target.inventory.extension(&wanted.name) {
        Some(installed) => Some(installed.version.clone()),
        None => newest(&wanted.name, &target.extra).map(|available| available.version.clone()),
    }
}

fn newest<'a>(name: &str, extra: &'a Extra) -> Option<&'a Available> {
    extra
        .available
        .iter()
        .filter(|available| available.name == name)
        .max_by(|one, two| numbers(&one.version).cmp(&numbers(&two.version)))
}

/// What stands between the source's extension and the target. `used`: objects of the user depend on it.
fn on_the_target(wanted: &Extension, target: &Known, used: bool) -> Vec<Finding> {
    let side = Some(Side::Target);
    let name = &wanted.name;
    if let Some(installed) = target.inventory.extension(name) {
        return installed_there(wanted, installed, target, used);
    }
    let Some(available) = newest(name, &target.extra) else {
        let what = format!("extension {name} {} is not available on the target", wanted.version);
        let remedy = if used {
            "install it on the target's server, or leave out what depends on it with --exclude"
        } else {
            "install it on the target's server; nothing of the user's depends on it, so dropping it on the source helps too"
        };
        return vec![blocker(side, what, remedy)];
    };
    if name == "vector" && is_older(&available.version, &wanted.version) {
        let what = format!(
            "the newest pgvector available on the target is {}, the source has {}",
            available.version, wanted.version
        );
        return vec![blocker(
            side,
            what,
            format!("install pgvector {} or newer on the target's server", wanted.version),
        )];
    }
    creatable(available, target)
}

fn installed_there(
    wanted: &Extension,
    installed: &Extension,
    target: &Known,
    used: bool,
) -> Vec<Finding> {
    let side = Some(Side::Target);
    let name = &wanted.name;
    let mut found = vec![];
    if used && installed.schema != wanted.schema {
        found.push(blocker(
            side,
            format!("extension {name} is in schema {} on the target and in {} on the source, where the tables' definitions look for it", installed.schema, wanted.schema),
            format!("ALTER EXTENSION {name} SET SCHEMA {} on the target", quote_ident(&wanted.schema)),
        ));
    }
    if !is_older(&installed.version, &wanted.version) {
        return found;
    }
    let better = newest(name, &target.extra)
        .is_some_and(|available| !is_older(&available.version, &wanted.version));
    let remedy = if better {
        format!("run ALTER EXTENSION {name} UPDATE on the target")
    } else {
        format!(
            "install {name} {} or newer on the target's server, then ALTER EXTENSION {name} UPDATE",
            wanted.version
        )
    };
    let what = format!(
        "{name} is {} on the target and {} on the source",
        installed.version, wanted.version
    );
    // Rows of a newer pgvector may not be readable by an older one; other extensions are the operator's to judge.
    let judge = if name == "vector" { blocker } else { warning };
    found.push(judge(side, what, remedy));
    found
}

fn creatable(available: &Available, target: &Known) -> Vec<Finding> {
    let server = &target.inventory.server;
    let side = Some(Side::Target);
    let name = &available.name;
    let allowed = server.superuser
        || target.extra.managed_superuser
        || (server.can_create && (!available.superuser || available.trusted));
    vec![if allowed {
        note(
            side,
            format!(
                "extension {name} is not installed on the target; {} is available",
                available.version
            ),
            "nothing to do: the migration creates it",
        )
    } else {
        blocker(
            side,
            format!(
                "extension {name} is not installed on the target, and role {:?} may not create it",
                server.role
            ),
            format!("let a superuser run CREATE EXTENSION {name} on the target"),
        )
    }]
}

/// Compares `0.6.2` and `0.10` as numbers.
pub(super) fn is_older(version: &str, than: &str) -> bool {
    numbers(version) < numbers(than)
}

fn numbers(version: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> = version
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect();
    // 0.7 and 0.7.0 are the same.
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    numbers
}
