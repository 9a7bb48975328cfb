//! One consistent view of one side, held open while workers read in it.

use std::collections::BTreeMap;

use super::lineage::Lineage;
use super::reading::Place;
use super::structure::{Catalog, Definition, Sequence, What};
use crate::copy::part::PreservedBots;
use crate::error::{Result, Side};
use crate::inspect::inspect;
use crate::pg::{Dsn, QualifiedName, Session};

/// An exported snapshot, alive as long as this is held.
pub(super) struct Held {
    pub(super) place: Place,
    /// The transaction that exported it.
    pub(super) session: Session,
}

impl Held {
    /// Takes and exports a snapshot.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] when connecting or exporting fails.
    pub(super) async fn take(dsn: &Dsn, side: Side) -> Result<Held> {
        Held::take_in(Session::open(dsn, side, "verify").await?, dsn).await
    }

    /// Takes and exports a snapshot in a session that has no transaction yet.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] when exporting fails.
    pub(super) async fn take_in(session: Session, dsn: &Dsn) -> Result<Held> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        session.batch("begin to read", begin).await?;
        let export = "SELECT pg_catalog.pg_export_snapshot()";
        let snapshot = session.query_one("export a snapshot", export, &[]).await?.get(0);
        let place = Place { dsn: dsn.clone(), side: session.side(), snapshot };
        Ok(Held { place, session })
    }
}

/// A side's exported snapshot and the catalog as that snapshot sees it.
pub(super) struct View {
    pub(super) place: Place,
    pub(super) catalog: Catalog,
    /// Where its rows come from; read from the record, and therefore only known on the target and as long as the record
    /// is kept.
    pub(super) lineage: Lineage,
    /// Bots whose rows are rightly not the source's, by table, as the lineage tells.
    pub(super) preserved: BTreeMap<QualifiedName, PreservedBots>,
    /// The transaction that exported the snapshot: it lives as long as this is held.
    pub(super) session: Session,
}

impl View {
    /// Exports a snapshot and reads the catalog in it.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] when connecting or reading fails.
    pub(super) async fn open(dsn: &Dsn, side: Side) -> Result<View> {
        let Held { place, session } = Held::take(dsn, side).await?;
        let inventory = inspect(&session).await?;
        let catalog = Catalog {
            sequences: sequences(&session).await?,
            definitions: definitions(&session).await?,
            inventory,
        };
        let lineage = match side {
            Side::Source => Lineage::default(),
            Side::Target => Lineage::read(&session).await?,
        };
        let preserved = lineage.left_out(&session, &catalog.inventory).await?;
        Ok(View { place, catalog, lineage, preserved, session })
    }
}

async fn sequences(session: &Session) -> Result<Vec<Sequence>> {
    let rows = session.query("read the sequences", include_str!("sequences.sql"), &[]).await?;
    let sequences = rows.iter().map(|row| {
        let increment: i64 = row.get(3);
        let cycle = if row.get(6) { " cycle" } else { "" };
        let (kind, min, max): (String, i64, i64) = (row.get(2), row.get(4), row.get(5));
        let owner: Option<String> = row.get(10);
        Sequence {
            name: QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
            options: format!("{kind} increment {increment} from {min} to {max}{cycle}"),
            descending: increment < 0,
            last_value: row.get(7),
            readable: row.get(8),
            owner: owner.map(|name| QualifiedName::new(row.get::<_, String>(9), name)),
        }
    });
    Ok(sequences.collect())
}

async fn definitions(session: &Session) -> Result<Vec<Definition>> {
    let sql = include_str!("definitions.sql");
    let rows = session.query("read the definitions", sql, &[]).await?;
    let definitions = rows.iter().map(|row| {
        let schema: Option<String> = row.get(2);
        Definition {
            what: match row.get(0) {
                "function" => What::Function,
                "view" => What::View,
                "trigger" => What::Trigger,
                "rule" => What::Rule,
                _ => What::Policy,
            },
            name: row.get(1),
            relation: schema.map(|schema| QualifiedName::new(schema, row.get::<_, String>(3))),
            fixed: row.get(4),
            written: row.get(5),
        }
    });
    Ok(definitions.collect())
}
