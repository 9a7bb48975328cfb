//! moto's server listens when it is said to, and ends in every way its owner can end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vecferry_testkit::{Moto, moto};

/// Set for the copy of this test binary that a test starts in order to kill it.
const VICTIM: &str = "VECFERRY_TESTKIT_MOTO_VICTIM";

/// The status line of an answer to `GET /moto-api/`.
fn status(moto: &Moto) -> String {
    let address = moto.endpoint().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /moto-api/ HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_started_server_answers_at_once_and_ends_when_it_is_dropped() {
    let moto = Moto::start().unwrap();
    assert!(status(&moto).ends_with("200 OK"), "{}", status(&moto));
    let lent = Moto::lent(moto.lend());
    assert_eq!(lent.pid(), None);
    drop(lent);
    assert!(status(&moto).ends_with("200 OK"), "a borrower must not end it");

    let pid = moto.pid().unwrap();
    drop(moto);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn all_tests_share_one_server_and_no_name() {
    assert_eq!(moto().await.endpoint(), moto().await.endpoint());
    assert_ne!(Moto::unique("a"), Moto::unique("a"));
    let names: Vec<&str> = moto().await.environment().iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    );
}

#[test]
fn a_server_dies_when_its_process_is_killed() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "moto_server::victim_of_the_kill_test"])
        .env(VICTIM, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let pid = output.lines().find_map(|line| Some(line.unwrap().split_once("moto=")?.1.to_owned()));
    let server = format!("/proc/{}", pid.unwrap());
    assert!(Path::new(&server).exists());
    victim.kill().unwrap(); // SIGKILL: nothing in the victim runs any more
    victim.wait().unwrap();
    let killed = Instant::now();
    while Path::new(&server).exists() && !is_zombie(&server) {
        assert!(killed.elapsed() < Duration::from_secs(20), "the server lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An orphan that ended stays visible where nobody collects orphans, as in a container.
fn is_zombie(server: &str) -> bool {
    let stat = std::fs::read_to_string(format!("{server}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// Not a test by itself: the process that `a_server_dies_when_its_process_is_killed` kills.
#[test]
fn victim_of_the_kill_test() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let moto = Moto::start().unwrap();
    println!("moto={}", moto.pid().unwrap());
    std::thread::park();
}
