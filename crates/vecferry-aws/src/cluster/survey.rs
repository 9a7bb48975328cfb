//! What there is: the target's cluster, every cluster and every snapshot of the account and region.

use vecferry_core::{Error, Result};

use super::facts::{Cluster, Instance, Snapshot};
use super::names::TargetName;
use super::owner::Owner;
use super::rds::Rds;
use crate::account::Account;

/// What a restore is decided by.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// The database that is migrated to.
    pub target: TargetName,
    /// The target's cluster.
    pub cluster: Cluster,
    /// Its VPC, when its subnet group tells.
    pub vpc: Option<String>,
    /// Every cluster, the target's too.
    pub clusters: Vec<Cluster>,
    /// Every snapshot, manual and automated.
    pub snapshots: Vec<Snapshot>,
    /// Every instance of a cluster.
    pub instances: Vec<Instance>,
}

impl Survey {
    /// Whose things are looked for.
    pub(super) fn owner(&self) -> Owner<'_> {
        Owner { target: &self.target, cluster: Some(&self.cluster) }
    }
}

/// Reads it. The target's cluster is the one at the target's address, or the one of this identifier, for targets that
/// are reached through a tunnel or under another name.
///
/// # Errors
/// [`Error::Service`] when RDS cannot be read; [`Error::Configuration`] when the target is no cluster of this account
/// and region.
pub async fn survey(
    account: &Account,
    target: &TargetName,
    identifier: Option<&str>,
) -> Result<Survey> {
    let rds = Rds::new(account);
    let clusters = rds.clusters().await?;
    let cluster = target_among(&clusters, target, identifier).ok_or_else(|| {
        let place = account.region().unwrap_or("no region");
        Error::Configuration {
            what: match identifier {
                Some(id) => format!("there is no cluster {id} in {place}"),
                None => format!(
                    "the target, {}:{}, is no RDS cluster of this account in {place}",
                    target.host, target.port
                ),
            },
            hint: Some(
                "pass --target-cluster ID when the target is reached through a tunnel or under another name, \
                 --region and --profile for another account"
                    .to_owned(),
            ),
        }
    })?;
    Ok(Survey {
        target: target.clone(),
        vpc: rds.vpc_of(&cluster.subnet_group).await?,
        cluster: cluster.clone(),
        snapshots: rds.snapshots().await?,
        instances: rds.instances().await?,
        clusters,
    })
}

/// The target's cluster.
pub(super) fn target_among<'a>(
    clusters: &'a [Cluster],
    target: &TargetName,
    identifier: Option<&str>,
) -> Option<&'a Cluster> {
    match identifier {
        Some(id) => clusters.iter().find(|cluster| cluster.id == id || cluster.arn == id),
        None => {
            // A temporary cluster is nobody's target, wherever it is.
            let stands = |cluster: &&Cluster| !super::names::is_ours(&cluster.tags);
            clusters.iter().filter(stands).find(|cluster| cluster.is_at(&target.host, target.port))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::facts::Capacity;
    use super::*;

    pub(in super::super) fn cluster(id: &str) -> Cluster {
        Cluster {
            id: id.into(),
            arn: format!("arn:aws:rds:us-east-1:1:cluster:{id}"),
            resource: format!("res-{id}"),
            engine: "aurora-postgresql".into(),
            version: "15.3".into(),
            status: "available".into(),
            host: format!("{id}.rds"),
            port: 5432,
            user: "postgres".into(),
            subnet_group: "private".into(),
            security_groups: vec![format!("sg-{id}")],
            capacity: Some(Capacity { least: 0.5, most: 5.0 }),
            ..Cluster::default()
        }
    }

    pub(in super::super) fn snapshot(id: &str, of: &str, time: &str) -> Snapshot {
        Snapshot {
            id: id.into(),
            arn: format!("arn:aws:rds:us-east-1:1:cluster-snapshot:{id}"),
            kind: "manual".into(),
            cluster: of.into(),
            resource: format!("res-{of}"),
            engine: "aurora-postgresql".into(),
            engine_version: "15.3".into(),
            vpc: "vpc-1".into(),
            status: "available".into(),
            time: time.parse().ok(),
            gib: 10,
            encrypted: false,
            tags: Default::default(),
        }
    }

    pub(in super::super) fn survey() -> Survey {
        Survey {
            target: TargetName { host: "target.rds".into(), port: 5432, database: "kb".into() },
            cluster: cluster("target"),
            vpc: Some("vpc-1".into()),
            clusters: vec![cluster("target")],
            snapshots: Vec::new(),
            instances: Vec::new(),
        }
    }

    #[test]
    fn the_target_is_found_by_its_address_or_by_name() {
        let clusters = [cluster("a"), cluster("b")];
        let at = |host: &str| TargetName { host: host.into(), port: 5432, database: "d".into() };
        let found = |host, id| target_among(&clusters, &at(host), id).map(|one| one.id.as_str());
        assert_eq!(found("B.RDS", None), Some("b"));
        assert_eq!(found("localhost", None), None);
        assert_eq!(found("localhost", Some("a")), Some("a"));
        assert_eq!(found("b.rds", Some("nowhere")), None);
    }
}
