//! The connection as requests and answers share it: what has come and was not taken yet, how much of a
//! body is still to come, and whether the client is there.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, Interest, Ready};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;

use crate::fields::Room;
use crate::framing::Framing;

/// What is made room for before it is read.
const ROOM: usize = 8 << 10;
/// The same while a body comes that is longer than this.
const LARGE_ROOM: usize = 64 << 10;
const MUCH: u64 = 64 << 10;
/// The most that is read before somebody takes it: a head is never longer.
pub(super) const AHEAD: usize = 128 << 10;

/// How often it is looked whether a client is still there that says more than anybody wants to hear.
const LOOK: Duration = Duration::from_secs(1);
/// How long a client may take nothing of its answer.
const STALL: Duration = Duration::from_mins(1);
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What connections go over.
pub(in crate::server) trait Link: AsyncRead + AsyncWrite + Unpin {
    /// Whether the client has closed its side, also behind what was not read yet.
    fn has_left(&self) -> bool;

    /// Has the connection break off when it is dropped, in place of ending.
    fn break_off(&self);
}

impl Link for TcpStream {
    fn has_left(&self) -> bool {
        let ready = self.ready(Interest::READABLE).now_or_never();
        ready.is_some_and(|ready| ready.is_ok_and(Ready::is_read_closed))
    }

    fn break_off(&self) {
        let _ = self.set_zero_linger();
    }
}

impl Link for TlsStream<TcpStream> {
    fn has_left(&self) -> bool {
        self.get_ref().0.has_left()
    }

    fn break_off(&self) {
        self.get_ref().0.break_off();
    }
}

pub(super) struct Wire<T> {
    io: T,
    buffer: BytesMut,
    /// What answers are put together in.
    outbox: Room,
    /// The body of the present request, as far as it was not taken.
    body: Framing,
    /// Somebody still reads it.
    is_wanted: bool,
    /// Which request that is.
    number: u64,
    /// The client has closed its side, or the connection is broken.
    is_closed: bool,
    /// What the client waits for before it sends its body.
    word: &'static [u8],
    /// When to look again whether a client is there that cannot be read from.
    look: Option<Pin<Box<Sleep>>>,
    /// Until when the client must have taken something.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<T> Wire<T> {
    pub(super) fn new(io: T) -> Self {
        let (buffer, outbox, body) = (BytesMut::new(), Room::default(), Framing::Over);
        Self {
            io,
            buffer,
            outbox,
            body,
            is_wanted: false,
            number: 0,
            is_closed: false,
            word: b"",
            look: None,
            stall: None,
        }
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

    /// A request begins whose body is marked off like this; it comes when it is asked for, if the client
    /// `waits`.
    pub(super) const fn begin(&mut self, body: Framing, waits: bool) {
        self.body = body;
        self.is_wanted = !body.is_over();
        self.word = if waits && self.is_wanted { CONTINUE } else { b"" };
        self.number += 1;
    }

    /// How long the body of the present request is, where that was said, and the body itself if all of it
    /// came with the head.
    pub(super) fn whole_body(&mut self) -> (Option<u64>, Option<Bytes>) {
        let length = match self.body {
            Framing::Over => return (Some(0), Some(Bytes::new())),
            Framing::Length(length) => length,
            Framing::Chunked(_) | Framing::Close | Framing::Broken(_) => return (None, None),
        };
        let is_there = length <= self.buffer.len() as u64;
        let whole = is_there.then(|| self.body.take(&mut self.buffer).ok().flatten()).flatten();
        self.is_wanted &= whole.is_none();
        (Some(length), whole)
    }

    /// Nobody reads the body of the present request any more.
    pub(super) const fn give_up(&mut self) {
        self.is_wanted = false;
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Room for an answer.
    pub(super) const fn outbox(&mut self) -> &mut Room {
        &mut self.outbox
    }

    /// Gives up the room that nothing stands in.
    pub(super) fn slim(&mut self) {
        if self.buffer.is_empty() {
            (self.buffer, self.outbox) = (BytesMut::new(), Room::default());
        }
    }

    /// Passes over what is there of a body that nobody wants; whether that is all of it.
    pub(super) fn pass_over(&mut self) -> bool {
        while !self.is_wanted && matches!(self.body.take(&mut self.buffer), Ok(Some(_))) {}
        self.word = b"";
        self.body.is_over() && !self.is_closed
    }
}

impl<T: Link> Wire<T> {
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
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match self.body.take(&mut self.buffer) {
                Ok(Some(part)) => return Poll::Ready(Some(Ok(part))),
                Ok(None) if self.body.is_over() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => {
                    return Poll::Ready(Some(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        error,
                    ))));
                }
            }
            if let Err(error) = ready!(self.poll_word(cx)) {
                return Poll::Ready(Some(Err(error)));
            }
            match self.poll_read(cx) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(0)) => {
                    return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                }
                Ok(Poll::Ready(_)) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Tells a client that waits for it to send its body.
    fn poll_word(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.word.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.word.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, self.word))?;
            self.word = &self.word[count..];
        }
        self.poll_flush(cx)
    }

    /// Whether the client has left. It may say more before it does: that is kept, up to a bound, and then
    /// it is only looked now and then whether it is still there.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.buffer.len() < AHEAD {
            match self.poll_read(cx) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(1..)) => {}
                Ok(Poll::Ready(0)) | Err(_) => return Poll::Ready(()),
            }
        }
        let look = self.look.get_or_insert_with(|| Box::pin(sleep(LOOK)));
        while look.as_mut().poll(cx).is_ready() {
            if self.io.has_left() {
                return Poll::Ready(());
            }
            look.as_mut().reset(Instant::now() + LOOK);
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

    /// Sends some of `bytes`. A client that takes nothing for too long is given up.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(count) = Pin::new(&mut self.io).poll_write(cx, bytes)? else {
            let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL)));
            return stall.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        };
        self.stall = None;
        if count == 0 {
            Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
        } else {
            Poll::Ready(Ok(count))
        }
    }

    /// Has the connection break off.
    pub(super) fn break_off(&self) {
        self.io.break_off();
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
