//! What becomes of calls of the responses endpoint and of the answers to them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::{About, ClientEvent, EventData, Failure, Frontend};
use super::Responses;

fn members(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn about() -> About {
    About { id: "7".into(), created: 5, model: "m".into(), ..About::default() }
}

/// A call with these members beside a greeting.
fn chat(rest: &Value) -> Result<Value, String> {
    let mut call = json!({ "model": "m", "input": "Hi" });
    call.as_object_mut().unwrap().extend(members(rest));
    let chat = Responses.request(&members(&call));
    chat.map(Value::from).map_err(|refusal| refusal.param.unwrap())
}

fn messages(input: &Value) -> Result<Value, String> {
    chat(&json!({ "input": input })).map(|mut chat| chat["messages"].take())
}

#[test]
fn every_member_finds_its_place() {
    let rest = json!({
        "instructions": "Be brief.", "stream": true, "store": true, "background": false,
        "previous_response_id": null, "temperature": 0.5, "top_p": 0.9, "user": "u",
        "metadata": { "a": "b" }, "max_output_tokens": 9, "service_tier": "flex",
        "text": { "verbosity": "low", "format": { "type": "json_schema", "name": "s",
                  "strict": true, "schema": {} } },
        "reasoning": { "effort": "low", "summary": "auto" }, "truncation": "disabled",
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "top_logprobs": 3, "parallel_tool_calls": false, "enable_thinking": true,
        "stream_options": { "include_obfuscation": false },
        "tools": [
            { "type": "function", "name": "f", "description": "d", "parameters": {},
              "strict": true },
            { "type": "custom", "name": "c", "format": { "type": "grammar", "syntax": "lark",
              "definition": "x" } },
        ],
        "tool_choice": { "type": "function", "name": "f" },
    });
    assert_eq!(
        chat(&rest).unwrap(),
        json!({
            "model": "m", "stream": true, "temperature": 0.5, "top_p": 0.9, "user": "u",
            "metadata": { "a": "b" }, "service_tier": "flex", "enable_thinking": true,
            "messages": [{ "role": "system", "content": "Be brief." },
                         { "role": "user", "content": "Hi" }],
            "stream_options": { "include_usage": true }, "max_completion_tokens": 9,
            "tools": [
                { "type": "function", "function": { "name": "f", "description": "d",
                  "parameters": {}, "strict": true } },
                { "type": "custom", "custom": { "name": "c", "format": { "type": "grammar",
                  "grammar": { "syntax": "lark", "definition": "x" } } } },
            ],
            "tool_choice": { "type": "function", "function": { "name": "f" } },
            "parallel_tool_calls": false, "verbosity": "low",
            "response_format": { "type": "json_schema",
                "json_schema": { "name": "s", "strict": true, "schema": {} } },
            "reasoning_effort": "low", "top_logprobs": 3, "logprobs": true,
        })
    );
}

#[test]
fn items_become_messages() {
    let sealed = "thinking_blocks:[{\"type\":\"thinking\",\"signature\":\"s\"}]";
    let input = json!([
        { "role": "developer", "content": "Be brief." },
        { "type": "message", "role": "user", "content": [
            { "type": "input_text", "text": "Look:" },
            { "type": "input_image", "image_url": "https://x.example/a", "detail": "original" },
            { "type": "input_file", "filename": "a.pdf", "file_data": "data:x" },
            { "type": "input_audio", "input_audio": { "data": "aGk=", "format": "wav" } },
        ] },
        { "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "no" }],
          "content": [{ "type": "reasoning_text", "text": "Hm." }], "encrypted_content": sealed },
        { "type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
          "content": [{ "type": "output_text", "text": "Two calls.", "annotations": [] }] },
        { "type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{}",
          "extra_content": { "google": { "thought_signature": "t" } } },
        { "type": "custom_tool_call", "call_id": "b", "name": "c", "input": "x" },
        { "type": "function_call_output", "call_id": "a", "output": "1" },
        { "type": "custom_tool_call_output", "call_id": "b",
          "output": [{ "type": "input_text", "text": "2" }] },
        { "type": "reasoning", "summary": [], "encrypted_content": "somebody else's" },
        { "role": "user", "content": "Go on" },
    ]);
    assert_eq!(
        messages(&input).unwrap(),
        json!([
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [
                { "type": "text", "text": "Look:" },
                { "type": "image_url", "image_url": { "url": "https://x.example/a",
                                                      "detail": "high" } },
                { "type": "file", "file": { "file_data": "data:x", "filename": "a.pdf" } },
                { "type": "input_audio", "input_audio": { "data": "aGk=", "format": "wav" } },
            ] },
            { "role": "assistant", "content": "Two calls.", "reasoning_content": "Hm.",
              "thinking_blocks": [{ "type": "thinking", "signature": "s" }],
              "tool_calls": [
                { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" },
                  "extra_content": { "google": { "thought_signature": "t" } } },
                { "id": "b", "type": "custom", "custom": { "name": "c", "input": "x" } },
              ] },
            { "role": "tool", "tool_call_id": "a", "content": "1" },
            { "role": "tool", "tool_call_id": "b", "content": "2" },
            { "role": "user", "content": "Go on" },
        ])
    );
}

#[test]
fn what_chat_cannot_do_is_refused_by_name() {
    for (rest, param) in [
        (json!({ "input": null }), "input"),
        (json!({ "previous_response_id": "resp_1" }), "previous_response_id"),
        (json!({ "conversation": "conv_1" }), "conversation"),
        (json!({ "background": true }), "background"),
        (json!({ "prompt": { "id": "pmpt_1" } }), "prompt"),
        (json!({ "truncation": "auto" }), "truncation"),
        (json!({ "max_tokens": 1 }), "max_tokens"),
        (json!({ "n": 2 }), "n"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "include": ["everything"] }), "include[0]"),
        (json!({ "text": { "format": { "type": "xml" } } }), "text.format.type"),
        (json!({ "reasoning": { "mode": "pro" } }), "reasoning.mode"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
        (
            json!({ "tools": [{ "type": "function", "name": "f", "defer_loading": true }] }),
            "tools[0].defer_loading",
        ),
        (json!({ "tool_choice": { "type": "web_search" } }), "tool_choice.type"),
        (json!({ "input": [{ "type": "item_reference", "id": "msg_1" }] }), "input[0].type"),
        (json!({ "input": [{ "type": "computer_call" }] }), "input[0].type"),
        (json!({ "input": [{ "role": "tool", "content": "x" }] }), "input[0].role"),
        (
            json!({ "input": [{ "type": "function_call", "name": "f", "arguments": "" }] }),
            "input[0].call_id",
        ),
        (
            json!({ "input": [{ "role": "user", "content": [{ "type": "input_image",
                    "file_id": "file-1" }] }] }),
            "input[0].content[0].file_id",
        ),
        (
            json!({ "input": [{ "type": "function_call_output", "call_id": "a", "output":
                    [{ "type": "input_image", "image_url": "data:x" }] }] }),
            "input[0].output[0].type",
        ),
    ] {
        assert_eq!(chat(&rest), Err(param.to_owned()), "{rest}");
    }
}

/// The events of a stream of these chunks.
fn events(chunks: &[Value]) -> Vec<Value> {
    let mut sink = Responses.sink(&about());
    let mut out = Vec::new();
    for chunk in chunks {
        sink.chunk(chunk, &mut out);
    }
    sink.finish(&mut out);
    let events = out.into_iter().map(|ClientEvent { name, data }| match data {
        EventData::Json(event) => {
            assert_eq!(event["type"].as_str(), name);
            event
        }
        EventData::Done => panic!("responses have no such end"),
    });
    events.collect()
}

fn delta(delta: &Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

fn end(reason: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

fn names(events: &[Value]) -> Vec<&str> {
    let names = events.iter().filter_map(|event| event["type"].as_str());
    names.map(|name| name.trim_start_matches("response.")).collect()
}

#[test]
fn a_stream_announces_grows_and_ends_its_items() {
    let call = |index: u64, id: Option<&str>, name: Option<&str>, arguments: &str| json!({ "index": index, "id": id, "function": { "name": name, "arguments": arguments } });
    let events = events(&[
        delta(&json!({ "role": "assistant", "content": "" })),
        delta(&json!({ "reasoning_content": "Hm." })),
        delta(&json!({ "content": "He" })),
        delta(&json!({ "content": "y" })),
        delta(&json!({ "tool_calls": [call(0, Some("a"), Some("f"), "")] })),
        delta(&json!({ "tool_calls": [call(1, Some("b"), Some("g"), "{")] })),
        delta(&json!({ "tool_calls": [call(0, None, None, "{}")] })),
        delta(&json!({ "tool_calls": [call(1, None, None, "}")] })),
        end("tool_calls"),
        json!({ "choices": [], "usage": { "prompt_tokens": 3, "completion_tokens": 2,
                "total_tokens": 5, "prompt_tokens_details": { "cached_tokens": 1 } } }),
    ]);
    assert_eq!(
        names(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], at);
    }
    let response = &events.last().unwrap()["response"];
    assert_eq!(response["status"], "completed");
    assert_eq!(
        response["usage"],
        json!({ "input_tokens": 3,
                "input_tokens_details": { "cached_tokens": 1, "cache_write_tokens": 0 },
                "output_tokens": 2, "output_tokens_details": { "reasoning_tokens": 0 },
                "total_tokens": 5 })
    );
    let done: Vec<_> = events.iter().filter(|e| e["type"] == "response.output_item.done").collect();
    for (item, done) in response["output"].as_array().unwrap().iter().zip(done) {
        assert_eq!(item, &done["item"]);
    }
    assert_eq!(
        response["output"][3],
        json!({ "id": "fc_7_3", "type": "function_call", "status": "completed", "call_id": "b",
                "name": "g", "arguments": "{}" })
    );
}

#[test]
fn an_end_before_its_time_is_told() {
    for (reason, why) in [("length", "max_output_tokens"), ("content_filter", "content_filter")] {
        let events = events(&[delta(&json!({ "content": "He" })), end(reason)]);
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["incomplete_details"]["reason"], why);
        assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    }
    let cut = events(&[delta(&json!({ "content": "He" }))]);
    assert_eq!(names(&cut)[5..], ["error", "failed"]);
    let error = json!({ "error": { "message": "Slow down.", "type": "rate_limit_error" } });
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 3, "completion_tokens": 2 } });
    let failed = events(&[error, delta(&json!({ "content": "no" })), usage]);
    assert_eq!(names(&failed), ["created", "in_progress", "error", "failed"]);
    let response = &failed[3]["response"];
    assert_eq!(
        response["error"],
        json!({ "code": "rate_limit_exceeded", "message": "Slow down." })
    );
    assert_eq!(response["usage"]["total_tokens"], 5);
}

#[test]
fn calls_are_told_apart_however_they_are_counted() {
    let call = |index: Option<u64>, id: &str, arguments: &str| {
        delta(&json!({ "tool_calls": [{ "index": index, "id": id, "type": "function",
            "function": { "name": "f", "arguments": arguments } }] }))
    };
    for index in [None, Some(0)] {
        let events = events(&[
            call(index, "a", "1"),
            call(index, "", "2"),
            call(index, "b", "3"),
            call(index, "b", "4"),
            end("tool_calls"),
        ]);
        let output = &events.last().unwrap()["response"]["output"];
        let calls: Vec<_> = output
            .as_array()
            .unwrap()
            .iter()
            .map(|call| (call["call_id"].as_str().unwrap(), call["arguments"].as_str().unwrap()))
            .collect();
        assert_eq!(calls, [("a", "12"), ("b", "34")]);
        assert_eq!(output[0]["name"], "f");
    }
}

#[test]
fn a_completion_becomes_a_response_with_what_its_call_said() {
    let call = members(&json!({ "model": "m", "input": "x", "temperature": 0.2,
        "tools": [{ "type": "function", "name": "f" }], "store": true,
        "text": { "verbosity": "low" } }));
    let about = About { settings: Responses.settings(&call), ..about() };
    let completion = json!({
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant",
            "content": "Hey", "refusal": null, "reasoning_content": "Hm.",
            "thinking_blocks": [{ "type": "thinking", "signature": "s", "index": 0 }],
            "annotations": [{ "type": "url_citation", "url_citation": { "url": "u" } }],
            "tool_calls": [{ "id": "a", "type": "custom",
                             "custom": { "name": "c", "input": "x" } }] } }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
        "service_tier": "default",
    });
    let response = Responses.answer(&completion, &about);
    assert_eq!(
        response["output"],
        json!([
            { "id": "rs_7_0", "type": "reasoning", "status": "completed", "summary": [],
              "content": [{ "type": "reasoning_text", "text": "Hm." }],
              "encrypted_content": "thinking_blocks:[{\"type\":\"thinking\",\"signature\":\"s\"}]" },
            { "id": "msg_7_1", "type": "message", "status": "completed", "role": "assistant",
              "content": [{ "type": "output_text", "text": "Hey", "logprobs": [],
                            "annotations": [{ "url": "u", "type": "url_citation" }] }] },
            { "id": "ctc_7_2", "type": "custom_tool_call", "status": "completed", "call_id": "a",
              "name": "c", "input": "x" },
        ])
    );
    assert_eq!(response["id"], "resp_7");
    for (name, value) in [
        ("status", json!("completed")),
        ("temperature", json!(0.2)),
        ("top_p", json!(1.0)),
        ("store", json!(false)),
        ("service_tier", json!("default")),
        ("text", json!({ "format": { "type": "text" }, "verbosity": "low" })),
        ("tools", json!([{ "type": "function", "name": "f", "parameters": null, "strict": null }])),
    ] {
        assert_eq!(response[name], value, "{name}");
    }
}

#[test]
fn what_a_response_says_can_be_sent_back() {
    let calls = json!([{ "id": "a", "type": "function", "function": { "name": "f",
        "arguments": "{}" }, "extra_content": { "google": { "thought_signature": "t" } } }]);
    let message = json!({ "role": "assistant", "content": "Hey", "reasoning_content": "Hm.",
        "thinking_blocks": [{ "type": "thinking", "signature": "s" }], "tool_calls": calls,
        "extra_content": { "google": { "thought_signature": "u" } } });
    let completion = json!({ "choices": [{ "message": message, "finish_reason": "tool_calls" }] });
    let output = Responses.answer(&completion, &about())["output"].take();
    assert_eq!(messages(&output).unwrap(), json!([message]));
}

#[test]
fn errors_have_the_shape_of_the_endpoint() {
    let failure = Failure {
        status: 429,
        message: "Slow down.".into(),
        kind: "rate_limit_error".into(),
        code: None,
        param: None,
    };
    assert_eq!(
        Responses.failure(&failure, &about()),
        json!({ "error": { "message": "Slow down.", "type": "rate_limit_error", "param": null,
                           "code": null } })
    );
}

/// Any JSON, with names that mean something in it.
fn anything() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "role",
        "content",
        "type",
        "text",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "choices",
        "delta",
        "message",
        "usage",
        "finish_reason",
        "index",
        "reasoning",
        "refusal",
        "input_image",
        "image_url",
        "user",
        "assistant",
        "function_call",
        "call_id",
        "output",
        "reasoning_content",
        "thinking_blocks",
        "error",
        "annotations",
        "logprobs",
        "custom",
        "é",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..5).prop_map(|pairs| {
                let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
                Value::Object(pairs.collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(value in anything(), other in anything()) {
        let list = json!([value, other]);
        for name in ["input", "tools", "tool_choice", "text", "reasoning", "include"] {
            let _ = chat(&json!({ name: list }));
            let _ = chat(&json!({ name: value }));
            Responses.settings(&members(&json!({ name: list })));
            Responses.settings(&members(&json!({ name: value })));
        }
        for completion in [value.clone(), json!({ "choices": list }),
                           json!({ "choices": [{ "message": value }] })] {
            Responses.answer(&completion, &about());
        }
        events(&[value.clone(), delta(&other), json!({ "choices": list }),
                 delta(&json!({ "tool_calls": list, "content": "x" })), other]);
    }

    #[test]
    fn no_id_of_a_call_is_lost_or_changed(
        ids in prop::collection::hash_set("[ -~é]{1,12}", 1..6),
        counted in any::<bool>(),
    ) {
        let calls: Vec<_> = ids.iter().enumerate().map(|(at, id)| {
            let mut call = json!({ "id": id, "type": "function",
                                   "function": { "name": "f", "arguments": "{}" } });
            if counted {
                call["index"] = at.into();
            }
            call
        }).collect();
        let chunks: Vec<_> = calls.iter().map(|call| delta(&json!({ "tool_calls": [call] }))).collect();
        let streamed = events(&[&chunks[..], &[end("tool_calls")]].concat());
        let whole = Responses.answer(&json!({ "choices": [{ "message": { "tool_calls": calls } }] }), &about());
        for output in [&whole["output"], &streamed.last().unwrap()["response"]["output"]] {
            let back = messages(output).unwrap();
            for (at, id) in ids.iter().enumerate() {
                prop_assert_eq!(&output[at]["call_id"], id);
                prop_assert_eq!(&back[0]["tool_calls"][at]["id"], id);
            }
        }
    }
}
