//! What a cleanup removes and what it leaves, decided from what was found: one list, which `--dry-run` shows and the
//! real run works off, so that the two cannot disagree. Pure.

use super::Leftover;
use super::objects::{Objects, stem_in};
use crate::cutover::fence::SCHEMA as FENCE;
use crate::cutover::step::Step as Crossed;
use crate::error::Side;
use crate::follow::link::{Link, stem};
use crate::pg::QualifiedName;
use crate::phase::Phase;
use crate::policy::Method;

/// What was found.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Migrations that the target has a record of, the newest last.
    pub migrations: Vec<Recorded>,
    /// Whether there is a record, be it empty.
    pub record: bool,
    /// What is on the source; `None` when nobody looked.
    pub source: Option<Objects>,
    /// Why the source was not looked at, when it could not be reached.
    pub unreachable: Option<String>,
    /// What is on the target.
    pub target: Objects,
    /// Tables of the source that a publication publishes updates or deletes of: table and publication.
    pub published: Vec<(QualifiedName, String)>,
    /// Whether objects of migrations without a record go as well.
    pub orphans: bool,
}

/// A migration as recorded, as far as cleaning up after it is concerned.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    /// Migration id.
    pub id: String,
    /// How it moves rows.
    pub method: Method,
    /// Phase in progress.
    pub phase: Phase,
    /// Its source, `host:port/database`.
    pub address: String,
    /// Ordinals of its slots.
    pub links: Vec<i32>,
    /// How far its cutover is, if it was begun: then the source may be fenced.
    pub cutover: Option<Crossed>,
    /// How far its rollback is, if it was begun: then the target may be fenced.
    pub rollback: Option<Crossed>,
    /// Its tables, and whether each was there before.
    pub tables: Vec<(QualifiedName, bool)>,
    /// Indexes of the target that were taken down for it.
    pub indexes: Vec<String>,
    /// Replica identities that were set, with the statements that set them back.
    pub identities: Vec<(QualifiedName, String)>,
}

impl Recorded {
    /// Whether it may have moved the application to the target, where it may have written.
    pub(super) fn cut_over(&self) -> bool {
        let switched = self.cutover.is_some_and(|step| !step.is_before_the_switch());
        // Only a cutover ends a `follow`.
        switched || self.method == Method::Follow && self.phase == Phase::Done
    }

    /// Whether it took the application back to the source.
    pub(super) fn rolled_back(&self) -> bool {
        self.rollback.is_some_and(|step| step >= Crossed::Switched)
    }

    /// Whether a fence on that side is, or was, its own.
    pub(super) fn fenced(&self, side: Side) -> bool {
        match side {
            Side::Source => self.cutover.is_some(),
            Side::Target => self.rollback.is_some(),
        }
    }

    /// Whether its rows are no complete copy, so that cleaning up takes them away.
    pub(super) fn incomplete(&self) -> bool {
        !matches!(self.phase, Phase::Following | Phase::Done)
    }
}

/// A line of the list and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// What the operator reads.
    pub leftover: Leftover,
    /// What is done, on the leftover's side.
    pub action: Action,
}

/// What is done about a leftover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Keep,
    /// Drop the subscription of the leftover's name.
    DropSubscription,
    /// Drop the slot of that name, ending the process that uses it.
    DropSlot,
    /// Drop the publication of that name.
    DropPublication,
    /// Give the table the replica identity it had.
    SetIdentityBack { table: QualifiedName, statement: String },
    /// Drop a trigger of the fence.
    DropTrigger { table: QualifiedName, trigger: String },
    /// Drop the fence's function with its schema.
    DropFence,
    /// Part of what is undone in one go on the target.
    Undo,
    /// Drop the record.
    DropRecord,
}

/// Whether a name of ours goes or stays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Ours,
    Orphan,
    Other,
}

/// Everything there is to do, in the order in which it is done: first nothing applies any more, then nothing is sent
/// or kept, then nothing is refused, then rows, and the record last.
pub(super) fn steps(facts: &Facts) -> Vec<Step> {
    let mut steps = links(facts);
    steps.extend(identities(facts));
    steps.extend(fence(facts, Side::Source));
    steps.extend(fence(facts, Side::Target));
    steps.extend(unseen(facts));
    steps.extend(rows(facts));
    if facts.record {
        let name = format!("schema {}", crate::store::SCHEMA);
        let effect = "dropped; status and resume end with it";
        steps.push(step(Side::Target, "record", name, effect, Action::DropRecord));
    }
    steps
}

fn step(side: Side, kind: &str, name: String, effect: &str, action: Action) -> Step {
    let kept = action == Action::Keep;
    let leftover = Leftover { side, kind: kind.into(), name, effect: effect.into(), kept };
    Step { leftover, action }
}

impl Facts {
    fn on(&self, side: Side) -> Option<&Objects> {
        match side {
            Side::Source => self.source.as_ref(),
            Side::Target => Some(&self.target),
        }
    }

    fn follows(&self) -> impl Iterator<Item = &Recorded> {
        self.migrations.iter().filter(|one| one.method == Method::Follow)
    }

    fn owner(&self, found: &str) -> Owner {
        match self.follows().any(|one| stem(&one.id) == found) {
            true => Owner::Ours,
            false if self.orphans => Owner::Orphan,
            false => Owner::Other,
        }
    }

    /// Whose the fence is: it tells itself, and the record of a crossing is older than its fence. The crossing of a
    /// copy fences as well as that of a `follow`, where it is asked to.
    fn owner_of_fence(&self, side: Side) -> Owner {
        let told = self.on(side).and_then(|objects| objects.fence_of.as_deref());
        let ours = |one: &Recorded| told.is_none_or(|id| id == one.id) && one.fenced(side);
        match self.migrations.iter().any(ours) {
            true => Owner::Ours,
            false if self.orphans => Owner::Orphan,
            false => Owner::Other,
        }
    }
}

/// A step that removes what is ours, or an orphan where that is wanted, and leaves what is another migration's.
fn owned(owner: Owner, side: Side, (kind, name): (&str, String), way: (&str, Action)) -> Step {
    let (effect, action) = way;
    match owner {
        Owner::Ours => step(side, kind, name, effect, action),
        Owner::Orphan => {
            step(side, kind, name, &format!("{effect}; of a migration without a record"), action)
        }
        Owner::Other => {
            let effect = "of another migration; --orphans removes it";
            step(side, kind, name, effect, Action::Keep)
        }
    }
}

/// Subscriptions on both sides, then slots and publications on both sides.
fn links(facts: &Facts) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut add = |side, kind, names: &[String], effect, action: Action| {
        for name in names {
            let owner = stem_in(name).map_or(Owner::Other, |stem| facts.owner(stem));
            steps.push(owned(owner, side, (kind, name.clone()), (effect, action.clone())));
        }
    };
    let sides = [Side::Target, Side::Source];
    for (side, objects) in sides.into_iter().filter_map(|side| Some((side, facts.on(side)?))) {
        let effect = match side {
            Side::Target => "dropped; no further changes arrive",
            Side::Source => "dropped; the way back ends here",
        };
        add(side, "subscription", &objects.subscriptions, effect, Action::DropSubscription);
    }
    for (side, objects) in sides.into_iter().rev().filter_map(|side| Some((side, facts.on(side)?)))
    {
        let effect = "dropped; the WAL it keeps is let go";
        add(side, "slot", &objects.slots, effect, Action::DropSlot);
        add(side, "publication", &objects.publications, "dropped", Action::DropPublication);
    }
    steps
}

/// Replica identities, unless somebody else's publication needs them: without one the application's own updates would
/// be refused.
fn identities(facts: &Facts) -> Vec<Step> {
    let mut steps = source_identities(facts);
    // Tables that the migration made on the target got theirs from the source's.
    for one in facts.follows().filter(|one| !one.incomplete()) {
        let made =
            |(table, _): &&(QualifiedName, String)| one.tables.contains(&(table.clone(), false));
        steps.extend(one.identities.iter().filter(made).map(|(table, statement)| {
            let (table, statement) = (table.clone(), statement.clone());
            let effect = format!("set back, unless a publication needs it: {statement}");
            let name = table.plain();
            let action = Action::SetIdentityBack { table, statement };
            step(Side::Target, "replica identity", name, &effect, action)
        }));
    }
    steps
}

fn source_identities(facts: &Facts) -> Vec<Step> {
    let Some(source) = &facts.source else { return Vec::new() };
    let goes = |publication: &str| {
        source.publications.iter().any(|name| name == publication)
            && stem_in(publication).is_some_and(|stem| facts.owner(stem) != Owner::Other)
    };
    let step_of = |(table, statement): &(QualifiedName, String)| {
        let needed = facts.published.iter().find(|(name, by)| name == table && !goes(by));
        let (effect, action) = match needed {
            Some((_, by)) => (format!("publication {by} needs it"), Action::Keep),
            None => {
                let (table, statement) = (table.clone(), statement.clone());
                (format!("set back: {statement}"), Action::SetIdentityBack { table, statement })
            }
        };
        step(Side::Source, "replica identity", table.plain(), &effect, action)
    };
    facts.follows().flat_map(|one| one.identities.iter().map(step_of)).collect()
}

fn fence(facts: &Facts, side: Side) -> Vec<Step> {
    let Some(objects) = facts.on(side).filter(|objects| objects.fence) else { return Vec::new() };
    let owner = facts.owner_of_fence(side);
    let moved = facts.migrations.iter().any(|one| one.cut_over() && !one.rolled_back());
    let effect = match side {
        Side::Source if moved => {
            "lifted: the source takes writes again, and nothing carries them to the target"
        }
        _ => "lifted: the table takes writes again",
    };
    let trigger = |(table, trigger): &(QualifiedName, String)| {
        let drop = Action::DropTrigger { table: table.clone(), trigger: trigger.clone() };
        owned(owner, side, ("fence", table.plain()), (effect, drop))
    };
    let mut steps: Vec<Step> = objects.triggers.iter().map(trigger).collect();
    let what = ("fence", format!("schema {FENCE}"));
    steps.push(owned(owner, side, what, ("dropped", Action::DropFence)));
    steps
}

/// What is on a source that was not looked at, by the names it must have.
fn unseen(facts: &Facts) -> Vec<Step> {
    if facts.source.is_some() {
        return Vec::new();
    }
    let keep = |kind: &str, name: String, effect: String| {
        step(Side::Source, kind, name, &effect, Action::Keep)
    };
    let mut steps = Vec::new();
    if let Some(why) = &facts.unreachable {
        let effect = format!(
            "not looked at: {why}; all that a copy leaves there is a fence it was asked for"
        );
        steps.push(keep("source", "all of it".into(), effect));
    }
    for one in facts.follows() {
        let there = format!(
            "not looked at on {}; with --orphans a later cleanup that reaches it removes it",
            one.address
        );
        for link in one.links.iter().map(|ordinal| Link::forward(&one.id, *ordinal)) {
            steps.push(keep("slot", link.name.clone(), there.clone()));
            steps.push(keep("publication", link.name, there.clone()));
        }
        for (table, statement) in &one.identities {
            // Only the record knows it.
            let effect = format!("as it is on {}; set it back there: {statement}", one.address);
            steps.push(keep("replica identity", table.plain(), effect));
        }
        if one.fenced(Side::Source) {
            steps.push(keep("fence", format!("schema {FENCE}"), there.clone()));
            steps.push(keep("subscription", Link::back(&one.id).name, there));
        }
    }
    for one in facts.migrations.iter().filter(|one| one.method != Method::Follow) {
        if one.fenced(Side::Source) {
            let effect = format!(
                "not looked at on {}; if its cutover was to fence it, a later cleanup with --orphans that reaches it \
                 removes the fence",
                one.address
            );
            steps.push(keep("fence", format!("schema {FENCE}"), effect));
        }
    }
    steps
}

/// Rows and indexes on the target, of the newest migration: the older ones are finished.
fn rows(facts: &Facts) -> Vec<Step> {
    let Some(newest) = facts.migrations.last() else { return Vec::new() };
    let mut steps = Vec::new();
    let mut add = |kind, name: String, effect, action| {
        steps.push(step(Side::Target, kind, name, effect, action));
    };
    if newest.incomplete() {
        for (table, existed) in &newest.tables {
            let (kind, effect) = match existed {
                false => ("half-copied table", "dropped with its rows"),
                true => ("copied rows", "removed; rows that were there before stay"),
            };
            add(kind, table.plain(), effect, Action::Undo);
        }
        for index in &newest.indexes {
            add("index taken down", index.clone(), "built again if it is missing", Action::Undo);
        }
    } else if newest.method == Method::Follow && !newest.tables.is_empty() {
        let name = match newest.tables.len() {
            1 => "rows of 1 table".to_owned(),
            many => format!("rows of {many} tables"),
        };
        let effect = match (newest.cut_over(), newest.rolled_back()) {
            (true, false) => "they are the application's by now",
            (true, true) => "as the application left them; no further changes arrive",
            (false, _) => {
                "as of now; no further changes arrive, and sequences stand where the copy left them"
            }
        };
        add("moved rows", name, effect, Action::Keep);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "0198c0de-0000-7000-8000-000000000001";
    const THEIRS: &str = "0198c0de-0000-7000-8000-000000000002";

    fn name(id: &str) -> String {
        Link::forward(id, 0).name
    }

    fn both(ours: &str, theirs: &str) -> Objects {
        Objects {
            slots: vec![name(ours), name(theirs)],
            publications: vec![name(ours), name(theirs)],
            ..Objects::default()
        }
    }

    fn facts(phase: Phase) -> Facts {
        let items = QualifiedName::new("public", "items");
        let recorded = Recorded {
            id: OURS.into(),
            method: Method::Follow,
            phase,
            address: "h:5432/kb".into(),
            links: vec![0],
            cutover: (phase == Phase::Done).then_some(Crossed::Finished),
            rollback: None,
            tables: vec![(items.clone(), false)],
            indexes: vec![],
            identities: vec![(items, "ALTER TABLE items REPLICA IDENTITY DEFAULT".into())],
        };
        Facts {
            migrations: vec![recorded],
            record: true,
            source: Some(both(OURS, THEIRS)),
            unreachable: None,
            target: Objects { subscriptions: vec![name(OURS)], ..Objects::default() },
            published: vec![],
            orphans: false,
        }
    }

    fn actions(facts: &Facts) -> Vec<Action> {
        steps(facts).into_iter().map(|step| step.action).filter(|a| *a != Action::Keep).collect()
    }

    #[test]
    fn nothing_applies_before_slots_go_and_the_record_is_last() {
        let actions = actions(&facts(Phase::Rows));
        assert_eq!(actions.first(), Some(&Action::DropSubscription));
        assert_eq!(actions.last(), Some(&Action::DropRecord));
        let place = |action| actions.iter().position(|other| *other == action);
        assert!(place(Action::DropSlot) < place(Action::Undo), "{actions:?}");
        assert!(place(Action::DropSlot).is_some());
    }

    #[test]
    fn what_another_migration_has_on_the_source_stays_unless_orphans_are_wanted() {
        let mut facts = facts(Phase::Following);
        let slots = |facts: &Facts| -> Vec<(String, bool)> {
            let slots = steps(facts).into_iter().filter(|step| step.leftover.kind == "slot");
            slots.map(|step| (step.leftover.name, step.leftover.kept)).collect()
        };
        assert_eq!(slots(&facts), [(name(OURS), false), (name(THEIRS), true)]);
        facts.orphans = true;
        assert_eq!(slots(&facts), [(name(OURS), false), (name(THEIRS), false)]);
        (facts.migrations, facts.record) = (vec![], false);
        assert_eq!(slots(&facts), [(name(OURS), false), (name(THEIRS), false)]);
        facts.orphans = false;
        assert_eq!(actions(&facts), [], "without a record nothing is known to be ours");
    }

    #[test]
    fn a_complete_copy_keeps_its_rows_and_an_incomplete_one_does_not() {
        for (phase, undone) in
            [(Phase::CatchUp, true), (Phase::Following, false), (Phase::Done, false)]
        {
            assert_eq!(actions(&facts(phase)).contains(&Action::Undo), undone, "{phase}");
        }
    }

    #[test]
    fn a_replica_identity_stays_where_another_publication_needs_it() {
        let mut facts = facts(Phase::Rows);
        let items = QualifiedName::new("public", "items");
        let back = |facts: &Facts| {
            steps(facts).iter().any(|step| {
                step.leftover.side == Side::Source
                    && matches!(step.action, Action::SetIdentityBack { .. })
            })
        };
        facts.published = vec![(items.clone(), name(OURS))];
        assert!(back(&facts), "our own publication goes first");
        facts.published.push((items.clone(), name(THEIRS)));
        assert!(!back(&facts));
        facts.published = vec![(items, "debezium".into())];
        assert!(!back(&facts));
    }

    #[test]
    fn a_table_that_stays_on_the_target_gets_the_identity_that_the_source_had() {
        let there = |facts: &Facts| {
            steps(facts).iter().any(|step| {
                step.leftover.side == Side::Target
                    && matches!(step.action, Action::SetIdentityBack { .. })
            })
        };
        assert!(there(&facts(Phase::Following)) && there(&facts(Phase::Done)));
        assert!(!there(&facts(Phase::Rows)), "it is dropped");
        let mut prepared = facts(Phase::Done);
        prepared.migrations[0].tables[0].1 = true;
        assert!(!there(&prepared), "its identity is its own");
    }

    #[test]
    fn a_fence_goes_with_the_migration_that_began_a_crossing() {
        let mut facts = facts(Phase::Following);
        let triggers = vec![(QualifiedName::new("public", "items"), "vecferry_fence".to_owned())];
        facts.source = Some(Objects { triggers, fence: true, ..both(OURS, THEIRS) });
        let lifted = |facts: &Facts| actions(facts).contains(&Action::DropFence);
        assert!(!lifted(&facts), "another migration's");
        facts.migrations[0].rollback = Some(Crossed::Fenced);
        assert!(!lifted(&facts), "that one fenced the target");
        for step in [Crossed::Undone, Crossed::Fencing, Crossed::Finished] {
            facts.migrations[0].cutover = Some(step);
            assert!(lifted(&facts), "{step:?}");
        }
        let steps = steps(&facts);
        let fence = steps.iter().find(|step| step.leftover.kind == "fence").unwrap();
        assert!(fence.leftover.effect.contains("nothing carries them"), "{fence:?}");
        (facts.migrations[0].cutover, facts.orphans) = (None, true);
        assert!(lifted(&facts));
    }

    #[test]
    fn a_fence_of_a_copy_goes_with_it_on_both_sides() {
        let items = QualifiedName::new("public", "items");
        let fenced = |by: &str| Objects {
            triggers: vec![(items.clone(), "vecferry_fence".into())],
            fence: true,
            fence_of: Some(by.into()),
            ..Objects::default()
        };
        let gone = |facts: &Facts| -> Vec<Side> {
            let dropped = steps(facts).into_iter().filter(|it| it.action == Action::DropFence);
            dropped.map(|step| step.leftover.side).collect()
        };
        for method in [Method::Copy, Method::Delta] {
            let mut facts = facts(Phase::Done);
            facts.migrations[0].method = method;
            (facts.source, facts.target) = (Some(fenced(OURS)), fenced(OURS));
            assert_eq!(gone(&facts), [Side::Source], "{method}: only the source was fenced");
            facts.migrations[0].rollback = Some(Crossed::Finished);
            assert_eq!(gone(&facts), [Side::Source, Side::Target], "{method}");
            let lifted = |step: &Step| matches!(step.action, Action::DropTrigger { .. });
            assert_eq!(steps(&facts).iter().filter(|step| lifted(step)).count(), 2, "{method}");
            (facts.source, facts.target) = (Some(fenced(THEIRS)), fenced(THEIRS));
            assert!(gone(&facts).is_empty(), "{method}: another migration's");
        }
    }

    #[test]
    fn a_source_that_a_copy_may_have_fenced_is_named_when_it_is_not_looked_at() {
        let mut facts = Facts { source: None, ..facts(Phase::Done) };
        facts.migrations[0].method = Method::Copy;
        let named = |facts: &Facts| {
            let mut steps = steps(facts).into_iter().map(|step| step.leftover);
            steps.any(|found| found.side == Side::Source && found.kind == "fence" && found.kept)
        };
        assert!(named(&facts));
        facts.migrations[0].cutover = None;
        assert!(!named(&facts));
    }

    #[test]
    fn the_application_is_where_the_last_switch_may_have_taken_it() {
        let mut one = facts(Phase::Following).migrations.remove(0);
        for (cutover, moved) in [
            (None, false),
            (Some(Crossed::Undone), false),
            (Some(Crossed::Fenced), false),
            (Some(Crossed::Switching), true),
        ] {
            one.cutover = cutover;
            assert_eq!((one.cut_over(), one.rolled_back()), (moved, false), "{cutover:?}");
        }
        one.rollback = Some(Crossed::Switching);
        assert!(!one.rolled_back(), "nobody knows");
        one.rollback = Some(Crossed::Finished);
        assert!(one.rolled_back());
    }

    #[test]
    fn without_the_source_its_objects_are_named() {
        let facts = Facts { source: None, ..facts(Phase::Done) };
        let named: Vec<String> = steps(&facts)
            .into_iter()
            .filter(|step| step.leftover.side == Side::Source)
            .map(|step| format!("{} {}", step.leftover.kind, step.leftover.name))
            .collect();
        let back = Link::back(OURS).name;
        for expected in [
            format!("slot {}", name(OURS)),
            format!("publication {}", name(OURS)),
            "replica identity public.items".into(),
            "fence schema vecferry_fence".into(),
            format!("subscription {back}"),
        ] {
            assert!(named.contains(&expected), "{expected} not in {named:?}");
        }
    }
}
