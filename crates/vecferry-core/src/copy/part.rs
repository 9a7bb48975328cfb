//! Parts: the ctid ranges that connections copy. Pure.
//!
//! A range's bounds are heap pages. Sizes are taken before the copy, so the last part of a table is open-ended: pages
//! added in between belong to it. TID range scans exist from PostgreSQL 14; an older source gets one part per table.

use serde::{Deserialize, Serialize};

use crate::inventory::Table;
use crate::knowledge::Knowledge;
use crate::pg::{QualifiedName, quote_ident, quote_literal};

/// First version of PostgreSQL that reads a ctid range without reading the whole table.
const TID_RANGE_SCAN: u32 = 140_000;

/// Bytes of a heap page; every packaged PostgreSQL and Aurora uses the default.
const PAGE: u64 = 8192;

/// A range of one table's pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The table.
    pub table: QualifiedName,
    /// Its OID on the source.
    pub table_oid: u32,
    /// Ordinal within the table, 0-based.
    pub ordinal: u32,
    /// First page.
    pub first_page: u32,
    /// First page that is not part of it; `None` for the last part, which has no end.
    pub end_page: Option<u32>,
    /// Bytes of heap and TOAST it is expected to hold; orders the queue.
    pub bytes: u64,
}

/// Cuts a table into parts of about `part_bytes` of heap and TOAST. At least one, even for an empty table.
pub fn split(table: &Table, part_bytes: u64, source_version_num: u32) -> Vec<Part> {
    let pages = table.heap_bytes / PAGE;
    let wanted = table.table_bytes.div_ceil(part_bytes.max(PAGE)).clamp(1, pages.max(1));
    let count = if source_version_num < TID_RANGE_SCAN {
        1
    } else {
        u32::try_from(wanted).unwrap_or(u32::MAX)
    };
    let page_at = |ordinal: u32| {
        u32::try_from(pages * u64::from(ordinal) / u64::from(count)).unwrap_or(u32::MAX)
    };
    (0..count)
        .map(|ordinal| Part {
            table: table.name.clone(),
            table_oid: table.oid,
            ordinal,
            first_page: page_at(ordinal),
            end_page: (ordinal + 1 < count).then(|| page_at(ordinal + 1)),
            bytes: table.table_bytes / u64::from(count),
        })
        .collect()
}

impl Part {
    /// The condition on `ctid` that selects the part; `None` when it is the whole table.
    pub fn condition(&self) -> Option<String> {
        let from = (self.first_page > 0).then(|| format!("ctid >= '({},0)'::tid", self.first_page));
        let to = self.end_page.map(|page| format!("ctid < '({page},0)'::tid"));
        match (from, to) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(one),
            (Some(from), Some(to)) => Some(format!("{from} AND {to}")),
        }
    }
}

/// The columns to move, bot first (its digest needs it before the wide columns), then in table order.
pub fn column_order<'a>(table: &'a Table, knowledge: &'a Knowledge) -> Vec<&'a str> {
    let bot = knowledge.bot_column(table);
    let rest =
        table.stored_columns().map(|column| column.name.as_str()).filter(|name| Some(*name) != bot);
    bot.into_iter().chain(rest).collect()
}

/// Quoted, comma-separated.
pub fn column_list(columns: &[&str]) -> String {
    columns.iter().map(|name| quote_ident(name)).collect::<Vec<_>>().join(", ")
}

/// Bots whose rows on the target are not ours and must be left alone; their rows are not read from the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreservedBots {
    /// Ids as text.
    pub bots: Vec<String>,
    /// Whether rows without a bot are preserved.
    pub null: bool,
}

impl PreservedBots {
    /// Whether there is nothing to preserve.
    pub fn is_empty(&self) -> bool {
        self.bots.is_empty() && !self.null
    }

    /// The SQL condition for "this row is ours"; `None` when all are.
    pub fn ours(&self, bot_column: &str) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let column = quote_ident(bot_column);
        let list = self.bots.iter().map(|bot| quote_literal(bot)).collect::<Vec<_>>().join(",");
        let named = format!("{column}::text <> ALL (ARRAY[{list}]::text[])");
        Some(match self.null {
            true => format!("({column} IS NOT NULL AND {named})"),
            false => format!("({column} IS NULL OR {named})"),
        })
    }
}

/// `SELECT` of `columns` from the table alone (`ONLY`: partitions and children are moved as tables of their own).
pub fn select(table: &QualifiedName, columns: &[&str], conditions: &[Option<String>]) -> String {
    let conditions: Vec<&str> = conditions.iter().flatten().map(String::as_str).collect();
    let filter = if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    };
    format!("SELECT {} FROM ONLY {table}{filter}", column_list(columns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::TableKind;

    fn table(heap_pages: u64, table_bytes: u64) -> Table {
        Table {
            oid: 1,
            name: QualifiedName::new("public", "items"),
            kind: TableKind::Ordinary,
            unlogged: false,
            partition_of: None,
            relfilenode: 1,
            heap_bytes: heap_pages * PAGE,
            table_bytes,
            estimated_rows: None,
            columns: vec![],
            key: vec![],
            has_primary_key: false,
            replica_identity: 'd',
            indexes: vec![],
            constraints: vec![],
            triggers: vec![],
            row_security: false,
            privileges: vec![],
        }
    }

    #[test]
    fn parts_cover_every_page_once_and_the_last_is_open_ended() {
        for pages in [0, 1, 2, 3, 7, 100, 12_345] {
            for bytes in [0, 1, 64 << 20, 10 << 30] {
                for part_bytes in [0, 8192, 64 << 20] {
                    let parts = split(&table(pages, bytes), part_bytes, 160_000);
                    assert!(!parts.is_empty() && parts.len() as u64 <= pages.max(1));
                    assert_eq!((parts[0].first_page, parts.last().unwrap().end_page), (0, None));
                    for (ordinal, pair) in parts.windows(2).enumerate() {
                        assert_eq!(pair[0].end_page, Some(pair[1].first_page));
                        assert!(pair[0].first_page < pair[1].first_page);
                        assert_eq!(pair[0].ordinal as usize, ordinal);
                    }
                }
            }
        }
    }

    #[test]
    fn toast_counts_towards_the_size_and_old_sources_are_not_split() {
        let wide = table(1000, 1 << 30);
        assert_eq!(split(&wide, 64 << 20, 160_000).len(), 16);
        assert_eq!(split(&wide, 64 << 20, 130_011).len(), 1);
    }

    #[test]
    fn preserved_bots_are_excluded_with_their_quotes_and_nulls() {
        let preserved = PreservedBots { bots: vec!["o'b".into()], null: false };
        assert_eq!(
            preserved.ours("bot\"id").unwrap(),
            "(\"bot\"\"id\" IS NULL OR \"bot\"\"id\"::text <> ALL (ARRAY['o''b']::text[]))"
        );
        assert!(
            PreservedBots { bots: vec![], null: true }.ours("b").unwrap().contains("IS NOT NULL")
        );
        assert_eq!(PreservedBots::default().ours("b"), None);
    }
}
