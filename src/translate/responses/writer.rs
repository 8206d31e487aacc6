//! How the items of an answer grow, and the events that say so.
//!
//! Clients hold that an item is announced before anything in it and that what is done never changes.
//! Reasoning and messages follow one another; calls stay open to the end, as providers may send pieces
//! of several in turn.

use serde_json::{Value, json};

use super::super::{ClientEvent, EventData};
use super::output::{Call, Item, Part, Said, reasoning_part};

pub(super) struct Writer {
    /// What items are named after.
    id: String,
    sequence: u64,
    pub(super) items: Vec<Item>,
    /// The item of reasoning or message that grows.
    open: Option<usize>,
    /// Bytes kept, about.
    pub(super) kept: usize,
}

impl Writer {
    pub(super) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), sequence: 0, items: Vec::new(), open: None, kept: 0 }
    }

    pub(super) fn emit(&mut self, name: &'static str, data: Value, out: &mut Vec<ClientEvent>) {
        let mut event = json!({ "type": name, "sequence_number": self.sequence });
        self.sequence = self.sequence.wrapping_add(1);
        extend(&mut event, data);
        out.push(ClientEvent { name: Some(name), data: EventData::Json(event) });
    }

    /// Says something of the item at `index`.
    fn tell(&mut self, name: &'static str, index: usize, data: Value, out: &mut Vec<ClientEvent>) {
        let id = self.items.get(index).map(|item| item.id.as_str());
        let mut place = json!({ "item_id": id, "output_index": index });
        extend(&mut place, data);
        self.emit(name, place, out);
    }

    fn add(&mut self, prefix: &str, said: Said, out: &mut Vec<ClientEvent>) -> usize {
        let index = self.items.len();
        let id = format!("{prefix}_{}_{index}", self.id);
        let item = Item { id, is_done: false, said };
        let data = json!({ "output_index": index, "item": item.value("in_progress") });
        self.items.push(item);
        self.emit("response.output_item.added", data, out);
        index
    }

    fn said(&mut self, index: usize) -> Option<&mut Said> {
        self.items.get_mut(index).map(|item| &mut item.said)
    }

    fn parts(&mut self, index: usize) -> Option<&mut Vec<Part>> {
        match self.said(index) {
            Some(Said::Message { parts, .. }) => Some(parts),
            _ => None,
        }
    }

    fn call_at(&mut self, index: usize) -> Option<&mut Call> {
        match self.said(index) {
            Some(Said::Call(call)) => Some(call),
            _ => None,
        }
    }

    /// Thinks aloud.
    pub(super) fn reason(&mut self, more: &str, out: &mut Vec<ClientEvent>) {
        let index = self.open_reasoning(out);
        self.kept = self.kept.saturating_add(more.len());
        let Some(Said::Reasoning { text, .. }) = self.said(index) else { return };
        let is_new = text.is_none();
        text.get_or_insert_default().push_str(more);
        if is_new {
            let part = json!({ "content_index": 0, "part": reasoning_part("") });
            self.tell("response.content_part.added", index, part, out);
        }
        let delta = json!({ "content_index": 0, "delta": more });
        self.tell("response.reasoning_text.delta", index, delta, out);
    }

    /// Keeps a block of thought that the provider wants back. Its place in a list is no part of it.
    pub(super) fn keep_block(&mut self, block: &Value, out: &mut Vec<ClientEvent>) {
        let index = self.open_reasoning(out);
        let mut block = block.clone();
        if let Some(members) = block.as_object_mut() {
            members.shift_remove("index");
        }
        self.kept = self.kept.saturating_add(block.to_string().len());
        if let Some(Said::Reasoning { blocks, .. }) = self.said(index) {
            blocks.push(block);
        }
    }

    fn open_reasoning(&mut self, out: &mut Vec<ClientEvent>) -> usize {
        if let Some(index) = self.open
            && matches!(self.said(index), Some(Said::Reasoning { .. }))
        {
            return index;
        }
        self.close_open(out);
        let index = self.add("rs", Said::Reasoning { text: None, blocks: Vec::new() }, out);
        self.open = Some(index);
        index
    }

    fn open_message(&mut self, out: &mut Vec<ClientEvent>) -> usize {
        if let Some(index) = self.open
            && self.parts(index).is_some()
        {
            return index;
        }
        self.close_open(out);
        let index = self.add("msg", Said::Message { parts: Vec::new(), extra: None }, out);
        self.open = Some(index);
        index
    }

    /// Says more of a message, or of why there will be none.
    pub(super) fn say(
        &mut self,
        is_refusal: bool,
        more: &str,
        logprobs: &[Value],
        out: &mut Vec<ClientEvent>,
    ) {
        let index = self.open_message(out);
        let last = self.parts(index).and_then(|parts| parts.last());
        if last.is_none_or(|part| part.is_refusal != is_refusal) {
            self.close_part(index, out);
            self.add_part(index, is_refusal, out);
        }
        // A token's probability takes a multiple of the token itself.
        let probabilities = logprobs.len().saturating_mul(256);
        self.kept = self.kept.saturating_add(more.len()).saturating_add(probabilities);
        let Some(parts) = self.parts(index) else { return };
        let at = parts.len().saturating_sub(1);
        if let Some(part) = parts.last_mut() {
            part.text.push_str(more);
            part.logprobs.extend_from_slice(logprobs);
        }
        if is_refusal {
            let delta = json!({ "content_index": at, "delta": more });
            self.tell("response.refusal.delta", index, delta, out);
        } else {
            let delta = json!({ "content_index": at, "delta": more, "logprobs": logprobs });
            self.tell("response.output_text.delta", index, delta, out);
        }
    }

    fn add_part(&mut self, index: usize, is_refusal: bool, out: &mut Vec<ClientEvent>) {
        let part = Part { is_refusal, ..Part::default() };
        let value = part.value();
        let Some(parts) = self.parts(index) else { return };
        let data = json!({ "content_index": parts.len(), "part": value });
        parts.push(part);
        self.tell("response.content_part.added", index, data, out);
    }

    /// Cites a source for what was said.
    pub(super) fn cite(&mut self, annotation: Value, out: &mut Vec<ClientEvent>) {
        let Some(index) = self.open else { return };
        let Some(parts) = self.parts(index) else { return };
        let at = parts.len().saturating_sub(1);
        let Some(part) = parts.last_mut().filter(|part| !part.is_refusal) else { return };
        let data = json!({
            "content_index": at,
            "annotation_index": part.annotations.len(),
            "annotation": annotation,
        });
        self.kept = self.kept.saturating_add(annotation.to_string().len());
        if let Some(part) = self.parts(index).and_then(|parts| parts.last_mut()) {
            part.annotations.push(annotation);
        }
        self.tell("response.output_text.annotation.added", index, data, out);
    }

    /// Keeps with the last message what the provider wants back with it.
    pub(super) fn keep_extra(&mut self, theirs: &Value) {
        self.kept = self.kept.saturating_add(theirs.to_string().len());
        let last = self.items.iter_mut().rev().find_map(|item| match &mut item.said {
            Said::Message { extra, .. } => Some(extra),
            _ => None,
        });
        if let Some(extra) = last {
            *extra = Some(theirs.clone());
        }
    }

    /// A piece of a call: the first of its call has its id.
    pub(super) fn call(&mut self, delta: &Value, out: &mut Vec<ClientEvent>) {
        let is_custom = delta.get("type").and_then(Value::as_str) == Some("custom");
        let (kind, with) = if is_custom { ("custom", "input") } else { ("function", "arguments") };
        let text = |name: &str| delta.get(kind)?.get(name)?.as_str();
        let (name, given) = (text("name").unwrap_or_default(), text(with).unwrap_or_default());
        self.kept = self.kept.saturating_add(name.len()).saturating_add(given.len());
        let index = match self.find_call(delta) {
            Some(index) => {
                // A name comes whole with the first piece; some providers say it again with each.
                if let Some(call) = self.call_at(index).filter(|call| call.name.is_empty()) {
                    call.name.push_str(name);
                }
                index
            }
            None => self.add_call(delta, name, is_custom, out),
        };
        let Some(call) = self.call_at(index) else { return };
        call.given.push_str(given);
        if let Some(extra) = delta.get("extra_content").filter(|extra| extra.is_object()) {
            call.extra = Some(extra.clone());
        }
        let event = if call.is_custom {
            "response.custom_tool_call_input.delta"
        } else {
            "response.function_call_arguments.delta"
        };
        if !given.is_empty() {
            self.tell(event, index, json!({ "delta": given }), out);
        }
    }

    /// The call that a piece belongs to. Not every provider counts its calls, and some count each of
    /// them as the first: another id is another call in any case.
    fn find_call(&self, delta: &Value) -> Option<usize> {
        let id = delta.get("id").and_then(Value::as_str).unwrap_or_default();
        let index = delta.get("index").and_then(Value::as_u64);
        let calls = self.items.iter().enumerate().rev();
        let mut calls = calls.filter_map(|(at, item)| match &item.said {
            Said::Call(call) => Some((at, call)),
            _ => None,
        });
        let found = calls.find(|(_, call)| match (index, id) {
            (Some(_), _) => call.index == index,
            (None, "") => true,
            (None, id) => call.id == id,
        });
        found.filter(|(_, call)| id.is_empty() || call.id == id).map(|(at, _)| at)
    }

    fn add_call(
        &mut self,
        delta: &Value,
        name: &str,
        is_custom: bool,
        out: &mut Vec<ClientEvent>,
    ) -> usize {
        self.close_open(out);
        let theirs = delta.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let id =
            theirs.map_or_else(|| format!("call_{}_{}", self.id, self.items.len()), str::to_owned);
        let call = Call {
            index: delta.get("index").and_then(Value::as_u64),
            id,
            name: name.to_owned(),
            given: String::new(),
            is_custom,
            extra: delta.get("extra_content").filter(|extra| extra.is_object()).cloned(),
        };
        self.add(if is_custom { "ctc" } else { "fc" }, Said::Call(call), out)
    }

    /// Ends all that is open; `is_cut` where the answer ended before it was whole.
    pub(super) fn close(&mut self, is_cut: bool, out: &mut Vec<ClientEvent>) {
        let last = self.items.len().saturating_sub(1);
        self.open = None;
        for index in 0..self.items.len() {
            let status = if is_cut && index == last { "incomplete" } else { "completed" };
            self.close_item(index, status, out);
        }
    }

    fn close_open(&mut self, out: &mut Vec<ClientEvent>) {
        if let Some(index) = self.open.take() {
            self.close_item(index, "completed", out);
        }
    }

    fn close_item(&mut self, index: usize, status: &str, out: &mut Vec<ClientEvent>) {
        let Some(item) = self.items.get_mut(index).filter(|item| !item.is_done) else { return };
        item.is_done = true;
        let value = item.value(status);
        match &item.said {
            Said::Message { .. } => self.close_part(index, out),
            Said::Reasoning { text: None, .. } => {}
            Said::Reasoning { text: Some(text), .. } => {
                let done = json!({ "content_index": 0, "text": text });
                let part = json!({ "content_index": 0, "part": reasoning_part(text) });
                self.tell("response.reasoning_text.done", index, done, out);
                self.tell("response.content_part.done", index, part, out);
            }
            Said::Call(call) if call.is_custom => {
                let done = json!({ "input": call.given });
                self.tell("response.custom_tool_call_input.done", index, done, out);
            }
            Said::Call(call) => {
                let done = json!({ "name": call.name, "arguments": call.given });
                self.tell("response.function_call_arguments.done", index, done, out);
            }
        }
        let data = json!({ "output_index": index, "item": value });
        self.emit("response.output_item.done", data, out);
    }

    /// Ends the last part of a message.
    fn close_part(&mut self, index: usize, out: &mut Vec<ClientEvent>) {
        let Some(parts) = self.parts(index) else { return };
        let at = parts.len().saturating_sub(1);
        let Some(part) = parts.last() else { return };
        let (name, done) = if part.is_refusal {
            ("response.refusal.done", json!({ "content_index": at, "refusal": part.text }))
        } else {
            let logprobs = &part.logprobs;
            let done = json!({ "content_index": at, "text": part.text, "logprobs": logprobs });
            ("response.output_text.done", done)
        };
        let whole = json!({ "content_index": at, "part": part.value() });
        self.tell(name, index, done, out);
        self.tell("response.content_part.done", index, whole, out);
    }
}

fn extend(event: &mut Value, data: Value) {
    if let (Some(event), Value::Object(data)) = (event.as_object_mut(), data) {
        event.extend(data);
    }
}
