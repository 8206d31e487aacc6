//! Limits under calls: never passed, whatever comes at once; and nobody turned away who could have
//! been served.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use conduit::admin::keys::{Change, CreateKey};
use conduit::domain::key::Limits;
use conduit::domain::money::Money;
use conduit::domain::receipt::Ending;
use conduit::domain::window::Period;
use serde_json::{Value, json};

use crate::client::{Answer, Leave, get};
use crate::gateway::{
    Gateway, Key, MESSAGES, OUTPUT_RATE, Setup, by_output, chat, cost, eventually,
};
use crate::upstream::{Seen, Step, Upstream, completion, json as answer_json, millis, send};

const SPENT: &str = r#"{"error":{"message":"API key has exceeded its spending limit.","type":"authorization_error","param":null,"code":"spending_limit_exceeded"}}"#;

/// A call that sets exactly as much aside as [`exact`] makes it cost.
fn exact_call() -> String {
    by_output(r#","max_completion_tokens":50"#)
}

/// What [`exact_call`] costs.
fn exact_cost() -> u64 {
    cost(0, 50)
}

/// A provider whose calls cost just what was set aside for them: as much output as the cap allows.
fn exact(call: &Seen) -> Vec<Step> {
    let cap = call.json()["max_completion_tokens"].as_u64().unwrap();
    vec![send(answer_json("200 OK", &[], &completion(20, cap)))]
}

fn check_spent(answer: &Answer, period: &str) {
    assert_eq!((answer.status, &*answer.text()), (403, SPENT));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("x-conduit-limit"), Some(period));
    let resets = answer.header("x-conduit-resets-at").unwrap();
    assert!(resets.ends_with('Z') && resets.contains('T'), "{resets}");
    assert!(answer.header("x-request-id").is_some());
}

#[test]
fn a_call_is_refused_once_a_limit_is_spent_in_any_window() {
    let upstream = Upstream::with(exact);
    let gateway = Setup::to(&upstream).start();
    for (calls, period) in Period::ALL.into_iter().enumerate() {
        let mut limits = Limits::default();
        limits.set(period, Some(Money::from_nano(exact_cost())));
        let name = period.name().to_owned();
        let key = gateway.create(CreateKey { name, limits, ..CreateKey::default() });
        let answer = gateway.call(&key, &exact_call());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-conduit-max-tokens-clamped"), None);
        for _ in 0..2 {
            check_spent(&gateway.call(&key, &exact_call()), period.name());
        }
        assert_eq!(gateway.spent(&key), exact_cost());
        assert_eq!(upstream.seen().len(), calls + 1);
    }
}

#[test]
fn a_changed_limit_holds_from_the_next_call_on() {
    let upstream = Upstream::with(exact);
    let gateway = Setup::to(&upstream).start();
    let key = gateway.limited("changing", exact_cost());
    let call = || gateway.call(&key, &exact_call()).status;
    let set = |calls: u64| Change::Set(Money::from_nano(calls * exact_cost()));
    assert_eq!((call(), call()), (200, 403));
    gateway.set_daily(&key, set(3));
    assert_eq!((call(), call(), call()), (200, 200, 403));
    gateway.set_daily(&key, set(2));
    assert_eq!(call(), 403, "less than is spent already");
    gateway.set_daily(&key, Change::Clear);
    assert_eq!((call(), call()), (200, 200));
    gateway.set_daily(&key, set(1));
    assert_eq!(call(), 403);
    gateway.set_daily(&key, Change::Keep);
    assert_eq!(call(), 403);
}

#[test]
fn a_key_that_is_changed_while_a_body_comes_is_judged_as_it_is_then() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    // A model without a price: whoever has limits may not use it.
    let body = format!(r#"{{"model":"unpriced","messages":{MESSAGES}}}"#);
    let call = chat(&key, &body);
    let mut client = gateway.client();
    client.send(&call[..call.len() - 9]);
    // It has been identified by now: what comes is asked for.
    thread::sleep(Duration::from_millis(100));
    gateway.set_daily(&key, Change::Set(Money::from_nano(1_000_000_000)));
    client.send(&call[call.len() - 9..]);
    let answer = client.answer();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("has no price"), "{}", answer.text());
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_raised_limit_serves_those_who_wait() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.limited("raised", exact_cost());
    upstream.then([Step::Gate, send(answer_json("200 OK", &[], &completion(1, 1)))]);
    let mut first = gateway.begin(&key, &exact_call());
    upstream.wait_for_calls(1);
    let mut second = gateway.begin(&key, &exact_call());
    gateway.wait_for_flight(&key, (1, 1));
    gateway.set_daily(&key, Change::Set(Money::from_nano(5 * exact_cost())));
    assert_eq!(second.answer().status, 200, "while the first still holds all of the old limit");
    upstream.open();
    assert_eq!(first.answer().status, 200);
}

#[test]
fn what_a_provider_charges_beyond_the_ceiling_is_posted_as_it_is() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.limited("overcharged", exact_cost());
    upstream.then([send(answer_json("200 OK", &[], &completion(5_000, 5_000)))]);
    assert_eq!(gateway.call(&key, &exact_call()).status, 200);
    assert_eq!(gateway.spent(&key), cost(0, 5_000));
    check_spent(&gateway.call(&key, &exact_call()), "daily");
}

/// Sends so many calls at once, each on a connection of its own, and returns their answers.
fn at_once(gateway: &Gateway, key: &Key, body: &str, count: usize) -> Vec<Answer> {
    let request = chat(key, body);
    let arrived = AtomicUsize::new(0);
    thread::scope(|scope| {
        let call = || {
            let mut client = gateway.client();
            arrived.fetch_add(1, Ordering::Relaxed);
            while arrived.load(Ordering::Relaxed) < count {
                thread::yield_now();
            }
            client.send(&request);
            client.answer()
        };
        let start =
            || thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, call).unwrap();
        let threads: Vec<_> = (0..count).map(|_| start()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[test]
fn of_five_hundred_calls_at_once_just_the_ten_that_are_affordable_are_served() {
    let upstream = Upstream::with(|call| [vec![Step::Pause(millis(30))], exact(call)].concat());
    let gateway = Setup::to(&upstream).start();
    let limit = 10 * exact_cost();
    let key = gateway.limited("crowded", limit);
    let answers = at_once(&gateway, &key, &exact_call(), 500);
    assert_eq!((count(&answers, 200), count(&answers, 403)), (10, 490));
    for answer in answers.iter().filter(|answer| answer.status == 403) {
        assert_eq!(answer.text(), SPENT);
    }
    assert_eq!(gateway.spent(&key), limit);
    assert_eq!(upstream.seen().len(), 10);
    assert_eq!(gateway.in_flight(&key), (0, 0));
}

#[test]
fn holds_that_turn_out_too_large_make_room_for_those_who_wait() {
    // Each call sets five times as much aside as it costs, so that few fit at once.
    let output = 20;
    let upstream = Upstream::with(move |call| {
        let cap = call.json()["max_completion_tokens"].as_u64().unwrap();
        let usage = completion(20, cap.min(output));
        vec![Step::Pause(millis(2)), send(answer_json("200 OK", &[], &usage))]
    });
    let gateway = Setup::to(&upstream).start();
    let call = by_output(r#","max_completion_tokens":400"#);
    let typical = cost(0, output);
    let limit = 40 * typical;
    let key = gateway.limited("generous", limit);
    let answers = at_once(&gateway, &key, &call, 300);
    let (served, refused) = (count(&answers, 200), count(&answers, 403));
    assert_eq!(served + refused, 300);
    let spent = gateway.spent(&key);
    assert!(spent <= limit, "{spent} of {limit}");
    let smallest = cost(0, 16);
    assert!(limit - spent < smallest, "{served} were served, and {} are left", limit - spent);
    assert!(served >= 40, "{served}");
    assert_eq!(upstream.seen().len(), served);
}

#[test]
fn what_is_not_affordable_is_capped_and_the_answer_says_so() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    for (index, (given, cap)) in [
        ("", 30),
        (r#","max_completion_tokens":500"#, 30),
        (r#","max_tokens":500"#, 30),
        (r#","max_tokens":500,"max_completion_tokens":400"#, 30),
        (r#","max_completion_tokens":500,"n":2"#, 16),
        (r#","max_completion_tokens":500,"stream":true"#, 20),
    ]
    .into_iter()
    .enumerate()
    {
        let call = by_output(given);
        let choices = if given.contains(r#""n":2"#) { 2 } else { 1 };
        let limit = cost(0, cap * choices) + OUTPUT_RATE - 1;
        let key = gateway.limited(&format!("capped {index}"), limit);
        let answer = gateway.call(&key, &call);
        assert_eq!(answer.status, 200, "{given}: {}", answer.text());
        let said = answer.header("x-conduit-max-tokens-clamped");
        assert_eq!(said, Some(&*cap.to_string()), "{given}");
        let seen = upstream.last().json();
        let caps = ["max_completion_tokens", "max_tokens"].map(|name| seen[name].clone());
        let set: Vec<_> = caps.iter().filter(|cap| !cap.is_null()).collect();
        assert!(
            !set.is_empty() && set.iter().all(|value| **value == json!(cap)),
            "{given}: {seen}"
        );
        assert!(gateway.spent(&key) <= limit);
    }
}

#[test]
fn below_the_floor_a_call_is_refused() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).limits("min_output_tokens = 40").start();
    let call = by_output("");
    let limit = |cap: u64| cost(0, cap);
    let key = gateway.limited("just above", limit(40));
    assert_eq!(gateway.call(&key, &call).status, 200);
    let key = gateway.limited("just below", limit(40) - 1);
    check_spent(&gateway.call(&key, &call), "daily");
    let key = gateway.limited("asks for less", limit(20));
    assert_eq!(gateway.call(&key, &by_output(r#","max_tokens":5"#)).status, 200);
    let key = gateway.limited("nothing", 0);
    check_spent(&gateway.call(&key, &call), "daily");
    assert_eq!(upstream.seen().len(), 2);
}

/// A key of whose calls just one fits at a time, though each costs next to nothing.
fn one_at_a_time(gateway: &Gateway) -> (Key, String) {
    let call = by_output(r#","max_completion_tokens":500"#);
    let key = gateway.limited("narrow", cost(0, 500) * 3 / 2);
    (key, call)
}

fn cheap_after_the_gate() -> [Step; 2] {
    [Step::Gate, send(answer_json("200 OK", &[], &completion(1, 1)))]
}

#[test]
fn who_waits_is_served_in_the_order_of_coming() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let (key, call) = one_at_a_time(&gateway);
    for _ in 0..6 {
        upstream.then(cheap_after_the_gate());
    }
    let mut clients = vec![gateway.begin(&key, &call)];
    upstream.wait_for_calls(1);
    for place in 1..6 {
        let marked = call.replacen('{', &format!(r#"{{"user":"{place}","#), 1);
        clients.push(gateway.begin(&key, &marked));
        gateway.wait_for_flight(&key, (1, place));
    }
    upstream.open();
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    let order: Vec<_> = upstream.seen().iter().map(|seen| seen.json()["user"].clone()).collect();
    assert_eq!(order[1..], ["1", "2", "3", "4", "5"].map(Value::from));
}

#[test]
fn who_leaves_the_line_lets_the_next_one_go() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let (key, call) = one_at_a_time(&gateway);
    upstream.then(cheap_after_the_gate());
    let mut first = gateway.begin(&key, &call);
    upstream.wait_for_calls(1);
    for how in [Leave::HalfClose, Leave::Close, Leave::Reset] {
        let waiting = gateway.begin(&key, &call);
        gateway.wait_for_flight(&key, (1, 1));
        let began = Instant::now();
        let _listening = waiting.leave(how);
        gateway.wait_for_flight(&key, (1, 0));
        let took = began.elapsed();
        assert!(took < Duration::from_millis(1500), "{how:?}: noticed after {took:?}");
    }
    let mut last = gateway.begin(&key, &call);
    gateway.wait_for_flight(&key, (1, 1));
    upstream.open();
    assert_eq!((first.answer().status, last.answer().status), (200, 200));
    assert_eq!(upstream.seen().len(), 2, "who left did not reach the provider");
    assert_eq!(gateway.receipts().len(), 2);
}

#[test]
fn a_call_that_waited_too_long_is_told_to_come_back() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).limits("max_wait = \"150ms\"").start();
    let (key, call) = one_at_a_time(&gateway);
    upstream.then(cheap_after_the_gate());
    let mut first = gateway.begin(&key, &call);
    upstream.wait_for_calls(1);
    let began = Instant::now();
    let answer = gateway.call(&key, &call);
    assert!(began.elapsed() >= millis(150));
    assert_eq!((answer.status, answer.code()), (429, json!("spending_limit_reserved")));
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    assert_eq!(answer.header("retry-after"), Some("1"));
    upstream.open();
    assert_eq!(first.answer().status, 200);
    assert_eq!(gateway.call(&key, &call).status, 200);
}

#[test]
fn a_client_that_leaves_makes_room() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let (key, call) = one_at_a_time(&gateway);
    upstream.then([Step::Pause(millis(8000))]);
    let first = gateway.begin(&key, &call);
    upstream.wait_for_calls(1);
    let mut second = gateway.begin(&key, &call);
    gateway.wait_for_flight(&key, (1, 1));
    let _ = first.leave(Leave::Close);
    assert_eq!(second.answer().status, 200);
    let receipts = gateway.receipts();
    assert_eq!(receipts[0].ending, Ending::ClientGone);
}

#[test]
fn a_soft_limit_stops_only_what_comes_after_it_was_passed() {
    let upstream = Upstream::with(|call| [vec![Step::Gate], exact(call)].concat());
    let gateway = Setup::to(&upstream).limits("enforcement = \"soft\"").start();
    let key = gateway.limited("soft", exact_cost());
    let mut clients: Vec<_> = (0..5).map(|_| gateway.begin(&key, &exact_call())).collect();
    upstream.wait_for_calls(5);
    upstream.open();
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-conduit-max-tokens-clamped"), None);
    }
    assert_eq!(gateway.spent(&key), 5 * exact_cost());
    check_spent(&gateway.call(&key, &exact_call()), "daily");
}

#[test]
fn enforcement_follows_the_configuration_while_calls_run() {
    let upstream = Upstream::with(|call| [vec![Step::Gate], exact(call)].concat());
    let setup = Setup::to(&upstream).limits("max_wait = \"0s\"");
    let gateway = setup.start();
    let key = gateway.limited("strict, then not", exact_cost());
    let mut first = gateway.begin(&key, &exact_call());
    upstream.wait_for_calls(1);
    assert_eq!(gateway.call(&key, &exact_call()).status, 429);
    std::fs::write(&gateway.config, setup.limits("enforcement = \"soft\"").text()).unwrap();
    gateway.wait_for_generation(2);
    let mut second = gateway.begin(&key, &exact_call());
    upstream.wait_for_calls(2);
    upstream.open();
    assert_eq!((first.answer().status, second.answer().status), (200, 200));
}

#[test]
fn a_holder_sees_where_the_key_stands() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let (key, call) = one_at_a_time(&gateway);
    let usd = |nano: u64| json!(Money::from_nano(nano).to_string());
    let limit = cost(0, 500) * 3 / 2;
    let ask = || gateway.exchange(&get("/v1/key", &[&key.header()])).json();

    let fresh = ask();
    assert_eq!((&fresh["object"], &fresh["name"]), (&json!("key"), &json!("narrow")));
    assert_eq!((&fresh["id"], &fresh["windows"]), (&json!(key.id.to_string()), &json!("rolling")));
    assert_eq!(fresh["weekly"]["limit_usd"], Value::Null);
    assert_eq!(fresh["daily"]["remaining_usd"], usd(limit));

    upstream.then(cheap_after_the_gate());
    let mut client = gateway.begin(&key, &call);
    upstream.wait_for_calls(1);
    let during = ask()["daily"].clone();
    let held = cost(0, 500);
    assert_eq!((&during["held_usd"], &during["spent_usd"]), (&usd(held), &usd(0)));
    assert_eq!(during["remaining_usd"], usd(limit - held));
    upstream.open();
    assert_eq!(client.answer().status, 200);
    for period in ["daily", "weekly", "monthly"] {
        let after = ask()[period].clone();
        assert_eq!((&after["held_usd"], &after["spent_usd"]), (&usd(0), &usd(cost(0, 1))));
        assert!(after["resets_at"].is_string());
    }
    assert!(!ask().to_string().contains(&key.secret));
}

#[test]
fn a_key_sees_the_models_that_it_may_use() {
    let more = "[models.\"team-a/*\"]\nprovider = \"scripted\"\nprice = \"free\"\n\
                [models.other]\nprovider = \"scripted\"\naliases = [\"best\"]\nprice = \"free\"";
    let gateway = Setup::to(&Upstream::start()).more(more).start();
    let all = gateway.key();
    let some = gateway.scoped("some", &["o*", "team-a/*"]);
    for (key, expected) in
        [(&all, &["best", "by-output", "model", "other", "unpriced"][..]), (&some, &["other"])]
    {
        for path in ["/v1/models", "/models"] {
            let answer = gateway.exchange(&get(path, &[&key.header()]));
            assert_eq!((answer.status, &answer.json()["object"]), (200, &json!("list")));
            let listed = answer.json()["data"].clone();
            let names: Vec<_> =
                listed.as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
            assert_eq!(names, expected);
        }
    }
    for (key, name, status) in [
        (&all, "model", 200),
        (&all, "best", 200),
        (&all, "team-a/x", 200),
        (&all, "team-a/x/y", 200),
        (&all, "nowhere", 404),
        (&some, "other", 200),
        (&some, "team-a/x", 200),
        (&some, "model", 404),
        (&some, "best", 404),
    ] {
        let answer = gateway.exchange(&get(&format!("/v1/models/{name}"), &[&key.header()]));
        assert_eq!(answer.status, status, "{name}");
        if status == 200 {
            let model = answer.json();
            assert_eq!((&model["id"], &model["object"]), (&json!(name), &json!("model")));
            assert!(model["created"].is_u64() && model["owned_by"] == "scripted", "{model}");
        } else {
            assert_eq!(answer.code(), "model_not_found");
        }
    }
    eventually(|| "nothing".to_owned(), || gateway.receipts().is_empty());
}
