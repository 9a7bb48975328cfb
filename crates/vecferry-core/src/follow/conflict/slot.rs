//! A slot that can be read: a temporary copy that begins where the apply stands, else the slot itself.

use std::time::Duration;

use tokio_postgres::types::ToSql;

use super::subscription::Subscription;
use crate::error::{Result, Side};
use crate::pg::Session;

/// How long a sender may take to notice that its subscriber is gone. It looks between two messages, and decoding a
/// large transaction can keep it from that.
const IDLE_WITHIN: Duration = Duration::from_secs(30);

/// Short beside the wait, long beside a look.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Names a slot that this session can read, or says why none can be.
pub(super) async fn readable(
    session: &Session,
    slot: &str,
    subscription: &Subscription,
) -> Result<Result<String, String>> {
    let doing = "look at the slot";
    let sql = "SELECT COALESCE(wal_status, '') = 'lost' FROM pg_catalog.pg_replication_slots \
               WHERE slot_name = $1::text::name";
    match session.query_opt(doing, sql, &[&slot]).await?.map(|row| row.get(0)) {
        None => return Ok(Err(format!("slot {slot} is not on the source any more"))),
        Some(true) => {
            let why = format!(
                "slot {slot} has lost WAL that it needs (max_slot_wal_keep_size): the changes are gone"
            );
            return Ok(Err(why));
        }
        Some(false) => {}
    }
    match copy(session, slot, subscription).await {
        Ok(copy) => Ok(Ok(copy)),
        // No room for one more slot, or no privilege to copy one: the slot itself will do.
        Err(error) if error.sqlstate().is_some() => {
            tracing::debug!(%error, "the slot is read itself, not a copy");
            wait_until_idle(session, slot).await
        }
        Err(lost) => Err(lost),
    }
}

/// Copies the slot for this session alone, and moves the copy to where the apply stands.
async fn copy(session: &Session, slot: &str, subscription: &Subscription) -> Result<String> {
    let doing = "copy the slot";
    let sql = "SELECT slot_name::text FROM pg_catalog.pg_copy_logical_replication_slot( \
               $1::text::name, ('vecferry_look_' || pg_catalog.pg_backend_pid())::name, true)";
    let copy: String = session.query_one(doing, sql, &[&slot]).await?.get(0);
    let applied = subscription.applied.unwrap_or_default().to_string();
    let sql = "SELECT pg_catalog.pg_replication_slot_advance(slot_name, $2::text::pg_lsn) \
               FROM pg_catalog.pg_replication_slots \
               WHERE slot_name = $1::text::name AND confirmed_flush_lsn < $2::text::pg_lsn";
    let params: [&(dyn ToSql + Sync); 2] = [&copy, &applied];
    session.query_opt(doing, sql, &params).await?;
    Ok(copy)
}

async fn wait_until_idle(session: &Session, slot: &str) -> Result<Result<String, String>> {
    debug_assert_eq!(session.side(), Side::Source);
    let sql =
        "SELECT active_pid FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::text::name";
    let deadline = tokio::time::Instant::now() + IDLE_WITHIN;
    loop {
        let row = session.query_opt("look at the slot", sql, &[&slot]).await?;
        let Some(row) = row else {
            return Ok(Err(format!("slot {slot} is not on the source any more")));
        };
        match row.get::<_, Option<i32>>(0) {
            None => return Ok(Ok(slot.to_owned())),
            Some(pid) if tokio::time::Instant::now() >= deadline => {
                let seconds = IDLE_WITHIN.as_secs();
                let why = format!("slot {slot} is still in use by process {pid} after {seconds} s");
                return Ok(Err(why));
            }
            Some(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
