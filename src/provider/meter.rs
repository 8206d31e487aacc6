//! Reads a stream as it is relayed, and takes out the usage that only we asked for.
//!
//! What comes in goes out: the same bytes, in the same order, at once. Only while usage is hidden is
//! the unfinished event at the end of a chunk kept back, and only an event that holds usage changes.
//! Nothing a provider sends can stop the relay: what is not understood is forwarded.

mod anthropic;
mod array;
mod bedrock;
mod chat;
mod gemini;
mod media;
mod responses;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;

use super::endpoint::Endpoint;
use super::kind::Kind;
use super::sse::{Cutter, EVENT_LIMIT, Event, Step};
use super::usage::Extra;
use crate::domain::money::Money;
use crate::domain::price::Wanted;
use crate::domain::usage::{ServiceTier, Usage};

/// What a stream has said so far.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamReport {
    /// Absent where no usage was reported, which is not the same as none used. Counts replace those
    /// of earlier events; they are never added up.
    pub usage: Option<Usage>,
    /// `usage` was told before the answer was: what was generated is not in it.
    pub usage_of_start: bool,
    /// What `usage` leaves out.
    pub extra: Vec<Extra>,
    /// The model that `usage` is of, where another took over from the one that was called.
    pub served_by: Option<Box<str>>,
    /// The tier that the provider says it used.
    pub service: Option<ServiceTier>,
    /// What the provider says it charged.
    pub provider_cost: Option<Money>,
    /// The event that ends the stream was seen: `[DONE]`, `message_stop`, and what else dialects have.
    pub done: bool,
    /// It was said why the answer ends, by a `finish_reason` or its like.
    pub finished: bool,
    /// An event that is an error was seen.
    pub error: bool,
    /// Bytes of generated text, for an estimate where usage is absent.
    pub content_bytes: u64,
    /// Events that held generated text.
    pub content_events: u64,
    /// Images that came whole, for prices by the image.
    pub images: u64,
    /// What of the answer decides the price of an image.
    pub chosen: Wanted,
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
    /// Absent where the stream is of events.
    array: Option<array::Cutter>,
    reader: Reader,
    report: StreamReport,
    hide_usage: bool,
    /// The stream may be an array of JSON, which its first byte tells.
    may_be_array: bool,
    /// The last event was taken out, so what still belongs to its end goes too.
    dropped: bool,
}

impl StreamMeter {
    /// A meter for a stream of this kind of provider and the endpoint that it was called at.
    /// `hide_usage` where we asked for usage and the client did not.
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
        Self {
            cutter: Cutter::new(event_limit),
            array: None,
            reader: Reader::new(kind, endpoint),
            report: StreamReport::default(),
            // Nobody else has to ask.
            hide_usage: hide_usage && matches!(endpoint, Endpoint::Chat | Endpoint::Completions),
            may_be_array: endpoint == Endpoint::StreamGenerateContent,
            dropped: false,
        }
    }

    /// Reads a chunk and says what to forward for it.
    pub fn push(&mut self, chunk: Bytes) -> Forward {
        if self.may_be_array {
            self.tell_array(&chunk);
        }
        if let Some(array) = &mut self.array {
            let reader = &mut self.reader;
            let report = &mut self.report;
            array.push(&chunk, |element| reader.whole(element, report));
            self.report.overflow = array.overflowed();
            return Forward::one(chunk);
        }
        self.push_events(chunk)
    }

    /// Whether a stream is of events, as with `alt=sse`, or an array that grows.
    fn tell_array(&mut self, chunk: &[u8]) {
        let Some(first) = chunk.iter().find(|byte| !byte.is_ascii_whitespace()) else { return };
        self.may_be_array = false;
        if matches!(first, b'[' | b'{') {
            self.array = Some(array::Cutter::new(self.cutter.limit()));
        }
    }

    fn push_events(&mut self, chunk: Bytes) -> Forward {
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
                    let fate = self.reader.event(&event, self.hide_usage, &mut self.report);
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
                    self.report.overflow = true;
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
        let fate = self.reader.event(&event, self.hide_usage, &mut self.report);
        if !self.hide_usage {
            return Forward::default();
        }
        match fate {
            Fate::Keep => Forward::one(Bytes::copy_from_slice(event.raw)),
            Fate::Cut(cuts) => Forward::one(without(event.raw, &cuts)),
            Fate::Drop => Forward::default(),
        }
    }

    /// Whether what is relayed is events, between which another can be put.
    pub const fn is_of_events(&self) -> bool {
        self.array.is_none()
    }

    pub const fn report(&self) -> &StreamReport {
        &self.report
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

/// Reads one dialect. Each keeps what it has read of the counts, and says the rest in the report.
#[derive(Debug)]
enum Reader {
    Chat(chat::Reader),
    Responses(responses::Reader),
    Media(media::Reader),
    Anthropic(anthropic::Reader),
    Gemini(gemini::Reader),
    Bedrock(bedrock::Reader),
    /// Of what costs nothing.
    Nothing,
}

impl Reader {
    fn new(kind: Kind, endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Chat
            | Endpoint::Completions
            | Endpoint::Embeddings
            | Endpoint::Moderations => Self::Chat(chat::Reader::new(kind, endpoint)),
            Endpoint::Responses => Self::Responses(responses::Reader::new(kind)),
            Endpoint::ImageGenerations
            | Endpoint::ImageEdits
            | Endpoint::Speech
            | Endpoint::Transcriptions
            | Endpoint::Translations
            | Endpoint::Rerank => Self::Media(media::Reader::new(kind, endpoint)),
            Endpoint::Messages => Self::Anthropic(anthropic::Reader::default()),
            Endpoint::GenerateContent
            | Endpoint::StreamGenerateContent
            | Endpoint::EmbedContent
            | Endpoint::BatchEmbedContents => Self::Gemini(gemini::Reader::default()),
            Endpoint::Converse | Endpoint::ConverseStream => {
                Self::Bedrock(bedrock::Reader::default())
            }
            Endpoint::CountTokens | Endpoint::GeminiCountTokens => Self::Nothing,
        }
    }

    fn event(&mut self, event: &Event<'_>, hide_usage: bool, report: &mut StreamReport) -> Fate {
        let Some(data) = event.data() else { return Fate::Keep };
        if data.is_done() {
            report.done = true;
            return Fate::Keep;
        }
        match self {
            Self::Chat(reader) => return reader.event(&data, hide_usage, report),
            Self::Responses(reader) => reader.event(&data.text, report),
            Self::Media(reader) => reader.event(&data.text, report),
            Self::Anthropic(reader) => reader.event(&data.text, report),
            Self::Gemini(reader) => reader.event(&data.text, report),
            Self::Bedrock(reader) => reader.event(event.name(), &data.text, report),
            Self::Nothing => {}
        }
        Fate::Keep
    }

    fn whole(&mut self, body: &[u8], report: &mut StreamReport) {
        match self {
            Self::Chat(reader) => reader.whole(body, report),
            Self::Responses(reader) => reader.whole(body, report),
            Self::Media(reader) => reader.whole(body, report),
            Self::Anthropic(reader) => reader.whole(body, report),
            Self::Gemini(reader) => reader.whole(body, report),
            Self::Bedrock(reader) => reader.whole(body, report),
            Self::Nothing => {}
        }
    }
}

/// Reads an answer that is not a stream.
pub(super) fn read_whole(kind: Kind, endpoint: Endpoint, body: &[u8]) -> StreamReport {
    let mut report = StreamReport::default();
    Reader::new(kind, endpoint).whole(body, &mut report);
    report
}
