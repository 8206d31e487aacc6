//! An answer on its way to the client: as fast as it takes it, and no further ahead than a bound.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_http::ServiceConfig;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::Stream as _;
use http::{StatusCode, Version};

use super::request::Wish;
use super::wire::{Link, Wire};
use crate::fields::{self, Headers};
use crate::message::{Body, Response};

/// How much is gathered at most before it is sent.
const HIGH: usize = 32 << 10;
/// A part of a body from this size on is not copied.
const LARGE: usize = 8 << 10;

/// How the parts of a body are marked off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    /// There are none.
    None,
    /// So many bytes are missing.
    Length(u64),
    Chunked,
    /// By the end of the connection.
    Close,
}

/// An answer, and how much of it has been handed to the connection.
pub(super) struct Answer<'a, T> {
    wire: &'a RefCell<Wire<T>>,
    body: Body,
    parts: Parts,
    out: Outbox,
    /// The connection is kept when it is out.
    stays: bool,
}

/// What is to be sent, in order.
#[derive(Default)]
struct Outbox {
    gathered: BytesMut,
    large: Bytes,
    /// What stands behind the large part.
    behind: &'static [u8],
}

impl Outbox {
    fn has_room(&self) -> bool {
        self.large.is_empty() && self.behind.is_empty() && self.gathered.len() < HIGH
    }

    fn next(&self) -> &[u8] {
        [&self.gathered[..], &self.large, self.behind]
            .into_iter()
            .find(|part| !part.is_empty())
            .unwrap_or_default()
    }

    fn sent(&mut self, count: usize) {
        if !self.gathered.is_empty() {
            self.gathered.advance(count);
        } else if !self.large.is_empty() {
            self.large.advance(count);
        } else {
            self.behind = &self.behind[count..];
        }
    }
}

impl<'a, T: Link> Answer<'a, T> {
    pub(super) fn new(
        response: Response,
        wish: Wish,
        wire: &'a RefCell<Wire<T>>,
        clock: &ServiceConfig,
    ) -> Self {
        let Response { status, headers, body, closes } = response;
        let has_none = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let parts = match body.length() {
            _ if has_none => Parts::None,
            Some(length) => Parts::Length(length),
            None if wish.version == Version::HTTP_11 => Parts::Chunked,
            None => Parts::Close,
        };
        let mut wire_now = wire.borrow_mut();
        let stays = wish.stays && parts != Parts::Close && !closes && wire_now.pass_over();
        let mut out = Outbox { gathered: wire_now.outbox().take(), ..Outbox::default() };
        drop(wire_now);
        write_status(&mut out.gathered, status);
        write_head(&mut out.gathered, &headers, wish.version, parts, stays, clock);
        let parts = if wish.is_head { Parts::None } else { parts };
        Self { wire, body, parts, out, stays }
    }

    /// Sends it, and says whether the connection can be used again.
    pub(super) async fn send(self) -> io::Result<bool> {
        let Self { wire, mut body, parts, out, stays } = self;
        let is_whole = matches!(parts, Parts::None | Parts::Length(0));
        let mut flow = Flow { parts, out, is_whole };
        let sent = poll_fn(|cx| flow.poll(wire, cx, &mut body)).await;
        if sent.is_err() && parts == Parts::Close {
            // The end of the connection would look like that of the body.
            wire.borrow().break_off();
        }
        sent?;
        wire.borrow_mut().outbox().keep(flow.out.gathered);
        Ok(stays)
    }
}

/// What of an answer is still to be sent.
struct Flow {
    parts: Parts,
    out: Outbox,
    /// The body has nothing more.
    is_whole: bool,
}

impl Flow {
    /// Sends what the body has for as long as the client takes it.
    fn poll<T: Link>(
        &mut self,
        wire: &RefCell<Wire<T>>,
        cx: &mut Context<'_>,
        body: &mut Body,
    ) -> Poll<io::Result<()>> {
        loop {
            // The body may itself be waiting for more of the request: the wire is nobody's meanwhile.
            let waits = self.gather(cx, body)?;
            let mut wire = wire.borrow_mut();
            while !self.out.next().is_empty() {
                match wire.poll_write(cx, self.out.next())? {
                    Poll::Ready(count) => self.out.sent(count),
                    Poll::Pending => return pending(&mut wire, cx),
                }
            }
            if self.is_whole {
                return wire.poll_flush(cx);
            }
            if waits {
                ready!(wire.poll_flush(cx))?;
                return pending(&mut wire, cx);
            }
        }
    }

    /// Takes what the body has; whether more of it must be waited for.
    fn gather(&mut self, cx: &mut Context<'_>, body: &mut Body) -> io::Result<bool> {
        while !self.is_whole && self.out.has_room() {
            match Pin::new(&mut *body).poll_next(cx) {
                Poll::Ready(Some(Ok(part))) => add(&mut self.out, &mut self.parts, part)?,
                // What breaks off must not look as if it were whole.
                Poll::Ready(Some(Err(_))) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Poll::Ready(None) => {
                    finish(&mut self.out, self.parts)?;
                    self.is_whole = true;
                }
                Poll::Pending => return Ok(true),
            }
            self.is_whole |= self.parts == Parts::Length(0);
        }
        Ok(false)
    }
}

/// Nothing can be done now, unless the client has left.
fn pending<T: Link>(wire: &mut Wire<T>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    wire.poll_left(cx).map(|()| Err(io::ErrorKind::ConnectionReset.into()))
}

/// Adds a part of a body. One that is longer than was announced would be taken for the next answer.
fn add(out: &mut Outbox, parts: &mut Parts, part: Bytes) -> io::Result<()> {
    if part.is_empty() {
        return Ok(());
    }
    match parts {
        Parts::Length(missing) => {
            *missing = missing
                .checked_sub(part.len() as u64)
                .ok_or(io::Error::from(io::ErrorKind::InvalidData))?;
        }
        Parts::Chunked => write_size(&mut out.gathered, part.len()),
        Parts::Close => {}
        Parts::None => return Ok(()),
    }
    let end: &[u8] = if *parts == Parts::Chunked { b"\r\n" } else { b"" };
    if part.len() < LARGE {
        out.gathered.extend_from_slice(&part);
        out.gathered.extend_from_slice(end);
    } else {
        out.large = part;
        out.behind = if end.is_empty() { b"" } else { b"\r\n" };
    }
    Ok(())
}

/// Ends a body.
fn finish(out: &mut Outbox, parts: Parts) -> io::Result<()> {
    match parts {
        Parts::Chunked => out.gathered.extend_from_slice(b"0\r\n\r\n"),
        Parts::Length(1..) => return Err(io::ErrorKind::InvalidData.into()),
        Parts::Length(0) | Parts::Close | Parts::None => {}
    }
    Ok(())
}

/// The line before a chunk.
fn write_size(out: &mut BytesMut, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.put_u8(DIGITS[size >> (digit * 4) & 15]);
    }
    out.put_slice(b"\r\n");
}

fn write_status(out: &mut BytesMut, status: StatusCode) {
    let reason = status.canonical_reason().unwrap_or("<unknown status code>");
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn write_head(
    out: &mut BytesMut,
    headers: &Headers,
    version: Version,
    parts: Parts,
    stays: bool,
    clock: &ServiceConfig,
) {
    match parts {
        Parts::Length(length) => fields::put_length(out, length),
        Parts::Chunked => fields::put(out, "transfer-encoding", b"chunked"),
        Parts::Close | Parts::None => {}
    }
    if !stays {
        fields::put(out, "connection", b"close");
    } else if version == Version::HTTP_10 {
        fields::put(out, "connection", b"keep-alive");
    }
    for (name, value) in headers.iter() {
        if !matches!(name, b"connection" | b"content-length" | b"transfer-encoding") {
            fields::put(out, name, value);
        }
    }
    if !headers.contains("date") {
        clock.write_date_header(out, false);
    }
    out.extend_from_slice(b"\r\n");
}

/// Answers what is no request.
pub(super) async fn refuse<T: Link>(
    wire: &RefCell<Wire<T>>,
    status: StatusCode,
    clock: &ServiceConfig,
) -> io::Result<()> {
    let wish = Wish { version: Version::HTTP_11, is_head: false, stays: false };
    let response = Response::new(status, Headers::default(), Bytes::new());
    Answer::new(response, wish, wire, clock).send().await.map(drop)
}
