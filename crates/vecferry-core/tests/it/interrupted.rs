//! What an interruption leaves, how a rerun goes on, and what it refuses.

use std::sync::Mutex;

use tokio_util::sync::CancellationToken;
use vecferry_core::cleanup::{cleanup, leftovers};
use vecferry_core::migration::{RunOptions, migrate};
use vecferry_core::phase::{Phase, Route};
use vecferry_core::policy::{Clusters, Existing, Pattern, Policy};
use vecferry_core::report::{Event, Reporter};
use vecferry_core::status::status;
use vecferry_core::{Error, Side};
use vecferry_testkit::{Cluster, Database, FaultProxy, Options, Version, pair};

use crate::fixture::{
    APP_SETUP, Recorder, assert_same_content, assert_same_schema, clusters, copy, count, items,
    policy, run,
};

/// Cancels the run at the first event that fits.
struct StopAt {
    fits: Box<dyn Fn(&Event) -> bool + Send + Sync>,
    cancel: CancellationToken,
    seen: Mutex<Vec<Event>>,
}

impl Reporter for StopAt {
    fn event(&self, event: &Event) {
        self.seen.lock().unwrap().push(event.clone());
        if (self.fits)(event) {
            self.cancel.cancel();
        }
    }
}

/// Runs a migration and interrupts it at the first event that fits.
pub(crate) async fn stop_at(
    clusters: &Clusters,
    policy: &Policy,
    fits: impl Fn(&Event) -> bool + Send + Sync + 'static,
) {
    let cancel = CancellationToken::new();
    let stop = StopAt { fits: Box::new(fits), cancel: cancel.clone(), seen: Mutex::default() };
    let ended = migrate(clusters, policy, RunOptions::default(), &stop, &cancel).await;
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
}

/// One connection, so that the number of finished parts is known.
fn one_job() -> Policy {
    Policy { jobs: 1, ..policy() }
}

fn second_part(event: &Event) -> bool {
    matches!(event, Event::PartFinished { part: 1, .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rerun_copies_only_the_parts_that_are_left() {
    let pair = pair().await;
    let source = items(&pair.source, "rerun", 4000).await;
    let target = Database::create(&pair.target, "rerun").await.unwrap();
    let clusters = clusters(&source, &target);
    stop_at(&clusters, &one_job(), second_part).await;
    let halfway = status(&clusters.target).await.unwrap().unwrap();
    assert!(halfway.phase == Phase::Rows && !halfway.running, "{halfway:?}");
    assert!(halfway.parts >= 2 && halfway.parts < halfway.parts_total, "{halfway:?}");
    let recorder = Recorder::default();
    run(&clusters, &one_job(), &recorder).await.unwrap();
    assert_eq!(recorder.parts_finished() as u64, halfway.parts_total - halfway.parts);
    assert_same_content(&source, &target).await;
    assert_same_schema(&source, &target);
    let done = status(&clusters.target).await.unwrap().unwrap();
    assert!(
        done.phase == Phase::Done && done.last_error.is_none() && done.finished_at.is_some(),
        "{done:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_stopped_at_every_phase_ends_with_the_same_content() {
    let pair = pair().await;
    let source = Database::with_vector(&pair.source, "phases").await.unwrap();
    source.psql(include_str!("everything.sql")).unwrap();
    for phase in Route::Copy.phases().iter().take(6).copied() {
        let target = Database::create(&pair.target, "phases").await.unwrap();
        let clusters = clusters(&source, &target);
        stop_at(
            &clusters,
            &policy(),
            move |event| matches!(event, Event::PhaseStarted { phase: at, .. } if *at == phase),
        )
        .await;
        run(&clusters, &policy(), &Recorder::default()).await.unwrap();
        assert_same_content(&source, &target).await;
        assert_same_schema(&source, &target);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_written_in_between_are_copied_again_and_only_those() {
    let pair = pair().await;
    // A cluster of its own: transactions of other tests would make rows look younger than they are.
    let cluster = Cluster::start(Version::Pg16, Options::new()).unwrap();
    let redone: &[&str] = &["public.items"];
    for (change, expected) in [
        // New rows go to the end of the table, into a part that is still open.
        ("INSERT INTO items (id, botid) VALUES ('new', 'bot1')", &[][..]),
        ("DELETE FROM items WHERE id = (SELECT min(id) FROM items)", redone),
        ("UPDATE items SET content = 'changed' WHERE id = (SELECT min(id) FROM items)", redone),
        ("TRUNCATE items", redone),
        ("VACUUM FULL items", redone),
    ] {
        let source = items(&cluster, "written", 4000).await;
        // One page with much TOAST: a single part, and the first to be copied.
        let quiet = "CREATE TABLE quiet (t text); ALTER TABLE quiet ALTER t SET STORAGE EXTERNAL; \
                     INSERT INTO quiet SELECT repeat('x', 1000000) FROM generate_series(1, 3)";
        source.batch(quiet).await.unwrap();
        let target = Database::create(&pair.target, "written").await.unwrap();
        let clusters = clusters(&source, &target);
        stop_at(&clusters, &one_job(), |event| matches!(event, Event::PartFinished { table, part: 3, .. } if table == "public.items")).await;
        source.batch(change).await.unwrap();
        let recorder = Recorder::default();
        run(&clusters, &one_job(), &recorder).await.unwrap();
        assert_same_content(&source, &target).await;
        let redone: Vec<_> = recorder
            .events()
            .iter()
            .filter_map(|event| match event {
                Event::TableRedone { table, .. } => Some(table.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(redone, expected, "{change}");
        let quiet = recorder.events().iter().any(
            |event| matches!(event, Event::PartFinished { table, .. } if table == "public.quiet"),
        );
        assert!(!quiet, "a finished table that did not change was copied again after {change}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_open_across_the_interruption_is_not_lost() {
    let pair = pair().await;
    let source = items(&pair.source, "open", 4000).await;
    let target = Database::create(&pair.target, "open").await.unwrap();
    let writer = source.connect().await.unwrap();
    writer.batch_execute("BEGIN; UPDATE items SET content = 'late' WHERE botid = 'bot2'; DELETE FROM items WHERE botid = 'bot4'").await.unwrap();
    let clusters = clusters(&source, &target);
    stop_at(&clusters, &one_job(), second_part).await;
    writer.batch_execute("COMMIT").await.unwrap();
    run(&clusters, &one_job(), &Recorder::default()).await.unwrap();
    assert_same_content(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_altered_in_between_is_refused_until_restart() {
    let pair = pair().await;
    for (change, said) in [
        ("ALTER TABLE items ADD extra int", "public.items was altered"),
        ("DROP TABLE items", "public.items was dropped"),
        ("CREATE TABLE late (id int)", "public.late was created"),
    ] {
        let source = items(&pair.source, "altered", 4000).await;
        source.batch("CREATE TABLE other (id int)").await.unwrap();
        let target = Database::create(&pair.target, "altered").await.unwrap();
        let clusters = clusters(&source, &target);
        stop_at(&clusters, &one_job(), second_part).await;
        source.batch(change).await.unwrap();
        let error = run(&clusters, &one_job(), &Recorder::default()).await.unwrap_err();
        assert!(error.to_string().contains(said) && error.side() == Some(Side::Source), "{error}");
        let options = RunOptions { restart: true, ..RunOptions::default() };
        let cancel = CancellationToken::new();
        migrate(&clusters, &policy(), options, &Recorder::default(), &cancel).await.unwrap();
        assert_same_content(&source, &target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_source_is_refused_with_the_facts() {
    let pair = pair().await;
    let source = items(&pair.source, "one", 4000).await;
    let other = items(&pair.source, "two", 4000).await;
    let target = Database::create(&pair.target, "mixed").await.unwrap();
    stop_at(&clusters(&source, &target), &one_job(), second_part).await;
    let error =
        run(&clusters(&other, &target), &one_job(), &Recorder::default()).await.unwrap_err();
    assert!(error.to_string().contains("another one: its database is"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_migration_on_the_same_target_is_refused_while_one_runs() {
    let pair = pair().await;
    let source = items(&pair.source, "twice", 100).await;
    let target = Database::create(&pair.target, "twice").await.unwrap();
    let clusters = clusters(&source, &target);
    // The first one waits for this lock inside its schema phase.
    let blocker = source.connect().await.unwrap();
    blocker.batch_execute("BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let policy = policy();
    let recorder = Recorder::default();
    let first = run(&clusters, &policy, &recorder);
    let second = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vecferry snapshot' \
                       AND wait_event_type = 'Lock' AND datname = current_database()";
        while count(&source, waiting).await == 0 {}
        let refused = run(&clusters, &policy, &Recorder::default()).await.unwrap_err();
        blocker.batch_execute("COMMIT").await.unwrap();
        refused
    };
    let (first, refused) = tokio::join!(first, second);
    first.unwrap();
    assert!(
        refused.to_string().contains("another migration is running on this target"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleanup_puts_a_prepared_target_back_to_what_it_was() {
    let pair = pair().await;
    let source = items(&pair.source, "undo", 4000).await;
    source.psql("CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('a'); CREATE TABLE s.made (id serial, n int GENERATED ALWAYS AS IDENTITY, m s.mood); CREATE VIEW v AS SELECT 1 AS one; CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'").unwrap();
    let target = Database::with_vector(&pair.target, "undo").await.unwrap();
    target.batch(APP_SETUP).await.unwrap();
    let before = crate::fixture::schema(&target);
    let clusters = clusters(&source, &target);
    stop_at(&clusters, &one_job(), second_part).await;
    assert!(count(&target, "SELECT count(*) FROM items").await > 0);
    let listed = leftovers(&clusters).await.unwrap();
    assert!(
        listed
            .iter()
            .any(|item| item.kind == "index taken down" && item.name == "idx_items_embedding"),
        "{listed:?}"
    );
    assert_eq!(cleanup(&clusters).await.unwrap(), listed);
    assert_eq!(crate::fixture::schema(&target), before);
    assert_eq!(count(&target, "SELECT count(*) FROM items").await, 0);
    assert!(leftovers(&clusters).await.unwrap().is_empty());
}

/// A copy beside rows of bot `mine`, stopped halfway, after which the application wrote rows of bot `bot9`, which the
/// source does not have. The bot column is what `bot` makes of the fixture's, of that type.
async fn written_beside(of_type: &str, bot: impl Fn(&str) -> String) -> (Database, Database) {
    let pair = pair().await;
    let source = items(&pair.source, "beside", 4000).await;
    let target = Database::with_vector(&pair.target, "beside").await.unwrap();
    target.batch(APP_SETUP).await.unwrap();
    let retype =
        format!("ALTER TABLE items ALTER botid TYPE {of_type} USING {}", bot("rtrim(botid)"));
    source.batch(&retype).await.unwrap();
    target.batch(&retype).await.unwrap();
    let write = async |id: &str, value: &str| {
        let sql = format!("INSERT INTO items (id, botid) VALUES ('{id}', {})", bot(value));
        target.batch(&sql).await.unwrap();
    };
    write("A1", "'bot3'").await;
    let clusters = clusters(&source, &target);
    stop_at(&clusters, &keep(), second_part).await;
    assert!(count(&target, "SELECT count(*) FROM items").await > 1);
    write("A2", "'bot9'").await;
    target.batch("INSERT INTO items (id) VALUES ('A3')").await.unwrap();
    (source, target)
}

fn keep() -> Policy {
    Policy { existing: Existing::Keep, ..one_job() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleanup_leaves_rows_of_bots_that_the_copy_did_not_bring() {
    type Bot = fn(&str) -> String;
    let cases: [(&str, Bot); 4] = [
        ("char(26)", |bot| bot.to_owned()),
        ("text", |bot| bot.to_owned()),
        ("uuid", |bot| format!("md5({bot})::uuid")),
        ("bigint", |bot| format!("substr({bot}, 4)::bigint")),
    ];
    for (of_type, bot) in cases {
        let (source, target) = written_beside(of_type, bot).await;
        cleanup(&clusters(&source, &target)).await.unwrap();
        let left = "SELECT string_agg(rtrim(id), ' ' ORDER BY id) FROM items";
        let left: Option<String> = target.query_one(left).await.unwrap().get(0);
        assert_eq!(left.as_deref(), Some("A1 A2 A3"), "{of_type}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_copied_again_leaves_rows_of_bots_that_the_copy_did_not_bring() {
    let (source, target) = written_beside("text", |bot| bot.to_owned()).await;
    source.batch("DELETE FROM items WHERE id = (SELECT min(id) FROM items)").await.unwrap();
    let recorder = Recorder::default();
    run(&clusters(&source, &target), &keep(), &recorder).await.unwrap();
    let redone = recorder.events().iter().any(|event| matches!(event, Event::TableRedone { .. }));
    assert!(redone, "no table was copied again");
    assert_eq!(count(&target, "SELECT count(*) FROM items WHERE id LIKE 'A%'").await, 3);
    let others = "SELECT count(*) FROM items WHERE botid <> 'bot3'";
    assert_eq!(count(&target, others).await, count(&source, others).await + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_in_the_middle_is_survived() {
    let pair = pair().await;
    let source = items(&pair.source, "cut", 4000).await;
    let target = Database::create(&pair.target, "cut").await.unwrap();
    for side in [Side::Source, Side::Target] {
        let target = Database::create(&pair.target, target.name()).await.unwrap();
        let upstream = if side == Side::Source { &pair.source } else { &pair.target };
        let proxy = FaultProxy::start(&format!("127.0.0.1:{}", upstream.port())).unwrap();
        let mut through = clusters(&source, &target);
        match side {
            Side::Source => through.source = proxy.url(source.url()).parse().unwrap(),
            Side::Target => through.target = proxy.url(target.url()).parse().unwrap(),
        }
        proxy.cut_after(300_000);
        let recorder = Recorder::default();
        run(&through, &Policy { retries: 3, ..policy() }, &recorder).await.unwrap();
        let retried = recorder.events().iter().any(|event| matches!(event, Event::Retrying { .. }));
        assert!(retried, "the {side} was never cut");
        assert_same_content(&source, &target).await;
    }
}

/// Ends every session on the source when a phase begins: the snapshot goes while nobody reads from its session.
struct EndSessions<'a> {
    source: &'a Database,
    at: Phase,
    seen: Recorder,
}

impl Reporter for EndSessions<'_> {
    fn event(&self, event: &Event) {
        let retried =
            self.seen.events().iter().any(|event| matches!(event, Event::Retrying { .. }));
        if matches!(event, Event::PhaseStarted { phase, .. } if *phase == self.at) && !retried {
            let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                       WHERE application_name LIKE 'vecferry%' AND datname = current_database()";
            self.source.psql(end).unwrap();
        }
        self.seen.event(event);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_gone_when_it_is_to_be_read_is_taken_again() {
    let pair = pair().await;
    let source = items(&pair.source, "gone", 500).await;
    for phase in [Phase::Schema, Phase::Rows] {
        let target = Database::create(&pair.target, "gone").await.unwrap();
        let ending = EndSessions { source: &source, at: phase, seen: Recorder::default() };
        let (clusters, policy) = (clusters(&source, &target), Policy { retries: 1, ..policy() });
        let (options, cancel) = (RunOptions::default(), CancellationToken::new());
        migrate(&clusters, &policy, options, &ending, &cancel).await.unwrap();
        let retried = ending.seen.events().into_iter().find_map(|event| match event {
            Event::Retrying { error, .. } => Some(error),
            _ => None,
        });
        let error = retried.expect("the run did not lose its snapshot");
        assert!(error.contains("the session that held the snapshot has ended"), "{phase}: {error}");
        assert_same_content(&source, &target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_migration_run_again_does_nothing() {
    let pair = pair().await;
    let source = items(&pair.source, "again", 100).await;
    let target = Database::create(&pair.target, "again").await.unwrap();
    let clusters = clusters(&source, &target);
    run(&clusters, &policy(), &Recorder::default()).await.unwrap();
    let recorder = Recorder::default();
    let summary = run(&clusters, &policy(), &recorder).await.unwrap();
    assert_eq!((summary.rows, recorder.parts_finished()), (100, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_objects_written_in_between_are_copied_again() {
    let pair = pair().await;
    let source = Database::create(&pair.source, "objects").await.unwrap();
    source.psql("SELECT lo_from_bytea(n, 'first') FROM generate_series(9001, 9003) n").unwrap();
    let target = Database::create(&pair.target, "objects").await.unwrap();
    let clusters = clusters(&source, &target);
    let at_indexes =
        |event: &Event| matches!(event, Event::PhaseFinished { phase: Phase::Sequences, .. });
    stop_at(&clusters, &policy(), at_indexes).await;
    // As a kill in the middle of the phase would leave it.
    target.batch("UPDATE vecferry.migration SET phase = 'sequences'").await.unwrap();
    source
        .psql("SELECT lo_put(9001, 0, 'other'), lo_unlink(9003), lo_from_bytea(9004, 'new')")
        .unwrap();
    run(&clusters, &policy(), &Recorder::default()).await.unwrap();
    assert_same_content(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_migration_does_not_stand_in_the_way_of_other_tables() {
    let pair = pair().await;
    let source = items(&pair.source, "selections", 100).await;
    source.batch("CREATE TABLE later AS SELECT generate_series(1, 9) AS n").await.unwrap();
    let target = Database::create(&pair.target, "selections").await.unwrap();
    let only = |name: &str| Policy { include: vec![Pattern::new(name)], ..policy() };
    copy(&source, &target, &only("items")).await.unwrap();
    let summary = copy(&source, &target, &only("later")).await.unwrap();
    assert_eq!(summary.rows, 9);
    assert_same_content(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_another_layout_is_left_alone() {
    let pair = pair().await;
    let source = items(&pair.source, "layout", 10).await;
    let target = Database::create(&pair.target, "layout").await.unwrap();
    let clusters = clusters(&source, &target);
    copy(&source, &target, &policy()).await.unwrap();
    target.batch("UPDATE vecferry.migration SET layout = 1").await.unwrap();
    for error in [
        status(&clusters.target).await.unwrap_err(),
        run(&clusters, &policy(), &Recorder::default()).await.unwrap_err(),
        cleanup(&clusters).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("has layout 1"), "{error}");
    }
    assert_eq!(count(&target, "SELECT count(*) FROM vecferry.migration").await, 1);
}
