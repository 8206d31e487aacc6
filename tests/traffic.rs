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

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use conduit::domain::money::Money;
use conduit::domain::usage::{Class, Usage};
use conduit::provider::endpoint::Endpoint;
use conduit::provider::kind::Kind;
use conduit::provider::meter::{StreamMeter, StreamReport};
use conduit::provider::request::{Edits, read, rewrite};
use conduit::provider::usage::read_answer;

/// Streams up to this size are cut at every byte; of longer ones a few thousand places are tried.
const CUT_EVERYWHERE: usize = 64 << 10;
/// Cutting everywhere costs the square of the size: past this many bytes in all the places thin out,
/// unless `CONDUIT_TRAFFIC_ALL_CUTS` is set.
const CUT_WORK: usize = 1 << 21;

/// Recordings whose index disagrees with the rules of their kind, and what is right instead.
const OTHERWISE: [(&str, u64, &str); 1] = [(
    "gemini-openai-chat-j200-7b637a44",
    74,
    "the index counts the 12 tokens named as completion; the total has 62 more, which are thought \
     and billed as output",
)];

/// Recordings that are left out.
const LEFT_OUT: [(&str, &str); 1] = [(
    "ollama-openai-embeddings-j200-c6ff3807",
    "a call of Ollama's own wire, which is not spoken, though the index has it among the embeddings",
)];

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
    headers: std::collections::BTreeMap<String, String>,
    features: Vec<String>,
    /// Other wires have other members here: it is read where it is needed.
    expected: Value,
}

#[derive(Deserialize)]
struct Expected {
    input_uncached: u64,
    input_cached: u64,
    cache_write: u64,
    output: u64,
    provider_reported_cost_usd: Option<serde_json::Number>,
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

/// The recordings of the endpoints that are spoken; `None` where there are none.
fn recordings() -> Option<Vec<Recording>> {
    let folder = folder();
    let Ok(index) = fs::read_to_string(folder.join("index.json")) else {
        println!("Skipped: there is no recorded traffic at {}.", folder.display());
        return None;
    };
    let index: Index = serde_json::from_str(&index).expect("the index is JSON");
    let found = index.cassettes.into_iter().filter_map(|cassette| {
        let endpoint = match cassette.endpoint.as_str() {
            "openai.chat" => Endpoint::Chat,
            "openai.completions" => Endpoint::Completions,
            "openai.embeddings" => Endpoint::Embeddings,
            _ => return None,
        };
        if LEFT_OUT.iter().any(|(id, _)| *id == cassette.id) {
            return None;
        }
        let body = Bytes::from(fs::read(folder.join(cassette.body.as_ref()?)).expect("a body"));
        let kind = kind(&cassette);
        let stream = Path::new(cassette.body.as_ref()?).extension().is_some_and(|ext| ext == "sse");
        Some(Recording { cassette, endpoint, kind, body, stream })
    });
    let found: Vec<Recording> = found.collect();
    assert!(!found.is_empty(), "the index names no recording of a known endpoint");
    Some(found)
}

/// The kind that a self-hoster would configure for the provider of a recording.
fn kind(cassette: &Cassette) -> Kind {
    match cassette.provider.as_str() {
        // These were recorded at another address of xAI's own service.
        "openai-compatible" => Kind::Xai,
        name => Kind::from_name(name).unwrap_or(Kind::OpenAi),
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
        (out, *meter.report())
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

    fn check_usage(&self, usage: Option<Usage>, cost: Option<u64>) {
        let id = &self.cassette.id;
        let expected: Option<Expected> =
            Deserialize::deserialize(&self.cassette.expected).expect(id);
        let Some(expected) = expected else {
            let known = self.cassette.status != 200
                || self.cassette.features.iter().any(|f| f == "no_usage" || f == "error_body");
            assert!(known, "{id}: the index has no usage and does not say why");
            assert!(usage.is_none_or(|u| u == Usage::default()), "{id}: {usage:?}");
            return;
        };
        let usage = usage.unwrap_or_else(|| panic!("{id}: no usage was found"));
        let sum = |classes: &[Class]| classes.iter().map(|class| usage.get(*class)).sum::<u64>();
        let otherwise = OTHERWISE.iter().find(|(other, ..)| other == id);
        let output = otherwise.map_or(expected.output, |(_, output, _)| *output);
        assert_eq!(
            [
                sum(&[Class::Input, Class::InputAudio, Class::InputImage]),
                sum(&[Class::CacheRead, Class::CacheReadAudio, Class::CacheReadImage]),
                sum(&[Class::CacheWrite, Class::CacheWrite1h]),
                usage.output_tokens(),
            ],
            [expected.input_uncached, expected.input_cached, expected.cache_write, output],
            "{id}"
        );
        if matches!(self.kind, Kind::OpenRouter | Kind::Perplexity) {
            let told = expected.provider_reported_cost_usd.as_ref();
            assert_eq!(cost, told.map(|usd| nano(usd.as_f64().expect("a number"))), "{id}");
        }
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

fn has_finish_reason(json: Option<&Value>) -> bool {
    let choices = json.and_then(|json| json.get("choices")).and_then(Value::as_array);
    choices.is_some_and(|all| all.iter().any(|choice| choice["finish_reason"].is_string()))
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
        assert_eq!(report.done, marked, "{id}: [DONE]");
        let finished = events.iter().any(|(_, json)| has_finish_reason(json.as_ref()));
        assert_eq!(report.finished, finished, "{id}: finish_reason");
        recording.check_usage(report.usage, report.provider_cost.map(Money::nano));

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
    for recording in recordings.iter().filter(|recording| recording.stream) {
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
        recording.check_usage(report.usage, cost);
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
    for recording in recordings.iter().filter(|recording| recording.cassette.status == 200) {
        let Some(path) = &recording.cassette.request else { continue };
        let id = &recording.cassette.id;
        let body = Bytes::from(fs::read(folder().join(path)).expect("a request"));
        let said: Value = serde_json::from_slice(&body).expect(id);
        // Azure's deployments need no model in the body; here every call has one.
        if said.get("model").is_none() {
            continue;
        }
        count += 1;
        let call = read(recording.endpoint, &body).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(said["model"], call.model.as_str(), "{id}");
        assert_eq!(said["stream"].as_bool().unwrap_or(false), call.stream, "{id}");
        let wants_usage = &said["stream_options"]["include_usage"];
        assert_eq!(wants_usage.as_bool().unwrap_or(false), call.wants_usage, "{id}");
        assert!(rewrite(&body, &call, &Edits::default()) == body, "{id}");

        let edits = Edits { model: Some("other"), include_usage: true, output_cap: Some(7) };
        let out = rewrite(&body, &call, &edits);
        let again = read(recording.endpoint, &out).unwrap_or_else(|error| panic!("{id}: {error}"));
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

/// Dollars that xAI reports in ticks come to what its price list says for the counts reported.
#[test]
fn ticks_are_what_the_price_list_comes_to() {
    let Some(recordings) = recordings() else { return };
    let mut count = 0;
    for recording in recordings.iter().filter(|r| r.kind == Kind::Xai) {
        let (usage, cost) = if recording.stream {
            let report = recording.relay(false, &[]).1;
            (report.usage, report.provider_cost)
        } else {
            let report = read_answer(recording.kind, recording.endpoint, &recording.body);
            (report.usage, report.provider_cost)
        };
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
