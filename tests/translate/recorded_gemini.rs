//! Translates recorded streams of Gemini and compares what a client makes of them with what stands in
//! the recording itself.
//!
//! The recordings lie beside the project and are not part of it; without them this says that it was
//! skipped and passes.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use conduit::provider::endpoint::{Dialect, Endpoint};
use conduit::translate::{About, StreamTranslation, plan};

/// What an answer comes to, whoever wrote it.
#[derive(Debug, Default, PartialEq)]
struct Told {
    text: String,
    reasoning: String,
    calls: Vec<(String, Value)>,
    /// Prompt, completion.
    usage: (u64, u64),
}

fn recordings() -> Option<Vec<(String, String)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traffic");
    let Ok(index) = fs::read_to_string(folder.join("index.json")) else {
        println!("skipped: there are no recordings beside the project");
        return None;
    };
    let index: Value = serde_json::from_str(&index).expect("the index is JSON");
    let cassettes = index["cassettes"].as_array().expect("a list");
    let wanted = cassettes
        .iter()
        .filter(|cassette| cassette["endpoint"] == "gemini.generate" && cassette["status"] == 200);
    let read = |cassette: &Value| {
        let body = cassette["body"].as_str().expect("a path");
        let text = fs::read_to_string(folder.join(body)).expect("a body");
        (cassette["id"].as_str().expect("an id").to_owned(), text)
    };
    Some(wanted.map(read).collect())
}

fn data(stream: &str) -> impl Iterator<Item = Value> {
    stream.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok())
}

/// What Gemini's own events say.
fn said(events: impl Iterator<Item = Value>) -> Told {
    let mut told = Told::default();
    for event in events {
        for part in event["candidates"][0]["content"]["parts"].as_array().into_iter().flatten() {
            let text = part["text"].as_str().unwrap_or_default();
            if part["thought"] == true { &mut told.reasoning } else { &mut told.text }
                .push_str(text);
            if let Some(call) = part.get("functionCall") {
                told.calls.push((
                    call["name"].as_str().expect("a name").to_owned(),
                    call["args"].clone(),
                ));
            }
        }
        let usage = &event["usageMetadata"];
        let count = |name: &str| usage[name].as_u64().unwrap_or_default();
        let prompt = count("promptTokenCount") + count("toolUsePromptTokenCount");
        told.usage = (prompt, count("totalTokenCount") - prompt);
    }
    told
}

fn translated(endpoint: Endpoint, stream: &str, size: usize) -> Vec<Value> {
    let about = About { id: "1".into(), model: "m".into(), wants_usage: true, ..About::default() };
    let plan = plan(endpoint, Dialect::Gemini).expect("a way");
    let mut translation = StreamTranslation::new(&plan, &about);
    let mut out = Vec::new();
    for piece in stream.as_bytes().chunks(size) {
        out.extend_from_slice(&translation.push(piece));
    }
    out.extend_from_slice(&translation.finish());
    data(&String::from_utf8(out).expect("text")).collect()
}

fn call(name: &Value, arguments: &Value) -> (String, Value) {
    let arguments = serde_json::from_str(arguments.as_str().expect("a text")).expect("JSON");
    (name.as_str().expect("a name").to_owned(), arguments)
}

fn of_chat(chunks: &[Value]) -> Told {
    let mut told = Told::default();
    for chunk in chunks {
        let delta = &chunk["choices"][0]["delta"];
        told.text.push_str(delta["content"].as_str().unwrap_or_default());
        told.reasoning.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
        for tool in delta["tool_calls"].as_array().into_iter().flatten() {
            told.calls.push(call(&tool["function"]["name"], &tool["function"]["arguments"]));
        }
        if let Some(usage) = chunk.get("usage") {
            let count = |name: &str| usage[name].as_u64().expect("a number");
            told.usage = (count("prompt_tokens"), count("completion_tokens"));
        }
    }
    told
}

fn of_response(events: &[Value]) -> Told {
    let mut told = Told::default();
    let response = &events.last().expect("an end")["response"];
    for item in response["output"].as_array().into_iter().flatten() {
        let texts = item["content"].as_array().into_iter().flatten();
        let text: String = texts.filter_map(|part| part["text"].as_str()).collect();
        match item["type"].as_str() {
            Some("reasoning") => told.reasoning.push_str(&text),
            Some("message") => told.text.push_str(&text),
            _ => told.calls.push(call(&item["name"], &item["arguments"])),
        }
    }
    let count = |name: &str| response["usage"][name].as_u64().expect("a number");
    told.usage = (count("input_tokens"), count("output_tokens"));
    told
}

#[test]
fn recorded_streams_say_the_same_when_translated() {
    let Some(recordings) = recordings() else { return };
    let streams = recordings.iter().filter(|(_, body)| body.starts_with("data:"));
    let mut tried = 0;
    for (id, stream) in streams {
        let said = said(data(stream));
        for size in [7, 4096, usize::MAX] {
            let chunks = translated(Endpoint::Chat, stream, size);
            assert_eq!(of_chat(&chunks), said, "{id}");
            let ends =
                chunks.iter().filter(|chunk| !chunk["choices"][0]["finish_reason"].is_null());
            assert_eq!(ends.count(), 1, "{id}");
            let events = translated(Endpoint::Responses, stream, size);
            assert_eq!(of_response(&events), said, "{id}");
        }
        tried += 1;
    }
    assert!(tried > 20);
}

#[test]
fn recorded_answers_say_the_same_when_translated() {
    let Some(recordings) = recordings() else { return };
    let about = About { id: "1".into(), model: "m".into(), ..About::default() };
    let backend = plan(Endpoint::Chat, Dialect::Gemini).and_then(|plan| plan.backend).expect("one");
    let frontend = plan(Endpoint::Responses, Dialect::OpenAi).and_then(|plan| plan.frontend);
    let frontend = frontend.expect("one");
    let mut tried = 0;
    for (id, body) in recordings.iter().filter(|(_, body)| body.starts_with('{')) {
        let answer: Value = serde_json::from_str(body).expect("JSON");
        let said = said([answer.clone()].into_iter());
        let completion = backend.answer(&answer, &about);
        let mut chunk = completion.clone();
        chunk["choices"][0]["delta"] = completion["choices"][0]["message"].clone();
        assert_eq!(of_chat(&[chunk]), said, "{id}");
        let response = frontend.answer(&completion, &about);
        assert_eq!(of_response(&[json!({ "response": response })]), said, "{id}");
        tried += 1;
    }
    assert!(tried > 15);
}
