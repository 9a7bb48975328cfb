//! Every fact by itself, and the records that decide before any fact does.

use super::*;
use crate::follow::health::tests::applying;

/// A cutover for which everything is right.
fn ready() -> Facts {
    Facts {
        direction: Direction::Cutover,
        migration: Some((Method::Follow, Phase::Following)),
        other_source: None,
        cutover: None,
        rollback: None,
        busy: None,
        links: vec![applying()],
        max_lag: 64 << 20,
        altered: Vec::new(),
        indexes: Vec::new(),
        fenced: true,
        fence: FenceFacts { may_create: true, ..FenceFacts::default() },
        no_switch: None,
        way_back: Some(WayBackFacts {
            wal_level: "logical".into(),
            free_slots: 3,
            free_senders: 3,
            may_replicate: true,
            free_workers: 3,
            free_origins: 3,
            refused: None,
            identities: Vec::new(),
        }),
        in_the_way: Vec::new(),
        large_objects: 0,
        materialized_views: Vec::new(),
    }
}

/// A rollback for which everything is right.
fn returning() -> Facts {
    Facts {
        direction: Direction::Rollback,
        migration: Some((Method::Follow, Phase::Done)),
        cutover: Some((Step::Finished, true)),
        way_back: None,
        ..ready()
    }
}

fn after(mut facts: Facts, change: impl FnOnce(&mut Facts)) -> Decision {
    change(&mut facts);
    judge(&facts)
}

#[track_caller]
fn refuses(decision: &Decision, words: &str) {
    assert!(!decision.go, "{words}: {decision:?}");
    let said = decision.reasons.iter().any(|r| r.blocks && r.what.contains(words));
    assert!(said, "{words} is not in {decision:?}");
}

#[test]
fn nothing_wrong_is_a_go_without_words() {
    for facts in [ready(), returning()] {
        let decision = judge(&facts);
        assert!(decision.go && decision.reasons.is_empty(), "{decision:?}");
    }
}

#[test]
fn every_fact_that_is_wrong_is_a_no_of_its_own() {
    let way_back = |change: fn(&mut WayBackFacts)| {
        after(ready(), |facts| change(facts.way_back.as_mut().unwrap()))
    };
    for (decision, words) in [
        (after(ready(), |f| f.migration = None), "no migration"),
        (after(ready(), |f| f.migration = Some((Method::Reembed, Phase::Done))), "is a reembed"),
        (after(ready(), |f| f.no_switch = Some("no such secret".into())), "no such secret"),
        (after(ready(), |f| f.other_source = Some("x".into())), "not the one that was copied"),
        (
            after(ready(), |f| f.migration = Some((Method::Follow, Phase::CatchUp))),
            "phase catch-up",
        ),
        (after(ready(), |f| f.migration = Some((Method::Follow, Phase::Done))), "phase done"),
        (after(ready(), |f| f.rollback = Some(Step::Finished)), "was rolled back"),
        (after(ready(), |f| f.rollback = Some(Step::Fenced)), "a rollback has begun"),
        (after(ready(), |f| f.busy = Some("process 7".into())), "process 7"),
        (after(ready(), |f| f.links.clear()), "no link"),
        (after(ready(), |f| f.links[0].slot = None), "is gone"),
        (
            after(ready(), |f| f.links[0].slot.as_mut().unwrap().wal_status = Some("lost".into())),
            "is lost",
        ),
        (after(ready(), |f| f.links[0].publication = false), "publication"),
        (after(ready(), |f| f.links[0].subscription = None), "is not there"),
        (
            after(ready(), |f| f.links[0].subscription.as_mut().unwrap().enabled = false),
            "is stopped",
        ),
        (
            after(ready(), |f| f.links[0].subscription.as_mut().unwrap().running = false),
            "not connected",
        ),
        (after(ready(), |f| f.max_lag = 1), "bytes behind"),
        (after(ready(), |f| f.altered = vec!["a was altered".into()]), "a was altered"),
        (after(ready(), |f| f.indexes = vec!["a.i".into()]), "a.i"),
        (after(ready(), |f| f.fence.may_create = false), "may not create"),
        (after(ready(), |f| f.fence.forbidden = vec!["a.b".into()]), "may not fence"),
        (after(ready(), |f| f.fence.missing = vec!["a.b".into()]), "are not on the source"),
        (after(ready(), |f| f.fence.fed_by = vec!["feed".into()]), "past the fence: feed"),
        (way_back(|w| w.wal_level = "replica".into()), "wal_level"),
        (way_back(|w| w.free_slots = 0), "replication slot"),
        (way_back(|w| w.free_senders = 0), "walsender"),
        (way_back(|w| w.free_workers = 0), "apply process"),
        (way_back(|w| w.free_origins = 0), "origin"),
        (way_back(|w| w.may_replicate = false), "may not replicate"),
        (way_back(|w| w.refused = Some("no route".into())), "no route"),
        (after(returning(), |f| f.cutover = None), "not cut over"),
        (after(returning(), |f| f.cutover = Some((Step::Undone, true))), "not cut over"),
        (after(returning(), |f| f.cutover = Some((Step::Finished, false))), "--no-way-back"),
        (after(returning(), |f| f.cutover = Some((Step::Switching, false))), "not known"),
        (after(returning(), |f| f.links[0].slot = None), "is gone"),
        (after(returning(), |f| f.fence.may_create = false), "on the target"),
    ] {
        refuses(&decision, words);
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_first() {
    let decision = after(ready(), |facts| {
        facts.in_the_way = vec!["process 9".into()];
        facts.indexes = vec!["i".into()];
        facts.links[0].slot = None;
    });
    let blocks: Vec<bool> = decision.reasons.iter().map(|reason| reason.blocks).collect();
    assert_eq!(blocks, [true, true, false], "{decision:?}");
}

#[test]
fn what_is_worth_knowing_does_not_block() {
    for (decision, words) in [
        (after(ready(), |f| f.in_the_way = vec!["process 9".into()]), "process 9"),
        (after(ready(), |f| f.large_objects = 1), "copied again"),
        (after(returning(), |f| f.large_objects = 1), "not carried back"),
        (after(ready(), |f| f.materialized_views = vec!["m".into()]), "materialized"),
        (after(ready(), |f| f.way_back = None), "no way back"),
        (
            after(ready(), |f| {
                f.way_back.as_mut().unwrap().identities = vec![("t".into(), "ALTER".into())];
            }),
            "replica identity",
        ),
    ] {
        assert!(decision.go, "{decision:?}");
        assert!(decision.reasons.iter().any(|r| r.what.contains(words)), "{words}: {decision:?}");
    }
}

#[test]
fn a_crossing_at_its_switch_goes_on_whatever_else_is_wrong() {
    for step in [Step::Switching, Step::Switched] {
        let decision = after(ready(), |facts| {
            facts.cutover = Some((step, true));
            facts.links.clear();
            facts.altered = vec!["x".into()];
        });
        assert!(decision.go, "{decision:?}");
        let decision = after(returning(), |facts| {
            facts.rollback = Some(step);
            facts.links.clear();
        });
        assert!(decision.go, "{decision:?}");
        // And a rollback takes over from a cutover there.
        let decision = after(returning(), |f| f.cutover = Some((step, true)));
        assert!(decision.go, "{decision:?}");
    }
    for step in [Step::Preparing, Step::Fencing, Step::Fenced] {
        let decision = after(ready(), |facts| {
            facts.cutover = Some((step, true));
            facts.links[0].slot = None;
        });
        refuses(&decision, "is gone");
        let decision = after(returning(), |facts| {
            facts.cutover = Some((step, true));
            facts.links.clear();
        });
        assert!(decision.go, "a rollback before the switch only lifts the fence: {decision:?}");
    }
}

/// A cutover of a finished copy for which everything is right: there is no link and no way back.
fn copied() -> Facts {
    Facts {
        migration: Some((Method::Copy, Phase::Done)),
        links: Vec::new(),
        fenced: false,
        fence: FenceFacts::default(),
        way_back: None,
        ..ready()
    }
}

#[test]
fn a_finished_copy_is_handed_over_without_link_or_fence() {
    for method in [Method::Copy, Method::Delta] {
        let decision = after(copied(), |f| f.migration = Some((method, Phase::Done)));
        assert!(decision.go && !decision.refuses_writes, "{decision:?}");
        let said: Vec<&str> = decision.reasons.iter().map(|r| r.what.as_str()).collect();
        assert!(matches!(said[..], [one] if one.contains("goes on taking writes")), "{said:?}");
    }
    let fenced = after(copied(), |f| (f.fenced, f.fence.may_create) = (true, true));
    assert!(fenced.go && fenced.refuses_writes && fenced.reasons.is_empty(), "{fenced:?}");
    for (decision, words) in [
        (after(copied(), |f| f.migration = Some((Method::Copy, Phase::Indexes))), "not done"),
        (after(copied(), |f| f.other_source = Some("x".into())), "not the one that was copied"),
        (after(copied(), |f| f.altered = vec!["a was altered".into()]), "a was altered"),
        (after(copied(), |f| f.indexes = vec!["a.i".into()]), "a.i"),
        (after(copied(), |f| f.fenced = true), "may not create"),
        (after(copied(), |f| f.no_switch = Some("no such secret".into())), "no such secret"),
        (after(copied(), |f| f.rollback = Some(Step::Switching)), "a rollback has begun"),
        (after(copied(), |f| f.busy = Some("process 7".into())), "process 7"),
    ] {
        refuses(&decision, words);
    }
}

#[test]
fn a_copys_rollback_points_back_and_says_that_no_row_goes_back() {
    let back = |cutover: Option<Step>, rollback: Option<Step>| {
        after(copied(), |facts| {
            facts.direction = Direction::Rollback;
            facts.cutover = cutover.map(|step| (step, false));
            facts.rollback = rollback;
        })
    };
    for step in [Step::Switching, Step::Switched, Step::Finished] {
        let decision = back(Some(step), None);
        let said = decision.reasons.iter().any(|r| r.what.contains("no row goes back"));
        assert!(decision.go && said, "{step:?}: {decision:?}");
        // What is at its switch, or done, goes on.
        assert!(back(Some(Step::Finished), Some(step)).go, "{step:?}");
        // And a cutover that was taken back can be made again.
        let again = after(copied(), |f| f.rollback = Some(Step::Finished));
        assert!(again.go, "{again:?}");
    }
    for step in [Step::Preparing, Step::Fencing, Step::Fenced] {
        assert!(back(Some(step), None).go, "it only lifts a fence");
    }
    for cutover in [None, Some(Step::Undone)] {
        refuses(&back(cutover, None), "nothing to roll back");
    }
    assert!(back(Some(Step::Undone), Some(Step::Finished)).go, "it is done");
}
