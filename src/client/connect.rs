//! How a connection is made: the name looked up, the first address that answers, TLS where it is spoken.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ClientError;
use super::origin::Origin;
use super::pool::Connection;

/// How long an address is tried before the next is tried beside it (RFC 8305, section 5): a host may have
/// one that leads nowhere from here.
const STAGGER: Duration = Duration::from_millis(250);

/// Makes connections.
pub(super) struct Connector {
    tls: TlsConnector,
    patience: Duration,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(tls: Arc<rustls::ClientConfig>, patience: Duration) -> Self {
        Self { tls: TlsConnector::from(tls), patience }
    }

    pub(super) async fn connect(&self, origin: &Origin) -> Result<Connection, ClientError> {
        let slow = |_| ClientError::Slow(self.patience);
        let tcp = timeout(self.patience, dial(origin)).await.map_err(slow)??;
        // What is sent is whole: none of it should wait for more.
        tcp.set_nodelay(true).map_err(ClientError::Connect)?;
        let transport = match origin.server_name() {
            None => Transport::Plain(tcp),
            Some(name) => {
                let shaken = timeout(self.patience, self.tls.connect(name.clone(), tcp)).await;
                Transport::Tls(Box::new(shaken.map_err(slow)?.map_err(ClientError::Tls)?))
            }
        };
        Ok(Connection { transport, buffer: BytesMut::new(), alarm: None })
    }
}

async fn dial(origin: &Origin) -> Result<TcpStream, ClientError> {
    let found = lookup_host((origin.host(), origin.port())).await.map_err(ClientError::Lookup)?;
    first_of(found).await
}

/// The first connection of those that can be made.
async fn first_of(
    mut addresses: impl Iterator<Item = SocketAddr>,
) -> Result<TcpStream, ClientError> {
    let mut failure = None;
    let mut tried = FuturesUnordered::new();
    loop {
        let next = addresses.next();
        let is_last = next.is_none();
        tried.extend(next.map(TcpStream::connect));
        let wait = if is_last { Duration::MAX } else { STAGGER };
        match timeout(wait, tried.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => failure = Some(ClientError::Connect(error)),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    let nowhere = || ClientError::Lookup(io::ErrorKind::NotFound.into());
    Err(failure.unwrap_or_else(nowhere))
}

/// What a connection's bytes go through.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
