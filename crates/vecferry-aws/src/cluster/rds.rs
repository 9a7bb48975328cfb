//! The calls of RDS, each with its answer as plain facts. What exists already, and what is gone already, is no error:
//! every step may be done a second time.

use std::collections::BTreeMap;

use aws_sdk_rds::Client;
use aws_sdk_rds::config::http::HttpResponse;
use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_rds::primitives::DateTime;
use aws_sdk_rds::types::{
    DbCluster, DbClusterSnapshot, DbInstance, ServerlessV2ScalingConfiguration, Tag,
};
use jiff::Timestamp;
use vecferry_core::{Class, Error, Result};

use super::facts::{Capacity, Cluster, Instance, Snapshot};
use crate::account::Account;
use crate::failure::failed;

/// RDS in one account and region.
#[derive(Debug, Clone)]
pub(super) struct Rds {
    client: Client,
}

/// What a cluster is restored as.
#[derive(Debug)]
pub(super) struct RestoreCall<'a> {
    pub(super) id: &'a str,
    pub(super) snapshot: &'a str,
    pub(super) engine: &'a str,
    pub(super) engine_version: &'a str,
    pub(super) subnet_group: &'a str,
    pub(super) security_groups: &'a [String],
    pub(super) key: Option<&'a str>,
    /// For Serverless v2.
    pub(super) capacity: Option<Capacity>,
    /// For a multi-AZ cluster, which makes its instances itself.
    pub(super) class: Option<&'a str>,
    pub(super) tags: &'a BTreeMap<String, String>,
}

impl Rds {
    pub(super) fn new(account: &Account) -> Rds {
        Rds { client: Client::new(account.config()) }
    }

    /// Every cluster of the account and region.
    pub(super) async fn clusters(&self) -> Result<Vec<Cluster>> {
        let mut pages = self.client.describe_db_clusters().into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(cluster) = pages.next().await {
            found.push(cluster_of(&cluster.map_err(|error| refused("list clusters", &error))?));
        }
        Ok(found)
    }

    /// The cluster of this identifier.
    pub(super) async fn cluster(&self, id: &str) -> Result<Option<Cluster>> {
        match self.client.describe_db_clusters().db_cluster_identifier(id).send().await {
            Ok(answer) => Ok(answer.db_clusters().first().map(cluster_of)),
            Err(error) if is(&error, &["DBClusterNotFoundFault"]) => Ok(None),
            Err(error) => Err(refused(format!("look at the cluster {id}"), &error)),
        }
    }

    /// Every instance that belongs to a cluster.
    pub(super) async fn instances(&self) -> Result<Vec<Instance>> {
        let mut pages = self.client.describe_db_instances().into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(instance) = pages.next().await {
            let instance = instance.map_err(|error| refused("list instances", &error))?;
            found
                .extend(instance.db_cluster_identifier().is_some().then(|| instance_of(&instance)));
        }
        Ok(found)
    }

    /// The instance of this identifier.
    pub(super) async fn instance(&self, id: &str) -> Result<Option<Instance>> {
        match self.client.describe_db_instances().db_instance_identifier(id).send().await {
            Ok(answer) => Ok(answer.db_instances().first().map(instance_of)),
            Err(error) if is(&error, &["DBInstanceNotFound", "DBInstanceNotFoundFault"]) => {
                Ok(None)
            }
            Err(error) => Err(refused(format!("look at the instance {id}"), &error)),
        }
    }

    /// Every snapshot of a cluster that the account owns, manual and automated. Shared and public ones are others'.
    pub(super) async fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let mut pages = self.client.describe_db_cluster_snapshots().into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(snapshot) = pages.next().await {
            found.push(snapshot_of(&snapshot.map_err(|error| refused("list snapshots", &error))?));
        }
        Ok(found)
    }

    /// The snapshot of this identifier.
    pub(super) async fn snapshot(&self, id: &str) -> Result<Option<Snapshot>> {
        let call = self.client.describe_db_cluster_snapshots().db_cluster_snapshot_identifier(id);
        match call.send().await {
            Ok(answer) => Ok(answer.db_cluster_snapshots().first().map(snapshot_of)),
            Err(error) if is(&error, &["DBClusterSnapshotNotFoundFault"]) => Ok(None),
            Err(error) => Err(refused(format!("look at the snapshot {id}"), &error)),
        }
    }

    /// The VPC of a subnet group.
    pub(super) async fn vpc_of(&self, subnet_group: &str) -> Result<Option<String>> {
        let call = self.client.describe_db_subnet_groups().db_subnet_group_name(subnet_group);
        match call.send().await {
            Ok(answer) => {
                let group = answer.db_subnet_groups().first();
                Ok(group.and_then(|group| group.vpc_id()).map(str::to_owned))
            }
            Err(error) if is(&error, &["DBSubnetGroupNotFoundFault"]) => Ok(None),
            Err(error) => Err(refused(format!("look at the subnet group {subnet_group}"), &error)),
        }
    }

    /// Takes a manual snapshot of a cluster.
    pub(super) async fn take_snapshot(
        &self,
        cluster: &str,
        id: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<()> {
        let call = self.client.create_db_cluster_snapshot().db_cluster_identifier(cluster);
        let call = call.db_cluster_snapshot_identifier(id).set_tags(Some(tags_to(tags)));
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, &["DBClusterSnapshotAlreadyExistsFault"]) => Ok(()),
            Err(error) => Err(refused(format!("take a snapshot of the cluster {cluster}"), &error)),
        }
    }

    /// Restores a cluster from a snapshot. An Aurora cluster has no instance then.
    pub(super) async fn restore(&self, call: &RestoreCall<'_>) -> Result<()> {
        let capacity = call.capacity.map(scaling);
        let request = self
            .client
            .restore_db_cluster_from_snapshot()
            .db_cluster_identifier(call.id)
            .snapshot_identifier(call.snapshot)
            .engine(call.engine)
            .engine_version(call.engine_version)
            .db_subnet_group_name(call.subnet_group)
            // Without any it would get the VPC's default group.
            .set_vpc_security_group_ids(Some(call.security_groups.to_vec()))
            .set_kms_key_id(call.key.map(str::to_owned))
            .set_serverless_v2_scaling_configuration(capacity)
            .set_db_cluster_instance_class(call.class.map(str::to_owned))
            .deletion_protection(false)
            .copy_tags_to_snapshot(false)
            // The least there is: nobody will want this cluster back.
            .backup_retention_period(1)
            .set_tags(Some(tags_to(call.tags)));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, &["DBClusterAlreadyExistsFault"]) => Ok(()),
            Err(error) => Err(refused(format!("restore the snapshot {}", call.snapshot), &error)),
        }
    }

    /// Gives a cluster an instance without a public address.
    pub(super) async fn create_instance(
        &self,
        id: &str,
        cluster: &Cluster,
        class: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<()> {
        let request = self
            .client
            .create_db_instance()
            .db_instance_identifier(id)
            .db_cluster_identifier(&cluster.id)
            .engine(&cluster.engine)
            .db_instance_class(class)
            .publicly_accessible(false)
            .auto_minor_version_upgrade(false)
            .set_tags(Some(tags_to(tags)));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if is(&error, &["DBInstanceAlreadyExists", "DBInstanceAlreadyExistsFault"]) =>
            {
                Ok(())
            }
            Err(error) => Err(refused(format!("create the instance {id}"), &error)),
        }
    }

    /// Sets a cluster's master password, at once.
    pub(super) async fn set_password(&self, cluster: &Cluster, password: &str) -> Result<()> {
        let request = self
            .client
            .modify_db_cluster()
            .db_cluster_identifier(&cluster.id)
            .master_user_password(password)
            // A restored cluster may have taken over that RDS keeps its password, and both cannot be.
            .set_manage_master_user_password(cluster.managed_password.then_some(false))
            .apply_immediately(true);
        let doing = || format!("set the password of the cluster {}", cluster.id);
        request.send().await.map(drop).map_err(|error| refused(doing(), &error))
    }

    /// Sets a cluster's capacity, at once.
    pub(super) async fn set_capacity(&self, cluster: &str, capacity: Capacity) -> Result<()> {
        let request = self
            .client
            .modify_db_cluster()
            .db_cluster_identifier(cluster)
            .serverless_v2_scaling_configuration(scaling(capacity))
            .apply_immediately(true);
        let doing = || format!("set the capacity of the cluster {cluster} to {capacity} ACUs");
        request.send().await.map(drop).map_err(|error| refused(doing(), &error))
    }

    /// Adds tags, or changes their values.
    pub(super) async fn tag(&self, arn: &str, tags: &[(&str, &str)]) -> Result<()> {
        let tag = |(key, value): &(&str, &str)| Tag::builder().key(*key).value(*value).build();
        let tags = tags.iter().map(tag).collect();
        let request = self.client.add_tags_to_resource().resource_name(arn).set_tags(Some(tags));
        request.send().await.map(drop).map_err(|error| refused(format!("tag {arn}"), &error))
    }

    /// Removes a tag.
    pub(super) async fn untag(&self, arn: &str, key: &str) -> Result<()> {
        let request = self.client.remove_tags_from_resource().resource_name(arn).tag_keys(key);
        let doing = || format!("remove the tag {key} of {arn}");
        request.send().await.map(drop).map_err(|error| refused(doing(), &error))
    }

    /// Begins to delete an instance.
    pub(super) async fn delete_instance(&self, id: &str) -> Result<()> {
        let request = self.client.delete_db_instance().db_instance_identifier(id);
        match request.skip_final_snapshot(true).send().await {
            Ok(_) => Ok(()),
            // Being deleted is a state too.
            Err(error)
                if is(
                    &error,
                    &["DBInstanceNotFound", "DBInstanceNotFoundFault", "InvalidDBInstanceState"],
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(refused(format!("delete the instance {id}"), &error)),
        }
    }

    /// Begins to delete a cluster, without a last snapshot of it.
    pub(super) async fn delete_cluster(&self, id: &str) -> Result<()> {
        let request = self.client.delete_db_cluster().db_cluster_identifier(id);
        match request.skip_final_snapshot(true).delete_automated_backups(true).send().await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, &["DBClusterNotFoundFault"]) => Ok(()),
            Err(error) => Err(refused(format!("delete the cluster {id}"), &error)),
        }
    }

    /// Deletes a manual snapshot.
    pub(super) async fn delete_snapshot(&self, id: &str) -> Result<()> {
        let request = self.client.delete_db_cluster_snapshot().db_cluster_snapshot_identifier(id);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, &["DBClusterSnapshotNotFoundFault"]) => Ok(()),
            Err(error) => Err(refused(format!("delete the snapshot {id}"), &error)),
        }
    }
}

/// Refusals because of a state that a thing is only passing through.
const PASSING: [&str; 3] =
    ["InvalidDBClusterStateFault", "InvalidDBInstanceState", "InvalidDBClusterSnapshotStateFault"];

/// Whether the service gave one of these codes.
fn is<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, codes: &[&str]) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    code.is_some_and(|code| codes.contains(&code))
}

/// The error, with what the operator can do about the refusals that are known.
fn refused<E>(doing: impl Into<String>, error: &SdkError<E, HttpResponse>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let mut failure = failed("RDS", doing, error);
    if let (Error::Service { class, .. }, true) = (&mut failure, PASSING.contains(&code)) {
        *class = Class::Transient;
    }
    match hint(code) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// What to do about a refusal.
fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "InstanceQuotaExceeded" | "DBClusterQuotaExceededFault" => {
            "delete what is not needed, or ask for more under Service Quotas (Amazon RDS), then run it again: it goes on \
             where it stopped"
        }
        "SnapshotQuotaExceeded" => {
            "delete manual snapshots that are not needed, or ask for more under Service Quotas (Amazon RDS), then run it \
             again"
        }
        "StorageQuotaExceeded"
        | "InsufficientDBInstanceCapacity"
        | "InsufficientDBClusterCapacityFault" => {
            "AWS has no room for it now; run it again later: it goes on where it stopped"
        }
        "KMSKeyNotAccessibleFault" => {
            "the snapshot's key, or the one of --encrypt, must be enabled and its policy must let you use it"
        }
        "DBClusterSnapshotNotFoundFault" => "`vecferry restore --list` shows the snapshots",
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
            "`vecferry check --print-policy delta` prints the permissions that a restore needs"
        }
        _ => return None,
    })
}

fn scaling(capacity: Capacity) -> ServerlessV2ScalingConfiguration {
    ServerlessV2ScalingConfiguration::builder()
        .min_capacity(capacity.least)
        .max_capacity(capacity.most)
        .build()
}

fn tags_to(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

fn tags_of(tags: &[Tag]) -> BTreeMap<String, String> {
    let pair =
        |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

fn time(at: Option<&DateTime>) -> Option<Timestamp> {
    // Milliseconds are lost; nothing is decided by them.
    at.and_then(|at| Timestamp::from_second(at.secs()).ok())
}

fn cluster_of(cluster: &DbCluster) -> Cluster {
    let capacity = cluster.serverless_v2_scaling_configuration();
    let pending = cluster.pending_modified_values();
    let readers = cluster.reader_endpoint().map(str::to_owned);
    Cluster {
        id: text(cluster.db_cluster_identifier()),
        arn: text(cluster.db_cluster_arn()),
        resource: text(cluster.db_cluster_resource_id()),
        engine: text(cluster.engine()),
        version: text(cluster.engine_version()),
        status: text(cluster.status()),
        host: text(cluster.endpoint()),
        port: cluster.port().and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
        other_hosts: readers.into_iter().chain(cluster.custom_endpoints().to_vec()).collect(),
        user: text(cluster.master_username()),
        database: cluster.database_name().map(str::to_owned),
        subnet_group: text(cluster.db_subnet_group()),
        security_groups: cluster
            .vpc_security_groups()
            .iter()
            .filter_map(|group| group.vpc_security_group_id().map(str::to_owned))
            .collect(),
        encrypted: cluster.storage_encrypted().unwrap_or(false),
        capacity: capacity
            .and_then(|range| range.min_capacity().zip(range.max_capacity()))
            .map(|(least, most)| Capacity { least, most }),
        password_pending: pending.is_some_and(|pending| pending.master_user_password().is_some()),
        managed_password: cluster.master_user_secret().is_some(),
        members: cluster
            .db_cluster_members()
            .iter()
            .filter_map(|member| member.db_instance_identifier().map(str::to_owned))
            .collect(),
        tags: tags_of(cluster.tag_list()),
    }
}

fn instance_of(instance: &DbInstance) -> Instance {
    Instance {
        id: text(instance.db_instance_identifier()),
        arn: text(instance.db_instance_arn()),
        cluster: text(instance.db_cluster_identifier()),
        status: text(instance.db_instance_status()),
        tags: tags_of(instance.tag_list()),
    }
}

fn snapshot_of(snapshot: &DbClusterSnapshot) -> Snapshot {
    Snapshot {
        id: text(snapshot.db_cluster_snapshot_identifier()),
        arn: text(snapshot.db_cluster_snapshot_arn()),
        kind: text(snapshot.snapshot_type()),
        cluster: text(snapshot.db_cluster_identifier()),
        resource: text(snapshot.db_cluster_resource_id()),
        engine: text(snapshot.engine()),
        engine_version: text(snapshot.engine_version()),
        vpc: text(snapshot.vpc_id()),
        status: text(snapshot.status()),
        time: time(snapshot.snapshot_create_time()),
        gib: snapshot.allocated_storage().and_then(|gib| u64::try_from(gib).ok()).unwrap_or(0),
        encrypted: snapshot.storage_encrypted().unwrap_or(false),
        tags: tags_of(snapshot.tag_list()),
    }
}
