//! What a target must have before the first task is started: a task that finds out has cost minutes and money already.
//! The facts are read by one query; what they mean is decided by a pure function.

use serde::Deserialize;
use tokio_postgres::types::Json;

use crate::error::{Error, Result, Side};
use crate::knowledge::Knowledge;
use crate::pg::{Dsn, Session};
use crate::preflight::{Finding, Severity};

/// Name of the check in findings.
const CHECK: &str = "knowledge table";

/// Looks whether tasks can embed into this target.
///
/// # Errors
/// [`Error::Postgres`] when the target cannot be read.
pub async fn precheck(
    target: &Dsn,
    knowledge: &Knowledge,
    dimensions: usize,
) -> Result<Vec<Finding>> {
    let session = Session::open(target, Side::Target, "check").await?;
    let facts = read(&session, knowledge).await?;
    Ok(judge(&facts, knowledge, dimensions))
}

/// What there is.
#[derive(Debug, Clone, Default, Deserialize)]
struct Facts {
    /// Whether there is a table of that name.
    table: bool,
    /// Its columns.
    columns: Vec<Column>,
    /// Columns that an index begins with.
    indexed: Vec<String>,
    /// Whether the role may insert and delete.
    may_write: bool,
    /// Whether row-level security hides rows from the role.
    row_security: bool,
    /// Whether the role may make the schema for the workers' record, or write to the one there is.
    may_record: bool,
    /// Whether the server takes writes at all.
    read_only: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Column {
    name: String,
    /// As in `format_type`: `vector(1024)`.
    kind: String,
    /// Whether an insert without it fails.
    required: bool,
}

const FACTS: &str = "SELECT jsonb_build_object( \
      'table', t.oid IS NOT NULL, \
      'columns', COALESCE((SELECT jsonb_agg(jsonb_build_object('name', a.attname, \
          'kind', format_type(a.atttypid, a.atttypmod), \
          'required', a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = '')) \
        FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'), \
      'indexed', COALESCE((SELECT jsonb_agg(a.attname) FROM pg_index i \
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
        WHERE i.indrelid = t.oid AND i.indisvalid AND i.indpred IS NULL), '[]'), \
      'may_write', COALESCE(has_table_privilege(t.oid, 'INSERT') AND has_table_privilege(t.oid, 'DELETE') \
        AND has_table_privilege(t.oid, 'SELECT'), false), \
      'row_security', COALESCE(row_security_active(t.oid), false), \
      'may_record', CASE WHEN to_regnamespace('vecferry') IS NULL \
        THEN has_database_privilege(current_database(), 'CREATE') \
        ELSE has_schema_privilege('vecferry', 'CREATE') END, \
      'read_only', current_setting('transaction_read_only')::boolean) \
    FROM (SELECT c.oid FROM (SELECT to_regclass($1) AS oid) c) t";

async fn read(session: &Session, knowledge: &Knowledge) -> Result<Facts> {
    let table = knowledge.table.to_string();
    let row = session.query_one("look at the knowledge table", FACTS, &[&table]).await?;
    let Json(facts): Json<serde_json::Value> = row.get(0);
    serde_json::from_value(facts).map_err(|error| Error::Bug {
        what: format!("the catalog's answer has another shape: {error}"),
    })
}

fn judge(facts: &Facts, knowledge: &Knowledge, dimensions: usize) -> Vec<Finding> {
    let table = knowledge.table.plain();
    let mut findings = Vec::new();
    if facts.read_only {
        findings.push(blocker(
            "the target is read-only for this role".into(),
            "name the writer with --target, and a role that may write",
        ));
    }
    if !facts.table {
        findings.push(blocker(
            format!("there is no table {table} on the target"),
            "deploy the application first, which makes it, or name the table in [knowledge]",
        ));
        return findings;
    }
    findings.extend(columns(facts, knowledge, dimensions));
    if !facts.may_write {
        findings.push(blocker(
            format!("the role may not read, insert into and delete from {table}"),
            "grant SELECT, INSERT and DELETE, or use the table's owner",
        ));
    }
    if facts.row_security {
        findings.push(blocker(
            format!("row-level security hides rows of {table} from the role"),
            "use the table's owner, or ALTER ROLE … BYPASSRLS",
        ));
    }
    if !facts.may_record {
        findings.push(blocker(
            "the role may not make or write to schema vecferry".into(),
            "GRANT CREATE ON DATABASE, or create the schema and grant CREATE on it",
        ));
    }
    findings.extend(unindexed(facts, knowledge));
    findings
}

fn columns(facts: &Facts, knowledge: &Knowledge, dimensions: usize) -> Vec<Finding> {
    let table = knowledge.table.plain();
    let mut findings = Vec::new();
    let named = [&knowledge.id, &knowledge.content, &knowledge.source, &knowledge.embedding];
    let ours: Vec<&String> = named.into_iter().chain(&knowledge.bot).collect();
    for name in &ours {
        if !facts.columns.iter().any(|column| column.name == **name) {
            findings.push(blocker(
                format!("table {table} has no column {name:?}"),
                "name the columns in [knowledge] as they are",
            ));
        }
    }
    for column in &facts.columns {
        if column.required && !ours.contains(&&column.name) {
            findings.push(blocker(
                format!("column {:?} of {table} must not be null and has no default", column.name),
                "workers do not know it: give it a default",
            ));
        }
        if column.name != knowledge.embedding {
            continue;
        }
        let kind = column.kind.rsplit('.').next().unwrap_or_default();
        match length(kind) {
            _ if !["vector", "halfvec"].iter().any(|known| kind.starts_with(known)) => {
                findings.push(blocker(
                    format!("column {:?} of {table} is of type {}", column.name, column.kind),
                    "embeddings go into columns of pgvector's types vector and halfvec",
                ));
            }
            Some(length) if length != dimensions => findings.push(blocker(
                format!("column {:?} of {table} takes {length} dimensions, the model makes {dimensions}", column.name),
                "choose a model or dimensions that fit the column, and the application's query model",
            )),
            _ => {}
        }
    }
    findings
}

/// The 1024 of `vector(1024)`.
fn length(kind: &str) -> Option<usize> {
    kind.split_once('(')?.1.strip_suffix(')')?.parse().ok()
}

fn unindexed(facts: &Facts, knowledge: &Knowledge) -> Option<Finding> {
    let bot = knowledge.bot.as_ref().filter(|bot| !facts.indexed.contains(bot))?;
    Some(Finding {
        severity: Severity::Warning,
        check: CHECK.into(),
        side: Some(Side::Target),
        what: format!("no index of {} begins with column {bot:?}", knowledge.table.plain()),
        remedy: "each bot's swap and proof reads the whole table without one: create it before you start".into(),
    })
}

fn blocker(what: String, remedy: &str) -> Finding {
    Finding {
        severity: Severity::Blocker,
        check: CHECK.into(),
        side: Some(Side::Target),
        what,
        remedy: remedy.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str) -> Column {
        Column { name: name.into(), kind: kind.into(), required: false }
    }

    fn healthy() -> Facts {
        Facts {
            table: true,
            columns: vec![
                Column { required: true, ..column("id", "character(26)") },
                column("botid", "character(26)"),
                column("content", "text"),
                column("source", "text"),
                column("embedding", "public.vector(1024)"),
            ],
            indexed: vec!["id".into(), "botid".into()],
            may_write: true,
            row_security: false,
            may_record: true,
            read_only: false,
        }
    }

    fn found(spoil: impl FnOnce(&mut Facts)) -> Vec<(Severity, String)> {
        let mut facts = healthy();
        spoil(&mut facts);
        let findings = judge(&facts, &Knowledge::default(), 1024);
        findings.into_iter().map(|finding| (finding.severity, finding.what)).collect()
    }

    #[test]
    fn bedrock_chats_table_has_no_findings() {
        assert_eq!(found(|_| {}), []);
    }

    #[test]
    fn everything_that_would_fail_a_task_blocks() {
        type Spoil = fn(&mut Facts);
        let cases: [(Spoil, &str); 9] = [
            (|f| f.table = false, "there is no table public.items"),
            (|f| f.columns.retain(|c| c.name != "source"), "no column \"source\""),
            (
                |f| f.columns[4].kind = "vector(512)".into(),
                "takes 512 dimensions, the model makes 1024",
            ),
            (|f| f.columns[4].kind = "real[]".into(), "is of type real[]"),
            (
                |f| f.columns.push(Column { required: true, ..column("tenant", "text") }),
                "must not be null",
            ),
            (|f| f.may_write = false, "may not read, insert"),
            (|f| f.row_security = true, "row-level security"),
            (|f| f.may_record = false, "schema vecferry"),
            (|f| f.read_only = true, "read-only"),
        ];
        for (spoil, expected) in cases {
            let found = found(spoil);
            let [(Severity::Blocker, what)] = &found[..] else { panic!("{expected}: {found:?}") };
            assert!(what.contains(expected), "{what}");
        }
        assert_eq!(found(|f| f.columns[4].kind = "halfvec".into()), [], "of any length");
    }

    #[test]
    fn a_bot_column_without_an_index_is_a_warning() {
        let found = found(|f| f.indexed.clear());
        assert!(
            matches!(&found[..], [(Severity::Warning, what)] if what.contains("botid")),
            "{found:?}"
        );
    }
}
