//! Asks the target which rows have the keys of many changes: one query for each unique index, through that index.

use std::collections::HashMap;

use tokio_postgres::types::ToSql;

use super::counterpart::{Counterpart, Unique};
use super::judge::{Change, Key};
use crate::error::Result;
use crate::pg::{Session, quote_ident};

/// Makes the server go through the index, whatever it believes of the table's size, and wait for no lock for long:
/// somebody may be altering the very table.
pub(super) const SETTINGS: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
                                          SET lock_timeout = '10s'; SET statement_timeout = '60s'";

/// Questions that one query answers: of one index, with NULL in the same columns.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    relation: u32,
    unique: usize,
    nulls: Vec<bool>,
}

/// Answers the questions of changes, none of which came before and after a change of its table's definition.
///
/// # Errors
/// [`crate::Error::Postgres`] when the target cannot be asked, or its type does not take a key.
pub(super) async fn answer(target: &Session, changes: &mut [Change]) -> Result<()> {
    let mut kinds: HashMap<Kind, Vec<(usize, usize)>> = HashMap::new();
    for (at, change) in changes.iter().enumerate() {
        for (which, question) in change.questions.iter().enumerate() {
            let nulls = question.key.iter().map(Option::is_none).collect();
            let kind = Kind { relation: change.table.relation, unique: question.unique, nulls };
            kinds.entry(kind).or_default().push((at, which));
        }
    }
    for (kind, asked) in kinds {
        for (number, row) in ask(target, changes, &kind, &asked).await? {
            let place = usize::try_from(number).ok().and_then(|number| asked.get(number));
            if let Some((at, which)) = place {
                changes[*at].questions[*which].answer = Some(row);
            }
        }
    }
    Ok(())
}

/// Which of the keys asked for are there, and the identities of their rows.
async fn ask(
    target: &Session,
    changes: &[Change],
    kind: &Kind,
    asked: &[(usize, usize)],
) -> Result<Vec<(i64, Key)>> {
    let Some((first, _)) = asked.first() else { return Ok(Vec::new()) };
    let table = &changes[*first].table;
    let unique = &table.uniques[kind.unique];
    let numbers: Vec<i64> = (0..).take(asked.len()).collect();
    let mut keys: Vec<Vec<&str>> = Vec::new();
    for column in (0..unique.columns.len()).filter(|column| !kind.nulls[*column]) {
        let value = |(at, which): &(usize, usize)| {
            changes[*at].questions[*which].key[column].as_deref().unwrap_or_default()
        };
        keys.push(asked.iter().map(value).collect());
    }
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&numbers];
    params.extend(keys.iter().map(|values| values as &(dyn ToSql + Sync)));
    let doing = format!("look for keys in {}", table.name.plain());
    let rows = target.query(&doing, &select(table, unique, &kind.nulls), &params).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Output functions, not casts, write the identity: a cast of `char(n)` to text would lose the blanks at its end, which
/// the source sends.
fn select(table: &Counterpart, unique: &Unique, nulls: &[bool]) -> String {
    let identity: Vec<String> = table
        .identity_columns
        .iter()
        .map(|name| format!("t.{0}", quote_ident(name)))
        .map(|name| {
            format!("CASE WHEN {name} IS NOT NULL THEN pg_catalog.format('%s', {name}) END")
        })
        .collect();
    let (mut arrays, mut names) = (vec!["$1::int8[]".to_owned()], vec!["n".to_owned()]);
    let mut conditions = Vec::new();
    for (column, null) in unique.columns.iter().zip(nulls) {
        let name = quote_ident(&column.name);
        if *null {
            conditions.push(format!("t.{name} IS NULL"));
            continue;
        }
        let place = names.len();
        arrays.push(format!("${}::text[]", place + 1));
        names.push(format!("k{place}"));
        conditions.push(format!("t.{name} {} k.k{place}::{}", column.equals, column.sql_type));
    }
    format!(
        "SELECT k.n, ARRAY[{}]::text[] FROM unnest({}) AS k({}) JOIN {}{} t ON {}",
        identity.join(", "),
        arrays.join(", "),
        names.join(", "),
        if table.partitioned { "" } else { "ONLY " },
        table.name,
        conditions.join(" AND ")
    )
}
