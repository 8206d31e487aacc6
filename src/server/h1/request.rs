//! The head of a request, and its body as the service takes it.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::error::PayloadError;
use actix_http::{BoxedPayloadStream, Payload, Request};
use actix_web::http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use actix_web::http::{Method, Uri, Version};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::Stream;
use httparse::{ParserConfig, Status};

use super::Bad;
use super::wire::{AHEAD, Link, Wire};
use crate::fields::{self, Headers, Parsed};
use crate::framing::{self, Chunk, Framing};

/// The most headers a request may have.
const MOST_HEADERS: usize = 96;

/// The head of a request.
pub(super) struct Head {
    method: Method,
    uri: Uri,
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
    let target = fields::place(parsed.path.unwrap_or_default().as_bytes(), buffer);
    let parsed = Parsed::of(parsed.headers, buffer).map_err(Bad::request)?;
    let head = buffer.split_to(length).freeze();
    let uri = Uri::from_maybe_shared(head.slice(target));
    let uri = uri.map_err(|_| Bad::request("its target is none"))?;
    let headers = parsed.of_head(&head).map_err(Bad::request)?;
    check_host(&headers, version)?;
    let framing = framing(&headers, version)?;
    let says = |word| framing::lists(headers.all(CONNECTION), word);
    let stays = !says("close") && (version == Version::HTTP_11 || says("keep-alive"));
    let expects_continue = version == Version::HTTP_11
        && headers.all(EXPECT).any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    Ok(Some(Head { method, uri, version, headers, framing, expects_continue, stays }))
}

/// Whether it is said to whom the request is, and only once (RFC 9112, section 3.2).
fn check_host(headers: &Headers, version: Version) -> Result<(), Bad> {
    match (headers.all(HOST).count(), version) {
        (0, Version::HTTP_11) => Err(Bad::request("it has no host")),
        (0 | 1, _) => Ok(()),
        _ => Err(Bad::request("it has two hosts")),
    }
}

/// How the body of a request is marked off (RFC 9112, section 6.3). What could be read in two ways is
/// refused: somebody before us may have read it in the other.
fn framing(headers: &Headers, version: Version) -> Result<Framing, Bad> {
    let length = framing::length(headers.all(CONTENT_LENGTH));
    let length = length.map_err(|_| Bad::request("its length makes no sense"))?;
    if headers.all(CONTENT_LENGTH).count() > 1 {
        return Err(Bad::request("it has two lengths"));
    }
    let mut codings = headers.all(TRANSFER_ENCODING);
    let Some(coding) = codings.next() else {
        return Ok(match length {
            None | Some(0) => Framing::Over,
            Some(length) => Framing::Length(length),
        });
    };
    let is_chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
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

    /// The request as the service knows it.
    pub(super) fn into_request<T>(self, peer: Option<SocketAddr>, body: Body<T>) -> Request
    where
        T: Link + 'static,
    {
        let payload = if self.framing.is_over() {
            Payload::None
        } else {
            let payload: BoxedPayloadStream = Box::pin(body);
            Payload::Stream { payload }
        };
        let mut request = Request::with_payload(payload);
        let head = request.head_mut();
        head.method = self.method;
        head.uri = self.uri;
        head.version = self.version;
        head.peer_addr = peer;
        for (name, value) in self.headers {
            head.headers.append(name, value);
        }
        request
    }
}

/// The body of one request.
pub(super) struct Body<T> {
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
    pub(super) fn new(wire: &Rc<RefCell<Wire<T>>>) -> Self {
        Self { wire: Rc::clone(wire), number: wire.borrow().number() }
    }
}

impl<T: Link> Stream for Body<T> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut wire = self.wire.borrow_mut();
        if wire.number() == self.number { wire.poll_body(cx) } else { Poll::Ready(None) }
    }
}
