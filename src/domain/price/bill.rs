//! The one place that turns usage into money: lines of so many at a rate, and their sum, rounded up
//! once.
//!
//! Each line says which part of which list its rate is from, so that a receipt can be explained years
//! later. Nothing is priced twice, and what has no rate of its own says so in its line: another
//! stands in for it.

use std::sync::Arc;

use super::{Basis, Price, Pricing, Wanted};
use crate::domain::money::{Charge, Money, Rate};
use crate::domain::usage::{Class, ServiceTier, Usage};

/// One line of a bill: so many of a class at a rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub class: Class,
    pub count: u64,
    pub rate: Rate,
    pub basis: Basis,
    /// The model whose list the rate is from, where it is not the one that was called.
    pub model: Option<Arc<str>>,
    /// The list has no rate for it: the one here stands in, and is zero only where nobody knows any.
    pub unpriced: bool,
}

impl Line {
    /// A line at an ordinary rate.
    pub fn new(class: Class, count: u64, rate: Rate) -> Self {
        Self { class, count, rate, basis: Basis::default(), model: None, unpriced: false }
    }

    /// Nobody knows a price for it: it stands at zero.
    pub fn is_gap(&self) -> bool {
        self.unpriced && self.rate == Rate::ZERO
    }
}

/// What a provider says a call cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderCost {
    pub amount: Money,
    /// It was charged, in the place of the sum of the lines.
    pub counts: bool,
}

/// A priced call: its lines and their sum, rounded up once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    pub lines: Vec<Line>,
    pub cost: Money,
    /// Something was counted that the list has no rate for.
    pub unpriced_class: bool,
    pub provider_cost: Option<ProviderCost>,
}

/// The sum of lines, not rounded yet.
pub(in crate::domain) fn sum(lines: &[Line]) -> Charge {
    let mut charge = Charge::default();
    for line in lines {
        charge.add(line.count, line.rate);
    }
    charge
}

impl Bill {
    fn of(lines: Vec<Line>) -> Self {
        let unpriced_class = lines.iter().any(|line| line.unpriced);
        Self { cost: sum(&lines).total(), lines, unpriced_class, provider_cost: None }
    }

    /// Notes what the provider says it charged, which is charged in the place of the sum if `counts`.
    pub const fn note_provider_cost(&mut self, amount: Money, counts: bool) {
        self.provider_cost = Some(ProviderCost { amount, counts });
        if counts {
            self.cost = amount;
        }
    }

    /// Gives the lines that nothing in their own list could stand in for a rate of another list.
    pub fn fill_gaps(&mut self, dearest: impl Fn(Class) -> Option<(Rate, Arc<str>)>) {
        let gaps = self.lines.iter_mut().filter(|line| line.is_gap());
        for line in gaps {
            if let Some((rate, model)) = dearest(line.class) {
                line.rate = rate;
                line.model = Some(model);
            }
        }
        self.cost = sum(&self.lines).total();
    }

    fn take_in(&mut self, lines: impl IntoIterator<Item = Line>) {
        self.lines.extend(lines);
        *self = Self::of(std::mem::take(&mut self.lines));
    }
}

impl Pricing {
    /// Prices what a call used. Free and unknown calls cost nothing here; who may make an unknown one
    /// is decided before it is sent.
    pub fn bill(&self, usage: &Usage, service: ServiceTier, wanted: &Wanted) -> Bill {
        let mut lines = self.lines(usage, service, wanted);
        if let Self::Priced(price) = self
            && usage.get(Class::Call) == 0
        {
            lines.extend(price.fee(service, usage.input_tokens(), wanted));
        }
        Bill::of(lines)
    }

    /// Adds what a call used beside, at this price list: another sampling with a prompt of its own,
    /// or, where `model` names it, the work of another model. The whole is rounded up once, as if it
    /// had been one bill; the fee of a call is not charged again.
    pub fn add_to(
        &self,
        bill: &mut Bill,
        model: Option<&Arc<str>>,
        usage: &Usage,
        service: ServiceTier,
        wanted: &Wanted,
    ) {
        let lines = self.lines(usage, service, wanted);
        bill.take_in(lines.into_iter().map(|line| Line { model: model.cloned(), ..line }));
    }

    fn lines(&self, usage: &Usage, service: ServiceTier, wanted: &Wanted) -> Vec<Line> {
        match self {
            Self::Priced(price) => price.lines(usage, service, wanted),
            Self::Free | Self::Unknown => {
                let unpriced = self.is_unknown();
                let line =
                    |(class, count)| Line { unpriced, ..Line::new(class, count, Rate::ZERO) };
                usage.counted().map(line).collect()
            }
        }
    }
}

impl Price {
    fn lines(&self, usage: &Usage, service: ServiceTier, wanted: &Wanted) -> Vec<Line> {
        let input_tokens = usage.input_tokens();
        let is_sold = |(class, _): (Class, u64)| !class.is_token() && self.names(class);
        let has_fee = self.names(Class::Call);
        let by_the_piece = self.sells_no_tokens() && (has_fee || usage.counted().any(is_sold));
        let mut lines = Vec::new();
        for (class, count) in usage.counted().filter(|(class, _)| !self.is_in_tokens(*class, usage))
        {
            let plain = Line::new(class, count, Rate::ZERO);
            lines.push(match self.piece(class, service, input_tokens, wanted) {
                Some((rate, basis)) => Line { rate, basis, ..plain },
                // Who sells by the piece alone may count tokens all the same.
                None if class.is_token() && by_the_piece => plain,
                // A fee that goes by the size of the search is for the searching.
                None if class == Class::WebSearch && has_fee => plain,
                None => {
                    let (rate, basis) = self.stand_in(class, input_tokens).unwrap_or_default();
                    Line { rate, basis, unpriced: true, ..plain }
                }
            });
        }
        lines
    }

    fn fee(&self, service: ServiceTier, input_tokens: u64, wanted: &Wanted) -> Option<Line> {
        let (rate, basis) = self.piece(Class::Call, service, input_tokens, wanted)?;
        Some(Line { basis, ..Line::new(Class::Call, 1, rate) })
    }

    fn sells_no_tokens(&self) -> bool {
        Class::ALL.into_iter().filter(|class| class.is_token()).all(|class| !self.names(class))
    }

    /// Whether pieces were counted in tokens as well, and are charged by those: lists print the price
    /// of an image or of a second of audio both ways, and only one of them is owed.
    fn is_in_tokens(&self, class: Class, usage: &Usage) -> bool {
        let tokens: &[Class] = match class {
            Class::Image => &[Class::OutputImage],
            Class::AudioMillisecond => &[Class::InputAudio, Class::OutputAudio],
            Class::Character => &[Class::Input, Class::OutputAudio],
            _ => return false,
        };
        let is_charged = |class: &Class| {
            usage.get(*class) > 0 && self.base.get(*class).is_some_and(|rate| rate > Rate::ZERO)
        };
        tokens.iter().any(is_charged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ceiling::Ceiling;
    use crate::domain::price::{Overlay, Rates, Variant};
    use proptest::prelude::*;

    fn rates(pairs: &[(Class, u64)]) -> Rates {
        let mut rates = Rates::default();
        for (class, nano) in pairs {
            rates.set(*class, Rate::from_nano_per_million(*nano));
        }
        rates
    }

    fn priced(pairs: &[(Class, u64)]) -> Pricing {
        Pricing::Priced(Price { base: rates(pairs), ..Price::default() })
    }

    fn cost(pricing: &Pricing, usage: &Usage) -> u64 {
        pricing.bill(usage, ServiceTier::Standard, &Wanted::default()).cost.nano()
    }

    #[test]
    fn a_line_without_a_rate_says_so_and_so_does_the_bill() {
        let usage = Usage::default().with(Class::Input, 5).with(Class::WebSearch, 2);
        let pricing = priced(&[(Class::Input, 1_000_000)]);
        let bill = pricing.bill(&usage, ServiceTier::Standard, &Wanted::default());
        assert!(bill.unpriced_class);
        assert_eq!(bill.lines.iter().map(|line| line.unpriced).collect::<Vec<_>>(), [false, true]);
        assert_eq!(bill.cost, Money::from_nano(5));
        let unknown = Pricing::Unknown.bill(&usage, ServiceTier::Standard, &Wanted::default());
        assert!(unknown.unpriced_class && unknown.lines.iter().all(|line| line.unpriced));
        let free = Pricing::Free.bill(&usage, ServiceTier::Standard, &Wanted::default());
        assert!(!free.unpriced_class && free.cost.is_zero());
    }

    #[test]
    fn what_has_no_rate_is_charged_at_the_dearest_of_its_kind_and_flagged() {
        let charged = |pricing: &Pricing, class| {
            let usage = Usage::default().with(class, 3);
            let bill = pricing.bill(&usage, ServiceTier::Standard, &Wanted::default());
            (bill.cost.nano(), bill.unpriced_class, bill.lines[0].basis.class)
        };
        let prompts = priced(&[(Class::CacheRead, 2_000_000), (Class::InputAudio, 7_000_000)]);
        assert_eq!(charged(&prompts, Class::Input), (21, true, Some(Class::InputAudio)));
        assert_eq!(charged(&prompts, Class::Reasoning), (21, true, Some(Class::InputAudio)));
        let audio = priced(&[(Class::Input, 1_000_000), (Class::OutputAudio, 9_000_000)]);
        assert_eq!(charged(&audio, Class::Output), (27, true, Some(Class::OutputAudio)));
        assert_eq!(charged(&audio, Class::CacheWrite), (3, false, Some(Class::Input)));
        assert_eq!(charged(&audio, Class::Image), (0, true, None), "no list of its own has any");
        let mut images = Price::default();
        for (words, nano) in [("1x1", 4_000_000), ("hd 1x1", 6_000_000)] {
            let rate = Rate::from_nano_per_million(nano);
            images.variants.extend(Variant::new(Class::Image, words, rate));
        }
        let wanted = Wanted { image_size: Some("3x3".into()), ..Wanted::default() };
        let usage = Usage::default().with(Class::Image, 1);
        let bill = Pricing::Priced(images).bill(&usage, ServiceTier::Standard, &wanted);
        assert_eq!((bill.cost.nano(), bill.lines[0].unpriced), (6, true));
        assert_eq!(bill.lines[0].basis.variant.as_deref(), Some("hd 1x1"));
    }

    #[test]
    fn a_gap_is_filled_from_another_list_and_the_sum_made_anew() {
        let pricing = priced(&[(Class::Input, 1_000_000)]);
        let usage = Usage::default().with(Class::Input, 5).with(Class::WebSearch, 2);
        let mut bill = pricing.bill(&usage, ServiceTier::Standard, &Wanted::default());
        assert!(bill.lines[1].is_gap());
        let searches = |class| {
            let rate = Rate::from_nano_per_million(10_000_000);
            (class == Class::WebSearch).then(|| (rate, "finder-1".into()))
        };
        bill.fill_gaps(searches);
        assert_eq!(bill.cost.nano(), 5 + 20);
        assert_eq!(bill.lines[1].model.as_deref(), Some("finder-1"));
        assert!(bill.lines[1].unpriced && !bill.lines[1].is_gap() && bill.lines[0].model.is_none());
    }

    #[test]
    fn a_fee_is_charged_once_and_a_rerank_by_its_searches() {
        let pricing = priced(&[(Class::Call, 5_000_000)]);
        assert_eq!(cost(&pricing, &Usage::default()), 5);
        assert_eq!(cost(&pricing, &Usage::default().with(Class::Call, 3)), 15);
        let usage = Usage::default().with(Class::Input, 1);
        let mut bill = pricing.bill(&usage, ServiceTier::Standard, &Wanted::default());
        pricing.add_to(&mut bill, None, &usage, ServiceTier::Standard, &Wanted::default());
        assert_eq!(bill.cost, Money::from_nano(5));
        assert!(!bill.unpriced_class, "tokens are not owed beside a fee");
        let searched = usage.with(Class::WebSearch, 2);
        let bill = pricing.bill(&searched, ServiceTier::Standard, &Wanted::default());
        assert_eq!((bill.cost.nano(), bill.unpriced_class), (5, false), "nor are searches");
    }

    #[test]
    fn pieces_that_were_counted_in_tokens_are_charged_by_those() {
        let both = priced(&[(Class::Image, 7_000_000), (Class::OutputImage, 1_000_000)]);
        let image = Usage::default().with(Class::Image, 1);
        assert_eq!(cost(&both, &image), 7);
        assert_eq!(cost(&both, &image.with(Class::OutputImage, 4)), 4);
        let tokens = priced(&[(Class::Input, 1_000_000), (Class::Character, 9_000_000)]);
        assert_eq!(cost(&tokens, &Usage::default().with(Class::Character, 2)), 18);
    }

    #[test]
    fn another_model_has_its_own_rates_and_the_whole_is_rounded_once() {
        let called = priced(&[(Class::Input, 300_000)]);
        let other = priced(&[(Class::Input, 400_000), (Class::Output, 100_000)]);
        let usage = Usage::default().with(Class::Input, 1);
        let mut bill = called.bill(&usage, ServiceTier::Standard, &Wanted::default());
        let wise: Arc<str> = "wise-1".into();
        let open = Wanted::default();
        let wise_usage = usage.with(Class::Output, 3);
        other.add_to(&mut bill, Some(&wise), &wise_usage, ServiceTier::Standard, &open);
        called.add_to(&mut bill, None, &usage, ServiceTier::Standard, &open);
        assert_eq!(bill.cost, Money::from_nano(2), "0.3 + 0.4 + 0.3 + 0.3, rounded up once");
        let models: Vec<_> = bill.lines.iter().map(|line| line.model.as_deref()).collect();
        assert_eq!(models, [None, Some("wise-1"), Some("wise-1"), None]);
        Pricing::Unknown.add_to(&mut bill, Some(&wise), &usage, ServiceTier::Standard, &open);
        assert!(bill.unpriced_class);
        assert_eq!(bill.cost, Money::from_nano(2));
    }

    #[test]
    fn a_line_names_the_part_of_the_list_that_applied() {
        let overlay = |service, above_input_tokens, pairs: &[(Class, u64)]| Overlay {
            service,
            above_input_tokens,
            rates: rates(pairs),
        };
        let mut price = Price {
            base: rates(&[(Class::Input, 10), (Class::Output, 20)]),
            overlays: vec![
                overlay(ServiceTier::Standard, 100, &[(Class::Input, 15)]),
                overlay(ServiceTier::Priority, 0, &[(Class::Input, 12), (Class::Output, 50)]),
            ],
            variants: vec![],
        };
        let image = Variant::new(Class::Image, "hd", Rate::from_nano_per_million(7));
        price.variants.extend(image);
        let usage = Usage::default()
            .with(Class::CacheRead, 101)
            .with(Class::Output, 1)
            .with(Class::Image, 1);
        let wanted = Wanted { image_quality: Some("hd".into()), ..Wanted::default() };
        let bill = Pricing::Priced(price).bill(&usage, ServiceTier::Priority, &wanted);
        let sized =
            Basis { class: Some(Class::Input), above_input_tokens: 100, ..Basis::default() };
        let tiered = Basis { service: ServiceTier::Priority, ..Basis::default() };
        let variant = Basis { variant: Some("hd".into()), ..Basis::default() };
        let bases: Vec<_> = bill.lines.iter().map(|line| line.basis.clone()).collect();
        assert_eq!(bases, [sized, tiered, variant]);
    }

    fn any_rates() -> impl Strategy<Value = Rates> {
        proptest::collection::vec(proptest::option::of(any::<u64>()), Class::COUNT).prop_map(
            |all| {
                let mut rates = Rates::default();
                for (class, nano) in Class::ALL.into_iter().zip(all) {
                    if let Some(nano) = nano {
                        rates.set(class, Rate::from_nano_per_million(nano));
                    }
                }
                rates
            },
        )
    }

    fn any_service() -> impl Strategy<Value = ServiceTier> {
        prop_oneof![
            Just(ServiceTier::Standard),
            Just(ServiceTier::Batch),
            Just(ServiceTier::Flex),
            Just(ServiceTier::Priority),
        ]
    }

    fn any_words() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec!["hd", "low", "high", "1x1", "2x2", "hd 1x1", "low 2x2"])
    }

    fn any_price() -> impl Strategy<Value = Price> {
        let overlay =
            (any_service(), 0u64..3_000, any_rates()).prop_map(|(service, above, rates)| Overlay {
                service,
                above_input_tokens: above,
                rates,
            });
        let variant = (any_words(), any::<u64>(), 0usize..3).prop_filter_map("a variant", |v| {
            let class = [Class::Image, Class::Call, Class::WebSearch][v.2];
            Variant::new(class, v.0, Rate::from_nano_per_million(v.1))
        });
        let overlays = proptest::collection::vec(overlay, 0..4);
        let variants = proptest::collection::vec(variant, 0..6);
        (any_rates(), overlays, variants).prop_map(|(base, overlays, variants)| Price {
            base,
            overlays,
            variants,
        })
    }

    fn any_asked() -> impl Strategy<Value = Wanted> {
        let word =
            || proptest::option::of(proptest::sample::select(vec!["hd", "low", "1x1", "auto"]));
        (word(), word(), word()).prop_map(|(size, quality, search)| Wanted {
            image_size: size.map(Into::into),
            image_quality: quality.map(Into::into),
            search_context: search.map(Into::into),
        })
    }

    fn any_usage(most: u64) -> impl Strategy<Value = Usage> {
        proptest::collection::vec(0..=most, Class::COUNT).prop_map(|counts| {
            let pairs = Class::ALL.into_iter().zip(counts);
            pairs.fold(Usage::default(), |usage, (class, count)| usage.with(class, count))
        })
    }

    proptest! {
        #[test]
        fn a_bill_never_wraps_and_is_the_sum_of_its_lines(
            price in any_price(), usage in any_usage(u64::MAX), service in any_service(),
            wanted in any_asked(),
        ) {
            let bill = Pricing::Priced(price).bill(&usage, service, &wanted);
            let exact = bill.lines.iter().fold(0u128, |sum, line| {
                sum.saturating_add(u128::from(line.count) * u128::from(line.rate.nano_per_million()))
            });
            let rounded = u64::try_from(exact.div_ceil(1_000_000)).unwrap_or(u64::MAX);
            prop_assert_eq!(bill.cost.nano(), rounded);
            let is_token = |line: &Line| line.class.is_token() && line.is_gap();
            let names_tokens = bill.lines.iter().any(|line| line.class.is_token() && !line.is_gap());
            prop_assert!(!(names_tokens && bill.lines.iter().any(is_token)));
        }

        /// What an answer says was chosen is what the request asked for, or fills in what it left open.
        #[test]
        fn a_ceiling_is_never_below_the_bill_whatever_is_used_within_it(
            price in any_price(), usage in any_usage(1_000), service in any_service(),
            wanted in any_asked(), chosen in any_asked(),
        ) {
            let pricing = Pricing::Priced(price);
            let bill = pricing.bill(&usage, service, &wanted.or(&chosen));
            let tokens = (usage.input_tokens(), usage.output_tokens(), 1);
            let ceiling = Ceiling::new(&pricing, tokens, &usage, &wanted);
            prop_assert!(bill.cost <= ceiling.amount(), "{:?} {:?}", bill, ceiling);
        }
    }
}
