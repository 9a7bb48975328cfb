//! Judgements about the tables: which are moved, what is on the target already, what travels how. Pure.

use super::facts::{Facts, Known};
use super::{Finding, blocker, counted, note, some_of, warning};
use crate::error::Side;
use crate::inventory::{Table, TableKind};
use crate::pg::QualifiedName;
use crate::policy::Existing;

const SOURCE: Option<Side> = Some(Side::Source);
const TARGET: Option<Side> = Some(Side::Target);

pub(super) fn selected(facts: &Facts) -> Vec<Finding> {
    let Some(known) = facts.source.known() else { return vec![] };
    let all = &known.inventory.tables;
    let chosen = facts.selected();
    let mut found = vec![];
    for (flag, patterns) in
        [("--include", &facts.policy.include), ("--exclude", &facts.policy.exclude)]
    {
        for pattern in patterns {
            if !all.iter().any(|table| pattern.matches(&table.name)) {
                found.push(warning(
                    SOURCE,
                    format!("{flag} {pattern} matches no table"),
                    "check the pattern's spelling; without a schema it matches in every schema",
                ));
            }
        }
    }
    if chosen.is_empty() {
        let what = format!(
            "there is nothing to move: {} in the source",
            counted(all.len() as u64, "table")
        );
        found.push(if facts.policy.selects_everything() {
            warning(SOURCE, what, "check the database named in --source")
        } else {
            blocker(SOURCE, format!("{what}, none selected"), "change --include and --exclude")
        });
    }
    found.extend(chosen.iter().flat_map(|table| left_behind(table, &chosen)));
    found
}

/// Foreign keys to a table that is not moved.
fn left_behind(table: &Table, chosen: &[&Table]) -> Vec<Finding> {
    let referenced = |definition: &str| {
        let (_, after) = definition.split_once("REFERENCES ")?;
        Some(after.split_once('(')?.0.replace('"', ""))
    };
    table
        .constraints
        .iter()
        .filter(|constraint| constraint.kind == 'f')
        .filter_map(|constraint| referenced(&constraint.definition))
        .filter(|name| !chosen.iter().any(|other| other.name.plain() == *name))
        .map(|name| {
            warning(
                SOURCE,
                format!("{} refers to {name}, which is not moved", table.name.plain()),
                format!("add --include {name}, or have that table on the target before the foreign key is created"),
            )
        })
        .collect()
}

pub(super) fn differences(facts: &Facts) -> Vec<Finding> {
    let Some((_, target)) = facts.both() else { return vec![] };
    facts
        .selected()
        .into_iter()
        .filter_map(|table| Some((table, target.inventory.table(&table.name)?)))
        .flat_map(|(table, there)| differ(table, there))
        .collect()
}

/// The migration's own judgement, and what it lets pass although somebody should know.
fn differ(table: &Table, there: &Table) -> Vec<Finding> {
    let name = table.name.plain();
    let remedy =
        format!("change {name} on the target, or drop it there and let the migration create it");
    let refused = |what: String| blocker(TARGET, format!("{name}: {what}"), remedy.clone());
    let mut found: Vec<Finding> =
        crate::schema::differences(table, there).into_iter().map(refused).collect();
    let only_there = there.columns.iter().filter(|column| table.column(&column.name).is_none());
    for column in only_there.filter(|column| !column.not_null || column.default.is_some()) {
        found.push(warning(
            TARGET,
            format!("{name} has a column {} on the target that the source lacks", column.name),
            "it is filled with its default, or NULL",
        ));
    }
    found
}

pub(super) fn rows(facts: &Facts) -> Vec<Finding> {
    let Some((source, target)) = facts.both() else { return vec![] };
    let filled: Vec<&Table> =
        facts.filled.iter().filter_map(|name| source.inventory.table(name)).collect();
    if filled.is_empty() {
        return vec![];
    }
    let (by_bot, whole): (Vec<&Table>, Vec<&Table>) =
        filled.iter().partition(|table| facts.policy.knowledge.bot_column(table).is_some());
    match facts.policy.existing {
        Existing::Refuse => vec![refused(&filled, target)],
        Existing::Keep => kept(&by_bot, &whole),
        Existing::Replace => replaced(&by_bot, &whole),
    }
}

fn refused(filled: &[&Table], target: &Known) -> Finding {
    let what = format!("rows are in {} on the target already", some_of(&names(filled)));
    if target.extra.has_store {
        return warning(
            TARGET,
            format!("{what}, and so does the record of a migration"),
            "rows of that migration are continued with; foreign ones need --existing keep or --existing replace",
        );
    }
    blocker(
        TARGET,
        what,
        "empty them, or choose --existing keep (bots that have rows keep them) or --existing replace",
    )
}

fn kept(by_bot: &[&Table], whole: &[&Table]) -> Vec<Finding> {
    let mut found = vec![];
    if !by_bot.is_empty() {
        found.push(note(
            TARGET,
            format!("bots that have rows in {} on the target keep them", some_of(&names(by_bot))),
            "chosen by --existing keep",
        ));
    }
    if !whole.is_empty() {
        found.push(blocker(
            TARGET,
            format!(
                "rows are in {} on the target already, and no bot column tells them apart",
                some_of(&names(whole))
            ),
            "empty them, leave them out with --exclude, or use --existing replace",
        ));
    }
    found
}

fn replaced(by_bot: &[&Table], whole: &[&Table]) -> Vec<Finding> {
    let mut found = vec![];
    if !by_bot.is_empty() {
        found.push(warning(
            TARGET,
            format!(
                "rows of the source's bots in {} on the target are deleted and copied anew",
                some_of(&names(by_bot))
            ),
            "chosen by --existing replace; bots that only the target has keep theirs",
        ));
    }
    if !whole.is_empty() {
        found.push(warning(
            TARGET,
            format!("emptied on the target: {}", some_of(&names(whole))),
            "chosen by --existing replace; leave them out with --exclude to keep them",
        ));
    }
    found
}

pub(super) fn keys(facts: &Facts) -> Vec<Finding> {
    // "replica identity" has more to say of these tables.
    if facts.follows() {
        return vec![];
    }
    let keyless: Vec<&Table> = facts
        .selected()
        .into_iter()
        .filter(|table| table.holds_rows() && table.key.is_empty() && table.replica_identity != 'f')
        .collect();
    if keyless.is_empty() {
        return vec![];
    }
    vec![warning(
        SOURCE,
        format!("neither a primary key nor a replica identity: {}", some_of(&names(&keyless))),
        "copied and proven as they are, but a difference cannot name its rows, and --method follow could not carry updates; add a primary key",
    )]
}

pub(super) fn binary(facts: &Facts) -> Vec<Finding> {
    facts
        .selected()
        .into_iter()
        .filter(|table| table.holds_rows())
        .filter_map(|table| {
            let (column, why) = table
                .stored_columns()
                .find_map(|column| Some((column, column.text_only.as_deref()?)))?;
            Some(note(
                SOURCE,
                format!(
                    "{} is copied as text: column {} ({}) {why}",
                    table.name.plain(),
                    column.name,
                    column.type_name
                ),
                "nothing to do; it takes longer than binary",
            ))
        })
        .collect()
}

pub(super) fn special(facts: &Facts) -> Vec<Finding> {
    let Some(known) = facts.source.known() else { return vec![] };
    let tables = facts.selected();
    let of = |wanted: fn(&Table) -> bool| {
        let chosen: Vec<&Table> = tables.iter().copied().filter(|table| wanted(table)).collect();
        (!chosen.is_empty()).then(|| some_of(&names(&chosen)))
    };
    let mut found = vec![];
    if let Some(names) = of(|table| table.kind == TableKind::Foreign) {
        found.push(note(
            SOURCE,
            format!("foreign tables: {names}"),
            "their definition is moved; their rows are another server's",
        ));
    }
    // Of unlogged tables and materialized views "what is not followed" has more to say.
    let follows = facts.follows();
    if let Some(names) = of(|table| table.unlogged && table.holds_rows()).filter(|_| !follows) {
        found.push(note(SOURCE, format!("unlogged tables: {names}"), "rows are copied and the target's tables are unlogged too: empty after a crash, unseen by replication"));
    }
    let invalid: Vec<String> = tables
        .iter()
        .flat_map(|table| &table.indexes)
        .filter(|index| !index.valid && !index.attached)
        .map(|index| index.name.clone())
        .collect();
    if !invalid.is_empty() {
        found.push(note(
            SOURCE,
            format!("invalid indexes, remains of failed builds: {}", some_of(&invalid)),
            "drop or rebuild them on the source before the migration",
        ));
    }
    let views = |materialized: bool| -> Vec<String> {
        let wanted = known.inventory.views.iter().filter(|view| view.materialized == materialized);
        wanted.map(|view| view.name.plain()).collect()
    };
    for (list, what, remedy) in [
        (views(false), "views", "their definitions are moved"),
        (
            views(true),
            "materialized views",
            "their definitions are moved; populated ones are refreshed on the target",
        ),
    ] {
        let said_elsewhere = follows && what == "materialized views";
        if !(list.is_empty() || said_elsewhere) {
            found.push(note(SOURCE, format!("{what}: {}", some_of(&list)), remedy));
        }
    }
    found
}

pub(super) fn triggers(facts: &Facts) -> Vec<Finding> {
    let Some((source, target)) = facts.both() else { return vec![] };
    let mut found = vec![];
    if !target.extra.event_triggers.is_empty() {
        found.push(warning(
            TARGET,
            format!(
                "event trigger {} fires when the migration creates objects on the target",
                some_of(&target.extra.event_triggers)
            ),
            "ALTER EVENT TRIGGER … DISABLE for the time, if it would refuse or record that",
        ));
    }
    if !source.extra.event_triggers.is_empty() && !target.inventory.server.superuser {
        found.push(warning(
            SOURCE,
            format!(
                "event trigger {} cannot be created on the target without a superuser",
                some_of(&source.extra.event_triggers)
            ),
            "create it there by hand, if it is wanted",
        ));
    }
    let firing: Vec<String> = facts
        .selected()
        .into_iter()
        .filter_map(|table| target.inventory.table(&table.name))
        .filter(|there| !there.triggers.is_empty())
        .map(|there| there.name.plain())
        .collect();
    if !firing.is_empty() && !target.inventory.server.can_set_replication_role {
        found.push(warning(
            TARGET,
            format!("{} on the target have triggers, which the role may not silence while rows arrive", some_of(&firing)),
            "drop the triggers before the migration, or grant SET ON PARAMETER session_replication_role",
        ));
    }
    found
}

pub(super) fn encoding(facts: &Facts) -> Vec<Finding> {
    let Some((source, target)) = facts.both() else { return vec![] };
    let (from, to) = (&source.inventory.server.encoding, &target.inventory.server.encoding);
    if from == to {
        return vec![];
    }
    let (what, remedy) = match (from.as_str(), to.as_str()) {
        ("SQL_ASCII", _) => (
            "is SQL_ASCII, which checks nothing",
            "text that is not valid in the target's encoding will be refused there; find and mend it first",
        ),
        (_, "UTF8") => {
            return vec![note(
                None,
                format!("text is converted from {from} to UTF8"),
                "nothing to do: UTF8 holds every character",
            )];
        }
        _ => (
            "differs from the target's",
            "characters the target's encoding lacks will be refused; create the target database with ENCODING 'UTF8'",
        ),
    };
    vec![warning(SOURCE, format!("the source's encoding {from} {what} (target: {to})"), remedy)]
}

pub(super) fn names(tables: &[&Table]) -> Vec<String> {
    tables.iter().map(|table: &&Table| QualifiedName::plain(&table.name)).collect()
}
