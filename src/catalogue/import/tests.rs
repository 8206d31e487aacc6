//! Files of made-up models in both layouts, odd figures, and files that are none.

use proptest::prelude::*;

use super::*;
use crate::catalogue::Prices;
use crate::domain::money::Rate;
use crate::domain::price::{Price, Pricing, Wanted};
use crate::domain::usage::{Class, ServiceTier, Usage};

fn import(text: &str) -> Import {
    read(text, "2026-11-23").unwrap_or_else(|error| panic!("{error}"))
}

fn entry<'a>(import: &'a Import, provider: &str, model: &str) -> &'a Entry {
    let found = import.catalogue.find(provider, model);
    found.unwrap_or_else(|| panic!("{provider} {model}: {:?}", import.unreadable))
}

fn price(import: &Import, provider: &str, model: &str) -> Price {
    match &*entry(import, provider, model).pricing {
        Pricing::Priced(price) => price.clone(),
        other => panic!("{provider} {model}: {other:?}"),
    }
}

fn reason<'a>(import: &'a Import, name: &str) -> Option<&'a str> {
    let refused = import.unreadable.iter().find(|refused| refused.name == name);
    refused.map(|refused| refused.reason.as_str())
}

const LITELLM: &str = r#"{
  "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of many", "max_input_tokens": "prose"},
  "fallback_generalizations": {"rules": []},
  "moon-1": {
    "litellm_provider": "openai", "mode": "chat", "aliases": ["moon-1-2026-01-01"],
    "max_input_tokens": 400000, "max_output_tokens": 1.28e5, "max_tokens": 128000,
    "input_cost_per_token": 2.5e-06, "output_cost_per_token": 0.00001,
    "input_cost_per_token_flex": 1.25e-06, "output_cost_per_token_flex": 5e-06,
    "input_cost_per_token_priority": 4.25e-06, "output_cost_per_token_batches": 5e-06,
    "input_cost_per_token_above_272k_tokens": 5e-06,
    "output_cost_per_token_above_272k_tokens_priority": 3e-05,
    "cache_read_input_token_cost": 2.5e-07, "output_cost_per_reasoning_token": 1e-05,
    "output_cost_per_token_ultrafast": 1e-04, "supports_vision": true,
    "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_medium": 0.01, "search_context_size_high": 0.01}
  },
  "sun-1": {
    "litellm_provider": "anthropic", "mode": "chat",
    "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
    "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06,
    "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05
  },
  "star-1": {
    "litellm_provider": "perplexity", "mode": "chat",
    "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06,
    "search_context_cost_per_query": {"search_context_size_low": 0.005, "search_context_size_medium": 0.008, "search_context_size_high": 0.012}
  },
  "dashscope/comet-1": {
    "litellm_provider": "dashscope", "mode": "chat",
    "tiered_pricing": [
      {"range": [0, 128000.0], "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
      {"range": [128000.0, 1e6], "input_cost_per_token": 3e-06, "output_cost_per_token": 6e-06}
    ]
  },
  "groq/ear-1": {"litellm_provider": "groq", "mode": "audio_transcription", "input_cost_per_second": 3.083e-05, "output_cost_per_second": 0},
  "mouth-1": {"litellm_provider": "openai", "mode": "audio_speech", "input_cost_per_character": 1.5e-05},
  "sort-1": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_query": 0.002, "input_cost_per_token": 0.0},
  "hd/1024-x-1792/paint-1": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_pixel": 6.539e-08, "output_cost_per_pixel": 0.0},
  "standard/1024-x-1024/paint-1": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_pixel": 3.81469e-08},
  "azure/high/1024-x-1024/paint-2": {"litellm_provider": "azure", "mode": "image_generation", "output_cost_per_image": 0.167},
  "azure/1024-x-1024/paint-2": {"litellm_provider": "azure", "mode": "image_generation", "output_cost_per_image": 0.011},
  "azure/paint-2": {"litellm_provider": "azure", "mode": "image_generation", "input_cost_per_token": 5e-06, "output_cost_per_image_token": 4e-05},
  "ollama/home-1": {"litellm_provider": "ollama", "mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
  "gift-1": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0},
  "half-1": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06},
  "null-1": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": null, "output_cost_per_token": null},
  "text-1": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": "0.000001", "output_cost_per_token": 1e-06},
  "debt-1": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": -1e-06, "output_cost_per_token": 1e-06},
  "gold-1": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e300, "output_cost_per_token": 1e-06},
  "list-1": ["not", "a", "model"],
  "bad name": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06},
  "far/away": {"litellm_provider": "nowhere", "mode": "chat", "input_cost_per_token": 1e-06},
  "film-1": {"litellm_provider": "openai", "mode": "video_generation", "output_cost_per_second": 0.1}
}"#;

#[test]
fn the_price_map_is_read_exactly() {
    use ServiceTier::{Batch, Flex, Priority, Standard};
    let import = import(LITELLM);
    assert_eq!(import.layout, Layout::LiteLlm);
    let version = import.catalogue.version();
    assert!(version.starts_with("update 2026-11-23 litellm "), "{version}");
    let moon = entry(&import, "openai", "moon-1");
    let limits = (moon.max_input_tokens, moon.max_output_tokens);
    assert_eq!(limits, (Some(400_000), Some(128_000)));
    let other = entry(&import, "openai", "moon-1-2026-01-01");
    assert_eq!(other.pricing, moon.pricing, "an alias costs the same");
    let price = price(&import, "openai", "moon-1");
    for (class, service, input, nano) in [
        (Class::Input, Standard, 1, 2_500_000_000),
        (Class::Input, Standard, 272_001, 5_000_000_000),
        (Class::Input, Flex, 1, 1_250_000_000),
        (Class::Input, Priority, 1, 4_250_000_000),
        (Class::Output, Batch, 1, 5_000_000_000),
        (Class::Output, Priority, 272_001, 30_000_000_000),
        (Class::CacheRead, Standard, 1, 250_000_000),
        // Its reasoning follows its output into every tier.
        (Class::Reasoning, Flex, 1, 5_000_000_000),
        (Class::WebSearch, Standard, 1, 10_000_000_000_000),
    ] {
        let rate = price.rate(class, service, input).map(Rate::nano_per_million);
        assert_eq!(rate, Some(nano), "{class} {service:?} {input}");
    }
    assert_eq!(import.left_out.get("rates: output_cost_per_token_ultrafast"), Some(&1));
}

#[test]
fn caches_bands_and_pieces_have_the_price_that_is_written() {
    let import = import(LITELLM);
    let sun = price(&import, "anthropic", "sun-1");
    let rate = |price: &Price, class, input| {
        price.rate(class, ServiceTier::Standard, input).map(Rate::nano_per_million)
    };
    assert_eq!(rate(&sun, Class::CacheWrite, 1), Some(3_750_000_000));
    assert_eq!(rate(&sun, Class::CacheWrite1h, 1), Some(6_000_000_000));
    assert_eq!(rate(&sun, Class::CacheWrite1h, 200_001), Some(12_000_000_000));
    let comet = price(&import, "dashscope", "comet-1");
    assert_eq!(rate(&comet, Class::Input, 128_000), Some(1_000_000_000));
    assert_eq!(rate(&comet, Class::Output, 128_001), Some(6_000_000_000));
    for (provider, model, class, count, dollars) in [
        ("groq", "ear-1", Class::AudioMillisecond, 1_000, "0.00003083"),
        ("openai", "mouth-1", Class::Character, 1_000, "0.015"),
        ("cohere", "sort-1", Class::Call, 3, "0.006"),
    ] {
        let usage = Usage::default().with(class, count);
        let pricing = &entry(&import, provider, model).pricing;
        let bill = pricing.bill(&usage, ServiceTier::Standard, &Wanted::default());
        assert_eq!(bill.cost.to_string(), dollars, "{model}");
    }
}

#[test]
fn names_with_a_size_become_prices_of_images() {
    let import = import(LITELLM);
    let image = |provider, model, size: &str, quality: &str| {
        let word = |text: &str| (!text.is_empty()).then(|| text.into());
        let asked =
            Wanted { image_size: word(size), image_quality: word(quality), search_context: None };
        let usage = Usage::default().with(Class::Image, 1);
        let pricing = &entry(&import, provider, model).pricing;
        let bill = pricing.bill(&usage, ServiceTier::Standard, &asked);
        (!bill.unpriced_class).then(|| bill.cost.to_string())
    };
    let is = |dollars: &str| Some(dollars.to_owned());
    assert_eq!(image("openai", "paint-1", "1024x1024", "standard"), is("0.04"));
    assert_eq!(image("openai", "paint-1", "1024x1792", "hd"), is("0.12"));
    assert_eq!(image("openai", "paint-1", "256x256", ""), None);
    assert_eq!(image("azure", "paint-2", "1024x1024", "high"), is("0.167"));
    // What names no quality beside others that do, names nothing.
    assert_eq!(image("azure", "paint-2", "1024x1024", ""), is("0.167"));
    let search = |size: &str| {
        let asked = Wanted { search_context: Some(size.into()), ..Wanted::default() };
        let pricing = &entry(&import, "perplexity", "star-1").pricing;
        pricing.bill(&Usage::default(), ServiceTier::Standard, &asked).cost.to_string()
    };
    assert_eq!((search("low"), search("high")), ("0.005".into(), "0.012".into()));
}

#[test]
fn what_cannot_be_believed_is_named_with_its_reason() {
    let import = import(LITELLM);
    assert_eq!(*entry(&import, "ollama", "home-1").pricing, Pricing::Free);
    for (name, says) in [
        ("gift-1", "zero is not believed"),
        ("half-1", "lacks a rate"),
        ("null-1", "has no price"),
        ("text-1", "`input_cost_per_token`: \"0.000001\" is not a number"),
        ("debt-1", "-1e-06 is less than nothing"),
        ("gold-1", "1e300 is more than any price"),
        ("list-1", "not an object"),
        ("bad name", "its name"),
    ] {
        let reason = reason(&import, name);
        assert!(reason.is_some_and(|reason| reason.contains(says)), "{name}: {reason:?}");
    }
    assert_eq!(import.unreadable.len(), 8, "{:?}", import.unreadable);
    assert_eq!(import.left_out.get("nowhere: no route reaches it"), Some(&1));
    assert_eq!(import.left_out.get("mode video_generation: no endpoint for it"), Some(&1));
}

const MODELS_DEV: &str = r#"{
  "anthropic": {"id": "anthropic", "env": ["KEY"], "models": {
    "claude-sun-9": {"id": "claude-sun-9", "modalities": {"input": ["text"], "output": ["text"]},
      "cost": {"input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75,
        "context_over_200k": {"input": 6, "output": 22.5}},
      "limit": {"context": 200000, "output": 64000}}
  }},
  "openai": {"models": {
    "moon-9": {"cost": {"input": 2.5, "output": 10, "cache_read": 0.0375, "context_over_200k": {"input": 9, "output": 9},
        "tiers": [{"input": 5, "output": 15, "tier": {"type": "context", "size": 272000}}]},
      "limit": {"context": 400000, "input": 272000, "output": 128000}},
    "gpt-5.6": {"cost": {"input": 4, "output": 24, "cache_read": 0.4}, "limit": {}},
    "text-embedding-9": {"family": "text-embedding", "cost": {"input": 0.02, "output": 0}},
    "painter-9": {"cost": {"input": 1, "output": 2}, "modalities": {"output": ["image"]}},
    "gift-9": {"cost": {"input": 0, "output": 0}},
    "text-9": {"cost": {"input": "1", "output": 2}},
    "debt-9": {"cost": {"input": 1, "output": -2}},
    "odd-9": {"cost": {"input": 1, "output": 2, "tiers": [{"input": 1, "tier": {"type": "moon", "size": 5}}]}},
    "none-9": {"limit": {"context": 5}}
  }},
  "elsewhere": {"models": {"m": {"cost": {"input": 1, "output": 2}}}}
}"#;

#[test]
fn models_dev_is_read_exactly() {
    let import = import(MODELS_DEV);
    assert_eq!(import.layout, Layout::ModelsDev);
    let rate = |model: &str, provider: &str, class, input| {
        let price = price(&import, provider, model);
        price.rate(class, ServiceTier::Standard, input).map(Rate::nano_per_million)
    };
    assert_eq!(rate("claude-sun-9", "anthropic", Class::CacheRead, 1), Some(300_000_000));
    assert_eq!(rate("claude-sun-9", "anthropic", Class::Input, 200_001), Some(6_000_000_000));
    assert_eq!(rate("claude-sun-9", "anthropic", Class::CacheWrite1h, 1), Some(6_000_000_000));
    assert_eq!(rate("moon-9", "openai", Class::CacheRead, 1), Some(37_500_000));
    assert_eq!(rate("moon-9", "openai", Class::Input, 272_000), Some(2_500_000_000));
    assert_eq!(rate("moon-9", "openai", Class::Output, 272_001), Some(15_000_000_000));
    assert_eq!(rate("text-embedding-9", "openai", Class::Input, 1), Some(20_000_000));
    let moon = entry(&import, "openai", "moon-9");
    assert_eq!((moon.max_input_tokens, moon.max_output_tokens), (Some(272_000), Some(128_000)));
    for (name, says) in [
        ("openai gift-9", "zero is not believed"),
        ("openai text-9", "`input`: \"1\" is not a number"),
        ("openai debt-9", "`output`: -2 is less than nothing"),
        ("openai odd-9", "`tiers`"),
    ] {
        let reason = reason(&import, name);
        assert!(reason.is_some_and(|reason| reason.contains(says)), "{name}: {reason:?}");
    }
    assert_eq!(import.left_out.values().sum::<usize>(), 3, "{:?}", import.left_out);
}

#[test]
fn what_models_dev_does_not_tell_stays_where_it_is_the_dearer() {
    let import = import(MODELS_DEV);
    let listed = Prices::embedded().find("openai", "gpt-5.6").cloned();
    let Some(Pricing::Priced(listed)) = listed.map(|entry| (*entry.pricing).clone()) else {
        panic!("the edition lists it");
    };
    let price = price(&import, "openai", "gpt-5.6");
    for class in [Class::Input, Class::Output, Class::CacheRead] {
        for service in ServiceTier::ALL {
            for input in [1, 300_000] {
                let (now, then) =
                    (price.rate(class, service, input), listed.rate(class, service, input));
                let told = price.rate(class, ServiceTier::Standard, 1);
                assert!(now >= then.min(told), "{class} {service:?} {input}");
            }
        }
    }
    let priority = price.rate(Class::Output, ServiceTier::Priority, 1);
    assert_eq!(priority, listed.rate(Class::Output, ServiceTier::Priority, 1));
}

#[test]
fn a_comparison_names_what_is_added_changed_and_removed() {
    let model = |name: &str, input: &str| {
        format!(
            r#""{name}": {{"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": {input}, "output_cost_per_token": 1e-06}}"#
        )
    };
    let file = |models: &[String]| format!("{{{}}}", models.join(","));
    let first =
        import(&file(&[model("a", "1e-06"), model("b", "1e-06"), model("gpt-4o", "1e-06")]));
    let nothing = compare(&Prices::embedded(), Some(&first.catalogue));
    assert_eq!((nothing.added.len(), nothing.changed.len()), (2, 1));
    assert!(nothing.changed[0].what.iter().any(|what| what == "input 2.5 -> 1"), "{nothing:?}");

    let before = Prices::updated(Arc::new(first.catalogue));
    let second = import(&file(&[model("a", "1e-06"), model("b", "2.5e-06"), model("c", "1e-06")]));
    let comparison = compare(&before, Some(&second.catalogue));
    let names = |list: &[Difference]| list.iter().map(|d| d.model.clone()).collect::<Vec<_>>();
    assert_eq!(names(&comparison.added), ["c"]);
    assert_eq!(names(&comparison.changed), ["b"]);
    assert_eq!(comparison.changed[0].what, ["input 1 -> 2.5"]);
    assert_eq!(names(&comparison.removed), ["gpt-4o"]);
    assert_eq!(comparison.removed[0].what[0], "costs what catalogue 2026-11 says");
    assert_eq!(comparison.unchanged, 1);
    let reset = compare(&before, None);
    assert_eq!(names(&reset.removed), ["a", "b", "gpt-4o"]);
    assert_eq!(reset.removed[0].what[0], "has no price any more");
}

#[test]
fn a_file_that_is_no_source_of_prices_is_refused() {
    let refused = |text: &str| read(text, "2026-11-23").unwrap_err().to_string();
    for text in ["", "[]", "null", "{", "5", "{\"a\":"] {
        assert!(refused(text).contains("not a JSON object"), "{text}");
    }
    for text in ["{}", r#"{"a": 1}"#, r#"{"a": {"models": 5}}"#] {
        assert!(refused(text).contains("neither"), "{text}");
    }
    let zero =
        r#"{"a": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0}}"#;
    assert!(refused(zero).contains("no model"));
}

/// JSON out of words that files have and values they have not.
fn any_json() -> impl Strategy<Value = String> {
    let word = || {
        proptest::sample::select(vec![
            "litellm_provider",
            "mode",
            "models",
            "cost",
            "input",
            "output",
            "tiers",
            "tier",
            "size",
            "type",
            "range",
            "tiered_pricing",
            "input_cost_per_token",
            "output_cost_per_token",
            "input_cost_per_token_above_999999999999999999999k_tokens",
            "aliases",
            "openai",
            "output_cost_per_image",
            "hd/1024-x-1024/m",
            "99999999999-x-99999999999/m",
            "limit",
            "input_cost_per_pixel",
            "search_context_cost_per_query",
            "search_context_size_low",
            "context_over_200k",
            "chat",
            "image_generation",
            "context",
            "modalities",
        ])
    };
    let leaf = prop_oneof![
        word().prop_map(|word| format!("\"{word}\"")),
        any::<f64>().prop_map(|n| if n.is_finite() { format!("{n:e}") } else { "null".into() }),
        any::<i64>().prop_map(|n| n.to_string()),
        Just("null".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec((word(), inner), 0..8).prop_map(|members| {
                let each = members.into_iter().map(|(key, value)| format!("\"{key}\":{value}"));
                format!("{{{}}}", each.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_the_reader_panic(
        json in any_json(), model in any_json(), provider in "openai|ollama|x", text: String,
    ) {
        let _ = read(&text, "2026-11-23");
        let _ = read(&json, "2026-11-23");
        let members = model.strip_prefix('{').and_then(|m| m.strip_suffix('}')).unwrap_or_default();
        let comma = if members.is_empty() { "" } else { "," };
        let as_model = format!(
            r#"{{"m":{{"litellm_provider":"{provider}","mode":"chat"{comma}{members}}}}}"#
        );
        let _ = read(&as_model, "2026-11-23");
        let _ = read(&format!(r#"{{"openai":{{"models":{{"m":{model}}}}}}}"#), "2026-11-23");
        let _ = read(&format!(r#"{{"openai":{{"models":{{"m":{{"cost":{model}}}}}}}}}"#), "2026-11-23");
    }

    /// Whatever is taken can be written down and read again as it was.
    #[test]
    fn what_is_taken_is_kept_as_it_is(input in 1u64..1 << 40, output in 1u64..1 << 40, tier in 1u64..1 << 40) {
        let text = format!(
            r#"{{"m":{{"litellm_provider":"openai","mode":"chat","input_cost_per_token":{input}e-15,
            "output_cost_per_token":{output}e-15,"input_cost_per_token_priority":{tier}e-15}}}}"#
        );
        let import = import(&text);
        let price = price(&import, "openai", "m");
        let rate = |class, tier| price.rate(class, tier, 1).map(Rate::nano_per_million);
        prop_assert_eq!(rate(Class::Input, ServiceTier::Standard), Some(input));
        prop_assert_eq!(rate(Class::Output, ServiceTier::Standard), Some(output));
        prop_assert_eq!(rate(Class::Input, ServiceTier::Priority), Some(tier));
    }
}
