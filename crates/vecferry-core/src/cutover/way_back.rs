//! The link from the target back to the source, over which a rollback goes.
//!
//! Made in three moves, each safe to repeat: [`prepare`] before the fence (publication and slot on the target; making
//! a slot waits for transactions there), [`advance`] under the fence, when everything is applied (nothing that apply
//! wrote is ever sent back), [`subscribe`] after the switch (subscription on the source, which passes the fence there).

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result, Side};
use crate::follow::link::{self, Link, SubscriptionOptions};
use crate::follow::reach::{Answer, reach};
use crate::follow::state::{current_lsn, nudge};
use crate::inspect::inspect_server;
use crate::pg::{CopyFormat, Dsn, QualifiedName, Session};
use crate::store::RelationRecord;

/// How long making the slot may wait for transactions of the target.
const SLOT_PATIENCE: Duration = Duration::from_secs(60);

/// Makes publication and slot on the target, after the statements that give tables a replica identity: a published
/// table without one refuses the application's updates, and apply's.
///
/// # Errors
/// [`Error::Refused`] when the slot waits too long for somebody's transaction, [`Error::Interrupted`] when cancelled,
/// [`Error::Postgres`] otherwise.
pub(crate) async fn prepare(
    target: &Dsn,
    link: &Link,
    tables: &[QualifiedName],
    identities: &[(String, String)],
    cancel: &CancellationToken,
) -> Result<()> {
    // Sessions of its own: one that waits for a slot is given up when it waits too long.
    let session = Session::open(target, Side::Target, "way back").await?;
    session.batch("set the lock timeout", "SET lock_timeout = '30s'").await?;
    for (table, statement) in identities {
        session.batch(&format!("set the replica identity of {table}"), statement).await?;
    }
    link::create_publication(&session, link, tables).await?;
    session.batch("set the lock timeout", "SET lock_timeout = 0").await?;
    tokio::select! {
        made = link::create_slot(&session, link) => made?,
        () = cancel.cancelled() => return Err(Error::Interrupted),
        () = tokio::time::sleep(SLOT_PATIENCE) => {
            return Err(Error::Refused {
                side: Side::Target,
                what: format!(
                    "the slot of the way back waits for transactions that have been open on the target for {} s",
                    SLOT_PATIENCE.as_secs()
                ),
                hint: Some("end them (pg_stat_activity, pg_prepared_xacts), or use --no-way-back".into()),
            });
        }
    }
    // What an earlier try has left to decode is decoded now and not under the fence.
    advance(&session, link).await
}

/// Moves the slot to where the target's WAL is now.
///
/// # Errors
/// [`Error::Postgres`] on the target.
pub(crate) async fn advance(target: &Session, link: &Link) -> Result<()> {
    let now = current_lsn(target).await?;
    // Decoding goes on until it has seen a record end there or beyond: on an idle server the next one comes with the
    // background writer, up to 15 s later.
    nudge(target).await?;
    link::advance_slot(target, link, now).await
}

/// How the subscription is made.
///
/// # Errors
/// [`Error::Postgres`] when either side cannot be read.
pub(crate) async fn options(
    source: &Session,
    target: &Session,
    relations: &[RelationRecord],
) -> Result<SubscriptionOptions> {
    Ok(SubscriptionOptions {
        binary: relations.iter().all(|record| record.relation.format == CopyFormat::Binary),
        sender_version: inspect_server(target).await?.version_num,
        receiver_version: inspect_server(source).await?.version_num,
    })
}

/// Why the source's server cannot subscribe to the target, if it cannot: tried for real.
///
/// # Errors
/// [`Error::Postgres`] when the connection to the source is lost.
pub(crate) async fn refused(source: &Session, link: &Link, target: &Dsn) -> Result<Option<String>> {
    if link::subscription_exists(source, &link.name).await? {
        return Ok(None);
    }
    Ok(match reach(source, target).await? {
        Answer::Reached => None,
        Answer::Refused { message, .. } => Some(message),
        Answer::Silence { seconds } => Some(format!("no answer within {seconds} s")),
    })
}

/// Creates the subscription on the source, where it is not there, and starts it.
///
/// # Errors
/// [`Error::Postgres`] on the source: SQLSTATE 08006 when its server cannot reach the target.
pub(crate) async fn subscribe(
    source: &Session,
    link: &Link,
    target: &Dsn,
    options: SubscriptionOptions,
) -> Result<()> {
    if !link::subscription_exists(source, &link.name).await? {
        source.batch("begin", "BEGIN").await?;
        let made = link::create_subscription(source, link, target, options).await;
        source.batch("end", if made.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
        made.map_err(|error| match error.sqlstate() {
            Some(state) if state.starts_with("08") => error.with_hint(
                "the source's server must reach the target; give the address it sees with --target-from-source",
            ),
            _ => error,
        })?;
    }
    link::set_enabled(source, link, true).await
}

/// Drops all of it, subscription first.
///
/// # Errors
/// [`Error::Postgres`] with the side that failed.
pub(crate) async fn tear_down(source: &Session, target: &Session, link: &Link) -> Result<()> {
    link::drop_subscription(source, &link.name).await?;
    link::drop_slot(target, link).await?;
    link::drop_publication(target, link).await
}
