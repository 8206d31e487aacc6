//! Prices change while the gateway runs: at once, for the calls that begin from then on, and never for
//! a bill that was written.

use std::fs;

use conduit::admin::Verb;
use conduit::admin::explain::Explain;
use conduit::admin::prices::{ResetPrices, ShowPrices, UpdatePrices, UpdateView};
use conduit::domain::money::Money;

use crate::gateway::{Gateway, Key, MESSAGES, Setup, chat};
use crate::upstream::{DONE, STREAM_HEAD, Step, Upstream, chunked, send, usage_event, word};

/// A price map with a price for `unpriced`, in dollars per million tokens.
fn price_map(input: u64, output: u64) -> String {
    format!(
        r#"{{"unpriced": {{"litellm_provider": "openai", "mode": "chat", "max_output_tokens": 50,
            "input_cost_per_token": {input}e-06, "output_cost_per_token": {output}e-06}}}}"#
    )
}

fn update(gateway: &Gateway, text: String) -> UpdateView {
    UpdatePrices { text, dry_run: false }.run(gateway.desk()).unwrap()
}

fn unpriced(more: &str) -> String {
    format!(r#"{{"model":"unpriced","messages":{MESSAGES}{more}}}"#)
}

fn from(gateway: &Gateway) -> String {
    let view = ShowPrices { model: Some("unpriced".to_owned()) }.run(gateway.desk()).unwrap();
    view.models[0].targets[0].from.clone()
}

fn call(gateway: &Gateway, key: &Key) -> u16 {
    gateway.call(key, &unpriced("")).status
}

#[test]
fn an_update_is_in_force_at_once_and_old_bills_stay_as_they_are() {
    let upstream = Upstream::start();
    let mut gateway = Setup::to(&upstream).start();
    let limited = gateway.limited("limited", 1_000_000_000);
    assert_eq!(call(&gateway, &limited), 400, "a key with a limit needs a price");

    let view = update(&gateway, price_map(1, 2));
    assert_eq!((view.added.len(), view.models), (1, 1));
    let edition = view.update.unwrap();
    assert_eq!(from(&gateway), edition);
    assert_eq!(call(&gateway, &limited), 200);
    let first = gateway.receipt(1);
    assert_eq!(&*first.price, edition);
    let usage = first.usage();
    let nano = |input, output| {
        Money::from_nano(
            usage.input_tokens() * input * 1_000 + usage.output_tokens() * output * 1_000,
        )
    };
    assert_eq!(first.cost, nano(1, 2));
    let explained = Explain { id: first.id }.run(gateway.desk()).unwrap();
    assert!(explained.adds_up);

    let dearer = update(&gateway, price_map(3, 7));
    assert_eq!(dearer.changed[0].what, ["input 1 -> 3", "output 2 -> 7"]);
    assert_eq!(call(&gateway, &limited), 200);
    let receipts = gateway.receipts();
    assert!(receipts.iter().any(|receipt| receipt.cost == nano(3, 7)));
    assert!(receipts.contains(&first), "no old receipt changes");
    assert_eq!(Explain { id: first.id }.run(gateway.desk()).unwrap(), explained);

    gateway.restart();
    assert_eq!(from(&gateway), dearer.update.unwrap(), "a restart finds it");
    assert_eq!(Explain { id: first.id }.run(gateway.desk()).unwrap(), explained);
    let reset = ResetPrices::default().run(gateway.desk()).unwrap();
    assert_eq!(reset.removed[0].what[0], "has no price any more");
    assert_eq!((from(&gateway).as_str(), call(&gateway, &limited)), ("unknown", 400));
}

#[test]
fn a_call_under_way_keeps_the_price_that_it_began_with() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    update(&gateway, price_map(1, 1));
    upstream.then([
        send(STREAM_HEAD),
        send(chunked(word("a"))),
        Step::Gate,
        send(chunked(usage_event(10, 10))),
        send(chunked(DONE)),
        send("0\r\n\r\n"),
    ]);
    let mut client = gateway.client();
    client.send(&chat(&key, &unpriced(r#","stream":true"#)));
    assert_eq!(client.head().unwrap().status, 200);
    client.until("\n\n");
    update(&gateway, price_map(1_000, 1_000));
    upstream.open();
    client.until(DONE);
    assert_eq!(gateway.receipt(1).cost, Money::from_nano(20_000));
}

#[test]
fn a_reload_of_the_file_keeps_the_update_and_the_file_goes_before_it() {
    let upstream = Upstream::start();
    let setup = Setup::to(&upstream);
    let gateway = setup.start();
    let edition = update(&gateway, price_map(1, 2)).update.unwrap();
    fs::write(&gateway.config, setup.clone().more("# nothing new").text()).unwrap();
    gateway.wait_for_generation(2);
    assert_eq!(from(&gateway), edition);
    let priced = setup.more("price = \"free\"").text();
    fs::write(&gateway.config, &priced).unwrap();
    gateway.wait_for_generation(3);
    let line = priced.lines().position(|line| line == "price = \"free\"").unwrap() + 1;
    assert_eq!(from(&gateway), format!("config, line {line}"));
}

#[test]
fn what_a_dry_run_and_a_bad_file_say_changes_nothing() {
    let upstream = Upstream::start();
    let gateway = Setup::to(&upstream).start();
    let dry = UpdatePrices { text: price_map(1, 2), dry_run: true }.run(gateway.desk()).unwrap();
    assert_eq!(dry.added[0].model, "unpriced");
    assert!(!dry.file.exists());
    for text in ["", "{}", "[]", "{\"a\":{\"litellm_provider\":\"openai\"}}"] {
        let verb = UpdatePrices { text: text.to_owned(), dry_run: false };
        assert!(verb.run(gateway.desk()).is_err(), "{text}");
    }
    assert_eq!(from(&gateway), "unknown");
    assert!(!dry.file.exists());
}
