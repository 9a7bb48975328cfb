//! The target's capacity, raised while it is filled. What it was before is on the cluster itself, as a tag, before
//! anything is changed: whoever finds the tag sets it back, however the run ended that wrote it.

use vecferry_core::Result;

use super::facts::{Capacity, Cluster};
use super::names::CAPACITY;
use super::rds::Rds;
use super::wait::Waiting;

/// The capacity before it was raised, if it was.
pub(super) fn before(cluster: &Cluster) -> Option<Capacity> {
    cluster.tags.get(CAPACITY).and_then(|text| text.parse().ok())
}

/// Raises it. A tag that is there already is kept: it is from before the first run.
pub(super) async fn raise(
    rds: &Rds,
    cluster: &Cluster,
    wanted: Capacity,
    waiting: &mut Waiting<'_>,
) -> Result<()> {
    if let (None, Some(now)) = (before(cluster), cluster.capacity) {
        rds.tag(&cluster.arn, &[(CAPACITY, now.to_string().as_str())]).await?;
    }
    waiting.doing(format!("raise the capacity of {} to {wanted} ACUs", cluster.id));
    set(rds, &cluster.id, wanted, waiting).await
}

/// Sets it back and forgets what it was.
pub(super) async fn lower(
    rds: &Rds,
    cluster: &str,
    before: Capacity,
    waiting: &mut Waiting<'_>,
) -> Result<()> {
    waiting.doing(format!("set the capacity of {cluster} back to {before} ACUs"));
    set(rds, cluster, before, waiting).await?;
    match rds.cluster(cluster).await? {
        Some(cluster) => rds.untag(&cluster.arn, CAPACITY).await,
        None => Ok(()),
    }
}

/// Sets it and waits until it is so. A cluster that is gone has none.
async fn set(rds: &Rds, id: &str, wanted: Capacity, waiting: &mut Waiting<'_>) -> Result<()> {
    loop {
        waiting.check()?;
        let outcome = match rds.cluster(id).await {
            Ok(None) => return Ok(()),
            Ok(Some(now)) if now.status != "available" => {
                waiting.pause_for("cluster", id, &now.status).await?;
                continue;
            }
            Ok(Some(now)) if now.capacity == Some(wanted) => return Ok(()),
            Ok(Some(_)) => rds.set_capacity(id, wanted).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => waiting.pause_for("cluster", id, "modifying").await?,
            Err(error) => waiting.pause_after(error).await?,
        }
    }
}
