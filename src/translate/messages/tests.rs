//! What must hold for any call and any stream.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::anthropic::tests::any_json;
use super::super::{About, ClientEvent, EventData, Failure, Frontend};
use super::Messages;

fn about() -> About {
    About { id: "1".into(), model: "m".into(), wants_usage: true, ..About::default() }
}

fn stream(chunks: &[Value]) -> Vec<Value> {
    let mut sink = Messages.sink(&about());
    let mut events = Vec::new();
    for chunk in chunks {
        sink.chunk(chunk, &mut events);
    }
    sink.finish(&mut events);
    events.into_iter().map(json).collect()
}

fn json(event: ClientEvent) -> Value {
    let EventData::Json(data) = event.data else { panic!("Anthropic has no other events") };
    assert_eq!(event.name, data["type"].as_str());
    data
}

/// Reads a stream as strictly as can be; gives its blocks with their text or input.
fn blocks(events: &[Value]) -> Vec<(Value, String)> {
    let mut blocks: Vec<(Value, String)> = Vec::new();
    let mut is_open = false;
    let (last, rest) = events.split_last().expect("a stream is never empty");
    let is_error = last["type"] == "error";
    assert!(is_error || last["type"] == "message_stop", "{last}");
    for (at, event) in rest.iter().enumerate() {
        let here = |offset: usize| event["index"] == json!(blocks.len().wrapping_sub(offset));
        let kind = event["type"].as_str().unwrap();
        assert_eq!(kind == "message_start", at == 0);
        match kind {
            "message_start" => {}
            "content_block_start" => {
                assert!(!is_open && here(0), "{event}");
                is_open = true;
                blocks.push((event["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                assert!(is_open && here(1), "{event}");
                let (block, text) = blocks.last_mut().unwrap();
                let member = match (block["type"].as_str(), event["delta"]["type"].as_str()) {
                    (Some("text"), Some("text_delta")) => "text",
                    (Some("thinking"), Some("thinking_delta")) => "thinking",
                    (Some("thinking"), Some("signature_delta")) => "signature",
                    (Some("tool_use"), Some("input_json_delta")) => "partial_json",
                    other => panic!("{other:?}"),
                };
                let piece = event["delta"][member].as_str().unwrap();
                if member == "signature" {
                    block["signature"] = json!(piece);
                } else {
                    text.push_str(piece);
                }
            }
            "content_block_stop" => {
                assert!(is_open && here(1), "{event}");
                is_open = false;
            }
            "message_delta" => {
                assert!(!is_open && at + 1 == rest.len() && !is_error);
                assert!(event["delta"]["stop_reason"].is_string());
            }
            other => panic!("{other} in the middle"),
        }
    }
    assert!(is_error || (!is_open && rest.last().unwrap()["type"] == "message_delta"));
    blocks
}

fn chunk(delta: &Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

fn end() -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] })
}

/// Deltas of an answer: text, thinking, and pieces of calls in any order that keeps each call's own.
fn deltas() -> impl Strategy<Value = (Vec<(String, String)>, Vec<Value>)> {
    let call =
        ("[a-zA-Z0-9.:]{1,6}", prop::collection::btree_map("[a-z]{1,2}", "[{}\"\\\\a]{0,4}", 0..3));
    let order = prop::collection::vec((0..6_usize, 1..9_usize), 0..60);
    (prop::collection::vec(call, 0..4), order).prop_map(|(calls, order)| {
        let calls: Vec<(String, String)> = calls
            .into_iter()
            .enumerate()
            .map(|(at, (id, input))| (format!("{at}{id}"), json!(input).to_string()))
            .collect();
        let mut at: Vec<Option<usize>> = vec![None; calls.len()];
        let mut deltas = Vec::new();
        let piece = |index: usize, size: usize, at: &mut Vec<Option<usize>>| {
            let (id, input) = &calls[index];
            match at[index] {
                None => {
                    at[index] = Some(0);
                    let function = json!({ "name": "f", "arguments": "" });
                    json!({ "index": index, "id": id, "type": "function", "function": function })
                }
                Some(from) => {
                    let to = (from + size).min(input.len());
                    at[index] = Some(to);
                    json!({ "index": index, "function": { "arguments": &input[from..to] } })
                }
            }
        };
        for (which, size) in order {
            deltas.push(match which {
                4 => json!({ "content": "t" }),
                5 => json!({ "reasoning_content": "r" }),
                index if index < calls.len() => {
                    json!({ "tool_calls": [piece(index, size, &mut at)] })
                }
                _ => continue,
            });
        }
        for index in 0..calls.len() {
            while at[index] != Some(calls[index].1.len()) {
                let rest = piece(index, usize::MAX / 2, &mut at);
                deltas.push(json!({ "tool_calls": [rest] }));
            }
        }
        (calls, deltas)
    })
}

proptest! {
    #[test]
    fn blocks_never_mix_and_no_call_is_lost((calls, deltas) in deltas()) {
        let mut chunks: Vec<Value> = deltas.iter().map(chunk).collect();
        chunks.push(end());
        let blocks = blocks(&stream(&chunks));
        let mut told: Vec<(String, String)> = blocks
            .iter()
            .filter(|(block, _)| block["type"] == "tool_use")
            .map(|(block, input)| (block["id"].as_str().unwrap().to_owned(), input.clone()))
            .collect();
        told.sort();
        prop_assert_eq!(told, calls);
        let count = |kind: &str, text: &str| -> usize {
            let blocks = blocks.iter().filter(|(block, _)| block["type"] == kind);
            blocks.map(|(_, said)| said.matches(text).count()).sum()
        };
        let came = |member: &str| deltas.iter().filter(|delta| delta[member].is_string()).count();
        prop_assert_eq!(count("text", "t"), came("content"));
        prop_assert_eq!(count("thinking", "r"), came("reasoning_content"));
    }

    #[test]
    fn nothing_that_comes_panics(
        any in any_json(),
        chunks in prop::collection::vec(any_json(), 0..8),
        status in any::<u16>(),
    ) {
        let call = json!({ "messages": [any], "tools": any, "system": any, "output_config": any });
        let _ = Messages.request(call.as_object().unwrap());
        let call = json!({ "messages": [{ "role": "user", "content": [any] }], "thinking": any });
        let _ = Messages.request(call.as_object().unwrap());
        if let Some(call) = any.as_object() {
            let _ = Messages.request(call);
        }
        let _ = Messages.answer(&any, &about());
        let _ = Messages.answer(&json!({ "choices": [{ "message": any }], "usage": any }), &about());
        blocks(&stream(&chunks));
        let mut deltas: Vec<Value> = chunks.iter().map(chunk).collect();
        deltas.push(end());
        blocks(&stream(&deltas));
        let failure = Failure {
            status,
            message: String::new(),
            kind: any.to_string(),
            code: None,
            param: None,
        };
        let told = Messages.failure(&failure, &about());
        prop_assert_eq!(&told["type"], "error");
    }
}

fn refused(call: &Value) -> String {
    Messages.request(call.as_object().unwrap()).unwrap_err().param.unwrap()
}

#[test]
fn what_only_anthropic_can_do_is_refused_by_name() {
    for (member, value) in [
        ("container", json!("c_1")),
        ("mcp_servers", json!([{ "type": "url" }])),
        ("inference_geo", json!("us")),
        ("speed", json!("fast")),
        ("fallbacks", json!([{ "model": "m" }])),
        ("n", json!(2)),
    ] {
        let mut call = json!({ "max_tokens": 9, "messages": [] });
        call[member] = value;
        assert_eq!(refused(&call), member);
    }
    let block = json!({ "type": "server_tool_use", "id": "a", "name": "web_search", "input": {} });
    let call = json!({ "messages": [{ "role": "assistant", "content": [block] }] });
    assert_eq!(refused(&call), "messages[0].content[0].type");
    assert_eq!(refused(&json!({ "messages": [{ "content": "a" }] })), "messages[0].role");
}

#[test]
fn calls_stream_as_they_come_while_they_do_not_mix() {
    let piece = |text: &str| {
        chunk(&json!({ "tool_calls": [{ "index": 0, "function": { "arguments": text } }] }))
    };
    let mut sink = Messages.sink(&about());
    let mut events = Vec::new();
    sink.chunk(
        &chunk(&json!({ "tool_calls": [{ "index": 0, "id": "a", "function": { "name": "f" } }] })),
        &mut events,
    );
    for text in ["{\"a\"", ":", "1"] {
        events.clear();
        sink.chunk(&piece(text), &mut events);
        let event = json(events.pop().unwrap());
        assert_eq!(event["delta"]["partial_json"], text);
    }
}

#[test]
fn a_call_that_is_told_once_more_stays_one_call() {
    let whole = json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{}" } });
    let again = json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "" } });
    let next = json!({ "index": 1, "id": "b", "function": { "name": "g", "arguments": "{}" } });
    let chunks: Vec<Value> =
        [whole, next, again].map(|call| chunk(&json!({ "tool_calls": [call] }))).to_vec();
    let events = stream(&[chunks, vec![end()]].concat());
    assert_eq!(blocks(&events).len(), 2);
}

#[test]
fn an_error_is_told_once_and_last() {
    let error = json!({ "error": { "message": "No.", "type": "rate_limit_error", "code": null } });
    let events = stream(&[chunk(&json!({ "content": "a" })), error.clone(), error, end()]);
    assert_eq!(events.last().unwrap()["error"]["type"], "rate_limit_error");
    assert_eq!(blocks(&events).len(), 1);
}
