//! Following a source through the program: migrate, watch, status, cleanup.

use std::process::Command;

use serde_json::Value;
use vecferry_testkit::{Database, pair};

use crate::migrating::{Migrating, program};
use crate::program::Program;

/// What an operator types, without the seconds of measuring.
const FOLLOW: [&str; 5] = ["migrate", "--method", "follow", "--detach", "--no-estimate"];

async fn databases(name: &str) -> (Database, Database) {
    let pair = pair().await;
    let source = Database::with_vector(&pair.source, name).await.unwrap();
    source
        .batch(
            "CREATE TABLE items (id int PRIMARY KEY, botid text, embedding vector(3)); \
             INSERT INTO items SELECT n, 'bot' || n % 5, ARRAY[n, 1, 2]::real[]::vector FROM generate_series(1, 3000) n; \
             CREATE INDEX ON items USING hnsw (embedding vector_l2_ops)",
        )
        .await
        .unwrap();
    (source, Database::create(&pair.target, name).await.unwrap())
}

/// Publications, slots and subscriptions of ours in a database, and schemas.
async fn ours(database: &Database) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM pg_publication WHERE pubname LIKE 'vecferry%') \
        + (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'vecferry%' AND database = current_database()) \
        + (SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
           WHERE subname LIKE 'vecferry%' AND datname = current_database()) \
        + (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'vecferry%')";
    database.query_one(sql).await.unwrap().get(0)
}

fn event(name: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == name
}

#[tokio::test]
async fn a_follow_that_is_detached_goes_on_and_is_cleaned_up_on_both_sides() {
    let (source, target) = databases("detached").await;
    let program = program(source.url(), target.url());
    let migrated = program.run(&FOLLOW).expect(0);
    for words in ["3,000 rows in 1 table", "follows the source by itself", "vecferry cutover"] {
        assert!(migrated.stdout.contains(words), "{words} is not in\n{}", migrated.stdout);
    }
    let status = program.run(&["status", "--json"]).expect(0).json();
    assert_eq!((&status["phase"], &status["method"]), (&"following".into(), &"follow".into()));
    let follow = &status["follow"];
    assert!(follow["lag_bytes"].is_u64() && follow["retained_bytes"].is_u64(), "{follow:#}");
    assert_eq!((&follow["source_reachable"], &follow["way_back"]), (&true.into(), &Value::Null));
    let shown = program.run(&["status"]).expect(0).stdout;
    for words in ["following, ", "\nlag ", "\nWAL kept "] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    // The method goes on without being named.
    let again = program.run(&["migrate", "--detach"]).expect(0);
    assert!(again.stdout.contains("follows the source by itself"), "{}", again.stdout);
    let listed = program.run(&["cleanup", "--dry-run", "--json"]).expect(0).json();
    let removed = program.run(&["cleanup", "--yes", "--json"]).expect(0).json();
    assert_eq!(listed["leftovers"], removed["leftovers"]);
    assert_eq!((ours(&source).await, ours(&target).await), (0, 0));
    let rows = target.query_one("SELECT count(*) FROM items").await.unwrap().get::<_, i64>(0);
    assert_eq!(rows, 3000);
}

#[tokio::test]
async fn check_and_plan_of_a_follow_say_what_it_needs_and_never_a_password() {
    let (source, target) = databases("checked_follow").await;
    let secret = |url: &str| url.replacen("postgres@", "postgres:hunter2@", 1);
    let program =
        program(&secret(source.url()), &secret(target.url())).set("VECFERRY_LOG", "trace");
    let talkative = |words: &[&str]| program.run(&[words, &["-vvv"]].concat());
    let checked = talkative(&["check", "--method", "follow", "--json"]).expect(0);
    let names = checked.json()["checked"].to_string();
    assert!(names.contains("target reaches source") && names.contains("way back"), "{names}");
    let copy = program.run(&["check", "--json"]).expect(0).json()["checked"].to_string();
    assert!(!copy.contains("target reaches source"), "{copy}");
    let planned = talkative(&["plan", "--method", "follow"]).expect(0);
    for words in ["catch-up", "replication slot on the source", "apply starts when the indexes"] {
        assert!(planned.stdout.contains(words), "{words} is not in\n{}", planned.stdout);
    }
    // The plan's choice is the run's, unless the operator has one.
    let migrated = talkative(&["migrate", "--method", "follow", "--detach"]).expect(0);
    assert!(
        migrated.stderr.contains("apply starts when the indexes are built"),
        "{}",
        migrated.stderr
    );
    for ran in [&checked, &planned, &migrated] {
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("hunter2"), "{}", ran.stderr);
    }
    program.run(&["cleanup", "--yes"]).expect(0);
    source.batch("ALTER TABLE items DROP CONSTRAINT items_pkey").await.unwrap();
    let refused = program.run(&["check", "--method", "follow"]).expect(1).stdout;
    assert!(refused.contains("REPLICA IDENTITY FULL"), "{refused}");
    let refused = program.run(&["plan", "--method", "follow"]).expect(1).stdout;
    assert!(refused.contains("--set-replica-identity"), "{refused}");
    let set = ["check", "--method", "follow", "--set-replica-identity", "--existing", "replace"];
    program.run(&set).expect(0);
}

#[tokio::test]
async fn an_interrupt_ends_the_watching_and_nothing_else() {
    let (source, target) = databases("watched").await;
    let program = program(source.url(), target.url());
    let mut run = Migrating::start(&program, &["--method", "follow"]);
    run.until(|event| event["event"] == "phase_started" && event["phase"] == "following");
    run.until(|event| event["event"] == "following" && event["caught_up"] == true);
    let pid = run.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let (code, _, stderr) = run.finish();
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("replication goes on without this process"), "{stderr}");
    source.batch("DELETE FROM items WHERE id > 1000").await.unwrap();
    program.run(&["migrate", "--detach", "-q"]).expect(0);
    let rows = target.query_one("SELECT count(*) FROM items").await.unwrap().get::<_, i64>(0);
    assert_eq!(rows, 1000);
    program.run(&["cleanup", "--yes"]).expect(0);
}

#[tokio::test]
async fn after_a_kill_cleanup_needs_the_source_or_leave_to_do_without_it() {
    let (source, target) = databases("killed_follow").await;
    let reached = program(source.url(), target.url());
    let mut run = Migrating::start(&reached, &["--method", "follow"]);
    run.until(event("part_finished"));
    run.kill();
    let gone = program("postgres://nobody@127.0.0.1:1/gone", target.url());
    let refused = gone.run(&["cleanup", "--yes"]).expect(3);
    assert!(refused.stderr.contains("--without-source"), "{}", refused.stderr);
    let without = Program::new().set("VECFERRY_TARGET", target.url());
    let cleaned = without.run(&["cleanup", "--yes", "--without-source"]).expect(0);
    assert!(cleaned.stdout.contains("kept: not looked at"), "{}", cleaned.stdout);
    assert!(ours(&source).await > 0 && ours(&target).await == 0);
    let kept = reached.run(&["cleanup", "--yes"]).expect(0);
    assert!(kept.stdout.contains("another migration"), "{}", kept.stdout);
    assert!(kept.stderr.contains("nothing to clean up"), "{}", kept.stderr);
    reached.run(&["cleanup", "--yes", "--orphans"]).expect(0);
    assert_eq!((ours(&source).await, ours(&target).await), (0, 0));
}

#[tokio::test]
async fn a_kill_in_any_phase_leaves_nothing_that_cleanup_does_not_find() {
    let (source, target) = databases("killed_phases").await;
    let program = program(source.url(), target.url());
    for phase in [
        "schema",
        "rows",
        "sequences",
        "keys",
        "subscribe",
        "indexes",
        "constraints",
        "analyze",
        "catch_up",
        "following",
    ] {
        let more = ["--method", "follow", "--existing", "replace", "--apply-start", "first"];
        let mut run = Migrating::start(&program, &more);
        run.until(|event| event["event"] == "phase_started" && event["phase"] == phase);
        run.kill();
        assert!(ours(&source).await > 0 && ours(&target).await > 0, "{phase}");
        program.run(&["cleanup", "--yes"]).expect(0);
        assert_eq!((ours(&source).await, ours(&target).await), (0, 0), "{phase}");
    }
}

#[tokio::test]
async fn a_restart_asks_and_begins_again_with_its_checks() {
    let (source, target) = databases("restarted").await;
    let program = program(source.url(), target.url());
    program.run(&FOLLOW).expect(0);
    let id = |program: &Program| {
        program.run(&["status", "--json"]).expect(0).json()["migration"].clone()
    };
    let first = id(&program);
    let again = ["migrate", "--restart", "--method", "follow", "--detach", "--no-estimate"];
    let unasked = program.run(&again).expect(2);
    assert!(unasked.stderr.contains("throw away migration"), "{}", unasked.stderr);
    program.run(&[&again[..], &["--yes"]].concat()).expect(0);
    assert_ne!(id(&program), first);
    // As a cutover leaves it.
    target.batch("UPDATE vecferry.migration SET phase = 'done'").await.unwrap();
    let refused = program.run(&[&again[..], &["--yes"]].concat()).expect(4);
    assert!(refused.stderr.contains("vecferry cleanup"), "{}", refused.stderr);
    program.run(&["cleanup", "--yes"]).expect(0);
    assert_eq!((ours(&source).await, ours(&target).await), (0, 0));
}

#[tokio::test]
async fn a_slot_that_was_still_waiting_at_the_kill_is_found_too() {
    let (source, target) = databases("killed_slot").await;
    let program = program(source.url(), target.url());
    // A slot waits for every transaction that has written.
    let writer = source.connect().await.unwrap();
    writer.batch_execute("BEGIN; DELETE FROM items WHERE id = 1").await.unwrap();
    let run = Migrating::start(&program, &["--method", "follow"]);
    let slot = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'vecferry%' AND database = current_database()";
    while source.query_one(slot).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    run.kill();
    program.run(&["cleanup", "--yes"]).expect(0);
    writer.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!((ours(&source).await, ours(&target).await), (0, 0));
}

#[tokio::test]
async fn a_servers_way_to_the_other_that_is_no_url_is_refused_without_showing_it() {
    let program = program("postgres://u@h/d", "postgres://u@t/d");
    let wrong = "nonsense://u:hunter2@h/d";
    let refused = program.run(&["migrate", "--source-from-target", wrong]).expect(2);
    assert!(refused.stderr.contains("source-from-target"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
}
