//! Figures of JSON as exact rates: `2.5e-06` dollars a token become nano-dollars per million, digit by
//! digit. What is finer than that is rounded up, never down, and no float is ever made.

use crate::domain::money::Rate;

/// More digits than any price has; a longer figure is a mistake.
const MOST_DIGITS: usize = 30;
/// What is shown of a value that is no figure.
const SHOWN: usize = 40;

/// Why a value is not a price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FigureError {
    #[error("{0} is not a number")]
    NotANumber(String),
    #[error("{0} is less than nothing")]
    Negative(String),
    #[error("{0} is more than any price")]
    TooLarge(String),
}

/// Reads a rate from a JSON value of which `10^places` make nano-dollars per million; `None` for null.
pub(super) fn rate(json: &str, places: i32) -> Result<Option<Rate>, FigureError> {
    match json {
        "null" => Ok(None),
        _ => scaled(json, places).map(|nano| Some(Rate::from_nano_per_million(nano))),
    }
}

/// A whole number, such as a limit: `128000`, `128000.0`, `1.28e5`; `None` for anything else.
pub(super) fn whole(json: &str) -> Option<u64> {
    scaled(json, 0).ok().filter(|number| *number > 0)
}

fn scaled(json: &str, places: i32) -> Result<u64, FigureError> {
    let shown = || json.chars().take(SHOWN).collect::<String>();
    let (is_negative, digits, exponent) =
        parse(json).ok_or_else(|| FigureError::NotANumber(shown()))?;
    if digits == 0 {
        return Ok(0);
    }
    if is_negative {
        return Err(FigureError::Negative(shown()));
    }
    let shift = exponent.saturating_add(places);
    let power = 10u128.checked_pow(shift.unsigned_abs());
    let number = match (shift >= 0, power) {
        (true, power) => power.and_then(|power| digits.checked_mul(power)),
        (false, Some(power)) => Some(digits.div_ceil(power)),
        // So small that it is nearly nothing, which is not nothing.
        (false, None) => Some(1),
    };
    let number = number.and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| FigureError::TooLarge(shown()))
}

/// Sign, digits and the power of ten behind them.
fn parse(json: &str) -> Option<(bool, u128, i32)> {
    let (is_negative, text) = match json.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, json),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, self::exponent(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.len() > MOST_DIGITS {
        return None;
    }
    let number = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let behind = i32::try_from(fraction.len()).ok()?;
    Some((is_negative, number, exponent.checked_sub(behind)?))
}

fn exponent(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_digits = !digits.is_empty() && digits.len() <= 6;
    let number: i32 = digits.parse().ok().filter(|_| is_digits)?;
    Some(if text.starts_with('-') { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Dollars a token.
    fn nano(json: &str) -> Result<Option<u64>, FigureError> {
        rate(json, 15).map(|rate| rate.map(Rate::nano_per_million))
    }

    #[test]
    fn figures_are_exact_however_they_are_written() {
        for (json, expected) in [
            ("1e-07", 100_000_000),
            ("1E-7", 100_000_000),
            ("0.00000125", 1_250_000_000),
            ("1.25e-06", 1_250_000_000),
            ("12.5e-7", 1_250_000_000),
            ("5.46875e-07", 546_875_000),
            ("0.0000001000000000000", 100_000_000),
            ("2", 2_000_000_000_000_000),
            ("1e+1", 10_000_000_000_000_000),
            ("0", 0),
            ("0.0", 0),
            ("-0.0", 0),
            ("0e999999", 0),
            // What is finer than a nano-dollar per million is rounded up.
            ("8.3333333333333e-10", 833_334),
            ("1e-15", 1),
            ("1e-16", 1),
            ("1e-999999", 1),
        ] {
            assert_eq!(nano(json), Ok(Some(expected)), "{json}");
        }
        assert_eq!(nano("null"), Ok(None));
    }

    #[test]
    fn what_is_no_price_says_why() {
        use FigureError::{Negative, NotANumber, TooLarge};
        for (json, error) in [
            ("\"0.01\"", NotANumber as fn(String) -> FigureError),
            ("\"free\"", NotANumber),
            ("true", NotANumber),
            ("{}", NotANumber),
            ("[1]", NotANumber),
            ("", NotANumber),
            ("1e", NotANumber),
            (".5", NotANumber),
            ("1e1234567", NotANumber),
            ("-1e-07", Negative),
            ("-1", Negative),
            ("18446.744073709551616", TooLarge),
            ("1e300", TooLarge),
            ("1e999999", TooLarge),
        ] {
            assert_eq!(nano(json), Err(error(json.into())), "{json}");
        }
    }

    #[test]
    fn limits_are_whole_numbers() {
        for (json, expected) in [
            ("128000", Some(128_000)),
            ("128000.0", Some(128_000)),
            ("1.28e5", Some(128_000)),
            ("0", None),
            ("null", None),
            ("\"max\"", None),
            ("-5", None),
        ] {
            assert_eq!(whole(json), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, places in -40i32..40) {
            let _ = rate(&text, places);
        }

        #[test]
        fn a_float_as_it_is_printed_is_read_as_its_digits(nano in 0u64..1 << 53) {
            let dollars = format!("{nano}e-15");
            prop_assert_eq!(self::nano(&dollars), Ok(Some(nano)));
        }
    }
}
