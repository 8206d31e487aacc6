//! Sends a call to its provider and takes delivery of the head of the answer.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use secrecy::ExposeSecret;
use tokio::time::{Instant, Sleep};

use super::Errand;
use super::carry::{self, Outgoing};
use super::headers::{CONTENT_TYPE, Upward};
use super::route::Destination;
use super::trace::TRACEPARENT;
use super::upload::Upload;
use super::upstreams::{Key, Upstream};
use super::{signing, turn};
use crate::client::{self, Client, ClientError, Ready, Request};
use crate::clock;
use crate::config::Timeouts;
use crate::error::{ApiError, UpstreamError};
use crate::fields::Headers;
use crate::provider::echo;
use crate::provider::endpoint::Dialect;
use crate::provider::event_stream::Decoder;
use crate::provider::request::{self, Edits};

/// An answer whose head has come.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Headers,
    pub(super) body: AnswerBody,
}

/// The bytes of an answer as they come.
pub(super) enum AnswerBody {
    Upstream(UpstreamBody),
    Echo(Box<EchoBody>),
}

impl AnswerBody {
    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Upstream(body) => body.frames.is_none() && body.sent.is_over(),
            Self::Echo(_) => false,
        }
    }

    /// Whether it would be told if it broke off.
    pub(super) fn has_an_end(&self) -> bool {
        match self {
            Self::Upstream(body) => body.sent.has_an_end(),
            Self::Echo(_) => true,
        }
    }
}

/// An answer of a provider.
pub(super) struct UpstreamBody {
    sent: client::Body,
    /// Takes AWS's frames off its events; nobody behind this knows them.
    frames: Option<Box<Decoder>>,
}

impl UpstreamBody {
    /// The next bytes as the provider sent them.
    fn poll_sent(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        Pin::new(&mut self.sent).poll_next(context).map(|item| {
            item.map(|part| {
                part.map_err(|error| {
                    tracing::debug!(%error, "an answer broke off");
                    UpstreamError::Broken
                })
            })
        })
    }
}

impl Stream for UpstreamBody {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let item = ready!(self.poll_sent(context));
            let Some(frames) = &mut self.frames else { return Poll::Ready(item) };
            let events = match item {
                Some(Ok(chunk)) => frames.push(&chunk),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let last = frames.finish();
                    self.frames = None;
                    return Poll::Ready((!last.is_empty()).then_some(Ok(last)));
                }
            };
            if !events.is_empty() {
                return Poll::Ready(Some(Ok(events)));
            }
        }
    }
}

impl Stream for AnswerBody {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::Upstream(body) => Pin::new(body).poll_next(context),
            Self::Echo(body) => Pin::new(&mut **body).poll_next(context).map(|item| item.map(Ok)),
        }
    }
}

/// What goes along with a request in its head.
pub(super) struct Along<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) key: Option<&'a Key>,
    pub(super) client_headers: &'a Headers,
    /// Our span, where the call is traced: the provider's is inside it.
    pub(super) traceparent: Option<String>,
}

/// What an attempt is sent with beside its call.
pub(super) struct Sending<'a> {
    pub(super) along: Along<'a>,
    pub(super) timeouts: &'a Timeouts,
    /// When the whole call must have ended.
    pub(super) end: Instant,
}

/// Sends a call and waits for the head of the answer, for as long as the provider may be silent.
///
/// Dropping the future closes the connection.
pub(super) async fn send(
    sending: &Sending<'_>,
    outgoing: Outgoing,
    errand: &Errand<'_>,
) -> Result<Answer, UpstreamError> {
    let Sending { along, timeouts, end } = sending;
    let upstream = along.upstream;
    let Outgoing { endpoint, model, query, .. } = &outgoing;
    let uri = upstream.uri(*endpoint, model, *query).ok_or(UpstreamError::Unreachable)?;
    let client = upstream.client.as_ref().ok_or(UpstreamError::Unreachable)?;
    let signature = signature(upstream, &uri, &outgoing.body)?;
    let mut request = client.request(&Method::POST, &uri);
    write_head(&mut request, along, outgoing.about.is_some(), &signature);
    turn::together().await;
    let ready = match client.at_rest().await {
        Some(ready) => ready,
        // Rare and large: it must not make every call's future as large.
        None => Box::pin(connection(client, timeouts, *end)).await?,
    };
    let first_byte = Duration::from_millis(timeouts.first_byte_ms);
    let sent = match &errand.upload {
        None => {
            let until = (Instant::now() + first_byte).min(*end);
            ready.send(request, client::Outgoing::Whole(outgoing.body), Some(until)).await
        }
        Some(upload) => {
            let flow = Rc::clone(upload).flow(outgoing.body, errand.body.len());
            let sent = Box::pin(ready.send(request, flow, None));
            in_time(sent, first_byte, *end, upload).await?
        }
    };
    let client::Answer { status, headers, body } = sent.map_err(|error| classify(&error))?;
    let frames = has_frames(&headers).then(Box::default);
    Ok(Answer { status, headers, body: AnswerBody::Upstream(UpstreamBody { sent: body, frames }) })
}

/// Waits for a connection. Whoever stands in line for a provider, or is still connecting, has asked it
/// nothing: it may go elsewhere and owes nothing, and it does not wait for longer than for an answer.
async fn connection(
    client: &Client,
    timeouts: &Timeouts,
    end: Instant,
) -> Result<Ready, UpstreamError> {
    let connect = Duration::from_millis(timeouts.connect_ms);
    let limit = Instant::now() + connect + Duration::from_millis(timeouts.first_byte_ms);
    let ready = tokio::time::timeout_at(limit.min(end), client.ready()).await;
    ready.map_err(|_| UpstreamError::Unreachable)?.map_err(|error| classify(&error))
}

/// Writes what goes along with a call: of the client's headers those that may, and over them what the
/// provider wants, its credentials above all.
fn write_head(
    request: &mut Request,
    along: &Along<'_>,
    is_translated: bool,
    signature: &[(HeaderName, HeaderValue)],
) {
    let Along { upstream, key, client_headers, traceparent } = along;
    let native = (!is_translated).then_some(upstream.provider.kind.dialect());
    let is_signed =
        |name: &[u8]| signature.iter().any(|(signed, _)| signed.as_str().as_bytes() == name);
    let is_key = |name: &[u8]| key.is_some_and(|key| key.name.as_bytes() == name);
    let is_wanted =
        |name: &[u8]| upstream.headers.contains(name) || is_key(name) || is_signed(name);
    let is_ours = |name: &[u8]| {
        is_wanted(name)
            || (is_translated && name == CONTENT_TYPE.as_bytes())
            || (traceparent.is_some() && name == TRACEPARENT.as_bytes())
    };
    let upward = Upward::new(client_headers, native);
    let goes = |name: &[u8]| upward.goes(name) && !is_ours(name);
    for (name, value) in client_headers.iter().filter(|(name, _)| goes(name)) {
        request.header(name, value);
    }
    for (name, value) in upstream.usual_headers.iter() {
        let is_there = client_headers.contains(name) && goes(name);
        if !is_there && !is_ours(name) {
            request.header(name, value);
        }
    }
    // The meter reads what comes, and a compressed stream would not flow.
    let ours = [
        ("accept-encoding", Some("identity")),
        (CONTENT_TYPE, is_translated.then_some("application/json")),
        (TRACEPARENT, traceparent.as_deref()),
    ];
    for (name, value) in ours {
        if let Some(value) = value.filter(|_| !is_wanted(name.as_bytes())) {
            request.header(name, value.as_bytes());
        }
    }
    for (name, value) in upstream.headers.iter() {
        if !is_key(name) && !is_signed(name) {
            request.header(name, value);
        }
    }
    if let Some(key) = key.filter(|key| !is_signed(key.name.as_bytes())) {
        request.header(key.name, key.value.expose_secret().as_bytes());
    }
    for (name, value) in signature {
        request.header(name.as_str(), value.as_bytes());
    }
}

/// Waits for the answer to a form that flows, as long as the provider may be silent: its silence begins anew
/// with each piece of the form, and the client's own is not the provider's.
async fn in_time<T>(
    mut sent: Pin<Box<impl Future<Output = T>>>,
    patience: Duration,
    end: Instant,
    upload: &Upload,
) -> Result<T, UpstreamError> {
    loop {
        let before = upload.progress();
        let limit = (Instant::now() + patience).min(end);
        if let Ok(answer) = tokio::time::timeout_at(limit, sent.as_mut()).await {
            return Ok(answer);
        }
        let (came, waits) = upload.progress();
        let goes_on = waits || (came, waits) != before;
        if !goes_on || Instant::now() >= end {
            return Err(UpstreamError::TimedOut);
        }
    }
}

/// Signs the call where the provider wants that. The signature covers address and body as they go out.
fn signature(
    upstream: &Upstream,
    uri: &Uri,
    body: &[u8],
) -> Result<Vec<(HeaderName, HeaderValue)>, UpstreamError> {
    let Some(aws) = &upstream.provider.aws else { return Ok(Vec::new()) };
    let Some(keys) = &aws.credentials else { return Ok(Vec::new()) };
    let credentials = signing::Credentials::AccessKeys {
        id: keys.access_key_id.expose_secret(),
        secret: keys.secret_access_key.expose_secret(),
        session_token: keys.session_token.as_ref().map(ExposeSecret::expose_secret),
    };
    let uri = uri.to_string();
    let call =
        signing::Unsigned { method: "POST", uri: &uri, content_type: "application/json", body };
    signing::sign(credentials, &aws.region, call, clock::now()).map_err(|error| {
        tracing::error!(provider = &*upstream.provider.name, "{error}");
        UpstreamError::Unreachable
    })
}

/// What a provider said to something of our own.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
}

/// Asks a provider something of our own, and reads at most `limit` bytes of its answer.
pub(super) async fn get(
    upstream: &Upstream,
    uri: &Uri,
    limit: usize,
) -> Result<Bytes, UpstreamError> {
    let key = upstream.key(|_| true);
    let reply = ask(upstream, key, uri, limit).await.map_err(|no_reply| no_reply.error)?;
    if reply.status.is_success() { Ok(reply.body) } else { Err(UpstreamError::Broken) }
}

/// Why nothing came, for the gateway and for people.
pub(super) struct NoReply {
    pub(super) error: UpstreamError,
    pub(super) reason: String,
}

impl From<ClientError> for NoReply {
    fn from(error: ClientError) -> Self {
        Self { error: classify(&error), reason: error.to_string() }
    }
}

/// Asks with one of the provider's keys.
pub(super) async fn ask(
    upstream: &Upstream,
    key: Option<&Key>,
    uri: &Uri,
    limit: usize,
) -> Result<Reply, NoReply> {
    let nowhere =
        || NoReply { error: UpstreamError::Unreachable, reason: "there is no address".to_owned() };
    let client = upstream.client.as_ref().ok_or_else(nowhere)?;
    let mut request = client.request(&Method::GET, uri);
    let along = Along { upstream, key, client_headers: &Headers::default(), traceparent: None };
    write_head(&mut request, &along, false, &[]);
    let answer = client.ready().await?.send(request, client::Outgoing::None, None).await?;
    let client::Answer { status, headers, mut body } = answer;
    let mut whole = BytesMut::new();
    while let Some(part) = body.next().await {
        whole.extend_from_slice(&part?);
        if whole.len() > limit {
            let reason = format!("its answer is longer than {limit} bytes");
            return Err(NoReply { error: UpstreamError::Broken, reason });
        }
    }
    Ok(Reply { status, headers, body: whole.freeze() })
}

/// Whether an answer is a stream of events in AWS's binary frames.
pub(super) fn has_frames(headers: &Headers) -> bool {
    let value = headers.get(CONTENT_TYPE).unwrap_or_default();
    value.eq_ignore_ascii_case(b"application/vnd.amazon.eventstream")
}

/// Whether the provider can have seen the request, and so may charge for it.
fn classify(error: &ClientError) -> UpstreamError {
    tracing::debug!(%error, "the provider did not answer");
    match error {
        ClientError::Late => UpstreamError::TimedOut,
        _ if error.is_unsent() => UpstreamError::Unreachable,
        _ => UpstreamError::Broken,
    }
}

/// What the built-in provider answers.
pub(super) fn echo(errand: &Errand<'_>, target: &Destination, outgoing: &Outgoing) -> Answer {
    let (created, name) = (errand.id.began().millis() / 1000, format!("echo-{}", errand.id));
    let answer = if outgoing.about.is_some() {
        // What was made of a call can be read as one.
        match request::read(outgoing.endpoint, &request::Head::default(), &outgoing.body) {
            Ok(call) => echo::answer(&call, &Edits::default(), &outgoing.body, created, &name),
            Err(error) => {
                let body = ApiError::BadRequest(error).body(Dialect::OpenAi, None);
                echo::Answer::Json { status: 400, body: Bytes::from(body) }
            }
        }
    } else {
        echo::answer(errand.call, &carry::edits(errand, target), errand.body, created, &name)
    };
    let (status, content_type, frames) = match answer {
        echo::Answer::Json { status, body } => {
            let whole = echo::Frame { delay_ms: 0, bytes: body };
            (status, "application/json", Frames::Whole(std::iter::once(whole)))
        }
        echo::Answer::Stream(stream) => (200, "text/event-stream", Frames::Stream(stream)),
    };
    let mut headers = Headers::default();
    headers.add(CONTENT_TYPE, content_type);
    Answer {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
        headers,
        body: AnswerBody::Echo(Box::new(EchoBody { frames, next: None })),
    }
}

/// The built-in provider's answer, at its own pace.
pub(super) struct EchoBody {
    frames: Frames,
    next: Option<(Pin<Box<Sleep>>, Bytes)>,
}

enum Frames {
    Whole(std::iter::Once<echo::Frame>),
    Stream(echo::Stream),
}

impl Stream for EchoBody {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.next.is_none() {
            let frame = match &mut self.frames {
                Frames::Whole(whole) => whole.next(),
                Frames::Stream(stream) => stream.next(),
            };
            let Some(frame) = frame else { return Poll::Ready(None) };
            let pause = tokio::time::sleep(Duration::from_millis(frame.delay_ms));
            self.next = Some((Box::pin(pause), frame.bytes));
        }
        if let Some((pause, _)) = &mut self.next
            && pause.as_mut().poll(context).is_pending()
        {
            return Poll::Pending;
        }
        Poll::Ready(self.next.take().map(|(_, bytes)| bytes))
    }
}
