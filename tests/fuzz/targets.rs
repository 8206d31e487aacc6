//! What is fuzzed: every place where bytes from outside are read. Each target takes any bytes and
//! returns; a panic is a finding, and so is an assertion that fails.
//!
//! Used by the fuzzer (`fuzz/bin`) and by `mutation.rs`.

use bytes::Bytes;
use conduit::catalogue::import;
use conduit::domain::codec::Decoder;
use conduit::domain::key::Secret;
use conduit::domain::receipt::Receipt;
use conduit::provider::endpoint::{Dialect, Endpoint};
use conduit::provider::event_stream;
use conduit::provider::kind::Kind;
use conduit::provider::meter::StreamMeter;
use conduit::provider::request::{self, Edits, Head, multipart};
use conduit::provider::usage::read_answer;
use conduit::store::record::read_frames;
use conduit::translate::{About, Brief, StreamTranslation, Translation, plan};
use serde_json::{Map, Value};

pub(crate) type Target = (&'static str, fn(&[u8]));

pub(crate) const TARGETS: [Target; 11] = [
    ("request", request),
    ("form", form),
    ("stream", stream),
    ("answer", answer),
    ("event_stream", event_stream),
    ("translate_request", translate_request),
    ("translate_answer", translate_answer),
    ("translate_stream", translate_stream),
    ("price_import", price_import),
    ("journal", journal),
    ("secret", secret),
];

/// The first byte chooses one of `all`; the rest is for that.
fn choose<T: Copy>(all: &[T], data: &[u8]) -> Option<(T, Vec<u8>)> {
    let (first, rest) = data.split_first()?;
    Some((all[usize::from(*first) % all.len()], rest.to_vec()))
}

/// Cuts bytes at places that their own second byte decides.
fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let size = data.first().map_or(1, |byte| usize::from(*byte) % 97 + 1);
    data.chunks(size)
}

fn object(data: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(data) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}

pub(crate) fn request(data: &[u8]) {
    let Some((endpoint, body)) = choose(&Endpoint::ALL, data) else { return };
    // The path names the model in Google's dialect, and at Azure whatever the body says.
    let is_gemini = endpoint.dialect() == Dialect::Gemini;
    let head = |model| Head { model, ..Head::default() };
    let body = Bytes::from(body);
    if let Ok(call) = request::read(endpoint, &head(Some("model")), &body) {
        assert_eq!(call.model, "model");
        let named = request::rewrite(&body, &call, &Edits::default());
        request::read(endpoint, &head(Some("model")), &named).expect("what was named is a call");
    }
    let head = head(is_gemini.then_some("model"));
    let Ok(call) = request::read(endpoint, &head, &body) else { return };
    assert_eq!(request::rewrite(&body, &call, &Edits::default()), body);
    let old_cap = body.len() % 2 == 0;
    let edits = Edits { model: Some("other"), include_usage: true, output_cap: Some(7), old_cap };
    let rewritten = request::rewrite(&body, &call, &edits);
    let again = request::read(endpoint, &head, &rewritten).expect("what was rewritten is a call");
    if call.output_cap.is_some() && endpoint.generates() {
        assert_eq!(again.output_cap, Some(7));
    }
}

pub(crate) fn form(data: &[u8]) {
    let Ok(mut scanner) = multipart::Scanner::new("multipart/form-data; boundary=b") else {
        return;
    };
    let fed = pieces(data).try_for_each(|piece| scanner.push(piece));
    if fed.is_ok() {
        let _ = scanner.finish();
    }
}

pub(crate) fn stream(data: &[u8]) {
    let Some((kind, rest)) = choose(&Kind::ALL, data) else { return };
    let Some((endpoint, rest)) = choose(&Endpoint::ALL, &rest) else { return };
    let mut meter = StreamMeter::new(kind, endpoint, false);
    let mut out = Vec::new();
    for piece in pieces(&rest) {
        meter
            .push(Bytes::copy_from_slice(piece))
            .into_iter()
            .for_each(|b| out.extend_from_slice(&b));
    }
    meter.finish().into_iter().for_each(|bytes| out.extend_from_slice(&bytes));
    assert_eq!(out, rest, "what comes in goes out");
    let mut hiding = StreamMeter::new(kind, endpoint, true);
    for piece in pieces(&rest) {
        hiding.push(Bytes::copy_from_slice(piece));
    }
    hiding.finish();
}

pub(crate) fn answer(data: &[u8]) {
    let Some((kind, rest)) = choose(&Kind::ALL, data) else { return };
    let Some((endpoint, body)) = choose(&Endpoint::ALL, &rest) else { return };
    let _ = read_answer(kind, endpoint, &body);
}

pub(crate) fn event_stream(data: &[u8]) {
    let mut whole = event_stream::Decoder::new();
    let mut expected = whole.push(data).to_vec();
    expected.extend_from_slice(&whole.finish());
    let mut cut = event_stream::Decoder::new();
    let mut found = Vec::new();
    for piece in pieces(data) {
        found.extend_from_slice(&cut.push(piece));
    }
    found.extend_from_slice(&cut.finish());
    assert_eq!(found, expected, "pieces do not matter");
}

const CLIENTS: [Endpoint; 3] = [Endpoint::Chat, Endpoint::Messages, Endpoint::Responses];
const PROVIDERS: [Dialect; 4] =
    [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini, Dialect::Bedrock];

fn translation(data: &[u8]) -> Option<(Translation, Vec<u8>)> {
    let (client, rest) = choose(&CLIENTS, data)?;
    let (provider, rest) = choose(&PROVIDERS, &rest)?;
    Some((plan(client, provider)?, rest))
}

fn about() -> About {
    About {
        id: "id".into(),
        created: 1,
        model: "model".into(),
        wants_usage: true,
        ..About::default()
    }
}

pub(crate) fn translate_request(data: &[u8]) {
    let Some((translation, rest)) = translation(data) else { return };
    let Some(mut call) = object(&rest) else { return };
    if let Some(frontend) = translation.frontend {
        match frontend.request(&call) {
            Ok(chat) => call = chat,
            Err(refused) => return assert!(!refused.message.is_empty()),
        }
    }
    let Some(backend) = translation.backend else { return };
    for (stream, output_cap) in [(false, None), (true, Some(100))] {
        let brief = Brief { model: "model", stream, output_cap, max_output_tokens: Some(1_000) };
        if let Err(refused) = backend.request(&call, &brief) {
            assert!(!refused.message.is_empty());
        }
    }
}

pub(crate) fn translate_answer(data: &[u8]) {
    let Some((translation, rest)) = translation(data) else { return };
    let about = about();
    if let Some(backend) = translation.backend {
        let failure = backend.failure(500, &rest);
        if let Some(frontend) = translation.frontend {
            frontend.failure(&failure, &about);
        }
    }
    let Ok(value) = serde_json::from_slice::<Value>(&rest) else { return };
    let completion = match translation.backend {
        Some(backend) => backend.answer(&value, &about),
        None => value,
    };
    if let Some(frontend) = translation.frontend {
        frontend.answer(&completion, &about);
    }
}

pub(crate) fn translate_stream(data: &[u8]) {
    let Some((translation, rest)) = translation(data) else { return };
    let all = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut stream = StreamTranslation::new(&translation, &about());
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&stream.push(piece));
        }
        out.extend_from_slice(&stream.finish());
        out
    };
    let whole = all(&mut std::iter::once(&rest[..]));
    assert_eq!(all(&mut pieces(&rest)), whole, "pieces do not matter");
}
pub(crate) fn price_import(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = import::read(text, "2026-01-01");
    }
}

pub(crate) fn journal(data: &[u8]) {
    for record in read_frames(data) {
        let _ = record;
    }
    let _ = Receipt::decode(&mut Decoder::new(data));
}

pub(crate) fn secret(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Secret::parse(text);
    }
}
