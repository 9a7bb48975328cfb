//! Launches: what workers are given, that one token is one task, and how refusals are told.

use std::path::Path;
use std::sync::{Arc, Mutex};

use aws_sdk_ecs::types::TaskField;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vecferry_aws::{EcsSettings, EcsTasks};
use vecferry_core::bot::BotKey;
use vecferry_core::reembed::task::{LaunchFailure, StopCause, TaskRunner};
use vecferry_testkit::ecs::{Bucket, Definition, Ecs, EcsOptions, Fault, Faults, Program};

use super::{
    account, account_of, done, endless, launch, look, runner, settings, shell, start, stop_of,
    until_all_stopped,
};

/// A worker that writes what it was given into files of `$OUT`.
const WRITER: &str = r#"
    n=0
    for argument in "$@"; do n=$((n + 1)); printf '%s' "$argument" > "$OUT/$n"; done
    printf '%s' "$#" > "$OUT/count"
    printf '%s' "$EVENT" > "$OUT/event"
    printf '%s' "$VECFERRY_TOKEN $VECFERRY_MIGRATION $VECFERRY_POLICY $BEDROCK_REGION $AWS_EXECUTION_ENV" > "$OUT/more"
    exit 7
"#;

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[tokio::test]
async fn workers_of_every_generation_are_told_the_bot_whatever_its_owner_is_called() {
    for owner in ["user", "Zoë \"the\" \\ 日本語 😀 'one'", "$(exit 1) `x`\nline"] {
        let folder = tempfile::tempdir().unwrap();
        let mut options = EcsOptions::new(shell(WRITER));
        options.environment.push(("OUT".into(), folder.path().display().to_string()));
        let ecs = Ecs::start(options).unwrap();
        let runner = runner(&ecs);
        let mut launch = launch(1);
        launch.bot.owner = owner.into();
        let id = runner.launch(&launch).await.unwrap();
        until_all_stopped(&ecs).await;

        // Up to v1.2.4: `python3 -u embedding/main.py KEYS`.
        let read = |name| read(folder.path(), name);
        assert_eq!(
            (read("count").as_str(), read("1").as_str(), read("2").as_str()),
            ("3", "-u", "embedding/main.py"),
            "{}",
            ecs.output(&id).unwrap()
        );
        // From v1.2.5 on: the same keys as EVENT.
        assert_eq!(read("3"), read("event"));
        let keys: serde_json::Value = serde_json::from_str(&read("event")).unwrap();
        let sort = format!("{owner}#BOT#{}", launch.bot.id);
        assert_eq!(keys, serde_json::json!({ "PK": { "S": owner }, "SK": { "S": sort } }));
        assert_eq!(read("more"), "019ab-77-1-1 019ab-77 fail us-east-1 AWS_ECS_FARGATE");

        let task = look(&runner, &id).await;
        assert_eq!((&task.bot, &task.token), (&Some(launch.bot), &Some(launch.token)));
        let stop = stop_of(task);
        assert_eq!((stop.cause, stop.exit_code), (StopCause::Exited, Some(7)));
    }
}

/// `GET` over a connection of its own; the body.
async fn get(url: &str) -> serde_json::Value {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn a_worker_learns_the_task_id_that_the_launch_gave() {
    let seen = Arc::new(Mutex::new(None));
    let write = Arc::clone(&seen);
    let ecs = start(Program::future(move |input| {
        let write = Arc::clone(&write);
        async move {
            let url = format!("{}/task", input.environment["ECS_CONTAINER_METADATA_URI_V4"]);
            *write.lock().unwrap() = Some(get(&url).await);
            0
        }
    }));
    let id = runner(&ecs).launch(&launch(1)).await.unwrap();
    until_all_stopped(&ecs).await;
    let metadata = seen.lock().unwrap().take().unwrap();
    assert_eq!(metadata["TaskARN"].as_str().unwrap().rsplit('/').next(), Some(id.as_str()));
}

#[tokio::test]
async fn a_launch_whose_answer_was_lost_is_the_same_task_when_asked_for_again() {
    let ecs = start(endless());
    let runner = runner(&ecs);
    ecs.next([Fault::Unanswered, Fault::Unanswered]);
    for _ in 0..2 {
        let lost = runner.launch(&launch(1)).await.unwrap_err();
        assert!(matches!(lost, LaunchFailure::Unclear(_)), "{lost:?}");
    }
    let id = runner.launch(&launch(1)).await.unwrap();
    assert_eq!(runner.launch(&launch(1)).await.unwrap(), id);
    assert_eq!(ecs.tasks().len(), 1);
    // Ours to say when to try again: the SDK tried each once.
    assert_eq!(ecs.calls()["RunTask"], 4);
}

#[tokio::test]
async fn a_launch_asked_for_again_with_other_settings_is_still_the_same_task() {
    let ecs = start(endless());
    let id = runner(&ecs).launch(&launch(1)).await.unwrap();
    let mut other = settings();
    other.subnets = vec!["subnet-0c".into()];
    let other = EcsTasks::new(&account(&ecs), other);
    assert_eq!(other.launch(&launch(1)).await.unwrap(), id);
    assert_eq!(ecs.tasks().len(), 1);
}

#[tokio::test]
async fn a_request_that_never_arrived_starts_nothing() {
    let ecs = start(endless());
    let runner = runner(&ecs);
    ecs.next([Fault::Unheard, Fault::ServerError]);
    for _ in 0..2 {
        let lost = runner.launch(&launch(1)).await.unwrap_err();
        assert!(matches!(lost, LaunchFailure::Unclear(_)), "{lost:?}");
    }
    assert!(ecs.tasks().is_empty());
    assert!(runner.launch(&launch(1)).await.is_ok());
}

#[tokio::test]
async fn every_refusal_says_how_to_go_on() {
    let ecs = start(done());
    let runner = runner(&ecs);
    let refuse = |code: &str, message: &str| Fault::Refuse(code.into(), message.into());
    let ec2 = "Error retrieving security group information for [sg-1]: Request limit exceeded.";
    let kinds = [
        (Fault::Throttle, "Throttled"),
        (refuse("InvalidParameterException", ec2), "Throttled"),
        (Fault::Failure("RESOURCE:ENI".into()), "NoCapacity"),
        (Fault::Failure("AGENT".into()), "NoCapacity"),
        (Fault::capacity(), "NoCapacity"),
        (Fault::vcpu_limit(), "NoCapacity"),
        (Fault::ServerError, "Unclear"),
        (Fault::Failure("INACTIVE".into()), "Refused"),
        (refuse("AccessDeniedException", "not authorized to perform: ecs:RunTask"), "Refused"),
    ];
    for (fault, expected) in kinds {
        ecs.next([fault.clone()]);
        let failure = runner.launch(&launch(1)).await.unwrap_err();
        let told = format!("{failure:?}");
        assert!(told.starts_with(&format!("{expected}(")), "{fault:?}: {told}");
    }
    assert!(ecs.tasks().is_empty());
}

#[tokio::test]
async fn settings_that_name_nothing_are_refused_for_every_bot() {
    let ecs = start(done());
    let mut inactive = Definition::bedrock_chat("embedding", 2);
    inactive.active = false;
    ecs.register(inactive);
    let right = settings;
    let wrong = [
        EcsSettings { cluster: "other".into(), ..right() },
        EcsSettings { task_definition: "embedding:9".into(), ..right() },
        EcsSettings { task_definition: "embedding:2".into(), ..right() },
        EcsSettings { container: "worker".into(), ..right() },
        EcsSettings { subnets: Vec::new(), ..right() },
    ];
    for settings in wrong {
        let runner = EcsTasks::new(&account(&ecs), settings.clone());
        let failure = runner.launch(&launch(1)).await.unwrap_err();
        assert!(matches!(failure, LaunchFailure::Refused(_)), "{settings:?}: {failure:?}");
    }
}

#[tokio::test]
async fn a_bot_whose_keys_are_too_long_is_rejected_alone() {
    let ecs = start(done());
    let runner = runner(&ecs);
    let mut long = launch(1);
    long.bot = BotKey { owner: "x".repeat(2048), id: "b".into() };
    let failure = runner.launch(&long).await.unwrap_err();
    assert!(matches!(failure, LaunchFailure::Rejected(_)), "{failure:?}");
    let mut spaced = launch(1);
    spaced.token = "with space".into();
    let failure = runner.launch(&spaced).await.unwrap_err();
    assert!(matches!(failure, LaunchFailure::Rejected(_)), "{failure:?}");
    assert!(runner.launch(&launch(2)).await.is_ok());
}

#[tokio::test]
async fn without_credentials_nothing_is_sent_and_nothing_is_unclear() {
    let ecs = start(done());
    let runner = EcsTasks::new(&account_of(&ecs, None), settings());
    let failure = runner.launch(&launch(1)).await.unwrap_err();
    assert!(matches!(failure, LaunchFailure::Refused(_)), "{failure:?}");
    assert!(ecs.calls().is_empty());
}

#[tokio::test]
async fn a_bucket_that_is_empty_throttles() {
    let calls = Some(Bucket { burst: 2.0, rate: 0.0 });
    let mut options = EcsOptions::new(done());
    options.faults = Faults { calls, ..Faults::default() };
    let ecs = Ecs::start(options).unwrap();
    let runner = runner(&ecs);
    for number in 0..2 {
        assert!(runner.launch(&launch(number)).await.is_ok());
    }
    let failure = runner.launch(&launch(2)).await.unwrap_err();
    assert!(matches!(failure, LaunchFailure::Throttled(_)), "{failure:?}");
}

#[tokio::test]
async fn tags_are_asked_for_only_where_they_are_allowed() {
    let ecs = start(endless());
    let mut tagged = settings();
    tagged.tags = true;
    let account = account(&ecs);
    let client = aws_sdk_ecs::Client::new(account.config());
    for (settings, expected) in [(settings(), 0), (tagged, 3)] {
        let number = expected;
        let id = EcsTasks::new(&account, settings).launch(&launch(number)).await.unwrap();
        let request = client.describe_tasks().cluster("chat").tasks(id).include(TaskField::Tags);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.tasks()[0].tags().len(), expected);
    }
}
