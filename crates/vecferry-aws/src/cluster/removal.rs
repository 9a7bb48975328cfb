//! Ending what was made: listed first, and exactly what was listed is deleted.

use tokio_util::sync::CancellationToken;
use vecferry_core::Result;

use super::capacity;
use super::holding::{Holding, Inventory, Kind, alone, decide, noted_besides};
use super::names::TargetName;
use super::owner::Owner;
use super::progress::Report;
use super::rds::Rds;
use super::secret::Secrets;
use super::survey::target_among;
use super::wait::{Patience, Waiting};
use crate::account::Account;

/// Lists what was made for this target and stands, in the order of removal. `identifier` names the target's cluster
/// where its address does not; where neither tells, what may be this target's is listed and kept.
///
/// # Errors
/// [`vecferry_core::Error::Service`] when RDS or Secrets Manager cannot be read.
pub async fn holdings(
    account: &Account,
    target: &TargetName,
    identifier: Option<&str>,
) -> Result<Vec<Holding>> {
    let rds = Rds::new(account);
    let inventory = Inventory {
        clusters: rds.clusters().await?,
        instances: rds.instances().await?,
        snapshots: rds.snapshots().await?,
        secrets: Secrets::new(account).ours().await?,
    };
    let cluster = target_among(&inventory.clusters, target, identifier);
    Ok(decide(&inventory, Owner { target, cluster }))
}

/// Removes what was listed, but for what is kept, and waits until it is gone. Killed in the middle it is listed and run
/// again: what is left still carries its tags.
///
/// # Errors
/// [`vecferry_core::Error::Service`] when AWS refuses, [`vecferry_core::Error::Refused`] when the limit has passed.
pub async fn remove(
    account: &Account,
    target: &TargetName,
    holdings: &[Holding],
    patience: Patience,
    (report, cancel): (Report<'_>, &CancellationToken),
) -> Result<()> {
    let (rds, secrets) = (Rds::new(account), Secrets::new(account));
    let mut waiting = Waiting::new(patience, report, cancel);
    for holding in holdings.iter().filter(|holding| !holding.kept) {
        waiting.check()?;
        let Holding { id, arn, .. } = holding;
        match holding.kind {
            Kind::Instance => instance_gone(&rds, holding, &mut waiting).await?,
            Kind::Cluster => cluster_gone(&rds, holding, &mut waiting).await?,
            Kind::Capacity => capacity_back(&rds, holding, target, &mut waiting).await?,
            Kind::Secret => {
                waiting.doing(format!("delete the secret {id}"));
                secrets.delete(arn).await?;
            }
            Kind::Snapshot => snapshot_gone(&rds, holding, &mut waiting).await?,
            Kind::Reservation => rds.untag(arn, &target.reservation()).await?,
        }
    }
    Ok(())
}

/// Deletes the instance, if it is still ours, and waits until it is gone.
async fn instance_gone(rds: &Rds, holding: &Holding, waiting: &mut Waiting<'_>) -> Result<()> {
    let id = &holding.id;
    waiting.doing(format!("delete the instance {id}"));
    loop {
        waiting.check()?;
        let outcome = match rds.instance(id).await {
            Ok(None) => return Ok(()),
            Ok(Some(now)) if !holding.is_still(&now.tags) => return Ok(()),
            Ok(Some(now)) if now.status == "deleting" => Ok(now.status),
            Ok(Some(now)) => rds.delete_instance(id).await.map(|()| now.status),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(status) => waiting.pause_for("instance", id, &status).await?,
            Err(error) => waiting.pause_after(error).await?,
        }
    }
}

/// The same of the cluster.
async fn cluster_gone(rds: &Rds, holding: &Holding, waiting: &mut Waiting<'_>) -> Result<()> {
    let id = &holding.id;
    waiting.doing(format!("delete the cluster {id}"));
    loop {
        waiting.check()?;
        let outcome = match rds.cluster(id).await {
            Ok(None) => return Ok(()),
            Ok(Some(now)) if !holding.is_still(&now.tags) => return Ok(()),
            Ok(Some(now)) if now.status == "deleting" => Ok(now.status),
            Ok(Some(now)) => rds.delete_cluster(id).await.map(|()| now.status),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(status) => waiting.pause_for("cluster", id, &status).await?,
            Err(error) => waiting.pause_after(error).await?,
        }
    }
}

/// Sets the target's capacity back, unless a restore for another of its databases was begun since the list.
async fn capacity_back(
    rds: &Rds,
    holding: &Holding,
    target: &TargetName,
    waiting: &mut Waiting<'_>,
) -> Result<()> {
    let id = &holding.id;
    let now = loop {
        waiting.check()?;
        match rds.cluster(id).await {
            Ok(now) => break now,
            Err(error) => waiting.pause_after(error).await?,
        }
    };
    let (Some(before), Some(now)) = (holding.capacity, now) else { return Ok(()) };
    match noted_besides(&now, target) {
        Some(other) => {
            waiting.doing(format!("keep the capacity of {id}: {other} stands"));
            Ok(())
        }
        None => capacity::lower(rds, id, before, waiting).await,
    }
}

/// Deletes the snapshot once it can be: one that is being taken cannot. Its cluster is looked at right before each try,
/// because a deletion may have begun since the list: what is left of the data may be this snapshot alone.
async fn snapshot_gone(rds: &Rds, holding: &Holding, waiting: &mut Waiting<'_>) -> Result<()> {
    let id = &holding.id;
    waiting.doing(format!("delete the snapshot {id}"));
    loop {
        waiting.check()?;
        let why = match still_alone(rds, holding).await {
            Ok(Now::Gone) => return Ok(()),
            Ok(Now::Spare) => match rds.delete_snapshot(id).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            Ok(Now::Alone(why)) => {
                waiting.doing(format!("keep the snapshot {id}: {why}"));
                return Ok(());
            }
            Err(error) => error,
        };
        waiting.pause_after(why).await?;
    }
}

/// What a snapshot is at this moment.
enum Now {
    /// Not there any more, or not ours.
    Gone,
    /// Its cluster is there and stays.
    Spare,
    /// It may be all that is left, and why.
    Alone(String),
}

async fn still_alone(rds: &Rds, holding: &Holding) -> Result<Now> {
    let Some(snapshot) = rds.snapshot(&holding.id).await? else { return Ok(Now::Gone) };
    if !holding.is_still(&snapshot.tags) {
        return Ok(Now::Gone);
    }
    Ok(alone(&snapshot, &rds.clusters().await?).map_or(Now::Spare, Now::Alone))
}
