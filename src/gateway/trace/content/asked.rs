//! What a client asked, by the dialect of its endpoint.

use serde_json::{Value as Json, json};

use super::{message, parts, text, tool_call, tool_calls, tool_result};
use crate::provider::endpoint::Endpoint;

/// What was asked: nothing where a call is not of messages.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) instructions: Vec<Json>,
    pub(super) messages: Vec<Json>,
}

pub(super) fn read(endpoint: Endpoint, body: &[u8]) -> Asked {
    let Ok(body) = serde_json::from_slice::<Json>(body) else { return Asked::default() };
    let list = |name: &str| body[name].as_array().map(Vec::as_slice).unwrap_or_default();
    match endpoint {
        Endpoint::Chat | Endpoint::Messages => Asked {
            instructions: parts(&body["system"]),
            messages: list("messages").iter().map(chat).collect(),
        },
        Endpoint::Responses => Asked {
            instructions: parts(&body["instructions"]),
            messages: match &body["input"] {
                Json::String(input) => vec![message("user", vec![text(input)])],
                _ => list("input").iter().map(item).collect(),
            },
        },
        Endpoint::GenerateContent | Endpoint::StreamGenerateContent => Asked {
            instructions: parts(&body["systemInstruction"]["parts"]),
            messages: list("contents").iter().map(content).collect(),
        },
        Endpoint::Completions => plain(&body["prompt"]),
        Endpoint::Embeddings => plain(&body["input"]),
        _ => Asked::default(),
    }
}

/// A text, or several.
fn plain(input: &Json) -> Asked {
    let parts = parts(input);
    let messages = if parts.is_empty() { Vec::new() } else { vec![message("user", parts)] };
    Asked { messages, ..Asked::default() }
}

/// A message of chat, or of Anthropic's messages.
fn chat(said: &Json) -> Json {
    let role = said["role"].as_str().unwrap_or("user");
    if role == "tool" {
        return message(role, vec![tool_result(&said["tool_call_id"], &said["content"])]);
    }
    let mut parts = parts(&said["content"]);
    parts.extend(tool_calls(said));
    message(role, parts)
}

/// An item of a response's input, or of its output.
pub(super) fn item(item: &Json) -> Json {
    match item["type"].as_str() {
        Some("function_call") => {
            let call = tool_call(&item["call_id"], &item["name"], &item["arguments"]);
            message("assistant", vec![call])
        }
        Some("function_call_output") => {
            message("tool", vec![tool_result(&item["call_id"], &item["output"])])
        }
        Some("message") | None => {
            message(item["role"].as_str().unwrap_or("user"), parts(&item["content"]))
        }
        Some(other) => message("assistant", vec![json!({ "type": other })]),
    }
}

/// One of Google's contents, whose answers are by the `model`.
pub(super) fn content(content: &Json) -> Json {
    let role = match content["role"].as_str() {
        Some("model") => "assistant",
        Some(role) => role,
        None => "user",
    };
    message(role, parts(&content["parts"]))
}
