//! The temporary cluster found again by its tags, from any machine.

use jiff::Timestamp;
use serde::Serialize;
use vecferry_core::pg::{Dsn, DsnParts};
use vecferry_core::{Error, Result};

use super::facts::{Capacity, Cluster};
use super::names::{self, TargetName};
use super::owner::{Belongs, Owner};
use super::rds::Rds;
use super::secret::Secrets;
use super::survey::target_among;
use crate::account::Account;
use crate::secret::database_from;

/// A temporary cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Temporary {
    /// Migration id.
    pub migration: String,
    /// Identifier.
    pub cluster: String,
    /// Its state.
    pub status: String,
    /// Host of its endpoint.
    pub host: String,
    /// Port of its endpoint.
    pub port: u16,
    /// ARN of the snapshot it was restored from.
    pub snapshot: String,
    /// When that was taken.
    pub snapshot_time: Option<Timestamp>,
    /// Serverless capacity, where it has any.
    pub capacity: Option<Capacity>,
    /// Name of the secret by which one logs in.
    pub secret: String,
    /// Whether it can be used: the secret is written last.
    pub ready: bool,
}

impl Temporary {
    /// What a cluster that carries our tags is.
    pub(super) fn of(cluster: &Cluster, migration: &str, ready: bool) -> Temporary {
        let tag = |key: &str| cluster.tags.get(key);
        Temporary {
            migration: migration.to_owned(),
            cluster: cluster.id.clone(),
            status: cluster.status.clone(),
            host: cluster.host.clone(),
            port: cluster.port,
            snapshot: tag(names::SNAPSHOT).cloned().unwrap_or_default(),
            snapshot_time: tag(names::SNAPSHOT_TIME).and_then(|time| time.parse().ok()),
            capacity: cluster.capacity,
            secret: names::secret(migration),
            ready,
        }
    }

    /// Where it is and how to log in: the address as RDS has it now, the rest from the secret.
    ///
    /// # Errors
    /// As [`database_from`].
    pub async fn dsn(&self, account: &Account) -> Result<Dsn> {
        let (host, port) = (Some(self.host.clone()), Some(self.port));
        database_from(account, &self.secret, DsnParts { host, port, ..DsnParts::default() }).await
    }
}

/// The temporary cluster of this target, if one stands. Of several, which only tampering with tags can bring about, the
/// one that can be used. `identifier` names the target's cluster where its address does not.
///
/// # Errors
/// [`Error::Service`] when RDS or Secrets Manager cannot be read; [`Error::Configuration`] when it cannot be told
/// whether one that stands is this target's.
pub async fn find(
    account: &Account,
    target: &TargetName,
    identifier: Option<&str>,
) -> Result<Option<Temporary>> {
    let secrets = Secrets::new(account);
    let clusters = Rds::new(account).clusters().await?;
    let owner = Owner { target, cluster: target_among(&clusters, target, identifier) };
    let mut found = None;
    for cluster in &clusters {
        let migration = match owner.of(&cluster.tags) {
            Belongs::Here(migration) => migration,
            Belongs::Perhaps(_) => return Err(ambiguous(target, identifier, &cluster.id)),
            Belongs::No => continue,
        };
        let usable =
            cluster.status == "available" && secrets.exists(&names::secret(migration)).await?;
        let temporary = Temporary::of(cluster, migration, usable);
        if usable {
            return Ok(Some(temporary));
        }
        found = Some(temporary);
    }
    Ok(found)
}

/// Through a tunnel every cluster has the same address.
fn ambiguous(target: &TargetName, identifier: Option<&str>, temporary: &str) -> Error {
    let (host, port) = (&target.host, target.port);
    Error::Configuration {
        what: match identifier {
            Some(id) => format!(
                "it cannot be told whether {temporary} was made for this target: there is no cluster {id}"
            ),
            None => format!(
                "it cannot be told whether {temporary} was made for this target: {host}:{port} is no cluster's address"
            ),
        },
        hint: Some(
            "name the target's cluster: target_cluster of [restore], --target-cluster, or VECFERRY_TARGET_CLUSTER"
                .to_owned(),
        ),
    }
}
