//! Whether the target has what the source has: tables, columns, constraints, indexes, sequences, extensions, and the
//! definitions of functions, views, triggers, rules and policies. Pure: compares two [`Catalog`]s.
//!
//! The target may hold more than was moved: further tables, indexes and newer extensions are notes. What is missing,
//! defined otherwise or stricter than the source is a difference.

mod definitions;
mod table;

use std::collections::HashMap;

use serde::Serialize;

use crate::inventory::{Inventory, Table};
use crate::pg::QualifiedName;
use crate::phase::Phase;
use crate::policy::Policy;

pub use definitions::Definition;

/// A database's inventory and where its sequences stand.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Everything [`crate::inspect`] reads.
    pub inventory: Inventory,
    /// Sequences with their positions.
    pub sequences: Vec<Sequence>,
    /// Functions, views, triggers, rules and policies with their definitions.
    pub definitions: Vec<Definition>,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Name.
    pub name: QualifiedName,
    /// Data type, increment, bounds and cycling, for comparison and for people.
    pub options: String,
    /// Whether it counts down.
    pub descending: bool,
    /// Last value given out; `None` when none was.
    pub last_value: Option<i64>,
    /// Whether our role may see `last_value`.
    pub readable: bool,
    /// The table whose column owns it.
    pub owner: Option<QualifiedName>,
}

/// The kind of object that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum What {
    Extension,
    Table,
    Column,
    Constraint,
    Index,
    Trigger,
    Sequence,
    View,
    Function,
    Rule,
    Policy,
}

/// One thing that is not as on the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What kind of thing.
    pub what: What,
    /// Its name: `schema.table`, `schema.table.column`, …
    pub name: String,
    /// In words: `missing`, `type is text, on the source character varying(10)`.
    pub difference: String,
}

/// The answer about structure.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Structure {
    /// Whether there is no difference.
    pub matches: bool,
    /// How long it took, reading both catalogs included.
    pub seconds: f64,
    /// How much of the source was compared.
    pub compared: Compared,
    /// What differs.
    pub differences: Vec<Difference>,
    /// What is worth knowing and no difference.
    pub notes: Vec<String>,
}

/// How many objects of the source were looked for on the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each counts what its name says")]
pub struct Compared {
    pub extensions: usize,
    pub tables: usize,
    pub columns: usize,
    pub constraints: usize,
    pub indexes: usize,
    pub triggers: usize,
    pub sequences: usize,
    pub views: usize,
    pub functions: usize,
    pub rules: usize,
    pub policies: usize,
}

impl Structure {
    fn differ(&mut self, what: What, name: impl Into<String>, difference: impl Into<String>) {
        self.differences.push(Difference {
            what,
            name: name.into(),
            difference: difference.into(),
        });
    }

    /// The target is not ready before it has everything, so what is to come stays a difference; but it is no mistake.
    fn say_what_is_to_come(&mut self, phase: Phase) {
        let later = |what| {
            matches!(
                what,
                What::Constraint
                    | What::Index
                    | What::Trigger
                    | What::Rule
                    | What::Policy
                    | What::View
            )
        };
        for difference in self.differences.iter_mut().filter(|one| later(one.what)) {
            difference.difference = format!(
                "not there yet, the migration is in phase {phase}: {}",
                difference.difference
            );
        }
    }
}

/// What a migration in progress has yet to do, and is therefore no difference, or one that will pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Sequences are set at the cutover.
    pub(super) positions_later: bool,
    /// The phase in which indexes and constraints are still being made.
    pub(super) building: Option<Phase>,
}

/// Compares what the policy selects.
pub fn compare(source: &Catalog, target: &Catalog, policy: &Policy) -> Structure {
    compare_during(source, target, policy, Progress::default())
}

/// Compares what the policy selects while a migration is in progress.
pub(super) fn compare_during(
    source: &Catalog,
    target: &Catalog,
    policy: &Policy,
    progress: Progress,
) -> Structure {
    let mut structure = Structure::default();
    compare_extensions(&mut structure, source, target, policy);
    compare_tables(&mut structure, source, target, policy);
    compare_sequences(&mut structure, source, target, (policy, progress));
    if policy.selects_everything() {
        compare_views(&mut structure, &source.inventory, &target.inventory);
    } else {
        let note =
            "only the selected tables were compared; views, functions and large objects were not";
        structure.notes.push(note.into());
    }
    definitions::compare(&mut structure, source, target, policy);
    if let Some(phase) = progress.building {
        structure.say_what_is_to_come(phase);
    }
    structure.matches = structure.differences.is_empty();
    structure
}

fn compare_extensions(out: &mut Structure, source: &Catalog, target: &Catalog, policy: &Policy) {
    for extension in &source.inventory.extensions {
        // A part of the database needs its own extensions only, and of those we know one.
        if !policy.selects_everything() && extension.name != "vector" {
            continue;
        }
        out.compared.extensions += 1;
        let (name, theirs) = (&extension.name, &extension.version);
        let Some(found) = target.inventory.extension(name) else {
            out.differ(What::Extension, name, format!("missing, the source has {theirs}"));
            continue;
        };
        match version_key(&found.version).cmp(&version_key(theirs)) {
            std::cmp::Ordering::Less => {
                let difference =
                    format!("version {} is older than the source's {theirs}", found.version);
                out.differ(What::Extension, name, difference);
            }
            std::cmp::Ordering::Greater => {
                out.notes.push(format!("extension {name}: {theirs} became {}", found.version));
            }
            std::cmp::Ordering::Equal => {}
        }
    }
}

/// Versions in the order of their numbers: `0.8.0` below `0.10`; `08` is `8`, and `2dev` is above `2`.
fn version_key(version: &str) -> Vec<(u64, &str)> {
    let parts = version.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        (part[..digits].parse().unwrap_or(0), &part[digits..])
    });
    parts.collect()
}

fn compare_tables(out: &mut Structure, source: &Catalog, target: &Catalog, policy: &Policy) {
    let found: HashMap<&QualifiedName, &Table> =
        target.inventory.tables.iter().map(|table| (&table.name, table)).collect();
    let types = table::TypeSchemas::of(&source.inventory, &target.inventory);
    let mut wanted = 0;
    for table in source.inventory.tables.iter().filter(|table| policy.selects(table)) {
        wanted += 1;
        match found.get(&table.name) {
            Some(twin) => table::compare(out, &types, table, twin),
            None => out.differ(What::Table, table.name.plain(), "missing"),
        }
    }
    out.compared.tables = wanted;
    for table in target.inventory.tables.iter().filter(|table| policy.selects(table)) {
        if source.inventory.table(&table.name).is_none() {
            out.notes.push(format!("table {} is on the target only", table.name.plain()));
        }
    }
}

fn compare_sequences(
    out: &mut Structure,
    source: &Catalog,
    target: &Catalog,
    (policy, progress): (&Policy, Progress),
) {
    let mut to_be_set = 0;
    let found: HashMap<&QualifiedName, &Sequence> =
        target.sequences.iter().map(|sequence| (&sequence.name, sequence)).collect();
    for sequence in &source.sequences {
        let owner = sequence.owner.as_ref().and_then(|owner| source.inventory.table(owner));
        if !owner.map_or(policy.selects_everything(), |owner| policy.selects(owner)) {
            continue;
        }
        out.compared.sequences += 1;
        let name = sequence.name.plain();
        let Some(twin) = found.get(&sequence.name) else {
            out.differ(What::Sequence, name, "missing");
            continue;
        };
        if twin.options != sequence.options {
            let difference = format!("{}, on the source {}", twin.options, sequence.options);
            out.differ(What::Sequence, &name, difference);
        }
        if !twin.readable || !sequence.readable {
            out.notes.push(format!("sequence {name}: its position may not be read"));
        } else if let Some(behind) = behind(sequence, twin) {
            if progress.positions_later {
                to_be_set += 1;
            } else {
                out.differ(What::Sequence, name, behind);
            }
        }
    }
    if to_be_set > 0 {
        out.notes.push(format!(
            "positions of {to_be_set} {} behind the source's are no difference yet: replication does not carry them, the cutover sets them",
            if to_be_set == 1 { "sequence" } else { "sequences" }
        ));
    }
}

/// In words, when the target's sequence would give out a value that the source has given already.
fn behind(source: &Sequence, target: &Sequence) -> Option<String> {
    let theirs = source.last_value?;
    let enough = target
        .last_value
        .is_some_and(|ours| if source.descending { ours <= theirs } else { ours >= theirs });
    let at = target.last_value.map_or("was never used".into(), |ours| format!("stands at {ours}"));
    (!enough).then(|| format!("{at}, on the source at {theirs}"))
}

fn compare_views(out: &mut Structure, source: &Inventory, target: &Inventory) {
    for view in &source.views {
        out.compared.views += 1;
        let name = view.name.plain();
        match target.views.iter().find(|found| found.name == view.name) {
            None => out.differ(What::View, name, "missing"),
            Some(found) if found.materialized != view.materialized => {
                let kind = |materialized| if materialized { "materialized" } else { "plain" };
                let difference = format!(
                    "{}, on the source {}",
                    kind(found.materialized),
                    kind(view.materialized)
                );
                out.differ(What::View, name, difference);
            }
            Some(found) if view.populated && !found.populated => {
                out.differ(What::View, name, "not populated");
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
