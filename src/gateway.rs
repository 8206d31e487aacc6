//! The life of one call, top to bottom. Each step is one function in `gateway/`; their order here is
//! the contract.
//!
//! From admission on there is a [`Settlement`]: whatever happens next, to us, to the provider or to
//! the client, it ends the hold exactly once.

mod admit;
mod body;
mod forward;
mod headers;
mod identify;
mod info;
mod rates;
mod relay;
mod route;
pub mod routes;
mod settlement;
#[cfg_attr(not(test), expect(dead_code, reason = "what sends calls to Bedrock comes apart"))]
mod signing;
mod upstreams;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::FutureExt;
use serde::de::IgnoredAny;

pub use upstreams::tls;

use crate::clock;
use crate::config::{Config, Live};
use crate::domain::receipt::Ending;
use crate::domain::request_id::RequestId;
use crate::error::{ApiError, UpstreamError};
use crate::ledger::account::Account;
use crate::ledger::{Description, Ledger};
use crate::provider::endpoint::Endpoint;
use crate::provider::kind::{Kind, StreamUsage};
use crate::provider::meter::StreamMeter;
use crate::provider::request::{self, Call, Edits};
use crate::provider::usage::read_answer;
use admit::Admission;
use forward::Answer;
use relay::{Gathered, Patience, Relay};
use route::Destination;
use settlement::{Admitted, Asked, Settlement};
use upstreams::Upstreams;

/// Whether the gateway has been told to stop.
#[derive(Debug, Default)]
pub struct Stopping(AtomicBool);

impl Stopping {
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a worker of the gateway may touch.
pub struct Edge {
    live: Arc<Live>,
    ledger: Arc<Ledger>,
    stopping: Arc<Stopping>,
    upstreams: Upstreams,
}

impl Edge {
    pub fn new(
        live: Arc<Live>,
        ledger: Arc<Ledger>,
        stopping: Arc<Stopping>,
        tls: Arc<rustls::ClientConfig>,
    ) -> Self {
        Self { live, ledger, stopping, upstreams: Upstreams::new(tls) }
    }
}

/// Serves one call to an endpoint that takes a model.
async fn serve(
    edge: &Edge,
    endpoint: Endpoint,
    id: RequestId,
    head: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let began = Instant::now();
    let snapshot = edge.live.snapshot();
    let config = &snapshot.config;
    let account = identify::identify(&edge.ledger, config, head, id.began())?;
    let served = serve_key(edge, config, &account, endpoint, (id, began), head, payload).await;
    if !account.record().controls.has_rates() {
        return served;
    }
    let mut response = served.unwrap_or_else(|error| refuse(&error, id, head));
    rates::show(&account, response.headers_mut());
    Ok(response)
}

/// Serves a call of a key that may call.
async fn serve_key(
    edge: &Edge,
    config: &Config,
    account: &Arc<Account>,
    endpoint: Endpoint,
    (id, began): (RequestId, Instant),
    head: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    if edge.stopping.is_stopping() {
        return Err(ApiError::ShuttingDown);
    }
    let content_type = body::check_content_type(endpoint, head.headers())?;
    let body = body::read(head.headers(), payload, config.server.max_body).await?;
    let said = request::Head { model: None, content_type: content_type.as_deref() };
    let call = request::read(endpoint, &said, &body)?;
    let destination = route::choose(config, &account.record(), endpoint, &call.model)?;

    let description = describe(id, &call, &destination);
    let floor = config.limits.min_output_tokens;
    let Admission { hold, cap } = admit::admit(
        &edge.ledger,
        account,
        (&call, &body),
        &destination,
        &description,
        floor,
        id.began(),
    )
    .await?;
    let admitted = Admitted {
        description,
        provider: Arc::clone(&destination.provider),
        pricing: Arc::clone(&destination.pricing),
        endpoint: call.endpoint,
        asked: Asked {
            prompt_bytes: call.prompt_bytes,
            characters: call.speech_characters,
            audio_bytes: call.audio_bytes,
            images: call.images,
        },
        streamed: call.stream,
        began,
    };
    let mut settlement = Settlement::new(admitted, hold, Arc::clone(&edge.stopping));
    if edge.stopping.is_stopping() {
        // It stood in line while the order to stop came.
        settlement.void();
        return Err(ApiError::ShuttingDown);
    }

    let answer = forward(edge, &destination, &call, &body, cap, head, id, &mut settlement).await?;
    let mut response = deliver(answer, &destination, &call, settlement).await?;
    let headers = response.headers_mut();
    if let Some(cap) = cap {
        headers.insert(HeaderName::from_static("x-conduit-max-tokens-clamped"), cap.into());
    }
    if let Ok(provider) = HeaderValue::try_from(&*destination.provider.name) {
        headers.insert(HeaderName::from_static("x-conduit-provider"), provider);
    }
    Ok(response)
}

fn describe(id: RequestId, call: &Call, destination: &Destination) -> Description {
    let model: Arc<str> = Arc::from(call.model.as_str());
    let is_same = *model == *destination.upstream_model;
    Description {
        id,
        upstream_model: if is_same {
            Arc::clone(&model)
        } else {
            Arc::from(destination.upstream_model.as_str())
        },
        model,
        provider: Arc::clone(&destination.provider.name),
        endpoint: endpoint_name(call.endpoint),
        price: Arc::clone(&destination.price),
    }
}

/// The endpoint's name, made once.
fn endpoint_name(endpoint: Endpoint) -> Arc<str> {
    static NAMES: LazyLock<[Arc<str>; Endpoint::ALL.len()]> =
        LazyLock::new(|| Endpoint::ALL.map(|endpoint| Arc::from(endpoint.name())));
    Arc::clone(&NAMES[endpoint as usize])
}

/// Rewrites only what must change and sends the call to its provider.
#[expect(clippy::too_many_arguments, reason = "a step of the pipeline takes what it reads")]
async fn forward(
    edge: &Edge,
    destination: &Destination,
    call: &Call,
    body: &Bytes,
    cap: Option<u64>,
    head: &HttpRequest,
    id: RequestId,
    settlement: &mut Settlement,
) -> Result<Answer, ApiError> {
    let provider = &destination.provider;
    let renamed =
        (call.model != destination.upstream_model).then_some(&*destination.upstream_model);
    let asks_usage = call.stream && provider.stream_usage == StreamUsage::Ask;
    let edits = Edits { model: renamed, include_usage: asks_usage, output_cap: cap };
    settlement.sent();
    let sent = if provider.kind == Kind::Echo {
        Ok(forward::echo(call, &edits, body, id))
    } else {
        let body = request::rewrite(body, call, &edits);
        let upstream = edge.upstreams.get(provider);
        forward::send(&upstream, call.endpoint, head.headers(), body, &provider.timeouts).await
    };
    match sent {
        Ok(answer) => {
            settlement.answered(answer.status.as_u16());
            Ok(answer)
        }
        Err(error) => Err(failed(settlement, error)),
    }
}

/// Ends a call whose provider failed before anything of its answer went out.
fn failed(settlement: &mut Settlement, error: UpstreamError) -> ApiError {
    settlement.end(match error {
        UpstreamError::Unreachable => Ending::UpstreamError,
        UpstreamError::Broken => Ending::UpstreamCut,
        UpstreamError::TimedOut => Ending::Timeout,
    });
    ApiError::Upstream(error)
}

/// Brings the answer to the client: an event stream as it comes, anything else whole, with its cost.
///
/// Nothing of an answer is shown before the hold outlives the machine.
async fn deliver(
    answer: Answer,
    destination: &Destination,
    call: &Call,
    mut settlement: Settlement,
) -> Result<HttpResponse, ApiError> {
    let provider = &destination.provider;
    let mut response = HttpResponse::build(answer.status);
    copy_headers(answer.headers(), &mut response);
    let is_encoded = is_encoded(answer.headers());
    let is_audio = is_audio(answer.headers());
    let may_be_cut = is_json_of_any_length(answer.headers());
    let says = stream_by_type(answer.headers(), call);
    let Answer { status, mut body } = answer;
    let mut patience = Patience::new(&provider.timeouts, settlement.call().began);
    let first = relay::next_chunk(&mut body, &mut patience).await;
    let first = first.map_err(|error| failed(&mut settlement, error))?.unwrap_or_default();

    // Speech is heard while it is made, and billed by what was asked for.
    if is_encoded || (status.is_success() && is_audio) {
        settlement.hold_is_durable().await;
        return Ok(response.body(Relay::opaque(first, body, patience, settlement)));
    }
    if status.is_success() && says.unwrap_or_else(|| begins_like_a_stream(&first)) {
        // What came without being asked for is not ours to take out.
        let asked = call.stream && provider.stream_usage == StreamUsage::Ask;
        let hide = asked && !call.wants_usage;
        let meter = StreamMeter::new(provider.kind, call.endpoint, hide);
        settlement.hold_is_durable().await;
        return Ok(response.body(Relay::events(first, body, patience, meter, settlement)));
    }
    match relay::gather(first, &mut body, &mut patience).await {
        Ok(Gathered::Whole(bytes)) => {
            let report = read_answer(provider.kind, call.endpoint, &bytes);
            settlement.metered(&report);
            if may_be_cut && status.is_success() && ends_too_early(&bytes) {
                return Err(failed(&mut settlement, UpstreamError::Broken));
            }
            let cost = settlement.end_durably(ending(status, report.error)).await;
            response.insert_header(("x-conduit-cost", cost.to_string()));
            Ok(response.body(bytes))
        }
        Ok(Gathered::TooLarge(start)) => {
            settlement.hold_is_durable().await;
            Ok(response.body(Relay::opaque(start, body, patience, settlement)))
        }
        Err(error) => Err(failed(&mut settlement, error)),
    }
}

fn ending(status: StatusCode, is_error: bool) -> Ending {
    // Some providers put an error into an answer that says it is a success.
    if status.as_u16() >= 400 || is_error { Ending::UpstreamError } else { Ending::Done }
}

fn copy_headers(from: &HeaderMap, to: &mut actix_web::HttpResponseBuilder) {
    for (name, value) in from {
        if headers::goes_downstream(from, name) {
            to.append_header((name.clone(), value.clone()));
        }
    }
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn is_audio(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    value.get(..6).is_some_and(|value| value.eq_ignore_ascii_case(b"audio/"))
}

/// Whether an answer is a stream by its content type; `None` where only its beginning can tell.
fn stream_by_type(headers: &HeaderMap, call: &Call) -> Option<bool> {
    // Gemini streams JSON, unless it is asked for events.
    if call.endpoint == Endpoint::StreamGenerateContent {
        return Some(true);
    }
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let says = |kind: &[u8]| value.get(..kind.len()).is_some_and(|v| v.eq_ignore_ascii_case(kind));
    if says(b"text/event-stream") {
        Some(true)
    } else if call.stream && !says(b"application/json") {
        None
    } else {
        Some(false)
    }
}

fn begins_like_a_stream(first: &[u8]) -> bool {
    [&b"data:"[..], b"event:", b":", b"id:", b"retry:"].iter().any(|word| first.starts_with(word))
}

/// Whether an answer is JSON whose length is not announced: awc does not tell the end of a chunked
/// body from the end of its connection.
fn is_json_of_any_length(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let json = b"application/json";
    value.get(..json.len()).is_some_and(|value| value.eq_ignore_ascii_case(json))
        && !headers.contains_key(header::CONTENT_LENGTH)
}

fn ends_too_early(json: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(json).is_err_and(|error| error.is_eof())
}

/// Answers a request in any case, and names it: even a panic ends in an answer.
pub(crate) async fn answer(
    head: &HttpRequest,
    serving: impl AsyncFnOnce(RequestId) -> Result<HttpResponse, ApiError>,
) -> HttpResponse {
    let Ok(random) = clock::random() else { return ApiError::Internal.response() };
    let id = RequestId::new(clock::now(), random);
    let served = AssertUnwindSafe(serving(id)).catch_unwind().await;
    let served = served.unwrap_or_else(|_| {
        tracing::error!(request.id = %id, "a handler panicked");
        Err(ApiError::Internal)
    });
    let mut response = served.unwrap_or_else(|error| refuse(&error, id, head));
    name(&mut response, id, head);
    response
}

fn refuse(error: &ApiError, id: RequestId, head: &HttpRequest) -> HttpResponse {
    tracing::debug!(request.id = %id, path = head.path(), status = error.status().as_u16(), "{error}");
    error.response()
}

/// The client's own id for the request is kept where it is a sensible one.
fn name(response: &mut HttpResponse, id: RequestId, head: &HttpRequest) {
    const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    let Ok(ours) = HeaderValue::try_from(id.to_string()) else { return };
    let theirs = head.headers().get(X_REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    let shown = theirs.cloned().unwrap_or_else(|| ours.clone());
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, shown);
    headers.insert(HeaderName::from_static("x-conduit-request-id"), ours);
}
