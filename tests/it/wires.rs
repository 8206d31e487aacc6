//! What is read of real calls on every wire, and what a key with limits may not ask for.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use conduit::provider::endpoint::{Dialect, Endpoint};
use conduit::provider::request::{Edits, Head, read, rewrite};
use serde_json::{Value, json};

use crate::gateway::{Setup, by_output, cost};
use crate::upstream::Upstream;

fn endpoint(wire: &str, stream: bool) -> Option<Endpoint> {
    Some(match wire {
        "openai.chat" => Endpoint::Chat,
        "openai.completions" => Endpoint::Completions,
        "openai.embeddings" => Endpoint::Embeddings,
        "openai.moderations" => Endpoint::Moderations,
        "openai.responses" => Endpoint::Responses,
        "anthropic.messages" => Endpoint::Messages,
        "anthropic.count_tokens" => Endpoint::CountTokens,
        "gemini.generate" if stream => Endpoint::StreamGenerateContent,
        "gemini.generate" => Endpoint::GenerateContent,
        _ => return None,
    })
}

#[test]
fn every_recorded_call_is_read_and_goes_on_as_it_came() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traffic");
    let Ok(index) = fs::read_to_string(folder.join("index.json")) else {
        println!("Skipped: there is no recorded traffic at {}.", folder.display());
        return;
    };
    let index: Value = serde_json::from_str(&index).unwrap();
    let mut read_calls = 0;
    for cassette in index["cassettes"].as_array().unwrap() {
        let id = cassette["id"].as_str().unwrap();
        let stream = cassette["stream"] == json!(true);
        let Some(endpoint) = endpoint(cassette["endpoint"].as_str().unwrap(), stream) else {
            continue;
        };
        let Some(path) = cassette["request"].as_str() else { continue };
        let body = Bytes::from(fs::read(folder.join(path)).unwrap());
        let Ok(asked) = serde_json::from_slice::<Value>(&body) else { continue };
        // What the path names is not looked for in the body.
        let is_in_path = matches!(endpoint.dialect(), Dialect::Gemini | Dialect::Bedrock);
        let model = asked["model"].as_str().unwrap_or("gemini").trim_start_matches("models/");
        let model = Some(model).filter(|_| is_in_path);
        let head = Head { model, content_type: Some("application/json") };
        let call = match read(endpoint, &head, &body) {
            Ok(call) => call,
            Err(error) => {
                // The provider refused it too, or the recorder left out what the wire demands.
                let missing = error.param().is_some_and(|param| asked[param].is_null());
                let refused = cassette["status"].as_u64() >= Some(400);
                assert!(missing || refused, "{id}: {error}");
                continue;
            }
        };
        read_calls += 1;
        assert_eq!(rewrite(&body, &call, &Edits::default()), body, "{id}");
        let edits = Edits {
            model: Some("other"),
            include_usage: true,
            output_cap: Some(77),
            old_cap: false,
        };
        let out = rewrite(&body, &call, &edits);
        let head = Head { model: Some("other").filter(|_| is_in_path), ..head };
        let again = read(endpoint, &head, &out).unwrap_or_else(|error| panic!("{id}: {error}"));
        if call.can_be_capped() {
            assert_eq!(again.output_cap, Some(77), "{id}");
        }
        assert_eq!(again.model, "other", "{id}");
    }
    assert!(read_calls > 300, "{read_calls}");
}

#[test]
fn a_key_with_a_limit_may_not_ask_for_what_has_no_price() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let call = by_output(r#","web_search_options":{"search_context_size":"low"}"#);
    let limited = gateway.limited("limited", cost(0, 1_000_000));
    let answer = gateway.call(&limited, &call);
    assert_eq!((answer.status, answer.code()), (400, json!("parameter_without_price")));
    assert_eq!(answer.json()["error"]["param"], "web_search_options");
    let answer = gateway.call(&limited, &by_output(r#","models":["dearer"]"#));
    assert_eq!((answer.status, answer.code()), (400, json!("parameter_without_price")));
    let free = gateway.limited("without a limit", None);
    assert_eq!(gateway.call(&free, &call).status, 200);
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_cap_that_is_null_is_replaced_and_not_written_twice() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.limited("narrow", cost(0, 100));
    let answer = gateway.call(&key, &by_output(r#","max_completion_tokens":null"#));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = String::from_utf8_lossy(&upstream.last().body).into_owned();
    assert_eq!(sent.matches("max_completion_tokens").count(), 1, "{sent}");
}
