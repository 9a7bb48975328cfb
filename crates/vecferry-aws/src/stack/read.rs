//! Reads a stack's outputs, those of the stacks nested in it where something is missing, and the environment of the
//! task's container. What cannot be read besides the outputs is a note, not an error: the rest is of use without it.

use std::collections::BTreeMap;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::error::ProvideErrorMetadata;
use aws_sdk_cloudformation::types::Stack;
use vecferry_core::{Error, Result};

use super::discover::{Discovery, Item, Output, discover};
use crate::account::Account;
use crate::failure::{failed, said};

/// The service's name in errors.
const SERVICE: &str = "CloudFormation";

/// The worker's container in every release's task definition (`addContainer("Container", …)`).
const CONTAINER: &str = "Container";

/// Nested stacks that are looked into: the application has none, and a stack of more is not its.
const NESTED: usize = 50;

/// A stack as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: Option<String>,
    /// Name of the worker's container, when the task definition could be read.
    pub container: Option<String>,
    /// What it tells.
    pub discovery: Discovery,
    /// What the operator should know: a deployment that runs, a task definition that cannot be read.
    pub notes: Vec<String>,
}

/// Reads the stack of this name or ARN.
///
/// # Errors
/// [`Error::Configuration`] when there is no such stack, [`Error::Service`] when it cannot be read.
pub async fn read(account: &Account, name: &str) -> Result<Deployed> {
    let client = Client::new(account.config());
    let stack = describe(&client, name, account.region()).await?;
    let id = stack.stack_id().unwrap_or(name).to_owned();
    let name = stack.stack_name().unwrap_or(name).to_owned();
    let mut notes: Vec<String> = status_note(&name, &stack).into_iter().collect();
    let mut outputs = outputs_of(&stack);
    let mut environment = BTreeMap::new();
    let mut told = discover(&outputs, &environment);
    // Only the region of Bedrock stands in no output.
    if told.missing.iter().any(|missing| missing.item != Item::ModelRegion) {
        match nested(&client, &id).await {
            Ok(more) => outputs.extend(more),
            Err(error) => notes.push(format!("nested stacks were not looked at: {error}")),
        }
        told = discover(&outputs, &environment);
    }
    let mut container = None;
    if let Some(definition) = told.value(Item::TaskDefinition) {
        match container_of(account, &definition.value).await {
            Ok(found) => {
                container = Some(found.name);
                environment = found.environment;
            }
            Err(why) => notes.push(why),
        }
        told = discover(&outputs, &environment);
    }
    let region = id.split(':').nth(3).or(account.region()).map(str::to_owned);
    Ok(Deployed { name, region, container, discovery: told, notes })
}

async fn describe(client: &Client, name: &str, region: Option<&str>) -> Result<Stack> {
    let answer = client.describe_stacks().stack_name(name).send().await;
    let region = region.unwrap_or("an unknown region");
    let absent = || {
        Error::Configuration {
        what: format!("there is no stack {name} in {region}"),
        hint: Some(
            "look at CloudFormation > Stacks; Bedrock Chat's is called BedrockChatStack, and --region says where"
                .to_owned(),
        ),
    }
    };
    match answer {
        Ok(answer) => answer.stacks.unwrap_or_default().into_iter().next().ok_or_else(absent),
        // The service has no code of its own for it.
        Err(error)
            if error.as_service_error().is_some_and(|said| {
                said.code() == Some("ValidationError")
                    && said.message().is_some_and(|text| text.contains("does not exist"))
            }) =>
        {
            Err(absent())
        }
        Err(error) => Err(failed(SERVICE, format!("read the stack {name}"), &error)),
    }
}

/// A stack that is being deployed may still replace its cluster, and Bedrock Chat's setup empties the table whenever
/// it runs.
fn status_note(name: &str, stack: &Stack) -> Option<String> {
    let status = stack.stack_status()?.as_str();
    if status.ends_with("_IN_PROGRESS") && !status.ends_with("_CLEANUP_IN_PROGRESS") {
        return Some(format!(
            "stack {name} is {status}: wait until it is done and run this again; a deployment may empty the table"
        ));
    }
    let whole = ["CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"];
    let known = whole.contains(&status) || status.ends_with("_CLEANUP_IN_PROGRESS");
    (!known).then(|| format!("stack {name} is {status}: its outputs may be those before it failed"))
}

fn outputs_of(stack: &Stack) -> Vec<Output> {
    let name = stack.stack_name().unwrap_or_default();
    let output = |output: &aws_sdk_cloudformation::types::Output| {
        Some(Output {
            stack: name.to_owned(),
            key: output.output_key()?.to_owned(),
            value: output.output_value()?.to_owned(),
        })
    };
    stack.outputs().iter().filter_map(output).collect()
}

/// Outputs of the stacks nested in this one, at any depth.
async fn nested(client: &Client, id: &str) -> Result<Vec<Output>> {
    let (mut outputs, mut open, mut seen) = (Vec::new(), vec![id.to_owned()], 0);
    while let Some(parent) = open.pop() {
        let mut pages = client.list_stack_resources().stack_name(&parent).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page
                .map_err(|error| failed(SERVICE, format!("list resources of {parent}"), &error))?;
            for resource in page.stack_resource_summaries() {
                let child = resource.physical_resource_id().filter(|_| {
                    resource.resource_type() == Some("AWS::CloudFormation::Stack") && seen < NESTED
                });
                if let Some(child) = child {
                    seen += 1;
                    outputs.extend(outputs_of(&describe(client, child, None).await?));
                    open.push(child.to_owned());
                }
            }
        }
    }
    Ok(outputs)
}

/// The worker's container.
struct Container {
    name: String,
    environment: BTreeMap<String, String>,
}

/// Reads the container of a task definition; why not, in words.
async fn container_of(account: &Account, definition: &str) -> Result<Container, String> {
    let client = aws_sdk_ecs::Client::new(account.config());
    let answer = client.describe_task_definition().task_definition(definition).send().await;
    let answer = answer.map_err(|error| {
        format!("the task definition {definition} cannot be read: {}", said(&error))
    })?;
    let containers =
        answer.task_definition().map(|one| one.container_definitions()).unwrap_or_default();
    let container = match containers {
        [only] => Some(only),
        several => several.iter().find(|one| one.name() == Some(CONTAINER)),
    };
    let Some(container) = container else {
        return Err(format!("the task definition {definition} has no container {CONTAINER}"));
    };
    // Version 0 hands the database's password over in a variable: nothing is taken that is not asked for.
    let environment = container
        .environment()
        .iter()
        .filter_map(|pair| Some((pair.name()?.to_owned(), pair.value()?.to_owned())))
        .filter(|(name, _)| Item::variables().any(|known| known == name))
        .collect();
    Ok(Container { name: container.name().unwrap_or(CONTAINER).to_owned(), environment })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_that_runs_or_failed_is_told() {
        let note = |status: &str| {
            let status = aws_sdk_cloudformation::types::StackStatus::from(status);
            let time = aws_sdk_cloudformation::primitives::DateTime::from_secs(0);
            let stack = Stack::builder().stack_name("S").creation_time(time).stack_status(status);
            status_note("S", &stack.build())
        };
        for quiet in ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"] {
            assert_eq!(note(quiet), None, "{quiet}");
        }
        assert!(note("UPDATE_IN_PROGRESS").unwrap().contains("wait until it is done"));
        for failed in ["UPDATE_ROLLBACK_COMPLETE", "ROLLBACK_COMPLETE", "DELETE_FAILED"] {
            assert!(note(failed).unwrap().contains("before it failed"), "{failed}");
        }
    }
}
