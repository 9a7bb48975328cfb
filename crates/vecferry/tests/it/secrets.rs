//! Logins from Secrets Manager through the program: rotated while a run goes on, and the application's secret as the
//! switch of a cutover.

use serde_json::{Value, json};
use vecferry_testkit::chat::{change_secret, put_secret, secret_text};
use vecferry_testkit::{Cluster, Database, FaultProxy, Options, Version, moto};

use crate::migrating::{Migrating, is, wait_until};
use crate::program::Program;

/// Enough rows for several parts.
const ITEMS: &str = "
CREATE TABLE items (id char(26) PRIMARY KEY, botid text, content text, source text, embedding vector(8));
INSERT INTO items
SELECT lpad(n::text, 26, '0'), 'bot' || n % 20, repeat('word ', 40), 's3://' || n, '[1,2,3,4,5,6,7,8]'
  FROM generate_series(1, 6000) n;
CREATE INDEX ON items (botid);
";

/// A cluster that asks for a password, a role on it that moves data, and what the secret says of both databases.
struct Stack {
    cluster: Cluster,
    source: Database,
    target: Database,
    secrets: [String; 2],
}

impl Stack {
    async fn start() -> Stack {
        let cluster = Cluster::start(Version::Pg18, Options::new().password("root")).unwrap();
        let source = Database::with_vector(&cluster, "source").await.unwrap();
        source.batch(ITEMS).await.unwrap();
        source.batch("CREATE ROLE mover SUPERUSER LOGIN PASSWORD 'hunter1'").await.unwrap();
        let target = Database::create(&cluster, "target").await.unwrap();
        let mut stack = Stack { cluster, source, target, secrets: Default::default() };
        for at in 0..2 {
            let text = stack.text(at, "mover", "hunter1");
            stack.secrets[at] = put_secret(moto().await, &text).await.unwrap();
        }
        stack
    }

    /// The secret of the source (0) or the target (1).
    fn text(&self, at: usize, user: &str, password: &str) -> String {
        let database = [&self.source, &self.target][at].name();
        json!({
            "engine": "postgres", "host": "127.0.0.1", "port": self.cluster.port(),
            "dbname": database, "username": user, "password": password,
        })
        .to_string()
    }

    async fn rotate(&self, user: &str, password: &str) {
        for (at, secret) in self.secrets.iter().enumerate() {
            change_secret(moto().await, secret, &self.text(at, user, password)).await.unwrap();
        }
    }

    async fn program(&self) -> Program {
        let programs = Version::Pg18.bin_dir().unwrap();
        let own = [
            ("VECFERRY_SOURCE_SECRET", self.secrets[0].as_str()),
            ("VECFERRY_TARGET_SECRET", self.secrets[1].as_str()),
            ("VECFERRY_PG_BIN_DIR", programs.to_str().unwrap()),
        ];
        let program = moto()
            .await
            .environment()
            .into_iter()
            .fold(Program::new(), |program, one| program.set(one.0, &one.1));
        own.into_iter().fold(program, |program, (name, value)| program.set(name, value))
    }
}

/// Ends every session of the role, as a failover would.
const CUT: &str =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'mover'";

/// A run whose login changes in the middle of its copy, and whose connections are then cut.
async fn rotated_by(sql: &str, user: &str, password: &str) {
    let stack = Stack::start().await;
    // The URL's address wins over the secret's; slow enough that the copy is in its middle when the first part is told.
    let proxy = FaultProxy::start(&format!("127.0.0.1:{}", stack.cluster.port())).unwrap();
    proxy.slow(400_000);
    let url = format!("postgresql://{}", proxy.addr());
    let program = stack.program().await.set("VECFERRY_SOURCE", &url);
    let mut run = Migrating::start(&program, &["--jobs", "2"]);
    run.until(|event| is(event, "part_finished", ""));
    stack.source.batch(sql).await.unwrap();
    stack.source.query_one(CUT).await.unwrap();
    // The service shows the new login a moment after the servers have it.
    stack.rotate(user, password).await;
    proxy.release();
    let (code, events, stderr) = run.finish();
    assert_eq!(code, Some(0), "{stderr}\n{:#?}", events.last());
    let retried = events.iter().position(|event| is(event, "retrying", "")).unwrap();
    let copied = |events: &[Value]| events.iter().any(|event| is(event, "part_finished", ""));
    assert!(copied(&events[..retried]) && copied(&events[retried..]), "not in its middle");
    let shown = format!("{events:?}{stderr}");
    assert!(!shown.contains("hunter"), "a password is shown");
    let verified = program.run(&["verify", "--json", "--recall-bots", "0"]).expect(0).json();
    assert_eq!(verified["matches"], true);
}

#[tokio::test]
async fn a_password_that_is_rotated_during_the_copy_is_read_again() {
    rotated_by("ALTER ROLE mover PASSWORD 'hunter2'", "mover", "hunter2").await;
}

#[tokio::test]
async fn a_rotation_that_alternates_users_is_followed() {
    let sql =
        "CREATE ROLE mover_clone SUPERUSER LOGIN PASSWORD 'hunter2'; ALTER ROLE mover NOLOGIN";
    rotated_by(sql, "mover_clone", "hunter2").await;
}

#[tokio::test]
async fn a_wrong_login_says_which_secret_holds_it_and_not_what() {
    let stack = Stack::start().await;
    stack.rotate("mover", "hunter3").await;
    let ran = stack.program().await.run(&["status"]).expect(4);
    assert!(ran.stderr.contains(&stack.secrets[1]), "{}", ran.stderr);
    assert!(ran.stderr.contains("28P01") && !ran.stderr.contains("hunter"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_secret_that_rds_manages_needs_a_url_beside_it() {
    let stack = Stack::start().await;
    let login = r#"{"username":"mover","password":"hunter1"}"#;
    change_secret(moto().await, &stack.secrets[1], login).await.unwrap();
    let program = stack.program().await;
    let alone = program.run(&["status"]).expect(2).stderr;
    assert!(alone.contains("names no host") && alone.contains("hint:"), "{alone}");
    let url = format!(
        "postgresql://ignored:wrong@127.0.0.1:{}/{}",
        stack.cluster.port(),
        stack.target.name()
    );
    program.run(&["status", "--target", &url]).expect(0);
}

#[tokio::test]
async fn a_follow_goes_on_when_the_password_is_rotated() {
    let stack = Stack::start().await;
    let program = stack.program().await;
    let follow = ["--method", "follow", "--set-replica-identity"];
    let mut run = Migrating::start(&program, &follow);
    run.until(|event| is(event, "following", "") && event["caught_up"] == true);
    stack.source.batch("ALTER ROLE mover PASSWORD 'hunter2'").await.unwrap();
    stack.rotate("mover", "hunter2").await;
    // Sender and apply have to log in anew, and apply knows the old password only.
    stack.source.query_one(CUT).await.unwrap();
    let new = "INSERT INTO items (id, botid) VALUES ('new', 'bot1')";
    stack.source.batch(new).await.unwrap();
    wait_until(&stack.target, "SELECT EXISTS (SELECT FROM items WHERE id = 'new')").await;
    drop(run);
    program.run(&["cutover", "--yes"]).expect(0);
    // The way back has the new login.
    let back = program.run(&["rollback", "--yes", "--json"]).expect(0).json();
    assert_eq!(back["end"], "done");
}

#[tokio::test]
async fn a_copy_is_cut_over_by_the_applications_secret_and_back() {
    let stack = Stack::start().await;
    let program = stack.program().await;
    program.run(&["migrate", "--yes", "--no-estimate"]).expect(0);
    // What the application reads: the source, with a key of its own.
    let before = stack.text(0, "mover", "hunter1").replace('{', r#"{ "more": [1, "x"], "#);
    let application = put_secret(moto().await, &before).await.unwrap();
    let current = async || -> String {
        secret_text(moto().await, &application, "AWSCURRENT").await.unwrap().unwrap()
    };
    program.write("vecferry.toml", &format!("switch_secret = '{application}'"));

    let asked = program.run(&["cutover", "--dry-run"]).expect(0).stdout;
    assert!(asked.contains("goes on taking writes") && asked.contains("can be done"), "{asked}");
    let unasked = program.run(&["cutover"]).expect(2).stderr;
    assert!(unasked.contains("move the application to database"), "{unasked}");
    let wrong = program.run(&["cutover", "--yes", "--switch-secret", "no-such"]).expect(1).stdout;
    assert!(wrong.contains("ResourceNotFound") && wrong.contains("nothing was changed"), "{wrong}");
    assert_eq!(current().await, before);

    let crossed = program.run(&["cutover", "--yes"]).expect(0);
    for words in ["the application is on the target", "vecferry rollback points"] {
        assert!(crossed.stdout.contains(words), "{words} is not in\n{}", crossed.stdout);
    }
    assert!(crossed.stderr.contains("AWSCURRENT is version"), "{}", crossed.stderr);
    let after: Value = serde_json::from_str(&current().await).unwrap();
    assert_eq!((&after["dbname"], &after["more"]), (&stack.target.name().into(), &json!([1, "x"])));
    let status = program.run(&["status", "--json"]).expect(0).json();
    let id = status["migration"].as_str().unwrap();
    let kept = secret_text(moto().await, &application, &format!("vecferry-{id}")).await.unwrap();
    assert_eq!(kept.as_deref(), Some(before.as_str()));

    let back = program.run(&["rollback", "--yes"]).expect(0).stdout;
    assert!(back.contains("no row goes back") && back.contains("on the source"), "{back}");
    assert_eq!(current().await, before);
}
