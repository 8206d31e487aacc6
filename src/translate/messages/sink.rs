//! Chat chunks as a stream of Anthropic's.
//!
//! Anthropic's blocks follow one another and never mix; chat's parallel tool calls may. So the first
//! block that is not yet over is written as it comes, and those behind it wait. A tool call is over when
//! its arguments are a whole object and something else has begun, or at the end.
//!
//! Why the answer ended and what it used come last in Anthropic's streams, after all blocks: they are
//! kept until the end.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::super::{About, ClientEvent, EventData, Sink};
use super::answer::{reasoning, stop, thinking_block, usage};
use super::error_type;
use super::waiting::{Call, Kind, Waiting};

/// The most that may wait behind a block that is not over, in bytes.
const WAITING_LIMIT: usize = 16 << 20;

pub(super) struct MessageSink {
    about: About,
    state: State,
    /// The block that is written, and those behind it.
    blocks: VecDeque<Waiting>,
    /// The number of the block in front.
    number: usize,
    calls: usize,
    /// The index and id of the calls that are over.
    over: Vec<(Option<u64>, Option<String>)>,
    refused: bool,
    usage: Value,
    /// Why it ended, once that was told.
    end: Option<(&'static str, Option<String>)>,
}

#[derive(PartialEq, Eq)]
enum State {
    Unstarted,
    Started,
    Over,
}

impl Sink for MessageSink {
    fn chunk(&mut self, chunk: &Value, out: &mut Vec<ClientEvent>) {
        if self.state == State::Over {
            return;
        }
        let error = &chunk["error"];
        if !error.is_null() {
            let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            let kind = error["type"].as_str().unwrap_or_default();
            let message = error["message"].as_str().or(error.as_str());
            return self.fail(
                error_type(status, kind),
                message.unwrap_or("The stream failed."),
                out,
            );
        }
        if chunk["usage"].is_object() {
            self.usage = usage(&chunk["usage"]);
        }
        self.start(out);
        let choice = &chunk["choices"][0];
        // Of several choices only the first is the answer.
        if choice["index"].as_u64().unwrap_or(0) == 0 {
            self.read(&choice["delta"]);
            if choice["finish_reason"].is_string() {
                let (reason, sequence) = stop(choice, self.calls > 0, self.refused);
                self.end = Some((reason, sequence.map(str::to_owned)));
            }
        }
        self.write(false, out);
        if self.blocks.iter().map(Waiting::len).sum::<usize>() > WAITING_LIMIT {
            self.fail("api_error", "The provider's tool calls are too long and mixed.", out);
        }
    }

    fn finish(&mut self, out: &mut Vec<ClientEvent>) {
        if self.state == State::Over {
            return;
        }
        let Some((reason, sequence)) = self.end.take() else {
            return self.fail(
                "api_error",
                "The provider's stream ended before the answer did.",
                out,
            );
        };
        self.write(true, out);
        self.state = State::Over;
        put(
            "message_delta",
            json!({
                "delta": { "stop_reason": reason, "stop_sequence": sequence },
                "usage": self.usage,
            }),
            out,
        );
        put("message_stop", json!({}), out);
    }
}

impl MessageSink {
    pub(super) fn new(about: About) -> Self {
        Self {
            about,
            state: State::Unstarted,
            blocks: VecDeque::new(),
            number: 0,
            calls: 0,
            over: Vec::new(),
            refused: false,
            usage: usage(&Value::Null),
            end: None,
        }
    }

    fn start(&mut self, out: &mut Vec<ClientEvent>) {
        if self.state != State::Unstarted {
            return;
        }
        self.state = State::Started;
        put(
            "message_start",
            json!({ "message": {
            "id": format!("msg_{}", self.about.id),
            "type": "message",
            "role": "assistant",
            "model": self.about.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": self.usage,
        } }),
            out,
        );
    }

    fn fail(&mut self, kind: &str, message: &str, out: &mut Vec<ClientEvent>) {
        self.state = State::Over;
        put("error", json!({ "error": { "type": kind, "message": message } }), out);
    }

    fn read(&mut self, delta: &Value) {
        let thought = reasoning(delta);
        if !thought.is_empty() {
            self.last(Kind::thinking()).push(thought);
        }
        for block in delta["thinking_blocks"].as_array().into_iter().flatten() {
            self.thinking_block(block);
        }
        let refusal = delta["refusal"].as_str().unwrap_or_default();
        self.refused |= !refusal.is_empty();
        for text in [delta["content"].as_str().unwrap_or_default(), refusal] {
            if !text.is_empty() {
                self.last(Kind::Text).push(text);
            }
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.tool_call(call);
        }
    }

    /// The last block if it is of this kind, else a new one.
    fn last(&mut self, kind: Kind) -> &mut Waiting {
        if self.blocks.back().is_some_and(|last| last.takes(&kind)) {
            let last = self.blocks.len() - 1;
            return &mut self.blocks[last];
        }
        self.begin(kind)
    }

    fn begin(&mut self, kind: Kind) -> &mut Waiting {
        self.blocks.push_back(Waiting::new(kind));
        let last = self.blocks.len() - 1;
        &mut self.blocks[last]
    }

    /// A whole block: its text may have come before as reasoning, which it then ends with its signature.
    fn thinking_block(&mut self, block: &Value) {
        let Some(block) = thinking_block(block) else { return };
        if block["type"] == "redacted_thinking" {
            self.begin(Kind::Redacted(block));
            return;
        }
        let last = self.last(Kind::thinking());
        if last.is_new {
            last.push(block["thinking"].as_str().unwrap_or_default());
        }
        last.sign(block["signature"].as_str().unwrap_or_default());
    }

    /// A piece of a tool call. It belongs to the call of its index, or else to the last one; an id that
    /// is another is another call, whatever its index says: some servers count none of them.
    fn tool_call(&mut self, call: &Value) {
        let index = call["index"].as_u64();
        let id = call["id"].as_str().filter(|id| !id.is_empty());
        let name = call["function"]["name"].as_str().filter(|name| !name.is_empty());
        let place = self.blocks.iter().rposition(|block| block.is_call(index, id));
        if place.is_none() && ((id.is_none() && name.is_none()) || self.was_over(index, id)) {
            // What is left of a call that is over can only be white space.
            return;
        }
        let block = if let Some(block) = place.and_then(|place| self.blocks.get_mut(place)) {
            block
        } else {
            let made_id = format!("toolu_{}_{}", self.about.id, self.calls);
            self.calls += 1;
            self.begin(Kind::Call(Call { index, id: None, name: None, made_id }))
        };
        block.call(id, name);
        match &call["function"]["arguments"] {
            Value::String(text) => block.push(text),
            Value::Object(input) => block.push(&Value::Object(input.clone()).to_string()),
            _ => {}
        }
    }

    fn was_over(&self, index: Option<u64>, id: Option<&str>) -> bool {
        id.is_some() && self.over.iter().any(|(i, own)| *i == index && own.as_deref() == id)
    }

    /// Writes what can be written: the block in front, and the next where that is over.
    fn write(&mut self, is_end: bool, out: &mut Vec<ClientEvent>) {
        while let Some(mut front) = self.blocks.pop_front() {
            front.write(self.number, is_end, out);
            let is_followed = !self.blocks.is_empty();
            let is_over = is_end || (is_followed && front.is_over());
            if !is_over {
                self.blocks.push_front(front);
                return;
            }
            front.end(self.number, out);
            self.number += 1;
            self.over.extend(front.into_call().map(|call| (call.index, call.id)));
        }
    }
}

/// Adds an event; its type is its name.
pub(super) fn put(name: &'static str, mut data: Value, out: &mut Vec<ClientEvent>) {
    if let Some(members) = data.as_object_mut() {
        members.shift_insert(0, "type".to_owned(), json!(name));
    }
    out.push(ClientEvent { name: Some(name), data: EventData::Json(data) });
}
