//! Chat itself, to a client that speaks it: chunks go out as they are, usage only where it was asked for.
//!
//! But lists go out whole, before the reason to stop: `OpenAI`'s client for Node puts what it does not know
//! together by taking the last, and would send one block of thinking back where there were several.

use serde_json::{Map, Value, json};

use super::{ClientEvent, EventData, Sink};

/// Lists in a delta that grow by one for each chunk.
const LISTS: [&str; 2] = ["thinking_blocks", "annotations"];

/// The most that is kept of those lists, in bytes, about.
const LISTS_LIMIT: usize = 16 << 20;

/// Writes chunks to a client.
pub(super) struct ChatSink {
    wants_usage: bool,
    /// What ends with an error must not look as if it were whole.
    failed: bool,
    /// The chunk of the lists so far.
    lists: Option<Value>,
    /// How long they are.
    kept: usize,
}

impl ChatSink {
    pub(super) const fn new(wants_usage: bool) -> Self {
        Self { wants_usage, failed: false, lists: None, kept: 0 }
    }

    /// Takes the lists out of a chunk, and says whether anything is left in it.
    fn gather(&mut self, chunk: &mut Value) -> bool {
        if chunk["choices"][0]["index"].as_u64().unwrap_or(0) != 0 {
            return true;
        }
        let mut is_left = true;
        for name in LISTS {
            let Some(list) = take_list(chunk, name) else { continue };
            self.kept =
                self.kept.saturating_add(list.iter().map(|one| one.to_string().len()).sum());
            let lists = self.lists.get_or_insert_with(|| without_news(chunk));
            if let Some(delta) = delta(lists) {
                let whole = delta.entry(name).or_insert_with(|| json!([]));
                if let Some(whole) = whole.as_array_mut() {
                    whole.extend(list);
                }
            }
            is_left = delta(chunk).is_none_or(|delta| !delta.is_empty());
        }
        is_left || chunk["choices"][0]["finish_reason"].is_string()
    }

    fn give_lists(&mut self, out: &mut Vec<ClientEvent>) {
        self.kept = 0;
        let lists = self.lists.take().map(EventData::Json);
        out.extend(lists.map(|data| ClientEvent { name: None, data }));
    }
}

/// What the first choice of a chunk adds.
fn delta(chunk: &mut Value) -> Option<&mut Map<String, Value>> {
    chunk.pointer_mut("/choices/0/delta")?.as_object_mut()
}

fn take_list(chunk: &mut Value, name: &str) -> Option<Vec<Value>> {
    let delta = delta(chunk)?;
    if !delta.get(name)?.is_array() {
        return None;
    }
    match delta.shift_remove(name) {
        Some(Value::Array(list)) => Some(list),
        _ => None,
    }
}

/// A chunk of the same answer that adds nothing to it.
fn without_news(chunk: &Value) -> Value {
    let mut only = chunk.clone();
    if let Some(members) = only.as_object_mut() {
        members.shift_remove("usage");
        let choice = json!({ "index": 0, "delta": {}, "logprobs": null, "finish_reason": null });
        members.insert("choices".to_owned(), json!([choice]));
    }
    only
}

impl Sink for ChatSink {
    fn chunk(&mut self, chunk: &Value, out: &mut Vec<ClientEvent>) {
        let mut chunk = chunk.clone();
        self.failed |= chunk.get("error").is_some_and(|error| !error.is_null());
        if !self.wants_usage && !self.failed {
            if chunk.get("choices").and_then(Value::as_array).is_some_and(Vec::is_empty) {
                return;
            }
            if let Some(members) = chunk.as_object_mut() {
                members.shift_remove("usage");
            }
        }
        let is_left = self.gather(&mut chunk);
        if chunk["choices"][0]["finish_reason"].is_string() || self.kept > LISTS_LIMIT {
            self.give_lists(out);
        }
        if is_left {
            out.push(ClientEvent { name: None, data: EventData::Json(chunk) });
        }
    }

    fn finish(&mut self, out: &mut Vec<ClientEvent>) {
        if !self.failed {
            self.give_lists(out);
            out.push(ClientEvent { name: None, data: EventData::Done });
        }
    }
}
