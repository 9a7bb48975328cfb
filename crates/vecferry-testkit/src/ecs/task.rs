//! A task: what was asked for, where it is, how it ended; and how the service shows it.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::request::Request;

/// States of a task, in the service's words
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Provisioning,
    Pending,
    Running,
    Stopping,
    Deprovisioning,
    Stopped,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Status::Provisioning => "PROVISIONING",
            Status::Pending => "PENDING",
            Status::Running => "RUNNING",
            Status::Stopping => "STOPPING",
            Status::Deprovisioning => "DEPROVISIONING",
            Status::Stopped => "STOPPED",
        }
    }
}

/// How a task ended, in the service's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) code: &'static str,
    pub(super) reason: String,
    pub(super) exit_code: Option<i32>,
    /// What the container's runtime adds.
    pub(super) container_reason: Option<String>,
}

/// A task.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) request: Request,
    pub(super) status: Status,
    pub(super) stop_wanted: bool,
    pub(super) ending: Option<Ending>,
    /// When it came to a state, in seconds since the epoch.
    pub(super) times: BTreeMap<&'static str, f64>,
    /// Looks that still do not find it.
    pub(super) hidden_looks: u32,
    /// Accepted, but lost: nobody finds it.
    pub(super) vanished: bool,
}

impl Task {
    pub(super) fn new(id: String, request: Request) -> Task {
        let times = BTreeMap::from([("createdAt", now())]);
        Task {
            id,
            request,
            status: Status::Provisioning,
            stop_wanted: false,
            ending: None,
            times,
            hidden_looks: 0,
            vanished: false,
        }
    }

    /// Moves it on; times are what the service records with a state.
    pub(super) fn enter(&mut self, status: Status) {
        self.status = status;
        let names: &[&'static str] = match status {
            Status::Provisioning => &[],
            Status::Pending => &["connectivityAt", "pullStartedAt"],
            Status::Running => &["pullStoppedAt", "startedAt"],
            Status::Stopping => &["stoppingAt"],
            Status::Deprovisioning => &["stoppingAt", "executionStoppedAt"],
            Status::Stopped => &["stoppedAt"],
        };
        for name in names {
            self.times.entry(name).or_insert_with(now);
        }
    }

    pub(super) fn arn(&self, place: &str, cluster: &str) -> String {
        format!("arn:aws:ecs:{place}:task/{cluster}/{}", self.id)
    }

    /// As `RunTask`, `DescribeTasks` and `StopTask` show it.
    pub(super) fn to_json(&self, place: &str, cluster: &str, with_tags: bool) -> Value {
        let arn = self.arn(place, cluster);
        let ending = self.ending.as_ref();
        let container = without_nulls(json!({
            "containerArn": format!("arn:aws:ecs:{place}:container/{cluster}/{}/0", self.id),
            "taskArn": arn,
            "name": self.request.definition.container,
            "lastStatus": match self.status {
                Status::Provisioning | Status::Pending => "PENDING",
                Status::Running | Status::Stopping => "RUNNING",
                Status::Deprovisioning | Status::Stopped => "STOPPED",
            },
            "exitCode": ending.and_then(|ending| ending.exit_code),
            "reason": ending.and_then(|ending| ending.container_reason.as_deref()),
            "networkInterfaces": [],
            "healthStatus": "UNKNOWN",
        }));
        let mut task = json!({
            "taskArn": arn,
            "clusterArn": format!("arn:aws:ecs:{place}:cluster/{cluster}"),
            "taskDefinitionArn": self.request.definition.arn(place),
            "group": format!("family:{}", self.request.definition.family),
            "lastStatus": self.status.word(),
            "desiredStatus": if self.stop_wanted { "STOPPED" } else { "RUNNING" },
            "launchType": self.request.launch_type,
            "capacityProviderName": self.request.capacity_provider,
            "startedBy": self.request.started_by,
            "cpu": self.request.definition.cpu.to_string(),
            "memory": self.request.definition.memory.to_string(),
            "overrides": self.request.overrides,
            "containers": [container],
            "attachments": [],
            "version": 1,
            "stopCode": ending.map(|ending| ending.code),
            "stoppedReason": ending.map(|ending| ending.reason.as_str()),
            "tags": with_tags.then_some(&self.request.tags),
        });
        for (name, time) in &self.times {
            task[*name] = json!(time);
        }
        without_nulls(task)
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs_f64()).unwrap_or(0.0)
}

/// The service leaves out what there is nothing to say about.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
    }
    value
}

/// A task, for assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    /// Task id.
    pub id: String,
    /// `startedBy`.
    pub started_by: Option<String>,
    /// `clientToken` it was launched with.
    pub token: Option<String>,
    /// `lastStatus`.
    pub status: &'static str,
    /// `stopCode`.
    pub stop_code: Option<&'static str>,
    /// `stoppedReason`.
    pub reason: Option<String>,
    /// The container's exit code.
    pub exit_code: Option<i32>,
}

impl TaskView {
    pub(super) fn of(task: &Task) -> TaskView {
        let ending = task.ending.as_ref();
        TaskView {
            id: task.id.clone(),
            started_by: task.request.started_by.clone(),
            token: task.request.token.clone(),
            status: task.status.word(),
            stop_code: ending.map(|ending| ending.code),
            reason: ending.map(|ending| ending.reason.clone()),
            exit_code: ending.and_then(|ending| ending.exit_code),
        }
    }

    /// Whether it has ended.
    pub fn is_stopped(&self) -> bool {
        self.status == Status::Stopped.word()
    }
}

/// A program that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// Task id.
    pub id: String,
    /// The bot's sort key, as the `EVENT` environment tells it.
    pub bot: Option<String>,
    /// `clientToken` of the request.
    pub token: Option<String>,
    /// When it was started.
    pub at: SystemTime,
}
