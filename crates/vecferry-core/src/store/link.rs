//! The record of slots: written before the slot is made, so that whatever is on the source can be found again.

use tokio_postgres::types::ToSql;

use crate::error::Result;
use crate::pg::{Lsn, QualifiedName, Session};

/// A slot of the migration, with the publication and subscription of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkRecord {
    /// Counts the migration's slots from 0.
    pub ordinal: i32,
    /// Where the slot's stream begins; `None` when a run ended before the slot was made.
    pub consistent_point: Option<Lsn>,
}

impl LinkRecord {
    /// Every slot of the migration, in order.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] when the target cannot be read.
    pub(crate) async fn all(session: &Session, id: &str) -> Result<Vec<LinkRecord>> {
        let sql = "SELECT ordinal, consistent_point FROM vecferry.link WHERE migration = $1 ORDER BY ordinal";
        let rows = session.query("read the record's slots", sql, &[&id]).await?;
        let record = |row: &tokio_postgres::Row| LinkRecord {
            ordinal: row.get(0),
            consistent_point: row.get::<_, Option<String>>(1).and_then(|lsn| lsn.parse().ok()),
        };
        Ok(rows.iter().map(record).collect())
    }
}

/// Records a slot that is about to be made.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn insert_link(session: &Session, id: &str, ordinal: i32) -> Result<()> {
    let sql =
        "INSERT INTO vecferry.link (migration, ordinal) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    session.execute("record a slot", sql, &[&id, &ordinal]).await?;
    Ok(())
}

/// Records where a slot's stream begins.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn record_consistent_point(
    session: &Session,
    id: &str,
    ordinal: i32,
    lsn: Lsn,
) -> Result<()> {
    let sql =
        "UPDATE vecferry.link SET consistent_point = $3 WHERE migration = $1 AND ordinal = $2";
    session.execute("record a slot", sql, &[&id, &ordinal, &lsn.to_string()]).await?;
    Ok(())
}

/// Hands a table over to another slot; run in the transaction that empties and reopens it.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn move_to_link(
    session: &Session,
    id: &str,
    oid: u32,
    ordinal: i32,
) -> Result<()> {
    let sql = "UPDATE vecferry.relation SET link = $3 WHERE migration = $1 AND oid = $2";
    let params: [&(dyn ToSql + Sync); 3] = [&id, &i64::from(oid), &ordinal];
    session.execute("hand a table over to another slot", sql, &params).await?;
    Ok(())
}

/// Records that a table's replica identity is about to be set on the source, and the statement that sets it back. The
/// first record of a table stays.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target fails.
pub(crate) async fn record_replica_identity(
    session: &Session,
    id: &str,
    table: &QualifiedName,
    statement: &str,
) -> Result<()> {
    let sql = "INSERT INTO vecferry.replica_identity (migration, schema, name, statement) \
               VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    let params: [&(dyn ToSql + Sync); 4] = [&id, &table.schema, &table.name, &statement];
    session.execute("record a replica identity", sql, &params).await?;
    Ok(())
}

/// Tables whose replica identity was set on the source, each with the statement that sets it back.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target cannot be read.
pub(crate) async fn replica_identities(
    session: &Session,
    id: &str,
) -> Result<Vec<(QualifiedName, String)>> {
    let sql = "SELECT schema, name, statement FROM vecferry.replica_identity WHERE migration = $1 ORDER BY schema, name";
    let rows = session.query("read the record's replica identities", sql, &[&id]).await?;
    let entry = |row: &tokio_postgres::Row| {
        (QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)), row.get(2))
    };
    Ok(rows.iter().map(entry).collect())
}
