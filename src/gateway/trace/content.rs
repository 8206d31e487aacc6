//! What a call asked and was answered, in the words of OpenTelemetry's conventions
//! (`gen_ai.input.messages`, `gen_ai.output.messages`): for an administrator who asked for it.
//!
//! It is read once, when the call is over, and is bounded: a span must not become as large as a prompt can
//! be. Files and images are named, never shown.

mod asked;
mod said;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::provider::endpoint::Endpoint;
use crate::traces::Value;

/// How long a prompt may be to be looked at: reading it takes the time of the thread that serves calls.
const LONGEST_PROMPT: usize = 1 << 20;
/// How much of an answer is kept, as it came.
const LONGEST_ANSWER: usize = 1 << 18;
/// How much text there is in one attribute.
const LONGEST_TEXT: usize = 1 << 14;

/// Members of a message that are short by themselves.
const NAMES: [&str; 5] = ["role", "type", "id", "name", "finish_reason"];

/// What is kept of a call until it is over.
pub(super) struct Content {
    endpoint: Endpoint,
    asked: Bytes,
    said: Vec<u8>,
    is_cut: bool,
}

impl Content {
    pub(super) const fn new(endpoint: Endpoint, asked: Bytes) -> Self {
        Self { endpoint, asked, said: Vec::new(), is_cut: false }
    }

    /// Keeps more of the answer.
    pub(super) fn hear(&mut self, chunk: &[u8]) {
        let room = LONGEST_ANSWER - self.said.len();
        self.is_cut |= chunk.len() > room;
        self.said.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }

    /// What a span says of it.
    pub(super) fn attributes(&self) -> Vec<(&'static str, Value)> {
        let mut is_cut = self.is_cut || self.asked.len() > LONGEST_PROMPT;
        let mut attributes = Vec::new();
        let mut say = |name, messages: Vec<Json>| {
            if !messages.is_empty() {
                let mut left = LONGEST_TEXT;
                let mut messages = Json::Array(messages);
                shorten(&mut messages, &mut left, &mut is_cut);
                attributes.push((name, Value::Text(messages.to_string())));
            }
        };
        if self.asked.len() <= LONGEST_PROMPT {
            let asked = asked::read(self.endpoint, &self.asked);
            say("gen_ai.system_instructions", asked.instructions);
            say("gen_ai.input.messages", asked.messages);
        }
        say("gen_ai.output.messages", said::read(&self.said));
        if is_cut {
            attributes.push(("conduit.content_cut", Value::Flag(true)));
        }
        attributes
    }
}

/// Cuts the texts of a value so that there are no more than `left` bytes of them.
fn shorten(value: &mut Json, left: &mut usize, is_cut: &mut bool) {
    match value {
        Json::String(text) => {
            if text.len() > *left {
                text.truncate(text.floor_char_boundary(*left));
                *is_cut = true;
            }
            *left -= text.len();
        }
        Json::Array(all) => all.iter_mut().for_each(|one| shorten(one, left, is_cut)),
        Json::Object(all) => {
            // What is said, not who says it and what kind of thing it is.
            let said = all.iter_mut().filter(|(name, _)| !NAMES.contains(&name.as_str()));
            said.for_each(|(_, one)| shorten(one, left, is_cut));
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// A message of these parts.
fn message(role: &str, parts: Vec<Json>) -> Json {
    json!({ "role": role, "parts": Json::Array(parts) })
}

fn text(content: &str) -> Json {
    json!({ "type": "text", "content": content })
}

fn tool_call(id: &Json, name: &Json, arguments: &Json) -> Json {
    // Some dialects write JSON inside a text.
    let read = arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
    let arguments = read.as_ref().unwrap_or(arguments);
    json!({ "type": "tool_call", "id": id, "name": name, "arguments": arguments })
}

fn tool_result(id: &Json, response: &Json) -> Json {
    json!({ "type": "tool_call_response", "id": id, "response": response })
}

/// The parts of a content, which is a text or a list, in any dialect.
fn parts(content: &Json) -> Vec<Json> {
    match content {
        Json::String(content) => vec![text(content)],
        Json::Array(all) => all.iter().map(part).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => Vec::new(),
    }
}

fn part(part: &Json) -> Json {
    if let Some(content) = part.as_str().or_else(|| part["text"].as_str()) {
        return text(content);
    }
    if let Some(thought) = part["thinking"].as_str() {
        return json!({ "type": "reasoning", "content": thought });
    }
    if let Some(call) = part.get("functionCall") {
        return tool_call(&call["id"], &call["name"], &call["args"]);
    }
    if let Some(result) = part.get("functionResponse") {
        return tool_result(&result["id"], &result["response"]);
    }
    match part["type"].as_str() {
        Some("tool_use") => tool_call(&part["id"], &part["name"], &part["input"]),
        Some("tool_result") => tool_result(&part["tool_use_id"], &part["content"]),
        // Not what is in it: that may be large.
        Some(kind) => json!({ "type": kind }),
        None => json!({ "type": "file" }),
    }
}

/// The calls of tools of a message of `OpenAI`'s.
fn tool_calls(message: &Json) -> impl Iterator<Item = Json> {
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    calls.map(|call| {
        tool_call(&call["id"], &call["function"]["name"], &call["function"]["arguments"])
    })
}

#[cfg(test)]
mod tests;
