//! Reads the catalogue's text: a heading, one model per line, and their number.
//!
//! The format is described in `packaging/catalogue/make.py`, which writes the program's own edition;
//! `render` writes updates. Figures are read digit by digit; reading must never panic, whatever the
//! text, never round a rate down, and never take a text that was cut off for a whole one.

use std::sync::Arc;

use super::Entry;
use crate::domain::money::Rate;
use crate::domain::price::{Overlay, Price, Pricing, Rates, Variant};
use crate::domain::usage::{Class, ServiceTier};

/// The words that a text of this format opens with; the edition follows them.
pub(super) const HEADING: &str = "conduit-prices 2 ";
/// The word before the number of models, on the last line.
pub(super) const END: &str = "end ";
/// The first word of an edition: the program's own, or an update's.
const EDITIONS: [&str; 2] = ["catalogue ", "update "];
/// The longest name of an edition.
const LONGEST_EDITION: usize = 100;
/// Decimal places of a dollar that a rate can carry.
pub(super) const DECIMALS: usize = 9;
/// A rate is per million: a price for one is six places further left.
const PLACES_PER_UNIT: usize = 6;
/// A second is a thousand of the milliseconds that audio is counted in, so three of the six remain.
const PLACES_PER_SECOND: usize = 3;

/// Why a text is not a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("the first line must be `{HEADING}` and an edition, not `{0}`")]
    Heading(String),
    #[error("the last line must be `{END}` and the number of models, {0}: the text was cut off")]
    CutOff(usize),
    #[error("line {number}: {reason}")]
    Line { number: usize, reason: LineError },
}

/// Why a line is not a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("a line has a provider, a model, two limits and a price")]
    Fields,
    #[error("`{0}` is not a number of tokens, nor `-`")]
    Limit(String),
    #[error("`{0}` is not a service tier, nor `>` and a number of tokens, nor both")]
    Condition(String),
    #[error("`{0}` is not the name of a rate, `=` and dollars")]
    Rate(String),
    #[error("a group without rates")]
    NoRates,
    #[error("`{0}` stands twice")]
    Twice(String),
    #[error("the provider already has a model `{0}`")]
    ModelTwice(String),
}

/// Reads the heading: the edition's name, and the numbered lines that are models.
pub(super) fn open(
    text: &str,
) -> Result<(Arc<str>, impl Iterator<Item = (usize, &str)>), FormatError> {
    let first = text.lines().next().unwrap_or_default();
    let edition = first.strip_prefix(HEADING).filter(|edition| is_edition(edition));
    let edition = edition
        .ok_or_else(|| FormatError::Heading(first.chars().take(LONGEST_EDITION).collect()))?;
    let lines = (1..).zip(text.lines()).skip(1);
    let models = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    Ok((edition.into(), models.filter(|(_, line)| !line.starts_with(END))))
}

/// Whether the text has its last line, which counts the models.
pub(super) fn is_whole(text: &str, models: usize) -> bool {
    let last = text.strip_suffix('\n').and_then(|text| text.lines().next_back());
    last.and_then(|line| line.strip_prefix(END)) == Some(models.to_string().as_str())
}

/// Plain words: they stand in receipts and in tables.
fn is_edition(text: &str) -> bool {
    let rest = EDITIONS.iter().find_map(|word| text.strip_prefix(word));
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b" .-".contains(&b);
    text.len() <= LONGEST_EDITION
        && rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_plain))
}

/// Reads one model.
pub(super) fn entry(line: &str, version: &Arc<str>) -> Result<Entry, LineError> {
    let mut fields = line.splitn(5, ' ');
    let mut next = || fields.next().filter(|field| !field.is_empty()).ok_or(LineError::Fields);
    Ok(Entry {
        provider: next()?.into(),
        model: next()?.into(),
        max_input_tokens: limit(next()?)?,
        max_output_tokens: limit(next()?)?,
        pricing: pricing(next()?)?.into(),
        version: Arc::clone(version),
    })
}

fn limit(text: &str) -> Result<Option<u64>, LineError> {
    match text {
        "-" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| LineError::Limit(text.to_owned())),
    }
}

fn pricing(text: &str) -> Result<Pricing, LineError> {
    match text.trim() {
        "free" => Ok(Pricing::Free),
        "unknown" => Ok(Pricing::Unknown),
        text => price(text).map(Pricing::Priced),
    }
}

fn price(text: &str) -> Result<Price, LineError> {
    let mut groups = text.split('|').map(str::split_ascii_whitespace);
    let (variants, plain): (Vec<_>, Vec<_>) =
        groups.next().ok_or(LineError::NoRates)?.partition(|word| word.contains('@'));
    let mut price = Price {
        base: rates(plain.into_iter())?,
        overlays: Vec::with_capacity(text.matches('|').count()),
        variants: self::variants(&variants)?,
    };
    if price.base.is_empty() && price.variants.is_empty() {
        return Err(LineError::NoRates);
    }
    for mut group in groups {
        let words = group.next().ok_or(LineError::NoRates)?;
        let (service, above_input_tokens) =
            condition(words).ok_or_else(|| LineError::Condition(words.to_owned()))?;
        let same = |o: &Overlay| (o.service, o.above_input_tokens) == (service, above_input_tokens);
        if price.overlays.iter().any(same) {
            return Err(LineError::Twice(words.to_owned()));
        }
        let rates = rates(group)?;
        if rates.is_empty() {
            return Err(LineError::NoRates);
        }
        price.overlays.push(Overlay { service, above_input_tokens, rates });
    }
    Ok(price)
}

/// `batch`, `>200000` or `priority>272000`; never the ordinary case, which has a group of its own.
fn condition(text: &str) -> Option<(ServiceTier, u64)> {
    let (tier, above) = match text.split_once('>') {
        Some((tier, above)) => (tier, above.parse().ok().filter(|above| *above > 0)?),
        None => (text, 0),
    };
    let service = match tier {
        "" if above > 0 => ServiceTier::Standard,
        "batch" => ServiceTier::Batch,
        "flex" => ServiceTier::Flex,
        "priority" => ServiceTier::Priority,
        _ => return None,
    };
    Some((service, above))
}

fn rates<'a>(words: impl Iterator<Item = &'a str>) -> Result<Rates, LineError> {
    let mut rates = Rates::default();
    for word in words {
        let (class, rate) = named_rate(word).ok_or_else(|| LineError::Rate(word.to_owned()))?;
        if rates.get(class).is_some() {
            return Err(LineError::Twice(word.to_owned()));
        }
        rates.set(class, rate);
    }
    Ok(rates)
}

/// `image@hd/1024x1792=0.12`, `call@low=0.005`
fn variants(words: &[&str]) -> Result<Vec<Variant>, LineError> {
    let mut variants: Vec<Variant> = Vec::with_capacity(words.len());
    for word in words {
        let variant = variant(word).ok_or_else(|| LineError::Rate((*word).to_owned()))?;
        if variants.iter().any(|other| other.is_like(&variant)) {
            return Err(LineError::Twice((*word).to_owned()));
        }
        variants.push(variant);
    }
    Ok(variants)
}

fn variant(word: &str) -> Option<Variant> {
    let (name, rest) = word.split_once('@')?;
    let (parts, dollars) = rest.split_once('=')?;
    let (class, rate) = named_rate(&format!("{name}={dollars}"))?;
    Variant::new(class, &parts.replace('/', " "), rate)
}

fn named_rate(word: &str) -> Option<(Class, Rate)> {
    let (name, dollars) = word.split_once('=')?;
    let class = match name {
        "audio_second" => Class::AudioMillisecond,
        _ => Class::ALL.into_iter().find(|c| c.name() == name && *c != Class::AudioMillisecond)?,
    };
    Some((class, per_million(dollars, places(class))?))
}

/// How far a rate's point is moved from dollars for one of its class, or for a million tokens.
pub(super) const fn places(class: Class) -> usize {
    match class {
        Class::AudioMillisecond => PLACES_PER_SECOND,
        Class::WebSearch | Class::Image | Class::Character | Class::Call => PLACES_PER_UNIT,
        _ => 0,
    }
}

/// The name of a class's rate.
pub(super) const fn rate_name(class: Class) -> &'static str {
    match class {
        Class::AudioMillisecond => "audio_second",
        _ => class.name(),
    }
}

/// Reads dollars and moves the point `places` to the right. What is finer than a nano-dollar per
/// million is rounded up: a few prices per second are thirds.
fn per_million(dollars: &str, places: usize) -> Option<Rate> {
    let (whole, fraction) = dollars.split_once('.').unwrap_or((dollars, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let kept = DECIMALS.checked_add(places)?;
    let (fraction, finer) = fraction.split_at_checked(kept).unwrap_or((fraction, ""));
    let nano: u64 = format!("{whole}{fraction:0<kept$}").parse().ok()?;
    let rounded_up = u64::from(finer.bytes().any(|b| b != b'0'));
    nano.checked_add(rounded_up).map(Rate::from_nano_per_million)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nano(word: &str) -> Option<u64> {
        named_rate(word).map(|(_, rate)| rate.nano_per_million())
    }

    #[test]
    fn a_rate_is_read_in_the_unit_of_its_name() {
        for (word, expected) in [
            ("input=2.5", 2_500_000_000),
            ("cache_read=0.0375", 37_500_000),
            ("output=0", 0),
            ("input=0.000000001", 1),
            ("web_search=0.01", 10_000_000_000_000),
            ("character=0.000015", 15_000_000_000),
            ("audio_second=0.0001", 100_000_000),
        ] {
            assert_eq!(nano(word), Some(expected), "{word}");
        }
    }

    #[test]
    fn what_is_finer_than_a_nano_dollar_is_rounded_up_and_nothing_else_is() {
        assert_eq!(nano("audio_second=0.000833333333"), Some(833_333_333));
        assert_eq!(nano("audio_second=0.0008333333330"), Some(833_333_333));
        assert_eq!(nano("audio_second=0.0008333333331"), Some(833_333_334));
        assert_eq!(nano("input=0.0000000001"), Some(1));
        assert_eq!(nano("image=0.000000000000001"), Some(1));
    }

    #[test]
    fn what_is_not_a_rate_is_refused() {
        for word in [
            "input",
            "input=",
            "=1",
            "input=-1",
            "input=+1",
            "input=1e3",
            "input=.5",
            "input=5.",
            "input=$1",
            "input=1_0",
            "input=1.2.3",
            "audio_ms=1",
            "prompt=1",
            "input=٣",
            "input=18446744074",
            "call=99999999999",
        ] {
            assert_eq!(nano(word), None, "{word}");
        }
    }

    #[test]
    fn a_condition_is_a_tier_a_size_or_both() {
        use ServiceTier::{Batch, Flex, Priority, Standard};
        for (text, expected) in [
            ("batch", Some((Batch, 0))),
            ("flex>200000", Some((Flex, 200_000))),
            ("priority>1", Some((Priority, 1))),
            (">272000", Some((Standard, 272_000))),
            ("", None),
            (">", None),
            (">0", None),
            ("batch>", None),
            ("standard", None),
            ("turbo", None),
        ] {
            assert_eq!(condition(text), expected, "{text}");
        }
    }

    #[test]
    fn a_bad_line_says_why() {
        use LineError::{Condition, Fields, Limit, NoRates, Rate, Twice};
        let version = Arc::from("catalogue 2026-11");
        for (line, reason) in [
            ("", Fields),
            ("acme rocket 1 2", Fields),
            ("acme  1 2 free", Fields),
            ("acme rocket x 2 free", Limit("x".into())),
            ("acme rocket 1 -1 free", Limit("-1".into())),
            ("acme rocket 1 2 gratis", Rate("gratis".into())),
            ("acme rocket 1 2 | batch input=1", NoRates),
            ("acme rocket 1 2 input=1 |", NoRates),
            ("acme rocket 1 2 input=1 | batch", NoRates),
            ("acme rocket 1 2 input=1 | input=2", Condition("input=2".into())),
            ("acme rocket 1 2 input=1 | flex input=2 | flex output=2", Twice("flex".into())),
            ("acme rocket 1 2 input=1 input=2", Twice("input=2".into())),
            ("acme rocket 1 2 image@=1", Rate("image@=1".into())),
            ("acme rocket 1 2 input@hd=1", Rate("input@hd=1".into())),
            ("acme rocket 1 2 image@hd=1 image@hd=2", Twice("image@hd=2".into())),
            ("acme rocket 1 2 image=1 | batch image@hd=1", Rate("image@hd=1".into())),
        ] {
            assert_eq!(entry(line, &version), Err(reason), "{line}");
        }
    }

    #[test]
    fn a_heading_names_the_format_and_the_edition() {
        let version = |text: &str| open(text).map(|(version, _)| version.to_string()).ok();
        let edition = "catalogue 2026-11";
        assert_eq!(version("conduit-prices 2 catalogue 2026-11\n"), Some(edition.into()));
        let edition = "update 2026-11-23 models.dev 0a1b2c3d";
        assert_eq!(version(&format!("conduit-prices 2 {edition}")), Some(edition.into()));
        for text in [
            "",
            "\n",
            "conduit-prices 1 2026-11",
            "conduit-prices 2",
            "conduit-prices 2 2026-11",
            "conduit-prices 2 catalogue ",
            "conduit-prices 2 update a\tb",
            "conduit-prices 3 catalogue 2026-11",
        ] {
            assert_eq!(version(text), None, "{text}");
        }
    }

    /// Words that a line is made of, in orders it is not made in, and what is no word of it at all.
    fn words() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            Just("acme".to_owned()),
            Just("free".to_owned()),
            Just("|".to_owned()),
            Just("-".to_owned()),
            "(batch|flex|priority)?>?[0-9]{0,22}",
            "(input|output|call|audio_second|nothing)=[0-9]{0,24}\\.?[0-9]{0,24}",
            "(image|call|input)@[a-z0-9/]{0,9}=[0-9]{0,4}",
            "\\PC{0,6}",
        ];
        prop::collection::vec(word, 0..12).prop_map(|words| words.join(" "))
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(
            line in prop_oneof![words(), ".*"], heading in any::<bool>(),
        ) {
            let head = if heading { "conduit-prices 2 catalogue 2026-11\n" } else { "" };
            let _ = super::super::Catalogue::parse(&format!("{head}{line}"));
            let _ = entry(&line, &Arc::from(""));
        }

        #[test]
        fn a_rate_that_a_nano_dollar_can_carry_is_read_exactly(nano: u64, places in 0usize..=6) {
            let digits = format!("{nano:0>16}");
            let (whole, fraction) = digits.split_at(digits.len() - DECIMALS - places);
            let whole = if whole.is_empty() { "0" } else { whole };
            let read = per_million(&format!("{whole}.{fraction}"), places);
            prop_assert_eq!(read.map(Rate::nano_per_million), Some(nano));
        }
    }
}
