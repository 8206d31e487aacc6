//! An application of `actix_web`, which serves the dashboard and the admin API, on connections of ours; and
//! the gateway as a part of it, for the playground.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_http::body::{BodySize, BodyStream, MessageBody, SizedStream};
use actix_http::{BoxedPayloadStream, HttpMessage as _, Payload};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::ConnectionType;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::Uri;

use crate::admin::http::{OverTls, PLAYGROUND};
use crate::fields::Headers;
use crate::gateway::Gateway;
use crate::message::{Body, Head, Request, Response, Serve, Target};

/// An application as connections know it.
pub(super) struct Site<S>(pub(super) S);

impl<S, B> Serve for Site<S>
where
    S: Service<actix_http::Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    async fn serve(&self, request: Request) -> Response {
        match self.0.call(to_site(request)).await {
            Ok(response) => from_site(response.into()),
            Err(error) => from_site(error.error_response().into()),
        }
    }
}

fn to_site(Request { head, body }: Request) -> actix_http::Request {
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => PayloadError::Incomplete(None),
        _ => PayloadError::Io(error),
    };
    let payload = match body {
        Body::Whole(bytes) if bytes.is_empty() => Payload::None,
        body => {
            let payload: BoxedPayloadStream = Box::pin(body.map_err(broken));
            Payload::Stream { payload }
        }
    };
    let mut request = actix_http::Request::with_payload(payload);
    if head.over_tls {
        request.extensions_mut().insert(OverTls);
    }
    let to = request.head_mut();
    to.headers = map_of(&head.headers);
    to.method = head.method;
    // Nothing is at an asterisk, as little as at no path.
    to.uri = head.target.as_str().parse().unwrap_or_else(|_| Uri::from_static("*"));
    to.version = head.version;
    to.peer_addr = head.peer;
    request
}

fn map_of(headers: &Headers) -> HeaderMap {
    let pair = |(name, value)| {
        Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    headers.iter().filter_map(pair).collect()
}

fn from_site<B: MessageBody + 'static>(response: actix_http::Response<B>) -> Response {
    let (response, body) = response.into_parts();
    let length = match body.size() {
        BodySize::None => Some(0),
        BodySize::Sized(length) => Some(length),
        BodySize::Stream => None,
    };
    let body = body
        .try_into_bytes()
        .map_or_else(|body| Body::Flow(length, Box::pin(Parts(Box::pin(body)))), Body::Whole);
    Response {
        status: response.status(),
        headers: headers_of(response.headers()),
        body,
        closes: response.head().connection_type() == ConnectionType::Close,
    }
}

fn headers_of(map: &HeaderMap) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in map {
        headers.add(name, value);
    }
    headers
}

/// A body of an application's answer.
struct Parts<B>(Pin<Box<B>>);

impl<B: MessageBody> Stream for Parts<B> {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let part = ready!(self.get_mut().0.as_mut().poll_next(context));
        Poll::Ready(
            part.map(|part| part.map_err(|error| io::Error::other(error.into().to_string()))),
        )
    }
}

/// Has the gateway serve what an application was asked below the playground's path.
pub(super) async fn play(
    gateway: web::Data<Gateway>,
    head: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    to_handler(gateway.serve(from_handler(&head, payload)).await)
}

fn from_handler(head: &HttpRequest, payload: web::Payload) -> Request {
    let target = head.uri().path_and_query().map_or("", |target| target.as_str());
    let below = target.strip_prefix(PLAYGROUND);
    let head = Head {
        method: head.method().clone(),
        target: below.and_then(Target::parse).unwrap_or_default(),
        root: PLAYGROUND,
        version: head.version(),
        headers: headers_of(head.headers()),
        peer: head.peer_addr(),
        over_tls: head.extensions().contains::<OverTls>(),
        key: head.extensions().get().copied(),
    };
    let broken = |error: PayloadError| io::Error::other(error.to_string());
    Request { head, body: Body::flow(payload.map(move |part| part.map_err(broken))) }
}

fn to_handler(response: Response) -> HttpResponse {
    let mut builder = HttpResponse::build(response.status);
    if response.closes {
        builder.force_close();
    }
    for (name, value) in response.headers.iter() {
        builder.append_header((name, value));
    }
    match response.body {
        Body::Whole(bytes) => builder.body(bytes),
        Body::Flow(Some(length), flow) => builder.body(SizedStream::new(length, flow)),
        Body::Flow(None, flow) => builder.body(BodyStream::new(flow)),
    }
}
