//! Chat as its first clients speak it, with `functions` and `function_call` in the place of tools, for
//! providers of another dialect: the call with tools, and the answer with a function call.
//!
//! Such a client can hear of one call at a time. It is asked for where the target can be told so; where
//! a model makes several all the same, the client gets the first, as it would of `OpenAI`, and the model
//! is told of no other when the conversation goes on.

use serde_json::{Map, Value, json};

use super::chat::ChatSink;
use super::{About, ClientEvent, Failure, Frontend, Sink, Untranslatable};

/// Whether a call is of such a client.
pub fn are_in(chat: &Map<String, Value>) -> bool {
    let has = |name: &str| chat.get(name).is_some_and(|value| !value.is_null());
    let of_message = |message: &Value| {
        message["role"] == "function" || message.get("function_call").is_some_and(Value::is_object)
    };
    let messages = chat.get("messages").and_then(Value::as_array);
    let has_functions =
        chat.get("functions").and_then(Value::as_array).is_some_and(|f| !f.is_empty());
    has_functions || has("function_call") || messages.is_some_and(|all| all.iter().any(of_message))
}

/// See the module.
pub struct Functions;

impl Frontend for Functions {
    fn request(&self, call: &Map<String, Value>) -> Result<Map<String, Value>, Untranslatable> {
        for (old, new) in [("functions", "tools"), ("function_call", "tool_choice")] {
            let has = |name: &str| call.get(name).is_some_and(|value| !value.is_null());
            if has(old) && has(new) {
                let message = format!("'{old}' and '{new}' say the same: only one can be given.");
                return Err(Untranslatable::new(old, message));
            }
        }
        let mut chat = call.clone();
        if let Some(functions) = chat.shift_remove("functions").filter(|value| !value.is_null()) {
            let tool = |function: &Value| json!({ "type": "function", "function": function });
            let functions = functions.as_array().ok_or_else(|| wrong("functions", "a list"))?;
            chat.insert("tools".to_owned(), functions.iter().map(tool).collect());
        }
        if let Some(choice) = chat.shift_remove("function_call").filter(|value| !value.is_null()) {
            let choice = match &choice {
                Value::String(_) => choice,
                Value::Object(named) => {
                    json!({ "type": "function", "function": { "name": named.get("name") } })
                }
                _ => return Err(wrong("function_call", "a word, or an object with a name")),
            };
            chat.insert("tool_choice".to_owned(), choice);
        }
        if let Some(messages) = chat.get_mut("messages").and_then(Value::as_array_mut) {
            rename(messages)?;
        }
        Ok(chat)
    }

    fn answer(&self, completion: &Value, _about: &About) -> Value {
        let mut completion = completion.clone();
        for choice in completion["choices"].as_array_mut().into_iter().flatten() {
            if let Some(message) = choice.get_mut("message").and_then(Value::as_object_mut)
                && let Some(calls) = message.shift_remove("tool_calls")
                && let Some(function) = calls.get(0).and_then(|call| call.get("function"))
            {
                message.insert("function_call".to_owned(), function.clone());
            }
            rename_reason(choice);
        }
        completion
    }

    fn sink(&self, about: &About) -> Box<dyn Sink> {
        Box::new(FunctionSink { chat: ChatSink::new(about.wants_usage) })
    }

    fn failure(&self, failure: &Failure, _about: &About) -> Value {
        json!({ "error": {
            "message": failure.message,
            "type": failure.kind,
            "param": failure.param,
            "code": failure.code,
        }})
    }
}

fn wrong(param: &str, expected: &str) -> Untranslatable {
    Untranslatable::new(param, format!("'{param}' must be {expected}."))
}

/// Gives each call an id, which its result is found by: a result belongs to the last call of its name.
fn rename(messages: &mut [Value]) -> Result<(), Untranslatable> {
    let mut open: Option<(String, String)> = None;
    for (index, message) in messages.iter_mut().enumerate() {
        let is_result = message["role"] == "function";
        let Some(members) = message.as_object_mut() else { continue };
        if is_result {
            let name = members.shift_remove("name");
            let name = name.as_ref().and_then(Value::as_str).unwrap_or_default();
            let call = open.take().filter(|(called, _)| called == name);
            let Some((_, id)) = call else {
                let path = format!("messages[{index}].name");
                let message = format!("No call of the function '{name}' comes before its result.");
                return Err(Untranslatable::new(path, message));
            };
            members.insert("role".to_owned(), json!("tool"));
            members.insert("tool_call_id".to_owned(), json!(id));
        } else if let Some(function) =
            members.shift_remove("function_call").filter(|value| !value.is_null())
        {
            let Some(name) = function["name"].as_str() else {
                return Err(wrong(&format!("messages[{index}].function_call.name"), "a name"));
            };
            let id = format!("call_{index}");
            open = Some((name.to_owned(), id.clone()));
            let call = json!({ "id": id, "type": "function", "function": function });
            members.insert("tool_calls".to_owned(), json!([call]));
        }
    }
    Ok(())
}

fn rename_reason(choice: &mut Value) {
    if choice["finish_reason"] == "tool_calls" {
        choice["finish_reason"] = json!("function_call");
    }
}

/// Writes chunks as such clients read them.
struct FunctionSink {
    chat: ChatSink,
}

impl Sink for FunctionSink {
    fn chunk(&mut self, chunk: &Value, out: &mut Vec<ClientEvent>) {
        let mut chunk = chunk.clone();
        let mut has_more = false;
        for choice in chunk["choices"].as_array_mut().into_iter().flatten() {
            if let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut)
                && let Some(calls) = delta.shift_remove("tool_calls")
            {
                let calls = calls.as_array().map(Vec::as_slice).unwrap_or_default();
                let first = calls.iter().find(|call| call["index"].as_u64().unwrap_or(0) == 0);
                match first.and_then(|call| call.get("function")) {
                    Some(function) => {
                        delta.insert("function_call".to_owned(), function.clone());
                    }
                    None => has_more |= delta.is_empty(),
                }
            }
            rename_reason(choice);
        }
        // A chunk that held nothing but another call says nothing to this client.
        if !has_more {
            self.chat.chunk(&chunk, out);
        }
    }

    fn finish(&mut self, out: &mut Vec<ClientEvent>) {
        self.chat.finish(out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventData;
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    #[test]
    fn a_conversation_with_functions_is_one_with_tools() {
        let call = map(json!({
            "functions": [{ "name": "look", "parameters": { "type": "object" } }],
            "function_call": { "name": "look" },
            "messages": [
                { "role": "user", "content": "Look" },
                { "role": "assistant", "content": null,
                  "function_call": { "name": "look", "arguments": "{\"at\":1}" } },
                { "role": "function", "name": "look", "content": "me" },
                { "role": "assistant", "content": "You", "function_call": null },
            ],
        }));
        assert!(are_in(&call));
        let chat = Functions.request(&call).expect("a call");
        let expected = json!({
            "messages": [
                { "role": "user", "content": "Look" },
                { "role": "assistant", "content": null, "tool_calls": [{ "id": "call_1",
                  "type": "function", "function": { "name": "look", "arguments": "{\"at\":1}" } }] },
                { "role": "tool", "content": "me", "tool_call_id": "call_1" },
                { "role": "assistant", "content": "You" },
            ],
            "tools": [{ "type": "function",
                        "function": { "name": "look", "parameters": { "type": "object" } } }],
            "tool_choice": { "type": "function", "function": { "name": "look" } },
        });
        assert_eq!(Value::Object(chat), expected);
        for word in ["none", "auto"] {
            let call = map(json!({ "function_call": word, "functions": [], "messages": [] }));
            assert_eq!(Functions.request(&call).expect("a call")["tool_choice"], word);
        }
        let tools = map(json!({ "tools": [{}], "functions": [], "function_call": null,
                                "messages": [{ "role": "assistant", "function_call": null }] }));
        assert!(!are_in(&tools));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (call, param) in [
            (json!({ "functions": [{}], "tools": [{}] }), "functions"),
            (json!({ "function_call": "auto", "tool_choice": "auto" }), "function_call"),
            (json!({ "functions": {} }), "functions"),
            (json!({ "function_call": 1 }), "function_call"),
            (
                json!({ "messages": [{ "role": "function", "name": "look", "content": "" }] }),
                "messages[0].name",
            ),
            (
                json!({ "messages": [{ "role": "assistant", "function_call": {} }] }),
                "messages[0].function_call.name",
            ),
        ] {
            let error = Functions.request(&map(call.clone())).expect_err("an error");
            assert_eq!(error.param.as_deref(), Some(param), "{call}");
        }
    }

    #[test]
    fn an_answer_tells_of_its_first_call() {
        let call = |id: &str| json!({ "id": id, "type": "function", "function": { "name": id, "arguments": "{}" } });
        let completion = json!({ "choices": [{ "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": null, "tool_calls": [call("a"), call("b")] } }] });
        let answer = Functions.answer(&completion, &About::default());
        assert_eq!(
            answer,
            json!({ "choices": [{ "finish_reason": "function_call", "message": {
                "role": "assistant", "content": null,
                "function_call": { "name": "a", "arguments": "{}" } } }] })
        );
    }

    #[test]
    fn a_stream_tells_of_its_first_call() {
        let delta = |delta: Value, reason: Value| json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] });
        let call = |index: u64, function: Value| {
            delta(json!({ "tool_calls": [{ "index": index, "function": function }] }), Value::Null)
        };
        let mut sink = Functions.sink(&About::default());
        let mut events = Vec::new();
        for chunk in [
            call(0, json!({ "name": "a", "arguments": "" })),
            call(0, json!({ "arguments": "{}" })),
            call(1, json!({ "name": "b", "arguments": "" })),
            call(1, json!({ "arguments": "{}" })),
            delta(json!({}), json!("tool_calls")),
            json!({ "choices": [], "usage": {} }),
        ] {
            sink.chunk(&chunk, &mut events);
        }
        sink.finish(&mut events);
        let said: Vec<_> = events
            .iter()
            .map(|event| match &event.data {
                EventData::Json(chunk) => chunk["choices"][0].clone(),
                EventData::Done => Value::Null,
            })
            .collect();
        let function = |function: Value| json!({ "index": 0, "delta": { "function_call": function }, "finish_reason": null });
        assert_eq!(
            said,
            [
                function(json!({ "name": "a", "arguments": "" })),
                function(json!({ "arguments": "{}" })),
                json!({ "index": 0, "delta": {}, "finish_reason": "function_call" }),
                Value::Null,
            ]
        );
    }
}
