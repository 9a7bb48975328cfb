//! Reads and measures what a plan is made from. Changes nothing: the probe's writes are rolled back.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::facts::{Facts, Probe};
use crate::error::{Error, Result, Side, on_one_line};
use crate::inspect::inspect;
use crate::inventory::Inventory;
use crate::pg::{Dsn, Session};
use crate::policy::{Clusters, Method, Policy};
use crate::probe;
use crate::probe::wal::Meter;

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

/// Reads the target alone, for a plan whose source cannot be read. What is wrong with the target is a fact.
///
/// # Errors
/// [`Error::Interrupted`] when cancelled.
pub async fn gather_target(
    target: &Dsn,
    cancel: &CancellationToken,
) -> Result<std::result::Result<Inventory, String>> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Interrupted),
        read = read_side(target, Side::Target) => {
            Ok(read.map(|(inventory, ..)| inventory).map_err(|error| on_one_line(&error)))
        }
    }
}

async fn read(clusters: &Clusters, policy: &Policy, cancel: &CancellationToken) -> Result<Facts> {
    // A copy is not concerned with what is written meanwhile.
    let concerned = policy.method != Some(Method::Copy);
    let meter = async { if concerned { Some(Meter::start(&clusters.source).await) } else { None } };
    let (meter, source, target) = tokio::join!(
        meter,
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
    // Before the probe, whose reading may make the source write hints.
    if let Some(meter) = meter {
        measure_wal(meter, &mut facts).await;
    }
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

async fn measure_wal(meter: Result<Meter>, facts: &mut Facts) {
    // There is no log to be written on a standby, and no surprise in that.
    if facts.source.server.in_recovery {
        return;
    }
    let measured = match meter {
        Ok(meter) => meter.stop().await,
        Err(error) => Err(error),
    };
    match measured {
        Ok(wal) => facts.probe.wal = Some(wal),
        Err(error) => probe::left_out(facts, "what is written to the source", &error),
    }
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
