//! Cleaning up after a `follow`, on both clusters: nothing of ours stays, nothing of others goes.

use std::future::poll_fn;
use std::task::Poll;

use tokio_util::sync::CancellationToken;
use vecferry_core::cleanup::{Leftover, Scope, cleanup, leftovers};
use vecferry_core::cutover::step::Direction;
use vecferry_core::cutover::{End, Options, cross};
use vecferry_core::migration::{RunOptions, migrate};
use vecferry_core::phase::Phase;
use vecferry_core::policy::{Clusters, FollowPolicy, Policy};
use vecferry_core::report::Event;
use vecferry_core::status::status;
use vecferry_core::{Error, Result, Side};
use vecferry_testkit::{Database, FaultProxy, pair};

use crate::fixture::{
    Recorder, assert_same_content, clusters, count, items, leftovers_of_ours, schema,
};
use crate::follow::{follow, following};
use crate::interrupted::stop_at;

/// A source of some rows, and an empty target.
async fn databases(hint: &str) -> (Database, Database) {
    let pair = pair().await;
    let source = items(&pair.source, hint, 1000).await;
    (source, Database::create(&pair.target, hint).await.unwrap())
}

async fn assert_clean(database: &Database) {
    let left = leftovers_of_ours(database).await;
    assert!(left.is_empty(), "{left:?}");
}

async fn id(target: &Database) -> String {
    status(&target.url().parse().unwrap()).await.unwrap().unwrap().migration
}

/// Runs a migration from the beginning.
async fn restart(clusters: &Clusters, policy: &Policy) -> Result<()> {
    let options = RunOptions { restart: true, detach: true, ..RunOptions::default() };
    let cancel = CancellationToken::new();
    migrate(clusters, policy, options, &Recorder::default(), &cancel).await.map(drop)
}

/// Takes the application from one side to the other.
async fn go(clusters: &Clusters, direction: Direction) {
    let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
    let options = Options::new(direction);
    let outcome = cross(clusters, &following(), &options, &recorder, &cancel).await.unwrap();
    assert_eq!(outcome.end, End::Done, "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_follow_a_cleanup_leaves_the_rows_and_nothing_of_ours() {
    let (source, target) = databases("clean").await;
    source.batch("CREATE TABLE keyless AS SELECT g FROM generate_series(1, 100) g").await.unwrap();
    let clusters = clusters(&source, &target);
    let policy = Policy {
        follow: FollowPolicy { set_replica_identity: true, ..following().follow },
        ..following()
    };
    follow(&clusters, &policy, &Recorder::default()).await.unwrap();
    let identity = "SELECT count(*) FROM pg_class WHERE relname = 'keyless' AND relreplident = 'f'";
    assert_eq!(count(&source, identity).await, 1);
    let listed = leftovers(&clusters).await.unwrap();
    let kinds: Vec<&str> = listed.iter().map(|leftover| leftover.kind.as_str()).collect();
    let ends = ["subscription", "slot", "publication"];
    assert_eq!(kinds[..3], ends, "{listed:#?}");
    // On both clusters: the target's table was made like the source's.
    assert_eq!(kinds[3..], ["replica identity", "replica identity", "moved rows", "record"]);
    assert_eq!(count(&target, identity).await, 1);
    assert_eq!(cleanup(&clusters).await.unwrap(), listed, "the list is what is done");
    assert_clean(&source).await;
    assert_clean(&target).await;
    for side in [&source, &target] {
        assert_eq!(count(side, identity).await, 0, "as it was before");
    }
    assert_same_content(&source, &target).await;
    assert!(leftovers(&clusters).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_phase_a_follow_stopped_in_a_cleanup_finds_everything() {
    let (source, target) = databases("phases").await;
    let clusters = clusters(&source, &target);
    let before = schema(&target);
    for phase in [
        Phase::Schema,
        Phase::Rows,
        Phase::Sequences,
        Phase::Indexes,
        Phase::Constraints,
        Phase::Analyze,
        Phase::Subscribe,
        Phase::CatchUp,
    ] {
        let here = move |event: &Event| matches!(event, Event::PhaseStarted { phase: started, .. } if *started == phase);
        stop_at(&clusters, &following(), here).await;
        let stopped = status(&clusters.target).await.unwrap().unwrap().phase;
        assert!(!leftovers_of_ours(&source).await.is_empty(), "{phase}");
        let listed = leftovers(&clusters).await.unwrap();
        assert_eq!(cleanup(&clusters).await.unwrap(), listed, "{phase}");
        assert_clean(&source).await;
        assert_clean(&target).await;
        if stopped == Phase::Following {
            target.batch("DROP TABLE items; DROP EXTENSION vector").await.unwrap();
        }
        assert_eq!(schema(&target), before, "{phase}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cleanup_that_ends_in_the_middle_is_run_again() {
    let (source, target) = databases("middle").await;
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    go(&clusters, Direction::Cutover).await;
    let mut finished = false;
    for polls in (1..).step_by(4) {
        let mut cleaning = Box::pin(cleanup(&clusters));
        let mut left = polls;
        // Dropped after so many polls: what it was waiting for is answered to nobody.
        let outcome = poll_fn(|context| match (cleaning.as_mut().poll(context), left) {
            (Poll::Ready(outcome), _) => Poll::Ready(Some(outcome)),
            (Poll::Pending, 1) => Poll::Ready(None),
            (Poll::Pending, _) => {
                left -= 1;
                Poll::Pending
            }
        })
        .await;
        finished = outcome.is_some();
        if let Some(outcome) = outcome {
            outcome.unwrap();
            break;
        }
    }
    assert!(finished);
    assert_clean(&source).await;
    assert_clean(&target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cutover_fence_and_way_back_go_too_and_it_is_said() {
    let (source, target) = databases("cutover").await;
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    go(&clusters, Direction::Cutover).await;
    let status = status(&clusters.target).await.unwrap().unwrap().follow.unwrap();
    let back = status.way_back.unwrap();
    assert!(back.slot.is_some() && back.from == Side::Target, "{back:?}");
    let refused = restart(&clusters, &following()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { side: Side::Target, .. }), "{refused:?}");
    assert!(refused.hint().unwrap().contains("vecferry cleanup"), "{refused:?}");
    source.batch("DELETE FROM items").await.unwrap_err();
    let removed = cleanup(&clusters).await.unwrap();
    let fence = removed.iter().find(|leftover| leftover.kind == "fence").unwrap();
    assert!(fence.effect.contains("nothing carries them"), "{fence:?}");
    assert_clean(&source).await;
    assert_clean(&target).await;
    source.batch("DELETE FROM items").await.unwrap();
    assert_eq!(count(&target, "SELECT count(*) FROM items").await, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rollback_nothing_stays_either() {
    let (source, target) = databases("rollback").await;
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    go(&clusters, Direction::Cutover).await;
    target.batch("DELETE FROM items WHERE botid = 'bot1'").await.unwrap();
    go(&clusters, Direction::Rollback).await;
    let refused = restart(&clusters, &following()).await.unwrap_err();
    assert!(refused.to_string().contains("taken back"), "{refused:?}");
    cleanup(&clusters).await.unwrap();
    assert_clean(&source).await;
    assert_clean(&target).await;
    assert_same_content(&source, &target).await;
    source.batch("DELETE FROM items").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_migration_from_the_same_source_goes_on() {
    let (source, first) = databases("two").await;
    let second = Database::create(&pair().await.target, "two").await.unwrap();
    source.batch("CREATE TABLE keyless AS SELECT g FROM generate_series(1, 100) g").await.unwrap();
    let policy = Policy {
        follow: FollowPolicy { set_replica_identity: true, ..following().follow },
        ..following()
    };
    let (to_first, to_second) = (clusters(&source, &first), clusters(&source, &second));
    follow(&to_first, &policy, &Recorder::default()).await.unwrap();
    follow(&to_second, &policy, &Recorder::default()).await.unwrap();
    let removed = cleanup(&to_first).await.unwrap();
    let kept: Vec<&Leftover> = removed.iter().filter(|leftover| leftover.kept).collect();
    let kinds: Vec<&str> = kept.iter().map(|leftover| leftover.kind.as_str()).collect();
    assert_eq!(kinds, ["slot", "publication", "replica identity", "moved rows"], "{kept:#?}");
    assert!(kept[0].effect.contains("another migration"), "{kept:#?}");
    assert_clean(&first).await;
    // Would be refused, had the replica identity gone.
    source
        .batch("UPDATE keyless SET g = g + 1; DELETE FROM items WHERE botid = 'bot1'")
        .await
        .unwrap();
    follow(&to_second, &policy, &Recorder::default()).await.unwrap();
    assert_same_content(&source, &second).await;
    cleanup(&to_second).await.unwrap();
    assert_clean(&source).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_out_of_reach_is_named_and_found_again_as_orphaned() {
    let (source, target) = databases("unreachable").await;
    let upstream = format!("127.0.0.1:{}", pair().await.source.port());
    let proxy = FaultProxy::start(&upstream).unwrap();
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    proxy.refuse();
    let away = Clusters { source: proxy.url(source.url()).parse().unwrap(), ..clusters.clone() };
    let error = cleanup(&away).await.unwrap_err();
    assert_eq!(error.side(), Some(Side::Source), "{error:?}");
    assert!(error.hint().unwrap().contains("--without-source"), "{error:?}");
    assert!(!leftovers_of_ours(&target).await.is_empty(), "nothing was removed");
    let alone = Scope { source: None, ..Scope::from(&clusters) };
    let removed = cleanup(alone).await.unwrap();
    let slots = leftovers_of_ours(&source).await;
    let named = |leftover: &&Leftover| {
        leftover.kept && slots.contains(&format!("{} {}", leftover.kind, leftover.name))
    };
    assert_eq!(removed.iter().filter(named).count(), slots.len(), "{removed:#?}");
    assert_clean(&target).await;
    let seen = cleanup(&clusters).await.unwrap();
    assert!(seen.len() == 2 && seen.iter().all(|leftover| leftover.kept), "{seen:#?}");
    cleanup(Scope { orphans: true, ..Scope::from(&clusters) }).await.unwrap();
    assert_clean(&source).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_source_than_the_recorded_is_refused() {
    let (source, target) = databases("other").await;
    let other = Database::create(&pair().await.source, "other").await.unwrap();
    follow(&clusters(&source, &target), &following(), &Recorder::default()).await.unwrap();
    let wrong = clusters(&other, &target);
    for error in [
        leftovers(&wrong).await.unwrap_err(),
        cleanup(&wrong).await.unwrap_err(),
        restart(&wrong, &following()).await.unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Refused { side: Side::Source, .. }), "{error:?}");
    }
    assert!(!leftovers_of_ours(&source).await.is_empty());
    cleanup(&clusters(&source, &target)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_begins_again_on_both_sides() {
    let (source, target) = databases("restart").await;
    let clusters = clusters(&source, &target);
    let rows = |event: &Event| matches!(event, Event::PartFinished { part: 1, .. });
    stop_at(&clusters, &following(), rows).await;
    let mut ids = vec![id(&target).await];
    for _ in 0..2 {
        // The first time in the rows, the second time while following.
        restart(&clusters, &following()).await.unwrap();
        let status = status(&clusters.target).await.unwrap().unwrap();
        assert_eq!(status.phase, Phase::Following);
        assert!(!ids.contains(&status.migration));
        let stem = format!("vecferry_{}_0", status.migration.replace('-', ""));
        let left = leftovers_of_ours(&source).await;
        assert_eq!(left, [format!("publication {stem}"), format!("slot {stem}")]);
        ids.push(status.migration);
    }
    source.batch("DELETE FROM items WHERE botid = 'bot1'").await.unwrap();
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    assert_same_content(&source, &target).await;
    cleanup(&clusters).await.unwrap();
    assert_clean(&source).await;
}
