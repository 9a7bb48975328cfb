//! What a `RunTask` asks for, checked as the service checks it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::definition::Definition;
use super::wire::Refusal;

/// Characters of `overrides` that the service accepts
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html>).
const OVERRIDES: usize = 8192;

/// A `RunTask` that the service would accept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) definition: Definition,
    pub(super) token: Option<String>,
    pub(super) started_by: Option<String>,
    pub(super) overrides: Value,
    pub(super) tags: Value,
    pub(super) launch_type: Option<String>,
    pub(super) capacity_provider: Option<String>,
    /// Arguments after the entry point.
    pub(super) command: Vec<String>,
    /// The task definition's environment with the override's over it.
    pub(super) environment: BTreeMap<String, String>,
}

impl Request {
    /// Checks and merges.
    pub(super) fn read(body: &Value, definition: &Definition) -> Result<Request, Refusal> {
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        if !definition.active {
            return Err(Refusal::client("TaskDefinition is inactive"));
        }
        let token = text("clientToken");
        if token.as_deref().is_some_and(|token| !is_token(token)) {
            return Err(Refusal::parameter("clientToken is not valid"));
        }
        let started_by = text("startedBy");
        check_started_by(started_by.as_deref())?;
        if body["count"].as_i64().is_some_and(|count| count != 1) {
            return Err(Refusal::parameter("this double starts one task per request"));
        }
        let provider = body["capacityProviderStrategy"][0]["capacityProvider"].as_str();
        let launch_type = text("launchType");
        if launch_type.is_some() && provider.is_some() {
            let message =
                "Specifying both a launch type and capacity provider strategy is not supported.";
            return Err(Refusal::parameter(message));
        }
        check_network(body, definition)?;
        let (command, environment) = merge(&body["overrides"], definition)?;
        Ok(Request {
            definition: definition.clone(),
            token,
            started_by,
            overrides: body["overrides"].clone(),
            tags: body["tags"].clone(),
            launch_type: launch_type.or_else(|| provider.map(|_| "FARGATE".to_owned())),
            capacity_provider: provider.map(str::to_owned),
            command,
            environment,
        })
    }

    /// The bot's sort key, as newer workers are told it.
    pub(super) fn bot(&self) -> Option<String> {
        let keys: Value = serde_json::from_str(self.environment.get("EVENT")?).ok()?;
        keys["SK"]["S"].as_str().map(str::to_owned)
    }
}

fn is_token(token: &str) -> bool {
    (1..=64).contains(&token.len()) && token.bytes().all(|byte| (33..=126).contains(&byte))
}

fn check_started_by(started_by: Option<&str>) -> Result<(), Refusal> {
    let Some(started_by) = started_by else { return Ok(()) };
    if started_by.chars().count() > 128 {
        return Err(Refusal::parameter("startedBy longer than 128."));
    }
    let fits =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '/');
    if !started_by.chars().all(fits) {
        return Err(Refusal::parameter("startedBy contains invalid characters."));
    }
    Ok(())
}

fn check_network(body: &Value, definition: &Definition) -> Result<(), Refusal> {
    if definition.network_mode != "awsvpc" {
        return Ok(());
    }
    let network = &body["networkConfiguration"]["awsvpcConfiguration"];
    if network.is_null() {
        let message =
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.";
        return Err(Refusal::parameter(message));
    }
    match network["subnets"].as_array() {
        Some(subnets) if !subnets.is_empty() => Ok(()),
        _ => Err(Refusal::parameter("subnets can not be empty.")),
    }
}

/// Arguments and environment of the container.
fn merge(
    overrides: &Value,
    definition: &Definition,
) -> Result<(Vec<String>, BTreeMap<String, String>), Refusal> {
    if !overrides.is_null() && overrides.to_string().chars().count() > OVERRIDES {
        let message = format!("Container Overrides length must be at most {OVERRIDES}");
        return Err(Refusal::parameter(&message));
    }
    let mut command = definition.command.clone();
    let mut environment: BTreeMap<String, String> =
        definition.environment.iter().cloned().collect();
    for container in overrides["containerOverrides"].as_array().into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default();
        if name != definition.container {
            let message = format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            );
            return Err(Refusal::parameter(&message));
        }
        if let Some(arguments) = container["command"].as_array() {
            command = arguments.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        for pair in container["environment"].as_array().into_iter().flatten() {
            if let (Some(name), Some(value)) = (pair["name"].as_str(), pair["value"].as_str()) {
                environment.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    Ok((command, environment))
}
