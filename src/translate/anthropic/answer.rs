//! A message of Anthropic's as a chat completion.
//!
//! Only what the client can use is carried: blocks of tools that ran at the provider are its own affair.
//! An answer that is no message becomes a completion that says nothing; it never stops anything.

use serde_json::{Map, Value, json};

use super::super::About;
use super::super::thought::Place;
use super::JSON_TOOL;

pub(super) fn completion(answer: &Value, about: &About) -> Value {
    let mut said = Said::default();
    for block in answer["content"].as_array().into_iter().flatten() {
        said.block(block);
    }
    let stop_reason = answer["stop_reason"].as_str();
    let refusal = refusal(stop_reason, &answer["stop_details"]);
    let finish_reason = finish_reason(stop_reason, said.is_json);
    let mut completion = json!({
        "id": format!("chatcmpl-{}", about.id),
        "object": "chat.completion",
        "created": about.created,
        "model": about.model,
        "choices": [{
            "index": 0,
            "message": said.message(refusal),
            "logprobs": null,
            "finish_reason": finish_reason,
        }],
        "usage": usage(&answer["usage"]),
    });
    if let (Some(tier), Some(members)) =
        (service_tier(&answer["usage"]), completion.as_object_mut())
    {
        members.insert("service_tier".to_owned(), json!(tier));
    }
    completion
}

/// What a message says, block by block.
#[derive(Default)]
struct Said {
    text: String,
    reasoning: String,
    thinking_blocks: Vec<Value>,
    annotations: Vec<Value>,
    tool_calls: Vec<Value>,
    /// The text is the input of our own tool.
    is_json: bool,
}

impl Said {
    fn block(&mut self, block: &Value) {
        match block["type"].as_str() {
            Some("text") => {
                let start = self.text.chars().count();
                self.text.push_str(block["text"].as_str().unwrap_or_default());
                let end = self.text.chars().count();
                let citations = block["citations"].as_array().into_iter().flatten();
                self.annotations
                    .extend(citations.filter_map(|found| annotation(found, start, end)));
            }
            Some("thinking") => {
                self.reasoning.push_str(block["thinking"].as_str().unwrap_or_default());
                self.thought(block.clone());
            }
            Some("redacted_thinking") => self.thought(block.clone()),
            Some("tool_use") if block["name"] == JSON_TOOL => {
                self.is_json = true;
                self.text.push_str(&block["input"].to_string());
            }
            Some("tool_use") => self.tool_calls.push(json!({
                "id": block["id"].as_str().unwrap_or_default(),
                "type": "function",
                "function": {
                    "name": block["name"].as_str().unwrap_or_default(),
                    "arguments": arguments(&block["input"]),
                },
            })),
            _ => {}
        }
    }

    fn thought(&mut self, mut block: Value) {
        let characters = self.text.chars().count();
        Place { characters, calls: self.tool_calls.len() }.mark(&mut block);
        self.thinking_blocks.push(block);
    }

    fn message(self, refusal: Option<&str>) -> Value {
        let says_nothing =
            self.text.is_empty() && (!self.tool_calls.is_empty() || refusal.is_some());
        let mut message = Map::new();
        message.insert("role".to_owned(), json!("assistant"));
        let content = if says_nothing { Value::Null } else { Value::String(self.text) };
        message.insert("content".to_owned(), content);
        message.insert("refusal".to_owned(), json!(refusal));
        if !self.reasoning.is_empty() {
            message.insert("reasoning_content".to_owned(), Value::String(self.reasoning));
        }
        for (name, list) in [
            ("thinking_blocks", self.thinking_blocks),
            ("annotations", self.annotations),
            ("tool_calls", self.tool_calls),
        ] {
            if !list.is_empty() {
                message.insert(name.to_owned(), Value::Array(list));
            }
        }
        Value::Object(message)
    }
}

/// A tool's input as text, which is what chat has.
pub(in crate::translate) fn arguments(input: &Value) -> String {
    match input {
        Value::Null => "{}".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A citation of a page, as an annotation of the characters it stands behind. Those of documents have
/// no place in chat, whose calls cannot ask for them either.
pub(super) fn annotation(citation: &Value, start: usize, end: usize) -> Option<Value> {
    let url = citation["url"].as_str()?;
    Some(json!({
        "type": "url_citation",
        "url_citation": {
            "start_index": start,
            "end_index": end,
            "title": citation["title"].as_str().unwrap_or_default(),
            "url": url,
        },
    }))
}

/// Why a message ended, in chat's words. A turn that the provider paused has nothing in chat that would
/// ask to go on.
pub(super) fn finish_reason(stop_reason: Option<&str>, is_json: bool) -> &'static str {
    match stop_reason {
        Some("tool_use") if !is_json => "tool_calls",
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("refusal") => "content_filter",
        _ => "stop",
    }
}

/// What a refusal says of itself, if anything.
pub(super) fn refusal<'a>(stop_reason: Option<&str>, details: &'a Value) -> Option<&'a str> {
    details["explanation"].as_str().filter(|_| stop_reason == Some("refusal"))
}

/// Usage in chat's shape: there the prompt includes what the cache gave and took, at Anthropic the three
/// are apart.
pub(super) fn usage(usage: &Value) -> Value {
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    let (read, written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    let prompt = count("input_tokens").saturating_add(read).saturating_add(written);
    let output = count("output_tokens");
    let mut translated = json!({
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt.saturating_add(output),
        "prompt_tokens_details": { "cached_tokens": read, "cache_write_tokens": written },
    });
    if let (Some(thought), Some(members)) =
        (usage["output_tokens_details"]["thinking_tokens"].as_u64(), translated.as_object_mut())
    {
        let details = json!({ "reasoning_tokens": thought });
        members.insert("completion_tokens_details".to_owned(), details);
    }
    translated
}

/// The tier that served a call, in the words of `OpenAI`'s answers.
pub(super) fn service_tier(usage: &Value) -> Option<&'static str> {
    match usage["service_tier"].as_str()? {
        "standard" => Some("default"),
        "priority" => Some("priority"),
        _ => None,
    }
}
