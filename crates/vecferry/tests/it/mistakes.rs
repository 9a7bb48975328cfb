//! What an operator gets wrong: each mistake has its exit code, a hint, and never shows a password.

use vecferry_testkit::{Cluster, Database, Options, Version, pair};

use crate::program::{Program, Ran};

const SECRET: &str = "hunter2";

#[track_caller]
fn said(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.stderr.contains(word), "{word:?} is not in\n{}", ran.stderr);
    }
    assert!(!ran.stderr.contains(SECRET) && !ran.stdout.contains(SECRET), "{}", ran.stderr);
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_nearest_one() {
    let program = Program::new();
    program.write("vecferry.toml", "jobs = 2\n[knowledge]\nembeding = 'e'\n");
    let ran = program.run(&["status"]).expect(2);
    said(
        &ran,
        &["error: vecferry.toml line 3: unknown key `embeding`", "hint: did you mean `embedding`?"],
    );
}

#[test]
fn a_missing_target_or_file_or_a_broken_url_is_a_usage_error() {
    let program = Program::new();
    let url = format!("postgres://u:{SECRET}@127.0.0.1:1/d");
    said(
        &program.run(&["migrate", "--source", &url]).expect(2),
        &["the target is not known", "VECFERRY_TARGET"],
    );
    said(
        &program.run(&["--config", "none.toml", "status"]).expect(2),
        &["cannot read none.toml", "vecferry init"],
    );
    said(
        &program.run(&["--config", "/dev/zero", "status"]).expect(2),
        &["/dev/zero is not a regular file", "hint: "],
    );
    let broken = format!("postgres://u:{SECRET}@h:port/d");
    let ran = program.run(&["migrate", "--source", &broken, "--target", &broken]).expect(2);
    said(
        &ran,
        &["error: source: the connection string cannot be used", "error: target: ", "hint: "],
    );
    said(&program.run(&["status", &url]).expect(2), &["<connection string not shown>"]);
    said(
        &program.run(&["migrate", "--method", "delta", "--target", &url]).expect(2),
        &["the source is not known", "VECFERRY_SOURCE"],
    );
}

#[tokio::test]
async fn an_unknown_host_is_the_sides_failure() {
    let target = Database::create(&pair().await.target, "unknown_host").await.unwrap();
    let source = format!("postgres://u:{SECRET}@nowhere.invalid/d");
    let ran =
        Program::new().run(&["migrate", "--source", &source, "--target", target.url()]).expect(3);
    said(&ran, &["error: source: cannot ", "nowhere.invalid", "hint: "]);
    said(
        &Program::new().run(&["status", "--target", &source]).expect(4),
        &["error: target: cannot "],
    );
}

#[tokio::test]
async fn a_wrong_password_has_a_hint_and_a_right_one_may_come_from_the_environment() {
    let right = "a right p@ssword";
    let cluster = Cluster::start(Version::Pg16, Options::new().password(right)).unwrap();
    let target = Database::create(&pair().await.target, "wrong_password").await.unwrap();
    let address = format!("127.0.0.1:{}/postgres", cluster.port());
    let source = format!("postgres://postgres:{SECRET}@{address}");
    let arguments = ["migrate", "--source", &source, "--target", target.url()];
    let ran = Program::new().run(&arguments).expect(3);
    said(
        &ran,
        &["error: source: cannot ", "caused by: ", "28P01", "hint: check user and password"],
    );

    let without = format!("postgres://postgres@{address}");
    let status = ["status", "--target", &without];
    for variable in ["VECFERRY_TARGET_PASSWORD", "PGPASSWORD"] {
        let ran = Program::new().set(variable, right).run(&status).expect(0);
        assert!(ran.stderr.contains("no migration on "), "{}", ran.stderr);
    }
    let other = Program::new().set("VECFERRY_TARGET_PASSWORD", SECRET).set("PGPASSWORD", right);
    said(&other.run(&status).expect(4), &["28P01"]);
}

#[test]
fn a_reader_that_goes_away_does_not_turn_a_no_into_a_yes() {
    let program = Program::new()
        .set("VECFERRY_SOURCE", "postgresql://u@127.0.0.1:1/a")
        .set("VECFERRY_TARGET", "postgresql://u@127.0.0.1:1/b");
    let mut child = program
        .command(&["check"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
