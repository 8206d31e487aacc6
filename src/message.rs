//! Requests and answers, between the connection that they come on and whoever serves them.

mod target;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::{Method, StatusCode, Version};
use serde_json::Value;

use crate::domain::access::ChosenKey;
pub use target::Target;

use crate::fields::Headers;

/// The bytes of a body as they come. One that ends with an error has broken off.
pub type Flow = Pin<Box<dyn Stream<Item = io::Result<Bytes>>>>;

/// Serves requests.
pub trait Serve {
    fn serve(&self, request: Request) -> impl Future<Output = Response>;
}

impl<S: Serve> Serve for &S {
    fn serve(&self, request: Request) -> impl Future<Output = Response> {
        (**self).serve(request)
    }
}

/// A request.
#[derive(Debug)]
pub struct Request {
    pub head: Head,
    pub body: Body,
}

/// All of a request but its body.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub method: Method,
    pub target: Target,
    /// What stands before the target, where whoever serves it is a part of something else.
    pub root: &'static str,
    pub version: Version,
    pub headers: Headers,
    /// Who is at the other end of the connection, where that is known.
    pub peer: Option<SocketAddr>,
    /// It came over TLS of our own.
    pub over_tls: bool,
    /// The key that an administrator chose to call with, who needs no secret of it.
    pub key: Option<ChosenKey>,
}

impl Head {
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// What stands behind the question mark, if anything does.
    pub fn query(&self) -> &str {
        self.target.query()
    }

    #[cfg(test)]
    pub(crate) fn of(method: &str, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut fields = Headers::default();
        for (name, value) in headers {
            fields.add(name, value);
        }
        let (method, target) = (method.parse().unwrap(), Target::parse(target).unwrap());
        Self { method, target, headers: fields, ..Self::default() }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: Headers,
    pub body: Body,
    /// Nothing more is to be asked on its connection.
    pub closes: bool,
}

impl Response {
    pub fn new(status: StatusCode, headers: Headers, body: impl Into<Body>) -> Self {
        Self { status, headers, body: body.into(), closes: false }
    }

    /// An answer in JSON.
    pub fn json(status: StatusCode, value: &Value) -> Self {
        let mut headers = Headers::default();
        headers.add("content-type", "application/json");
        Self::new(status, headers, Bytes::from(value.to_string()))
    }
}

/// The body of a request or of an answer.
pub enum Body {
    /// All of it is there.
    Whole(Bytes),
    /// It is still to come: so many bytes, where that is known.
    Flow(Option<u64>, Flow),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Body").field(&self.length()).finish()
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl Body {
    /// A body of which nobody knows how long it will be.
    pub fn flow(flow: impl Stream<Item = io::Result<Bytes>> + 'static) -> Self {
        Self::Flow(None, Box::pin(flow))
    }

    /// How many bytes of it are still to be read, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Flow(length, _) => *length,
        }
    }
}

impl Stream for Body {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Self::Flow(_, flow) => flow.as_mut().poll_next(context),
        }
    }
}
