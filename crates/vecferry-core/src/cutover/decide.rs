//! Whether a crossing may begin or go on: every fact, judged at once. Pure. What is not known is a no.

use serde::Serialize;

mod handover;

use super::step::{Direction, Step};
use crate::follow::health::{Health, LinkState};
use crate::phase::Phase;
use crate::policy::Method;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Version of this shape.
    pub version: u32,
    /// Which way.
    pub direction: Direction,
    /// Whether it may go on.
    pub go: bool,
    /// Whether the sender will refuse writes.
    pub refuses_writes: bool,
    /// What speaks against it, and what is worth knowing.
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Whether it alone makes the answer no.
    pub blocks: bool,
    /// One line in lower case, with the facts.
    pub what: String,
    /// A command, setting or statement that leads on; empty when there is nothing to do.
    pub remedy: String,
}

impl Reason {
    /// A reason that makes the answer no.
    pub fn no(what: impl Into<String>, remedy: impl Into<String>) -> Reason {
        Reason { blocks: true, what: what.into(), remedy: remedy.into() }
    }

    /// Something worth knowing.
    pub fn note(what: impl Into<String>, remedy: impl Into<String>) -> Reason {
        Reason { blocks: false, what: what.into(), remedy: remedy.into() }
    }
}

/// Everything the answer rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Which way.
    pub direction: Direction,
    /// The migration on the target, by its method and phase.
    pub migration: Option<(Method, Phase)>,
    /// How this source differs from the recorded one, if it does.
    pub other_source: Option<String>,
    /// How far the recorded cutover is, and whether it has a way back.
    pub cutover: Option<(Step, bool)>,
    /// How far the recorded rollback is.
    pub rollback: Option<Step>,
    /// The session that works on the migration now, in words.
    pub busy: Option<String>,
    /// The links to drain.
    pub links: Vec<LinkState>,
    /// The most bytes that a link may be behind.
    pub max_lag: u64,
    /// Tables of the source that are not what was copied.
    pub altered: Vec<String>,
    /// Indexes of the record that are missing, invalid or unfinished on the target.
    pub indexes: Vec<String>,
    /// Whether writes are to be refused on the sender.
    pub fenced: bool,
    /// Whether they can be.
    pub fence: FenceFacts,
    /// Why the application could not be switched, if that is known before.
    pub no_switch: Option<String>,
    /// Whether there can be a way back; `None` when none is wanted.
    pub way_back: Option<WayBackFacts>,
    /// What will make the crossing wait, in words.
    pub in_the_way: Vec<String>,
    /// Large objects on the sender.
    pub large_objects: u64,
    /// Materialized views with rows on the source.
    pub materialized_views: Vec<String>,
}

/// Whether writes can be refused on the sender.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FenceFacts {
    /// Whether the role may create a schema in the database.
    pub may_create: bool,
    /// Tables on which the role may not make triggers or take the lock.
    pub forbidden: Vec<String>,
    /// Moved tables that are not on the sender.
    pub missing: Vec<String>,
    /// Whether a fence is there that another migration raised.
    pub of_another: bool,
    /// Subscriptions of the sender, not ours, that write to moved tables: apply passes the fence.
    pub fed_by: Vec<String>,
}

/// Whether the target can send to the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayBackFacts {
    /// The target's `wal_level`.
    pub wal_level: String,
    /// Replication slots left on the target.
    pub free_slots: i64,
    /// Processes that send left on the target.
    pub free_senders: i64,
    /// Whether the target's role may replicate.
    pub may_replicate: bool,
    /// Apply processes left on the source.
    pub free_workers: i64,
    /// Replication origins left on the source.
    pub free_origins: i64,
    /// Why the source's server cannot subscribe to the target, if it cannot.
    pub refused: Option<String>,
    /// Tables of the target that get a replica identity for it, with the statement.
    pub identities: Vec<(String, String)>,
}

/// Judges.
pub fn judge(facts: &Facts) -> Decision {
    let mut reasons = Vec::new();
    match standing(facts) {
        Standing::No(reason) => reasons.push(reason),
        Standing::GoesOn(what) => reasons.push(Reason::note(what, "")),
        Standing::Begins if !facts.replicates() => {
            handover::judge(facts, &mut reasons);
            judge_switch(facts, &mut reasons);
        }
        Standing::Begins => {
            judge_links(facts, &mut reasons);
            judge_source(facts, &mut reasons);
            judge_fence(facts, &mut reasons);
            judge_switch(facts, &mut reasons);
            if let Some(way_back) = &facts.way_back {
                judge_way_back(way_back, &mut reasons);
            }
            notes(facts, &mut reasons);
        }
    }
    if let Some(holder) = &facts.busy {
        let what = format!("another process works on this migration: {holder}");
        reasons.push(Reason::no(what, "wait for it, or end it with pg_terminate_backend"));
    }
    reasons.sort_by_key(|reason| !reason.blocks);
    let go = !reasons.iter().any(|reason| reason.blocks);
    let (direction, refuses_writes) = (facts.direction, facts.fenced);
    Decision { version: 1, direction, go, refuses_writes, reasons }
}

impl Facts {
    /// Whether the clusters are linked, so that what is written meanwhile goes along.
    fn replicates(&self) -> bool {
        self.migration.is_none_or(|(method, _)| method == Method::Follow)
    }
}

/// What the records say before anything else is looked at.
enum Standing {
    /// Nothing else matters.
    No(Reason),
    /// A crossing at or past its switch must go on, whatever else is true.
    GoesOn(String),
    /// Everything has to be right.
    Begins,
}

fn standing(facts: &Facts) -> Standing {
    let Some((method, phase)) = facts.migration else {
        return Standing::No(Reason::no(
            "there is no migration on the target",
            "begin with `vecferry migrate`",
        ));
    };
    if method == Method::Reembed {
        return Standing::No(Reason::no(
            format!("the migration on the target is a {method}, which has no source to come from"),
            "point the application at the target yourself",
        ));
    }
    if let Some(conflict) = &facts.other_source {
        return Standing::No(Reason::no(
            format!("this source is not the one that was copied: {conflict}"),
            "give the source of the migration with --source",
        ));
    }
    if method != Method::Follow {
        return handover::standing(facts, phase);
    }
    match facts.direction {
        Direction::Cutover => cutover_standing(facts, phase),
        Direction::Rollback => rollback_standing(facts),
    }
}

fn cutover_standing(facts: &Facts, phase: Phase) -> Standing {
    match facts.rollback {
        None | Some(Step::Undone) => {}
        Some(Step::Finished) => {
            return Standing::No(Reason::no(
                "this migration was rolled back; its links are gone",
                "run `vecferry cleanup`, then `vecferry migrate --method follow`",
            ));
        }
        Some(step) => {
            return Standing::No(Reason::no(
                format!("a rollback has begun and is at step {}", step.as_str()),
                "end it with `vecferry rollback`",
            ));
        }
    }
    match facts.cutover {
        Some((step, _)) if !step.is_before_the_switch() => {
            Standing::GoesOn(format!("the cutover goes on from step {}", step.as_str()))
        }
        _ if phase == Phase::Following => Standing::Begins,
        _ => Standing::No(Reason::no(
            format!("the migration is in phase {phase}, not following"),
            "run `vecferry migrate` until the target has caught up",
        )),
    }
}

fn rollback_standing(facts: &Facts) -> Standing {
    let nothing = "the application was not cut over; there is nothing to roll back";
    match (facts.cutover, facts.rollback) {
        (None | Some((Step::Undone, _)), _) => Standing::No(Reason::no(nothing, "")),
        (Some((step, _)), _) if step.is_before_the_switch() => Standing::GoesOn(format!(
            "the cutover stopped at step {}, before its switch; it is undone",
            step.as_str()
        )),
        (Some((step, false)), None | Some(Step::Undone)) => Standing::No(no_way_back(step)),
        (Some((step, true)), None | Some(Step::Undone)) if step != Step::Finished => {
            Standing::GoesOn(format!(
                "the cutover stopped at step {}; its way back is set up first",
                step.as_str()
            ))
        }
        (_, Some(step)) if !step.is_before_the_switch() => {
            Standing::GoesOn(format!("the rollback goes on from step {}", step.as_str()))
        }
        _ => Standing::Begins,
    }
}

fn no_way_back(step: Step) -> Reason {
    match step {
        Step::Switching => Reason::no(
            "whether the application was switched is not known, and the cutover has no way back (--no-way-back)",
            "run `vecferry cutover` again; if nothing was written on the target, `vecferry cleanup` lifts the fence",
        ),
        _ => Reason::no(
            "the cutover was made without a way back (--no-way-back)",
            "migrate from the target to the source as a migration of its own",
        ),
    }
}

fn judge_links(facts: &Facts, reasons: &mut Vec<Reason>) {
    if facts.links.is_empty() {
        let again = "begin again with `vecferry migrate --method follow --restart`";
        reasons.push(Reason::no("no link between the clusters is recorded", again));
    }
    for link in &facts.links {
        if let Some(reason) = unhealthy(link) {
            reasons.push(reason);
            continue;
        }
        match link.lag_bytes() {
            None => reasons.push(Reason::no(
                format!("how far {} is behind is not known", link.name),
                "look at `vecferry status`",
            )),
            Some(lag) if lag > facts.max_lag => reasons.push(Reason::no(
                format!("{} is {lag} bytes behind, more than {} allowed", link.name, facts.max_lag),
                "wait until it has caught up, or raise --max-lag; the downtime grows with it",
            )),
            Some(_) => {}
        }
    }
}

/// Why nothing more will come over a link, if so.
pub(crate) fn unhealthy(link: &LinkState) -> Option<Reason> {
    let name = &link.name;
    let again = "begin again with `vecferry migrate --method follow --restart`";
    Some(match link.health() {
        Health::Applying => return None,
        Health::SlotMissing => Reason::no(format!("slot {name} is gone"), again),
        Health::SlotLost { why } => Reason::no(format!("slot {name} is lost ({why})"), again),
        Health::PublicationMissing => Reason::no(format!("publication {name} is gone"), again),
        Health::NotSubscribed => Reason::no(format!("subscription {name} is not there"), again),
        Health::Stopped => Reason::no(
            format!("subscription {name} is stopped"),
            "`vecferry status` says why; mend it and run `vecferry migrate`",
        ),
        Health::Disconnected => Reason::no(
            format!("subscription {name} is not connected to its sender"),
            "look at the receiving server's log; it tries again by itself",
        ),
    })
}

fn judge_source(facts: &Facts, reasons: &mut Vec<Reason>) {
    if !facts.altered.is_empty() {
        reasons.push(Reason::no(
            format!("the source's schema changed since the copy: {}", facts.altered.join(", ")),
            "undo the change, or begin again with `vecferry migrate --method follow --restart`",
        ));
    }
    if !facts.indexes.is_empty() {
        reasons.push(Reason::no(
            format!("indexes on the target are missing or invalid: {}", facts.indexes.join(", ")),
            "build them on the target as they are on the source",
        ));
    }
}

fn judge_fence(facts: &Facts, reasons: &mut Vec<Reason>) {
    let (fence, sender) = (&facts.fence, facts.direction.sender());
    if fence.of_another {
        reasons.push(Reason::no(
            format!("the fence of another migration is on the {sender}"),
            "finish that one and clean it up, then this one can be cut over",
        ));
    }
    if !fence.may_create {
        reasons.push(Reason::no(
            format!("the role may not create schema {} on the {sender}", super::fence::SCHEMA),
            format!("GRANT CREATE ON DATABASE … to the role of --{sender}"),
        ));
    }
    if !fence.missing.is_empty() {
        reasons.push(Reason::no(
            format!("tables are not on the {sender}: {}", fence.missing.join(", ")),
            "",
        ));
    }
    if !fence.fed_by.is_empty() {
        let names = fence.fed_by.join(", ");
        reasons.push(Reason::no(
            format!("subscriptions write to moved tables of the {sender}, past the fence: {names}"),
            format!(
                "ALTER SUBSCRIPTION … DISABLE on the {sender}, and set it up on the other side"
            ),
        ));
    }
    if !fence.forbidden.is_empty() {
        reasons.push(Reason::no(
            format!("the role may not fence these on the {sender}: {}", fence.forbidden.join(", ")),
            format!("GRANT TRIGGER, UPDATE on them to the role of --{sender}, or use their owner"),
        ));
    }
}

fn judge_switch(facts: &Facts, reasons: &mut Vec<Reason>) {
    if let Some(why) = &facts.no_switch {
        let remedy = "mend it, or leave the switch out and point the application yourself";
        reasons.push(Reason::no(why.as_str(), remedy));
    }
}

fn judge_way_back(facts: &WayBackFacts, reasons: &mut Vec<Reason>) {
    let or = |what: &str| format!("{what}; or give the way back up with --no-way-back");
    if facts.wal_level != "logical" {
        let what = format!("no way back: wal_level of the target is {}", facts.wal_level);
        reasons.push(Reason::no(what, or("set wal_level = logical there (needs a restart)")));
    }
    for (free, what, setting) in [
        (facts.free_slots, "replication slot is free on the target", "max_replication_slots"),
        (facts.free_senders, "walsender is free on the target", "max_wal_senders"),
        (
            facts.free_workers,
            "apply process is free on the source",
            "max_logical_replication_workers",
        ),
        (
            facts.free_origins,
            "replication origin is free on the source",
            "max_replication_slots (max_active_replication_origins from 18 on)",
        ),
    ] {
        if free < 1 {
            let remedy = or(&format!("raise {setting}"));
            reasons.push(Reason::no(format!("no way back: no {what}"), remedy));
        }
    }
    if !facts.may_replicate {
        reasons.push(Reason::no(
            "no way back: the role of --target may not replicate",
            or("ALTER ROLE … REPLICATION on the target (rds_replication on RDS and Aurora)"),
        ));
    }
    if let Some(why) = &facts.refused {
        reasons.push(Reason::no(
            format!("no way back: the source's server cannot subscribe to the target: {why}"),
            or("give the address it sees with --target-from-source, and let it in"),
        ));
    }
    for (table, statement) in &facts.identities {
        let what = format!("table {table} gets a replica identity on the target for the way back");
        reasons.push(Reason::note(what, statement.as_str()));
    }
}

fn notes(facts: &Facts, reasons: &mut Vec<Reason>) {
    for what in &facts.in_the_way {
        reasons.push(Reason::note(what.as_str(), "the fence waits for it and gives up in the end"));
    }
    if facts.large_objects > 0 {
        let what = match facts.direction {
            Direction::Cutover => {
                "large objects are copied again under the fence, which does not cover them"
            }
            Direction::Rollback => {
                "large objects written on the target since the cutover are not carried back"
            }
        };
        reasons.push(Reason::note(what, "keep the application from writing them meanwhile"));
    }
    if facts.direction == Direction::Cutover && !facts.materialized_views.is_empty() {
        reasons.push(Reason::note(
            format!(
                "materialized views show the rows of the time they were copied: {}",
                facts.materialized_views.join(", ")
            ),
            "REFRESH MATERIALIZED VIEW on the target",
        ));
    }
    if facts.direction == Direction::Cutover && facts.way_back.is_none() {
        reasons.push(Reason::note("there will be no way back (--no-way-back)", ""));
    }
}

#[cfg(test)]
mod tests;
