//! What the catalogue inside the binary says of well-known models, and how they are found.

use std::time::Instant;

use super::*;
use crate::domain::money::{Money, Rate};
use crate::domain::price::{Bill, Price, Wanted};
use crate::domain::usage::{Class, ServiceTier, Usage};

const TEXT: &str = include_str!("prices.txt");

fn bill(price: Price, usage: &Usage, service: ServiceTier, wanted: &Wanted) -> Bill {
    Pricing::Priced(price).bill(usage, service, wanted)
}

fn priced(provider: &str, model: &str) -> Price {
    match Catalogue::embedded().find(provider, model).map(|entry| (*entry.pricing).clone()) {
        Some(Pricing::Priced(price)) => price,
        other => panic!("{provider} {model}: {other:?}"),
    }
}

fn pricing(provider: &str, model: &str) -> Option<&'static Pricing> {
    Catalogue::embedded().find(provider, model).map(|entry| &*entry.pricing)
}

#[test]
fn every_line_is_read_and_none_is_lost() {
    let started = Instant::now();
    let catalogue = Catalogue::parse(TEXT).unwrap();
    let elapsed = started.elapsed();
    let is_model = |line: &&str| !line.starts_with('#') && !line.starts_with("end ");
    let lines = TEXT.lines().skip(1).filter(is_model).count();
    println!("{lines} models, {} bytes, read in {elapsed:?}", TEXT.len());
    assert_eq!(catalogue.entries().len(), lines);
    assert_eq!(Catalogue::embedded().entries(), catalogue.entries());
    assert!(lines > 2000 && TEXT.len() < 350_000);
    assert_eq!(&**catalogue.version(), "catalogue 2026-11");
}

#[test]
fn every_entry_is_found_by_the_name_it_is_listed_under() {
    let catalogue = Catalogue::embedded();
    for entry in catalogue.entries() {
        let name = bare_name(&entry.provider, &entry.model).unwrap_or(&entry.model);
        assert_eq!(catalogue.find(&entry.provider, name), Some(entry), "{name}");
    }
}

#[test]
fn well_known_models_cost_what_is_published() {
    use Class::{CacheRead, CacheWrite, CacheWrite1h, Input, Output, Reasoning};
    for (provider, model, class, nano_per_million) in [
        ("openai", "gpt-4o", Input, 2_500_000_000),
        ("openai", "gpt-4o", CacheRead, 1_250_000_000),
        ("openai", "gpt-4o", Output, 10_000_000_000),
        ("openai", "gpt-4.1-nano", Input, 100_000_000),
        ("openai", "o3", Reasoning, 8_000_000_000),
        ("openai", "text-embedding-3-small", Input, 20_000_000),
        ("openai", "gpt-3.5-turbo-instruct", Input, 1_500_000_000),
        ("azure", "text-embedding-3-small", Input, 22_000_000),
        ("azure", "gpt-4o", Output, 10_000_000_000),
        ("anthropic", "claude-haiku-4-5", CacheWrite, 1_250_000_000),
        ("anthropic", "claude-haiku-4-5", CacheWrite1h, 2_000_000_000),
        ("gemini", "gemini-2.5-pro", Input, 1_250_000_000),
        ("vertex_ai", "gemini-2.5-pro", Input, 1_250_000_000),
        ("deepseek", "deepseek-chat", CacheRead, 28_000_000),
        ("groq", "openai/gpt-oss-120b", Input, 150_000_000),
        ("perplexity", "sonar-deep-research", Reasoning, 3_000_000_000),
    ] {
        let rate = priced(provider, model).rate(class, ServiceTier::Standard, 0);
        let nano = rate.map(Rate::nano_per_million);
        assert_eq!(nano, Some(nano_per_million), "{provider} {model} {class}");
    }
}

#[test]
fn what_is_sold_by_the_piece_is_billed_by_the_piece() {
    for (provider, model, class, count, dollars) in [
        ("openai", "whisper-1", Class::AudioMillisecond, 60_000, "0.006"),
        ("openai", "tts-1", Class::Character, 1_000, "0.015"),
        ("gemini", "imagen-3.0-generate-001", Class::Image, 2, "0.08"),
        ("anthropic", "claude-fable-5", Class::WebSearch, 3, "0.03"),
        ("cohere", "rerank-v3.5", Class::Call, 1, "0.002"),
        // 0.000283333333333 a second is finer than a rate: rounded up there, and once in the bill.
        ("openai", "gpt-live-transcribe", Class::AudioMillisecond, 3_600_000, "1.020000003"),
    ] {
        let usage = Usage::default().with(class, count);
        let bill = bill(priced(provider, model), &usage, ServiceTier::Standard, &Wanted::default());
        assert_eq!(bill.cost, dollars.parse::<Money>().unwrap(), "{provider} {model}");
        assert!(!bill.unpriced_class);
    }
}

#[test]
fn a_search_that_every_request_makes_is_a_fee_on_the_call() {
    for (provider, model, dollars) in
        [("perplexity", "sonar", "0.012"), ("openai", "gpt-4o-search-preview", "0.025")]
    {
        let bill = bill(
            priced(provider, model),
            &Usage::default(),
            ServiceTier::Standard,
            &Wanted::default(),
        );
        assert_eq!(bill.cost, dollars.parse::<Money>().unwrap(), "{model}");
    }
}

#[test]
fn an_image_costs_what_its_size_and_quality_do_and_a_search_what_its_size_does() {
    let asked = |size: &str, quality: &str, search: &str| {
        let word = |text: &str| (!text.is_empty()).then(|| text.into());
        Wanted {
            image_size: word(size),
            image_quality: word(quality),
            search_context: word(search),
        }
    };
    for (provider, model, asked, dollars) in [
        ("azure", "dall-e-3", asked("1024x1024", "standard", ""), Some("0.044")),
        ("azure", "dall-e-3", asked("1024x1792", "hd", ""), Some("0.132")),
        ("azure", "dall-e-3", asked("1024x1792", "", ""), Some("0.088")),
        ("azure", "dall-e-3", asked("9x9", "hd", ""), None),
        ("openai", "gpt-image-1", asked("1024x1024", "auto", ""), Some("0.167")),
        ("xai", "grok-imagine-image-2.0", asked("1024x1024", "low", ""), Some("0.04")),
        ("xai", "grok-imagine-image-2.0", asked("2048x2048", "low", ""), Some("0.06")),
        ("perplexity", "sonar", asked("", "", "low"), Some("0.005")),
        ("perplexity", "sonar", asked("", "", ""), Some("0.012")),
    ] {
        let is_image = asked.search_context.is_none() && provider != "perplexity";
        let usage = Usage::default().with(Class::Image, u64::from(is_image));
        let bill = bill(priced(provider, model), &usage, ServiceTier::Standard, &asked);
        let expected = dollars.map(|dollars| dollars.parse::<Money>().unwrap());
        let cost = (!bill.unpriced_class).then_some(bill.cost);
        assert_eq!(cost, expected, "{provider} {model} {asked:?}");
    }
}

#[test]
fn a_long_prompt_and_a_service_tier_cost_what_they_say() {
    use ServiceTier::{Batch, Flex, Priority, Standard};
    let cost = |model: &str, service, input, output| {
        let provider = if model.starts_with("gemini") { "gemini" } else { "openai" };
        let usage = Usage::default().with(Class::Input, input).with(Class::Output, output);
        bill(priced(provider, model), &usage, service, &Wanted::default()).cost.to_string()
    };
    for (model, service, input, output, dollars) in [
        ("gemini-2.5-pro", Standard, 200_000, 1_000, "0.26"),
        ("gemini-2.5-pro", Standard, 200_001, 1_000, "0.5150025"),
        ("gemini-2.5-pro", Priority, 200_001, 1_000, "0.9270045"),
        ("gemini-2.5-pro", Batch, 1_000, 1_000, "0.005625"),
        ("gpt-5.6", Standard, 272_000, 0, "1.088"),
        ("gpt-5.6", Standard, 272_001, 0, "2.176008"),
        ("gpt-5.6", Flex, 272_001, 0, "1.088004"),
        ("gpt-5.6", Priority, 272_000, 1_000, "2.216"),
        ("gpt-5.6", Priority, 272_001, 1_000, "4.412016"),
        // It lists no price for both together: the dearer of the two, class by class.
        ("gpt-5.4", Priority, 272_001, 1_000, "1.390005"),
    ] {
        let said = cost(model, service, input, output);
        assert_eq!(said, dollars, "{model} {service:?} {input} {output}");
    }
}

#[test]
fn reasoning_follows_output_into_every_tier() {
    let price = priced("gemini", "gemini-2.5-flash");
    for service in [ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Priority] {
        let rate = |class| price.rate(class, service, 0);
        assert_eq!(rate(Class::Reasoning), rate(Class::Output), "{service:?}");
    }
}

#[test]
fn zero_is_free_only_where_the_rule_says_so() {
    for (provider, model, expected) in [
        ("ollama", "llama3:8b", &Pricing::Free),
        ("openai", "omni-moderation-latest", &Pricing::Free),
        ("ollama", "gpt-oss:120b-cloud", &Pricing::Unknown),
        ("mistral", "mistral-moderation-2603", &Pricing::Unknown),
        ("codestral", "codestral-latest", &Pricing::Unknown),
        ("zai", "glm-4.5-flash", &Pricing::Unknown),
        ("gemini", "gemma-3-27b-it", &Pricing::Unknown),
        ("azure", "model-router", &Pricing::Unknown),
        ("cohere", "embed-multilingual-light-v3.0", &Pricing::Unknown),
    ] {
        assert_eq!(pricing(provider, model), Some(expected), "{provider} {model}");
    }
    for entry in Catalogue::embedded().entries() {
        let may_be_free = &*entry.provider == "ollama" || entry.model.contains("moderation");
        assert!(*entry.pricing != Pricing::Free || may_be_free, "{}", entry.model);
    }
}

#[test]
fn a_price_never_makes_cached_or_written_tokens_stranger_than_plain_ones() {
    for entry in Catalogue::embedded().entries() {
        let Pricing::Priced(price) = &*entry.pricing else { continue };
        for (class, rate) in
            price.base.named().chain(price.overlays.iter().flat_map(|o| o.rates.named()))
        {
            let may_be_zero = matches!(class, Class::Input | Class::Output);
            assert!(may_be_zero || rate.nano_per_million() > 0, "{} {class}", entry.model);
        }
        let input = price.base.get(Class::Input);
        let write = price.rate(Class::CacheWrite, ServiceTier::Standard, 0);
        assert!(write >= input, "{}", entry.model);
    }
}

#[test]
fn names_are_those_of_the_providers_own_api() {
    let catalogue = Catalogue::embedded();
    let found = |provider, model| catalogue.find(provider, model).map(|entry| &*entry.model);
    for (provider, model, listed) in [
        ("azure", "gpt-4o", Some("azure/gpt-4o")),
        ("azure", "azure/gpt-4o", Some("azure/gpt-4o")),
        ("azure", "eu/gpt-4o", Some("azure/eu/gpt-4o")),
        ("azure", "grok-4.3", Some("azure_ai/grok-4.3")),
        ("groq", "whisper-large-v3", Some("groq/whisper-large-v3")),
        ("gemini", "models/gemini-2.5-flash", Some("gemini/gemini-2.5-flash")),
        ("gemini", "gemini-flash-latest", Some("gemini-flash-latest")),
        ("gemini", "gemini/gemini-flash-latest", Some("gemini-flash-latest")),
        (
            "fireworks_ai",
            "accounts/fireworks/models/deepseek-v3p2",
            Some("fireworks_ai/accounts/fireworks/models/deepseek-v3p2"),
        ),
        ("perplexity", "sonar", Some("perplexity/sonar")),
        ("perplexity", "perplexity/sonar", Some("perplexity/perplexity/sonar")),
        ("ollama", "llama3:latest", Some("ollama/llama3")),
        ("openai", "davinci-002", Some("davinci-002")),
        ("openai", "ft:gpt-4o-2024-08-06:acme::a1b2", Some("ft:gpt-4o-2024-08-06")),
        ("vertex_ai", "claude-opus-4-5@20251101", Some("vertex_ai/claude-opus-4-5@20251101")),
        ("cohere", "command-r-08-2024", Some("command-r-08-2024")),
    ] {
        assert_eq!(found(provider, model), listed, "{provider} {model}");
    }
}

#[test]
fn nothing_is_guessed() {
    for (provider, model) in [
        ("openai", "gpt-4o-2031-01-01"),
        ("openai", "gpt-4o-latest"),
        ("openai", "gpt-4o "),
        ("openai", "GPT-4o"),
        ("openai", "gpt-"),
        ("openai", "ft:gpt-9:acme::a1b2"),
        ("openai", "ft:"),
        ("openai", ""),
        ("azure", "ft:gpt-4o-2024-08-06"),
        ("azure", "o1-pro"),
        ("ollama", "llama3:latest:latest"),
        ("anthropic", "gpt-4o"),
        ("nobody", "gpt-4o"),
    ] {
        assert_eq!(Catalogue::embedded().find(provider, model), None, "{provider} {model}");
    }
}

#[test]
fn a_model_listed_twice_is_refused_with_its_line() {
    let text =
        "conduit-prices 2 catalogue 2026-11\n\nacme rocket 1 2 free\nacme acme/rocket 1 2 free\n";
    let reason = LineError::ModelTwice("acme/rocket".into());
    let error = Catalogue::parse(text).unwrap_err();
    assert_eq!(error, FormatError::Line { number: 4, reason });
    assert_eq!(error.to_string(), "line 4: the provider already has a model `acme/rocket`");
}
