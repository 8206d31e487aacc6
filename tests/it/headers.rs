//! Which headers travel, seen from both ends of a call: no key crosses the gateway in either
//! direction, and nobody learns whose account is used.

use crate::client::post;
use crate::gateway::{PROVIDER_KEY, Setup, body};
use crate::upstream::{Upstream, completion, json, send};

#[test]
fn our_key_stays_and_the_providers_goes() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let secret = gateway.key().secret;
    for header in ["Authorization: Bearer", "x-api-key:", "api-key:", "x-goog-api-key:"] {
        let header = format!("{header} {secret}");
        let path = "/v1/chat/completions?limit=5";
        let answer = gateway.exchange(&post(path, &[&header], body("").as_bytes()));
        assert_eq!(answer.status, 200);
        let seen = upstream.last();
        assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {PROVIDER_KEY}")));
        assert_eq!(seen.path, "/v1/chat/completions");
        let raw = String::from_utf8_lossy(&seen.raw);
        assert!(!raw.contains(&secret) && !raw.contains("sk-cdt-"), "{raw}");
    }
}

#[test]
fn a_clients_headers_travel_unless_they_belong_to_this_side() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).provider("headers = { \"X-Extra\" = \"ours\" }").start();
    let key = gateway.key();
    let headers = [
        &*key.header(),
        "Content-Type: application/json",
        "User-Agent: OpenAI/Python 1.2.3",
        "OpenAI-Beta: assistants=v2",
        "X-Stainless-Lang: python",
        "Idempotency-Key: k1",
        "X-Extra: theirs",
        "Connection: keep-alive, X-Hop",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Upgrade: h2c",
        "Proxy-Authorization: Basic eDp5",
        "Cookie: session=1",
        "Accept-Encoding: gzip, br",
        "OpenAI-Organization: org-1",
        "OpenAI-Project: proj-1",
        "X-Forwarded-For: 192.0.2.1",
        "X-Real-IP: 192.0.2.1",
        "Via: 1.1 proxy",
        "X-Conduit-Secret: 1",
    ];
    let answer = gateway.exchange(&post("/v1/chat/completions", &headers, body("").as_bytes()));
    assert_eq!(answer.status, 200);
    let seen = upstream.last();
    for (name, expected) in [
        ("content-type", Some("application/json")),
        ("user-agent", Some("OpenAI/Python 1.2.3")),
        ("openai-beta", Some("assistants=v2")),
        ("x-stainless-lang", Some("python")),
        ("idempotency-key", Some("k1")),
        ("x-extra", Some("ours")),
        ("accept-encoding", Some("identity")),
        ("host", Some(&*upstream.address().to_string())),
        ("x-hop", None),
        ("keep-alive", None),
        ("te", None),
        ("upgrade", None),
        ("proxy-authorization", None),
        ("cookie", None),
        ("openai-organization", None),
        ("openai-project", None),
        ("x-forwarded-for", None),
        ("x-real-ip", None),
        ("via", None),
        ("x-conduit-secret", None),
    ] {
        assert_eq!(seen.header(name), expected, "{name}: {:?}", seen.headers);
    }
    let extras = seen.headers.iter().filter(|(name, _)| name == "x-extra");
    assert_eq!(extras.count(), 1);
    assert_eq!(seen.body, body("").as_bytes(), "the body goes as it came");
}

#[test]
fn a_providers_headers_travel_unless_they_are_its_accounts() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let headers = [
        "X-RateLimit-Remaining-Requests: 7",
        "OpenAI-Processing-Ms: 12",
        "OpenAI-Organization: org-ours",
        "OpenAI-Project: proj-ours",
        "Set-Cookie: __cf_bm=1; path=/",
        "Set-Cookie: _cfuvid=2",
        "Server: cloudflare",
        "Alt-Svc: h3=\":443\"",
        "Strict-Transport-Security: max-age=1",
        "Connection: X-Hop",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "X-Request-Id: theirs",
        "X-Conduit-Cost: 0",
        "X-Twice: a",
        "X-Twice: b",
    ];
    upstream.then([send(json("200 OK", &headers, &completion(1, 1)))]);
    let answer = gateway.call(&gateway.key(), &body(""));
    assert_eq!((answer.status, answer.text()), (200, completion(1, 1)));
    for (name, expected) in [
        ("content-type", Some("application/json")),
        ("x-ratelimit-remaining-requests", Some("7")),
        ("openai-processing-ms", Some("12")),
        ("openai-organization", None),
        ("openai-project", None),
        ("set-cookie", None),
        ("server", None),
        ("alt-svc", None),
        ("strict-transport-security", None),
        ("x-hop", None),
        ("keep-alive", None),
        ("x-conduit-provider", Some("scripted")),
        ("x-conduit-cost", Some("0.000003")),
    ] {
        assert_eq!(answer.header(name), expected, "{name}: {answer:?}");
    }
    assert_eq!(answer.header("x-request-id"), answer.header("x-conduit-request-id"));
    let twice = answer.headers.iter().filter(|(name, _)| name == "x-twice");
    assert_eq!(twice.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}
