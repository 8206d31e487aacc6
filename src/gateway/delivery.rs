//! Takes delivery of an answer, as much of it as must be known before it can be judged, and brings it
//! to the client.
//!
//! Until [`deliver`] nothing has been shown: the call can still go elsewhere. From then on it cannot.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::Errand;
use super::carriage::Carriage;
use super::carry::{self, Way};
use super::forward::{Answer, AnswerBody, has_frames};
use super::headers::{CONTENT_TYPE, Downward};
use super::health::Watch;
use super::relay::{self, Gathered, Partial, Patience, Relay};
use super::route::Destination;
use super::settlement::{Metering, Settlement};
use crate::domain::receipt::Ending;
use crate::error::UpstreamError;
use crate::fields::Headers;
use crate::message::{Body, Response};
use crate::provider::endpoint::Endpoint;
use crate::provider::kind::Kind;
use crate::provider::meter::{Forward, StreamMeter};
use crate::provider::sse::{Cutter, EVENT_LIMIT, Step};
use crate::provider::trouble::{self, RetryHeaders, Trouble};
use crate::provider::usage::read_answer;
use crate::translate::reshape::Assembly;
use crate::translate::{About, StreamTranslation, Translation};

const RETRY_AFTER: &str = "retry-after";

/// How much of a stream is kept back at most while its first event is waited for.
const FIRST_EVENT_LIMIT: usize = 64 << 10;

/// An answer that nothing has been shown of yet.
pub(super) struct Received {
    pub(super) status: StatusCode,
    headers: Headers,
    body: AnswerBody,
    patience: Patience,
    content: Content,
    about: Option<Rc<About>>,
}

/// What is known of an answer before it comes.
pub(super) struct Back<'a> {
    pub(super) target: &'a Destination,
    pub(super) errand: &'a Errand<'a>,
    /// What the answer says of its call, where it is translated.
    pub(super) about: Option<Rc<About>>,
    /// There are other targets: a stream is read until its first event has come.
    pub(super) patient: bool,
}

impl Back<'_> {
    /// What the provider was called at.
    fn endpoint(&self) -> Endpoint {
        self.target.endpoint(self.errand.call.endpoint, self.errand.call.stream)
    }

    fn way(&self) -> Option<Way<'_>> {
        way(self.target, self.errand, self.about.as_deref())
    }

    fn carriage(&self) -> Carriage {
        let (kind, endpoint) = (self.target.provider.kind, self.endpoint());
        let client = (self.errand.call.endpoint, self.errand.id);
        let Some(way) = self.way() else {
            // What came without being asked for is not ours to take out.
            let asked = carry::asks_usage(self.errand, self.target);
            let hide = asked && !self.errand.call.wants_usage;
            return Carriage::new(StreamMeter::new(kind, endpoint, hide), None, client);
        };
        let stream = StreamTranslation::new(&way.translation, way.about);
        Carriage::new(StreamMeter::new(kind, endpoint, false), Some(stream), client)
    }
}

fn way<'a>(
    target: &'a Destination,
    errand: &Errand<'_>,
    about: Option<&'a About>,
) -> Option<Way<'a>> {
    let (translation, about) = target.translation.zip(about)?;
    let translation = translation.with_functions(about.has_functions);
    Some(Way { translation, about, stream: errand.call.stream })
}

enum Content {
    Whole {
        bytes: Bytes,
        is_error: bool,
    },
    /// A stream that was not asked for, put together: as a chat completion.
    Completion(Value),
    /// A stream: what is ready of it, and the first of what came.
    Events {
        ready: Forward,
        first: Bytes,
        carriage: Box<Carriage>,
    },
    /// What the meter cannot read: the first of it.
    Opaque(Bytes),
}

/// Reads the beginning of an answer, or all of it where it is not a stream.
pub(super) async fn receive(
    answer: Answer,
    back: Back<'_>,
    settlement: &mut Settlement,
) -> Result<Received, UpstreamError> {
    let (target, call) = (back.target, back.errand.call);
    let Answer { status, headers, mut body } = answer;
    let may_be_cut = !body.has_an_end() && is_json(&headers);
    // Speech is heard while it is made, and billed by what was asked for.
    let is_opaque = is_encoded(&headers) || (status.is_success() && is_audio(&headers));
    let says = if target.translation.is_none() && call.endpoint == Endpoint::StreamGenerateContent {
        // Gemini streams JSON, unless it is asked for events.
        Some(true)
    } else {
        stream_by_type(&headers, call.stream)
    };
    let mut patience = Patience::new(&target.timeouts, back.errand.began);
    let first = relay::next_chunk(&mut body, &mut patience).await?.unwrap_or_default();
    settlement.began_to_answer();
    let is_stream = status.is_success() && says.unwrap_or_else(|| begins_like_a_stream(&first));

    let content = match back.way() {
        None if is_opaque => Content::Opaque(first),
        Some(_) if is_opaque => {
            settlement.metered(Metering::unreadable());
            return Err(UpstreamError::Broken);
        }
        Some(way) if is_stream && !call.stream => {
            let meter = StreamMeter::new(target.provider.kind, back.endpoint(), false);
            let reader = Assembler::new(meter, &way);
            // Rare and large: it must not make every call's future as large.
            Box::pin(reader.read(first, &mut body, &mut patience, settlement)).await?
        }
        _ if is_stream => {
            let first = if back.patient {
                first_event(first, &mut body, &mut patience).await?
            } else {
                first
            };
            let mut carriage = Box::new(back.carriage());
            let ready = carriage.push(first.clone());
            settlement.metered(carriage.report());
            Content::Events { ready, first, carriage }
        }
        way => match relay::gather(first, &mut body, &mut patience).await {
            Err(Partial { came, error }) => {
                settlement.metered(&read_answer(target.provider.kind, back.endpoint(), &came));
                return Err(error);
            }
            Ok(Gathered::TooLarge(_)) if way.is_some() => {
                settlement.metered(Metering::unreadable());
                return Err(UpstreamError::Broken);
            }
            Ok(Gathered::TooLarge(start)) => Content::Opaque(start),
            Ok(Gathered::Whole(bytes)) => {
                let report = read_answer(target.provider.kind, back.endpoint(), &bytes);
                settlement.metered(&report);
                if may_be_cut && status.is_success() && ends_too_early(&bytes) {
                    return Err(UpstreamError::Broken);
                }
                Content::Whole { bytes, is_error: report.error }
            }
        },
    };
    Ok(Received { status, headers, body, patience, content, about: back.about })
}

/// Reads on until an event with data has come, so that an error in its place can still be answered by
/// another target. Comments, which some providers send to keep a connection open, say nothing yet.
async fn first_event(
    first: Bytes,
    body: &mut AnswerBody,
    patience: &mut Patience,
) -> Result<Bytes, UpstreamError> {
    if has_event(&first) {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while whole.len() < FIRST_EVENT_LIMIT && !has_event(&whole) {
        let Some(chunk) = relay::next_chunk(body, patience).await? else { break };
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

fn has_event(bytes: &[u8]) -> bool {
    events(bytes, |_, _| Some(())).is_some()
}

/// The first of what `pick` finds in the data of whole events.
fn events<T>(bytes: &[u8], pick: impl Fn(Option<&str>, &[u8]) -> Option<T>) -> Option<T> {
    let mut cutter = Cutter::new(EVENT_LIMIT);
    let mut at = cutter.leading(bytes);
    loop {
        let Step::Event(event) = cutter.next(bytes, at) else { return None };
        at = event.end;
        if let Some(found) = event.data().and_then(|data| pick(event.name(), &data.text)) {
            return Some(found);
        }
    }
}

/// Puts a stream together that was not asked for.
struct Assembler {
    meter: StreamMeter,
    stream: StreamTranslation,
    assembly: Assembly,
}

impl Assembler {
    fn new(meter: StreamMeter, way: &Way<'_>) -> Self {
        let about = About { wants_usage: true, ..way.about.clone() };
        let to_chat = Translation { frontend: None, ..way.translation };
        let stream = StreamTranslation::new(&to_chat, &about);
        Self { meter, stream, assembly: Assembly::default() }
    }

    async fn read(
        mut self,
        first: Bytes,
        body: &mut AnswerBody,
        patience: &mut Patience,
        settlement: &mut Settlement,
    ) -> Result<Content, UpstreamError> {
        let mut length = 0;
        let mut next = Some(first);
        while let Some(chunk) = next {
            length += chunk.len();
            self.assembly.push(&self.stream.push(&chunk));
            self.meter.push(chunk);
            settlement.metered(self.meter.report());
            if length > relay::GATHER_LIMIT {
                return Err(UpstreamError::Broken);
            }
            next = relay::next_chunk(body, patience).await?;
        }
        self.meter.finish();
        self.assembly.push(&self.stream.finish());
        let report = self.meter.report();
        settlement.metered(report);
        match self.assembly.finish() {
            Ok(completion) if report.done || report.finished => Ok(Content::Completion(completion)),
            Ok(_) => Err(UpstreamError::Broken),
            Err(error) => {
                let bytes = Bytes::from(json!({ "error": error }).to_string());
                Ok(Content::Whole { bytes, is_error: true })
            }
        }
    }
}

impl Received {
    /// What is wrong with the answer, if anything is.
    pub(super) fn trouble(&self, kind: Kind) -> Option<Trouble> {
        let text = |name| self.headers.text(name);
        let headers = RetryHeaders {
            after_ms: text("retry-after-ms"),
            after: text(RETRY_AFTER),
            should_retry: text("x-should-retry"),
        };
        let read = |body: &[u8]| trouble::read(kind, self.status.as_u16(), &headers, body);
        match &self.content {
            Content::Whole { bytes, is_error } if *is_error || !self.status.is_success() => {
                read(bytes)
            }
            Content::Events { first, carriage, .. }
                if carriage.report().error && carriage.report().content_bytes == 0 =>
            {
                events(first, |name, data| trouble::read_event(kind, name, &headers, data))
            }
            Content::Opaque(_) if !self.status.is_success() => read(b""),
            _ => None,
        }
    }

    /// Whether more of it is still to come.
    pub(super) const fn is_under_way(&self) -> bool {
        matches!(self.content, Content::Events { .. } | Content::Opaque(_))
    }

    /// How an attempt ends whose answer is not shown.
    pub(super) fn ending(&self) -> Ending {
        let is_error = match &self.content {
            Content::Whole { is_error, .. } => *is_error,
            Content::Events { carriage, .. } => carriage.report().error,
            Content::Completion(_) | Content::Opaque(_) => false,
        };
        // Some providers put an error into an answer that says it is a success.
        if self.status.as_u16() >= 400 || is_error { Ending::UpstreamError } else { Ending::Done }
    }
}

/// Brings an answer to the client: an event stream as it comes, anything else whole, with its cost.
///
/// Nothing of an answer is shown before the hold outlives the machine.
pub(super) async fn deliver(
    received: Received,
    target: &Destination,
    errand: &Errand<'_>,
    mut settlement: Box<Settlement>,
    watch: Option<Watch>,
) -> Response {
    let ending = received.ending();
    // Google says in the body how long to wait, and of a body in another dialect no client reads it.
    let wait_ms = target.translation.and_then(|_| received.trouble(target.provider.kind)?.wait_ms);
    let Received { status, mut headers, body, patience, content, about } = received;
    let way = way(target, errand, about.as_deref());
    let says_when = headers.contains(RETRY_AFTER);
    let downward = Downward::new(&headers);
    headers.retain(|name| downward.goes(name));
    let (bytes, translated) = match content {
        Content::Opaque(first) => {
            settlement.hold_is_durable().await;
            let relay = Relay::opaque(first, body, patience, (settlement, watch));
            return Response::new(status, headers, Body::flow(relay));
        }
        Content::Events { ready, carriage, .. } => {
            settlement.hold_is_durable().await;
            if way.is_some() {
                headers.set(CONTENT_TYPE, "text/event-stream");
            }
            let relay = Relay::events(ready, body, patience, carriage, (settlement, watch));
            return Response::new(status, headers, Body::flow(relay));
        }
        Content::Whole { bytes, .. } => {
            let translated = way.map(|way| match ending {
                Ending::Done => carry::answer(&way, &bytes),
                _ => carry::failure(&way, status.as_u16(), &bytes),
            });
            (bytes, translated)
        }
        Content::Completion(completion) => {
            (Bytes::new(), way.map(|way| carry::completed(&way, &completion)))
        }
    };
    let cost = settlement.end_durably(ending).await;
    headers.add("x-conduit-cost", cost.text().as_bytes());
    let Some(translated) = translated else { return Response::new(status, headers, bytes) };
    if let Some(wait_ms) = wait_ms.filter(|_| !says_when) {
        headers.show(RETRY_AFTER, wait_ms.div_ceil(1_000));
    }
    headers.set(CONTENT_TYPE, translated.content_type);
    let status = StatusCode::from_u16(translated.status).unwrap_or(status);
    Response::new(status, headers, translated.body)
}

fn is_encoded(headers: &Headers) -> bool {
    let encoding = headers.get("content-encoding");
    encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity"))
}

fn is_audio(headers: &Headers) -> bool {
    let value = headers.get(CONTENT_TYPE).unwrap_or_default();
    value.get(..6).is_some_and(|value| value.eq_ignore_ascii_case(b"audio/"))
}

/// Whether an answer is a stream by its content type; `None` where only its beginning can tell.
fn stream_by_type(headers: &Headers, asked: bool) -> Option<bool> {
    let value = headers.get(CONTENT_TYPE).unwrap_or_default();
    let says = |kind: &[u8]| value.get(..kind.len()).is_some_and(|v| v.eq_ignore_ascii_case(kind));
    if says(b"text/event-stream") || has_frames(headers) {
        Some(true)
    } else if asked && !says(b"application/json") {
        None
    } else {
        Some(false)
    }
}

fn begins_like_a_stream(first: &[u8]) -> bool {
    [&b"data:"[..], b"event:", b":", b"id:", b"retry:"].iter().any(|word| first.starts_with(word))
}

fn is_json(headers: &Headers) -> bool {
    let value = headers.get(CONTENT_TYPE).unwrap_or_default();
    let json = b"application/json";
    value.get(..json.len()).is_some_and(|value| value.eq_ignore_ascii_case(json))
}

fn ends_too_early(json: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(json).is_err_and(|error| error.is_eof())
}
