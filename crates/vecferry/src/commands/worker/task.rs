//! Which task of ECS this process is, by the container metadata endpoint.

use std::time::Duration;

use serde::Deserialize;
use vecferry_core::{Class, Error};

/// Variable that names the endpoint
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html>).
pub(super) const METADATA: &str = "ECS_CONTAINER_METADATA_URI_V4";

/// The endpoint is on the machine itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is read of the answer.
#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "TaskARN")]
    arn: String,
}

/// The task's id: the last element of its ARN, which is what Bedrock Chat's own worker writes as `LastExecId`.
///
/// # Errors
/// [`Error::Service`] when the endpoint does not say.
pub(super) async fn id(address: &str) -> Result<String, Error> {
    let metadata: Metadata = read(address).await.map_err(|error| Error::Service {
        service: "ECS",
        doing: "read this task's metadata".into(),
        class: Class::Transient,
        source: Box::new(error.without_url()),
        hint: None,
    })?;
    Ok(metadata.arn.rsplit('/').next().unwrap_or(&metadata.arn).to_owned())
}

async fn read(address: &str) -> Result<Metadata, reqwest::Error> {
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
    client.get(format!("{address}/task")).send().await?.error_for_status()?.json().await
}
