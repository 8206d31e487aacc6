//! What costs more or less by what the request asks for: images by size and quality, searches and the
//! fee of a call by the size of the search.
//!
//! What a request leaves open the provider chooses, and a list has no say in it: the ordinary price
//! applies where there is one, else the dearest that could. A variant that a list neither names nor
//! covers has no price at all, which is never taken for zero.

use std::fmt;

use super::{Basis, Found, Price, dearer};
use crate::domain::money::Rate;
use crate::domain::usage::{Class, ServiceTier};

/// What of a call decides the price of one of something, in the words of its request, or of its answer
/// where that says what the provider chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `1024x1792`
    pub image_size: Option<Box<str>>,
    /// `hd`, `high`
    pub image_quality: Option<Box<str>>,
    /// `low`, `medium`, `high`
    pub search_context: Option<Box<str>>,
}

impl Wanted {
    /// What was asked for, and what was chosen where that is left open.
    #[must_use]
    pub fn or(&self, chosen: &Self) -> Self {
        let part = |asked: &Option<Box<str>>, chosen: &Option<Box<str>>| {
            let is_open = word(asked.as_deref()).is_none();
            if is_open { chosen.clone().or_else(|| asked.clone()) } else { asked.clone() }
        };
        Self {
            image_size: part(&self.image_size, &chosen.image_size),
            image_quality: part(&self.image_quality, &chosen.image_quality),
            search_context: part(&self.search_context, &chosen.search_context),
        }
    }
}

/// The rate of a class for some requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// [`Class::Image`], [`Class::WebSearch`] or [`Class::Call`].
    pub class: Class,
    /// An image's, or that of what is searched; `None` for any.
    pub size: Option<Box<str>>,
    /// An image's; `None` for any that has no variant of its own.
    pub quality: Option<Box<str>>,
    pub rate: Rate,
}

/// How a variant meets what is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It would, if the provider chooses it.
    Open,
    /// It does, in so many parts.
    Exact(u8),
}

/// A word as it is compared; `None` for one that leaves the choice to the provider.
fn word(text: Option<&str>) -> Option<String> {
    let word = text?.trim().to_ascii_lowercase().replace("-x-", "x");
    (!word.is_empty() && word != "auto").then_some(word)
}

impl Variant {
    /// Reads the words of a variant: `hd 1024x1792`, `1024x1024`, `hd`; of searches `low`, `medium` or
    /// `high`. `None` for what cannot be one.
    pub fn new(class: Class, words: &str, rate: Rate) -> Option<Self> {
        let mut variant = Self { class, size: None, quality: None, rate };
        for text in words.split_ascii_whitespace() {
            let text = word(Some(text)).filter(|word| is_plain(word))?;
            let slot = match class {
                Class::Image if text.starts_with(|c: char| c.is_ascii_digit()) => &mut variant.size,
                Class::Image => &mut variant.quality,
                Class::WebSearch | Class::Call if is_search_size(&text) => &mut variant.size,
                _ => return None,
            };
            if slot.replace(text.into()).is_some() {
                return None;
            }
        }
        (variant.size.is_some() || variant.quality.is_some()).then_some(variant)
    }

    /// Whether it is for the same requests as another.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.class, &self.size, &self.quality) == (other.class, &other.size, &other.quality)
    }

    fn fit(&self, wanted: &Wanted) -> Option<Fit> {
        let (size, quality) = match self.class {
            Class::Image => (&wanted.image_size, &wanted.image_quality),
            _ => (&wanted.search_context, &None),
        };
        let mut parts = 0;
        let mut is_open = false;
        for (named, wanted) in [(&self.size, size), (&self.quality, quality)] {
            match (named.as_deref(), word(wanted.as_deref())) {
                (None, _) => {}
                (Some(_), None) => is_open = true,
                (Some(named), Some(wanted)) if named == wanted => parts += 1,
                (Some(_), Some(_)) => return None,
            }
        }
        Some(if is_open { Fit::Open } else { Fit::Exact(parts) })
    }

    pub(super) fn found(&self) -> Found {
        (self.rate, Basis { variant: Some(self.to_string().into()), ..Basis::default() })
    }
}

fn is_search_size(word: &str) -> bool {
    matches!(word, "low" | "medium" | "high")
}

/// Letters, digits and what stands in sizes: a word that a line of the catalogue can hold.
fn is_plain(word: &str) -> bool {
    word.len() <= 32 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

impl fmt::Display for Variant {
    /// As [`Variant::new`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.quality.as_deref(), self.size.as_deref()];
        f.pad(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

impl Price {
    /// The rate of one of something as it is asked for.
    ///
    /// The variant that meets the most of what is asked; else the class's ordinary rate; else, where
    /// the request leaves a choice, the dearest variant that the provider could choose. A service tier
    /// that has a rate of its own for the class applies where it is the dearer one.
    pub(super) fn piece(
        &self,
        class: Class,
        service: ServiceTier,
        input_tokens: u64,
        wanted: &Wanted,
    ) -> Option<Found> {
        let variants = self.variants.iter().filter(|variant| variant.class == class);
        let fits =
            variants.filter_map(|variant| Some((variant.fit(wanted)?, variant.rate, variant)));
        let best = fits.max_by_key(|(fit, rate, _)| (*fit, *rate));
        let listed = self.find(class, service, input_tokens);
        match best {
            Some((Fit::Exact(_), _, variant)) => {
                let tiered = listed.filter(|(_, basis)| *basis != Basis::default());
                dearer(Some(variant.found()), tiered)
            }
            Some((Fit::Open, _, variant)) => listed.or_else(|| Some(variant.found())),
            None => listed,
        }
    }

    /// The most that one of something can cost, whatever the provider chooses of what is left open:
    /// where it may choose what the list does not have, the dearest stands in for that.
    pub fn dearest_piece(&self, class: Class, max_input_tokens: u64, wanted: &Wanted) -> Rate {
        let variants = || self.variants.iter().filter(|variant| variant.class == class);
        let is_exact = |variant: &Variant| matches!(variant.fit(wanted), Some(Fit::Exact(_)));
        let is_sure = self.base.get(class).is_some() || variants().any(is_exact);
        let listed = self.dearest(&[class], max_input_tokens);
        let possible = variants().filter(|variant| !is_sure || variant.fit(wanted).is_some());
        possible.map(|variant| variant.rate).fold(listed, Rate::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cents(cents: u64) -> Rate {
        Rate::from_nano_per_million(cents * 10_000_000_000_000)
    }

    fn wanted(size: &str, quality: &str) -> Wanted {
        let part = |text: &str| (!text.is_empty()).then(|| text.into());
        Wanted { image_size: part(size), image_quality: part(quality), search_context: None }
    }

    fn list(ordinary: Option<u64>, variants: &[(&str, u64)]) -> Price {
        let mut price = Price::default();
        if let Some(ordinary) = ordinary {
            price.base.set(Class::Image, cents(ordinary));
        }
        let variant =
            |(words, c): &(&str, u64)| Variant::new(Class::Image, words, cents(*c)).unwrap();
        price.variants = variants.iter().map(variant).collect();
        price
    }

    fn rate(price: &Price, size: &str, quality: &str) -> Option<u64> {
        let found = price.piece(Class::Image, ServiceTier::Standard, 0, &wanted(size, quality));
        found.map(|(rate, _)| rate.nano_per_million() / 10_000_000_000_000)
    }

    #[test]
    fn the_variant_that_meets_most_of_what_is_asked_applies() {
        let plain = [("1024x1024", 4), ("1024x1792", 8), ("hd 1024x1024", 9), ("hd 1024x1792", 12)];
        let price = list(None, &plain);
        for (size, quality, expected) in [
            ("1024x1024", "standard", Some(4)),
            ("1024x1024", "", Some(4)),
            ("1024-x-1024", "HD", Some(9)),
            ("1024x1792", "hd", Some(12)),
            ("auto", "hd", Some(12)),
            ("", "", Some(12)),
            ("512x512", "hd", None),
            ("512x512", "", None),
        ] {
            assert_eq!(rate(&price, size, quality), expected, "{size:?} {quality:?}");
        }
        let with_ordinary = list(Some(6), &plain);
        assert_eq!(rate(&with_ordinary, "512x512", "hd"), Some(6));
        assert_eq!(rate(&with_ordinary, "", ""), Some(6));
        assert_eq!(rate(&with_ordinary, "1024x1024", "hd"), Some(9));
    }

    #[test]
    fn what_is_left_open_costs_the_dearest_where_nothing_is_ordinary() {
        let price = list(None, &[("low 1024x1024", 1), ("high 1024x1024", 17), ("low", 2)]);
        assert_eq!(rate(&price, "1024x1024", "auto"), Some(17));
        assert_eq!(rate(&price, "1024x1024", "low"), Some(1));
        assert_eq!(rate(&price, "2048x2048", "low"), Some(2));
        let wanted = wanted("1024x1024", "");
        assert_eq!(price.dearest_piece(Class::Image, 0, &wanted), cents(17));
    }

    #[test]
    fn searches_and_fees_go_by_the_size_of_the_search() {
        let mut price = list(None, &[]);
        for (words, fee) in [("low", 1), ("high", 3)] {
            price.variants.push(Variant::new(Class::Call, words, cents(fee)).unwrap());
        }
        let fee = |size: Option<&str>| {
            let wanted = Wanted { search_context: size.map(Into::into), ..Wanted::default() };
            price.piece(Class::Call, ServiceTier::Standard, 0, &wanted).map(|(rate, _)| rate)
        };
        assert_eq!((fee(Some("low")), fee(None)), (Some(cents(1)), Some(cents(3))));
        assert_eq!(fee(Some("medium")), None);
    }

    #[test]
    fn what_cannot_be_a_variant_is_none() {
        let read = |class, words| Variant::new(class, words, Rate::ZERO).map(|v| v.to_string());
        assert_eq!(read(Class::Image, "1024-x-1792 HD").as_deref(), Some("hd 1024x1792"));
        for (class, words) in [
            (Class::Image, ""),
            (Class::Image, "auto"),
            (Class::Image, "hd high"),
            (Class::Image, "1x1 2x2"),
            (Class::Image, "a|b"),
            (Class::Image, "größer"),
            (Class::Call, "huge"),
            (Class::Input, "low"),
        ] {
            assert_eq!(read(class, words), None, "{class} {words:?}");
        }
    }
}
