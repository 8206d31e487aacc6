//! `LiteLLM`'s price map, `model_prices_and_context_window.json`: an object of models by name.
//!
//! The names of its fields are those of its own schema and of the entries themselves, read in
//! `BerriAI/litellm`. Figures are dollars for one of something. A field about cost that is not known
//! here is left out and counted, as its schema asks: a new kind of price is never taken for another.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::figure::{self, FigureError};
use super::rules::{self, Mode};
use super::{Entry, Gathered, Members, Outcome, REACHED, members, text_of};
use crate::domain::money::Rate;
use crate::domain::price::{Overlay, Price, Rates, Variant};
use crate::domain::usage::{Class, ServiceTier};

/// From dollars for one to nano-dollars for a million.
const FOR_ONE: i32 = 15;
/// From dollars a second to nano-dollars for a million milliseconds.
const FOR_A_SECOND: i32 = 12;
/// A tenth of a cent, for one, in nano-dollars for a million.
const TENTH_OF_A_CENT: u64 = 1_000_000_000_000;

/// Entries that are no models.
const NOT_A_MODEL: [&str; 2] = ["sample_spec", "fallback_generalizations"];

const TOKENS: [(&str, Class); 16] = [
    ("input_cost_per_token", Class::Input),
    ("cache_read_input_token_cost", Class::CacheRead),
    ("input_cost_per_token_cache_hit", Class::CacheRead),
    ("cache_creation_input_token_cost", Class::CacheWrite),
    ("cache_creation_input_token_cost_above_1hr", Class::CacheWrite1h),
    ("input_cost_per_audio_token", Class::InputAudio),
    ("cache_read_input_audio_token_cost", Class::CacheReadAudio),
    ("cache_read_input_token_cost_per_audio_token", Class::CacheReadAudio),
    ("input_cost_per_image_token", Class::InputImage),
    ("cache_read_input_image_token_cost", Class::CacheReadImage),
    ("cache_read_input_token_cost_per_image_token", Class::CacheReadImage),
    ("output_cost_per_token", Class::Output),
    ("output_cost_per_reasoning_token", Class::Reasoning),
    ("output_cost_per_audio_token", Class::OutputAudio),
    ("output_cost_per_image_token", Class::OutputImage),
    ("output_cost_per_token_thinking", Class::Reasoning),
];

const UNITS: [(&str, Class); 8] = [
    ("input_cost_per_image", Class::Image),
    ("output_cost_per_image", Class::Image),
    ("input_cost_per_second", Class::AudioMillisecond),
    ("output_cost_per_second", Class::AudioMillisecond),
    ("input_cost_per_audio_per_second", Class::AudioMillisecond),
    ("input_cost_per_character", Class::Character),
    ("input_cost_per_query", Class::Call),
    ("input_cost_per_request", Class::Call),
];

const TIERS: [(&str, ServiceTier); 3] = [
    ("_batches", ServiceTier::Batch),
    ("_flex", ServiceTier::Flex),
    ("_priority", ServiceTier::Priority),
];

const SEARCH: &str = "search_context_cost_per_query";
const SEARCH_SIZES: [&str; 3] = ["low", "medium", "high"];
/// Models that search the web on every request, whatever the request says.
const ALWAYS_SEARCH: [&str; 3] =
    ["gpt-4o-search-preview", "gpt-4o-mini-search-preview", "gpt-5-search-api"];

/// The condition of a group of rates.
type Condition = (ServiceTier, u64);

pub(super) fn read(root: &Members<'_>, edition: &Arc<str>, gathered: &mut Gathered) {
    let mut sizes = Sizes::default();
    let mut drafts = Vec::new();
    for (name, value) in root.iter().filter(|(name, _)| !NOT_A_MODEL.contains(&name.as_str())) {
        let Some(facts) = members(value) else {
            gathered.refuse(name, "it is not an object");
            continue;
        };
        match Draft::read(name, &facts, gathered) {
            Ok(Some(draft)) if draft.is_size => {
                if let Err(reason) = sizes.add(&draft, &facts) {
                    gathered.add(name, reason);
                }
            }
            Ok(Some(draft)) => drafts.push(draft),
            Ok(None) => {}
            Err(outcome) => gathered.add(name, outcome),
        }
    }
    sizes.give(&mut drafts);
    for draft in drafts {
        let aliases = draft.aliases.clone();
        let name = draft.model.clone();
        let outcome = draft.finish(edition);
        if let Outcome::Taken(entry) = &outcome {
            for alias in aliases.into_iter().filter(|alias| !root.contains_key(alias)) {
                let alias = Entry { model: alias.into(), ..entry.clone() };
                gathered.add(&name, Outcome::Taken(alias));
            }
        }
        gathered.add(&name, outcome);
    }
}

/// A model as it is being read.
struct Draft {
    provider: String,
    model: String,
    mode: Mode,
    is_size: bool,
    aliases: Vec<String>,
    max_input_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    price: Price,
}

impl Draft {
    fn read(
        name: &str,
        facts: &Members<'_>,
        gathered: &mut Gathered,
    ) -> Result<Option<Self>, Outcome> {
        let text = |key: &str| facts.get(key).and_then(|value| text_of(value));
        let provider = text("litellm_provider")
            .ok_or_else(|| Outcome::Unreadable("it has no `litellm_provider`".to_owned()))?;
        if !REACHED.contains(&provider.as_str()) {
            return Err(Outcome::LeftOut(format!("{provider}: no route reaches it")));
        }
        if name.contains("-month-commitment/") {
            return Err(Outcome::LeftOut("capacity that is rented by the hour".to_owned()));
        }
        if name.starts_with("together-ai-") || name.starts_with("fireworks-ai-") {
            return Err(Outcome::LeftOut("a band of sizes, not a model".to_owned()));
        }
        if name.contains("-steps/") {
            return Err(Outcome::LeftOut("a number of steps before a name".to_owned()));
        }
        let Some(word) = text("mode") else {
            return Err(Outcome::LeftOut("no mode: a band of sizes, not a model".to_owned()));
        };
        let Some(mode) = Mode::from_word(&word) else {
            return Err(Outcome::LeftOut(format!("mode {word}: no endpoint for it")));
        };
        let limit = |key: &str| facts.get(key).and_then(|value| figure::whole(value.get()));
        let is_size = Size::read(name).is_some();
        let price = if is_size { Price::default() } else { price(name, mode, facts, gathered)? };
        let aliases = facts.get("aliases").and_then(|list| serde_json::from_str(list.get()).ok());
        Ok(Some(Self {
            provider,
            model: name.to_owned(),
            mode,
            is_size,
            aliases: aliases.unwrap_or_default(),
            max_input_tokens: limit("max_input_tokens"),
            max_output_tokens: limit("max_output_tokens"),
            price,
        }))
    }

    fn finish(self, edition: &Arc<str>) -> Outcome {
        match rules::settle(&self.provider, &self.model, self.mode, self.price) {
            Ok(pricing) => Outcome::Taken(Entry {
                provider: self.provider.into(),
                model: self.model.into(),
                max_input_tokens: self.max_input_tokens,
                max_output_tokens: self.max_output_tokens,
                pricing: pricing.into(),
                version: Arc::clone(edition),
            }),
            Err(reason) => Outcome::Unreadable(reason.to_owned()),
        }
    }
}

fn unreadable(key: &str) -> impl Fn(FigureError) -> Outcome {
    move |error| Outcome::Unreadable(format!("`{key}`: {error}"))
}

fn price(
    name: &str,
    mode: Mode,
    facts: &Members<'_>,
    gathered: &mut Gathered,
) -> Result<Price, Outcome> {
    let mut groups: BTreeMap<Condition, Rates> = BTreeMap::new();
    let mut variants = Vec::new();
    for (key, value) in facts {
        if let Some((condition, class)) = token_key(key) {
            let rate = figure::rate(value.get(), FOR_ONE).map_err(unreadable(key))?;
            raise(groups.entry(condition).or_default(), class, rate);
        } else if let Some(class) = unit_class(key) {
            let places = if class == Class::AudioMillisecond { FOR_A_SECOND } else { FOR_ONE };
            let rate = figure::rate(value.get(), places).map_err(unreadable(key))?;
            if is_counted(class, mode) {
                raise(groups.entry((ServiceTier::Standard, 0)).or_default(), class, rate);
            }
        } else if key == SEARCH {
            let base = groups.entry((ServiceTier::Standard, 0)).or_default();
            variants = searches(name, value, base)?;
        } else if key == "tiered_pricing" {
            bands(value, &mut groups)?;
        } else if key.contains("cost") && !matches!(value.get(), "null" | "0" | "0.0") {
            gathered.leave_out(format!("rates: {key}"));
        }
    }
    let base = groups.remove(&(ServiceTier::Standard, 0)).unwrap_or_default();
    let overlay =
        |((service, above_input_tokens), rates)| Overlay { service, above_input_tokens, rates };
    Ok(Price { base, overlays: groups.into_iter().map(overlay).collect(), variants })
}

/// Sets a rate, where another field says the same the dearer one.
fn raise(rates: &mut Rates, class: Class, rate: Option<Rate>) {
    if let Some(rate) = rate {
        rates.set(class, rate.max(rates.get(class).unwrap_or_default()));
    }
}

/// `input_cost_per_token_above_200k_tokens_priority`: the class, and under which condition.
fn token_key(key: &str) -> Option<(Condition, Class)> {
    let (key, first) = tier(key);
    let (key, above) = match key.strip_suffix("k_tokens").and_then(|key| key.rsplit_once("_above_"))
    {
        Some((key, thousands)) => (key, thousands.parse::<u64>().ok()?.checked_mul(1_000)?),
        None => (key, 0),
    };
    let (key, second) = tier(key);
    let class = TOKENS.iter().find(|(name, _)| *name == key)?.1;
    let service = if first == ServiceTier::Standard { second } else { first };
    Some(((service, above), class))
}

fn tier(key: &str) -> (&str, ServiceTier) {
    let found = TIERS.iter().find_map(|(end, tier)| Some((key.strip_suffix(end)?, *tier)));
    found.unwrap_or((key, ServiceTier::Standard))
}

fn unit_class(key: &str) -> Option<Class> {
    UNITS.iter().find(|(name, _)| *name == key).map(|(_, class)| *class)
}

/// Whether such a model is counted by such a class: in a chat an image is counted in tokens.
fn is_counted(class: Class, mode: Mode) -> bool {
    match class {
        Class::Image => matches!(mode, Mode::Image | Mode::Embedding),
        Class::AudioMillisecond => {
            matches!(mode, Mode::Transcription | Mode::Speech | Mode::Embedding)
        }
        Class::Character => mode == Mode::Speech,
        _ => true,
    }
}

/// Rule 5: the price of a search, by its size where they differ, which then is a fee on each call.
fn searches(name: &str, value: &RawValue, base: &mut Rates) -> Result<Vec<Variant>, Outcome> {
    let sizes = members(value)
        .ok_or_else(|| Outcome::Unreadable(format!("`{SEARCH}`: it is not an object")))?;
    let mut rates = Vec::new();
    for size in SEARCH_SIZES {
        if let Some(value) = sizes.get(&format!("search_context_size_{size}")) {
            let rate = figure::rate(value.get(), FOR_ONE).map_err(unreadable(SEARCH))?;
            rates.extend(rate.map(|rate| (size, rate)));
        }
    }
    let differ = rates.iter().any(|(_, rate)| *rate != rates[0].1);
    let is_fee = differ || ALWAYS_SEARCH.iter().any(|always| name.starts_with(always));
    let class = if is_fee { Class::Call } else { Class::WebSearch };
    raise(base, class, rates.iter().map(|(_, rate)| *rate).max());
    let priced = rates.into_iter().filter(|(_, rate)| differ && *rate > Rate::ZERO);
    Ok(priced.filter_map(|(size, rate)| Variant::new(class, size, rate)).collect())
}

/// `tiered_pricing`: rates for prompts of a range of sizes.
fn bands(value: &RawValue, groups: &mut BTreeMap<Condition, Rates>) -> Result<(), Outcome> {
    let wrong = || Outcome::Unreadable("`tiered_pricing`: it is not a list of ranges".to_owned());
    let bands: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| wrong())?;
    for band in bands {
        let facts = members(band).ok_or_else(wrong)?;
        let range = facts.get("range").ok_or_else(wrong)?;
        let ends: Vec<&RawValue> = serde_json::from_str(range.get()).map_err(|_| wrong())?;
        // A range that begins at nothing is the ordinary price.
        let from = ends.first().ok_or_else(wrong)?;
        let from = figure::rate(from.get(), 0).map_err(unreadable("range"))?.unwrap_or_default();
        for (key, value) in &facts {
            if let Some(((service, 0), class)) = token_key(key) {
                let rate = figure::rate(value.get(), FOR_ONE).map_err(unreadable(key))?;
                raise(groups.entry((service, from.nano_per_million())).or_default(), class, rate);
            }
        }
    }
    Ok(())
}

/// A name with a size, and perhaps a quality, before it: `azure/hd/1024-x-1792/dall-e-3`.
struct Size {
    model: String,
    quality: Option<String>,
    width: u64,
    height: u64,
}

impl Size {
    fn read(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('/').collect();
        let (before, [size, model]) = parts.split_at_checked(parts.len().checked_sub(2)?)? else {
            return None;
        };
        let (width, height) = size.split_once("-x-")?;
        let is_quality = |word: &&str| ["low", "medium", "high", "standard", "hd"].contains(word);
        let (prefix, quality) = match before {
            [] => (None, None),
            [word] if is_quality(word) => (None, Some(*word)),
            [prefix] => (Some(*prefix), None),
            [prefix, word] if is_quality(word) => (Some(*prefix), Some(*word)),
            _ => return None,
        };
        Some(Self {
            model: prefix.map_or_else(|| (*model).to_owned(), |prefix| format!("{prefix}/{model}")),
            quality: quality.map(str::to_owned),
            width: width.parse().ok()?,
            height: height.parse().ok()?,
        })
    }
}

/// What an image of a quality and a size costs: the words of a variant, and its rate.
type Images = BTreeMap<(Option<String>, String), Rate>;

/// The prices of images that stand under names of their own: by provider and model.
#[derive(Default)]
struct Sizes(BTreeMap<(String, String), Images>);

impl Sizes {
    fn add(&mut self, draft: &Draft, facts: &Members<'_>) -> Result<(), Outcome> {
        let Some(size) = Size::read(&draft.model) else { return Ok(()) };
        let figure = |key: &str| match facts.get(key) {
            Some(value) => figure::rate(value.get(), FOR_ONE).map_err(unreadable(key)),
            None => Ok(None),
        };
        let (input, output) = (figure("input_cost_per_image")?, figure("output_cost_per_image")?);
        let each = input.max(output).filter(|rate| *rate > Rate::ZERO);
        let pixels = [figure("input_cost_per_pixel")?, figure("output_cost_per_pixel")?];
        let rate = match each {
            Some(rate) => Some(rate),
            None => by_pixels(&size, pixels),
        };
        let none = || Outcome::Unreadable("its image has no price".to_owned());
        let rate = rate.filter(|rate| *rate > Rate::ZERO).ok_or_else(none)?;
        let images = self.0.entry((draft.provider.clone(), size.model)).or_default();
        images.insert((size.quality, format!("{}x{}", size.width, size.height)), rate);
        Ok(())
    }

    /// Gives each model its images; one that has nothing else is made.
    fn give(self, drafts: &mut Vec<Draft>) {
        for ((provider, model), mut images) in self.0 {
            standard_is_ordinary(&mut images);
            let in_full = format!("{provider}/{model}");
            let is_it = |draft: &Draft| {
                draft.provider == provider && (draft.model == model || draft.model == in_full)
            };
            let found = drafts.iter().position(is_it);
            let draft = match found.and_then(|at| drafts.get_mut(at)) {
                Some(draft) => draft,
                None => drafts.push_mut(Draft {
                    provider,
                    model,
                    mode: Mode::Image,
                    is_size: false,
                    aliases: Vec::new(),
                    max_input_tokens: None,
                    max_output_tokens: None,
                    price: Price::default(),
                }),
            };
            let variant = |((quality, size), rate): ((Option<String>, String), Rate)| {
                Variant::new(Class::Image, &format!("{} {size}", quality.unwrap_or_default()), rate)
            };
            draft.price.variants.extend(images.into_iter().filter_map(variant));
        }
    }
}

/// Rule 8: prices by the pixel are prices by the image that somebody divided and rounded.
fn by_pixels(size: &Size, figures: [Option<Rate>; 2]) -> Option<Rate> {
    let figure = figures.into_iter().flatten().map(Rate::nano_per_million);
    let figure = figure.fold(0, u64::saturating_add);
    let exact = size.width.checked_mul(size.height)?.checked_mul(figure)?;
    let tenths =
        (exact.checked_add(TENTH_OF_A_CENT / 2)? / TENTH_OF_A_CENT).checked_mul(TENTH_OF_A_CENT)?;
    let is_near = tenths.abs_diff(exact) <= exact / 1_000;
    let tenths = if is_near {
        tenths
    } else {
        exact.div_ceil(TENTH_OF_A_CENT).checked_mul(TENTH_OF_A_CENT)?
    };
    Some(Rate::from_nano_per_million(tenths))
}

/// Rule 8: `standard` is the ordinary quality, unless there are levels, and then it names nothing.
fn standard_is_ordinary(images: &mut Images) {
    let is_level = |quality: &Option<String>| {
        quality.as_deref().is_some_and(|word| ["low", "medium", "high"].contains(&word))
    };
    if images.keys().any(|(quality, _)| is_level(quality)) {
        images.retain(|(quality, _), _| is_level(quality));
        return;
    }
    for ((quality, size), rate) in std::mem::take(images) {
        images.insert((quality.filter(|word| word != "standard"), size), rate);
    }
}
