//! Letters and digits only: names that can be double-clicked, put in a URL and read aloud.

use std::fmt::{self, Display as _};

use super::short::Short;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Digits of an id: 62^11 is just above 2^64.
pub const ID_DIGITS: usize = 11;

/// So many digits are a number below 2^64.
const PART_DIGITS: usize = 10;
const PART: u128 = 62u128.pow(10);

/// The text of an id of `N` digits, with what tells its kind before it.
pub fn id_text<const N: usize>(prefix: &str, bits: impl Into<u128>) -> Short {
    let mut text = Short::EMPTY;
    text.push(prefix.as_bytes());
    text.push(&encode::<N>(bits.into()));
    text
}

/// Shows an id of `N` digits with what tells its kind before it.
pub fn show_id<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    prefix: &str,
    bits: impl Into<u128>,
) -> fmt::Result {
    id_text::<N>(prefix, bits).fmt(f)
}

/// The bits of an id of the kind that `prefix` tells.
pub fn decode_id(prefix: &str, text: &str) -> Option<u64> {
    let digits = text.strip_prefix(prefix).filter(|digits| digits.len() == ID_DIGITS)?;
    u64::try_from(decode(digits)?).ok()
}

/// `value` in exactly `N` digits, high first; digits that do not fit are lost.
pub fn encode<const N: usize>(mut value: u128) -> [u8; N] {
    let mut digits = [b'0'; N];
    // Ten digits at a time fit a word, whose division costs a tenth.
    for part in digits.rchunks_mut(PART_DIGITS) {
        let above = value / PART;
        let mut low = u64::try_from(value - above * PART).unwrap_or(0);
        value = above;
        for digit in part.iter_mut().rev() {
            *digit = ALPHABET[usize::try_from(low % 62).unwrap_or(0)];
            low /= 62;
        }
    }
    digits
}

/// The number that `text` writes; `None` for another character or more than 128 bits.
pub fn decode(text: &str) -> Option<u128> {
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            _ => return None,
        };
        value.checked_mul(62)?.checked_add(u128::from(digit))
    })
}

/// One digit from a random byte without favouring any: 248 is the largest multiple of 62 in a byte,
/// and a byte above it is to be drawn again.
pub fn digit_from_random(byte: u8) -> Option<u8> {
    (byte < 248).then(|| ALPHABET[usize::from(byte % 62)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_their_digits() {
        for value in [0, 61, 62, u128::from(u64::MAX), u128::MAX] {
            let digits = encode::<22>(value);
            assert_eq!(decode(std::str::from_utf8(&digits).unwrap()), Some(value));
        }
        assert_eq!(decode("-"), None);
    }

    #[test]
    fn every_digit_is_equally_likely() {
        let mut seen = [0; 256];
        for digit in (0..=255).filter_map(digit_from_random) {
            seen[usize::from(digit)] += 1;
        }
        assert!(ALPHABET.iter().all(|digit| seen[usize::from(*digit)] == 4));
    }
}
