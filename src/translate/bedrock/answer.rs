//! An answer of Converse's as a chat completion.
//!
//! Only what the client can use is carried: calls of tools that ran at the provider, and their results,
//! are its own affair. An answer that is no message becomes a completion that says nothing; it never
//! stops anything.

use serde_json::{Map, Value, json};

use super::super::About;
use super::super::anthropic::{JSON_TOOL, arguments};
use super::super::thought::Place;

pub(super) fn completion(answer: &Value, about: &About) -> Value {
    let mut said = Said::default();
    for block in answer["output"]["message"]["content"].as_array().into_iter().flatten() {
        said.block(block);
    }
    let finish_reason = finish_reason(answer["stopReason"].as_str(), said.is_json);
    let mut completion = json!({
        "id": format!("chatcmpl-{}", about.id),
        "object": "chat.completion",
        "created": about.created,
        "model": about.model,
        "choices": [{
            "index": 0,
            "message": said.message(),
            "logprobs": null,
            "finish_reason": finish_reason,
        }],
    });
    if let Some(members) = completion.as_object_mut() {
        members.extend(account(answer));
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
        if let Some(text) = block["text"].as_str() {
            self.text.push_str(text);
        } else if let Some(call) = block.get("toolUse") {
            self.tool_use(call);
        } else if let Some(content) = block.get("reasoningContent") {
            self.reasoning(content);
        } else if let Some(cited) = block.get("citationsContent") {
            self.cited(cited);
        }
    }

    fn tool_use(&mut self, call: &Value) {
        if runs_at_the_provider(call) {
            return;
        }
        if call["name"] == JSON_TOOL {
            self.is_json = true;
            self.text.push_str(&arguments(&call["input"]));
            return;
        }
        self.tool_calls.push(json!({
            "id": call["toolUseId"].as_str().unwrap_or_default(),
            "type": "function",
            "function": {
                "name": call["name"].as_str().unwrap_or_default(),
                "arguments": arguments(&call["input"]),
            },
        }));
    }

    fn reasoning(&mut self, content: &Value) {
        let thought = &content["reasoningText"];
        let text = thought["text"].as_str().unwrap_or_default();
        self.reasoning.push_str(text);
        let signature = thought["signature"].as_str().unwrap_or_default();
        let redacted = content["redactedContent"].as_str().and_then(redacted_block);
        let characters = self.text.chars().count();
        let place = Place { characters, calls: self.tool_calls.len() };
        for mut block in thinking_block(text, signature).into_iter().chain(redacted) {
            place.mark(&mut block);
            self.thinking_blocks.push(block);
        }
    }

    fn cited(&mut self, cited: &Value) {
        let start = self.text.chars().count();
        for content in cited["content"].as_array().into_iter().flatten() {
            self.text.push_str(content["text"].as_str().unwrap_or_default());
        }
        let end = self.text.chars().count();
        let citations = cited["citations"].as_array().into_iter().flatten();
        self.annotations.extend(citations.filter_map(|found| annotation(found, start, end)));
    }

    fn message(self) -> Value {
        let says_nothing = self.text.is_empty() && !self.tool_calls.is_empty();
        let content = if says_nothing { Value::Null } else { Value::String(self.text) };
        let mut message = Map::new();
        message.insert("role".to_owned(), json!("assistant"));
        message.insert("content".to_owned(), content);
        message.insert("refusal".to_owned(), Value::Null);
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

pub(super) fn runs_at_the_provider(call: &Value) -> bool {
    call["type"] == "server_tool_use"
}

/// A block to send back; reasoning without a signature need not be, and is only shown.
pub(super) fn thinking_block(text: &str, signature: &str) -> Option<Value> {
    let block = json!({ "type": "thinking", "thinking": text, "signature": signature });
    (!signature.is_empty()).then_some(block)
}

pub(super) fn redacted_block(data: &str) -> Option<Value> {
    (!data.is_empty()).then(|| json!({ "type": "redacted_thinking", "data": data }))
}

/// A citation of a page, as an annotation of the characters it stands behind. Those of documents have no
/// place in chat, whose calls cannot ask for them either.
pub(super) fn annotation(citation: &Value, start: usize, end: usize) -> Option<Value> {
    let url = citation["location"]["web"]["url"].as_str()?;
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

/// Why an answer ended, in chat's words.
pub(super) fn finish_reason(stop_reason: Option<&str>, is_json: bool) -> &'static str {
    match stop_reason {
        Some("tool_use") if !is_json => "tool_calls",
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("guardrail_intervened" | "content_filtered") => "content_filter",
        // A model that wrote nonsense (`malformed_model_output`, `malformed_tool_use`) has no word there.
        _ => "stop",
    }
}

/// What an answer, or the last event of a stream, says of itself: usage, the tier that served it, and
/// what a guardrail did, which goes on as it is because chat knows nothing like it.
pub(super) fn account(told: &Value) -> Map<String, Value> {
    let mut members = Map::new();
    if told["usage"].is_object() {
        members.insert("usage".to_owned(), usage(&told["usage"]));
    }
    if let Some(tier @ ("default" | "priority" | "flex")) = told["serviceTier"]["type"].as_str() {
        members.insert("service_tier".to_owned(), json!(tier));
    }
    if let Some(trace) = told.get("trace").filter(|trace| !trace.is_null()) {
        members.insert("trace".to_owned(), trace.clone());
    }
    members
}

/// Usage in chat's shape: there the prompt includes what the cache gave and took, at Bedrock the three
/// are apart.
fn usage(usage: &Value) -> Value {
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    let (read, written) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
    let prompt = count("inputTokens").saturating_add(read).saturating_add(written);
    let output = count("outputTokens");
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt.saturating_add(output),
        "prompt_tokens_details": { "cached_tokens": read, "cache_write_tokens": written },
    })
}
