//! What there is in RDS: clusters, instances, snapshots.

use std::collections::{BTreeMap, VecDeque};

use super::attached::Attached;
use super::{MOTO_REGION, RDS_ACCOUNT};

/// A cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct RdsCluster {
    /// Identifier.
    pub id: String,
    /// `aurora-postgresql`, or `postgres` for a multi-AZ cluster.
    pub engine: String,
    /// Engine version.
    pub version: String,
    /// State now.
    pub status: String,
    /// States that come, one per look.
    pub ahead: VecDeque<String>,
    /// Looks that do not see it yet.
    pub hidden: u32,
    /// The id that RDS gives it and never gives again.
    pub resource: String,
    /// Its DB subnet group.
    pub subnet_group: String,
    /// Its security groups.
    pub security_groups: Vec<String>,
    /// Its cluster parameter group.
    pub parameter_group: String,
    /// Its first database.
    pub database: Option<String>,
    /// Master user.
    pub user: String,
    /// Master password, when it was set here.
    pub password: Option<String>,
    /// Whether a new password is on its way.
    pub password_pending: bool,
    /// KMS key, when its storage is encrypted.
    pub key: Option<String>,
    /// Least and most ACUs.
    pub capacity: Option<(f64, f64)>,
    /// Whether it cannot be deleted.
    pub protected: bool,
    /// Days that backups are kept.
    pub retention: u32,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The server that plays it.
    pub attached: Option<Attached>,
}

impl RdsCluster {
    /// An available Aurora cluster in the subnet group `private` with the security group `sg-<id>`, 0.5 to 5 ACUs.
    pub fn new(id: &str) -> RdsCluster {
        RdsCluster {
            id: id.to_owned(),
            engine: "aurora-postgresql".to_owned(),
            version: "15.3".to_owned(),
            status: "available".to_owned(),
            ahead: VecDeque::new(),
            hidden: 0,
            resource: format!("cluster-{}", id.to_uppercase()),
            subnet_group: "private".to_owned(),
            security_groups: vec![format!("sg-{id}")],
            parameter_group: "default.aurora-postgresql15".to_owned(),
            database: Some("postgres".to_owned()),
            user: "postgres".to_owned(),
            password: None,
            password_pending: false,
            key: None,
            capacity: Some((0.5, 5.0)),
            protected: false,
            retention: 1,
            tags: BTreeMap::new(),
            created: "2026-01-02T03:04:05Z".to_owned(),
            attached: None,
        }
    }

    /// The same, played by this server.
    pub fn attached(mut self, server: Attached) -> RdsCluster {
        self.attached = Some(server);
        self
    }

    /// Its ARN.
    pub fn arn(&self) -> String {
        arn("cluster", &self.id)
    }

    /// Host and port.
    pub fn endpoint(&self) -> (String, u16) {
        match &self.attached {
            Some(server) => (server.host.clone(), server.port),
            None => (format!("{}.cluster-x.{MOTO_REGION}.rds.amazonaws.com", self.id), 5432),
        }
    }

    /// A look: moves on to the next state.
    pub(super) fn look(&mut self) {
        self.hidden = self.hidden.saturating_sub(1);
        if let Some(next) = self.ahead.pop_front() {
            self.status = next;
            self.password_pending &= !self.ahead.is_empty();
        }
    }
}

/// An instance of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct RdsInstance {
    /// Identifier.
    pub id: String,
    /// Identifier of its cluster.
    pub cluster: String,
    /// `db.serverless`.
    pub class: String,
    /// State now.
    pub status: String,
    /// States that come, one per look.
    pub ahead: VecDeque<String>,
    /// Looks that do not see it yet.
    pub hidden: u32,
    /// Whether it has a public address.
    pub public: bool,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

impl RdsInstance {
    /// The available writer of a cluster.
    pub(super) fn writer_of(cluster: &RdsCluster) -> RdsInstance {
        RdsInstance {
            id: format!("{}-writer", cluster.id),
            cluster: cluster.id.clone(),
            class: "db.serverless".to_owned(),
            status: "available".to_owned(),
            ahead: VecDeque::new(),
            hidden: 0,
            public: false,
            tags: BTreeMap::new(),
        }
    }

    /// Its ARN.
    pub fn arn(&self) -> String {
        arn("db", &self.id)
    }

    pub(super) fn look(&mut self) {
        self.hidden = self.hidden.saturating_sub(1);
        if let Some(next) = self.ahead.pop_front() {
            self.status = next;
        }
    }
}

/// A snapshot of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct RdsSnapshot {
    /// Identifier.
    pub id: String,
    /// `manual` or `automated`.
    pub kind: String,
    /// Identifier of the cluster it was taken of.
    pub cluster: String,
    /// That cluster's resource id.
    pub resource: String,
    /// Engine of that cluster.
    pub engine: String,
    /// Engine version of that cluster.
    pub version: String,
    /// VPC of that cluster.
    pub vpc: String,
    /// State now.
    pub status: String,
    /// States that come, one per look.
    pub ahead: VecDeque<String>,
    /// Looks that do not see it yet.
    pub hidden: u32,
    /// When it was taken, RFC 3339.
    pub time: String,
    /// When its cluster was made, RFC 3339.
    pub cluster_created: String,
    /// GiB.
    pub gib: u32,
    /// Master user.
    pub user: String,
    /// First database.
    pub database: Option<String>,
    /// KMS key, when it is encrypted.
    pub key: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The server that plays a cluster restored from it.
    pub attached: Option<Attached>,
}

impl RdsSnapshot {
    /// An available manual snapshot of this cluster in `vpc-1`, taken at this time (RFC 3339).
    pub fn of(cluster: &RdsCluster, id: &str, time: &str) -> RdsSnapshot {
        RdsSnapshot {
            id: id.to_owned(),
            kind: "manual".to_owned(),
            cluster: cluster.id.clone(),
            resource: cluster.resource.clone(),
            engine: cluster.engine.clone(),
            version: cluster.version.clone(),
            vpc: "vpc-1".to_owned(),
            status: "available".to_owned(),
            ahead: VecDeque::new(),
            hidden: 0,
            time: time.to_owned(),
            cluster_created: cluster.created.clone(),
            gib: 1,
            user: cluster.user.clone(),
            database: cluster.database.clone(),
            key: cluster.key.clone(),
            tags: BTreeMap::new(),
            attached: cluster.attached.clone(),
        }
    }

    /// Its ARN.
    pub fn arn(&self) -> String {
        arn("cluster-snapshot", &self.id)
    }

    pub(super) fn look(&mut self) {
        self.hidden = self.hidden.saturating_sub(1);
        if let Some(next) = self.ahead.pop_front() {
            self.status = next;
        }
    }
}

fn arn(kind: &str, id: &str) -> String {
    format!("arn:aws:rds:{MOTO_REGION}:{RDS_ACCOUNT}:{kind}:{id}")
}
