//! Cuts a byte stream into server-sent events, however it arrives in pieces.
//!
//! The relay forwards the provider's own bytes, so an event is its original bytes, with the blank
//! line that ends it, and knows where its data stands among them. At most one event is kept in
//! memory, up to a limit; past it the cutter gives up for good and never grows.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// The largest event that is read; a longer one is only forwarded.
pub const EVENT_LIMIT: usize = 8 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Finds where events end. Feed it each chunk by calling [`Cutter::next`] until it waits.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Debug)]
pub struct Cutter {
    limit: usize,
    /// The bytes of an event that has not ended yet.
    tail: Vec<u8>,
    /// The event in `tail` has been given out and goes with the next call.
    spent: bool,
    /// Nothing of the present line has been seen.
    line_empty: bool,
    /// The last line ended with CR, so that LF is still part of its end.
    after_cr: bool,
    /// The last chunk ended with the CR of a blank line, so that LF still belongs to that event.
    lf_may_follow: bool,
    begun: bool,
    overflow: bool,
}

/// What [`Cutter::next`] found.
#[derive(Debug)]
pub enum Step<'a> {
    /// An event ended in this chunk.
    Event(Event<'a>),
    /// The rest of the chunk is an event that has not ended; it is kept.
    Wait,
    /// An event is longer than the limit: nothing is cut from here on.
    Overflow,
}

/// One event, or a run of comment lines, up to and with its blank line.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its original bytes.
    pub raw: &'a [u8],
    /// How many of them came in earlier chunks.
    pub carried: usize,
    /// Where it ends in this chunk.
    pub end: usize,
    first: bool,
}

/// The data of an event: its `data` lines joined with line feeds.
#[derive(Debug)]
pub struct Data<'a> {
    pub text: Cow<'a, [u8]>,
    /// Where each line begins: in `text`, and in the event's original bytes. The first line apart,
    /// because there is almost always only one.
    first: usize,
    more: Vec<(usize, usize)>,
}

impl Cutter {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            tail: Vec::new(),
            spent: false,
            line_empty: true,
            after_cr: false,
            lf_may_follow: false,
            begun: false,
            overflow: false,
        }
    }

    /// How many bytes at the start of a new chunk, none or one, still belong to the event that ended
    /// with the chunk before. Call it once for each chunk, before [`Cutter::next`].
    pub fn leading(&mut self, chunk: &[u8]) -> usize {
        let follows = self.lf_may_follow && chunk.first() == Some(&b'\n');
        self.lf_may_follow &= chunk.is_empty();
        usize::from(follows)
    }

    /// Looks for the end of an event in `chunk` from the offset `from`, where the one before ended.
    pub fn next<'a>(&'a mut self, chunk: &'a [u8], from: usize) -> Step<'a> {
        if self.spent {
            self.tail.clear();
            self.spent = false;
        }
        let carried = self.tail.len();
        let found = if self.overflow { None } else { self.find_end(chunk, from) };
        let end = found.map_or(chunk.len(), |(end, _)| end);
        // The LF of a last CRLF may come in another chunk, so it is never counted.
        let uncounted = usize::from(found.is_some_and(|(_, lf)| lf));
        if self.overflow || carried + (end - from) - uncounted > self.limit {
            self.overflow = true;
            return Step::Overflow;
        }
        if found.is_none() {
            self.tail.extend_from_slice(&chunk[from..]);
            return Step::Wait;
        }
        let first = !self.begun;
        self.begun = true;
        if carried == 0 {
            return Step::Event(Event { raw: &chunk[from..end], carried, end, first });
        }
        self.tail.extend_from_slice(&chunk[from..end]);
        self.spent = true;
        Step::Event(Event { raw: &self.tail, carried, end, first })
    }

    /// The event that the stream ended in the middle of, if any.
    pub fn last(&mut self) -> Option<Event<'_>> {
        if self.held().is_empty() || self.overflow {
            return None;
        }
        self.spent = true;
        let carried = self.tail.len();
        Some(Event { raw: &self.tail, carried, end: 0, first: !self.begun })
    }

    /// What is kept of an event that has not ended.
    pub fn held(&self) -> &[u8] {
        if self.spent { &[] } else { &self.tail }
    }

    pub const fn limit(&self) -> usize {
        self.limit
    }

    pub const fn overflowed(&self) -> bool {
        self.overflow
    }

    /// The offset after the next blank line, and whether it ended with CR and LF.
    fn find_end(&mut self, chunk: &[u8], from: usize) -> Option<(usize, bool)> {
        let mut at = from;
        loop {
            let rest = chunk.get(at..)?;
            if self.after_cr {
                let lf = *rest.first()? == b'\n';
                self.after_cr = false;
                if lf {
                    at += 1;
                    continue;
                }
            }
            let Some(found) = memchr2(b'\n', b'\r', rest) else {
                self.line_empty &= rest.is_empty();
                return None;
            };
            let blank = self.line_empty && found == 0;
            let cr = rest[found] == b'\r';
            at += found + 1;
            self.line_empty = true;
            if blank {
                let lf = cr && chunk.get(at) == Some(&b'\n');
                self.lf_may_follow = cr && at == chunk.len();
                return Some((at + usize::from(lf), lf));
            }
            self.after_cr = cr;
        }
    }
}

impl<'a> Event<'a> {
    /// The last of its `event` lines, where it is text.
    pub fn name(&self) -> Option<&'a str> {
        let bytes = self.raw;
        let text = if self.first { bytes.strip_prefix(BOM).unwrap_or(bytes) } else { bytes };
        let lines = text.split(|byte| matches!(byte, b'\n' | b'\r'));
        let value = lines.filter_map(|line| line.strip_prefix(b"event:")).next_back()?;
        std::str::from_utf8(value.strip_prefix(b" ").unwrap_or(value)).ok()
    }

    /// The event's data; absent where it has no `data` line, as in a comment.
    pub fn data(&self) -> Option<Data<'a>> {
        let mut at = if self.first && self.raw.starts_with(BOM) { BOM.len() } else { 0 };
        let mut data: Option<Data<'a>> = None;
        while at < self.raw.len() {
            let rest = &self.raw[at..];
            let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            if let Some(skipped) = data_field(&rest[..length]) {
                let (line, place) = (&rest[skipped..length], at + skipped);
                match &mut data {
                    None => data = Some(Data::line(line, place)),
                    Some(data) => data.join(line, place),
                }
            }
            at += length + 1;
        }
        data
    }
}

/// How many bytes of a `data` line come before its value; `None` for any other line.
fn data_field(line: &[u8]) -> Option<usize> {
    let value = line.strip_prefix(b"data")?;
    match value {
        [] => Some(line.len()),
        [b':', b' ', ..] => Some(6),
        [b':', ..] => Some(5),
        _ => None,
    }
}

impl<'a> Data<'a> {
    const fn line(line: &'a [u8], place: usize) -> Self {
        Self { text: Cow::Borrowed(line), first: place, more: Vec::new() }
    }

    fn join(&mut self, line: &[u8], place: usize) {
        let text = self.text.to_mut();
        text.push(b'\n');
        self.more.push((text.len(), place));
        text.extend_from_slice(line);
    }

    /// Where a byte of the text stands in the event's original bytes.
    pub fn raw_offset(&self, at: usize) -> usize {
        let line = self.more.iter().rev().find(|(start, _)| *start <= at);
        line.map_or(self.first + at, |(start, place)| place + (at - start))
    }

    /// Whether this is the marker that ends `OpenAI`'s streams.
    pub fn is_done(&self) -> bool {
        memchr(b'[', &self.text).is_some_and(|at| at < 8) && self.text.trim_ascii() == b"[DONE]"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bytes and data of each event, for chunks that end at the given offsets.
    fn cut(stream: &[u8], cuts: &[usize], limit: usize) -> (Vec<Vec<u8>>, Vec<String>, bool) {
        let mut cutter = Cutter::new(limit);
        let (mut raws, mut texts) = (Vec::<Vec<u8>>::new(), Vec::new());
        let mut note = |event: &Event<'_>| {
            raws.push(event.raw.to_vec());
            if let Some(data) = event.data() {
                texts.push(String::from_utf8_lossy(&data.text).into_owned());
            }
        };
        let mut from = 0;
        for to in cuts.iter().copied().chain([stream.len()]) {
            let chunk = &stream[from.min(to)..to];
            from = to;
            let mut at = cutter.leading(chunk);
            while let Step::Event(event) = cutter.next(chunk, at) {
                assert!(event.end > at || event.carried > 0);
                at = event.end;
                note(&event);
            }
        }
        if let Some(event) = cutter.last() {
            note(&event);
        }
        (raws, texts, cutter.overflowed())
    }

    #[test]
    fn an_event_has_the_name_of_its_last_event_line() {
        let name = |raw: &[u8]| {
            let mut cutter = Cutter::new(99);
            match cutter.next(raw, 0) {
                Step::Event(event) => event.name().map(str::to_owned),
                _ => None,
            }
        };
        assert_eq!(name(b"event: a\ndata: 1\nevent:b\r\n\n").as_deref(), Some("b"));
        assert_eq!(name(b"data: event: a\n\n"), None);
    }

    #[test]
    fn every_way_to_write_an_event_is_read_the_same() {
        for (stream, expected) in [
            ("data: a\n\ndata: b\n\n", &["a", "b"][..]),
            ("data:a\r\n\r\ndata:b\r\n\r\n", &["a", "b"]),
            ("data: a\r\rdata: b\r\r", &["a", "b"]),
            ("data: a\n\r\ndata: b\r\n\n", &["a", "b"]),
            ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]),
            ("data:  two spaces \n\n", &[" two spaces "]),
            ("data: one\ndata: two\ndata\ndata:\n\n", &["one\ntwo\n\n"]),
            (": comment\n\n: comment\ndata: a\n\n", &["a"]),
            ("event: e\nid: 1\ndata: a\nretry: 5\n\n", &["a"]),
            ("data: no blank line", &["no blank line"]),
            ("data: no blank line\n", &["no blank line"]),
            ("\n\n\ndata: after blank lines\n\n", &["after blank lines"]),
            ("database: other\ndata-x: other\n\n", &[]),
            ("data: \u{2028}ü\u{85}\n\n", &["\u{2028}ü\u{85}"]),
            ("", &[]),
        ] {
            for split in 0..=stream.len() {
                let (_, texts, _) = cut(stream.as_bytes(), &[split], 100);
                assert_eq!(texts, expected, "{stream:?} split at {split}");
            }
            let each: Vec<usize> = (1..stream.len()).collect();
            assert_eq!(cut(stream.as_bytes(), &each, 100).1, expected, "{stream:?} byte by byte");
        }
    }

    #[test]
    fn a_place_in_joined_data_is_found_in_the_original() {
        let raw = b"event: x\r\ndata: {\"a\":\r\n: note\r\ndata:1,\r\ndata: \"b\":2}\r\n\r\n";
        let event = Event { raw, carried: 0, end: raw.len(), first: true };
        let data = event.data().expect("data");
        assert_eq!(&*data.text, b"{\"a\":\n1,\n\"b\":2}");
        for (at, byte) in data.text.iter().enumerate().filter(|(_, byte)| **byte != b'\n') {
            assert_eq!(raw[data.raw_offset(at)], *byte, "{at}");
        }
        assert_eq!(&raw[data.raw_offset(data.text.len())..], b"\r\n\r\n");
    }

    #[test]
    fn an_event_past_the_limit_is_not_read_however_it_comes() {
        for (end, length) in [("\n\n", 10), ("\r\n\r\n", 11), ("\r\r", 10)] {
            let event = format!("data: ab{end}");
            let stream = format!("{event}data: cd{end}");
            for split in 0..=stream.len() {
                let fits = cut(stream.as_bytes(), &[split], length);
                assert_eq!(fits.1, ["ab", "cd"], "{end:?} {split}");
                let too_long = cut(stream.as_bytes(), &[split], length - 1);
                assert!(too_long.2 && too_long.1.is_empty(), "{end:?} {split}");
            }
        }
    }

    #[test]
    fn the_end_marker_is_known() {
        for (text, done) in
            [("[DONE]", true), (" [DONE] ", true), ("{}", false), ("\"[DONE]\"", false)]
        {
            assert_eq!(Data::line(text.as_bytes(), 0).is_done(), done, "{text}");
        }
    }

    proptest! {
        #[test]
        fn events_are_the_stream_for_any_chunks(
            stream in "(data: ?|x|:|\n|\r|\r\n|\u{feff}|é){0,40}",
            mut cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes = stream.as_bytes();
            let whole = cut(bytes, &[], 1000);
            let mut places: Vec<usize> = cuts.drain(..).map(|i| i.index(bytes.len() + 1)).collect();
            places.sort_unstable();
            let pieces = cut(bytes, &places, 1000);
            prop_assert_eq!(&whole.1, &pieces.1);
            prop_assert_eq!(whole.0.concat(), bytes);
            prop_assert_eq!(whole.0.len(), pieces.0.len());
        }
    }
}
