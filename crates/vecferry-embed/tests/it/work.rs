//! A bot's run from its addresses to its rows, undisturbed and disturbed at every step.

mod fixture;
mod killed;
mod memory;
mod tasks;

use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;
use vecferry_core::bot::{DocumentAddress, SyncStatus};
use vecferry_core::{Error, Result};
use vecferry_embed::document::{Lost, Reason};
use vecferry_embed::work::{BotOutcome, Ending, LostPolicy, Reuse, work};
use vecferry_testkit::{Cluster, Database, pair};

use fixture::{BOT, Bench, Tripwire, attempt};

const ITEMS: &str = "CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, \
     embedding vector(4)); CREATE INDEX ON items (botid)";

/// The application's table with two rows of the bot and one of another.
async fn database(cluster: &Cluster) -> Database {
    let database = Database::with_vector(cluster, "work").await.unwrap();
    let old = format!(
        "{ITEMS}; INSERT INTO items VALUES ('1', '{BOT}', 'old a', 's3://b/a.txt', '[1,2,3,4]'), \
         ('2', '{BOT}', 'old x', 's3://b/x.txt', '[1,2,3,4]'), ('3', 'other', 'old', 's', '[1,2,3,4]')"
    );
    database.batch(&old).await.unwrap();
    database
}

async fn run(bench: &Bench, token: &str) -> Result<BotOutcome> {
    work(&bench.bot, &attempt(token), &bench.bench, &CancellationToken::new()).await
}

async fn lines(database: &Database, sql: &str) -> Vec<String> {
    let session = database.connect().await.unwrap();
    session.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Everything in the application's table but ids.
async fn content(database: &Database) -> Vec<String> {
    let sql = "SELECT format('%s | %s | %s | %s', botid, source, content, embedding) FROM items ORDER BY 1";
    lines(database, sql).await
}

async fn staged(database: &Database) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM vecferry.staged_document) + (SELECT count(*) FROM vecferry.staged_chunk_vector_4)";
    database.query_one(sql).await.unwrap().get(0)
}

/// What an undisturbed run makes.
async fn reference() -> Vec<String> {
    let database = database(&pair().await.target).await;
    let bench = Bench::new(database.url(), Tripwire::default());
    run(&bench, "t1").await.unwrap();
    content(&database).await
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_become_rows_with_the_vectors_of_their_texts() {
    for cluster in [&pair().await.source, &pair().await.target] {
        let database = database(cluster).await;
        let bench = Bench::new(database.url(), Tripwire::default());
        let outcome = run(&bench, "t1").await.unwrap();
        assert_eq!(outcome.ending, Ending::Swapped);
        assert_eq!((outcome.documents, outcome.lost.len()), (5, 0));
        assert_eq!(outcome.calls, bench.words.calls.load(Ordering::SeqCst));
        let session = database.connect().await.unwrap();
        let sql =
            "SELECT content, embedding::text, trim(source) FROM items WHERE botid = $1 ORDER BY id";
        let rows = session.query(sql, &[&BOT]).await.unwrap();
        assert_eq!(rows.len() as u64, outcome.rows);
        assert!(rows.len() > 20, "{}", rows.len());
        // Batches are filled across documents: fewer calls than documents have ends.
        assert!(outcome.calls <= outcome.rows.div_ceil(8) + 5, "{outcome:?}");
        for row in &rows {
            let content: &str = row.get(0);
            let vector: Vec<f32> = serde_json::from_str(row.get(1)).unwrap();
            assert_eq!(vector, fixture::vector(content, 4), "{content}");
            let name = row.get::<_, &str>(2).trim_start_matches("s3://b/").trim_end_matches(".txt");
            assert!(content.contains(&format!("document {name}")), "{content} of {name}");
        }
        assert_eq!(staged(&database).await, 0);
        assert_eq!(
            bench.registry.record().unwrap(),
            (SyncStatus::Succeeded, "task-t1".into(), String::new())
        );
        let told = serde_json::to_value(&outcome).unwrap();
        assert_eq!(told["ending"], "swapped");
        assert_eq!(serde_json::from_value::<BotOutcome>(told).unwrap(), outcome);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_does_what_it_says_with_lost_documents() {
    for (policy, sitemap, left) in [
        (LostPolicy::Fail, false, vec!["old a", "old x"]),
        (LostPolicy::KeepOld, false, vec!["old a"]),
        (LostPolicy::KeepOld, true, vec!["old a", "old x"]),
        (LostPolicy::Accept, false, vec![]),
    ] {
        let database = database(&pair().await.target).await;
        let mut bench = Bench::new(database.url(), Tripwire::default());
        bench.bench.policy = policy;
        bench.lose("s3://b/a.txt", Lost::new(Reason::Missing, "status 404"));
        bench.put("s3://b/u.txt", b"One fine sentence. An unspeakable one. And a third.".to_vec());
        bench.put("s3://b/w.txt", b" \n\n ".to_vec());
        if sitemap {
            bench.bot.documents.push(DocumentAddress::Sitemap("https://e.com/sitemap.xml".into()));
        }
        let outcome = run(&bench, "t1").await.unwrap();
        let lost: Vec<(&str, Reason)> =
            outcome.lost.iter().map(|lost| (lost.source.as_str(), lost.lost.reason)).collect();
        for expected in [
            ("s3://b/a.txt", Reason::Missing),
            ("s3://b/u.txt", Reason::Unembeddable),
            ("s3://b/w.txt", Reason::NoText),
        ] {
            assert!(lost.contains(&expected), "{lost:?}");
        }
        assert_eq!((lost.len(), outcome.documents), (3 + usize::from(sitemap), 4));
        let old = "SELECT content FROM items WHERE content LIKE 'old _' ORDER BY 1";
        assert_eq!(lines(&database, old).await, left, "{policy}");
        let (status, _, reason) = bench.registry.record().unwrap();
        assert!(reason.contains("s3://b/a.txt: missing: status 404"), "{reason}");
        let swapped = lines(&database, "SELECT swapped::text FROM vecferry.bot_result").await;
        if policy == LostPolicy::Fail {
            assert_eq!((outcome.ending, status), (Ending::Failed { reason }, SyncStatus::Failed));
            assert_eq!(swapped, ["false"]);
        } else {
            assert_eq!((outcome.ending, status), (Ending::Swapped, SyncStatus::Succeeded));
            assert_eq!((swapped, staged(&database).await), (vec!["true".into()], 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_of_which_nothing_is_left_keeps_its_rows() {
    let database = database(&pair().await.target).await;
    let before = content(&database).await;
    let mut bench = Bench::new(database.url(), Tripwire::default());
    bench.bench.policy = LostPolicy::Accept;
    bench.shelf.documents.lock().unwrap().clear();
    let outcome = run(&bench, "t1").await.unwrap();
    assert_eq!(outcome.ending, Ending::Failed { reason: "no documents were found".into() });
    bench.claim("t2");
    bench.lose("s3://b/a.txt", Lost::new(Reason::Missing, "status 404"));
    let outcome = run(&bench, "t2").await.unwrap();
    assert!(matches!(outcome.ending, Ending::Failed { .. }), "{outcome:?}");
    assert_eq!(content(&database).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_answers_zeros_is_refused_and_the_bot_keeps_its_rows() {
    let database = database(&pair().await.target).await;
    let before = content(&database).await;
    let mut bench = Bench::new(database.url(), Tripwire::default());
    // Not even where losses are accepted: it is the model that is at fault, not the document.
    bench.bench.policy = LostPolicy::Accept;
    bench.put("s3://b/a.txt", b"a meaningless text".to_vec());
    let error = run(&bench, "t1").await.unwrap_err();
    assert_eq!(error.class(), vecferry_core::Class::Operator);
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(why, "a vector of nothing but zeros came back, which no search can find");
    assert_eq!(content(&database).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_staged_is_not_paid_for_again_and_what_changed_is() {
    let database = database(&pair().await.target).await;
    let bench = Bench::new(database.url(), Tripwire::default());
    bench.lose("s3://b/late.txt", Lost::new(Reason::Unreachable, "status 503"));
    run(&bench, "t1").await.unwrap();
    let count = || {
        (bench.shelf.fetches.swap(0, Ordering::SeqCst), bench.words.calls.swap(0, Ordering::SeqCst))
    };
    count();
    // The lost one alone is tried again.
    bench.claim("t2");
    run(&bench, "t2").await.unwrap();
    assert_eq!(count(), (1, 0));
    // A document whose version is not known any more is taken as it was staged.
    *bench.shelf.version.lock().unwrap() = None;
    bench.claim("t3");
    run(&bench, "t3").await.unwrap();
    assert_eq!(count(), (1, 0));
    // All others have changed, one is gone, and the lost one has come.
    *bench.shelf.version.lock().unwrap() = Some("v2".into());
    bench.shelf.documents.lock().unwrap().remove("s3://b/b.txt");
    bench.put("s3://b/late.txt", fixture::text("late", 2));
    bench.put("s3://b/c.txt", fixture::text("c anew", 2));
    bench.claim("t4");
    let outcome = run(&bench, "t4").await.unwrap();
    assert_eq!(outcome.ending, Ending::Swapped);
    assert_eq!(count().0, 5);
    let sources = "SELECT DISTINCT trim(source) FROM items WHERE botid <> 'other' ORDER BY 1";
    let expected = ["a", "c", "d", "e", "late"].map(|name| format!("s3://b/{name}.txt"));
    assert_eq!(lines(&database, sources).await, expected);
    let anew =
        "SELECT bool_and(content LIKE '%c anew%')::text FROM items WHERE source = 's3://b/c.txt'";
    assert_eq!(lines(&database, anew).await, ["true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_chunks_take_their_vectors_from_a_source_of_the_same_model() {
    let source = database(&pair().await.source).await;
    run(&Bench::new(source.url(), Tripwire::default()), "t1").await.unwrap();
    source.batch("UPDATE items SET embedding = '[9,9,9,9]' WHERE botid <> 'other'").await.unwrap();
    for (model, same) in [("words", true), ("another", false)] {
        let target = database(&pair().await.target).await;
        let mut bench = Bench::new(target.url(), Tripwire::default());
        bench.put("s3://b/new.txt", b"One sentence that nobody has seen.".to_vec());
        bench.bench.reuse = Some(Reuse {
            source: source.url().parse().unwrap(),
            knowledge: bench.bench.knowledge.clone(),
            model: model.into(),
        });
        let outcome = run(&bench, "t1").await.unwrap();
        let expected = if same { (outcome.rows - 1, 1) } else { (0, outcome.rows.div_ceil(8)) };
        assert_eq!(outcome.reused, expected.0, "{outcome:?}");
        assert!(outcome.calls >= expected.1 && (!same || outcome.calls == 1), "{outcome:?}");
        let nines = "SELECT count(*)::text FROM items WHERE embedding = '[9,9,9,9]'";
        assert_eq!(lines(&target, nines).await, [outcome.reused.to_string()]);
        let recorded = "SELECT reused::text FROM vecferry.bot_result";
        assert_eq!(lines(&target, recorded).await, [outcome.reused.to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_is_gone_gets_no_rows_whenever_it_went() {
    for when in ["at the start", "before the swap", "after the swap"] {
        let database = database(&pair().await.target).await;
        let bench = Bench::new(database.url(), Tripwire::default());
        let registry = std::sync::Arc::clone(&bench.registry);
        let delete = move || *registry.bot.lock().unwrap() = None;
        match when {
            "at the start" => delete(),
            "before the swap" => *bench.shelf.on_fetch.lock().unwrap() = Some(Box::new(delete)),
            _ => bench.registry.gone_after_look.store(true, Ordering::SeqCst),
        }
        let outcome = run(&bench, "t1").await.unwrap();
        assert_eq!(outcome.ending, Ending::Gone, "{when}");
        assert_eq!(bench.shelf.fetches.load(Ordering::SeqCst) == 0, when == "at the start");
        let new = "SELECT content FROM items WHERE content NOT LIKE 'old%'";
        assert_eq!(lines(&database, new).await, Vec::<String>::new(), "{when}");
        assert_eq!(staged(&database).await, 0, "{when}");
        assert!(bench.registry.bot.lock().unwrap().is_none());
        let result = "SELECT token FROM vecferry.bot_result";
        assert_eq!(lines(&database, result).await, Vec::<String>::new(), "{when}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_gives_way_to_whoever_holds_the_record() {
    let database = database(&pair().await.target).await;
    let before = content(&database).await;
    let bench = Bench::new(database.url(), Tripwire::default());
    bench.registry.set(SyncStatus::Running, "somebody");
    let outcome = run(&bench, "t1").await.unwrap();
    assert_eq!(outcome.ending, Ending::GaveWay { to: "somebody".into() });
    assert_eq!(bench.shelf.fetches.load(Ordering::SeqCst), 0);
    // The owner edits the bot while documents are read: the application queues it, our name still in the record.
    bench.claim("t2");
    let registry = std::sync::Arc::clone(&bench.registry);
    *bench.shelf.on_fetch.lock().unwrap() =
        Some(Box::new(move || registry.set(SyncStatus::Queued, "task-t2")));
    let outcome = run(&bench, "t2").await.unwrap();
    assert_eq!(outcome.ending, Ending::GaveWay { to: "task-t2".into() });
    assert_eq!(content(&database).await, before);
    assert_eq!(bench.registry.record().unwrap().0, SyncStatus::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_other_dimensions_is_refused_before_it_is_called() {
    let database = Database::with_vector(&pair().await.target, "work").await.unwrap();
    database.batch(&ITEMS.replace("vector(4)", "vector(5)")).await.unwrap();
    let bench = Bench::new(database.url(), Tripwire::default());
    let error = run(&bench, "t1").await.unwrap_err();
    assert!(error.to_string().contains("takes 5 dimensions and the model gives 4"), "{error}");
    assert_eq!(bench.shelf.fetches.load(Ordering::SeqCst), 0);
    assert_eq!(bench.words.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_is_refused_and_the_first_is_not_disturbed() {
    let database = database(&pair().await.target).await;
    let first = Bench::new(database.url(), Tripwire::hang_at(5));
    let mut second = Bench::new(database.url(), Tripwire::default());
    second.bench.patience.lock = std::time::Duration::from_millis(200);
    let running = run(&first, "t1");
    let refused = async {
        first.wire.hit.notified().await;
        run(&second, "t1").await
    };
    tokio::select! {
        ended = running => panic!("{ended:?}"),
        refused = refused => {
            let Err(Error::Refused { what, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(what, format!("another run is at work on bot {BOT}"));
        }
    }
    assert_eq!(second.shelf.fetches.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_says_so_and_leaves_the_old_rows() {
    let database = database(&pair().await.target).await;
    let before = content(&database).await;
    let bench = Bench::new(database.url(), Tripwire::hang_at(9));
    let cancel = CancellationToken::new();
    let attempt = attempt("t1");
    let running = work(&bench.bot, &attempt, &bench.bench, &cancel);
    let cancelling = async {
        bench.wire.hit.notified().await;
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(running, cancelling);
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
    let told = (SyncStatus::Failed, "task-t1".into(), "interrupted".into());
    assert_eq!(bench.registry.record().unwrap(), told);
    let recorded = "SELECT token || ' ' || swapped FROM vecferry.bot_result";
    assert_eq!(lines(&database, recorded).await, ["t1 false"]);
    assert_eq!(content(&database).await, before);
    bench.claim("t2");
    run(&bench, "t2").await.unwrap();
    assert_eq!(content(&database).await, reference().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_chunks_of_one_document_are_ten_thousand_rows() {
    let database = database(&pair().await.target).await;
    let bench = Bench::new(database.url(), Tripwire::default());
    bench.put("s3://b/long.txt", fixture::text("long", 14_000));
    let outcome = run(&bench, "t1").await.unwrap();
    assert!(outcome.rows >= 10_000, "{outcome:?}");
    let rows = "SELECT count(*)::text FROM items WHERE source = 's3://b/long.txt'";
    let long: u64 = lines(&database, rows).await[0].parse().unwrap();
    assert!(long >= 10_000 && long < outcome.rows, "{long}");
    // In the document's order, which their ids keep.
    let order =
        "SELECT (array_agg(content ORDER BY id))[1] FROM items WHERE source = 's3://b/long.txt'";
    assert!(lines(&database, order).await[0].starts_with("Sentence 0 of document long"));
}
