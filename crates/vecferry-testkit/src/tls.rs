//! TLS in front of a PostgreSQL that has none (the wheels' servers are built without OpenSSL):
//! answers the client's SSLRequest, does the handshake with a certificate of its own authority,
//! and passes the plain bytes on.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, Result, file};

/// Length 8, then the code 1234.5679: PostgreSQL's SSLRequest.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A TLS terminator; dropping it closes its connections and frees the port.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    folder: TempDir,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TlsFront {
    /// Starts a terminator in front of `upstream` whose certificate is made out to `names`
    /// (host names or addresses), so that a wrong name can be tested too.
    pub fn start(upstream: SocketAddr, names: &[&str]) -> Result<TlsFront> {
        let folder = tempfile::tempdir().map_err(file("create", &std::env::temp_dir()))?;
        let ca_file = folder.path().join("ca.pem");
        let (ca_pem, config) = certify(names).map_err(|source| Error::Tls { source })?;
        std::fs::write(&ca_file, ca_pem).map_err(file("write", &ca_file))?;
        let any = Path::new("127.0.0.1:0");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(file("bind", any))?;
        let address = listener.local_addr().map_err(file("bind", any))?;
        listener.set_nonblocking(true).map_err(file("bind", any))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(file("start a runtime for", any))?;
        let (stop, stopped) = oneshot::channel();
        // A thread of its own, so that a test may block its runtime without blocking the server.
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, TlsAcceptor::from(Arc::new(config)), upstream) => {}
                }
            });
        });
        Ok(TlsFront { address, folder, stop: Some(stop), thread: Some(thread) })
    }

    /// Where to connect to.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The authority's certificate in PEM, as `sslrootcert` wants it.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The authority's PEM and the configuration of a server certified by it.
fn certify(names: &[&str]) -> std::result::Result<(String, ServerConfig), TlsError> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )?;
    // What a client that negotiates directly (PostgreSQL 17 and later) asks for.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok((ca_pem, config))
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate itself.
    #[error("make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The server's configuration.
    #[error("configure TLS")]
    Config(#[from] rustls::Error),
}

async fn serve(listener: std::net::TcpListener, acceptor: TlsAcceptor, upstream: SocketAddr) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        // An error ends this connection only; the client under test sees its end of it.
        connections.spawn(async move { pass(client, &acceptor, upstream).await.ok() });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(mut client: TcpStream, tls: &TlsAcceptor, upstream: SocketAddr) -> io::Result<()> {
    let mut first = [0];
    client.peek(&mut first).await?;
    // A TLS handshake record begins with 22; anything else is PostgreSQL's own first message.
    if first != [22] {
        let mut request = [0; 8];
        client.read_exact(&mut request).await?;
        if request != SSL_REQUEST {
            // A client that does not ask for TLS is turned away, like `hostssl` alone would.
            return Ok(());
        }
        client.write_all(b"S").await?;
    }
    let mut client = tls.accept(client).await?;
    let mut server = TcpStream::connect(upstream).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
