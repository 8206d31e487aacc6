//! What must hold for any call and any answer.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::anthropic::tests::any_json;
use super::super::{About, Backend, Brief, tool_id};
use super::{Bedrock, path};
use crate::provider::endpoint::Endpoint;

const CLAUDE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const NOVA: &str = "amazon.nova-2-lite-v1:0";

fn about() -> About {
    About { id: "1".into(), model: "m".into(), wants_usage: true, ..About::default() }
}

fn brief(model: &str) -> Brief<'_> {
    Brief { model, stream: false, output_cap: None, max_output_tokens: None }
}

fn carried(chat: &Value, model: &str) -> Result<Map<String, Value>, (String, String)> {
    let carried = Bedrock.request(chat.as_object().unwrap(), &brief(model));
    carried.map_err(|refused| (refused.param.unwrap(), refused.message))
}

fn call(chat: &Value) -> Value {
    Value::Object(carried(chat, CLAUDE).unwrap())
}

fn refused(chat: &Value, model: &str) -> String {
    carried(chat, model).unwrap_err().0
}

fn with(members: &Value) -> Value {
    let mut chat = json!({ "messages": [{ "role": "user", "content": "a" }] });
    chat.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    chat
}

fn tool(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name } })
}

/// Words of Converse's around what is JSON of chat's and Anthropic's words.
fn any_event() -> impl Strategy<Value = Value> {
    const SHAPES: [&str; 12] = [
        r#"{"contentBlockIndex":0,"delta":{"text":"@"}}"#,
        r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"@"}}}"#,
        r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"@","name":"f"}}}"#,
        r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"@"}}}"#,
        r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"@"}}}"#,
        r#"{"contentBlockIndex":2,"delta":{"reasoningContent":{"redactedContent":"@"}}}"#,
        r#"{"contentBlockIndex":0,"delta":{"citation":{"location":{"web":{"url":"@"}}}}}"#,
        r#"{"contentBlockIndex":1}"#,
        r#"{"stopReason":"@"}"#,
        r#"{"usage":{"inputTokens":1,"outputTokens":2},"trace":"@"}"#,
        r#"{"message":"@"}"#,
        r#""@""#,
    ];
    (prop::sample::select(&SHAPES[..]), any_json()).prop_map(|(shape, any)| {
        let text = shape.replace("\"@\"", &any.to_string());
        serde_json::from_str(&text).unwrap()
    })
}

proptest! {
    #[test]
    fn nothing_that_comes_panics(
        any in any_json(),
        events in prop::collection::vec((
            prop::sample::select(&[
                "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop",
                "messageStop", "metadata", "error", "throttlingException", "new",
            ][..]),
            any_event(),
        ), 0..12),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        status in any::<u16>(),
        model in prop::sample::select(&[CLAUDE, NOVA, "openai.gpt-oss-20b-1:0", "arn:x", ""][..]),
    ) {
        let try_call = |chat: &Value| {
            if let Some(chat) = chat.as_object() {
                let _ = Bedrock.request(chat, &brief(model));
            }
        };
        try_call(&json!({ "messages": [any], "tools": any, "response_format": any, "reasoning": any }));
        try_call(&json!({ "messages": any, "tool_choice": any, "metadata": any, "cache_control": any }));
        for part in ["text", "image_url", "video_url", "input_audio", "file"] {
            let content = json!([{ "type": part, part: any }]);
            try_call(&json!({ "messages": [{ "role": "user", "content": content }] }));
        }
        try_call(&any);
        let _ = Bedrock.answer(&any, &about());
        let message = json!({ "content": [any, { "toolUse": any }, { "reasoningContent": any }] });
        let _ = Bedrock.answer(&json!({ "output": { "message": message }, "usage": any }), &about());
        let _ = Bedrock.failure(status, &bytes);
        let _ = Bedrock.failure(status, any.to_string().as_bytes());
        let mut source = Bedrock.source(&about());
        let mut out = Vec::new();
        for (name, event) in &events {
            source.event(Some(name), event, &mut out);
        }
        source.event(None, &any, &mut out);
        source.finish(&mut out);
        prop_assert!(out.iter().all(Value::is_object));
        let ends = out.iter().filter(|chunk| {
            chunk.get("error").is_some() || chunk["choices"][0]["finish_reason"].is_string()
        });
        prop_assert!((1..=2).contains(&ends.count()), "it ends once, or fails after its end");
    }

    #[test]
    fn no_id_of_a_tool_call_is_lost_and_turns_alternate(
        rounds in prop::collection::vec(
            (prop::option::of("[a-z]{1,5}"), prop::collection::vec("[a-zA-Z0-9_.:é-]{1,80}", 0..4)),
            1..4,
        ),
        has_tools: bool,
    ) {
        let mut chat = vec![json!({ "role": "user", "content": "go" })];
        let mut ids = Vec::new();
        for (number, (text, calls)) in rounds.iter().enumerate() {
            let own = |at: usize, id: &str| format!("{number}-{at}{id}");
            let calls: Vec<String> =
                calls.iter().enumerate().map(|(at, id)| own(at, id)).collect();
            let made = calls.iter().map(|id| {
                json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "" } })
            });
            chat.push(json!({
                "role": "assistant", "content": text, "tool_calls": made.collect::<Value>(),
            }));
            chat.push(json!({ "role": "user", "content": "then" }));
            // Out of their order, and behind a message of the user.
            for id in calls.iter().rev() {
                chat.push(json!({ "role": "tool", "tool_call_id": id, "content": "r" }));
            }
            ids.extend(calls);
        }
        let tools = if has_tools { json!([tool("f")]) } else { json!([]) };
        let call = call(&json!({ "messages": chat, "tools": tools }));
        let (mut called, mut answered) = (Vec::new(), Vec::new());
        let mut user_is_next = true;
        for turn in call["messages"].as_array().unwrap() {
            prop_assert_eq!(turn["role"] == "user", user_is_next);
            user_is_next = !user_is_next;
            let blocks = turn["content"].as_array().unwrap();
            prop_assert!(!blocks.is_empty());
            let results = blocks.iter().take_while(|block| block.get("toolResult").is_some());
            let all = blocks.iter().filter(|block| block.get("toolResult").is_some());
            prop_assert_eq!(results.count(), all.count());
            for block in blocks {
                called.extend(block["toolUse"]["toolUseId"].as_str().map(str::to_owned));
                answered.extend(block["toolResult"]["toolUseId"].as_str().map(str::to_owned));
            }
        }
        prop_assert!(called.iter().all(|id| id.len() <= 64));
        if has_tools {
            prop_assert_eq!(called.len(), ids.len());
            let short = called.iter().zip(&ids).filter(|(_, id)| id.len() < 20);
            for (written, id) in short {
                prop_assert_eq!(written, &*tool_id::plain(id));
            }
            called.sort();
            answered.sort();
            prop_assert_eq!(&called, &answered);
            called.dedup();
            prop_assert_eq!(called.len(), ids.len());
        } else {
            prop_assert!(called.is_empty() && answered.is_empty());
            prop_assert!(call.get("toolConfig").is_none());
            let text = call["messages"].to_string();
            for id in ids.iter().filter(|id| id.len() < 20) {
                prop_assert_eq!(text.matches(&*tool_id::plain(id)).count() >= 2, true, "{}", id);
            }
        }
    }
}

#[test]
fn what_bedrock_cannot_do_is_refused_by_name() {
    for (member, value) in [
        ("n", json!(2)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(3)),
        ("logit_bias", json!({ "50256": -100 })),
        ("presence_penalty", json!(0.5)),
        ("frequency_penalty", json!(-1)),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({ "voice": "alloy", "format": "wav" })),
        ("web_search_options", json!({})),
        ("functions", json!([{ "name": "f" }])),
        ("service_tier", json!("scale")),
        ("verbosity", json!("low")),
        ("metadata", json!({ "a": "ü" })),
        ("tool_choice", json!("required")),
        ("additionalModelRequestFields", json!(7)),
    ] {
        let chat = with(&json!({ member: value }));
        assert_eq!(refused(&chat, CLAUDE), member);
    }
    assert_eq!(refused(&json!({}), CLAUDE), "messages");
    assert_eq!(refused(&json!({ "messages": [{}] }), CLAUDE), "messages[0].role");
    let parallel = with(&json!({ "parallel_tool_calls": false, "tools": [tool("f")] }));
    assert_eq!(refused(&parallel, NOVA), "parallel_tool_calls");
    let effort = with(&json!({ "reasoning_effort": "low" }));
    assert_eq!(refused(&effort, "meta.llama4-scout"), "reasoning_effort");
}

#[test]
fn what_asks_for_nothing_is_left_out() {
    let chat = with(&json!({
        "n": 1, "logprobs": false, "seed": 4, "user": "u", "store": true, "stop": null,
        "presence_penalty": 0.0, "service_tier": "auto", "tool_choice": "auto", "metadata": {},
    }));
    let call = call(&chat);
    assert_eq!(call.as_object().unwrap().keys().collect::<Vec<_>>(), ["messages"]);
}

#[test]
fn the_cap_is_the_briefs_alone() {
    let chat = with(&json!({ "max_tokens": 7, "max_completion_tokens": 9 }));
    assert!(call(&chat).get("inferenceConfig").is_none());
    let brief = Brief { output_cap: Some(5), ..brief(CLAUDE) };
    let call = Bedrock.request(chat.as_object().unwrap(), &brief).unwrap();
    assert_eq!(call["inferenceConfig"], json!({ "maxTokens": 5 }));
    for fields in [
        json!({ "max_gen_len": 9000 }),
        json!({ "inferenceConfig": { "maxTokens": 9000 } }),
        json!({ "additionalModelRequestFields": { "max_tokens": 9000 } }),
        json!({ "additionalModelRequestFields": { "inferenceConfig": { "maxTokens": 1 } } }),
    ] {
        let param = refused(&with(&fields), CLAUDE);
        assert!(param.starts_with("additionalModelRequestFields.max"), "{fields}: {param}");
    }
}

#[test]
fn how_much_is_thought_is_said_as_each_maker_takes_it() {
    let chat = with(&json!({ "reasoning_effort": "high" }));
    for (model, fields) in [
        (
            "anthropic.claude-opus-4-7-v1:0",
            json!({
                "output_config": { "effort": "high" }, "thinking": { "type": "adaptive" },
            }),
        ),
        (CLAUDE, json!({ "thinking": { "type": "enabled", "budget_tokens": 3200 } })),
        ("openai.gpt-oss-20b-1:0", json!({ "reasoning_effort": "high" })),
        ("us.openai.gpt-5.6", json!({ "reasoning": { "effort": "high" } })),
        (NOVA, json!({ "reasoningConfig": { "type": "enabled", "maxReasoningEffort": "high" } })),
    ] {
        assert_eq!(
            carried(&chat, model).unwrap()["additionalModelRequestFields"],
            fields,
            "{model}"
        );
    }
    let capped = Brief { output_cap: Some(100), ..brief(NOVA) };
    let refused = Bedrock.request(chat.as_object().unwrap(), &capped).unwrap_err();
    assert_eq!(refused.param.as_deref(), Some("reasoning_effort"));
    let none = with(&json!({ "reasoning": { "enabled": false } }));
    let fields = &carried(&none, NOVA).unwrap()["additionalModelRequestFields"];
    assert_eq!(fields["reasoningConfig"]["type"], "disabled");
}

#[test]
fn top_k_stands_where_the_model_takes_it() {
    let chat = with(&json!({ "top_k": 5 }));
    let fields = |model| carried(&chat, model).unwrap()["additionalModelRequestFields"].clone();
    assert_eq!(fields(CLAUDE), json!({ "top_k": 5 }));
    assert_eq!(fields(NOVA), json!({ "inferenceConfig": { "topK": 5 } }));
}

#[test]
fn each_reason_to_stop_has_a_word_in_chat() {
    for (reason, word) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_model_output", "stop"),
        ("malformed_tool_use", "stop"),
        ("something_new", "stop"),
    ] {
        let completion = Bedrock.answer(&json!({ "stopReason": reason }), &about());
        assert_eq!(completion["choices"][0]["finish_reason"], word);
        assert!(completion.get("usage").is_none(), "absent is not zero");
        let mut out = Vec::new();
        let mut source = Bedrock.source(&about());
        source.event(Some("messageStop"), &json!({ "stopReason": reason }), &mut out);
        source.finish(&mut out);
        assert_eq!(out.last().unwrap()["choices"][0]["finish_reason"], word);
    }
}

#[test]
fn errors_are_told_by_their_status() {
    for (status, body, kind, code) in [
        (
            400,
            r#"{"message":"Input is too long for requested model."}"#,
            "invalid_request_error",
            Some("context_length_exceeded"),
        ),
        (403, r#"{"Message":"The security token is expired."}"#, "permission_error", None),
        (
            404,
            r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#,
            "invalid_request_error",
            Some("UnknownOperationException"),
        ),
        (408, r#"{"message":"Model timed out."}"#, "server_error", None),
        (424, r#"{"message":"Model failed.","originalStatusCode":500}"#, "server_error", None),
        (429, r#"{"message":"Too many requests."}"#, "rate_limit_error", None),
        (503, "<html>", "server_error", None),
    ] {
        let failure = Bedrock.failure(status, body.as_bytes());
        assert_eq!((failure.kind.as_str(), failure.code.as_deref()), (kind, code), "{body}");
        assert!(!failure.message.is_empty());
    }
}

#[test]
fn a_models_name_is_one_segment_of_its_path() {
    for (model, written) in [
        (
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0",
        ),
        (
            "arn:aws:bedrock:a:1:inference-profile/x",
            "arn%3Aaws%3Abedrock%3Aa%3A1%3Ainference-profile%2Fx",
        ),
        ("../a?b#é", "..%2Fa%3Fb%23%C3%A9"),
    ] {
        assert_eq!(path(model, Endpoint::Converse), format!("/model/{written}/converse"));
    }
    assert!(path("m", Endpoint::ConverseStream).ends_with("/m/converse-stream"));
}
