//! The wire: AWS JSON 1.1 for the two services, and the task metadata endpoint that containers ask.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, State as Extract};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::connection::{Cut, CuttableListener};
use super::life::Cause;
use super::state::{Shared, State};
use super::task::{Status, Task};
use super::{launch, quotas};

/// Tasks a page of `ListTasks` and a `DescribeTasks` may have.
const PAGE: usize = 100;

/// An error of the service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    status: u16,
    body: Value,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: &str) -> Refusal {
        Refusal { status, body: json!({ "__type": code, "message": message }) }
    }

    pub(super) fn parameter(message: &str) -> Refusal {
        Refusal::new(400, "InvalidParameterException", message)
    }

    pub(super) fn client(message: &str) -> Refusal {
        Refusal::new(400, "ClientException", message)
    }

    pub(super) fn throttled() -> Refusal {
        Refusal::new(400, "ThrottlingException", "Rate exceeded")
    }

    pub(super) fn with(mut self, name: &str, value: Value) -> Refusal {
        self.body[name] = value;
        self
    }
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let routes = Router::new()
        .route("/", post(answer))
        .route("/v4/{id}", get(container_metadata))
        .route("/v4/{id}/task", get(task_metadata))
        .with_state(shared);
    let service = routes.into_make_service_with_connect_info::<Cut>();
    // It ends with an error only when the listener does, and that lives as long as this.
    let _ = axum::serve(CuttableListener(listener), service).await;
}

async fn answer(
    Extract(shared): Extract<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let (service, operation) = target.and_then(|name| name.split_once('.')).unwrap_or_default();
    let outcome = match serde_json::from_slice(&body) {
        Ok(body) => perform(&shared, &cut, (service, operation), &body),
        Err(error) => Err(Refusal::new(400, "SerializationException", &error.to_string())),
    };
    let (status, body) = match outcome {
        Ok(body) => (200, body),
        Err(refusal) => (refusal.status, refusal.body),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = [(header::CONTENT_TYPE, "application/x-amz-json-1.1")];
    (status, kind, Body::from(body.to_string())).into_response()
}

fn perform(
    shared: &Arc<Shared>,
    cut: &Cut,
    (service, operation): (&str, &str),
    body: &Value,
) -> Result<Value, Refusal> {
    let number = shared.state().count(operation);
    if operation != "RunTask" && shared.state().faults.throttles_read(operation, number) {
        return Err(Refusal::throttled());
    }
    match (service, operation) {
        ("AmazonEC2ContainerServiceV20141113", "RunTask") => launch::run_task(shared, body, cut),
        ("AmazonEC2ContainerServiceV20141113", "DescribeTasks") => describe_tasks(shared, body),
        ("AmazonEC2ContainerServiceV20141113", "ListTasks") => list_tasks(shared, body),
        ("AmazonEC2ContainerServiceV20141113", "StopTask") => stop_task(shared, body),
        ("AmazonEC2ContainerServiceV20141113", "DescribeTaskDefinition") => {
            describe_definition(shared, body)
        }
        ("AmazonEC2ContainerServiceV20141113", "DescribeClusters") => {
            Ok(describe_clusters(shared, body))
        }
        ("ServiceQuotasV20190624", "GetServiceQuota") => quotas::get(&shared.state(), body),
        ("ServiceQuotasV20190624", "ListServiceQuotas") => quotas::list(&shared.state(), body),
        _ => Err(Refusal::new(400, "UnknownOperationException", operation)),
    }
}

impl Shared {
    /// Whether the request is about the cluster that there is.
    pub(super) fn check_cluster(&self, state: &State, body: &Value) -> Result<(), Refusal> {
        let name = body["cluster"].as_str().unwrap_or("default");
        match state.cluster_active && short(name) == self.cluster {
            true => Ok(()),
            false => Err(Refusal::new(400, "ClusterNotFoundException", "Cluster not found.")),
        }
    }
}

/// The last part of an ARN, or the whole name.
fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn describe_tasks(shared: &Shared, body: &Value) -> Result<Value, Refusal> {
    let mut state = shared.state();
    shared.check_cluster(&state, body)?;
    let ids: Vec<&str> =
        body["tasks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if ids.is_empty() {
        return Err(Refusal::parameter("Tasks cannot be empty."));
    }
    if ids.len() > PAGE {
        return Err(Refusal::parameter("Tasks may have at most 100 items."));
    }
    let with_tags =
        body["include"].as_array().is_some_and(|include| include.contains(&json!("TAGS")));
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for id in ids.into_iter().map(short) {
        if !matches!(id.len(), 32 | 36) {
            return Err(Refusal::parameter("taskId length should be one of [32,36]"));
        }
        match state.look(id) {
            Some(task) => tasks.push(task.to_json(shared.place, &shared.cluster, with_tags)),
            None => {
                let arn = format!("arn:aws:ecs:{}:task/{}/{id}", shared.place, shared.cluster);
                failures.push(json!({ "arn": arn, "reason": "MISSING" }));
            }
        }
    }
    Ok(json!({ "tasks": tasks, "failures": failures }))
}

fn list_tasks(shared: &Shared, body: &Value) -> Result<Value, Refusal> {
    let state = shared.state();
    shared.check_cluster(&state, body)?;
    let started_by = body["startedBy"].as_str();
    let family = body["family"].as_str();
    if started_by.is_some() && family.is_some() {
        return Err(Refusal::parameter("Only one of family and startedBy can be specified."));
    }
    let stopped = match body["desiredStatus"].as_str() {
        None | Some("RUNNING") => false,
        Some("STOPPED") => true,
        Some(other) => return Err(Refusal::parameter(&format!("{other} is not a status."))),
    };
    let size = match body["maxResults"].as_u64() {
        None => PAGE,
        Some(size) if (1..=100).contains(&size) => size as usize,
        Some(_) => return Err(Refusal::parameter("maxResults must be between 1 and 100.")),
    };
    let asked = |task: &&Task| {
        !task.vanished
            && task.hidden_looks == 0
            && task.stop_wanted == stopped
            && started_by.is_none_or(|name| task.request.started_by.as_deref() == Some(name))
            && family.is_none_or(|family| task.request.definition.family == family)
    };
    // The token is the last id of the page before: a task that ends in between moves no other.
    let after = body["nextToken"].as_str().unwrap_or_default();
    let mut found = state.tasks.values().filter(asked).filter(|task| task.id.as_str() > after);
    let page: Vec<&Task> = found.by_ref().take(size).collect();
    let next = found.next().and(page.last()).map(|last| last.id.clone());
    let arns: Vec<String> =
        page.iter().map(|task| task.arn(shared.place, &shared.cluster)).collect();
    Ok(json!({ "taskArns": arns, "nextToken": next }))
}

fn stop_task(shared: &Shared, body: &Value) -> Result<Value, Refusal> {
    shared.check_cluster(&shared.state(), body)?;
    let id = short(body["task"].as_str().unwrap_or_default());
    let missing = || Refusal::parameter("The referenced task was not found.");
    if shared.state().look(id).is_none() {
        return Err(missing());
    }
    let reason = body["reason"].as_str().unwrap_or("Task stopped by user").to_owned();
    // A task that has ended, or was told to before, stays as it is: that is no error.
    shared.order_stop(id, Cause::User(reason));
    shared.change(id, |task| task.stop_wanted = true);
    let state = shared.state();
    let task = state.tasks.get(id).ok_or_else(missing)?;
    Ok(json!({ "task": task.to_json(shared.place, &shared.cluster, false) }))
}

fn describe_definition(shared: &Shared, body: &Value) -> Result<Value, Refusal> {
    let state = shared.state();
    match state.definition(body["taskDefinition"].as_str().unwrap_or_default()) {
        Some(known) => Ok(json!({ "taskDefinition": known.to_json(shared.place), "tags": [] })),
        None => Err(Refusal::client("Unable to describe task definition.")),
    }
}

fn describe_clusters(shared: &Shared, body: &Value) -> Value {
    let state = shared.state();
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    let count = |asked: Status| {
        let tasks = state.tasks.values().filter(|task| !task.vanished && task.status == asked);
        tasks.count()
    };
    for name in body["clusters"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let arn = format!("arn:aws:ecs:{}:cluster/{}", shared.place, short(name));
        if short(name) != shared.cluster {
            failures.push(json!({ "arn": arn, "reason": "MISSING" }));
            continue;
        }
        clusters.push(json!({
            "clusterArn": arn,
            "clusterName": shared.cluster,
            "status": if state.cluster_active { "ACTIVE" } else { "INACTIVE" },
            "runningTasksCount": count(Status::Running),
            "pendingTasksCount": count(Status::Provisioning) + count(Status::Pending),
            "activeServicesCount": 0,
            "registeredContainerInstancesCount": 0,
            "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
            "defaultCapacityProviderStrategy": [],
        }));
    }
    json!({ "clusters": clusters, "failures": failures })
}

/// The task as its containers see it
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html>).
async fn task_metadata(
    Extract(shared): Extract<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, StatusCode> {
    let state = shared.state();
    let task = state.tasks.get(&id).ok_or(StatusCode::NOT_FOUND)?;
    let definition = &task.request.definition;
    Ok(axum::Json(json!({
        "Cluster": format!("arn:aws:ecs:{}:cluster/{}", shared.place, shared.cluster),
        "TaskARN": task.arn(shared.place, &shared.cluster),
        "Family": definition.family,
        "Revision": definition.revision.to_string(),
        "DesiredStatus": if task.stop_wanted { "STOPPED" } else { "RUNNING" },
        "KnownStatus": task.status.word(),
        "Limits": { "CPU": definition.vcpus(), "Memory": definition.memory },
        "LaunchType": "FARGATE",
        "Containers": [{ "Name": definition.container, "KnownStatus": task.status.word() }],
    })))
}

/// The container as it sees itself.
async fn container_metadata(
    Extract(shared): Extract<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, StatusCode> {
    let state = shared.state();
    let task = state.tasks.get(&id).ok_or(StatusCode::NOT_FOUND)?;
    Ok(axum::Json(json!({
        "DockerId": format!("{id}-0"),
        "Name": task.request.definition.container,
        "KnownStatus": task.status.word(),
        "Labels": { "com.amazonaws.ecs.task-arn": task.arn(shared.place, &shared.cluster) },
    })))
}
