//! What of a text stands in a JSON string as it is, and where that ends.
//!
//! Most strings are keys and words, too short for a search by vectors to pay: the beginning is looked at
//! eight bytes at a time.

/// How much of a string is looked at by words before it counts as long.
const SHORT: usize = 32;
const ONES: u64 = u64::from_le_bytes([0x01; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// The offset of the first quote or backslash from `from` on.
#[inline]
pub fn quote_or_escape(bytes: &[u8], from: usize) -> Option<usize> {
    match near(bytes.get(from..)?, quotes_and_escapes) {
        Near::At(found) => Some(from + found),
        Near::NotBefore(at) => far_quote_or_escape(bytes, from + at),
    }
}

/// The same, or of the first control character, which JSON has no room for.
#[inline]
pub fn quote_escape_or_control(bytes: &[u8], from: usize) -> Option<usize> {
    match near(bytes.get(from..)?, specials) {
        Near::At(found) => Some(from + found),
        Near::NotBefore(at) => far_special(bytes, from + at),
    }
}

/// Whether all of a text can stand in a JSON string as it is.
#[inline]
pub fn is_plain(text: &[u8]) -> bool {
    let is_plain = |word: &[u8; 8]| specials(u64::from_le_bytes(*word)) == 0;
    let (words, rest) = text.as_chunks();
    words.iter().all(is_plain)
        && match text.last_chunk() {
            // It may begin in the word before.
            Some(last) => is_plain(last),
            None => !rest.iter().any(|byte| is_special(*byte)),
        }
}

/// What is known of an offset after a look at what is near.
enum Near {
    At(usize),
    NotBefore(usize),
}

/// Looks for the first mark.
#[inline]
fn near(bytes: &[u8], marks: impl Fn(u64) -> u64) -> Near {
    let mut rest = bytes;
    let mut at = 0;
    while at < SHORT
        && let Some((word, behind)) = rest.split_first_chunk()
    {
        let found = marks(u64::from_le_bytes(*word));
        if found != 0 {
            return Near::At(at + first(found));
        }
        (rest, at) = (behind, at + 8);
    }
    Near::NotBefore(at)
}

/// In a string that is long, or near the end of the text.
#[inline(never)]
fn far_quote_or_escape(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr2(b'"', b'\\', bytes.get(from..)?).map(|found| from + found)
}

/// The same for special bytes.
#[inline(never)]
fn far_special(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from + plain(bytes.get(from..)?);
    let rest = bytes.get(from..)?;
    match near(rest, specials) {
        Near::At(found) => Some(from + found),
        // What is not plain was near, but for the end of the text.
        Near::NotBefore(at) => {
            let found = rest[at..].iter().position(|byte| is_special(*byte))?;
            Some(from + at + found)
        }
    }
}

/// The byte of a word that the first of its marks is in.
#[inline]
const fn first(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

/// Marks the high bit of each byte that is a quote or a backslash; so may bytes after the first be that are
/// none.
#[inline]
const fn quotes_and_escapes(word: u64) -> u64 {
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    (quote | escapes(word)) & !word & HIGH
}

/// The same with control characters.
#[inline]
const fn specials(word: u64) -> u64 {
    let low = (word ^ (ONES * 2)).wrapping_sub(ONES * b'!' as u64);
    (low | escapes(word)) & !word & HIGH
}

#[inline]
const fn escapes(word: u64) -> u64 {
    (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES)
}

/// Once their second bit is turned, control characters and the quote are all that is below `!`.
#[inline]
const fn is_special(byte: u8) -> bool {
    byte ^ 2 < b'!' || byte == b'\\'
}

/// How many bytes at the beginning are certainly plain, looked at so many together that it is done by
/// vectors.
fn plain(bytes: &[u8]) -> usize {
    let is_plain = |many: &&[u8; SHORT]| {
        let specials = |found, byte: &u8| found | u8::from(is_special(*byte));
        many.iter().fold(0, specials) == 0
    };
    SHORT * bytes.as_chunks().0.iter().take_while(is_plain).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_found_wherever_it_is(
            bytes in "([ -~é🦀]{0,40}[\"\\\\\u{0}-\u{1f}!#\\[\\]\u{7f}-\u{a0}]?){0,4}", from in 0usize..200,
        ) {
            let bytes = bytes.as_bytes();
            let first = |is: &dyn Fn(u8) -> bool| {
                let found = bytes.get(from..)?.iter().position(|byte| is(*byte))?;
                Some(from + found)
            };
            let is_end = |byte: u8| matches!(byte, b'"' | b'\\');
            prop_assert_eq!(quote_or_escape(bytes, from), first(&is_end));
            let is_special = |byte: u8| is_end(byte) || byte < b' ';
            prop_assert_eq!(quote_escape_or_control(bytes, from), first(&is_special));
            let rest = bytes.get(from..).unwrap_or_default();
            prop_assert_eq!(is_plain(rest), first(&is_special).is_none());
        }
    }
}
