//! HTTP/2 (RFC 9113) on a connection that was agreed on for it: each stream is one call to the same
//! service as a request of HTTP/1.1.
//!
//! It is our own because of two promises: a client that resets a stream has left, and its call ends at
//! once and with it the hold; and a gateway that stops tells its connections so and lets their streams end.
//! All calls of a connection live in it, so none outlives it. Streams, headers and what is not yet read
//! are bounded.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::ServiceConfig;
use bytes::{Bytes, BytesMut};
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, Reason, RecvStream, SendStream};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::door::LINGER;
use super::outlet::{Backlog, Outlet};
use crate::fields::Headers;
use crate::gateway::Stopping;
use crate::message::{self, Head, Request, Response, Serve, Target};

/// Calls of one client at the same time; more wait at the client.
const MOST_STREAMS: u32 = 256;
/// As much as HTTP/1.1 takes here.
const LONGEST_HEADERS: u32 = 128 * 1024;
/// What a client may send ahead on a stream, and on all of a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The most that is handed to the connection in one piece.
const PIECE: usize = 16 * 1024;

/// Headers that belong to a connection of HTTP/1.1 (RFC 9113, section 8.2.2).
const OF_CONNECTION: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What a connection is held to.
pub(super) struct Terms<'a> {
    /// For the handshake.
    pub(super) patience: Duration,
    /// How long it may be without a call.
    pub(super) keep_alive: Duration,
    /// How long it may go on with calls once the gateway closes its connections, before it is told that
    /// there will be no more.
    pub(super) last_calls: Duration,
    pub(super) stopping: &'a Stopping,
    /// Knows the date.
    pub(super) clock: &'a ServiceConfig,
}

/// Serves a connection to its end.
pub(super) async fn serve<T>(
    io: T,
    peer: Option<SocketAddr>,
    app: &impl Serve,
    terms: &Terms<'_>,
) -> Result<(), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(LONGEST_HEADERS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let backlog = Backlog::default();
    let handshake = builder.handshake(Outlet::new(io, backlog.clone()));
    let Ok(connection) = tokio::time::timeout(terms.patience, handshake).await else {
        return Ok(());
    };
    let mut connection: Connection<Outlet<T>, Bytes> = connection?;
    let mut pulse = connection.ping_pong();
    let mut calls = FuturesUnordered::new();
    let mut closing = pin!(terms.stopping.closing());
    let mut end = pin!(tokio::time::sleep(Duration::MAX));
    let mut is_closing = false;
    let mut is_told = false;
    let mut tick = tokio::time::interval(terms.keep_alive);
    tick.reset();
    let mut is_asked = false;
    loop {
        // Between two calls, and not while an answer is on its way: many clients take a word of the end
        // for the end.
        let may_leave = is_closing && calls.is_empty();
        tokio::select! {
            accepted = next_call(&mut connection, may_leave.then_some(&backlog)) => match accepted {
                Next::Call(call) => {
                    let (request, respond) = *call;
                    is_asked = false;
                    tick.reset();
                    calls.push(answer(request, respond, peer, app, terms.clock));
                }
                Next::Idle => return leave(connection, terms.patience).await,
                Next::Over(outcome) => return outcome,
            },
            Some(()) = calls.next(), if !calls.is_empty() => tick.reset(),
            () = &mut closing, if !is_closing => {
                is_closing = true;
                end.as_mut().reset(Instant::now() + terms.last_calls);
            }
            () = &mut end, if is_closing && !is_told => {
                is_told = true;
                connection.graceful_shutdown();
            }
            pong = poll_fn(|cx| poll_pong(pulse.as_mut(), cx)), if is_asked => {
                pong?;
                is_asked = false;
            }
            _ = tick.tick() => {
                if is_asked {
                    // Nobody is there any more.
                    return Ok(());
                }
                is_closing |= calls.is_empty();
                if let Some(pulse) = &mut pulse {
                    pulse.send_ping(Ping::opaque())?;
                    is_asked = true;
                }
            }
        }
    }
}

/// What comes next on a connection.
enum Next {
    Call(Box<(http::Request<RecvStream>, SendResponse<Bytes>)>),
    /// Nothing for now, and everything has gone out.
    Idle,
    Over(Result<(), h2::Error>),
}

/// Waits for the next call; where a backlog is given, only until that is empty.
async fn next_call<T>(connection: &mut Connection<T, Bytes>, backlog: Option<&Backlog>) -> Next
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|cx| match connection.poll_accept(cx) {
        Poll::Ready(Some(Ok(call))) => Poll::Ready(Next::Call(Box::new(call))),
        Poll::Ready(Some(Err(error))) => Poll::Ready(Next::Over(Err(error))),
        Poll::Ready(None) => Poll::Ready(Next::Over(Ok(()))),
        Poll::Pending if backlog.is_some_and(Backlog::is_empty) => Poll::Ready(Next::Idle),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Says goodbye on a connection on which nothing is under way: what comes from now on was not taken, and
/// the client may ask somebody else.
async fn leave<T>(mut connection: Connection<T, Bytes>, patience: Duration) -> Result<(), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    connection.abrupt_shutdown(Reason::NO_ERROR);
    let closed = poll_fn(|cx| connection.poll_closed(cx));
    tokio::time::timeout(patience, closed).await.unwrap_or(Ok(()))
}

fn poll_pong(
    pulse: Option<&mut h2::PingPong>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), h2::Error>> {
    match pulse {
        Some(pulse) => pulse.poll_pong(cx).map(|pong| pong.map(|_| ())),
        None => Poll::Pending,
    }
}

/// Answers one call, unless its client leaves before.
async fn answer(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    peer: Option<SocketAddr>,
    app: &impl Serve,
    clock: &ServiceConfig,
) {
    let is_head = request.method() == Method::HEAD;
    let (parts, body) = request.into_parts();
    let body = Rc::new(RefCell::new(body));
    let serving = app.serve(converted(parts, Body(Rc::clone(&body)), peer));
    let response = tokio::select! {
        response = serving => response,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    send(response, respond, is_head, clock).await;
    let _ = tokio::time::timeout(LINGER, hear_out(&mut Body(body))).await;
}

/// Hears a client out that was answered before it had said all: it would be told to stop, and some take that
/// for all that there is to hear.
async fn hear_out(body: &mut Body) {
    let mut heard = 0;
    while heard < STREAM_WINDOW as usize
        && let Some(Ok(part)) = body.next().await
    {
        heard += part.len();
    }
}

/// A request as whoever serves it knows it from HTTP/1.1.
fn converted(parts: http::request::Parts, body: Body, peer: Option<SocketAddr>) -> Request {
    let mut headers = Headers::default();
    for (name, value) in &parts.headers {
        headers.add(name, value);
    }
    if let Some(authority) = parts.uri.authority() {
        // RFC 9113, section 8.3.1: the authority goes before the header.
        headers.set("host", authority.as_str());
    }
    let (method, target, version) = (parts.method, Target::of(&parts.uri), parts.version);
    let head = Head { method, target, version, headers, peer, ..Head::default() };
    Request { head, body: message::Body::flow(body) }
}

/// The body of a request.
struct Body(Rc<RefCell<RecvStream>>);

impl Stream for Body {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut body = self.0.borrow_mut();
        let chunk = std::task::ready!(body.poll_data(cx));
        Poll::Ready(chunk.map(|chunk| {
            let chunk = chunk.map_err(io::Error::other)?;
            body.flow_control().release_capacity(chunk.len()).map_err(io::Error::other)?;
            Ok(chunk)
        }))
    }
}

/// Sends an answer; what breaks off on the way must not look as if it were whole.
async fn send(
    response: Response,
    mut respond: SendResponse<Bytes>,
    is_head: bool,
    clock: &ServiceConfig,
) {
    let head = response_head(&response, clock);
    let mut body = response.body;
    let is_empty = is_head || body.length() == Some(0);
    let Ok(mut stream) = respond.send_response(head, is_empty) else { return };
    if is_empty {
        return;
    }
    loop {
        let chunk = tokio::select! {
            chunk = body.next() => chunk,
            _ = poll_fn(|cx| stream.poll_reset(cx)) => return,
        };
        let sent = match chunk {
            Some(Ok(chunk)) => send_chunk(&mut stream, chunk).await,
            Some(Err(_)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return;
            }
            None => {
                let _ = stream.send_data(Bytes::new(), true);
                return;
            }
        };
        if sent.is_none() {
            return;
        }
    }
}

/// Sends a piece of a body as the client takes it; `None` if it does not any more.
async fn send_chunk(stream: &mut SendStream<Bytes>, mut chunk: Bytes) -> Option<()> {
    while !chunk.is_empty() {
        stream.reserve_capacity(chunk.len().min(PIECE));
        let capacity = poll_fn(|cx| stream.poll_capacity(cx)).await?.ok()?;
        let piece = chunk.split_to(chunk.len().min(capacity));
        stream.send_data(piece, false).ok()?;
    }
    Some(())
}

fn response_head(response: &Response, clock: &ServiceConfig) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = response.status;
    *head.version_mut() = Version::HTTP_2;
    let headers = head.headers_mut();
    for (name, value) in response.headers.iter() {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            && !OF_CONNECTION.contains(&name)
            && name != header::CONTENT_LENGTH
        {
            headers.append(name, value);
        }
    }
    let has_no_length = response.status == StatusCode::NO_CONTENT;
    if let Some(length) = response.body.length()
        && !has_no_length
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if !headers.contains_key(header::DATE)
        && let Some(date) = date(clock)
    {
        headers.insert(header::DATE, date);
    }
    head
}

/// The present, as headers have it.
fn date(clock: &ServiceConfig) -> Option<HeaderValue> {
    let mut line = BytesMut::new();
    clock.write_date_header(&mut line, false);
    let value = line.strip_prefix(b"date: ")?.trim_ascii_end();
    HeaderValue::from_bytes(value).ok()
}
