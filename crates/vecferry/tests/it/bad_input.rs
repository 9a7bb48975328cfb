//! What does not fit before a run gets going: passwords, roles, versions, programs, servers that may not be written
//! to. Each has its exit code, says what to do, and leaves the target as it was. (More of it: `mistakes`.)

use std::fs;

use vecferry_testkit::{Cluster, Database, Options, Stop, Version, pair};

use crate::content::{assert_same, content, schema};
use crate::migrating::program;
use crate::program::{Program, Ran};

/// Without the checks, which find most of this before: what is left when they are passed over, or the world changes
/// after them.
const MIGRATE: [&str; 4] = ["migrate", "--yes", "--no-check", "--no-estimate"];

/// Asserts one error of one line with a hint, these words, and neither passwords nor rows.
#[track_caller]
pub(crate) fn refused(ran: Ran, code: i32, words: &[&str]) {
    let Ran { stderr, stdout, .. } = ran.expect(code);
    let lines = |head: &str| stderr.lines().filter(|line| line.starts_with(head)).count();
    assert_eq!((lines("error: "), lines("hint: ")), (1, 1), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in\n{stderr}");
    }
    for secret in ["Planted secret", "hunter2", "w/rd", "ss:w"] {
        assert!(!stderr.contains(secret) && !stdout.contains(secret), "{stderr}");
    }
}

async fn knowledge(cluster: &Cluster, name: &str) -> Database {
    let database = Database::with_vector(cluster, name).await.unwrap();
    database.psql(include_str!("knowledge.sql")).unwrap();
    database
}

/// The same database for another role.
fn as_role(database: &Database, role: &str) -> String {
    database.url().replacen("postgres@", &format!("{role}@"), 1)
}

/// Makes a role that may log in, named after the database.
async fn role(database: &Database, grants: &str) -> String {
    let role = format!("role_{}", database.name());
    let grants = grants.replace("ROLE", &role);
    database.batch(&format!("CREATE ROLE {role} LOGIN; {grants}")).await.unwrap();
    role
}

#[tokio::test]
async fn a_password_of_special_characters_is_understood_in_every_way_to_give_it() {
    let password = "p@ss:w/rd?#%é";
    let cluster = Cluster::start(Version::Pg18, Options::new().password(password)).unwrap();
    let address = format!("127.0.0.1:{}/postgres", cluster.port());
    let encoded = "p%40ss%3Aw%2Frd%3F%23%25%C3%A9";
    for login in [format!("postgres:{encoded}"), format!("postgres:{password}")] {
        let target = format!("postgresql://{login}@{address}");
        let ran = Program::new().run(&["status", "--target", &target]).expect(0);
        assert!(ran.stderr.contains("no migration on "), "{}", ran.stderr);
    }
    let without = format!("postgresql://postgres@{address}");
    let pairs = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", cluster.port());
    for target in [&without, &pairs] {
        let program = Program::new().set("VECFERRY_TARGET_PASSWORD", password);
        program.run(&["status", "--target", target]).expect(0);
    }
    let wrong = format!("postgresql://postgres:{password}wrong@{address}");
    let ran = Program::new().run(&["status", "--target", &wrong]);
    refused(ran, 4, &["28P01", "percent-encoded", "VECFERRY_TARGET_PASSWORD"]);

    // pg_dump gets it too.
    let source = knowledge(&cluster, "special").await;
    let target = Database::create(&pair().await.target, "special").await.unwrap();
    program(source.url(), target.url()).run(&MIGRATE).expect(0);
    assert_same(&content(&source).await, &content(&target).await, "special characters");
}

#[tokio::test]
async fn an_older_vector_extension_on_the_target_is_refused_before_anything_is_made() {
    let pair = pair().await;
    let source = knowledge(&pair.target, "newer").await;
    let target = Database::create(&pair.source, "older").await.unwrap();
    let before = schema(&target);
    let ran = program(source.url(), target.url()).run(&MIGRATE);
    refused(ran, 4, &["pgvector is 0.6.2 on the target and 0.8.5 on the source", "upgrade"]);
    assert_eq!(before, schema(&target));
    let nothing = "SELECT to_regnamespace('vecferry') IS NULL";
    assert!(target.query_one(nothing).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn a_pg_dump_that_is_missing_or_too_old_is_named() {
    let pair = pair().await;
    let source = knowledge(&pair.target, "dump").await;
    let target = Database::create(&pair.target, "dump").await.unwrap();
    let before = schema(&target);
    let program = program(source.url(), target.url());
    let empty = program.folder().to_str().unwrap().to_owned();
    let missing = program.run(&[&MIGRATE[..], &["--pg-bin-dir", &empty]].concat());
    refused(missing, 2, &["pg_dump was not found in /", "--pg-bin-dir"]);
    let old = Version::Pg16.bin_dir().unwrap();
    let too_old = program.run(&[&MIGRATE[..], &["--pg-bin-dir", old.to_str().unwrap()]].concat());
    refused(too_old, 3, &["server version mismatch", "at least as new as the source"]);
    assert_eq!(before, schema(&target));
    program.run(&MIGRATE).expect(0);
}

#[tokio::test]
async fn a_target_that_may_not_be_written_to_is_refused_at_once() {
    let source = knowledge(&pair().await.source, "readonly").await;
    let target = Database::create(&pair().await.target, "readonly").await.unwrap();
    let read_only =
        format!("ALTER DATABASE {} SET default_transaction_read_only = on", target.name());
    target.batch(&read_only).await.unwrap();
    let ran = program(source.url(), target.url()).run(&MIGRATE);
    refused(ran, 4, &["default_transaction_read_only is on", "ALTER DATABASE"]);

    let standby = Cluster::start(Version::Pg18, Options::new()).unwrap();
    standby.stop(Stop::Fast).unwrap();
    fs::write(standby.data_dir().join("standby.signal"), "").unwrap();
    standby.start_again().unwrap();
    let ran = program(source.url(), &standby.url("postgres")).run(&MIGRATE);
    refused(ran, 4, &["the target is a standby", "name the writer"]);
}

#[tokio::test]
async fn a_role_without_privileges_is_refused_on_either_side() {
    let source = knowledge(&pair().await.source, "unprivileged").await;
    let target = Database::create(&pair().await.target, "unprivileged").await.unwrap();
    let reader = role(&source, "").await;
    let ran = program(&as_role(&source, &reader), target.url()).run(&MIGRATE);
    refused(ran, 3, &["permission denied", "42501", "--source", "vecferry check"]);
    let writer = role(&target, "").await;
    let ran = program(source.url(), &as_role(&target, &writer)).run(&MIGRATE);
    refused(ran, 4, &["permission denied", "42501", "--target", "vecferry check"]);
    let nothing = "SELECT to_regnamespace('vecferry') IS NULL AND to_regclass('items') IS NULL";
    assert!(target.query_one(nothing).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn a_source_role_that_row_security_hides_rows_from_fails_loudly() {
    let source = knowledge(&pair().await.source, "hidden").await;
    let target = Database::create(&pair().await.target, "hidden").await.unwrap();
    let reader = role(
        &source,
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO ROLE; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO ROLE; \
         ALTER TABLE documents ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON documents USING (id < 10)",
    )
    .await;
    let hidden = program(&as_role(&source, &reader), target.url());
    refused(hidden.run(&MIGRATE), 3, &["row-level security", "BYPASSRLS"]);
    hidden.run(&["cleanup", "--yes"]).expect(0);
    let nothing = "SELECT to_regnamespace('vecferry') IS NULL AND to_regclass('items') IS NULL";
    assert!(target.query_one(nothing).await.unwrap().get::<_, bool>(0));
    source.batch(&format!("ALTER ROLE {reader} BYPASSRLS")).await.unwrap();
    source.batch("SELECT lo_unlink(4711)").await.unwrap();
    hidden.run(&MIGRATE).expect(0);
    assert_same(&content(&source).await, &content(&target).await, "row security");
}
