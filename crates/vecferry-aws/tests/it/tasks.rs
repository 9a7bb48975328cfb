//! Tasks on ECS through the real SDK, against the testkit's double, which really runs them.

mod ends;
mod launches;
mod limits;
mod views;

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ecs::config::{Credentials, SharedCredentialsProvider};
use vecferry_aws::{Account, EcsSettings, EcsTasks};
use vecferry_core::bot::BotKey;
use vecferry_core::reembed::task::{Launch, Stop, Task, TaskRunner, TaskState};
use vecferry_testkit::ecs::{Ecs, EcsOptions, Program, TaskView};

/// The migration that launches here belong to.
const MIGRATION: &str = "019ab-77";

/// An account whose only endpoint is the double: nothing here can reach Amazon.
fn account(ecs: &Ecs) -> Account {
    account_of(ecs, Some(Credentials::new("test", "test", None, None, "tests")))
}

fn account_of(ecs: &Ecs, credentials: Option<Credentials>) -> Account {
    // The SDK waits about a second before it tries again; here nobody is spared by that.
    let retries = RetryConfig::standard().with_initial_backoff(Duration::from_millis(1));
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(ecs.url())
        .retry_config(retries);
    config.set_credentials_provider(credentials.map(SharedCredentialsProvider::new));
    Account::with(config.build())
}

fn settings() -> EcsSettings {
    EcsSettings::new("chat", "embedding:1", vec!["subnet-0a".into(), "subnet-0b".into()])
}

fn runner(ecs: &Ecs) -> EcsTasks {
    EcsTasks::new(&account(ecs), settings())
}

fn start(program: Program) -> Ecs {
    Ecs::start(EcsOptions::new(program)).unwrap()
}

/// A worker that ends well at once.
fn done() -> Program {
    Program::future(|_| async { 0 })
}

/// A worker that works until it is ended.
fn endless() -> Program {
    Program::future(|_| std::future::pending())
}

/// A worker that runs this shell script; what ECS appends are its arguments.
fn shell(script: &str) -> Program {
    Program::process(["/bin/sh", "-c", script, "python3"])
}

fn launch(number: usize) -> Launch {
    Launch {
        bot: BotKey { owner: "user".into(), id: format!("{number:026}") },
        migration: MIGRATION.into(),
        attempt: 1,
        token: format!("{MIGRATION}-{number}-1"),
        environment: vec![("VECFERRY_POLICY".into(), "fail".into())],
    }
}

/// Waits for something about the tasks; the deadline only ends a test that has failed.
async fn until(ecs: &Ecs, condition: impl Fn(&[TaskView]) -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), ecs.until(condition)).await;
    assert!(waited.is_ok(), "still {:?}", ecs.tasks());
}

async fn until_all_stopped(ecs: &Ecs) {
    until(ecs, |tasks| tasks.iter().all(TaskView::is_stopped)).await;
}

async fn look(runner: &EcsTasks, id: &str) -> Task {
    let tasks = runner.look(&[id.to_owned()]).await.unwrap();
    let [task] = <[Task; 1]>::try_from(tasks).unwrap();
    task
}

fn stop_of(task: Task) -> Stop {
    match task.state {
        TaskState::Stopped(stop) => stop,
        other => panic!("{other:?}"),
    }
}
