//! What several tests need: running a migration, and comparing two databases by other means than vecferry's own.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use tokio_util::sync::CancellationToken;
use vecferry_core::migration::{RunOptions, migrate};
use vecferry_core::policy::{Clusters, Policy};
use vecferry_core::report::{Event, Reporter, Summary};
use vecferry_core::{Error, Result};
use vecferry_testkit::{Cluster, Database, Version};

/// Keeps every event.
#[derive(Default)]
pub(crate) struct Recorder {
    events: Mutex<Vec<Event>>,
}

impl Recorder {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub(crate) fn parts_finished(&self) -> usize {
        self.events().iter().filter(|event| matches!(event, Event::PartFinished { .. })).count()
    }
}

impl Reporter for Recorder {
    fn event(&self, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
    }
}

/// What Bedrock Chat's setup runs on an empty target: the vector index is made before there are rows.
pub(crate) const APP_SETUP: &str = "CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, embedding vector(8)); \
     CREATE INDEX idx_items_embedding ON items USING ivfflat (embedding vector_l2_ops) WITH (lists = 100); \
     CREATE INDEX idx_items_botid ON items (botid);";

/// A database with Bedrock Chat's table and `rows` chunks of seven bots, `bot0` to `bot6`.
pub(crate) async fn items(cluster: &Cluster, hint: &str, rows: u32) -> Database {
    let database = Database::with_vector(cluster, hint).await.unwrap();
    database.batch(APP_SETUP).await.unwrap();
    let fill = format!(
        "INSERT INTO items SELECT lpad(g::text, 26, '0'), 'bot' || g % 7, repeat('text of chunk ' || g || ' ', 5), \
         's3://b/' || g, ARRAY[g, g * 0.5, sin(g), 1, 2, 3, 4, 5]::real[]::vector FROM generate_series(1, {rows}) g"
    );
    database.batch(&fill).await.unwrap();
    database
}

/// The number that a query gives.
pub(crate) async fn count(database: &Database, sql: &str) -> i64 {
    database.query_one(sql).await.unwrap().get(0)
}

pub(crate) fn clusters(source: &Database, target: &Database) -> Clusters {
    Clusters { source: source.url().parse().unwrap(), target: target.url().parse().unwrap() }
}

/// A policy with the newest pg_dump, and parts so small that every table of a test has several.
pub(crate) fn policy() -> Policy {
    Policy { pg_bin_dir: Some(bin_dir()), part_bytes: 64 << 10, retries: 0, ..Policy::default() }
}

pub(crate) fn bin_dir() -> PathBuf {
    Version::Pg18.bin_dir().unwrap()
}

pub(crate) async fn copy(source: &Database, target: &Database, policy: &Policy) -> Result<Summary> {
    run(&clusters(source, target), policy, &Recorder::default()).await
}

pub(crate) async fn run(
    clusters: &Clusters,
    policy: &Policy,
    recorder: &Recorder,
) -> Result<Summary, Error> {
    migrate(clusters, policy, RunOptions::default(), recorder, &CancellationToken::new()).await
}

/// Asserts that both databases hold the same rows in the same tables, told by PostgreSQL's own text output, and the
/// same large objects and sequence positions.
pub(crate) async fn assert_same_content(source: &Database, target: &Database) {
    let (left, right) = (content(source).await, content(target).await);
    for (one, two) in left.iter().zip(&right) {
        assert_eq!(one, two);
    }
    assert_eq!(left.len(), right.len(), "{left:#?} {right:#?}");
}

async fn content(database: &Database) -> Vec<String> {
    let session = database.connect().await.unwrap();
    session
        .batch_execute("SET extra_float_digits = 3; SET search_path = ''; SET TimeZone = 'UTC'")
        .await
        .unwrap();
    let relations = session
        .query(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'm') AND (c.relkind = 'r' OR c.relispopulated) \
             AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'vecferry', 'pg_toast') ORDER BY 1",
            &[],
        )
        .await
        .unwrap();
    let mut lines = Vec::new();
    for relation in relations {
        let name: String = relation.get(0);
        let sql = format!(
            "SELECT count(*), md5(COALESCE(string_agg(md5(t::text), '' ORDER BY md5(t::text)), '')) FROM ONLY {name} t"
        );
        let row = session.query_one(&sql, &[]).await.unwrap();
        lines.push(format!("{name}: {} rows {}", row.get::<_, i64>(0), row.get::<_, String>(1)));
    }
    let objects = "SELECT oid::text || ' ' || md5(lo_get(oid)) FROM pg_largeobject_metadata \
                   UNION ALL SELECT schemaname || '.' || sequencename || ' ' || COALESCE(last_value::text, 'unused') \
                   FROM pg_sequences ORDER BY 1";
    lines.extend(
        session.query(objects, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)),
    );
    lines
}

/// The schema as the newest pg_dump writes it, without what may rightly differ between two servers.
pub(crate) fn schema(database: &Database) -> Vec<String> {
    let output = Command::new(bin_dir().join("pg_dump"))
        .args(["--schema-only", "--no-owner", "--exclude-schema=vecferry", "--no-large-objects"])
        .arg(database.url())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("--") && !line.starts_with('\\') && !line.is_empty())
        .map(str::to_owned)
        .collect();
    // Objects of one kind are written in the order of their names, but their dependencies may change it.
    lines.sort();
    lines
}

pub(crate) fn assert_same_schema(source: &Database, target: &Database) {
    let (left, right) = (schema(source), schema(target));
    let missing: Vec<_> = left.iter().filter(|line| !right.contains(line)).collect();
    let extra: Vec<_> = right.iter().filter(|line| !left.contains(line)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\nextra: {extra:#?}");
}

/// Everything of vecferry's in a database, as `kind name`: what must be gone after a cleanup.
pub(crate) async fn leftovers_of_ours(database: &Database) -> Vec<String> {
    let sql = "SELECT 'publication ' || pubname FROM pg_publication WHERE pubname LIKE 'vecferry%' \
        UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots \
          WHERE slot_name LIKE 'vecferry%' AND database = current_database() \
        UNION ALL SELECT 'subscription ' || subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
          WHERE subname LIKE 'vecferry%' AND datname = current_database() \
        UNION ALL SELECT 'trigger ' || tgname || ' on ' || tgrelid::regclass FROM pg_trigger WHERE tgname LIKE 'vecferry%' \
        UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'vecferry%' \
        UNION ALL SELECT 'function ' || p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace \
          WHERE proname LIKE 'vecferry%' OR nspname LIKE 'vecferry%' ORDER BY 1";
    let session = database.connect().await.unwrap();
    session.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}
