//! The way back: an answer goes on as it comes while the meter reads along, and the call ends exactly
//! once, before the client can have seen the last of it.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::rt::task::JoinHandle;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::time::Instant;

use super::carriage::Carriage;
use super::forward::AnswerBody;
use super::health::Watch;
use super::settlement::{Metering, Settlement};
use crate::alarm::Alarm;
use crate::config::{ClientGone, Timeouts};
use crate::domain::receipt::Ending;
use crate::error::UpstreamError;
use crate::provider::meter::Forward;

/// How much of an answer that is not a stream is gathered, so that its cost can stand in a header; a
/// larger one is passed on as it comes.
pub(super) const GATHER_LIMIT: usize = 16 << 20;
/// What is read at most of an answer whose client has left, where its exact usage is wanted.
const DRAIN_BYTES: u64 = 64 << 20;
/// How much later than its end a call is ended from outside: a client that reads is told by then.
const GRACE: Duration = Duration::from_secs(1);
const DRAIN_TIME: Duration = Duration::from_mins(5);

/// Ends a silence and a call that take too long. The alarm is made when there is something to wait
/// for: most answers that are not streams come in one piece.
pub(super) struct Patience {
    idle: Duration,
    total: Instant,
    alarm: Option<Alarm>,
    /// The alarm is set for the silence that there is now.
    silent: bool,
}

impl Patience {
    pub(super) fn new(timeouts: &Timeouts, began: std::time::Instant) -> Self {
        let idle = Duration::from_millis(timeouts.idle_ms);
        let total = Instant::from_std(began) + Duration::from_millis(timeouts.total_ms);
        Self { idle, total, alarm: None, silent: false }
    }

    /// When the call must have ended.
    pub(super) const fn end(&self) -> Instant {
        self.total
    }

    /// The next chunk, or a failure once patience is at its end.
    fn poll_chunk(
        &mut self,
        body: &mut AnswerBody,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        if let Poll::Ready(item) = Pin::new(body).poll_next(context) {
            if self.alarm.is_some() && Instant::now() >= self.total {
                return Poll::Ready(Some(Err(UpstreamError::TimedOut)));
            }
            self.silent = false;
            return Poll::Ready(item);
        }
        if !std::mem::replace(&mut self.silent, true) {
            let end = self.total.min(Instant::now() + self.idle);
            self.alarm.get_or_insert_with(|| Alarm::new(end)).set(end);
        }
        let rings = self.alarm.as_mut().map(|alarm| alarm.poll(context));
        match rings {
            Some(Poll::Ready(())) => Poll::Ready(Some(Err(UpstreamError::TimedOut))),
            _ => Poll::Pending,
        }
    }
}

/// An answer that was gathered whole, or as far as memory allows.
pub(super) enum Gathered {
    Whole(Bytes),
    /// The first part of an answer that is too large; the rest is still to come.
    TooLarge(Bytes),
}

/// The next part of an answer.
pub(super) async fn next_chunk(
    body: &mut AnswerBody,
    patience: &mut Patience,
) -> Result<Option<Bytes>, UpstreamError> {
    std::future::poll_fn(|context| patience.poll_chunk(body, context)).await.transpose()
}

/// Why an answer is not whole, and what had come of it.
pub(super) struct Partial {
    pub(super) came: Bytes,
    pub(super) error: UpstreamError,
}

/// Reads an answer to its end. One that came in a single piece is not copied.
pub(super) async fn gather(
    first: Bytes,
    body: &mut AnswerBody,
    patience: &mut Patience,
) -> Result<Gathered, Partial> {
    if body.is_over() {
        return Ok(Gathered::Whole(first));
    }
    let mut whole = BytesMut::from(first);
    loop {
        match next_chunk(body, patience).await {
            Ok(Some(chunk)) => whole.extend_from_slice(&chunk),
            Ok(None) => return Ok(Gathered::Whole(whole.freeze())),
            Err(error) => return Err(Partial { came: whole.freeze(), error }),
        }
        if whole.len() > GATHER_LIMIT {
            return Ok(Gathered::TooLarge(whole.freeze()));
        }
    }
}

/// The body of a streamed answer.
pub(super) struct Relay {
    /// Absent once the call has ended.
    flow: Rc<RefCell<Option<Flow>>>,
    /// Read but not sent yet.
    ready: <Forward as IntoIterator>::IntoIter,
    /// The end was seen here, and not by the guard.
    is_over: bool,
    guard: JoinHandle<()>,
}

/// A call under way: what comes, who reads along, and how it ends.
struct Flow {
    body: AnswerBody,
    patience: Patience,
    carriage: Option<Box<Carriage>>,
    settlement: Box<Settlement>,
    /// Absent once its target has been judged.
    watch: Option<Watch>,
}

impl Relay {
    /// Relays server-sent events through `carriage`: what it has made `ready`, and what is still to
    /// come.
    pub(super) fn events(
        ready: Forward,
        body: AnswerBody,
        patience: Patience,
        carriage: Box<Carriage>,
        (settlement, watch): (Box<Settlement>, Option<Watch>),
    ) -> Self {
        let mut flow = Flow { body, patience, carriage: Some(carriage), settlement, watch };
        flow.note();
        Self::new(flow, ready)
    }

    /// Relays an answer that the meter cannot read: `first`, and what is still to come.
    pub(super) fn opaque(
        first: Bytes,
        body: AnswerBody,
        patience: Patience,
        (mut settlement, watch): (Box<Settlement>, Option<Watch>),
    ) -> Self {
        settlement.metered(Metering::unreadable());
        let flow = Flow { body, patience, carriage: None, settlement, watch };
        Self::new(flow, Forward::from(first))
    }

    fn new(flow: Flow, ready: Forward) -> Self {
        let end = flow.patience.total;
        let flow = Rc::new(RefCell::new(Some(flow)));
        let guard = actix_web::rt::spawn(end_in_time(Rc::clone(&flow), end));
        Self { flow, ready: ready.into_iter(), is_over: false, guard }
    }
}

impl Flow {
    fn take(&mut self, chunk: Bytes) -> Forward {
        let Some(carriage) = &mut self.carriage else { return Forward::from(chunk) };
        let forward = carriage.push(chunk);
        self.note();
        forward
    }

    /// Takes over what has been metered by now.
    fn note(&mut self) {
        let Some(carriage) = &self.carriage else { return };
        let report = carriage.report();
        self.settlement.metered(report);
        if report.done {
            // Whoever has this marker has the whole answer: from here on the bill must survive.
            let ending = carriage.ending();
            self.settlement.end(ending);
            self.judge(ending);
        }
    }

    /// Says how the target fared, once.
    fn judge(&mut self, ending: Ending) {
        let Some(watch) = self.watch.take() else { return };
        match ending {
            Ending::Done => watch.succeeded(),
            Ending::UpstreamError => watch.failed("an error in the middle of a stream".to_owned()),
            Ending::UpstreamCut => watch.failed("broke off in the middle of an answer".to_owned()),
            // Whoever takes all of its time may have a client that does not read.
            Ending::Timeout if Instant::now() < self.patience.end() => {
                watch.failed("fell silent in the middle of an answer".to_owned());
            }
            Ending::Timeout | Ending::ClientGone | Ending::Shutdown | Ending::Crash => {}
        }
    }

    fn finish(&mut self) -> Forward {
        let Some(carriage) = &mut self.carriage else {
            self.settlement.end(Ending::Done);
            self.judge(Ending::Done);
            return Forward::default();
        };
        let (forward, ending) = carriage.finish();
        self.settlement.metered(carriage.report());
        self.settlement.end(ending);
        self.judge(ending);
        forward
    }

    /// Ends a call that its provider broke off, and tells the client.
    fn fail(&mut self, error: UpstreamError) -> Result<Forward, UpstreamError> {
        let ending = match error {
            UpstreamError::TimedOut => Ending::Timeout,
            UpstreamError::Unreachable | UpstreamError::Broken => Ending::UpstreamCut,
        };
        self.settlement.end(ending);
        self.judge(ending);
        self.carriage.as_mut().map(|carriage| carriage.fail(error)).ok_or(error)
    }
}

impl Stream for Relay {
    type Item = std::io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let relay = self.get_mut();
        loop {
            if let Some(bytes) = relay.ready.next() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            if relay.is_over {
                return Poll::Ready(None);
            }
            // An aborted connection says what an orderly end would hide.
            let cut = || Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionAborted.into())));
            let mut slot = relay.flow.borrow_mut();
            let Some(flow) = slot.as_mut() else { return cut() };
            let item = ready!(flow.patience.poll_chunk(&mut flow.body, context));
            relay.is_over = !matches!(item, Some(Ok(_)));
            let next = match item {
                Some(Ok(chunk)) => Ok(flow.take(chunk)),
                None => Ok(flow.finish()),
                Some(Err(error)) => flow.fail(error),
            };
            if relay.is_over {
                *slot = None;
            }
            let Ok(forward) = next else { return cut() };
            relay.ready = forward.into_iter();
        }
    }
}

impl Drop for Relay {
    /// The client has left. What was used until now is charged, or the rest is read first, so that it
    /// is known exactly.
    fn drop(&mut self) {
        self.guard.abort();
        let Some(flow) = self.flow.borrow_mut().take() else { return };
        let wants_rest = flow.settlement.call().target.provider.on_client_gone == ClientGone::Drain;
        if wants_rest && flow.settlement.is_open() && flow.carriage.is_some() {
            actix_web::rt::spawn(drain(flow));
        }
    }
}

/// Ends a call at the end of its time also when its client does not read and nobody asks for more: a
/// hold must not last as long as somebody's patience.
async fn end_in_time(flow: Rc<RefCell<Option<Flow>>>, end: Instant) {
    tokio::time::sleep_until(end + GRACE).await;
    let late = flow.borrow_mut().take();
    if let Some(mut flow) = late {
        flow.settlement.end(Ending::Timeout);
    }
}

/// Reads the rest of an answer that nobody waits for any more, within bounds.
async fn drain(mut flow: Flow) {
    let deadline = Instant::now() + DRAIN_TIME;
    let mut bytes = 0;
    while bytes < DRAIN_BYTES && flow.settlement.is_open() {
        let Flow { body, patience, .. } = &mut flow;
        match tokio::time::timeout_at(deadline, next_chunk(body, patience)).await {
            Ok(Ok(Some(chunk))) => {
                bytes += chunk.len() as u64;
                flow.take(chunk);
            }
            Ok(Ok(None)) => {
                flow.finish();
            }
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
