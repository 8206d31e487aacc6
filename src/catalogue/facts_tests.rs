//! Compares the catalogue with the facts it was made from, where they lie beside the project.
//!
//! The comparison is written apart from the generator, in whole nano-dollars: each price for tokens
//! in the facts against what the catalogue would charge, and each rate back against the facts.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::domain::money::Rate;
use crate::domain::price::Price;
use crate::domain::usage::{Class, ServiceTier};

/// When a rate applies, and what to.
type Case = (ServiceTier, u64, Class);

#[test]
fn the_catalogue_charges_what_the_facts_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/prices/facts.jsonl");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: no price facts beside the project");
        return;
    };
    let catalogue = Catalogue::embedded();
    let listed: HashMap<_, _> = catalogue
        .entries()
        .iter()
        .map(|entry| ((&*entry.provider, &*entry.model), entry))
        .collect();
    let (mut entries, mut rates) = (0, 0);
    for line in text.lines() {
        let fact: Value = serde_json::from_str(line).unwrap();
        let name = (fact["provider"].as_str().unwrap(), fact["model"].as_str().unwrap());
        let Some(entry) = listed.get(&name) else { continue };
        let limit = |key: &str| fact[key].as_u64().filter(|tokens| *tokens > 0);
        assert_eq!(entry.max_input_tokens, limit("max_input_tokens"), "{name:?}");
        assert_eq!(entry.max_output_tokens, limit("max_output_tokens"), "{name:?}");
        entries += 1;
        if let Pricing::Priced(price) = &*entry.pricing {
            let facts = token_rates(&fact["rates"]);
            compare(name, price, &facts);
            rates += facts.len();
        }
    }
    println!("{rates} token rates of {entries} models compared");
    // A model that the facts know by the sizes of its images alone has no line of its own there.
    let by_size = |entry: &&Entry| match &*entry.pricing {
        Pricing::Priced(price) => price.base.is_empty(),
        Pricing::Free | Pricing::Unknown => false,
    };
    let by_size = catalogue.entries().iter().filter(by_size).count();
    assert_eq!(entries + by_size, catalogue.entries().len());
}

/// The generator and the importer are written apart, in two languages, from one set of rules.
#[test]
fn the_importer_comes_to_what_the_generator_comes_to() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/prices/facts.jsonl");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: no price facts beside the project");
        return;
    };
    let mut models = serde_json::Map::new();
    for line in text.lines() {
        let fact: Value = serde_json::from_str(line).unwrap();
        // Several providers may name a model alike: the price map has one of each name.
        let name = fact["model"].as_str().unwrap().to_owned();
        models.entry(name).or_insert_with(|| as_price_map(&fact));
    }
    let count = models.len();
    // Figures are texts until here, so that none passes through a float.
    let text = serde_json::to_string(&models).unwrap().replace("\"<", "").replace(">\"", "");
    let import = import::read(&text, "2026-11-23").unwrap();
    let known: Vec<_> = import.catalogue.entries().iter().collect();
    let mut differ = Vec::new();
    for entry in &known {
        let listed = Prices::embedded().at(&entry.provider, bare(entry)).cloned();
        if listed.is_none_or(|listed| listed.pricing != entry.pricing) {
            differ.push(format!("{} {}", entry.provider, entry.model));
        }
    }
    println!("{} of {count} models taken, {} refused", known.len(), import.unreadable.len());
    // Those whose price is plainly misprinted, which the generator names by hand.
    let doubtful = [
        "azure_ai azure_ai/jais-30b-chat",
        "cohere embed-multilingual-light-v3.0",
        "fireworks_ai fireworks_ai/accounts/fireworks/models/flux-1-dev-controlnet-union",
    ];
    assert_eq!(differ, doubtful);
    assert!(known.len() > 2_000);
}

fn bare(entry: &Entry) -> &str {
    bare_name(&entry.provider, &entry.model).unwrap_or(&entry.model)
}

/// A fact as the price map would have it.
fn as_price_map(fact: &Value) -> Value {
    const NAMES: [(&str, &str); 14] = [
        ("cache_creation_input_above_1hr", "cache_creation_input_token_cost_above_1hr"),
        ("cache_creation_input_audio", "cache_creation_input_audio_token_cost"),
        ("cache_creation_input", "cache_creation_input_token_cost"),
        ("cache_read_input_audio", "cache_read_input_audio_token_cost"),
        ("cache_read_input_image", "cache_read_input_image_token_cost"),
        ("cache_read_input", "cache_read_input_token_cost"),
        ("input_audio_token", "input_cost_per_audio_token"),
        ("input_image_token", "input_cost_per_image_token"),
        ("input_cache_hit", "input_cost_per_token_cache_hit"),
        ("output_reasoning_token", "output_cost_per_reasoning_token"),
        ("output_audio_token", "output_cost_per_audio_token"),
        ("output_image_token", "output_cost_per_image_token"),
        ("input", "input_cost_per_token"),
        ("output", "output_cost_per_token"),
    ];
    let mut entry = serde_json::Map::new();
    for key in ["max_input_tokens", "max_output_tokens", "mode"] {
        entry.insert(key.to_owned(), fact[key].clone());
    }
    entry.insert("litellm_provider".to_owned(), fact["provider"].clone());
    let figure = |value: &Value, exponent: &str| match value.as_str() {
        Some(digits) => Value::String(format!("<{digits}{exponent}>")),
        None => Value::Null,
    };
    for (key, value) in fact["rates"].as_object().unwrap() {
        if let Some(tokens) = key.strip_suffix("_usd_per_mtok") {
            let is_one = |(theirs, _): &&(&str, &str)| {
                tokens.strip_prefix(theirs).is_some_and(|rest| {
                    let ends = ["_above_", "_batches", "_flex", "_priority"];
                    rest.is_empty() || ends.iter().any(|end| rest.starts_with(end))
                })
            };
            if let Some((theirs, name)) = NAMES.iter().find(is_one) {
                let name = tokens.replacen(theirs, name, 1);
                entry.insert(name, figure(value, "e-6"));
            }
        } else if let Some(sizes) = value.as_object() {
            let sizes = sizes.iter().map(|(size, value)| (size.clone(), figure(value, "")));
            entry.insert(key.clone(), Value::Object(sizes.collect()));
        } else {
            entry.insert(key.clone(), figure(value, ""));
        }
    }
    Value::Object(entry)
}

fn compare(name: (&str, &str), price: &Price, facts: &HashMap<Case, u64>) {
    for (&(service, above, class), &fact) in facts {
        let input_tokens = if above > 0 { above + 1 } else { 0 };
        let charged = |class| price.rate(class, service, input_tokens).map(Rate::nano_per_million);
        let expected = match class {
            // A write is never cheaper than a plain prompt token.
            Class::CacheWrite | Class::CacheWrite1h => charged(Class::Input).max(Some(fact)),
            // A zero is believed of plain tokens only.
            Class::Input | Class::Output => Some(fact),
            _ if fact == 0 => charged(class.priced_as().unwrap()),
            _ => Some(fact),
        };
        assert_eq!(charged(class), expected, "{name:?} {service:?} {above} {class}");
    }
    let base = (ServiceTier::Standard, 0, &price.base);
    let overlays = price.overlays.iter().map(|o| (o.service, o.above_input_tokens, &o.rates));
    for (service, above, rates) in overlays.chain([base]) {
        let tokens = |class: &Class| class.is_input_token() || class.is_output_token();
        for (class, rate) in rates.named().filter(|(class, _)| tokens(class)) {
            let fact = facts.get(&(service, above, class)).copied();
            assert_eq!(fact, Some(rate.nano_per_million()), "{name:?} {service:?} {above} {class}");
        }
    }
}

fn token_rates(rates: &Value) -> HashMap<Case, u64> {
    let rates = rates.as_object().unwrap().iter();
    rates.filter_map(|(key, dollars)| Some((case(key)?, nano(dollars.as_str()?)))).collect()
}

fn case(key: &str) -> Option<Case> {
    let key = key.strip_suffix("_usd_per_mtok")?;
    let tiers = [
        ("_batches", ServiceTier::Batch),
        ("_flex", ServiceTier::Flex),
        ("_priority", ServiceTier::Priority),
    ];
    let tiered = tiers.into_iter().find_map(|(end, tier)| Some((key.strip_suffix(end)?, tier)));
    let (key, service) = tiered.unwrap_or((key, ServiceTier::Standard));
    let (key, above) = match key.strip_suffix("k_tokens").and_then(|key| key.rsplit_once("_above_"))
    {
        Some((key, thousands)) => (key, thousands.parse::<u64>().ok()? * 1000),
        None => (key, 0),
    };
    let class = match key {
        "input" => Class::Input,
        "cache_read_input" | "input_cache_hit" => Class::CacheRead,
        "cache_creation_input" => Class::CacheWrite,
        "cache_creation_input_above_1hr" => Class::CacheWrite1h,
        "input_audio_token" => Class::InputAudio,
        "cache_read_input_audio" => Class::CacheReadAudio,
        "input_image_token" => Class::InputImage,
        "cache_read_input_image" => Class::CacheReadImage,
        "output" => Class::Output,
        "output_reasoning_token" => Class::Reasoning,
        "output_audio_token" => Class::OutputAudio,
        "output_image_token" => Class::OutputImage,
        _ => return None,
    };
    Some((service, above, class))
}

/// Dollars to nano-dollars, digit by digit.
fn nano(dollars: &str) -> u64 {
    let (whole, fraction) = dollars.split_once('.').unwrap_or((dollars, ""));
    assert!(fraction.len() <= 9, "{dollars}");
    let digits = whole.bytes().chain(fraction.bytes().chain(std::iter::repeat(b'0')).take(9));
    digits.fold(0, |sum, digit| {
        assert!(digit.is_ascii_digit(), "{dollars}");
        sum * 10 + u64::from(digit - b'0')
    })
}
