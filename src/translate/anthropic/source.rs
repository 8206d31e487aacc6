//! A stream of Anthropic's as chat chunks.
//!
//! Events carry the index of their block; what a delta means follows from the block that it belongs to.
//! A stream that ends before it said why is told as an error: what was cut off must not look whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::thought::Place;
use super::super::{About, Source};
use super::answer::{annotation, arguments, finish_reason, refusal, service_tier, usage};
use super::{JSON_TOOL, failure};

/// The longest thinking that is kept to be given out whole, in bytes. No model thinks that much; what is
/// longer is shown, and its block cannot be sent back.
const THINKING_LIMIT: usize = 16 << 20;

pub(super) struct MessageSource {
    about: About,
    /// The blocks that are open, by their index.
    open: BTreeMap<u64, Block>,
    usage: Map<String, Value>,
    tool_calls: usize,
    thinking_blocks: usize,
    annotations: usize,
    /// Characters of text so far, for annotations and the places of thought.
    said: usize,
    is_json: bool,
    end: End,
}

enum Block {
    /// Where its text began.
    Text { start: usize },
    /// Kept whole beside what is shown, because it goes back to the provider whole.
    Thinking { place: Place, thinking: String, signature: String },
    /// Its place among the calls, `None` for our own tool; and its input, if that came at the start.
    Tool { place: Option<usize>, input: Option<String> },
}

#[derive(PartialEq, Eq)]
enum End {
    /// Nothing said so far why it would end.
    Open,
    /// The reason was told, usage not yet.
    Reasoned,
    /// All was told, or an error was.
    Told,
}

impl Source for MessageSource {
    fn event(&mut self, name: Option<&str>, event: &Value, out: &mut Vec<Value>) {
        if self.end == End::Told {
            return;
        }
        let index = event["index"].as_u64().unwrap_or(0);
        match event["type"].as_str().or(name) {
            Some("message_start") => self.start(&event["message"], out),
            Some("content_block_start") => self.block_start(index, &event["content_block"], out),
            Some("content_block_delta") => self.block_delta(index, &event["delta"], out),
            Some("content_block_stop") => self.block_stop(index, out),
            Some("message_delta") => self.message_delta(event, out),
            Some("message_stop") => self.stop(out),
            Some("error") => self.fail(&failure(500, &event["error"]), out),
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<Value>) {
        match self.end {
            End::Told => {}
            End::Reasoned => self.stop(out),
            End::Open => {
                let error =
                    json!({ "message": "The provider's stream ended before the answer did." });
                self.fail(&failure(502, &error), out);
            }
        }
    }
}

impl MessageSource {
    pub(super) fn new(about: About) -> Self {
        Self {
            about,
            open: BTreeMap::new(),
            usage: Map::new(),
            tool_calls: 0,
            thinking_blocks: 0,
            annotations: 0,
            said: 0,
            is_json: false,
            end: End::Open,
        }
    }

    fn start(&mut self, message: &Value, out: &mut Vec<Value>) {
        self.note_usage(&message["usage"]);
        out.push(self.chunk(&json!({ "role": "assistant", "content": "", "refusal": null }), None));
    }

    fn block_start(&mut self, index: u64, block: &Value, out: &mut Vec<Value>) {
        match block["type"].as_str() {
            Some("text") => {
                self.open.insert(index, Block::Text { start: self.said });
                self.text(block["text"].as_str().unwrap_or_default(), out);
            }
            Some("thinking") => {
                let (place, thinking, signature) = (self.place(), String::new(), String::new());
                self.open.insert(index, Block::Thinking { place, thinking, signature });
                self.block_delta(
                    index,
                    &json!({ "type": "thinking_delta", "thinking": block["thinking"] }),
                    out,
                );
                self.block_delta(
                    index,
                    &json!({ "type": "signature_delta", "signature": block["signature"] }),
                    out,
                );
            }
            Some("redacted_thinking") => {
                let data = block["data"].as_str().unwrap_or_default();
                let block = json!({ "type": "redacted_thinking", "data": data });
                self.thinking_block(block, self.place(), out);
            }
            Some("tool_use") => self.tool_start(index, block, out),
            _ => {}
        }
    }

    fn tool_start(&mut self, index: u64, block: &Value, out: &mut Vec<Value>) {
        let name = block["name"].as_str().unwrap_or_default();
        let input = Some(arguments(&block["input"]));
        if name == JSON_TOOL {
            self.is_json = true;
            self.open.insert(index, Block::Tool { place: None, input });
            return;
        }
        let place = self.tool_calls;
        self.tool_calls += 1;
        self.open.insert(index, Block::Tool { place: Some(place), input });
        let call = json!({
            "index": place,
            "id": block["id"].as_str().unwrap_or_default(),
            "type": "function",
            "function": { "name": name, "arguments": "" },
        });
        out.push(self.chunk(&json!({ "tool_calls": [call] }), None));
    }

    fn block_delta(&mut self, index: u64, delta: &Value, out: &mut Vec<Value>) {
        match (delta["type"].as_str(), self.open.get_mut(&index)) {
            (Some("text_delta"), Some(Block::Text { .. })) => {
                self.text(delta["text"].as_str().unwrap_or_default(), out);
            }
            (Some("citations_delta"), Some(Block::Text { start })) => {
                let start = *start;
                self.cite(&delta["citation"], start, out);
            }
            (Some("thinking_delta"), Some(Block::Thinking { thinking, .. })) => {
                let text = delta["thinking"].as_str().unwrap_or_default();
                if thinking.len() + text.len() <= THINKING_LIMIT {
                    thinking.push_str(text);
                }
                if !text.is_empty() {
                    out.push(self.chunk(&json!({ "reasoning_content": text }), None));
                }
            }
            (Some("signature_delta"), Some(Block::Thinking { signature, .. })) => {
                signature.push_str(delta["signature"].as_str().unwrap_or_default());
            }
            (Some("input_json_delta"), Some(Block::Tool { place, input })) => {
                let text = delta["partial_json"].as_str().unwrap_or_default();
                if !text.is_empty() {
                    let place = *place;
                    *input = None;
                    self.input(place, text, out);
                }
            }
            _ => {}
        }
    }

    fn block_stop(&mut self, index: u64, out: &mut Vec<Value>) {
        match self.open.remove(&index) {
            Some(Block::Thinking { place, thinking, signature }) => {
                let block =
                    json!({ "type": "thinking", "thinking": thinking, "signature": signature });
                self.thinking_block(block, place, out);
            }
            // Without any delta the input is what the block began with.
            Some(Block::Tool { place, input: Some(input) }) => self.input(place, &input, out),
            _ => {}
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<Value>) {
        if !text.is_empty() {
            self.said += text.chars().count();
            out.push(self.chunk(&json!({ "content": text }), None));
        }
    }

    fn input(&mut self, place: Option<usize>, text: &str, out: &mut Vec<Value>) {
        let Some(place) = place else { return self.text(text, out) };
        let call = json!({ "index": place, "function": { "arguments": text } });
        out.push(self.chunk(&json!({ "tool_calls": [call] }), None));
    }

    /// The place of what begins now.
    const fn place(&self) -> Place {
        Place { characters: self.said, calls: self.tool_calls }
    }

    /// A whole thinking block, under an index: clients that put chunks together do so by it.
    fn thinking_block(&mut self, mut block: Value, place: Place, out: &mut Vec<Value>) {
        place.mark(&mut block);
        block["index"] = json!(self.thinking_blocks);
        self.thinking_blocks += 1;
        out.push(self.chunk(&json!({ "thinking_blocks": [block] }), None));
    }

    fn cite(&mut self, citation: &Value, start: usize, out: &mut Vec<Value>) {
        if let Some(mut annotation) = annotation(citation, start, self.said) {
            annotation["index"] = json!(self.annotations);
            self.annotations += 1;
            out.push(self.chunk(&json!({ "annotations": [annotation] }), None));
        }
    }

    fn message_delta(&mut self, event: &Value, out: &mut Vec<Value>) {
        self.note_usage(&event["usage"]);
        let delta = &event["delta"];
        let Some(reason) = delta["stop_reason"].as_str() else { return };
        if self.end != End::Open {
            return;
        }
        self.end = End::Reasoned;
        if let Some(text) = refusal(Some(reason), &delta["stop_details"]) {
            out.push(self.chunk(&json!({ "refusal": text }), None));
        }
        let reason = finish_reason(Some(reason), self.is_json);
        out.push(self.chunk(&json!({}), Some(reason)));
    }

    fn stop(&mut self, out: &mut Vec<Value>) {
        if self.end == End::Open {
            out.push(self.chunk(&json!({}), Some("stop")));
        }
        self.end = End::Told;
        let told = Value::Object(std::mem::take(&mut self.usage));
        let mut chunk = self.chunk(&Value::Null, None);
        chunk["choices"] = json!([]);
        chunk["usage"] = usage(&told);
        if let Some(tier) = service_tier(&told) {
            chunk["service_tier"] = json!(tier);
        }
        out.push(chunk);
    }

    fn fail(&mut self, failure: &super::Failure, out: &mut Vec<Value>) {
        self.end = End::Told;
        out.push(json!({ "error": {
            "message": failure.message,
            "type": failure.kind,
            "param": null,
            "code": failure.code,
        } }));
    }

    /// What is said of usage replaces what was said before: the numbers are totals.
    fn note_usage(&mut self, usage: &Value) {
        let members = usage.as_object().into_iter().flatten();
        for (name, value) in members.filter(|(_, value)| !value.is_null()) {
            self.usage.insert(name.clone(), value.clone());
        }
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        json!({
            "id": format!("chatcmpl-{}", self.about.id),
            "object": "chat.completion.chunk",
            "created": self.about.created,
            "model": self.about.model,
            "choices": [{
                "index": 0,
                "delta": delta,
                "logprobs": null,
                "finish_reason": finish_reason,
            }],
        })
    }
}
