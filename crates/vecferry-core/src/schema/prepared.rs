//! Tables that are on the target already: may rows of the source's table go into them? Pure.

use crate::inventory::{Column, Table};

/// Everything that stands in the way, in words; empty when the table fits. Order of columns does not matter, nor do
/// defaults, indexes and constraints: they do not change what a row holds.
pub(crate) fn differences(source: &Table, target: &Table) -> Vec<String> {
    let mut found = Vec::new();
    if source.kind != target.kind {
        found.push(format!(
            "it is {} on the source and {} on the target",
            kind(source),
            kind(target)
        ));
    }
    for column in &source.columns {
        match target.column(&column.name) {
            None => found.push(format!("column {:?} is missing on the target", column.name)),
            Some(other) => found.extend(column_difference(column, other)),
        }
    }
    for column in &target.columns {
        if source.column(&column.name).is_none()
            && column.not_null
            && column.default.is_none()
            && column.identity.is_none()
        {
            found.push(format!(
                "column {:?} exists on the target only and is NOT NULL without a default",
                column.name
            ));
        }
    }
    found
}

fn column_difference(source: &Column, target: &Column) -> Option<String> {
    if source.type_name != target.type_name {
        return Some(format!(
            "column {:?} is {} on the source and {} on the target",
            source.name, source.type_name, target.type_name
        ));
    }
    if source.generated.is_some() != target.generated.is_some() {
        let side = if source.generated.is_some() { "source" } else { "target" };
        return Some(format!("column {:?} is generated on the {side} only", source.name));
    }
    if !source.not_null && target.not_null {
        return Some(format!("column {:?} is NOT NULL on the target only", source.name));
    }
    None
}

fn kind(table: &Table) -> &'static str {
    match table.kind {
        crate::inventory::TableKind::Ordinary => "a table",
        crate::inventory::TableKind::Partitioned => "partitioned",
        crate::inventory::TableKind::Foreign => "a foreign table",
    }
}

/// Names and types of the columns as one text, to notice an ALTER TABLE between two runs.
pub(crate) fn shape(table: &Table) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let generated = column.generated.as_deref().unwrap_or("");
            format!("{} {} {generated}", column.name, column.type_name).trim_end().to_owned()
        })
        .collect();
    columns.join(", ")
}
