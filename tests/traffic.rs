//! Replays recorded exchanges of real providers through the meter, cut at every place the network
//! could cut them.
//!
//! The recordings lie beside the project and are not part of it; without them this says that it was
//! skipped and passes. What a recording must come to is in its index, made by others than the meter.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing, and that it was skipped by saying so"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use conduit::catalogue::{Catalogue, Prices};
use conduit::domain::money::{Money, Rate};
use conduit::domain::price::{Overlay, Price, Pricing, Rates, Variant, Wanted};
use conduit::domain::receipt::Metered;
use conduit::domain::usage::{Class, ServiceTier, Usage};
use conduit::provider::bounds::{Model, bounds};
use conduit::provider::charge::{Asked, Fate, Metering, Terms, charge};
use conduit::provider::endpoint::{Dialect, Endpoint};
use conduit::provider::kind::Kind;
use conduit::provider::meter::{StreamMeter, StreamReport};
use conduit::provider::request::{Edits, Head, read, rewrite};
use conduit::provider::usage::{Extra, read_answer};

/// Streams up to this size are cut at every byte; of longer ones a few thousand places are tried.
const CUT_EVERYWHERE: usize = 64 << 10;
/// Cutting everywhere costs the square of the size: past this many bytes in all the places thin out,
/// unless `CONDUIT_TRAFFIC_ALL_CUTS` is set.
const CUT_WORK: usize = 1 << 20;

/// How many recordings there are: none may go missing without a word.
const ALL: usize = 441;

/// Recordings whose index disagrees with the rules of their kind: input and output, and why.
const OTHERWISE: [(&str, [u64; 2], &str); 3] = [
    (
        "gemini-openai-chat-j200-7b637a44",
        [35, 74],
        "the index counts the 12 tokens named as completion; the total has 62 more, which are thought \
         and billed as output",
    ),
    (
        "azure-openai-responses-s200-3bee6cdc",
        [19, 1720],
        "the index has it among the responses and finds no usage; it is a stream of chat, with usage",
    ),
    (
        "vertex-gemini-embed-j200-159f2ed9",
        [11, 0],
        "the index finds no usage; the answer has a usageMetadata like any other",
    ),
];

/// Recordings of endpoints that are not served.
const NOT_SERVED: [(&str, &str); 3] = [
    ("models", "lists of models are our own"),
    ("cohere.chat", "Cohere's own chat is not spoken"),
    ("ollama.native", "Ollama's own wire is not spoken"),
];

/// Recordings that are left out, though their endpoint is served.
const LEFT_OUT: [(&str, &str); 1] = [(
    "ollama-openai-embeddings-j200-c6ff3807",
    "a call of Ollama's own wire, which is not spoken, though the index has it among the embeddings",
)];

/// Recordings of good answers that tell no usage, and why.
const TELL_NOTHING: [(&str, &str); 3] = [
    ("anthropic-anthropic-count-tokens-j200-034f03b6", "counting costs nothing"),
    ("openai-openai-moderations-j200-283b3977", "moderation costs nothing"),
    ("openai-openai-responses-j200-cbe8dce3", "it waits in the background"),
];

#[derive(Deserialize)]
struct Index {
    cassettes: Vec<Cassette>,
}

#[derive(Deserialize)]
struct Cassette {
    id: String,
    provider: String,
    endpoint: String,
    body: Option<String>,
    request: Option<String>,
    status: u16,
    stream: bool,
    model: Option<String>,
    headers: BTreeMap<String, String>,
    features: Vec<String>,
    /// Other wires have other members here: it is read where it is needed.
    expected: Value,
}

#[derive(Deserialize)]
struct Expected {
    input_uncached: u64,
    input_cached: u64,
    #[serde(default)]
    cache_write: u64,
    cache_write_1h: Option<u64>,
    output: u64,
    web_search_requests: Option<u64>,
    provider_reported_cost_usd: Option<serde_json::Number>,
    #[serde(default)]
    iterations: Vec<Iteration>,
}

/// What Anthropic says of one sampling in a call.
#[derive(Deserialize)]
struct Iteration {
    r#type: String,
    model: Option<String>,
    input_tokens: u64,
    output_tokens: u64,
}

struct Recording {
    cassette: Cassette,
    endpoint: Endpoint,
    kind: Kind,
    body: Bytes,
    stream: bool,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traffic")
}

fn index() -> Option<Vec<Cassette>> {
    let folder = folder();
    let Ok(index) = fs::read_to_string(folder.join("index.json")) else {
        println!("Skipped: there is no recorded traffic at {}.", folder.display());
        return None;
    };
    let index: Index = serde_json::from_str(&index).expect("the index is JSON");
    Some(index.cassettes)
}

/// The recordings of the endpoints that are served; `None` where there are none.
fn recordings() -> Option<Vec<Recording>> {
    let found: Vec<Recording> = index()?.into_iter().filter_map(recording).collect();
    assert!(!found.is_empty(), "the index names no recording of a known endpoint");
    Some(found)
}

fn recording(cassette: Cassette) -> Option<Recording> {
    let endpoint = endpoint(&cassette)?;
    if LEFT_OUT.iter().any(|(id, _)| *id == cassette.id) {
        return None;
    }
    let body = Bytes::from(fs::read(folder().join(cassette.body.as_ref()?)).expect("a body"));
    let kind = kind(&cassette, endpoint);
    let stream = Path::new(cassette.body.as_ref()?).extension().is_some_and(|ext| ext == "sse");
    Some(Recording { cassette, endpoint, kind, body, stream })
}

fn endpoint(cassette: &Cassette) -> Option<Endpoint> {
    if cassette.id == "azure-openai-responses-s200-3bee6cdc" {
        return Some(Endpoint::Chat);
    }
    Some(match cassette.endpoint.as_str() {
        "openai.chat" => Endpoint::Chat,
        "openai.completions" => Endpoint::Completions,
        "openai.embeddings" => Endpoint::Embeddings,
        "openai.moderations" => Endpoint::Moderations,
        "openai.responses" => Endpoint::Responses,
        "anthropic.messages" => Endpoint::Messages,
        "anthropic.count_tokens" => Endpoint::CountTokens,
        "gemini.generate" if cassette.stream => Endpoint::StreamGenerateContent,
        "gemini.generate" => Endpoint::GenerateContent,
        "gemini.embed" => Endpoint::EmbedContent,
        _ => return None,
    })
}

/// The kind that a self-hoster would configure for the provider of a recording.
fn kind(cassette: &Cassette, endpoint: Endpoint) -> Kind {
    let named = match cassette.provider.as_str() {
        // These were recorded at another address of xAI's own service.
        "openai-compatible" => Kind::Xai,
        "vertex" => Kind::Gemini,
        name => Kind::from_name(name).unwrap_or(Kind::OpenAi),
    };
    match (endpoint.dialect(), named) {
        // Their addresses that speak OpenAI's dialect.
        (Dialect::OpenAi, Kind::Gemini) => Kind::GeminiOpenAi,
        (Dialect::OpenAi, Kind::Bedrock) => Kind::OpenAi,
        (_, named) => named,
    }
}

impl Recording {
    /// What is forwarded and reported when chunks end at these offsets.
    fn relay(&self, hide_usage: bool, cuts: &[usize]) -> (Vec<u8>, StreamReport) {
        let mut meter = StreamMeter::new(self.kind, self.endpoint, hide_usage);
        let mut out = Vec::with_capacity(self.body.len());
        let mut from = 0;
        for to in cuts.iter().copied().chain([self.body.len()]) {
            for piece in meter.push(self.body.slice(from..to)) {
                out.extend_from_slice(&piece);
            }
            from = to;
        }
        for piece in meter.finish() {
            out.extend_from_slice(&piece);
        }
        (out, meter.report().clone())
    }

    /// Where to cut the stream in two.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let length = self.body.len();
        let all = std::env::var_os("CONDUIT_TRAFFIC_ALL_CUTS").is_some();
        let most = if all { length } else { CUT_WORK / length.max(1) };
        let most = if length <= CUT_EVERYWHERE { most } else { most.min(2_000) };
        // An odd step meets every place of a line sooner or later.
        let step = if most >= length { 1 } else { (length / most.max(1)) | 1 };
        (0..=length).step_by(step)
    }

    /// What the meter says of it.
    fn metering(&self) -> (Metering, Told) {
        if self.stream {
            let report = self.relay(false, &[]).1;
            let told = (report.usage, report.extra.clone(), report.provider_cost, report.service);
            ((&report).into(), told)
        } else {
            let report = read_answer(self.kind, self.endpoint, &self.body);
            let told = (report.usage, report.extra.clone(), report.provider_cost, report.service);
            ((&report).into(), told)
        }
    }

    fn expected(&self) -> Option<Expected> {
        let id = &self.cassette.id;
        Deserialize::deserialize(&self.cassette.expected).expect(id)
    }

    fn check_usage(&self, usage: Option<Usage>, extra: &[Extra], cost: Option<u64>) {
        let id = &self.cassette.id;
        let expected = self.expected();
        let otherwise = OTHERWISE.iter().find(|(other, ..)| other == id);
        if let Some((_, [input, output], why)) = otherwise {
            let usage = usage.unwrap_or_else(|| panic!("{id}: no usage, but {why}"));
            assert_eq!([usage.input_tokens(), usage.output_tokens()], [*input, *output], "{id}");
            return;
        }
        let Some(expected) = expected else {
            let known = self.cassette.status != 200
                || TELL_NOTHING.iter().any(|(other, _)| other == id)
                || self.cassette.features.iter().any(|f| f == "no_usage" || f == "error_body");
            assert!(known, "{id}: the index has no usage and does not say why");
            assert!(usage.is_none_or(|u| u == Usage::default()), "{id}: {usage:?}");
            return;
        };
        let usage = usage.unwrap_or_else(|| panic!("{id}: no usage was found"));
        let sum = |classes: &[Class]| classes.iter().map(|class| usage.get(*class)).sum::<u64>();
        assert_eq!(
            [
                sum(&[Class::Input, Class::InputAudio, Class::InputImage]),
                sum(&[Class::CacheRead, Class::CacheReadAudio, Class::CacheReadImage]),
                sum(&[Class::CacheWrite, Class::CacheWrite1h]),
                usage.output_tokens(),
            ],
            [expected.input_uncached, expected.input_cached, expected.cache_write, expected.output],
            "{id}"
        );
        if let Some(hour) = expected.cache_write_1h {
            assert_eq!(usage.get(Class::CacheWrite1h), hour, "{id}: written for an hour");
        }
        if self.endpoint == Endpoint::Messages {
            let searches = expected.web_search_requests.unwrap_or(0);
            assert_eq!(usage.get(Class::WebSearch), searches, "{id}: searches");
            let apart: Vec<_> = extra.iter().map(summary).collect();
            assert_eq!(apart, expected.apart(), "{id}: samplings that the totals leave out");
        }
        if matches!(self.kind, Kind::OpenRouter | Kind::Perplexity) {
            let told = expected.provider_reported_cost_usd.as_ref();
            assert_eq!(cost, told.map(|usd| nano(usd.as_f64().expect("a number"))), "{id}");
        }
    }
}

/// Usage, what it leaves out, cost and tier, as an answer told them.
type Told = (Option<Usage>, Vec<Extra>, Option<Money>, Option<ServiceTier>);

fn summary(extra: &Extra) -> (Option<String>, u64, u64) {
    let model = extra.model.as_deref().map(str::to_owned);
    (model, extra.usage.input_tokens(), extra.usage.output_tokens())
}

impl Expected {
    /// What the totals of an answer of Anthropic's leave out.
    fn apart(&self) -> Vec<(Option<String>, u64, u64)> {
        let apart = |i: &&Iteration| matches!(i.r#type.as_str(), "compaction" | "advisor_message");
        let summary = |i: &Iteration| (i.model.clone(), i.input_tokens, i.output_tokens);
        self.iterations.iter().filter(apart).map(summary).collect()
    }
}

/// Dollars as the index has them, to the nearest nano-dollar: none in it is finer.
fn nano(usd: f64) -> u64 {
    format!("{usd:.9}").replace('.', "").parse().expect("digits")
}

/// The events of a stream: all bytes up to and with each blank line, and the JSON in them.
fn events(stream: &[u8]) -> Vec<(String, Option<Value>)> {
    let text = std::str::from_utf8(stream).expect("recorded streams are UTF-8");
    let mut events = Vec::new();
    let mut event = String::new();
    for line in text.split_inclusive('\n') {
        event.push_str(line);
        if line.trim_end().is_empty() {
            events.push(std::mem::take(&mut event));
        }
    }
    if !event.is_empty() {
        events.push(event);
    }
    let json = |event: &String| {
        let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
        serde_json::from_str(&data.join("\n")).ok()
    };
    events.into_iter().map(|event| (event.clone(), json(&event))).collect()
}

fn has_usage(json: Option<&Value>) -> bool {
    json.and_then(|json| json.get("usage")).is_some_and(|usage| !usage.is_null())
}

/// Whether an event says why the answer ends, in any dialect.
fn has_finish_reason(json: Option<&Value>) -> bool {
    let Some(json) = json else { return false };
    let any = |list: &str, member: &str| {
        let items = json.get(list).and_then(Value::as_array);
        items.is_some_and(|all| all.iter().any(|item| item[member].is_string()))
    };
    any("choices", "finish_reason")
        || any("candidates", "finishReason")
        || json["delta"]["stop_reason"].is_string()
        || json["promptFeedback"]["blockReason"].is_string()
        || (ends_stream(Some(json)) && json["type"] != "message_stop")
}

/// Whether an event is the one that ends its stream, in dialects that have one.
fn ends_stream(json: Option<&Value>) -> bool {
    let name = json.and_then(|json| json["type"].as_str()).unwrap_or_default();
    ["response.completed", "response.incomplete", "response.failed", "message_stop"].contains(&name)
}

fn is_error(json: Option<&Value>) -> bool {
    let Some(json) = json else { return false };
    ["error", "response.failed"].contains(&json["type"].as_str().unwrap_or_default())
        || json.get("error").is_some_and(|error| !error.is_null())
}

#[test]
fn streams_pass_unchanged_and_are_metered_the_same_for_every_cut() {
    let Some(recordings) = recordings() else { return };
    let mut count = 0;
    for recording in recordings.iter().filter(|recording| recording.stream) {
        count += 1;
        let id = &recording.cassette.id;
        let (bytes, report) = recording.relay(false, &[]);
        assert!(bytes == recording.body, "{id}: changed");
        assert!(!report.overflow, "{id}");
        let events = events(&recording.body);
        let marked = events.iter().any(|(event, _)| event.trim() == "data: [DONE]");
        let ended = events.iter().any(|(_, json)| ends_stream(json.as_ref()));
        assert_eq!(report.done, marked || ended, "{id}: the last event");
        let finished = events.iter().any(|(_, json)| has_finish_reason(json.as_ref()));
        assert_eq!(report.finished, finished, "{id}: why it ends");
        let failed = events.iter().any(|(_, json)| is_error(json.as_ref()));
        assert_eq!(report.error, failed, "{id}: error");
        let cost = report.provider_cost.map(Money::nano);
        recording.check_usage(report.usage, &report.extra, cost);

        let each: Vec<usize> = (1..recording.body.len()).collect();
        let (bytes, same) = recording.relay(false, &each);
        assert!(bytes == recording.body && same == report, "{id}: byte by byte");
        for place in recording.places() {
            let (bytes, same) = recording.relay(false, &[place]);
            assert!(bytes == recording.body && same == report, "{id}: cut at {place}");
        }
    }
    println!("{count} streams");
}

#[test]
fn hidden_usage_is_all_that_goes_for_every_cut() {
    let Some(recordings) = recordings() else { return };
    let asks = |r: &&Recording| matches!(r.endpoint, Endpoint::Chat | Endpoint::Completions);
    for recording in recordings.iter().filter(|recording| recording.stream).filter(asks) {
        let id = &recording.cassette.id;
        let plain = recording.relay(false, &[]).1;
        let (hidden, report) = recording.relay(true, &[]);
        assert_eq!(report, plain, "{id}: what is hidden is metered all the same");
        check_hidden(id, &recording.body, &hidden);

        let each: Vec<usize> = (1..recording.body.len()).collect();
        let (bytes, same) = recording.relay(true, &each);
        assert!(bytes == hidden && same == report, "{id}: byte by byte");
        for place in recording.places() {
            let (bytes, same) = recording.relay(true, &[place]);
            assert!(bytes == hidden && same == report, "{id}: cut at {place}");
        }
    }
}

/// Each event is there as it was, or without its usage, or was nothing but usage.
fn check_hidden(id: &str, before: &[u8], after: &[u8]) {
    let mut left = events(after).into_iter();
    for (event, json) in events(before) {
        if !has_usage(json.as_ref()) {
            let next = left.next().unwrap_or_else(|| panic!("{id}: lost {event}"));
            assert_eq!(next.0, event, "{id}");
            continue;
        }
        let mut json = json.expect("it has usage");
        let choices = json.get("choices").and_then(Value::as_array);
        if choices.is_some_and(Vec::is_empty) {
            continue;
        }
        json.as_object_mut().expect("an object").remove("usage");
        let (text, cut) = left.next().unwrap_or_else(|| panic!("{id}: lost {event}"));
        assert_eq!(cut, Some(json), "{id}");
        assert!(text.len() < event.len() && text.starts_with("data:"), "{id}: {text}");
    }
    assert_eq!(left.next(), None, "{id}: more came out than went in");
}

#[test]
fn answers_are_metered() {
    let Some(recordings) = recordings() else { return };
    let mut count = 0;
    for recording in recordings.iter().filter(|recording| !recording.stream) {
        count += 1;
        let report = read_answer(recording.kind, recording.endpoint, &recording.body);
        let cost = report.provider_cost.map(Money::nano);
        recording.check_usage(report.usage, &report.extra, cost);
        let error = recording.cassette.features.iter().any(|feature| feature == "error_body");
        // Only the shape that OpenAI's clients know as an error is one here.
        let body: Option<Value> = serde_json::from_slice(&recording.body).ok();
        let known = body.as_ref().and_then(|body| body.get("error")).is_some();
        assert_eq!(report.error, error && known, "{}", recording.cassette.id);
        let json = recording.cassette.headers.get("content-type");
        assert!(
            !json.is_some_and(|kind| kind.contains("event-stream")),
            "{}",
            recording.cassette.id
        );
    }
    println!("{count} answers");
}

/// No request that a provider accepted is refused, and what is read of it is what it says.
#[test]
fn requests_that_were_answered_are_calls() {
    let Some(recordings) = recordings() else { return };
    let mut count = 0;
    let read_as_json = |r: &&Recording| {
        let known =
            matches!(r.endpoint, Endpoint::Chat | Endpoint::Completions | Endpoint::Embeddings);
        known && r.cassette.status == 200
    };
    for recording in recordings.iter().filter(read_as_json) {
        let Some(path) = &recording.cassette.request else { continue };
        let id = &recording.cassette.id;
        let body = Bytes::from(fs::read(folder().join(path)).expect("a request"));
        let said: Value = serde_json::from_slice(&body).expect(id);
        // Azure's deployments need no model in the body; here every call has one.
        if said.get("model").is_none() {
            continue;
        }
        count += 1;
        let call = read(recording.endpoint, &Head::default(), &body)
            .unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(said["model"], call.model.as_str(), "{id}");
        assert_eq!(said["stream"].as_bool().unwrap_or(false), call.stream, "{id}");
        let wants_usage = &said["stream_options"]["include_usage"];
        assert_eq!(wants_usage.as_bool().unwrap_or(false), call.wants_usage, "{id}");
        assert!(rewrite(&body, &call, &Edits::default()) == body, "{id}");

        let edits = Edits {
            model: Some("other"),
            include_usage: true,
            output_cap: Some(7),
            old_cap: false,
        };
        let out = rewrite(&body, &call, &edits);
        let again = read(recording.endpoint, &Head::default(), &out)
            .unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(
            (again.model.as_str(), again.wants_usage || !call.stream),
            ("other", true),
            "{id}"
        );
        let mut left: Value = serde_json::from_slice(&out).expect(id);
        let mut before = said;
        for value in [&mut left, &mut before] {
            let members = value.as_object_mut().expect(id);
            for edited in ["model", "stream_options", "max_tokens", "max_completion_tokens"] {
                members.remove(edited);
            }
        }
        assert_eq!(left, before, "{id}");
    }
    println!("{count} requests");
}

/// Calls whose prompt was not all in the body, and why that cannot be seen there.
const NOT_IN_THE_BODY: [(&str, &str); 5] = [
    ("venice-", "Venice, which has no kind of its own, puts a long prompt of its own before each"),
    (
        "openai-openai-responses-s200-daabfff7",
        "`reasoning.mode: pro` reads the prompt several times",
    ),
    ("gemini-gemini-generate-s200-41fd32f9", "a cached prompt, see the bounds of unseen input"),
    ("openai-openai-responses-j200-6dffd2f1", "results of a search in an earlier answer"),
    ("vertex-", "replayed as Gemini"),
];

/// No recorded call used more of a prompt than is set aside for it, where the body says what is asked.
#[test]
fn no_prompt_came_to_more_than_its_bound() {
    let Some(recordings) = recordings() else { return };
    let mut count = 0;
    let mut above = Vec::new();
    for recording in recordings.iter().filter(|recording| recording.cassette.status == 200) {
        let id = &recording.cassette.id;
        let (Some(path), Some(expected)) = (&recording.cassette.request, recording.expected())
        else {
            continue;
        };
        if NOT_IN_THE_BODY.iter().any(|(start, _)| id.starts_with(start)) {
            continue;
        }
        let body = Bytes::from(fs::read(folder().join(path)).expect("a request"));
        let head = Head { model: Some("model"), content_type: None };
        let Ok(call) = read(recording.endpoint, &head, &body) else { continue };
        let model = Model { kind: recording.kind, max_input_tokens: None, max_output_tokens: None };
        let bound = bounds(&call, call.body_bytes, model).input_tokens;
        let used = expected.input_uncached + expected.input_cached + expected.cache_write;
        count += 1;
        if used > bound {
            above.push(format!("{id}: {used} tokens, {bound} set aside"));
        }
    }
    assert!(above.is_empty(), "{above:#?}");
    println!("{count} prompts");
    assert!(count > 200, "{count}");
}

/// Dollars that xAI reports in ticks come to what its price list says for the counts reported.
#[test]
fn ticks_are_what_the_price_list_comes_to() {
    let Some(recordings) = recordings() else { return };
    let mut count = 0;
    for recording in
        recordings.iter().filter(|r| r.kind == Kind::Xai && r.endpoint == Endpoint::Chat)
    {
        let (usage, _, cost, _) = recording.metering().1;
        let (Some(usage), Some(cost)) = (usage, cost) else { continue };
        // The list price of the model in these recordings, in nano-dollars for a thousand tokens.
        let price = usage.get(Class::Input) * 300_000
            + usage.get(Class::CacheRead) * 75_000
            + usage.output_tokens() * 500_000;
        assert_eq!(cost.nano(), price.div_ceil(1_000), "{}", recording.cassette.id);
        count += 1;
    }
    assert!(count >= 2, "{count} recordings report ticks");
}

/// Each recording is of an endpoint that is served, or is named here with the reason why not.
#[test]
fn every_recording_is_accounted_for() {
    let Some(all) = index() else { return };
    let mut counts = BTreeMap::<String, [usize; 2]>::new();
    let total = all.len();
    for cassette in all {
        let (id, name) = (cassette.id.clone(), cassette.endpoint.clone());
        let is_served = recording(cassette).is_some();
        let excused = NOT_SERVED.iter().any(|(endpoint, _)| *endpoint == name)
            || LEFT_OUT.iter().any(|(other, _)| *other == id);
        assert!(is_served != excused, "{id}: {name}");
        counts.entry(name).or_default()[usize::from(!is_served)] += 1;
    }
    for (endpoint, [served, left_out]) in &counts {
        println!("{endpoint}: {served} replayed, {left_out} not");
    }
    for (what, why) in NOT_SERVED.iter().chain(&LEFT_OUT) {
        println!("Not replayed: {what}: {why}.");
    }
    assert_eq!(total, ALL);
    assert_eq!(counts.values().flatten().sum::<usize>(), ALL);
}

/// Anything that comes goes on as it came, also where a body is not of the shape that was expected.
#[test]
fn any_recording_passes_any_meter_unchanged_in_any_chunks() {
    let Some(all) = index() else { return };
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    for (number, cassette) in all.iter().enumerate() {
        let Some(path) = &cassette.body else { continue };
        let body = Bytes::from(fs::read(folder().join(path)).expect("a body"));
        let own = endpoint(cassette).unwrap_or(Endpoint::Chat);
        let other = Endpoint::ALL[number % Endpoint::ALL.len()];
        for endpoint in [own, other, own] {
            let mut meter = StreamMeter::new(kind(cassette, endpoint), endpoint, false);
            let (mut out, mut at) = (Vec::with_capacity(body.len()), 0);
            while at < body.len() {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let size = usize::try_from(chance >> 33).expect("31 bits") % 700 + 1;
                let end = body.len().min(at + size);
                meter.push(body.slice(at..end)).into_iter().for_each(|piece| out.extend(piece));
                at = end;
            }
            meter.finish().into_iter().for_each(|piece| out.extend(piece));
            assert!(out == body, "{}: changed by {endpoint:?}", cassette.id);
        }
    }
}

/// A price list with a rate of its own for each class, so that no two can be mistaken for each other.
fn made_up() -> Arc<Pricing> {
    const PRIMES: [u64; Class::COUNT] =
        [101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181];
    let scaled = |factor: u64| {
        let mut rates = Rates::default();
        for (class, prime) in Class::ALL.into_iter().zip(PRIMES) {
            // A fee for each call would be added to every one: a class of its own is enough.
            if class != Class::Call {
                rates.set(class, Rate::from_nano_per_million(prime * 1_000_003 * factor));
            }
        }
        rates
    };
    let overlay = |service, above, factor| Overlay {
        service,
        above_input_tokens: above,
        rates: scaled(factor),
    };
    Arc::new(Pricing::Priced(Price {
        base: scaled(1),
        overlays: vec![
            overlay(ServiceTier::Standard, 200_000, 2),
            overlay(ServiceTier::Priority, 0, 3),
            overlay(ServiceTier::Flex, 0, 5),
        ],
        variants: vec![],
    }))
}

/// The rate of a class, found the slow way.
fn rate(price: &Price, class: Class, service: ServiceTier, input: u64) -> u128 {
    let parent = |class| match class {
        Class::CacheRead | Class::CacheWrite | Class::InputAudio | Class::InputImage => {
            Some(Class::Input)
        }
        Class::CacheWrite1h => Some(Class::CacheWrite),
        Class::CacheReadAudio => Some(Class::InputAudio),
        Class::CacheReadImage => Some(Class::InputImage),
        Class::Reasoning | Class::OutputAudio | Class::OutputImage => Some(Class::Output),
        _ => None,
    };
    let mut looked_at = Some(class);
    while let Some(class) = looked_at {
        let of = |service: ServiceTier, sized: bool| {
            let mut fitting: Vec<(u64, u64)> = Vec::new();
            for overlay in &price.overlays {
                let above = overlay.above_input_tokens;
                let fits = if sized { above > 0 && input > above } else { above == 0 };
                if let Some(rate) =
                    overlay.rates.get(class).filter(|_| fits && overlay.service == service)
                {
                    fitting.push((above, rate.nano_per_million()));
                }
            }
            fitting.into_iter().max().map(|(_, rate)| rate)
        };
        let long = of(ServiceTier::Standard, true);
        let found = if service == ServiceTier::Standard {
            long
        } else {
            of(service, true).or_else(|| match (of(service, false), long) {
                (Some(tier), Some(long)) => Some(tier.max(long)),
                (tier, long) => tier.or(long),
            })
        };
        if let Some(rate) = found.or(price.base.get(class).map(Rate::nano_per_million)) {
            return u128::from(rate);
        }
        looked_at = parent(class);
    }
    // What is left open, as the size of an image, costs the dearest that it could be.
    let variants = price.variants.iter().filter(|variant| variant.class == class);
    u128::from(variants.map(|variant| variant.rate.nano_per_million()).max().unwrap_or(0))
}

/// What a call comes to by hand, in billionths of a millionth of a dollar.
fn by_hand(
    kind: Kind,
    pricing: &Pricing,
    (usage, wanted): (&Usage, &Wanted),
    service: ServiceTier,
) -> u128 {
    let Pricing::Priced(price) = pricing else { return 0 };
    let input: u64 = (0..8).filter_map(Class::from_index).map(|class| usage.get(class)).sum();
    let like_it = |variant: &&Variant| {
        let (size, quality) = (&wanted.image_size, &wanted.image_quality);
        variant.class == Class::Image && (&variant.size, &variant.quality) == (size, quality)
    };
    let known = |class| match rate(price, class, service, input) {
        _ if class == Class::Image && price.variants.iter().any(|v| like_it(&v)) => {
            let exact = price.variants.iter().find(like_it);
            u128::from(exact.map_or(0, |variant| variant.rate.nano_per_million()))
        }
        0 if !class.is_token() && rates_of(price, class).next().is_none() => stand_in(kind, class),
        rate => rate,
    };
    let counted = Class::ALL
        .into_iter()
        .filter(|class| usage.get(*class) > 0)
        .map(|class| u128::from(usage.get(class)) * known(class));
    counted.sum::<u128>() + rate(price, Class::Call, service, input)
}

/// Every rate that a list has for a class.
fn rates_of(price: &Price, class: Class) -> impl Iterator<Item = u64> {
    let overlays = price.overlays.iter().filter_map(move |overlay| overlay.rates.get(class));
    let variants = price.variants.iter().filter(move |variant| variant.class == class);
    let variants = variants.map(|variant| variant.rate);
    let all = price.base.get(class).into_iter().chain(overlays).chain(variants);
    all.map(Rate::nano_per_million)
}

/// What is charged for a piece that a model's list has no price for: the dearest that its provider sells
/// it at with another model, or else anybody.
fn stand_in(kind: Kind, class: Class) -> u128 {
    let dearest = |is_meant: &dyn Fn(&str) -> bool| {
        let entries = Catalogue::embedded().entries().iter();
        let meant = entries.filter(|entry| is_meant(&entry.provider));
        let rates = meant.filter_map(|entry| match &*entry.pricing {
            Pricing::Priced(price) => rates_of(price, class).max(),
            Pricing::Free | Pricing::Unknown => None,
        });
        rates.max().filter(|rate| *rate > 0)
    };
    let own = dearest(&|provider| Some(provider) == kind.preset().catalogue);
    u128::from(own.or_else(|| dearest(&|_| true)).unwrap_or(0))
}

/// What the catalogue has for a model of the provider of a recording.
fn listed(kind: Kind, model: &str) -> Option<Arc<Pricing>> {
    let entry = Catalogue::embedded().find(kind.preset().catalogue?, model)?;
    Some(Arc::clone(&entry.pricing))
}

#[test]
fn costs_are_what_they_come_to_by_hand_to_the_nano_dollar() {
    let Some(recordings) = recordings() else { return };
    let (mut by_catalogue, mut reported) = (0, 0);
    let prices = Prices::embedded();
    for recording in &recordings {
        let id = &recording.cassette.id;
        let model = recording.cassette.model.as_deref().unwrap_or_default();
        let from_list = listed(recording.kind, model);
        let (metering, (usage, extra, _, service)) = recording.metering();
        let Some(usage) = usage else { continue };
        reported += 1;
        by_catalogue += usize::from(from_list.is_some());
        for pricing in from_list.iter().cloned().chain([made_up()]) {
            let other = |model: &str| listed(recording.kind, model);
            let terms = Terms {
                endpoint: recording.endpoint,
                asked: &Asked::default(),
                pricing: &pricing,
                other_price: &other,
                dearest: &|class| prices.dearest(recording.kind.preset().catalogue, class),
                prefer_provider_cost: false,
                held: Money::MAX,
            };
            let (bill, metered) = charge(&terms, &metering, Fate::Answered);
            assert_eq!(metered, Metered::Reported, "{id}");
            let service = service.unwrap_or_default();
            let served_by = recording.served_by();
            let own = served_by.and_then(|model| listed(recording.kind, &model));
            let mut sum = by_hand(
                recording.kind,
                own.as_ref().unwrap_or(&pricing),
                (&usage, &Wanted::default()),
                service,
            );
            for part in &extra {
                let model = part.model.as_deref();
                let own = model.and_then(|model| listed(recording.kind, model));
                sum += by_hand(
                    recording.kind,
                    own.as_ref().unwrap_or(&pricing),
                    (&part.usage, &part.wanted),
                    service,
                );
            }
            let nano = u64::try_from(sum.div_ceil(1_000_000)).expect("a sum of money");
            assert_eq!(bill.cost.nano(), nano, "{id}: {model}");
            assert!(
                nano > 0
                    || usage == Usage::default()
                    || **from_list.as_ref().unwrap_or(&pricing) == Pricing::Free,
                "{id}: {model}"
            );
        }
    }
    println!("{reported} priced, {by_catalogue} of them from the catalogue");
    assert!(by_catalogue > 100, "{by_catalogue}");
}

impl Recording {
    /// The model that took over, by the index.
    fn served_by(&self) -> Option<String> {
        let iterations = self.expected()?.iterations;
        let fallback = iterations.into_iter().rev().find(|i| i.r#type == "fallback_message");
        fallback?.model
    }
}
