//! Plans of databases that nobody has to build.

use super::*;
use crate::inventory::Inventory;
use crate::policy::{Pattern, Policy};
use crate::price::Prices;
use crate::sample;

/// The plan of two clusters and no bots.
fn plan(facts: &Facts) -> Plan {
    super::plan(&Situation::of_clusters(facts.clone(), Prices::published().unwrap()))
}

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
        wal: None,
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
fn methods_that_embed_say_that_they_need_a_registry_of_bots() {
    let plan = plan(&facts(source(10)));
    let names: Vec<Method> = plan.methods.iter().map(|method| method.method).collect();
    assert_eq!(names, [Method::Copy, Method::Follow, Method::Reembed, Method::Delta]);
    for method in &plan.methods[2..] {
        assert!(!method.possible && method.seconds.is_none());
        assert!(!method.could_lose.is_empty() && !method.downtime.is_empty());
        assert_eq!(method.price.dollars, None);
    }
    let why = plan.methods[2].why_not.as_ref().unwrap();
    assert!(why.contains("registry of bots"), "{why}");
}

/// A source that is written to: `rate` bytes and 50 transactions a second.
fn busy(rows: u64, rate: u64) -> Facts {
    let mut facts = facts(source(rows));
    facts.probe.wal = Some(Wal {
        bytes: 2 * rate,
        transactions: 100,
        seconds: 2.0,
        average_bytes_per_second: None,
        kept_bytes: None,
    });
    facts
}

#[test]
fn follow_is_possible_where_the_source_has_what_it_needs_and_says_what_it_lacks() {
    let lacks = |change: &dyn Fn(&mut Facts)| {
        let mut facts = facts(source(10));
        change(&mut facts);
        let plan = plan(&facts);
        assert_eq!(plan.apply_start.is_some(), plan.methods[1].possible);
        plan.methods[1].why_not.clone().unwrap_or_default()
    };
    let keyless = |facts: &mut Facts| {
        let table = &mut facts.source.tables[0];
        (table.key, table.has_primary_key) = (vec![], false);
    };
    assert_eq!(lacks(&|_| {}), "");
    let all = lacks(&|facts| {
        keyless(facts);
        facts.source.server.wal_level = "replica".into();
        facts.source.tables[0].unlogged = true;
        facts.policy.existing = crate::policy::Existing::Keep;
    });
    for words in ["it needs wal_level", "(now replica)", "on 1 tables", "1 unlogged", "keep"] {
        assert!(all.contains(words), "{all}");
    }
    let set = |facts: &mut Facts| {
        keyless(facts);
        facts.policy.follow.set_replica_identity = true;
    };
    assert_eq!(lacks(&set), "");
    assert!(lacks(&|facts| facts.target = Err("no route".into())).contains("cannot be read"));
}

#[test]
fn follow_is_recommended_where_writes_go_on_and_a_copy_would_stop_them_for_long() {
    let recommended = |facts: &Facts| {
        let plan = plan(facts);
        (plan.recommended.unwrap(), plan.reason.unwrap())
    };
    let (method, why) = recommended(&busy(1_000_000, 1 << 20));
    assert_eq!(method, Method::Follow);
    assert!(why.contains("50 transactions and 1.0 MiB of write-ahead log a second"), "{why}");
    let (method, why) = recommended(&busy(1000, 1 << 20));
    assert_eq!(method, Method::Copy, "a pause of seconds is simpler");
    assert!(why.contains("less than a minute"), "{why}");
    assert_eq!(recommended(&facts(source(1_000_000))).0, Method::Copy, "nothing known of writes");
    assert_eq!(recommended(&busy(1_000_000, 10)).0, Method::Copy, "housekeeping");
    let mut unfit = busy(1_000_000, 1 << 20);
    unfit.source.server.wal_level = "replica".into();
    let (method, why) = recommended(&unfit);
    assert_eq!(method, Method::Copy);
    assert!(why.contains("have to pause"), "{why}");
}

#[test]
fn the_steps_of_a_follow_are_those_of_its_route() {
    let mut facts = busy(1_000_000, 1 << 20);
    facts.policy.method = Some(Method::Follow);
    let route = |facts: &Facts| {
        let plan = plan(facts);
        let phases: Vec<Phase> = plan.steps.iter().map(|step| step.phase).collect();
        let start = plan.apply_start.as_ref().unwrap().start;
        // Each phase is estimated but those that end by what others write.
        assert_eq!(plan.estimates.len(), phases.len() - 2, "{plan:#?}");
        (start, phases, plan)
    };
    let (start, phases, last) = route(&facts);
    assert_eq!(start, ApplyStart::Last, "{:?}", last.apply_start);
    assert_eq!([&phases[..], &[Phase::Done]].concat(), Route::FollowApplyLast.phases());
    assert!(last.steps[0].what.starts_with("publication and replication slot on the source"));
    assert!(last.methods[1].seconds.unwrap() > 100.0 && last.methods[1].downtime_seconds.is_none());

    facts.probe.wal.as_mut().unwrap().bytes = 1 << 30;
    let (start, phases, first) = route(&facts);
    assert_eq!(start, ApplyStart::First, "{:?}", first.apply_start);
    assert_eq!([&phases[..], &[Phase::Done]].concat(), Route::FollowApplyFirst.phases());
    let what = |wanted: Phase| &first.steps.iter().find(|step| step.phase == wanted).unwrap().what;
    assert!(what(Phase::Keys).starts_with("build 1 b-tree"), "{}", what(Phase::Keys));
    assert!(what(Phase::Indexes).starts_with("build 1 vector indexes and 0 others, one at a time"));
    let sum = of(&first, Phase::Keys) + of(&first, Phase::Indexes);
    assert!((sum - of(&last, Phase::Indexes)).abs() < 1e-6);

    facts.policy.follow.apply_start = ApplyStart::Last;
    assert_eq!(route(&facts).0, ApplyStart::Last);
    facts.source.server.wal_level = "replica".into();
    let refused = plan(&facts);
    assert!(refused.steps.is_empty() && refused.estimates.is_empty(), "asked for, not possible");
}

#[test]
fn the_average_of_days_counts_where_it_is_more_than_what_is_written_now() {
    let mut facts = busy(1000, 1000);
    let wal = facts.probe.wal.as_mut().unwrap();
    wal.average_bytes_per_second = Some(1e6);
    assert!((wal.bytes_per_second() - 1e6).abs() < 1e-3);
    let kept = |facts: &Facts| plan(facts).apply_start.unwrap().kept_bytes.unwrap();
    let many = kept(&facts);
    facts.probe.wal.as_mut().unwrap().average_bytes_per_second = None;
    assert!(many > 500 * kept(&facts));
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
    assert!(some.source.as_ref().unwrap().table_bytes < all.source.as_ref().unwrap().table_bytes);
    assert!(of(&some, Phase::Rows) < of(&all, Phase::Rows));
    assert_eq!(some.source.unwrap().tables, 1);
}

mod money;
