//! Takes the events of an AWS binary event stream out of their frames and writes them as server-sent
//! events, however the bytes arrive in pieces.
//!
//! Behind this every stream is one of server-sent events: the meter and the translators know no frames.
//! An event has its `:event-type` as its name and its payload as data; an exception, its
//! `:exception-type`. Both checksums of a frame are checked before a byte of it is believed, and at most
//! one frame is kept. What is broken ends the stream with an `error` event: after it there is nothing to
//! find the next frame by. Never panics, whatever comes.
//!
//! The frame (AWS, "Event stream encoding"; Smithy, "Amazon event stream specification"), all numbers
//! big-endian: total length, length of the headers, CRC-32 of those eight bytes, the headers, the
//! payload, CRC-32 of everything before it.

use bytes::Bytes;
use serde_json::json;

use super::sse::EVENT_LIMIT;

const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// The most that a frame's headers may have, by the same specification.
const HEADERS_LIMIT: usize = 128 << 10;

/// What an event is named that does not say what it is, or says it in no word.
const NAMELESS: &str = "unknown";

/// Decodes one stream.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The start of a frame whose end has not come.
    tail: Vec<u8>,
    is_broken: bool,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Prelude,
    Length,
    Message,
    Headers,
    Cut,
}

impl Fault {
    const fn message(self) -> &'static str {
        match self {
            Self::Prelude => "The provider's stream is damaged: a prelude's checksum is wrong.",
            Self::Length => {
                "The provider sent an event that is too long, or of no possible length."
            }
            Self::Message => "The provider's stream is damaged: a message's checksum is wrong.",
            Self::Headers => "The provider's stream is damaged: a message's headers make no sense.",
            Self::Cut => "The provider's stream ended in the middle of an event.",
        }
    }
}

/// The lengths that a prelude tells.
#[derive(Clone, Copy)]
struct Prelude {
    total: usize,
    headers: usize,
}

/// The headers that say what a message is.
#[derive(Default)]
struct Headers<'a> {
    message_type: Option<&'a str>,
    event_type: Option<&'a str>,
    exception_type: Option<&'a str>,
    error_code: Option<&'a str>,
    error_message: Option<&'a str>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    pub const fn new() -> Self {
        Self::with_limit(EVENT_LIMIT)
    }

    /// The same with another limit for the size of one frame.
    pub const fn with_limit(limit: usize) -> Self {
        Self { limit, tail: Vec::new(), is_broken: false }
    }

    /// The events that ended in this chunk, as server-sent events.
    pub fn push(&mut self, chunk: &[u8]) -> Bytes {
        let mut out = Vec::new();
        let mut rest = chunk;
        while !self.is_broken && !rest.is_empty() {
            if let Err(fault) = self.advance(&mut rest, &mut out) {
                self.fail(fault, &mut out);
            }
        }
        Bytes::from(out)
    }

    /// Ends the stream: what a frame lacks then is told as an error.
    pub fn finish(&mut self) -> Bytes {
        let mut out = Vec::new();
        if !self.is_broken && !self.tail.is_empty() {
            self.fail(Fault::Cut, &mut out);
        }
        Bytes::from(out)
    }

    /// Whether the stream could not be read to its end.
    pub const fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Takes one frame from `rest`, or keeps what there is of it.
    fn advance(&mut self, rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.tail.is_empty() && rest.len() >= PRELUDE {
            let prelude = read_prelude(rest, self.limit)?;
            if let Some((frame, later)) = rest.split_at_checked(prelude.total) {
                *rest = later;
                return write_message(frame, prelude, out);
            }
        }
        if self.tail.len() < PRELUDE {
            keep(&mut self.tail, rest, PRELUDE);
            if self.tail.len() < PRELUDE {
                return Ok(());
            }
        }
        // A prelude is checked as soon as it is whole: only then is its length believed.
        let prelude = read_prelude(&self.tail, self.limit)?;
        keep(&mut self.tail, rest, prelude.total);
        if self.tail.len() < prelude.total {
            return Ok(());
        }
        let written = write_message(&self.tail, prelude, out);
        self.tail.clear();
        written
    }

    fn fail(&mut self, fault: Fault, out: &mut Vec<u8>) {
        self.is_broken = true;
        self.tail = Vec::new();
        let error = json!({ "message": fault.message(), "code": "invalid_event_stream" });
        write_event("error", error.to_string().as_bytes(), out);
    }
}

/// Moves bytes from `rest` until `kept` has as many as it should.
fn keep(kept: &mut Vec<u8>, rest: &mut &[u8], length: usize) {
    let missing = length.saturating_sub(kept.len());
    let (now, later) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
    kept.extend_from_slice(now);
    *rest = later;
}

/// A big-endian number at an offset.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*four))
}

fn read_prelude(bytes: &[u8], limit: usize) -> Result<Prelude, Fault> {
    let length = |at| number(bytes, at).and_then(|length| usize::try_from(length).ok());
    let (Some(total), Some(headers), Some(sum)) = (length(0), length(4), number(bytes, 8)) else {
        return Err(Fault::Prelude);
    };
    if bytes.get(..8).map(crc32fast::hash) != Some(sum) {
        return Err(Fault::Prelude);
    }
    let least = PRELUDE + CHECKSUM;
    if headers > HEADERS_LIMIT || total < headers.saturating_add(least) || total > limit {
        return Err(Fault::Length);
    }
    Ok(Prelude { total, headers })
}

fn write_message(frame: &[u8], prelude: Prelude, out: &mut Vec<u8>) -> Result<(), Fault> {
    let Some((message, sum)) = frame.split_last_chunk::<CHECKSUM>() else {
        return Err(Fault::Length);
    };
    if crc32fast::hash(message) != u32::from_be_bytes(*sum) {
        return Err(Fault::Message);
    }
    let body = message.get(PRELUDE..).unwrap_or_default();
    let (headers, payload) = body.split_at_checked(prelude.headers).ok_or(Fault::Length)?;
    let headers = Headers::read(headers).ok_or(Fault::Headers)?;
    headers.write(payload, out);
    Ok(())
}

impl<'a> Headers<'a> {
    /// `None` where they cannot be cut into headers.
    fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut headers = Self::default();
        while let Some((&length, rest)) = bytes.split_first() {
            let (name, rest) = rest.split_at_checked(usize::from(length))?;
            let (&kind, rest) = rest.split_first()?;
            let (value, rest) = value(kind, rest)?;
            bytes = rest;
            let member = match name {
                b":message-type" => &mut headers.message_type,
                b":event-type" => &mut headers.event_type,
                b":exception-type" => &mut headers.exception_type,
                b":error-code" => &mut headers.error_code,
                b":error-message" => &mut headers.error_message,
                _ => continue,
            };
            *member = value;
        }
        Some(headers)
    }

    fn write(&self, payload: &[u8], out: &mut Vec<u8>) {
        match self.message_type {
            Some("exception") => {
                write_event(self.exception_type.unwrap_or("exception"), payload, out);
            }
            Some("error") => {
                let error = json!({ "message": self.error_message, "code": self.error_code });
                write_event("error", error.to_string().as_bytes(), out);
            }
            _ => write_event(self.event_type.unwrap_or(NAMELESS), payload, out),
        }
    }
}

/// A header's value, where it is text, and what comes after it.
fn value(kind: u8, bytes: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let length = match kind {
        // True and false.
        0 | 1 => 0,
        // A byte, a short, an integer, a long, a timestamp, a UUID.
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        // Bytes and text, behind their length.
        6 | 7 => {
            let (length, rest) = bytes.split_first_chunk::<2>()?;
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let text = if kind == 7 { std::str::from_utf8(value).ok() } else { None };
            return Some((text, rest));
        }
        _ => return None,
    };
    Some((None, bytes.get(length..)?))
}

/// Writes an event. One that has no payload has no data, and nobody would see it.
fn write_event(name: &str, payload: &[u8], out: &mut Vec<u8>) {
    let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(if is_word { name } else { NAMELESS }.as_bytes());
    let payload = if payload.is_empty() { &b"{}"[..] } else { payload };
    // A line break in JSON stands between its tokens, so that any other serves as well.
    for line in payload.split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(b"\ndata: ");
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests;
