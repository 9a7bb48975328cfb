//! Tests of the merge that finds differing keys.

use super::*;
use crate::inventory::{Column, TableKind};
use crate::pg::{CopyFormat, QualifiedName};
use crate::verify::rows::tests::binary;

fn column(name: &str, generated: bool) -> Column {
    Column {
        name: name.into(),
        type_name: "text".into(),
        base_type: "text".into(),
        dimensions: None,
        not_null: false,
        generated: generated.then(|| "stored".into()),
        identity: None,
        default: None,
        collation: None,
        text_only: None,
    }
}

fn table() -> Table {
    Table {
        oid: 1,
        name: QualifiedName::new("s", "t"),
        kind: TableKind::Ordinary,
        unlogged: false,
        partition_of: None,
        relfilenode: 1,
        heap_bytes: 0,
        table_bytes: 0,
        estimated_rows: None,
        columns: vec![column("bot", false), column("text", false), column("search", true)],
        key: vec!["id".into()],
        has_primary_key: true,
        replica_identity: 'd',
        indexes: vec![],
        constraints: vec![],
        triggers: vec![],
        row_security: false,
        privileges: vec![],
    }
}

fn scope(table: &Table) -> Scope {
    Scope {
        table: table.name.clone(),
        columns: table.columns.iter().map(|column| column.name.clone()).collect(),
        format: CopyFormat::Binary,
        bot: Some(column("bot", false)),
        ours: Some("ours".into()),
        obstacle: None,
    }
}

fn row(values: [&str; 4]) -> Row {
    Row::parse(CopyFormat::Binary, binary(&values.map(Some)), 1).unwrap()
}

/// Merges as `find` does, over rows that are there already.
fn merge(source: &[Row], target: &[Row], show: usize) -> RowDifferences {
    let table = table();
    let scope = scope(&table);
    let search = Search { scope: &scope, source: &table, bots: None, show };
    let mut finder = Finder::new(&search);
    let (mut s, mut t) = (source.iter().peekable(), target.iter().peekable());
    loop {
        match finder.take(s.peek().copied(), t.peek().copied()) {
            Advance::Source => drop(s.next()),
            Advance::Target => drop(t.next()),
            Advance::Both => drop((s.next(), t.next())),
            Advance::End => return finder.found,
        }
    }
}

#[test]
fn rows_are_found_missing_extra_and_changed_in_one_pass() {
    let source = [
        row(["1", "a", "x", "x"]),
        row(["2", "a", "y", "y"]),
        row(["4", "b", "z", "z"]),
        row(["5", "b", "z", "z"]),
    ];
    let target = [
        row(["2", "a", "Y", "y"]),
        row(["3", "c", "n", "n"]),
        row(["4", "b", "z", "Z"]),
        row(["5", "b", "z", "z"]),
    ];
    let found = merge(&source, &target, 10);
    assert_eq!((found.missing, found.extra, found.changed, found.derived), (1, 1, 2, 1));
    let shown: Vec<_> = found
        .first
        .iter()
        .map(|row| (row.key[0].as_str(), row.bot.as_deref(), row.standing, row.columns.join(",")))
        .collect();
    let expected = [
        ("1", Some("a"), Standing::Missing, String::new()),
        ("2", Some("a"), Standing::Changed, "text".into()),
        ("3", Some("c"), Standing::Extra, String::new()),
        ("4", Some("b"), Standing::Changed, "search".into()),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn all_differences_are_counted_and_only_the_first_are_shown() {
    let source: Vec<Row> = (0..10).map(|id| row([&format!("{id}"), "a", "x", "x"])).collect();
    let found = merge(&source, &[], 3);
    assert_eq!((found.missing, found.first.len()), (10, 3));
    assert_eq!(merge(&[], &source, 0).extra, 10);
    let nothing = RowDifferences { key: vec!["id".into()], ..RowDifferences::default() };
    assert_eq!(merge(&source, &source, 3), nothing);
    assert_eq!(merge(&[], &[], 3), nothing);
}

#[test]
fn rows_come_in_an_order_no_locale_changes_and_only_those_in_question() {
    let table = table();
    let scope = scope(&table);
    let search = Search { scope: &scope, source: &table, bots: Some("bots".into()), show: 1 };
    for (versions, columns) in [(false, ""), (true, ", ctid, xmin")] {
        let sql = select(&search, versions);
        let expected = format!(
            "SELECT \"id\"::text COLLATE \"C\", \"bot\", \"text\", \"search\"{columns} FROM ONLY \"s\".\"t\" \
             WHERE bots AND ours ORDER BY 1"
        );
        assert_eq!(sql, expected);
    }
}

#[test]
fn a_row_that_is_written_while_it_is_compared_is_counted_and_not_blamed() {
    let versioned = |key: &str, text: &str, writer: &str| {
        let values = [key, "a", text, "x", "(0,1)", writer].map(Some);
        Row::parse(CopyFormat::Binary, binary(&values), 1).unwrap()
    };
    let (one, other) = (versioned("1", "x", "700"), versioned("1", "y", "9"));
    let table = table();
    let scope = scope(&table);
    let search = Search { scope: &scope, source: &table, bots: None, show: 9 };
    for (source, target, advance, blamed, changing) in [
        (Some((&one, true)), Some((&other, true)), Advance::Both, 1, 0),
        (Some((&one, false)), Some((&other, true)), Advance::Both, 0, 1),
        (Some((&one, true)), Some((&other, false)), Advance::Both, 0, 1),
        (Some((&one, false)), None, Advance::Source, 0, 1),
        (Some((&one, true)), None, Advance::Source, 1, 0),
        (None, Some((&other, false)), Advance::Target, 0, 1),
        (None, Some((&other, true)), Advance::Target, 1, 0),
        (None, None, Advance::End, 0, 0),
    ] {
        let mut finder = Finder::new(&search);
        assert_eq!(finder.meet(source, target), advance);
        let found = finder.found;
        let all = found.missing + found.extra + found.changed;
        assert_eq!((all, found.changing), (blamed, changing), "{source:?} {target:?}");
        assert!(found.first.iter().all(|row| row.columns.iter().all(|name| name == "text")));
    }
    let mut finder = Finder::new(&search);
    let same = versioned("1", "x", "9");
    assert_eq!(finder.meet(Some((&one, true)), Some((&same, true))), Advance::Both);
    assert_eq!(finder.found.changed, 0, "each side has writers of its own");
}
