//! What the target knows of a subscription: whether it is enabled, how far it has come, what its statistics count.

use std::collections::BTreeMap;

use tokio_postgres::types::ToSql;

use crate::error::{Error, Result, Side};
use crate::pg::Lsn;
use crate::pg::Session;

/// A subscription of the target's database.
pub(super) struct Subscription {
    pub(super) oid: u32,
    pub(super) enabled: bool,
    /// Whether it leaves out what its publisher got from elsewhere.
    pub(super) origin_none: bool,
    /// The end of the last transaction applied; zero before the first, `None` when it is not ours to see.
    pub(super) applied: Option<Lsn>,
    /// The transaction that an operator had left out.
    pub(super) skipped: Lsn,
    pub(super) errors: i64,
    pub(super) conflicts: BTreeMap<String, i64>,
}

impl Subscription {
    /// Reads it by name.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is none.
    pub(super) async fn read(target: &Session, name: &str) -> Result<Subscription> {
        let doing = "read the subscription";
        // Not the row as a whole: its connection string is for superusers. The origin is there since PostgreSQL 16.
        let version: i32 = target
            .query_one(doing, "SELECT current_setting('server_version_num')::int4", &[])
            .await?
            .get(0);
        let origin = if version >= 160_000 { "s.suborigin = 'none'" } else { "false" };
        let sql = format!(
            "SELECT s.oid, s.subenabled, {origin}, s.subskiplsn::text, \
                    pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_progress(text, boolean)', 'EXECUTE'), \
                    pg_catalog.to_jsonb(c) \
             FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid \
             LEFT JOIN pg_catalog.pg_stat_subscription_stats c ON c.subid = s.oid \
             WHERE d.datname = pg_catalog.current_database() AND s.subname = $1"
        );
        let row = target.query_opt(doing, &sql, &[&name]).await?.ok_or_else(|| Error::Refused {
            side: Side::Target,
            what: format!("the target's database has no subscription {name}"),
            hint: None,
        })?;
        let (oid, visible): (u32, bool) = (row.get(0), row.get(4));
        let counters: Option<serde_json::Value> = row.get(5);
        let count = |value: &serde_json::Value| value.as_i64().unwrap_or_default();
        let conflicts = counters.iter().filter_map(|counters| counters.as_object()).flatten();
        Ok(Subscription {
            oid,
            enabled: row.get(1),
            origin_none: row.get(2),
            applied: if visible { Some(progress(target, oid).await?) } else { None },
            skipped: lsn(row.get(3))?,
            errors: counters.as_ref().map_or(0, |counters| count(&counters["apply_error_count"])),
            conflicts: conflicts
                .filter(|(name, value)| name.starts_with("confl_") && count(value) > 0)
                .map(|(name, value)| (name.clone(), count(value)))
                .collect(),
        })
    }
}

/// How far it has come, as its replication origin records it together with the rows.
async fn progress(target: &Session, subscription: u32) -> Result<Lsn> {
    let sql = "SELECT pg_catalog.pg_replication_origin_progress('pg_' || $1::oid, false)::text";
    let params: [&(dyn ToSql + Sync); 1] = [&subscription];
    let row = target.query_one("read how far the apply has come", sql, &params).await?;
    row.get::<_, Option<&str>>(0).map_or(Ok(Lsn::default()), lsn)
}

fn lsn(text: &str) -> Result<Lsn> {
    text.parse().map_err(|wrong| Error::Bug { what: format!("{wrong}: {text}") })
}
