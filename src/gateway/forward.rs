//! Sends a call to its provider and takes delivery of the head of the answer. The only place that
//! knows awc.

use std::fmt::Display;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};
use actix_web::http::{Method, StatusCode, Uri, Version};
use awc::ClientResponse;
use awc::error::{ConnectError, SendRequestError};
use bytes::Bytes;
use futures_util::Stream;
use secrecy::ExposeSecret;
use tokio::time::{Instant, Sleep};

use super::Errand;
use super::carry::{self, Outgoing};
use super::headers::goes_upstream;
use super::route::Destination;
use super::trace::TRACEPARENT;
use super::upload::{FormBody, Upload};
use super::upstreams::{Key, Upstream};
use super::{signing, turn};
use crate::clock;
use crate::config::Timeouts;
use crate::error::{ApiError, UpstreamError};
use crate::provider::echo;
use crate::provider::endpoint::Dialect;
use crate::provider::event_stream::Decoder;
use crate::provider::request::{self, Edits};

/// An answer whose head has come.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: AnswerBody,
}

impl AnswerBody {
    /// The headers that came before it.
    pub(super) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Upstream(body) => body.answer.headers(),
            Self::Echo(echo) => &echo.headers,
        }
    }
}

/// The bytes of an answer as they come.
pub(super) enum AnswerBody {
    Upstream(UpstreamBody),
    Echo(Box<EchoBody>),
}

/// awc ends a body in the same way whether it is whole or its connection was closed: where a length
/// was announced it is counted here.
pub(super) struct UpstreamBody {
    answer: ClientResponse,
    missing: Option<u64>,
    /// Takes AWS's frames off its events; nobody behind this knows them.
    frames: Option<Box<Decoder>>,
    /// awc panics when it is asked for more after the end.
    is_over: bool,
}

impl UpstreamBody {
    /// The next bytes as the provider sent them.
    fn poll_sent(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let item = self.poll_rest(context);
        self.is_over = matches!(item, Poll::Ready(None | Some(Err(_))));
        item
    }

    fn poll_rest(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.answer).poll_next(context)) {
            Some(Ok(chunk)) => {
                if let Some(missing) = &mut self.missing {
                    *missing = missing.saturating_sub(chunk.len() as u64);
                }
                Some(Ok(chunk))
            }
            Some(Err(_)) => Some(Err(UpstreamError::Broken)),
            None if self.missing.take().is_some_and(|missing| missing > 0) => {
                Some(Err(UpstreamError::Broken))
            }
            None => None,
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

/// What an attempt is sent with beside its call.
pub(super) struct Sending<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) key: Option<&'a Key>,
    pub(super) client_headers: &'a HeaderMap,
    pub(super) timeouts: &'a Timeouts,
    /// When the whole call must have ended.
    pub(super) end: Instant,
    /// Our span, where the call is traced: the provider's is inside it.
    pub(super) traceparent: Option<String>,
}

/// Sends a call and waits for the head of the answer, for as long as the provider may be silent.
///
/// Dropping the future closes the connection.
pub(super) async fn send(
    sending: &Sending<'_>,
    outgoing: Outgoing,
    errand: &Errand<'_>,
) -> Result<Answer, UpstreamError> {
    let Sending { upstream, key, client_headers, timeouts, end, traceparent } = sending;
    let Outgoing { endpoint, model, query, .. } = &outgoing;
    let uri = upstream.uri(*endpoint, model, *query).ok_or(UpstreamError::Unreachable)?;
    let signature = signature(upstream, &uri, &outgoing.body)?;
    let mut request = upstream.client.request(Method::POST, uri);
    let headers = request.headers_mut();
    let native = outgoing.about.is_none().then_some(upstream.provider.kind.dialect());
    for (name, value) in *client_headers {
        if goes_upstream(client_headers, name, native) {
            headers.append(name.clone(), value.clone());
        }
    }
    if outgoing.about.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &upstream.usual_headers {
        if !headers.contains_key(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
    // The meter reads what comes, and a compressed stream would not flow.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(value) = traceparent.as_ref().and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(TRACEPARENT, value);
    }
    authorize(upstream, *key, headers);
    for (name, value) in signature {
        headers.insert(name, value);
    }
    let patience =
        Duration::from_millis(timeouts.connect_ms.saturating_add(timeouts.first_byte_ms));
    turn::together().await;
    let request = request.no_decompress();
    let upload = errand.upload.as_ref();
    let sent = match upload {
        Some(upload) => {
            let upload = Rc::clone(upload);
            request.send_body(FormBody::new(outgoing.body, errand.body.len(), upload))
        }
        None => request.send_body(outgoing.body),
    };
    let answer = in_time(sent, patience, *end, upload).await?.map_err(|e| classify(&e))?;
    let missing = announced(&answer).inspect_err(|_| upstream.taint())?;
    let frames = has_frames(answer.headers()).then(Box::default);
    let (status, body) =
        (answer.status(), UpstreamBody { answer, missing, frames, is_over: false });
    Ok(Answer { status, body: AnswerBody::Upstream(body) })
}

/// Waits for an answer as long as the provider may be silent. While a form flows, the silence begins anew
/// with each piece of it, and the client's own is not the provider's.
async fn in_time<T>(
    sent: impl Future<Output = T>,
    patience: Duration,
    end: Instant,
    upload: Option<&Rc<Upload>>,
) -> Result<T, UpstreamError> {
    let mut sent = pin!(sent);
    loop {
        let before = upload.map(|upload| upload.progress());
        let limit = (Instant::now() + patience).min(end);
        if let Ok(answer) = tokio::time::timeout_at(limit, sent.as_mut()).await {
            return Ok(answer);
        }
        let now = upload.map(|upload| upload.progress());
        let goes_on = now != before || now.is_some_and(|(_, waits)| waits);
        if !goes_on || Instant::now() >= end {
            return Err(UpstreamError::TimedOut);
        }
    }
}

/// Puts the provider's credentials in, over whatever a client or a usual header said.
fn authorize(upstream: &Upstream, key: Option<&Key>, headers: &mut HeaderMap) {
    for (name, value) in &upstream.headers {
        headers.insert(name.clone(), value.clone());
    }
    if let Some(key) = key {
        headers.insert(key.name.clone(), key.value.clone());
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
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Asks a provider something of our own, and reads at most `limit` bytes of its answer.
pub(super) async fn get(
    upstream: &Upstream,
    uri: Uri,
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

/// Asks with one of the provider's keys.
pub(super) async fn ask(
    upstream: &Upstream,
    key: Option<&Key>,
    uri: Uri,
    limit: usize,
) -> Result<Reply, NoReply> {
    let mut request = upstream.client.get(uri);
    let headers = request.headers_mut();
    for (name, value) in &upstream.usual_headers {
        headers.insert(name.clone(), value.clone());
    }
    authorize(upstream, key, headers);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let sent = request.no_decompress().send().await;
    let no_reply = |error, reason: &dyn Display| NoReply { error, reason: reason.to_string() };
    let mut answer = sent.map_err(|error| no_reply(classify(&error), &error))?;
    let body = answer.body().limit(limit).await;
    let body = body.map_err(|error| no_reply(UpstreamError::Broken, &error))?;
    Ok(Reply { status: answer.status(), headers: answer.headers().clone(), body })
}

/// Whether an answer is a stream of events in AWS's binary frames.
pub(super) fn has_frames(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    value.eq_ignore_ascii_case(b"application/vnd.amazon.eventstream")
}

/// The length of the body, where its head says it.
///
/// A provider may send interim answers (1xx) of which nobody asked for one; awc takes the first for the
/// answer itself, and the one that follows would be the next call's. Neither may happen. And awc takes an HTTP/1.1 answer without a length for an empty one, though its body goes on until the
/// connection is closed: an answer that was paid for would be shown as nothing.
fn announced(answer: &ClientResponse) -> Result<Option<u64>, UpstreamError> {
    if answer.status().is_informational() {
        tracing::warn!("a provider sent an interim answer that nobody asked for");
        return Err(UpstreamError::Broken);
    }
    let headers = answer.headers();
    if headers.contains_key(TRANSFER_ENCODING) {
        return Ok(None);
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let may_have_body = answer.status().is_success() && answer.status() != StatusCode::NO_CONTENT;
    if length.is_none() && may_have_body && answer.version() == Version::HTTP_11 {
        tracing::warn!(
            "a provider's answer has neither a length nor chunks: such a body cannot be read"
        );
        return Err(UpstreamError::Broken);
    }
    Ok(length)
}

/// Whether the provider can have seen the request, and so may charge for it.
fn classify(error: &SendRequestError) -> UpstreamError {
    tracing::debug!(%error, "the provider did not answer");
    match error {
        // awc's word for a connection that was made and then closed without an answer.
        SendRequestError::Connect(ConnectError::Disconnected) => UpstreamError::Broken,
        SendRequestError::Url(_) | SendRequestError::Connect(_) => UpstreamError::Unreachable,
        SendRequestError::Timeout => UpstreamError::TimedOut,
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
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Answer {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
        body: AnswerBody::Echo(Box::new(EchoBody { headers, frames, next: None })),
    }
}

/// The built-in provider's answer, at its own pace.
pub(super) struct EchoBody {
    headers: HeaderMap,
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
