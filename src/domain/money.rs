//! Money as whole nano-dollars, and rates as nano-dollars per million units.
//!
//! Floats never touch an amount: text is parsed digit by digit, sums are checked or saturate on
//! purpose, and a charge is rounded up exactly once, at its end ([`Charge::total`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::codec::short::Short;

/// Decimal places of a dollar that an amount can carry.
const DECIMALS: usize = 9;
const NANO_PER_USD: u64 = 1_000_000_000;
/// The longest amount: eleven digits, the point, nine more.
const MOST_DIGITS: usize = 21;
/// What a [`Rate`] is per: one million tokens, images, seconds, characters or calls.
const UNITS_PER_RATE: u128 = 1_000_000;

/// An amount in nano-USD; never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

impl Money {
    pub const ZERO: Self = Self(0);
    /// About 18 billion dollars: what arithmetic saturates at.
    pub const MAX: Self = Self(u64::MAX);

    pub const fn from_nano(nano: u64) -> Self {
        Self(nano)
    }

    pub const fn nano(self) -> u64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Dollars, exact, with at least two decimal places: `5.00`, `0.000123`.
    pub fn text(self) -> Short {
        // Each call's cost is written several times: digit by digit, without an allocation.
        let mut text = [b'0'; MOST_DIGITS];
        let point = MOST_DIGITS - DECIMALS - 1;
        let mut first = point;
        let (mut whole, mut fraction) = (self.0 / NANO_PER_USD, self.0 % NANO_PER_USD);
        while first == point || whole > 0 {
            first -= 1;
            text[first] = digit(whole);
            whole /= 10;
        }
        text[point] = b'.';
        for place in text[point + 1..].iter_mut().rev() {
            *place = digit(fraction);
            fraction /= 10;
        }
        let least = point + 3;
        let end = text[least..]
            .iter()
            .rposition(|digit| *digit != b'0')
            .map_or(least, |at| least + at + 1);
        let mut short = Short::EMPTY;
        short.push(&text[first..end]);
        short
    }

    /// Hundredths of this amount that `part` makes up, rounded down; 0 of nothing is 100.
    pub fn percent_of(part: Self, whole: Self) -> u64 {
        if whole.is_zero() {
            return 100;
        }
        u64::try_from(u128::from(part.0) * 100 / u128::from(whole.0)).unwrap_or(u64::MAX)
    }
}

/// Why a text is not an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("`{0}` is not an amount in dollars: write it like 5, 2.50 or 0.001")]
    Malformed(String),
    #[error("`{0}` has more than {DECIMALS} decimal places: a nano-dollar is the smallest amount")]
    TooFine(String),
    #[error("`{0}` is more than the largest amount, 18446744073.709551615")]
    TooLarge(String),
}

impl FromStr for Money {
    type Err = MoneyError;

    /// Reads dollars as people write them: `5`, `2.50`, `$0.001`, `1_000`.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        parse_nano(text).map(Self)
    }
}

fn parse_nano(text: &str) -> Result<u64, MoneyError> {
    let malformed = || MoneyError::Malformed(text.to_owned());
    let trimmed = text.trim();
    let digits = trimmed.strip_prefix('$').unwrap_or(trimmed).replace('_', "");
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(malformed()),
        None => (digits.as_str(), ""),
    };
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(malformed());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > DECIMALS {
        return Err(MoneyError::TooFine(text.to_owned()));
    }
    let too_large = || MoneyError::TooLarge(text.to_owned());
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| too_large())?,
    };
    let nano: u64 = format!("{fraction:0<DECIMALS$}").parse().map_err(|_| malformed())?;
    whole.checked_mul(NANO_PER_USD).and_then(|n| n.checked_add(nano)).ok_or_else(too_large)
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

/// The last decimal digit of a number.
fn digit(number: u64) -> u8 {
    b'0' + u8::try_from(number % 10).unwrap_or(0)
}

impl Serialize for Money {
    /// A string of dollars, because JSON numbers are floats to most readers.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a million units cost, in nano-USD: cheap tokens stay whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

impl Rate {
    pub const ZERO: Self = Self(0);

    pub const fn from_nano_per_million(nano: u64) -> Self {
        Self(nano)
    }

    pub const fn nano_per_million(self) -> u64 {
        self.0
    }

    /// The rate of something that is sold one at a time for `price`.
    ///
    /// # Errors
    /// [`MoneyError::TooLarge`] above about 18,000 dollars for one.
    pub fn per_unit(price: Money) -> Result<Self, MoneyError> {
        let million = price.0.checked_mul(1_000_000);
        million.map(Self).ok_or_else(|| MoneyError::TooLarge(price.to_string()))
    }
}

impl FromStr for Rate {
    type Err = MoneyError;

    /// Reads dollars per million units.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        parse_nano(text).map(Self)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Money(self.0).fmt(f)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A sum of counts times rates that has not been rounded yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge(u128);

impl Charge {
    pub const fn add(&mut self, count: u64, rate: Rate) {
        // u64 × u64 always fits u128, and 2^64 such products would be needed to overflow the sum.
        self.0 = self.0.saturating_add(count as u128 * rate.0 as u128);
    }

    /// What can be added, in nano-dollars times a million, so that the total stays within `limit`;
    /// `None` when it is above already.
    pub const fn room_below(self, limit: Money) -> Option<u128> {
        (limit.0 as u128 * UNITS_PER_RATE).checked_sub(self.0)
    }

    /// The amount owed: rounded up to the next nano-dollar, saturating at [`Money::MAX`].
    pub fn total(self) -> Money {
        Money(u64::try_from(self.0.div_ceil(UNITS_PER_RATE)).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Charge {
    /// Dollars to the last digit, before rounding: `0.0000000024`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EXACT: usize = DECIMALS + 6;
        let unit = u128::from(NANO_PER_USD) * UNITS_PER_RATE;
        let fraction = format!("{:0EXACT$}", self.0 % unit);
        let shown = fraction.trim_end_matches('0').len().max(2);
        f.pad(&format!("{}.{}", self.0 / unit, &fraction[..shown]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dollars_are_read_as_people_write_them() {
        for (text, nano) in [
            ("5", 5_000_000_000),
            ("2.50", 2_500_000_000),
            ("0.001", 1_000_000),
            ("$20", 20_000_000_000),
            (".5", 500_000_000),
            ("1_000.5", 1_000_500_000_000),
            ("0.000000001", 1),
            ("0.1000000000000", 100_000_000),
            ("18446744073.709551615", u64::MAX),
        ] {
            assert_eq!(text.parse::<Money>(), Ok(Money(nano)), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_amount_is_refused_with_its_reason() {
        for text in ["", "$", ".", "5.", "-1", "1e3", "five", "1.2.3", "1,5", "+1", "NaN", "٣"] {
            assert!(matches!(text.parse::<Money>(), Err(MoneyError::Malformed(_))), "{text}");
        }
        assert!(matches!("0.0000000001".parse::<Money>(), Err(MoneyError::TooFine(_))));
        for text in ["18446744073.709551616", "99999999999999999999999"] {
            assert!(matches!(text.parse::<Money>(), Err(MoneyError::TooLarge(_))), "{text}");
        }
    }

    #[test]
    fn amounts_are_shown_exactly_with_two_places_at_least() {
        for (nano, text) in
            [(0, "0.00"), (5_000_000_000, "5.00"), (123_000, "0.000123"), (1, "0.000000001")]
        {
            assert_eq!(Money(nano).to_string(), text);
        }
        assert_eq!(format!("{:>8}", Money(0)), "    0.00");
    }

    #[test]
    fn a_charge_is_rounded_up_once() {
        let mut charge = Charge::default();
        charge.add(1, Rate(1));
        charge.add(1, Rate(1));
        assert_eq!(charge.total(), Money(1));
        assert_eq!(Charge::default().total(), Money::ZERO);
        charge.add(u64::MAX, Rate(u64::MAX));
        assert_eq!(charge.total(), Money::MAX);
    }

    #[test]
    fn percent_never_divides_by_zero() {
        assert_eq!(Money::percent_of(Money(1), Money(2)), 50);
        assert_eq!(Money::percent_of(Money(0), Money(0)), 100);
        assert_eq!(Money::percent_of(Money::MAX, Money(1)), u64::MAX);
    }

    proptest! {
        #[test]
        fn print_then_parse_is_the_same_amount(nano: u64) {
            prop_assert_eq!(Money(nano).to_string().parse::<Money>(), Ok(Money(nano)));
        }

        #[test]
        fn a_charge_never_rounds_down(count in 0u64..1 << 40, rate in 0u64..1 << 40) {
            let mut charge = Charge::default();
            charge.add(count, Rate(rate));
            let exact = u128::from(count) * u128::from(rate);
            let total = u128::from(charge.total().0) * UNITS_PER_RATE;
            prop_assert!(total >= exact && total < exact + UNITS_PER_RATE);
        }
    }
}
