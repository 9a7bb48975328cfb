//! Reads and measures what a plan is made from. Changes nothing: the probe's writes are rolled back.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::facts::{Facts, Probe};
use crate::error::{Error, Result, Side};
use crate::inspect::inspect;
use crate::inventory::Inventory;
use crate::pg::{Dsn, Session};
use crate::policy::{Clusters, Policy};
use crate::probe;

/// Reads both clusters and measures this source and this target for a few seconds. A target that cannot be read is
/// a fact; the plan then has no times.
///
/// # Errors
/// [`Error::Postgres`] when the source cannot be read, [`Error::Interrupted`] when cancelled.
pub async fn gather(
    clusters: &Clusters,
    policy: &Policy,
    cancel: &CancellationToken,
) -> Result<Facts> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Interrupted),
        facts = read(clusters, policy, cancel) => facts,
    }
}

async fn read(clusters: &Clusters, policy: &Policy, cancel: &CancellationToken) -> Result<Facts> {
    let (source, target) = tokio::join!(
        read_side(&clusters.source, Side::Source),
        read_side(&clusters.target, Side::Target)
    );
    let (source, seen_in, _) = source?;
    let mut facts = Facts {
        source,
        target: Err(String::new()),
        probe: Probe { catalog_seconds: seen_in, ..Probe::default() },
        policy: policy.clone(),
    };
    match target {
        Ok((target, _, trip)) => {
            facts.target = Ok(target);
            facts.probe.round_trip_seconds = Some(trip);
            probe::measure(clusters, &mut facts, cancel).await;
        }
        Err(error) => {
            facts.probe.left_out.push("nothing was measured, as the target cannot be read".into());
            facts.target = Err(match &error {
                Error::Postgres { doing, failure, .. } => format!("cannot {doing}: {failure}"),
                other => other.to_string(),
            });
        }
    }
    Ok(facts)
}

/// The database, the seconds its description took, and those of one round trip.
async fn read_side(dsn: &Dsn, side: Side) -> Result<(Inventory, f64, f64)> {
    let session = Session::open(dsn, side, "plan").await?;
    let started = Instant::now();
    let inventory = inspect(&session).await?;
    let seen_in = started.elapsed().as_secs_f64();
    let started = Instant::now();
    session.batch("measure a round trip", "SELECT 1").await?;
    Ok((inventory, seen_in, started.elapsed().as_secs_f64()))
}
