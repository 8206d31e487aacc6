//! A chat completion as a message of Anthropic's.
//!
//! Of several choices the first is taken: a messages call cannot ask for more. A completion that is none
//! becomes a message that says nothing.

use serde_json::{Map, Value, json};

use super::super::About;
use super::super::thought::{Place, weave};

pub(super) fn message(completion: &Value, about: &About) -> Value {
    let choice = &completion["choices"][0];
    let message = &choice["message"];
    let content = content(message);
    let calls = content.iter().any(|block| block["type"] == "tool_use");
    let refused = message["refusal"].as_str().is_some_and(|text| !text.is_empty());
    let (reason, sequence) = stop(choice, calls, refused);
    json!({
        "id": format!("msg_{}", about.id),
        "type": "message",
        "role": "assistant",
        "model": about.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": usage(&completion["usage"]),
    })
}

fn content(message: &Value) -> Vec<Value> {
    let texts = [text(&message["content"]), text(&message["refusal"])];
    let texts = texts.into_iter().filter(|text| !text.is_empty());
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let calls = calls.map(|call| {
        json!({
            "type": "tool_use",
            "id": call["id"].as_str().unwrap_or_default(),
            "name": call["function"]["name"].as_str().unwrap_or_default(),
            "input": input(&call["function"]["arguments"]),
        })
    });
    let texts = texts.map(|text| json!({ "type": "text", "text": text })).collect();
    weave(thinking(message).into_iter(), texts, calls.collect())
}

/// Text, or the texts of a list of parts, as a few providers write it.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// What the model thought, and where: in blocks where there are any, else in one that has no signature.
fn thinking(message: &Value) -> Vec<(Place, Value)> {
    if let Some(blocks) = message["thinking_blocks"].as_array().filter(|all| !all.is_empty()) {
        let placed = |block| Some((Place::of(block), thinking_block(block)?));
        return blocks.iter().filter_map(placed).collect();
    }
    match reasoning(message) {
        "" => Vec::new(),
        text => {
            let block = json!({ "type": "thinking", "thinking": text, "signature": "" });
            vec![(Place::default(), block)]
        }
    }
}

pub(super) fn thinking_block(block: &Value) -> Option<Value> {
    let text = |name: &str| block[name].as_str().unwrap_or_default();
    match block["type"].as_str()? {
        "thinking" => Some(json!({
            "type": "thinking",
            "thinking": text("thinking"),
            "signature": text("signature"),
        })),
        "redacted_thinking" => Some(json!({ "type": "redacted_thinking", "data": text("data") })),
        _ => None,
    }
}

/// What the model thought, by either of the names that providers have for it.
pub(super) fn reasoning(message: &Value) -> &str {
    let named = ["reasoning_content", "reasoning"].into_iter().map(|name| &message[name]);
    named.filter_map(Value::as_str).find(|text| !text.is_empty()).unwrap_or_default()
}

/// The arguments of a call as the object that Anthropic's clients expect. What is none is kept whole in
/// a member of its own.
fn input(arguments: &Value) -> Value {
    let text = match arguments {
        Value::String(text) => text.as_str(),
        Value::Object(_) => return arguments.clone(),
        _ => "",
    };
    if text.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str::<Value>(text) {
        Ok(input @ Value::Object(_)) => input,
        _ => json!({ "arguments": text }),
    }
}

/// Why the answer ended, and at which of the client's sequences. Chat does not tell a sequence from the
/// end; a few servers do, in members of their own (`stop_reason` of vLLM, `matched_stop` of `SGLang`).
pub(super) fn stop(choice: &Value, calls: bool, refused: bool) -> (&'static str, Option<&str>) {
    let sequence = choice["stop_reason"].as_str().or(choice["matched_stop"].as_str());
    match choice["finish_reason"].as_str() {
        Some("length") => ("max_tokens", None),
        Some("content_filter") => ("refusal", None),
        // Some servers say `stop` after a call too; a client that loops over tools looks here.
        _ if calls => ("tool_use", None),
        _ if refused => ("refusal", None),
        Some("stop") if sequence.is_some() => ("stop_sequence", sequence),
        _ => ("end_turn", None),
    }
}

/// Usage in Anthropic's shape: there the prompt is what the cache neither gave nor took.
pub(super) fn usage(usage: &Value) -> Value {
    let details = &usage["prompt_tokens_details"];
    let read = details["cached_tokens"].as_u64().unwrap_or(0);
    let written = ["cache_write_tokens", "cache_creation_tokens"];
    let written = written.into_iter().find_map(|name| details[name].as_u64()).unwrap_or(0);
    let prompt = usage["prompt_tokens"].as_u64().unwrap_or(0);
    let mut translated = Map::new();
    for (name, count) in [
        ("input_tokens", prompt.saturating_sub(read).saturating_sub(written)),
        ("cache_creation_input_tokens", written),
        ("cache_read_input_tokens", read),
        ("output_tokens", usage["completion_tokens"].as_u64().unwrap_or(0)),
    ] {
        translated.insert(name.to_owned(), json!(count));
    }
    if let Some(thought) = usage["completion_tokens_details"]["reasoning_tokens"].as_u64() {
        let details = json!({ "thinking_tokens": thought });
        translated.insert("output_tokens_details".to_owned(), details);
    }
    Value::Object(translated)
}
