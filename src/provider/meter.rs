//! Reads a stream as it is relayed, and takes out the usage that only we asked for.
//!
//! What comes in goes out: the same bytes, in the same order, at once. Only while usage is hidden is
//! the unfinished event at the end of a chunk kept back, and only an event that holds usage changes.
//! Nothing a provider sends can stop the relay: what is not understood is forwarded.

use std::ops::Range;

use bytes::Bytes;

use super::endpoint::Endpoint;
use super::json::{self, Cursor};
use super::kind::Kind;
use super::sse::{Cutter, Data, EVENT_LIMIT, Event, Step};
use super::usage::{Counts, overwrite, service_tier};
use crate::domain::money::Money;
use crate::domain::usage::{ServiceTier, Usage};

/// What a stream has said so far.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamReport {
    /// Absent where no usage was reported, which is not the same as none used. Counts replace those
    /// of earlier events; they are never added up.
    pub usage: Option<Usage>,
    /// The tier that the provider says it used.
    pub service: Option<ServiceTier>,
    /// What the provider says it charged.
    pub provider_cost: Option<Money>,
    /// The marker `[DONE]` was seen.
    pub done: bool,
    /// A `finish_reason` was seen.
    pub finished: bool,
    /// An event with an `error` was seen.
    pub error: bool,
    /// Bytes of generated text, for an estimate where usage is absent.
    pub content_bytes: u64,
    /// Events that held generated text.
    pub content_events: u64,
    /// An event was too long to read: the rest of the stream was forwarded without being read.
    pub overflow: bool,
}

/// Bytes to forward now, in order.
#[derive(Debug, Default)]
pub struct Forward {
    first: Option<Bytes>,
    rest: Vec<Bytes>,
}

/// The meter of one stream.
#[derive(Debug)]
pub struct StreamMeter {
    cutter: Cutter,
    reader: Reader,
    hide_usage: bool,
    /// The last event was taken out, so what still belongs to its end goes too.
    dropped: bool,
}

impl StreamMeter {
    /// A meter for a stream of this kind and endpoint. `hide_usage` where we asked for usage and the
    /// client did not.
    pub fn new(kind: Kind, endpoint: Endpoint, hide_usage: bool) -> Self {
        Self::with_event_limit(kind, endpoint, hide_usage, EVENT_LIMIT)
    }

    /// The same with another limit for the size of one event.
    pub fn with_event_limit(
        kind: Kind,
        endpoint: Endpoint,
        hide_usage: bool,
        event_limit: usize,
    ) -> Self {
        let reader = Reader {
            kind,
            endpoint,
            counts: Counts::default(),
            fallback: Counts::default(),
            report: StreamReport::default(),
        };
        Self { cutter: Cutter::new(event_limit), reader, hide_usage, dropped: false }
    }

    /// Reads a chunk and says what to forward for it.
    pub fn push(&mut self, chunk: Bytes) -> Forward {
        if self.cutter.overflowed() {
            return Forward::one(chunk);
        }
        let mut out = Forward::default();
        let mut at = self.cutter.leading(&chunk);
        // Everything from here to `at` is kept and not forwarded yet.
        let mut kept_from = if self.dropped { at } else { 0 };
        loop {
            match self.cutter.next(&chunk, at) {
                Step::Event(event) => {
                    let fate = self.reader.read(&event, self.hide_usage);
                    self.dropped = matches!(fate, Fate::Drop);
                    match fate {
                        Fate::Keep if self.hide_usage => {
                            out.push(Bytes::copy_from_slice(&event.raw[..event.carried]));
                        }
                        Fate::Keep => {}
                        Fate::Drop => {
                            out.push(chunk.slice(kept_from..at));
                            kept_from = event.end;
                        }
                        Fate::Cut(cuts) => {
                            out.push(chunk.slice(kept_from..at));
                            out.push(without(event.raw, &cuts));
                            kept_from = event.end;
                        }
                    }
                    at = event.end;
                }
                Step::Wait if self.hide_usage => {
                    out.push(chunk.slice(kept_from..at));
                    return out;
                }
                Step::Wait => return Forward::one(chunk),
                Step::Overflow => {
                    self.reader.report.overflow = true;
                    if !self.hide_usage {
                        return Forward::one(chunk);
                    }
                    out.push(Bytes::copy_from_slice(self.cutter.held()));
                    out.push(chunk.slice(kept_from..));
                    return out;
                }
            }
        }
    }

    /// Ends the stream: reads an event that was not finished and gives what was kept back of it.
    pub fn finish(&mut self) -> Forward {
        let Some(event) = self.cutter.last() else { return Forward::default() };
        let fate = self.reader.read(&event, self.hide_usage);
        if !self.hide_usage {
            return Forward::default();
        }
        match fate {
            Fate::Keep => Forward::one(Bytes::copy_from_slice(event.raw)),
            Fate::Cut(cuts) => Forward::one(without(event.raw, &cuts)),
            Fate::Drop => Forward::default(),
        }
    }

    pub const fn report(&self) -> &StreamReport {
        &self.reader.report
    }
}

impl Forward {
    fn one(bytes: Bytes) -> Self {
        let mut forward = Self::default();
        forward.push(bytes);
        forward
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        match self.first {
            None => self.first = Some(bytes),
            Some(_) => self.rest.push(bytes),
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl From<Bytes> for Forward {
    fn from(bytes: Bytes) -> Self {
        Self::one(bytes)
    }
}

impl IntoIterator for Forward {
    type Item = Bytes;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Bytes>, std::vec::IntoIter<Bytes>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}

/// What becomes of an event's bytes.
enum Fate {
    Keep,
    /// All of it is usage that the client did not ask for.
    Drop,
    /// These ranges of it are.
    Cut(Vec<Range<usize>>),
}

fn without(raw: &[u8], cuts: &[Range<usize>]) -> Bytes {
    let mut kept = Vec::with_capacity(raw.len());
    let mut from = 0;
    for cut in cuts {
        kept.extend_from_slice(&raw[from..cut.start]);
        from = cut.end;
    }
    kept.extend_from_slice(&raw[from..]);
    Bytes::from(kept)
}

#[derive(Debug)]
struct Reader {
    kind: Kind,
    endpoint: Endpoint,
    counts: Counts,
    /// What was found where only some kinds put it, for when it is nowhere else.
    fallback: Counts,
    report: StreamReport,
}

impl Reader {
    fn read(&mut self, event: &Event<'_>, hide_usage: bool) -> Fate {
        let Some(data) = event.data() else { return Fate::Keep };
        if data.is_done() {
            self.report.done = true;
            return Fate::Keep;
        }
        let facts = Facts::read(self.endpoint, b"delta", &data.text);
        self.note(&facts);
        if hide_usage { fate(&data, &facts) } else { Fate::Keep }
    }

    fn note(&mut self, facts: &Facts<'_>) {
        let report = &mut self.report;
        report.error |= facts.error;
        report.finished |= facts.finished;
        report.content_bytes = report.content_bytes.saturating_add(facts.content_bytes);
        report.content_events += u64::from(facts.content_bytes > 0);
        overwrite(&mut report.service, facts.service);
        if facts.usage.is_none() && facts.fallback_usage.is_none() {
            return;
        }
        if let Some(usage) = facts.usage {
            self.counts.read(usage);
        }
        if let Some(usage) = facts.fallback_usage {
            self.fallback.read(usage);
        }
        report.usage = self.counts.usage(self.kind).or_else(|| self.fallback.usage(self.kind));
        report.provider_cost = self.counts.cost(self.kind);
        if facts.service.is_none() {
            overwrite(&mut report.service, self.counts.service);
        }
    }
}

/// An event that is nothing but usage goes; of any other only the usage does. An error is always
/// shown.
fn fate(data: &Data<'_>, facts: &Facts<'_>) -> Fate {
    if facts.usage_members.is_empty() {
        return Fate::Keep;
    }
    if facts.choices == Choices::None && !facts.error {
        return Fate::Drop;
    }
    let cuts = json::cuts(&data.text, &facts.usage_members);
    let raw = |cut: Range<usize>| data.raw_offset(cut.start)..data.raw_offset(cut.end);
    Fate::Cut(cuts.into_iter().map(raw).collect())
}

/// What the `choices` of an event are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Choices {
    #[default]
    Absent,
    /// An empty list, or null as some servers write it.
    None,
    Some,
}

/// What one JSON event or answer says.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    /// The last usage that is not null.
    pub(super) usage: Option<&'a [u8]>,
    /// Where each such usage stands with its key.
    usage_members: Vec<Range<usize>>,
    pub(super) fallback_usage: Option<&'a [u8]>,
    pub(super) service: Option<ServiceTier>,
    pub(super) error: bool,
    finished: bool,
    choices: Choices,
    pub(super) content_bytes: u64,
}

impl<'a> Facts<'a> {
    /// Reads what is known of `text` in one pass; `message` is the member of a choice that holds what
    /// was generated. Text that stops making sense is read so far.
    pub(super) fn read(endpoint: Endpoint, message: &[u8], text: &'a [u8]) -> Self {
        let mut facts = Self::default();
        let mut cursor = Cursor::new(text);
        cursor.object(|cursor, key, key_at| match key {
            b"choices" => facts.read_choices(cursor, endpoint, message),
            b"usage" => {
                let place = cursor.skip_range()?;
                let value = text.get(place.clone())?;
                if value != b"null" {
                    facts.usage = Some(value);
                    facts.usage_members.push(key_at..place.end);
                }
                Some(())
            }
            b"x_groq" => cursor.object(|cursor, key, _| {
                let value = cursor.skip()?;
                if key == b"usage" {
                    facts.fallback_usage = Some(value);
                }
                Some(())
            }),
            b"service_tier" => {
                overwrite(&mut facts.service, service_tier(cursor.skip()?));
                Some(())
            }
            b"error" => {
                facts.error |= is_truthy(cursor.skip()?);
                Some(())
            }
            _ => cursor.skip().map(drop),
        });
        facts
    }

    fn read_choices(
        &mut self,
        cursor: &mut Cursor<'a>,
        endpoint: Endpoint,
        message: &[u8],
    ) -> Option<()> {
        self.choices = Choices::None;
        if cursor.peek()? != b'[' {
            let value = cursor.skip()?;
            if value != b"null" {
                self.choices = Choices::Some;
            }
            return Some(());
        }
        cursor.array(|cursor| {
            self.choices = Choices::Some;
            cursor.object(|cursor, key, _| {
                if key == b"finish_reason" {
                    self.finished |= cursor.skip()? != b"null";
                    return Some(());
                }
                let count = match endpoint {
                    Endpoint::Chat if key == message => generated(cursor)?,
                    Endpoint::Completions if key == b"text" => text_bytes(cursor)?,
                    _ => cursor.skip().map(|_| 0)?,
                };
                self.content_bytes = self.content_bytes.saturating_add(count);
                Some(())
            })
        })
    }
}

/// Bytes of what was generated in a message or a piece of one.
fn generated(cursor: &mut Cursor<'_>) -> Option<u64> {
    let mut count = 0u64;
    // Some send the same thoughts under both of their names.
    let mut thoughts = 0u64;
    cursor.object(|cursor, key, _| {
        match key {
            b"content" | b"refusal" => count = count.saturating_add(text_bytes(cursor)?),
            b"reasoning" | b"reasoning_content" => thoughts = thoughts.max(text_bytes(cursor)?),
            b"function_call" => count = count.saturating_add(function(cursor)?),
            b"tool_calls" => {
                cursor.array(|cursor| {
                    cursor.object(|cursor, key, _| {
                        match key {
                            b"function" | b"custom" => {
                                count = count.saturating_add(function(cursor)?);
                            }
                            _ => drop(cursor.skip()?),
                        }
                        Some(())
                    })
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Some(())
    })?;
    Some(count.saturating_add(thoughts))
}

fn function(cursor: &mut Cursor<'_>) -> Option<u64> {
    let mut count = 0u64;
    cursor.object(|cursor, key, _| {
        match key {
            b"name" | b"arguments" | b"input" => count = count.saturating_add(text_bytes(cursor)?),
            _ => drop(cursor.skip()?),
        }
        Some(())
    })?;
    Some(count)
}

/// Bytes of a text. Parts in a list are counted as they are written, which is never less.
fn text_bytes(cursor: &mut Cursor<'_>) -> Option<u64> {
    if cursor.peek()? == b'"' {
        return cursor.string().map(json::text_len);
    }
    let value = cursor.skip()?;
    Some(if is_truthy(value) { value.len() as u64 } else { 0 })
}

/// Whether a value says something, as `OpenAI`'s clients judge an `error`.
fn is_truthy(value: &[u8]) -> bool {
    !matches!(value, b"null" | b"false" | b"0" | b"\"\"" | b"{}" | b"[]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::Class;
    use proptest::prelude::*;

    /// The bytes forwarded and the report, for chunks that end at the given offsets.
    fn relay(hide: bool, limit: usize, stream: &[u8], cuts: &[usize]) -> (Vec<u8>, StreamReport) {
        let mut meter = StreamMeter::with_event_limit(Kind::OpenAi, Endpoint::Chat, hide, limit);
        let whole = Bytes::copy_from_slice(stream);
        let mut out = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([stream.len()]) {
            for piece in meter.push(whole.slice(from.min(to)..to)) {
                out.extend_from_slice(&piece);
            }
            from = to;
        }
        for piece in meter.finish() {
            out.extend_from_slice(&piece);
        }
        (out, *meter.report())
    }

    fn hidden(stream: &str) -> String {
        let (whole, report) = relay(true, 1 << 20, stream.as_bytes(), &[]);
        for split in 0..=stream.len() {
            let (out, same) = relay(true, 1 << 20, stream.as_bytes(), &[split]);
            assert_eq!(out, whole, "split at {split}");
            assert_eq!(same, report, "split at {split}");
        }
        let each: Vec<usize> = (1..stream.len()).collect();
        assert_eq!(relay(true, 1 << 20, stream.as_bytes(), &each), (whole.clone(), report));
        String::from_utf8(whole).expect("UTF-8")
    }

    const PLAIN: &str = concat!(
        ": hello\n\n",
        "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"Gr\\u00fcn \"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\"}}],\"service_tier\":\"priority\"}\n\n",
        "data: {\"choices\":[{\"delta\":{\"reasoning\":\"abc\",\"reasoning_content\":\"abc\",\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    );
    const USAGE: &str =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    #[test]
    fn a_stream_is_relayed_as_it_came_and_at_once() {
        let stream = Bytes::from([PLAIN, USAGE, DONE].concat());
        for split in 0..=stream.len() {
            let mut meter = StreamMeter::new(Kind::OpenAi, Endpoint::Chat, false);
            for chunk in [stream.slice(..split), stream.slice(split..)] {
                let out: Vec<Bytes> = meter.push(chunk.clone()).into_iter().collect();
                let expected = if chunk.is_empty() { vec![] } else { vec![chunk.clone()] };
                assert_eq!(out, expected);
                assert!(out.iter().all(|piece| piece.as_ptr() == chunk.as_ptr()), "not copied");
            }
            assert!(meter.finish().is_empty());
            let report = meter.report();
            let usage = Usage::default().with(Class::Input, 7).with(Class::Output, 3);
            assert_eq!(report.usage, Some(usage));
            assert_eq!(report.service, Some(ServiceTier::Priority));
            assert!(report.done && report.finished && !report.error && !report.overflow);
            assert_eq!(report.content_bytes, 6 + 9 + 3 + 3);
            assert_eq!(report.content_events, 3);
        }
    }

    #[test]
    fn usage_that_only_we_asked_for_is_taken_out() {
        assert_eq!(hidden(&[PLAIN, USAGE, DONE].concat()), [PLAIN, DONE].concat());
        for line_end in ["\n", "\r\n", "\r"] {
            let stream = [PLAIN, USAGE, DONE, USAGE].concat().replace('\n', line_end);
            let expected = [PLAIN, DONE].concat().replace('\n', line_end);
            assert_eq!(hidden(&stream), expected, "{line_end:?}");
        }
        assert_eq!(hidden(USAGE.trim_end()), "", "without its blank line");
        assert_eq!(hidden(&USAGE.replace("[]", "null")), "");
    }

    #[test]
    fn usage_beside_other_members_is_cut_out_alone() {
        for (event, left) in [
            (
                r#"data: {"id":1,"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1},"model":"m"}"#,
                r#"data: {"id":1,"choices":[{"delta":{"content":"x"}}],"model":"m"}"#,
            ),
            (r#"data:{"usage" : {"a":1} , "choices":[{}]}"#, r#"data:{ "choices":[{}]}"#),
            (r#"data: {"usage":{"a":1}}"#, "data: {}"),
            (
                r#"data: {"usage":{"a":1},"usage":{"a":2},"choices":[{}]}"#,
                r#"data: {"choices":[{}]}"#,
            ),
            (
                r#"data: {"choices":[{}],"usage":{"a":1},"usage":{"a":2}}"#,
                r#"data: {"choices":[{}]}"#,
            ),
            (
                r#"data: {"choices":[],"usage":{"a":1},"error":{"code":1}}"#,
                r#"data: {"choices":[],"error":{"code":1}}"#,
            ),
            ("data: {\"choices\":[{}],\ndata: \"usage\":\ndata: {}}", "data: {\"choices\":[{}]}"),
            (
                r#"data: {"choices":[{"usage":{"a":1}}]}"#,
                r#"data: {"choices":[{"usage":{"a":1}}]}"#,
            ),
            (r#"data: {"choices":[],"usage":null}"#, r#"data: {"choices":[],"usage":null}"#),
            ("data: {\"usage\":{\"a\":1", "data: {\"usage\":{\"a\":1"),
            ("data: not JSON \"usage\"", "data: not JSON \"usage\""),
        ] {
            for end in ["\n\n", "\r\n\r\n", ""] {
                let stream = format!("{event}{end}");
                assert_eq!(hidden(&stream), format!("{left}{end}"), "{event}");
            }
        }
    }

    #[test]
    fn what_does_not_change_is_not_copied() {
        let chunk = Bytes::from([PLAIN, "data: {\"half"].concat());
        let mut meter = StreamMeter::new(Kind::OpenAi, Endpoint::Chat, true);
        let out: Vec<Bytes> = meter.push(chunk.clone()).into_iter().collect();
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].as_ptr(), out[0].len()), (chunk.as_ptr(), PLAIN.len()));
    }

    #[test]
    fn later_usage_replaces_what_it_names() {
        let chunk = |usage: &str| format!("data: {{\"choices\":[{{}}],\"usage\":{usage}}}\n\n");
        let stream = [
            chunk(r#"{"prompt_tokens":0,"completion_tokens":0}"#),
            chunk(r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":4}}"#),
            chunk(r#"{"completion_tokens":5,"prompt_tokens":null}"#),
            chunk("null"),
        ]
        .concat();
        let report = relay(false, 1 << 20, stream.as_bytes(), &[]).1;
        let usage =
            Usage::default().with(Class::Input, 5).with(Class::CacheRead, 4).with(Class::Output, 5);
        assert_eq!(report.usage, Some(usage));
    }

    #[test]
    fn usage_in_its_second_place_counts_only_where_there_is_no_other() {
        let beside = "data: {\"x_groq\":{\"id\":\"a\",\"usage\":{\"prompt_tokens\":8}}}\n\n";
        let report = relay(false, 1 << 20, beside.as_bytes(), &[]).1;
        assert_eq!(report.usage, Some(Usage::default().with(Class::Input, 8)));
        let both = [USAGE, beside].concat();
        let report = relay(false, 1 << 20, both.as_bytes(), &[]).1;
        assert_eq!(report.usage.map(|usage| usage.input_tokens()), Some(7));
    }

    #[test]
    fn an_error_event_is_seen() {
        for (event, error) in [
            (r#"data: {"error":{"message":"m"}}"#, true),
            (r#"data: {"error":"m"}"#, true),
            (r#"data: {"error":null,"choices":[]}"#, false),
            (r#"data: {"error":{}}"#, false),
        ] {
            assert_eq!(relay(false, 1 << 20, event.as_bytes(), &[]).1.error, error, "{event}");
        }
    }

    #[test]
    fn an_event_past_the_limit_ends_the_reading_and_not_the_relay() {
        let long = format!("data: {{\"pad\":\"{}\"}}\n\n", "x".repeat(200));
        let stream = [PLAIN, USAGE, &long, USAGE, DONE].concat();
        let expected = [PLAIN, &long, USAGE, DONE].concat();
        for hide in [false, true] {
            let expected = if hide { &expected } else { &stream };
            let whole = relay(hide, 190, stream.as_bytes(), &[]);
            assert!(whole.1.overflow && !whole.1.done && whole.1.usage.is_some());
            assert_eq!(String::from_utf8_lossy(&whole.0), *expected);
            for split in 0..=stream.len() {
                assert_eq!(relay(hide, 190, stream.as_bytes(), &[split]), whole, "{split}");
            }
        }
    }

    #[test]
    fn legacy_completions_have_their_text_elsewhere() {
        let stream = "data: {\"choices\":[{\"text\":\"four\",\"delta\":{\"content\":\"no\"}}]}\n\n";
        let mut meter = StreamMeter::new(Kind::OpenAi, Endpoint::Completions, false);
        let _ = meter.push(Bytes::from(stream));
        assert_eq!(meter.report().content_bytes, 4);
    }

    fn any_stream() -> impl Strategy<Value = Vec<u8>> {
        let event = prop_oneof![
            Just(USAGE.to_owned()),
            Just(DONE.to_owned()),
            Just(": ping\n\n".to_owned()),
            Just("\n".to_owned()),
            Just("\u{feff}".to_owned()),
            "(data: ?)?[{}\\[\\]\",:a-c 0-9]{0,20}\n{0,2}",
            "data: \\{\"choices\":\\[(\\{\\})?\\],\"usage\":(null|1|\\{\\})\\}\n\n?",
        ];
        let text = (proptest::collection::vec(event, 0..8), 0..3usize).prop_map(|(events, end)| {
            events.concat().replace('\n', ["\n", "\r\n", "\r"][end]).into_bytes()
        });
        prop_oneof![4 => text, 1 => any::<Vec<u8>>()]
    }

    proptest! {
        #[test]
        fn neither_bytes_nor_report_depend_on_the_chunks(
            stream in any_stream(), limit in 20usize..400, hide: bool,
            mut cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut places: Vec<usize> = cuts.drain(..).map(|i| i.index(stream.len() + 1)).collect();
            places.sort_unstable();
            let whole = relay(hide, limit, &stream, &[]);
            prop_assert_eq!(&whole, &relay(hide, limit, &stream, &places));
            if !hide {
                prop_assert_eq!(whole.0, stream);
            }
        }
    }
}
