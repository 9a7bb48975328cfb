//! Compares what is defined by a text: functions, views, triggers, rules, policies. Pure.
//!
//! Of each there is a part that every version of PostgreSQL keeps letter by letter (a function's body, what a trigger
//! fires on): it must be the same. The rest a server writes back from what it parsed, each major version in its own
//! way: there a difference between two major versions is a note, and within one a difference.

use std::collections::HashMap;

use super::{Catalog, Structure, What};
use crate::pg::QualifiedName;
use crate::policy::Policy;
use crate::verify::expression::{Likeness, likeness};

/// An object that is defined by a text of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its kind.
    pub what: What,
    /// Name for people, unique within its kind.
    pub name: String,
    /// The relation it belongs to.
    pub relation: Option<QualifiedName>,
    /// What every version keeps letter by letter.
    pub fixed: String,
    /// What the server writes in its own way.
    pub written: String,
}

/// Adds what differs between the definitions that the policy selects.
pub(super) fn compare(out: &mut Structure, source: &Catalog, target: &Catalog, policy: &Policy) {
    let key = |one: &Definition| (format!("{:?}", one.what), one.name.clone());
    let found: HashMap<_, &Definition> =
        target.definitions.iter().map(|one| (key(one), one)).collect();
    let wording = Wording::of(source, target);
    for one in source.definitions.iter().filter(|one| selected(one, source, target, policy)) {
        count(out, one.what);
        match found.get(&key(one)) {
            Some(twin) => wording.compare(out, one, twin),
            None if told_elsewhere(one, source) => {}
            None => out.differ(one.what, &one.name, "missing"),
        }
    }
    let known: HashMap<_, &Definition> =
        source.definitions.iter().map(|one| (key(one), one)).collect();
    // More rules and policies change what is stored and seen; more functions and views do no harm.
    let strict = |one: &&Definition| matches!(one.what, What::Rule | What::Policy);
    for one in target.definitions.iter().filter(strict) {
        if !known.contains_key(&key(one)) && selected(one, target, source, policy) {
            out.differ(one.what, &one.name, "on the target only");
        }
    }
}

/// Whether it is to be compared: its table is selected and on both sides.
fn selected(one: &Definition, here: &Catalog, there: &Catalog, policy: &Policy) -> bool {
    match one.relation.as_ref().and_then(|name| here.inventory.table(name)) {
        None => policy.selects_everything(),
        Some(table) => policy.selects(table) && there.inventory.table(&table.name).is_some(),
    }
}

/// Views, and triggers of tables, are looked for by name before.
fn told_elsewhere(one: &Definition, source: &Catalog) -> bool {
    let of_table = one.relation.as_ref().is_some_and(|name| source.inventory.table(name).is_some());
    one.what == What::View || (one.what == What::Trigger && of_table)
}

fn count(out: &mut Structure, what: What) {
    let compared = &mut out.compared;
    match what {
        What::Function => compared.functions += 1,
        What::Rule => compared.rules += 1,
        What::Policy => compared.policies += 1,
        // Counted where they are looked for by name.
        _ => {}
    }
}

/// How the two servers write.
struct Wording {
    /// Major versions of the source and the target.
    majors: (u32, u32),
    /// Both schemas of pgvector with their dots, when they are not the same: its names are then written differently
    /// and mean the same.
    schemas: Vec<String>,
}

impl Wording {
    fn of(source: &Catalog, target: &Catalog) -> Wording {
        let schema = |side: &Catalog| {
            side.inventory.extension("vector").map(|found| format!("{}.", found.schema))
        };
        let mut schemas: Vec<String> =
            [schema(source), schema(target)].into_iter().flatten().collect();
        schemas.dedup();
        if schemas.len() < 2 {
            schemas.clear();
        }
        let majors = (source.inventory.server.major(), target.inventory.server.major());
        Wording { majors, schemas }
    }

    fn compare(&self, out: &mut Structure, source: &Definition, target: &Definition) {
        let (theirs, ours) = (self.neutral(&source.fixed), self.neutral(&target.fixed));
        if theirs != ours {
            out.differ(source.what, &source.name, difference(&theirs, &ours));
            return;
        }
        let (theirs, ours) = (self.neutral(&source.written), self.neutral(&target.written));
        if likeness(&theirs, &ours) != Likeness::Different {
            return;
        }
        let difference = difference(&theirs, &ours);
        if self.majors.0 == self.majors.1 {
            out.differ(source.what, &source.name, difference);
        } else {
            let kind = format!("{:?}", source.what).to_lowercase();
            out.notes.push(format!(
                "{kind} {}: {difference} (versions {} and {} may write it differently: look at it)",
                source.name, self.majors.0, self.majors.1
            ));
        }
    }

    fn neutral(&self, text: &str) -> String {
        self.schemas.iter().fold(text.to_owned(), |text, schema| text.replace(schema, ""))
    }
}

/// Characters shown of each text, beginning a little before the first difference.
const SHOWN: usize = 60;

/// Where two texts part, in words.
fn difference(theirs: &str, ours: &str) -> String {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (theirs, ours) = (one_line(theirs), one_line(ours));
    if theirs == ours {
        return "differs in blanks and line ends".into();
    }
    let same = theirs.chars().zip(ours.chars()).take_while(|(one, other)| one == other).count();
    let from = same.saturating_sub(SHOWN / 4);
    let excerpt = |text: &str| {
        let shown: String = text.chars().skip(from).take(SHOWN).collect();
        let (before, after) = (from > 0, text.chars().count() > from + SHOWN);
        let dots = |there| if there { "…" } else { "" };
        format!("{}{shown}{}", dots(before), dots(after))
    };
    format!("{}, on the source {}", excerpt(&ours), excerpt(&theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_where_two_texts_part_is_shown_and_not_all_of_them() {
        let long = "x".repeat(100);
        let (one, other) = (format!("{long} tail one"), format!("{long}\n  tail two"));
        assert_eq!(
            difference(&one, &other),
            "…xxxxxxxxx tail two, on the source …xxxxxxxxx tail one"
        );
        assert_eq!(difference("a", "b"), "b, on the source a");
        assert_eq!(difference("ä", "äö"), "äö, on the source ä");
        assert_eq!(difference("a  b", "a\nb"), "differs in blanks and line ends");
    }
}
