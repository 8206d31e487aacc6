//! TLS towards clients: shakes hands with whatever certificate the configuration in force has, so that a
//! new one needs no restart and no connection notices.

use std::io;
use std::sync::Arc;

use actix_web::rt::net::TcpStream;
use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::acme::Shelf;
use crate::config::{Certificate, Config, Live, Tls};

/// What protocol a client chose; without a choice it is HTTP/1.1.
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";
/// What an authority speaks that looks at a name before it gives a certificate (RFC 8737).
const ACME: &[u8] = b"acme-tls/1";
/// The first byte of a handshake (RFC 8446, section 5.1: the type of its record).
const HANDSHAKE: u8 = 22;
/// What somebody hears who speaks HTTP where TLS is spoken.
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    content-length: 48\r\nconnection: close\r\n\r\nThis port speaks TLS: use an address with https.";

/// Which door a certificate is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Door {
    Gateway,
    Admin,
}

impl Door {
    const fn tls(self, config: &Config) -> Option<&Tls> {
        match self {
            Self::Gateway => config.server.tls.as_ref(),
            Self::Admin => config.admin.tls.as_ref(),
        }
    }
}

/// The certificate in force, looked up at each handshake.
struct InForce {
    live: Arc<Live>,
    shelf: Arc<Shelf>,
    door: Door,
    /// The last one from files: it goes on until the first that is ordered in its place has come.
    before: ArcSwapOption<CertifiedKey>,
}

impl InForce {
    fn in_files(&self, certificate: &Certificate) -> Option<Arc<CertifiedKey>> {
        let signer = &certificate.pair.as_ref()?.signer;
        if !self.before.load().as_ref().is_some_and(|before| Arc::ptr_eq(before, signer)) {
            self.before.store(Some(Arc::clone(signer)));
        }
        Some(Arc::clone(signer))
    }
}

impl std::fmt::Debug for InForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.door.fmt(f)
    }
}

impl ResolvesServerCert for InForce {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let snapshot = self.live.load();
        let is_authority = hello.alpn().is_some_and(|mut all| all.all(|one| one == ACME));
        match self.door.tls(&snapshot.config)? {
            Tls::Acme if is_authority => self.shelf.challenge(hello.server_name()?),
            Tls::Acme => self.shelf.certificate().or_else(|| self.before.load_full()),
            Tls::Files(_) if is_authority => None,
            Tls::Files(certificate) => self.in_files(certificate),
        }
    }
}

/// How hands are shaken at a door; `None` where it speaks no TLS.
pub(super) fn acceptor(
    live: &Arc<Live>,
    shelf: &Arc<Shelf>,
    door: Door,
) -> io::Result<Option<TlsAcceptor>> {
    if door.tls(&live.load().config).is_none() {
        return Ok(None);
    }
    let (live, shelf) = (Arc::clone(live), Arc::clone(shelf));
    let resolver = InForce { live, shelf, door, before: ArcSwapOption::empty() };
    // TLS 1.2 and 1.3: what rustls calls safe, and nothing older.
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec(), ACME.to_vec()];
    // Sessions are resumed by tickets, which nothing has to be kept for.
    config.ticketer = ring::Ticketer::new().map_err(io::Error::other)?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// Shakes hands. Who speaks plain HTTP is told so, and an authority has seen what it wanted to see.
pub(super) async fn accept(
    acceptor: &TlsAcceptor,
    mut stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    let is_there = stream.peek(&mut first).await? == 1;
    if is_there && first[0] != HANDSHAKE && first[0].is_ascii_uppercase() {
        stream.write_all(NO_TLS).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP where TLS is spoken"));
    }
    let mut stream = acceptor.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(ACME) {
        stream.shutdown().await?;
        return Err(io::Error::other("an authority looked at a name, and saw it"));
    }
    Ok(stream)
}

/// Whether a client that shook hands wants HTTP/2.
pub(super) fn wants_h2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(H2)
}
