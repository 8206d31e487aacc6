//! The life of one call, top to bottom. Each step is one function in `gateway/`; their order here is
//! the contract.
//!
//! From admission on there is a [`Settlement`]: whatever happens next, to us, to the provider or to
//! the client, it ends the hold exactly once.

mod admit;
mod attempts;
mod body;
mod carriage;
mod carry;
mod delivery;
mod entry;
mod forward;
mod headers;
mod health;
mod identify;
mod info;
mod label;
mod models;
mod offers;
pub mod probe;
mod rates;
mod relay;
mod route;
mod routes;
mod settlement;
mod signing;
mod stopping;
mod trace;
mod turn;
mod upload;
mod upstreams;

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::StatusCode;
use tracing::field::display;

pub use health::{Health, TargetStanding};
pub use label::label;
pub use offers::Offers;
pub use routes::Gateway;
pub use stopping::{Answers, Stopping};
pub use upstreams::tls;

use crate::catalogue::Prices;
use crate::clock;
use crate::config::{Live, Routing, Snapshot, Sticky};
use crate::domain::audit::without_secrets;
use crate::domain::choice;
use crate::domain::key::KeyRecord;
use crate::domain::request_id::RequestId;
use crate::error::ApiError;
use crate::ledger::account::Account;
use crate::ledger::{Description, Ledger};
use crate::logging::ACCESS;
use crate::message::{Body, Head, Response};
use crate::provider::charge::wanted;
use crate::provider::endpoint::{Dialect, Endpoint};
use crate::provider::kind::Kind;
use crate::provider::request::{self, Call};
use crate::traces::Tracer;
use admit::Admission;
use attempts::{Attempts, Failed, Next, Outcome};
use delivery::{Back, Received};
use entry::Entry;
use forward::{Along, Sending};
use identify::Caller;
use relay::Patience;
use route::{Destination, Known, Wish};
use routes::Route;
use settlement::{Admitted, Asked, Settlement};
use stopping::Tally;
use trace::Trace;
use upload::{Arrived, Upload};
use upstreams::{Key, Upstream, Upstreams};

/// What a worker of the gateway may touch.
pub struct Edge {
    live: Arc<Live>,
    ledger: Arc<Ledger>,
    stopping: Arc<Stopping>,
    health: Arc<Health>,
    offers: Arc<Offers>,
    upstreams: Upstreams,
    known: RefCell<Known>,
    tracer: Tracer,
    tally: Arc<Tally>,
}

impl Edge {
    pub fn new(
        live: Arc<Live>,
        ledger: Arc<Ledger>,
        stopping: Arc<Stopping>,
        health: Arc<Health>,
        offers: Arc<Offers>,
        tls: Arc<rustls::ClientConfig>,
        tracer: Tracer,
    ) -> Self {
        let (upstreams, tally) = (Upstreams::new(tls), stopping.worker());
        let known = RefCell::default();
        Self { live, ledger, stopping, health, offers, upstreams, known, tracer, tally }
    }
}

/// Serves one call to an endpoint that takes a model.
async fn serve(
    edge: &Edge,
    (entry, route): (Entry, Route<'_>),
    id: RequestId,
    head: &Head,
    body: Body,
) -> Result<Response, ApiError> {
    let began = Instant::now();
    let snapshot = edge.live.snapshot();
    let config = &snapshot.config;
    let trace = Trace::begin(&edge.tracer, config, (head, route), id);
    let identified = identify::identify(&edge.ledger, config, head, id.began());
    let mut caller = identified.inspect_err(|error| answered(trace.as_deref(), error.status()))?;
    if let Some(trace) = &trace {
        trace.identified(caller.key.id);
    }
    let endpoint = entry.endpoint;
    // Boxed where it is made: as a part of all that waits for it, it would be copied with each of them.
    let call = (id, began, trace.as_ref());
    let serving = serve_key(edge, &snapshot, &mut caller, &entry, call, head, body);
    let served = Box::pin(serving).await;
    let status = served.as_ref().map_or_else(ApiError::status, |response| response.status);
    answered(trace.as_deref(), status);
    let served = match &trace {
        Some(trace) => served.map(|response| trace.listen(response)),
        None => served,
    };
    if !caller.key.controls.has_rates() {
        return served;
    }
    let mut response = served.unwrap_or_else(|error| refuse(edge, &error, id, head));
    rates::show(&caller.account, endpoint.dialect(), &mut response.headers);
    Ok(response)
}

/// Notes in the trace of a request, if there is one, what it is answered.
fn answered(trace: Option<&Trace>, status: StatusCode) {
    if let Some(trace) = trace {
        trace.answered(status.as_u16());
    }
}

/// Serves a call of a key that may call.
async fn serve_key(
    edge: &Edge,
    snapshot: &Arc<Snapshot>,
    caller: &mut Caller,
    entry: &Entry,
    (id, began, trace): (RequestId, Instant, Option<&Rc<Trace>>),
    head: &Head,
    body: Body,
) -> Result<Response, ApiError> {
    if edge.stopping.is_stopping() {
        return Err(ApiError::ShuttingDown);
    }
    let config = &snapshot.config;
    let endpoint = entry.endpoint;
    let content_type = body::check_content_type(endpoint, &head.headers)?;
    let (content_type, limit) = (content_type.as_deref(), config.server.max_body);
    let is_there = matches!(body, Body::Whole(_));
    let form = body::arrive(content_type, &head.headers, body, limit).await?;
    if !is_there {
        // It may have taken its time: what was changed of the key meanwhile is in force.
        caller.key = caller.account.record();
    }
    let arrived = Instant::now();
    let named = entry.model.as_deref();
    let said = request::Head { model: named, content_type };
    let (call, body, upload) = match form {
        Arrived::Whole(body) => (request::read(endpoint, &said, &body)?, body, None),
        Arrived::Begun(start, upload) => (upload.call(endpoint, named)?, start, Some(upload)),
    };
    if let Some(trace) = trace {
        trace.asked(endpoint, &body);
    }
    let seed = seed(&config.routing, &caller.key, head, id);
    let wish = Wish { endpoint, model: &call.model, seed };
    let targets = route::choose(&edge.known, snapshot, &edge.health, &caller.key, &wish)?;

    let query = entry.query;
    let client = identify::address(head, config);
    let (call, body, cap) = (&call, &body, None);
    let mut errand = Errand { call, body, upload, query, head, id, client, cap, began };
    let describe = |target: &Destination| describe(id, endpoint, target);
    let floor = config.limits.min_output_tokens;
    let parts = (call, body);
    let Admission { hold, targets, cap } =
        admit::admit(&edge.ledger, caller, parts, targets, describe, floor, id.began()).await?;
    let ready = arrived + hold.waited();
    let admitted = admitted(&errand, &config.prices, &targets[0]);
    // Boxed, for it is large and goes from hand to hand.
    let (upload, stopping) = (errand.upload.clone(), Arc::clone(&edge.stopping));
    let settlement = Settlement::new(admitted, hold, upload, stopping, trace.cloned());
    let mut settlement = Box::new(settlement);
    if edge.stopping.is_stopping() {
        // It stood in line while the order to stop came.
        settlement.void();
        return Err(ApiError::ShuttingDown);
    }

    errand.cap = cap;
    let metrics = edge.ledger.metrics();
    let mut attempts = Attempts::new(id, &config.routing, &edge.health, metrics, targets);
    let outcome = try_targets(edge, &caller.account, &errand, &mut attempts, &mut settlement).await;
    let watch = attempts.take_watch();
    let (sent, answered) = (settlement.sent_at(), Instant::now());
    let target = attempts.target();
    let mut response = match outcome {
        Ok(received) => delivery::deliver(received, target, &errand, settlement, watch).await,
        Err(failed) => return Err(give_up(failed, settlement)),
    };
    if let Some(sent) = sent.filter(|_| attempts.made() == 1) {
        metrics.added(sent.saturating_duration_since(ready) + answered.elapsed());
    }
    if cap.is_some() {
        metrics.clamped();
    }
    show_target(&mut response, target, cap, attempts.made());
    Ok(response)
}

/// A client's call: what is the same for all of its attempts.
#[derive(Clone)]
struct Errand<'a> {
    call: &'a Call,
    /// All of the body, or the beginning of one that flows.
    body: &'a Bytes,
    upload: Option<Rc<Upload>>,
    /// What of the client's query goes on.
    query: Option<&'static str>,
    head: &'a Head,
    id: RequestId,
    /// Where the call came from, as far as that is known.
    client: Option<IpAddr>,
    /// A lower output cap than the client's own, to make the call affordable.
    cap: Option<u64>,
    began: Instant,
}

/// What its bill needs to know of a call that is about to go to `target`.
fn admitted(errand: &Errand<'_>, prices: &Arc<Prices>, target: &Rc<Destination>) -> Admitted {
    let call = errand.call;
    Admitted {
        target: Rc::clone(target),
        client: errand.client,
        prices: Arc::clone(prices),
        client_endpoint: call.endpoint,
        endpoint: target.endpoint(call.endpoint, call.stream),
        asked: Asked {
            prompt_bytes: call.prompt_bytes,
            characters: call.speech_characters,
            audio_bytes: call.audio_bytes,
            images: call.images,
            wanted: wanted(call),
        },
        streamed: call.stream,
        began: errand.began,
    }
}

/// Ends a call that nobody answered.
fn give_up(failed: Failed, mut settlement: Box<Settlement>) -> ApiError {
    match &failed {
        // It was not sent, or not to its end.
        Failed::Unable(_) | Failed::Body(_) => settlement.void(),
        Failed::Upstream(_) => {
            settlement.end(failed.ending());
        }
    }
    failed.into()
}

/// What decides between targets of the same order.
fn seed(routing: &Routing, key: &KeyRecord, head: &Head, id: RequestId) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "these bits are the random ones")]
    let chance = id.bits() as u64;
    match &routing.sticky {
        Sticky::Off => chance,
        Sticky::Key => choice::fingerprint(&[key.id.to_string().as_bytes()]),
        Sticky::Header(name) => {
            head.headers.get(name).map_or(chance, |value| choice::fingerprint(&[value]))
        }
    }
}

fn describe(id: RequestId, endpoint: Endpoint, target: &Destination) -> Description {
    Description {
        id,
        model: Arc::clone(&target.model),
        upstream_model: Arc::clone(&target.upstream_model),
        provider: Arc::clone(&target.provider.name),
        endpoint: endpoint_name(endpoint),
        price: Arc::clone(&target.price),
    }
}

/// The endpoint's name, made once.
fn endpoint_name(endpoint: Endpoint) -> Arc<str> {
    static NAMES: LazyLock<[Arc<str>; Endpoint::ALL.len()]> =
        LazyLock::new(|| Endpoint::ALL.map(|endpoint| Arc::from(endpoint.name())));
    Arc::clone(&NAMES[endpoint as usize])
}

/// Tries one target after the other until an answer is to be shown, or none is left.
///
/// An attempt that cost nothing leaves its hold to the next. One that may have been billed ends it, and
/// the next has a hold of its own, or is not made.
async fn try_targets(
    edge: &Edge,
    account: &Arc<Account>,
    errand: &Errand<'_>,
    attempts: &mut Attempts<'_>,
    settlement: &mut Settlement,
) -> Outcome {
    let amount = settlement.held();
    loop {
        attempts.begin();
        let target = attempts.target();
        let end = Patience::new(&target.timeouts, errand.began).end();
        let upstream = edge.upstreams.get(&target.provider);
        let key = attempts::key(&upstream, &edge.health);
        let outcome = attempt(errand, attempts, (&upstream, key), settlement).await;
        let say = |target: &Destination| carry::can_say(errand, target);
        let Next::Again(turn) = attempts.judge(&outcome, key, end, say) else { return outcome };
        let is_gone = errand.upload.as_ref().is_some_and(|upload| !upload.is_untouched());
        if is_gone || edge.stopping.is_stopping() {
            return outcome;
        }
        let ending = outcome.as_ref().map_or_else(Failed::ending, Received::ending);
        if settlement.is_free(ending) {
            settlement.end_span(ending, None);
            attempts.turn_to(turn);
            let description = describe(errand.id, errand.call.endpoint, attempts.target());
            settlement.redirect(&description, attempts.target());
            tokio::time::sleep(turn.pause).await;
            continue;
        }
        settlement.end_attempt(ending);
        tokio::time::sleep(turn.pause).await;
        let id = errand.id.attempt(attempts.made());
        let description = describe(id, errand.call.endpoint, attempts.target_of(turn));
        let hold = edge.ledger.hold(account, amount, description.clone(), clock::now()).await;
        let Ok(hold) = hold else { return outcome };
        tracing::info!(call.id = %errand.id, request.id = %id, "a call goes on under another id");
        attempts.turn_to(turn);
        settlement.renew(hold);
        settlement.redirect(&description, attempts.target());
    }
}

/// Sends a call to a target, and takes delivery of what must be known of its answer.
async fn attempt(
    errand: &Errand<'_>,
    attempts: &Attempts<'_>,
    (upstream, key): (&Upstream, Option<&Key>),
    settlement: &mut Settlement,
) -> Outcome {
    let target = attempts.target();
    let outgoing = carry::outgoing(errand, target).map_err(Failed::Unable)?;
    let about = outgoing.about.clone();
    settlement.sent();
    let answer = if target.provider.kind == Kind::Echo {
        forward::echo(errand, target, &outgoing)
    } else {
        let end = Patience::new(&target.timeouts, errand.began).end();
        let (client_headers, timeouts) = (&errand.head.headers, &target.timeouts);
        let traceparent = settlement.traceparent();
        let along = Along { upstream, key, client_headers, traceparent };
        let sending = Sending { along, timeouts, end };
        let sent = forward::send(&sending, outgoing, errand).await;
        let fault = errand.upload.as_ref().and_then(|upload| upload.take_fault());
        if let Some(fault) = fault {
            return Err(Failed::Body(fault));
        }
        sent?
    };
    settlement.answered(answer.status.as_u16());
    let back = Back { target, errand, about, patient: attempts.has_others() };
    Ok(delivery::receive(answer, back, settlement).await?)
}

/// Says which target served a call, and what was done to it on the way.
fn show_target(response: &mut Response, target: &Destination, cap: Option<u64>, attempts: u64) {
    // Nobody else's headers of these names have come this far.
    let headers = &mut response.headers;
    if let Some(cap) = cap {
        headers.show("x-conduit-max-tokens-clamped", cap);
    }
    headers.add("x-conduit-provider", &*target.provider.name);
    headers.add("x-conduit-model", &*target.upstream_model);
    if attempts > 1 {
        headers.show("x-conduit-attempts", attempts);
    }
}

/// Answers a request in any case, and names it: even a panic ends in an answer.
async fn answer(
    edge: &Edge,
    head: &Head,
    serving: impl AsyncFnOnce(RequestId) -> Result<Response, ApiError>,
) -> Response {
    let _answering = edge.tally.answer();
    let Ok(random) = clock::random_for_call() else {
        return ApiError::Internal.response(entry::dialect(head), None);
    };
    let id = RequestId::new(clock::now(), random);
    let served = AssertUnwindSafe(serving(id)).catch_unwind().await;
    let served = served.unwrap_or_else(|_| {
        tracing::error!(request.id = %id, "a handler panicked");
        Err(ApiError::Internal)
    });
    let mut response = served.unwrap_or_else(|error| refuse(edge, &error, id, head));
    name(&mut response, id, head);
    response.closes |= edge.stopping.closes_connections();
    response
}

fn refuse(edge: &Edge, error: &ApiError, id: RequestId, head: &Head) -> Response {
    let status = error.status().as_u16();
    if let Some(reason) = error.reason() {
        edge.ledger.metrics().refused(reason);
        let client = identify::address(head, &edge.live.load().config);
        let (client, path) = (client.map(display), shown(head.path()));
        let path = format!("{}{path}", head.root);
        tracing::info!(
            target: ACCESS,
            {
            request.id = %id,
            client.address = client,
            method = head.method.as_str(),
            path,
            status,
            reason
            },
            "refused"
        );
    }
    tracing::debug!(request.id = %id, path = head.path(), status, "{error}");
    error.response(entry::dialect(head), Some(id))
}

/// What a client wrote into the head of a request, as logs and traces may have it: of bounded length, and
/// without what looks like a secret.
fn shown(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 256;
    without_secrets(&text[..text.floor_char_boundary(LONGEST)])
}

/// The client's own id for the request is kept where it is a sensible one.
fn name(response: &mut Response, id: RequestId, head: &Head) {
    const REQUEST_ID: &str = "request-id";
    const X_REQUEST_ID: &str = "x-request-id";
    let theirs = head
        .headers
        .get(X_REQUEST_ID)
        .filter(|value| (1..=128).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic));
    let (ours, headers) = (id.text(), &mut response.headers);
    let ours = ours.as_bytes();
    headers.add(X_REQUEST_ID, theirs.unwrap_or(ours));
    // Where Anthropic's clients look, unless Anthropic itself has named the call.
    if entry::dialect(head) == Dialect::Anthropic && !headers.contains(REQUEST_ID) {
        headers.add(REQUEST_ID, ours);
    }
    headers.add("x-conduit-request-id", ours);
}
