//! Calls to providers of another dialect: what such a provider is sent, what the client gets of its
//! answer, and that it is billed by what the provider itself said.

use conduit::domain::receipt::{Ending, Metered};
use serde_json::{Value, json};

use crate::client::{Answer, post};
use crate::gateway::{Gateway, MESSAGES, Setup, cost};
use crate::upstream::{END, STREAM_HEAD, Step, Upstream, chunked, json, millis, send};

/// A gateway whose model `claude` is Anthropic's at `upstream`, and `spare` the same with a target
/// behind it that speaks chat.
fn gateway(upstream: &Upstream, spare: &Upstream) -> Gateway {
    Setup::to(spare)
        .more(&format!(
            "[providers.anthropic]\nkind = \"anthropic\"\nbase_url = \"http://{}/v1\"\n\
             api_key_env = \"SECOND_KEY\"\nconnect_timeout = \"300ms\"\nidle_timeout = \"300ms\"\n\
             [models.claude]\nprovider = \"anthropic\"\nmodel = \"claude-real\"\n\
             max_output_tokens = 500\nprice = {{ input = 1, output = 2 }}\n\
             [models.spare]\nmax_output_tokens = 500\nprice = {{ input = 1, output = 2 }}\n\
             targets = [{{ provider = \"anthropic\" }}, {{ provider = \"scripted\", order = 2 }}]\n\
             [models.reverse]\nfallbacks = [\"claude\"]\nprovider = \"scripted\"\n\
             price = {{ input = 1, output = 2 }}\n\
             [routing]\ncooldown = \"0s\"",
            upstream.address()
        ))
        .start()
}

fn body(model: &str, more: &str) -> String {
    format!(r#"{{"model":"{model}","messages":{MESSAGES}{more}}}"#)
}

const STREAM: &str = r#","stream":true"#;

/// A message of Anthropic's that used seven tokens and gave three.
fn message() -> String {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-real",
        "content": [{ "type": "text", "text": "Hello there" }],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": { "input_tokens": 7, "output_tokens": 3 },
    })
    .to_string()
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
}

/// The same as a stream, in its events.
fn events() -> Vec<String> {
    let delta = |text: &str| {
        json!({ "type": "content_block_delta", "index": 0,
                "delta": { "type": "text_delta", "text": text } })
    };
    [
        json!({ "type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-real",
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": { "input_tokens": 7, "output_tokens": 1 } } }),
        json!({ "type": "content_block_start", "index": 0,
                "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "ping" }),
        delta("Hello"),
        delta(" there"),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" },
                "usage": { "output_tokens": 3 } }),
        json!({ "type": "message_stop" }),
    ]
    .iter()
    .map(event)
    .collect()
}

fn streamed(events: &[String]) -> Vec<Step> {
    let mut steps = vec![send(STREAM_HEAD)];
    steps.extend(events.iter().map(|event| send(chunked(event))));
    steps
}

/// The chunks of a chat stream, which must end as it should.
fn chunks(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let text = answer.text();
    let data = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    let mut data: Vec<_> = data.collect();
    if data.last() == Some(&"[DONE]") {
        data.pop();
    }
    data.iter().map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn said(chunks: &[Value]) -> String {
    let texts = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["content"]);
    texts.filter_map(Value::as_str).collect()
}

#[test]
fn a_chat_call_is_sent_in_the_providers_dialect_and_answered_in_chat() {
    let (upstream, spare) = (Upstream::start(), Upstream::start());
    let gateway = gateway(&upstream, &spare);
    upstream.then([send(json("200 OK", &["request-id: req_theirs"], &message()))]);
    let answer = gateway.call(&gateway.key(), &body("claude", r#","stop":["x"]"#));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let completion = answer.json();
    assert_eq!(completion["object"], "chat.completion");
    assert_eq!(completion["model"], "claude");
    assert_eq!(completion["choices"][0]["message"]["content"], "Hello there");
    assert_eq!(completion["choices"][0]["finish_reason"], "stop");
    assert_eq!(completion["usage"]["prompt_tokens"], 7);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-conduit-provider"), Some("anthropic"));
    assert_eq!(answer.header("x-conduit-model"), Some("claude-real"));

    let seen = upstream.last();
    assert_eq!((&*seen.path, seen.header("x-api-key")), ("/v1/messages", Some("provider-key-2")));
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    let sent = seen.json();
    assert_eq!((&sent["model"], &sent["max_tokens"]), (&json!("claude-real"), &json!(500)));
    assert_eq!(sent["stop_sequences"], json!(["x"]));
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.cost.nano(), receipt.metered), (cost(7, 3), Metered::Reported));
    assert_eq!(&*receipt.endpoint, "chat/completions");
}

/// What clients of Anthropic send along that is no part of chat, and what each provider of chat gets of it.
#[test]
fn a_provider_of_chat_is_sent_nothing_that_it_would_refuse() {
    let upstream = Upstream::start();
    let provider = |kind: &str| {
        format!(
            "[providers.{kind}]\nkind = \"{kind}\"\nbase_url = \"http://{}/v1\"\n\
             api_key_env = \"SECOND_KEY\"\n[models.{kind}]\nprovider = \"{kind}\"\n\
             price = {{ input = 1, output = 2 }}\n",
            upstream.address()
        )
    };
    let gateway = Setup::to(&upstream).more(&(provider("mistral") + &provider("deepseek"))).start();
    let key = gateway.key();
    let mark = json!({ "type": "ephemeral" });
    let call = |model: &str| {
        json!({
            "model": model, "max_tokens": 90,
            "system": [{ "type": "text", "text": "Be brief.", "cache_control": mark }],
            "messages": [
                { "role": "user", "content": "Oslo?" },
                { "role": "assistant", "content": [
                    { "type": "thinking", "thinking": "Hm.", "signature": "c2ln" },
                    { "type": "tool_use", "id": "toolu_1", "name": "f", "input": {} },
                ] },
                { "role": "user", "content": [{
                    "type": "tool_result", "tool_use_id": "toolu_1", "content": "no", "is_error": true,
                    "cache_control": mark,
                }] },
            ],
        })
    };
    for (model, cap, reasoning) in [
        ("model", "max_completion_tokens", Value::Null),
        ("mistral", "max_tokens", Value::Null),
        ("deepseek", "max_tokens", json!("Hm.")),
    ] {
        let headers = [&*key.header(), "Content-Type: application/json"];
        let body = call(model).to_string();
        let answer = gateway.exchange(&post("/v1/messages", &headers, body.as_bytes()));
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let function = json!({ "name": "f", "arguments": "{}" });
        let mut assistant = json!({
            "role": "assistant", "content": null,
            "tool_calls": [{ "id": "toolu_1", "type": "function", "function": function }],
        });
        if !reasoning.is_null() {
            assistant["reasoning_content"] = reasoning;
        }
        let expected = json!({
            "model": model, cap: 90,
            "messages": [
                { "role": "system", "content": [{ "type": "text", "text": "Be brief." }] },
                { "role": "user", "content": "Oslo?" },
                assistant,
                { "role": "tool", "tool_call_id": "toolu_1", "content": "Error: no" },
            ],
        });
        assert_eq!(upstream.last().json(), expected, "{model}");
    }
}

#[test]
fn a_cap_is_written_where_the_provider_obeys_it() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream)
        .more(&format!(
            "[providers.deepseek]\nkind = \"deepseek\"\nbase_url = \"http://{}/v1\"\n\
             api_key_env = \"SECOND_KEY\"\n[models.deepseek]\nprovider = \"deepseek\"\n\
             max_output_tokens = 1000000\nprice = {{ input = 1, output = 2 }}",
            upstream.address()
        ))
        .start();
    // A tenth of a cent does not pay for a million tokens.
    let key = gateway.limited("small", 1_000_000);
    for (more, written) in [("", None), (r#","max_completion_tokens":40"#, Some(40))] {
        let answer = gateway.call(&key, &body("deepseek", more));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let clamped = answer.header("x-conduit-max-tokens-clamped").map(|cap| cap.parse().unwrap());
        let sent = upstream.last().json();
        assert_eq!(sent["max_tokens"].as_u64(), written.or(clamped), "{sent}");
        assert!(sent["max_tokens"].is_u64());
    }
}

#[test]
fn a_stream_is_translated_as_it_comes() {
    let (upstream, spare) = (Upstream::start(), Upstream::start());
    let gateway = gateway(&upstream, &spare);
    let mut script = streamed(&events());
    script.push(send(END));
    upstream.then(script);
    let answer = gateway.call(&gateway.key(), &body("claude", STREAM));
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    let chunks = chunks(&answer);
    assert_eq!(said(&chunks), "Hello there");
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()), "nobody asked for it");
    assert_eq!(upstream.last().json()["stream"], true);
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.cost.nano(), receipt.metered), (cost(7, 3), Metered::Reported));
    assert_eq!((receipt.ending, receipt.streamed), (Ending::Done, true));
}

#[test]
fn a_stream_that_breaks_off_ends_with_an_error_in_chat() {
    let (upstream, spare) = (Upstream::start(), Upstream::start());
    let gateway = gateway(&upstream, &spare);
    let key = gateway.key();
    let silent = [streamed(&events()[..4]), vec![Step::Pause(millis(3000))]].concat();
    let cut = [streamed(&events()[..4]), vec![Step::Close]].concat();
    let overloaded = json!({ "type": "error",
        "error": { "type": "overloaded_error", "message": "Overloaded" } });
    let told = [events()[..4].to_vec(), vec![event(&overloaded)]].concat();
    let told = [streamed(&told), vec![send(END)]].concat();
    for (index, (script, ending)) in
        [(silent, Ending::Timeout), (cut, Ending::UpstreamCut), (told, Ending::UpstreamError)]
            .into_iter()
            .enumerate()
    {
        upstream.then(script);
        let answer = gateway.call(&key, &body("claude", STREAM));
        let chunks = chunks(&answer);
        assert_eq!(said(&chunks), "Hello", "{ending:?}");
        let last = chunks.last().unwrap();
        assert!(last["error"]["message"].is_string(), "{ending:?}: {last}");
        assert!(!answer.text().contains("[DONE]"), "{ending:?}");
        assert_eq!(gateway.receipt(index + 1).ending, ending);
    }
}

#[test]
fn an_error_is_told_in_chat() {
    let (upstream, spare) = (Upstream::start(), Upstream::start());
    let gateway = gateway(&upstream, &spare);
    let key = gateway.key();
    let error = r#"{"type":"error","error":{"type":"invalid_request_error","message":"No."}}"#;
    for (index, status) in ["400 Bad Request", "429 Slow", "529 Overloaded"].into_iter().enumerate()
    {
        upstream.then([send(json(status, &["Retry-After: 5"], error))]);
        let answer = gateway.call(&key, &body("claude", STREAM));
        assert_eq!(answer.header("retry-after"), Some("5"));
        answer.code();
        assert!(answer.status >= 400, "{status}");
        assert_eq!(answer.json()["error"]["message"], "No.", "{status}");
        let receipt = gateway.receipt(index + 1);
        assert_eq!((receipt.cost.nano(), receipt.status.to_string()), (0, status[..3].to_owned()));
    }
}

#[test]
fn how_long_google_asks_to_wait_is_said_where_clients_of_chat_look() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream)
        .more(&format!(
            "[providers.google]\nkind = \"gemini\"\nbase_url = \"http://{}/v1beta\"\n\
             api_key_env = \"SECOND_KEY\"\n[models.gemini]\nprovider = \"google\"\nprice = \"free\"\n\
             [routing]\ncooldown = \"0s\"",
            upstream.address()
        ))
        .start();
    let key = gateway.key();
    let error = r#"{"error":{"code":429,"message":"No.","status":"RESOURCE_EXHAUSTED","details":[
        {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.4s"}]}}"#;
    for (headers, expected) in [(&[][..], "35"), (&["Retry-After: 5"], "5")] {
        upstream.then([send(json("429 Slow", headers, error))]);
        let answer = gateway.call(&key, &body("gemini", ""));
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some(expected)));
    }
}

#[test]
fn an_answer_that_is_not_what_was_asked_for_is_made_so() {
    let (upstream, spare) = (Upstream::start(), Upstream::start());
    let gateway = gateway(&upstream, &spare);
    let key = gateway.key();
    upstream.then([send(json("200 OK", &[], &message()))]);
    let asking = r#","stream":true,"stream_options":{"include_usage":true}"#;
    let answer = gateway.call(&key, &body("claude", asking));
    let chunks = chunks(&answer);
    assert_eq!(said(&chunks), "Hello there");
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 3);
    assert!(answer.text().ends_with("data: [DONE]\n\n"));

    let mut script = streamed(&events());
    script.push(send(END));
    upstream.then(script);
    let answer = gateway.call(&key, &body("claude", ""));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let completion = answer.json();
    assert_eq!(completion["choices"][0]["message"]["content"], "Hello there");
    assert_eq!(completion["choices"][0]["finish_reason"], "stop");
    assert_eq!(completion["usage"]["prompt_tokens"], 7);
    for count in [1, 2] {
        assert_eq!(gateway.receipts()[count - 1].cost.nano(), cost(7, 3));
    }
    gateway.receipt(2);
}

#[test]
fn a_target_that_cannot_say_it_is_passed_by() {
    let (upstream, spare) = (Upstream::start(), Upstream::start());
    let gateway = gateway(&upstream, &spare);
    let key = gateway.key();
    let more = r#","n":2"#;
    let answer = gateway.call(&key, &body("claude", more));
    assert_eq!((answer.status, answer.code()), (400, json!("unsupported_parameter")));
    assert_eq!(answer.json()["error"]["param"], "n");
    let answer = gateway.call(&key, &body("spare", more));
    assert_eq!((answer.status, answer.header("x-conduit-provider")), (200, Some("scripted")));
    assert_eq!(spare.last().json()["model"], "spare");
    assert!(upstream.seen().is_empty(), "nothing was sent that cannot be said");
    gateway.receipt(1);

    // What is wrong with a target that was asked says more than what another could not be asked.
    spare.then([send(json("503 Busy", &[], r#"{"error":{"message":"busy"}}"#))]);
    let answer = gateway.call(&key, &body("reverse", more));
    assert_eq!((answer.status, answer.header("x-conduit-provider")), (503, Some("scripted")));
}

#[test]
fn a_call_falls_back_on_a_target_of_another_dialect() {
    let (upstream, spare) = (Upstream::start(), Upstream::start());
    let gateway = gateway(&upstream, &spare);
    let overloaded = json!({ "type": "error",
        "error": { "type": "overloaded_error", "message": "Overloaded" } });
    upstream.then([send(json("529 Overloaded", &[], &overloaded.to_string()))]);
    let answer = gateway.call(&gateway.key(), &body("spare", ""));
    assert_eq!((answer.status, answer.header("x-conduit-attempts")), (200, Some("2")));
    upstream.then([streamed(&[event(&overloaded)]), vec![send(END)]].concat());
    let answer = gateway.call(&gateway.key(), &body("spare", STREAM));
    assert_eq!(answer.header("x-conduit-provider"), Some("scripted"));
    assert_eq!(said(&chunks(&answer)), "Hello there");
    assert_eq!(gateway.receipt(2).ending, Ending::Done);
}

#[test]
fn a_client_of_the_first_days_calls_functions() {
    let (upstream, spare) = (Upstream::start(), Upstream::start());
    let gateway = gateway(&upstream, &spare);
    let key = gateway.key();
    let functions = r#","functions":[{"name":"look","parameters":{"type":"object","properties":{}}}],"function_call":"auto""#;
    let answer = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-real",
        "content": [{ "type": "tool_use", "id": "toolu_1", "name": "look", "input": { "at": 1 } }],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": { "input_tokens": 7, "output_tokens": 3 },
    });
    upstream.then([send(json("200 OK", &[], &answer.to_string()))]);
    let completion = gateway.call(&key, &body("claude", functions)).json();
    let said = &completion["choices"][0]["message"];
    assert_eq!(said["function_call"], json!({ "name": "look", "arguments": "{\"at\":1}" }));
    assert!(said.get("tool_calls").is_none());
    assert_eq!(completion["choices"][0]["finish_reason"], "function_call");
    let sent = upstream.last().json();
    assert_eq!(sent["tools"][0]["name"], "look");
    assert_eq!(sent["tool_choice"], json!({ "type": "auto", "disable_parallel_tool_use": true }));

    upstream.then([send(json("200 OK", &[], &answer.to_string()))]);
    let answer = gateway.call(&key, &body("claude", &format!("{functions}{STREAM}")));
    let chunks = chunks(&answer);
    let all = |path: &str| -> String {
        chunks.iter().filter_map(|chunk| chunk.pointer(path)?.as_str()).collect()
    };
    assert_eq!(all("/choices/0/delta/function_call/name"), "look");
    assert_eq!(all("/choices/0/delta/function_call/arguments"), "{\"at\":1}");
    assert_eq!(all("/choices/0/finish_reason"), "function_call");

    let turns = r#"{"model":"claude","messages":[{"role":"user","content":"Look"},
        {"role":"assistant","content":null,"function_call":{"name":"look","arguments":"{}"}},
        {"role":"function","name":"look","content":"me"}]}"#;
    upstream.then([send(json("200 OK", &[], &message()))]);
    assert_eq!(gateway.call(&key, turns).status, 200);
    let sent = upstream.last().json();
    let (call, result) = (&sent["messages"][1]["content"][0], &sent["messages"][2]["content"][0]);
    assert_eq!((&call["type"], &call["name"]), (&json!("tool_use"), &json!("look")));
    assert_eq!((&result["type"], &result["tool_use_id"]), (&json!("tool_result"), &call["id"]));
    let lost = turns.replace(r#""name":"look","content""#, r#""name":"else","content""#);
    let answer = gateway.call(&key, &lost);
    assert_eq!((answer.status, answer.code()), (400, json!("unsupported_parameter")));
    assert_eq!(answer.json()["error"]["param"], "messages[2].name");
}
