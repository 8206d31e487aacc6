//! An answer on its way to the client: as fast as it takes it, and no further ahead than a bound.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use actix_http::body::{BodySize, MessageBody};
use actix_http::{Response, ResponseHead, ServiceConfig};
use actix_web::http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use actix_web::http::{ConnectionType, StatusCode, Version};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::request::Wish;
use super::wire::{Link, Wire};
use crate::fields;

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
pub(super) struct Answer<'a, T, B> {
    wire: &'a RefCell<Wire<T>>,
    body: B,
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

impl<'a, T: Link, B: MessageBody> Answer<'a, T, B> {
    pub(super) fn new(
        response: Response<B>,
        wish: Wish,
        wire: &'a RefCell<Wire<T>>,
        clock: &ServiceConfig,
    ) -> Self {
        let (response, body) = response.into_parts();
        let head = response.head();
        let size = body.size();
        let has_none = head.status.is_informational()
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let parts = match size {
            _ if has_none => Parts::None,
            BodySize::None | BodySize::Sized(0) => Parts::Length(0),
            BodySize::Sized(length) => Parts::Length(length),
            BodySize::Stream if wish.version == Version::HTTP_11 => Parts::Chunked,
            BodySize::Stream => Parts::Close,
        };
        let mut wire_now = wire.borrow_mut();
        let stays = wish.stays
            && parts != Parts::Close
            && head.connection_type() != ConnectionType::Close
            && wire_now.pass_over();
        let mut out = Outbox { gathered: wire_now.outbox().take(), ..Outbox::default() };
        drop(wire_now);
        write_head(&mut out.gathered, head, wish.version, parts, stays, clock);
        let parts = if wish.is_head { Parts::None } else { parts };
        Self { wire, body, parts, out, stays }
    }

    /// Sends it, and says whether the connection can be used again.
    pub(super) async fn send(self) -> io::Result<bool> {
        let Self { wire, body, parts, out, stays } = self;
        let is_whole = matches!(parts, Parts::None | Parts::Length(0));
        let mut flow = Flow { parts, out, is_whole };
        let mut body = pin!(body);
        let sent = poll_fn(|cx| flow.poll(wire, cx, body.as_mut())).await;
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
        mut body: Pin<&mut impl MessageBody>,
    ) -> Poll<io::Result<()>> {
        loop {
            // The body may itself be waiting for more of the request: the wire is nobody's meanwhile.
            let waits = self.gather(cx, body.as_mut())?;
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
    fn gather(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut impl MessageBody>,
    ) -> io::Result<bool> {
        while !self.is_whole && self.out.has_room() {
            match body.as_mut().poll_next(cx) {
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

fn write_head(
    out: &mut BytesMut,
    head: &ResponseHead,
    version: Version,
    parts: Parts,
    stays: bool,
    clock: &ServiceConfig,
) {
    for part in ["HTTP/1.1 ", head.status.as_str(), " ", head.reason(), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
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
    for (name, value) in &head.headers {
        if *name != CONNECTION && *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
            fields::put(out, name.as_str(), value.as_bytes());
        }
    }
    if !head.headers.contains_key(DATE) {
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
    Answer::new(Response::with_body(status, ()), wish, wire, clock).send().await.map(drop)
}
