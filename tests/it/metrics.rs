//! What is counted while calls run: under which labels, and that it is what the books say. That the
//! sums agree with the receipts is checked at the end of every test here and elsewhere.

use std::fs;
use std::thread;
use std::time::Duration;

use conduit::admin::{Desk, metrics};
use conduit::domain::money::Money;

use crate::gateway::{Gateway, Key, Setup, body, by_output, cost, eventually};
use crate::upstream::{
    COMPLETION_TOKENS, DONE, END, PROMPT_TOKENS, STREAM_HEAD, Step, Upstream, chunked, completion,
    json as answer_json, send, usage_event, words,
};

/// The page of metrics, taken apart.
pub(crate) struct Metrics(Vec<(String, String)>);

impl Metrics {
    pub(crate) fn read(desk: &Desk) -> Self {
        let page = metrics::page(desk);
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let pair = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.to_owned())
        };
        Self(lines.map(pair).collect())
    }

    fn of<'a>(&'a self, family: &'a str, labels: &'a str) -> impl Iterator<Item = &'a str> {
        let each = self.0.iter().filter(move |(name, _)| {
            let (found, rest) = name.split_once('{').unwrap_or((name, ""));
            found == family && labels.split(',').all(|label| rest.contains(label))
        });
        each.map(|(_, value)| value.as_str())
    }

    /// The sum of a family's samples that have all of these labels.
    pub(crate) fn sum(&self, family: &str, labels: &str) -> u64 {
        self.of(family, labels).map(|value| value.parse::<u64>().unwrap()).sum()
    }

    /// The sum of a family of dollars.
    pub(crate) fn nano(&self, family: &str) -> u64 {
        self.of(family, "").map(|value| value.parse::<Money>().unwrap().nano()).sum()
    }

    fn has(&self, text: &str) -> bool {
        self.0.iter().any(|(name, _)| name.contains(text))
    }
}

fn read(gateway: &Gateway) -> Metrics {
    Metrics::read(gateway.desk())
}

fn labels(key: &Key, model: &str) -> String {
    format!("key=\"{}\",provider=\"scripted\",model=\"{model}\"", key.id)
}

#[test]
fn a_call_is_counted_by_key_provider_model_and_status() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let (key, other) = (gateway.key(), gateway.key());
    for _ in 0..2 {
        assert_eq!(gateway.call(&key, &body("")).status, 200);
    }
    assert_eq!(gateway.call(&other, &body("")).status, 200);
    upstream.then([send(answer_json("400 Bad Request", &[], r#"{"error":{"message":"no"}}"#))]);
    assert_eq!(gateway.call(&key, &body("")).status, 400);
    let metrics = read(&gateway);
    let of = labels(&key, "model");
    assert_eq!(metrics.sum("conduit_calls_total", &format!("{of},status=\"200\"")), 2);
    assert_eq!(metrics.sum("conduit_calls_total", &format!("{of},status=\"400\"")), 1);
    let tokens =
        |class: &str| metrics.sum("conduit_tokens_total", &format!("{of},class=\"{class}\""));
    assert_eq!((tokens("input"), tokens("output")), (2 * PROMPT_TOKENS, 2 * COMPLETION_TOKENS));
    assert_eq!(metrics.nano("conduit_spend_usd_total"), 3 * cost(PROMPT_TOKENS, COMPLETION_TOKENS));
    let target = "provider=\"scripted\",model=\"model\"";
    assert_eq!(metrics.sum("conduit_upstream_duration_seconds_count", target), 3, "no errors");
    assert_eq!(metrics.sum("conduit_upstream_first_byte_seconds_count", target), 4);
    assert_eq!(metrics.sum("conduit_added_latency_seconds_count", ""), 4);
    assert_eq!(metrics.sum("conduit_holds_open", ""), 0);
    assert!(metrics.sum("conduit_journal_sync_seconds_count", "") > 0);
}

#[test]
fn a_stream_takes_until_its_end_and_its_first_byte_is_told_apart() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    upstream.then([
        send(STREAM_HEAD),
        send(chunked(words())),
        Step::Pause(Duration::from_millis(300)),
        send(chunked([usage_event(5, 7), DONE.to_owned()].concat())),
        send(END),
    ]);
    assert_eq!(gateway.call(&key, &body(r#","stream":true"#)).status, 200);
    gateway.receipt(1);
    let metrics = read(&gateway);
    let up_to = |family: &str, bound: &str| {
        metrics
            .sum(&format!("conduit_upstream_{family}_seconds_bucket"), &format!("le=\"{bound}\""))
    };
    assert_eq!((up_to("first_byte", "0.25"), up_to("first_byte", "+Inf")), (1, 1));
    assert_eq!((up_to("duration", "0.25"), up_to("duration", "+Inf")), (0, 1));
}

#[test]
fn names_that_clients_make_up_are_no_labels() {
    let upstream = Upstream::start();
    let wild = "[models.\"wild-*\"]\nprovider = \"scripted\"\nprice = \"free\"\n\
                [models.\"up/*\"]\nprovider = \"scripted\"\nmodel = \"*\"\n\
                [routing]\ndefault_provider = \"scripted\"\n";
    let gateway = Setup::to(&upstream).more(wild).start();
    let key = gateway.key();
    let call = |model: &str| {
        let body = format!(r#"{{"model":"{model}","messages":[]}}"#);
        assert_eq!(gateway.call(&key, &body).status, 200, "{model}");
    };
    for number in 0..20 {
        call(&format!("wild-made-up-{number}"));
        call(&format!("nobody-made-up-{number}"));
    }
    call("up/gpt-4o-mini");
    let metrics = read(&gateway);
    assert!(!metrics.has("made-up"));
    for (model, count) in [("wild-*", 20), ("other", 20), ("gpt-4o-mini", 1)] {
        assert_eq!(metrics.sum("conduit_calls_total", &labels(&key, model)), count, "{model}");
    }
}

#[test]
fn what_is_refused_capped_or_made_to_wait_is_counted() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).limits("max_wait = \"300ms\"").start();
    let nobody = Key { id: gateway.key().id, secret: "sk-cdt-wrong".to_owned() };
    assert_eq!(gateway.call(&nobody, &body("")).status, 401);
    let key = gateway.limited("small", 1_900_000);
    assert_eq!(gateway.call(&key, r#"{"model":"nowhere","messages":[]}"#).status, 404);
    upstream.then([Step::Gate, send(answer_json("200 OK", &[], &completion(1, 1)))]);
    let mut first = gateway.begin(&key, &by_output(r#","max_tokens":900"#));
    upstream.wait_for_calls(1);
    assert_eq!(read(&gateway).sum("conduit_holds_open", ""), 1);
    assert_eq!(read(&gateway).nano("conduit_held_usd"), 1_800_000);
    let mut second = gateway.begin(&key, &by_output(r#","max_tokens":900"#));
    eventually(|| "a call in line".to_owned(), || read(&gateway).sum("conduit_waiting", "") == 1);
    assert_eq!(second.answer().status, 429);
    upstream.open();
    assert_eq!(first.answer().status, 200);
    let clamped = gateway.call(&key, &by_output(r#","max_tokens":1000"#));
    assert!(clamped.header("x-conduit-max-tokens-clamped").is_some(), "{clamped:?}");
    let metrics = read(&gateway);
    for (reason, count) in
        [("invalid_api_key", 1), ("model_not_found", 1), ("spending_limit_reserved", 1)]
    {
        let label = format!("reason=\"{reason}\"");
        assert_eq!(metrics.sum("conduit_refused_total", &label), count, "{reason}");
    }
    assert_eq!(metrics.sum("conduit_clamped_total", ""), 1);
    assert_eq!(metrics.sum("conduit_wait_duration_seconds_count", ""), 1);
    let limit = format!("key=\"{}\",window=\"daily\"", key.id);
    assert!(metrics.has(&format!("conduit_key_limit_usd{{{limit}}}")));
    assert!(metrics.has(&format!("conduit_key_info{{key=\"{}\",name=\"small\"}}", key.id)));
}

#[test]
fn attempts_that_fail_are_counted_by_what_was_wrong() {
    let upstream = Upstream::start();
    let again = "[routing]\nretry_budget = 100\nretries = 1";
    let gateway = Setup::to(&upstream).more(again).start();
    let key = gateway.key();
    upstream.then([send(answer_json("503 Service Unavailable", &[], "{}"))]);
    assert_eq!(gateway.call(&key, &body("")).status, 200, "it is tried again");
    let metrics = read(&gateway);
    let label = "provider=\"scripted\",reason=\"moment\"";
    assert_eq!(metrics.sum("conduit_upstream_failures_total", label), 1);
    assert_eq!(metrics.sum("conduit_added_latency_seconds_count", ""), 0, "its pause is not ours");
}

#[test]
fn the_state_of_the_configuration_is_told() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let good = |metrics: &Metrics| metrics.sum("conduit_config_last_reload_successful", "");
    assert_eq!(good(&read(&gateway)), 1);
    fs::write(&gateway.config, "[server").unwrap();
    eventually(|| "the reload to fail".to_owned(), || good(&read(&gateway)) == 0);
    thread::sleep(Duration::from_millis(1));
    fs::write(&gateway.config, Setup::to(&upstream).server("# changed").text()).unwrap();
    eventually(|| "the reload to succeed".to_owned(), || good(&read(&gateway)) == 1);
    assert_eq!(read(&gateway).sum("conduit_config_generation", ""), 2);
}
