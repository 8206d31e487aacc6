//! Sends a call to its provider and takes delivery of the head of the answer. The only place that
//! knows awc.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING,
};
use actix_web::http::{Method, StatusCode, Version};
use awc::ClientResponse;
use awc::error::{ConnectError, SendRequestError};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Sleep;

use super::headers::goes_upstream;
use super::upstreams::Upstream;
use crate::config::Timeouts;
use crate::domain::request_id::RequestId;
use crate::error::UpstreamError;
use crate::provider::echo;
use crate::provider::endpoint::Endpoint;
use crate::provider::request::{Call, Edits};

/// An answer whose head has come.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: AnswerBody,
}

impl Answer {
    pub(super) fn headers(&self) -> &HeaderMap {
        match &self.body {
            AnswerBody::Upstream(body) => body.answer.headers(),
            AnswerBody::Echo(echo) => &echo.headers,
        }
    }
}

/// The bytes of an answer as they come.
pub(super) enum AnswerBody {
    Upstream(UpstreamBody),
    Echo(Box<EchoBody>),
}

/// A provider's answer, held to the length it announced: awc takes a connection that closes early for
/// the answer's end.
pub(super) struct UpstreamBody {
    answer: ClientResponse,
    /// Bytes that have been announced and not come yet; `None` where no length was.
    missing: Option<u64>,
}

impl UpstreamBody {
    fn new(answer: ClientResponse) -> Self {
        let length = answer.headers().get(CONTENT_LENGTH);
        let missing = length.and_then(|length| length.to_str().ok()?.trim().parse().ok());
        Self { answer, missing }
    }
}

impl Stream for UpstreamBody {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(Pin::new(&mut self.answer).poll_next(context));
        Poll::Ready(match item {
            Some(Ok(chunk)) => {
                let came = chunk.len() as u64;
                self.missing = self.missing.map(|missing| missing.saturating_sub(came));
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

impl Stream for AnswerBody {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::Upstream(body) => Pin::new(body).poll_next(context),
            Self::Echo(body) => Pin::new(&mut **body).poll_next(context).map(|item| item.map(Ok)),
        }
    }
}

/// Sends `body` and waits for the head of the answer, for as long as the provider may be silent.
///
/// Dropping the future closes the connection.
pub(super) async fn send(
    upstream: &Upstream,
    endpoint: Endpoint,
    client_headers: &HeaderMap,
    body: Bytes,
    timeouts: &Timeouts,
) -> Result<Answer, UpstreamError> {
    let uri = upstream.uri(endpoint).ok_or(UpstreamError::Unreachable)?;
    let mut request = upstream.client.request(Method::POST, uri);
    let headers = request.headers_mut();
    for (name, value) in client_headers {
        if goes_upstream(client_headers, name) {
            headers.append(name.clone(), value.clone());
        }
    }
    for (name, value) in &upstream.headers {
        headers.insert(name.clone(), value.clone());
    }
    // The meter reads what comes, and a compressed stream would not flow.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let patience =
        Duration::from_millis(timeouts.connect_ms.saturating_add(timeouts.first_byte_ms));
    let answer = tokio::time::timeout(patience, request.no_decompress().send_body(body)).await;
    let answer = answer.map_err(|_| UpstreamError::TimedOut)?.map_err(|e| classify(&e))?;
    let status = answer.status();
    if has_lost_body(&answer) {
        tracing::warn!("a provider's answer has neither a length nor chunks and cannot be read");
        return Err(UpstreamError::Broken);
    }
    Ok(Answer { status, body: AnswerBody::Upstream(UpstreamBody::new(answer)) })
}

/// Whether the answer's body goes on until its connection is closed. awc takes such a body in HTTP/1.1
/// for an empty one: an answer that was paid for would be shown as nothing.
fn has_lost_body(answer: &ClientResponse) -> bool {
    let bounds = [CONTENT_LENGTH, TRANSFER_ENCODING];
    answer.version() == Version::HTTP_11
        && answer.status().is_success()
        && answer.status() != StatusCode::NO_CONTENT
        && !bounds.iter().any(|name| answer.headers().contains_key(name))
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
pub(super) fn echo(call: &Call, edits: &Edits<'_>, body: &[u8], id: RequestId) -> Answer {
    let created = id.began().millis() / 1000;
    let answer = echo::answer(call, edits, body, created, &format!("echo-{id}"));
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
