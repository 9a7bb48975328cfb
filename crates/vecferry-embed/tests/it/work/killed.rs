//! Runs that end at any step, in any way, and what the next one makes of it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use tokio_util::sync::CancellationToken;
use vecferry_core::bot::SyncStatus;
use vecferry_embed::work::{Ending, work};
use vecferry_testkit::pair;

use super::fixture::{Bench, Tripwire, attempt};
use super::{content, database, lines, reference, run, staged};

/// More than any run has; a run that never reaches it is the end of a test's loop.
const STEPS: i64 = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_dropped_at_any_step_is_finished_by_the_next_one() {
    let expected = reference().await;
    let database = database(&pair().await.target).await;
    for step in 1..STEPS {
        let first = Bench::new(database.url(), Tripwire::hang_at(step));
        tokio::select! {
            ended = run(&first, "t1") => {
                assert!(!first.wire.was_hit(), "{ended:?}");
                assert!(step > 15, "only {step} steps");
                return;
            }
            () = first.wire.hit.notified() => {}
        }
        // The same attempt started again, or another one, on what the registry was left with.
        let next = Bench::new(database.url(), Tripwire::default());
        *next.registry.bot.lock().unwrap() = first.registry.bot.lock().unwrap().clone();
        let token = if step % 2 == 0 { "t1" } else { "t2" };
        if token == "t2" {
            next.claim(token);
        }
        let outcome = run(&next, token).await.unwrap();
        assert_eq!(outcome.ending, Ending::Swapped, "step {step}");
        assert_eq!(content(&database).await, expected, "step {step}");
        assert_eq!(staged(&database).await, 0, "step {step}");
        assert_eq!(next.registry.record().unwrap().0, SyncStatus::Succeeded);
        // The next round begins with other rows and no result.
        database
            .batch("DELETE FROM vecferry.bot_result; UPDATE items SET content = 'old' WHERE botid <> 'other'")
            .await
            .unwrap();
    }
    panic!("the run has more than {STEPS} steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_loses_its_connections_at_any_step_costs_nothing() {
    let expected = reference().await;
    let database = database(&pair().await.target).await;
    for step in 1..STEPS {
        let bench = Bench::new(database.url(), Tripwire::kill_at(step, &database));
        let token = format!("t{step}");
        bench.claim(&token);
        let outcome = run(&bench, &token).await.unwrap();
        assert_eq!(outcome.ending, Ending::Swapped, "step {step}");
        assert_eq!(content(&database).await, expected, "step {step}");
        if !bench.wire.was_hit() {
            return;
        }
    }
    panic!("the run has more than {STEPS} steps");
}

/// What the process to be killed is told.
const TARGET: &str = "VECFERRY_TEST_WORKER_TARGET";
const STEP: &str = "VECFERRY_TEST_WORKER_STEP";
const READY: &str = "at the step";

/// Not a test of its own: the process that `a_killed_process_…` kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by another test"]
async fn worker_to_be_killed() {
    let (Ok(target), Ok(step)) = (std::env::var(TARGET), std::env::var(STEP)) else { return };
    let bench = Bench::new(&target, Tripwire::hang_at(step.parse().unwrap()));
    let attempt = attempt("t1");
    let cancel = CancellationToken::new();
    tokio::select! {
        ended = work(&bench.bot, &attempt, &bench.bench, &cancel) => panic!("{ended:?}"),
        () = bench.wire.hit.notified() => println!("{READY}"),
    }
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_what_the_next_one_needs() {
    let expected = reference().await;
    let database = database(&pair().await.target).await;
    // While documents are fetched, while texts are embedded, and with everything staged but the registry's answer.
    for step in [4, 9, 13] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "work::killed::worker_to_be_killed", "--ignored", "--nocapture"])
            .env(TARGET, database.url())
            .env(STEP, step.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let ready = output.lines().any(|line| line.unwrap().contains(READY));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ready, "step {step} was not reached");
        let before =
            lines(&database, "SELECT source FROM vecferry.staged_document WHERE complete").await;
        let next = Bench::new(database.url(), Tripwire::default());
        let token = format!("next{step}");
        next.claim(&token);
        let outcome = run(&next, &token).await.unwrap();
        assert_eq!(outcome.ending, Ending::Swapped, "step {step}");
        let fetched = next.shelf.fetches.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(fetched as usize, 5 - before.len(), "step {step}");
        assert_eq!(content(&database).await, expected, "step {step}");
        assert_eq!(staged(&database).await, 0);
    }
}
