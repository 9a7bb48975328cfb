//! What RDS says of clusters, instances and snapshots, as far as anything here is decided by it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

/// Least and most capacity of Aurora Serverless v2, in ACUs (about 2 GiB of memory each).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Capacity {
    /// Least.
    pub least: f64,
    /// Most.
    pub most: f64,
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.least, self.most)
    }
}

impl std::str::FromStr for Capacity {
    type Err = ();

    fn from_str(text: &str) -> Result<Capacity, ()> {
        let (least, most) = text.split_once('-').ok_or(())?;
        let number = |text: &str| text.parse().map_err(|_| ());
        Ok(Capacity { least: number(least)?, most: number(most)? })
    }
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cluster {
    /// Identifier.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// The id that RDS never gives again; an identifier may be used again for another cluster.
    pub resource: String,
    /// `aurora-postgresql`, `postgres`.
    pub engine: String,
    /// Engine version.
    pub version: String,
    /// State: `available`.
    pub status: String,
    /// Host of the writer's endpoint.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Other hosts by which it is reached: the readers' and custom ones.
    pub other_hosts: Vec<String>,
    /// Master user.
    pub user: String,
    /// The first database, when it was named.
    pub database: Option<String>,
    /// DB subnet group.
    pub subnet_group: String,
    /// Security groups.
    pub security_groups: Vec<String>,
    /// Whether its storage is encrypted.
    pub encrypted: bool,
    /// Serverless capacity, where it has any.
    pub capacity: Option<Capacity>,
    /// Whether a new master password is on its way.
    pub password_pending: bool,
    /// Whether RDS keeps the master password in a secret of its own.
    pub managed_password: bool,
    /// Identifiers of its instances.
    pub members: Vec<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

impl Cluster {
    /// Whether it is in a state of which it is known that its data is there and stays: one that is being deleted, or
    /// cannot be opened, is as good as gone
    /// (<https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/accessing-monitoring.html>).
    pub(super) fn lasts(&self) -> bool {
        const LASTING: [&str; 12] = [
            "available",
            "backing-up",
            "backtracking",
            "configuring-iam-database-auth",
            "maintenance",
            "modifying",
            "renaming",
            "resetting-master-credentials",
            "starting",
            "stopped",
            "stopping",
            "upgrading",
        ];
        LASTING.contains(&self.status.as_str())
    }

    /// Whether this is an address of it, of a reader or under another name.
    pub(super) fn is_at(&self, host: &str, port: u16) -> bool {
        let here = |other: &String| other.eq_ignore_ascii_case(host);
        self.port == port && (here(&self.host) || self.other_hosts.iter().any(here))
    }
}

/// An instance of a cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Instance {
    /// Identifier.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// Identifier of its cluster.
    pub cluster: String,
    /// State: `available`.
    pub status: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// A snapshot of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// Identifier.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// `manual` or `automated`.
    pub kind: String,
    /// Identifier of the cluster it is of.
    pub cluster: String,
    /// That cluster's resource id.
    pub resource: String,
    /// Engine: `aurora-postgresql`, or `postgres` for a multi-AZ cluster.
    pub engine: String,
    /// Engine version.
    pub engine_version: String,
    /// VPC of that cluster.
    pub vpc: String,
    /// State: `available`.
    pub status: String,
    /// When it was taken; `None` while it is being taken.
    pub time: Option<Timestamp>,
    /// GiB.
    pub gib: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Tags.
    #[serde(skip)]
    pub tags: BTreeMap<String, String>,
}

impl Snapshot {
    /// Whether it was taken of this cluster. By resource id: an identifier may be used again for another cluster.
    pub(super) fn is_of(&self, cluster: &Cluster) -> bool {
        match self.resource.is_empty() {
            // Snapshots from before RDS told it.
            true => self.cluster == cluster.id,
            false => self.resource == cluster.resource,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_is_read_as_it_is_written() {
        for capacity in [Capacity { least: 0.5, most: 5.0 }, Capacity { least: 0.0, most: 256.0 }] {
            assert_eq!(capacity.to_string().parse(), Ok(capacity));
        }
        assert_eq!("5".parse::<Capacity>(), Err(()));
    }

    #[test]
    fn a_cluster_is_known_by_each_of_its_addresses() {
        let cluster = Cluster {
            host: "c.cluster-x.rds".into(),
            port: 5432,
            other_hosts: vec!["c.cluster-ro-x.rds".into()],
            ..Cluster::default()
        };
        assert!(
            cluster.is_at("C.Cluster-X.rds", 5432) && cluster.is_at("c.cluster-ro-x.rds", 5432)
        );
        assert!(!cluster.is_at("c.cluster-x.rds", 5433) && !cluster.is_at("d", 5432));
    }
}
