//! What goes wrong in the middle of a run: connections, disks, locks, servers, schema changes. A rerun, or the run
//! itself where it may try again, ends with the source's content.

use serde_json::Value;
use vecferry_testkit::{Cluster, Database, FaultProxy, Options, Session, Stop, Version, pair};

use crate::bad_input::refused;
use crate::content::{assert_same, content, count};
use crate::migrating::{Migrating, is, program, wait_until};
use crate::program::Ran;

/// More chunks than `knowledge.sql` has, so that a run has a middle.
const MORE: &str = "INSERT INTO items SELECT lpad(g::text, 26, '0'), 'bot' || g % 7, \
    repeat('Planted secret of chunk ' || g || ' ', 5), NULL, ARRAY[g, 1, sin(g), 1, 2, 3, 4, 5]::real[]::vector \
    FROM generate_series(2001, 9000) g; REFRESH MATERIALIZED VIEW counts";

/// Bytes a second at which the rows of [`knowledge`] take two seconds or more.
const SLOW: u64 = 600_000;

async fn knowledge(cluster: &Cluster, name: &str) -> Database {
    let database = Database::with_vector(cluster, name).await.unwrap();
    database.psql(include_str!("knowledge.sql")).unwrap();
    database.batch(MORE).await.unwrap();
    database
}

fn proxy(cluster: &Cluster) -> FaultProxy {
    FaultProxy::start(&format!("127.0.0.1:{}", cluster.port())).unwrap()
}

fn part(event: &Value) -> bool {
    is(event, "part_finished", "")
}

fn ran((code, events, stderr): (Option<i32>, Vec<Value>, String)) -> Ran {
    let stdout = events.iter().map(|event| format!("{event}\n")).collect();
    Ran { code, stdout, stderr }
}

#[tokio::test]
async fn a_connection_cut_in_mid_copy_is_survived_by_retries_and_mended_by_a_rerun() {
    let pair = pair().await;
    let source = knowledge(&pair.source, "cut").await;
    for (through_source, code) in [(true, 3), (false, 4)] {
        let target = Database::create(&pair.target, "cut").await.unwrap();
        let proxy = proxy(if through_source { &pair.source } else { &pair.target });
        let program = match through_source {
            true => program(&proxy.url(source.url()), target.url()),
            false => program(source.url(), &proxy.url(target.url())),
        };
        let cut = |more: &[&str]| {
            proxy.slow(SLOW);
            let mut run = Migrating::start(&program, more);
            run.until(part);
            proxy.cut_now();
            proxy.release();
            ran(run.finish())
        };
        refused(cut(&["--retries", "0"]), code, &["run the same command again"]);
        let survived = cut(&["--retries", "3"]).expect(0);
        assert!(survived.stdout.contains(r#""event":"retrying""#), "{}", survived.stdout);
        assert_same(&content(&source).await, &content(&target).await, "cut");
    }
}

#[tokio::test]
async fn a_full_disk_on_the_target_stops_the_run_and_a_rerun_goes_on_when_there_is_room() {
    let source = Database::with_vector(&pair().await.source, "full").await.unwrap();
    let rows = "CREATE TABLE big (id int PRIMARY KEY, body text); ALTER TABLE big ALTER body SET STORAGE EXTERNAL; \
                INSERT INTO big SELECT g, repeat('Planted secret', 80000) FROM generate_series(1, 24) g";
    source.batch(rows).await.unwrap();
    let cluster = Cluster::start(Version::Pg18, Options::new()).unwrap();
    let target = Database::create(&cluster, "full").await.unwrap();
    let program = program(source.url(), target.url());
    // No file may grow beyond the size of a WAL segment: the server meets the limit as it meets a full disk.
    cluster.limit_files(Some(16 << 20)).unwrap();
    let ran = program.run(&["migrate", "--yes", "--no-check", "--no-estimate"]);
    refused(ran, 4, &["cannot write public.big", "could not extend file", "disk space"]);
    cluster.limit_files(None).unwrap();
    program.run(&["migrate", "--yes", "--no-check", "--no-estimate"]).expect(0);
    assert_same(&content(&source).await, &content(&target).await, "full disk");
}

#[tokio::test]
async fn a_locked_table_on_the_target_is_waited_for_and_its_holder_named() {
    let source = knowledge(&pair().await.source, "locked").await;
    let target = Database::with_vector(&pair().await.target, "locked").await.unwrap();
    target.batch("CREATE TABLE no_key (a int, b text)").await.unwrap();
    let holder = target.connect().await.unwrap();
    let lock =
        "SET application_name = 'nightly job'; BEGIN; LOCK TABLE no_key IN ACCESS EXCLUSIVE MODE";
    holder.batch_execute(lock).await.unwrap();
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let process = format!(
        "process {pid} (nightly job, role postgres) holds AccessExclusiveLock on public.no_key"
    );
    let program = program(source.url(), target.url());
    let impatient = ["migrate", "--yes", "--no-check", "--no-estimate", "--lock-timeout", "1s"];
    let words = ["55P03", &process, "--lock-timeout", "pg_terminate_backend"];
    refused(program.run(&impatient), 4, &words);
    // Readers are welcome; a COPY into the table is not.
    holder.batch_execute("COMMIT; BEGIN; LOCK TABLE no_key IN SHARE MODE").await.unwrap();
    let shared = process.replace("AccessExclusiveLock", "ShareLock");
    refused(program.run(&impatient), 4, &["public.no_key", &shared]);
    holder.batch_execute("COMMIT").await.unwrap();
    program.run(&impatient).expect(0);
    assert_same(&content(&source).await, &content(&target).await, "locked");
}

#[tokio::test]
async fn a_source_that_goes_down_and_comes_back_is_finished_by_a_rerun() {
    let cluster = Cluster::start(Version::Pg16, Options::new()).unwrap();
    let source = knowledge(&cluster, "down").await;
    let target = Database::create(&pair().await.target, "down").await.unwrap();
    let proxy = proxy(&cluster);
    proxy.slow(SLOW);
    let program = program(&proxy.url(source.url()), target.url());
    let mut run = Migrating::start(&program, &["--retries", "0"]);
    run.until(part);
    cluster.stop(Stop::Immediate).unwrap();
    refused(ran(run.finish()), 3, &["source: cannot ", "again"]);
    refused(
        program.run(&["migrate", "--yes", "--no-check", "--no-estimate"]),
        3,
        &["source: cannot "],
    );
    let before =
        count(&target, "SELECT count(*) FROM vecferry.part WHERE finished_at IS NOT NULL").await;
    assert!(before > 0);
    cluster.start_again().unwrap();
    proxy.release();
    let rest = ran(Migrating::start(&program, &[]).finish()).expect(0).stdout;
    let all = count(&target, "SELECT count(*) FROM vecferry.part").await;
    assert_eq!(rest.matches(r#""event":"part_finished""#).count() as i64, all - before, "{rest}");
    assert_same(&content(&source).await, &content(&target).await, "source down");
}

/// Copied first, as its single part is the largest.
const UNLOGGED: &str = "CREATE UNLOGGED TABLE scratch (t text); ALTER TABLE scratch ALTER t SET STORAGE EXTERNAL; \
    INSERT INTO scratch SELECT repeat('x', 100000) FROM generate_series(1, 3)";

#[tokio::test]
async fn a_target_that_crashes_loses_nothing_that_a_rerun_does_not_copy_again() {
    let source_cluster = Cluster::start(Version::Pg16, Options::new()).unwrap();
    let source = knowledge(&source_cluster, "crash").await;
    source.batch(UNLOGGED).await.unwrap();
    let expected = content(&source).await;
    let cluster = Cluster::start(Version::Pg18, Options::new()).unwrap();
    let proxy = proxy(&source_cluster);
    for killed in [false, true] {
        let target = Database::create(&cluster, "crash").await.unwrap();
        let program = program(&proxy.url(source.url()), target.url());
        proxy.slow(SLOW);
        let mut run = Migrating::start(&program, &["--jobs", "2"]);
        run.until(|event| part(event) && event["table"] == "public.scratch");
        run.until(part);
        let run = if killed {
            run.kill().clear();
            None
        } else {
            Some(run)
        };
        if killed {
            // What was committed without waiting for the disk is on it now; the crash takes the unlogged rows only.
            target.batch("CHECKPOINT").await.unwrap();
        }
        cluster.stop(Stop::Immediate).unwrap();
        cluster.start_again().unwrap();
        proxy.release();
        let run = run.unwrap_or_else(|| Migrating::start(&program, &[]));
        let ran = ran(run.finish()).expect(0);
        assert_eq!(killed, ran.stdout.contains("emptied by a crash"), "{}", ran.stdout);
        assert_same(&expected, &content(&target).await, "target crash");
    }
}

#[tokio::test]
async fn timeouts_set_on_a_database_do_not_end_a_run() {
    let source = knowledge(&pair().await.source, "timeouts").await;
    let target = Database::create(&pair().await.target, "timeouts").await.unwrap();
    for database in [&source, &target] {
        for name in ["statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"] {
            let set = format!("ALTER DATABASE {} SET {name} = '400ms'", database.name());
            database.batch(&set).await.unwrap();
        }
    }
    let proxy = proxy(&pair().await.source);
    proxy.slow(SLOW);
    let program = program(&proxy.url(source.url()), target.url());
    let one = ["--jobs", "1", "--part-size", "64MiB", "--retries", "0"];
    let arguments = [&["migrate", "--yes", "--no-check", "--no-estimate"][..], &one].concat();
    program.run(&arguments).expect(0);
    let waits = "SET statement_timeout = 0";
    source.batch(waits).await.unwrap();
    assert_same(&content(&source).await, &content(&target).await, "timeouts");
}

/// Schema changes of the source that wait for the run to let go of the rows.
const CHANGES: [&str; 3] =
    ["ALTER TABLE items ADD added int", "TRUNCATE no_key", "DROP TABLE documents CASCADE"];

#[tokio::test]
async fn a_source_altered_during_the_run_waits_and_the_copy_holds_what_was_there_before() {
    let source = knowledge(&pair().await.source, "altered").await;
    let expected = content(&source).await;
    let target = Database::create(&pair().await.target, "altered").await.unwrap();
    let proxy = proxy(&pair().await.source);
    proxy.slow(SLOW);
    let mut run =
        Migrating::start(&program(&proxy.url(source.url()), target.url()), &["--jobs", "2"]);
    run.until(part);
    proxy.hold();
    let mut changes = tokio::task::JoinSet::new();
    for change in CHANGES {
        let session: Session = source.connect().await.unwrap();
        changes.spawn(async move { session.batch_execute(change).await });
    }
    let waiting = "SELECT count(*) = 3 FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND datname = current_database()";
    wait_until(&source, waiting).await;
    proxy.release();
    ran(run.finish()).expect(0);
    while let Some(changed) = changes.join_next().await {
        changed.unwrap().unwrap();
    }
    assert_same(&expected, &content(&target).await, "altered");
    let gone = "SELECT to_regclass('documents') IS NULL";
    assert!(source.query_one(gone).await.unwrap().get::<_, bool>(0));
}
