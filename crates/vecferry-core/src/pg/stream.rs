//! A connected socket: TCP, Unix or TLS, negotiated as libpq does. Both the SQL sessions and the COPY connections
//! start from here, so that addresses, timeouts and certificates are dealt with once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Dsn, Failure, SslMode};
use crate::error::on_one_line;
use crate::operator_file::{self, Kind};

/// The protocol's SSLRequest: length 8, code 80877103
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A socket to a server, before login.
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP; boxed because the session's buffers make it large.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A network that goes silent is an error after about this long, be it in the middle of a statement or of sending.
const SILENCE: Duration = Duration::from_secs(35);

/// How long a connection may be quiet before it is probed; then four probes fill [`SILENCE`].
const PROBE_AFTER: Duration = Duration::from_secs(15);

/// Has the kernel find out that the other end is gone. Servers look after their side by settings of the session.
fn notice_silence(tcp: &TcpStream) -> io::Result<()> {
    let probes = 4;
    let every = (SILENCE - PROBE_AFTER) / probes;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepintvl(tcp, every)?;
    sockopt::set_tcp_keepcnt(tcp, probes)?;
    #[cfg(target_os = "linux")]
    {
        sockopt::set_tcp_keepidle(tcp, PROBE_AFTER)?;
        let millis = u32::try_from(SILENCE.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(tcp, millis)?;
    }
    Ok(())
}

impl Stream {
    /// Connects and, as `sslmode` asks, encrypts.
    ///
    /// # Errors
    /// [`Failure::Timeout`] after `connect_timeout` seconds, [`Failure::Tls`] when the mode cannot be satisfied.
    pub async fn connect(dsn: &Dsn) -> Result<Stream, Failure> {
        let limit = dsn.patience();
        tokio::time::timeout(limit, Self::connect_unbounded(dsn))
            .await
            .unwrap_or(Err(Failure::Timeout { seconds: limit.as_secs() }))
    }

    /// Whether what passes is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    async fn connect_unbounded(dsn: &Dsn) -> Result<Stream, Failure> {
        if dsn.host.starts_with('/') {
            let path = format!("{}/.s.PGSQL.{}", dsn.host, dsn.port);
            return Ok(Stream::Unix(UnixStream::connect(path).await?));
        }
        let address = dsn.hostaddr.as_deref().unwrap_or(&dsn.host);
        let mut tcp = TcpStream::connect((address, dsn.port)).await?;
        tcp.set_nodelay(true)?;
        notice_silence(&tcp)?;
        if dsn.sslmode == SslMode::Disable {
            return Ok(Stream::Tcp(tcp));
        }
        tcp.write_all(&SSL_REQUEST).await?;
        match tcp.read_u8().await? {
            b'S' => {
                let connector = TlsConnector::from(Arc::new(client_config(dsn)?));
                let name = ServerName::try_from(dsn.host.clone()).map_err(|_| {
                    Failure::Tls(format!("{:?} is not a valid server name", dsn.host))
                })?;
                let tls = connector
                    .connect(name, tcp)
                    .await
                    .map_err(|error| Failure::Tls(error.to_string()))?;
                Ok(Stream::Tls(Box::new(tls)))
            }
            b'N' if dsn.sslmode == SslMode::Prefer => Ok(Stream::Tcp(tcp)),
            b'N' => Err(Failure::Tls(format!(
                "the server offers none, and sslmode is {}",
                dsn.sslmode.as_str()
            ))),
            other => Err(Failure::Protocol(format!(
                "the server answered the TLS request with byte {other}"
            ))),
        }
    }
}

fn client_config(dsn: &Dsn) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Tls(error.to_string()))?;
    if matches!(dsn.sslmode, SslMode::Prefer | SslMode::Require) && dsn.sslrootcert.is_none() {
        let verifier = Arc::new(Unverified { provider });
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth());
    }
    let roots = Arc::new(trusted_roots(dsn)?);
    if dsn.sslmode == SslMode::VerifyFull {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    // As in libpq, a root certificate turns `require` into `verify-ca`.
    let webpki = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| Failure::Tls(error.to_string()))?;
    let verifier = Arc::new(AnyName { webpki });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// What a file of certificates may be: the largest bundles of systems have less than one MiB.
const CERTIFICATES: Kind = Kind {
    most_bytes: 16 << 20,
    format: "PEM",
    too_large: "is it the right file? Certificates are expected",
    // Every connection reads it.
    may_be_pipe: false,
};

fn trusted_roots(dsn: &Dsn) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let Some(file) = &dsn.sslrootcert else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(pem) = dsn.authorities() {
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let certificates = certificates.map_err(|error| Failure::Tls(error.to_string()))?;
            roots.add_parsable_certificates(certificates);
        }
        return Ok(roots);
    };
    let unreadable =
        |error: &dyn std::fmt::Display| Failure::Tls(format!("{}: {error}", file.display()));
    let pem = operator_file::bytes(file, &CERTIFICATES)
        .map_err(|error| Failure::Tls(on_one_line(&error)))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() {
        return Err(unreadable(&"holds no certificate"));
    }
    Ok(roots)
}

/// `prefer` and `require`: encrypted, against nobody in particular, as libpq does.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify-ca`: the chain must be good, the name may be another.
#[derive(Debug)]
struct AnyName {
    webpki: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.webpki.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        ) {
            // The name is checked last, so a certificate refused for its name alone has a good chain.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Delegates to whichever socket it is; `Pin` is free because every variant is `Unpin`.
macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
