//! Sends a call to its provider and takes delivery of the head of the answer. The only place that
//! knows awc.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderValue, ACCEPT_ENCODING};
use actix_web::http::StatusCode;
use awc::ClientResponse;
use awc::error::SendRequestError;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::LocalBoxFuture;

use super::headers::goes_upstream;
use super::upstreams::Upstream;
use crate::config::Timeouts;
use crate::error::UpstreamError;
use crate::provider::echo;
use crate::provider::endpoint::Endpoint;

/// An answer whose head has come.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: AnswerBody,
}

/// The bytes of an answer as they come.
pub(super) enum AnswerBody {
    Upstream(Box<ClientResponse>),
    Echo(EchoBody),
}

impl Stream for AnswerBody {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::Upstream(answer) => Pin::new(answer)
                .poll_next(context)
                .map(|item| item.map(|chunk| chunk.map_err(|_| UpstreamError::Broken))),
            Self::Echo(body) => Pin::new(body).poll_next(context).map(|item| item.map(Ok)),
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
    let patience = Duration::from_millis(timeouts.connect_ms.saturating_add(timeouts.first_byte_ms));
    let answer = tokio::time::timeout(patience, request.no_decompress().send_body(body)).await;
    let answer = answer.map_err(|_| UpstreamError::TimedOut)?.map_err(|e| classify(&e))?;
    Ok(Answer {
        status: answer.status(),
        headers: answer.headers().clone(),
        body: AnswerBody::Upstream(Box::new(answer)),
    })
}

/// Whether the provider can have seen the request, and so may charge for it.
fn classify(error: &SendRequestError) -> UpstreamError {
    tracing::debug!(%error, "the provider did not answer");
    match error {
        SendRequestError::Url(_) | SendRequestError::Connect(_) => UpstreamError::Unreachable,
        SendRequestError::Timeout => UpstreamError::TimedOut,
        _ => UpstreamError::Broken,
    }
}

/// What the built-in provider answers, at its own pace.
pub(super) struct EchoBody {
    events: Box<dyn Iterator<Item = echo::Event>>,
    next: Option<(Pin<Box<tokio::time::Sleep>>, Bytes)>,
}

impl Stream for EchoBody {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.next.is_none() {
            let Some(event) = self.events.next() else { return Poll::Ready(None) };
            let pause = tokio::time::sleep(Duration::from_millis(event.delay_ms));
            self.next = Some((Box::pin(pause), event.bytes));
        }
        match &mut self.next {
            Some((pause, _)) if Future::poll(pause.as_mut(), context).is_pending() => Poll::Pending,
            next => Poll::Ready(next.take().map(|(_, bytes)| bytes)),
        }
    }
}
