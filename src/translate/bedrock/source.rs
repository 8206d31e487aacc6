//! A stream of `ConverseStream`'s as chat chunks.
//!
//! Events carry the index of their block; only blocks of tools are announced, the others are what their
//! first piece is. Usage comes last, in an event of its own. A stream that ends before it said why is
//! told as an error: what was cut off must not look whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::anthropic::JSON_TOOL;
use super::super::thought::Place;
use super::super::{About, Failure, Source};
use super::answer::{
    account, annotation, finish_reason, redacted_block, runs_at_the_provider, thinking_block,
};
use super::failure;

/// The longest thinking that is kept to be given out whole, in bytes. No model thinks that much; what is
/// longer is shown, and its block cannot be sent back.
const THINKING_LIMIT: usize = 16 << 20;

pub(super) struct ConverseSource {
    about: About,
    /// The blocks that are open, by their index.
    open: BTreeMap<u64, Block>,
    has_begun: bool,
    tool_calls: usize,
    thinking_blocks: usize,
    annotations: usize,
    /// Characters of text so far, for annotations and the places of thought.
    said: usize,
    is_json: bool,
    end: End,
    /// What the last event says, until it was said why the answer ends.
    account: Map<String, Value>,
}

#[derive(PartialEq, Eq)]
enum End {
    /// Nothing said so far why it would end.
    Open,
    /// The reason was told; usage may follow.
    Reasoned,
    Failed,
}

enum Block {
    /// Where its text began.
    Text { start: usize },
    /// Kept whole beside what is shown, because it goes back to the provider whole.
    Thinking { place: Place, text: String, signature: String },
    /// Its place among the calls, `None` for our own tool.
    Tool { place: Option<usize>, is_empty: bool },
    /// A tool that runs at the provider.
    Elsewhere,
}

impl Source for ConverseSource {
    fn event(&mut self, name: Option<&str>, event: &Value, out: &mut Vec<Value>) {
        if self.end == End::Failed {
            return;
        }
        let index = event["contentBlockIndex"].as_u64().unwrap_or(0);
        match name {
            Some("messageStart") => self.begin(out),
            Some("contentBlockStart") => self.block_start(index, &event["start"], out),
            Some("contentBlockDelta") => self.block_delta(index, &event["delta"], out),
            Some("contentBlockStop") => self.block_stop(index, out),
            Some("messageStop") => self.stop(event["stopReason"].as_str(), out),
            Some("metadata") => {
                self.account.extend(account(event));
                self.tell_account(out);
            }
            Some(name) if name == "error" || name.ends_with("Exception") || name == "exception" => {
                self.fail(&failure::of_event(name, event), out);
            }
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<Value>) {
        if self.end == End::Open {
            let error = json!({ "message": "The provider's stream ended before the answer did." });
            self.fail(&failure::of_event("error", &error), out);
        }
    }
}

impl ConverseSource {
    pub(super) fn new(about: About) -> Self {
        Self {
            about,
            open: BTreeMap::new(),
            has_begun: false,
            tool_calls: 0,
            thinking_blocks: 0,
            annotations: 0,
            said: 0,
            is_json: false,
            end: End::Open,
            account: Map::new(),
        }
    }

    fn begin(&mut self, out: &mut Vec<Value>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            let delta = json!({ "role": "assistant", "content": "", "refusal": null });
            out.push(self.chunk(&delta, None));
        }
    }

    fn give(&mut self, delta: &Value, out: &mut Vec<Value>) {
        self.begin(out);
        out.push(self.chunk(delta, None));
    }

    fn block_start(&mut self, index: u64, start: &Value, out: &mut Vec<Value>) {
        let Some(call) = start.get("toolUse") else { return };
        let name = call["name"].as_str().unwrap_or_default();
        let block = if runs_at_the_provider(call) {
            Block::Elsewhere
        } else if name == JSON_TOOL {
            self.is_json = true;
            Block::Tool { place: None, is_empty: true }
        } else {
            let place = self.tool_calls;
            self.tool_calls += 1;
            let call = json!({
                "index": place,
                "id": call["toolUseId"].as_str().unwrap_or_default(),
                "type": "function",
                "function": { "name": name, "arguments": "" },
            });
            self.give(&json!({ "tool_calls": [call] }), out);
            Block::Tool { place: Some(place), is_empty: true }
        };
        self.open.insert(index, block);
    }

    fn block_delta(&mut self, index: u64, delta: &Value, out: &mut Vec<Value>) {
        if let Some(text) = delta["text"].as_str() {
            self.text_start(index);
            self.text(text, out);
        } else if let Some(text) = delta["toolUse"]["input"].as_str() {
            self.input(index, text, out);
        } else if let Some(content) = delta.get("reasoningContent") {
            self.reasoning(index, content, out);
        } else if let Some(citation) = delta.get("citation") {
            let start = self.text_start(index);
            self.cite(citation, start, out);
        }
    }

    /// Where the text of a block began; a block that is none yet begins here.
    fn text_start(&mut self, index: u64) -> usize {
        match self.open.entry(index).or_insert(Block::Text { start: self.said }) {
            Block::Text { start } => *start,
            _ => self.said,
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<Value>) {
        if !text.is_empty() {
            self.said += text.chars().count();
            self.give(&json!({ "content": text }), out);
        }
    }

    fn input(&mut self, index: u64, text: &str, out: &mut Vec<Value>) {
        let Some(Block::Tool { place, is_empty }) = self.open.get_mut(&index) else { return };
        if text.is_empty() {
            return;
        }
        *is_empty = false;
        let place = *place;
        self.arguments(place, text, out);
    }

    fn arguments(&mut self, place: Option<usize>, text: &str, out: &mut Vec<Value>) {
        let Some(place) = place else { return self.text(text, out) };
        let call = json!({ "index": place, "function": { "arguments": text } });
        self.give(&json!({ "tool_calls": [call] }), out);
    }

    fn reasoning(&mut self, index: u64, content: &Value, out: &mut Vec<Value>) {
        if let Some(data) = content["redactedContent"].as_str() {
            if let Some(block) = redacted_block(data) {
                self.thinking_block(block, self.place(), out);
            }
            return;
        }
        let (place, text, signature) = (self.place(), String::new(), String::new());
        let new = Block::Thinking { place, text, signature };
        let Block::Thinking { text, signature, .. } = self.open.entry(index).or_insert(new) else {
            return;
        };
        let more = content["text"].as_str().unwrap_or_default();
        if text.len() + more.len() <= THINKING_LIMIT {
            text.push_str(more);
        }
        let signed = content["signature"].as_str().unwrap_or_default();
        if signature.len() + signed.len() <= THINKING_LIMIT {
            signature.push_str(signed);
        }
        if !more.is_empty() {
            self.give(&json!({ "reasoning_content": more }), out);
        }
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
        self.give(&json!({ "thinking_blocks": [block] }), out);
    }

    fn cite(&mut self, citation: &Value, start: usize, out: &mut Vec<Value>) {
        if let Some(mut annotation) = annotation(citation, start, self.said) {
            annotation["index"] = json!(self.annotations);
            self.annotations += 1;
            self.give(&json!({ "annotations": [annotation] }), out);
        }
    }

    fn block_stop(&mut self, index: u64, out: &mut Vec<Value>) {
        match self.open.remove(&index) {
            Some(Block::Thinking { place, text, signature }) => {
                if let Some(block) = thinking_block(&text, &signature) {
                    self.thinking_block(block, place, out);
                }
            }
            // Without any input a tool is called with nothing, which is an object too.
            Some(Block::Tool { place, is_empty: true }) => self.arguments(place, "{}", out),
            _ => {}
        }
    }

    fn stop(&mut self, reason: Option<&str>, out: &mut Vec<Value>) {
        if self.end != End::Open {
            return;
        }
        while let Some((&index, _)) = self.open.first_key_value() {
            self.block_stop(index, out);
        }
        self.begin(out);
        out.push(self.chunk(&json!({}), Some(finish_reason(reason, self.is_json))));
        self.end = End::Reasoned;
        self.tell_account(out);
    }

    /// Tells usage, once it and the reason to stop have come.
    fn tell_account(&mut self, out: &mut Vec<Value>) {
        if self.end != End::Reasoned || self.account.is_empty() {
            return;
        }
        let mut chunk = self.chunk(&Value::Null, None);
        chunk["choices"] = json!([]);
        if let Some(members) = chunk.as_object_mut() {
            members.extend(std::mem::take(&mut self.account));
        }
        out.push(chunk);
    }

    fn fail(&mut self, failure: &Failure, out: &mut Vec<Value>) {
        self.end = End::Failed;
        out.push(json!({ "error": {
            "message": failure.message,
            "type": failure.kind,
            "param": null,
            "code": failure.code,
        } }));
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
