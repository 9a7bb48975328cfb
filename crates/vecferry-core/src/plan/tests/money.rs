//! Prices and recommendations, with bots, snapshots and sources that are gone.

use super::*;
use crate::reembed::estimate::{Amount, Fargate};

/// 100 bots with 10 million tokens: 1 USD, and 0.5 USD of tasks; half an hour.
fn estimate() -> Estimate {
    let amount = |factor: f64| Amount {
        tokens: (10e6 * factor) as u64,
        embedding_usd: Some(factor),
        task_hours: 5.0 * factor,
        vcpu_hours: 10.0 * factor,
        gb_hours: 20.0 * factor,
        tasks_usd: Some(0.5 * factor),
        hours: 0.5 * factor,
    };
    Estimate {
        bots: 100,
        documents: 300,
        chunks: 40_000,
        expected: amount(1.0),
        low: amount(0.8),
        high: amount(1.2),
        usd_per_million_tokens: Some(0.10),
        fargate: Some(Fargate {
            vcpus: 2.0,
            gigabytes: 4.0,
            vcpu_hour_usd: 0.04048,
            gb_hour_usd: 0.004_445,
        }),
        measured: 100,
        guesses: vec!["files of unknown size count as 50000 characters each (3 of them)".into()],
    }
}

/// That share of it.
fn changed(bots: u64, share: f64) -> Estimate {
    let part = |all: Amount| Amount {
        tokens: (all.tokens as f64 * share) as u64,
        embedding_usd: all.embedding_usd.map(|usd| usd * share),
        hours: all.hours * share,
        ..all
    };
    let Estimate { expected, low, high, .. } = estimate();
    let (expected, low, high) = (part(expected), part(low), part(high));
    Estimate { bots, expected, low, high, ..estimate() }
}

fn with_bots(clusters: Result<Facts, Unread>, origin: Origin) -> Situation {
    let model = "cohere.embed-multilingual-v3".to_owned();
    Situation {
        clusters,
        origin,
        source_time: None,
        bots: Ok(Bots { all: estimate(), changed: Err("no time is given".into()) }),
        models: Models { source: model.clone(), target: model },
        prices: Prices::published().unwrap(),
        region: None,
    }
}

/// A source that is gone.
fn gone() -> Unread {
    Unread {
        why: "the source is not named (--source)".into(),
        target: Ok(aurora(18)),
        method: None,
    }
}

/// A database on an Aurora cluster.
fn aurora(major: u32) -> Inventory {
    let mut inventory = sample::inventory(major, Some("0.8.5"));
    inventory.server.aurora = true;
    inventory
}

const SNAPSHOT: Origin = snapshot(true, 8.0);

const fn snapshot(restored: bool, acus: f64) -> Origin {
    Origin::Snapshot { restored, acus: Range { low: 2.0, expected: acus, high: 2.0 * acus } }
}

fn method(plan: &Plan, wanted: Method) -> &MethodPlan {
    plan.methods.iter().find(|one| one.method == wanted).unwrap()
}

fn possible(plan: &Plan) -> Vec<Method> {
    plan.methods.iter().filter(|one| one.possible).map(|one| one.method).collect()
}

#[test]
fn without_a_source_bots_are_embedded_and_rows_cannot_be_moved() {
    let plan = super::super::plan(&with_bots(Err(gone()), Origin::Live));
    assert_eq!(possible(&plan), [Method::Reembed]);
    assert_eq!(plan.recommended, Some(Method::Reembed));
    assert!(plan.reason.as_ref().unwrap().contains("the source is not named"), "{plan:#?}");
    for wanted in [Method::Copy, Method::Follow] {
        let why = method(&plan, wanted).why_not.as_ref().unwrap();
        assert!(why.contains("not named"), "{why}");
    }
    assert_eq!((plan.source.is_none(), plan.target.is_some()), (true, true));
    assert_eq!(plan.steps.len(), 1);
    assert!(plan.steps[0].what.contains("100 bots"), "{:?}", plan.steps);
    assert_eq!(plan.estimates, [(Phase::Embedding, 1800.0)]);
    assert!(plan.warnings.iter().any(|warning| warning.contains("unknown size")));
    assert!(plan.alternative.is_none(), "there is nothing to adopt");
}

#[test]
fn a_reembedding_costs_its_tokens_and_tasks() {
    let plan = super::super::plan(&with_bots(Err(gone()), Origin::Live));
    let reembed = method(&plan, Method::Reembed);
    let units: Vec<&str> = reembed.price.lines.iter().map(|line| line.unit).collect();
    assert_eq!(units, ["million tokens", "vCPU-hours", "GB-hours"]);
    let tasks = 10.0 * 0.04048 + 20.0 * 0.004_445;
    assert!((reembed.price.dollars.unwrap() - (1.0 + tasks)).abs() < 1e-9, "{reembed:#?}");
    assert!((reembed.price.low.unwrap() - 0.8 * (1.0 + tasks)).abs() < 1e-9);
    assert!((reembed.price.high.unwrap() - 1.2 * (1.0 + tasks)).abs() < 1e-9);
    assert_eq!(reembed.seconds, Some(1800.0));
    assert_eq!((reembed.seconds_low, reembed.seconds_high), (Some(1440.0), Some(2160.0)));
    assert!(reembed.price.note.contains("100 bots with about 10 million tokens"));
}

#[test]
fn a_model_without_a_price_has_no_sum_but_the_lines_that_are_known() {
    let mut situation = with_bots(Err(gone()), Origin::Live);
    let mut bots = situation.bots.unwrap();
    bots.all.usd_per_million_tokens = None;
    situation.bots = Ok(bots);
    let plan = super::super::plan(&situation);
    let price = &method(&plan, Method::Reembed).price;
    assert_eq!((price.dollars, price.lines.len()), (None, 2));
    assert!(price.note.contains("--price"), "{}", price.note);
}

#[test]
fn a_restored_snapshot_is_copied_and_only_changed_bots_are_embedded() {
    let mut situation = with_bots(Ok(facts(source(100_000))), SNAPSHOT);
    let plan = super::super::plan(&situation);
    assert_eq!(possible(&plan), [Method::Copy, Method::Reembed, Method::Delta]);
    assert_eq!(plan.recommended, Some(Method::Delta));
    assert!(method(&plan, Method::Follow).why_not.as_ref().unwrap().contains("snapshot"));
    let (copy, delta) = (method(&plan, Method::Copy), method(&plan, Method::Delta));
    // Nobody knows yet which bots changed: from none of them to all.
    let embedded = |line: &&Line| line.unit == "million tokens";
    let tokens = delta.price.lines.iter().find(embedded).unwrap();
    assert_eq!((tokens.quantity.low, tokens.quantity.high), (0.0, 12.0));
    let note =
        "which bots changed is not known (no time is given): at least none, at most all 100,";
    assert!(delta.price.note.starts_with(note), "{}", delta.price.note);
    assert_eq!(plan.changed, None);
    assert_eq!(delta.seconds_low, copy.seconds);
    assert!(delta.price.dollars.unwrap() > copy.price.dollars.unwrap());
    assert_eq!(plan.steps.last().unwrap().phase, Phase::Embedding);
    assert_eq!(plan.estimates.last(), Some(&(Phase::Embedding, 1800.0)));
    assert_eq!(plan.estimates.len(), 7);

    let bots = situation.bots.as_mut().unwrap();
    bots.changed = Ok(changed(3, 0.1));
    let plan = super::super::plan(&situation);
    let delta = method(&plan, Method::Delta);
    let tokens = delta.price.lines.iter().find(embedded).unwrap();
    assert!((tokens.quantity.expected - 1.0).abs() < 1e-9, "{tokens:?}");
    assert!(delta.price.note.starts_with("3 of 100 bots changed"), "{}", delta.price.note);
    assert!(plan.steps.last().unwrap().what.contains("the 3 of 100 bots that changed"));
    assert_eq!(plan.changed.as_ref().unwrap().bots, 3);
    assert!(delta.seconds.unwrap() < copy.seconds.unwrap() + 181.0, "a tenth of half an hour");

    situation.bots.as_mut().unwrap().changed = Ok(changed(0, 0.0));
    let plan = super::super::plan(&situation);
    assert_eq!(plan.recommended, Some(Method::Copy));
    assert!(plan.reason.unwrap().contains("no bot has changed"));
}

#[test]
fn a_temporary_cluster_is_paid_by_the_hour_with_all_that_it_holds() {
    let facts = facts(source(1_000_000));
    let price = |origin| {
        let plan = super::super::plan(&with_bots(Ok(facts.clone()), origin));
        method(&plan, Method::Copy).price.clone()
    };
    let usd = |price: &Price, what: &str| {
        price.lines.iter().find(|line| line.what.contains(what)).unwrap().usd
    };
    let restored = price(SNAPSHOT);
    let whats: Vec<&str> = restored.lines.iter().map(|line| line.unit).collect();
    assert_eq!(
        whats,
        ["GB", "ACU-hours", "GB-months", "million requests", "secret-months", "GB-months"]
    );
    let range = usd(&restored, "temporary cluster");
    assert!(range.low < range.expected && range.expected < range.high, "{range:?}");
    let again = price(snapshot(false, 8.0));
    let more = usd(&again, "temporary cluster").expected - range.expected;
    assert!((more - 0.5 * 8.0 * 0.12).abs() < 1e-9, "half an hour to restore: {more}");
    let twice = price(snapshot(true, 16.0));
    assert!((usd(&twice, "temporary").expected / range.expected - 2.0).abs() < 1e-9);
    assert!(price(Origin::Live).lines.is_empty(), "nothing is known to be charged");
}

#[test]
fn a_snapshot_that_is_not_restored_has_no_times_but_an_hourly_price() {
    let origin = snapshot(false, 8.0);
    let plan = super::super::plan(&with_bots(Err(gone()), origin));
    assert_eq!(possible(&plan), [Method::Copy, Method::Reembed, Method::Delta]);
    assert_eq!(plan.recommended, Some(Method::Delta));
    let (copy, delta) = (method(&plan, Method::Copy), method(&plan, Method::Delta));
    assert_eq!((copy.seconds, copy.price.dollars, delta.price.dollars), (None, None, None));
    assert!(copy.price.note.contains("$1.92 an hour"), "{}", copy.price.note);
    assert!(delta.price.lines.iter().any(|line| line.unit == "million tokens"));
    assert!(plan.alternative.unwrap().contains("if the snapshot is of PostgreSQL 18"));
    let mut alone = with_bots(Err(gone()), origin);
    alone.bots = Err("no registry".into());
    assert_eq!(super::super::plan(&alone).recommended, Some(Method::Copy));
}

#[test]
fn another_model_leaves_only_embedding() {
    let mut situation = with_bots(Ok(facts(source(1000))), SNAPSHOT);
    situation.models.target = "cohere.embed-v4:0".into();
    let plan = super::super::plan(&situation);
    assert_eq!(possible(&plan), [Method::Reembed]);
    assert_eq!(plan.recommended, Some(Method::Reembed));
    assert!(plan.reason.unwrap().contains("the model changes from cohere.embed-multilingual-v3"));
    let why = plan.methods[0].why_not.as_ref().unwrap();
    assert!(why.contains("cannot be compared"), "{why}");
    assert!(plan.alternative.is_none());
}

#[test]
fn rows_that_serve_are_moved_rather_than_embedded() {
    let plan = super::super::plan(&with_bots(Ok(facts(source(1000))), Origin::Live));
    assert_eq!(possible(&plan), [Method::Copy, Method::Follow, Method::Reembed]);
    assert_eq!(plan.recommended, Some(Method::Copy));
    assert!(method(&plan, Method::Delta).why_not.as_ref().unwrap().contains("--source snapshot"));
    let mut unreachable = facts(source(1000));
    unreachable.target = Err("no route".into());
    let plan = super::super::plan(&with_bots(Ok(unreachable), Origin::Live));
    assert_eq!(plan.recommended, Some(Method::Reembed), "through a store of its own");
}

#[test]
fn a_delta_is_possible_from_any_source_whose_time_is_known() {
    let mut situation = with_bots(Ok(facts(source(1000))), Origin::Live);
    let plan = super::super::plan(&situation);
    let why = method(&plan, Method::Delta).why_not.as_ref().unwrap();
    assert!(why.starts_with("it is for a source as it was at a certain time"), "{why}");
    assert!(why.contains("--source-time"), "{why}");
    situation.source_time = Some("2026-03-01T12:00:00Z".parse().unwrap());
    let plan = super::super::plan(&situation);
    let delta = method(&plan, Method::Delta);
    assert_eq!((delta.possible, &delta.why_not), (true, &None));
    assert!(delta.seconds.is_some() && delta.price.dollars.is_some(), "{delta:#?}");
    assert!(!delta.price.note.contains("temporary cluster"), "{}", delta.price.note);
    assert_eq!(plan.recommended, Some(Method::Delta), "a copy would lack what changed since");
    assert!(plan.reason.unwrap().starts_with("the source has the rows of every bot that did not"));
    situation.bots.as_mut().unwrap().changed = Ok(changed(0, 0.0));
    assert_eq!(super::super::plan(&situation).recommended, Some(Method::Copy), "nothing changed");
    situation.clusters = Ok(busy(1000, 1 << 20));
    let plan = super::super::plan(&situation);
    assert_eq!(plan.recommended, Some(Method::Copy), "it is in use, whatever is said of its time");
    assert!(plan.reason.unwrap().starts_with("the source is being written to"));
    situation.models.target = "another".into();
    let plan = super::super::plan(&situation);
    assert!(!method(&plan, Method::Delta).possible, "vectors of two models");
}

#[test]
fn a_source_of_a_certain_time_that_cannot_be_read_leaves_embedding_and_the_way_to_a_delta() {
    let mut situation = with_bots(Err(gone()), Origin::Live);
    situation.source_time = Some("2026-03-01T12:00:00Z".parse().unwrap());
    let plan = super::super::plan(&situation);
    assert_eq!((possible(&plan), plan.recommended), (vec![Method::Reembed], Some(Method::Reembed)));
    let why = plan.reason.unwrap();
    assert!(why.starts_with("the source is not named (--source), and the documents are"), "{why}");
    assert!(why.contains("since 2026-03-01T12:00:00Z, once") && why.contains("restore"), "{why}");
    situation.bots = Err("no registry".into());
    assert_eq!(super::super::plan(&situation).recommended, None, "nothing can be read");
    // Restoring is part of the run: a copy is possible, and what it lacks is said.
    situation.origin = snapshot(false, 8.0);
    let plan = super::super::plan(&situation);
    assert_eq!(plan.recommended, Some(Method::Copy));
    assert!(plan.reason.unwrap().contains("a delta embeds anew what changed since"));
    situation.bots = with_bots(Err(gone()), Origin::Live).bots;
    assert_eq!(super::super::plan(&situation).recommended, Some(Method::Delta));
}

#[test]
fn a_price_that_is_not_known_says_what_is_missing() {
    let mut situation = with_bots(Ok(facts(source(1000))), SNAPSHOT);
    situation.bots = Err("the model's dimensions are not known; pass --dimensions".into());
    let plan = super::super::plan(&situation);
    for wanted in [Method::Reembed, Method::Delta] {
        let note = &method(&plan, wanted).price.note;
        assert!(note.ends_with("dimensions are not known; pass --dimensions"), "{note}");
        assert!(!note.contains("registry"), "{note}");
    }
}

#[test]
fn a_restored_cluster_could_be_adopted_where_versions_and_models_agree() {
    let adopted = |source_major: u32, target: Inventory, origin| {
        let mut facts = facts(sample::inventory(source_major, Some("0.8.5")));
        facts.target = Ok(target);
        super::super::plan(&with_bots(Ok(facts), origin)).alternative
    };
    let way = adopted(16, aurora(16), SNAPSHOT).unwrap();
    for word in ["RestoreDBClusterFromSnapshot", "KmsKeyId", "DatabaseClusterFromSnapshot"] {
        assert!(way.contains(word), "{way}");
    }
    assert_eq!(adopted(16, aurora(18), SNAPSHOT), None, "another major version");
    assert_eq!(adopted(16, sample::inventory(16, None), SNAPSHOT), None, "no Aurora");
    assert_eq!(adopted(16, aurora(16), Origin::Live), None, "no snapshot and no Aurora");
}

#[test]
fn a_follow_on_aurora_counts_the_source_until_the_cutover() {
    let mut facts = facts(source(100_000));
    facts.source.server.aurora = true;
    facts.source.server.shared_buffers = 12 << 30;
    let plan = super::super::plan(&with_bots(Ok(facts), Origin::Live));
    let follow = method(&plan, Method::Follow);
    let source = follow.price.lines.iter().find(|line| line.unit == "ACU-hours").unwrap();
    // 16 GiB of memory are 8 units; the middle of half a unit and these, for a day and the copy.
    let hours = follow.seconds.unwrap() / 3600.0;
    assert!((source.quantity.expected - 4.25 * (24.0 + hours)).abs() < 1e-6, "{source:?}");
    assert!((source.quantity.high - 8.0 * (168.0 + hours)).abs() < 1e-6);
    assert!(follow.price.lines.iter().any(|line| line.unit == "GB"), "traffic between zones");
}

#[test]
fn prices_of_another_region_are_pointed_out() {
    let mut situation = with_bots(Err(gone()), Origin::Live);
    situation.region = Some("eu-west-1".into());
    let plan = super::super::plan(&situation);
    assert!(plan.prices.contains("those of eu-west-1 differ"), "{}", plan.prices);
}
