//! Streams: what is asked of the provider, what the client gets of it byte for byte, and how each
//! way of ending one is billed.

use std::thread;
use std::time::{Duration, Instant};

use conduit::domain::receipt::{Ending, Metered};
use serde_json::{Value, json};

use crate::client::Leave;
use crate::gateway::{Gateway, INPUT_RATE, MESSAGES, Setup, body, cost, estimate, eventually};
use crate::upstream::{
    COMPLETION_TOKENS, DONE, END, PROMPT_TOKENS, STREAM_HEAD, Step, Upstream, chunked, millis,
    send, stop, usage_event, word, words,
};

const STREAM: &str = r#","stream":true"#;
const ASKING: &str = r#","stream":true,"stream_options":{"include_usage":true}"#;

/// Waits until the gateway has closed its connection, which a client's leaving must bring about
/// at once.
const PROMPT: Duration = Duration::from_millis(1500);

#[test]
fn usage_is_always_asked_for_and_shown_to_whoever_asked() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    let shown = [words(), usage_event(PROMPT_TOKENS, COMPLETION_TOKENS), DONE.into()].concat();
    let hidden = [&*words(), DONE].concat();
    let forced = json!({"include_usage": true});
    for (index, (options, sent, expected)) in [
        ("", forced.clone(), &hidden),
        (r#","stream_options":null"#, forced.clone(), &hidden),
        (r#","stream_options":{}"#, forced.clone(), &hidden),
        (r#","stream_options":{"include_usage":false}"#, forced.clone(), &hidden),
        (r#","stream_options":{"include_usage":null}"#, forced.clone(), &hidden),
        (r#","stream_options":{"include_usage":true}"#, forced, &shown),
        (
            r#","stream_options":{"include_obfuscation":false,"x":[1]}"#,
            json!({"include_usage": true, "include_obfuscation": false, "x": [1]}),
            &hidden,
        ),
        (
            r#","stream_options":{"x":{"include_usage":false},"include_usage":true}"#,
            json!({"include_usage": true, "x": {"include_usage": false}}),
            &shown,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let asked = body(&format!(r#","stream":true{options},"seed":  1.50"#));
        let answer = gateway.call(&key, &asked);
        assert_eq!((answer.status, &answer.text()), (200, expected), "{options}");
        assert!(answer.whole, "{options}");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        let seen = upstream.last();
        assert_eq!(seen.json()["stream_options"], sent, "{options}");
        assert!(String::from_utf8_lossy(&seen.body).contains(r#""seed":  1.50"#), "{options}");
        let mut rest: Value = serde_json::from_str(&asked).unwrap();
        let mut arrived = seen.json();
        for body in [&mut rest, &mut arrived] {
            body.as_object_mut().unwrap().remove("stream_options");
        }
        assert_eq!(rest, arrived, "{options}");
        let receipt = gateway.receipt(index + 1);
        assert_eq!((receipt.ending, receipt.metered), (Ending::Done, Metered::Reported));
        assert_eq!(receipt.cost.nano(), cost(PROMPT_TOKENS, COMPLETION_TOKENS), "{options}");
        assert!(receipt.streamed);
    }
}

#[test]
fn a_provider_that_must_not_be_asked_is_not() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).provider("stream_usage = \"never\"").start();
    let asked = body(r#","stream":true,"stream_options":{}"#);
    let answer = gateway.call(&gateway.key(), &asked);
    assert_eq!(answer.text(), [&*words(), DONE].concat());
    assert_eq!(upstream.last().body, asked.as_bytes());
    let receipt = gateway.receipt(1);
    let expected = (estimate("Hello there".len() as u64, 2), Metered::Estimated);
    assert_eq!((receipt.cost.nano(), receipt.metered), expected);
}

/// A stream in which everything is odd that may be odd.
fn odd_events() -> String {
    let odd = word("é漢🦀").replace("\n\n", "\r\n\r\n");
    [
        ": a comment\n\n",
        "\n\n\n",
        "event: ping\nretry: 100\nid: 7\ndata:\n\n",
        &odd,
        "data:{\"choices\" : [ {\"delta\":{\"content\":\"a\"} , \"new\":  1e3}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":\ndata: {\"content\":\"b\"}}]}\n\n",
        "data: not json at all\n\n",
        "unknown: field\n\n",
        &stop(),
    ]
    .concat()
}

#[test]
fn events_come_byte_for_byte_however_they_are_cut() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    let (events, usage) = (odd_events(), usage_event(7, 3));
    let all = [&*events, &usage, DONE].concat();
    for asks in [false, true] {
        for size in [1, 2, 7, 100, all.len()] {
            let mut script = vec![send(STREAM_HEAD)];
            script.extend(all.as_bytes().chunks(size).map(|part| send(chunked(part))));
            script.push(send(END));
            upstream.then(script);
            let answer = gateway.call(&key, &body(if asks { ASKING } else { STREAM }));
            let expected = if asks { all.clone() } else { [&*events, DONE].concat() };
            assert_eq!(answer.text(), expected, "asks: {asks}, by {size}");
            assert!(answer.whole);
        }
    }
    let receipts = gateway.receipts();
    assert_eq!(receipts.len(), 10);
    assert!(receipts.iter().all(|receipt| receipt.cost.nano() == cost(7, 3)));
}

#[test]
fn events_are_passed_on_as_soon_as_they_come() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    upstream.then([
        send(STREAM_HEAD),
        send(chunked(word("one"))),
        Step::Gate,
        send(chunked([&*word("two"), DONE].concat())),
        send(END),
    ]);
    let mut client = gateway.begin(&gateway.key(), &body(STREAM));
    let head = client.head().unwrap();
    assert_eq!(client.until("\n\n"), word("one"));
    upstream.open();
    let rest = client.body(head);
    assert_eq!((rest.text(), rest.whole), ([&*word("two"), DONE].concat(), true));
}

/// How a provider ends a stream before its time, and what the client sees of it.
struct Broken {
    case: &'static str,
    script: Vec<Step>,
    expected: String,
    ending: Ending,
    /// Bytes and events of text that came.
    content: (u64, u64),
}

fn error_event(code: &str, message: &str) -> String {
    format!(
        "data: {{\"error\":{{\"message\":\"The provider of this model {message}\",\"type\":\"server_error\",\"param\":null,\"code\":\"{code}\"}}}}\n\n"
    )
}

fn broken_streams() -> Vec<Broken> {
    let cut = error_event("upstream_error", "broke off before it answered.");
    let late = error_event("upstream_timeout", "did not answer in time.");
    let half = &word("there")[..40];
    let start = [send(STREAM_HEAD), send(chunked(word("Hello")))];
    let then = |steps: Vec<Step>| [start.to_vec(), steps].concat();
    let silence = Step::Pause(millis(8000));
    let own = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    let row =
        |case, script, expected, ending| Broken { case, script, expected, ending, content: (5, 1) };
    let after_hello = |end: &str| [&*word("Hello"), end].concat();
    let drip = (0..200).flat_map(|_| [send(chunked(": still here\n\n")), Step::Pause(millis(20))]);
    let dripping = [start.to_vec(), drip.collect()].concat();
    vec![
        row("closed", then(vec![Step::Close]), after_hello(&cut), Ending::UpstreamCut),
        row(
            "reset",
            then(vec![Step::Pause(millis(50)), Step::Reset]),
            after_hello(&cut),
            Ending::UpstreamCut,
        ),
        row(
            "closed within an event",
            then(vec![send(chunked(half)), Step::Close]),
            after_hello(&[half, "\n\n", &cut].concat()),
            Ending::UpstreamCut,
        ),
        row(
            "closed within a chunk",
            then(vec![send("fff\r\n"), send(half), Step::Close]),
            after_hello(&[half, "\n\n", &cut].concat()),
            Ending::UpstreamCut,
        ),
        row("silent", then(vec![silence]), after_hello(&late), Ending::Timeout),
        row("without end", dripping, String::new(), Ending::Timeout),
        row("ended without a word", then(vec![send(END)]), after_hello(&cut), Ending::UpstreamCut),
        row(
            "an error of its own",
            then(vec![send(chunked(own)), send(END)]),
            after_hello(own),
            Ending::UpstreamError,
        ),
    ]
}

#[test]
fn a_stream_that_breaks_off_ends_with_an_error_and_is_charged_for_what_came() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream)
        .provider("idle_timeout = \"300ms\"\ntotal_timeout = \"1200ms\"")
        .start();
    let key = gateway.key();
    let mut calls = 0;
    for asks in [STREAM, ASKING] {
        for Broken { case, script, expected, ending, content } in broken_streams() {
            upstream.then(script);
            let answer = gateway.call(&key, &body(asks));
            assert_eq!(answer.status, 200, "{case}");
            assert!(answer.whole, "{case}: {answer:?}");
            if expected.is_empty() {
                let end = error_event("upstream_timeout", "did not answer in time.");
                assert!(answer.text().ends_with(&end), "{case}: {}", answer.text());
            } else {
                assert_eq!(answer.text(), expected, "{case}");
            }
            calls += 1;
            let receipt = gateway.receipt(calls);
            assert_eq!((receipt.ending, receipt.metered), (ending, Metered::Estimated), "{case}");
            assert_eq!(receipt.cost.nano(), estimate(content.0, content.1), "{case}");
        }
    }
}

#[test]
fn what_a_provider_reported_before_it_broke_off_is_what_counts() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    upstream.then([
        send(STREAM_HEAD),
        send(chunked([word("Hello"), usage_event(11, 4)].concat())),
        Step::Close,
    ]);
    let answer = gateway.call(&gateway.key(), &body(STREAM));
    assert!(answer.text().starts_with(&word("Hello")));
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.cost.nano(), receipt.metered), (cost(11, 4), Metered::Reported));
}

/// Starts a stream of one word, after which the provider falls silent.
fn silent_after_a_word(upstream: &Upstream) {
    upstream.then([send(STREAM_HEAD), send(chunked(word("Hello"))), Step::Pause(millis(8000))]);
}

#[test]
fn a_client_that_leaves_ends_the_call_at_the_provider_and_pays_for_what_was_used() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    for (index, how) in [Leave::HalfClose, Leave::Close, Leave::Reset].into_iter().enumerate() {
        silent_after_a_word(&upstream);
        let mut client = gateway.begin(&key, &body(STREAM));
        client.head().unwrap();
        assert_eq!(client.until("\n\n"), word("Hello"));
        let _listening = client.leave(how);
        let took = upstream.wait_for_leavers(index + 1);
        assert!(took < PROMPT, "{how:?}: noticed after {took:?}");
        let receipt = gateway.receipt(index + 1);
        assert_eq!(receipt.ending, Ending::ClientGone, "{how:?}");
        let expected = (estimate(5, 1), Metered::Estimated);
        assert_eq!((receipt.cost.nano(), receipt.metered), expected, "{how:?}");
    }
}

#[test]
fn a_client_that_leaves_before_the_answer_ends_the_call_too() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    let mut count = 0;
    for more in ["", STREAM] {
        for how in [Leave::HalfClose, Leave::Close, Leave::Reset] {
            upstream.then([Step::Pause(millis(8000))]);
            let client = gateway.begin(&key, &body(more));
            upstream.wait_for_calls(count + 1);
            let _listening = client.leave(how);
            count += 1;
            let took = upstream.wait_for_leavers(count);
            assert!(took < PROMPT, "{how:?}, {more}: noticed after {took:?}");
            let receipt = gateway.receipt(count);
            assert_eq!(receipt.ending, Ending::ClientGone, "{how:?}");
            let expected = (estimate(0, 0), Metered::Estimated);
            assert_eq!((receipt.cost.nano(), receipt.metered), expected, "{how:?}");
        }
    }
}

/// Nobody reads on and on from a client that is still to be answered: it is seen to leave all the same.
#[test]
fn a_client_that_says_too_much_and_leaves_ends_the_call_too() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    for (index, how) in [Leave::HalfClose, Leave::Close, Leave::Reset].into_iter().enumerate() {
        upstream.then([Step::Pause(millis(8000))]);
        let mut client = gateway.begin(&key, &body(""));
        upstream.wait_for_calls(index + 1);
        client.try_send(&vec![b'x'; 256 << 10]);
        let _listening = client.leave(how);
        let took = upstream.wait_for_leavers(index + 1);
        assert!(took < millis(4000), "{how:?}: noticed after {took:?}");
        assert_eq!(gateway.receipt(index + 1).ending, Ending::ClientGone, "{how:?}");
    }
}

#[test]
fn a_client_that_leaves_a_busy_stream_ends_it() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    for (index, how) in [Leave::HalfClose, Leave::Close, Leave::Reset].into_iter().enumerate() {
        let busy = (0..400).flat_map(|_| [send(chunked(word("a"))), Step::Pause(millis(10))]);
        upstream.then([vec![send(STREAM_HEAD)], busy.collect()].concat());
        let mut client = gateway.begin(&key, &body(STREAM));
        client.head().unwrap();
        client.until("\n\n");
        let _listening = client.leave(how);
        let took = upstream.wait_for_leavers(index + 1);
        assert!(took < PROMPT, "{how:?}: noticed after {took:?}");
        assert_eq!(gateway.receipt(index + 1).ending, Ending::ClientGone, "{how:?}");
    }
}

#[test]
fn the_rest_is_read_for_its_exact_usage_where_that_is_wanted() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).provider("on_client_gone = \"drain\"").start();
    let key = gateway.key();
    for (index, how) in [Leave::HalfClose, Leave::Close, Leave::Reset].into_iter().enumerate() {
        let mut script = vec![send(STREAM_HEAD), send(chunked(word("Hello")))];
        for _ in 0..20 {
            script.extend([Step::Pause(millis(10)), send(chunked(word("more")))]);
        }
        script.extend([send(chunked([&*usage_event(40, 21), DONE].concat())), send(END)]);
        upstream.then(script);
        let mut client = gateway.begin(&key, &body(STREAM));
        client.head().unwrap();
        client.until("\n\n");
        let _listening = client.leave(how);
        let receipt = gateway.receipt(index + 1);
        let expected = (cost(40, 21), Metered::Reported);
        assert_eq!((receipt.cost.nano(), receipt.metered), expected, "{how:?}");
    }
    assert_eq!(upstream.left(), 0, "the provider's streams went to their ends");
}

#[test]
fn a_client_that_does_not_read_holds_the_provider_back() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    let event = chunked(word(&"x".repeat(60_000)));
    upstream.then([send(STREAM_HEAD), Step::Flood(event, Duration::from_secs(20))]);
    let mut client = gateway.begin(&key, &body(STREAM));
    client.head().unwrap();
    client.until("\n\n");
    let settled = || {
        let before = upstream.written();
        thread::sleep(millis(250));
        upstream.written() == before
    };
    eventually(|| format!("the flow to stop at {}", upstream.written()), settled);
    // What the system's own buffers hold on both connections, and little more.
    let written = upstream.written();
    assert!(written < 48 << 20, "{written} bytes were taken for a client that does not read");
    drop(client);
    upstream.wait_for_leavers(1);
    assert_eq!(gateway.receipt(1).ending, Ending::ClientGone);
}

#[test]
fn a_call_ends_at_its_total_time_even_if_the_provider_never_pauses() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).provider("total_timeout = \"700ms\"").start();
    let event = chunked(word(&"x".repeat(2_000)));
    upstream.then([send(STREAM_HEAD), Step::Flood(event, Duration::from_secs(8))]);
    let began = Instant::now();
    let answer = gateway.call(&gateway.key(), &body(STREAM));
    assert!(answer.text().ends_with(&error_event("upstream_timeout", "did not answer in time.")));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(gateway.receipt(1).ending, Ending::Timeout);
}

#[test]
fn a_client_that_does_not_read_at_all_does_not_stretch_a_calls_total_time() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).provider("total_timeout = \"700ms\"").start();
    let event = chunked(word(&"x".repeat(60_000)));
    upstream.then([send(STREAM_HEAD), Step::Flood(event, Duration::from_secs(20))]);
    let key = gateway.key();
    let mut client = gateway.begin(&key, &body(STREAM));
    client.head().unwrap();
    upstream.wait_for_leavers(1);
    let receipt = gateway.receipt(1);
    assert_eq!(receipt.ending, Ending::Timeout);
    assert_eq!(gateway.in_flight(&key), (0, 0));
    assert!(receipt.total_ms < 5_000, "{}", receipt.total_ms);
}

#[test]
fn a_client_that_reads_slowly_does_not_stretch_a_calls_total_time() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).provider("total_timeout = \"700ms\"").start();
    let event = chunked(word(&"x".repeat(60_000)));
    upstream.then([send(STREAM_HEAD), Step::Flood(event, Duration::from_secs(8))]);
    let mut client = gateway.begin(&gateway.key(), &body(STREAM));
    client.head().unwrap();
    let mut chunks = 0;
    while client.chunk().is_some_and(|chunk| !chunk.is_empty()) {
        thread::sleep(millis(1));
        chunks += 1;
    }
    assert!(chunks > 10);
    let receipt = gateway.receipt(1);
    assert_eq!(receipt.ending, Ending::Timeout);
    assert!(receipt.total_ms < 3_000, "{}", receipt.total_ms);
}

#[test]
fn a_client_that_reads_slowly_gets_everything() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).provider("idle_timeout = \"200ms\"").start();
    let key = gateway.key();
    let event = word(&"x".repeat(60_000));
    let count = 400;
    let mut script = vec![send(STREAM_HEAD)];
    script.extend((0..count).map(|_| send(chunked(&event))));
    script.extend([send(chunked([&*usage_event(5, 5), DONE].concat())), send(END)]);
    upstream.then(script);
    let mut client = gateway.begin(&key, &body(STREAM));
    let head = client.head().unwrap();
    // Longer than a provider may be silent: it is the client who is silent here.
    thread::sleep(millis(700));
    let answer = client.body(head);
    assert!(answer.whole && answer.text().ends_with(DONE));
    assert_eq!(answer.body.len(), count * event.len() + DONE.len());
    assert_eq!(gateway.receipt(1).cost.nano(), cost(5, 5));
}

#[test]
fn the_end_is_billed_before_the_client_can_have_seen_it() {
    let gateway = Setup::to(&Upstream::start()).start();
    let key = gateway.key();
    for calls in 1..=20 {
        for more in ["", STREAM] {
            assert_eq!(gateway.call(&key, &body(more)).status, 200);
        }
        let expected = calls * 2 * cost(PROMPT_TOKENS, COMPLETION_TOKENS);
        assert_eq!(gateway.spent(&key), expected);
    }
}

#[test]
fn a_prompt_is_estimated_by_its_own_length() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let expected = (MESSAGES.len() as u64).div_ceil(4) * INPUT_RATE;
    upstream.then([Step::Close]);
    let answer = gateway.call(&gateway.key(), &body(&format!(r#","user":"{}""#, "u".repeat(5000))));
    assert_eq!(answer.status, 502);
    assert_eq!(gateway.receipt(1).cost.nano(), expected);
}

#[test]
fn calls_one_after_the_other_share_a_connection() {
    let upstream = Upstream::start();
    let gateway: Gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    let mut client = gateway.client();
    for round in 0..10 {
        client.send(&crate::gateway::chat(&key, &body(if round % 2 == 0 { STREAM } else { "" })));
        let answer = client.answer();
        assert!(answer.status == 200 && answer.whole, "{round}");
    }
    assert_eq!(upstream.connections(), 1);
}

/// Nobody can read what comes after an event that is too long, but it comes through all the same.
#[test]
fn what_follows_an_event_that_is_too_long_is_not_said_to_be_broken() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    let long = format!("data: {{\"x\":\"{}\"}}\n\n", "a".repeat(9 << 20));
    let whole = [&*long, &words(), DONE].concat();
    upstream.then([send(STREAM_HEAD), send(chunked(&whole)), send(END)]);
    let answer = gateway.call(&key, &body(ASKING));
    assert!(answer.whole && answer.text() == whole, "it came through as it was");
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.ending, receipt.metered), (Ending::Done, Metered::Estimated));
    assert_eq!(receipt.cost, receipt.held, "and nobody knows what it used");
}
