//! A migration's life through the program: check, plan, migrate, status, verify, cleanup.

use std::process::Stdio;
use std::time::Duration;

use vecferry_testkit::{Database, Version, pair};

use crate::program::Program;

/// Twenty bots' chunks, as Bedrock Chat keeps them, with few dimensions.
const ITEMS: &str = "
CREATE TABLE items (id char(26) PRIMARY KEY, botid text, content text, source text, embedding vector(8));
INSERT INTO items
SELECT lpad(n::text, 26, '0'), 'bot' || n % 20, repeat('word ', 20), 's3://' || n,
       (SELECT array_agg(sin(n * d))::vector FROM generate_series(1, 8) d)
  FROM generate_series(1, 4000) n;
CREATE INDEX ON items (botid);
CREATE INDEX ON items USING hnsw (embedding vector_l2_ops);
ANALYZE items;
";

async fn databases(name: &str) -> (Database, Database) {
    let pair = pair().await;
    let source = Database::with_vector(&pair.source, name).await.unwrap();
    source.batch(ITEMS).await.unwrap();
    (source, Database::create(&pair.target, name).await.unwrap())
}

fn program(source: &Database, target: &Database) -> Program {
    let programs = Version::Pg18.bin_dir().unwrap();
    Program::new()
        .set("VECFERRY_SOURCE", source.url())
        .set("VECFERRY_TARGET", target.url())
        .set("VECFERRY_PG_BIN_DIR", programs.to_str().unwrap())
}

#[tokio::test]
async fn a_first_migration_goes_from_nothing_to_proof() {
    let (source, target) = databases("first").await;
    let program = program(&source, &target);

    let none = program.run(&["status", "--json"]).expect(0);
    assert_eq!(none.json(), serde_json::json!({ "version": 1, "migration": null }));

    let checked = program.run(&["check"]).expect(0).stdout;
    assert!(checked.contains("0 blockers"), "{checked}");
    assert_eq!(program.run(&["check", "--json"]).expect(0).json()["version"], 1);

    let planned = program.run(&["plan"]).expect(0).stdout;
    assert!(planned.contains("next: vecferry migrate --method copy"), "{planned}");
    let steps = program.run(&["plan", "--method", "copy"]).expect(0).stdout;
    assert!(steps.contains("analyze") && !steps.contains("reembed"), "{steps}");
    let other = program.run(&["plan", "--method", "reembed"]).expect(1).stdout;
    assert!(other.contains("not possible here"), "{other}");
    assert_eq!(program.run(&["plan", "--json"]).expect(0).json()["recommended"], "copy");

    let migrated = program.run(&["migrate"]).expect(0);
    assert!(migrated.stdout.contains("estimated"), "{}", migrated.stdout);
    for words in ["public.items", "4,000 rows in 1 table", "next: vecferry verify"] {
        assert!(migrated.stdout.contains(words), "{words} is not in\n{}", migrated.stdout);
    }
    assert!(migrated.stderr.contains("] rows"), "{}", migrated.stderr);

    let status = program.run(&["status", "--json"]).expect(0).json();
    assert_eq!((&status["phase"], &status["rows"]), (&"done".into(), &4000.into()));
    let shown = program.run(&["status", "--watch"]).expect(0).stdout;
    assert!(shown.contains("done") && shown.contains("100%"), "{shown}");

    let verified = program.run(&["verify"]).expect(0).stdout;
    assert!(verified.contains("the target matches the source"), "{verified}");
    assert_eq!(program.run(&["verify", "--json"]).expect(0).json()["matches"], true);

    let listed = program.run(&["cleanup", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(
        (&listed["removed"], &listed["leftovers"][0]["kind"]),
        (&false.into(), &"record".into())
    );
    let unasked = program.run(&["cleanup"]).expect(2);
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    program.run(&["cleanup", "--yes"]).expect(0);
    let clean = program.run(&["cleanup", "--yes"]).expect(0);
    assert!(clean.stderr.contains("nothing to clean up"), "{}", clean.stderr);
}

#[tokio::test]
async fn a_blocker_is_shown_with_its_remedy_and_exits_1() {
    let (source, target) = databases("blocker").await;
    target.batch("CREATE EXTENSION vector").await.unwrap();
    target.psql(ITEMS).unwrap();
    let checked = program(&source, &target).run(&["check"]).expect(1).stdout;
    for words in ["blocker", "rows on the target", "public.items", "→", "must not start"] {
        assert!(checked.contains(words), "{words} is not in\n{checked}");
    }
}

#[tokio::test]
async fn a_difference_is_shown_with_its_bot_and_key_and_exits_1() {
    let (source, target) = databases("differs").await;
    let program = program(&source, &target);
    program.run(&["migrate", "-q"]).expect(0);
    target
        .batch("UPDATE items SET content = 'x' WHERE id LIKE '%0007'; DELETE FROM items WHERE id LIKE '%0011'")
        .await
        .unwrap();
    let verified = program.run(&["verify", "--recall-bots", "0"]).expect(1);
    for words in ["differs", "bot7", "bot11", "00000000000000000000000007", "changed", "missing"] {
        assert!(verified.stdout.contains(words), "{words} is not in\n{}", verified.stdout);
    }
    let json = program.run(&["verify", "--json", "--recall-bots", "0"]).expect(1).json();
    assert_eq!(json["content"]["tables"][0]["rows_differing"]["missing"], 1);
}

#[tokio::test]
async fn the_record_proves_the_target_when_the_source_is_gone() {
    let (source, target) = databases("recorded").await;
    let program = program(&source, &target);
    program.run(&["migrate", "-q"]).expect(0);
    // Nothing listens there, so that a look at the source would fail.
    let gone = ["--source", "postgres://nobody@127.0.0.1:1/gone"];
    let run = |more: &[&str]| program.run(&[&["verify", "--recorded"], more, &gone].concat());
    let verified = run(&[]).expect(0).stdout;
    assert!(verified.contains("matches the record of its migration"), "{verified}");
    assert!(verified.contains("structure, sequences"), "{verified}");
    program.run(&[&["verify"][..], &gone].concat()).expect(3);
    target.batch("UPDATE items SET content = 'x' WHERE id LIKE '%0007'").await.unwrap();
    let differs = run(&["--recall-bots", "0"]).expect(1).stdout;
    for words in ["recorded rows", "bot7", "changed", "cannot be told without the source"] {
        assert!(differs.contains(words), "{words} is not in\n{differs}");
    }
    let json = run(&["--json", "--quick"]).expect(0).json();
    assert_eq!((&json["against"], &json["version"]), (&"record".into(), &1.into()));
    program.run(&["cleanup", "--yes"]).expect(0);
    let refused = run(&[]).expect(4).stderr;
    assert!(refused.contains("no record") && refused.contains("hint:"), "{refused}");
}

#[tokio::test]
async fn every_event_line_carries_version_and_time() {
    let (source, target) = databases("events").await;
    let ran = program(&source, &target).run(&["migrate", "--json"]).expect(0);
    let events: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["version"] == 1 && event["at"].is_string()));
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["rows"]), (&"finished".into(), &4000.into()));
}

#[tokio::test]
async fn replacing_is_asked_for_only_where_there_is_something_to_replace() {
    let (source, target) = databases("replace").await;
    let program = program(&source, &target);
    let replace = ["migrate", "-q", "--existing", "replace"];
    program.run(&replace).expect(0);
    program.run(&["cleanup", "--yes"]).expect(0);
    let refused = program.run(&replace).expect(2);
    assert!(refused.stderr.contains("replace rows in 1 table"), "{}", refused.stderr);
    program.run(&["migrate", "-q", "--existing", "replace", "--yes"]).expect(0);
}

#[tokio::test]
async fn an_interrupted_run_says_how_to_go_on_and_does() {
    let (source, target) = databases("interrupted").await;
    // Somebody holds the rows, so that the run waits for as long as the test needs.
    let holder = source.connect().await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let program = program(&source, &target);
    let child = program
        .command(&["migrate", "--no-estimate"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let signalled =
        std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(signalled.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(
        stderr.contains("stopping") && stderr.contains("run the same command again"),
        "{stderr}"
    );
    holder.batch_execute("ROLLBACK").await.unwrap();
    program.run(&["migrate"]).expect(0);
}
