//! Clusters start, stop, come back and never outlive their process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vecferry_testkit::{Cluster, Error, Options, Pair, Session, Stop, Version, pair};

/// Set for the copy of this test binary that a test starts in order to kill it.
const VICTIM: &str = "VECFERRY_TESTKIT_VICTIM";

async fn text(cluster: &Cluster, sql: &str) -> String {
    let session = Session::open(&cluster.url("postgres")).await.unwrap();
    session.query_one(sql, &[]).await.unwrap().get(0)
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what} did not happen in 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn every_version_runs_with_its_pgvector() {
    for version in Version::ALL {
        let cluster = Cluster::start(version, Options::new()).unwrap();
        assert_eq!(text(&cluster, "SHOW server_version").await, version.postgres());
        let available = "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'";
        assert_eq!(text(&cluster, available).await, version.pgvector());
        assert_eq!(text(&cluster, "SHOW wal_level").await, "logical");
    }
}

#[tokio::test]
async fn a_stopped_cluster_comes_back_with_its_data_on_the_same_port() {
    let cluster = Cluster::start(Version::Pg18, Options::new().set("work_mem", "5MB")).unwrap();
    let url = cluster.url("postgres");
    let session = Session::open(&url).await.unwrap();
    session.batch_execute("CREATE TABLE t AS SELECT 'kept' AS word; CHECKPOINT").await.unwrap();
    for how in [Stop::Fast, Stop::Immediate] {
        cluster.stop(how).unwrap();
        assert_eq!(cluster.pid(), None);
        assert!(Session::open(&url).await.is_err());
        cluster.start_again().unwrap();
        assert_eq!(text(&cluster, "SELECT word FROM t").await, "kept");
    }
    assert_eq!(text(&cluster, "SHOW work_mem").await, "5MB");
    cluster.restart(Stop::Fast, &[("work_mem", "6MB"), ("max_connections", "30")]).unwrap();
    assert_eq!(text(&cluster, "SHOW work_mem").await, "6MB");
}

#[tokio::test]
async fn a_password_is_asked_for_even_when_it_needs_escaping() {
    let password = "p@ss/w:rd %#ü";
    let cluster = Cluster::start(Version::Pg16, Options::new().password(password)).unwrap();
    assert_eq!(text(&cluster, "SELECT 'in'").await, "in");
    let without = format!("postgresql://postgres@127.0.0.1:{}/postgres", cluster.port());
    assert!(Session::open(&without).await.is_err());
}

#[test]
fn a_server_that_cannot_start_shows_its_log_and_leaves_nothing() {
    let refused = Cluster::start(Version::Pg18, Options::new().set("shared_buffers", "nonsense"));
    let Err(Error::DidNotStart { log, .. }) = refused else { panic!("got {refused:?}") };
    assert!(log.contains("shared_buffers"), "{log}");
}

#[test]
fn a_dropped_cluster_leaves_neither_process_nor_files() {
    let cluster = Cluster::start(Version::Pg16Latest, Options::new()).unwrap();
    let (pid, folder) = (cluster.pid().unwrap(), cluster.folder().to_owned());
    assert!(folder.join("data/PG_VERSION").exists());
    drop(cluster);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!folder.exists());
}

#[test]
fn a_cluster_dies_when_its_process_is_killed() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "clusters::victim_of_the_kill_test"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let line = output.lines().map(Result::unwrap).find(|line| line.contains("victim ")).unwrap();
    let words: Vec<&str> = line.split("victim ").nth(1).unwrap().split(' ').collect();
    let (process, folder) = (format!("/proc/{}", words[0]), words[1].to_owned());
    assert!(Path::new(&process).exists() && Path::new(&folder).exists());
    victim.kill().unwrap(); // SIGKILL: nothing in the victim runs any more
    victim.wait().unwrap();
    wait_until("the server's end", || !Path::new(&process).exists());
    wait_until("the folder's removal", || !Path::new(&folder).exists());
}

/// Not a test by itself: the process that `a_cluster_dies_when_its_process_is_killed` kills.
#[test]
fn victim_of_the_kill_test() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let cluster = Cluster::start(Version::Pg18, Options::new()).unwrap();
    println!("victim {} {}", cluster.pid().unwrap(), cluster.folder().display());
    std::thread::park();
}

#[tokio::test]
async fn a_pair_can_be_lent_but_not_stopped_by_the_borrower() {
    let own = pair().await;
    let lent = Pair::lent(&own.lend()).unwrap();
    assert_eq!(text(&lent.source, "SHOW server_version").await, "16.2");
    assert_eq!(text(&lent.target, "SHOW server_version").await, "18.4");
    assert!(matches!(lent.source.stop(Stop::Fast), Err(Error::Shared { .. })));
    drop(lent);
    assert_eq!(text(&own.source, "SELECT 'still there'").await, "still there");
    assert!(matches!(Pair::lent("1:/nowhere,2:/nowhere"), Err(Error::BadPair { .. })));
}
