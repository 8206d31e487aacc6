//! A cursor over JSON text, for reading a few members in one pass and where they stand.
//!
//! It is for answers, which are passed on whatever they hold: it copies nothing, never recurses into
//! what it skips, and gives `None` where the text stops making sense. It does not check that the text
//! is JSON; whoever must know that uses [`Reader`].

mod strict;

use std::ops::Range;

pub(super) use strict::Reader;

use crate::domain::codec::plain::quote_or_escape;

/// What a number or a word is over at.
const ENDS_SCALAR: [bool; 256] = {
    let mut ends = [false; 256];
    let bytes = b",]} \n\r\t\"";
    let mut at = 0;
    while at < bytes.len() {
        ends[bytes[at] as usize] = true;
        at += 1;
    }
    ends
};

/// A place in JSON text, always before a value when a caller has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The first byte of the next value or sign.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.bytes.get(self.at)? {
                // Answers are mostly written without blanks.
                byte if byte > b' ' => return Some(byte),
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Reads a string and gives what is between its quotes, escapes as written.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        if self.peek()? == b'"' { self.rest_of_string() } else { None }
    }

    /// The same where it stands before the first quote.
    #[inline]
    fn rest_of_string(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        let end = end_of_string(self.bytes, start)?;
        self.at = end + 1;
        self.bytes.get(start..end)
    }

    /// Visits each member of an object with its key, as written, and the offset of the key's first
    /// quote. `member` must read the value. Any other value is skipped.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a [u8], usize) -> Option<()>,
    ) -> Option<()> {
        if self.peek()? != b'{' {
            return self.skip().map(drop);
        }
        self.at += 1;
        if self.take(b'}') {
            return Some(());
        }
        loop {
            if self.peek()? != b'"' {
                return None;
            }
            let key_at = self.at;
            let key = self.rest_of_string()?;
            if !self.take(b':') {
                return None;
            }
            member(self, key, key_at)?;
            if !self.take(b',') {
                return self.take(b'}').then_some(());
            }
        }
    }

    /// Visits each element of a list; `element` must read it. Any other value is skipped.
    pub(super) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if self.peek()? != b'[' {
            return self.skip().map(drop);
        }
        self.at += 1;
        if self.take(b']') {
            return Some(());
        }
        loop {
            element(self)?;
            if !self.take(b',') {
                return self.take(b']').then_some(());
            }
        }
    }

    /// Passes over a value and gives its text.
    #[inline]
    pub(super) fn skip(&mut self) -> Option<&'a [u8]> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => {
                self.rest_of_string()?;
            }
            b'{' | b'[' => self.skip_nested()?,
            b',' | b':' | b']' | b'}' => return None,
            _ => self.skip_scalar(),
        }
        self.bytes.get(start..self.at)
    }

    /// Passes over a value and gives where it stands.
    pub(super) fn skip_range(&mut self) -> Option<Range<usize>> {
        let length = self.skip()?.len();
        Some(self.at - length..self.at)
    }

    /// Passes over a value that is digits alone, and not too many, and gives their number; stays before any
    /// other.
    #[inline]
    pub(super) fn digits(&mut self) -> Option<u64> {
        /// So many are always below 2^64.
        const MOST: usize = 19;
        self.peek()?;
        let (mut number, mut at) = (0u64, self.at);
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(at) {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            at += 1;
        }
        let is_number = (1..=MOST).contains(&(at - self.at));
        let is_over = self.bytes.get(at).is_none_or(|byte| ENDS_SCALAR[usize::from(*byte)]);
        (is_number && is_over).then(|| {
            self.at = at;
            number
        })
    }

    #[inline]
    fn skip_scalar(&mut self) {
        let is_over = |byte: &u8| ENDS_SCALAR[usize::from(*byte)];
        let length = self.bytes[self.at..].iter().position(is_over);
        self.at = length.map_or(self.bytes.len(), |length| self.at + length);
    }

    /// Counts brackets instead of recursing, so depth costs nothing.
    #[inline(never)]
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            match byte {
                b'"' => self.at = end_of_string(self.bytes, self.at)? + 1,
                b'[' => {
                    depth += 1;
                    self.skip_numbers();
                }
                b'{' => depth += 1,
                b']' | b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                _ => {}
            }
        }
    }

    /// Embeddings are long lists of numbers: goes to the end of one without looking at each byte.
    fn skip_numbers(&mut self) {
        let rest = &self.bytes[self.at..];
        if !matches!(rest.first(), Some(b'-' | b'0'..=b'9')) {
            return;
        }
        let Some(end) = memchr::memchr3(b']', b'"', b'}', rest) else { return };
        if memchr::memchr2(b'[', b'{', &rest[..end]).is_none() {
            self.at += end;
        }
    }
}

/// The offset of the quote that ends a string which began before `from`.
fn end_of_string(bytes: &[u8], from: usize) -> Option<usize> {
    let at = quote_or_escape(bytes, from)?;
    if bytes[at] == b'"' { Some(at) } else { end_with_escapes(bytes, at) }
}

/// The same where the first escape is at `at`.
#[cold]
fn end_with_escapes(bytes: &[u8], mut at: usize) -> Option<usize> {
    while bytes[at] != b'"' {
        at = quote_or_escape(bytes, at + 2)?;
    }
    Some(at)
}

/// The longest name that is kept of what an answer names.
const LONGEST_NAME: usize = 256;

/// A string without escapes, as the names of models are; `None` for anything else.
pub(super) fn name(value: &[u8]) -> Option<Box<str>> {
    let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let is_plain = !text.is_empty() && text.len() <= LONGEST_NAME && !text.contains(&b'\\');
    std::str::from_utf8(text).ok().filter(|_| is_plain).map(Box::from)
}

/// Bytes of a text. Parts in a list are counted as they are written, which is never less.
pub(super) fn text_bytes(cursor: &mut Cursor<'_>) -> Option<u64> {
    if cursor.peek()? == b'"' {
        return cursor.string().map(text_len);
    }
    let value = cursor.skip()?;
    Some(if is_truthy(value) { value.len() as u64 } else { 0 })
}

/// Whether a value says something, as `OpenAI`'s clients judge an `error`.
pub(super) fn is_truthy(value: &[u8]) -> bool {
    !matches!(value, b"null" | b"false" | b"0" | b"\"\"" | b"{}" | b"[]")
}

/// How many bytes of text a string stands for, given what is between its quotes.
pub(super) fn text_len(raw: &[u8]) -> u64 {
    let mut count = 0;
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (escape, written) = match rest.get(at + 1) {
            Some(b'u') => (utf8_len(rest.get(at + 2..at + 6)), 6),
            _ => (1, 2),
        };
        count += at as u64 + escape;
        rest = rest.get(at + written..).unwrap_or_default();
    }
    count + rest.len() as u64
}

/// Bytes of UTF-8 for four hexadecimal digits; half a surrogate pair is half of four.
fn utf8_len(digits: Option<&[u8]>) -> u64 {
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    match digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) {
        Some(0..=0x7f) => 1,
        Some(0x80..=0x7ff | 0xd800..=0xdfff) => 2,
        _ => 3,
    }
}

/// What to take out of an object's text so that these members of it are gone, each with one comma.
/// They must be in order.
pub(super) fn cuts(bytes: &[u8], members: &[Range<usize>]) -> Vec<Range<usize>> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    let mut cuts: Vec<Range<usize>> = Vec::with_capacity(members.len());
    for member in members {
        // The comma before it may be gone with the member before it.
        let from = cuts.last().map_or(0, |cut| cut.end);
        let before = bytes[from..member.start].iter().rposition(|byte| !blank(byte));
        let comma_before = before.map(|at| from + at).filter(|at| bytes[*at] == b',');
        let after = bytes[member.end..].iter().position(|byte| !blank(byte));
        let comma_after = after.map(|at| member.end + at).filter(|at| bytes[*at] == b',');
        cuts.push(match (comma_before, comma_after) {
            (Some(comma), _) => comma..member.end,
            (None, Some(comma)) => member.start..comma + 1,
            (None, None) => member.clone(),
        });
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::fmt::Write as _;

    /// The keys of an object and the text of their values.
    fn members(text: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = Vec::new();
        let mut cursor = Cursor::new(text);
        cursor.object(|cursor, key, _| {
            found.push((key.to_vec(), cursor.skip()?.to_vec()));
            Some(())
        })?;
        Some(found)
    }

    #[test]
    fn members_come_with_their_values_as_written() {
        let text = br#" { "a" : [1,[2],{"b":"]"}] ,"c\"":"\\" , "d": -1.5e3,"e":{} } "#;
        let found = members(text).expect("an object");
        let shown: Vec<_> = found.iter().map(|(k, v)| (&k[..], &v[..])).collect();
        assert_eq!(
            shown,
            [
                (&b"a"[..], &br#"[1,[2],{"b":"]"}]"#[..]),
                (br#"c\""#, br#""\\""#),
                (b"d", b"-1.5e3"),
                (b"e", b"{}"),
            ]
        );
    }

    #[test]
    fn what_stops_making_sense_is_none() {
        for text in ["", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":[1", "{\"a\":\"x", "{a:1}"] {
            assert_eq!(members(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Cursor::new(b"[,]").array(|c| c.skip().map(drop)), None);
    }

    #[test]
    fn depth_does_not_use_the_stack() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert_eq!(Cursor::new(deep.as_bytes()).skip().map(<[u8]>::len), Some(2_000_000));
    }

    #[test]
    fn members_go_with_one_comma_each() {
        for (text, left) in [
            (r#"{"u":1}"#, "{}"),
            (r#"{"u":1,"b":2}"#, r#"{"b":2}"#),
            (r#"{"a":0,"u":1,"b":2}"#, r#"{"a":0,"b":2}"#),
            (r#"{"a":0 , "u": 1 }"#, r#"{"a":0  }"#),
            (r#"{ "u":1 , "b":2}"#, r#"{  "b":2}"#),
            (r#"{"u":1,"u":2}"#, "{}"),
            (r#"{"u":1,"u":2,"b":3}"#, r#"{"b":3}"#),
            (r#"{"a":0,"u":1,"u":2,"b":3,"u":4}"#, r#"{"a":0,"b":3}"#),
        ] {
            let mut places = Vec::new();
            let mut cursor = Cursor::new(text.as_bytes());
            cursor.object(|cursor, key, at| {
                let value = cursor.skip_range()?;
                if key == b"u" {
                    places.push(at..value.end);
                }
                Some(())
            });
            let mut cut = text.to_owned();
            for place in cuts(text.as_bytes(), &places).into_iter().rev() {
                cut.replace_range(place, "");
            }
            assert_eq!(cut, left);
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|n| Value::from(f64::from(n))),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(".*", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_json_wrote(value in any_json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value)
            } else {
                serde_json::to_string(&value)
            }.expect("JSON");
            let mut cursor = Cursor::new(text.as_bytes());
            prop_assert_eq!(cursor.skip(), Some(text.as_bytes()));
            if let Value::Object(map) = &value {
                let found = members(text.as_bytes()).expect("an object");
                prop_assert_eq!(found.len(), map.len());
                for ((_, raw), expected) in found.iter().zip(map.values()) {
                    let read: Value = serde_json::from_slice(raw).expect("a value");
                    prop_assert_eq!(read.to_string(), expected.to_string());
                }
            }
        }

        #[test]
        fn a_string_has_the_length_of_its_text(text: String, ascii: bool) {
            let mut raw = serde_json::to_string(&text).expect("JSON");
            if ascii {
                let plain = std::mem::take(&mut raw);
                for letter in plain.chars() {
                    match letter {
                        ' '..='~' => raw.push(letter),
                        _ => for unit in letter.encode_utf16(&mut [0; 2]) {
                            write!(raw, "\\u{unit:04x}").expect("text");
                        }
                    }
                }
            }
            let inside = Cursor::new(raw.as_bytes()).string().map(text_len);
            prop_assert_eq!(inside, Some(text.len() as u64));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in r#"[\[\]{},:"\\0-9a tun]*"#) {
            for input in [&bytes[..], text.as_bytes()] {
                let _ = members(input);
                let _ = Cursor::new(input).skip();
                let _ = Cursor::new(input).array(|cursor| cursor.object(|c, _, _| c.skip().map(drop)));
                let _ = text_len(input);
            }
        }
    }
}
