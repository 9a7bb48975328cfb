//! The proxy is faithful until told otherwise, and each fault is the one its name says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use vecferry_testkit::{Database, FaultProxy, Session, pair};

/// A server that sends back what it gets, until the process ends.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

fn connect(proxy: &FaultProxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn ends(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 100]), Ok(1..))
}

fn echoes(stream: &mut TcpStream, bytes: usize) {
    let sent = vec![7; bytes];
    stream.write_all(&sent).unwrap();
    let mut back = vec![0; bytes];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(sent, back);
}

#[test]
fn refusing_spares_open_connections_and_ends_with_release() {
    let proxy = FaultProxy::start(&echo().to_string()).unwrap();
    let mut open = connect(&proxy);
    echoes(&mut open, 10);
    proxy.refuse();
    assert!(ends(&mut connect(&proxy)));
    echoes(&mut open, 10);
    proxy.release();
    echoes(&mut connect(&proxy), 10);
    assert_eq!(proxy.accepted(), 2);
}

#[test]
fn a_cut_after_so_many_bytes_passes_exactly_so_many() {
    let proxy = FaultProxy::start(&echo().to_string()).unwrap();
    proxy.cut_after(50_000);
    let mut stream = connect(&proxy);
    let mut writer = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || while writer.write_all(&[1; 1000]).is_ok() {});
    while !ends(&mut stream) {}
    writer.join().unwrap();
    assert!(proxy.passed() >= 50_000);
    echoes(&mut connect(&proxy), 100_000);
}

#[test]
fn a_held_connection_is_silent_not_closed() {
    let proxy = FaultProxy::start(&echo().to_string()).unwrap();
    let mut stream = connect(&proxy);
    echoes(&mut stream, 10);
    proxy.hold();
    stream.write_all(b"x").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    proxy.release();
    stream.set_read_timeout(None).unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn a_slow_connection_takes_its_time_until_released() {
    let proxy = FaultProxy::start(&echo().to_string()).unwrap();
    let mut stream = connect(&proxy);
    proxy.slow(100_000);
    let started = Instant::now();
    echoes(&mut stream, 20_000);
    assert!(started.elapsed() >= Duration::from_millis(190), "{:?}", started.elapsed());
    proxy.slow(1);
    stream.write_all(&[1; 1000]).unwrap();
    proxy.release();
    stream.read_exact(&mut [0; 1000]).unwrap();
}

#[tokio::test]
async fn postgres_notices_a_cut_and_is_reached_again_through_the_same_proxy() {
    let source = Database::create(&pair().await.source, "cut").await.unwrap();
    let proxy = FaultProxy::start(&format!("127.0.0.1:{}", pair().await.source.port())).unwrap();
    let url = proxy.url(source.url());
    let session = Session::open(&url).await.unwrap();
    session.batch_execute("SELECT 1").await.unwrap();
    assert!(proxy.wait_until_passed(100, Duration::from_secs(5)));
    proxy.cut_now();
    assert!(session.batch_execute("SELECT 1").await.is_err());
    Session::open(&url).await.unwrap().batch_execute("SELECT 1").await.unwrap();
}
