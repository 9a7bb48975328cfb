//! The target's table that the changes of one of the source's go to: where its columns are in what the source sends,
//! what makes its rows unique, and why it would refuse them all.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Sides;
use super::cause::{Cause, MissingColumn};
use crate::error::Result;
use crate::follow::pgoutput::{Column, Relation};
use crate::pg::QualifiedName;

/// A published table, and what the target has in its place.
pub(super) struct Counterpart {
    /// OID on the source.
    pub(super) relation: u32,
    pub(super) name: QualifiedName,
    /// Rows are in partitions, so that a look must not say ONLY.
    pub(super) partitioned: bool,
    /// Whether the subscription applies changes of this table at all.
    pub(super) applied: bool,
    /// Unique indexes over columns that the source sends, the primary key first.
    pub(super) uniques: Vec<Unique>,
    /// Where the values are that name a row: the replica identity, or a unique key where that is the whole row. Empty
    /// when the source names no rows.
    pub(super) identity: Vec<usize>,
    /// Names of these columns.
    pub(super) identity_columns: Vec<String>,
    /// The unique index over just these columns, through which a row is found.
    pub(super) identity_unique: Option<usize>,
    /// Where the values are that must not be NULL, and their columns' names.
    pub(super) required: Vec<(usize, String)>,
    /// Why no change is taken.
    pub(super) refuses_all: Option<Cause>,
    /// Why no update and no delete is taken.
    pub(super) refuses_updates: Option<Cause>,
    /// Why no insert is taken.
    pub(super) refuses_inserts: Option<Cause>,
}

/// A unique index.
pub(super) struct Unique {
    pub(super) name: String,
    pub(super) columns: Vec<KeyColumn>,
    /// Whether a key with a NULL equals no other.
    pub(super) nulls_distinct: bool,
}

/// A column of a unique index.
pub(super) struct KeyColumn {
    pub(super) name: String,
    /// Where its value is in what the source sends.
    pub(super) place: usize,
    /// Its type and its operator class's equality, as SQL.
    pub(super) sql_type: String,
    pub(super) equals: String,
}

/// A column as the target has it.
struct TargetColumn {
    name: String,
    not_null: bool,
    has_default: bool,
    generated: bool,
    identity: bool,
}

impl Counterpart {
    /// Reads the target's table of the same name.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] when a catalog cannot be read.
    pub(super) async fn read(
        sides: &Sides,
        subscription: u32,
        relation: &Relation,
    ) -> Result<Counterpart> {
        let name = QualifiedName::new(&relation.schema, &relation.name);
        let doing = format!("read the catalog about {}", name.plain());
        let sql = "SELECT c.oid, c.relkind = 'p', COALESCE(r.srsubstate IN ('r', 's'), false) \
                   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   LEFT JOIN pg_catalog.pg_subscription_rel r ON r.srrelid = c.oid AND r.srsubid = $3 \
                   WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";
        let params: [&(dyn ToSql + Sync); 3] = [&name.schema, &name.name, &subscription];
        let Some(row) = sides.target.query_opt(&doing, sql, &params).await? else {
            return Ok(Counterpart::missing(relation, name));
        };
        let (oid, partitioned, applied): (u32, bool, bool) = (row.get(0), row.get(1), row.get(2));
        let columns = columns(sides, &doing, oid).await?;
        let uniques = uniques(sides, &doing, oid, relation).await?;
        let whole_row = relation.replica_identity == b'f';
        let identity: Vec<usize> = match whole_row {
            true => uniques.first().map(Unique::places).unwrap_or_default(),
            false => (0..relation.columns.len())
                .filter(|place| relation.columns[*place].identity)
                .collect(),
        };
        let same = |unique: &Unique| sorted(unique.places()) == sorted(identity.clone());
        let identity_unique = uniques.iter().position(same);
        let refuses_all = match lacking(relation, &columns) {
            lacking if lacking.is_empty() => generated(&name, relation, &columns),
            lacking => Some(column_missing(sides, &name, lacking).await?),
        };
        Ok(Counterpart {
            relation: relation.oid,
            partitioned,
            applied,
            identity_columns: identity
                .iter()
                .map(|at| relation.columns[*at].name.clone())
                .collect(),
            identity,
            identity_unique,
            required: required(relation, &columns),
            refuses_all,
            refuses_updates: no_identity(&name, relation, &columns),
            refuses_inserts: no_value(&name, relation, &columns),
            uniques,
            name,
        })
    }

    fn missing(relation: &Relation, name: QualifiedName) -> Counterpart {
        Counterpart {
            relation: relation.oid,
            partitioned: false,
            applied: false,
            uniques: Vec::new(),
            identity: Vec::new(),
            identity_columns: Vec::new(),
            identity_unique: None,
            required: Vec::new(),
            refuses_all: Some(Cause::TableMissing { table: name.clone() }),
            refuses_updates: None,
            refuses_inserts: None,
            name,
        }
    }
}

impl Unique {
    /// Where the values of its columns are in what the source sends.
    pub(super) fn places(&self) -> Vec<usize> {
        self.columns.iter().map(|column| column.place).collect()
    }
}

async fn columns(sides: &Sides, doing: &str, oid: u32) -> Result<Vec<TargetColumn>> {
    let rows = sides.target.query(doing, include_str!("columns.sql"), &[&oid]).await?;
    let column = |row: &Row| TargetColumn {
        name: row.get(0),
        not_null: row.get(1),
        has_default: row.get(2),
        generated: row.get(3),
        identity: row.get(4),
    };
    Ok(rows.iter().map(column).collect())
}

async fn uniques(sides: &Sides, doing: &str, oid: u32, relation: &Relation) -> Result<Vec<Unique>> {
    let rows = sides.target.query(doing, include_str!("uniques.sql"), &[&oid]).await?;
    let unique = |row: &Row| {
        let (names, types, equals): (Vec<String>, Vec<String>, Vec<String>) =
            (row.get(2), row.get(3), row.get(4));
        let columns = names.into_iter().zip(types).zip(equals).map(|((name, sql_type), equals)| {
            // A column that the source does not send gets a default, which only the server knows.
            let place = relation.columns.iter().position(|column| column.name == name)?;
            Some(KeyColumn { name, place, sql_type, equals })
        });
        let columns = columns.collect::<Option<Vec<KeyColumn>>>()?;
        Some(Unique { name: row.get(0), nulls_distinct: row.get(1), columns })
    };
    Ok(rows.iter().filter_map(unique).collect())
}

fn lacking<'a>(relation: &'a Relation, columns: &[TargetColumn]) -> Vec<&'a Column> {
    let known = |column: &&Column| columns.iter().any(|other| other.name == column.name);
    relation.columns.iter().filter(|column| !known(column)).collect()
}

async fn column_missing(
    sides: &Sides,
    table: &QualifiedName,
    lacking: Vec<&Column>,
) -> Result<Cause> {
    let sql = "SELECT pg_catalog.format_type(t.oid, $2) FROM pg_catalog.pg_type t WHERE t.oid = $1";
    let mut columns = Vec::new();
    for column in lacking {
        let params: [&(dyn ToSql + Sync); 2] = [&column.type_oid, &column.type_modifier];
        let row = sides.source.query_opt("name a type", sql, &params).await?;
        let sql_type = row.map(|row| row.get(0));
        columns.push(MissingColumn { name: column.name.clone(), sql_type });
    }
    Ok(Cause::ColumnMissing { table: table.clone(), columns })
}

fn generated(
    table: &QualifiedName,
    relation: &Relation,
    columns: &[TargetColumn],
) -> Option<Cause> {
    let columns: Vec<String> = columns
        .iter()
        .filter(|column| column.generated && sends(relation, column))
        .map(|column| column.name.clone())
        .collect();
    (!columns.is_empty()).then(|| Cause::GeneratedColumn { table: table.clone(), columns })
}

/// Columns that every insert would leave NULL, and that may not be.
fn no_value(table: &QualifiedName, relation: &Relation, columns: &[TargetColumn]) -> Option<Cause> {
    let filled = |column: &TargetColumn| column.has_default || column.generated;
    let columns: Vec<String> = columns
        .iter()
        .filter(|column| column.not_null && !filled(column) && !sends(relation, column))
        .map(|column| column.name.clone())
        .collect();
    (!columns.is_empty()).then(|| Cause::ValueRequired { table: table.clone(), columns })
}

fn required(relation: &Relation, columns: &[TargetColumn]) -> Vec<(usize, String)> {
    let not_null = |name: &str| columns.iter().any(|other| other.name == name && other.not_null);
    let named = relation.columns.iter().map(|column| column.name.clone()).enumerate();
    named.filter(|(_, name)| not_null(name)).collect()
}

/// As the server decides it (`logicalrep_rel_mark_updatable`): all columns of the target's identity must be sent as
/// identity; a target without one wants the whole row.
fn no_identity(
    table: &QualifiedName,
    relation: &Relation,
    columns: &[TargetColumn],
) -> Option<Cause> {
    let sent: Vec<String> = relation
        .columns
        .iter()
        .filter(|column| column.identity)
        .map(|column| column.name.clone())
        .collect();
    let expected: Vec<String> =
        columns.iter().filter(|column| column.identity).map(|column| column.name.clone()).collect();
    let fits = match expected.is_empty() {
        true => relation.replica_identity == b'f',
        false => expected.iter().all(|name| sent.contains(name)),
    };
    (!fits).then(|| Cause::NoReplicaIdentity { table: table.clone(), sent, expected })
}

fn sends(relation: &Relation, column: &TargetColumn) -> bool {
    relation.columns.iter().any(|sent| sent.name == column.name)
}

fn sorted(mut places: Vec<usize>) -> Vec<usize> {
    places.sort_unstable();
    places
}
