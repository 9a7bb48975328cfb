//! What stopped an apply, in words and with the ways out. Keys are shown, they are ids; no other value ever is. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pg::{Lsn, QualifiedName, quote_ident};

/// What is known of a subscription that stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The subscription, unquoted.
    pub subscription: String,
    /// Whether it is enabled (again).
    pub enabled: bool,
    /// How often its apply has failed, as the target's statistics count: a moment after it stopped, not at once.
    pub errors: i64,
    /// The target's counters of conflicts (`confl_…`, PostgreSQL 18) that are not zero. Some conflicts stop nothing.
    pub conflicts: BTreeMap<String, i64>,
    /// The transaction the cause is in, by the start of its commit record, which is what `SKIP` wants; the next one to
    /// be applied when the cause is unknown; `None` when there is none.
    pub lsn: Option<Lsn>,
    /// Transactions that are applied before that one.
    pub transactions_before: u64,
    /// Changes looked at, up to the one that is refused.
    pub changes_examined: u64,
    /// Updates and deletes among them whose row the target does not have: PostgreSQL passes over them.
    pub rows_absent: u64,
    /// What the target refuses.
    pub cause: Cause,
}

/// Why the target refuses a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// Another row has the key already.
    DuplicateKey {
        /// The table.
        table: QualifiedName,
        /// The unique index.
        index: String,
        /// Its columns.
        columns: Vec<String>,
        /// Their values in text; `None` for NULL.
        key: Vec<Option<String>>,
    },
    /// There is no such table.
    TableMissing {
        /// The table.
        table: QualifiedName,
    },
    /// The table lacks columns.
    ColumnMissing {
        /// The table.
        table: QualifiedName,
        /// The columns.
        columns: Vec<MissingColumn>,
    },
    /// The table generates columns that the source sends.
    GeneratedColumn {
        /// The table.
        table: QualifiedName,
        /// The columns.
        columns: Vec<String>,
    },
    /// The table wants a value where the source sends none.
    ValueRequired {
        /// The table.
        table: QualifiedName,
        /// The columns that are NOT NULL and get NULL.
        columns: Vec<String>,
    },
    /// Rows to be updated or deleted cannot be told apart.
    NoReplicaIdentity {
        /// The table.
        table: QualifiedName,
        /// The columns by which the source names rows.
        sent: Vec<String>,
        /// The columns by which the target does; empty when it has neither primary key nor replica identity.
        expected: Vec<String>,
    },
    /// The changes looked at do not tell.
    Unknown {
        /// What there was to see, or what stood in the way of seeing.
        why: String,
    },
}

/// A column that the target lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingColumn {
    /// Its name.
    pub name: String,
    /// Its type on the source, as SQL; `None` when the column is gone from there.
    pub sql_type: Option<String>,
}

impl Diagnosis {
    /// What happened, in one line.
    pub fn line(&self) -> String {
        match (&self.cause, self.lsn) {
            (Cause::Unknown { why }, _) => {
                format!("what stopped subscription {} is not known: {why}", self.subscription)
            }
            (cause, None) => cause.line(),
            (cause, Some(lsn)) => format!("{} (transaction that ends at {lsn})", cause.line()),
        }
    }

    /// What the operator can do, the best first: each a line with the exact commands.
    pub fn ways_out(&self) -> Vec<String> {
        let mut ways = vec![self.cause.remedy(&self.subscription)];
        ways.extend(self.skip());
        ways
    }

    /// Leaving the transaction out. The server forgets the position when another transaction comes first.
    fn skip(&self) -> Option<String> {
        let lsn = self.lsn.filter(|_| self.transactions_before == 0)?;
        let name = quote_ident(&self.subscription);
        let doubt = match self.cause {
            Cause::Unknown { .. } => ", if the log says that this one is refused (\"finished at\")",
            _ => "",
        };
        Some(format!(
            "or leave the whole transaction out{doubt}: as the subscription's owner (a superuser on PostgreSQL 15) \
             on the target run \
             ALTER SUBSCRIPTION {name} SKIP (lsn = '{lsn}'); \
             every change it made, in all its tables, is then lost on the target; \
             apply goes on after it by itself, and `vecferry verify` names the rows that differ"
        ))
    }
}

impl Cause {
    /// What the target refuses, in one line.
    pub fn line(&self) -> String {
        match self {
            Cause::DuplicateKey { table, index, columns, key } => {
                let shown =
                    |value: &Option<String>| value.as_deref().map_or("NULL".into(), literal);
                let key: Vec<String> = key.iter().map(shown).collect();
                format!(
                    "a row of {} that the source wrote is on the target already: key ({}) = ({}) of unique index {index}",
                    table.plain(),
                    columns.join(", "),
                    key.join(", ")
                )
            }
            Cause::TableMissing { table } => {
                format!("the target has no table {}, which changed on the source", table.plain())
            }
            Cause::ColumnMissing { table, columns } => {
                let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                format!("{} on the target lacks column {}", table.plain(), names.join(", "))
            }
            Cause::GeneratedColumn { table, columns } => format!(
                "{} on the target generates column {}, whose value the source sends",
                table.plain(),
                columns.join(", ")
            ),
            Cause::ValueRequired { table, columns } => format!(
                "{} on the target takes no NULL in column {}, and the source sends no value",
                table.plain(),
                columns.join(", ")
            ),
            Cause::NoReplicaIdentity { table, expected, .. } if expected.is_empty() => format!(
                "{} on the target has neither a primary key nor a replica identity, so its rows cannot be updated or deleted",
                table.plain()
            ),
            Cause::NoReplicaIdentity { table, sent, expected } => format!(
                "{} on the target knows its rows by ({}), and the source names them by ({})",
                table.plain(),
                expected.join(", "),
                sent.join(", ")
            ),
            Cause::Unknown { why } => why.clone(),
        }
    }

    /// How to make the target take the change.
    fn remedy(&self, subscription: &str) -> String {
        const THEN: &str =
            "then the target's server goes on by itself (`vecferry status` shows it)";
        match self {
            Cause::DuplicateKey { table, columns, key, .. } => format!(
                "delete the row that is in the way: on the target run DELETE FROM {table} WHERE {}; {THEN}, \
                 and the source's row takes its place",
                condition(columns, key)
            ),
            Cause::TableMissing { table } => format!(
                "create {table} on the target as it is on the source (pg_dump --schema-only --table shows it); {THEN}; \
                 once it runs, on the target run ALTER SUBSCRIPTION {} REFRESH PUBLICATION WITH (copy_data = true); \
                 which copies the table's rows: until then its changes are passed over",
                quote_ident(subscription)
            ),
            Cause::ColumnMissing { table, columns } => {
                let added: Vec<String> = columns.iter().map(MissingColumn::added).collect();
                format!(
                    "on the target run ALTER TABLE {table} {}; with the DEFAULT that the source's column had when it was added, \
                     because rows that it filled are not sent again; {THEN}",
                    added.join(", ")
                )
            }
            Cause::GeneratedColumn { table, columns } => format!(
                "on the target run ALTER TABLE {table} {}; {THEN}",
                each(columns, "DROP EXPRESSION")
            ),
            Cause::ValueRequired { table, columns } => format!(
                "on the target run ALTER TABLE {table} {}; {THEN}",
                each(columns, "DROP NOT NULL")
            ),
            Cause::NoReplicaIdentity { table, sent, expected } => {
                let columns: Vec<String> = sent.iter().map(|name| quote_ident(name)).collect();
                let columns = columns.join(", ");
                let change = match expected.is_empty() {
                    true => format!("ALTER TABLE {table} ADD PRIMARY KEY ({columns});"),
                    false => format!(
                        "CREATE UNIQUE INDEX \"source_identity\" ON {table} ({columns}); \
                         ALTER TABLE {table} REPLICA IDENTITY USING INDEX \"source_identity\";"
                    ),
                };
                format!("on the target run {change} {THEN}")
            }
            Cause::Unknown { .. } => format!(
                "look into the target server's log for the last error of the logical replication apply worker of \
                 subscription {subscription}, and remove its cause; {THEN}"
            ),
        }
    }
}

impl MissingColumn {
    fn added(&self) -> String {
        let sql_type = self.sql_type.as_deref().unwrap_or("(its former type)");
        format!("ADD COLUMN {} {sql_type}", quote_ident(&self.name))
    }
}

fn each(columns: &[String], change: &str) -> String {
    let changes: Vec<String> =
        columns.iter().map(|name| format!("ALTER COLUMN {} {change}", quote_ident(name))).collect();
    changes.join(", ")
}

/// The WHERE of exactly one key.
fn condition(columns: &[String], key: &[Option<String>]) -> String {
    let parts = columns.iter().zip(key).map(|(name, value)| match value {
        Some(value) => format!("{} = {}", quote_ident(name), literal(value)),
        None => format!("{} IS NULL", quote_ident(name)),
    });
    parts.collect::<Vec<_>>().join(" AND ")
}

/// A string constant that fits on one line, whatever the key holds, and means the same on any session: a terminal gets
/// no control characters, and backslashes do not depend on a setting.
fn literal(value: &str) -> String {
    let plain = !value.chars().any(|char| char.is_control() || char == '\\');
    let mut text = String::from(if plain { "'" } else { "E'" });
    for char in value.chars() {
        match char {
            '\'' => text.push_str("''"),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            _ if char.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(char))),
            _ => text.push(char),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis(cause: Cause) -> Diagnosis {
        Diagnosis {
            subscription: "vf \"1\"".into(),
            enabled: false,
            errors: 1,
            conflicts: BTreeMap::new(),
            lsn: Some(Lsn(0x1_0000_00AB)),
            transactions_before: 0,
            changes_examined: 3,
            rows_absent: 0,
            cause,
        }
    }

    fn duplicate(key: Vec<Option<String>>) -> Diagnosis {
        let columns = vec!["bot".to_owned(), "Na\"me".to_owned()];
        let table = QualifiedName::new("public", "It's");
        diagnosis(Cause::DuplicateKey { table, index: "items_key".into(), columns, key })
    }

    #[test]
    fn a_duplicate_key_is_deleted_by_exactly_its_key_or_skipped() {
        let found = duplicate(vec![Some("o'brien".into()), None]);
        assert_eq!(
            found.line(),
            "a row of public.It's that the source wrote is on the target already: \
             key (bot, Na\"me) = ('o''brien', NULL) of unique index items_key (transaction that ends at 1/AB)"
        );
        let ways = found.ways_out();
        let delete =
            "DELETE FROM \"public\".\"It's\" WHERE \"bot\" = 'o''brien' AND \"Na\"\"me\" IS NULL;";
        assert!(ways[0].contains(delete), "{ways:?}");
        assert!(
            ways[1].contains("ALTER SUBSCRIPTION \"vf \"\"1\"\"\" SKIP (lsn = '1/AB');"),
            "{ways:?}"
        );
    }

    #[test]
    fn a_key_cannot_break_out_of_its_line_or_its_quotes() {
        let found = duplicate(vec![Some("a\\\n\u{1b}[2J'".into()), Some(String::new())]);
        let delete = "\"bot\" = E'a\\\\\\n\\u001B[2J''' AND \"Na\"\"me\" = '';";
        assert!(found.ways_out()[0].contains(delete), "{:?}", found.ways_out());
        assert!(!found.line().contains(char::is_control));
    }

    #[test]
    fn only_the_next_transaction_can_be_skipped() {
        let mut found = duplicate(vec![None, None]);
        found.transactions_before = 1;
        assert_eq!(found.ways_out().len(), 1);
        found.transactions_before = 0;
        found.lsn = None;
        assert_eq!(found.ways_out().len(), 1);
    }

    #[test]
    fn every_other_cause_names_its_command() {
        let table = QualifiedName::new("public", "t");
        let columns = vec!["a".to_owned(), "b".to_owned()];
        let missing = MissingColumn { name: "a".into(), sql_type: Some("public.vector(8)".into()) };
        for (cause, command) in [
            (
                Cause::TableMissing { table: table.clone() },
                "ALTER SUBSCRIPTION \"vf \"\"1\"\"\" REFRESH PUBLICATION WITH (copy_data = true);",
            ),
            (
                Cause::ColumnMissing { table: table.clone(), columns: vec![missing] },
                "ALTER TABLE \"public\".\"t\" ADD COLUMN \"a\" public.vector(8);",
            ),
            (
                Cause::GeneratedColumn { table: table.clone(), columns: columns.clone() },
                "ALTER COLUMN \"a\" DROP EXPRESSION, ALTER COLUMN \"b\" DROP EXPRESSION;",
            ),
            (
                Cause::ValueRequired { table: table.clone(), columns: columns.clone() },
                "ALTER TABLE \"public\".\"t\" ALTER COLUMN \"a\" DROP NOT NULL",
            ),
            (
                Cause::NoReplicaIdentity {
                    table: table.clone(),
                    sent: columns.clone(),
                    expected: vec![],
                },
                "ALTER TABLE \"public\".\"t\" ADD PRIMARY KEY (\"a\", \"b\");",
            ),
            (
                Cause::NoReplicaIdentity { table, sent: columns, expected: vec!["c".into()] },
                "REPLICA IDENTITY USING INDEX \"source_identity\";",
            ),
            (Cause::Unknown { why: "nothing to see".into() }, "target server's log"),
        ] {
            let found = diagnosis(cause);
            assert!(found.ways_out()[0].contains(command), "{:?}", found.ways_out());
            assert!(!found.line().contains('\n'));
        }
    }

    #[test]
    fn a_diagnosis_is_data() {
        let json = serde_json::to_value(duplicate(vec![Some("x".into()), None])).unwrap();
        assert_eq!(json["lsn"], "1/AB");
        assert_eq!(json["cause"]["kind"], "duplicate_key");
        assert_eq!(json["cause"]["key"], serde_json::json!(["x", null]));
    }
}
