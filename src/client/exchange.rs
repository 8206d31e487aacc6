//! One call on one connection: the request goes out, the answer comes in, and the connection goes back to
//! the others if nothing speaks against it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use http::StatusCode;
use tokio::io::AsyncWrite;

use super::connect::Transport;
use super::head::{self, AnswerHead, Request};
use super::pool::{Connection, Place, Pool};
use super::{Answer, ClientError};
use crate::framing::Framing;

/// A body up to this size is sent together with its head.
const SMALL: usize = 16 << 10;

/// The body of a request.
pub enum Outgoing {
    None,
    Whole(Bytes),
    /// So many bytes, as they come.
    Flow(u64, Pin<Box<dyn Stream<Item = io::Result<Bytes>>>>),
}

impl Outgoing {
    const fn length(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Flow(length, _) => Some(*length),
        }
    }
}

/// A call under way. Dropped before its end, it takes its connection with it.
pub(super) struct Exchange {
    connection: Box<Connection>,
    pool: Rc<Pool>,
    _place: Place,
    writer: Writer,
    framing: Framing,
    /// The connection can be used again, as far as the answer's head says.
    stays: bool,
}

impl Exchange {
    pub(super) fn new(
        connection: Box<Connection>,
        pool: Rc<Pool>,
        place: Place,
        request: Request,
        body: Outgoing,
    ) -> Self {
        let writer = Writer::new(request, body);
        Self { connection, pool, _place: place, writer, framing: Framing::Over, stays: false }
    }

    /// Sends the request, and waits for the head of the answer: until the connection's alarm rings, if it
    /// `is_timed`.
    pub(super) async fn answer(mut self: Box<Self>, is_timed: bool) -> Result<Answer, ClientError> {
        let came = poll_fn(|context| match self.poll_head(context) {
            Poll::Pending if is_timed => self.poll_late(context).map(Err),
            polled => polled,
        });
        let AnswerHead { status, headers, .. } = came.await?;
        let body = if self.framing.is_over() {
            self.retire();
            Body(None)
        } else {
            Body(Some(self))
        };
        Ok(Answer { status, headers, body })
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<AnswerHead, ClientError>> {
        self.poll_write(context)?;
        loop {
            if let Some(head) = head::read(&mut self.connection.buffer)? {
                if head.status == StatusCode::SWITCHING_PROTOCOLS {
                    let error = ClientError::NoHttp("it goes on in another protocol");
                    return Poll::Ready(Err(error));
                }
                if head.status.is_informational() {
                    continue;
                }
                (self.framing, self.stays) = head.framing()?;
                if !head.status.is_success() && !self.writer.is_done() {
                    // It has heard enough.
                    self.writer.give_up();
                }
                return Poll::Ready(Ok(head));
            }
            match ready!(self.connection.poll_read(context)) {
                Ok(0) => {
                    return Poll::Ready(Err(self.writer.failure().unwrap_or(ClientError::Closed)));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(ClientError::Broken(error))),
            }
        }
    }

    /// Ready once the answer must have come.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<ClientError> {
        let Some(alarm) = &mut self.connection.alarm else { return Poll::Pending };
        alarm.poll(context).map(|()| ClientError::Late)
    }

    /// Sends what can be sent. A connection that takes no more may still have an answer on it: only what
    /// is wrong with the request itself ends the call here.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Result<(), ClientError> {
        self.writer.poll(&mut self.connection.transport, context)?;
        if self.writer.is_done() {
            let head = std::mem::take(&mut self.writer.head);
            self.pool.keep_room(head);
        }
        Ok(())
    }

    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ClientError>> {
        if !self.writer.is_done() {
            self.poll_write(context)?;
        }
        loop {
            let part = self.framing.take(&mut self.connection.buffer)?;
            if part.is_some() || self.framing.is_over() {
                return Poll::Ready(Ok(part));
            }
            match ready!(self.connection.poll_read(context)) {
                Ok(0) => self.framing.close()?,
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(ClientError::Broken(error))),
            }
        }
    }

    /// Gives the connection back, if all that was said on it has been heard.
    fn retire(self) {
        if self.stays && self.writer.is_done() && self.connection.buffer.is_empty() {
            self.pool.put(self.connection);
        }
    }
}

/// The body of an answer, as it comes. An error is its last item.
pub struct Body(Option<Box<Exchange>>);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Body").field(&self.is_over()).finish()
    }
}

impl Body {
    /// Whether all of it has been read.
    pub const fn is_over(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it would be told if it broke off: not where its end is that of the connection.
    pub fn has_an_end(&self) -> bool {
        self.0.as_ref().is_none_or(|exchange| exchange.framing != Framing::Close)
    }
}

impl Stream for Body {
    type Item = Result<Bytes, ClientError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let body = self.get_mut();
        let Some(exchange) = &mut body.0 else { return Poll::Ready(None) };
        let part = ready!(exchange.poll_part(context));
        if exchange.framing.is_over() || part.is_err() {
            let exchange = body.0.take().filter(|_| part.is_ok());
            if let Some(exchange) = exchange {
                exchange.retire();
            }
        }
        Poll::Ready(part.transpose())
    }
}

/// A request on its way out.
struct Writer {
    /// The head, and a small body behind it.
    head: BytesMut,
    /// What is to be sent after that.
    next: Bytes,
    rest: Outgoing,
    state: State,
}

enum State {
    Writes,
    /// All of it was sent.
    Done,
    /// No more of it will be.
    Ended(Option<ClientError>),
}

impl Writer {
    fn new(request: Request, body: Outgoing) -> Self {
        let mut head = request.finish(body.length());
        let rest = match body {
            Outgoing::Whole(bytes) if bytes.len() <= SMALL => {
                head.extend_from_slice(&bytes);
                Outgoing::None
            }
            rest => rest,
        };
        Self { head, next: Bytes::new(), rest, state: State::Writes }
    }

    const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn give_up(&mut self) {
        self.state = State::Ended(None);
        self.rest = Outgoing::None;
    }

    /// Why it could not be sent, told once.
    fn failure(&mut self) -> Option<ClientError> {
        if let State::Ended(error) = &mut self.state { error.take() } else { None }
    }

    fn poll(
        &mut self,
        transport: &mut Transport,
        context: &mut Context<'_>,
    ) -> Result<(), ClientError> {
        while matches!(self.state, State::Writes) {
            match self.poll_step(transport, context) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error @ ClientError::Request(_))) => return Err(error),
                Poll::Ready(Err(error)) => {
                    self.rest = Outgoing::None;
                    self.state = State::Ended(Some(error));
                }
            }
        }
        Ok(())
    }

    fn poll_step(
        &mut self,
        transport: &mut Transport,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ClientError>> {
        let part = if self.head.is_empty() { &self.next[..] } else { &self.head };
        if !part.is_empty() {
            let sent = ready!(Pin::new(transport).poll_write(context, part));
            match sent.map_err(ClientError::Broken)? {
                0 => return Poll::Ready(Err(ClientError::Closed)),
                count if self.head.is_empty() => self.next.advance(count),
                count => self.head.advance(count),
            }
            return Poll::Ready(Ok(()));
        }
        match std::mem::replace(&mut self.rest, Outgoing::None) {
            Outgoing::None => {
                ready!(Pin::new(transport).poll_flush(context)).map_err(ClientError::Broken)?;
                self.state = State::Done;
            }
            Outgoing::Whole(bytes) => self.next = bytes,
            Outgoing::Flow(missing, mut flow) => {
                let item = flow.as_mut().poll_next(context);
                let Poll::Ready(item) = item else {
                    self.rest = Outgoing::Flow(missing, flow);
                    // What has come of it until now must not wait for the rest.
                    ready!(Pin::new(transport).poll_flush(context)).map_err(ClientError::Broken)?;
                    return Poll::Pending;
                };
                match item.transpose().map_err(ClientError::Request)? {
                    Some(bytes) if bytes.len() as u64 <= missing => {
                        self.rest = Outgoing::Flow(missing - bytes.len() as u64, flow);
                        self.next = bytes;
                    }
                    None if missing == 0 => {}
                    // It is not as long as was said.
                    _ => {
                        return Poll::Ready(Err(ClientError::Request(
                            io::ErrorKind::InvalidData.into(),
                        )));
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
