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

/// awc ends a body in the same way whether it is whole or its connection was closed: where a length
/// was announced it is counted here.
pub(super) struct UpstreamBody {
    answer: ClientResponse,
    missing: Option<u64>,
}

impl Stream for UpstreamBody {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
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
    let missing = announced(&answer)?;
    let (status, body) = (answer.status(), UpstreamBody { answer, missing });
    Ok(Answer { status, body: AnswerBody::Upstream(body) })
}

/// The length of the body, where its head says it.
///
/// awc takes an HTTP/1.1 answer without a length for an empty one, though its body goes on until the
/// connection is closed: an answer that was paid for would be shown as nothing.
fn announced(answer: &ClientResponse) -> Result<Option<u64>, UpstreamError> {
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
