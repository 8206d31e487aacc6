//! models.dev's `api.json`: an object of providers, each with `models` by id, whose `cost` is dollars
//! per million tokens and whose tiers are by the size of the prompt.
//!
//! It tells neither service tiers nor what is sold by the piece. Of a model that the edition inside the
//! binary lists, those stay as they are there; a tier stays only where it is the dearer one, so that a
//! price that went up is never undone by an old discount.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::figure;
use super::rules::{self, Mode};
use super::{Entry, Gathered, Members, Outcome, members, text_of};
use crate::catalogue::Catalogue;
use crate::domain::money::Rate;
use crate::domain::price::{Overlay, Price, Pricing, Rates};
use crate::domain::usage::{Class, ServiceTier};

/// From dollars for a million to nano-dollars for a million.
const FOR_A_MILLION: i32 = 9;

/// Its ids of providers, and the catalogue's.
pub(super) const PROVIDERS: [(&str, &str); 24] = [
    ("alibaba", "dashscope"),
    ("amazon-bedrock", "bedrock"),
    ("anthropic", "anthropic"),
    ("azure", "azure"),
    ("cerebras", "cerebras"),
    ("cohere", "cohere"),
    ("deepinfra", "deepinfra"),
    ("deepseek", "deepseek"),
    ("fireworks-ai", "fireworks_ai"),
    ("google", "gemini"),
    ("google-vertex", "vertex_ai"),
    ("google-vertex-anthropic", "vertex_ai-anthropic_models"),
    ("groq", "groq"),
    ("minimax", "minimax"),
    ("mistral", "mistral"),
    ("moonshotai", "moonshot"),
    ("nvidia", "nvidia_nim"),
    ("openai", "openai"),
    ("openrouter", "openrouter"),
    ("perplexity", "perplexity"),
    ("togetherai", "together_ai"),
    ("voyage", "voyage"),
    ("xai", "xai"),
    ("zai", "zai"),
];

const RATES: [(&str, Class); 7] = [
    ("input", Class::Input),
    ("output", Class::Output),
    ("reasoning", Class::Reasoning),
    ("cache_read", Class::CacheRead),
    ("cache_write", Class::CacheWrite),
    ("input_audio", Class::InputAudio),
    ("output_audio", Class::OutputAudio),
];

/// Classes that it has no field for.
const UNTOLD: [Class; 10] = [
    Class::CacheWrite1h,
    Class::CacheReadAudio,
    Class::InputImage,
    Class::CacheReadImage,
    Class::OutputImage,
    Class::WebSearch,
    Class::Image,
    Class::AudioMillisecond,
    Class::Character,
    Class::Call,
];

pub(super) fn read(root: &Members<'_>, edition: &Arc<str>, gathered: &mut Gathered) {
    for (id, value) in root {
        let Some(provider) = PROVIDERS.iter().find(|(theirs, _)| theirs == id) else {
            gathered.leave_out(format!("{id}: no route reaches it"));
            continue;
        };
        let models = members(value).and_then(|facts| members(facts.get("models")?));
        let Some(models) = models else {
            gathered.refuse(id, "it has no `models`");
            continue;
        };
        for (model, value) in &models {
            let outcome = self::model(provider.1, model, value, edition);
            gathered.add(&format!("{id} {model}"), outcome.unwrap_or_else(|outcome| outcome));
        }
    }
}

fn model(
    provider: &str,
    model: &str,
    value: &RawValue,
    edition: &Arc<str>,
) -> Result<Outcome, Outcome> {
    let unreadable = |reason: &str| Outcome::Unreadable(reason.to_owned());
    let facts = members(value).ok_or_else(|| unreadable("it is not an object"))?;
    let Some(cost) = facts.get("cost").filter(|cost| cost.get() != "null") else {
        return Err(Outcome::LeftOut("no cost".to_owned()));
    };
    let cost = members(cost).ok_or_else(|| unreadable("`cost`: it is not an object"))?;
    if makes_more_than_text(&facts) {
        return Err(Outcome::LeftOut("it makes more than text, at prices not told".to_owned()));
    }
    let mut price = price(&cost)?;
    let embedded = Catalogue::embedded().find(provider, model);
    let listed = embedded.and_then(|entry| match &*entry.pricing {
        Pricing::Priced(listed) => Some(listed),
        Pricing::Free | Pricing::Unknown => None,
    });
    if let Some(listed) = listed {
        keep_what_is_untold(&mut price, listed);
    }
    write_for_an_hour(model, &mut price);
    let pricing = rules::settle(provider, model, mode(&facts, model), price);
    let limits = facts.get("limit").and_then(|limit| members(limit)).unwrap_or_default();
    let limit = |key: &str| limits.get(key).and_then(|value| figure::whole(value.get()));
    Ok(Outcome::Taken(Entry {
        provider: provider.into(),
        model: model.into(),
        max_input_tokens: limit("input").or_else(|| limit("context")),
        max_output_tokens: limit("output"),
        pricing: pricing.map_err(unreadable)?.into(),
        version: Arc::clone(edition),
    }))
}

/// Models that speak or paint have more prices than one for their output.
fn makes_more_than_text(facts: &Members<'_>) -> bool {
    let modalities = facts.get("modalities").and_then(|value| members(value)).unwrap_or_default();
    let made: Option<Vec<String>> =
        modalities.get("output").and_then(|list| serde_json::from_str(list.get()).ok());
    made.unwrap_or_default().iter().any(|kind| matches!(kind.as_str(), "image" | "audio" | "video"))
}

/// It does not say what a model is for, but an embedding's answer has no tokens.
fn mode(facts: &Members<'_>, model: &str) -> Mode {
    let family = facts.get("family").and_then(|family| text_of(family)).unwrap_or_default();
    let says = |word: &str| family.contains(word) || model.contains(word);
    if says("rerank") {
        Mode::Rerank
    } else if says("embed") {
        Mode::Embedding
    } else {
        Mode::Text
    }
}

fn price(cost: &Members<'_>) -> Result<Price, Outcome> {
    let mut bands: BTreeMap<u64, Rates> = BTreeMap::new();
    if let Some(value) = cost.get("context_over_200k").filter(|value| value.get() != "null") {
        let wrong = || Outcome::Unreadable("`context_over_200k`: it is not an object".to_owned());
        bands.insert(200_000, rates(&members(value).ok_or_else(wrong)?)?);
    }
    if let Some(value) = cost.get("tiers").filter(|value| value.get() != "null") {
        // They tell the sizes exactly; the older field says 200,000 of every size.
        bands = tiers(value)?;
    }
    let overlay = |(above_input_tokens, rates)| Overlay {
        service: ServiceTier::Standard,
        above_input_tokens,
        rates,
    };
    Ok(Price {
        base: rates(cost)?,
        overlays: bands.into_iter().map(overlay).collect(),
        variants: Vec::new(),
    })
}

/// `tiers`: rates beside a `tier` of `{"type": "context", "size": 272000}`.
fn tiers(value: &RawValue) -> Result<BTreeMap<u64, Rates>, Outcome> {
    let wrong = || Outcome::Unreadable("`tiers`: it is not a list of prompt sizes".to_owned());
    let tiers: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| wrong())?;
    let mut bands = BTreeMap::new();
    for tier in tiers {
        let facts = members(tier).ok_or_else(wrong)?;
        let of = facts.get("tier").and_then(|of| members(of)).ok_or_else(wrong)?;
        let kind = of.get("type").and_then(|kind| text_of(kind));
        let size = of.get("size").and_then(|size| figure::whole(size.get())).ok_or_else(wrong)?;
        if kind.is_some_and(|kind| kind != "context") {
            return Err(wrong());
        }
        bands.insert(size, rates(&facts)?);
    }
    Ok(bands)
}

fn rates(facts: &Members<'_>) -> Result<Rates, Outcome> {
    let mut rates = Rates::default();
    for (key, class) in RATES {
        let Some(value) = facts.get(key) else { continue };
        let rate = figure::rate(value.get(), FOR_A_MILLION)
            .map_err(|error| Outcome::Unreadable(format!("`{key}`: {error}")))?;
        if let Some(rate) = rate {
            rates.set(class, rate);
        }
    }
    Ok(rates)
}

fn keep_what_is_untold(price: &mut Price, listed: &Price) {
    for class in UNTOLD {
        if let (None, Some(rate)) = (price.base.get(class), listed.base.get(class)) {
            price.base.set(class, rate);
        }
    }
    price.variants.clone_from(&listed.variants);
    for overlay in &listed.overlays {
        let (service, above) = (overlay.service, overlay.above_input_tokens);
        let mut rates = Rates::default();
        for (class, rate) in overlay.rates.named() {
            let told = price.rate(class, ServiceTier::Standard, above.saturating_add(1));
            if told.is_none_or(|told| rate > told) {
                rates.set(class, rate);
            }
        }
        let is_told = price
            .overlays
            .iter()
            .any(|told| (told.service, told.above_input_tokens) == (service, above));
        if !is_told && !rates.is_empty() {
            price.overlays.push(Overlay { service, above_input_tokens: above, rates });
        }
    }
}

/// Anthropic's models charge twice the input for what is kept an hour (its pages on prompt caching);
/// priced as what is kept five minutes, it would be billed too low.
fn write_for_an_hour(model: &str, price: &mut Price) {
    let Some(input) = price.base.get(Class::Input).filter(|_| model.contains("claude")) else {
        return;
    };
    let twice = Rate::from_nano_per_million(input.nano_per_million().saturating_mul(2));
    if price.base.get(Class::CacheWrite).is_some() && price.base.get(Class::CacheWrite1h).is_none()
    {
        price.base.set(Class::CacheWrite1h, twice);
    }
}
