//! Compares one table with its namesake. Pure.

use super::{Structure, What};
use crate::inventory::{Column, Constraint, Index, Inventory, Table};
use crate::verify::expression::{Likeness, likeness};

/// Schemas of the `vector` extension on both sides. They may differ, and then every type and operator class of it is
/// written differently and means the same.
pub(super) struct TypeSchemas {
    source: Option<String>,
    target: Option<String>,
}

impl TypeSchemas {
    pub(super) fn of(source: &Inventory, target: &Inventory) -> Self {
        let schema =
            |side: &Inventory| side.extension("vector").map(|found| found.schema.clone() + ".");
        let (source, target) = (schema(source), schema(target));
        // A side that lacks the extension is told so once, not again for every column.
        TypeSchemas { source: source.clone().or(target.clone()), target: target.or(source) }
    }

    /// Removes the schema in front of `name` in both texts.
    fn strip(&self, name: &str, source: &str, target: &str) -> (String, String) {
        let without = |text: &str, schema: &Option<String>| match schema {
            Some(schema) => text.replace(&format!("{schema}{name}"), name),
            None => text.to_owned(),
        };
        (without(source, &self.source), without(target, &self.target))
    }
}

/// Adds what differs between a table of the source and the target's of the same name.
pub(super) fn compare(out: &mut Structure, types: &TypeSchemas, source: &Table, target: &Table) {
    let name = source.name.plain();
    let said = [
        ("kind", format!("{:?}", target.kind), format!("{:?}", source.kind)),
        ("partition of", parent(target), parent(source)),
        ("unlogged", target.unlogged.to_string(), source.unlogged.to_string()),
        ("row-level security", target.row_security.to_string(), source.row_security.to_string()),
    ];
    for (what, ours, theirs) in said {
        if ours != theirs {
            let difference = format!("{what}: {ours}, on the source {theirs}").to_lowercase();
            out.differ(What::Table, &name, difference);
        }
    }
    if source.replica_identity != target.replica_identity {
        out.notes.push(format!(
            "table {name}: replica identity {}, on the source {}",
            target.replica_identity, source.replica_identity
        ));
    }
    compare_columns(out, types, source, target);
    compare_constraints(out, source, target);
    compare_indexes(out, types, source, target);
    compare_triggers(out, source, target);
}

fn parent(table: &Table) -> String {
    table.partition_of.as_ref().map_or("none".into(), |parent| parent.plain())
}

fn compare_columns(out: &mut Structure, types: &TypeSchemas, source: &Table, target: &Table) {
    for column in &source.columns {
        out.compared.columns += 1;
        let name = format!("{}.{}", source.name.plain(), column.name);
        match target.column(&column.name) {
            None => out.differ(What::Column, name, "missing"),
            Some(twin) => compare_column(out, types, &name, (column, twin)),
        }
    }
    for column in &target.columns {
        if source.column(&column.name).is_none() {
            let name = format!("{}.{}", source.name.plain(), column.name);
            out.differ(What::Column, name, "on the target only");
        }
    }
}

fn compare_column(
    out: &mut Structure,
    types: &TypeSchemas,
    name: &str,
    (source, target): (&Column, &Column),
) {
    let (theirs, ours) = match source.is_vector() {
        true => types.strip(&source.base_type, &source.type_name, &target.type_name),
        false => (source.type_name.clone(), target.type_name.clone()),
    };
    let null = |column: &Column| if column.not_null { "NOT NULL" } else { "nullable" }.to_owned();
    let or_none = |value: &Option<String>| value.clone().unwrap_or("none".into());
    let said = [
        ("type", ours, theirs),
        ("", null(target), null(source)),
        ("generated", or_none(&target.generated), or_none(&source.generated)),
        ("identity", or_none(&target.identity), or_none(&source.identity)),
        ("collation", or_none(&target.collation), or_none(&source.collation)),
    ];
    for (what, ours, theirs) in said {
        if ours != theirs {
            let difference = format!("{what} {ours}, on the source {theirs}");
            out.differ(What::Column, name, difference.trim_start());
        }
    }
    let (ours, theirs) = (or_none(&target.default), or_none(&source.default));
    match likeness(&theirs, &ours) {
        Likeness::Same => {}
        Likeness::Rewritten => {
            out.notes.push(format!("column {name}: default written {ours} for {theirs}"));
        }
        Likeness::Different => {
            out.differ(What::Column, name, format!("default {ours}, on the source {theirs}"));
        }
    }
}

/// All constraints, those with an index included. NOT NULL is a column's matter: PostgreSQL 18 keeps constraints for
/// it that earlier versions do not have.
fn constraints(table: &Table) -> impl Iterator<Item = &Constraint> {
    let of_indexes = table.indexes.iter().filter_map(|index| index.constraint.as_ref());
    table.constraints.iter().chain(of_indexes).filter(|constraint| constraint.kind != 'n')
}

fn compare_constraints(out: &mut Structure, source: &Table, target: &Table) {
    let table = source.name.plain();
    let mut renamed = Vec::new();
    for constraint in constraints(source) {
        out.compared.constraints += 1;
        let name = format!("{table}: {}", constraint.name);
        let theirs = &constraint.definition;
        if let Some(twin) = constraints(target).find(|found| found.name == constraint.name) {
            let ours = &twin.definition;
            match likeness(theirs, ours) {
                Likeness::Same => {}
                Likeness::Rewritten => {
                    out.notes.push(format!("constraint {name} is written {ours} for {theirs}"));
                }
                Likeness::Different => {
                    out.differ(What::Constraint, name, format!("{ours}, on the source {theirs}"));
                }
            }
        } else if let Some(twin) = constraints(target)
            .find(|found| likeness(theirs, &found.definition) != Likeness::Different)
        {
            renamed.push(twin.name.clone());
            out.notes.push(format!("constraint {name} is called {} on the target", twin.name));
        } else {
            out.differ(What::Constraint, name, format!("missing: {theirs}"));
        }
    }
    for constraint in constraints(target) {
        let known = constraints(source).any(|found| found.name == constraint.name);
        if !known && !renamed.contains(&constraint.name) {
            let name = format!("{table}: {}", constraint.name);
            let difference = format!("on the target only: {}", constraint.definition);
            out.differ(What::Constraint, name, difference);
        }
    }
}

/// What an index is, without the names of itself and its table.
fn body(index: &Index) -> &str {
    let definition = &index.definition;
    definition.find(" USING ").map_or(definition, |at| &definition[at + 1..])
}

/// Indexes without a constraint; the others were compared as constraints.
fn plain_indexes(table: &Table) -> impl Iterator<Item = &Index> {
    table.indexes.iter().filter(|index| index.constraint.is_none())
}

fn compare_indexes(out: &mut Structure, types: &TypeSchemas, source: &Table, target: &Table) {
    let table = source.name.plain();
    let mut renamed = Vec::new();
    // An invalid index of the source is the remains of a failed build and nothing the target should have.
    for index in plain_indexes(source).filter(|index| index.valid) {
        out.compared.indexes += 1;
        let name = format!("{table}: {}", index.name);
        let alike = |found: &Index| index_likeness(types, index, found);
        if let Some(twin) = plain_indexes(target).find(|found| found.name == index.name) {
            report_index(out, &name, (index, twin), alike(twin));
        } else if let Some(twin) =
            plain_indexes(target).find(|found| found.valid && alike(found) != Likeness::Different)
        {
            renamed.push(twin.name.clone());
            out.notes.push(format!("index {name} is called {} on the target", twin.name));
        } else {
            out.differ(What::Index, name, format!("missing: {}", body(index)));
        }
    }
    for index in target.indexes.iter().filter(|index| !index.valid) {
        let difference = "invalid: its build failed or is still under way";
        out.differ(What::Index, format!("{table}: {}", index.name), difference);
    }
    for index in plain_indexes(target) {
        let known = plain_indexes(source).any(|found| found.name == index.name);
        if !known && index.valid && !renamed.contains(&index.name) {
            out.notes.push(format!("index {table}: {} is on the target only", index.name));
        }
    }
}

fn index_likeness(types: &TypeSchemas, source: &Index, target: &Index) -> Likeness {
    if source.unique != target.unique {
        return Likeness::Different;
    }
    let (theirs, ours) = types.strip(&source.operator_class, body(source), body(target));
    likeness(&theirs, &ours)
}

fn report_index(
    out: &mut Structure,
    name: &str,
    (source, target): (&Index, &Index),
    alike: Likeness,
) {
    let said = format!("{}, on the source {}", body(target), body(source));
    match alike {
        Likeness::Same => {}
        Likeness::Rewritten => out.notes.push(format!("index {name} is written {said}")),
        // `lists` and `m` change speed and recall, never rows; recall is measured on its own.
        Likeness::Different if only_tuned(source, target) => {
            out.notes.push(format!("index {name} is tuned otherwise: {said}"));
        }
        Likeness::Different => out.differ(What::Index, name, said),
    }
}

/// Whether two vector indexes differ in storage parameters alone.
fn only_tuned(source: &Index, target: &Index) -> bool {
    let untuned = |index: &Index| {
        let text = body(index);
        let Some(from) = text.find(" WITH (") else { return text.to_owned() };
        let to = text[from..].find(')').map_or(text.len(), |at| from + at + 1);
        format!("{}{}", &text[..from], &text[to..])
    };
    source.is_vector()
        && source.method == target.method
        && source.operator_class == target.operator_class
        && source.columns == target.columns
        && untuned(source) == untuned(target)
}

fn compare_triggers(out: &mut Structure, source: &Table, target: &Table) {
    let table = source.name.plain();
    for trigger in &source.triggers {
        out.compared.triggers += 1;
        if !target.triggers.contains(trigger) {
            out.differ(What::Trigger, format!("{table}: {trigger}"), "missing");
        }
    }
    for trigger in target.triggers.iter().filter(|name| !source.triggers.contains(name)) {
        out.differ(What::Trigger, format!("{table}: {trigger}"), "on the target only");
    }
}
