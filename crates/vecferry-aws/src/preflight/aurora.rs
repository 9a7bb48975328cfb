//! Clusters behind host names, their parameters, and snapshots, as RDS describes them.

use aws_sdk_rds::Client;
use aws_sdk_rds::config::{Builder, Region};
use aws_sdk_rds::types::DbCluster;

use super::facts::{Aurora, Snapshot};
use crate::account::Account;
use crate::endpoint;
use crate::failure::said;

/// Snapshots that are shown: the newest.
const SHOWN: usize = 3;

/// RDS where the host is.
pub(super) fn client(account: &Account, host: Option<&str>) -> Client {
    let mut config = Builder::from(account.config());
    if let Some(region) = host.and_then(endpoint::region) {
        config = config.region(Region::new(region.to_owned()));
    }
    Client::from_conf(config.build())
}

/// The cluster that has this endpoint; why it is not known, in words.
pub(super) async fn find(client: &Client, host: &str) -> Result<Option<Aurora>, String> {
    let mut pages = client.describe_db_clusters().into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| format!("RDS does not tell: {}", said(&error)))?;
        let found = page.db_clusters().iter().find_map(|cluster| behind(cluster, host));
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The cluster when the host is one of its endpoints: its own, its readers', one that somebody made, an instance's.
fn behind(cluster: &DbCluster, host: &str) -> Option<Aurora> {
    let is = |endpoint: Option<&str>| endpoint.is_some_and(|one| one.eq_ignore_ascii_case(host));
    let instance = host.split('.').next().unwrap_or_default();
    let is_reader = is(cluster.reader_endpoint());
    let found = is(cluster.endpoint())
        || is_reader
        || cluster.custom_endpoints().iter().any(|one| is(Some(one)))
        || cluster
            .db_cluster_members()
            .iter()
            .any(|member| member.db_instance_identifier() == Some(instance));
    found.then(|| describe(cluster, is_reader))
}

fn describe(cluster: &DbCluster, is_reader: bool) -> Aurora {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let serverless = cluster.serverless_v2_scaling_configuration();
    Aurora {
        id: text(cluster.db_cluster_identifier()),
        engine: text(cluster.engine()),
        version: text(cluster.engine_version()),
        parameter_group: text(cluster.db_cluster_parameter_group()),
        status: text(cluster.status()),
        encrypted: cluster.storage_encrypted().unwrap_or_default(),
        capacity: serverless.and_then(|one| one.min_capacity().zip(one.max_capacity())),
        is_reader,
    }
}

/// A parameter of a cluster parameter group; `None` where it has no value.
pub(super) async fn parameter(
    client: &Client,
    group: &str,
    name: &str,
) -> Result<Option<String>, String> {
    let request = client.describe_db_cluster_parameters().db_cluster_parameter_group_name(group);
    let mut pages = request.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page
            .map_err(|error| format!("RDS does not tell of the group {group}: {}", said(&error)))?;
        let found = page.parameters().iter().find(|one| one.parameter_name() == Some(name));
        if let Some(found) = found {
            return Ok(found.parameter_value().map(str::to_owned));
        }
    }
    Ok(None)
}

/// The newest snapshots of Aurora PostgreSQL clusters that can be restored.
pub(super) async fn snapshots(client: &Client) -> Result<Vec<Snapshot>, String> {
    let mut pages = client.describe_db_cluster_snapshots().into_paginator().send();
    let mut newest: Vec<Snapshot> = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| format!("RDS does not tell: {}", said(&error)))?;
        let usable = page.db_cluster_snapshots().iter().filter(|one| {
            one.engine() == Some("aurora-postgresql") && one.status() == Some("available")
        });
        newest.extend(usable.filter_map(|one| {
            Some(Snapshot {
                taken: one.snapshot_create_time()?.to_string(),
                id: one.db_cluster_snapshot_identifier()?.to_owned(),
                cluster: one.db_cluster_identifier().unwrap_or_default().to_owned(),
                version: one.engine_version().unwrap_or_default().to_owned(),
                encrypted: one.storage_encrypted().unwrap_or_default(),
            })
        }));
        // RFC 3339 in UTC sorts as text.
        newest.sort_by(|a, b| b.cmp(a));
        newest.truncate(SHOWN);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use aws_sdk_rds::types::{DbClusterMember, ServerlessV2ScalingConfigurationInfo};

    use super::*;

    #[test]
    fn a_cluster_is_found_by_any_of_its_endpoints() {
        let host = |name: &str| format!("{name}.abc.eu-west-1.rds.amazonaws.com");
        let scaling = ServerlessV2ScalingConfigurationInfo::builder();
        let cluster = DbCluster::builder()
            .db_cluster_identifier("chat")
            .endpoint(host("chat.cluster"))
            .reader_endpoint(host("chat.cluster-ro"))
            .custom_endpoints(host("own"))
            .db_cluster_members(DbClusterMember::builder().db_instance_identifier("chat-1").build())
            .serverless_v2_scaling_configuration(
                scaling.min_capacity(0.5).max_capacity(5.0).build(),
            )
            .build();
        for name in ["chat.cluster", "own", "chat-1", "CHAT.cluster"] {
            let found = behind(&cluster, &host(name)).unwrap();
            assert_eq!((found.id.as_str(), found.is_reader), ("chat", false), "{name}");
            assert_eq!(found.capacity, Some((0.5, 5.0)));
        }
        assert!(behind(&cluster, &host("chat.cluster-ro")).unwrap().is_reader);
        assert_eq!(behind(&cluster, &host("other")), None);
    }
}
