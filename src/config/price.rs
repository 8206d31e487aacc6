//! A model's price as written in the file, read from its text: dollars never pass through a float.

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Problem;
use super::reader::{At, Section, found};
use super::shape::Shape;
use crate::domain::money::{Money, MoneyError, Rate};
use crate::domain::price::{Overlay, Price, Pricing, Rates, Variant};
use crate::domain::usage::{Class, ServiceTier};

const FREE: &str = "free";
const EXPECTED: &str = "\"free\", or a table such as { input = 2.50, output = 10 }";

/// What a price in the file is for.
#[derive(Clone, Copy)]
enum Unit {
    Million,
    Each,
    /// Audio is counted by the thousandth of a second.
    Second,
}

/// The keys of a price table.
const KEYS: [(&str, Class, Unit); 17] = [
    ("input", Class::Input, Unit::Million),
    ("cache_read", Class::CacheRead, Unit::Million),
    ("cache_write", Class::CacheWrite, Unit::Million),
    ("cache_write_1h", Class::CacheWrite1h, Unit::Million),
    ("input_audio", Class::InputAudio, Unit::Million),
    ("cache_read_audio", Class::CacheReadAudio, Unit::Million),
    ("input_image", Class::InputImage, Unit::Million),
    ("cache_read_image", Class::CacheReadImage, Unit::Million),
    ("output", Class::Output, Unit::Million),
    ("reasoning", Class::Reasoning, Unit::Million),
    ("output_audio", Class::OutputAudio, Unit::Million),
    ("output_image", Class::OutputImage, Unit::Million),
    ("character", Class::Character, Unit::Million),
    ("web_search", Class::WebSearch, Unit::Each),
    ("image", Class::Image, Unit::Each),
    ("call", Class::Call, Unit::Each),
    ("audio_second", Class::AudioMillisecond, Unit::Second),
];

const TIERS: [(&str, ServiceTier); 3] = [
    ("batch", ServiceTier::Batch),
    ("flex", ServiceTier::Flex),
    ("priority", ServiceTier::Priority),
];

/// Tables of what costs more or less by what a request asks for, and of what.
const VARIANTS: [(&str, Class, &str); 3] = [
    ("images", Class::Image, "a size, a quality or both, like \"hd 1024x1792\""),
    ("web_searches", Class::WebSearch, "the size of a search: low, medium or high"),
    ("calls", Class::Call, "the size of a call's search: low, medium or high"),
];

/// The byte at which the `price` of a model begins.
pub(super) fn place(model: &Section<'_>) -> Option<usize> {
    model.place_of("price").map(|span| span.start)
}

/// Reads `price` of a model; `None` where there is none or it is wrong.
pub(super) fn read(model: &mut Section<'_>) -> Option<Pricing> {
    if let Some(section) = model.outlined_word_or_table("price", FREE) {
        return price(section).map(Pricing::Priced);
    }
    let value = model.any("price", Shape::Amount)?;
    let path = model.path_of("price");
    if let Some(word) = value.get_ref().as_str() {
        if word == FREE {
            return Some(Pricing::Free);
        }
        let problem = Problem::at(value.span(), format!("`{path}` must be {EXPECTED}"));
        model.findings().report(problem);
        return None;
    }
    let section = model.section_of("price", value, EXPECTED)?;
    price(section).map(Pricing::Priced)
}

fn price(mut section: Section<'_>) -> Option<Price> {
    let before = section.findings().count();
    let base = rates(&mut section);
    let mut price = Price { base, overlays: Vec::new(), variants: variants(&mut section) };
    sizes(&mut section, ServiceTier::Standard, &mut price.overlays);
    for (name, tier) in TIERS {
        if let Some(mut tiered) = section.section(name) {
            let rates = rates(&mut tiered);
            price.overlays.push(Overlay { service: tier, above_input_tokens: 0, rates });
            sizes(&mut tiered, tier, &mut price.overlays);
            tiered.finish();
        }
    }
    complete(&section, &price);
    let findings = section.findings();
    section.finish();
    (findings.count() == before).then_some(price)
}

/// A class without a rate would be billed at nothing, which must never happen by leaving something
/// out: what is free is written as 0.
fn complete(section: &Section<'_>, price: &Price) {
    let has = |class| price.base.get(class).is_some();
    let by_variant = VARIANTS.iter().any(|(key, ..)| section.has(key));
    let tokens = |class: &Class| class.is_input_token() || class.is_output_token();
    if !section.has("input")
        && ((price.base.is_empty() && !by_variant)
            || Class::ALL.iter().filter(|c| tokens(c)).any(|c| has(*c)))
    {
        section.missing("input", "write dollars per million tokens; 0 for what is free");
    }
    if section.has("input") && !section.has("output") {
        section.missing("output", "write `output = 0` for a model that answers with no tokens");
    }
}

fn variants(section: &mut Section<'_>) -> Vec<Variant> {
    let mut variants: Vec<Variant> = Vec::new();
    for (key, class, expected) in VARIANTS {
        let Some(table) = section.section(key) else { continue };
        table.named_are(Shape::Amount);
        for (name, value) in table.entries() {
            let Some(rate) = rate(&table, &name.value, value, Unit::Each) else { continue };
            let read = Variant::new(class, &name.value, rate);
            let is_new = |new: &Variant| !variants.iter().any(|other| other.is_like(new));
            let message = match &read {
                Some(new) if is_new(new) => None,
                Some(_) => Some("is written twice, in other words"),
                None => Some("is not something to ask for"),
            };
            if let Some(message) = message {
                let message = format!("`{}` {message}", table.path_of(&name.value));
                let label = format!("write {expected}");
                section.findings().report(Problem::at(name.span, message).label(label));
            } else {
                variants.extend(read);
            }
        }
    }
    variants
}

fn sizes(section: &mut Section<'_>, service: ServiceTier, overlays: &mut Vec<Overlay>) {
    for (name, mut sized) in section.sections_named_like("above_") {
        let rates = rates(&mut sized);
        if let Some(above_input_tokens) = tokens(&name.value) {
            overlays.push(Overlay { service, above_input_tokens, rates });
        } else {
            let message = format!("`{}` is not a prompt size", section.path_of(&name.value));
            let label = "write it like `above_200k`";
            section.findings().report(Problem::at(name.span, message).label(label));
        }
        sized.finish();
    }
}

/// `above_200k`: more than 200,000 prompt tokens.
fn tokens(name: &str) -> Option<u64> {
    let size = name.strip_prefix("above_")?;
    let (digits, unit) = match size.as_bytes().last()? {
        b'k' => (&size[..size.len() - 1], 1_000),
        b'm' => (&size[..size.len() - 1], 1_000_000),
        _ => (size, 1),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|tokens| *tokens > 0)
}

fn rates(section: &mut Section<'_>) -> Rates {
    let mut rates = Rates::default();
    for (key, class, unit) in KEYS {
        if let Some(value) = section.any(key, Shape::Amount)
            && let Some(rate) = rate(section, key, value, unit)
        {
            rates.set(class, rate);
        }
    }
    rates
}

fn rate(
    section: &Section<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    unit: Unit,
) -> Option<Rate> {
    let path = section.path_of(key);
    let Some(dollars) = dollars(value) else {
        let message = format!("`{path}` must be an amount in dollars, like 2.50 or \"2.50\"");
        let problem = Problem::at(value.span(), message).label(found(value.get_ref()));
        section.findings().report(problem);
        return None;
    };
    match read_rate(&dollars.value, unit) {
        Ok(rate) => Some(rate),
        Err(error) => {
            let message = format!("`{path}`: {error}");
            section.findings().report(Problem::at(dollars.span, message));
            None
        }
    }
}

/// The digits as they were written.
fn dollars(value: &Spanned<DeValue<'_>>) -> Option<At<String>> {
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        _ => return None,
    };
    Some(At::new(text, value.span()))
}

fn read_rate(text: &str, unit: Unit) -> Result<Rate, MoneyError> {
    match unit {
        Unit::Million => text.parse(),
        Unit::Each => Rate::per_unit(text.parse()?),
        Unit::Second => {
            let second: Money = text.parse()?;
            let million_ms = second.nano().checked_mul(1_000);
            million_ms
                .map(Rate::from_nano_per_million)
                .ok_or_else(|| MoneyError::TooLarge(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_key() {
        for class in Class::ALL {
            assert_eq!(KEYS.iter().filter(|(_, of, _)| *of == class).count(), 1, "{class}");
        }
    }

    #[test]
    fn prompt_sizes_are_read() {
        for (name, size) in [
            ("above_200k", Some(200_000)),
            ("above_1m", Some(1_000_000)),
            ("above_272000", Some(272_000)),
            ("above_", None),
            ("above_0k", None),
            ("above_k", None),
            ("above_-1k", None),
            ("above_99999999999999999m", None),
        ] {
            assert_eq!(tokens(name), size, "{name}");
        }
    }

    #[test]
    fn what_is_sold_in_other_units_is_exact() {
        let rate = |text, unit| read_rate(text, unit).map(Rate::nano_per_million);
        assert_eq!(rate("2.50", Unit::Million), Ok(2_500_000_000));
        assert_eq!(rate("0.01", Unit::Each), Ok(10_000_000_000_000));
        assert_eq!(rate("0.0001", Unit::Second), Ok(100_000_000));
        assert!(rate("99999999", Unit::Each).is_err());
    }
}
