//! Cutover and rollback on real clusters with an application that writes all the while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vecferry_core::cutover::decide::Decision;
use vecferry_core::cutover::step::{Direction, Stage};
use vecferry_core::cutover::{End, Options, Outcome, cross, decide};
use vecferry_core::phase::Phase;
use vecferry_core::policy::{Clusters, FollowPolicy, Policy};
use vecferry_core::report::{Event, Reporter};
use vecferry_core::status::status;
use vecferry_core::{Error, Result};
use vecferry_testkit::{Cluster, Database, Options as ClusterOptions, Version, pair};

use crate::fixture::{Recorder, assert_same_content, clusters, count, items, schema};
use crate::follow::{follow, following};

/// Besides `items`: partitions with a serial key, and sequences of every kind.
const MORE: &str = "
CREATE TABLE events (id serial, at int NOT NULL, what text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (50);
CREATE TABLE events_high PARTITION OF events FOR VALUES FROM (50) TO (100);
INSERT INTO events (at, what) SELECT n % 100, 'old' FROM generate_series(1, 300) n;
CREATE SEQUENCE down INCREMENT -2 MAXVALUE 100 MINVALUE -100000 START 100;
CREATE SEQUENCE small AS smallint MAXVALUE 500;
CREATE SEQUENCE untouched;
SELECT nextval('down'), setval('small', 400);
";

/// Two databases, a target that follows its source.
struct Crossing {
    source: Database,
    target: Database,
    clusters: Clusters,
    policy: Policy,
}

impl Crossing {
    async fn between(source: &Cluster, target: &Cluster, name: &str) -> Crossing {
        let source = items(source, name, 2000).await;
        source.batch(MORE).await.unwrap();
        Crossing::following(source, Database::create(target, name).await.unwrap()).await
    }

    async fn new(name: &str) -> Crossing {
        let pair = pair().await;
        Crossing::between(&pair.source, &pair.target, name).await
    }

    async fn following(source: Database, target: Database) -> Crossing {
        let clusters = clusters(&source, &target);
        let default = following();
        let policy = Policy {
            follow: FollowPolicy { set_replica_identity: true, ..default.follow },
            ..default
        };
        follow(&clusters, &policy, &Recorder::default()).await.unwrap();
        Crossing { source, target, clusters, policy }
    }

    async fn go(&self, options: &Options) -> Result<Outcome> {
        let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
        cross(&self.clusters, &self.policy, options, &recorder, &cancel).await
    }

    async fn ask(&self, direction: Direction) -> Decision {
        decide(&self.clusters, &self.policy, &Options::new(direction)).await.unwrap()
    }

    async fn phase(&self) -> Phase {
        status(&self.clusters.target).await.unwrap().unwrap().phase
    }
}

fn cutover() -> Options {
    Options::new(Direction::Cutover)
}

fn rollback() -> Options {
    Options::new(Direction::Rollback)
}

/// An application: inserts, updates and deletes until it is refused or told to stop, and remembers what was
/// acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    work: JoinSet<Wrote>,
}

/// What a writer did.
#[derive(Debug, Default)]
struct Wrote {
    /// Content of its rows as last acknowledged, by id; `None` for a deleted one.
    rows: Vec<(String, Option<String>)>,
    events: i64,
    /// SQLSTATE and message of the first refusal.
    refused: Option<(String, String)>,
}

impl Writer {
    fn start(database: &Database, tag: &str) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let mut work = JoinSet::new();
        work.spawn(write(database.url().to_owned(), tag.to_owned(), stop.clone()));
        Writer { stop, work }
    }

    async fn end(mut self) -> Wrote {
        self.stop.store(true, Ordering::Relaxed);
        self.work.join_next().await.unwrap().unwrap()
    }

    /// Waits for it to be refused.
    async fn refused(mut self) -> Wrote {
        self.work.join_next().await.unwrap().unwrap()
    }
}

async fn write(url: String, tag: String, stop: Arc<AtomicBool>) -> Wrote {
    let session = vecferry_testkit::Session::open(&url).await.unwrap();
    let mut wrote = Wrote::default();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        if let Err(error) = write_one(&session, &tag, number, &mut wrote).await {
            let error = error.as_db_error().unwrap_or_else(|| panic!("{error}")).clone();
            wrote.refused = Some((error.code().code().to_owned(), error.message().to_owned()));
            return wrote;
        }
    }
    wrote
}

async fn write_one(
    session: &vecferry_testkit::Session,
    tag: &str,
    number: usize,
    wrote: &mut Wrote,
) -> Result<(), tokio_postgres::Error> {
    let id = format!("{tag}{number:020}");
    let sql = "INSERT INTO items (id, botid, content, embedding) VALUES ($1, 'bot1', 'first', '[1,2,3,4,5,6,7,8]')";
    session.execute(sql, &[&id]).await?;
    wrote.rows.push((id, Some("first".into())));
    session
        .execute(
            "INSERT INTO events (at, what) VALUES (($1::int8 % 100)::int, $2)",
            &[&(number as i64), &tag],
        )
        .await?;
    wrote.events += 1;
    if number % 3 == 0 {
        let at = wrote.rows.len() - 2;
        let id = wrote.rows[at].0.clone();
        session.execute("UPDATE items SET content = 'second' WHERE id = $1", &[&id]).await?;
        wrote.rows[at].1 = Some("second".into());
    }
    if number % 7 == 0 {
        let at = wrote.rows.len() - 4;
        let id = wrote.rows[at].0.clone();
        session.execute("DELETE FROM items WHERE id = $1", &[&id]).await?;
        wrote.rows[at].1 = None;
    }
    Ok(())
}

/// Everything acknowledged is there, and nothing else under that tag.
async fn assert_has(database: &Database, tag: &str, wrote: &Wrote) {
    let session = database.connect().await.unwrap();
    let sql = "SELECT rtrim(id), content FROM items WHERE id LIKE $1 || '%' ORDER BY 1";
    let found = session.query(sql, &[&tag]).await.unwrap();
    let found: Vec<(String, String)> = found.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected: Vec<(String, String)> = wrote
        .rows
        .iter()
        .filter_map(|(id, content)| Some((id.clone(), content.clone()?)))
        .collect();
    assert!(found == expected, "{} rows found, {} acknowledged", found.len(), expected.len());
    let events = session.query_one("SELECT count(*) FROM events WHERE what = $1", &[&tag]).await;
    assert_eq!(events.unwrap().get::<_, i64>(0), wrote.events);
}

/// Waits until a query gives true.
async fn wait_until(database: &Database, sql: &str) {
    let session = database.connect().await.unwrap();
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    while !session.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(tokio::time::Instant::now() < patience, "never came true: {sql}");
    }
}

const WRITTEN: &str = "SELECT count(*) > 50 FROM items WHERE id LIKE '%00000000000000' || '%' AND content IN ('first', 'second')";

async fn to_and_fro(source: &Cluster, target: &Cluster, name: &str) {
    let crossing = Crossing::between(source, target, name).await;
    let writer = Writer::start(&crossing.source, "a");
    wait_until(&crossing.source, WRITTEN).await;
    let before: i64 = count(&crossing.source, "SELECT last_value FROM events_id_seq").await;
    let options =
        Options { switch: Some("test \"$VECFERRY_SWITCH_TO\" = target".into()), ..cutover() };
    let outcome = crossing.go(&options).await.unwrap();
    println!("{name} cutover: {:?} {:?}", outcome.downtime_seconds, outcome.steps);
    assert_eq!(
        (outcome.end, outcome.done, outcome.way_back),
        (End::Done, true, true),
        "{outcome:#?}"
    );
    assert!(outcome.downtime_seconds.is_some(), "{outcome:#?}");
    let wrote = writer.refused().await;
    let (code, message) = wrote.refused.clone().unwrap();
    assert_eq!(code, "25006");
    assert!(message.contains("vecferry: writes to"), "{message}");
    assert_has(&crossing.target, "a", &wrote).await;
    assert_eq!(crossing.phase().await, Phase::Done);
    let position = "SELECT last_value FROM events_id_seq";
    assert!(count(&crossing.target, position).await > before + 1000);
    assert_eq!(count(&crossing.target, "SELECT last_value FROM down").await, 100 - 2000);
    assert_eq!(count(&crossing.target, "SELECT last_value FROM small").await, 450);
    assert_eq!(count(&crossing.target, "SELECT is_called::int::bigint FROM untouched").await, 0);
    for (database, publications, subscriptions) in
        [(&crossing.source, 0, 1), (&crossing.target, 1, 0)]
    {
        let sql = "SELECT count(*) FROM pg_publication";
        assert_eq!(count(database, sql).await, publications);
        let sql = "SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid \
                   WHERE datname = current_database()";
        assert_eq!(count(database, sql).await, subscriptions);
    }
    // Done is done.
    assert_eq!(crossing.go(&options).await.unwrap().end, End::Done);

    let writer = Writer::start(&crossing.target, "b");
    wait_until(&crossing.target, "SELECT count(*) > 50 FROM items WHERE id LIKE 'b%'").await;
    let outcome = crossing.go(&rollback()).await.unwrap();
    println!("{name} rollback: {:?} {:?}", outcome.downtime_seconds, outcome.steps);
    assert_eq!((outcome.end, outcome.switched_by_command), (End::Done, false), "{outcome:#?}");
    let wrote_back = writer.refused().await;
    assert_eq!(wrote_back.refused.as_ref().unwrap().0, "25006");
    assert_has(&crossing.source, "b", &wrote_back).await;
    assert_has(&crossing.source, "a", &wrote).await;
    // The source is as it was before any of this, but for its rows.
    let left = "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_subscription s \
                JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database()) \
                + (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()) \
                + (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'vecferry%')";
    assert_eq!(count(&crossing.source, left).await, 0);
    let writer = Writer::start(&crossing.source, "c");
    wait_until(&crossing.source, "SELECT count(*) > 5 FROM items WHERE id LIKE 'c%'").await;
    assert_eq!(writer.end().await.refused, None);
    assert!(!crossing.ask(Direction::Cutover).await.go);
    assert_eq!(crossing.go(&rollback()).await.unwrap().end, End::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_crosses_and_comes_back_from_16_to_18() {
    let pair = pair().await;
    to_and_fro(&pair.source, &pair.target, "cross_16_18").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_crosses_and_comes_back_within_18() {
    let source = Cluster::start(Version::Pg18, ClusterOptions::new()).unwrap();
    to_and_fro(&source, &pair().await.target, "cross_18_18").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_crosses_and_comes_back_within_16() {
    let target = Cluster::start(Version::Pg16, ClusterOptions::new()).unwrap();
    to_and_fro(&pair().await.source, &target, "cross_16_16").await;
}
