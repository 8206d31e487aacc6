//! The fields of heads, of requests as of answers (RFC 9112, section 5): as they are read, kept in order
//! and written.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};

/// The fields of a head, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// The first of a name.
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// All of a name.
    pub fn all(&self, name: HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.0.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value)
    }

    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Headers {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

impl IntoIterator for Headers {
    type Item = (HeaderName, HeaderValue);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Fields that were parsed, and where their values stand in the head.
pub struct Parsed(Vec<(HeaderName, Range<usize>)>);

impl Parsed {
    /// Of what was parsed in `buffer`.
    ///
    /// # Errors
    /// What is wrong with a name.
    pub fn of(headers: &[httparse::Header<'_>], buffer: &[u8]) -> Result<Self, &'static str> {
        let mut found = Vec::with_capacity(headers.len());
        for header in headers {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let name = name.map_err(|_| "a header has no name")?;
            found.push((name, place(header.value, buffer)));
        }
        Ok(Self(found))
    }

    /// The fields, once their head is by itself. No value is copied.
    ///
    /// # Errors
    /// What is wrong with a value.
    pub fn of_head(self, head: &Bytes) -> Result<Headers, &'static str> {
        let value = |at| HeaderValue::from_maybe_shared(head.slice(at));
        let each = self.0.into_iter().map(|(name, at)| Ok((name, value(at)?)));
        each.collect::<Result<_, http::header::InvalidHeaderValue>>()
            .map_err(|_| "a header has no value")
    }
}

/// What a head and a small body mostly take.
const USUAL: usize = 2 << 10;
/// Room above this is not kept.
const MUCH: usize = 8 << 10;

/// Room in which heads are written, one after the other.
#[derive(Debug, Default)]
pub struct Room(BytesMut);

impl Room {
    /// Gives the room away; it is empty.
    pub fn take(&mut self) -> BytesMut {
        let mut room = std::mem::take(&mut self.0);
        room.reserve(USUAL);
        room
    }

    /// Takes it back once what was written in it is out, unless it is none, or much.
    pub fn keep(&mut self, mut room: BytesMut) {
        if (1..=MUCH).contains(&room.capacity()) {
            room.clear();
            self.0 = room;
        }
    }
}

/// Where a part of `buffer` stands in it.
pub fn place(part: &[u8], buffer: &[u8]) -> Range<usize> {
    let at = part.as_ptr().addr() - buffer.as_ptr().addr();
    at..at + part.len()
}

/// Writes a field.
pub fn put(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Writes how long a body is.
pub fn put_length(out: &mut BytesMut, length: u64) {
    out.put_slice(b"content-length: ");
    put_number(out, length);
    out.put_slice(b"\r\n");
}

fn put_number(out: &mut BytesMut, number: u64) {
    if number >= 10 {
        put_number(out, number / 10);
    }
    out.put_u8(b'0' + u8::try_from(number % 10).unwrap_or(0));
}
