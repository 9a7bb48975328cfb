//! How the service shows what there is.

use std::collections::BTreeMap;

use super::state::State;
use super::things::{RdsCluster, RdsInstance, RdsSnapshot};
use super::xml::{element, list, maybe, text};

pub(super) fn tags(tags: &BTreeMap<String, String>) -> String {
    let tag = |(key, value): (&String, &String)| {
        element("Tag", &[text("Key", key), text("Value", value)].concat())
    };
    list("TagList", tags.iter().map(tag))
}

impl State {
    pub(super) fn show_cluster(&self, cluster: &RdsCluster) -> String {
        let (host, port) = cluster.endpoint();
        // A cluster without an instance has an endpoint too; nobody answers there.
        let members = self.instances.values().filter(|instance| instance.cluster == cluster.id);
        let member = |instance: &RdsInstance| {
            let parts = [
                text("DBInstanceIdentifier", &instance.id),
                text("IsClusterWriter", true),
                text("DBClusterParameterGroupStatus", "in-sync"),
            ];
            element("DBClusterMember", &parts.concat())
        };
        let group = |id: &String| {
            let parts = [text("VpcSecurityGroupId", id), text("Status", "active")];
            element("VpcSecurityGroupMembership", &parts.concat())
        };
        let capacity = cluster.capacity.map(|(least, most)| {
            let parts = [text("MinCapacity", least), text("MaxCapacity", most)];
            element("ServerlessV2ScalingConfiguration", &parts.concat())
        });
        let pending = cluster
            .password_pending
            .then(|| element("PendingModifiedValues", &text("MasterUserPassword", "****")));
        [
            text("DBClusterIdentifier", &cluster.id),
            text("DBClusterArn", cluster.arn()),
            text("DbClusterResourceId", &cluster.resource),
            text("Engine", &cluster.engine),
            text("EngineVersion", &cluster.version),
            text("EngineMode", "provisioned"),
            text("Status", &cluster.status),
            text("Endpoint", host),
            text("Port", port),
            text("MasterUsername", &cluster.user),
            maybe("DatabaseName", cluster.database.as_ref()),
            text("DBSubnetGroup", &cluster.subnet_group),
            text("DBClusterParameterGroup", &cluster.parameter_group),
            list("VpcSecurityGroups", cluster.security_groups.iter().map(group)),
            list("DBClusterMembers", members.map(member)),
            text("StorageEncrypted", cluster.key.is_some()),
            maybe("KmsKeyId", cluster.key.as_ref()),
            capacity.unwrap_or_default(),
            pending.unwrap_or_default(),
            text("DeletionProtection", cluster.protected),
            text("BackupRetentionPeriod", cluster.retention),
            text("ClusterCreateTime", &cluster.created),
            text("AllocatedStorage", 1),
            text("MultiAZ", false),
            tags(&cluster.tags),
        ]
        .concat()
    }

    pub(super) fn show_instance(&self, instance: &RdsInstance) -> String {
        let cluster = self.clusters.get(&instance.cluster);
        [
            text("DBInstanceIdentifier", &instance.id),
            text("DBInstanceArn", instance.arn()),
            text("DBClusterIdentifier", &instance.cluster),
            text("DBInstanceClass", &instance.class),
            text("DBInstanceStatus", &instance.status),
            maybe("Engine", cluster.map(|cluster| &cluster.engine)),
            maybe("EngineVersion", cluster.map(|cluster| &cluster.version)),
            text("PubliclyAccessible", instance.public),
            tags(&instance.tags),
        ]
        .concat()
    }
}

pub(super) fn snapshot(snapshot: &RdsSnapshot) -> String {
    [
        text("DBClusterSnapshotIdentifier", &snapshot.id),
        text("DBClusterSnapshotArn", snapshot.arn()),
        text("DBClusterIdentifier", &snapshot.cluster),
        text("DbClusterResourceId", &snapshot.resource),
        text("Engine", &snapshot.engine),
        text("EngineVersion", &snapshot.version),
        text("EngineMode", "provisioned"),
        text("SnapshotType", &snapshot.kind),
        text("Status", &snapshot.status),
        text("PercentProgress", if snapshot.status == "available" { 100 } else { 0 }),
        text("SnapshotCreateTime", &snapshot.time),
        text("ClusterCreateTime", &snapshot.cluster_created),
        text("VpcId", &snapshot.vpc),
        text("AllocatedStorage", snapshot.gib),
        text("MasterUsername", &snapshot.user),
        text("StorageEncrypted", snapshot.key.is_some()),
        maybe("KmsKeyId", snapshot.key.as_ref()),
        tags(&snapshot.tags),
    ]
    .concat()
}
