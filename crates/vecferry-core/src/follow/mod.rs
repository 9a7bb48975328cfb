//! Follow: PostgreSQL's own logical replication carries on where the copy's snapshot ends.
//!
//! A migration has one link ([`link::Link`]: publication, slot, subscription) at first; an interrupted copy gives its
//! unfinished tables another one ([`regroup`]). What is durable when:
//!
//! - [`begin`]: link recorded, then publication and slot made on the source. The copy under the slot's snapshot is
//!   the one of every migration ([`crate::copy`]).
//! - [`subscribe`]: every subscription and the next phase in one transaction on the target. Killed before: none.
//! - [`watch`]: nothing of ours; the servers apply by themselves and remember how far they are.
//!
//! The slots keep WAL on the source from the moment they are made until `cutover` or `cleanup` drops them.

pub(crate) mod begin;
pub mod conflict;
pub mod health;
pub mod identity;
pub(crate) mod link;
pub mod pgoutput;
pub mod reach;
mod regroup;
pub(crate) mod state;
pub(crate) mod watch;

use std::time::Instant;

use crate::error::{Error, Result, Side};
use crate::inspect::inspect_server;
use crate::migration::Run;
use crate::pg::{CopyFormat, Dsn, Session};
use crate::phase::{Phase, Route};
use crate::policy::{ApplyStart, Clusters, Policy};
use crate::store::{self, IndexRecord, LinkRecord, RelationRecord};
use link::{Link, SubscriptionOptions};

/// The route of a follow that begins now.
///
/// # Errors
/// None yet known; a policy that contradicts itself would be one.
pub(crate) fn route(policy: &Policy) -> Result<Route> {
    Ok(match policy.follow.apply_start {
        ApplyStart::First => Route::FollowApplyFirst,
        ApplyStart::Last | ApplyStart::Auto => Route::FollowApplyLast,
    })
}

/// The source as the target's server reaches it.
pub(crate) fn source_from_target(clusters: &Clusters, policy: &Policy) -> Dsn {
    let ours = || clusters.source.clone().without_certificate_file();
    policy.follow.source_from_target.clone().unwrap_or_else(ours)
}

/// The target as the source's server reaches it.
pub(crate) fn target_from_source(clusters: &Clusters, policy: &Policy) -> Dsn {
    let ours = || clusters.target.clone().without_certificate_file();
    policy.follow.target_from_source.clone().unwrap_or_else(ours)
}

/// The migration's links that have tables, in order.
///
/// # Errors
/// [`Error::Postgres`] when the target cannot be read.
pub(crate) async fn links(control: &Session, id: &str) -> Result<Vec<Link>> {
    let relations = RelationRecord::all(control, id).await?;
    let links = LinkRecord::all(control, id).await?;
    let used = |ordinal| relations.iter().any(|record| record.relation.link == Some(ordinal));
    Ok(links
        .into_iter()
        .filter(|record| used(record.ordinal))
        .map(|record| Link::forward(id, record.ordinal))
        .collect())
}

/// Adds the constraints over the indexes that apply needs and enters the next phase, in one transaction.
///
/// # Errors
/// [`Error::Postgres`] on the target.
pub(crate) async fn finish_keys(run: &Run<'_>, begun: Instant) -> Result<()> {
    let session = &run.control;
    session.batch("begin", "BEGIN").await?;
    for record in IndexRecord::all(session, &run.id).await? {
        for statement in record.plan.attach.iter().filter(|_| record.plan.serves_apply()) {
            session.batch("attach a constraint to its index", statement).await?;
        }
    }
    enter_next(run, Phase::Keys, begun).await
}

/// Creates and starts every subscription and enters the next phase, in one transaction.
///
/// # Errors
/// [`Error::Postgres`] on the target: SQLSTATE 08006 when its server cannot reach the source, 42501 when the role may
/// not subscribe.
pub(crate) async fn subscribe(run: &Run<'_>, begun: Instant) -> Result<()> {
    let session = &run.control;
    let relations = RelationRecord::all(session, &run.id).await?;
    let sender = Session::open(&run.clusters.source, Side::Source, "follow").await?;
    let options = SubscriptionOptions {
        binary: relations.iter().all(|record| record.relation.format == CopyFormat::Binary),
        sender_version: inspect_server(&sender).await?.version_num,
        receiver_version: inspect_server(session).await?.version_num,
    };
    let source = source_from_target(run.clusters, run.policy);
    session.batch("begin", "BEGIN").await?;
    for link in links(session, &run.id).await? {
        link::create_subscription(session, &link, &source, options).await.map_err(cannot_reach)?;
        link::set_enabled(session, &link, true).await?;
    }
    enter_next(run, Phase::Subscribe, begun).await
}

/// The general hint for a lost connection would send the operator to the wrong place: it is the target's server that
/// connects here.
pub(crate) fn cannot_reach(error: Error) -> Error {
    if error.sqlstate().is_some_and(|state| state.starts_with("08")) {
        return error.with_hint(
            "the target's server must reach the source; give the address it sees with --source-from-target",
        );
    }
    error
}

async fn enter_next(run: &Run<'_>, phase: Phase, begun: Instant) -> Result<()> {
    let spent = Some((phase, begun.elapsed().as_secs_f64()));
    store::enter(&run.control, &run.id, run.route.next(phase), spent).await?;
    run.control.batch("commit the phase", "COMMIT").await
}

/// Does `work`, which locks tables, while apply stands still where it has started: a deadlock would stop it for good.
///
/// # Errors
/// Those of `work`; [`Error::Postgres`] on the target.
pub(crate) async fn undisturbed(
    run: &Run<'_>,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    if run.route != Route::FollowApplyFirst {
        return work.await;
    }
    let links = links(&run.control, &run.id).await?;
    for link in &links {
        link::set_enabled(&run.control, link, false).await?;
    }
    let done = work.await;
    // A failed step may have left the control session inside its transaction.
    let session = Session::open(&run.clusters.target, Side::Target, "control").await?;
    for link in &links {
        link::set_enabled(&session, link, true).await?;
    }
    done
}
