//! A model's price list and the one function that turns usage into money.
//!
//! A list holds a rate per class for the ordinary case, and overlays for service tiers and for
//! prompts above a size. Where several could apply the rule is written down at [`Price::rate`].

use super::money::{Charge, Money, Rate};
use super::usage::{Class, ServiceTier, Usage};

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
}

/// One line of a bill: so many of a class at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub class: Class,
    pub count: u64,
    pub rate: Rate,
}

/// A priced call: its lines and their sum, rounded up once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    pub lines: Vec<Line>,
    pub cost: Money,
    /// A class was counted that the list has no rate for: its line stands at zero.
    pub unpriced_class: bool,
}

impl Price {
    /// The rate of a class for a call of this service tier and prompt size.
    ///
    /// The most exact overlay wins: tier and size. Where a list has the tier and the size but not
    /// both together, the dearer of the two applies. A class the list does not name is priced as
    /// the class it belongs to ([`Class::priced_as`]) under the same rule.
    pub fn rate(&self, class: Class, service: ServiceTier, input_tokens: u64) -> Option<Rate> {
        let mut class = class;
        loop {
            if let Some(rate) = self.own_rate(class, service, input_tokens) {
                return Some(rate);
            }
            class = class.priced_as()?;
        }
    }

    fn own_rate(&self, class: Class, service: ServiceTier, input_tokens: u64) -> Option<Rate> {
        let sized = |service| self.overlay(class, service, input_tokens, true);
        let plain = |service| self.overlay(class, service, input_tokens, false);
        if service == ServiceTier::Standard {
            return sized(service).or_else(|| self.base.get(class));
        }
        sized(service).or_else(|| {
            let standard_size = sized(ServiceTier::Standard);
            match (plain(service), standard_size) {
                (Some(tier), Some(size)) => Some(tier.max(size)),
                (tier, size) => tier.or(size).or_else(|| self.base.get(class)),
            }
        })
    }

    fn overlay(&self, class: Class, service: ServiceTier, input: u64, sized: bool) -> Option<Rate> {
        self.overlays
            .iter()
            .filter(|o| o.service == service && (o.above_input_tokens > 0) == sized)
            .filter(|o| !sized || input > o.above_input_tokens)
            .filter_map(|o| Some((o.above_input_tokens, o.rates.get(class)?)))
            .max_by_key(|(above, _)| *above)
            .map(|(_, rate)| rate)
    }

    /// Prices what was used.
    pub fn bill(&self, usage: &Usage, service: ServiceTier) -> Bill {
        let input_tokens = usage.input_tokens();
        let mut bill = Bill::default();
        let mut charge = Charge::default();
        for (class, count) in usage.counted() {
            let rate = self.rate(class, service, input_tokens).unwrap_or_else(|| {
                bill.unpriced_class = true;
                Rate::ZERO
            });
            charge.add(count, rate);
            bill.lines.push(Line { class, count, rate });
        }
        if let Some(rate) = self.base.get(Class::Call).filter(|_| usage.get(Class::Call) == 0) {
            charge.add(1, rate);
            bill.lines.push(Line { class: Class::Call, count: 1, rate });
        }
        bill.cost = charge.total();
        bill
    }

    /// The dearest rate among `classes` for prompts of up to `max_input_tokens`.
    pub fn dearest(&self, classes: &[Class], max_input_tokens: u64) -> Rate {
        let base = classes.iter().filter_map(|class| self.rate(*class, ServiceTier::Standard, 0));
        let overlays = self
            .overlays
            .iter()
            .filter(|o| o.service != ServiceTier::Batch && max_input_tokens > o.above_input_tokens)
            .flat_map(|o| classes.iter().filter_map(|class| o.rates.get(*class)));
        base.chain(overlays).max().unwrap_or(Rate::ZERO)
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

    /// Prices what was used. Free and unknown calls cost nothing here; who may make an unknown one
    /// is decided before it is sent.
    pub fn bill(&self, usage: &Usage, service: ServiceTier) -> Bill {
        match self {
            Self::Priced(price) => price.bill(usage, service),
            Self::Free | Self::Unknown => {
                let line = |(class, count)| Line { class, count, rate: Rate::ZERO };
                Bill {
                    lines: usage.counted().map(line).collect(),
                    cost: Money::ZERO,
                    unpriced_class: self.is_unknown(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ServiceTier::{Batch, Flex, Priority, Standard};
    use super::*;
    use proptest::prelude::*;

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
    fn a_bill_says_when_a_class_has_no_rate() {
        let bill =
            tiered().bill(&Usage::default().with(Class::WebSearch, 2), ServiceTier::Standard);
        assert!(bill.unpriced_class);
        assert_eq!(bill.cost, Money::ZERO);
    }

    #[test]
    fn a_call_fee_is_charged_once() {
        let price = Price { base: rates(&[(Class::Call, 5_000_000)]), overlays: vec![] };
        let bill = price.bill(&Usage::default(), ServiceTier::Standard);
        assert_eq!(bill.cost, Money::from_nano(5));
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

    proptest! {
        #[test]
        fn a_ceiling_is_never_below_the_bill(
            input in 0u64..1000, cached in 0u64..1000, output in 0u64..1000, tier in 0usize..4,
        ) {
            let price = tiered();
            let usage = Usage::default()
                .with(Class::Input, input)
                .with(Class::CacheRead, cached)
                .with(Class::Output, output);
            let bill = price.bill(&usage, [Standard, Batch, Flex, Priority][tier]);
            let mut ceiling = Charge::default();
            let bound = input + cached;
            ceiling.add(bound, price.dearest(&[Class::Input, Class::CacheRead], bound));
            ceiling.add(output, price.dearest(&[Class::Output], bound));
            prop_assert!(bill.cost <= ceiling.total());
        }
    }
}
