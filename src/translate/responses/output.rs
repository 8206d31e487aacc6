//! The items of an answer: reasoning, messages, calls of tools, as they are written out at any moment.

use serde_json::{Value, json};

/// What our own `encrypted_content` begins with: the blocks of thought that a provider wants back
/// unchanged follow it as JSON. To a client it is what it always is, a text to keep and send back.
const SEAL: &str = "thinking_blocks:";

/// Blocks of thought as `encrypted_content`.
fn seal(blocks: &[Value]) -> String {
    format!("{SEAL}{}", Value::from(blocks))
}

/// The blocks in an `encrypted_content`, if it is one of ours.
pub(super) fn unseal(sealed: &str) -> Option<Vec<Value>> {
    serde_json::from_str(sealed.strip_prefix(SEAL)?).ok()
}

/// An item, as far as it has come.
pub(super) struct Item {
    pub(super) id: String,
    pub(super) is_done: bool,
    pub(super) said: Said,
}

pub(super) enum Said {
    Reasoning { text: Option<String>, blocks: Vec<Value> },
    Message { parts: Vec<Part>, extra: Option<Value> },
    Call(Call),
}

/// A part of a message.
#[derive(Default)]
pub(super) struct Part {
    pub(super) is_refusal: bool,
    pub(super) text: String,
    pub(super) logprobs: Vec<Value>,
    pub(super) annotations: Vec<Value>,
}

/// A call of a tool.
pub(super) struct Call {
    /// Where the provider counts it, if it counts.
    pub(super) index: Option<u64>,
    pub(super) id: String,
    pub(super) name: String,
    /// Arguments or input.
    pub(super) given: String,
    pub(super) is_custom: bool,
    pub(super) extra: Option<Value>,
}

impl Part {
    pub(super) fn value(&self) -> Value {
        if self.is_refusal {
            return json!({ "type": "refusal", "refusal": self.text });
        }
        json!({
            "type": "output_text",
            "annotations": self.annotations,
            "logprobs": self.logprobs,
            "text": self.text,
        })
    }
}

/// A part of a reasoning item.
pub(super) fn reasoning_part(text: &str) -> Value {
    json!({ "type": "reasoning_text", "text": text })
}

impl Item {
    /// The item with a status: `in_progress`, `completed` or `incomplete`.
    pub(super) fn value(&self, status: &str) -> Value {
        let id = &self.id;
        match &self.said {
            Said::Reasoning { text, blocks } => {
                let content: Vec<_> = text.as_deref().map(reasoning_part).into_iter().collect();
                let mut item = json!({
                    "id": id,
                    "type": "reasoning",
                    "status": status,
                    "summary": [],
                    "content": content,
                });
                if !blocks.is_empty() {
                    item["encrypted_content"] = seal(blocks).into();
                }
                item
            }
            Said::Message { parts, extra } => {
                let content: Vec<_> = parts.iter().map(Part::value).collect();
                let mut item = json!({
                    "id": id,
                    "type": "message",
                    "status": status,
                    "role": "assistant",
                    "content": content,
                });
                if let Some(extra) = extra {
                    item["extra_content"] = extra.clone();
                }
                item
            }
            Said::Call(call) => call.value(id, status),
        }
    }
}

impl Call {
    fn value(&self, id: &str, status: &str) -> Value {
        let (kind, given) = if self.is_custom {
            ("custom_tool_call", "input")
        } else {
            ("function_call", "arguments")
        };
        let mut item = json!({
            "id": id,
            "type": kind,
            "status": status,
            "call_id": self.id,
            "name": self.name,
            given: self.given,
        });
        if let Some(extra) = &self.extra {
            item["extra_content"] = extra.clone();
        }
        item
    }
}

/// Chat's count of tokens, in the words of responses.
pub(super) fn usage(chat: &Value) -> Value {
    let count = |pointer: &str| chat.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let (input, output) = (count("/prompt_tokens"), count("/completion_tokens"));
    let total = chat.get("total_tokens").and_then(Value::as_u64);
    json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": count("/prompt_tokens_details/cached_tokens"),
            "cache_write_tokens": count("/prompt_tokens_details/cache_write_tokens"),
        },
        "output_tokens": output,
        "output_tokens_details": {
            "reasoning_tokens": count("/completion_tokens_details/reasoning_tokens"),
        },
        "total_tokens": total.unwrap_or_else(|| input.saturating_add(output)),
    })
}

/// A citation of a page, which chat writes one level deeper.
pub(super) fn annotation(chat: &Value) -> Value {
    match chat.get("url_citation").and_then(Value::as_object) {
        Some(citation) => {
            let mut theirs = citation.clone();
            theirs.insert("type".to_owned(), "url_citation".into());
            theirs.into()
        }
        None => chat.clone(),
    }
}
