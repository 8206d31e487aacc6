//! Writes a price list in the catalogue's own format, which [`super::Catalogue::parse`] reads.

use std::fmt::Write as _;

use super::Entry;
use super::format::{DECIMALS, END, HEADING, places, rate_name};
use crate::domain::money::Rate;
use crate::domain::price::{Price, Pricing, Rates};
use crate::domain::usage::{Class, ServiceTier};

/// A whole text: heading, models, and their number.
pub(super) fn text(edition: &str, entries: &[Entry]) -> String {
    let mut text = format!("{HEADING}{edition}\n");
    for entry in entries {
        let limit = |tokens: Option<u64>| tokens.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let (input, output) = (limit(entry.max_input_tokens), limit(entry.max_output_tokens));
        let price = pricing(&entry.pricing);
        let _ = writeln!(text, "{} {} {input} {output} {price}", entry.provider, entry.model);
    }
    let _ = writeln!(text, "{END}{}", entries.len());
    text
}

fn pricing(pricing: &Pricing) -> String {
    match pricing {
        Pricing::Priced(price) => self::price(price),
        Pricing::Free | Pricing::Unknown => pricing.state().to_owned(),
    }
}

fn price(price: &Price) -> String {
    let mut ordinary = rates(&price.base);
    for variant in &price.variants {
        let (name, parts) = (rate_name(variant.class), variant.to_string().replace(' ', "/"));
        ordinary.push(format!("{name}@{parts}={}", dollars(variant.class, variant.rate)));
    }
    let mut groups = vec![ordinary];
    for overlay in &price.overlays {
        let tier = match overlay.service {
            ServiceTier::Standard => "",
            tier => tier.name(),
        };
        let size = match overlay.above_input_tokens {
            0 => String::new(),
            above => format!(">{above}"),
        };
        let mut group = vec![format!("{tier}{size}")];
        group.extend(rates(&overlay.rates));
        groups.push(group);
    }
    groups.iter().map(|group| group.join(" ")).collect::<Vec<_>>().join(" | ")
}

fn rates(rates: &Rates) -> Vec<String> {
    let word = |(class, rate)| format!("{}={}", rate_name(class), dollars(class, rate));
    rates.named().map(word).collect()
}

/// Dollars for one of a class, or for a million tokens: to the last digit.
pub(super) fn dollars(class: Class, rate: Rate) -> String {
    let fraction = DECIMALS + places(class);
    let digits = format!("{:0>1$}", rate.nano_per_million(), fraction + 1);
    let (whole, fraction) = digits.split_at(digits.len() - fraction);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::super::Catalogue;
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let embedded = Catalogue::embedded();
        let text = text(embedded.version(), embedded.entries());
        let read = Catalogue::parse(&text).unwrap();
        assert_eq!(read.entries(), embedded.entries());
        assert_eq!(read.version(), embedded.version());
    }

    #[test]
    fn dollars_are_those_of_the_class() {
        let of = |class, nano| dollars(class, Rate::from_nano_per_million(nano));
        assert_eq!(of(Class::Input, 2_500_000_000), "2.5");
        assert_eq!(of(Class::Input, 1), "0.000000001");
        assert_eq!(of(Class::Image, 40_000_000_000_000), "0.04");
        assert_eq!(of(Class::AudioMillisecond, 100_000_000), "0.0001");
        assert_eq!(of(Class::Output, 0), "0");
    }
}
