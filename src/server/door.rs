//! How a listener turns connections into calls: plain, behind a proxy that says who connects, over TLS, or
//! both. What it is is decided once, when the server starts: a plain listener has nothing of the rest in
//! its way.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::ServiceConfig;
use actix_server::{GracefulShutdownSignal, ServerBuilder};
use actix_service::IntoService as _;
use actix_web::dev::{ServiceFactory, fn_factory};
use actix_web::rt::net::TcpStream;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::proxy::{self, ProxyError};
use super::{h1, h2, tls};
use crate::config::Live;
use crate::domain::forwarded;
use crate::gateway::Stopping;
use crate::message::{Request, Response, Serve};

/// How long a connection is heard out at most whose client may still be saying something.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// How connections of a listener are taken.
#[derive(Clone)]
pub(super) struct Manner {
    pub(super) keep_alive: Duration,
    pub(super) header_timeout: Duration,
    /// How long a connection of HTTP/2 may go on with new calls when the server is told to stop.
    pub(super) last_calls: Duration,
    pub(super) tls: Option<TlsAcceptor>,
    /// Proxies say first who connects.
    pub(super) proxy_protocol: bool,
    pub(super) live: Arc<Live>,
    pub(super) stopping: Arc<Stopping>,
}

impl Manner {
    /// What comes before the first byte of HTTP or TLS: where a connection is from.
    async fn meet(&self, stream: &mut TcpStream) -> Result<Option<SocketAddr>, ProxyError> {
        let peer = stream.peer_addr()?;
        if !self.proxy_protocol {
            return Ok(Some(peer));
        }
        if !forwarded::is_trusted(peer.ip(), &self.live.load().config.server.trusted_proxies) {
            return Err(ProxyError::Stranger(peer.ip()));
        }
        let said = tokio::time::timeout(self.header_timeout, proxy::receive(stream, peer)).await;
        said.map_err(|_| ProxyError::Slow)?.map(Some)
    }
}

/// Has `listener` served by what `make` makes for each worker.
pub(super) fn listen<M, A>(
    builder: ServerBuilder,
    listener: TcpListener,
    manner: Manner,
    make: M,
) -> io::Result<ServerBuilder>
where
    M: AsyncFn() -> Result<A, ()> + Send + Clone + 'static,
    A: Serve + 'static,
{
    let over = builder.graceful_shutdown_signal();
    let name = listener.local_addr()?.to_string();
    builder.listen(name, listener, move || connections(make.clone(), &manner, &over))
}

/// The service of a listener, made once for each worker.
fn connections<M, A>(
    make: M,
    manner: &Manner,
    over: &GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> + use<M, A>
where
    M: AsyncFn() -> Result<A, ()> + Clone + 'static,
    A: Serve + 'static,
{
    let (manner, over) = (manner.clone(), over.clone());
    fn_factory(move || {
        let make = make.clone();
        let (manner, over) = (manner.clone(), over.clone());
        async move {
            let app = make().await?;
            let clock = ServiceConfig::default();
            let worker = Rc::new(Worker { app, manner, over, clock });
            let serve = move |stream: TcpStream| {
                let worker = Rc::clone(&worker);
                async move {
                    if worker.manner.tls.is_none() {
                        return worker.serve_plain(stream).await;
                    }
                    // It is large, and most gateways do without it.
                    Box::pin(worker.serve_secured(stream)).await
                }
            };
            Ok(serve.into_service())
        }
    })
}

/// What a worker serves the connections of a listener with.
struct Worker<A> {
    app: A,
    manner: Manner,
    over: GracefulShutdownSignal,
    clock: ServiceConfig,
}

impl<A: Serve> Worker<A> {
    const fn h1(&self) -> h1::Terms<'_> {
        h1::Terms {
            patience: self.manner.header_timeout,
            keep_alive: self.manner.keep_alive,
            over: &self.over,
            clock: &self.clock,
        }
    }

    fn h2(&self) -> h2::Terms<'_> {
        h2::Terms {
            patience: self.manner.header_timeout,
            keep_alive: self.manner.keep_alive,
            last_calls: self.manner.last_calls,
            stopping: &self.manner.stopping,
            clock: &self.clock,
        }
    }

    async fn serve_plain(&self, mut stream: TcpStream) -> Result<(), ()> {
        let peer = self.manner.meet(&mut stream).await.map_err(|error| refused(&error))?;
        // An answer is sent whole: none of it should wait for more.
        let _ = stream.set_nodelay(true);
        h1::serve(stream, peer, &self.app, &self.h1()).await.map_err(broken)
    }

    async fn serve_secured(&self, stream: TcpStream) -> Result<(), ()> {
        let Some(tls) = &self.manner.tls else { return Err(()) };
        let (mut stream, peer) = shake_hands(&self.manner, tls, stream).await?;
        let app = Secured(&self.app);
        if !tls::wants_h2(&stream) {
            return h1::serve(stream, peer, &app, &self.h1()).await.map_err(broken);
        }
        let served = h2::serve(&mut stream, peer, &app, &self.h2()).await;
        linger(&mut stream).await;
        served.map_err(broken)
    }
}

/// Says why a connection is not served, to whoever looks for that.
fn refused(error: &ProxyError) {
    match error {
        ProxyError::Io(_) | ProxyError::Slow => tracing::debug!("a connection was closed: {error}"),
        _ => tracing::warn!("a connection was refused: {error}"),
    }
}

fn broken(error: impl fmt::Display) {
    tracing::debug!("a connection broke: {error}");
}

/// Hears a client out to whom goodbye was said. One that asks something in that moment would find the
/// connection broken if it were closed at once, and never read that it may ask somebody else.
async fn linger(stream: &mut TlsStream<TcpStream>) {
    let mut unheard = [0; 4096];
    let heard_out = async { while stream.read(&mut unheard).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(LINGER, heard_out).await;
}

/// Takes a connection as far as its first byte of HTTP.
async fn shake_hands(
    manner: &Manner,
    tls: &TlsAcceptor,
    mut stream: TcpStream,
) -> Result<(TlsStream<TcpStream>, Option<SocketAddr>), ()> {
    let peer = manner.meet(&mut stream).await.map_err(|error| refused(&error))?;
    // Frames of HTTP/2 are small, and none should wait for another.
    let _ = stream.set_nodelay(true);
    let accepted = tokio::time::timeout(manner.header_timeout, tls::accept(tls, stream)).await;
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    match accepted.map_err(slow).flatten() {
        Ok(stream) => Ok((stream, peer)),
        Err(error) => {
            tracing::debug!(?peer, "no TLS with a client: {error}");
            Err(())
        }
    }
}

/// Marks the requests that came over TLS.
struct Secured<'a, A>(&'a A);

impl<A: Serve> Serve for Secured<'_, A> {
    fn serve(&self, mut request: Request) -> impl Future<Output = Response> {
        request.head.over_tls = true;
        self.0.serve(request)
    }
}
