//! Reads what both clusters say of a link.

use super::health::{LinkState, SlotState, SubscriptionState};
use super::link::Link;
use crate::error::Result;
use crate::pg::{Lsn, Session};

/// Where the server writes now. After a commit was answered this is at or beyond that commit.
///
/// # Errors
/// [`crate::Error::Postgres`]; a standby has no such place.
pub(crate) async fn current_lsn(session: &Session) -> Result<Lsn> {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
    Ok(lsn(session.query_one("read the position of the WAL", sql, &[]).await?.get(0)))
}

/// Writes a few bytes of WAL that no subscription is sent, so that an idle sender and its receiver speak of where they
/// are: a receiver that has nothing to report does so every `wal_receiver_status_interval`, 10 seconds, only.
///
/// # Errors
/// [`crate::Error::Postgres`].
pub(crate) async fn nudge(sender: &Session) -> Result<()> {
    // Transactional, because only a commit flushes it.
    let sql = "SELECT pg_logical_emit_message(true, 'vecferry', '')";
    sender.query("ask for the receiver's position", sql, &[]).await?;
    Ok(())
}

fn lsn(bytes: i64) -> Lsn {
    Lsn(bytes.cast_unsigned())
}

/// Reads the link's state, the sender first: what the receiver then says is as new or newer.
///
/// # Errors
/// [`crate::Error::Postgres`] when either side cannot be read.
pub(crate) async fn read_link(
    sender: &Session,
    receiver: &Session,
    link: &Link,
) -> Result<LinkState> {
    let sender_lsn = current_lsn(sender).await?;
    let publication = publication_exists(sender, &link.name).await?;
    Ok(LinkState {
        name: link.name.clone(),
        sender_lsn,
        slot: read_slot(sender, &link.name).await?,
        publication,
        subscription: read_subscription(receiver, &link.name).await?,
    })
}

/// Whether the publication is there.
///
/// # Errors
/// [`crate::Error::Postgres`].
pub(crate) async fn publication_exists(sender: &Session, name: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)";
    Ok(sender.query_one("look for a publication", sql, &[&name]).await?.get(0))
}

/// The slot as its cluster sees it.
///
/// # Errors
/// [`crate::Error::Postgres`].
pub(crate) async fn read_slot(sender: &Session, name: &str) -> Result<Option<SlotState>> {
    // Columns that a server does not have yet are NULL in its row as JSON.
    let sql = "SELECT s.active, pg_wal_lsn_diff(s.confirmed_flush_lsn, '0/0')::bigint, \
               pg_wal_lsn_diff(s.restart_lsn, '0/0')::bigint, \
               GREATEST(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), s.restart_lsn), 0)::bigint, \
               s.wal_status, s.safe_wal_size, \
               COALESCE(to_jsonb(s)->>'invalidation_reason', \
                 CASE WHEN (to_jsonb(s)->>'conflicting')::boolean THEN 'conflicting' END), \
               extract(epoch FROM r.replay_lag)::float8 \
               FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid \
               WHERE s.slot_name = $1 AND s.database = current_database()";
    let row = sender.query_opt("read a replication slot", sql, &[&name]).await?;
    Ok(row.map(|row| SlotState {
        active: row.get(0),
        confirmed_lsn: lsn(row.get::<_, Option<i64>>(1).unwrap_or(0)),
        restart_lsn: row.get::<_, Option<i64>>(2).map(lsn),
        retained_bytes: row.get::<_, Option<i64>>(3).unwrap_or(0).cast_unsigned(),
        wal_status: row.get(4),
        safe_bytes: row.get(5),
        invalidation: row.get(6),
        replay_lag_seconds: row.get(7),
    }))
}

/// The subscription as its cluster sees it.
///
/// # Errors
/// [`crate::Error::Postgres`].
pub(crate) async fn read_subscription(
    receiver: &Session,
    name: &str,
) -> Result<Option<SubscriptionState>> {
    // `pg_subscription` itself is for superusers; these columns of it are for all.
    let sql = "SELECT s.subenabled, w.pid IS NOT NULL, \
               pg_wal_lsn_diff(w.received_lsn, '0/0')::bigint, pg_wal_lsn_diff(w.latest_end_lsn, '0/0')::bigint \
               FROM pg_subscription s \
               LEFT JOIN LATERAL (SELECT pid, received_lsn, latest_end_lsn FROM pg_stat_subscription w \
                 WHERE w.subid = s.oid AND w.relid IS NULL AND to_jsonb(w)->>'leader_pid' IS NULL \
                 ORDER BY pid LIMIT 1) w ON true \
               JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database() \
               WHERE s.subname = $1";
    let Some(row) = receiver.query_opt("read a subscription", sql, &[&name]).await? else {
        return Ok(None);
    };
    Ok(Some(SubscriptionState {
        enabled: row.get(0),
        running: row.get(1),
        received_lsn: row.get::<_, Option<i64>>(2).map(lsn),
        reported_lsn: row.get::<_, Option<i64>>(3).map(lsn),
        apply_errors: apply_errors(receiver, name).await?,
    }))
}

/// Errors of apply, from statistics that exist since 15.
async fn apply_errors(receiver: &Session, name: &str) -> Result<Option<i64>> {
    let there = "SELECT to_regclass('pg_catalog.pg_stat_subscription_stats') IS NOT NULL";
    if !receiver.query_one("look for a view", there, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let sql = "SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = $1";
    let row = receiver.query_opt("read a subscription's errors", sql, &[&name]).await?;
    Ok(row.map(|row| row.get(0)))
}
