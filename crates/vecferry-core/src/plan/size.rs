//! Sizes of tables and indexes where the catalog only half knows them. Pure.

use crate::index::memory::{indexed_value, value_bytes};
use crate::inventory::{Index, Table};

/// Bytes assumed for a row of which nothing is known.
const UNKNOWN_ROW: u64 = 200;
/// A vector kept out of line loses a part of a TOAST page.
const TOAST_OVERHEAD: f64 = 1.02;

/// Rows of a table: the planner's estimate, else its bytes divided by what a row of its vectors must take.
pub fn estimated_rows(table: &Table) -> u64 {
    table.estimated_rows.unwrap_or_else(|| table.table_bytes / row_bytes(table))
}

/// A guess at the bytes of one row, from the vectors it holds.
fn row_bytes(table: &Table) -> u64 {
    let vectors: u64 = table
        .columns
        .iter()
        .filter(|column| column.is_vector())
        .filter_map(|column| Some(value_bytes(&column.base_type, u64::from(column.dimensions?))))
        .sum();
    scaled(vectors, TOAST_OVERHEAD) + UNKNOWN_ROW
}

/// Bytes of an index on the target: what it takes on the source, or a guess for one that is empty there.
pub fn index_bytes(table: &Table, index: &Index) -> u64 {
    let guess = match indexed_value(table, index) {
        // An HNSW element and its neighbours, or an IVFFlat entry: the value and a little more.
        Some((base_type, dimensions)) if index.is_vector() => {
            estimated_rows(table) * (value_bytes(base_type, dimensions) + 300)
        }
        _ => estimated_rows(table) * 40,
    };
    if index.bytes > 0 { index.bytes } else { guess }
}

/// `bytes` times `factor`, for estimates.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub(crate) fn scaled(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn rows_are_guessed_from_the_vectors_when_never_analysed() {
        let mut table = sample::items(1000, 1024);
        assert_eq!(estimated_rows(&table), 1000);
        table.estimated_rows = None;
        let guess = estimated_rows(&table);
        assert!((800..1300).contains(&guess), "{guess}");
        table.columns.clear();
        assert_eq!(estimated_rows(&table), table.table_bytes / UNKNOWN_ROW);
    }

    #[test]
    fn an_index_that_is_empty_on_the_source_still_takes_room() {
        let table = sample::items(1000, 1024);
        let mut index = sample::index("i", "hnsw", &["embedding"], "vector_l2_ops");
        assert!(index_bytes(&table, &index) > 4_000_000);
        index.bytes = 7;
        assert_eq!(index_bytes(&table, &index), 7);
    }
}
