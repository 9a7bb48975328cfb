//! Which indexes the target gets, as plain data. Pure.
//!
//! An index behind a primary key or unique constraint is built like any other, so that it can be built beside its
//! table's other indexes; the constraint takes it over afterwards, which needs a moment only. What cannot be done
//! that way (exclusion constraints, `WITHOUT OVERLAPS`, indexes of partitioned parents) is left to the dump's own
//! statements in the constraints phase.

use serde::{Deserialize, Serialize};

use super::memory::indexed_value;
use crate::inventory::{Index, Table};
use crate::pg::{QualifiedName, quote_ident};

/// One index to build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexPlan {
    /// OID of its table on the source.
    pub relation_oid: u32,
    /// Its table.
    pub table: QualifiedName,
    /// OID of the index on the source; 0 when it is the target's own.
    pub oid: u32,
    /// OID of its constraint on the source; 0 when there is none or it is the target's own.
    pub constraint_oid: u32,
    /// Name.
    pub name: String,
    /// `CREATE INDEX …`.
    pub create: String,
    /// Statements for the constraints phase: the constraint over the index, `REPLICA IDENTITY`, `CLUSTER ON`.
    pub attach: Vec<String>,
    /// The index's facts, for its memory and for `lists`.
    pub index: Index,
    /// Type and dimensions of what a vector index holds ([`super::memory::indexed_value`]).
    pub value: Option<(String, u64)>,
    /// Whether the definition is the target's own (a prepared table) rather than the source's.
    pub from_target: bool,
}

impl IndexPlan {
    /// Whether the target's own index is taken down before the load: one that no foreign key hangs on.
    pub fn drop_statement(&self) -> String {
        match &self.index.constraint {
            Some(constraint) => {
                format!(
                    "ALTER TABLE {} DROP CONSTRAINT {}",
                    self.table,
                    quote_ident(&constraint.name)
                )
            }
            None => format!(
                "DROP INDEX {}.{}",
                quote_ident(&self.table.schema),
                quote_ident(&self.name)
            ),
        }
    }

    /// Whether apply may look rows up by it. Every b-tree without a predicate: they cost little beside a vector index,
    /// and which one a server takes for a table with `REPLICA IDENTITY FULL` is its own choice.
    pub fn serves_apply(&self) -> bool {
        self.index.method == "btree" && !self.index.partial
    }

    /// The same statement without a lock against writers. Not to be run inside a transaction.
    pub fn concurrently(create: &str) -> String {
        create.replacen(" INDEX ", " INDEX CONCURRENTLY ", 1)
    }

    /// The statement to run, with `lists` replaced when one is given. Only IVFFlat has `lists`.
    pub fn create_with_lists(&self, lists: Option<u64>) -> String {
        let Some(lists) = lists.filter(|_| self.index.method == "ivfflat") else {
            return self.create.clone();
        };
        let new = format!("lists='{lists}'");
        match self.index.option("lists") {
            Some(old) => self.create.replace(&format!("lists='{old}'"), &new),
            None => {
                // `WITH` stands after the column list and before any predicate.
                match self.create.find(" WHERE ") {
                    Some(at) => {
                        format!("{} WITH ({new}){}", &self.create[..at], &self.create[at..])
                    }
                    None => format!("{} WITH ({new})", self.create),
                }
            }
        }
    }
}

/// Lists that suit a number of rows: rows / 1000 up to a million rows, the square root above
/// (pgvector's README, "IVFFlat"), at least 1.
pub(super) fn suitable_lists(rows: u64) -> u64 {
    if rows <= 1_000_000 { (rows / 1000).max(1) } else { rows.isqrt() }
}

/// The source's indexes of a table that the target lacks. `target` is the table there, when it existed before.
pub fn plan_indexes(source: &Table, target: Option<&Table>) -> Vec<IndexPlan> {
    let there = |index: &Index| {
        target.is_some_and(|table| {
            table
                .indexes
                .iter()
                .any(|other| other.name == index.name || same_definition(index, other))
        })
    };
    source
        .indexes
        .iter()
        .filter(|index| index.valid && can_be_taken_over(index) && !there(index))
        .map(|index| plan(source, source.oid, index, false))
        .collect()
}

/// The target's own indexes of a prepared table that are dropped before the load and built again after it. Those
/// behind a constraint stay when a foreign key refers to them or when the table is in use (`holds_rows`).
pub fn plan_prepared(source: &Table, target: &Table, holds_rows: bool) -> Vec<IndexPlan> {
    let droppable = |index: &&Index| match &index.constraint {
        Some(constraint) => !holds_rows && !constraint.referenced && can_be_taken_over(index),
        // A unique index guards rows that are there; others only speed up reading them.
        None => !(holds_rows && index.unique),
    };
    target
        .indexes
        .iter()
        .filter(|index| !index.attached && target.replica_identity != 'i')
        .filter(droppable)
        .map(|index| plan(target, source.oid, index, true))
        .collect()
}

fn same_definition(one: &Index, two: &Index) -> bool {
    let shape =
        |index: &Index| index.definition.split_once(" ON ").map(|(_, rest)| rest.to_owned());
    one.unique == two.unique
        && one.constraint.is_some() == two.constraint.is_some()
        && shape(one) == shape(two)
}

/// A constraint can take over a plain unique b-tree index only.
fn can_be_taken_over(index: &Index) -> bool {
    match &index.constraint {
        Some(constraint) => {
            matches!(constraint.kind, 'p' | 'u')
                && index.method == "btree"
                && !constraint.definition.contains("WITHOUT OVERLAPS")
        }
        None => true,
    }
}

fn plan(table: &Table, relation_oid: u32, index: &Index, from_target: bool) -> IndexPlan {
    let mut attach = Vec::new();
    if let Some(constraint) = &index.constraint {
        let kind = if constraint.kind == 'p' { "PRIMARY KEY" } else { "UNIQUE" };
        let deferrable =
            constraint.definition.find(" DEFERRABLE").map_or("", |at| &constraint.definition[at..]);
        attach.push(format!(
            "ALTER TABLE ONLY {} ADD CONSTRAINT {} {kind} USING INDEX {}{deferrable}",
            table.name,
            quote_ident(&constraint.name),
            quote_ident(&index.name),
        ));
    }
    if index.replica_identity {
        attach.push(format!(
            "ALTER TABLE ONLY {} REPLICA IDENTITY USING INDEX {}",
            table.name,
            quote_ident(&index.name)
        ));
    }
    if index.clustered {
        attach.push(format!("ALTER TABLE {} CLUSTER ON {}", table.name, quote_ident(&index.name)));
    }
    IndexPlan {
        relation_oid,
        table: table.name.clone(),
        oid: if from_target { 0 } else { index.oid },
        constraint_oid: index
            .constraint
            .as_ref()
            .filter(|_| !from_target)
            .map_or(0, |constraint| constraint.oid),
        name: index.name.clone(),
        create: index.definition.clone(),
        attach,
        index: index.clone(),
        value: indexed_value(table, index)
            .map(|(base_type, dimensions)| (base_type.to_owned(), dimensions)),
        from_target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_follow_the_number_of_rows() {
        for (rows, lists) in [(0, 1), (999, 1), (50_000, 50), (1_000_000, 1000), (4_000_000, 2000)]
        {
            assert_eq!(suitable_lists(rows), lists, "{rows}");
        }
    }
}
