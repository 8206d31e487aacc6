//! What a client can get wrong, each mistake with its exact answer; and that none of them reaches
//! the provider or costs anything.

use std::thread;

use conduit::admin::Verb;
use conduit::admin::keys::{CreateKey, RevokeKey, SetDisabled};
use conduit::clock;
use serde_json::{Value, json};

use crate::client::{Answer, get, post};
use crate::gateway::{Gateway, Key, Setup, body, chat};
use crate::upstream::{PROMPT_TOKENS, Upstream, chunked as as_chunk, millis};

const UNAUTHORIZED: &str = r#"{"error":{"message":"Invalid API key provided.","type":"authentication_error","param":null,"code":"invalid_api_key"}}"#;

fn check_named(answer: &Answer, case: &str) {
    let ours = answer.header("x-conduit-request-id").unwrap_or_default();
    assert!(ours.starts_with("req_"), "{case}: {answer:?}");
    assert_eq!(answer.header("x-request-id"), Some(ours), "{case}");
}

/// A header with a key that does not open the door, for each reason there is.
fn useless_headers(gateway: &Gateway, good: &Key) -> Vec<(&'static str, Vec<u8>)> {
    let revoked = gateway.limited("revoked", None);
    RevokeKey { key: revoked.id.to_string() }.run(gateway.desk()).unwrap();
    let disabled = gateway.limited("disabled", None);
    let verb = SetDisabled { key: disabled.id.to_string(), disabled: true };
    verb.run(gateway.desk()).unwrap();
    let expires_at = Some(clock::now().plus_millis(30));
    let verb = CreateKey { name: "expired".to_owned(), expires_at, ..CreateKey::default() };
    let expired = gateway.create(verb);
    thread::sleep(millis(40));

    let unknown = clock::new_secret().unwrap().reveal();
    let mut mistyped = good.secret.clone();
    let last = if mistyped.pop() == Some('x') { 'y' } else { 'x' };
    mistyped.push(last);
    let secret = &good.secret;
    let two = format!("{0}\r\n{0}", good.header());
    let elsewhere = format!("{}\r\nX-Api-Key: {secret}", good.header());
    [
        ("no header", String::new()),
        ("an empty header", "Authorization:".to_owned()),
        ("a scheme alone", "Authorization: Bearer".to_owned()),
        ("a scheme and a space", "Authorization: Bearer ".to_owned()),
        ("another scheme", format!("Authorization: Basic {secret}")),
        ("no scheme", format!("Authorization: {secret}")),
        ("two headers", two),
        ("a second key in another header", elsewhere),
        ("two keys in one header", format!("{}, Bearer {secret}", good.header())),
        ("a long token", format!("Authorization: Bearer {}", "a".repeat(10 << 10))),
        (
            "a long token like ours",
            format!("Authorization: Bearer {secret}{}", "a".repeat(10 << 10)),
        ),
        ("a wrong checksum", format!("Authorization: Bearer {mistyped}")),
        ("an unknown key", format!("Authorization: Bearer {unknown}")),
        ("a key of somebody else's", "Authorization: Bearer sk-proj-0123456789".to_owned()),
        ("a revoked key", revoked.header()),
        ("a disabled key", disabled.header()),
        ("an expired key", expired.header()),
        ("a key in a cookie", format!("Cookie: key={secret}")),
    ]
    .map(|(case, header)| (case, header.into_bytes()))
    .into_iter()
    .chain([
        ("not ASCII", "Authorization: Bearer sk-cdt-ключ".as_bytes().to_vec()),
        ("not even UTF-8", b"Authorization: Bearer \xff\xfe".to_vec()),
    ])
    .collect()
}

#[test]
fn every_key_that_does_not_open_the_door_gets_the_same_answer() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let good = gateway.key();
    let call = body("");
    for (case, header) in useless_headers(&gateway, &good) {
        for (method, path) in [
            ("POST", "/v1/chat/completions"),
            ("POST", "/embeddings"),
            ("GET", "/v1/models"),
            ("GET", "/v1/models/model"),
            ("GET", "/v1/key"),
        ] {
            let mut request = format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\n").into_bytes();
            request.extend_from_slice(&header);
            let break_ = if header.is_empty() { "" } else { "\r\n" };
            let length = if method == "POST" { call.len() } else { 0 };
            request.extend(format!("{break_}Content-Length: {length}\r\n\r\n").into_bytes());
            request.extend_from_slice(&call.as_bytes()[..length]);
            let answer = gateway.exchange(&request);
            assert_eq!((answer.status, &*answer.text()), (401, UNAUTHORIZED), "{case}: {path}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{case}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{case}");
            check_named(&answer, case);
        }
    }
    for path in ["api_key", "key", "access_token"] {
        let path = format!("/v1/chat/completions?{path}={}", good.secret);
        let answer = gateway.exchange(&post(&path, &[], call.as_bytes()));
        assert_eq!((answer.status, &*answer.text()), (401, UNAUTHORIZED), "{path}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_key_is_taken_from_wherever_clients_put_it() {
    let gateway = Setup::to(&Upstream::start()).start();
    let secret = gateway.key().secret;
    for header in [
        format!("Authorization: Bearer {secret}"),
        format!("authorization: bearer {secret}"),
        format!("AUTHORIZATION: bEaReR   {secret}  "),
        format!("x-api-key: {secret}"),
        format!("api-key: {secret}"),
        format!("X-Goog-Api-Key: {secret}"),
    ] {
        for path in ["/v1/chat/completions", "/chat/completions"] {
            let answer = gateway.exchange(&post(path, &[&header], body("").as_bytes()));
            assert_eq!(answer.status, 200, "{header}: {}", answer.text());
        }
    }
}

/// A body, what the error object must say, and the endpoint.
type BadBody = (&'static str, Vec<u8>, Value, Value);

fn bad_bodies() -> Vec<BadBody> {
    let missing = || json!("missing_required_parameter");
    let rows: [(&str, &str, Value, Value); 16] = [
        ("chat/completions", "", Value::Null, Value::Null),
        ("chat/completions", r#"{"model":"#, Value::Null, Value::Null),
        ("chat/completions", "model=model&messages=hi", Value::Null, Value::Null),
        (
            "chat/completions",
            r#"{"model":"model","messages":[]} and more"#,
            Value::Null,
            Value::Null,
        ),
        ("chat/completions", r#"["model"]"#, Value::Null, Value::Null),
        ("chat/completions", r#"{"messages":[]}"#, missing(), json!("model")),
        ("chat/completions", r#"{"model":null,"messages":[]}"#, missing(), json!("model")),
        ("chat/completions", r#"{"model":7,"messages":[]}"#, json!("invalid_type"), json!("model")),
        (
            "chat/completions",
            r#"{"model":"","messages":[]}"#,
            json!("invalid_value"),
            json!("model"),
        ),
        ("chat/completions", r#"{"model":"model"}"#, missing(), json!("messages")),
        (
            "chat/completions",
            r#"{"model":"model","messages":"hi"}"#,
            json!("invalid_type"),
            json!("messages"),
        ),
        (
            "chat/completions",
            r#"{"model":"model","messages":[],"model":"other"}"#,
            json!("duplicate_parameter"),
            json!("model"),
        ),
        (
            "chat/completions",
            r#"{"model":"model","messages":[],"stream":"yes"}"#,
            json!("invalid_type"),
            json!("stream"),
        ),
        (
            "chat/completions",
            r#"{"model":"model","messages":[],"max_tokens":-5}"#,
            json!("invalid_type"),
            json!("max_tokens"),
        ),
        ("completions", r#"{"model":"model"}"#, missing(), json!("prompt")),
        ("embeddings", r#"{"model":"model"}"#, missing(), json!("input")),
    ];
    let mut rows: Vec<BadBody> = rows
        .into_iter()
        .map(|(path, body, code, param)| (path, body.into(), code, param))
        .collect();
    rows.push(("chat/completions", b"{\"model\":\"\xff\"}".to_vec(), Value::Null, Value::Null));
    rows
}

#[test]
fn a_body_that_is_no_call_is_refused_with_what_is_wrong() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    for (path, bytes, code, param) in bad_bodies() {
        let case = String::from_utf8_lossy(&bytes).into_owned();
        let answer = gateway.exchange(&post(&format!("/v1/{path}"), &[&key.header()], &bytes));
        assert_eq!((answer.status, answer.code()), (400, code), "{case}");
        let error = answer.json()["error"].clone();
        assert_eq!(error["param"], param, "{case}: {error}");
        assert_eq!(error["type"], "invalid_request_error", "{case}: {error}");
        check_named(&answer, &case);
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_body_over_the_limit_is_refused_however_it_is_sent() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).server("max_body = 4096").start();
    let key = gateway.key();
    let filler = |length: usize| {
        let empty = body(r#","user":"""#).len();
        body(&format!(r#","user":"{}""#, "u".repeat(length - empty)))
    };
    let head = |more: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n{}\r\n{more}\r\n\r\n",
            key.header()
        )
    };
    let announced =
        |length: usize| format!("{}{}", head(&format!("Content-Length: {length}")), filler(length));
    let chunked = |length: usize| {
        let (whole, mut sent) = (filler(length), head("Transfer-Encoding: chunked"));
        for part in whole.as_bytes().chunks(1000) {
            sent.push_str(str::from_utf8(&as_chunk(part)).unwrap());
        }
        sent + "0\r\n\r\n"
    };
    for (case, request, is_taken) in [
        ("just the limit, announced", announced(4096), true),
        ("just the limit, in chunks", chunked(4096), true),
        ("one more, announced", announced(4097), false),
        ("one more, in chunks", chunked(4097), false),
        ("announced and not sent", head("Content-Length: 1000000000000"), false),
    ] {
        let answer = gateway.exchange(request.as_bytes());
        if is_taken {
            assert_eq!(answer.status, 200, "{case}: {}", answer.text());
        } else {
            assert_eq!((answer.status, answer.code()), (413, json!("request_too_large")), "{case}");
            assert_eq!(answer.header("connection"), Some("close"), "{case}");
            check_named(&answer, case);
        }
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_body_that_breaks_off_reaches_nobody() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    let whole = chat(&key, &body(""));
    for end in [whole.len() - 1, whole.len() - 60] {
        let mut client = gateway.client();
        client.send(&whole[..end]);
        let client = client.leave(crate::client::Leave::HalfClose);
        if let Some(head) = client.and_then(|mut client| client.head()) {
            assert_eq!(head.status, 400);
        }
    }
    assert!(upstream.seen().is_empty());
    assert!(gateway.receipts().is_empty());
}

#[test]
fn another_content_type_than_json_is_refused() {
    let gateway = Setup::to(&Upstream::start()).start();
    let key = gateway.key();
    for (content_type, is_taken) in [
        ("application/json", true),
        ("Application/JSON ; charset=utf-8", true),
        ("application/vnd.api+json", true),
        ("text/plain", false),
        ("application/x-www-form-urlencoded", false),
        ("multipart/form-data; boundary=x", false),
        ("", false),
    ] {
        let header = format!("Content-Type: {content_type}");
        let request = post("/v1/chat/completions", &[&key.header(), &header], body("").as_bytes());
        let answer = gateway.exchange(&request);
        if is_taken {
            assert_eq!(answer.status, 200, "{content_type}");
        } else {
            let expected = (415, json!("unsupported_content_type"));
            assert_eq!((answer.status, answer.code()), expected, "{content_type:?}");
            check_named(&answer, content_type);
        }
    }
}

#[test]
fn a_compressed_body_is_refused_and_told_why() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    for (encoding, is_taken) in [("identity", true), ("gzip", false), ("zstd, identity", false)] {
        let headers = [
            key.header(),
            "Content-Type: application/json".into(),
            format!("Content-Encoding: {encoding}"),
        ];
        let headers = headers.each_ref().map(String::as_str);
        let answer = gateway.exchange(&post("/v1/chat/completions", &headers, body("").as_bytes()));
        if is_taken {
            assert_eq!(answer.status, 200, "{encoding}");
        } else {
            let expected = (415, json!("unsupported_content_encoding"));
            assert_eq!((answer.status, answer.code()), expected, "{encoding}");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
            check_named(&answer, encoding);
        }
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_wrong_method_or_path_is_answered_in_the_same_shape() {
    let gateway = Setup::to(&Upstream::start()).start();
    let key = gateway.key();
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", Some("POST")),
        ("PUT", "/chat/completions", Some("POST")),
        ("DELETE", "/v1/embeddings", Some("POST")),
        ("OPTIONS", "/v1/completions", Some("POST")),
        ("POST", "/v1/models", Some("GET")),
        ("DELETE", "/v1/models/model", Some("GET")),
        ("POST", "/v1/key", Some("GET")),
        ("PUT", "/healthz", Some("GET")),
        ("GET", "/", None),
        ("GET", "/v1", None),
        ("GET", "/v2/models", None),
        ("POST", "/v1/chat/completions/", None),
        ("POST", "/v1/chat//completions", None),
        ("POST", "/v1/images/variations", None),
        ("GET", "/admin/v1/keys/list", None),
        ("POST", "/admin/v1/keys/create", None),
        ("GET", "/../etc/passwd", None),
        ("GET", "/v1/%6dodels%00", None),
    ] {
        let case = format!("{method} {path}");
        let request = format!(
            "{case} HTTP/1.1\r\nHost: gateway\r\n{}\r\nContent-Length: 0\r\n\r\n",
            key.header()
        );
        let answer = gateway.exchange(request.as_bytes());
        let (status, code) = allow.map_or((404, "unknown_url"), |_| (405, "method_not_supported"));
        assert_eq!((answer.status, answer.code()), (status, json!(code)), "{case}");
        assert_eq!(answer.header("allow"), allow, "{case}");
        check_named(&answer, &case);
    }
}

#[test]
fn a_model_that_is_unknown_closed_or_without_a_price_is_refused() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let (free, scoped) = (gateway.key(), gateway.scoped("scoped", &["other*"]));
    let limited = gateway.limited("limited", 1_000_000_000);
    for (key, model, status, code) in [
        (&free, "nowhere", 404, "model_not_found"),
        (&scoped, "model", 404, "model_not_found"),
        (&limited, "unpriced", 400, "model_without_price"),
    ] {
        let answer = gateway
            .call(key, &body("").replace(r#""model":"model""#, &format!(r#""model":"{model}""#)));
        assert_eq!((answer.status, answer.code()), (status, json!(code)), "{model}");
        let error = answer.json()["error"].clone();
        assert_eq!(error["param"], "model", "{error}");
        assert!(error["message"].as_str().unwrap().contains(&format!("`{model}`")), "{error}");
        let retry = (status == 400).then_some("false");
        assert_eq!(answer.header("x-should-retry"), retry, "{model}");
        check_named(&answer, model);
    }
    assert!(upstream.seen().is_empty());

    let answer = gateway.call(&free, r#"{"model":"unpriced","messages":[]}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let receipt = gateway.receipt(1);
    assert_eq!((&*receipt.price, receipt.cost.nano()), ("unknown", 0));
    assert_eq!(receipt.usage().input_tokens(), PROMPT_TOKENS, "it is counted all the same");
}

#[test]
fn a_sensible_request_id_of_the_clients_own_is_kept() {
    let gateway = Setup::to(&Upstream::start()).start();
    let key = gateway.key();
    let long = "i".repeat(129);
    for (id, is_kept) in [
        ("client-id-1", true),
        ("0123456789abcdef/trace=7", true),
        (&long[..128], true),
        (&long, false),
        ("with space", false),
        ("not-ascii-é", false),
        ("", false),
    ] {
        let header = format!("X-Request-Id: {id}");
        for request in [
            post("/v1/chat/completions", &[&key.header(), &header], body("").as_bytes()),
            post("/v1/chat/completions", &[&header], b""),
            get("/nowhere", &[&header]),
        ] {
            let answer = gateway.exchange(&request);
            let ours = answer.header("x-conduit-request-id").unwrap();
            assert!(ours.starts_with("req_"), "{ours}");
            let expected = if is_kept { id } else { ours };
            assert_eq!(answer.header("x-request-id"), Some(expected), "{id:?}");
        }
    }
}

#[test]
fn what_is_refused_leaves_the_connection_in_order() {
    let gateway = Setup::to(&Upstream::start()).start();
    let key = gateway.key();
    let smuggled = "GET /v1/key HTTP/1.1\r\nHost: gateway\r\n\r\n";
    for first in [
        post("/v1/chat/completions", &[], smuggled.as_bytes()),
        post("/v1/chat/completions", &["Content-Type: text/plain"], smuggled.as_bytes()),
        post("/v1/models", &[], smuggled.as_bytes()),
        post("/nowhere", &[], smuggled.as_bytes()),
    ] {
        let mut client = gateway.client();
        client.send(&first);
        assert!(matches!(client.answer().status, 401 | 404 | 405 | 415));
        // Either the connection is at its end, or the next answer is that of the next request.
        client.try_send(&chat(&key, &body("")));
        if let Some(head) = client.head() {
            assert_eq!(client.body(head).status, 200);
        }
    }
}

#[test]
fn what_is_not_http_ends_the_connection_and_nothing_else() {
    let gateway = Setup::to(&Upstream::start()).start();
    let key = gateway.key();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GARBAGE\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut client = gateway.client();
        client.try_send(garbage);
        if let Some(head) = client.head() {
            let status = client.body(head).status;
            assert!((400..500).contains(&status), "{status}");
        }
    }
    assert_eq!(gateway.call(&key, &body("")).status, 200);
}
