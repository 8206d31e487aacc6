//! Several targets: which failure leads where, how often, and that there is one answer and a bill for
//! each attempt that may have been charged.

use std::thread;
use std::time::{Duration, Instant};

use conduit::admin::Verb;
use conduit::admin::explain::Explain;
use conduit::admin::holds::ListHolds;
use conduit::admin::keys::CreateKey;
use conduit::domain::receipt::{Ending, Metered};
use serde_json::json;

use crate::client::{Answer, Leave, post};
use crate::gateway::{Gateway, Key, MESSAGES, Setup, cost, estimate, eventually};
use crate::upstream::{
    COMPLETION_TOKENS, END, PROMPT_TOKENS, STREAM_HEAD, Seen, Step, Upstream, chunked, completion,
    json, millis, polite, send, word, words,
};

/// What a polite answer costs.
const POLITE: u64 = cost(PROMPT_TOKENS, COMPLETION_TOKENS);
const ERROR: &str = r#"{"error":{"message":"no","type":"x","param":null,"code":null}}"#;

/// A gateway whose model `both` goes to the first provider and then to the second.
fn two(first: &Upstream, second: &Upstream, routing: &str) -> Gateway {
    with_targets(
        first,
        second,
        routing,
        r#"[{ provider = "scripted" }, { provider = "second", order = 2 }]"#,
    )
}

fn with_targets(first: &Upstream, second: &Upstream, routing: &str, targets: &str) -> Gateway {
    Setup::to(first)
        .provider(
            "connect_timeout = \"300ms\"\nfirst_byte_timeout = \"300ms\"\nidle_timeout = \"400ms\"",
        )
        .more(&format!(
            "[providers.second]\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\n\
             api_key_env = \"SECOND_KEY\"\n\
             [models.both]\nmax_output_tokens = 1000\nprice = {{ input = 1, output = 2 }}\n\
             targets = {targets}\n\
             [routing]\n{routing}",
            second.address()
        ))
        .start()
}

fn both(more: &str) -> String {
    format!(r#"{{"model":"both","messages":{MESSAGES}{more}}}"#)
}

fn refusal(status: &str) -> Vec<Step> {
    vec![send(json(status, &[], ERROR))]
}

fn served_by(answer: &Answer) -> &str {
    answer.header("x-conduit-provider").unwrap_or_default()
}

#[test]
fn what_costs_nothing_goes_on_to_the_next_target_under_the_same_hold() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let gateway = two(&first, &second, "cooldown = \"0s\"");
    let key = gateway.key();
    let overloaded = r#"{"error":{"message":"overloaded","code":529}}"#;
    let mut rows: Vec<(String, Vec<Step>)> = [
        "307 Elsewhere",
        "401 Unauthorized",
        "402 Payment Required",
        "403 Forbidden",
        "404 Not Found",
        "408 Timeout",
        "409 Conflict",
        "429 Too Many Requests",
        "500 Broken",
        "501 Not Implemented",
        "502 Bad Gateway",
        "503 Unavailable",
        "529 Overloaded",
    ]
    .map(|status| (status.to_owned(), refusal(status)))
    .into();
    let credit = r#"{"error":{"message":"Your credit balance is too low to access the API."}}"#;
    rows.push(("no credit".into(), vec![send(json("400 Bad Request", &[], credit))]));
    rows.push(("an error in a 200".into(), vec![send(json("200 OK", &[], overloaded))]));
    let event = chunked(format!("data: {overloaded}\n\n"));
    rows.push((
        "an error first in a stream".into(),
        vec![send(STREAM_HEAD), send(event.clone()), send(END)],
    ));
    rows.push((
        "an error after comments".into(),
        vec![
            send(STREAM_HEAD),
            send(chunked(": WORKING\n\n")),
            Step::Pause(millis(30)),
            send(event),
            send(END),
        ],
    ));
    for (index, (case, script)) in rows.into_iter().enumerate() {
        first.then(script);
        let stream = if case.contains("first") || case.contains("comments") {
            r#","stream":true"#
        } else {
            ""
        };
        let answer = gateway.call(&key, &both(stream));
        assert_eq!((answer.status, served_by(&answer)), (200, "second"), "{case}");
        assert_eq!(answer.header("x-conduit-attempts"), Some("2"), "{case}");
        assert_eq!(answer.header("x-conduit-model"), Some("both"), "{case}");
        let receipt = gateway.receipt(index + 1);
        assert_eq!((receipt.cost.nano(), &*receipt.provider), (POLITE, "second"), "{case}");
        assert_eq!((receipt.status, receipt.ending), (200, Ending::Done), "{case}");
    }
    assert_eq!(first.seen().len(), second.seen().len());
    assert_eq!(second.last().header("authorization"), Some("Bearer provider-key-2"));
}

#[test]
fn what_may_have_been_charged_is_billed_beside_the_attempt_that_served() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let gateway = two(&first, &second, "cooldown = \"0s\"");
    let key = gateway.key();
    let whole = json("200 OK", &[], &completion(PROMPT_TOKENS, COMPLETION_TOKENS));
    let half = whole[..whole.len() - 20].to_vec();
    let content = "Hello there".len() as u64;
    for (index, (case, script, ending, content)) in [
        ("closed", vec![Step::Close], Ending::UpstreamCut, 0),
        ("reset", vec![Step::Reset], Ending::UpstreamCut, 0),
        ("silent", vec![Step::Pause(millis(3000))], Ending::Timeout, 0),
        ("cut", vec![send(half), Step::Close], Ending::UpstreamCut, content),
    ]
    .into_iter()
    .enumerate()
    {
        first.then(script);
        let answer = gateway.call(&key, &both(""));
        assert_eq!((answer.status, served_by(&answer)), (200, "second"), "{case}");
        gateway.receipt(2 * index + 2);
        let receipts = gateway.receipts();
        let [failed, served] = &receipts[2 * index..] else { panic!("{case}: {receipts:?}") };
        assert_eq!((&*failed.provider, failed.ending), ("scripted", ending), "{case}");
        assert_eq!(
            (failed.cost.nano(), failed.metered),
            (estimate(content, 0), Metered::Estimated),
            "{case}"
        );
        assert_eq!((&*served.provider, served.cost.nano()), ("second", POLITE), "{case}");
        let sum =
            conduit::domain::money::Money::from_nano(estimate(content, 0) + POLITE).to_string();
        assert_eq!(answer.header("x-conduit-cost"), Some(&*sum), "{case}");
        assert_eq!(answer.header("x-conduit-request-id"), Some(&*failed.id.to_string()), "{case}");
        assert_eq!((failed.of, served.of), (None, Some(failed.id)), "{case}");
        let explained = Explain { id: failed.id }.run(gateway.desk()).unwrap();
        assert_eq!(explained.attempts.len(), 1, "{case}");
        assert_eq!(explained.with_attempts_usd.to_string(), sum, "{case}");
    }
}

#[test]
fn what_is_the_calls_own_fault_is_answered_at_once() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let gateway = two(&first, &second, "retries = 3");
    let key = gateway.key();
    for status in ["400 Bad Request", "413 Too Large", "415 Type", "422 Unprocessable"] {
        first.then(refusal(status));
        let answer = gateway.call(&key, &both(""));
        assert_eq!(
            (answer.status.to_string(), answer.text()),
            (status[..3].to_owned(), ERROR.to_owned())
        );
        assert_eq!(answer.header("x-conduit-attempts"), None);
    }
    assert!(second.seen().is_empty());
}

#[test]
fn nothing_goes_elsewhere_once_the_client_has_seen_a_byte() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let gateway = two(&first, &second, "retries = 3");
    let events = [words(), "data: {\"error\":{\"code\":503}}\n\n".to_owned()].concat();
    first.then([send(STREAM_HEAD), send(chunked(&events)), send(END)]);
    let answer = gateway.call(&gateway.key(), &both(r#","stream":true"#));
    assert_eq!(
        (answer.status, answer.text(), served_by(&answer)),
        (200, events.clone(), "scripted")
    );
    assert!(second.seen().is_empty());
}

#[test]
fn when_all_fail_the_last_answer_is_shown_and_nothing_is_charged() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let gateway = two(&first, &second, "");
    first.then(refusal("503 Unavailable"));
    second.then([send(json("429 Slow", &["Retry-After: 7"], ERROR))]);
    let answer = gateway.call(&gateway.key(), &both(""));
    assert_eq!((answer.status, served_by(&answer)), (429, "second"));
    assert_eq!(answer.header("retry-after"), Some("7"));
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.cost.nano(), receipt.metered), (0, Metered::Nothing));
}

#[test]
fn a_call_is_sent_again_after_a_pause_that_the_provider_may_set() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).more("[routing]\nretries = 2").start();
    let key = gateway.key();
    let busy = |headers: &[&str]| vec![send(json("429 Slow", headers, ERROR))];
    upstream.then(busy(&["Retry-After-Ms: 700"]));
    upstream.then(refusal("503 Unavailable"));
    let began = Instant::now();
    let answer = gateway.call(&key, &crate::gateway::body(""));
    assert_eq!((answer.status, answer.header("x-conduit-attempts")), (200, Some("3")));
    assert!(began.elapsed() >= millis(700 + 500), "{:?}", began.elapsed());

    let began = Instant::now();
    upstream.then(busy(&["Retry-After: 60"]));
    let answer = gateway.call(&key, &crate::gateway::body(""));
    assert_eq!((answer.status, answer.header("x-conduit-attempts")), (429, None));
    assert!(began.elapsed() < Duration::from_secs(2), "it was not waited for");
    assert_eq!(upstream.seen().len(), 4);
}

#[test]
fn retries_do_not_multiply_an_outage() {
    let upstream = Upstream::with(|_| refusal("503 Unavailable"));
    let gateway = Setup::to(&upstream).more("[routing]\nretries = 3\nretry_budget = 20").start();
    let key = gateway.key();
    thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| assert_eq!(gateway.call(&key, &crate::gateway::body("")).status, 503));
        }
    });
    let seen = upstream.seen().len();
    assert!(
        (31..=50).contains(&seen),
        "30 calls, ten retries in hand and one for each five: {seen}"
    );
    assert_eq!(gateway.receipt(30).cost.nano(), 0);
}

#[test]
fn a_target_that_fails_cools_down_and_is_tried_again() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let gateway = two(&first, &second, "failures = 2\ncooldown = \"400ms\"");
    let key = gateway.key();
    for _ in 0..2 {
        first.then(refusal("500 Broken"));
        assert_eq!(served_by(&gateway.call(&key, &both(""))), "second");
    }
    for _ in 0..3 {
        let answer = gateway.call(&key, &both(""));
        assert_eq!((served_by(&answer), answer.header("x-conduit-attempts")), ("second", None));
    }
    assert_eq!(first.seen().len(), 2, "it is left alone");
    thread::sleep(millis(450));
    first.then(refusal("500 Broken"));
    assert_eq!(served_by(&gateway.call(&key, &both(""))), "second");
    assert_eq!(first.seen().len(), 3, "one call tried it");
    assert_eq!(gateway.call(&key, &both("")).header("x-conduit-attempts"), None);
    thread::sleep(millis(450));
    for _ in 0..2 {
        assert_eq!(served_by(&gateway.call(&key, &both(""))), "scripted", "it is well again");
    }
}

/// A stream that is asked for with a second target in reach.
fn stream(gateway: &Gateway, key: &Key) -> (String, String) {
    let answer = gateway.call(key, &both(r#","stream":true"#));
    (served_by(&answer).to_owned(), answer.text())
}

#[test]
fn a_target_that_breaks_off_what_it_begins_cools_down() {
    let cut = vec![send(STREAM_HEAD), send(chunked(word("Hel"))), Step::Reset];
    let no_end = vec![send(STREAM_HEAD), send(chunked(word("Hel"))), send(END)];
    let silent = vec![send(STREAM_HEAD), send(chunked(word("Hel"))), Step::Pause(millis(2_000))];
    let error = format!("data: {ERROR}\n\n");
    let failed =
        vec![send(STREAM_HEAD), send(chunked(word("Hel"))), send(chunked(error)), send(END)];
    for (name, script) in [("cut", cut), ("no end", no_end), ("silent", silent), ("error", failed)]
    {
        let (first, second) = (Upstream::start(), Upstream::start());
        let gateway = two(&first, &second, "failures = 2\ncooldown = \"400ms\"");
        let key = gateway.key();
        for _ in 0..2 {
            first.then(script.clone());
            let (provider, text) = stream(&gateway, &key);
            assert_eq!(provider, "scripted", "{name}: it has been shown already");
            assert!(text.contains("Hel") && text.contains("error"), "{name}: {text}");
        }
        for _ in 0..2 {
            assert_eq!(stream(&gateway, &key).0, "second", "{name}: it is left alone");
        }
        thread::sleep(millis(450));
        let (provider, text) = stream(&gateway, &key);
        assert_eq!(provider, "scripted", "{name}: one call tried it");
        assert!(text.contains("[DONE]"), "{name}: {text}");
        first.then(script);
        assert_eq!(stream(&gateway, &key).0, "scripted", "{name}");
        assert_eq!(stream(&gateway, &key).0, "scripted", "{name}: it had been well meanwhile");
    }
}

#[test]
fn a_client_that_leaves_says_nothing_of_the_target() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let gateway = two(&first, &second, "failures = 1\ncooldown = \"1h\"");
    let key = gateway.key();
    first.then(vec![send(STREAM_HEAD), send(chunked(word("Hel"))), Step::Gate]);
    let mut client = gateway.begin(&key, &both(r#","stream":true"#));
    client.head().unwrap();
    client.until("null}]}\n\n");
    client.leave(Leave::Close);
    assert_eq!(gateway.receipt(1).ending, Ending::ClientGone);
    assert_eq!(stream(&gateway, &key).0, "scripted");
}

/// What a crash would find: the target that was being tried, and not the call's first.
#[test]
fn a_hold_names_the_target_that_is_being_tried() {
    let (first, second) = (Upstream::start(), Upstream::with(|_| vec![Step::Gate]));
    let gateway = two(&first, &second, "");
    let key = gateway.key();
    first.then(refusal("503 Busy"));
    let client = gateway.begin(&key, &both(""));
    second.wait_for_calls(1);
    gateway.desk().ledger.store().journal().put_away_now();
    let holds = || ListHolds {}.run(gateway.desk()).unwrap();
    eventually(|| format!("{:?}", holds()), || holds().len() == 1);
    assert_eq!(holds()[0].provider, "second");
    client.leave(Leave::Reset);
    assert_eq!(&*gateway.receipt(1).provider, "second");
}

#[test]
fn a_target_that_cools_down_is_called_when_nothing_else_is_left() {
    let (first, second) = (Upstream::start(), Upstream::with(|_| refusal("500 Broken")));
    let gateway = two(&first, &second, "failures = 1\ncooldown = \"1h\"");
    let key = gateway.key();
    first.then(refusal("500 Broken"));
    assert_eq!(gateway.call(&key, &both("")).status, 500);
    assert_eq!(served_by(&gateway.call(&key, &both(""))), "scripted");
}

fn with_session(gateway: &Gateway, key: &Key, session: &str) -> String {
    let headers =
        [&*key.header(), "Content-Type: application/json", &format!("X-Session: {session}")];
    let answer = gateway.exchange(&post("/v1/chat/completions", &headers, both("").as_bytes()));
    served_by(&answer).to_owned()
}

#[test]
fn calls_of_one_session_go_to_one_target() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let routing = "sticky = \"header\"\nsticky_header = \"X-Session\"";
    let targets = r#"[{ provider = "scripted" }, { provider = "second" }]"#;
    let gateway = with_targets(&first, &second, routing, targets);
    let key = gateway.key();
    for session in 0..12 {
        let session = format!("session-{session}");
        let chosen = with_session(&gateway, &key, &session);
        assert_eq!(with_session(&gateway, &key, &session), chosen);
    }
    assert!(!first.seen().is_empty() && !second.seen().is_empty(), "all went to one");
}

#[test]
fn a_key_that_is_refused_is_left_alone() {
    let upstream = Upstream::with(|call: &Seen| {
        if call.header("authorization") == Some("Bearer provider-key-2") {
            return refusal("401 Unauthorized");
        }
        polite(call)
    });
    let setup = Setup::to(&upstream);
    let text = setup.text().replace("\"SCRIPTED_KEY\"", "[\"SCRIPTED_KEY\", \"SECOND_KEY\"]");
    let gateway = Gateway::start(&text);
    let key = gateway.key();
    for _ in 0..8 {
        assert_eq!(gateway.call(&key, &crate::gateway::body("")).status, 200);
    }
    let refused = |call: &&Seen| call.header("authorization") == Some("Bearer provider-key-2");
    assert_eq!(upstream.seen().iter().filter(refused).count(), 1);
    assert_eq!(upstream.seen().len(), 9);
    assert_eq!(gateway.receipt(8).cost.nano(), POLITE);
}

#[test]
fn a_target_that_a_key_cannot_afford_is_left_out() {
    let (cheap, dear) = (Upstream::start(), Upstream::start());
    let targets = r#"[
        { provider = "scripted", price = { input = 0, output = 2 } },
        { provider = "second", order = 2, price = { input = 0, output = 2000 } },
    ]"#;
    let gateway = with_targets(&cheap, &dear, "cooldown = \"0s\"", targets);
    let key = gateway.limited("tight", 100_000);
    let asked = both(r#","max_tokens":10"#);
    let answer = gateway.call(&key, &asked);
    assert_eq!((answer.status, served_by(&answer)), (200, "scripted"));
    assert_eq!(answer.header("x-conduit-max-tokens-clamped"), None, "the cheap one fits as it is");
    cheap.then(refusal("503 Unavailable"));
    assert_eq!(gateway.call(&key, &asked).status, 503);
    assert!(dear.seen().is_empty());
    cheap.then(refusal("503 Unavailable"));
    let answer = gateway.call(&gateway.key(), &asked);
    assert_eq!(served_by(&answer), "second", "a key without limits may");
}

#[test]
fn an_attempt_that_cannot_be_held_is_not_made() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let gateway = two(&first, &second, "cooldown = \"0s\"");
    let asked = both(r#","max_tokens":100"#);
    // Enough for one hold, and not for another beside what the first attempt may have cost.
    let limit = cost(asked.len() as u64, 100);
    let key = gateway.limited("tight", limit);
    first.then([Step::Close]);
    let answer = gateway.call(&key, &asked);
    assert_eq!((answer.status, answer.code()), (502, json!("upstream_error")));
    assert!(second.seen().is_empty());
    assert_eq!(gateway.receipt(1).cost.nano(), estimate(0, 0));
    assert_eq!(gateway.spent(&key), estimate(0, 0));
}

#[test]
fn a_client_that_leaves_during_a_pause_ends_its_call() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).more("[routing]\nretries = 2").start();
    let key = gateway.key();
    for leave in [Leave::Reset, Leave::Close] {
        let calls = upstream.seen().len();
        upstream.then([send(json("503 Busy", &["Retry-After: 3"], ERROR))]);
        let client = gateway.begin(&key, &crate::gateway::body(""));
        upstream.wait_for_calls(calls + 1);
        thread::sleep(millis(100));
        client.leave(leave);
        let receipt = gateway.receipt(calls + 1);
        assert_eq!((receipt.ending, receipt.cost.nano()), (Ending::ClientGone, 0), "{leave:?}");
        assert_eq!(upstream.seen().len(), calls + 1, "{leave:?}");
    }
}

#[test]
fn a_target_has_its_own_patience() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let targets = r#"[
        { provider = "scripted", first_byte_timeout = "50ms" },
        { provider = "second", order = 2 },
    ]"#;
    let gateway = with_targets(&first, &second, "", targets);
    first.then([Step::Pause(millis(2000))]);
    let began = Instant::now();
    assert_eq!(served_by(&gateway.call(&gateway.key(), &both(""))), "second");
    let took = began.elapsed();
    assert!(took < millis(1000), "{took:?}");
    gateway.receipt(2);
}

#[test]
fn a_model_falls_back_on_another() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let setup = Setup::to(&first).more(&format!(
        "[providers.second]\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\napi_key_env = \"SECOND_KEY\"\n\
         [models.clever]\nprovider = \"scripted\"\nprice = {{ input = 1, output = 2 }}\nfallbacks = [\"spare\"]\n\
         [models.spare]\nprovider = \"second\"\nmodel = \"spare-1\"\nprice = {{ input = 3, output = 4 }}",
        second.address()
    ));
    let gateway = setup.start();
    first.then(refusal("500 Broken"));
    let answer = gateway.call(&gateway.key(), &both("").replace("both", "clever"));
    assert_eq!((served_by(&answer), answer.header("x-conduit-model")), ("second", Some("spare-1")));
    assert_eq!(second.last().json()["model"], "spare-1");
    let receipt = gateway.receipt(1);
    assert_eq!((&*receipt.model, &*receipt.upstream_model), ("clever", "spare-1"));
    assert_eq!(receipt.cost.nano(), PROMPT_TOKENS * 3_000 + COMPLETION_TOKENS * 4_000);
}

#[test]
fn a_model_whose_provider_lacks_the_endpoint_says_so() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream)
        .more("[providers.claude]\nkind = \"anthropic\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key_env = \"SECOND_KEY\"\n[models.claude]\nprovider = \"claude\"\nprice = \"free\"")
        .start();
    let key = gateway.key();
    let headers = [&*key.header(), "Content-Type: application/json"];
    let body = br#"{"model":"claude","input":"x"}"#;
    let answer = gateway.exchange(&post("/v1/embeddings", &headers, body));
    assert_eq!((answer.status, answer.code()), (400, json!("endpoint_not_supported")));
}

#[test]
fn a_call_of_several_attempts_takes_one_request_and_the_tokens_of_all() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let gateway = two(&first, &second, "cooldown = \"0s\"");
    let verb = CreateKey {
        name: "counted".to_owned(),
        rpm: Some(10),
        tpm: Some(5_000),
        parallel: Some(1),
        ..CreateKey::default()
    };
    let key = gateway.create(verb);
    first.then([Step::Close]);
    let answer = gateway.call(&key, &both(""));
    assert_eq!((answer.status, served_by(&answer)), (200, "second"));
    gateway.receipt(2);
    let account = gateway.desk().ledger.directory().by_id(key.id).unwrap();
    let rates = account.rates(conduit::domain::window::Timestamp::MIN);
    assert_eq!(rates.requests.unwrap().remaining, 9);
    let estimated = (MESSAGES.len() as u64).div_ceil(4);
    let used = 5_000 - rates.tokens.unwrap().remaining;
    let served = PROMPT_TOKENS + COMPLETION_TOKENS;
    // A token comes back every twelve milliseconds.
    assert!((served + estimated / 2..=served + estimated).contains(&used), "{used}");
    assert_eq!(gateway.call(&key, &both("")).status, 200, "its place beside others is free again");
}
