//! However thinking stood among text and calls, it comes back so: answered whole or as a stream, to a
//! client of chat or of another dialect.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::anthropic::Anthropic;
use super::super::bedrock::Bedrock;
use super::super::chat::ChatSink;
use super::super::messages::Messages;
use super::super::responses::Responses;
use super::super::{About, Backend, Brief, ClientEvent, EventData, Frontend, Sink};

fn about() -> About {
    About { id: "1".into(), model: "m".into(), ..About::default() }
}

/// What a model does in one answer, in order: thoughts, then perhaps text, then calls, and again.
fn turn() -> impl Strategy<Value = Vec<Value>> {
    let text = "[ \n]{0,2}[a-zé🦀.]{1,6} ?";
    let thought = prop_oneof![
        "[a-z]{0,4}".prop_map(|text| json!({
            "type": "thinking", "thinking": text, "signature": "c2ln",
        })),
        Just(json!({ "type": "redacted_thinking", "data": "ZGF0YQ==" })),
    ];
    let round = (prop::collection::vec(thought, 1..3), prop::option::of(text), 0..3_usize);
    (any::<bool>(), prop::collection::vec(round, 0..5), text).prop_map(|(begins, rounds, last)| {
        let mut turn = Vec::new();
        for (thoughts, text, calls) in rounds {
            // A turn may begin without thinking.
            if begins || !turn.is_empty() {
                turn.extend(thoughts);
            }
            turn.extend(text.map(|text| json!({ "type": "text", "text": text })));
            for _ in 0..calls {
                let id = format!("toolu_{}", turn.len());
                turn.push(json!({ "type": "tool_use", "id": id, "name": "f", "input": {} }));
            }
        }
        if turn.iter().all(|block| block["type"] != "text" && block["type"] != "tool_use") {
            turn.push(json!({ "type": "text", "text": last }));
        }
        turn
    })
}

/// The next call of a client that was given this message.
fn again(message: &Value) -> Map<String, Value> {
    let mut messages = vec![json!({ "role": "user", "content": "a" }), message.clone()];
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": "b" }));
    }
    messages.push(json!({ "role": "user", "content": "c" }));
    json!({ "messages": messages }).as_object().unwrap().clone()
}

fn sent(chat: &Map<String, Value>) -> Vec<Value> {
    let brief =
        Brief { model: "claude-x", stream: false, output_cap: None, max_output_tokens: None };
    let call = Anthropic.request(chat, &brief).unwrap();
    let content = &call["messages"][1]["content"];
    match content.as_str() {
        Some(text) => vec![json!({ "type": "text", "text": text })],
        None => content.as_array().unwrap().clone(),
    }
}

/// The stream of an answer as chunks of chat.
fn chunks(turn: &[Value]) -> Vec<Value> {
    let mut source = Anthropic.source(&about());
    let mut chunks = Vec::new();
    for (index, block) in turn.iter().enumerate() {
        let mut start = block.clone();
        let mut delta = Value::Null;
        if block["type"] == "text" {
            start["text"] = json!("");
            delta = json!({ "type": "text_delta", "text": block["text"] });
        }
        for event in [
            json!({ "type": "content_block_start", "index": index, "content_block": start }),
            json!({ "type": "content_block_delta", "index": index, "delta": delta }),
            json!({ "type": "content_block_stop", "index": index }),
        ] {
            source.event(None, &event, &mut chunks);
        }
    }
    for event in [
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } }),
        json!({ "type": "message_stop" }),
    ] {
        source.event(None, &event, &mut chunks);
    }
    source.finish(&mut chunks);
    chunks
}

fn through(mut sink: Box<dyn Sink>, chunks: &[Value]) -> Vec<Value> {
    let mut events = Vec::new();
    for chunk in chunks {
        sink.chunk(chunk, &mut events);
    }
    sink.finish(&mut events);
    let data = events.into_iter().filter_map(|ClientEvent { data, .. }| match data {
        EventData::Json(value) => Some(value),
        EventData::Done => None,
    });
    data.collect()
}

/// What a client of chat puts together.
fn message(chunks: &[Value]) -> Value {
    let (mut text, mut thoughts) = (String::new(), Vec::new());
    let mut calls: Vec<Value> = Vec::new();
    for delta in chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]) {
        text.push_str(delta["content"].as_str().unwrap_or_default());
        thoughts.extend(delta["thinking_blocks"].as_array().into_iter().flatten().cloned());
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            if call["id"].is_string() {
                calls.push(call.clone());
            }
        }
    }
    for call in &mut calls {
        call["function"]["arguments"] = json!("{}");
    }
    json!({ "role": "assistant", "content": text, "thinking_blocks": thoughts, "tool_calls": calls })
}

/// A turn in Converse's words.
fn converse(turn: &[Value]) -> Value {
    let block = |block: &Value| match block["type"].as_str().unwrap() {
        "text" => json!({ "text": block["text"] }),
        "tool_use" => json!({ "toolUse": {
            "toolUseId": block["id"], "name": block["name"], "input": block["input"],
        } }),
        "thinking" => json!({ "reasoningContent": { "reasoningText": {
            "text": block["thinking"], "signature": block["signature"],
        } } }),
        _ => json!({ "reasoningContent": { "redactedContent": block["data"] } }),
    };
    turn.iter().map(block).collect()
}

proptest! {
    #[test]
    fn chat_gives_thinking_back_where_it_stood(turn in turn()) {
        let completion = Anthropic.answer(&json!({ "content": turn }), &about());
        prop_assert_eq!(&sent(&again(&completion["choices"][0]["message"])), &turn);

        let streamed = message(&through(Box::new(ChatSink::new(false)), &chunks(&turn)));
        prop_assert_eq!(&sent(&again(&streamed)), &turn);
    }

    #[test]
    fn bedrock_gets_thinking_back_where_it_stood(turn in turn()) {
        let content = converse(&turn);
        let answer = json!({ "output": { "message": { "content": content } } });
        let completion = Bedrock.answer(&answer, &about());
        let brief = Brief {
            model: "anthropic.claude-x", stream: false, output_cap: None, max_output_tokens: None,
        };
        let mut chat = again(&completion["choices"][0]["message"]);
        let tool = json!({ "type": "function", "function": { "name": "f" } });
        chat.insert("tools".into(), json!([tool]));
        let call = Bedrock.request(&chat, &brief).unwrap();
        prop_assert_eq!(&call["messages"][1]["content"], &content);
    }

    #[test]
    fn a_client_of_messages_sees_the_order_and_keeps_it(turn in turn()) {
        let completion = Anthropic.answer(&json!({ "content": turn }), &about());
        let seen = Messages.answer(&completion, &about());
        prop_assert_eq!(&seen["content"], &json!(turn));

        let call = json!({ "messages": [
            { "role": "user", "content": "a" }, { "role": "assistant", "content": turn },
        ] });
        let chat = Messages.request(call.as_object().unwrap()).unwrap();
        prop_assert_eq!(&sent(&again(&chat["messages"][1])), &turn);
    }

    #[test]
    fn a_client_of_responses_keeps_the_order(turn in turn()) {
        let completion = Anthropic.answer(&json!({ "content": turn }), &about());
        let whole = Responses.answer(&completion, &about());
        let streamed = through(Responses.sink(&about()), &chunks(&turn));
        for response in [&whole, &streamed.last().unwrap()["response"]] {
            let mut input = vec![json!({ "role": "user", "content": "a" })];
            input.extend(response["output"].as_array().unwrap().iter().cloned());
            input.push(json!({ "role": "user", "content": "c" }));
            let call = json!({ "input": input });
            let chat = Responses.request(call.as_object().unwrap()).unwrap();
            prop_assert_eq!(&sent(&chat), &turn);
        }
    }
}

#[test]
fn what_a_client_made_of_places_is_taken_as_well_as_it_can_be() {
    let signed = |after: Value| json!({ "type": "thinking", "thinking": "t", "signature": "s", "after": after });
    let calls = json!([{ "id": "1", "function": { "name": "f" } }]);
    for (after, kinds) in [
        (json!(null), "thinking text tool_use"),
        (json!("x"), "thinking text tool_use"),
        (json!({ "characters": -1, "tool_calls": "x" }), "thinking text tool_use"),
        (json!({ "characters": 1 }), "text thinking text tool_use"),
        (json!({ "characters": u64::MAX }), "text thinking tool_use"),
        (json!({ "characters": 2, "tool_calls": u64::MAX }), "text tool_use thinking"),
    ] {
        let message = json!({
            "role": "assistant", "content": "ab", "tool_calls": calls,
            "thinking_blocks": [signed(after.clone())],
        });
        let turn = sent(&again(&message));
        let found: Vec<&str> = turn.iter().filter_map(|block| block["type"].as_str()).collect();
        assert_eq!(found.join(" "), kinds, "{after}");
        assert!(turn.iter().all(|block| block.get("after").is_none()));
    }
}
