//! How tasks end, or are lost, and what the runner makes of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use vecferry_core::reembed::task::{StopCause, TaskRunner, TaskState};
use vecferry_testkit::ecs::{Delays, Ecs, EcsOptions, Fault, Faults, Program};

use super::{
    MIGRATION, done, endless, launch, look, runner, shell, start, stop_of, until, until_all_stopped,
};

#[tokio::test]
async fn every_end_has_its_cause() {
    let ecs = start(endless());
    ecs.set_faults(Faults { delays: short_grace(), ..Faults::default() });
    let runner = runner(&ecs);
    let ends = [
        (Fault::no_image(), StopCause::NeverStarted, None),
        (Fault::no_secret(), StopCause::NeverStarted, None),
        (Fault::no_interface(), StopCause::NeverStarted, None),
        (Fault::OutOfMemory, StopCause::OutOfMemory, Some(137)),
        (Fault::Interrupt, StopCause::Interrupted, Some(137)),
    ];
    for (number, (fault, cause, exit_code)) in ends.into_iter().enumerate() {
        ecs.next([fault.clone()]);
        let id = runner.launch(&launch(number)).await.unwrap();
        until_all_stopped(&ecs).await;
        let stop = stop_of(look(&runner, &id).await);
        assert_eq!((stop.cause, stop.exit_code), (cause, exit_code), "{fault:?}");
        if let Fault::NeverStarts(reason) = fault {
            assert_eq!(stop.reason, reason);
        }
    }
}

fn short_grace() -> Delays {
    Delays { grace: Duration::from_millis(1), ..Delays::default() }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_never_started() {
    let ecs = start(Program::process(["/nonexistent/worker"]));
    let runner = runner(&ecs);
    let id = runner.launch(&launch(1)).await.unwrap();
    until_all_stopped(&ecs).await;
    let stop = stop_of(look(&runner, &id).await);
    assert_eq!((stop.cause, stop.exit_code), (StopCause::NeverStarted, None));
    assert!(ecs.launched().is_empty());
}

#[tokio::test]
async fn a_lost_task_has_vanished_and_is_not_listed() {
    let ecs = start(done());
    let runner = runner(&ecs);
    ecs.next([Fault::Vanish]);
    let id = runner.launch(&launch(1)).await.unwrap();
    assert_eq!(look(&runner, &id).await.state, TaskState::Vanished);
    assert!(runner.list(MIGRATION).await.unwrap().is_empty());
    assert!(ecs.launched().is_empty());
}

#[tokio::test]
async fn a_task_that_was_just_launched_may_be_unknown_at_first() {
    let ecs = start(endless());
    let runner = runner(&ecs);
    ecs.next([Fault::Late(1)]);
    let id = runner.launch(&launch(1)).await.unwrap();
    assert_eq!(look(&runner, &id).await.state, TaskState::Vanished);
    assert_ne!(look(&runner, &id).await.state, TaskState::Vanished);
}

#[tokio::test]
async fn a_task_that_ended_long_ago_is_forgotten() {
    let ecs = start(done());
    let runner = runner(&ecs);
    let first = runner.launch(&launch(1)).await.unwrap();
    until_all_stopped(&ecs).await;
    assert!(ecs.forget(&first));
    assert_eq!(look(&runner, &first).await.state, TaskState::Vanished);

    ecs.set_faults(Faults { remembered: Some(1), ..Faults::default() });
    for number in 2..=3 {
        runner.launch(&launch(number)).await.unwrap();
        until_all_stopped(&ecs).await;
    }
    assert_eq!(ecs.tasks().len(), 1);
}

#[tokio::test]
async fn another_task_for_the_same_bot_is_not_ours() {
    let ecs = start(endless());
    let runner = runner(&ecs);
    ecs.next([Fault::Twice]);
    let id = runner.launch(&launch(1)).await.unwrap();
    until(&ecs, |tasks| tasks.iter().filter(|task| task.status == "RUNNING").count() == 2).await;
    assert_eq!(ecs.launches_by_bot().into_values().collect::<Vec<_>>(), [2]);
    let listed = runner.list(MIGRATION).await.unwrap();
    assert_eq!(listed.iter().map(|task| &task.id).collect::<Vec<_>>(), [&id]);
}

/// A pipe with a name, through which a script tells how far it is.
fn pipe(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

/// A double whose tasks run this script, with the pipe as `$PIPE`.
fn start_with_pipe(script: &str, pipe: &Path, faults: Faults) -> Ecs {
    let mut options = EcsOptions::new(shell(script));
    options.environment.push(("PIPE".into(), pipe.display().to_string()));
    options.faults = faults;
    Ecs::start(options).unwrap()
}

#[tokio::test]
async fn a_stopped_process_is_asked_to_end_and_its_exit_code_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = pipe(&folder);
    let script = "trap 'exit 3' TERM; echo ready > $PIPE; sleep 600 & wait";
    let ecs = start_with_pipe(script, &pipe, Faults::default());
    let runner = runner(&ecs);
    let id = runner.launch(&launch(1)).await.unwrap();
    assert_eq!(tokio::fs::read_to_string(&pipe).await.unwrap(), "ready\n");
    runner.stop(&id, "enough").await.unwrap();
    until_all_stopped(&ecs).await;
    let stop = stop_of(look(&runner, &id).await);
    assert_eq!((stop.cause, stop.exit_code), (StopCause::Stopped, Some(3)));
    assert_eq!(stop.reason, "enough");

    // It has ended, and another never was: neither is an error.
    runner.stop(&id, "again").await.unwrap();
    runner.stop(&"0".repeat(32), "who?").await.unwrap();
    assert_eq!(stop_of(look(&runner, &id).await).reason, "enough");
}

#[tokio::test]
async fn a_process_that_does_not_listen_is_killed_after_the_grace() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = pipe(&folder);
    let script = "trap '' TERM; echo ready > $PIPE; sleep 600 & wait";
    let faults = Faults { delays: short_grace(), ..Faults::default() };
    let ecs = start_with_pipe(script, &pipe, faults);
    let runner = runner(&ecs);
    let id = runner.launch(&launch(1)).await.unwrap();
    assert_eq!(tokio::fs::read_to_string(&pipe).await.unwrap(), "ready\n");
    assert!(ecs.interrupt(&id));
    until_all_stopped(&ecs).await;
    let stop = stop_of(look(&runner, &id).await);
    assert_eq!((stop.cause, stop.exit_code), (StopCause::Interrupted, Some(137)));
}

#[tokio::test]
async fn processes_do_not_outlive_the_double() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = pipe(&folder);
    let script = "exec 9> $PIPE; sleep 600 & echo started >&9; wait";
    let ecs = start_with_pipe(script, &pipe, Faults::default());
    runner(&ecs).launch(&launch(1)).await.unwrap();
    let mut pipe = tokio::fs::File::open(&pipe).await.unwrap();
    let mut started = [0; 8];
    pipe.read_exact(&mut started).await.unwrap();
    assert_eq!(&started, b"started\n");
    drop(ecs);
    // The pipe ends when the last process that holds it has: the shell and what it started.
    assert_eq!(pipe.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}
