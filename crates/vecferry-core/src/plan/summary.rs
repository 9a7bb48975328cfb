//! An inventory in a few numbers. Pure.

use serde::Serialize;

use super::size::estimated_rows;
use crate::inventory::{Extension, Inventory, Table};

/// What a cluster's database holds, as far as it is to be moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClusterSummary {
    /// `server_version`, for example `16.2`.
    pub server: String,
    /// pgvector's version, if installed.
    pub pgvector: Option<String>,
    /// Database.
    pub database: String,
    /// Tables, partitions counted, partitioned parents not.
    pub tables: usize,
    /// Rows, as the planner estimates them or guessed from sizes.
    pub estimated_rows: u64,
    /// Bytes of heap and TOAST.
    pub table_bytes: u64,
    /// Bytes of indexes.
    pub index_bytes: u64,
    /// Sequences.
    pub sequences: usize,
    /// Views, materialized ones included.
    pub views: usize,
    /// Large objects.
    pub large_objects: u64,
    /// Installed extensions.
    pub extensions: Vec<Extension>,
    /// Columns of vectors.
    pub vector_columns: Vec<VectorColumn>,
    /// Indexes over vectors.
    pub vector_indexes: Vec<VectorIndex>,
}

/// A column of vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VectorColumn {
    /// Table, `schema.name`.
    pub table: String,
    /// Column.
    pub column: String,
    /// Type with its dimensions.
    pub type_name: String,
    /// Rows of the table, estimated.
    pub estimated_rows: u64,
}

/// An index over vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VectorIndex {
    /// Table, `schema.name`.
    pub table: String,
    /// Index.
    pub index: String,
    /// `hnsw` or `ivfflat`.
    pub method: String,
    /// Operator class, for example `vector_l2_ops`.
    pub operator_class: String,
    /// Storage parameters.
    pub options: Vec<String>,
    /// Bytes.
    pub bytes: u64,
}

/// Sums up the tables that `selects` chooses.
pub(super) fn summarize(inventory: &Inventory, selects: &dyn Fn(&Table) -> bool) -> ClusterSummary {
    let tables: Vec<&Table> =
        inventory.tables.iter().filter(|table| table.holds_rows() && selects(table)).collect();
    ClusterSummary {
        server: inventory.server.version.clone(),
        pgvector: inventory.extension("vector").map(|vector| vector.version.clone()),
        database: inventory.server.database.clone(),
        tables: tables.len(),
        estimated_rows: tables.iter().map(|table| estimated_rows(table)).sum(),
        table_bytes: tables.iter().map(|table| table.table_bytes).sum(),
        index_bytes: tables.iter().flat_map(|table| &table.indexes).map(|index| index.bytes).sum(),
        sequences: inventory.sequences.len(),
        views: inventory.views.len(),
        large_objects: inventory.large_objects,
        extensions: inventory.extensions.clone(),
        vector_columns: tables.iter().flat_map(|table| vector_columns(table)).collect(),
        vector_indexes: tables.iter().flat_map(|table| vector_indexes(table)).collect(),
    }
}

fn vector_columns(table: &Table) -> Vec<VectorColumn> {
    let vectors = table.columns.iter().filter(|column| column.is_vector());
    vectors
        .map(|column| VectorColumn {
            table: table.name.plain(),
            column: column.name.clone(),
            type_name: column.type_name.clone(),
            estimated_rows: estimated_rows(table),
        })
        .collect()
}

fn vector_indexes(table: &Table) -> Vec<VectorIndex> {
    let vectors = table.indexes.iter().filter(|index| index.is_vector());
    vectors
        .map(|index| VectorIndex {
            table: table.name.plain(),
            index: index.name.clone(),
            method: index.method.clone(),
            operator_class: index.operator_class.clone(),
            options: index.options.clone(),
            bytes: index.bytes,
        })
        .collect()
}
