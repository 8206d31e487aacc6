//! HTTP/1.1 (RFC 9112) on a connection: one request after the other to the same service as a stream of
//! HTTP/2.
//!
//! It is our own because of a promise and a price. A client that closes its side has left: its call ends at
//! once, whatever it was waiting for, and with it the hold. And what is done for each request besides
//! serving it is most of what a gateway costs that does as little as this one.
//!
//! Heads, and what is read ahead, are bounded.

mod answer;
mod request;
#[cfg(test)]
mod tests;
mod wire;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::ServiceConfig;
use actix_server::GracefulShutdownSignal;
use http::StatusCode;
use tokio::time::Instant;

use super::door::LINGER;
use crate::alarm::Alarm;
use crate::message::{Request, Serve};
use answer::Answer;
use request::Head;
use wire::{Link, Wire};

/// How long a connection is without a request before it gives up its buffers: many clients keep many
/// connections that they hardly use.
const SOON: Duration = Duration::from_secs(2);

/// What a connection is held to.
pub(super) struct Terms<'a> {
    /// How long a head may take.
    pub(super) patience: Duration,
    /// How long it may be without a request.
    pub(super) keep_alive: Duration,
    /// Connections without a request are closed.
    pub(super) over: &'a GracefulShutdownSignal,
    /// Knows the date.
    pub(super) clock: &'a ServiceConfig,
}

/// Serves a connection to its end.
pub(super) async fn serve<T: Link + 'static>(
    io: T,
    peer: Option<SocketAddr>,
    app: &impl Serve,
    terms: &Terms<'_>,
) -> io::Result<()> {
    let wire = Rc::new(RefCell::new(Wire::new(io)));
    let mut wait = Wait::new(terms.patience);
    let mut over = pin!(terms.over.notified());
    loop {
        let came = poll_fn(|cx| poll_head(&wire, cx, &mut wait, over.as_mut(), terms)).await;
        let head = match came? {
            Came::Head(head) => *head,
            Came::Nothing => break,
            Came::Late => {
                answer::refuse(&wire, StatusCode::REQUEST_TIMEOUT, terms.clock).await?;
                break;
            }
            Came::Bad(bad) => {
                tracing::debug!(?peer, "no request of HTTP/1.1: {}", bad.reason);
                answer::refuse(&wire, bad.status, terms.clock).await?;
                linger(&wire).await;
                break;
            }
        };
        wire.borrow_mut().begin(head.framing, head.expects_continue);
        let wish = head.wish();
        let request = Request { head: head.into_head(peer), body: request::body(&wire) };
        let serving = app.serve(request);
        let Some(response) = unless_left(&wire, serving).await else { return Ok(()) };
        let stays = Answer::new(response, wish, &wire, terms.clock).send().await?;
        if !stays {
            linger(&wire).await;
            break;
        }
        request::skip_empty_lines(wire.borrow_mut().buffer());
        let is_idle = wire.borrow().is_idle();
        let patience = if is_idle { terms.keep_alive } else { terms.patience };
        wait.begin(patience);
    }
    let closed = poll_fn(|cx| wire.borrow_mut().poll_shutdown(cx));
    tokio::time::timeout(LINGER, closed).await.unwrap_or(Ok(()))
}

/// What has become of the wait for a request.
enum Came {
    Head(Box<Head>),
    /// None, and none will come.
    Nothing,
    /// The beginning of one, for too long.
    Late,
    Bad(Bad),
}

/// What is wrong with a head.
struct Bad {
    status: StatusCode,
    reason: &'static str,
}

impl Bad {
    const fn request(reason: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason }
    }

    const fn too_large(reason: &'static str) -> Self {
        Self { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason }
    }
}

/// How long a request is waited for.
struct Wait {
    alarm: Alarm,
    end: Instant,
}

impl Wait {
    fn new(patience: Duration) -> Self {
        let now = Instant::now();
        let mut wait = Self { alarm: Alarm::new(now + SOON), end: now };
        wait.begin(patience);
        wait
    }

    fn begin(&mut self, patience: Duration) {
        let now = Instant::now();
        self.end = now + patience;
        self.alarm.set(now + patience.min(SOON));
    }

    /// Ready when it has been long enough. On the way there an idle connection gives up its buffers.
    fn poll<T>(&mut self, cx: &mut Context<'_>, wire: &mut Wire<T>) -> Poll<()> {
        while self.alarm.poll(cx).is_ready() {
            if Instant::now() >= self.end {
                return Poll::Ready(());
            }
            wire.slim();
            self.alarm.set(self.end);
        }
        Poll::Pending
    }
}

fn poll_head<T: Link>(
    wire: &RefCell<Wire<T>>,
    cx: &mut Context<'_>,
    wait: &mut Wait,
    over: Pin<&mut impl Future<Output = ()>>,
    terms: &Terms<'_>,
) -> Poll<io::Result<Came>> {
    let mut wire = wire.borrow_mut();
    let was_idle = wire.is_idle();
    loop {
        match request::read(wire.buffer()) {
            Ok(Some(head)) => return Poll::Ready(Ok(Came::Head(Box::new(head)))),
            Ok(None) => {}
            Err(bad) => return Poll::Ready(Ok(Came::Bad(bad))),
        }
        match wire.poll_read(cx)? {
            Poll::Ready(0) => return Poll::Ready(Ok(Came::Nothing)),
            Poll::Ready(_) => {}
            Poll::Pending => break,
        }
    }
    if wire.is_idle() && over.poll(cx).is_ready() {
        return Poll::Ready(Ok(Came::Nothing));
    }
    if was_idle && !wire.is_idle() {
        // A head has begun, and may take its time from here.
        wait.begin(terms.patience);
    }
    match wait.poll(cx, &mut wire) {
        Poll::Ready(()) if wire.is_idle() => Poll::Ready(Ok(Came::Nothing)),
        Poll::Ready(()) => Poll::Ready(Ok(Came::Late)),
        Poll::Pending => Poll::Pending,
    }
}

/// What `serving` comes to; `None` once the client has left.
async fn unless_left<T: Link, F: Future>(wire: &RefCell<Wire<T>>, serving: F) -> Option<F::Output> {
    let mut serving = pin!(serving);
    poll_fn(|cx| match serving.as_mut().poll(cx) {
        Poll::Ready(served) => Poll::Ready(Some(served)),
        Poll::Pending => wire.borrow_mut().poll_left(cx).map(|()| None),
    })
    .await
}

/// Says that no more will be said, and hears out for a while what the client is still saying: closed at
/// once, its end of the connection might break before it has read the answer.
async fn linger<T: Link>(wire: &RefCell<Wire<T>>) {
    if wire.borrow().is_silent() {
        return;
    }
    let heard_out = async {
        poll_fn(|cx| wire.borrow_mut().poll_shutdown(cx)).await?;
        poll_fn(|cx| wire.borrow_mut().poll_discard(cx)).await
    };
    let _ = tokio::time::timeout(LINGER, heard_out).await;
}
