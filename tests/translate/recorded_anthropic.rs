//! Recorded answers of Anthropic's, translated: what a client puts together from the translation must be
//! what it would have put together from the recording.
//!
//! The recordings lie beside the project and are not part of it; without them this says that it was
//! skipped and passes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use conduit::provider::endpoint::{Dialect, Endpoint};
use conduit::provider::sse::{Cutter, EVENT_LIMIT, Step};
use conduit::translate::{About, StreamTranslation, Translation, plan};

/// What an answer comes to, whatever its dialect.
#[derive(Debug, Default, PartialEq)]
struct Sum {
    text: String,
    thinking: String,
    signatures: Vec<String>,
    /// Id, name and arguments.
    calls: Vec<(String, String, Value)>,
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
    /// Whether anything said why it ended, or that it failed.
    ended: bool,
}

fn about() -> About {
    About { id: "1".to_owned(), model: "m".to_owned(), wants_usage: true, ..About::default() }
}

fn bodies(ending: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traffic/bodies");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("Skipped: there is no recorded traffic at {}.", folder.display());
        return None;
    };
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("a name")).collect();
    names.sort();
    names.retain(|name| {
        let is_message = name.starts_with("anthropic-anthropic-messages-");
        is_message && name.contains("200") && name.ends_with(ending)
    });
    assert!(!names.is_empty(), "there is no recording that ends in {ending}");
    let read = |name: String| (name.clone(), fs::read(folder.join(name)).expect("a body"));
    Some(names.into_iter().map(read).collect())
}

fn events(stream: &[u8]) -> Vec<Value> {
    let mut cutter = Cutter::new(EVENT_LIMIT);
    let mut at = cutter.leading(stream);
    let mut events = Vec::new();
    while let Step::Event(event) = cutter.next(stream, at) {
        at = event.end;
        let data = event.data().map(|data| serde_json::from_slice(&data.text));
        events.extend(data.and_then(Result::ok));
    }
    events
}

fn through(translation: &Translation, stream: &[u8]) -> Vec<Value> {
    let mut translation = StreamTranslation::new(translation, &about());
    let mut out = Vec::new();
    for piece in stream.chunks(1000) {
        out.extend_from_slice(&translation.push(piece));
    }
    out.extend_from_slice(&translation.finish());
    events(&out)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn arguments(text: &str) -> Value {
    if text.is_empty() {
        return Value::Object(Map::new());
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

impl Sum {
    fn usage(&mut self, usage: &Value) {
        for (name, count) in [
            ("input_tokens", &mut self.input),
            ("cache_read_input_tokens", &mut self.cache_read),
            ("cache_creation_input_tokens", &mut self.cache_write),
            ("output_tokens", &mut self.output),
        ] {
            *count = usage[name].as_u64().unwrap_or(*count);
        }
    }

    fn of_events(events: &[Value]) -> Self {
        let mut sum = Self::default();
        let mut calls: BTreeMap<u64, (Value, String)> = BTreeMap::new();
        for event in events {
            let (block, delta) = (&event["content_block"], &event["delta"]);
            match text(&event["type"]) {
                "message_start" => sum.usage(&event["message"]["usage"]),
                "content_block_start" => match text(&block["type"]) {
                    "text" => sum.text.push_str(text(&block["text"])),
                    "thinking" => sum.thinking.push_str(text(&block["thinking"])),
                    "tool_use" => {
                        let index = event["index"].as_u64().expect("an index");
                        calls.insert(index, (block.clone(), String::new()));
                    }
                    _ => {}
                },
                "content_block_delta" => {
                    sum.text.push_str(text(&delta["text"]));
                    sum.thinking.push_str(text(&delta["thinking"]));
                    sum.signatures.extend(delta["signature"].as_str().map(str::to_owned));
                    let index = event["index"].as_u64().expect("an index");
                    if let Some((_, input)) = calls.get_mut(&index) {
                        input.push_str(text(&delta["partial_json"]));
                    }
                }
                "message_delta" => {
                    sum.usage(&event["usage"]);
                    sum.ended |= delta["stop_reason"].is_string();
                }
                "error" => sum.ended = true,
                _ => {}
            }
        }
        for (block, input) in calls.into_values() {
            let input = if input.is_empty() { block["input"].clone() } else { arguments(&input) };
            sum.calls.push((text(&block["id"]).into(), text(&block["name"]).into(), input));
        }
        sum
    }

    fn of_chunks(chunks: &[Value]) -> Self {
        let mut sum = Self::default();
        let mut calls: BTreeMap<u64, (String, String, String)> = BTreeMap::new();
        for chunk in chunks {
            let choice = &chunk["choices"][0];
            let delta = &choice["delta"];
            sum.message(delta);
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let entry = calls.entry(call["index"].as_u64().expect("an index")).or_default();
                entry.0.push_str(text(&call["id"]));
                entry.1.push_str(text(&call["function"]["name"]));
                entry.2.push_str(text(&call["function"]["arguments"]));
            }
            sum.ended |= choice["finish_reason"].is_string() || chunk["error"].is_object();
            if chunk["usage"].is_object() {
                sum.chat_usage(&chunk["usage"]);
            }
        }
        let calls = calls.into_values();
        sum.calls = calls.map(|(id, name, input)| (id, name, arguments(&input))).collect();
        sum
    }

    fn message(&mut self, message: &Value) {
        self.text.push_str(text(&message["content"]));
        self.thinking.push_str(text(&message["reasoning_content"]));
        for block in message["thinking_blocks"].as_array().into_iter().flatten() {
            self.signatures.extend(block["signature"].as_str().map(str::to_owned));
        }
    }

    fn chat_usage(&mut self, usage: &Value) {
        let details = &usage["prompt_tokens_details"];
        let count = |value: &Value| value.as_u64().expect("a count");
        self.cache_read = count(&details["cached_tokens"]);
        self.cache_write = count(&details["cache_write_tokens"]);
        self.input = count(&usage["prompt_tokens"]) - self.cache_read - self.cache_write;
        self.output = count(&usage["completion_tokens"]);
        assert_eq!(
            count(&usage["total_tokens"]),
            count(&usage["prompt_tokens"]) + self.output,
            "the total is the sum"
        );
    }
}

#[test]
fn a_translated_stream_comes_to_what_the_recorded_one_does() {
    let Some(bodies) = bodies(".sse") else { return };
    let chat = plan(Endpoint::Chat, Dialect::Anthropic).expect("a plan");
    let back = plan(Endpoint::Messages, Dialect::Anthropic).expect("a plan");
    for (name, body) in bodies {
        let mut wanted = Sum::of_events(&events(&body));
        assert!(wanted.ended, "{name} is whole");
        let chunks = through(&chat, &body);
        // An empty signature is none: the block was not signed.
        wanted.signatures.retain(|signature| !signature.is_empty());
        let mut translated = Sum::of_chunks(&chunks);
        translated.signatures.retain(|signature| !signature.is_empty());
        assert_eq!(translated, wanted, "{name}");
        let mut returned = Sum::of_events(&through(&back, &body));
        returned.signatures.retain(|signature| !signature.is_empty());
        // What a refusal says of itself is text there.
        if translated.text.is_empty() {
            returned.text.clear();
        }
        assert_eq!(returned, wanted, "{name} there and back");
    }
}

#[test]
fn a_translated_answer_comes_to_what_the_recorded_one_does() {
    let Some(bodies) = bodies(".json") else { return };
    let backend = plan(Endpoint::Chat, Dialect::Anthropic).and_then(|plan| plan.backend);
    let backend = backend.expect("a backend");
    for (name, body) in bodies {
        let answer: Value = serde_json::from_slice(&body).expect("a body is JSON");
        let mut wanted = Sum { ended: answer["stop_reason"].is_string(), ..Sum::default() };
        wanted.usage(&answer["usage"]);
        for block in answer["content"].as_array().into_iter().flatten() {
            wanted.text.push_str(text(&block["text"]));
            wanted.thinking.push_str(text(&block["thinking"]));
            wanted.signatures.extend(block["signature"].as_str().map(str::to_owned));
            if block["type"] == "tool_use" {
                let (id, name) = (text(&block["id"]).into(), text(&block["name"]).into());
                wanted.calls.push((id, name, block["input"].clone()));
            }
        }
        let completion = backend.answer(&answer, &about());
        let message = &completion["choices"][0]["message"];
        let mut translated = Sum::default();
        translated.message(message);
        translated.chat_usage(&completion["usage"]);
        translated.ended = completion["choices"][0]["finish_reason"].is_string();
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            translated.calls.push((
                text(&call["id"]).into(),
                text(&function["name"]).into(),
                arguments(text(&function["arguments"])),
            ));
        }
        assert_eq!(translated, wanted, "{name}");
    }
}
