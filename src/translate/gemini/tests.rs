//! What becomes of calls to Gemini and of its answers.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::{About, Backend, Brief, StreamTranslation, plan};
use super::Gemini;
use crate::provider::endpoint::{Dialect, Endpoint};

fn members(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn brief(model: &str) -> Brief<'_> {
    Brief { model, stream: false, output_cap: None, max_output_tokens: None }
}

fn about() -> About {
    About { id: "7".into(), created: 5, model: "g".into(), wants_usage: true, ..About::default() }
}

/// A call with these members beside a greeting, for `model`.
fn call_for(model: &str, rest: &Value) -> Result<Value, String> {
    let mut chat = json!({ "model": "g", "messages": [{ "role": "user", "content": "Hi" }] });
    chat.as_object_mut().unwrap().extend(members(rest));
    let translated = Gemini.request(&members(&chat), &brief(model));
    translated.map(Value::from).map_err(|refusal| refusal.param.unwrap())
}

fn call(rest: &Value) -> Result<Value, String> {
    call_for("gemini-3-flash", rest)
}

fn messages(messages: &Value) -> Result<Value, String> {
    call_for("gemini-2.5-flash", &json!({ "messages": messages }))
}

#[test]
fn a_conversation_with_calls_keeps_its_turns_ids_and_names() {
    let call = |id: &str, city: &str| {
        let arguments = json!({ "city": city }).to_string();
        json!({ "id": id, "type": "function",
                "function": { "name": "weather", "arguments": arguments } })
    };
    let mut first = call("a", "Oslo");
    first["extra_content"] = json!({ "google": { "thought_signature": "sig" } });
    let translated = messages(&json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "Weather?" },
        { "role": "user", "content": [{ "type": "text", "text": "In two cities." }] },
        { "role": "assistant", "content": "", "reasoning_content": "Hm.",
          "tool_calls": [first, call("b", "Rome")] },
        { "role": "tool", "tool_call_id": "b", "content": "hot" },
        { "role": "tool", "tool_call_id": "a", "is_error": true,
          "content": [{ "type": "text", "text": "cold" }] },
        { "role": "developer", "content": [{ "type": "text", "text": "Say it in verse." }] },
        { "role": "assistant", "content": "So it is.",
          "extra_content": { "google": { "thought_signature": "end" } } },
    ]))
    .unwrap();
    assert_eq!(
        translated,
        json!({
            "contents": [
                { "role": "user", "parts": [{ "text": "Weather?" }, { "text": "In two cities." }] },
                { "role": "model", "parts": [
                    { "functionCall": { "id": "a", "name": "weather", "args": { "city": "Oslo" } },
                      "thoughtSignature": "sig" },
                    { "functionCall": { "id": "b", "name": "weather", "args": { "city": "Rome" } } },
                ] },
                { "role": "user", "parts": [
                    { "functionResponse": { "id": "b", "name": "weather",
                                            "response": { "output": "hot" } } },
                    { "functionResponse": { "id": "a", "name": "weather",
                                            "response": { "error": "cold" } } },
                ] },
                { "role": "model", "parts": [{ "text": "So it is.", "thoughtSignature": "end" }] },
            ],
            "systemInstruction": { "parts": [{ "text": "Be brief." },
                                             { "text": "Say it in verse." }] },
        })
    );
}

#[test]
fn a_call_without_a_signature_passes_where_one_is_demanded() {
    let history = json!({ "messages": [
        { "role": "user", "content": "Go" },
        { "role": "assistant", "tool_calls": [
            { "id": "a", "type": "function", "function": { "name": "f", "arguments": "" } },
            { "id": "b", "type": "function", "function": { "name": "f", "arguments": "{}" } },
        ] },
    ] });
    let signature = |model: &str, part: usize| {
        let call = call_for(model, &history).unwrap();
        call["contents"][1]["parts"][part]["thoughtSignature"].clone()
    };
    assert_eq!(signature("gemini-3-pro-preview", 0), "skip_thought_signature_validator");
    assert_eq!(signature("gemini-3-pro-preview", 1), Value::Null);
    assert_eq!(signature("gemini-2.5-pro", 0), Value::Null);
}

#[test]
fn media_go_inline_or_by_address() {
    let parts = messages(&json!([{ "role": "user", "content": [
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=" } },
        { "type": "image_url", "image_url": { "url": "https://x.example/a/b.JPG?s=1#t" } },
        { "type": "input_audio", "input_audio": { "data": "aGk=", "format": "wav" } },
        { "type": "file", "file": { "file_data": "data:application/pdf;base64,aGk=" } },
        { "type": "file", "file": { "file_data": "aGk=", "filename": "a.csv" } },
    ] }]))
    .unwrap()["contents"][0]["parts"]
        .take();
    let inline = |kind: &str| json!({ "inlineData": { "mimeType": kind, "data": "aGk=" } });
    assert_eq!(
        parts,
        json!([
            inline("image/png"),
            { "fileData": { "mimeType": "image/jpeg",
                            "fileUri": "https://x.example/a/b.JPG?s=1#t" } },
            inline("audio/wav"),
            inline("application/pdf"),
            inline("text/csv"),
        ])
    );
}

#[test]
fn what_cannot_be_carried_is_refused_by_name() {
    let part = |part: Value| json!([{ "role": "user", "content": [part] }]);
    let image = |url: &str| part(json!({ "type": "image_url", "image_url": { "url": url } }));
    for (messages_, param) in [
        (json!([]), "messages"),
        (json!([{ "role": "system", "content": "x" }]), "messages"),
        (json!([3]), "messages[0]"),
        (json!([{ "role": "function", "content": "x" }]), "messages[0].role"),
        (json!([{ "role": "user", "content": 3 }]), "messages[0].content"),
        (image("https://x.example/picture"), "messages[0].content[0].image_url.url"),
        (image("file:///etc/a.png"), "messages[0].content[0].image_url.url"),
        (image("data:image/png,hi"), "messages[0].content[0].image_url.url"),
        (
            part(json!({ "type": "file", "file": { "file_id": "file-1" } })),
            "messages[0].content[0].file.file_id",
        ),
        (
            part(json!({ "type": "input_audio", "input_audio": { "data": "", "format": "pcm" } })),
            "messages[0].content[0].input_audio.format",
        ),
        (part(json!({ "type": "video_url" })), "messages[0].content[0].type"),
        (
            json!([{ "role": "tool", "tool_call_id": "lost", "content": "x" }]),
            "messages[0].tool_call_id",
        ),
        (
            json!([{ "role": "assistant", "tool_calls": [{ "id": "a", "type": "function",
                     "function": { "name": "f", "arguments": "[" } }] }]),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            json!([{ "role": "assistant", "tool_calls": [{ "id": "a", "type": "custom",
                     "custom": { "name": "f", "input": "x" } }] }]),
            "messages[0].tool_calls[0].type",
        ),
    ] {
        assert_eq!(messages(&messages_), Err(param.to_owned()), "{messages_}");
    }
    let function = json!({ "type": "function", "function": { "name": "f" } });
    for (rest, param) in [
        (json!({ "logit_bias": { "5": 1 } }), "logit_bias"),
        (json!({ "contents": [] }), "contents"),
        (json!({ "generationConfig": {} }), "generationConfig"),
        (json!({ "functions": [] }), "functions"),
        (json!({ "web_search_options": {} }), "web_search_options"),
        (json!({ "modalities": ["text", "audio"] }), "modalities[1]"),
        (json!({ "response_format": { "type": "grammar" } }), "response_format.type"),
        (json!({ "tools": [function, { "type": "custom" }] }), "tools[1].type"),
        (json!({ "tools": [{ "type": "function" }] }), "tools[0].function"),
        (json!({ "tools": [function], "parallel_tool_calls": false }), "parallel_tool_calls"),
        (json!({ "reasoning_effort": "none" }), "reasoning_effort"),
        (json!({ "service_tier": "scale" }), "service_tier"),
        (json!({ "extra_body": { "google": { "labels": {} } } }), "extra_body.google.labels"),
    ] {
        assert_eq!(call(&rest), Err(param.to_owned()), "{rest}");
    }
    let hints = json!({ "user": "u", "metadata": {}, "store": true, "stop": null,
                        "logit_bias": {}, "parallel_tool_calls": false, "verbosity": "medium" });
    assert_eq!(call(&hints), call(&json!({})));
}

#[test]
fn tools_and_choices_are_carried() {
    let function = |strict: Option<bool>| {
        json!({ "type": "function", "function": { "name": "f", "description": "d",
                "parameters": { "type": "object", "$defs": {} }, "strict": strict } })
    };
    let config = |strict, choice: Value| {
        let rest = json!({ "tools": [function(strict)], "tool_choice": choice });
        call(&rest).unwrap()["toolConfig"]["functionCallingConfig"].take()
    };
    let declared = call(&json!({ "tools": [function(None)] })).unwrap();
    assert_eq!(
        declared["tools"],
        json!([{ "functionDeclarations": [{ "name": "f", "description": "d",
                 "parametersJsonSchema": { "type": "object", "$defs": {} } }] }])
    );
    assert_eq!(declared["toolConfig"], Value::Null);
    assert_eq!(config(None, json!("auto")), json!({ "mode": "AUTO" }));
    assert_eq!(config(Some(true), json!("auto")), json!({ "mode": "VALIDATED" }));
    assert_eq!(config(Some(true), json!(null)), json!({ "mode": "VALIDATED" }));
    assert_eq!(config(None, json!("none")), json!({ "mode": "NONE" }));
    assert_eq!(config(None, json!("required")), json!({ "mode": "ANY" }));
    let named = json!({ "type": "function", "function": { "name": "f" } });
    let only_f = json!({ "mode": "ANY", "allowedFunctionNames": ["f"] });
    assert_eq!(config(None, named.clone()), only_f);
    let allowed = |mode: &str| json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": [named] } });
    assert_eq!(config(None, allowed("required")), only_f);
    assert_eq!(config(None, allowed("auto"))["mode"], "VALIDATED");
}

#[test]
fn the_way_to_generate_is_carried() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "null" } } });
    let rest = json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 7, "presence_penalty": 1,
        "frequency_penalty": -1, "max_tokens": 9, "n": 2, "stop": "END",
        "logprobs": true, "top_logprobs": 4, "modalities": ["text", "image"],
        "response_format": { "type": "json_schema",
                             "json_schema": { "name": "s", "strict": true, "schema": schema } },
        "service_tier": "flex",
        "extra_body": { "google": { "cached_content": "cachedContents/1",
                                    "thinking_config": { "include_thoughts": true } } },
    });
    let call = call(&rest).unwrap();
    assert_eq!(
        call["generationConfig"],
        json!({
            "temperature": 0.5, "topP": 0.9, "topK": 3, "seed": 7, "presencePenalty": 1,
            "frequencyPenalty": -1, "maxOutputTokens": 9, "candidateCount": 2,
            "stopSequences": ["END"], "responseLogprobs": true, "logprobs": 4,
            "responseMimeType": "application/json", "responseJsonSchema": schema,
            "responseModalities": ["TEXT", "IMAGE"],
            "thinkingConfig": { "includeThoughts": true },
        })
    );
    assert_eq!(
        (&call["serviceTier"], &call["cachedContent"]),
        (&json!("flex"), &json!("cachedContents/1"))
    );
    let chat = members(&json!({ "messages": [{ "role": "user", "content": "Hi" }],
                                "max_completion_tokens": 9 }));
    let capped = Brief { output_cap: Some(4), ..brief("g") };
    let capped = Gemini.request(&chat, &capped).unwrap();
    assert_eq!(capped["generationConfig"], json!({ "maxOutputTokens": 4 }));
}

#[test]
fn effort_is_a_level_or_a_budget_as_the_model_takes_it() {
    for (model, effort, config) in [
        ("gemini-3-flash-preview", "minimal", Some(json!({ "thinkingLevel": "minimal" }))),
        ("gemini-3.1-pro-preview", "minimal", Some(json!({ "thinkingLevel": "low" }))),
        ("gemini-3.1-pro-preview", "medium", Some(json!({ "thinkingLevel": "medium" }))),
        ("gemini-3-pro-preview", "medium", Some(json!({ "thinkingLevel": "high" }))),
        ("gemini-flash-latest", "xhigh", Some(json!({ "thinkingLevel": "high" }))),
        ("gemini-2.5-flash", "none", Some(json!({ "thinkingBudget": 0 }))),
        ("gemini-2.5-flash", "low", Some(json!({ "thinkingBudget": 1024 }))),
        ("gemini-2.5-pro", "medium", Some(json!({ "thinkingBudget": 8192 }))),
        ("gemini-2.5-pro", "high", Some(json!({ "thinkingBudget": 24576 }))),
        ("gemini-2.5-pro", "none", None),
        ("gemini-3-flash", "hard", None),
    ] {
        let call = call_for(model, &json!({ "reasoning_effort": effort })).ok();
        let got = call.map(|mut call| call["generationConfig"]["thinkingConfig"].take());
        let got = got.map(|mut got| {
            let shows = got.as_object_mut().unwrap().shift_remove("includeThoughts");
            assert_eq!(shows, (effort != "none").then_some(json!(true)));
            got
        });
        assert_eq!(got, config, "{model} {effort}");
    }
}

#[test]
fn an_answer_becomes_a_completion() {
    let answer = json!({
        "candidates": [
            { "content": { "role": "model", "parts": [
                { "text": "Let me see.", "thought": true },
                { "text": "Calling.", "thoughtSignature": "t" },
                { "functionCall": { "name": "f", "args": { "a": 1 } }, "thoughtSignature": "s" },
                { "functionCall": { "name": "g", "id": "given" } },
                { "executableCode": { "code": "x" } },
            ] }, "finishReason": "STOP" },
            { "content": { "parts": [{ "text": "b" }] }, "index": 1, "finishReason": "MAX_TOKENS",
              "logprobsResult": {
                  "chosenCandidates": [{ "token": "é", "logProbability": -0.5 }],
                  "topCandidates": [{ "candidates": [{ "token": "e", "logProbability": -1 }] }] } },
            { "content": {}, "index": 2, "finishReason": "SAFETY" },
        ],
        "usageMetadata": { "promptTokenCount": 10, "toolUsePromptTokenCount": 2,
            "cachedContentTokenCount": 4, "candidatesTokenCount": 5, "thoughtsTokenCount": 3,
            "totalTokenCount": 20, "serviceTier": "standard",
            "promptTokensDetails": [{ "modality": "AUDIO", "tokenCount": 6 }] },
    });
    let signed = |signature: &str| json!({ "google": { "thought_signature": signature } });
    assert_eq!(
        Gemini.answer(&answer, &about()),
        json!({
            "id": "chatcmpl-7", "object": "chat.completion", "created": 5, "model": "g",
            "choices": [
                { "index": 0, "message": {
                    "role": "assistant", "content": "Calling.", "refusal": null,
                    "reasoning_content": "Let me see.",
                    "tool_calls": [
                        { "id": "call_7_0", "type": "function",
                          "function": { "name": "f", "arguments": "{\"a\":1}" },
                          "extra_content": signed("s") },
                        { "id": "given", "type": "function",
                          "function": { "name": "g", "arguments": "{}" } },
                    ],
                    "extra_content": signed("t"),
                  }, "logprobs": null, "finish_reason": "tool_calls" },
                { "index": 1,
                  "message": { "role": "assistant", "content": "b", "refusal": null },
                  "logprobs": { "content": [{ "token": "é", "logprob": -0.5, "bytes": [195, 169],
                      "top_logprobs": [{ "token": "e", "logprob": -1, "bytes": [101] }] }],
                      "refusal": null },
                  "finish_reason": "length" },
                { "index": 2,
                  "message": { "role": "assistant", "content": null, "refusal": null },
                  "logprobs": null, "finish_reason": "content_filter",
                  "native_finish_reason": "SAFETY" },
            ],
            "usage": { "prompt_tokens": 12, "completion_tokens": 8, "total_tokens": 20,
                "prompt_tokens_details": { "cached_tokens": 4, "audio_tokens": 6 },
                "completion_tokens_details": { "reasoning_tokens": 3, "audio_tokens": 0 } },
            "service_tier": "default",
        })
    );
}

#[test]
fn thought_that_is_only_in_the_total_is_counted() {
    let usage = json!({ "usageMetadata": { "promptTokenCount": 9, "candidatesTokenCount": 10,
                                           "totalTokenCount": 275 } });
    let usage = &Gemini.answer(&usage, &about())["usage"];
    assert_eq!((&usage["completion_tokens"], &usage["total_tokens"]), (&json!(266), &json!(275)));
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 256);
}

/// The chunks of a stream of these events.
fn chunks(events: &[Value]) -> Vec<Value> {
    let mut source = Gemini.source(&about());
    let mut out = Vec::new();
    for event in events {
        source.event(None, event, &mut out);
    }
    source.finish(&mut out);
    out
}

fn event(parts: &Value, finish: Option<&str>, tokens: u64) -> Value {
    json!({ "candidates": [{ "content": { "parts": parts }, "finishReason": finish, "index": 0 }],
            "usageMetadata": { "promptTokenCount": 1, "candidatesTokenCount": tokens,
                               "totalTokenCount": tokens + 1 } })
}

#[test]
fn a_stream_becomes_chunks_with_usage_at_the_end() {
    let call = |name: &str| json!({ "functionCall": { "name": name, "args": {} } });
    let chunks = chunks(&[
        event(&json!([{ "text": "Hm", "thought": true }]), None, 1),
        event(&json!([{ "text": "A" }, call("f")]), None, 2),
        event(&json!([call("g"), { "text": "", "thoughtSignature": "t" }]), Some("STOP"), 3),
    ]);
    let deltas: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    let tool = |index: u64, name: &str| {
        json!({ "index": index, "id": format!("call_7_{index}"), "type": "function",
                "function": { "name": name, "arguments": "{}" } })
    };
    assert_eq!(deltas[0], &json!({ "role": "assistant", "reasoning_content": "Hm" }));
    assert_eq!(deltas[1], &json!({ "content": "A", "tool_calls": [tool(0, "f")] }));
    assert_eq!(deltas[2], &json!({ "tool_calls": [tool(1, "g")] }));
    let extra = json!({ "google": { "thought_signature": "t" } });
    assert_eq!(deltas[3], &json!({ "extra_content": extra }));
    let ends: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).collect();
    assert_eq!(ends[..4], [&Value::Null, &Value::Null, &Value::Null, &json!("tool_calls")]);
    assert_eq!((chunks.len(), &chunks[4]["choices"]), (5, &json!([])));
    assert_eq!(chunks[4]["usage"]["completion_tokens"], 3);
}

#[test]
fn a_candidate_that_goes_on_after_an_end_ends_once() {
    let chunks = chunks(&[
        event(&json!([{ "text": "A" }]), Some("STOP"), 1),
        event(&json!([{ "text": "B" }]), Some("MAX_TOKENS"), 2),
    ]);
    let told: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]).collect();
    assert_eq!(told[1]["delta"], json!({ "content": "B" }));
    assert_eq!(
        (&told[1]["finish_reason"], &told[2]["finish_reason"]),
        (&Value::Null, &json!("length"))
    );
    let failed = super::tests::chunks(&[
        event(&json!([{ "text": "A" }]), Some("STOP"), 1),
        json!({ "error": { "message": "No." } }),
    ]);
    assert!(failed[1].get("error").is_some() && failed[2].get("usage").is_some());
}

#[test]
fn a_blocked_prompt_is_a_filtered_answer() {
    let blocked = json!({ "promptFeedback": { "blockReason": "SAFETY" },
                          "usageMetadata": { "promptTokenCount": 3 } });
    let whole = Gemini.answer(&blocked, &about());
    assert_eq!(whole["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(whole["choices"][0]["message"]["content"], Value::Null);
    let chunks = chunks(&[blocked]);
    assert_eq!(chunks[0]["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(chunks[1]["usage"]["prompt_tokens"], 3);
}

#[test]
fn errors_are_understood_in_every_shape() {
    let error = r#"{"error":{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED",
        "details":[{"@type":"type.googleapis.com/google.rpc.Help"},
        {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.41s"}]}}"#;
    for body in [error.to_owned(), format!("[{error}]")] {
        let failure = Gemini.failure(429, body.as_bytes());
        assert_eq!(
            (failure.message.as_str(), failure.kind.as_str()),
            ("Slow down.", "rate_limit_error")
        );
        assert_eq!(failure.code.as_deref(), Some("RESOURCE_EXHAUSTED"));
    }
    for body in ["", "<html>", "[]", "3", r#"{"error":7}"#] {
        let failure = Gemini.failure(503, body.as_bytes());
        assert_eq!(failure.kind, "server_error", "{body}");
    }
    let amid = chunks(&[serde_json::from_str(error).unwrap()]);
    assert_eq!(amid[0]["error"]["message"], "Slow down.");
}

#[test]
fn a_translated_stream_is_read_from_bytes() {
    let plan = plan(Endpoint::Chat, Dialect::Gemini).unwrap();
    let mut translation = StreamTranslation::new(&plan, &about());
    let event = event(&json!([{ "text": "Hi" }]), Some("STOP"), 1);
    let mut out = translation.push(format!("data: {event}\r\n\r\n").as_bytes()).to_vec();
    out.extend_from_slice(&translation.finish());
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out.matches("\n\n").count(), 4, "{out}");
    assert!(out.contains(r#""content":"Hi""#) && out.ends_with("data: [DONE]\n\n"), "{out}");
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
        "candidates",
        "parts",
        "functionCall",
        "args",
        "usageMetadata",
        "finishReason",
        "index",
        "image_url",
        "url",
        "data:image/png;base64,x",
        "user",
        "assistant",
        "tool",
        "auto",
        "é",
        "totalTokenCount",
        "error",
        "messages",
        "input_audio",
        "file",
        "extra_content",
        "google",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
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
        for candidate in [json!({ "candidates": [value.clone()] }), value.clone()] {
            Gemini.answer(&candidate, &about());
            chunks(&[candidate, other.clone()]);
        }
        Gemini.failure(500, value.to_string().as_bytes());
        let list = json!([value, other]);
        for name in ["messages", "tools", "response_format", "extra_body", "tool_choice", "stop"] {
            let _ = call(&json!({ name: list }));
            let _ = call(&json!({ name: value }));
        }
        let _ = messages(&json!([{ "role": "user", "content": list }]));
        let _ = messages(&json!([{ "role": "assistant", "content": value, "tool_calls": list }]));
    }

    #[test]
    fn no_id_of_a_call_is_lost_or_changed(ids in prop::collection::vec("[ -~é]{0,12}", 1..6)) {
        let parts: Vec<_> = ids.iter()
            .map(|id| json!({ "functionCall": { "name": "f", "id": id, "args": {} } }))
            .collect();
        let streamed = chunks(&[event(&json!(parts), Some("STOP"), 1)]);
        let whole = Gemini.answer(&event(&json!(parts), Some("STOP"), 1), &about());
        let calls = whole["choices"][0]["message"]["tool_calls"].as_array().unwrap();
        for (at, (id, call)) in ids.iter().zip(calls).enumerate() {
            let given = call["id"].as_str().unwrap();
            let is_made = id.is_empty() && given.starts_with("call_7_");
            prop_assert!(is_made || given == id);
            prop_assert_eq!(&streamed[0]["choices"][0]["delta"]["tool_calls"][at]["id"], &call["id"]);
        }
        let back = messages(&json!([{ "role": "assistant", "tool_calls": calls }])).unwrap();
        for (at, call) in calls.iter().enumerate() {
            prop_assert_eq!(&back["contents"][0]["parts"][at]["functionCall"]["id"], &call["id"]);
        }
    }
}
