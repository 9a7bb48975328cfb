//! Following a source that stays in use: copy under a slot, apply, resume, and what stops it.

use std::sync::Mutex;

use tokio_util::sync::CancellationToken;
use vecferry_core::migration::{RunOptions, migrate};
use vecferry_core::phase::Phase;
use vecferry_core::policy::{ApplyStart, Clusters, FollowPolicy, Method, Policy};
use vecferry_core::report::{Event, Reporter, Summary};
use vecferry_core::status::status;
use vecferry_core::{Error, Result, Side};
use vecferry_testkit::{Cluster, Database, Options, Stop, Version, pair};

use crate::fixture::{Recorder, assert_same_content, clusters, count, items, policy};

/// A policy that follows.
pub(crate) fn following() -> Policy {
    Policy { method: Some(Method::Follow), ..policy() }
}

/// Runs until the target has caught up.
pub(crate) async fn follow(
    clusters: &Clusters,
    policy: &Policy,
    recorder: &Recorder,
) -> Result<Summary, Error> {
    let options = RunOptions { detach: true, ..RunOptions::default() };
    migrate(clusters, policy, options, recorder, &CancellationToken::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_after_the_copy_arrives_by_itself() {
    let pair = pair().await;
    for apply_start in [ApplyStart::Last, ApplyStart::First] {
        let source = items(&pair.source, "follow", 4000).await;
        let target = Database::create(&pair.target, "follow").await.unwrap();
        let clusters = clusters(&source, &target);
        let policy =
            Policy { follow: FollowPolicy { apply_start, ..following().follow }, ..following() };
        follow(&clusters, &policy, &Recorder::default()).await.unwrap();
        let status = status(&clusters.target).await.unwrap().unwrap();
        assert_eq!((status.phase, status.running), (Phase::Following, false), "{status:?}");
        source
            .batch(
                "DELETE FROM items WHERE botid = 'bot1'; UPDATE items SET content = 'changed' WHERE botid = 'bot2'; \
                 INSERT INTO items (id, botid, embedding) VALUES ('new', 'bot8', '[1,2,3,4,5,6,7,8]')",
            )
            .await
            .unwrap();
        follow(&clusters, &policy, &Recorder::default()).await.unwrap();
        assert_same_content(&source, &target).await;
    }
}

/// Cancels the run at the first event that fits.
struct StopAt<F> {
    fits: F,
    cancel: CancellationToken,
    seen: Mutex<Vec<Event>>,
}

impl<F: Fn(&Event) -> bool + Send + Sync> Reporter for StopAt<F> {
    fn event(&self, event: &Event) {
        self.seen.lock().unwrap().push(event.clone());
        if (self.fits)(event) {
            self.cancel.cancel();
        }
    }
}

/// Runs until an event fits.
async fn stop_at(
    clusters: &Clusters,
    policy: &Policy,
    fits: impl Fn(&Event) -> bool + Send + Sync,
) -> Vec<Event> {
    let cancel = CancellationToken::new();
    let stop = StopAt { fits, cancel: cancel.clone(), seen: Mutex::default() };
    let ended = migrate(clusters, policy, RunOptions::default(), &stop, &cancel).await;
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
    stop.seen.into_inner().unwrap()
}

/// A table whose only row is large, so that its part is copied first.
const QUIET: &str = "CREATE TABLE quiet (id int PRIMARY KEY, t text); ALTER TABLE quiet ALTER t SET STORAGE EXTERNAL; \
                     INSERT INTO quiet VALUES (1, repeat('x', 3000000))";

fn part_of_items(event: &Event) -> bool {
    matches!(event, Event::PartFinished { table, part, .. } if table == "public.items" && *part > 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_copy_starts_unfinished_tables_over_while_finished_ones_go_on() {
    let pair = pair().await;
    let source = items(&pair.source, "resume", 4000).await;
    source.batch(QUIET).await.unwrap();
    let target = Database::create(&pair.target, "resume").await.unwrap();
    let clusters = clusters(&source, &target);
    let one_job = Policy { jobs: 1, ..following() };
    stop_at(&clusters, &one_job, part_of_items).await;
    // Written while nobody is there: to the finished table, to the copied parts and to the others.
    source
        .batch(
            "UPDATE quiet SET t = 'short'; INSERT INTO quiet VALUES (2, 'late'); \
             DELETE FROM items WHERE botid = 'bot3'; UPDATE items SET content = 'changed' WHERE botid = 'bot4'",
        )
        .await
        .unwrap();
    stop_at(&clusters, &one_job, part_of_items).await;
    source.batch("UPDATE items SET content = 'again' WHERE botid = 'bot5'").await.unwrap();
    let recorder = Recorder::default();
    follow(&clusters, &one_job, &recorder).await.unwrap();
    assert_same_content(&source, &target).await;
    let copied_again = recorder
        .events()
        .iter()
        .any(|event| matches!(event, Event::PartFinished { table, .. } if table == "public.quiet"));
    assert!(!copied_again, "a finished table was copied again");
    // One slot for the table that was finished, one for the others; that of the second run is gone.
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
    assert_eq!(count(&source, slots).await, 2);
    assert_eq!(count(&source, "SELECT count(*) FROM pg_publication").await, 2);
    source.batch("TRUNCATE quiet; DELETE FROM items WHERE botid = 'bot0'").await.unwrap();
    follow(&clusters, &one_job, &Recorder::default()).await.unwrap();
    assert_same_content(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follow_stopped_at_every_phase_ends_with_the_same_content() {
    let pair = pair().await;
    for apply_start in [ApplyStart::Last, ApplyStart::First] {
        let follow_policy = FollowPolicy { apply_start, ..following().follow };
        let policy = Policy { follow: follow_policy, ..following() };
        for phase in Phase::ALL.into_iter().take(10) {
            if apply_start == ApplyStart::Last && phase == Phase::Keys {
                continue;
            }
            let source = items(&pair.source, "phases", 1000).await;
            let linked = "CREATE TABLE parent (id int PRIMARY KEY); \
                          CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent); \
                          INSERT INTO parent SELECT generate_series(1, 100); \
                          INSERT INTO child SELECT g, g FROM generate_series(1, 100) g";
            source.batch(linked).await.unwrap();
            let target = Database::create(&pair.target, "phases").await.unwrap();
            let clusters = clusters(&source, &target);
            let started = |event: &Event| matches!(event, Event::PhaseStarted { phase: at, .. } if *at == phase);
            stop_at(&clusters, &policy, started).await;
            let change = "INSERT INTO parent VALUES (0); INSERT INTO child VALUES (0, 0); \
                          UPDATE items SET content = 'changed' WHERE botid = 'bot2'; \
                          DELETE FROM items WHERE botid = 'bot1'";
            source.batch(change).await.unwrap();
            follow(&clusters, &policy, &Recorder::default()).await.unwrap();
            assert_same_content(&source, &target).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_open_across_the_start_arrives_whole() {
    let pair = pair().await;
    let source = items(&pair.source, "open", 2000).await;
    let target = Database::create(&pair.target, "open").await.unwrap();
    let writer = source.connect().await.unwrap();
    let open = "BEGIN; UPDATE items SET content = 'late' WHERE botid = 'bot2'; DELETE FROM items WHERE botid = 'bot4'";
    writer.batch_execute(open).await.unwrap();
    let clusters = clusters(&source, &target);
    let policy = following();
    let recorder = Recorder::default();
    let (followed, ()) = tokio::join!(follow(&clusters, &policy, &recorder), async {
        // The slot waits for the transaction, and the run says so.
        let said = |event: &Event| matches!(event, Event::Notice { text } if text.contains("transactions that are open"));
        while !recorder.events().iter().any(said) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        writer.batch_execute("COMMIT").await.unwrap();
    });
    followed.unwrap();
    assert_same_content(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_a_key_is_refused_with_the_statement_that_mends_it() {
    let pair = pair().await;
    let source = items(&pair.source, "keyless", 100).await;
    source.batch("CREATE TABLE log (t text); INSERT INTO log VALUES ('a'), ('a')").await.unwrap();
    let target = Database::create(&pair.target, "keyless").await.unwrap();
    let clusters = clusters(&source, &target);
    let error = follow(&clusters, &following(), &Recorder::default()).await.unwrap_err();
    assert_eq!(error.side(), Some(Side::Source));
    assert!(error.to_string().contains("public.log: it has no primary key"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains(r#"ALTER TABLE "public"."log" REPLICA IDENTITY FULL"#), "{hint}");
    let set = FollowPolicy { set_replica_identity: true, ..following().follow };
    let policy = Policy { follow: set, ..following() };
    follow(&clusters, &policy, &Recorder::default()).await.unwrap();
    source.batch("UPDATE log SET t = 'b' WHERE ctid = (SELECT min(ctid) FROM log)").await.unwrap();
    follow(&clusters, &policy, &Recorder::default()).await.unwrap();
    assert_same_content(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_change_while_following_is_found() {
    let pair = pair().await;
    for (change, said) in [
        ("ALTER TABLE items ADD extra int", "public.items was altered"),
        ("DROP TABLE items", "public.items was dropped"),
        ("CREATE TABLE late (id int)", "public.late was created"),
    ] {
        let source = items(&pair.source, "ddl", 100).await;
        source.batch("CREATE TABLE other (id int PRIMARY KEY)").await.unwrap();
        let target = Database::create(&pair.target, "ddl").await.unwrap();
        let clusters = clusters(&source, &target);
        follow(&clusters, &following(), &Recorder::default()).await.unwrap();
        source.batch(change).await.unwrap();
        let error = follow(&clusters, &following(), &Recorder::default()).await.unwrap_err();
        assert!(error.to_string().contains(said) && error.side() == Some(Side::Source), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_was_dropped_is_said_and_restart_begins_again() {
    let pair = pair().await;
    let source = items(&pair.source, "dropped", 100).await;
    let target = Database::create(&pair.target, "dropped").await.unwrap();
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    let drop = "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE database = current_database() AND active; \
                SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()";
    source.batch(drop).await.unwrap();
    let error = follow(&clusters, &following(), &Recorder::default()).await.unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
    assert!(error.hint().unwrap().contains("--restart"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_cluster_may_restart_while_it_is_followed() {
    let options = || Options::new().durable();
    let one = Cluster::start(Version::Pg16, options()).unwrap();
    let two = Cluster::start(Version::Pg18, options()).unwrap();
    let source = items(&one, "restart", 2000).await;
    let target = Database::create(&two, "restart").await.unwrap();
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    let recorder = Recorder::default();
    let cancel = CancellationToken::new();
    let policy = following();
    let watching = migrate(&clusters, &policy, RunOptions::default(), &recorder, &cancel);
    let disturbing = async {
        let told = |wanted: &'static str| {
            let recorder = &recorder;
            async move {
                let said = |event: &Event| matches!(event, Event::Notice { text } if text.contains(wanted));
                while !recorder.events().iter().any(said) {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        };
        while !recorder.events().iter().any(|event| matches!(event, Event::Following { .. })) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        one.restart(Stop::Immediate, &[]).unwrap();
        told("connected again").await;
        source.batch("UPDATE items SET content = 'one' WHERE botid = 'bot1'").await.unwrap();
        two.restart(Stop::Immediate, &[]).unwrap();
        source.batch("UPDATE items SET content = 'two' WHERE botid = 'bot2'").await.unwrap();
    };
    tokio::select! {
        ended = watching => panic!("the watch ended: {ended:?}"),
        () = disturbing => {}
    }
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    assert_same_content(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_made_on_both_clusters_is_taken_over() {
    let pair = pair().await;
    let source = items(&pair.source, "both", 100).await;
    let target = Database::create(&pair.target, "both").await.unwrap();
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    for side in [&target, &source] {
        side.batch("ALTER TABLE items ADD extra int DEFAULT 7").await.unwrap();
    }
    source.batch("UPDATE items SET extra = 8 WHERE botid = 'bot1'").await.unwrap();
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    assert_same_content(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_shown_with_the_rows_key_and_apply_goes_on_once_it_is_removed() {
    let pair = pair().await;
    let source = items(&pair.source, "conflict", 100).await;
    let target = Database::create(&pair.target, "conflict").await.unwrap();
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    let row = "INSERT INTO items (id, botid, content) VALUES ('taken', 'bot9', 'from here')";
    target.batch(row).await.unwrap();
    source.batch(row).await.unwrap();
    let error = follow(&clusters, &following(), &Recorder::default()).await.unwrap_err();
    assert_eq!(error.side(), Some(Side::Target));
    assert!(error.to_string().contains("key (id) = ('taken"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("DELETE FROM") && hint.contains("SKIP (lsn = "), "{hint}");
    target.batch("DELETE FROM items WHERE id = 'taken'").await.unwrap();
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    assert_same_content(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_version_and_an_older_one_can_follow() {
    let pair = pair().await;
    let older = Cluster::start(Version::Pg16Latest, Options::new()).unwrap();
    // From 16 to 18 is what every other test here does; pgvector must not be older than the source's.
    for (from, to) in [(&pair.source, &older), (&pair.target, &older), (&older, &pair.target)] {
        let source = items(from, "versions", 500).await;
        let target = Database::create(to, "versions").await.unwrap();
        let clusters = clusters(&source, &target);
        follow(&clusters, &following(), &Recorder::default()).await.unwrap();
        source.batch("DELETE FROM items WHERE botid = 'bot1'; TRUNCATE items").await.unwrap();
        source
            .batch(
                "INSERT INTO items (id, botid, embedding) VALUES ('a', 'b', '[1,2,3,4,5,6,7,8]')",
            )
            .await
            .unwrap();
        follow(&clusters, &following(), &Recorder::default()).await.unwrap();
        assert_same_content(&source, &target).await;
    }
    // Two databases of one cluster: the slot must not wait for the very transaction that asks for it.
    let source = items(&pair.target, "versions", 500).await;
    let target = Database::create(&pair.target, "versions").await.unwrap();
    let clusters = clusters(&source, &target);
    follow(&clusters, &following(), &Recorder::default()).await.unwrap();
    assert_same_content(&source, &target).await;
}

/// Runs SQL on the source when the first part of `items` is finished, and waits for its end.
struct Meddler<'a> {
    source: &'a Database,
    sql: &'a str,
    done: Mutex<bool>,
    recorder: Recorder,
}

impl Reporter for Meddler<'_> {
    fn event(&self, event: &Event) {
        self.recorder.event(event);
        let fits = matches!(event, Event::PartFinished { table, .. } if table == "public.items");
        let mut done = self.done.lock().unwrap();
        if fits && !std::mem::replace(&mut *done, true) {
            self.source.psql(self.sql).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_truncated_or_rewritten_while_it_is_copied_starts_over() {
    let pair = pair().await;
    for sql in [
        "TRUNCATE items; INSERT INTO items (id, botid) SELECT g::text, 'later' FROM generate_series(1, 500) g",
        "VACUUM FULL items",
        "DELETE FROM items WHERE botid = 'bot3'; CLUSTER items USING items_pkey",
    ] {
        let source = items(&pair.source, "meddled", 6000).await;
        let target = Database::create(&pair.target, "meddled").await.unwrap();
        let clusters = clusters(&source, &target);
        let policy = Policy { jobs: 1, ..following() };
        let meddler = Meddler {
            source: &source,
            sql,
            done: Mutex::new(false),
            recorder: Recorder::default(),
        };
        let options = RunOptions { detach: true, ..RunOptions::default() };
        migrate(&clusters, &policy, options, &meddler, &CancellationToken::new()).await.unwrap();
        let redone = |event: &Event| matches!(event, Event::TableRedone { table, .. } if table == "public.items");
        assert!(meddler.recorder.events().iter().any(redone), "{sql}");
        follow(&clusters, &policy, &Recorder::default()).await.unwrap();
        assert_same_content(&source, &target).await;
    }
}
