//! Labels, their end, and what is counted under them; and what counting costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::domain::money::{Money, Rate};
use crate::domain::price::Line;
use crate::domain::receipt::{Ending, Metered};
use crate::domain::request_id::RequestId;
use crate::domain::usage::{Class, ServiceTier};

fn receipt(key: u64, provider: &str, model: &str) -> Receipt {
    let name = |text: &str| -> Arc<str> { Arc::from(text) };
    let line = |class, count| Line::new(class, count, Rate::from_nano_per_million(1));
    Receipt {
        id: RequestId::from_bits(1),
        of: None,
        key: KeyId::from_bits(key),
        at: Timestamp::MIN,
        model: name(model),
        provider: name(provider),
        upstream_model: name(model),
        endpoint: name("chat/completions"),
        status: 200,
        streamed: false,
        ending: Ending::Done,
        metered: Metered::Reported,
        service: ServiceTier::Standard,
        lines: vec![line(Class::Input, 10), line(Class::Output, 3)],
        cost: Money::from_nano(1_500_000_000),
        provider_cost: None,
        held: Money::ZERO,
        price: name("config"),
        first_byte_ms: None,
        total_ms: 1,
    }
}

fn plain() -> Metrics {
    Metrics::new(Timestamp::MIN, |_, model, _| Arc::from(model))
}

fn page(metrics: &Metrics) -> String {
    let mut page = Page::default();
    metrics.write(&mut page);
    page.finish()
}

#[track_caller]
fn assert_has(page: &str, line: &str) {
    assert!(page.lines().any(|found| found == line), "{line}\n{page}");
}

/// How many series a family has.
fn series(page: &str, family: &str) -> usize {
    page.lines().filter(|line| line.starts_with(&format!("{family}{{"))).count()
}

#[test]
fn a_call_is_counted_under_its_labels() {
    let metrics = plain();
    for _ in 0..3 {
        metrics.posted(&receipt(7, "a", "m"));
    }
    metrics.posted(&Receipt { status: 418, ..receipt(7, "a", "m") });
    let page = page(&metrics);
    let key = KeyId::from_bits(7);
    let labels = format!("key=\"{key}\",provider=\"a\",model=\"m\"");
    assert_has(&page, &format!("conduit_calls_total{{{labels},status=\"200\"}} 3"));
    assert_has(&page, &format!("conduit_calls_total{{{labels},status=\"4xx\"}} 1"));
    assert_has(&page, &format!("conduit_tokens_total{{{labels},class=\"input\"}} 40"));
    assert_has(&page, &format!("conduit_tokens_total{{{labels},class=\"output\"}} 12"));
    assert_has(&page, &format!("conduit_spend_usd_total{{{labels}}} 6.00"));
}

#[test]
fn there_is_an_end_to_the_labels_and_nothing_is_lost_beyond_it() {
    let metrics = plain();
    let calls = MOST_CALLS as u64 + 500;
    for key in 0..calls {
        metrics.posted(&receipt(key, "a", "m"));
    }
    let text = page(&metrics);
    assert_eq!(series(&text, "conduit_spend_usd_total"), MOST_CALLS + 1);
    let others = "key=\"other\",provider=\"a\",model=\"m\"";
    assert_has(&text, &format!("conduit_calls_total{{{others},status=\"200\"}} 500"));

    let metrics = plain();
    for model in 0..MOST_TARGETS + 50 {
        let receipt = receipt(1, "a", &format!("m{model}"));
        metrics.posted(&receipt);
        metrics.timed(&receipt, None, Some(Duration::from_millis(3)));
    }
    let text = page(&metrics);
    let family = "conduit_upstream_duration_seconds_count";
    assert_eq!(series(&text, family), MOST_TARGETS + 1);
    assert_has(&text, &format!("{family}{{provider=\"other\",model=\"other\"}} 50"));
}

#[test]
fn a_model_is_called_otherwise_once_the_configuration_is() {
    let name = Arc::new(std::sync::Mutex::new("before"));
    let told = Arc::clone(&name);
    let metrics = Metrics::new(Timestamp::MIN, move |_, _, _| Arc::from(*told.lock().unwrap()));
    metrics.posted(&receipt(1, "a", "m"));
    *name.lock().unwrap() = "after";
    metrics.posted(&receipt(1, "a", "m"));
    metrics.rename();
    metrics.posted(&receipt(1, "a", "m"));
    let text = page(&metrics);
    for (model, count) in [("before", 2), ("after", 1)] {
        let key = KeyId::from_bits(1);
        let line = format!(
            "conduit_calls_total{{key=\"{key}\",provider=\"a\",model=\"{model}\",status=\"200\"}} {count}"
        );
        assert_has(&text, &line);
    }
}

#[test]
fn two_servers_in_a_process_count_apart() {
    let (one, other) = (plain(), plain());
    one.posted(&receipt(1, "a", "m"));
    other.posted(&receipt(1, "a", "m"));
    other.posted(&receipt(1, "a", "m"));
    assert!(page(&one).contains("status=\"200\"} 1\n"));
    assert!(page(&other).contains("status=\"200\"} 2\n"));
}

#[test]
fn all_workers_are_added_up() {
    let metrics = plain();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    metrics.posted(&receipt(1, "a", "m"));
                    metrics.added(Duration::from_micros(70));
                }
            });
        }
    });
    let text = page(&metrics);
    assert!(text.contains("status=\"200\"} 6000\n"), "{text}");
    assert_has(&text, "conduit_added_latency_seconds_count 6000");
    assert_has(&text, "conduit_added_latency_seconds_sum 0.42");
}

/// Says what counting costs a call: `cargo test --release --lib what_counting_costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, which only a release build makes sense of"]
fn what_counting_costs() {
    const CALLS: u32 = 1_000_000;
    let metrics = plain();
    let receipts: Vec<_> =
        (0..100).map(|key| receipt(key, "openai", "gpt-4o-mini-2024-07-18")).collect();
    let began = Instant::now();
    for receipt in receipts.iter().cycle().take(CALLS as usize) {
        metrics.posted(receipt);
        let took = began.elapsed();
        metrics.timed(receipt, Some(took), Some(took));
        metrics.added(took);
    }
    println!("{:?} for each call", began.elapsed() / CALLS);
}
