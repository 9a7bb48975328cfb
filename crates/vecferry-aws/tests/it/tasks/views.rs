//! Looking at tasks and finding them again.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use vecferry_core::Class;
use vecferry_core::reembed::task::{TaskRunner, TaskState};
use vecferry_testkit::ecs::{Ecs, EcsOptions, Faults, Program};

use super::{MIGRATION, endless, launch, runner, start, until};

/// Launches so many and waits until each is where its program leaves it.
async fn launch_all(ecs: &Ecs, count: usize) -> Vec<String> {
    let runner = runner(ecs);
    let ids = stream::iter(0..count)
        .map(|number| {
            let runner = runner.clone();
            async move { runner.launch(&launch(number)).await.unwrap() }
        })
        .buffered(8)
        .collect()
        .await;
    until(ecs, |tasks| tasks.iter().all(|task| matches!(task.status, "RUNNING" | "STOPPED"))).await;
    ids
}

#[tokio::test]
async fn a_hundred_and_fifty_tasks_are_looked_at_in_two_calls() {
    let ecs = start(endless());
    let ids = launch_all(&ecs, 150).await;
    let tasks = runner(&ecs).look(&ids).await.unwrap();
    assert_eq!(ecs.calls()["DescribeTasks"], 2);
    assert_eq!(tasks.iter().map(|task| task.id.clone()).collect::<Vec<_>>(), ids);
    for (number, task) in tasks.iter().enumerate() {
        assert_eq!(task.state, TaskState::Running);
        assert_eq!(task.bot, Some(launch(number).bot));
    }
    assert!(runner(&ecs).look(&[]).await.unwrap().is_empty());
    assert_eq!(ecs.calls()["DescribeTasks"], 2);
}

#[tokio::test]
async fn a_writer_that_is_no_task_is_unknown_and_does_not_hide_the_others() {
    let ecs = start(endless());
    let task = launch_all(&ecs, 1).await.remove(0);
    let foreign = ["exec", "", "arn:aws:states:us-east-1:123456789012:execution:sync:7d2b", "ż"];
    let ids: Vec<String> =
        foreign.iter().copied().chain([task.as_str()]).map(str::to_owned).collect();
    let states: BTreeMap<String, TaskState> =
        runner(&ecs).look(&ids).await.unwrap().into_iter().map(|one| (one.id, one.state)).collect();
    assert_eq!(states.len(), ids.len());
    assert_eq!(states[&task], TaskState::Running);
    assert!(foreign.iter().all(|id| states[*id] == TaskState::Vanished), "{states:?}");
    assert_eq!(ecs.calls()["DescribeTasks"], 1);
}

#[tokio::test]
async fn a_fresh_runner_finds_every_task_of_its_migration_running_or_stopped() {
    // Bots with an even number are done at once, the others never.
    let ecs = start(Program::future(|input| async move {
        let even = input.environment["VECFERRY_TOKEN"]
            .trim_end_matches("-1")
            .ends_with(['0', '2', '4', '6', '8']);
        if even { 0 } else { std::future::pending().await }
    }));
    let ids = launch_all(&ecs, 230).await;
    let mut other = launch(1000);
    other.migration = "019ab-78".into();
    other.token = "other".into();
    runner(&ecs).launch(&other).await.unwrap();
    until(&ecs, |tasks| tasks.iter().filter(|task| task.is_stopped()).count() >= 115).await;

    let listed = runner(&ecs).list(MIGRATION).await.unwrap();
    let found: BTreeSet<_> = listed.iter().map(|task| task.id.clone()).collect();
    assert_eq!(found, ids.into_iter().collect());
    assert_eq!(listed.len(), 230);
    let stopped = listed.iter().filter(|task| matches!(task.state, TaskState::Stopped(_)));
    assert_eq!(stopped.count(), 115);
    assert!(listed.iter().all(|task| task.token.is_some() && task.bot.is_some()));
    // 115 of each: two pages of each.
    assert_eq!(ecs.calls()["ListTasks"], 4);
}

#[tokio::test]
async fn reads_are_tried_again_when_they_are_throttled() {
    let mut options = EcsOptions::new(endless());
    options.faults = Faults { seed: 3, throttled_reads: 0.3, ..Faults::default() };
    let ecs = Ecs::start(options).unwrap();
    let ids = launch_all(&ecs, 3).await;
    for _ in 0..5 {
        assert_eq!(runner(&ecs).look(&ids).await.unwrap().len(), 3);
    }
    assert!(ecs.calls()["DescribeTasks"] > 5);
}

#[tokio::test]
async fn a_look_that_fails_is_an_error_and_no_lost_task() {
    let ecs = start(endless());
    let ids = launch_all(&ecs, 1).await;
    ecs.set_cluster_active(false);
    let error = runner(&ecs).look(&ids).await.unwrap_err();
    assert_eq!(error.class(), Class::Operator);
    assert!(error.to_string().starts_with("ECS: cannot look at"), "{error}");
    ecs.set_cluster_active(true);
    ecs.set_faults(Faults { throttled_reads: 1.0, ..Faults::default() });
    assert_eq!(runner(&ecs).look(&ids).await.unwrap_err().class(), Class::Transient);
}
