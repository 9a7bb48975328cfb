//! The terminator speaks TLS as PostgreSQL does, and its certificate means what it says.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinSet;
use tokio_postgres_rustls::MakeRustlsConnect;
use vecferry_testkit::{TlsFront, pair};

fn trusting(front: &TlsFront) -> MakeRustlsConnect {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(front.ca_file()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_gets_through_and_others_do_not() {
    let upstream = format!("127.0.0.1:{}", pair().await.source.port()).parse().unwrap();
    let front = TlsFront::start(upstream, &["localhost"]).unwrap();
    let other = TlsFront::start(upstream, &["elsewhere.example"]).unwrap();
    let url = |front: &TlsFront, mode: &str| {
        format!("postgresql://postgres@localhost:{}/postgres?sslmode={mode}", front.addr().port())
    };
    let (client, connection) =
        tokio_postgres::connect(&url(&front, "require"), trusting(&front)).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let row = client.query_one("SELECT 'through'", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "through");

    let wrong_authority = tokio_postgres::connect(&url(&front, "require"), trusting(&other)).await;
    assert!(wrong_authority.is_err());
    let wrong_name = tokio_postgres::connect(&url(&other, "require"), trusting(&other)).await;
    assert!(wrong_name.is_err());
    let plain = tokio_postgres::connect(&url(&front, "disable"), trusting(&front)).await;
    assert!(plain.is_err());
}
