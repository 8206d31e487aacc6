//! What a client was answered, whole or as a stream, in any of the dialects: their answers do not look
//! alike.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::asked::{content, item};
use super::{message, parts, text, tool_call, tool_calls};
use crate::provider::sse::{Cutter, EVENT_LIMIT, Step};

pub(super) fn read(answer: &[u8]) -> Vec<Json> {
    if let Ok(whole) = serde_json::from_slice::<Json>(answer) {
        return match whole {
            // Google's stream that is not of events.
            Json::Array(chunks) => joined(chunks.iter()),
            whole => messages(&whole),
        };
    }
    let mut chunks = Vec::new();
    let mut cutter = Cutter::new(EVENT_LIMIT);
    let mut at = cutter.leading(answer);
    while let Step::Event(event) = cutter.next(answer, at) {
        at = event.end;
        let data = event.data().and_then(|data| serde_json::from_slice(&data.text).ok());
        chunks.extend(data);
    }
    joined(chunks.iter())
}

/// The messages of an answer that is whole.
fn messages(answer: &Json) -> Vec<Json> {
    let list = |name: &str| answer[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let choices = list("choices").iter().map(|choice| {
        let said = &choice["message"];
        let mut parts = parts(if said.is_null() { &choice["text"] } else { &said["content"] });
        parts.extend(tool_calls(said));
        finished(message("assistant", parts), &choice["finish_reason"])
    });
    let candidates = list("candidates")
        .iter()
        .map(|candidate| finished(content(&candidate["content"]), &candidate["finishReason"]));
    let items = list("output").iter().map(|one| finished(item(one), &answer["status"]));
    let mut all: Vec<_> = choices.chain(candidates).chain(items).collect();
    if answer["type"] == "message" {
        let said = message("assistant", parts(&answer["content"]));
        all.push(finished(said, &answer["stop_reason"]));
    }
    all
}

fn finished(mut message: Json, reason: &Json) -> Json {
    message["finish_reason"] = json!(reason.as_str().unwrap_or_default());
    message
}

/// One of several answers that come in pieces.
#[derive(Default)]
struct Growing {
    text: String,
    /// Names and arguments of tools that are called, by their place.
    calls: BTreeMap<u64, Call>,
    reason: Json,
}

#[derive(Default)]
struct Call {
    id: Json,
    name: Json,
    arguments: String,
}

/// The messages of an answer that came in pieces.
fn joined<'a>(chunks: impl Iterator<Item = &'a Json>) -> Vec<Json> {
    let mut all = BTreeMap::<u64, Growing>::new();
    for chunk in chunks {
        // The last event of a response has all of it.
        if chunk["type"].as_str().is_some_and(|kind| kind.starts_with("response.")) {
            let whole = messages(&chunk["response"]);
            if !whole.is_empty() {
                return whole;
            }
        }
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            all.entry(choice["index"].as_u64().unwrap_or(0)).or_default().chat(choice);
        }
        for candidate in chunk["candidates"].as_array().into_iter().flatten() {
            all.entry(candidate["index"].as_u64().unwrap_or(0)).or_default().gemini(candidate);
        }
        if chunk["type"].as_str().is_some_and(|kind| kind.starts_with("content_block"))
            || chunk["type"] == "message_delta"
        {
            all.entry(0).or_default().anthropic(chunk);
        }
    }
    all.into_values().map(Growing::finish).collect()
}

impl Growing {
    fn say(&mut self, more: &Json) {
        self.text.push_str(more.as_str().unwrap_or_default());
    }

    fn end(&mut self, reason: &Json) {
        if reason.is_string() {
            self.reason = reason.clone();
        }
    }

    fn call(&mut self, place: &Json) -> &mut Call {
        self.calls.entry(place.as_u64().unwrap_or(0)).or_default()
    }

    fn chat(&mut self, choice: &Json) {
        let delta = &choice["delta"];
        self.say(&choice["text"]);
        self.say(&delta["content"]);
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            let call = self.call(&piece["index"]);
            call.begin(&piece["id"], &piece["function"]["name"]);
            call.go_on(&piece["function"]["arguments"]);
        }
        self.end(&choice["finish_reason"]);
    }

    fn gemini(&mut self, candidate: &Json) {
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            self.say(&part["text"]);
            if let Some(called) = part.get("functionCall") {
                let place = json!(self.calls.len());
                let call = self.call(&place);
                call.begin(&called["id"], &called["name"]);
                call.arguments = called["args"].to_string();
            }
        }
        self.end(&candidate["finishReason"]);
    }

    fn anthropic(&mut self, event: &Json) {
        let (block, delta) = (&event["content_block"], &event["delta"]);
        self.say(&block["text"]);
        self.say(&delta["text"]);
        if block["type"] == "tool_use" {
            self.call(&event["index"]).begin(&block["id"], &block["name"]);
        }
        if delta["partial_json"].is_string() {
            self.call(&event["index"]).go_on(&delta["partial_json"]);
        }
        self.end(&delta["stop_reason"]);
    }

    fn finish(self) -> Json {
        let mut parts = Vec::new();
        if !self.text.is_empty() {
            parts.push(text(&self.text));
        }
        for call in self.calls.into_values() {
            parts.push(tool_call(&call.id, &call.name, &Json::String(call.arguments)));
        }
        finished(message("assistant", parts), &self.reason)
    }
}

impl Call {
    fn begin(&mut self, id: &Json, name: &Json) {
        for (known, said) in [(&mut self.id, id), (&mut self.name, name)] {
            if said.is_string() {
                known.clone_from(said);
            }
        }
    }

    fn go_on(&mut self, more: &Json) {
        self.arguments.push_str(more.as_str().unwrap_or_default());
    }
}
