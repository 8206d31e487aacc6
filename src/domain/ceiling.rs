//! The most that a call can cost, known before it is sent, and how far its output must be capped to
//! be affordable.
//!
//! Every bound here is one that the provider cannot exceed while it keeps the cap it was given: what
//! a hold is made of must never turn out too small.

use super::money::{Charge, Money, Rate};
use super::price::{INPUT, OUTPUT, Pricing, Wanted};
use super::usage::{Class, Usage};

/// What is sold by the piece.
const PIECES: [Class; 4] =
    [Class::WebSearch, Class::Image, Class::AudioMillisecond, Class::Character];

/// Bounds of what a call can use, with the dearest rates that could apply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    input_tokens: u64,
    input_rate: Rate,
    /// Of each choice.
    output_tokens: u64,
    output_rate: Rate,
    choices: u64,
    /// What is charged for the call itself and for what is sold by the piece.
    pieces: Charge,
}

impl Ceiling {
    /// The first of `tokens` bounds the prompt, the second each of the choices, the third is how many of
    /// them are asked for. What is sold by the piece is bounded by `pieces`, each at the dearest price that
    /// could apply to what is asked for; bounds of tokens are not read there.
    pub fn new(
        pricing: &Pricing,
        (input_tokens, output_tokens, choices): (u64, u64, u64),
        pieces: &Usage,
        wanted: &Wanted,
    ) -> Self {
        let (mut rates, mut charge) = ([Rate::ZERO; 2], Charge::default());
        if let Pricing::Priced(price) = pricing {
            rates = [&INPUT[..], &OUTPUT].map(|side| price.dearest_token(side, input_tokens));
            let calls = (Class::Call, pieces.get(Class::Call).max(1));
            let each = PIECES.map(|class| (class, pieces.get(class))).into_iter().chain([calls]);
            for (class, most) in each.filter(|(_, most)| *most > 0) {
                charge.add(most, price.dearest_piece(class, input_tokens, wanted));
            }
        }
        let [input_rate, output_rate] = rates;
        Self { input_tokens, input_rate, output_tokens, output_rate, choices, pieces: charge }
    }

    pub const fn output_tokens(&self) -> u64 {
        self.output_tokens
    }

    /// The most that the call can cost.
    pub fn amount(&self) -> Money {
        let mut charge = self.before_output();
        charge.add(self.output_tokens.saturating_mul(self.choices), self.output_rate);
        charge.total()
    }

    /// The same call with at most so many output tokens.
    #[must_use]
    pub fn with_output_at_most(self, tokens: u64) -> Self {
        Self { output_tokens: self.output_tokens.min(tokens), ..self }
    }

    fn before_output(&self) -> Charge {
        let mut charge = self.pieces;
        charge.add(self.input_tokens, self.input_rate);
        charge
    }

    /// The same call with its output capped to what `left` pays for; `None` when that is less than
    /// `floor` tokens, or when a cap does not make it cheaper.
    pub fn capped_to(self, left: Money, floor: u64) -> Option<Self> {
        let per_token = u128::from(self.output_rate.nano_per_million()) * u128::from(self.choices);
        let tokens = self.before_output().room_below(left)?.checked_div(per_token)?;
        let tokens = u64::try_from(tokens).unwrap_or(u64::MAX);
        let is_useful = tokens >= floor.max(1) && tokens < self.output_tokens;
        is_useful.then_some(Self { output_tokens: tokens, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::super::price::{Price, Rates};
    use super::*;
    use proptest::prelude::*;

    fn priced(input: u64, output: u64) -> Pricing {
        let mut base = Rates::default();
        base.set(Class::Input, Rate::from_nano_per_million(input));
        base.set(Class::Output, Rate::from_nano_per_million(output));
        Pricing::Priced(Price { base, ..Price::default() })
    }

    fn of(pricing: &Pricing, tokens: (u64, u64, u64)) -> Ceiling {
        Ceiling::new(pricing, tokens, &Usage::default(), &Wanted::default())
    }

    #[test]
    fn the_ceiling_counts_every_choice() {
        let ceiling = of(&priced(1_000_000, 2_000_000), (100, 10, 3));
        assert_eq!(ceiling.amount(), Money::from_nano(160));
        assert_eq!(of(&Pricing::Free, (100, 10, 3)).amount(), Money::ZERO);
    }

    #[test]
    fn a_call_that_no_cap_makes_affordable_is_not_capped() {
        let ceiling = of(&priced(1_000_000, 2_000_000), (100, 10, 1));
        assert_eq!(
            ceiling.capped_to(Money::from_nano(99), 1),
            None,
            "the prompt alone is too dear"
        );
        assert_eq!(ceiling.capped_to(Money::from_nano(105), 16), None, "below the floor");
        let capped = ceiling.capped_to(Money::from_nano(105), 1).map(|c| c.output_tokens());
        assert_eq!(capped, Some(2));
        let embedding = of(&priced(1_000_000, 0), (100, 0, 1));
        assert_eq!(embedding.capped_to(Money::from_nano(99), 1), None);
    }

    proptest! {
        #[test]
        fn what_is_capped_is_affordable_and_one_token_more_is_not(
            input in 0u64..10_000, output in 1u64..100_000, choices in 1u64..5,
            rates in (0u64..1 << 40, 1u64..1 << 40), left in 0u64..1 << 50,
        ) {
            let pricing = priced(rates.0, rates.1);
            let ceiling = of(&pricing, (input, output, choices));
            if let Some(capped) = ceiling.capped_to(Money::from_nano(left), 1) {
                prop_assert!(capped.amount() <= Money::from_nano(left));
                let more = of(&pricing, (input, capped.output_tokens() + 1, choices));
                prop_assert!(more.amount() > Money::from_nano(left));
            }
        }
    }
}
