//! Tasks on Amazon ECS: one `RunTask` per attempt, which the containers of every Bedrock Chat release from v0.4.7 to
//! v1.4 and vecferry's own image understand alike.
//!
//! A launch hands the bot's keys over twice: as the environment `EVENT` (workers from v1.2.5 on) and as the last
//! argument (workers before that). Releases v0.4.0 to v0.4.6 wanted the bot's whole record as the argument; they were
//! never deployed beside a v1 database, so nothing here speaks to them.
//!
//! Nothing is kept in this process. A token is a `clientToken`, so the service itself sees to it that a launch asked
//! for twice is one task; a migration's tasks are found again by `startedBy`; the bot and the token come back out of
//! the overrides that `DescribeTasks` shows. The service forgets a stopped task after about an hour, and its token with
//! it (at the latest after 24 hours), so the caller keeps what became of each attempt.

mod check;
mod limits;
mod order;
mod refusal;
mod state;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_ecs::config::http::HttpResponse;
use aws_sdk_ecs::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_ecs::operation::run_task::RunTaskError;
use aws_sdk_ecs::operation::run_task::builders::RunTaskFluentBuilder;
use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, ContainerOverride,
    DesiredStatus, KeyValuePair, LaunchType, NetworkConfiguration, Tag, TaskOverride,
};
use aws_sdk_ecs::{Client, config};
use futures_util::{StreamExt, TryStreamExt, stream};
use vecferry_core::error::on_one_line;
use vecferry_core::reembed::task::{
    Launch, LaunchFailure, RunnerLimits, Task, TaskRunner, TaskState,
};
use vecferry_core::{Class, Error, Result};

pub use check::EcsReady;
use refusal::Answer;

use crate::{Account, failure};

/// Ids that one `DescribeTasks` takes
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html>).
const DESCRIBED: usize = 100;

/// `DescribeTasks` calls at the same time: 400 tasks a round trip, far below the service's rate for reads.
const LOOKS: usize = 4;

/// How long one try of a call may take. The service answers in well under a second; beyond this it is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where tasks run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capacity {
    /// Fargate, on demand.
    Fargate,
    /// Fargate Spot: cheaper, and taken back with two minutes' notice.
    FargateSpot,
    /// The cluster's own instances.
    Ec2,
    /// A capacity provider of the cluster.
    Provider(String),
}

/// How tasks are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcsSettings {
    /// Short name or ARN of the cluster.
    pub cluster: String,
    /// `family:revision`, family (its newest active revision) or ARN.
    pub task_definition: String,
    /// Container that runs the worker; Bedrock Chat's is `Container`.
    pub container: String,
    /// Subnets; several zones give more room. Empty only where the network mode is not awsvpc.
    pub subnets: Vec<String>,
    /// Security groups; the VPC's default one when empty.
    pub security_groups: Vec<String>,
    /// Whether tasks get a public address, which they need in public subnets to reach anything.
    pub assign_public_ip: bool,
    /// Where they run.
    pub capacity: Capacity,
    /// What `startedBy` begins with, before the migration's id.
    pub started_by: String,
    /// Whether tasks are tagged with migration, token and bot; needs `ecs:TagResource`.
    pub tags: bool,
}

impl EcsSettings {
    /// On-demand Fargate in these subnets, without public addresses and tags, as Bedrock Chat runs its own tasks.
    pub fn new(
        cluster: impl Into<String>,
        task_definition: impl Into<String>,
        subnets: Vec<String>,
    ) -> EcsSettings {
        EcsSettings {
            cluster: cluster.into(),
            task_definition: task_definition.into(),
            container: "Container".into(),
            subnets,
            security_groups: Vec::new(),
            assign_public_ip: false,
            capacity: Capacity::Fargate,
            started_by: "vecferry/".into(),
            tags: false,
        }
    }
}

/// Starts and watches tasks on ECS.
#[derive(Debug, Clone)]
pub struct EcsTasks {
    /// Tries once: when to try again is the caller's to say, who paces all launches together.
    launching: Client,
    reading: Client,
    quotas: aws_sdk_servicequotas::Client,
    region: Option<String>,
    settings: EcsSettings,
}

impl EcsTasks {
    /// A runner in this account; nothing is asked of the service before the first call.
    pub fn new(account: &Account, settings: EcsSettings) -> EcsTasks {
        let patience = TimeoutConfig::builder().operation_attempt_timeout(PATIENCE).build();
        let common = config::Builder::from(account.config()).timeout_config(patience.clone());
        let once = common.clone().retry_config(RetryConfig::disabled());
        let quotas = aws_sdk_servicequotas::config::Builder::from(account.config())
            .timeout_config(patience)
            .build();
        EcsTasks {
            launching: Client::from_conf(once.build()),
            reading: Client::from_conf(common.build()),
            quotas: aws_sdk_servicequotas::Client::from_conf(quotas),
            region: account.region().map(str::to_owned),
            settings,
        }
    }

    /// The cluster in words.
    fn place(&self) -> String {
        let cluster = state::id(&self.settings.cluster);
        match &self.region {
            Some(region) => format!("ECS cluster {cluster} in {region}"),
            None => format!("ECS cluster {cluster}"),
        }
    }

    fn started_by(&self, migration: &str) -> String {
        order::started_by(&self.settings.started_by, migration)
    }

    /// The whole request.
    fn request(&self, launch: &Launch) -> std::result::Result<RunTaskFluentBuilder, BuildError> {
        let settings = &self.settings;
        let pair = |(name, value)| KeyValuePair::builder().name(name).value(value).build();
        let container = ContainerOverride::builder()
            .name(&settings.container)
            .set_command(Some(order::command(&launch.bot)))
            .set_environment(Some(order::environment(launch).into_iter().map(pair).collect()))
            .build();
        let mut request = self
            .launching
            .run_task()
            .cluster(&settings.cluster)
            .task_definition(&settings.task_definition)
            .count(1)
            .client_token(&launch.token)
            .started_by(self.started_by(&launch.migration))
            .overrides(TaskOverride::builder().container_overrides(container).build());
        if !settings.subnets.is_empty() {
            let public = match settings.assign_public_ip {
                true => AssignPublicIp::Enabled,
                false => AssignPublicIp::Disabled,
            };
            let network = AwsVpcConfiguration::builder()
                .set_subnets(Some(settings.subnets.clone()))
                .set_security_groups(Some(settings.security_groups.clone()))
                .assign_public_ip(public)
                .build()?;
            let network = NetworkConfiguration::builder().awsvpc_configuration(network).build();
            request = request.network_configuration(network);
        }
        let provider = |name: &str| {
            CapacityProviderStrategyItem::builder().capacity_provider(name).weight(1).build()
        };
        request = match &settings.capacity {
            Capacity::Fargate => request.launch_type(LaunchType::Fargate),
            Capacity::Ec2 => request.launch_type(LaunchType::Ec2),
            Capacity::FargateSpot => request.capacity_provider_strategy(provider("FARGATE_SPOT")?),
            Capacity::Provider(name) => request.capacity_provider_strategy(provider(name)?),
        };
        if settings.tags {
            for (name, value) in order::tags(launch) {
                request = request.tags(Tag::builder().key(name).value(value).build());
            }
        }
        Ok(request)
    }

    /// Up to [`DESCRIBED`] tasks.
    async fn describe_tasks(&self, ids: &[String]) -> Result<Vec<Task>> {
        let request = self.reading.describe_tasks().cluster(&self.settings.cluster);
        let answer = request.set_tasks(Some(ids.to_vec())).send().await.map_err(|error| {
            failure::failed("ECS", format!("look at {} tasks", ids.len()), &error)
        })?;
        let container = &self.settings.container;
        state::answers(ids, answer.tasks(), answer.failures(), container).map_err(|(id, said)| {
            Error::Service {
                service: "ECS",
                doing: format!("look at task {id}"),
                class: Class::Transient,
                source: said.into(),
                hint: None,
            }
        })
    }
}

#[async_trait]
impl TaskRunner for EcsTasks {
    fn describe(&self) -> String {
        self.place()
    }

    async fn limits(&self) -> Result<RunnerLimits> {
        self.find_limits().await
    }

    async fn launch(&self, launch: &Launch) -> std::result::Result<String, LaunchFailure> {
        if !order::is_token(&launch.token) {
            let said = format!("{:?} is no client token", launch.token);
            return Err(LaunchFailure::Rejected(said));
        }
        let request = self.request(launch).map_err(|error| {
            let said = on_one_line(&error);
            refusal::failure(Answer::Unsent(&said))
        })?;
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return after(&error),
        };
        if let Some(arn) = answer.tasks().first().and_then(|task| task.task_arn()) {
            return Ok(state::id(arn).to_owned());
        }
        Err(match answer.failures().first() {
            Some(failure) => refusal::failure(Answer::Failure {
                reason: failure.reason().unwrap_or_default(),
                detail: failure.detail().unwrap_or_default(),
            }),
            None => refusal::failure(Answer::Lost("an answer with neither a task nor a failure")),
        })
    }

    async fn list(&self, migration: &str) -> Result<Vec<Task>> {
        let started_by = self.started_by(migration);
        let mut tasks = BTreeMap::new();
        // Running ones first: a task that stops in between is then listed twice, and never missed.
        for status in [DesiredStatus::Running, DesiredStatus::Stopped] {
            let mut pages = self
                .reading
                .list_tasks()
                .cluster(&self.settings.cluster)
                .started_by(&started_by)
                .desired_status(status)
                .into_paginator()
                .send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| failure::failed("ECS", "list tasks", &error))?;
                let ids: Vec<String> =
                    page.task_arns().iter().map(|arn| state::id(arn).to_owned()).collect();
                for task in self.look(&ids).await? {
                    // Forgotten between the list and the look: not known any more, and not to be listed.
                    if task.state != TaskState::Vanished {
                        tasks.insert(task.id.clone(), task);
                    }
                }
            }
        }
        Ok(tasks.into_values().collect())
    }

    /// A task that was launched a moment ago may still be unknown to the service, which is eventually consistent: that
    /// it vanished is for the caller to believe after more than one look.
    async fn look(&self, ids: &[String]) -> Result<Vec<Task>> {
        // A registry may name a writer that is no task. One such, and the service refuses the whole question.
        let (asked, foreign): (Vec<&String>, Vec<&String>) =
            ids.iter().partition(|id| state::is_id(id));
        let hundreds = asked.chunks(DESCRIBED).map(|ids| ids.iter().copied().cloned().collect());
        let hundreds: Vec<Vec<String>> = hundreds.collect();
        let mut tasks: Vec<Task> = stream::iter(hundreds)
            .map(|ids| async move { self.describe_tasks(&ids).await })
            .buffered(LOOKS)
            .try_concat()
            .await?;
        tasks.extend(foreign.into_iter().map(|id| state::vanished(id)));
        Ok(tasks)
    }

    async fn stop(&self, id: &str, reason: &str) -> Result<()> {
        let request = self.reading.stop_task().cluster(&self.settings.cluster);
        // The service keeps 1024 characters of a reason.
        let reason: String = reason.chars().take(1024).collect();
        match request.task(id).reason(reason).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_absent(error.as_service_error()) => Ok(()),
            Err(error) => Err(failure::failed("ECS", format!("stop task {id}"), &error)),
        }
    }
}

/// Whether the service says that the task is not there: an `InvalidParameterException` like that for any other wrong
/// parameter, so that only its words tell ("The referenced task was not found.").
fn is_absent(error: Option<&impl ProvideErrorMetadata>) -> bool {
    let message = error.and_then(ProvideErrorMetadata::message).unwrap_or_default();
    message.contains("task was not found")
}

/// What follows from a `RunTask` that failed.
fn after(
    error: &SdkError<RunTaskError, HttpResponse>,
) -> std::result::Result<String, LaunchFailure> {
    if let Some(RunTaskError::ConflictException(conflict)) = error.as_service_error() {
        // The token has a task, asked for with other settings than today's. It is this attempt's all the same: tokens
        // are used once, and to start another would be to start two.
        if let Some(arn) = conflict.resource_ids().first() {
            return Ok(state::id(arn).to_owned());
        }
    }
    let said = failure::said(error);
    Err(refusal::failure(match error {
        SdkError::ServiceError(service) => Answer::Error {
            code: service.err().code().unwrap_or_default(),
            status: service.raw().status().as_u16(),
            message: service.err().message().unwrap_or(&said),
        },
        SdkError::ConstructionFailure(_) => Answer::Unsent(&said),
        // Without credentials nothing can be signed, and nothing is sent; the SDK calls that a dispatch failure too.
        SdkError::DispatchFailure(dispatch)
            if dispatch.is_user() || said.contains("credential") =>
        {
            Answer::Unsent(&said)
        }
        _ => Answer::Lost(&said),
    }))
}
