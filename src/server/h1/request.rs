//! The head of a request, and its body as the service takes it.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::Stream;
use http::{Method, Version};
use httparse::{ParserConfig, Status};

use super::Bad;
use super::wire::{AHEAD, Link, Wire};
use crate::fields::Headers;
use crate::framing::{self, Chunk, Framing};
use crate::message::{self, Target};

/// The most headers a request may have.
const MOST_HEADERS: usize = 96;

/// The head of a request.
pub(super) struct Head {
    method: Method,
    target: Target,
    version: Version,
    headers: Headers,
    /// How its body is marked off.
    pub(super) framing: Framing,
    /// The client waits for a word before it sends the body.
    pub(super) expects_continue: bool,
    stays: bool,
}

/// What a request says of its answer.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub(super) version: Version,
    pub(super) is_head: bool,
    /// The connection is to be kept.
    pub(super) stays: bool,
}

/// Passes over the empty lines that some send behind a body (RFC 9112, section 2.2).
pub(super) fn skip_empty_lines(buffer: &mut BytesMut) {
    while buffer.starts_with(b"\r\n") {
        buffer.advance(2);
    }
}

/// Takes the head of a request from what has come; `None` while it is not whole.
pub(super) fn read(buffer: &mut BytesMut) -> Result<Option<Head>, Bad> {
    skip_empty_lines(buffer);
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut places = [MaybeUninit::uninit(); MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let read =
        ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, buffer, &mut places);
    let length = match read {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if buffer.len() < AHEAD => return Ok(None),
        Ok(Status::Partial) => return Err(Bad::too_large("its head does not end")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Bad::too_large("it has too many headers"));
        }
        Err(_) => return Err(Bad::request("its head cannot be read")),
    };
    let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes());
    let method = method.map_err(|_| Bad::request("its method is none"))?;
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let target = Target::parse(parsed.path.unwrap_or_default());
    let target = target.ok_or(Bad::request("its target is none"))?;
    let headers = Headers::of_head(parsed.headers, &buffer[..length]).map_err(Bad::request)?;
    buffer.advance(length);
    check_host(&headers, version)?;
    let framing = framing(&headers, version)?;
    let says = |word| framing::lists(headers.all("connection"), word);
    let stays = !says("close") && (version == Version::HTTP_11 || says("keep-alive"));
    let expects_continue = version == Version::HTTP_11
        && headers.all("expect").any(|value| value.eq_ignore_ascii_case(b"100-continue"));
    Ok(Some(Head { method, target, version, headers, framing, expects_continue, stays }))
}

/// Whether it is said to whom the request is, and only once (RFC 9112, section 3.2).
fn check_host(headers: &Headers, version: Version) -> Result<(), Bad> {
    match (headers.all("host").count(), version) {
        (0, Version::HTTP_11) => Err(Bad::request("it has no host")),
        (0 | 1, _) => Ok(()),
        _ => Err(Bad::request("it has two hosts")),
    }
}

/// How the body of a request is marked off (RFC 9112, section 6.3). What could be read in two ways is
/// refused: somebody before us may have read it in the other.
fn framing(headers: &Headers, version: Version) -> Result<Framing, Bad> {
    let length = framing::length(headers.all("content-length"));
    let length = length.map_err(|_| Bad::request("its length makes no sense"))?;
    if headers.all("content-length").count() > 1 {
        return Err(Bad::request("it has two lengths"));
    }
    let mut codings = headers.all("transfer-encoding");
    let Some(coding) = codings.next() else {
        return Ok(match length {
            None | Some(0) => Framing::Over,
            Some(length) => Framing::Length(length),
        });
    };
    let is_chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    if !is_chunked || codings.next().is_some() {
        return Err(Bad::request("its body is in a coding that is not known"));
    }
    if length.is_some() || version == Version::HTTP_10 {
        return Err(Bad::request("its body is marked off in two ways"));
    }
    Ok(Framing::Chunked(Chunk::Size))
}

impl Head {
    pub(super) fn wish(&self) -> Wish {
        let (version, is_head) = (self.version, self.method == Method::HEAD);
        Wish { version, is_head, stays: self.stays }
    }

    /// The head as whoever serves it knows it.
    pub(super) fn into_head(self, peer: Option<SocketAddr>) -> message::Head {
        let Self { method, target, version, headers, .. } = self;
        message::Head { method, target, version, headers, peer, ..message::Head::default() }
    }
}

/// The body of the request that has begun on a connection.
pub(super) fn body<T: Link + 'static>(wire: &Rc<RefCell<Wire<T>>>) -> message::Body {
    let (length, whole) = wire.borrow_mut().whole_body();
    match whole {
        Some(whole) => message::Body::Whole(whole),
        None => message::Body::Flow(length, Box::pin(Body::new(wire))),
    }
}

/// The body of one request, as it comes.
struct Body<T> {
    wire: Rc<RefCell<Wire<T>>>,
    /// Whose it is: what comes after it is another's.
    number: u64,
}

impl<T> Drop for Body<T> {
    fn drop(&mut self) {
        if let Ok(mut wire) = self.wire.try_borrow_mut()
            && wire.number() == self.number
        {
            wire.give_up();
        }
    }
}

impl<T> Body<T> {
    fn new(wire: &Rc<RefCell<Wire<T>>>) -> Self {
        Self { wire: Rc::clone(wire), number: wire.borrow().number() }
    }
}

impl<T: Link> Stream for Body<T> {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut wire = self.wire.borrow_mut();
        if wire.number() == self.number { wire.poll_body(cx) } else { Poll::Ready(None) }
    }
}
