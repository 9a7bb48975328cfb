//! The task service over the wire: raw HTTP, so that nothing but the service is tried. What the SDK makes of it is
//! tested where it is used.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use vecferry_testkit::ecs::{Ecs, EcsOptions, Fault, Program, TaskView};

/// Sends a request; the whole answer, empty when the connection ended without one.
fn exchange(ecs: &Ecs, head: &str, body: &str) -> String {
    let host = ecs.url();
    let mut stream = TcpStream::connect(host.strip_prefix("http://").unwrap()).unwrap();
    let length = body.len();
    let request = format!(
        "{head}\r\nhost: here\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset is how a lost answer ends.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn call(ecs: &Ecs, target: &str, body: &Value) -> Option<(u16, Value)> {
    let head = format!("POST / HTTP/1.1\r\nx-amz-target: {target}");
    let answer = exchange(ecs, &head, &body.to_string());
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some((status, serde_json::from_str(body).unwrap()))
}

fn ecs_call(ecs: &Ecs, operation: &str, body: &Value) -> (u16, Value) {
    call(ecs, &format!("AmazonEC2ContainerServiceV20141113.{operation}"), body).unwrap()
}

fn run_task(token: &str) -> Value {
    json!({
        "cluster": "chat",
        "taskDefinition": "embedding",
        "clientToken": token,
        "startedBy": "test/1",
        "launchType": "FARGATE",
        "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-1"] } },
        "overrides": { "containerOverrides": [{
            "name": "Container",
            "command": ["one", "two words"],
            "environment": [{ "name": "EVENT", "value": r#"{"PK":{"S":"u"},"SK":{"S":"u#BOT#b"}}"# }],
        }] },
    })
}

async fn until_stopped(ecs: &Ecs) {
    let stopped = ecs.until(|tasks| tasks.iter().all(TaskView::is_stopped));
    assert!(tokio::time::timeout(Duration::from_secs(60), stopped).await.is_ok());
}

fn printer() -> Program {
    Program::process([
        "/bin/sh",
        "-c",
        r#"printf '%s|' "$0" "$@" "$EVENT" "$AWS_EXECUTION_ENV"; exit 4"#,
        "entry",
    ])
}

#[tokio::test]
async fn a_task_runs_its_program_with_the_overrides_and_keeps_how_it_ended() {
    let ecs = Ecs::start(EcsOptions::new(printer())).unwrap();
    let (status, answer) = ecs_call(&ecs, "RunTask", &run_task("t"));
    assert_eq!((status, &answer["failures"]), (200, &json!([])));
    let arn = answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    assert_eq!(answer["tasks"][0]["lastStatus"], "PROVISIONING");
    until_stopped(&ecs).await;
    let id = arn.rsplit('/').next().unwrap();
    let printed = r#"entry|one|two words|{"PK":{"S":"u"},"SK":{"S":"u#BOT#b"}}|AWS_ECS_FARGATE|"#;
    assert_eq!(ecs.output(id).unwrap(), printed);
    assert_eq!(ecs.launches_by_bot()["u#BOT#b"], 1);

    let (_, answer) =
        ecs_call(&ecs, "DescribeTasks", &json!({ "cluster": "chat", "tasks": [arn] }));
    let task = &answer["tasks"][0];
    let seen = (&task["lastStatus"], &task["desiredStatus"], &task["stopCode"]);
    let expected = (&json!("STOPPED"), &json!("STOPPED"), &json!("EssentialContainerExited"));
    assert_eq!(seen, expected);
    assert_eq!(task["containers"][0]["exitCode"], 4);
    let time = |name: &str| task[name].as_f64().unwrap();
    let order = ["createdAt", "pullStartedAt", "startedAt", "executionStoppedAt", "stoppedAt"];
    assert!(order.map(time).is_sorted(), "{task}");
}

#[tokio::test]
async fn a_lost_answer_leaves_a_task_that_its_token_finds() {
    let ecs = Ecs::start(EcsOptions::new(printer())).unwrap();
    ecs.next([Fault::Unanswered]);
    let target = "AmazonEC2ContainerServiceV20141113.RunTask";
    assert_eq!(call(&ecs, target, &run_task("t")), None);
    let (_, answer) = ecs_call(&ecs, "RunTask", &run_task("t"));
    assert!(answer["tasks"][0]["taskArn"].is_string());
    assert_eq!(ecs.tasks().len(), 1);
    let mut other = run_task("t");
    other["startedBy"] = json!("test/2");
    let (status, answer) = ecs_call(&ecs, "RunTask", &other);
    assert_eq!((status, &answer["__type"]), (400, &json!("ConflictException")));
    assert_eq!(answer["resourceIds"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_container_is_told_its_task_by_the_metadata_endpoint() {
    let script = r#"printf '%s' "$ECS_CONTAINER_METADATA_URI_V4""#;
    let ecs = Ecs::start(EcsOptions::new(Program::process(["/bin/sh", "-c", script]))).unwrap();
    let (_, answer) = ecs_call(&ecs, "RunTask", &run_task("t"));
    let arn = &answer["tasks"][0]["taskArn"];
    until_stopped(&ecs).await;
    let uri = ecs.output(arn.as_str().unwrap().rsplit('/').next().unwrap()).unwrap();
    let path = uri.strip_prefix(&ecs.url()).unwrap();
    let answer = exchange(&ecs, &format!("GET {path}/task HTTP/1.1"), "");
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&body["TaskARN"], &body["LaunchType"]), (arn, &json!("FARGATE")));
}

#[test]
fn requests_are_checked_as_the_service_checks_them() {
    let ecs = Ecs::start(EcsOptions::new(printer())).unwrap();
    let change = |name: &str, value: Value| {
        let mut body = run_task("t");
        body[name] = value;
        ecs_call(&ecs, "RunTask", &body)
    };
    let long =
        json!({ "containerOverrides": [{ "name": "Container", "command": ["x".repeat(8192)] }] });
    let refused = [
        (change("overrides", long), "InvalidParameterException", "at most 8192"),
        (change("startedBy", json!("a b")), "InvalidParameterException", "startedBy"),
        (change("startedBy", json!("a".repeat(129))), "InvalidParameterException", "startedBy"),
        (change("clientToken", json!("a b")), "InvalidParameterException", "clientToken"),
        (change("networkConfiguration", Value::Null), "InvalidParameterException", "Network"),
        (change("cluster", json!("x")), "ClusterNotFoundException", "Cluster not found."),
        (change("taskDefinition", json!("x:1")), "ClientException", "not found"),
    ];
    for ((status, answer), code, words) in refused {
        assert_eq!((status, &answer["__type"]), (400, &json!(code)), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{answer}");
    }
    let ids: Vec<String> = (0..101).map(|number| format!("{number:032}")).collect();
    let (status, _) = ecs_call(&ecs, "DescribeTasks", &json!({ "cluster": "chat", "tasks": ids }));
    assert_eq!(status, 400);
    let (_, answer) =
        ecs_call(&ecs, "DescribeTasks", &json!({ "cluster": "chat", "tasks": &ids[..2] }));
    assert_eq!(answer["failures"][1]["reason"], "MISSING");
    assert!(ecs.tasks().is_empty());
}

#[test]
fn quotas_are_told_to_whoever_may_ask() {
    let ecs = Ecs::start(EcsOptions::new(printer())).unwrap();
    let ask = |code: &str| {
        let body = json!({ "ServiceCode": "fargate", "QuotaCode": code });
        call(&ecs, "ServiceQuotasV20190624.GetServiceQuota", &body).unwrap()
    };
    assert_eq!(ask("L-3032A538").1["__type"], "AccessDeniedException");
    ecs.set_vcpus(Some(6.0));
    assert_eq!(ask("L-3032A538").1["Quota"]["Value"], 6.0);
    assert_eq!(ask("L-0").1["__type"], "NoSuchResourceException");
}
