//! Replica identity: by which columns an UPDATE or DELETE names its row to the target. Pure.
//!
//! PostgreSQL refuses UPDATE and DELETE on a published table that has none, so a table without one must not be
//! published (<https://www.postgresql.org/docs/current/logical-replication-publication.html>).

use crate::inventory::Table;
use crate::pg::quote_ident;

/// Why the table's changes cannot be followed, if they cannot.
pub fn obstacle(table: &Table) -> Option<&'static str> {
    match table.replica_identity {
        'f' => None,
        'd' if table.has_primary_key => None,
        'i' if table.indexes.iter().any(|index| index.replica_identity && index.valid) => None,
        'd' => Some("it has no primary key"),
        'i' => Some("the index it names as replica identity is gone"),
        _ => Some("its replica identity is NOTHING"),
    }
}

/// The statement that mends it on the source: the primary key or a unique index over NOT NULL columns where there is
/// one, else the whole row.
pub fn mend(table: &Table) -> String {
    let name = &table.name;
    if table.has_primary_key {
        return format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT");
    }
    let fits = |index: &&crate::inventory::Index| {
        let not_null = |name: &String| table.column(name).is_some_and(|column| column.not_null);
        index.unique
            && index.valid
            && !index.partial
            && index.method == "btree"
            // An expression has no place among `columns`: then the definition has more keys than names.
            && index.columns == table.key
            && !index.columns.is_empty()
            && index.columns.iter().all(not_null)
            && index.constraint.as_ref().is_none_or(|constraint| !constraint.definition.contains("DEFERRABLE"))
    };
    match table.indexes.iter().find(fits) {
        Some(index) => {
            format!("ALTER TABLE {name} REPLICA IDENTITY USING INDEX {}", quote_ident(&index.name))
        }
        None => format!("ALTER TABLE {name} REPLICA IDENTITY FULL"),
    }
}

/// The statement that puts back what the table has now.
pub fn restore(table: &Table) -> String {
    let name = &table.name;
    let index = table.indexes.iter().find(|index| index.replica_identity);
    match (table.replica_identity, index) {
        ('f', _) => format!("ALTER TABLE {name} REPLICA IDENTITY FULL"),
        ('n', _) => format!("ALTER TABLE {name} REPLICA IDENTITY NOTHING"),
        ('i', Some(index)) => {
            format!("ALTER TABLE {name} REPLICA IDENTITY USING INDEX {}", quote_ident(&index.name))
        }
        _ => format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_table_without_a_key_gets_the_narrowest_identity_there_is() {
        let mut table = sample::items(10, 3);
        table.replica_identity = 'd';
        table.has_primary_key = true;
        assert_eq!(obstacle(&table), None);
        table.has_primary_key = false;
        assert_eq!(obstacle(&table), Some("it has no primary key"));
        table.key = vec![];
        table.indexes.clear();
        assert!(mend(&table).ends_with("REPLICA IDENTITY FULL"));
        assert!(restore(&table).ends_with("REPLICA IDENTITY DEFAULT"));
        table.replica_identity = 'f';
        assert_eq!(obstacle(&table), None);
        table.replica_identity = 'n';
        table.has_primary_key = true;
        assert!(obstacle(&table).is_some() && mend(&table).ends_with("REPLICA IDENTITY DEFAULT"));
        assert!(restore(&table).ends_with("REPLICA IDENTITY NOTHING"));
    }
}
