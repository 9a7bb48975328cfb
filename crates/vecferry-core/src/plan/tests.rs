//! Plans of databases that nobody has to build.

use super::*;
use crate::inventory::Inventory;
use crate::policy::{Pattern, Policy};
use crate::sample;

/// 1 GB/s read, 100 MB/s written, an index built at a pace that makes the arithmetic easy to follow.
fn measured() -> Probe {
    let build = |method: &str, parameter, ef_construction, dimensions, seconds| Build {
        method: method.into(),
        rows: 1000,
        dimensions,
        parameter,
        ef_construction,
        seconds,
    };
    Probe {
        catalog_seconds: 0.1,
        round_trip_seconds: Some(0.001),
        read: Some(Rate { bytes: 1_000_000_000, seconds: 1.0 }),
        write: Some(Rate { bytes: 100_000_000, seconds: 1.0 }),
        bytes_ratio: Some(1.0),
        builds: vec![
            build("btree", 0, 0, 0, 0.001),
            build("hnsw", 16, 64, 1024, 0.2),
            build("ivfflat", 50, 0, 1024, 0.1),
        ],
        left_out: vec![],
    }
}

fn source(rows: u64) -> Inventory {
    let mut inventory = sample::inventory(16, Some("0.6.2"));
    let mut table = sample::items(rows, 1024);
    table.indexes.push(sample::index("nearest", "hnsw", &["embedding"], "vector_l2_ops"));
    inventory.tables.push(table);
    inventory
}

fn facts(source: Inventory) -> Facts {
    Facts {
        source,
        target: Ok(sample::inventory(18, Some("0.8.5"))),
        probe: measured(),
        policy: Policy::default(),
    }
}

fn of(plan: &Plan, wanted: Phase) -> f64 {
    plan.estimates.iter().find(|(phase, _)| *phase == wanted).unwrap().1
}

/// Seconds of the index phase with the source's vector index changed.
fn indexing(rows: u64, change: impl FnOnce(&mut crate::inventory::Index)) -> f64 {
    let mut source = source(rows);
    change(&mut source.tables[0].indexes[1]);
    of(&plan(&facts(source)), Phase::Indexes)
}

#[test]
fn an_empty_database_takes_moments() {
    let plan = plan(&facts(sample::inventory(16, Some("0.6.2"))));
    assert_eq!(plan.recommended, Some(Method::Copy));
    assert_eq!((of(&plan, Phase::Rows), of(&plan, Phase::Indexes)), (0.0, 0.0));
    assert!(plan.methods[0].seconds.unwrap() < 2.0);
    assert_eq!(plan.verify_seconds, Some(0.0));
}

#[test]
fn an_empty_database_needs_no_rates() {
    let mut facts = facts(sample::inventory(16, None));
    facts.probe = Probe { round_trip_seconds: Some(0.01), ..Probe::default() };
    assert_eq!(plan(&facts).estimates.len(), 6);
}

#[test]
fn rows_follow_the_slower_of_reading_and_writing() {
    let mut facts = facts(source(200_000));
    let bytes = estimate::float(estimate::table_bytes(&facts));
    assert!((of(&plan(&facts), Phase::Rows) / (bytes / 1e8) - 1.0).abs() < 0.1);
    // Read from a cold cache at 10 MB/s by each of four connections.
    facts.probe.read = Some(Rate { bytes: 10_000_000, seconds: 1.0 });
    assert!((of(&plan(&facts), Phase::Rows) / (bytes / 4e7) - 1.0).abs() < 0.1);
    facts.probe.bytes_ratio = Some(0.5);
    assert!((of(&plan(&facts), Phase::Rows) / (bytes / 8e7) - 1.0).abs() < 0.1);
}

#[test]
fn the_largest_tables_neither_overflow_nor_come_out_as_zero() {
    let plan = plan(&facts(source(5_000_000_000)));
    let seconds = plan.methods[0].seconds.unwrap();
    assert!(seconds.is_finite() && seconds > 1e5, "{seconds}");
    assert!(
        plan.warnings.iter().any(|warning| warning.contains("does not fit")),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn an_index_takes_longer_with_more_rows_width_and_effort_and_far_longer_out_of_memory() {
    let base = indexing(100_000, |_| {});
    assert!(indexing(200_000, |_| {}) > 2.0 * base);
    assert!(
        indexing(100_000, |index| index.options = vec!["ef_construction=128".into()]) > 1.9 * base
    );
    assert!(indexing(100_000, |index| index.options = vec!["m=32".into()]) > 1.3 * base);
    let mut narrow = facts(source(100_000));
    narrow.source.tables[0].columns[4] = sample::column("embedding", "public.vector(256)");
    assert!(of(&plan(&narrow), Phase::Indexes) < 0.3 * base);
    let mut cramped = facts(source(100_000));
    cramped.policy.index_memory = Some(64 << 20);
    let overflown = of(&plan(&cramped), Phase::Indexes);
    assert!((3.0..3.5).contains(&(overflown / base)), "{overflown} {base}");
    let lists = |lists: &str| {
        indexing(1_000_000, |index| {
            (index.method, index.options) = ("ivfflat".into(), vec![format!("lists={lists}")]);
        })
    };
    assert!(lists("1000") > 5.0 * lists("100"));
}

#[test]
fn without_a_probe_there_are_no_times_and_the_reason_is_said() {
    let mut facts = facts(source(1000));
    facts.probe = Probe { left_out: vec!["writing was not measured".into()], ..Probe::default() };
    let blind = plan(&facts);
    assert_eq!((blind.estimates.len(), blind.methods[0].seconds), (0, None));
    assert_eq!(blind.methods[0].downtime_seconds, None);
    assert_eq!(blind.recommended, Some(Method::Copy));
    assert_eq!(blind.steps.len(), 6);
    assert!(blind.warnings.contains(&"writing was not measured".to_owned()));
    // One thing missing takes the total, but not what is known.
    facts.probe = Probe { builds: vec![], ..measured() };
    let partly = plan(&facts);
    assert_eq!(partly.methods[0].seconds, None);
    let indexes = partly.steps.iter().find(|step| step.phase == Phase::Indexes).unwrap();
    assert_eq!(indexes.seconds, None);
    assert!(partly.steps.iter().filter(|step| step.seconds.is_some()).count() == 5);
}

#[test]
fn a_target_that_cannot_take_the_copy_has_the_reason() {
    let refused = |change: fn(&mut Facts)| {
        let mut facts = facts(source(10));
        change(&mut facts);
        let plan = plan(&facts);
        assert_eq!((plan.recommended, plan.steps.len()), (None, 0));
        plan.methods[0].why_not.clone().unwrap()
    };
    assert!(refused(|facts| facts.target = Err("no route".into())).contains("cannot be read"));
    assert!(
        refused(|facts| facts.target.as_mut().unwrap().server.in_recovery = true)
            .contains("standby")
    );
    assert!(
        refused(|facts| facts.policy.include.push(Pattern::new("x")))
            .contains("no table is selected")
    );
}

#[test]
fn a_prepared_target_is_compared_and_its_indexes_dropped() {
    let mut facts = facts(source(10));
    facts.target.as_mut().unwrap().tables = facts.source.tables.clone();
    let plan = plan(&facts);
    assert!(
        plan.steps[0].what.contains("0 tables on the target; compare 1 that are there"),
        "{}",
        plan.steps[0].what
    );
}

#[test]
fn methods_of_other_versions_say_what_they_would_need_here() {
    let mut facts = facts(source(10));
    facts.source.server.wal_level = "replica".into();
    facts.source.tables[0].key.clear();
    let plan = plan(&facts);
    let names: Vec<Method> = plan.methods.iter().map(|method| method.method).collect();
    assert_eq!(names, [Method::Copy, Method::Follow, Method::Reembed, Method::Delta]);
    for method in &plan.methods[1..] {
        assert!(!method.possible && method.seconds.is_none());
        assert!(method.why_not.as_ref().unwrap().starts_with("not in this version"));
        assert!(!method.could_lose.is_empty() && !method.downtime.is_empty());
    }
    let follow = plan.methods[1].why_not.as_ref().unwrap();
    assert!(follow.contains("now replica") && follow.contains("on 1 tables"), "{follow}");
    assert_eq!(plan.methods[2].price.dollars, None);
}

#[test]
fn only_selected_tables_count() {
    let mut facts = facts(source(1000));
    let mut other = sample::items(9_000_000, 8);
    other.name.name = "other".into();
    facts.source.tables.push(other);
    let all = plan(&facts);
    facts.policy.exclude.push(Pattern::new("other"));
    let some = plan(&facts);
    assert!(some.source.table_bytes < all.source.table_bytes);
    assert!(of(&some, Phase::Rows) < of(&all, Phase::Rows));
    assert_eq!(some.source.tables, 1);
}
