//! Bedrock from end to end: what is signed is what was sent, frames come out as the client's events, an
//! error falls back, and each bill is what Bedrock itself counted.
//!
//! Signatures are made again here from what the provider saw, by AWS's description of Signature Version
//! 4 alone; frames are made by that of its event streams.

use conduit::domain::receipt::{Ending, Metered, Receipt};
use ring::{digest, hmac};
use serde_json::{Value, json};

use crate::client::{Answer, post};
use crate::gateway::{BEDROCK_KEY_ID, BEDROCK_SECRET, BEDROCK_TOKEN, Gateway, Key, Setup};
use crate::upstream::{END, STREAM_HEAD, Seen, Step, Upstream, chunked, json as answer_with, send};

const REGION: &str = "eu-central-1";
/// A name that stands in a path and in a signature in two different spellings.
const MODEL: &str = "eu.anthropic.claude-x-v1:0";
const PATH: &str = "/model/eu.anthropic.claude-x-v1%3A0";

const SIGNED: &str = "access_key_id_env = \"BEDROCK_KEY_ID\"\n\
                      secret_access_key_env = \"BEDROCK_SECRET\"\n\
                      session_token_env = \"BEDROCK_SESSION\"";
const BEARER: &str = "api_key_env = \"BEDROCK_TOKEN\"";

/// Nano-dollars for a token: in, from a cache, into one for five minutes and for an hour, out.
const RATES: [u64; 5] = [3_000, 300, 3_750, 6_000, 15_000];

/// A gateway whose model `claude` is Bedrock's at `upstream`; `spare` is that with chat behind it.
fn gateway(upstream: &Upstream, spare: &Upstream, credentials: &str) -> Gateway {
    let price = "price = { input = 3, cache_read = 0.3, cache_write = 3.75, cache_write_1h = 6, \
                 output = 15 }";
    Setup::to(spare)
        .more(&format!(
            "[providers.bedrock]\nkind = \"bedrock\"\nbase_url = \"http://{}\"\n\
             region = \"{REGION}\"\n{credentials}\n\
             connect_timeout = \"300ms\"\nidle_timeout = \"300ms\"\n\
             [models.claude]\nprovider = \"bedrock\"\nmodel = \"{MODEL}\"\n\
             max_output_tokens = 500\n{price}\n\
             [models.spare]\nmax_output_tokens = 500\n{price}\n\
             targets = [{{ provider = \"bedrock\", model = \"{MODEL}\" }},\n\
             {{ provider = \"scripted\", model = \"model\", order = 2 }}]\n\
             [routing]\ncooldown = \"0s\"",
            upstream.address()
        ))
        .start()
}

/// What the provider counted in [`message`] and [`events`].
fn usage() -> Value {
    json!({ "inputTokens": 11, "outputTokens": 4, "totalTokens": 40, "cacheReadInputTokens": 10,
            "cacheWriteInputTokens": 15, "cacheDetails": [
                { "ttl": "1h", "inputTokens": 6 }, { "ttl": "5m", "inputTokens": 9 } ] })
}

/// What that costs.
fn cost() -> u64 {
    [11, 10, 9, 6, 4].iter().zip(RATES).map(|(count, rate)| count * rate).sum()
}

/// An answer of Converse with text and a call of a tool.
fn message() -> String {
    json!({
        "output": { "message": { "role": "assistant", "content": [
            { "text": "Hello there" },
            { "toolUse": { "toolUseId": "tooluse_1", "name": "look", "input": { "at": "me" } } },
        ] } },
        "stopReason": "tool_use", "metrics": { "latencyMs": 5 }, "usage": usage(),
    })
    .to_string()
}

/// The same of `ConverseStream`, in its frames.
fn events() -> Vec<Vec<u8>> {
    [
        ("messageStart", json!({ "role": "assistant" })),
        ("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "text": "Hello" } })),
        ("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "text": " there" } })),
        ("contentBlockStop", json!({ "contentBlockIndex": 0 })),
        (
            "contentBlockStart",
            json!({ "contentBlockIndex": 1, "start": { "toolUse": {
                "toolUseId": "tooluse_1", "name": "look" } } }),
        ),
        (
            "contentBlockDelta",
            json!({ "contentBlockIndex": 1, "delta": { "toolUse": { "input": "{\"at\":" } } }),
        ),
        (
            "contentBlockDelta",
            json!({ "contentBlockIndex": 1, "delta": { "toolUse": { "input": "\"me\"}" } } }),
        ),
        ("contentBlockStop", json!({ "contentBlockIndex": 1 })),
        ("messageStop", json!({ "stopReason": "tool_use" })),
        ("metadata", json!({ "usage": usage(), "metrics": { "latencyMs": 5 } })),
    ]
    .iter()
    .map(|(name, data)| frame("event", ":event-type", name, data))
    .collect()
}

/// One message of an event stream.
fn frame(message_type: &str, named: &str, name: &str, payload: &Value) -> Vec<u8> {
    let mut headers = Vec::new();
    for (key, value) in
        [(":message-type", message_type), (named, name), (":content-type", "application/json")]
    {
        headers.push(u8::try_from(key.len()).unwrap());
        headers.extend(key.as_bytes());
        headers.push(7);
        headers.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let payload = payload.to_string();
    let total = 12 + headers.len() + payload.len() + 4;
    let mut frame = u32::try_from(total).unwrap().to_be_bytes().to_vec();
    frame.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload.as_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

fn exception(name: &str) -> Vec<u8> {
    frame("exception", ":exception-type", name, &json!({ "message": "Too many requests" }))
}

/// A stream whose bytes are cut every `size`.
fn streamed(events: &[Vec<u8>], size: usize) -> Vec<Step> {
    let head = STREAM_HEAD.replace("text/event-stream", "application/vnd.amazon.eventstream");
    let mut steps = vec![send(head)];
    steps.extend(events.concat().chunks(size).map(|piece| send(chunked(piece))));
    steps
}

fn whole_stream(size: usize) -> Vec<Step> {
    [streamed(&events(), size), vec![send(END)]].concat()
}

/// The same call in the three dialects that are carried to Bedrock.
fn call(gateway: &Gateway, key: &Key, dialect: &str, model: &str, stream: bool) -> Answer {
    let schema = json!({ "type": "object", "properties": { "at": { "type": "string" } } });
    let mut body = match dialect {
        "chat/completions" => json!({ "max_tokens": 70, "messages": [
                { "role": "system", "content": "Be kind." },
                { "role": "user", "content": "Grüß dich" } ],
            "tools": [{ "type": "function", "function": { "name": "look", "parameters": schema } }] }),
        "messages" => json!({ "max_tokens": 70, "system": "Be kind.",
            "messages": [{ "role": "user", "content": "Grüß dich" }],
            "tools": [{ "name": "look", "input_schema": schema }] }),
        _ => json!({ "max_output_tokens": 70, "instructions": "Be kind.", "input": "Grüß dich",
            "tools": [{ "type": "function", "name": "look", "parameters": schema, "strict": false }] }),
    };
    body["model"] = json!(model);
    if stream {
        body["stream"] = json!(true);
    }
    if stream && dialect == "chat/completions" {
        body["stream_options"] = json!({ "include_usage": true });
    }
    let headers =
        [&*key.header(), "Content-Type: application/json", "anthropic-version: 2023-06-01"];
    gateway.exchange(&post(&format!("/v1/{dialect}"), &headers, body.to_string().as_bytes()))
}

/// The JSON of each event of a stream.
fn data(answer: &Answer) -> Vec<Value> {
    assert!(answer.whole, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let text = answer.text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let lines = lines.filter(|line| *line != "[DONE]");
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a client of a dialect reads: text, the tool's id and arguments, and tokens in and out.
fn read(dialect: &str, answer: &Answer, stream: bool) -> (String, String, Value, [u64; 2]) {
    let number = |value: &Value| value.as_u64().unwrap_or(u64::MAX);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if stream {
        let events = data(answer);
        let all = |path: &str| -> String {
            events.iter().filter_map(|event| event.pointer(path)?.as_str()).collect()
        };
        let last = events.last().unwrap();
        let (said, id, arguments, usage) = match dialect {
            "chat/completions" => (
                all("/choices/0/delta/content"),
                all("/choices/0/delta/tool_calls/0/id"),
                all("/choices/0/delta/tool_calls/0/function/arguments"),
                [&last["usage"]["prompt_tokens"], &last["usage"]["completion_tokens"]],
            ),
            "messages" => {
                let usage = &events[events.len() - 2]["usage"];
                assert_eq!(usage["cache_read_input_tokens"], 10);
                assert_eq!(usage["cache_creation_input_tokens"], 15);
                let said = all("/delta/text");
                (
                    said,
                    all("/content_block/id"),
                    all("/delta/partial_json"),
                    [&usage["input_tokens"], &usage["output_tokens"]],
                )
            }
            _ => {
                assert_eq!(last["type"], "response.completed");
                let response = &last["response"];
                let of = |kind: &str| -> String {
                    let of_kind = events.iter().filter(|event| event["type"] == kind);
                    of_kind.filter_map(|event| event["delta"].as_str()).collect()
                };
                (
                    of("response.output_text.delta"),
                    text(&response["output"][1]["call_id"]),
                    of("response.function_call_arguments.delta"),
                    [&response["usage"]["input_tokens"], &response["usage"]["output_tokens"]],
                )
            }
        };
        return (said, id, serde_json::from_str(&arguments).unwrap(), usage.map(number));
    }
    let body = answer.json();
    let parsed = |value: &Value| serde_json::from_str(value.as_str().unwrap()).unwrap();
    let usage = |names: [&str; 2]| names.map(|name| number(&body["usage"][name]));
    match dialect {
        "chat/completions" => {
            let message = &body["choices"][0]["message"];
            let tool = &message["tool_calls"][0];
            assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
            let used = usage(["prompt_tokens", "completion_tokens"]);
            (
                text(&message["content"]),
                text(&tool["id"]),
                parsed(&tool["function"]["arguments"]),
                used,
            )
        }
        "messages" => {
            let (said, tool) = (&body["content"][0], &body["content"][1]);
            assert_eq!(body["stop_reason"], "tool_use");
            assert_eq!(body["usage"]["cache_read_input_tokens"], 10);
            let used = usage(["input_tokens", "output_tokens"]);
            (text(&said["text"]), text(&tool["id"]), tool["input"].clone(), used)
        }
        _ => {
            let (said, tool) = (&body["output"][0]["content"][0], &body["output"][1]);
            let used = usage(["input_tokens", "output_tokens"]);
            (text(&said["text"]), text(&tool["call_id"]), parsed(&tool["arguments"]), used)
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Makes the signature of a call again, from what was seen of it, and holds it against the one it had.
fn check_signature(seen: &Seen) {
    let authorization = seen.header("authorization").unwrap();
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ").unwrap();
    let parts: Vec<_> = rest.split(',').map(|part| part.trim().split_once('=').unwrap()).collect();
    let part = |name: &str| parts.iter().find(|(known, _)| *known == name).unwrap().1;
    let time = seen.header("x-amz-date").unwrap();
    let scope = format!("{}/{REGION}/bedrock/aws4_request", &time[..8]);
    assert_eq!(part("Credential"), format!("{BEDROCK_KEY_ID}/{scope}"));
    let names = part("SignedHeaders");
    for name in ["host", "content-type", "x-amz-date", "x-amz-security-token"] {
        assert!(names.split(';').any(|known| known == name), "{name} is not signed: {names}");
    }
    let headers = names.split(';').map(|name| format!("{name}:{}\n", seen.header(name).unwrap()));
    let headers = headers.collect::<Vec<_>>().concat();
    // In all services but one the path is encoded once more than it was sent.
    let path = seen.path.replace('%', "%25");
    let request = format!("POST\n{path}\n\n{headers}\n{names}\n{}", hash(&seen.body));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(request.as_bytes()));
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let mut key = format!("AWS4{BEDROCK_SECRET}").into_bytes();
    for step in [&time[..8], REGION, "bedrock", "aws4_request"] {
        key = sign(&key, step);
    }
    assert_eq!(part("Signature"), hex(&sign(&key, &text)), "of {request}");
}

/// What a receipt tells of a call that used what [`usage`] says.
fn check_receipt(receipt: &Receipt, dialect: &str, stream: bool) {
    assert_eq!((receipt.cost.nano(), receipt.metered), (cost(), Metered::Reported), "{dialect}");
    assert_eq!((receipt.ending, receipt.status), (Ending::Done, 200));
    assert_eq!((&*receipt.provider, &*receipt.upstream_model), ("bedrock", MODEL));
    assert_eq!((&*receipt.endpoint, receipt.streamed), (dialect, stream));
    assert!(receipt.adds_up());
}

const DIALECTS: [&str; 3] = ["chat/completions", "messages", "responses"];

#[test]
fn each_dialect_is_carried_there_and_back_signed_or_with_a_token() {
    for credentials in [SIGNED, BEARER] {
        let upstream = Upstream::start();
        let gateway = gateway(&upstream, &Upstream::start(), credentials);
        let key = gateway.limited("laptop", 1_000_000_000);
        let mut calls = 0;
        for dialect in DIALECTS {
            // Whole, in pieces that cut everything, and all at once.
            for size in [None, Some(7), Some(1 << 20)] {
                upstream.then(match size {
                    Some(size) => whole_stream(size),
                    None => vec![send(answer_with("200 OK", &[], &message()))],
                });
                let stream = size.is_some();
                let answer = call(&gateway, &key, dialect, "claude", stream);
                assert_eq!(answer.status, 200, "{dialect} {size:?}: {}", answer.text());
                let (said, id, arguments, [input, output]) = read(dialect, &answer, stream);
                assert_eq!((&*said, &*id), ("Hello there", "tooluse_1"), "{dialect} {size:?}");
                assert_eq!(arguments, json!({ "at": "me" }));
                // Anthropic counts cached tokens beside its prompt's, the others within.
                let prompt = if dialect == "messages" { 11 } else { 11 + 10 + 15 };
                assert_eq!((input, output), (prompt, 4), "{dialect} {size:?}");

                let seen = upstream.last();
                let method = if stream { "converse-stream" } else { "converse" };
                assert_eq!(seen.path, format!("{PATH}/{method}"));
                let sent = seen.json();
                assert_eq!(sent["inferenceConfig"]["maxTokens"], 70);
                assert_eq!(sent["system"], json!([{ "text": "Be kind." }]));
                assert_eq!(sent["messages"][0]["content"], json!([{ "text": "Grüß dich" }]));
                assert_eq!(sent["toolConfig"]["tools"][0]["toolSpec"]["name"], "look");
                assert_eq!(seen.header("anthropic-version"), None, "it is of another dialect");
                if credentials == SIGNED {
                    check_signature(&seen);
                } else {
                    let bearer = format!("Bearer {BEDROCK_TOKEN}");
                    assert_eq!(seen.header("authorization"), Some(&*bearer));
                    assert_eq!(seen.header("x-amz-date"), None);
                }
                calls += 1;
                check_receipt(&gateway.receipt(calls), dialect, stream);
                assert_eq!(gateway.spent(&key), cost() * calls as u64);
            }
        }
    }
}

/// Eleven tokens of a prompt are paid for, and nothing else is affordable but a few of an answer.
#[test]
fn a_cap_that_a_limit_makes_necessary_is_signed_as_it_goes_out() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &Upstream::start(), SIGNED);
    let key = gateway.limited("laptop", 15_000_000);
    upstream.then(vec![send(answer_with("200 OK", &[], &message()))]);
    let body =
        r#"{"model":"claude","messages":[{"role":"user","content":"Hello"}],"max_tokens":100000}"#;
    let answer = gateway.call(&key, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cap: u64 = answer.header("x-conduit-max-tokens-clamped").unwrap().parse().unwrap();
    let seen = upstream.last();
    assert_eq!(seen.json()["inferenceConfig"]["maxTokens"], cap);
    check_signature(&seen);
    assert_eq!(gateway.receipt(1).cost.nano(), cost());
}

#[test]
fn an_error_is_told_in_the_client_s_dialect_and_costs_nothing() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &Upstream::start(), SIGNED);
    let key = gateway.key();
    let mut calls = 0;
    for (status, name, message) in [
        ("400 Bad Request", "ValidationException", "The provided model identifier is invalid."),
        ("403 Forbidden", "AccessDeniedException", "You don't have access to the model."),
        ("424 Failed", "ModelErrorException", "The model failed."),
        ("429 Slow", "ThrottlingException", "Too many requests"),
        ("500 Internal", "InternalServerException", "It broke."),
        ("503 Busy", "ServiceUnavailableException", "Bedrock is busy."),
    ] {
        for dialect in DIALECTS {
            let header = format!("x-amzn-ErrorType: {name}:http://internal.amazon.com/");
            let body = json!({ "message": message }).to_string();
            upstream.then(vec![send(answer_with(status, &[&header], &body))]);
            let answer = call(&gateway, &key, dialect, "claude", calls % 2 == 0);
            assert_eq!(answer.status.to_string(), status[..3], "{dialect}: {}", answer.text());
            assert_eq!(answer.json()["error"]["message"], message, "{dialect}");
            if dialect == "messages" {
                assert_eq!(answer.json()["type"], "error");
            }
            calls += 1;
            let receipt = gateway.receipt(calls);
            assert_eq!((receipt.cost.nano(), receipt.metered), (0, Metered::Nothing));
            assert_eq!(receipt.ending, Ending::UpstreamError);
        }
    }
}

#[test]
fn a_stream_that_fails_ends_with_an_error_and_is_charged_for_what_came() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &Upstream::start(), SIGNED);
    let key = gateway.key();
    let begun = || events()[..2].to_vec();
    let told = [begun(), vec![exception("throttlingException")]].concat();
    let mut damaged = events();
    let place = damaged[2].len() / 2;
    damaged[2][place] ^= 1;
    let half = [begun(), vec![events()[2][..20].to_vec()]].concat();
    let cases = [
        ("told", [streamed(&told, 50), vec![send(END)]].concat(), Ending::UpstreamError),
        ("damaged", [streamed(&damaged, 50), vec![send(END)]].concat(), Ending::UpstreamError),
        ("half an event", [streamed(&half, 50), vec![send(END)]].concat(), Ending::UpstreamError),
        ("cut", [streamed(&begun(), 50), vec![Step::Reset]].concat(), Ending::UpstreamCut),
        ("no end", [streamed(&begun(), 50), vec![send(END)]].concat(), Ending::UpstreamCut),
        (
            "silent",
            [streamed(&begun(), 50), vec![Step::Pause(crate::upstream::millis(2_000))]].concat(),
            Ending::Timeout,
        ),
    ];
    let mut calls = 0;
    for (name, script, ending) in cases {
        for dialect in DIALECTS {
            upstream.then(script.clone());
            let answer = call(&gateway, &key, dialect, "claude", true);
            let text = answer.text();
            assert!(text.contains("Hello"), "{name} {dialect}: {text}");
            let events = data(&answer);
            let is_error = |event: &Value| {
                event["error"]["message"].is_string() || event["type"] == "response.failed"
            };
            assert!(events.iter().any(is_error), "{name} {dialect}: {text}");
            assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{text}");
            calls += 1;
            let receipt = gateway.receipt(calls);
            assert_eq!((receipt.ending, receipt.metered), (ending, Metered::Estimated), "{name}");
            let prompt = receipt.lines[0].count;
            assert!(prompt > 10 && prompt < 200, "{name} {dialect}: {prompt} tokens");
            // One event and five bytes of text: two tokens.
            let cost = prompt * RATES[0] + 2 * RATES[4];
            assert_eq!(receipt.cost.nano(), cost, "{name} {dialect}");
        }
    }
}

#[test]
fn what_fails_before_its_first_word_is_answered_by_another() {
    let (upstream, spare) = (Upstream::start(), Upstream::start());
    let gateway = gateway(&upstream, &spare, SIGNED);
    let key = gateway.limited("laptop", 1_000_000_000);
    let throttled = answer_with("429 Slow", &[], r#"{"message":"Too many requests"}"#);
    let at_once = [streamed(&[exception("throttlingException")], 30), vec![send(END)]].concat();
    let begun = [
        streamed(&[events()[0].clone(), exception("internalServerException")], 30),
        vec![send(END)],
    ]
    .concat();
    let cases = [(vec![send(throttled)], true), (at_once, true), (vec![Step::Reset], false)];
    let mut receipts = 0;
    for (script, is_free) in cases {
        upstream.then(script);
        let answer = call(&gateway, &key, "chat/completions", "spare", true);
        assert_eq!(answer.header("x-conduit-provider"), Some("scripted"), "{}", answer.text());
        assert_eq!(answer.header("x-conduit-attempts"), Some("2"));
        assert!(answer.text().ends_with("data: [DONE]\n\n"));
        // What was cut may have been charged for, and has a receipt of its own.
        receipts += if is_free { 1 } else { 2 };
        let receipt = gateway.receipt(receipts);
        assert_eq!(
            (&*receipt.provider, receipt.cost.nano()),
            ("scripted", 20 * 3_000 + 50 * 15_000)
        );
        assert_eq!(receipt.of.is_some(), !is_free);
    }
    // A stream that has begun in earnest is not taken back, and one that has only said who speaks is no
    // beginning: but its first event was data, so it has been shown.
    upstream.then(begun);
    let answer = call(&gateway, &key, "chat/completions", "spare", true);
    assert_eq!(answer.header("x-conduit-provider"), Some("bedrock"));
    assert!(answer.text().contains("error") && !answer.text().contains("[DONE]"));
}

#[test]
fn an_answer_that_is_not_what_was_asked_for_is_made_so() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &Upstream::start(), SIGNED);
    let key = gateway.key();
    let mut calls = 0;
    for dialect in DIALECTS {
        for stream in [false, true] {
            upstream.then(if stream {
                vec![send(answer_with("200 OK", &[], &message()))]
            } else {
                whole_stream(40)
            });
            let answer = call(&gateway, &key, dialect, "claude", stream);
            let (said, id, ..) = read(dialect, &answer, stream);
            assert_eq!((&*said, &*id), ("Hello there", "tooluse_1"), "{dialect} {stream}");
            calls += 1;
            assert_eq!(gateway.receipt(calls).cost.nano(), cost(), "{dialect} {stream}");
        }
    }
}
