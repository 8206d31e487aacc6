//! Numbers and words of a report: whole counts and dollars from their decimal text.
//!
//! Never through a float, never wrapped: rounded up, zero where negative, held to what fits.

use crate::domain::money::Money;
use crate::domain::usage::ServiceTier;
use crate::provider::json::Cursor;

/// A later report replaces an earlier one only where it says something.
pub(in crate::provider) fn overwrite<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

/// The tier named by a JSON value, where it is a word.
pub(in crate::provider) fn service_tier(value: &[u8]) -> Option<ServiceTier> {
    let word = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(word).ok().map(ServiceTier::from_word)
}

pub(in crate::provider) fn count(value: &[u8]) -> Option<u64> {
    decimal(value, 0)
}

/// Takes over a value as a count; `None` where the text stops making sense.
#[inline]
pub(in crate::provider) fn read_count(
    slot: &mut Option<u64>,
    cursor: &mut Cursor<'_>,
) -> Option<()> {
    let told = match cursor.digits() {
        // What nearly every count is.
        Some(count) => Some(count),
        None => count(cursor.skip()?),
    };
    overwrite(slot, told);
    Some(())
}

pub(in crate::provider) fn dollars(value: &[u8]) -> Option<Money> {
    decimal(value, 9).map(Money::from_nano)
}

/// Reads a JSON number, or a string that holds one, times ten to the power of `places`: rounded up to
/// a whole number, zero where it is negative, `u64::MAX` where it does not fit.
pub(in crate::provider) fn decimal(value: &[u8], places: i64) -> Option<u64> {
    if places == 0
        && let Some(count) = plain(value)
    {
        return Some(count);
    }
    let text = std::str::from_utf8(value).ok()?;
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text).trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    // The decimal point moves so many digits to the right of where the text begins.
    let point = i64::try_from(whole.len()).ok()?.saturating_add(exponent).saturating_add(places);
    let digits = whole.bytes().chain(fraction.bytes()).map(|byte| u64::from(byte - b'0'));
    Some(if negative { 0 } else { round_up(digits, point) })
}

/// What nearly every count is: digits alone, too few to overflow.
fn plain(value: &[u8]) -> Option<u64> {
    let is_plain = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let add = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
    is_plain.then(|| value.iter().fold(0, add))
}

/// The whole number in the first `point` digits, and one more if any digit after them is not zero.
fn round_up(digits: impl Iterator<Item = u64>, point: i64) -> u64 {
    let mut number = 0u64;
    let mut left = point;
    let mut rest = 0;
    for digit in digits {
        if left > 0 {
            number = number.saturating_mul(10).saturating_add(digit);
        } else {
            rest |= digit;
        }
        left -= 1;
    }
    // Twenty noughts after any digit do not fit, and after none they change nothing.
    for _ in 0..left.clamp(0, 20) {
        number = number.saturating_mul(10);
    }
    number.saturating_add(u64::from(rest > 0))
}

fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // An exponent beyond these decides the matter whatever its digits are.
    let size = digits.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
    Some(if text.starts_with('-') { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_numbers_are_read_for_what_they_mean() {
        for (text, expected) in [
            ("12", Some(12)),
            ("12.0", Some(12)),
            ("12.000001", Some(13)),
            ("\"12\"", Some(12)),
            ("1.2e1", Some(12)),
            ("1200E-2", Some(12)),
            ("0.5", Some(1)),
            ("-3", Some(0)),
            ("-0.0", Some(0)),
            ("0e99999999999999999999", Some(0)),
            ("1e300", Some(u64::MAX)),
            ("1e99999999999999999999", Some(u64::MAX)),
            ("1e-99999999999999999999", Some(1)),
            ("18446744073709551615", Some(u64::MAX)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("null", None),
            ("true", None),
            ("\"\"", None),
            ("\"many\"", None),
            ("1e", None),
            ("1.2.3", None),
            ("{}", None),
        ] {
            assert_eq!(count(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_decimal_is_its_value_rounded_up(whole in 0u64..1 << 33, nano in 0u64..1_000_000_000, shift in 0u32..9) {
            let text = format!("{whole}.{nano:09}");
            prop_assert_eq!(decimal(text.as_bytes(), 9), Some(whole * 1_000_000_000 + nano));
            let places = 9 - i64::from(shift);
            let exact = (u128::from(whole) * 1_000_000_000 + u128::from(nano)).div_ceil(10u128.pow(shift));
            prop_assert_eq!(decimal(text.as_bytes(), places).map(u128::from), Some(exact));
            let shifted = format!("{text}e-{shift}");
            prop_assert_eq!(decimal(shifted.as_bytes(), 9).map(u128::from), Some(exact));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in r#"[\[\]{},:"\\0-9.eE +-]*"#) {
            for input in [&bytes[..], text.as_bytes()] {
                let _ = (count(input), dollars(input), service_tier(input));
            }
        }
    }
}
