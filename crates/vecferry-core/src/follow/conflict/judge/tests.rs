//! Changes and a target in miniature: which change is refused, and why no other.

use super::*;
use crate::follow::conflict::counterpart::{KeyColumn, Unique};
use crate::pg::QualifiedName;

const AT: At = (Lsn(7), 0);

/// `t (id PRIMARY KEY, mail UNIQUE, body NOT NULL)`, rows named by `id`.
fn table() -> Arc<Counterpart> {
    let unique = |name: &str, column: &str, place| Unique {
        name: name.into(),
        nulls_distinct: true,
        columns: vec![KeyColumn {
            name: column.into(),
            place,
            sql_type: "pg_catalog.text".into(),
            equals: "OPERATOR(pg_catalog.=)".into(),
        }],
    };
    Arc::new(Counterpart {
        relation: 1,
        name: QualifiedName::new("public", "t"),
        partitioned: false,
        applied: true,
        uniques: vec![unique("t_pkey", "id", 0), unique("t_mail_key", "mail", 1)],
        identity: vec![0],
        identity_columns: vec!["id".into()],
        identity_unique: Some(0),
        required: vec![(2, "body".into())],
        refuses_all: None,
        refuses_updates: None,
        refuses_inserts: None,
    })
}

fn row(values: [&str; 3]) -> Tuple {
    let value = |text: &str| match text {
        "null" => Value::Null,
        "same" => Value::Unchanged,
        text => Value::Text(text.to_owned().into()),
    };
    values.map(value).into()
}

/// Answers as a target that holds these rows of id and mail.
fn answered(mut change: Change, rows: &[(&str, &str)]) -> Change {
    for question in &mut change.questions {
        let wanted = question.key[0].as_deref();
        let found = rows
            .iter()
            .find(|(id, mail)| wanted == Some(if question.unique == 0 { *id } else { *mail }));
        question.answer = found.map(|(id, _)| vec![Some((*id).to_owned())]);
    }
    change
}

fn insert(values: [&str; 3]) -> Change {
    Change::insert(AT, &table(), &row(values))
}

fn update(old: Option<[&str; 3]>, new: [&str; 3]) -> Change {
    Change::update(AT, &table(), old.map(row).as_ref(), &row(new))
}

fn delete(id: &str) -> Change {
    Change::delete(AT, &table(), &row([id, "null", "null"]))
}

/// The verdicts of changes, one after the other, over these rows.
fn verdicts<const N: usize>(rows: &[(&str, &str)], changes: [Change; N]) -> [Verdict; N] {
    let mut effects = Effects::default();
    changes.map(|change| effects.judge(&answered(change, rows)))
}

fn duplicate(index: &str, column: &str, value: &str) -> Verdict {
    Verdict::Refused(Cause::DuplicateKey {
        table: QualifiedName::new("public", "t"),
        index: index.into(),
        columns: vec![column.into()],
        key: vec![Some(value.into())],
    })
}

const HELD: &[(&str, &str)] = &[("1", "a"), ("2", "b")];

#[test]
fn a_key_that_is_there_is_a_duplicate_in_whichever_index() {
    assert_eq!(
        verdicts(HELD, [insert(["3", "c", "x"]), insert(["1", "d", "x"])]),
        [Verdict::Applied, duplicate("t_pkey", "id", "1")]
    );
    assert_eq!(verdicts(HELD, [insert(["3", "b", "x"])]), [duplicate("t_mail_key", "mail", "b")]);
    assert_eq!(verdicts(HELD, [insert(["3", "null", "x"])]), [Verdict::Applied]);
}

#[test]
fn a_row_that_an_earlier_change_deleted_makes_room_in_all_its_keys() {
    assert_eq!(
        verdicts(HELD, [delete("1"), insert(["3", "a", "x"]), insert(["1", "z", "x"])]),
        [Verdict::Applied, Verdict::Applied, Verdict::Applied]
    );
    assert_eq!(
        verdicts(HELD, [Change::truncate(AT, &table()), insert(["1", "b", "x"])]),
        [Verdict::Applied, Verdict::Applied]
    );
}

#[test]
fn an_update_is_no_duplicate_of_itself_but_of_another_row() {
    assert_eq!(
        verdicts(HELD, [update(None, ["1", "a", "x"]), update(None, ["1", "same", "same"])]),
        [Verdict::Applied, Verdict::Applied]
    );
    assert_eq!(
        verdicts(HELD, [update(None, ["1", "b", "x"])]),
        [duplicate("t_mail_key", "mail", "b")]
    );
    let moved = update(Some(["1", "null", "null"]), ["2", "a", "x"]);
    assert_eq!(verdicts(HELD, [moved]), [duplicate("t_pkey", "id", "2")]);
}

#[test]
fn a_row_that_moved_is_found_where_it_went() {
    let moved = update(Some(["1", "null", "null"]), ["9", "a", "x"]);
    assert_eq!(
        verdicts(HELD, [moved, delete("1"), delete("9"), insert(["1", "a", "x"])]),
        [Verdict::Applied, Verdict::Absent, Verdict::Applied, Verdict::Applied]
    );
}

#[test]
fn a_row_that_is_not_there_is_passed_over() {
    assert_eq!(
        verdicts(HELD, [delete("5"), update(None, ["5", "a", "null"])]),
        [Verdict::Absent, Verdict::Absent]
    );
    assert_eq!(
        verdicts(HELD, [insert(["5", "e", "x"]), delete("5"), delete("5")]),
        [Verdict::Applied, Verdict::Applied, Verdict::Absent]
    );
}

#[test]
fn a_null_where_a_value_is_wanted_is_refused() {
    let refused = Verdict::Refused(Cause::ValueRequired {
        table: QualifiedName::new("public", "t"),
        columns: vec!["body".into()],
    });
    assert_eq!(verdicts(HELD, [insert(["3", "c", "null"])]), [refused]);
}

#[test]
fn a_table_that_is_not_applied_hides_no_missing_one() {
    let mut table = Arc::into_inner(table()).unwrap();
    table.applied = false;
    table.refuses_updates = Some(Cause::TableMissing { table: table.name.clone() });
    let ignored = Arc::new(table);
    let delete = Change::delete(AT, &ignored, &row(["1", "null", "null"]));
    assert_eq!(verdicts(HELD, [delete]), [Verdict::Applied]);
    let mut table = Arc::into_inner(ignored).unwrap();
    table.refuses_all = table.refuses_updates.take();
    let missing = Arc::new(table);
    let insert = Change::insert(AT, &missing, &row(["3", "c", "x"]));
    assert!(insert.is_refused());
}

#[test]
fn hashes_tell_keys_apart() {
    let keys = [vec![Some("ab"), Some("")], vec![Some("a"), Some("b")], vec![Some("ab"), None]];
    let hashes: HashSet<u128> = keys
        .iter()
        .map(|key| hash(&key.iter().map(|value| value.map(String::from)).collect()))
        .collect();
    assert_eq!(hashes.len(), 3);
}
