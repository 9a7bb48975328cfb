//! Cutover and rollback of a finished copy: proof and switch, without replication.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vecferry_core::cleanup::cleanup;
use vecferry_core::cutover::decide::Decision;
use vecferry_core::cutover::step::{Direction, Step};
use vecferry_core::cutover::switch::CommandSwitch;
use vecferry_core::cutover::{End, Options, Outcome, cross, decide};
use vecferry_core::migration::{RunOptions, migrate};
use vecferry_core::policy::{Clusters, Existing, Method, Policy};
use vecferry_core::status::status;
use vecferry_testkit::{Database, pair};

use crate::fixture::{Recorder, clusters, copy, count, items, policy};

/// A copy that is done.
struct Copied {
    source: Database,
    target: Database,
    clusters: Clusters,
}

impl Copied {
    async fn new(name: &str) -> Copied {
        let pair = pair().await;
        let source = items(&pair.source, name, 500).await;
        let target = Database::create(&pair.target, name).await.unwrap();
        copy(&source, &target, &policy()).await.unwrap();
        let clusters = clusters(&source, &target);
        Copied { source, target, clusters }
    }

    async fn go(&self, options: &Options) -> Outcome {
        let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
        cross(&self.clusters, &policy(), options, &recorder, &cancel).await.unwrap()
    }

    async fn ask(&self, options: &Options) -> Decision {
        decide(&self.clusters, &policy(), options).await.unwrap()
    }

    /// How far both are.
    async fn steps(&self) -> Vec<(Direction, Step)> {
        let status = status(&self.clusters.target).await.unwrap().unwrap();
        status.crossings.iter().map(|one| (one.direction, one.step)).collect()
    }

    async fn assert_writable(&self, database: &Database) {
        database.batch("UPDATE items SET source = source WHERE botid = 'bot1'").await.unwrap();
    }
}

fn switching(direction: Direction, command: &str) -> Options {
    Options { switch: Some(Arc::new(CommandSwitch::new(command))), ..Options::new(direction) }
}

fn said(outcome: &Outcome) -> String {
    let reasons = outcome.decision.reasons.iter().chain(&outcome.stopped);
    reasons.map(|reason| reason.what.as_str()).collect::<Vec<_>>().join("; ")
}

use Direction::{Cutover, Rollback};

#[tokio::test]
async fn a_copy_is_proven_and_switched_and_switched_back_as_often_as_it_is_asked_for() {
    let copied = Copied::new("handed_over").await;
    let nothing = copied.ask(&Options::new(Rollback)).await;
    assert!(!nothing.go, "{nothing:?}");
    for round in 0..2 {
        let outcome = copied.go(&switching(Cutover, "test $VECFERRY_SWITCH_TO = target")).await;
        assert_eq!((outcome.end, outcome.switched), (End::Done, true), "{outcome:#?}");
        assert_eq!((outcome.method, outcome.downtime_seconds), (Some(Method::Copy), None));
        assert!(outcome.switched_by_command && !outcome.way_back);
        let names: Vec<&str> = outcome.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["prepare", "verify", "switch", "finish"], "round {round}");
        assert_eq!(copied.go(&Options::new(Cutover)).await.end, End::Done, "done is done");
        copied.assert_writable(&copied.source).await;

        let outcome = copied.go(&switching(Rollback, "test $VECFERRY_SWITCH_TO = source")).await;
        assert_eq!((outcome.end, outcome.switched), (End::Done, true), "{outcome:#?}");
        assert!(said(&outcome).contains("no row goes back"), "{outcome:#?}");
        assert_eq!(copied.steps().await, [(Cutover, Step::Undone), (Rollback, Step::Finished)]);
        assert_eq!(copied.go(&Options::new(Rollback)).await.end, End::Done, "done is done");
    }
    // What is written on the target stays there.
    assert_eq!(copied.go(&Options::new(Cutover)).await.end, End::Done);
    copied.target.batch("DELETE FROM items WHERE botid = 'bot2'").await.unwrap();
    assert_eq!(copied.go(&Options::new(Rollback)).await.end, End::Done);
    let sql = "SELECT count(*) FROM items WHERE botid = 'bot2'";
    assert!(count(&copied.source, sql).await > 0);
    // And then they differ.
    let outcome = copied.go(&Options::new(Cutover)).await;
    assert_eq!(outcome.end, End::Undone, "{outcome:#?}");
}

#[tokio::test]
async fn a_source_that_was_written_to_since_is_not_left() {
    let copied = Copied::new("written_since").await;
    copied.source.batch("INSERT INTO items (id, botid) VALUES ('new', 'bot3')").await.unwrap();
    let marker = tempfile::NamedTempFile::new().unwrap();
    let command = format!("echo switched > {}", marker.path().display());
    for fence in [false, true] {
        let options = Options { fence, ..switching(Cutover, &command) };
        let outcome = copied.go(&options).await;
        assert_eq!((outcome.end, outcome.done), (End::Undone, false), "{outcome:#?}");
        assert!(said(&outcome).contains("table public.items"), "{outcome:#?}");
        copied.assert_writable(&copied.source).await;
        assert_eq!(copied.steps().await, [(Cutover, Step::Undone)]);
    }
    assert_eq!(std::fs::read_to_string(marker.path()).unwrap(), "");
}

#[tokio::test]
async fn a_fence_is_raised_where_it_is_asked_for_and_lifted_on_the_way_back() {
    let copied = Copied::new("fenced_copy").await;
    let fenced = |direction| Options { fence: true, ..Options::new(direction) };
    assert!(copied.ask(&fenced(Cutover)).await.refuses_writes);
    let outcome = copied.go(&fenced(Cutover)).await;
    assert_eq!(outcome.end, End::Done, "{outcome:#?}");
    assert!(outcome.downtime_seconds.is_some_and(|seconds| seconds > 0.0));
    let write = "UPDATE items SET source = source";
    assert!(copied.source.batch(write).await.is_err(), "the source takes writes");
    copied.assert_writable(&copied.target).await;
    let outcome = copied.go(&fenced(Rollback)).await;
    assert_eq!(outcome.end, End::Done, "{outcome:#?}");
    copied.assert_writable(&copied.source).await;
    assert!(copied.target.batch(write).await.is_err(), "the target takes writes");
    // The next cutover lets the target write again.
    assert_eq!(copied.go(&Options::new(Cutover)).await.end, End::Done);
    copied.assert_writable(&copied.target).await;
}

#[tokio::test]
async fn a_cleanup_lifts_the_fence_wherever_it_stands() {
    let write = "UPDATE items SET source = source";
    for (name, ways) in [("fence_left", &[Cutover][..]), ("fence_back", &[Cutover, Rollback])] {
        let copied = Copied::new(name).await;
        for way in ways {
            let outcome = copied.go(&Options { fence: true, ..Options::new(*way) }).await;
            assert_eq!(outcome.end, End::Done, "{outcome:#?}");
        }
        let fenced = if ways.len() == 1 { &copied.source } else { &copied.target };
        assert!(fenced.batch(write).await.is_err(), "{name}: it takes writes");
        let removed = cleanup(&copied.clusters).await.unwrap();
        assert!(removed.iter().all(|leftover| !leftover.kept), "{removed:#?}");
        for database in [&copied.source, &copied.target] {
            copied.assert_writable(database).await;
            let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'vecferry%'";
            assert_eq!(count(database, left).await, 0, "{name}");
        }
    }
}

#[tokio::test]
async fn a_restart_is_refused_after_the_cutover_and_takes_the_fence_along_before_and_after_a_rollback()
 {
    let copied = Copied::new("restarted").await;
    let again = Policy { existing: Existing::Replace, ..policy() };
    let restart = async |clusters: &Clusters| {
        let options = RunOptions { restart: true, ..RunOptions::default() };
        migrate(clusters, &again, options, &Recorder::default(), &CancellationToken::new()).await
    };
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'vecferry_fence'";
    let fenced = |direction| Options { fence: true, ..Options::new(direction) };

    assert_eq!(copied.go(&fenced(Cutover)).await.end, End::Done);
    copied.target.batch("DELETE FROM items WHERE botid = 'bot2'").await.unwrap();
    let refused = restart(&copied.clusters).await.unwrap_err();
    assert!(refused.to_string().contains("was cut over to the target"), "{refused}");
    assert!(refused.hint().unwrap().contains("vecferry rollback"), "{:?}", refused.hint());
    let gone = "SELECT count(*) FROM items WHERE botid = 'bot2'";
    assert_eq!(count(&copied.target, gone).await, 0, "what the application did there stays");
    assert_eq!(count(&copied.source, left).await, 1, "and so does the fence");

    assert_eq!(copied.go(&fenced(Rollback)).await.end, End::Done);
    assert_eq!(count(&copied.target, left).await, 1);
    // The fence stands on clusters of this migration: another source would leave it where it is.
    let other = items(&pair().await.source, "restarted_other", 10).await;
    let refused = restart(&clusters(&other, &copied.target)).await.unwrap_err();
    assert!(refused.to_string().contains("is another cluster or database"), "{refused}");
    restart(&copied.clusters).await.unwrap();
    for database in [&copied.source, &copied.target] {
        assert_eq!(count(database, left).await, 0);
        copied.assert_writable(database).await;
    }
    assert!(count(&copied.target, gone).await > 0, "copied again");

    // One that died with its fence up.
    let died = Options { fence: true, ..switching(Cutover, "kill -9 $$") };
    assert_eq!(copied.go(&died).await.end, End::Unknown);
    assert_eq!(count(&copied.source, left).await, 1);
    restart(&copied.clusters).await.unwrap_err();
    assert_eq!(copied.go(&Options::new(Rollback)).await.end, End::Done);
    restart(&copied.clusters).await.unwrap();
    assert_eq!(count(&copied.source, left).await, 0);
    copied.assert_writable(&copied.source).await;
}

#[tokio::test]
async fn a_switch_that_says_no_or_nothing_is_told_and_both_ways_stay_open() {
    for (name, way) in [("copy_on", Cutover), ("copy_back", Rollback)] {
        let copied = Copied::new(name).await;
        let outcome = copied.go(&switching(Cutover, "exit 3")).await;
        assert_eq!(outcome.end, End::Undone, "{outcome:#?}");
        assert!(said(&outcome).contains("exit code 3"), "{outcome:#?}");
        let outcome = copied.go(&switching(Cutover, "kill -9 $$")).await;
        assert_eq!((outcome.end, outcome.switched), (End::Unknown, false), "{outcome:#?}");
        let stopped = outcome.stopped.unwrap();
        assert!(!stopped.what.contains("fenced"), "{stopped:?}");
        assert!(stopped.remedy.contains("vecferry rollback"), "{stopped:?}");
        assert_eq!(copied.steps().await, [(Cutover, Step::Switching)]);
        // The application may be on the target, so that rows may differ by now.
        copied.target.batch("DELETE FROM items WHERE id LIKE '%99'").await.unwrap();
        let outcome = copied.go(&Options::new(way)).await;
        assert_eq!((outcome.end, outcome.switched), (End::Done, true), "{name}: {outcome:#?}");
    }
}
