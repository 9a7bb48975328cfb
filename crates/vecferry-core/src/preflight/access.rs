//! Judgements about rights: what our roles may read on the source and make on the target. Pure.

use super::facts::{Facts, Known};
use super::{Finding, blocker, counted, note, some_of, warning};
use crate::error::Side;
use crate::inventory::Table;
use crate::pg::{QualifiedName, quote_ident};

pub(super) fn source(facts: &Facts) -> Vec<Finding> {
    let Some(known) = facts.source.known() else { return vec![] };
    let side = Some(Side::Source);
    let role = quote_ident(&known.inventory.server.role);
    let mut found = vec![];
    let tables = facts.selected();
    let closed = closed_schemas(known, &tables);
    if !closed.is_empty() {
        found.push(blocker(
            side,
            format!("the role may not look into schema {}", some_of(&closed)),
            format!("GRANT USAGE ON SCHEMA {} TO {role}", quoted(&closed)),
        ));
    }
    let unreadable: Vec<&QualifiedName> =
        tables.iter().filter(|table| !may(table, "SELECT")).map(|table| &table.name).collect();
    if !unreadable.is_empty() {
        found.push(blocker(
            side,
            format!("the role may not read {}", some_of(&plain(&unreadable))),
            format!("GRANT SELECT ON {} TO {role}", some_of(&sql(&unreadable))),
        ));
    }
    let sequences: Vec<&QualifiedName> = known.extra.unreadable_sequences.iter().collect();
    if !sequences.is_empty() {
        found.push(blocker(
            side,
            format!("the role may not read sequence {}", some_of(&plain(&sequences))),
            format!("GRANT SELECT ON SEQUENCE {} TO {role}", some_of(&sql(&sequences))),
        ));
    }
    let hidden = known.extra.unreadable_large_objects;
    if hidden > 0 {
        found.push(blocker(
            side,
            format!("the role may not read {}", counted(hidden, "large object")),
            format!("GRANT SELECT ON LARGE OBJECT … TO {role}, or use their owner"),
        ));
    }
    found.extend(functions(known, &role));
    found
}

fn functions(known: &Known, role: &str) -> Vec<Finding> {
    let side = Some(Side::Source);
    let mut found = vec![];
    if !known.extra.can_export_snapshot {
        found.push(blocker(
            side,
            "the role may not call pg_export_snapshot(), by which connections see the same rows"
                .into(),
            format!("GRANT EXECUTE ON FUNCTION pg_catalog.pg_export_snapshot() TO {role}"),
        ));
    }
    if known.inventory.server.system_identifier.is_none() {
        found.push(warning(
            side,
            "the role may not call pg_control_system(): a source that was replaced by another cluster would not be noticed between two runs".into(),
            format!("GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system(), pg_catalog.pg_control_checkpoint() TO {role}"),
        ));
    }
    found
}

pub(super) fn row_security(facts: &Facts) -> Vec<Finding> {
    let Some(known) = facts.source.known() else { return vec![] };
    let hidden: Vec<&QualifiedName> = facts
        .selected()
        .into_iter()
        .map(|table| &table.name)
        .filter(|name| known.extra.hidden_rows.contains(name))
        .collect();
    if hidden.is_empty() {
        return vec![];
    }
    let role = quote_ident(&known.inventory.server.role);
    vec![blocker(
        Some(Side::Source),
        format!("row security hides rows of {} from the role", some_of(&plain(&hidden))),
        format!("use the tables' owner, or ALTER ROLE {role} BYPASSRLS"),
    )]
}

pub(super) fn target(facts: &Facts) -> Vec<Finding> {
    let Some((_, known)) = facts.both() else { return vec![] };
    let side = Some(Side::Target);
    let server = &known.inventory.server;
    let role = quote_ident(&server.role);
    let mut found = vec![];
    if !server.can_create {
        found.push(blocker(
            side,
            "the role may not create schemas in the target database".into(),
            format!("GRANT CREATE ON DATABASE {} TO {role}", quote_ident(&server.database)),
        ));
    }
    let tables = facts.selected();
    let closed: Vec<&str> = known
        .extra
        .schemas
        .iter()
        .filter(|schema| !(schema.create && schema.usage))
        .map(|schema| schema.name.as_str())
        .filter(|schema| tables.iter().any(|table| table.name.schema == *schema))
        .collect();
    if !closed.is_empty() {
        found.push(blocker(
            side,
            format!("the role may not create in schema {}", some_of(&closed)),
            format!("GRANT USAGE, CREATE ON SCHEMA {} TO {role}", quoted(&closed)),
        ));
    }
    let foreign: Vec<&QualifiedName> = tables
        .iter()
        .filter_map(|table| known.inventory.table(&table.name))
        .filter(|table| !may(table, "OWNER"))
        .map(|table| &table.name)
        .collect();
    if !foreign.is_empty() {
        found.push(blocker(
            side,
            format!("on the target, owned by another role: {}", some_of(&plain(&foreign))),
            format!("connect as their owner, or GRANT the owning role TO {role}: indexes are dropped and rebuilt"),
        ));
    }
    found
}

pub(super) fn roles(facts: &Facts) -> Vec<Finding> {
    let Some((source, target)) = facts.both() else { return vec![] };
    let wanted = &source.inventory.roles;
    let apart = |held: &[String]| -> Vec<&String> {
        wanted.iter().filter(|role| !held.contains(role)).collect()
    };
    let (missing, foreign) = (apart(&target.extra.all_roles), apart(&target.extra.held_roles));
    let (what, remedy) = if !missing.is_empty() {
        (
            format!("role {} does not exist on the target", some_of(&missing)),
            "create the roles there first",
        )
    } else if !foreign.is_empty() {
        (
            format!("our role may not act for {} on the target", some_of(&foreign)),
            "grant it membership of them, or connect as a superuser",
        )
    } else {
        return vec![];
    };
    vec![note(
        Some(Side::Target),
        format!("{what}, so that owners and grants of the source are not carried over"),
        format!("everything belongs to the connecting role then; {remedy} if that is not wanted"),
    )]
}

/// Schemas of `tables` that our role may not look into.
fn closed_schemas<'a>(known: &'a Known, tables: &[&Table]) -> Vec<&'a str> {
    known
        .extra
        .schemas
        .iter()
        .filter(|schema| !schema.usage)
        .map(|schema| schema.name.as_str())
        .filter(|schema| tables.iter().any(|table| table.name.schema == *schema))
        .collect()
}

pub(super) fn may(table: &Table, privilege: &str) -> bool {
    table.privileges.iter().any(|held| held == privilege)
}

pub(super) fn plain(names: &[&QualifiedName]) -> Vec<String> {
    names.iter().map(|name| name.plain()).collect()
}

pub(super) fn sql(names: &[&QualifiedName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn quoted(schemas: &[&str]) -> String {
    schemas.iter().map(|schema| quote_ident(schema)).collect::<Vec<_>>().join(", ")
}
