//! A model's price list, and which of its rates applies to what.
//!
//! A list holds a rate per class for the ordinary case, overlays for service tiers and for prompts
//! above a size, and variants for what costs more or less by what the request asks for. Where several
//! could apply the rule is written down at [`Price::find`]. What a list does not price must never be
//! taken for free: another rate stands in ([`Price::stand_in`]), and the line says so.

mod bill;
mod variant;

pub(in crate::domain) use bill::sum;
pub use bill::{Bill, Line, ProviderCost};
pub use variant::{Variant, Wanted};

use super::money::Rate;
use super::usage::{Class, ServiceTier};

/// The classes of prompt tokens; the first is the one whose rate the others borrow.
pub const INPUT: [Class; 8] = [
    Class::Input,
    Class::CacheRead,
    Class::CacheWrite,
    Class::CacheWrite1h,
    Class::InputAudio,
    Class::CacheReadAudio,
    Class::InputImage,
    Class::CacheReadImage,
];
/// The classes of completion tokens, in the same way.
pub const OUTPUT: [Class; 4] =
    [Class::Output, Class::Reasoning, Class::OutputAudio, Class::OutputImage];
/// Both.
const TOKENS: [Class; INPUT.len() + OUTPUT.len()] = {
    let mut both = [Class::Input; INPUT.len() + OUTPUT.len()];
    let (input, output) = both.split_at_mut(INPUT.len());
    input.copy_from_slice(&INPUT);
    output.copy_from_slice(&OUTPUT);
    both
};

/// Rates by class; a class without one may borrow from another ([`Class::priced_as`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates([Option<Rate>; Class::COUNT]);

impl Rates {
    pub const fn get(&self, class: Class) -> Option<Rate> {
        self.0[class.index()]
    }

    pub const fn set(&mut self, class: Class, rate: Rate) {
        self.0[class.index()] = Some(rate);
    }

    pub const fn unset(&mut self, class: Class) {
        self.0[class.index()] = None;
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    pub fn named(&self) -> impl Iterator<Item = (Class, Rate)> + '_ {
        Class::ALL.into_iter().filter_map(|class| Some((class, self.get(class)?)))
    }
}

/// Rates that replace the ordinary ones for a service tier, for long prompts, or for both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    pub service: ServiceTier,
    /// Applies to the whole call once its prompt has more tokens than this.
    pub above_input_tokens: u64,
    pub rates: Rates,
}

/// What a model costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    pub base: Rates,
    /// In any order; looked up by tier and size.
    pub overlays: Vec<Overlay>,
    /// In any order; looked up by what a request asks for.
    pub variants: Vec<Variant>,
}

/// Which part of a list a rate is from: the ordinary rates, where everything here is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// The class whose rate it is, where the list has none for the class itself.
    pub class: Option<Class>,
    /// The overlay's service tier.
    pub service: ServiceTier,
    /// The overlay's prompt size; 0 where size played no part.
    pub above_input_tokens: u64,
    /// The variant, as the list writes it.
    pub variant: Option<Box<str>>,
}

impl Basis {
    fn overlay(overlay: &Overlay) -> Self {
        Self {
            service: overlay.service,
            above_input_tokens: overlay.above_input_tokens,
            ..Self::default()
        }
    }
}

/// A rate and where in the list it stands.
type Found = (Rate, Basis);

fn dearer(one: Option<Found>, other: Option<Found>) -> Option<Found> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.0 > one.0 { other } else { one }),
        (one, other) => one.or(other),
    }
}

impl Price {
    /// The rate of a class for a call of this service tier and prompt size, and why it is that one.
    ///
    /// The most exact overlay wins: tier and size. Where a list has the tier and the size but not
    /// both together, the dearer of the two applies. A class the list does not name is priced as
    /// the class it belongs to ([`Class::priced_as`]) under the same rule.
    pub fn find(&self, class: Class, service: ServiceTier, input_tokens: u64) -> Option<Found> {
        let mut own = class;
        loop {
            if let Some((rate, basis)) = self.find_own(own, service, input_tokens) {
                let borrowed = (own != class).then_some(own);
                return Some((rate, Basis { class: borrowed, ..basis }));
            }
            own = own.priced_as()?;
        }
    }

    /// [`Self::find`], without the reason.
    pub fn rate(&self, class: Class, service: ServiceTier, input_tokens: u64) -> Option<Rate> {
        self.find(class, service, input_tokens).map(|(rate, _)| rate)
    }

    fn find_own(&self, class: Class, service: ServiceTier, input: u64) -> Option<Found> {
        let sized = |service| self.overlay(class, service, input, true);
        let plain = |service| self.overlay(class, service, input, false);
        let base = || Some((self.base.get(class)?, Basis::default()));
        if service == ServiceTier::Standard {
            return sized(service).or_else(base);
        }
        sized(service)
            .or_else(|| dearer(plain(service), sized(ServiceTier::Standard)))
            .or_else(base)
    }

    fn overlay(
        &self,
        class: Class,
        service: ServiceTier,
        input: u64,
        sized: bool,
    ) -> Option<Found> {
        self.overlays
            .iter()
            .filter(|o| o.service == service && (o.above_input_tokens > 0) == sized)
            .filter(|o| !sized || input > o.above_input_tokens)
            .filter_map(|o| Some((o, o.rates.get(class)?)))
            .max_by_key(|(o, _)| o.above_input_tokens)
            .map(|(o, rate)| (rate, Basis::overlay(o)))
    }

    /// The dearest rate among `classes` for prompts of up to `max_input_tokens`.
    pub fn dearest(&self, classes: &[Class], max_input_tokens: u64) -> Rate {
        let rates = self.candidates(classes, max_input_tokens).map(|(rate, ..)| rate);
        rates.max().unwrap_or(Rate::ZERO)
    }

    /// [`Self::dearest`], with the reason.
    fn dearest_of(&self, classes: &[Class], max_input_tokens: u64) -> Option<Found> {
        let candidates = self.candidates(classes, max_input_tokens);
        let (rate, class, overlay) = candidates.max_by_key(|(rate, ..)| *rate)?;
        let basis = overlay.map(Basis::overlay).unwrap_or_default();
        Some((rate, Basis { class: Some(class), ..basis }))
    }

    /// Every rate that could apply to one of `classes` for prompts of up to `max_input_tokens`: with the
    /// class whose it is, and the overlay that it is from.
    fn candidates<'a>(
        &'a self,
        classes: &'a [Class],
        max_input_tokens: u64,
    ) -> impl Iterator<Item = (Rate, Class, Option<&'a Overlay>)> {
        let base = classes.iter().filter_map(|class| {
            let (rate, class) = self.base_rate(*class)?;
            Some((rate, class, None))
        });
        let overlays =
            self.overlays.iter().filter(move |o| max_input_tokens > o.above_input_tokens);
        let overlays = overlays.flat_map(|o| {
            classes.iter().filter_map(move |class| Some((o.rates.get(*class)?, *class, Some(o))))
        });
        base.chain(overlays)
    }

    /// The ordinary rate of a class, or of the class it belongs to, and which of them it is.
    fn base_rate(&self, class: Class) -> Option<(Rate, Class)> {
        let mut classes = std::iter::successors(Some(class), |class| class.priced_as());
        classes.find_map(|class| Some((self.base.get(class)?, class)))
    }

    /// The most that a token of a side costs, [`INPUT`] or [`OUTPUT`], with the rate that stands in where
    /// the list has none for it.
    pub fn dearest_token(&self, side: &[Class], max_input_tokens: u64) -> Rate {
        let is_named = side.first().is_some_and(|first| self.base.get(*first).is_some());
        let classes = if is_named { side } else { &TOKENS };
        self.dearest(classes, max_input_tokens)
    }

    /// The rate for what the list has none for: of a token the dearest of its side, or else of any
    /// token; of a piece the dearest at which the list sells it, whatever it is like. `None` where the
    /// list does not sell anything of the kind.
    fn stand_in(&self, class: Class, input_tokens: u64) -> Option<Found> {
        if !class.is_token() {
            let variants = self.variants.iter().filter(|variant| variant.class == class);
            let dearest = variants.max_by_key(|variant| variant.rate).map(Variant::found);
            return dearer(dearest, self.dearest_of(&[class], input_tokens));
        }
        let side: &[Class] = if class.is_input_token() { &INPUT } else { &OUTPUT };
        let own = self.dearest_of(side, input_tokens);
        own.or_else(|| self.dearest_of(&TOKENS, input_tokens))
    }

    /// Whether the list has a rate for a class, if only in a tier, for a size or as a variant.
    fn names(&self, class: Class) -> bool {
        self.base.get(class).is_some()
            || self.overlays.iter().any(|overlay| overlay.rates.get(class).is_some())
            || self.variants.iter().any(|variant| variant.class == class)
    }
}

/// Whether a model has a price; the three states that must never be confused.
#[expect(clippy::large_enum_variant, reason = "shared behind an `Arc`, and nearly always priced")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pricing {
    Priced(Price),
    /// Free because somebody said so.
    Free,
    /// Nobody said anything: never the same as free.
    Unknown,
}

impl Pricing {
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }

    /// The word for its state.
    pub const fn state(&self) -> &'static str {
        match self {
            Self::Priced(_) => "priced",
            Self::Free => "free",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the list prices a class itself: so a speech model that does not sell by the character
    /// is known before its characters are counted.
    pub fn sells(&self, class: Class) -> bool {
        match self {
            Self::Priced(price) => price.names(class),
            Self::Free => true,
            Self::Unknown => false,
        }
    }

    /// Whether so much as one of a class has a price, as it is asked for. A key with a limit must not
    /// make a call of which this is false for what it is sure to use.
    pub fn prices(&self, class: Class, wanted: &Wanted) -> bool {
        match self {
            Self::Priced(price) => price.piece(class, ServiceTier::Standard, 0, wanted).is_some(),
            Self::Free => true,
            Self::Unknown => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ServiceTier::{Batch, Flex, Priority, Standard};
    use super::*;

    fn rates(pairs: &[(Class, u64)]) -> Rates {
        let mut rates = Rates::default();
        for (class, nano) in pairs {
            rates.set(*class, Rate::from_nano_per_million(*nano));
        }
        rates
    }

    fn tiered() -> Price {
        let overlay = |service, above, pairs: &[(Class, u64)]| Overlay {
            service,
            above_input_tokens: above,
            rates: rates(pairs),
        };
        Price {
            base: rates(&[(Class::Input, 10), (Class::CacheRead, 1), (Class::Output, 40)]),
            overlays: vec![
                overlay(ServiceTier::Standard, 200, &[(Class::Input, 20), (Class::Output, 60)]),
                overlay(ServiceTier::Priority, 0, &[(Class::Input, 25)]),
                overlay(ServiceTier::Flex, 0, &[(Class::Input, 5)]),
                overlay(ServiceTier::Flex, 200, &[(Class::Input, 12)]),
            ],
            variants: vec![],
        }
    }

    #[test]
    fn the_most_exact_overlay_wins_and_the_dearer_where_none_is_exact() {
        let price = tiered();
        let rate =
            |class, service, input| price.rate(class, service, input).map(Rate::nano_per_million);
        for (class, service, input, expected) in [
            (Class::Input, Standard, 200, 10),
            (Class::Input, Standard, 201, 20),
            (Class::Input, Priority, 100, 25),
            (Class::Input, Priority, 300, 25),
            (Class::Output, Priority, 300, 60),
            (Class::Output, Priority, 100, 40),
            (Class::Input, Flex, 100, 5),
            (Class::Input, Flex, 300, 12),
            (Class::Input, Batch, 100, 10),
            (Class::CacheRead, Standard, 300, 1),
            (Class::CacheWrite1h, Standard, 300, 20),
            (Class::Reasoning, Standard, 100, 40),
        ] {
            assert_eq!(rate(class, service, input), Some(expected), "{class} {service:?} {input}");
        }
        assert_eq!(rate(Class::WebSearch, Standard, 0), None);
    }

    #[test]
    fn the_dearest_rate_covers_every_tier_within_reach() {
        let price = tiered();
        let dearest = |n| price.dearest(&[Class::Input, Class::CacheRead], n).nano_per_million();
        assert_eq!(dearest(100), 25);
        assert_eq!(dearest(300), 25);
        assert_eq!(price.dearest(&[Class::Output], 300).nano_per_million(), 60);
        assert_eq!(price.dearest(&[Class::Output], 100).nano_per_million(), 40);
    }

    #[test]
    fn the_dearest_rate_is_the_same_with_its_reason() {
        let price = tiered();
        for classes in [&INPUT[..], &OUTPUT, &TOKENS, &[Class::WebSearch]] {
            for input in [0, 100, 201, 300, 1_000_000] {
                let reasoned = price.dearest_of(classes, input).map(|(rate, _)| rate);
                assert_eq!(price.dearest(classes, input), reasoned.unwrap_or(Rate::ZERO));
            }
        }
    }
}
