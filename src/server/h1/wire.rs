//! The connection as requests and answers share it: what has come and was not taken yet, how much of a
//! body is still to come, and whether the client is there.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use actix_http::error::PayloadError;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::framing::Framing;

/// What is made room for before it is read.
const ROOM: usize = 8 << 10;
/// The same while a body comes that is longer than this.
const LARGE_ROOM: usize = 64 << 10;
const MUCH: u64 = 64 << 10;
/// What an answer's head and a small body mostly take.
const USUAL: usize = 2 << 10;
/// The most that is read before somebody takes it: a head is never longer.
pub(super) const AHEAD: usize = 128 << 10;

pub(super) struct Wire<T> {
    io: T,
    buffer: BytesMut,
    /// What answers are put together in.
    outbox: BytesMut,
    /// The body of the present request, as far as it was not taken.
    body: Framing,
    /// Somebody still reads it.
    is_wanted: bool,
    /// Which request that is.
    number: u64,
    /// The client has closed its side, or the connection is broken.
    is_closed: bool,
}

impl<T> Wire<T> {
    pub(super) fn new(io: T) -> Self {
        let (buffer, outbox, body) = (BytesMut::new(), BytesMut::new(), Framing::Over);
        Self { io, buffer, outbox, body, is_wanted: false, number: 0, is_closed: false }
    }

    pub(super) const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether nothing has come that was not taken.
    pub(super) fn is_idle(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether the client cannot be saying anything any more that nobody hears.
    pub(super) fn is_silent(&self) -> bool {
        self.is_closed || (self.body.is_over() && self.buffer.is_empty())
    }

    /// A request begins whose body is marked off like this.
    pub(super) const fn begin(&mut self, body: Framing) {
        self.body = body;
        self.is_wanted = !body.is_over();
        self.number += 1;
    }

    /// Nobody reads the body of the present request any more.
    pub(super) const fn give_up(&mut self) {
        self.is_wanted = false;
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Room for an answer.
    pub(super) fn take_outbox(&mut self) -> BytesMut {
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.reserve(USUAL);
        outbox
    }

    /// Keeps the room for the next answer, unless it is much.
    pub(super) fn keep_outbox(&mut self, mut outbox: BytesMut) {
        if outbox.capacity() <= ROOM {
            outbox.clear();
            self.outbox = outbox;
        }
    }

    /// Gives up the room that nothing stands in.
    pub(super) fn slim(&mut self) {
        if self.buffer.is_empty() {
            (self.buffer, self.outbox) = (BytesMut::new(), BytesMut::new());
        }
    }

    /// Passes over what is there of a body that nobody wants; whether that is all of it.
    pub(super) fn pass_over(&mut self) -> bool {
        while !self.is_wanted && matches!(self.body.take(&mut self.buffer), Ok(Some(_))) {}
        self.body.is_over()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// Reads what has come; nothing at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Poll<usize>, io::Error> {
        if self.is_closed {
            return Ok(Poll::Ready(0));
        }
        if self.buffer.capacity() - self.buffer.len() < ROOM / 8 {
            let is_large = matches!(self.body, Framing::Length(missing) if missing > MUCH);
            self.buffer.reserve(self.buffer.len().max(if is_large { LARGE_ROOM } else { ROOM }));
        }
        let Poll::Ready(read) = pin!(self.io.read_buf(&mut self.buffer)).poll(cx) else {
            return Ok(Poll::Pending);
        };
        self.is_closed = !matches!(read, Ok(1..));
        read.map(Poll::Ready)
    }

    /// The next part of the present request's body.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, PayloadError>>> {
        loop {
            match self.body.take(&mut self.buffer) {
                Ok(Some(part)) => return Poll::Ready(Some(Ok(part))),
                Ok(None) if self.body.is_over() => return Poll::Ready(None),
                Ok(None) => {}
                Err(_) => {
                    self.is_closed = true;
                    return Poll::Ready(Some(Err(PayloadError::EncodingCorrupted)));
                }
            }
            match self.poll_read(cx) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(0)) => {
                    return Poll::Ready(Some(Err(PayloadError::Incomplete(None))));
                }
                Ok(Poll::Ready(_)) => {}
                Err(error) => return Poll::Ready(Some(Err(PayloadError::Io(error)))),
            }
        }
    }

    /// Whether the client has left. It may say more before it does: that is kept, up to a bound.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.buffer.len() < AHEAD {
            match self.poll_read(cx) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(1..)) => {}
                Ok(Poll::Ready(0)) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Reads to the end and keeps nothing.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.buffer.clear();
            match self.poll_read(cx)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {}
            }
        }
    }

    /// Sends some of `bytes`.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.io).poll_write(cx, bytes))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => Poll::Ready(Ok(count)),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
