//! What a key may do beside spending: rates, calls at the same time, endpoints, addresses; and teams,
//! whose limits bind all of their keys at once. A refusal must leave nothing behind.

use std::process::Command;
use std::thread;

use conduit::admin::keys::{Change, CreateKey, RevokeKey, SetKey};
use conduit::admin::teams::{CreateTeam, DeleteTeam, SetTeamLimits, ShowTeam, TeamView};
use conduit::admin::{AdminError, Verb};
use conduit::domain::budget::Enforcement;
use conduit::domain::key::{Controls, Limits};
use conduit::domain::money::Money;
use serde_json::{Value, json};

use crate::client::{Answer, get, post};
use crate::gateway::{Gateway, Key, MESSAGES, Setup, body, chat, cost, eventually};
use crate::upstream::{
    COMPLETION_TOKENS, DONE, END, PROMPT_TOKENS, STREAM_HEAD, Seen, Step, Upstream, chunked,
    completion, json as answer_json, send, usage_event, words,
};

const UNAUTHORIZED: &str = r#"{"error":{"message":"Invalid API key provided.","type":"authentication_error","param":null,"code":"invalid_api_key"}}"#;

fn create(gateway: &Gateway, verb: CreateKey) -> Key {
    let name = format!("key {}", gateway.desk().ledger.directory().all().len());
    gateway.create(CreateKey { name, ..verb })
}

fn set(gateway: &Gateway, key: &Key, verb: SetKey) {
    SetKey { key: key.id.to_string(), ..verb }.run(gateway.desk()).unwrap();
}

fn daily(nano: u64) -> Limits {
    Limits { daily: Some(Money::from_nano(nano)), ..Limits::default() }
}

/// What the answer says about a rate: limit, remaining, reset.
fn rate(answer: &Answer, what: &str) -> [Option<String>; 3] {
    ["limit", "remaining", "reset"]
        .map(|part| answer.header(&format!("x-ratelimit-{part}-{what}")).map(ToOwned::to_owned))
}

fn remaining(answer: &Answer, what: &str) -> u64 {
    let [_, remaining, reset] = rate(answer, what);
    assert!(reset.unwrap().ends_with('s'));
    remaining.unwrap().parse().unwrap()
}

fn check_throttled(answer: &Answer, kind: &str, code: &str) {
    assert_eq!((answer.status, answer.code()), (429, json!(code)), "{}", answer.text());
    assert_eq!(answer.json()["error"]["type"], kind);
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    if let Some(millis) = answer.header("retry-after-ms") {
        assert_eq!(millis.parse::<u64>().unwrap().div_ceil(1_000), seconds);
    }
}

/// An answer of a provider that says where its own account stands.
fn boastful(_: &Seen) -> Vec<Step> {
    let theirs = [
        "X-RateLimit-Limit-Requests: 9999",
        "X-RateLimit-Remaining-Tokens: 7777",
        "X-RateLimit-Reset-Input-Images: 1s",
    ];
    vec![send(answer_json("200 OK", &theirs, &completion(PROMPT_TOKENS, COMPLETION_TOKENS)))]
}

#[test]
fn requests_per_minute_are_counted_and_told() {
    let upstream = Upstream::with(boastful);
    let gateway = Setup::to(&upstream).start();
    let key = create(&gateway, CreateKey { rpm: Some(2), ..CreateKey::default() });
    for left in [1, 0] {
        let answer = gateway.call(&key, &body(""));
        assert_eq!((answer.status, remaining(&answer, "requests")), (200, left));
        assert_eq!(rate(&answer, "requests")[0].as_deref(), Some("2"));
        assert_eq!(rate(&answer, "tokens"), [None, None, None]);
        assert_eq!(answer.header("x-ratelimit-reset-input-images"), None);
    }
    let answer = gateway.call(&key, &body(""));
    check_throttled(&answer, "requests", "rate_limit_exceeded");
    assert!(answer.header("retry-after-ms").is_some());
    assert!(answer.text().contains("requests per minute: limit 2"), "{}", answer.text());
    assert_eq!(remaining(&answer, "requests"), 0);
    assert_eq!(upstream.seen().len(), 2);

    let shown = gateway.exchange(&get("/v1/key", &[&key.header()])).json();
    assert_eq!(shown["requests_per_minute"]["limit"], 2);
    assert_eq!(shown["requests_per_minute"]["remaining"], 0);

    set(&gateway, &key, SetKey { rpm: Change::Set(3), ..SetKey::default() });
    assert_eq!(gateway.call(&key, &body("")).status, 200);
    assert_eq!(gateway.call(&key, &body("")).status, 429);
    set(&gateway, &key, SetKey { rpm: Change::Clear, ..SetKey::default() });
    let answer = gateway.call(&key, &body(""));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("9999"), "the provider's own");
    assert_eq!(answer.header("x-ratelimit-remaining-tokens"), Some("7777"));
}

#[test]
fn tokens_per_minute_are_taken_at_first_and_settled_at_the_end() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = create(&gateway, CreateKey { tpm: Some(1_000), ..CreateKey::default() });
    let prompt = (MESSAGES.len() as u64).div_ceil(4);
    let call = body(r#","max_completion_tokens":700"#);
    upstream.then([Step::Gate, send(answer_json("200 OK", &[], &completion(50, 60)))]);
    let mut first = gateway.begin(&key, &call);
    upstream.wait_for_calls(1);
    let second = gateway.call(&key, &call);
    check_throttled(&second, "tokens", "rate_limit_exceeded");
    assert!((1_000 - 700 - prompt..1_000 - 700 + 20).contains(&remaining(&second, "tokens")));
    upstream.open();
    assert_eq!(first.answer().status, 200);

    let tokens = |answer: &Answer| remaining(answer, "tokens");
    let after = gateway.call(&key, r#"{"model":"nowhere","messages":[]}"#);
    assert_eq!(after.status, 404);
    assert!((1_000 - 110..=1_000 - 90).contains(&tokens(&after)), "{}", tokens(&after));

    upstream.then([send(answer_json("500 Oops", &[], "{}"))]);
    assert_eq!(gateway.call(&key, &call).status, 500);
    let after = gateway.call(&key, r#"{"model":"nowhere","messages":[]}"#);
    assert!(tokens(&after) >= 1_000 - 110, "a failure used none: {}", tokens(&after));

    let long = format!(r#"{{"model":"model","prompt":"{}"}}"#, "a".repeat(4_100));
    let headers = [&*key.header(), "Content-Type: application/json"];
    let answer = gateway.exchange(&post("/v1/completions", &headers, long.as_bytes()));
    assert_eq!((answer.status, answer.code()), (429, json!("rate_limit_exceeded")));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("retry-after"), None);

    // More than was taken: a debt that the next call waits for.
    upstream.then([send(answer_json("200 OK", &[], &completion(5_000, 60)))]);
    assert_eq!(gateway.call(&key, &call).status, 200);
    let answer = gateway.call(&key, &body(r#","max_completion_tokens":1"#));
    assert_eq!((answer.status, tokens(&answer)), (429, 0));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((200..300).contains(&seconds), "{seconds}");
}

#[test]
fn a_place_is_taken_until_the_end_of_the_stream() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = create(&gateway, CreateKey { parallel: Some(1), ..CreateKey::default() });
    upstream.then([
        send(STREAM_HEAD),
        send(chunked(words())),
        Step::Gate,
        send(chunked(usage_event(1, 1))),
        send(chunked(DONE)),
        send(END),
    ]);
    let mut first = gateway.begin(&key, &body(r#","stream":true"#));
    let head = first.head().unwrap();
    assert_eq!(head.header("x-ratelimit-limit-requests"), None, "places are no rate");
    let second = gateway.call(&key, &body(""));
    check_throttled(&second, "requests", "concurrency_limit_exceeded");
    set(&gateway, &key, SetKey { parallel: Change::Set(2), ..SetKey::default() });
    assert_eq!(gateway.call(&key, &body("")).status, 200);
    set(&gateway, &key, SetKey { parallel: Change::Set(1), ..SetKey::default() });
    assert_eq!(gateway.call(&key, &body("")).status, 429);
    upstream.open();
    assert!(first.body(head).whole);
    gateway.wait_for_flight(&key, (0, 0));
    assert_eq!(gateway.call(&key, &body("")).status, 200);
}

#[test]
fn calls_from_before_a_limit_of_places_count() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    upstream.then([Step::Gate, send(answer_json("200 OK", &[], &completion(1, 1)))]);
    let mut first = gateway.begin(&key, &body(""));
    upstream.wait_for_calls(1);
    set(&gateway, &key, SetKey { parallel: Change::Set(1), ..SetKey::default() });
    assert_eq!(gateway.call(&key, &body("")).status, 429);
    upstream.open();
    assert_eq!(first.answer().status, 200);
    gateway.wait_for_flight(&key, (0, 0));
    assert_eq!(gateway.call(&key, &body("")).status, 200);
}

#[test]
fn a_refusal_takes_nothing_and_comes_in_the_order_of_the_contract() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let limits = daily(0);
    let endpoints = vec!["chat/completions".to_owned()];
    let all = CreateKey {
        rpm: Some(5),
        tpm: Some(5_000),
        parallel: Some(3),
        limits,
        endpoints,
        ..CreateKey::default()
    };
    let key = create(&gateway, all);
    let headers = [&*key.header(), "Content-Type: application/json"];
    let unpriced = body("").replace(r#""model":"model""#, r#""model":"unpriced""#);
    for (path, body, status, code) in [
        ("/v1/chat/completions", body(""), 403, json!("spending_limit_exceeded")),
        ("/v1/chat/completions", unpriced, 400, json!("model_without_price")),
        ("/v1/chat/completions", body("").replace("model", "x"), 400, Value::Null),
        (
            "/v1/embeddings",
            r#"{"model":"model","input":"a"}"#.into(),
            403,
            json!("endpoint_not_allowed"),
        ),
        ("/embeddings", r#"{"model":"x","input":"a"}"#.into(), 403, json!("endpoint_not_allowed")),
        ("/v1/embeddings", "{".into(), 400, Value::Null),
    ] {
        let answer = gateway.exchange(&post(path, &headers, body.as_bytes()));
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text());
        if !code.is_null() {
            assert_eq!(answer.code(), code);
        }
        if status == 403 {
            assert_eq!(answer.header("x-should-retry"), Some("false"));
            assert_eq!(answer.json()["error"]["type"], "authorization_error");
        }
        assert_eq!(remaining(&answer, "requests"), 5, "{path} {body}");
        assert_eq!(remaining(&answer, "tokens"), 5_000, "{path} {body}");
        assert_eq!(gateway.in_flight(&key), (0, 0));
    }
    assert!(upstream.seen().is_empty());

    // Places before requests, requests before tokens, tokens before money.
    set(&gateway, &key, SetKey { tpm: Change::Set(1), ..SetKey::default() });
    assert_eq!(gateway.call(&key, &body("")).json()["error"]["type"], "tokens");
    set(&gateway, &key, SetKey { tpm: Change::Clear, ..SetKey::default() });
    assert_eq!(gateway.call(&key, &body("")).status, 403);
}

/// Asks for the models as if through a proxy that wrote these hops.
fn from(gateway: &Gateway, key: &Key, forwarded: &[&str]) -> Vec<(u16, String)> {
    let mut headers = vec![key.header(), "Content-Type: application/json".to_owned()];
    headers.extend(forwarded.iter().map(|hops| format!("X-Forwarded-For: {hops}")));
    let headers: Vec<_> = headers.iter().map(String::as_str).collect();
    let requests = [
        get("/v1/models", &headers),
        get("/v1/models/model", &headers),
        get("/v1/key", &headers),
        post("/v1/chat/completions", &headers, body("").as_bytes()),
    ];
    let answers = requests.iter().map(|request| gateway.exchange(request));
    answers.map(|answer| (answer.status, answer.text())).collect()
}

#[test]
fn a_key_from_elsewhere_looks_like_one_that_does_not_exist() {
    let upstream = Upstream::start();
    let allow_ips = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let restricted = CreateKey { allow_ips, ..CreateKey::default() };

    let direct = Setup::to(&upstream).start();
    let key = create(&direct, restricted.clone());
    for forwarded in [&[][..], &["10.0.0.1"], &["127.0.0.1"]] {
        for answer in from(&direct, &key, forwarded) {
            assert_eq!(answer, (401, UNAUTHORIZED.to_owned()), "{forwarded:?}");
        }
    }
    let own = vec!["127.0.0.1/32".parse().unwrap()];
    set(&direct, &key, SetKey { allow_ips: Change::Set(own), ..SetKey::default() });
    assert!(from(&direct, &key, &["192.0.2.1"]).iter().all(|(status, _)| *status == 200));

    let trusted = r#"trusted_proxies = ["127.0.0.0/8", "192.0.2.0/24"]"#;
    let proxied = Setup::to(&upstream).server(trusted).start();
    let key = create(&proxied, restricted);
    let anywhere = proxied.key();
    for (forwarded, is_let_in) in [
        (&[][..], false),
        (&["10.0.0.1"], true),
        (&["203.0.113.1, 10.0.0.1"], true),
        (&["10.0.0.1, 203.0.113.1"], false),
        (&["203.0.113.1, 10.0.0.1, 192.0.2.7"], true),
        (&["10.0.0.1", "203.0.113.1"], false),
        (&["203.0.113.1", "10.0.0.1, 192.0.2.7"], true),
        (&["2001:db8::7"], true),
        (&["10.0.0.1, unknown"], false),
    ] {
        for (status, text) in from(&proxied, &key, forwarded) {
            assert_eq!(status == 200, is_let_in, "{forwarded:?}");
            assert!(is_let_in || text == UNAUTHORIZED, "{text}");
        }
        assert!(from(&proxied, &anywhere, forwarded).iter().all(|(status, _)| *status == 200));
    }
}

#[test]
fn a_key_can_have_an_enforcement_of_its_own() {
    let call = body(r#","max_completion_tokens":50"#);
    let limit = cost(call.len() as u64, 50);
    for (general, own, served) in [
        ("hard", Enforcement::Soft, 3),
        ("soft", Enforcement::Hard, 1),
        ("soft", Enforcement::Soft, 3),
    ] {
        let upstream = Upstream::with(|call| {
            let usage = completion(call.body.len() as u64, 50);
            vec![Step::Gate, send(answer_json("200 OK", &[], &usage))]
        });
        let setup = Setup::to(&upstream).limits(&format!("enforcement = \"{general}\""));
        let gateway = setup.limits("max_wait = \"100ms\"").start();
        let enforcement = Some(own);
        let verb = CreateKey { enforcement, limits: daily(limit), ..CreateKey::default() };
        let key = create(&gateway, verb);
        let mut clients: Vec<_> = (0..3).map(|_| gateway.begin(&key, &call)).collect();
        upstream.wait_for_calls(served);
        if served == 1 {
            gateway.wait_for_flight(&key, (1, 2));
            gateway.wait_for_flight(&key, (1, 0));
        }
        upstream.open();
        let answers: Vec<_> = clients.iter_mut().map(|client| client.answer().status).collect();
        let admitted = answers.iter().filter(|status| **status == 200).count();
        assert_eq!(admitted, served, "{general} {own:?}: {answers:?}");
    }
}

fn team(gateway: &Gateway, name: &str, daily_nano: u64) {
    let limits = daily(daily_nano);
    CreateTeam { name: name.to_owned(), limits }.run(gateway.desk()).unwrap();
}

fn show(gateway: &Gateway, name: &str) -> TeamView {
    ShowTeam { team: name.to_owned() }.run(gateway.desk()).unwrap()
}

fn member(gateway: &Gateway, team: &str, limits: Limits) -> Key {
    create(gateway, CreateKey { team: Some(team.to_owned()), limits, ..CreateKey::default() })
}

/// A call that costs exactly what is set aside for it, and its provider.
fn exact_call() -> (String, u64) {
    let call = body(r#","max_completion_tokens":50"#);
    let cost = cost(call.len() as u64, 50);
    (call, cost)
}

fn exact(call: &Seen) -> Vec<Step> {
    vec![send(answer_json("200 OK", &[], &completion(call.body.len() as u64, 50)))]
}

#[test]
fn the_limits_of_a_team_bind_all_its_keys_at_once() {
    let upstream = Upstream::with(exact);
    let gateway = Setup::to(&upstream).start();
    let (call, price) = exact_call();
    team(&gateway, "research", 10 * price);
    let keys = [
        member(&gateway, "research", Limits::default()),
        member(&gateway, "research", daily(7 * price)),
        member(&gateway, "research", daily(3 * price)),
    ];
    let outsider = gateway.key();
    let request = |key: &Key| chat(key, &call);
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..90)
            .map(|n| {
                let (gateway, request) = (&gateway, request(&keys[n % 3]));
                scope.spawn(move || gateway.exchange(&request).status)
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let count = |status: u16| answers.iter().filter(|found| **found == status).count();
    assert_eq!((count(200), count(403)), (10, 80));
    assert_eq!(show(&gateway, "research").windows[0].spent.nano(), 10 * price);
    assert!(gateway.spent(&keys[1]) <= 7 * price && gateway.spent(&keys[2]) <= 3 * price);
    assert_eq!(gateway.call(&outsider, &call).status, 200);

    let shown = gateway.exchange(&get("/v1/key", &[&keys[0].header()])).json();
    let usd = |nano: u64| json!(Money::from_nano(nano).to_string());
    assert_eq!(shown["team"]["name"], "research");
    assert_eq!(shown["team"]["daily"]["spent_usd"], usd(10 * price));
    assert_eq!(shown["team"]["daily"]["remaining_usd"], usd(0));
    assert_eq!(shown["daily"]["limit_usd"], Value::Null);
    let shown = gateway.exchange(&get("/v1/key", &[&outsider.header()])).json();
    assert_eq!(shown["team"], Value::Null);

    set(&gateway, &keys[0], SetKey { team: Change::Clear, ..SetKey::default() });
    assert_eq!(gateway.call(&keys[0], &call).status, 200, "out of the team");
    assert_eq!(show(&gateway, "research").windows[0].spent.nano(), 10 * price);
}

#[test]
fn who_waits_for_a_team_is_served_when_it_has_money_again() {
    let upstream = Upstream::with(|call| {
        vec![Step::Gate, send(answer_json("200 OK", &[], &completion(call.body.len() as u64, 1)))]
    });
    let gateway = Setup::to(&upstream).start();
    let (call, price) = exact_call();
    team(&gateway, "narrow", price * 3 / 2);
    let one = member(&gateway, "narrow", Limits::default());
    let other = member(&gateway, "narrow", Limits::default());
    let mut first = gateway.begin(&one, &call);
    upstream.wait_for_calls(1);
    let mut second = gateway.begin(&other, &call);
    eventually(|| "a call in line".to_owned(), || show(&gateway, "narrow").calls_in_line == 1);
    let limit = Change::Set(Money::from_nano(2 * price));
    let verb = SetTeamLimits {
        team: "narrow".to_owned(),
        daily: limit,
        weekly: Change::Keep,
        monthly: Change::Keep,
    };
    verb.run(gateway.desk()).unwrap();
    upstream.wait_for_calls(2);
    let mut third = gateway.begin(&one, &call);
    eventually(|| "a call in line".to_owned(), || show(&gateway, "narrow").calls_in_line == 1);
    // Out of the team, there is nothing to wait for.
    set(&gateway, &one, SetKey { team: Change::Clear, ..SetKey::default() });
    upstream.wait_for_calls(3);
    upstream.open();
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.answer().status, 200);
    }
    eventually(|| "no call".to_owned(), || show(&gateway, "narrow").calls_in_flight == 0);
    assert_eq!(show(&gateway, "narrow").windows[0].held, Money::ZERO);
}

#[test]
fn what_a_team_spent_outlives_a_restart_and_new_windows() {
    let upstream = Upstream::with(exact);
    let setup = Setup::to(&upstream);
    let mut gateway = setup.start();
    let (call, price) = exact_call();
    team(&gateway, "lasting", 3 * price);
    let key = member(&gateway, "lasting", Limits::default());
    assert_eq!(gateway.call(&key, &call).status, 200);
    gateway.restart();
    assert_eq!(show(&gateway, "lasting").windows[0].spent.nano(), price);
    assert_eq!(gateway.call(&key, &call).status, 200);
    gateway.restart();
    assert_eq!(show(&gateway, "lasting").windows[2].spent.nano(), 2 * price);
    let calendar = setup.limits("windows = \"calendar\"\ntime_zone = \"UTC\"").text();
    std::fs::write(&gateway.config, calendar).unwrap();
    gateway.restart();
    assert_eq!(show(&gateway, "lasting").keys.len(), 1);
    assert_eq!(gateway.call(&key, &call).status, 200);
}

#[test]
fn new_windows_are_filled_from_the_hours_while_the_gateway_runs() {
    let upstream = Upstream::with(exact);
    let setup = Setup::to(&upstream);
    let gateway = setup.start();
    let (call, price) = exact_call();
    team(&gateway, "rolling", 2 * price);
    let key = member(&gateway, "rolling", Limits::default());
    assert_eq!(gateway.call(&key, &call).status, 200);
    let calendar = setup.limits("windows = \"calendar\"\ntime_zone = \"UTC\"").text();
    std::fs::write(&gateway.config, calendar).unwrap();
    let rule = || gateway.desk().ledger.policy().windows.clone();
    eventually(
        || "new windows".to_owned(),
        || {
            rule() != conduit::domain::window::WindowRule::Rolling
                && show(&gateway, "rolling").windows[2].spent.nano() == price
        },
    );
    assert_eq!(gateway.call(&key, &call).status, 200);
    assert_eq!(gateway.call(&key, &call).status, 403);
}

#[test]
fn a_team_goes_only_when_no_key_is_left_in_it() {
    let gateway = Setup::to(&Upstream::start()).start();
    team(&gateway, "brief", 1);
    let again = CreateTeam { name: "brief".to_owned(), ..CreateTeam::default() };
    assert!(matches!(again.run(gateway.desk()), Err(AdminError::Conflict(_))));
    let key = member(&gateway, "brief", Limits::default());
    let other = member(&gateway, "brief", Limits::default());
    let delete = || DeleteTeam { team: "brief".to_owned() }.run(gateway.desk());
    assert!(matches!(delete(), Err(AdminError::Conflict(_))));
    set(&gateway, &key, SetKey { team: Change::Clear, ..SetKey::default() });
    assert!(matches!(delete(), Err(AdminError::Conflict(_))));
    RevokeKey { key: other.id.to_string() }.run(gateway.desk()).unwrap();
    delete().unwrap();
    assert!(matches!(delete(), Err(AdminError::NotFound(_))));
    let gone = CreateKey {
        name: "late".to_owned(),
        team: Some("brief".to_owned()),
        ..CreateKey::default()
    };
    assert!(matches!(gone.run(gateway.desk()), Err(AdminError::NotFound(_))));
}

#[test]
fn what_cannot_be_set_is_refused_and_changes_nothing() {
    let gateway = Setup::to(&Upstream::start()).start();
    let key = gateway.limited("steady", None);
    gateway.limited("taken", None);
    let name = |name: &str| SetKey { name: Some(name.to_owned()), ..SetKey::default() };
    let endpoints = Change::Set(vec!["chat".to_owned()]);
    for (what, verb) in [
        ("a name that is taken", name("taken")),
        ("no name", name("")),
        ("no requests", SetKey { rpm: Change::Set(0), ..SetKey::default() }),
        ("no calls", SetKey { parallel: Change::Set(0), ..SetKey::default() }),
        ("no endpoint", SetKey { endpoints, ..SetKey::default() }),
        ("no team", SetKey { team: Change::Set("none such".to_owned()), ..SetKey::default() }),
        (
            "the past",
            SetKey { expires_at: Change::Set("2020-01-01".parse().unwrap()), ..SetKey::default() },
        ),
    ] {
        let verb = SetKey { key: "steady".to_owned(), ..verb };
        assert!(verb.run(gateway.desk()).is_err(), "{what}");
    }
    let record = gateway.desk().ledger.directory().by_id(key.id).unwrap().record();
    assert_eq!((&*record.name, &record.controls), ("steady", &Controls::default()));
    set(&gateway, &key, name("renamed"));
    assert_eq!(gateway.call(&key, &body("")).status, 200);
}

/// Runs the program beside the gateway, which it must find over its socket.
fn command(gateway: &Gateway, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conduit"));
    let ran = command.args(arguments).arg("--config").arg(&gateway.config).output().unwrap();
    let text = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_command_line_sets_and_shows_everything() {
    let gateway = Setup::to(&Upstream::start()).start();
    let run = |arguments: &[&str]| {
        let (done, text) = command(&gateway, arguments);
        assert!(done, "{arguments:?}: {text}");
        text
    };
    run(&["admin", "teams", "create", "research", "--daily", "5", "--monthly", "50"]);
    run(&[
        "keys",
        "create",
        "ci",
        "--rpm",
        "60",
        "--tpm",
        "1000",
        "--parallel",
        "4",
        "--endpoints",
        "chat/completions,embeddings",
        "--allow-ip",
        "10.0.0.0/8,::1",
        "--enforcement",
        "soft",
        "--team",
        "research",
    ]);
    let shown = run(&["keys", "show", "ci"]);
    for line in [
        "team        research",
        "rpm         60",
        "tpm         1000",
        "parallel    4",
        "endpoints   chat/completions,embeddings",
        "allow-ip    10.0.0.0/8,::1/128",
        "enforcement soft",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let listed = run(&["keys", "list"]);
    assert!(listed.contains("research\trpm=60 tpm=1000 parallel=4"), "{listed}");
    assert!(run(&["admin", "team", "list"]).contains("research\t1\t0"));
    assert!(run(&["admin", "teams", "show", "research"]).contains("ci"));
    assert!(!command(&gateway, &["admin", "teams", "delete", "research"]).0);

    let cleared = run(&[
        "keys",
        "set",
        "ci",
        "--name",
        "cd",
        "--rpm",
        "none",
        "--tpm",
        "7",
        "--parallel",
        "none",
        "--endpoints",
        "none",
        "--allow-ip",
        "none",
        "--enforcement",
        "none",
        "--team",
        "none",
        "--models",
        "gpt-*,claude-*",
        "--expires",
        "90d",
        "--tags",
        "env=prod,app=x",
        "--json",
    ]);
    let key: Value = serde_json::from_str(&cleared).unwrap();
    let expected = json!({
        "name": "cd", "rpm": null, "tpm": 7, "parallel": null, "endpoints": [], "allow_ips": [],
        "enforcement": null, "team": null, "models": ["gpt-*", "claude-*"],
        "tags": [["env", "prod"], ["app", "x"]],
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&key[name], value, "{name}: {key}");
    }
    assert!(key["expires_at"].is_string());
    run(&["keys", "set", "cd", "--expires", "none", "--models", "none", "--tags", "none"]);
    run(&["admin", "teams", "limits", "research", "--clear"]);
    run(&["admin", "teams", "delete", "research"]);
    for wrong in [
        &["keys", "set", "cd"][..],
        &["keys", "set", "cd", "--rpm", "fast"],
        &["keys", "set", "cd", "--rpm", "0"],
        &["keys", "set", "cd", "--allow-ip", "10.0.0.1/8"],
        &["keys", "set", "cd", "--enforcement", "some"],
        &["keys", "set", "cd", "--team", "nobody"],
        &["keys", "create", "x", "--endpoints", "chat"],
    ] {
        assert!(!command(&gateway, wrong).0, "{wrong:?}");
    }
}
