//! The clients of three dialects at one door: where each puts its key, what each is answered when
//! something is wrong, and that a key in a query goes no further than the door.

use conduit::admin::keys::CreateKey;
use conduit::domain::key::Limits;
use conduit::domain::money::Money;
use serde_json::{Value, json};

use crate::client::{Answer, get, post};
use crate::gateway::{Gateway, Key, MESSAGES, Setup};
use crate::upstream::{END, STREAM_HEAD, Upstream, chunked, json as answer_with, send};

const GEMINI_CALL: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;

/// A call in each dialect, without a key, to a model that is not there.
fn calls() -> [(&'static str, String); 3] {
    let body = format!(r#"{{"model":"nothing","max_tokens":9,"messages":{MESSAGES}}}"#);
    [
        ("/v1/chat/completions", body.clone()),
        ("/v1/messages", body),
        ("/v1beta/models/nothing:generateContent", GEMINI_CALL.to_owned()),
    ]
}

fn call(gateway: &Gateway, path: &str, headers: &[&str], body: &str) -> Answer {
    let headers = [&["Content-Type: application/json"], headers].concat();
    gateway.exchange(&post(path, &headers, body.as_bytes()))
}

/// What a client of each dialect reads of an error: its kind, its message and its code.
fn read_error(path: &str, body: &Value) -> [Value; 3] {
    let places = if path.contains("v1beta") {
        ["/error/status", "/error/message", "/error/details/0/metadata/code"]
    } else if path.contains("messages") {
        assert_eq!(body["type"], "error");
        ["/error/type", "/error/message", "/error/details/error_code"]
    } else {
        ["/error/type", "/error/message", "/error/code"]
    };
    places.map(|place| body.pointer(place).cloned().unwrap_or_default())
}

#[test]
fn a_caller_without_a_key_is_told_so_in_its_own_dialect() {
    let gateway = Setup::to(&Upstream::start()).start();
    for ((path, body), kind) in
        calls().into_iter().zip(["authentication_error", "authentication_error", "UNAUTHENTICATED"])
    {
        let answer = call(&gateway, path, &[], &body);
        assert_eq!(answer.status, 401, "{path}");
        let expected = [json!(kind), json!("Invalid API key provided."), json!("invalid_api_key")];
        assert_eq!(read_error(path, &answer.json()), expected);
    }
}

#[test]
fn a_model_that_is_not_there_is_not_found_in_every_dialect() {
    let gateway = Setup::to(&Upstream::start()).start();
    let key = gateway.key();
    for ((path, body), kind) in
        calls().into_iter().zip(["invalid_request_error", "not_found_error", "NOT_FOUND"])
    {
        let answer = call(&gateway, path, &[&key.header()], &body);
        let [found, message, code] = read_error(path, &answer.json());
        assert_eq!(
            (answer.status, found, code),
            (404, json!(kind), json!("model_not_found")),
            "{path}"
        );
        assert!(message.as_str().unwrap().contains("`nothing`"));
    }
}

#[test]
fn a_spent_limit_is_refused_with_the_same_words_everywhere() {
    let upstream = Upstream::start();
    let gateway = with_gemini(&upstream).start();
    let limits = Limits { daily: Some(Money::from_nano(0)), ..Limits::default() };
    let key =
        gateway.create(CreateKey { name: "spent".to_owned(), limits, ..CreateKey::default() });
    let model = |text: &str, name| text.replace("nothing", name);
    for ((path, body), kind) in
        calls().into_iter().zip(["authorization_error", "permission_error", "PERMISSION_DENIED"])
    {
        let body = model(&body, "model");
        let answer = call(&gateway, &model(path, "gemini-x"), &[&key.header()], &body);
        let words = json!("API key has exceeded its spending limit.");
        let expected = [json!(kind), words, json!("spending_limit_exceeded")];
        assert_eq!((answer.status, read_error(path, &answer.json())), (403, expected), "{path}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn anthropics_clients_find_the_calls_name_where_they_look() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let ours = call(&gateway, "/v1/messages", &[], "{}");
    // And where a provider of chat refuses the call.
    upstream.then([send(answer_with("400 No", &[], r#"{"error":{"message":"no"}}"#))]);
    let body = format!(r#"{{"model":"model","max_tokens":9,"messages":{MESSAGES}}}"#);
    let theirs = call(&gateway, "/v1/messages", &[&gateway.key().header()], &body);
    for (answer, status) in [(ours, 401), (theirs, 400)] {
        assert_eq!(answer.status, status);
        let id = answer.header("request-id").unwrap().to_owned();
        assert_eq!(answer.json()["request_id"], json!(id));
        assert_eq!(answer.header("x-conduit-request-id"), Some(&*id));
    }
    assert_eq!(call(&gateway, "/v1/chat/completions", &[], "{}").header("request-id"), None);
}

#[test]
fn each_sdk_may_send_its_key_in_its_own_way() {
    let gateway = Setup::to(&Upstream::start()).start();
    let Key { secret, .. } = gateway.key();
    let [_, (anthropic, call_body), (gemini, _)] = calls();
    let in_query = format!("{gemini}?key={secret}");
    for (path, header, status) in [
        (anthropic, format!("x-api-key: {secret}"), 404),
        (anthropic, format!("Authorization: Bearer {secret}"), 404),
        (gemini, format!("x-goog-api-key: {secret}"), 404),
        (gemini, format!("Authorization: Bearer {secret}"), 404),
        (&*in_query, "Accept: */*".to_owned(), 404),
        (&*in_query, format!("x-goog-api-key: {secret}"), 401),
        (anthropic, format!("x-api-key: {secret}\r\nAuthorization: Bearer {secret}"), 401),
    ] {
        let body = if path == anthropic { &*call_body } else { GEMINI_CALL };
        let answer = call(&gateway, path, &[&header], body);
        assert_eq!(answer.status, status, "{path} {header}: {}", answer.text());
        assert!(!answer.text().contains(&secret), "{}", answer.text());
    }
    let in_query = format!("/v1/chat/completions?key={secret}");
    assert_eq!(call(&gateway, &in_query, &[], "{}").status, 401);
}

#[test]
fn what_is_no_path_is_said_in_the_dialect_of_its_place() {
    let gateway = Setup::to(&Upstream::start()).start();
    for (request, status, place, expected) in [
        (post("/v1beta/models/a:predict", &[], b"{}"), 404, "/error/status", "NOT_FOUND"),
        (post("/v1beta/files", &[], b"{}"), 404, "/error/status", "NOT_FOUND"),
        (get("/anthropic/v1/files", &[]), 404, "/error/type", "not_found_error"),
        (get("/v1/messages", &[]), 405, "/error/type", "invalid_request_error"),
        (get("/v1/messages/batches", &[]), 404, "/error/type", "not_found_error"),
        (post("/v1beta/models/a", &[], b"{}"), 405, "/error/status", "INVALID_ARGUMENT"),
        (get("/v1/files", &[]), 404, "/error/code", "unknown_url"),
    ] {
        let answer = gateway.exchange(&request);
        let found = answer.json().pointer(place).cloned();
        assert_eq!((answer.status, found), (status, Some(json!(expected))), "{}", answer.text());
    }
}

#[test]
fn an_anthropic_call_goes_through_as_it_is() {
    let body = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#;
    let upstream = Upstream::with(move |_| {
        let headers = ["request-id: req_theirs", "anthropic-organization-id: org-ours"];
        vec![send(answer_with("200 OK", &headers, body))]
    });
    let setup = Setup::to(&upstream).more(&format!(
        "[providers.claude]\nkind = \"anthropic\"\nbase_url = \"http://{}\"\n\
         api_key_env = \"SCRIPTED_KEY\"\n[models.claude-x]\nprovider = \"claude\"\n\
         max_output_tokens = 100\nprice = {{ input = 1, output = 2 }}",
        upstream.address()
    ));
    let gateway = setup.start();
    let key = gateway.key();
    let sent =
        r#"{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}"#;
    let header = format!("x-api-key: {}", key.secret);
    for (headers, version) in [
        (vec![&*header], "2023-06-01"),
        (vec![&header, "anthropic-version: 2099-01-01", "anthropic-beta: x-1"], "2099-01-01"),
    ] {
        let answer = call(&gateway, "/v1/messages?beta=true&x=1", &headers, sent);
        assert_eq!((answer.status, &*answer.text()), (200, body));
        assert_eq!(answer.header("request-id"), Some("req_theirs"));
        assert_eq!(answer.header("anthropic-organization-id"), None);
        let seen = upstream.last();
        assert_eq!((&*seen.path, &*seen.body), ("/v1/messages?beta=true", sent.as_bytes()));
        assert_eq!(seen.header("x-api-key"), Some(crate::gateway::PROVIDER_KEY));
        assert_eq!(seen.header("anthropic-version"), Some(version));
        assert_eq!(seen.header("anthropic-beta"), (headers.len() > 1).then_some("x-1"));
        assert!(!String::from_utf8_lossy(&seen.raw).contains(&key.secret));
    }
}

/// A provider that speaks Google's dialect, with a model of its own.
fn with_gemini(upstream: &Upstream) -> Setup {
    Setup::to(upstream).more(&format!(
        "[providers.google]\nkind = \"gemini\"\nbase_url = \"http://{}\"\n\
         api_key_env = \"SCRIPTED_KEY\"\n[models.\"gemini-*\"]\nprovider = \"google\"\n\
         max_output_tokens = 100\nprice = {{ input = 1, output = 2 }}",
        upstream.address()
    ))
}

#[test]
fn a_gemini_call_goes_through_as_it_is_but_for_its_key() {
    let event = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hi"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"totalTokenCount":5}}"#;
    let upstream = Upstream::with(move |call| {
        if !call.path.contains("streamGenerateContent") {
            return vec![send(answer_with("200 OK", &[], event))];
        }
        let events = format!("data: {event}\r\n\r\n");
        vec![send(STREAM_HEAD), send(chunked(events)), send(END)]
    });
    let gateway = with_gemini(&upstream).start();
    let key = gateway.key();
    let google = ["x-goog-api-client: google-genai-sdk/9", "x-goog-user-project: mine"];
    for (method, query, seen_path) in [
        ("generateContent", "", "/v1beta/models/gemini-x:generateContent"),
        (
            "streamGenerateContent",
            "alt=sse&fields=candidates&",
            "/v1beta/models/gemini-x:streamGenerateContent?alt=sse",
        ),
    ] {
        let path = format!("/v1beta/models/gemini-x:{method}?{query}key={}", key.secret);
        let answer = call(&gateway, &path, &google, GEMINI_CALL);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains(event));
        let seen = upstream.last();
        assert_eq!((&*seen.path, &*seen.body), (seen_path, GEMINI_CALL.as_bytes()));
        assert_eq!(seen.header("x-goog-api-key"), Some(crate::gateway::PROVIDER_KEY));
        assert_eq!(seen.header("x-goog-user-project"), None);
        assert!(!String::from_utf8_lossy(&seen.raw).contains(&key.secret));
    }
    assert_eq!(gateway.receipt(2).cost.nano(), crate::gateway::cost(3, 2));
}

#[test]
fn a_stream_of_googles_that_is_a_list_is_metered_too() {
    let part = |text: &str, out: u64| {
        format!(
            r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"{text}"}}]}},"finishReason":"STOP","index":0}}],"usageMetadata":{{"promptTokenCount":30,"candidatesTokenCount":{out},"totalTokenCount":{}}}}}"#,
            30 + out
        )
    };
    let list = format!("[{}\n,\r\n{}\n]\n", part("Hi", 20), part(" there", 50));
    let body = list.clone();
    let upstream = Upstream::with(move |_| vec![send(answer_with("200 OK", &[], &body))]);
    let gateway = with_gemini(&upstream).start();
    let header = gateway.key().header();
    let path = "/v1beta/models/gemini-x:streamGenerateContent";
    let answer = call(&gateway, path, &[&header], GEMINI_CALL);
    assert_eq!((answer.status, answer.text()), (200, list));
    assert_eq!(upstream.last().path, path);
    assert_eq!(gateway.receipt(1).cost.nano(), crate::gateway::cost(30, 50));
}

#[test]
fn a_call_to_bedrock_is_signed_and_has_its_model_in_the_path() {
    let body = r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5}}"#;
    let upstream = Upstream::with(move |_| vec![send(answer_with("200 OK", &[], body))]);
    let setup = Setup::to(&upstream).more(&format!(
        "[providers.bedrock]\nkind = \"bedrock\"\nregion = \"eu-west-1\"\n\
         base_url = \"http://{}\"\naccess_key_id_env = \"SCRIPTED_KEY\"\n\
         secret_access_key_env = \"SCRIPTED_KEY\"\n[models.claude]\nprovider = \"bedrock\"\n\
         model = \"anthropic.claude-x-v1:0\"\nmax_output_tokens = 100\n\
         price = {{ input = 1, output = 2 }}",
        upstream.address()
    ));
    let gateway = setup.start();
    let key = gateway.key();
    let answer = gateway.call(&key, &format!(r#"{{"model":"claude","messages":{MESSAGES}}}"#));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hi");
    let seen = upstream.last();
    assert_eq!(seen.path, "/model/anthropic.claude-x-v1%3A0/converse");
    let signature = seen.header("authorization").unwrap();
    let begin = format!("AWS4-HMAC-SHA256 Credential={}/", crate::gateway::PROVIDER_KEY);
    assert!(
        signature.starts_with(&begin) && signature.contains("/eu-west-1/bedrock/"),
        "{signature}"
    );
    assert!(seen.header("x-amz-date").is_some());
}

#[test]
fn a_client_for_azure_has_its_deployment_in_the_path() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let secret = format!("api-key: {}", gateway.key().secret);
    let path = "/openai/deployments/model/chat/completions?api-version=2024-10-21";
    // Azure reads no other, and its clients write there what they like.
    for written in [r#""model":"model","#, r#""model":"<ignored>","#, r#""model":null,"#, ""] {
        let body = format!(r#"{{{written}"messages":{MESSAGES}}}"#);
        assert_eq!(call(&gateway, path, &[&secret], &body).status, 200, "{written}");
        assert_eq!(upstream.last().json()["model"], "model", "{written}");
    }
    let body = format!(r#"{{"model":"model","messages":{MESSAGES}}}"#);
    assert_eq!(call(&gateway, "/openai/v1/chat/completions", &[&secret], &body).status, 200);
}

#[test]
fn azures_dated_api_has_the_deployment_in_the_path() {
    let upstream = Upstream::start();
    let setup = Setup::to(&upstream).more(&format!(
        "[providers.azure]\nkind = \"azure\"\nbase_url = \"http://{}/\"\n\
         api_version = \"2024-10-21\"\napi_key_env = \"SCRIPTED_KEY\"\n\
         [models.\"azure/*\"]\nprovider = \"azure\"\nprice = \"free\"",
        upstream.address()
    ));
    let gateway = setup.start();
    let key = gateway.key();
    for (model, path) in [
        ("my-gpt", "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"),
        ("a/../b?c", "/openai/deployments/a%2F..%2Fb%3Fc/chat/completions?api-version=2024-10-21"),
    ] {
        let body = format!(r#"{{"model":"azure/{model}","messages":{MESSAGES}}}"#);
        assert_eq!(gateway.call(&key, &body).status, 200);
        assert_eq!(upstream.last().path, path);
        assert_eq!(upstream.last().header("api-key"), Some(crate::gateway::PROVIDER_KEY));
    }
    let dots = format!(r#"{{"model":"azure/..","messages":{MESSAGES}}}"#);
    assert_eq!(gateway.call(&key, &dots).status, 502);
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_key_with_rates_is_told_them_in_its_clients_headers() {
    let gateway = Setup::to(&Upstream::start()).start();
    let mut verb = CreateKey { name: "slow".to_owned(), ..CreateKey::default() };
    verb.rpm = Some(1);
    let key = gateway.create(verb);
    let [_, (path, body), _] = calls();
    let answer = call(&gateway, path, &[&key.header()], &body);
    assert_eq!(answer.header("anthropic-ratelimit-requests-limit"), Some("1"), "{answer:?}");
    assert!(answer.header("anthropic-ratelimit-requests-reset").unwrap().ends_with('Z'));
    assert_eq!(answer.header("x-ratelimit-limit-requests"), None);
}
