//! What must hold for any call and any answer.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::{About, Backend, Brief, Frontend, messages::Messages, tool_id};
use super::Anthropic;

fn about() -> About {
    About { id: "1".into(), model: "m".into(), wants_usage: true, ..About::default() }
}

fn brief() -> Brief<'static> {
    Brief {
        model: "claude-haiku-4-5",
        stream: false,
        output_cap: Some(100),
        max_output_tokens: None,
    }
}

fn call(chat: &Value) -> Map<String, Value> {
    Anthropic.request(chat.as_object().unwrap(), &brief()).unwrap()
}

/// JSON made of the words that both dialects use, so that it gets past the first look at it.
pub(in crate::translate) fn any_json() -> impl Strategy<Value = Value> {
    const WORDS: &str = "type|role|content|text|image_url|url|file|file_data|source|data|index|delta|\
        user|assistant|system|tool|tools|tool_calls|tool_use|tool_result|tool_use_id|tool_call_id|id|\
        name|function|arguments|input|messages|choices|message|usage|error|thinking|signature|\
        thinking_blocks|content_block|content_block_start|content_block_delta|content_block_stop|\
        message_start|message_delta|message_stop|text_delta|input_json_delta|partial_json|base64|\
        stop_reason|finish_reason|reasoning_effort|reasoning|response_format|json_schema|schema|\
        json_object|properties|stop|n|temperature|max_tokens|metadata|user_id|citations|url_citation|\
        media_type|document|title|output_config|format|effort|high|enabled|budget_tokens|refusal";
    let word = prop::sample::select(WORDS.split('|').collect::<Vec<_>>());
    let leaf = prop_oneof![
        word.clone().prop_map(|word| json!(word)),
        "\\PC{0,6}".prop_map(Value::String),
        any::<i64>().prop_map(|number| json!(number)),
        (0_u64..3).prop_map(|number| json!(number)),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        Just(json!("data:image/png;base64,AA==")),
        Just(json!("{\"a\":1}")),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((word.clone(), inner), 0..6).prop_map(|members| {
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_that_comes_panics(
        any in any_json(),
        events in prop::collection::vec(any_json(), 0..8),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        status in any::<u16>(),
    ) {
        let chat = json!({ "messages": [any], "tools": any, "response_format": any, "reasoning": any });
        let _ = Anthropic.request(chat.as_object().unwrap(), &brief());
        let chat = json!({ "messages": any, "tool_choice": any });
        let _ = Anthropic.request(chat.as_object().unwrap(), &brief());
        if let Some(chat) = any.as_object() {
            let _ = Anthropic.request(chat, &brief());
        }
        let _ = Anthropic.answer(&any, &about());
        let _ = Anthropic.answer(&json!({ "content": [any], "usage": any }), &about());
        let _ = Anthropic.failure(status, &bytes);
        let _ = Anthropic.failure(status, any.to_string().as_bytes());
        let mut source = Anthropic.source(&about());
        let mut out = Vec::new();
        for event in &events {
            source.event(event.as_str(), event, &mut out);
        }
        source.finish(&mut out);
        prop_assert!(out.iter().all(Value::is_object));
    }

    #[test]
    fn a_conversation_comes_back_as_it_went(chat in conversation()) {
        let there = call(&json!({ "messages": chat }));
        let back = Messages.request(&there).unwrap();
        let sent = plain(&Value::Array(chat), |id| tool_id::plain(id).into_owned());
        prop_assert_eq!(plain(&back["messages"], str::to_owned), sent);
    }

    #[test]
    fn turns_alternate_and_results_follow_their_calls(chat in conversation()) {
        let call = call(&json!({ "messages": chat }));
        let mut waiting: Vec<String> = Vec::new();
        let mut user_is_next = true;
        for turn in call["messages"].as_array().unwrap() {
            prop_assert_eq!(turn["role"] == "user", user_is_next);
            user_is_next = !user_is_next;
            let blocks = turn["content"].as_array().cloned().unwrap_or_default();
            let ids = |kind: &str, member: &str| -> Vec<String> {
                let found = blocks.iter().filter(|block| block["type"] == kind);
                found.map(|block| block[member].as_str().unwrap().to_owned()).collect()
            };
            prop_assert_eq!(ids("tool_result", "tool_use_id"), waiting);
            waiting = ids("tool_use", "id");
        }
        prop_assert!(waiting.is_empty());
    }
}

/// Chat messages as they mean the same: arguments as values, ids as `id` writes them.
fn plain(messages: &Value, id: impl Fn(&str) -> String) -> Value {
    let mut messages = messages.clone();
    for message in messages.as_array_mut().unwrap() {
        for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
            let arguments = serde_json::from_str(call["function"]["arguments"].as_str().unwrap());
            call["function"]["arguments"] = arguments.unwrap();
            call["id"] = json!(id(call["id"].as_str().unwrap()));
        }
        if let Some(own) = message["tool_call_id"].as_str() {
            message["tool_call_id"] = json!(id(own));
        }
        message.as_object_mut().unwrap().retain(|_, member| !member.is_null());
    }
    messages
}

/// Rounds of a question, an answer with or without calls, and their results.
fn conversation() -> impl Strategy<Value = Vec<Value>> {
    let text = "[a-zé.]{1,8}( [a-z]{1,4})?";
    let call = (
        "[a-zA-Z0-9_.:-]{0,6}",
        "[a-z_]{1,8}",
        prop::collection::btree_map("[a-z]{1,3}", -9..9, 0..3),
    );
    let round = (text, prop::option::of(text), prop::collection::vec((call, text), 0..3));
    (prop::option::of(text), prop::collection::vec(round, 0..4), text).prop_map(
        |(system, rounds, last)| {
            let mut chat: Vec<Value> = system
                .map(|text| json!({ "role": "system", "content": text }))
                .into_iter()
                .collect();
            for (number, (user, said, calls)) in rounds.into_iter().enumerate() {
                if said.is_none() && calls.is_empty() {
                    continue;
                }
                chat.push(json!({ "role": "user", "content": user }));
                let id = |at: usize, id: &str| format!("{number}-{at}{id}");
                let mut assistant = json!({ "role": "assistant", "content": said });
                if !calls.is_empty() {
                    let calls = calls.iter().enumerate().map(|(at, ((own, name, input), _))| {
                        let function =
                            json!({ "name": name, "arguments": json!(input).to_string() });
                        json!({ "id": id(at, own), "type": "function", "function": function })
                    });
                    assistant["tool_calls"] = calls.collect();
                }
                chat.push(assistant);
                for (at, ((own, ..), result)) in calls.iter().enumerate() {
                    let id = id(at, own);
                    chat.push(json!({ "role": "tool", "tool_call_id": id, "content": result }));
                }
            }
            chat.push(json!({ "role": "user", "content": last }));
            chat
        },
    )
}

fn refused(chat: &Value) -> String {
    let refused = Anthropic.request(chat.as_object().unwrap(), &brief()).unwrap_err();
    refused.param.unwrap()
}

#[test]
fn what_anthropic_cannot_do_is_refused_by_name() {
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
        ("service_tier", json!("flex")),
        ("verbosity", json!("low")),
    ] {
        let mut chat = json!({ "messages": [{ "role": "user", "content": "a" }] });
        chat[member] = value;
        assert_eq!(refused(&chat), member);
    }
    assert_eq!(refused(&json!({})), "messages");
    assert_eq!(refused(&json!({ "messages": [{ "content": "a" }] })), "messages[0].role");
}

#[test]
fn the_cap_is_the_briefs_and_never_missing() {
    let chat = json!({ "messages": [], "max_tokens": 7, "max_completion_tokens": 9, "model": "x" });
    let chat = chat.as_object().unwrap();
    for (output_cap, max_output_tokens, cap) in
        [(Some(5), Some(8), 5), (None, Some(8), 8), (None, None, 4096)]
    {
        let brief = Brief { output_cap, max_output_tokens, ..brief() };
        let call = Anthropic.request(chat, &brief).unwrap();
        assert_eq!(call["max_tokens"], cap);
        assert_eq!(call["model"], "claude-haiku-4-5");
        assert!(!call.contains_key("max_completion_tokens"));
    }
}

#[test]
fn anthropics_own_members_travel_on() {
    let chat = json!({
        "messages": [], "top_k": 5, "cache_control": { "type": "ephemeral" }, "speed": "fast",
    });
    let call = call(&chat);
    assert_eq!(call["top_k"], 5);
    assert_eq!(call["speed"], "fast");
    assert_eq!(call["cache_control"]["type"], "ephemeral");
}

#[test]
fn each_reason_to_stop_has_a_word_in_chat() {
    for (reason, word) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ] {
        let completion = Anthropic.answer(&json!({ "stop_reason": reason }), &about());
        assert_eq!(completion["choices"][0]["finish_reason"], word);
    }
}
