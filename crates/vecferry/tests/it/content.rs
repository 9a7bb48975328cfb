//! Comparing two databases by PostgreSQL's own means, not by vecferry's.

use std::collections::BTreeMap;
use std::process::Command;

use vecferry_testkit::{Database, Version};

/// Tables, filled materialized views, large objects and sequences, each with what tells its content from another.
pub(crate) type Content = BTreeMap<String, String>;

/// Asserts that both databases hold the same; `what` says after what.
#[track_caller]
pub(crate) fn assert_same(source: &Content, target: &Content, what: &str) {
    let differ = |(name, held): &(&String, &String)| target.get(*name) != Some(*held);
    let missing: Vec<_> = source.iter().filter(differ).collect();
    let extra: Vec<_> = target.keys().filter(|name| !source.contains_key(*name)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{what}: {missing:#?} {extra:#?} {target:#?}");
}

/// Counts and digests of everything that holds rows, as text prints them.
pub(crate) async fn content(database: &Database) -> Content {
    let session = database.connect().await.unwrap();
    let settings = "SET extra_float_digits = 3; SET search_path = ''; SET TimeZone = 'UTC'";
    session.batch_execute(settings).await.unwrap();
    let relations = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind IN ('r', 'm') AND (c.relkind = 'r' OR c.relispopulated) \
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'vecferry', 'pg_toast')";
    let mut content = Content::new();
    for relation in session.query(relations, &[]).await.unwrap() {
        let name: String = relation.get(0);
        let rows = format!(
            "SELECT count(*) || ' rows ' || md5(COALESCE(string_agg(md5(t::text), '' ORDER BY md5(t::text)), '')) \
             FROM ONLY {name} t"
        );
        let held: String = session.query_one(&rows, &[]).await.unwrap().get(0);
        content.insert(name, held);
    }
    let others = "SELECT 'large object ' || oid, md5(lo_get(oid)) FROM pg_largeobject_metadata \
        UNION ALL SELECT 'sequence ' || schemaname || '.' || sequencename, COALESCE(last_value::text, 'unused') \
        FROM pg_sequences";
    for row in session.query(others, &[]).await.unwrap() {
        content.insert(row.get(0), row.get(1));
    }
    content
}

/// The schema as the newest pg_dump writes it, without comments and without vecferry's own.
pub(crate) fn schema(database: &Database) -> Vec<String> {
    let output = Command::new(Version::Pg18.bin_dir().unwrap().join("pg_dump"))
        .args(["--schema-only", "--no-owner", "--exclude-schema=vecferry", "--no-large-objects"])
        .arg(database.url())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let kept =
        |line: &&str| !line.starts_with("--") && !line.starts_with('\\') && !line.trim().is_empty();
    let mut lines: Vec<String> = text.lines().filter(kept).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The number that a query gives.
pub(crate) async fn count(database: &Database, sql: &str) -> i64 {
    database.query_one(sql).await.unwrap().get(0)
}
