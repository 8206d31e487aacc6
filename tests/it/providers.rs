//! What a provider can do to a call that is not a stream: each way of failing with the client's
//! answer, and what it costs.

use std::net::TcpListener;

use conduit::domain::receipt::{Ending, Metered};
use serde_json::json;

use crate::gateway::{Gateway, Setup, body, chat, cost, estimate};
use crate::upstream::{
    COMPLETION_TOKENS, PROMPT_TOKENS, Step, Upstream, chunked, completion, json, millis, send,
};

fn impatient(upstream: &Upstream) -> Gateway {
    Setup::to(upstream)
        .provider("connect_timeout = \"200ms\"\nfirst_byte_timeout = \"200ms\"")
        .provider("idle_timeout = \"400ms\"\ntotal_timeout = \"3s\"")
        .start()
}

/// What a client is answered when a provider fails before its answer has begun, and why.
struct Failure {
    case: &'static str,
    script: Vec<Step>,
    status: u16,
    code: &'static str,
    ending: Ending,
    /// Bytes of text that came.
    content: u64,
}

fn failures() -> Vec<Failure> {
    let answer = completion(PROMPT_TOKENS, COMPLETION_TOKENS);
    let whole = json("200 OK", &[], &answer);
    let half = whole[..whole.len() - 20].to_vec();
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cut = |case, script: Vec<Step>| Failure {
        case,
        script,
        status: 502,
        code: "upstream_error",
        ending: Ending::UpstreamCut,
        content: 0,
    };
    let late = |case, script: Vec<Step>| Failure {
        case,
        script,
        status: 504,
        code: "upstream_timeout",
        ending: Ending::Timeout,
        content: 0,
    };
    // What came of it is charged.
    let said = |failure| Failure { content: "Hello there".len() as u64, ..failure };
    vec![
        cut("closed before its head", vec![Step::Close]),
        cut("reset before its head", vec![Step::Reset]),
        cut("closed within its head", vec![send("HTTP/1.1 200 OK\r\nContent-Le"), Step::Close]),
        cut("garbage", vec![send("SSH-2.0-OpenSSH_9.9\r\n\r\n"), Step::Pause(millis(5000))]),
        cut("binary garbage", vec![send([0, 159, 146, 150, 10, 10]), Step::Pause(millis(5000))]),
        said(cut("closed within its body", vec![send(half.clone()), Step::Close])),
        said(cut(
            "reset within its body",
            vec![send(half.clone()), Step::Pause(millis(50)), Step::Reset],
        )),
        cut(
            "closed within a chunk",
            vec![send(head), send("fff\r\n"), send(&answer.as_bytes()[..50]), Step::Close],
        ),
        cut("closed between chunks", vec![send(head), send(chunked(&answer[..50])), Step::Close]),
        cut("a chunk of no length", vec![send(head), send("xyz\r\n{}\r\n0\r\n\r\n"), Step::Close]),
        said(cut(
            "chunks that end with the connection, where an object might end",
            vec![
                send(head),
                send(chunked(&answer[..answer.find(r#","usage""#).unwrap()])),
                Step::Close,
            ],
        )),
        cut(
            "closed within an object that ends with the connection",
            vec![
                send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"),
                send(&answer.as_bytes()[..50]),
                Step::Close,
            ],
        ),
        late("silent", vec![Step::Pause(millis(5000))]),
        late(
            "silent within its head",
            vec![send("HTTP/1.1 200 OK\r\n"), Step::Pause(millis(5000))],
        ),
        said(late("silent within its body", vec![send(half), Step::Pause(millis(5000))])),
    ]
}

#[test]
fn a_provider_that_fails_is_answered_for_and_charged_by_what_was_sent() {
    let upstream = Upstream::start();
    let gateway = impatient(&upstream);
    let key = gateway.key();
    for (index, failure) in failures().into_iter().enumerate() {
        let Failure { case, script, status, code, ending, content } = failure;
        upstream.then(script);
        let answer = gateway.call(&key, &body(""));
        assert_eq!((answer.status, answer.code()), (status, json!(code)), "{case}");
        assert_eq!(answer.json()["error"]["type"], "server_error", "{case}");
        assert!(answer.header("x-request-id").is_some(), "{case}");
        let receipt = gateway.receipt(index + 1);
        assert_eq!((receipt.ending, receipt.metered), (ending, Metered::Estimated), "{case}");
        assert_eq!(receipt.cost.nano(), estimate(content, 0), "{case}");
    }
    assert_eq!(upstream.seen().len(), failures().len(), "nothing is sent twice");
}

#[test]
fn a_provider_that_is_down_costs_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut setup = Setup::to(&Upstream::start());
    setup.upstream = Some(closed);
    let gateway = setup.start();
    for stream in ["", r#","stream":true"#] {
        let answer = gateway.call(&gateway.key(), &body(stream));
        assert_eq!((answer.status, answer.code()), (502, json!("upstream_unreachable")));
    }
    let receipt = gateway.receipt(2);
    assert_eq!((receipt.cost.nano(), receipt.metered), (0, Metered::Nothing));
}

#[test]
fn a_slow_provider_is_waited_for() {
    let upstream = Upstream::start();
    let gateway = impatient(&upstream);
    let answer = completion(PROMPT_TOKENS, COMPLETION_TOKENS);
    let whole = json("200 OK", &[], &answer);
    let (first, rest) = whole.split_at(whole.len() - 100);
    upstream.then([
        Step::Pause(millis(100)),
        send(first),
        Step::Pause(millis(200)),
        Step::Drip(rest.to_vec()),
    ]);
    let received = gateway.call(&gateway.key(), &body(""));
    assert_eq!((received.status, received.text()), (200, answer));
    assert_eq!(received.header("x-conduit-cost"), Some("0.00012"));
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.ending, receipt.metered), (Ending::Done, Metered::Reported));
    assert_eq!(receipt.cost.nano(), cost(PROMPT_TOKENS, COMPLETION_TOKENS));
}

#[test]
fn a_providers_own_refusal_is_passed_on_as_it_is_and_costs_nothing() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    let odd = "{\n \"error\" : {\"message\":\"\\u00e9\",\"extra\":[1,2] } }\n";
    let mut calls = 0;
    for (status, headers, refusal) in [
        ("400 Bad Request", &[][..], odd),
        ("401 Unauthorized", &["WWW-Authenticate: Bearer realm=x"], odd),
        ("403 Forbidden", &[], ""),
        ("404 Not Found", &[], odd),
        ("429 Too Many Requests", &["Retry-After: 17", "Retry-After-Ms: 17000"], odd),
        ("429 Too Many Requests", &["X-Should-Retry: true"], "<html>slow down</html>"),
        ("500 Internal Server Error", &[], "not json"),
        ("503 Service Unavailable", &["Retry-After: 1"], odd),
        ("529 Overloaded", &[], odd),
    ] {
        for stream in ["", r#","stream":true"#] {
            upstream.then([send(json(status, headers, refusal))]);
            let answer = gateway.call(&key, &body(stream));
            assert_eq!(answer.status.to_string(), status[..3], "{status}");
            assert_eq!(answer.text(), refusal, "{status}");
            for header in headers {
                let (name, value) = header.split_once(": ").unwrap();
                assert_eq!(answer.header(&name.to_ascii_lowercase()), Some(value), "{status}");
            }
            assert_eq!(answer.header("x-conduit-cost"), Some("0.00"), "{status}");
            calls += 1;
            let receipt = gateway.receipt(calls);
            assert_eq!((receipt.cost.nano(), receipt.metered), (0, Metered::Nothing), "{status}");
            assert_eq!(receipt.ending, Ending::UpstreamError, "{status}");
        }
    }
}

#[test]
fn an_error_that_says_it_is_a_success_costs_nothing() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let error = r#"{"error":{"message":"overloaded","code":529}}"#;
    upstream.then([send(json("200 OK", &[], error))]);
    let answer = gateway.call(&gateway.key(), &body(""));
    assert_eq!((answer.status, &*answer.text()), (200, error));
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.cost.nano(), receipt.ending), (0, Ending::UpstreamError));
}

#[test]
fn a_redirect_is_followed_by_nobody_and_costs_nothing() {
    let (upstream, elsewhere) = (Upstream::start(), Upstream::start());
    let gateway = Setup::to(&upstream).start();
    for (index, status) in
        ["301 Moved", "302 Found", "307 Again", "308 For Good"].iter().enumerate()
    {
        let location = format!("Location: http://{}/v1/chat/completions", elsewhere.address());
        upstream.then([send(json(status, &[&location], ""))]);
        let answer = gateway.call(&gateway.key(), &body(""));
        assert_eq!(answer.status.to_string(), status[..3]);
        assert_eq!(answer.header("location"), None, "its client would go there with our key");
        let receipt = gateway.receipt(index + 1);
        assert_eq!((receipt.cost.nano(), receipt.metered), (0, Metered::Nothing), "{status}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_call_is_metered_by_what_came_and_not_by_what_was_asked_for() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    let answer = completion(PROMPT_TOKENS, COMPLETION_TOKENS);
    upstream.then([send(json("200 OK", &[], &answer))]);
    let received = gateway.call(&key, &body(r#","stream":true"#));
    assert_eq!(
        (received.status, received.text()),
        (200, answer),
        "JSON although a stream was asked"
    );
    assert_eq!(gateway.receipt(1).cost.nano(), cost(PROMPT_TOKENS, COMPLETION_TOKENS));

    let events = [
        crate::upstream::words(),
        crate::upstream::usage_event(PROMPT_TOKENS, COMPLETION_TOKENS),
        crate::upstream::DONE.to_owned(),
    ]
    .concat();
    let head = "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    upstream.then([send(head), send(events.clone()), Step::Close]);
    let received = gateway.call(&key, &body(""));
    assert_eq!(
        (received.status, received.text()),
        (200, events),
        "a stream although none was asked"
    );
    assert!(received.whole);
    let receipt = gateway.receipt(2);
    assert_eq!(receipt.cost.nano(), cost(PROMPT_TOKENS, COMPLETION_TOKENS));
    assert_eq!(receipt.metered, Metered::Reported);
}

#[test]
fn an_answer_that_cannot_be_read_is_passed_on_and_costs_its_hold() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    // Nobody unpacks it here.
    let packed = b"\x1f\x8b\x08\0\0\0\0\0\0\xffnot really packed".to_vec();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\
         Content-Length: {}\r\n\r\n",
        packed.len()
    );
    upstream.then([send(head), send(packed.clone())]);
    let answer = gateway.call(&gateway.key(), &body(r#","max_tokens":10"#));
    assert_eq!((answer.status, answer.body), (200, packed));
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.cost, receipt.metered), (receipt.held, Metered::Estimated));
    assert_eq!(receipt.held.nano(), cost(body(r#","max_tokens":10"#).len() as u64, 10));
}

#[test]
fn an_answer_without_usage_is_estimated() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let answer = r#"{"choices":[{"message":{"content":"123456789"}}]}"#;
    upstream.then([send(json("200 OK", &[], answer))]);
    assert_eq!(gateway.call(&gateway.key(), &body("")).text(), answer);
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.cost.nano(), receipt.metered), (estimate(9, 0), Metered::Estimated));
}

#[test]
fn what_a_provider_says_too_much_never_reaches_the_next_call() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).server("keep_alive = \"5s\"").start();
    let key = gateway.key();
    let poison = json("200 OK", &[], r#"{"choices":[{"message":{"content":"POISON"}}]}"#);
    for late in [false, true] {
        let first = json("200 OK", &[], &completion(1, 1));
        upstream.then(if late {
            vec![send(first), Step::Pause(millis(20)), send(poison.clone())]
        } else {
            vec![send([first, poison.clone()].concat())]
        });
        for _ in 0..5 {
            let answer = gateway.call(&key, &body(""));
            assert!(!answer.text().contains("POISON"), "late: {late}");
            assert!(matches!(answer.status, 200 | 502), "late: {late}");
            std::thread::sleep(millis(30));
        }
    }
}

#[test]
fn connections_to_a_provider_are_used_again_and_a_stale_one_is_no_failure() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).server("").start();
    let key = gateway.key();
    let mut client = gateway.client();
    for round in 0..6 {
        if round == 3 {
            // It closes the connection while nobody uses it.
            upstream.then([send(json("200 OK", &[], &completion(1, 1))), Step::Close]);
        }
        client.send(&crate::gateway::chat(&key, &body("")));
        assert_eq!(client.answer().status, 200, "call {round}");
        std::thread::sleep(millis(20));
    }
    assert_eq!(upstream.connections(), 2);
}

/// What comes late on a connection that looks as if it were at rest must not answer somebody else.
#[test]
fn what_a_provider_says_before_its_answer_is_passed_over() {
    let late = |text: &str| completion(1, 1).replace("Hello there", text);
    for first in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"] {
        let upstream = Upstream::start();
        let gateway = Setup::to(&upstream).start();
        let key = gateway.key();
        let answer = json("200 OK", &[], &late("of its own"));
        upstream.then(vec![send(first), Step::Pause(millis(300)), send(answer)]);
        // Both come on one connection, so that one worker serves them.
        let mut client = gateway.client();
        for expected in ["of its own", "Hello there"] {
            client.send(&chat(&key, &body("")));
            let answer = client.answer();
            assert_eq!(answer.status, 200, "{first:?}: {}", answer.text());
            assert!(answer.text().contains(expected), "{first:?}: {}", answer.text());
        }
        gateway.receipt(2);
    }
}

#[test]
fn an_answer_may_end_with_its_connection() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    let answer = completion(PROMPT_TOKENS, COMPLETION_TOKENS);
    let (first, rest) = answer.split_at(60);
    for kind in ["", "content-type: application/json\r\n"] {
        upstream.then(vec![
            send(format!("HTTP/1.1 200 OK\r\n{kind}\r\n")),
            send(first),
            Step::Pause(millis(50)),
            send(rest),
            Step::Close,
        ]);
        let received = gateway.call(&key, &body(""));
        assert_eq!((received.status, received.text()), (200, answer.clone()), "{kind}");
        assert_eq!(received.header("x-conduit-cost"), Some("0.00012"), "{kind}");
    }
    assert_eq!(gateway.receipt(2).metered, Metered::Reported);
}

#[test]
fn a_call_that_only_stood_in_line_for_its_provider_owes_nothing() {
    const CALLS: usize = 6;
    let upstream = Upstream::with(|_| vec![Step::Pause(millis(8000))]);
    let setup = Setup::to(&upstream).provider("max_connections = 1\ntotal_timeout = \"1s\"");
    let gateway = setup.start();
    let key = gateway.key();
    let calls: Vec<_> = (0..CALLS).map(|_| gateway.begin(&key, &body(""))).collect();
    for mut call in calls {
        let status = call.answer().status;
        assert!(matches!(status, 502 | 504), "{status}");
    }
    gateway.receipt(CALLS);
    let seen = upstream.seen().len();
    assert!(seen < CALLS);
    let free = |receipt: &conduit::domain::receipt::Receipt| receipt.cost.is_zero();
    assert_eq!(gateway.receipts().iter().filter(|receipt| free(receipt)).count(), CALLS - seen);
}
