//! Cuts a JSON array into its elements, however it arrives in pieces: how Gemini streams without
//! `alt=sse`.
//!
//! One element is kept in memory at most, up to a limit; past it the cutter gives up for good. It takes
//! nothing for granted: text that is no array, or no JSON, is passed over.

use memchr::memchr2;

/// Finds where the objects of an array, or objects that follow one another, begin and end.
#[derive(Debug)]
pub(super) struct Cutter {
    limit: usize,
    /// The bytes of an element that has not ended yet.
    held: Vec<u8>,
    /// Braces and brackets that are open in the element; none between elements.
    depth: usize,
    in_string: bool,
    /// The last byte was a backslash in a string.
    escaped: bool,
    overflow: bool,
}

impl Cutter {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            limit,
            held: Vec::new(),
            depth: 0,
            in_string: false,
            escaped: false,
            overflow: false,
        }
    }

    /// Gives each element that ends in this chunk to `read`.
    pub(super) fn push(&mut self, chunk: &[u8], mut read: impl FnMut(&[u8])) {
        let mut at = 0;
        while !self.overflow && at < chunk.len() {
            if self.depth == 0 {
                let Some(start) = memchr::memchr(b'{', &chunk[at..]) else { return };
                at += start;
            }
            let end = self.find_end(&chunk[at..]);
            let part = &chunk[at..at + end.unwrap_or(chunk.len() - at)];
            at += part.len();
            if self.held.len() + part.len() > self.limit {
                self.overflow = true;
                self.held = Vec::new();
            } else if end.is_some() && self.held.is_empty() {
                read(part);
            } else {
                self.held.extend_from_slice(part);
                if end.is_some() {
                    read(&self.held);
                    self.held.clear();
                }
            }
        }
    }

    pub(super) const fn overflowed(&self) -> bool {
        self.overflow
    }

    /// The offset after the brace that ends the element.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.in_string {
                at = self.pass_string(bytes, at);
                continue;
            }
            match bytes[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// The offset after the string that began before `at`, or where the bytes end.
    fn pass_string(&mut self, bytes: &[u8], mut at: usize) -> usize {
        if std::mem::take(&mut self.escaped) {
            at += 1;
        }
        loop {
            let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) else {
                return bytes.len();
            };
            at += found;
            if bytes[at] == b'"' {
                self.in_string = false;
                return at + 1;
            }
            self.escaped = at + 1 == bytes.len();
            at += 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &[u8], cuts: &[usize], limit: usize) -> (Vec<String>, bool) {
        let mut cutter = Cutter::new(limit);
        let mut found = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([text.len()]) {
            cutter.push(&text[from.min(to)..to], |element| {
                found.push(String::from_utf8_lossy(element).into_owned());
            });
            assert!(cutter.held.len() <= limit);
            from = to;
        }
        (found, cutter.overflowed())
    }

    #[test]
    fn elements_are_found_however_they_come() {
        for (text, expected) in [
            (r#"[{"a":1}"#, &[r#"{"a":1}"#][..]),
            ("[{\"a\":[{}]}\n,\r\n{\"b\":\"}]\\\"{\"}]", &["{\"a\":[{}]}", "{\"b\":\"}]\\\"{\"}"]),
            (r#"{"error":{"code":400}}"#, &[r#"{"error":{"code":400}}"#]),
            (r#"[{"a":"\\"},{"b":2}"#, &[r#"{"a":"\\"}"#, r#"{"b":2}"#]),
            ("[]", &[]),
            ("not JSON", &[]),
            ("", &[]),
        ] {
            for split in 0..=text.len() {
                assert_eq!(cut(text.as_bytes(), &[split], 100).0, expected, "{text} at {split}");
            }
            let each: Vec<usize> = (1..text.len()).collect();
            assert_eq!(cut(text.as_bytes(), &each, 100).0, expected, "{text} byte by byte");
        }
    }

    #[test]
    fn an_element_past_the_limit_is_not_read() {
        let text = br#"[{"a":1},{"b":"long"},{"c":2}]"#;
        for split in 0..=text.len() {
            assert_eq!(cut(text, &[split], 8), (vec![r#"{"a":1}"#.to_owned()], true), "{split}");
        }
    }

    proptest! {
        #[test]
        fn elements_do_not_depend_on_the_chunks(
            text in r#"(\[|\]|\{|\}|"|\\|,|:|a|é){0,60}"#, limit in 1usize..80,
            mut cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut places: Vec<usize> = cuts.drain(..).map(|i| i.index(bytes.len() + 1)).collect();
            places.sort_unstable();
            prop_assert_eq!(cut(bytes, &[], limit), cut(bytes, &places, limit));
        }
    }
}
