//! A link: publication and slot on the sending cluster, subscription on the receiving one, all three of one name that
//! derives from the migration's id. The primitives only; who makes, watches and drops links is decided elsewhere.
//!
//! Everything here is safe to repeat: what is there already is not made again, what is gone is not dropped again. A
//! slot's exported snapshot is the exception: it lives as long as the replication connection that made it.

use std::time::Duration;

use crate::error::{Error, Result, Side};
use crate::pg::{Dsn, Lsn, QualifiedName, Session, WireConnection, quote_ident, quote_literal};

/// Every object of ours on either cluster begins like this.
pub(crate) const PREFIX: &str = "vecferry_";

/// Publication, slot and subscription of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// Name of all three: at most 63 bytes of lower-case letters, digits and underscores, as slots demand.
    pub name: String,
    /// The cluster that sends.
    pub from: Side,
}

impl Link {
    /// A link from source to target. `ordinal` counts the migration's slots: an interrupted copy gives its unfinished
    /// tables another one.
    pub(crate) fn forward(migration: &str, ordinal: i32) -> Link {
        Link { name: format!("{}_{ordinal}", stem(migration)), from: Side::Source }
    }

    /// The way back, from target to source, once the application is on the target.
    pub(crate) fn back(migration: &str) -> Link {
        Link { name: format!("{}_back", stem(migration)), from: Side::Target }
    }
}

/// `vecferry_` and the migration's id as a slot's name may hold it.
pub(crate) fn stem(migration: &str) -> String {
    let id = migration.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
    format!("{PREFIX}{}", id.take(40).collect::<String>())
}

/// Publishes every change of the tables, each under its own name. Nothing else may be in the session's transaction.
///
/// # Errors
/// [`Error::Postgres`]: SQLSTATE 42501 when the role does not own a table or may not create in the database.
pub(crate) async fn create_publication(
    sender: &Session,
    link: &Link,
    tables: &[QualifiedName],
) -> Result<()> {
    drop_publication(sender, link).await?;
    let sql = format!("CREATE PUBLICATION {} {}", quote_ident(&link.name), for_tables(tables));
    sender.batch("create a publication", &sql).await
}

fn for_tables(tables: &[QualifiedName]) -> String {
    match tables {
        [] => String::new(),
        tables => format!("FOR TABLE {}", only(tables)),
    }
}

fn only(tables: &[QualifiedName]) -> String {
    tables.iter().map(|table| format!("ONLY {table}")).collect::<Vec<_>>().join(", ")
}

/// Takes tables out of the publication. Changes made before stay in the slot's stream; a subscription made after this
/// passes them over, because it takes the list of its tables from the publication when it is created.
///
/// # Errors
/// [`Error::Postgres`].
pub(crate) async fn retire_tables(
    sender: &Session,
    link: &Link,
    tables: &[QualifiedName],
) -> Result<()> {
    // Those that are published still: a run that was killed here has retired some of them.
    let sql = "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = $1";
    let rows = sender.query("read a publication", sql, &[&link.name]).await?;
    let published: Vec<QualifiedName> = rows
        .iter()
        .map(|row| QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)))
        .filter(|table| tables.contains(table))
        .collect();
    if published.is_empty() {
        return Ok(());
    }
    let sql =
        format!("ALTER PUBLICATION {} DROP TABLE {}", quote_ident(&link.name), only(&published));
    sender.batch("take tables out of a publication", &sql).await
}

/// A slot whose exported snapshot is alive as long as `_connection` is.
pub(crate) struct ExportedSlot {
    _connection: WireConnection,
    /// Name of the snapshot that shows exactly what the slot will not send.
    pub snapshot: String,
    /// Where the slot's stream begins.
    pub consistent_point: Lsn,
}

/// Creates the slot and exports the snapshot of its consistent point. An older slot of the name is dropped first: its
/// snapshot is gone. Waits until every transaction that writes now has ended.
///
/// # Errors
/// [`Error::Postgres`]: 53400 when no slot is free, 42501 when the role may not replicate, 55000 when `wal_level` is
/// not `logical`.
pub(crate) async fn create_slot_exporting(
    dsn: &Dsn,
    sender: &Session,
    link: &Link,
) -> Result<ExportedSlot> {
    drop_slot(sender, link).await?;
    let mut connection = WireConnection::open_replication(dsn, link.from, "slot").await?;
    // The spelling of 14 and before, which later servers take as well.
    let sql = format!(
        "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT",
        quote_ident(&link.name)
    );
    let rows = connection.simple("create a replication slot", &sql).await?;
    let answer = rows.into_iter().next().and_then(|row| {
        let mut columns = row.into_iter().skip(1).flatten();
        Some((columns.next()?.parse().ok()?, columns.next()?))
    });
    let (consistent_point, snapshot) = answer.ok_or_else(|| Error::Bug {
        what: "the answer to CREATE_REPLICATION_SLOT has another shape".into(),
    })?;
    Ok(ExportedSlot { _connection: connection, snapshot, consistent_point })
}

/// Creates a slot without a snapshot, where there is none of the name. Waits like [`create_slot_exporting`].
///
/// # Errors
/// [`Error::Postgres`], as there.
pub(crate) async fn create_slot(sender: &Session, link: &Link) -> Result<()> {
    let sql = "SELECT pg_create_logical_replication_slot($1, 'pgoutput') \
               WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)";
    sender.query("create a replication slot", sql, &[&link.name]).await?;
    Ok(())
}

/// Moves an unused slot forward to `lsn`, so that nothing before it is sent.
///
/// # Errors
/// [`Error::Postgres`]: 55006 when the slot is in use.
pub(crate) async fn advance_slot(sender: &Session, link: &Link, lsn: Lsn) -> Result<()> {
    // A slot never goes back; asking for a place behind it is an error.
    let sql = "SELECT pg_replication_slot_advance(slot_name, $2::text::pg_lsn) FROM pg_replication_slots \
               WHERE slot_name = $1 AND confirmed_flush_lsn < $2::text::pg_lsn";
    sender.query("advance a replication slot", sql, &[&link.name, &lsn.to_string()]).await?;
    Ok(())
}

/// How a subscription is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubscriptionOptions {
    /// Whether every column may travel in binary ([`crate::inventory::Table::copy_format`]).
    pub binary: bool,
    /// `server_version_num` of the sending cluster.
    pub sender_version: u32,
    /// `server_version_num` of the receiving cluster.
    pub receiver_version: u32,
}

/// Creates the subscription on the existing slot, disabled; connects to the sender. To be run in a transaction, with
/// which the record can commit.
///
/// # Errors
/// [`Error::Postgres`]: SQLSTATE 08006 when the receiver's server cannot reach the sender, 42501 when the role may not
/// subscribe.
pub(crate) async fn create_subscription(
    receiver: &Session,
    link: &Link,
    sender: &Dsn,
    options: SubscriptionOptions,
) -> Result<()> {
    let doing = "create a subscription";
    let sql = "SELECT set_config('vecferry.conninfo', $1, true)";
    receiver.query_one(doing, sql, &[&sender.conninfo()]).await?;
    receiver.batch(doing, &create_subscription_sql(link, options)).await
}

/// The block that creates the subscription. A server writes a statement that fails into its log, and this one holds a
/// password: so the connection string comes as a parameter, and a failure is told without its statement.
fn create_subscription_sql(link: &Link, options: SubscriptionOptions) -> String {
    let parallel = options.sender_version >= 160_000 && options.receiver_version >= 160_000;
    let mut with = vec![
        "create_slot = false".to_owned(),
        format!("slot_name = {}", quote_literal(&link.name)),
        "copy_data = false".to_owned(),
        "enabled = false".to_owned(),
        // Large transactions are sent while they run, so that the sender need not spill them.
        format!("streaming = {}", if parallel { "parallel" } else { "on" }),
        format!("binary = {}", options.binary),
    ];
    if options.receiver_version >= 150_000 {
        // A lost connection counts as an error too (`start_apply` in PostgreSQL's worker.c): with true, a restart of
        // the sender would end apply for good while nobody watches.
        with.push("disable_on_error = false".to_owned());
    }
    if options.receiver_version >= 160_000 {
        with.push("origin = none".to_owned());
    }
    let name = quote_ident(&link.name);
    let create = format!(
        "CREATE SUBSCRIPTION {name} CONNECTION %L PUBLICATION {name} WITH ({})",
        with.join(", ")
    );
    with_conninfo(&create)
}

/// A block that runs a statement whose `%L` is the connection string.
fn with_conninfo(statement: &str) -> String {
    format!(
        "DO $vecferry$ DECLARE words text; BEGIN \
         EXECUTE format({}, current_setting('vecferry.conninfo')); \
         EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS words = MESSAGE_TEXT; \
         RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = words; END $vecferry$",
        quote_literal(statement)
    )
}

/// Gives the subscription the address and login by which its server connects from now on. The same ones again change
/// nothing: apply goes on where it is.
///
/// # Errors
/// [`Error::Postgres`].
pub(crate) async fn set_connection(receiver: &Session, link: &Link, sender: &Dsn) -> Result<()> {
    let doing = "give a subscription its new login";
    receiver.batch(doing, "BEGIN").await?;
    let sql = "SELECT set_config('vecferry.conninfo', $1, true)";
    receiver.query_one(doing, sql, &[&sender.conninfo()]).await?;
    let alter = format!("ALTER SUBSCRIPTION {} CONNECTION %L", quote_ident(&link.name));
    let altered = receiver.batch(doing, &with_conninfo(&alter)).await;
    let end = if altered.is_ok() { "COMMIT" } else { "ROLLBACK" };
    receiver.batch(doing, end).await?;
    altered
}

/// Whether the receiving database has the subscription.
///
/// # Errors
/// [`Error::Postgres`].
pub(crate) async fn subscription_exists(receiver: &Session, name: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
               WHERE d.datname = current_database() AND s.subname = $1)";
    Ok(receiver.query_one("look for a subscription", sql, &[&name]).await?.get(0))
}

/// Starts or stops apply.
///
/// # Errors
/// [`Error::Postgres`].
pub(crate) async fn set_enabled(receiver: &Session, link: &Link, enabled: bool) -> Result<()> {
    let verb = if enabled { "ENABLE" } else { "DISABLE" };
    let sql = format!("ALTER SUBSCRIPTION {} {verb}", quote_ident(&link.name));
    receiver.batch(&format!("{} a subscription", verb.to_lowercase()), &sql).await
}

/// Drops the subscription and leaves its slot, which is dropped on its own cluster: the server that drops a
/// subscription would have to reach the other one.
///
/// # Errors
/// [`Error::Postgres`].
pub(crate) async fn drop_subscription(receiver: &Session, name: &str) -> Result<()> {
    if !subscription_exists(receiver, name).await? {
        return Ok(());
    }
    let doing = format!("drop subscription {name}");
    let name = quote_ident(name);
    for sql in [
        format!("ALTER SUBSCRIPTION {name} DISABLE"),
        format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"),
        format!("DROP SUBSCRIPTION {name}"),
    ] {
        receiver.batch(&doing, &sql).await?;
    }
    Ok(())
}

/// Drops the publication where it is there.
///
/// # Errors
/// [`Error::Postgres`].
pub(crate) async fn drop_publication(sender: &Session, link: &Link) -> Result<()> {
    let sql = format!("DROP PUBLICATION IF EXISTS {}", quote_ident(&link.name));
    sender.batch(&format!("drop publication {}", link.name), &sql).await
}

/// How long a walsender may take to let go of a slot after it was told to end.
const RELEASE_MILLIS: i64 = 10_000;

/// How often a slot that was in use is tried again.
const RELEASE_TRIES: u32 = 20;

/// Drops the slot where it is there, ending the process that uses it.
///
/// # Errors
/// [`Error::Postgres`]: 55006 when somebody keeps using it.
pub(crate) async fn drop_slot(sender: &Session, link: &Link) -> Result<()> {
    let mut tries = 0;
    loop {
        let sql = "SELECT pg_terminate_backend(active_pid, $2) FROM pg_replication_slots \
                   WHERE slot_name = $1 AND active_pid IS NOT NULL";
        sender.query("end a slot's process", sql, &[&link.name, &RELEASE_MILLIS]).await?;
        let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
        let dropped = sender.query(&format!("drop slot {}", link.name), sql, &[&link.name]).await;
        match dropped {
            Ok(_) => return Ok(()),
            // A receiver that has not heard of it yet connected again in between.
            Err(error) if error.sqlstate() == Some("55006") && tries < RELEASE_TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_slot_may_be_called_and_derive_from_the_migration() {
        let link = Link::forward("0198c0de-0000-7000-8000-000000000001", 3);
        assert_eq!(link.name, "vecferry_0198c0de000070008000000000000001_3");
        assert!(link.name.len() <= 63);
        assert!(Link::back("0198c0de").name.starts_with(&stem("0198c0de")));
    }

    #[test]
    fn a_subscription_asks_for_what_both_servers_know() {
        let sql = |sender_version, receiver_version| {
            let options = SubscriptionOptions { binary: true, sender_version, receiver_version };
            create_subscription_sql(&Link::forward("a", 0), options)
        };
        assert!(sql(160_002, 180_004).contains("streaming = parallel"));
        assert!(sql(150_002, 180_004).contains("streaming = on"));
        assert!(!sql(160_002, 150_000).contains("origin"));
        assert!(sql(160_002, 180_004).contains("slot_name = ''vecferry_a_0''"));
    }
}
