//! HTTP/1.1 towards providers: one call at a time on a connection, and the connection kept for the next.
//!
//! An answer that was paid for is told from one that broke off, whichever way its end is marked; what a
//! provider says before the answer itself (RFC 9110, section 15.2) is passed over; and one that answers
//! before it has read all of a request is heard. None of this may be guessed by a gateway that bills.
//!
//! Nothing here waits for longer than it takes to connect, or than its caller says: and whoever drops a call
//! that is under way closes its connection.

mod connect;
mod exchange;
mod head;
mod origin;
mod pool;
#[cfg(test)]
mod tests;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode, Uri};
use tokio::time::Instant;

pub use exchange::{Body, Outgoing};
pub use head::Request;
pub use origin::Origin;

use crate::alarm::Alarm;
use crate::fields::Headers;
use crate::framing::FramingError;
use connect::Connector;
use exchange::Exchange;
use pool::{Connection, Place, Pool};

/// How often connections at rest are looked after.
const TIDY: Duration = Duration::from_secs(5);

/// Why a call has no answer, or not all of one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the name leads to no address: {0}")]
    Lookup(io::Error),
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("no connection within {} ms", .0.as_millis())]
    Slow(Duration),
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("the connection was closed without an answer")]
    Closed,
    #[error("no answer in time")]
    Late,
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("that is no answer in HTTP/1.1: {0}")]
    NoHttp(&'static str),
    #[error("the answer cannot be read: {0}")]
    Body(#[from] FramingError),
    /// The request itself could not be read to its end.
    #[error("the request broke off: {0}")]
    Request(io::Error),
}

impl ClientError {
    /// Whether nobody can have seen anything of the request.
    pub const fn is_unsent(&self) -> bool {
        matches!(self, Self::Lookup(_) | Self::Connect(_) | Self::Slow(_) | Self::Tls(_))
    }
}

/// How connections are made, and how many.
#[derive(Clone, Debug)]
pub struct Terms {
    pub tls: Arc<rustls::ClientConfig>,
    /// How long a connection may take to be made, and then again its TLS.
    pub connect: Duration,
    /// How many calls may be under way; the others wait.
    pub limit: usize,
    /// How long a connection without a call is kept.
    pub keep: Duration,
}

/// Calls one host, from one thread.
#[derive(Clone, Debug)]
pub struct Client {
    origin: Rc<Origin>,
    connector: Rc<Connector>,
    pool: Rc<Pool>,
}

/// An answer whose head has come.
pub struct Answer {
    pub status: StatusCode,
    pub headers: Headers,
    pub body: Body,
}

impl Client {
    pub fn new(origin: Origin, terms: &Terms) -> Self {
        Self {
            origin: Rc::new(origin),
            connector: Rc::new(Connector::new(Arc::clone(&terms.tls), terms.connect)),
            pool: Rc::new(Pool::new(terms.limit, terms.keep)),
        }
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Begins a request for what `uri` has behind the host.
    pub fn request(&self, method: &Method, uri: &Uri) -> Request {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Request::new(self.pool.take_room(), method, target, &self.origin)
    }

    /// A connection at rest, where there is one and a place among the calls that may be under way: it is
    /// had without waiting for anything.
    pub async fn at_rest(&self) -> Option<Ready> {
        let place = self.pool.place_now()?;
        let connection = self.pool.take().await?;
        Some(Ready { connection, pool: Rc::clone(&self.pool), place })
    }

    /// Waits for a place among the calls that may be under way, and for a connection.
    pub async fn ready(&self) -> Result<Ready, ClientError> {
        let place = self.pool.place().await?;
        let connection = match self.pool.take().await {
            Some(connection) => connection,
            None => Box::new(self.connector.connect(&self.origin).await?),
        };
        Ok(Ready { connection, pool: Rc::clone(&self.pool), place })
    }

    /// Closes connections that have been at rest for too long or that their host has closed, now and then,
    /// for as long as there is somebody who calls.
    pub fn tidy(&self) -> impl Future<Output = ()> + use<> {
        let pool = Rc::downgrade(&self.pool);
        async move {
            loop {
                tokio::time::sleep(TIDY).await;
                let Some(pool) = pool.upgrade() else { return };
                pool.tidy().await;
            }
        }
    }
}

/// A connection for one call.
pub struct Ready {
    connection: Box<Connection>,
    pool: Rc<Pool>,
    place: Place,
}

impl Ready {
    /// Sends a request and waits for the head of its answer, until an instant if one is given.
    pub async fn send(
        self,
        request: Request,
        body: Outgoing,
        until: Option<Instant>,
    ) -> Result<Answer, ClientError> {
        let Self { mut connection, pool, place } = self;
        if let Some(until) = until {
            connection.alarm.get_or_insert_with(|| Alarm::new(until)).set(until);
        }
        let is_timed = until.is_some();
        Box::new(Exchange::new(connection, pool, place, request, body)).answer(is_timed).await
    }
}
