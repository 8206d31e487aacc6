//! Reads JSON text and checks it as it goes: what it reads to the end, `serde_json` reads too, and nothing
//! else (RFC 8259).
//!
//! It is for calls, of which nothing may be read in two ways. It never recurses, and does not say what is
//! wrong; for that, what it gives up on is read once more.

use super::Cursor;
use crate::domain::codec::plain::quote_escape_or_control;

/// A place in JSON text.
#[derive(Debug)]
pub(in crate::provider) struct Reader<'a> {
    text: &'a str,
    cursor: Cursor<'a>,
}

impl<'a> Reader<'a> {
    pub(in crate::provider) const fn new(text: &'a str) -> Self {
        Self { text, cursor: Cursor::new(text.as_bytes()) }
    }

    /// Visits each member of the object that is all of the text: with its key as written, quotes and all,
    /// and its value.
    pub(in crate::provider) fn members(
        mut self,
        mut member: impl FnMut(&'a str, &'a str) -> Option<()>,
    ) -> Option<()> {
        self.expect(b'{')?;
        if !self.cursor.take(b'}') {
            loop {
                let key = self.key()?;
                self.cursor.peek()?;
                let start = self.cursor.at;
                self.value()?;
                member(key, self.text.get(start..self.cursor.at)?)?;
                if !self.cursor.take(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        self.cursor.peek().is_none().then_some(())
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.cursor.take(byte).then_some(())
    }

    /// Passes over a key and its colon.
    #[inline]
    fn key(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let start = self.cursor.at - 1;
        self.rest_of_string()?;
        let key = self.text.get(start..self.cursor.at);
        self.expect(b':')?;
        key
    }

    /// Passes over a value.
    fn value(&mut self) -> Option<()> {
        let mut open = Nesting::default();
        loop {
            let first = self.cursor.peek()?;
            self.cursor.at += 1;
            match first {
                b'"' => self.rest_of_string()?,
                b'{' if !self.cursor.take(b'}') => {
                    open.push(true);
                    self.key()?;
                    continue;
                }
                b'[' if !self.cursor.take(b']') => {
                    open.push(false);
                    continue;
                }
                b'{' | b'[' => {}
                b't' => self.rest_of_word("rue")?,
                b'f' => self.rest_of_word("alse")?,
                b'n' => self.rest_of_word("ull")?,
                b'-' | b'0'..=b'9' => self.rest_of_number(first)?,
                _ => return None,
            }
            if self.end(&mut open)? {
                return Some(());
            }
        }
    }

    /// Closes what ends behind a value, and says whether that is all.
    #[inline]
    fn end(&mut self, open: &mut Nesting) -> Option<bool> {
        while let Some(is_object) = open.last() {
            let sign = self.cursor.peek()?;
            self.cursor.at += 1;
            match sign {
                b',' if is_object => return self.key().map(|_| false),
                b',' => return Some(false),
                b'}' if is_object => open.pop(),
                b']' if !is_object => open.pop(),
                _ => return None,
            }
        }
        Some(true)
    }

    /// Passes over a string of which the first quote has been read.
    #[inline]
    fn rest_of_string(&mut self) -> Option<()> {
        self.cursor.at = end_of_string(self.cursor.bytes, self.cursor.at)?;
        Some(())
    }

    #[inline]
    fn rest_of_word(&mut self, rest: &str) -> Option<()> {
        let is_there = self.cursor.bytes.get(self.cursor.at..)?.starts_with(rest.as_bytes());
        self.cursor.at += rest.len();
        is_there.then_some(())
    }

    /// Passes over a number of which the first sign has been read.
    fn rest_of_number(&mut self, first: u8) -> Option<()> {
        let bytes = self.cursor.bytes;
        let next = |at: usize| bytes.get(at).copied().unwrap_or_default();
        let first = if first == b'-' { self.digit()? } else { first };
        // Nothing but a point or an exponent comes after a nought at the beginning.
        if first != b'0' {
            self.digits();
        } else if next(self.cursor.at).is_ascii_digit() {
            return None;
        }
        if next(self.cursor.at) == b'.' {
            self.cursor.at += 1;
            self.digit()?;
            self.digits();
        }
        if matches!(next(self.cursor.at), b'e' | b'E') {
            self.cursor.at += 1;
            self.cursor.at += usize::from(matches!(next(self.cursor.at), b'+' | b'-'));
            self.digit()?;
            self.digits();
        }
        Some(())
    }

    #[inline]
    fn digit(&mut self) -> Option<u8> {
        let digit = self.cursor.bytes.get(self.cursor.at).copied().filter(u8::is_ascii_digit)?;
        self.cursor.at += 1;
        Some(digit)
    }

    #[inline]
    fn digits(&mut self) {
        while self.digit().is_some() {}
    }
}

/// Just behind the quote that ends a string which began before `from`.
fn end_of_string(bytes: &[u8], from: usize) -> Option<usize> {
    let at = quote_escape_or_control(bytes, from)?;
    match bytes[at] {
        b'"' => Some(at + 1),
        b'\\' => end_with_escapes(bytes, at),
        _ => None,
    }
}

/// The same where the first escape is at `at`.
#[cold]
fn end_with_escapes(bytes: &[u8], mut at: usize) -> Option<usize> {
    while bytes[at] == b'\\' {
        at = quote_escape_or_control(bytes, end_of_escape(bytes, at + 1)?)?;
    }
    (bytes[at] == b'"').then_some(at + 1)
}

/// Just behind an escape whose letter is at `at`. Whether halves of pairs fit is for whoever reads the text.
fn end_of_escape(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => {
            let digits = bytes.get(at + 1..at + 5)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(at + 5)
        }
        _ => None,
    }
}

/// Which lists and objects are open: a bit for each, set for an object.
#[derive(Debug, Default)]
struct Nesting {
    /// The innermost, the last one lowest.
    bits: u64,
    depth: usize,
    /// Those around them, by 64.
    outer: Vec<u64>,
}

impl Nesting {
    #[inline]
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth = self.depth.saturating_sub(1);
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.bits = self.outer.pop().unwrap_or_default();
        }
    }

    /// Whether the innermost is an object.
    #[inline]
    const fn last(&self) -> Option<bool> {
        if self.depth == 0 { None } else { Some(self.bits & 1 == 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    fn members(text: &str) -> Option<Vec<(&str, &str)>> {
        let mut found = Vec::new();
        Reader::new(text).members(|key, value| {
            found.push((key, value));
            Some(())
        })?;
        Some(found)
    }

    #[test]
    fn members_come_as_they_are_written() {
        let text =
            " { \"a\" : [1,[2],{\"b\":\"]\"}] ,\"c\\\"\":\"\\\\\" , \"d\": -1.5e3\n,\"e\":{} } ";
        let expected = [
            ("\"a\"", "[1,[2],{\"b\":\"]\"}]"),
            ("\"c\\\"\"", "\"\\\\\""),
            ("\"d\"", "-1.5e3"),
            ("\"e\"", "{}"),
        ];
        assert_eq!(members(text).as_deref(), Some(&expected[..]));
        assert_eq!(members("{}"), Some(Vec::new()));
    }

    #[test]
    fn lists_and_objects_close_as_they_were_opened_however_deep() {
        for depth in [1, 2, 62, 63, 64, 65, 66, 127, 128, 129, 130, 1_000, 100_000] {
            let open: String =
                (0..depth).map(|at| if at % 3 == 0 { "[" } else { "{\"\":" }).collect();
            let close = |at| if at % 3 == 0 { "]" } else { "}" };
            let closed: String = (0..depth).rev().map(close).collect();
            let text = format!("{{\"a\":{open}0{closed}}}");
            assert_eq!(members(&text).map(|found| found.len()), Some(1), "{depth}");
            let other = if closed.ends_with(']') { "}" } else { "]" };
            let wrong = format!("{{\"a\":{open}0{}{other}}}", &closed[1..]);
            assert_eq!(members(&wrong), None, "{depth}");
        }
    }

    /// Pieces of JSON that fit more often than letters at random would.
    fn any_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            r"[\[\]{},:]",
            r#"("[a-c]{0,2}":|[ \n\t\r\u{b}]{0,2})"#,
            r#""([ -~é🦀\u{0}-\u{1f}]|\\["\\/bfnrtux]|\\u[0-9a-fA-Fg]{3,4}){0,40}""#,
            r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
            "(true|false|null|nul|[a-z]{1,4})",
        ];
        proptest::collection::vec(piece, 0..12)
            .prop_map(|pieces| format!("{{{}}}", pieces.concat()))
    }

    /// An object that is JSON, and now and then nearly.
    fn any_object() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            r#""([ -!#-\[\]-~é🦀]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}){0,40}""#,
            r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,2})?([eE][+-]?[0-9]{1,2})?",
            "(true|false|null)",
        ];
        let value = leaf.prop_recursive(4, 30, 4, |inner| {
            let member = ("[a-z]{0,12}", inner.clone())
                .prop_map(|(key, value)| format!("\"{key}\": {value}"));
            prop_oneof![
                proptest::collection::vec(inner, 0..4)
                    .prop_map(|list| format!("[{}]", list.join(", "))),
                proptest::collection::vec(member, 0..4)
                    .prop_map(|list| format!("{{{}}}", list.join(" ,"))),
            ]
        });
        (value, any::<prop::sample::Index>(), "[\\[\\]{},:\"\\\\0-9.eE \n\u{0}-]?").prop_map(
            |(value, at, odd)| {
                let mut text = format!("{{\"a\":{value},\"b\":0}}");
                let at = at.index(text.len());
                if text.is_char_boundary(at) {
                    text.insert_str(at, &odd);
                }
                text
            },
        )
    }

    proptest! {
        #[test]
        fn it_takes_what_serde_json_takes_and_nothing_else(text in prop_oneof![any_text(), any_object()]) {
            let read = serde_json::from_str::<BTreeMap<String, &RawValue>>(&text);
            let found = members(&text);
            let keys_read = |found: &[(&str, &str)]| {
                found.iter().all(|(key, _)| serde_json::from_str::<String>(key).is_ok())
            };
            prop_assert_eq!(found.as_deref().is_some_and(keys_read), read.is_ok(), "{}", text);
            if let (Some(found), Ok(read)) = (found, read) {
                for (key, value) in read {
                    let last = found.iter().rev().find(|(written, _)| {
                        serde_json::from_str::<String>(written).is_ok_and(|written| written == key)
                    });
                    prop_assert_eq!(last.map(|(_, value)| *value), Some(value.get()));
                }
            }
        }
    }
}
