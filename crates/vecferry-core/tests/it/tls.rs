//! Hosts of RDS are verified without being asked for: against Amazon's authorities, or those that the string names.

use std::net::SocketAddr;

use vecferry_core::Side;
use vecferry_core::pg::{Dsn, Session, WireConnection};
use vecferry_testkit::{TlsFront, pair};

const HOST: &str = "chat.cluster-abc.us-east-1.rds.amazonaws.com";

async fn front(names: &[&str]) -> TlsFront {
    let upstream: SocketAddr = format!("127.0.0.1:{}", pair().await.source.port()).parse().unwrap();
    TlsFront::start(upstream, names).unwrap()
}

/// The way to a front by the name of an Aurora cluster.
fn dsn(front: &TlsFront, more: &str) -> Dsn {
    let port = front.addr().port();
    let text =
        format!("host={HOST} hostaddr=127.0.0.1 port={port} user=postgres dbname=postgres {more}");
    text.parse().unwrap()
}

async fn refused(dsn: &Dsn) -> String {
    let one = Session::open(dsn, Side::Source, "test").await.err().unwrap();
    let other = WireConnection::open(dsn, Side::Source, "test").await.err().unwrap();
    let cause = |error: &dyn std::error::Error| error.source().unwrap().to_string();
    assert_eq!(cause(&one), cause(&other));
    assert!(one.hint().unwrap().contains("sslrootcert"), "{:?}", one.hint());
    cause(&one)
}

#[tokio::test]
async fn a_host_of_rds_with_anybodys_certificate_is_refused() {
    let front = front(&[HOST]).await;
    let said = refused(&dsn(&front, "")).await;
    assert!(said.contains("UnknownIssuer"), "{said}");
    // Whoever asks for less gets less.
    Session::open(&dsn(&front, "sslmode=require"), Side::Source, "test").await.unwrap();
}

#[tokio::test]
async fn the_authority_that_the_string_names_takes_amazons_place() {
    let front = front(&[HOST]).await;
    let named = format!("sslrootcert={}", front.ca_file().display());
    let session = Session::open(&dsn(&front, &named), Side::Source, "test").await.unwrap();
    session.query_one("ask", "SELECT 1", &[]).await.unwrap();
    WireConnection::open(&dsn(&front, &named), Side::Source, "test").await.unwrap();
    // A device without an end is not read.
    let said = refused(&dsn(&front, "sslrootcert=/dev/zero")).await;
    assert!(said.contains("/dev/zero is not a regular file"), "{said}");
}

#[tokio::test]
async fn the_name_is_verified_and_not_the_address() {
    let front = front(&["127.0.0.1", "other.rds.amazonaws.com"]).await;
    let named = format!("sslrootcert={}", front.ca_file().display());
    let said = refused(&dsn(&front, &named)).await;
    assert!(said.contains("not valid for name"), "{said}");
}
