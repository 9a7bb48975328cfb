//! Why a subscription's apply fails or has stopped. PostgreSQL writes that to the target's log only, which operators of a managed
//! server may not see. So this looks at the changes that would be applied next, in their order, for the first that the
//! target refuses: a key that is there already, a table or column that is not.
//!
//! Nothing is changed on either side. The changes are read through a temporary copy of the slot, moved to where the
//! apply has come: the slot itself may be far behind that, and may be in use. Where the source has no room for one more
//! slot, the slot itself is read once nobody uses it, and what has been applied is passed over.
//!
//! Memory is bounded: rows come one by one, only the values of key columns are kept, and reading ends after
//! [`MOST_CHANGES`].

mod cause;
mod counterpart;
mod judge;
mod lookup;
mod slot;
mod subscription;
mod walk;

use std::pin::pin;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;

use crate::error::{Error, Result, Side, on};
use crate::pg::{Session, quote_ident};
use crate::policy::Clusters;

pub use cause::{Cause, Diagnosis, MissingColumn};
use subscription::Subscription;
use walk::Walk;

/// Changes to examine. An apply that stopped is refused the first transaction it has left, so more are needed only when
/// that one is large; these take seconds.
pub const MOST_CHANGES: u64 = 10_000;

/// A longer message is not fetched: a row of text and a vector of 16 000 dimensions is a tenth of it.
const LONGEST_MESSAGE: i32 = 8 << 20;

/// The server decodes a transaction as a whole, on disk where it is large, before it sends the first row of it.
const DECODE_WITHIN: &str = "SET statement_timeout = '120s'";

/// A subscription that stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Its slot on the source.
    pub slot: String,
    /// The publications it is subscribed to.
    pub publications: Vec<String>,
    /// Its name on the target.
    pub subscription: String,
}

/// Sessions for catalogs and rows.
struct Sides {
    source: Session,
    target: Session,
}

/// Says what stopped the apply of a subscription. What cannot be seen (a privilege, a slot that is gone or in use) is
/// [`Cause::Unknown`] with the reason; call it when the subscription is disabled, because an apply that goes on makes
/// its findings old. May take minutes where a transaction of gigabytes is next.
///
/// # Errors
/// [`Error::Refused`] when the target has no such subscription, [`Error::Postgres`] when a side cannot be reached or
/// read.
pub async fn diagnose(clusters: &Clusters, stopped: &Stopped) -> Result<Diagnosis> {
    let sides = Sides {
        source: Session::open(&clusters.source, Side::Source, "diagnosis").await?,
        target: Session::open(&clusters.target, Side::Target, "diagnosis").await?,
    };
    sides.target.batch("prepare the session", lookup::SETTINGS).await?;
    let subscription = Subscription::read(&sides.target, &stopped.subscription).await?;
    let mut walk = Walk::new(&sides, &subscription);
    let unknown = examine(clusters, stopped, &subscription, &mut walk).await.or_else(explained)?;
    let (lsn, transactions_before) = walk.found_at();
    Ok(Diagnosis {
        subscription: stopped.subscription.clone(),
        enabled: subscription.enabled,
        errors: subscription.errors,
        conflicts: subscription.conflicts.clone(),
        lsn,
        transactions_before,
        changes_examined: walk.examined(),
        rows_absent: walk.absent(),
        cause: match (walk.into_cause(), unknown) {
            (Some(cause), _) => cause,
            (None, why) => Cause::Unknown { why },
        },
    })
}

/// Walks through the changes until one is refused; returns what there is to say when none was.
async fn examine(
    clusters: &Clusters,
    stopped: &Stopped,
    subscription: &Subscription,
    walk: &mut Walk<'_>,
) -> Result<String> {
    if subscription.applied.is_none() {
        let role = quote_ident(&clusters.target.login().user);
        return Ok(format!(
            "how far the apply has come cannot be seen; a superuser on the target may run \
             GRANT EXECUTE ON FUNCTION pg_replication_origin_progress(text, boolean) TO {role};"
        ));
    }
    let session = Session::open(&clusters.source, Side::Source, "changes").await?;
    session.batch("prepare the session", DECODE_WITHIN).await?;
    let slot = match slot::readable(&session, &stopped.slot, subscription).await? {
        Ok(slot) => slot,
        Err(why) => return Ok(why),
    };
    let options = options(&session, stopped, subscription).await?;
    if read(&session, &slot, &options, walk).await? {
        end(&session, clusters).await;
    }
    walk.finish().await?;
    Ok(walk.unexplained())
}

/// What the apply asks of the slot, as far as it decides which changes there are.
async fn options(
    session: &Session,
    stopped: &Stopped,
    subscription: &Subscription,
) -> Result<Vec<String>> {
    let names: Vec<String> = stopped.publications.iter().map(|name| quote_ident(name)).collect();
    let mut options = vec!["proto_version".to_owned(), "1".to_owned()];
    options.extend(["publication_names".to_owned(), names.join(",")]);
    let sql = "SELECT current_setting('server_version_num')::int4 >= 160000";
    let knows_origin: bool = session.query_one("read the version", sql, &[]).await?.get(0);
    if subscription.origin_none && knows_origin {
        options.extend(["origin".to_owned(), "none".to_owned()]);
    }
    Ok(options)
}

/// Errors of reading that are an answer, though not the one looked for.
fn explained(error: Error) -> Result<String> {
    let state = error.sqlstate().unwrap_or_default().to_owned();
    match error.side() {
        Some(Side::Source) if state == "57014" => {
            Ok("the source did not decode the next transactions within two minutes".into())
        }
        Some(Side::Source) if state == "55006" => {
            Ok("the slot is in use again: somebody enabled the subscription".into())
        }
        Some(Side::Target) if state == "55P03" || state == "57014" => {
            Ok("somebody holds locks on the target's tables, so that keys could not be looked for"
                .into())
        }
        // Class 22: a value that the target's type does not take, which is what the apply met, too.
        Some(Side::Target) if state.starts_with("22") || state == "42846" => Ok(format!(
            "a key of the source does not fit the type of the target's column (SQLSTATE {state}); compare the definitions"
        )),
        _ => Err(error),
    }
}

/// Reads changes until the walk has seen enough; true when the server has more.
async fn read(
    session: &Session,
    slot: &str,
    options: &[String],
    walk: &mut Walk<'_>,
) -> Result<bool> {
    // Limits what is decoded at the end of a transaction only.
    let enough = i32::try_from(MOST_CHANGES).unwrap_or(i32::MAX);
    let sql = "SELECT pg_catalog.octet_length(data), \
                      CASE WHEN pg_catalog.octet_length(data) <= $4 THEN data END \
               FROM pg_catalog.pg_logical_slot_peek_binary_changes($1::text::name, NULL, $2, VARIADIC $3::text[])";
    let params: [&(dyn ToSql + Sync); 4] = [&slot, &enough, &options, &LONGEST_MESSAGE];
    let doing = "read the changes that come next";
    let rows = session.client().query_raw(sql, params).await.map_err(on(Side::Source, doing))?;
    let mut rows = pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(on(Side::Source, doing))? {
        match row.get::<_, Option<&[u8]>>(1) {
            Some(message) => walk.take(Bytes::copy_from_slice(message)).await?,
            None => walk.take_too_long(row.get(0)).await?,
        }
        if walk.has_ended() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Stops a statement whose rows are not wanted any more. Without that the server would learn of it from the closed
/// connection alone, within a second; so a failure to do it politely harms nothing.
async fn end(session: &Session, clusters: &Clusters) {
    if let Err(error) = session.cancel(&clusters.source).await {
        tracing::debug!(%error, "the rest of the changes was not cancelled");
    }
}
