//! What a method does, step by step, with its numbers. Pure.

use super::facts::Facts;
use super::situation::Situation;
use super::{Step, estimate};
use crate::phase::{Phase, Route};
use crate::policy::Method;
use crate::preflight::human_bytes;

/// The steps of a method by its phases. Of a source that cannot be read only the embedding can be told.
pub(super) fn steps(
    situation: &Situation,
    method: Method,
    route: Route,
    phases: &[(Phase, Option<f64>)],
) -> Vec<Step> {
    let step = |(phase, seconds): &(Phase, Option<f64>)| {
        let what = match (phase, &situation.clusters) {
            (Phase::Embedding, _) => embed(situation, method),
            (_, Ok(facts)) => describe(facts, route, *phase),
            (_, Err(_)) => return None,
        };
        Some(Step { phase: *phase, what, seconds: *seconds })
    };
    phases.iter().filter_map(step).collect()
}

fn embed(situation: &Situation, method: Method) -> String {
    let Ok(bots) = &situation.bots else { return "embed bots' documents anew".into() };
    let which = match (method, &bots.changed) {
        (Method::Delta, Ok(changed)) => {
            format!("the {} of {} bots that changed", changed.bots, bots.all.bots)
        }
        (Method::Delta, Err(_)) => format!("those of {} bots that changed", bots.all.bots),
        _ => format!("{} bots", bots.all.bots),
    };
    format!("embed the documents of {which} anew, one task per bot")
}

/// What a phase does here, with its numbers.
fn describe(facts: &Facts, route: Route, phase: Phase) -> String {
    let prepared = |wanted: bool| {
        facts
            .selected()
            .filter(|table| {
                let there =
                    facts.target.as_ref().is_ok_and(|target| target.table(&table.name).is_some());
                there == wanted
            })
            .count()
    };
    let indexes = |vector: bool| {
        let of = facts.with_rows().flat_map(|table| &table.indexes);
        of.filter(|index| index.is_vector() == vector && estimate::built_in(route, phase, index))
            .count()
    };
    let follows = route.method() == Method::Follow;
    match phase {
        Phase::Schema => {
            let (there, missing) = (prepared(true), prepared(false));
            let drop = if there > 0 {
                format!("; compare {there} that are there and drop their indexes for the load")
            } else {
                String::new()
            };
            let slot = if follows { "publication and replication slot on the source, whose snapshot is copied; " } else { "" };
            format!(
                "{slot}create extensions, schemas, types, functions and {missing} tables on the target{drop}"
            )
        }
        Phase::Rows => format!(
            "copy {} tables, {} ({} on the wire), over {} connections in parts of {}",
            facts.with_rows().count(),
            human_bytes(estimate::table_bytes(facts)),
            human_bytes(estimate::copy_bytes(facts)),
            facts.policy.jobs,
            human_bytes(facts.policy.part_bytes),
        ),
        Phase::Sequences => format!(
            "set {} sequences, copy {} large objects",
            facts.source.sequences.len(),
            facts.source.large_objects
        ),
        Phase::Indexes => {
            let beside = if route == Route::FollowApplyFirst { ", one at a time beside apply" } else { "" };
            format!("build {} vector indexes and {} others{beside}", indexes(true), indexes(false))
        }
        Phase::Keys => {
            format!("build {} b-tree indexes, by which changes find their rows", indexes(false))
        }
        Phase::Subscribe => "subscribe the target to the slot: its server connects to the source, and changes begin to arrive".into(),
        Phase::CatchUp => "apply what was written since the slot was made; as long as that takes".into(),
        Phase::Following => "apply changes as they come, until `vecferry cutover` ends it; with --detach nobody need wait".into(),
        Phase::Constraints => format!(
            "add {} foreign keys and other constraints, triggers, rules and policies",
            facts.selected().map(|table| table.constraints.len()).sum::<usize>()
        ),
        Phase::Analyze => "VACUUM (ANALYZE) every table, so that the planner knows them".into(),
        // Described without facts.
        Phase::Embedding | Phase::Done => "nothing left".into(),
    }
}
