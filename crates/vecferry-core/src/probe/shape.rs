//! Which table is probed, which of its pages, and what the probe's own tables look like. Pure.

use crate::copy::part::{Part, column_list, select};
use crate::copy::stream::{CopyQuery, keyword};
use crate::index::memory::indexed_value;
use crate::inventory::{Column, Index, Inventory, Table};
use crate::pg::{CopyFormat, QualifiedName, quote_ident};

/// Bytes of a heap page.
const PAGE: u64 = 8192;

/// The table to probe: the largest with a vector index, as that index is the longest step; else the largest.
pub(super) fn choose<'a>(tables: impl Iterator<Item = &'a Table>) -> Option<&'a Table> {
    tables
        .filter(|table| table.heap_bytes > 0)
        .max_by_key(|table| (table.indexes.iter().any(Index::is_vector), table.table_bytes))
}

/// A range of heap pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) first_page: u32,
    pub(super) end_page: u32,
}

impl Slice {
    /// Its share of the table, 0 to 1.
    pub(super) fn share_of(self, table: &Table) -> f64 {
        let pages = super::float((table.heap_bytes / PAGE).max(1));
        (super::float(u64::from(self.end_page - self.first_page)) / pages).min(1.0)
    }
}

/// At most `jobs` slices of equal size from the front of the table, together about `bytes` of heap and TOAST.
pub(super) fn slices(table: &Table, bytes: u64, jobs: usize) -> Vec<Slice> {
    let pages = (table.heap_bytes / PAGE).max(1);
    let wanted = if table.table_bytes <= bytes {
        pages
    } else {
        // In 128 bits: pages times bytes overflows 64 for the largest tables.
        let wanted = u128::from(pages) * u128::from(bytes) / u128::from(table.table_bytes);
        u64::try_from(wanted).unwrap_or(pages).max(1)
    };
    let count = u64::try_from(jobs).unwrap_or(1).clamp(1, wanted);
    let page = |ordinal: u64| u32::try_from(wanted * ordinal / count).unwrap_or(u32::MAX);
    (0..count)
        .map(|ordinal| Slice { first_page: page(ordinal), end_page: page(ordinal + 1) })
        .collect()
}

/// The query that reads a slice.
pub(super) fn query(table: &Table, slice: Slice) -> CopyQuery {
    let part = Part {
        table: table.name.clone(),
        table_oid: table.oid,
        ordinal: 0,
        first_page: slice.first_page,
        end_page: Some(slice.end_page),
        bytes: 0,
    };
    let columns: Vec<&str> = table.stored_columns().map(|column| column.name.as_str()).collect();
    CopyQuery {
        table: table.name.plain(),
        select: select(&table.name, &columns, &[part.condition()]),
        format: table.copy_format(),
        by_bot: false,
    }
}

/// What the probe makes on the target.
pub(super) struct Shape {
    /// The source's table.
    pub(super) table: Table,
    /// Its indexes to be tried, one of a kind.
    pub(super) indexes: Vec<Index>,
    /// Whether the target has pgvector where the source's types name it.
    pub(super) vector_installed: bool,
    /// Schema of the source's pgvector.
    vector_schema: Option<String>,
    /// Parallel workers a build may use.
    pub(super) parallel: u32,
    /// Keeps probes apart that run at the same time.
    suffix: String,
}

impl Shape {
    pub(super) fn new(table: &Table, source: &Inventory, target: &Inventory) -> Shape {
        let schema = source.extension("vector").map(|vector| vector.schema.clone());
        let there = target.extension("vector").map(|vector| vector.schema.clone());
        Shape {
            table: table.clone(),
            indexes: one_of_a_kind(table),
            vector_installed: there.is_some() && there == schema,
            // Installed elsewhere, it can neither be created again nor be named.
            vector_schema: schema.filter(|_| there.is_none()),
            parallel: target.server.max_parallel_maintenance_workers,
            suffix: uuid::Uuid::now_v7().simple().to_string(),
        }
    }

    fn schema(&self, ordinal: usize) -> String {
        format!("vecferry_probe_{}_{ordinal}", self.suffix)
    }

    /// The worker's table.
    pub(super) fn scratch(&self, ordinal: usize) -> QualifiedName {
        QualifiedName::new(self.schema(ordinal), "rows")
    }

    /// The statement that installs pgvector for the probe, if that can help.
    pub(super) fn create_vector(&self) -> Option<String> {
        let schema = quote_ident(self.vector_schema.as_ref()?);
        Some(format!(
            "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE EXTENSION vector SCHEMA {schema}"
        ))
    }

    /// Creates the worker's schema and table. `vectors`: pgvector's types can be named.
    pub(super) fn create(&self, ordinal: usize, vectors: bool) -> String {
        let name = self.scratch(ordinal);
        let format = self.table.copy_format();
        let columns: Vec<(String, Stored)> = self
            .table
            .stored_columns()
            .map(|column| (quote_ident(&column.name), Stored::of(column, format, vectors)))
            .collect();
        let list: Vec<String> =
            columns.iter().map(|(name, stored)| format!("{name} {}", stored.type_name())).collect();
        let external: String = columns
            .iter()
            .filter(|(_, stored)| *stored == Stored::Bytes)
            .map(|(column, _)| format!("; ALTER TABLE {name} ALTER {column} SET STORAGE EXTERNAL"))
            .collect();
        format!(
            "CREATE SCHEMA {}; CREATE TABLE {name} ({}){external}",
            quote_ident(&self.schema(ordinal)),
            list.join(", "),
        )
    }

    /// `COPY … FROM STDIN` for the worker's table.
    pub(super) fn insert(&self, ordinal: usize) -> String {
        let columns: Vec<&str> =
            self.table.stored_columns().map(|column| column.name.as_str()).collect();
        let list = if columns.is_empty() {
            String::new()
        } else {
            format!(" ({})", column_list(&columns))
        };
        let format = keyword(self.table.copy_format());
        format!("COPY {}{list} FROM STDIN (FORMAT {format})", self.scratch(ordinal))
    }
}

/// How the probe's table keeps a column.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stored {
    /// In its own type.
    AsIs(String),
    /// As the bytes of its binary form, uncompressed: takes the same room and time without the type being there.
    Bytes,
    /// As the text that travels.
    Text,
}

impl Stored {
    fn of(column: &Column, format: CopyFormat, vectors: bool) -> Stored {
        match format {
            CopyFormat::Text => Stored::Text,
            // Only types that are built in go without a schema.
            CopyFormat::Binary if !column.type_name.contains('.') => {
                Stored::AsIs(column.type_name.clone())
            }
            CopyFormat::Binary if vectors && column.is_vector() => {
                Stored::AsIs(column.type_name.clone())
            }
            CopyFormat::Binary => Stored::Bytes,
        }
    }

    fn type_name(&self) -> &str {
        match self {
            Stored::AsIs(name) => name,
            Stored::Bytes => "bytea",
            Stored::Text => "text",
        }
    }
}

/// The first valid index of each method, type and class: others of a kind take as long.
fn one_of_a_kind(table: &Table) -> Vec<Index> {
    let mut kinds = vec![];
    let mut chosen = vec![];
    for index in table.indexes.iter().filter(|index| index.valid) {
        let kind = match indexed_value(table, index) {
            Some(_) if index.is_vector() => (index.method.clone(), index.operator_class.clone()),
            _ if index.method == "btree" && !index.columns.is_empty() && !index.partial => {
                (index.method.clone(), String::new())
            }
            _ => continue,
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
            chosen.push(index.clone());
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn slices_are_equal_and_never_more_than_there_is() {
        let table = sample::items(1_000_000, 1024);
        let cut = slices(&table, 32 << 20, 4);
        assert_eq!(cut.len(), 4);
        assert!(cut.windows(2).all(|pair| pair[0].end_page == pair[1].first_page));
        let bytes = u64::from(cut[3].end_page) * PAGE;
        assert!((31 << 20..=32 << 20).contains(&bytes), "{bytes}");
        let small = sample::items(3, 2);
        assert_eq!(slices(&small, 32 << 20, 4), [Slice { first_page: 0, end_page: 1 }]);
        assert!((small.heap_bytes < PAGE) && cut[0].share_of(&table) < 0.01);
    }

    #[test]
    fn a_table_with_a_vector_index_is_preferred_and_empty_ones_are_passed_over() {
        let (mut small, large) = (sample::items(10, 8), sample::items(1000, 8));
        small.indexes.push(sample::index("v", "hnsw", &["embedding"], "vector_l2_ops"));
        assert_eq!(
            choose([&small, &large].into_iter()).map(|table| table.estimated_rows),
            Some(Some(10))
        );
        small.heap_bytes = 0;
        assert_eq!(
            choose([&small, &large].into_iter()).map(|table| table.estimated_rows),
            Some(Some(1000))
        );
        assert_eq!(choose([&small].into_iter()), None);
    }

    #[test]
    fn types_that_the_target_lacks_are_kept_as_their_bytes() {
        let table = sample::items(10, 8);
        let source = sample::inventory(16, Some("0.6.2"));
        let shape = Shape::new(&table, &source, &sample::inventory(18, None));
        assert!(!shape.vector_installed && shape.create_vector().is_some());
        let bytes = shape.create(0, false);
        assert!(
            bytes.contains("\"embedding\" bytea") && bytes.contains("STORAGE EXTERNAL"),
            "{bytes}"
        );
        assert!(shape.create(1, true).contains("\"embedding\" public.vector(8)"));
        let mut text = table.clone();
        text.columns[0].text_only = Some("x".into());
        let shape = Shape::new(&text, &source, &sample::inventory(18, Some("0.8.5")));
        assert!(shape.vector_installed && shape.create_vector().is_none());
        assert!(shape.create(0, true).contains("\"embedding\" text"));
        assert!(shape.insert(0).ends_with("FROM STDIN (FORMAT text)"));
    }
}
