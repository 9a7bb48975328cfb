//! Reads AWS into [`Facts`]. Looks only; a refusal is a fact.

use aws_config::retry::RetryConfig;
use aws_sdk_iam::Client as Iam;
use vecferry_core::Side;
use vecferry_core::policy::Method;

use super::facts::{Cluster, Facts, ModelSays, Tested};
use super::principal::Principal;
use super::{Look, aurora, model, simulate, trial};
use crate::account::Account;
use crate::endpoint;
use crate::failure::said;
use crate::permission::{Named, Purpose, Scope, statements};

/// Repetitions of a simulation: IAM is one service for the whole account, and throttles early.
const ATTEMPTS: u32 = 6;

/// Reads whatever can be read.
pub(super) async fn gather(account: &Account, mut look: Look) -> Facts {
    look.scope.region = look.scope.region.take().or(account.region().map(str::to_owned));
    let target = look.target_host.as_deref().and_then(endpoint::cluster_at);
    if look.scope.target_cluster == Named::Unknown {
        look.scope.target_cluster = Named::or_unknown(target.map(str::to_owned));
    }
    let caller = identity(account).await;
    if let Ok(arn) = &caller {
        look.scope.account = arn.split(':').nth(4).map(str::to_owned);
    }
    let task = task(account, &look.scope).await;
    look.scope.task_roles = task.roles().cloned().collect();
    look.scope.table_role = Named::or_unused(task.table_role.clone());
    let (permissions, clusters, snapshots, (says, quotas)) = tokio::join!(
        permissions(account, &look, caller.as_deref().ok(), &task),
        clusters(account, &look),
        snapshots(account, &look),
        of_model(account, &look),
    );
    let (operator, worker) = permissions;
    Facts { look, caller, operator, worker, clusters, snapshots, model: says, model_quotas: quotas }
}

async fn identity(account: &Account) -> Result<String, String> {
    let answer = aws_sdk_sts::Client::new(account.config()).get_caller_identity().send().await;
    match answer {
        Ok(answer) => answer.arn.ok_or_else(|| "STS names nobody".to_owned()),
        Err(error) => Err(said(&error)),
    }
}

/// What the task definition tells of permissions.
#[derive(Debug, Default)]
struct Task {
    role: Option<String>,
    execution_role: Option<String>,
    table_role: Option<String>,
}

impl Task {
    fn roles(&self) -> impl Iterator<Item = &String> {
        self.role.iter().chain(&self.execution_role)
    }
}

async fn task(account: &Account, scope: &Scope) -> Task {
    let Some(definition) = scope.task_definition.known() else { return Task::default() };
    let client = aws_sdk_ecs::Client::new(account.config());
    let answer = client.describe_task_definition().task_definition(definition).send().await;
    let found = match answer {
        Ok(answer) => answer.task_definition,
        Err(error) => {
            // A permission of its own, which is tested with the others.
            tracing::info!(definition, said = said(&error), "the roles of tasks are not known");
            None
        }
    };
    let Some(found) = found else { return Task::default() };
    let variables = found.container_definitions().iter().flat_map(|one| one.environment());
    let table_role = variables
        .filter(|pair| pair.name() == Some("TABLE_ACCESS_ROLE_ARN"))
        .find_map(|pair| pair.value())
        .map(str::to_owned);
    Task { role: found.task_role_arn, execution_role: found.execution_role_arn, table_role }
}

/// The operator's permissions and the task role's.
async fn permissions(
    account: &Account,
    look: &Look,
    caller: Option<&str>,
    task: &Task,
) -> (Vec<Tested>, Vec<Tested>) {
    let Some(caller) = caller else { return (vec![], vec![]) };
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
    let config = aws_sdk_iam::config::Builder::from(account.config()).retry_config(retries);
    let iam = Iam::from_conf(config.build());
    let principal = Principal::of(caller).arn(&iam).await;
    // To simulate oneself is a permission about oneself.
    let scope = &Scope { caller: principal.clone(), ..look.scope.clone() };
    let own = statements(Purpose::Method(look.method), scope);
    let simulated = match principal {
        Some(arn) => simulate::simulate(&iam, &arn, &own).await,
        None => Err(format!("IAM does not simulate {caller}, and it cannot be tried harmlessly")),
    };
    let operator = match simulated {
        Ok(tested) => tested,
        Err(why) => trial::try_all(account, scope, &own, &why).await,
    };
    let embeds = matches!(look.method, Method::Reembed | Method::Delta);
    if scope.cluster == Named::Unused || !embeds {
        return (operator, vec![]);
    }
    let of_task = statements(Purpose::Worker, scope);
    let untested = |why: &str| {
        let verdict = super::facts::Verdict::Untested(why.to_owned());
        of_task.iter().flat_map(|one| simulate::tested(one, |_, _| verdict.clone())).collect()
    };
    let worker = match &task.role {
        None => untested("the role of the task definition is not known"),
        Some(role) => match simulate::simulate(&iam, role, &of_task).await {
            Ok(tested) => tested,
            Err(why) => untested(&why),
        },
    };
    (operator, worker)
}

async fn clusters(account: &Account, look: &Look) -> Vec<Cluster> {
    let sides = [(Side::Source, &look.source_host), (Side::Target, &look.target_host)];
    let mut clusters = Vec::new();
    for (side, host) in sides {
        let Some(host) = host.as_ref().filter(|host| super::is_rds(host)) else { continue };
        let client = aurora::client(account, Some(host));
        let found = aurora::find(&client, host).await;
        let follows = side == Side::Source && look.method == Method::Follow;
        let logical_replication = match &found {
            Ok(Some(cluster)) if follows => {
                let group = &cluster.parameter_group;
                Some(aurora::parameter(&client, group, "rds.logical_replication").await)
            }
            _ => None,
        };
        clusters.push(Cluster { side, host: host.clone(), found, logical_replication });
    }
    clusters
}

async fn snapshots(
    account: &Account,
    look: &Look,
) -> Option<Result<Vec<super::facts::Snapshot>, String>> {
    let wanted = look.scope.snapshot || look.method == Method::Delta;
    if !wanted {
        return None;
    }
    let host = look.target_host.as_deref();
    Some(aurora::snapshots(&aurora::client(account, host)).await)
}

type OfModel = (Option<ModelSays>, Option<Result<Vec<(String, f64)>, String>>);

async fn of_model(account: &Account, look: &Look) -> OfModel {
    let embeds = matches!(look.method, Method::Reembed | Method::Delta);
    let Some(id) = look.scope.model.known().filter(|_| embeds) else { return (None, None) };
    let region = look.scope.model_region.as_deref();
    let (says, quotas) = tokio::join!(model::ask(account, id, region), quotas(account, region));
    (Some(says), Some(quotas.map(|all| model::quotas_of(id, all))))
}

/// Every quota of Bedrock in the model's region, by name.
async fn quotas(account: &Account, region: Option<&str>) -> Result<Vec<(String, f64)>, String> {
    let mut config = aws_sdk_servicequotas::config::Builder::from(account.config());
    if let Some(region) = region {
        config = config.region(aws_config::Region::new(region.to_owned()));
    }
    let client = aws_sdk_servicequotas::Client::from_conf(config.build());
    let request = client.list_service_quotas().service_code("bedrock").max_results(100);
    let mut pages = request.into_paginator().send();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| format!("Service Quotas do not tell: {}", said(&error)))?;
        let quota = |one: &aws_sdk_servicequotas::types::ServiceQuota| {
            Some((one.quota_name()?.to_owned(), one.value()?))
        };
        all.extend(page.quotas().iter().filter_map(quota));
    }
    Ok(all)
}
