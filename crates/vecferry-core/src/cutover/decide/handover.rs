//! The part of the answer that is about migrations without replication: a finished `copy` or `delta`. Its source was not
//! written to since, which the comparison proves; no row goes back, so that a rollback only points the application.

use super::{Facts, Reason, Standing, judge_fence};
use crate::cutover::step::{Direction, Step};
use crate::phase::Phase;

/// What the records say.
pub(super) fn standing(facts: &Facts, phase: Phase) -> Standing {
    match facts.direction {
        Direction::Cutover => of_cutover(facts, phase),
        Direction::Rollback => of_rollback(facts),
    }
}

fn of_cutover(facts: &Facts, phase: Phase) -> Standing {
    let cutover = facts.cutover.map(|(step, _)| step);
    match (facts.rollback, cutover) {
        (Some(step), _) if !matches!(step, Step::Undone | Step::Finished) => {
            Standing::No(Reason::no(
                format!("a rollback has begun and is at step {}", step.as_str()),
                "end it with `vecferry rollback`",
            ))
        }
        (_, Some(step)) if !step.is_before_the_switch() => {
            Standing::GoesOn(format!("the cutover goes on from step {}", step.as_str()))
        }
        _ if phase == Phase::Done => Standing::Begins,
        _ => Standing::No(Reason::no(
            format!("the migration is in phase {phase}, not done"),
            "run `vecferry migrate` to its end",
        )),
    }
}

fn of_rollback(facts: &Facts) -> Standing {
    let cutover = facts.cutover.map_or(Step::Undone, |(step, _)| step);
    match (facts.rollback, cutover) {
        (Some(step), _) if !step.is_before_the_switch() => {
            Standing::GoesOn(format!("the rollback goes on from step {}", step.as_str()))
        }
        (_, Step::Undone) => Standing::No(Reason::no(
            "the application was not cut over; there is nothing to roll back",
            "",
        )),
        (_, step) if step.is_before_the_switch() => Standing::GoesOn(format!(
            "the cutover stopped at step {}, before its switch; it is undone",
            step.as_str()
        )),
        _ => Standing::Begins,
    }
}

/// What speaks against beginning, and what is worth knowing.
pub(super) fn judge(facts: &Facts, reasons: &mut Vec<Reason>) {
    if facts.fenced {
        judge_fence(facts, reasons);
    }
    match facts.direction {
        Direction::Cutover => {
            judge_moved(facts, reasons);
            if !facts.fenced {
                reasons.push(Reason::note(
                    "the source goes on taking writes, and what is written after the comparison is not moved",
                    "stop the application first, or pass --fence",
                ));
            }
        }
        Direction::Rollback => reasons.push(Reason::note(
            "no row goes back: what was written on the target since the cutover stays there",
            "migrate from the target to the source as a migration of its own if it is needed",
        )),
    }
}

/// The comparison finds what else differs.
fn judge_moved(facts: &Facts, reasons: &mut Vec<Reason>) {
    if !facts.altered.is_empty() {
        reasons.push(Reason::no(
            format!("the source's schema changed since the copy: {}", facts.altered.join(", ")),
            "undo the change, or begin again with `vecferry migrate --restart`",
        ));
    }
    if !facts.indexes.is_empty() {
        reasons.push(Reason::no(
            format!("indexes on the target are missing or invalid: {}", facts.indexes.join(", ")),
            "build them on the target as they are on the source",
        ));
    }
}
