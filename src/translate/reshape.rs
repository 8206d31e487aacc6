//! A chat completion as the chunks of a stream, and the other way: for providers that answer whole
//! although a stream was asked for, or the reverse.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::provider::sse::{Cutter, EVENT_LIMIT, Step};

/// What a completion and each of its chunks have in common.
const HEAD: [&str; 5] = ["id", "created", "model", "service_tier", "system_fingerprint"];

/// A completion as the chunks that a stream of it would have had, its usage last.
pub fn chunks(completion: &Value) -> Vec<Value> {
    let head = || {
        let mut head = Map::new();
        copy(&HEAD, completion, &mut head);
        head.insert("object".to_owned(), json!("chat.completion.chunk"));
        head
    };
    let chunk = |choice: Value| {
        let mut chunk = head();
        chunk.insert("choices".to_owned(), json!([choice]));
        Value::Object(chunk)
    };
    let mut chunks = Vec::new();
    let choices = completion.get("choices").and_then(Value::as_array);
    for (at, choice) in choices.into_iter().flatten().enumerate() {
        let index = choice.get("index").cloned().unwrap_or_else(|| json!(at));
        let mut delta = choice.get("message").cloned().unwrap_or_else(|| json!({}));
        let calls = delta.get_mut("tool_calls").and_then(Value::as_array_mut);
        for (number, call) in calls.into_iter().flatten().enumerate() {
            if let Some(call) = call.as_object_mut() {
                call.insert("index".to_owned(), json!(number));
            }
        }
        let mut first = json!({ "index": index, "delta": delta, "finish_reason": null });
        if let Some(logprobs) = choice.get("logprobs").filter(|logprobs| !logprobs.is_null()) {
            first["logprobs"] = logprobs.clone();
        }
        chunks.push(chunk(first));
        let reason = choice.get("finish_reason").cloned().unwrap_or_else(|| json!("stop"));
        chunks.push(chunk(json!({ "index": index, "delta": {}, "finish_reason": reason })));
    }
    if let Some(usage) = completion.get("usage").filter(|usage| !usage.is_null()) {
        let mut last = head();
        last.insert("choices".to_owned(), json!([]));
        last.insert("usage".to_owned(), usage.clone());
        chunks.push(Value::Object(last));
    }
    chunks
}

/// Puts a completion together from the stream of its chunks. It holds what came, no more.
pub struct Assembly {
    cutter: Cutter,
    head: Map<String, Value>,
    choices: BTreeMap<u64, Choice>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Default)]
struct Choice {
    message: Map<String, Value>,
    tool_calls: BTreeMap<u64, Map<String, Value>>,
    logprobs: Map<String, Value>,
    finish_reason: Option<Value>,
}

impl Default for Assembly {
    fn default() -> Self {
        Self {
            cutter: Cutter::new(EVENT_LIMIT),
            head: Map::new(),
            choices: BTreeMap::new(),
            usage: None,
            error: None,
        }
    }
}

impl Assembly {
    /// Takes a part of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut at = self.cutter.leading(bytes);
        loop {
            let Step::Event(event) = self.cutter.next(bytes, at) else { return };
            at = event.end;
            let data = event.data();
            let chunk = data.and_then(|data| serde_json::from_slice(&data.text).ok());
            if let Some(chunk) = chunk {
                self.chunk(&chunk);
            }
        }
    }

    fn chunk(&mut self, chunk: &Value) {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            self.error = Some(error.clone());
        }
        copy(&HEAD, chunk, &mut self.head);
        if let Some(usage) = chunk.get("usage").filter(|usage| !usage.is_null()) {
            self.usage = Some(usage.clone());
        }
        for choice in chunk.get("choices").and_then(Value::as_array).into_iter().flatten() {
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or_default();
            self.choices.entry(index).or_default().take(choice);
        }
    }

    /// The completion.
    ///
    /// # Errors
    /// The error that the stream ended with.
    pub fn finish(mut self) -> Result<Value, Value> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.head.insert("object".to_owned(), json!("chat.completion"));
        let choices = self.choices.into_iter().map(|(index, choice)| choice.finish(index));
        self.head.insert("choices".to_owned(), choices.collect());
        self.head.extend(self.usage.map(|usage| ("usage".to_owned(), usage)));
        Ok(Value::Object(self.head))
    }
}

impl Choice {
    fn take(&mut self, choice: &Value) {
        if let Some(reason) = choice.get("finish_reason").filter(|reason| !reason.is_null()) {
            self.finish_reason = Some(reason.clone());
        }
        if let Some(logprobs) = choice.get("logprobs").and_then(Value::as_object) {
            logprobs.iter().for_each(|(name, value)| join(&mut self.logprobs, name, value));
        }
        for (name, value) in choice.get("delta").and_then(Value::as_object).into_iter().flatten() {
            match (name.as_str(), value) {
                ("tool_calls", Value::Array(calls)) => {
                    for call in calls {
                        self.tool_call(call);
                    }
                }
                ("role", Value::String(_)) => {
                    self.message.insert(name.clone(), value.clone());
                }
                _ => join(&mut self.message, name, value),
            }
        }
    }

    fn tool_call(&mut self, part: &Value) {
        let next = self.tool_calls.len() as u64;
        let index = part.get("index").and_then(Value::as_u64).unwrap_or(next);
        let call = self.tool_calls.entry(index).or_default();
        for (name, value) in part.as_object().into_iter().flatten() {
            match (name.as_str(), value, call.get_mut(name)) {
                ("index", ..) => {}
                (_, Value::Object(part), Some(Value::Object(whole))) => {
                    for (name, value) in part {
                        // A name comes whole, also where it comes more than once.
                        if name == "name" && whole.contains_key(name) {
                            continue;
                        }
                        join(whole, name, value);
                    }
                }
                (_, _, Some(_)) => {}
                (_, _, None) => {
                    call.insert(name.clone(), value.clone());
                }
            }
        }
    }

    fn finish(mut self, index: u64) -> Value {
        self.message.entry("role").or_insert_with(|| json!("assistant"));
        self.message.entry("content").or_insert(Value::Null);
        if !self.tool_calls.is_empty() {
            let calls = self.tool_calls.into_values().map(Value::Object).collect();
            self.message.insert("tool_calls".to_owned(), calls);
        }
        let logprobs =
            if self.logprobs.is_empty() { Value::Null } else { Value::Object(self.logprobs) };
        json!({
            "index": index,
            "message": self.message,
            "logprobs": logprobs,
            "finish_reason": self.finish_reason,
        })
    }
}

/// Adds a part to a member: texts and lists grow, anything else is replaced by what is not null.
fn join(whole: &mut Map<String, Value>, name: &str, part: &Value) {
    match (whole.get_mut(name), part) {
        (Some(Value::String(text)), Value::String(more)) => text.push_str(more),
        (Some(Value::Array(list)), Value::Array(more)) => list.extend_from_slice(more),
        (Some(_), Value::Null) => {}
        _ => {
            whole.insert(name.to_owned(), part.clone());
        }
    }
}

fn copy(names: &[&str], from: &Value, to: &mut Map<String, Value>) {
    for name in names {
        if let Some(value) = from.get(name).filter(|value| !value.is_null()) {
            to.insert((*name).to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion() -> Value {
        json!({
            "id": "chatcmpl-1", "created": 7, "model": "m", "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant", "content": null,
                        "tool_calls": [
                            { "id": "a", "type": "function",
                              "function": { "name": "f", "arguments": "{\"x\":1}" } },
                            { "id": "b", "type": "function",
                              "function": { "name": "g", "arguments": "{}" } },
                        ],
                    },
                    "logprobs": null,
                    "finish_reason": "tool_calls",
                },
                {
                    "index": 1,
                    "message": { "role": "assistant", "content": "Hi", "reasoning_content": "h" },
                    "logprobs": { "content": [{ "token": "Hi" }] },
                    "finish_reason": "stop",
                },
            ],
            "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 },
        })
    }

    fn events(chunks: &[Value]) -> String {
        let each: Vec<_> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        each.concat()
    }

    #[test]
    fn a_completion_survives_its_stream() {
        for size in [1, 7, 10_000] {
            let mut assembly = Assembly::default();
            for piece in events(&chunks(&completion())).as_bytes().chunks(size) {
                assembly.push(piece);
            }
            assert_eq!(assembly.finish().unwrap(), completion());
        }
    }

    #[test]
    fn parts_of_a_tool_call_are_put_together() {
        let part =
            |call: Value| json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [call] } }] });
        let mut assembly = Assembly::default();
        assembly.push(events(&[
            part(json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "" } })),
            part(json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{\"x\"" } })),
            part(json!({ "index": 0, "function": { "arguments": ":1}" } })),
        ]).as_bytes());
        let whole = assembly.finish().unwrap();
        let call = &whole["choices"][0]["message"]["tool_calls"][0];
        assert_eq!(
            *call,
            json!({ "id": "a", "function": { "name": "f", "arguments": "{\"x\":1}" } })
        );
    }

    #[test]
    fn a_stream_that_ends_with_an_error_is_no_completion() {
        let mut assembly = Assembly::default();
        assembly
            .push(b"data: {\"choices\":3}\n\ndata: nonsense\n\ndata: {\"error\":{\"code\":5}}\n\n");
        assert_eq!(assembly.finish().unwrap_err(), json!({ "code": 5 }));
    }
}
