//! Cutover and rollback on real clusters with an application that writes all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vecferry_core::cutover::decide::Decision;
use vecferry_core::cutover::step::{Direction, Stage};
use vecferry_core::cutover::switch::CommandSwitch;
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
CREATE TABLE log (line text);
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
    lines: i64,
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
    session.execute("INSERT INTO log VALUES ($1)", &[&tag]).await?;
    wrote.lines += 1;
    if number.is_multiple_of(3) {
        let at = wrote.rows.len() - 2;
        let id = wrote.rows[at].0.clone();
        session.execute("UPDATE items SET content = 'second' WHERE id = $1", &[&id]).await?;
        wrote.rows[at].1 = Some("second".into());
    }
    if number.is_multiple_of(7) {
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
    let lines = session.query_one("SELECT count(*) FROM log WHERE line = $1", &[&tag]).await;
    assert_eq!(lines.unwrap().get::<_, i64>(0), wrote.lines);
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
    let options = Options {
        switch: Some(Arc::new(CommandSwitch::new("test \"$VECFERRY_SWITCH_TO\" = target"))),
        ..cutover()
    };
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

/// Objects of ours on a database, and how many of its triggers refuse.
const OURS: &str = "
SELECT (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'vecferry%')
     + (SELECT count(*) FROM pg_namespace WHERE nspname = 'vecferry_fence')";

/// Publication and slot of the way back.
const WAY_BACK: &str = "
SELECT (SELECT count(*) FROM pg_publication WHERE pubname LIKE '%_back')
     + (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE '%_back' AND database = current_database())";

impl Crossing {
    /// The application goes on on the source as if nothing had been tried.
    async fn assert_undone(&self, what: &str) {
        assert_eq!(count(&self.source, OURS).await, 0, "{what}");
        assert_eq!(count(&self.target, WAY_BACK).await, 0, "{what}");
        assert_eq!(self.phase().await, Phase::Following, "{what}");
        let write = "INSERT INTO log VALUES ('undone'); DELETE FROM log WHERE line = 'undone'";
        self.source.batch(write).await.unwrap();
    }

    async fn assert_fenced(&self, database: &Database) {
        let error = database.batch("DELETE FROM items").await.unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error:?} {source}").contains("vecferry: writes to"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fence_refuses_every_way_of_writing_and_no_way_of_reading() {
    let pair = pair().await;
    let source = items(&pair.source, "fence", 10).await;
    source.batch(MORE).await.unwrap();
    source
        .batch(
            "CREATE TABLE base (a int PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (a)) INHERITS (base); \
             CREATE VIEW shown AS SELECT id, content FROM items; \
             CREATE TABLE refers (id char(26) PRIMARY KEY REFERENCES items ON DELETE CASCADE)",
        )
        .await
        .unwrap();
    let target = Database::create(&pair.target, "fence").await.unwrap();
    let crossing = Crossing::following(source, target).await;
    assert_eq!(crossing.go(&cutover()).await.unwrap().end, End::Done);
    let (source, session) = (&crossing.source, crossing.source.connect().await.unwrap());
    for sql in [
        "INSERT INTO items (id) VALUES ('x')",
        "UPDATE items SET content = 'x' WHERE false",
        "DELETE FROM items",
        "TRUNCATE items CASCADE",
        "INSERT INTO events (at) VALUES (1)",
        "UPDATE events SET what = 'x'",
        "DELETE FROM events",
        "TRUNCATE events",
        "TRUNCATE events_low",
        "INSERT INTO events_low (at) VALUES (1)",
        "DELETE FROM base",
        "UPDATE base SET a = 1",
        "INSERT INTO child VALUES (1)",
        "UPDATE shown SET content = 'x'",
        "WITH gone AS (DELETE FROM log RETURNING 1) SELECT count(*) FROM gone",
        "MERGE INTO items USING (VALUES ('x')) v(id) ON items.id = v.id WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)",
    ] {
        let error = session.batch_execute(sql).await.expect_err(sql);
        let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}"));
        assert_eq!(error.code().code(), "25006", "{sql}: {error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("vecferry rollback")), "{error:?}");
    }
    for copy in ["COPY items (id) FROM STDIN;\nx\n\\.\n", "COPY events (at) FROM STDIN;\n1\n\\.\n"]
    {
        let error = format!("{:?}", source.psql(copy).unwrap_err());
        assert!(error.contains("vecferry: writes to"), "{error}");
    }
    session
        .batch_execute("SELECT count(*) FROM events; SELECT * FROM items FOR UPDATE")
        .await
        .unwrap();
    session
        .batch_execute("CREATE TABLE other (a int); INSERT INTO other VALUES (1)")
        .await
        .unwrap();
    assert_eq!(count(source, "SELECT count(*) FROM items").await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_does_not_end_makes_the_fence_give_up_and_go() {
    let crossing = Crossing::new("blocked").await;
    let other = crossing.source.connect().await.unwrap();
    other.batch_execute("BEGIN; UPDATE items SET content = 'x' WHERE id LIKE '%7'").await.unwrap();
    let hurried =
        Options { fence_timeout: Duration::from_millis(100), fence_tries: 2, ..cutover() };
    let outcome = crossing.go(&hurried).await.unwrap();
    assert_eq!((outcome.end, outcome.done), (End::Undone, false), "{outcome:#?}");
    let stopped = outcome.stopped.unwrap().what;
    assert!(stopped.contains("2 tries of 100 ms") && stopped.contains("items"), "{stopped}");
    crossing.assert_undone("blocked").await;
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(crossing.go(&hurried).await.unwrap().end, End::Done);
    let sql = "SELECT count(*) FROM items WHERE content = 'x'";
    assert_eq!(count(&crossing.target, sql).await, count(&crossing.source, sql).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_says_no_leaves_the_application_where_it_is() {
    let crossing = Crossing::new("hook_no").await;
    let refusing = |options: Options| Options {
        switch: Some(Arc::new(CommandSwitch::new("exit 3"))),
        ..options
    };
    let outcome = crossing.go(&refusing(cutover())).await.unwrap();
    assert_eq!(outcome.end, End::Undone, "{outcome:#?}");
    assert!(outcome.stopped.unwrap().what.contains("exit code 3"));
    crossing.assert_undone("hook").await;
    assert_eq!(crossing.go(&cutover()).await.unwrap().end, End::Done);
    // The same on the way back: the application stays on the target, and the source stays fenced.
    let outcome = crossing.go(&refusing(rollback())).await.unwrap();
    assert_eq!(outcome.end, End::Undone, "{outcome:#?}");
    crossing.target.batch("INSERT INTO log VALUES ('late')").await.unwrap();
    crossing.assert_fenced(&crossing.source).await;
    assert_eq!(crossing.go(&rollback()).await.unwrap().end, End::Done);
    assert_eq!(count(&crossing.source, "SELECT count(*) FROM log").await, 1);
    crossing.assert_fenced(&crossing.target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_without_a_word_keeps_the_fence_and_leaves_both_ways_open() {
    for (name, way) in [("unknown_on", Direction::Cutover), ("unknown_back", Direction::Rollback)] {
        let crossing = Crossing::new(name).await;
        let silent =
            Options { switch: Some(Arc::new(CommandSwitch::new("kill -9 $$"))), ..cutover() };
        let outcome = crossing.go(&silent).await.unwrap();
        assert_eq!((outcome.end, outcome.done), (End::Unknown, false), "{outcome:#?}");
        assert!(outcome.stopped.unwrap().remedy.contains("vecferry rollback"));
        crossing.assert_fenced(&crossing.source).await;
        // The application may well be there.
        crossing.target.batch("INSERT INTO log VALUES ('from the target')").await.unwrap();
        let refusing =
            Options { switch: Some(Arc::new(CommandSwitch::new("exit 3"))), ..cutover() };
        assert_eq!(crossing.go(&refusing).await.unwrap().end, End::Unknown);
        crossing.assert_fenced(&crossing.source).await;
        assert!(crossing.ask(way).await.go);
        let outcome = crossing.go(&Options::new(way)).await.unwrap();
        assert_eq!(outcome.end, End::Done, "{name}: {outcome:#?}");
        if way == Direction::Rollback {
            crossing.assert_fenced(&crossing.target).await;
            crossing.source.batch("INSERT INTO log VALUES ('from the source')").await.unwrap();
            assert_eq!(count(&crossing.source, "SELECT count(*) FROM log").await, 2);
        } else {
            crossing.assert_fenced(&crossing.source).await;
            wait_until(&crossing.source, "SELECT count(*) = 1 FROM log").await;
        }
        assert_eq!(crossing.phase().await, Phase::Done);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_differs_is_never_switched_to() {
    let crossing = Crossing::new("differs").await;
    let plant = "INSERT INTO items (id, botid) VALUES ('planted', 'bot1')";
    crossing.target.batch(plant).await.unwrap();
    let outcome = crossing.go(&cutover()).await.unwrap();
    assert_eq!(outcome.end, End::Undone, "{outcome:#?}");
    let stopped = outcome.stopped.unwrap().what;
    assert!(stopped.contains("2001 rows, on the source 2000 rows"), "{stopped}");
    crossing.assert_undone("differs").await;
    // As many rows, another value: counting does not see it, digests do.
    let swap = "DELETE FROM items WHERE id = 'planted'; UPDATE items SET content = 'other' WHERE id LIKE '%0042'";
    crossing.target.batch(swap).await.unwrap();
    let full = Options { full: true, ..cutover() };
    let outcome = crossing.go(&full).await.unwrap();
    assert_eq!(outcome.end, End::Undone, "{outcome:#?}");
    crossing.assert_undone("digests").await;
    let mend = "UPDATE items SET content = repeat('text of chunk 42 ', 5) WHERE id LIKE '%0042'";
    crossing.target.batch(mend).await.unwrap();
    assert_eq!(crossing.go(&full).await.unwrap().end, End::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_change_that_cannot_be_applied_gives_the_source_back_at_once() {
    let crossing = Crossing::new("conflict").await;
    crossing.target.batch("INSERT INTO items (id) VALUES ('taken')").await.unwrap();
    // Held back until the fence is up: apply waits for this lock.
    let holder = crossing.target.connect().await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE items IN SHARE MODE").await.unwrap();
    crossing.source.batch("INSERT INTO items (id) VALUES ('taken')").await.unwrap();
    let mut work = JoinSet::new();
    let (url, target) = (crossing.source.url().to_owned(), holder);
    work.spawn(async move {
        let session = vecferry_testkit::Session::open(&url).await.unwrap();
        let up = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'vecferry_fence')";
        while !session.query_one(up, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        target.batch_execute("ROLLBACK").await.unwrap();
    });
    let outcome = crossing.go(&Options { way_back: false, ..cutover() }).await.unwrap();
    assert_eq!(outcome.end, End::Undone, "{outcome:#?}");
    let stopped = outcome.stopped.unwrap().what;
    assert!(stopped.contains("could not be applied") || stopped.contains("stopped"), "{stopped}");
    crossing.assert_undone("conflict").await;
}

/// What both databases and their clusters hold for this migration.
async fn everything(crossing: &Crossing) -> Vec<String> {
    let mut all = schema(&crossing.source);
    all.extend(schema(&crossing.target));
    for database in [&crossing.source, &crossing.target] {
        let sql = "SELECT string_agg(what, E'\\n' ORDER BY what) FROM ( \
                   SELECT tgname::text AS what FROM pg_trigger \
                   UNION ALL SELECT slot_name FROM pg_replication_slots WHERE database = current_database() \
                   UNION ALL SELECT pubname FROM pg_publication UNION ALL SELECT nspname FROM pg_namespace \
                   UNION ALL SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid \
                   WHERE datname = current_database()) x";
        all.push(database.query_one(sql).await.unwrap().get(0));
    }
    let sql = "SELECT count(*)::text FROM vecferry.crossing";
    all.push(crossing.target.query_one(sql).await.unwrap().get(0));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_changes_nothing_and_a_no_is_said_without_trying() {
    let crossing = Crossing::new("asking").await;
    let before = everything(&crossing).await;
    let decision = crossing.ask(Direction::Cutover).await;
    assert!(decision.go, "{decision:#?}");
    let decision = crossing.ask(Direction::Rollback).await;
    assert!(decision.reasons[0].what.contains("not cut over"), "{decision:#?}");
    crossing.source.batch("ALTER TABLE log ADD COLUMN more int").await.unwrap();
    let outcome = crossing.go(&cutover()).await.unwrap();
    assert_eq!(outcome.end, End::Refused, "{outcome:#?}");
    assert!(outcome.decision.reasons[0].what.contains("public.log was altered"), "{outcome:#?}");
    crossing.source.batch("ALTER TABLE log DROP COLUMN more").await.unwrap();
    assert_eq!(everything(&crossing).await, before);
    let unreachable = "postgresql://postgres@127.0.0.1:1/nowhere".parse().unwrap();
    let mut policy = crossing.policy.clone();
    policy.follow.target_from_source = Some(unreachable);
    let decision = decide(&crossing.clusters, &policy, &cutover()).await.unwrap();
    assert!(decision.reasons[0].what.contains("cannot subscribe to the target"), "{decision:#?}");
    let without = Options { way_back: false, ..cutover() };
    assert!(decide(&crossing.clusters, &policy, &without).await.unwrap().go);
    assert_eq!(everything(&crossing).await, before);
}

/// Cancels when a stage begins.
struct CancelAt(Stage, CancellationToken);

impl Reporter for CancelAt {
    fn event(&self, event: &Event) {
        if *event == (Event::StageStarted { stage: self.0 }) {
            self.1.cancel();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_before_the_switch_nothing_is_left_and_after_it_all_is_done() {
    let crossing = Crossing::new("interrupted").await;
    use Stage::*;
    for stage in [Prepare, Fence, Drain, Sequences, Verify, WayBack, Switch] {
        let cancel = CancellationToken::new();
        let reporter = CancelAt(stage, cancel.clone());
        let went =
            cross(&crossing.clusters, &crossing.policy, &cutover(), &reporter, &cancel).await;
        if stage == Switch {
            assert_eq!(went.unwrap().end, End::Done);
        } else {
            assert!(matches!(went, Err(Error::Interrupted)), "{stage}: {went:?}");
            crossing.assert_undone(stage.as_str()).await;
        }
    }
    crossing.assert_fenced(&crossing.source).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_way_back_the_source_keeps_no_link_and_no_rollback_is_promised() {
    let crossing = Crossing::new("one_way").await;
    let outcome = crossing.go(&Options { way_back: false, ..cutover() }).await.unwrap();
    assert_eq!((outcome.end, outcome.way_back), (End::Done, false), "{outcome:#?}");
    assert_eq!(count(&crossing.target, WAY_BACK).await, 0);
    let outcome = crossing.go(&rollback()).await.unwrap();
    assert_eq!(outcome.end, End::Refused);
    assert!(outcome.decision.reasons[0].what.contains("without a way back"), "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_objects_written_while_following_are_on_the_target_after_the_cutover() {
    let pair = pair().await;
    let source = items(&pair.source, "objects", 10).await;
    source.batch("SELECT lo_from_bytea(7001, 'one'), lo_from_bytea(7002, 'two')").await.unwrap();
    let target = Database::create(&pair.target, "objects").await.unwrap();
    let crossing = Crossing::following(source, target).await;
    let change = "SELECT lo_put(7001, 0, 'ONE'), lo_unlink(7002), lo_from_bytea(7003, 'three')";
    crossing.source.batch(change).await.unwrap();
    assert_eq!(crossing.go(&cutover()).await.unwrap().end, End::Done);
    let target = &crossing.target;
    let text = "SELECT convert_from(lo_get(7001), 'UTF8') || convert_from(lo_get(7003), 'UTF8')";
    assert_eq!(target.query_one(text).await.unwrap().get::<_, String>(0), "ONEthree");
    assert_eq!(count(target, "SELECT count(*) FROM pg_largeobject_metadata").await, 2);
    assert_same_content(&crossing.source, target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_writes_past_the_fence_must_be_stopped_first() {
    let crossing = Crossing::new("fed").await;
    let upstream = Database::create(&pair().await.target, "upstream").await.unwrap();
    upstream
        .batch("CREATE TABLE log (line text); CREATE PUBLICATION feed FOR TABLE log")
        .await
        .unwrap();
    let feed = format!(
        "CREATE SUBSCRIPTION feed CONNECTION '{}' PUBLICATION feed WITH (copy_data = false)",
        upstream.url()
    );
    crossing.source.batch(&feed).await.unwrap();
    let decision = crossing.ask(Direction::Cutover).await;
    assert!(!decision.go && decision.reasons[0].what.contains("feed"), "{decision:#?}");
    crossing.source.batch("ALTER SUBSCRIPTION feed DISABLE").await.unwrap();
    assert!(crossing.ask(Direction::Cutover).await.go);
}
