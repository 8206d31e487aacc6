//! The spans of a call: one for the request, from its head to the end of its answer's body, and inside it
//! one for each attempt at a provider, with the attributes that OpenTelemetry's conventions for
//! generative AI have (semantic conventions, "gen-ai-spans").
//!
//! A call that is not traced costs nothing here. Never a secret is in a span, and a prompt or an answer
//! only where the configuration asks for them.

mod content;
mod heard;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;

use crate::clock;
use crate::config::{Config, Provider};
use crate::domain::key::KeyId;
use crate::domain::receipt::{Ending, Receipt};
use crate::domain::request_id::RequestId;
use crate::domain::trace::TraceContext;
use crate::domain::usage::Class;
use crate::message::{Body, Head, Response};
use crate::provider::endpoint::Endpoint;
use crate::provider::kind::Kind;
use crate::traces::{Span, SpanKind, Tracer, Value};

use super::routes::Route;
use super::shown;
use content::Content;
use heard::Heard;

pub(super) const TRACEPARENT: &str = "traceparent";

/// A call that is traced. Its span ends when the last who holds it lets go: the answer's body, or else
/// whoever refused the call.
pub(super) struct Trace {
    tracer: Tracer,
    /// The instant of the beginning, by both clocks.
    began: (Instant, u64),
    root: RefCell<Span>,
    attempts: Cell<u64>,
    /// What was asked and answered is to be told, too.
    captures: bool,
    content: RefCell<Option<Content>>,
    /// The last attempt, which waits for the end of the answer to tell it.
    last: RefCell<Option<Span>>,
}

/// An attempt under way.
pub(super) struct Attempt {
    trace: Rc<Trace>,
    id: u64,
    began: Instant,
    number: u64,
}

/// What an attempt was.
pub(super) struct Made<'a> {
    pub(super) provider: &'a Provider,
    pub(super) endpoint: Endpoint,
    pub(super) model: &'a str,
    /// What the provider answered; 0 for nothing.
    pub(super) status: u16,
    pub(super) streamed: bool,
    pub(super) ending: Ending,
    /// Absent for one that was not billed by itself.
    pub(super) receipt: Option<&'a Receipt>,
}

impl Trace {
    /// Begins the span of a request, if requests are traced and this one is to be.
    pub(super) fn begin(
        tracer: &Tracer,
        config: &Config,
        (head, route): (&Head, Route<'_>),
        id: RequestId,
    ) -> Option<Rc<Self>> {
        let tracing = config.tracing.as_ref()?;
        let parent = head.headers.get(TRACEPARENT).and_then(TraceContext::parse);
        let random: [u8; 24] = clock::random().ok()?;
        let (trace, span) = random.split_at(16);
        let trace = parent
            .map_or_else(|| u128::from_be_bytes(trace.try_into().unwrap_or_default()), |p| p.trace);
        if !tracing.sampler.takes(trace, parent) {
            return None;
        }
        let text = |text: &str| Value::Text(text.to_owned());
        let mut attributes = vec![
            ("http.request.method", text(head.method.as_str())),
            ("url.path", Value::Text(format!("{}{}", head.root, shown(head.path())))),
            ("url.scheme", text(if config.server.tls.is_some() { "https" } else { "http" })),
            ("conduit.request.id", Value::Text(id.to_string())),
        ];
        if let Some(peer) = head.peer {
            attributes.push(("network.peer.address", Value::Text(peer.ip().to_string())));
        }
        let agent = head.headers.text("user-agent");
        attributes.extend(agent.map(|agent| ("user_agent.original", text(&shown(agent)))));
        // Never the path, of which there is no end.
        let route = [head.root, route[0], route[1]].concat();
        let name = format!("{} {route}", head.method);
        attributes.push(("http.route", Value::Text(route)));
        let start_ns = id.began().millis().saturating_mul(1_000_000);
        let root = Span {
            trace,
            id: u64::from_be_bytes(span.try_into().unwrap_or_default()) | 1,
            parent: parent.map(|parent| parent.span),
            name,
            kind: SpanKind::Server,
            start_ns,
            end_ns: start_ns,
            attributes,
            is_error: false,
        };
        Some(Rc::new(Self {
            tracer: tracer.clone(),
            began: (Instant::now(), start_ns),
            root: RefCell::new(root),
            attempts: Cell::new(0),
            captures: tracing.capture_content,
            content: RefCell::default(),
            last: RefCell::default(),
        }))
    }

    /// What the call asks.
    pub(super) fn asked(&self, endpoint: Endpoint, body: &Bytes) {
        if self.captures {
            *self.content.borrow_mut() = Some(Content::new(endpoint, body.clone()));
        }
    }

    /// Hears what the client is answered, where that is to be told.
    pub(super) fn listen(self: &Rc<Self>, mut response: Response) -> Response {
        if self.content.borrow().is_some() {
            let length = response.body.length();
            let heard = Heard::new(response.body, Rc::clone(self));
            response.body = Body::Flow(length, Box::pin(heard));
        }
        response
    }

    /// The client is answered this, and perhaps more.
    fn said(&self, chunk: &[u8]) {
        if let Some(content) = &mut *self.content.borrow_mut() {
            content.hear(chunk);
        }
    }

    /// Has the span of an attempt sent, or kept until the answer is known.
    fn ended(&self, span: Span) {
        if !self.captures {
            self.tracer.end(span);
        } else if let Some(before) = self.last.replace(Some(span)) {
            self.tracer.end(before);
        }
    }

    /// Whose call it is.
    pub(super) fn identified(&self, key: KeyId) {
        let key = ("conduit.key.id", Value::Text(key.to_string()));
        self.root.borrow_mut().attributes.push(key);
    }

    /// What the client is answered.
    pub(super) fn answered(&self, status: u16) {
        let mut root = self.root.borrow_mut();
        root.attributes.push(("http.response.status_code", Value::Number(status.into())));
        if status >= 500 {
            root.is_error = true;
            root.attributes.push(("error.type", Value::Text(status.to_string())));
        }
    }

    fn time_ns(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.began.0).as_nanos();
        self.began.1.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// Begins the span of an attempt.
    pub(super) fn attempt(self: &Rc<Self>) -> Option<Attempt> {
        let id = u64::from_be_bytes(clock::random().ok()?) | 1;
        let number = self.attempts.get() + 1;
        self.attempts.set(number);
        Some(Attempt { trace: Rc::clone(self), id, began: Instant::now(), number })
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Some(mut last) = self.last.take() {
            let content = self.content.get_mut().as_ref();
            last.attributes.extend(content.map(Content::attributes).unwrap_or_default());
            self.tracer.end(last);
        }
        let end_ns = self.time_ns(Instant::now());
        let root = self.root.get_mut();
        root.end_ns = end_ns;
        if std::thread::panicking() {
            root.is_error = true;
            root.attributes.push(("error.type", Value::Text("panic".to_owned())));
        }
        self.tracer.end(root.clone());
    }
}

impl Attempt {
    /// What the provider is told of the span.
    pub(super) fn context(&self) -> TraceContext {
        TraceContext { trace: self.trace.root.borrow().trace, span: self.id, sampled: true }
    }

    /// Ends the span.
    pub(super) fn end(self, made: &Made<'_>) {
        let trace = &self.trace;
        let (root_trace, root_id) = {
            let root = trace.root.borrow();
            (root.trace, root.id)
        };
        let operation = operation(made.endpoint);
        let failure = failure(made);
        let mut attributes = attributes(made, operation);
        if self.number > 1 {
            attributes.push(("http.request.resend_count", Value::Number(self.number - 1)));
        }
        let is_error = failure.is_some();
        attributes.extend(failure.map(|why| ("error.type", Value::Text(why))));
        trace.ended(Span {
            trace: root_trace,
            id: self.id,
            parent: Some(root_id),
            name: format!("{operation} {}", made.model),
            kind: SpanKind::Client,
            start_ns: trace.time_ns(self.began),
            end_ns: trace.time_ns(Instant::now()),
            attributes,
            is_error,
        });
    }
}

fn attributes(made: &Made<'_>, operation: &'static str) -> Vec<(&'static str, Value)> {
    let text = |text: &str| Value::Text(text.to_owned());
    let mut attributes = vec![
        ("gen_ai.operation.name", text(operation)),
        ("gen_ai.provider.name", text(provider_name(made.provider.kind))),
        ("gen_ai.request.model", text(made.model)),
        ("conduit.provider", text(&made.provider.name)),
        ("conduit.stream", Value::Flag(made.streamed)),
    ];
    if let Some(address) = &made.provider.base_url {
        attributes.push(("server.address", text(address.host())));
        attributes.push(("server.port", Value::Number(address.port().into())));
    }
    if made.status > 0 {
        attributes.push(("http.response.status_code", Value::Number(made.status.into())));
    }
    let Some(receipt) = made.receipt else { return attributes };
    let usage = receipt.usage();
    for (name, count) in [
        ("gen_ai.usage.input_tokens", usage.input_tokens()),
        ("gen_ai.usage.output_tokens", usage.output_tokens()),
        ("gen_ai.usage.cache_read.input_tokens", usage.get(Class::CacheRead)),
    ] {
        if count > 0 {
            attributes.push((name, Value::Number(count)));
        }
    }
    attributes.push(("conduit.cost_usd", Value::Text(receipt.cost.to_string())));
    attributes.push(("conduit.metered", text(receipt.metered.name())));
    attributes.push(("conduit.ending", text(receipt.ending.name())));
    attributes.push(("conduit.receipt.id", Value::Text(receipt.id.to_string())));
    if let Some(first_byte_ms) = receipt.first_byte_ms {
        attributes.push(("conduit.first_byte_ms", Value::Number(first_byte_ms)));
    }
    attributes
}

/// What was wrong with an attempt, if anything was: a status, or how it ended.
fn failure(made: &Made<'_>) -> Option<String> {
    if made.status >= 400 {
        return Some(made.status.to_string());
    }
    (made.ending != Ending::Done).then(|| made.ending.name().to_owned())
}

/// The operation, by the conventions' words where they have one.
const fn operation(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat
        | Endpoint::Responses
        | Endpoint::Messages
        | Endpoint::Converse
        | Endpoint::ConverseStream => "chat",
        Endpoint::Completions => "text_completion",
        Endpoint::GenerateContent | Endpoint::StreamGenerateContent => "generate_content",
        Endpoint::Embeddings | Endpoint::EmbedContent | Endpoint::BatchEmbedContents => {
            "embeddings"
        }
        Endpoint::Moderations
        | Endpoint::ImageGenerations
        | Endpoint::ImageEdits
        | Endpoint::Speech
        | Endpoint::Transcriptions
        | Endpoint::Translations
        | Endpoint::Rerank
        | Endpoint::CountTokens
        | Endpoint::GeminiCountTokens => endpoint.name(),
    }
}

/// The provider, by the conventions' words where they have one.
fn provider_name(kind: Kind) -> &'static str {
    match kind.name() {
        "azure" => "azure.ai.openai",
        "gemini" | "gemini-openai" => "gcp.gemini",
        "bedrock" => "aws.bedrock",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        other => other,
    }
}
