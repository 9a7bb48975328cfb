//! Both stores keep the same record: every test here runs against each of them.

use std::path::Path;

use jiff::Timestamp;
use vecferry_core::bot::BotKey;
use vecferry_core::cleanup::{Scope, cleanup};
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::Dsn;
use vecferry_core::phase::Phase;
use vecferry_core::reembed::estimate::{Amount, Estimate};
use vecferry_core::reembed::store::{
    AttemptEnd, AttemptRecord, Batch, BotRecord, BotState, Counts, MigrationStore, Outcome,
    PostgresStore, Settings, Skip, SqliteStore, Yield,
};
use vecferry_core::reembed::task::StopCause;
use vecferry_core::status::status;
use vecferry_testkit::{Database, pair};

use crate::fixture::{clusters, items, policy};
use crate::interrupted::stop_at;

/// A place for a record that can be opened again, as the next process would.
enum Place {
    Target(Database),
    File(tempfile::TempDir),
}

impl Place {
    async fn all(hint: &str) -> Vec<Place> {
        let database = Database::create(&pair().await.target, hint).await.unwrap();
        vec![Place::Target(database), Place::File(tempfile::tempdir().unwrap())]
    }

    async fn open(&self) -> Box<dyn MigrationStore> {
        match self {
            Place::Target(database) => {
                Box::new(PostgresStore::new(database.url().parse().unwrap()))
            }
            Place::File(folder) => {
                Box::new(SqliteStore::open(&folder.path().join("run.db")).await.unwrap())
            }
        }
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        registry: "file bots.toml".into(),
        model: "m".into(),
        dimensions: 8,
        knowledge: Knowledge::default(),
        splitting: None,
    }
}

fn key(id: &str) -> BotKey {
    BotKey { owner: "ann".into(), id: id.into() }
}

/// As precise as PostgreSQL keeps it.
fn at(second: i64) -> Timestamp {
    Timestamp::from_microsecond(second * 1_000_000 + 123_456).unwrap()
}

fn bot(id: &str, state: BotState) -> BotRecord {
    BotRecord { state, ..BotRecord::waiting(key(id), format!("title \"{id}\""), 3) }
}

fn attempt(id: &str, number: u32) -> AttemptRecord {
    AttemptRecord {
        bot: key(id),
        number,
        token: format!("token-{id}-{number}"),
        task: None,
        launched_at: at(10),
        seen: Some(vec!["731".into(), "732".into()]),
        end: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_read_back_by_the_next_process_as_it_was_written() {
    for place in Place::all("record").await {
        let store = place.open().await;
        assert_eq!(store.newest().await.unwrap(), None);
        store.lock().await.unwrap();
        store.begin("run-1", &settings(), None).await.unwrap();
        store.begin("run-1", &settings(), None).await.unwrap();
        let failed = BotState::Failed { reason: "no".into(), retryable: true };
        let mut bots = vec![
            bot("a", BotState::Waiting),
            bot("b", BotState::Launching { token: "t1".into() }),
            bot("c", BotState::Running { token: "t2".into(), task: "task".into() }),
            bot("d", BotState::Proven),
            bot("e", failed),
            bot("f", BotState::Skipped { why: Skip::KnowledgeBase }),
        ];
        bots[3].got = Yield { rows: Some(7), tokens: Some(1 << 40), reused: None };
        bots[3].finished_at = Some(at(20));
        bots[4].last_reason = Some("no".into());
        let mut attempts = vec![attempt("b", 1), attempt("c", 1), attempt("c", 2)];
        attempts[1].end = Some(AttemptEnd {
            at: at(15),
            outcome: Outcome::Repeated,
            cause: Some(StopCause::Interrupted),
            reason: "taken back".into(),
        });
        attempts[2].seen = None;
        let batch = Batch { bots: bots.clone(), attempts: attempts.clone() };
        store.write("run-1", &batch).await.unwrap();
        store.write("run-1", &batch).await.unwrap();
        drop(store);
        let store = place.open().await;
        let run = store.newest().await.unwrap().unwrap();
        assert_eq!((run.id.as_str(), &run.settings), ("run-1", &settings()));
        assert!(run.finished_at.is_none() && run.last_error.is_none(), "{run:?}");
        assert_eq!(store.bots("run-1").await.unwrap(), bots);
        assert_eq!(store.attempts("run-1", None).await.unwrap(), attempts);
        assert_eq!(store.attempts("run-1", Some(&key("c"))).await.unwrap(), attempts[1..]);
        let counts = Counts { waiting: 1, running: 2, proven: 1, failed: 1, skipped: 1 };
        assert_eq!(store.counts("run-1").await.unwrap(), counts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_batch_replaces_what_an_earlier_one_wrote() {
    for place in Place::all("replace").await {
        let store = place.open().await;
        store.begin("run-1", &settings(), None).await.unwrap();
        let first = bot("a", BotState::Running { token: "t".into(), task: "x".into() });
        let batch = Batch { bots: vec![first], attempts: vec![attempt("a", 1)] };
        store.write("run-1", &batch).await.unwrap();
        let later = bot("a", BotState::Waiting);
        let renewed = AttemptRecord { token: "other".into(), ..attempt("a", 1) };
        let batch = Batch { bots: vec![later.clone()], attempts: vec![renewed.clone()] };
        store.write("run-1", &batch).await.unwrap();
        assert_eq!(store.bots("run-1").await.unwrap(), [later]);
        assert_eq!(store.attempts("run-1", None).await.unwrap(), [renewed]);
        store.write("run-1", &Batch::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_without_its_bot_is_refused_and_leaves_nothing() {
    for place in Place::all("orphan").await {
        let store = place.open().await;
        store.begin("run-1", &settings(), None).await.unwrap();
        let batch = Batch {
            bots: vec![bot("a", BotState::Waiting)],
            attempts: vec![attempt("stranger", 1)],
        };
        store.write("run-1", &batch).await.unwrap_err();
        assert_eq!(store.bots("run-1").await.unwrap(), [], "one transaction");
        let batch = Batch { attempts: vec![], ..batch };
        store.write("run-1", &batch).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_orchestrator_is_refused_and_one_after_it_is_not() {
    for place in Place::all("lock").await {
        let (first, second) = (place.open().await, place.open().await);
        assert_eq!(second.holder().await.unwrap(), None);
        first.lock().await.unwrap();
        first.lock().await.unwrap();
        let refused = second.lock().await.unwrap_err();
        assert!(refused.hint().is_some(), "{refused}");
        assert!(second.holder().await.unwrap().is_some());
        first.unlock().await.unwrap();
        second.lock().await.unwrap();
        drop(second);
        // The server or the system gives it back when the process is gone; first's own session never held two.
        first.lock().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_early_with_its_reason_or_for_good() {
    for place in Place::all("ends").await {
        let store = place.open().await;
        store.begin("run-1", &settings(), None).await.unwrap();
        store
            .write("run-1", &Batch { bots: vec![bot("a", BotState::Waiting)], attempts: vec![] })
            .await
            .unwrap();
        store.end("run-1", 2.0, Some("interrupted")).await.unwrap();
        let run = store.newest().await.unwrap().unwrap();
        assert_eq!((run.seconds, run.last_error.as_deref()), (2.0, Some("interrupted")));
        assert!(run.finished_at.is_none());
        store.end("run-1", 0.5, None).await.unwrap();
        let run = store.newest().await.unwrap().unwrap();
        assert_eq!((run.seconds, run.last_error), (2.5, None));
        assert!(run.finished_at.is_some_and(|at| at >= run.started_at));
        store.begin("run-2", &settings(), None).await.unwrap();
        assert_eq!(store.newest().await.unwrap().unwrap().id, "run-2");
        store.forget("run-2").await.unwrap();
        assert_eq!(store.newest().await.unwrap().unwrap().id, "run-1");
        assert_eq!(store.bots("run-2").await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_session_is_opened_again_with_its_lock() {
    let database = Database::create(&pair().await.target, "lost_session").await.unwrap();
    let place = Place::Target(database);
    let Place::Target(database) = &place else { unreachable!() };
    let (first, second) = (place.open().await, place.open().await);
    first.lock().await.unwrap();
    first.begin("run-1", &settings(), None).await.unwrap();
    let end = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
               WHERE application_name = 'vecferry orchestrate' AND datname = current_database()";
    database.query_one(end).await.unwrap();
    let lost = first.counts("run-1").await.unwrap_err();
    assert_eq!(lost.class(), vecferry_core::Class::Transient, "{lost}");
    first.counts("run-1").await.unwrap();
    second.lock().await.unwrap_err();
    database.query_one(end).await.unwrap();
    first.counts("run-1").await.unwrap_err();
    second.lock().await.unwrap();
    let fenced = first.write("run-1", &Batch::default()).await.unwrap_err();
    assert!(matches!(fenced, vecferry_core::Error::Refused { .. }), "{fenced}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_and_cleanup_know_a_re_embedding_and_a_copy_keeps_it_out() {
    let pair = pair().await;
    let target = Database::create(&pair.target, "known").await.unwrap();
    let dsn: Dsn = target.url().parse().unwrap();
    let store = PostgresStore::new(dsn.clone());
    store.lock().await.unwrap();
    store.begin("run-1", &settings(), None).await.unwrap();
    store
        .write("run-1", &Batch { bots: vec![bot("a", BotState::Waiting)], attempts: vec![] })
        .await
        .unwrap();
    let seen = status(&dsn).await.unwrap().unwrap();
    assert_eq!(
        (seen.method.as_str(), seen.phase, seen.running),
        ("reembed", Phase::Embedding, true)
    );
    assert_eq!(seen.bots.map(|counts| counts.waiting), Some(1));
    assert_eq!(seen.source, "file bots.toml");
    store.unlock().await.unwrap();
    let source = items(&pair.source, "known", 100).await;
    let copy = crate::fixture::copy(&source, &target, &policy()).await.unwrap_err().to_string();
    assert!(copy.contains("unfinished migration by reembed"), "{copy}");
    cleanup(Scope { target: &dsn, source: None, orphans: false }).await.unwrap();
    assert_eq!(store.newest().await.unwrap(), None);
    stop_at(&clusters(&source, &target), &policy(), |event| {
        matches!(event, vecferry_core::report::Event::PartFinished { .. })
    })
    .await;
    let refused = store.begin("run-2", &settings(), None).await.unwrap_err().to_string();
    assert!(refused.contains("unfinished migration by copy"), "{refused}");
}

/// Takes away what the version before this one did not have.
async fn age(place: &Place) {
    match place {
        Place::Target(database) => {
            database.batch("ALTER TABLE vecferry.bot_run DROP COLUMN estimate").await.unwrap();
        }
        Place::File(folder) => {
            let connection = rusqlite::Connection::open(folder.path().join("run.db")).unwrap();
            connection.execute_batch("ALTER TABLE run DROP COLUMN estimate").unwrap();
            connection.pragma_update(None, "user_version", 1).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_was_expected_to_take_is_there_for_the_next_process() {
    let expected = Amount { tokens: 12, embedding_usd: Some(0.5), ..Amount::default() };
    let estimate = Estimate { bots: 3, expected, ..Estimate::default() };
    for place in Place::all("expected").await {
        let recorded = || async { place.open().await.newest().await.unwrap().unwrap().estimate };
        let store = place.open().await;
        store.begin("run-1", &settings(), Some(&estimate)).await.unwrap();
        drop(store);
        assert_eq!(recorded().await.as_ref(), Some(&estimate));
        place.open().await.begin("run-1", &settings(), None).await.unwrap();
        assert_eq!(recorded().await.as_ref(), Some(&estimate), "it goes on");
        let later = Estimate { bots: 4, ..estimate.clone() };
        place.open().await.begin("run-1", &settings(), Some(&later)).await.unwrap();
        assert_eq!(recorded().await.unwrap().bots, 4);

        age(&place).await;
        assert_eq!(recorded().await, None, "begun by an earlier version");
        place.open().await.begin("run-1", &settings(), Some(&estimate)).await.unwrap();
        assert_eq!(recorded().await.as_ref(), Some(&estimate));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_layout_or_of_no_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.db");
    drop(SqliteStore::open(&path).await.unwrap());
    let raise = |path: &Path| {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
    };
    raise(&path);
    let error = SqliteStore::open(&path).await.err().unwrap().to_string();
    assert!(error.contains("layout 99"), "{error}");
    std::fs::write(folder.path().join("text"), "no database at all, and long enough to tell")
        .unwrap();
    SqliteStore::open(&folder.path().join("text")).await.err().unwrap();
}
