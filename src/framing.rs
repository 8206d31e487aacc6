//! Where the body of a message ends (RFC 9112, section 6), and whether it did: the same for requests and
//! for answers.

use bytes::{Buf, Bytes, BytesMut};
use http::header::HeaderName;

/// The longest line with a chunk's size, and the longest trailer.
const LONGEST_LINE: usize = 4 << 10;
/// How much may stand behind the last chunk.
const LONGEST_TRAILERS: usize = 32 << 10;
/// A part up to this size is copied.
const LITTLE: usize = 4 << 10;

/// Why a body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("it ended before its end")]
    Cut,
    #[error("{0}")]
    Senseless(&'static str),
}

/// How the rest of a body is marked off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are missing.
    Length(u64),
    Chunked(Chunk),
    /// The connection's end is the body's.
    Close,
    Over,
    /// It makes no sense from here on: nothing behind it may be taken for something else.
    Broken(FramingError),
}

/// What comes next of a body in chunks (RFC 9112, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    Size,
    Data(u64),
    /// The end of a chunk's line.
    End,
    /// What stands behind the last one: so much of it has come.
    Trailers(usize),
}

impl Framing {
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Over)
    }

    /// Takes what is there of the body; `None` if more must come first, or if it is over.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        let part = match self {
            Self::Over => Ok(None),
            Self::Broken(error) => Err(*error),
            Self::Close => Ok((!buffer.is_empty()).then(|| buffer.split().freeze())),
            Self::Length(missing) => {
                let part = part(buffer, missing);
                if *missing == 0 {
                    *self = Self::Over;
                }
                Ok(part)
            }
            Self::Chunked(chunk) => chunk.take(buffer).map(|next| match next {
                Next::Part(part) => Some(part),
                Next::Wait => None,
                Next::End => {
                    *self = Self::Over;
                    None
                }
            }),
        };
        part.inspect_err(|error| *self = Self::Broken(*error))
    }

    /// The connection has ended: an error if the body has not.
    pub fn close(&mut self) -> Result<(), FramingError> {
        match std::mem::replace(self, Self::Over) {
            Self::Over | Self::Close => Ok(()),
            Self::Length(_) | Self::Chunked(_) => Err(FramingError::Cut),
            Self::Broken(error) => Err(error),
        }
    }
}

/// What comes next of chunks.
enum Next {
    Part(Bytes),
    /// More must come first.
    Wait,
    End,
}

impl Chunk {
    fn take(&mut self, buffer: &mut BytesMut) -> Result<Next, FramingError> {
        loop {
            if let Self::Data(missing) = self {
                let part = part(buffer, missing);
                if *missing == 0 {
                    *self = Self::End;
                }
                return Ok(part.map_or(Next::Wait, Next::Part));
            }
            let Some(line) = line(buffer)? else { return Ok(Next::Wait) };
            *self = match self {
                Self::Size => match size(&line)? {
                    0 => Self::Trailers(0),
                    size => Self::Data(size),
                },
                Self::Trailers(_) if line.is_empty() => return Ok(Next::End),
                Self::Trailers(came) => Self::Trailers(trailer(&line, *came)?),
                Self::End | Self::Data(_) if line.is_empty() => Self::Size,
                Self::End | Self::Data(_) => {
                    return Err(FramingError::Senseless("a chunk is longer than it says"));
                }
            };
        }
    }
}

/// What is there of the `missing` bytes. A little is copied: taken from the buffer as it is, it would keep
/// all of it from being filled again.
fn part(buffer: &mut BytesMut, missing: &mut u64) -> Option<Bytes> {
    let there = usize::try_from(*missing).unwrap_or(usize::MAX).min(buffer.len());
    *missing -= there as u64;
    match there {
        0 => None,
        1..=LITTLE => {
            let part = Bytes::copy_from_slice(&buffer[..there]);
            buffer.advance(there);
            Some(part)
        }
        _ => Some(buffer.split_to(there).freeze()),
    }
}

/// Takes a line without its end. Nothing but both characters ends one: whoever takes a single one for an
/// end reads other requests than whoever does not.
fn line(buffer: &mut BytesMut) -> Result<Option<BytesMut>, FramingError> {
    let Some(end) = memchr::memchr2(b'\r', b'\n', buffer) else {
        let error = FramingError::Senseless("the line of a chunk does not end");
        return if buffer.len() > LONGEST_LINE { Err(error) } else { Ok(None) };
    };
    match buffer.get(end..end + 2) {
        None if buffer[end] == b'\r' => Ok(None),
        Some(b"\r\n") => {
            let line = buffer.split_to(end);
            buffer.advance(2);
            Ok(Some(line))
        }
        _ => Err(FramingError::Senseless("the line of a chunk ends in half")),
    }
}

/// The size of a chunk; what an extension says of it is nothing to us.
fn size(line: &[u8]) -> Result<u64, FramingError> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_hex);
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or(FramingError::Senseless("a chunk does not say its size"))
}

/// How much has come of the trailers with this one, which must be a field.
fn trailer(line: &[u8], came: usize) -> Result<usize, FramingError> {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    let is_field = name.len() < line.len() && HeaderName::from_bytes(name).is_ok();
    let came = came + line.len();
    match is_field {
        false => Err(FramingError::Senseless("a trailer is no field")),
        true if came > LONGEST_TRAILERS => Err(FramingError::Senseless("its trailers do not end")),
        true => Ok(came),
    }
}

/// The length that `Content-Length` announces, if it is there.
pub fn length<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<u64>, FramingError> {
    let mut found = None;
    for text in values.flat_map(|value| value.split(|byte| *byte == b',')) {
        let length = number(text.trim_ascii());
        let length = length.ok_or(FramingError::Senseless("its length is no number"))?;
        if found.replace(length).is_some_and(|other| other != length) {
            return Err(FramingError::Senseless("it has two lengths"));
        }
    }
    Ok(found)
}

/// A number of nothing but digits, and of one at least.
fn number(digits: &[u8]) -> Option<u64> {
    let next = |number: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, next) }
}

/// The last of what a header lists, in however many lines.
pub fn last<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    listed(values).last()
}

/// Whether a header lists a word.
pub fn lists<'a>(values: impl Iterator<Item = &'a [u8]>, word: &str) -> bool {
    listed(values).any(|listed| listed.eq_ignore_ascii_case(word.as_bytes()))
}

fn listed<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a body whose bytes come in pieces that end at `cuts`; what is left over is counted.
    fn read_in_pieces(
        mut framing: Framing,
        bytes: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, usize), String> {
        let (mut body, mut buffer, mut from) = (Vec::new(), BytesMut::new(), 0);
        for end in cuts.iter().copied().chain([bytes.len()]) {
            let end = end.clamp(from, bytes.len());
            buffer.extend_from_slice(&bytes[from..end]);
            from = end;
            while let Some(part) = framing.take(&mut buffer).map_err(|error| error.to_string())? {
                assert!(!part.is_empty());
                body.extend_from_slice(&part);
            }
        }
        framing.close().map_err(|error| error.to_string())?;
        Ok((body, buffer.len()))
    }

    #[test]
    fn chunks_are_put_together() {
        for (bytes, expected) in [
            ("5\r\nhello\r\n0\r\n\r\n", Ok(("hello", 0))),
            ("5;name=\"x\"\r\nhello\r\n1 \r\n!\r\n0\r\nx-sum: 1\r\n\r\nHTTP", Ok(("hello!", 4))),
            ("5\nhello\r\n0\r\n\r\n", Err("the line of a chunk ends in half")),
            ("5;a\nx\r\nhello\r\n0\r\n\r\n", Err("the line of a chunk ends in half")),
            ("5\r;x\r\nhello\r\n0\r\n\r\n", Err("the line of a chunk ends in half")),
            ("5\r\nhello\n0\r\n\r\n", Err("the line of a chunk ends in half")),
            (" 5\r\nhello\r\n0\r\n\r\n", Err("a chunk does not say its size")),
            ("0\r\nGET / HTTP/1.1\r\n\r\n", Err("a trailer is no field")),
            ("0A\r\n0123456789\r\n0\r\n\r\n", Ok(("0123456789", 0))),
            ("5\r\nhello\r\n0\r\n", Err("it ended before its end")),
            ("5\r\nhello\r\n", Err("it ended before its end")),
            ("5\r\nhel", Err("it ended before its end")),
            ("4\r\nhello\r\n0\r\n\r\n", Err("a chunk is longer than it says")),
            ("\r\nhello", Err("a chunk does not say its size")),
            ("-1\r\n", Err("a chunk does not say its size")),
            ("+1\r\n", Err("a chunk does not say its size")),
            ("10000000000000000\r\n", Err("a chunk does not say its size")),
        ] {
            let found = read_in_pieces(Framing::Chunked(Chunk::Size), bytes.as_bytes(), &[]);
            match (found, expected) {
                (Ok((body, left)), Ok(expected)) => {
                    assert_eq!((std::str::from_utf8(&body).unwrap(), left), expected, "{bytes}");
                }
                (Err(error), Err(expected)) => {
                    assert!(error.ends_with(expected), "{bytes} {error}");
                }
                (found, expected) => panic!("{bytes}: {found:?} and not {expected:?}"),
            }
        }
    }

    #[test]
    fn lines_and_trailers_without_an_end_are_given_up() {
        let line = "1".repeat(LONGEST_LINE + 1);
        assert!(read_in_pieces(Framing::Chunked(Chunk::Size), line.as_bytes(), &[]).is_err());
        let trailers = format!("0\r\n{}", "x: y\r\n".repeat(LONGEST_TRAILERS));
        assert!(read_in_pieces(Framing::Chunked(Chunk::Size), trailers.as_bytes(), &[]).is_err());
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_comes(
            parts in proptest::collection::vec("[a-z\r\n0-9;]{1,40}", 0..8),
            cuts in proptest::collection::vec(0_usize..500, 0..12),
        ) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let body = parts.concat();
            let chunk = |part: &String| format!("{:x}\r\n{part}\r\n", part.len());
            let chunks = parts.iter().map(chunk).collect::<Vec<_>>().concat() + "0\r\n\r\n";
            let length = if body.is_empty() { Framing::Over } else { Framing::Length(body.len() as u64) };
            for (framing, bytes) in [
                (Framing::Chunked(Chunk::Size), chunks.as_str()),
                (length, body.as_str()),
                (Framing::Close, body.as_str()),
            ] {
                let found = read_in_pieces(framing, bytes.as_bytes(), &cuts);
                prop_assert_eq!(found, Ok((body.clone().into_bytes(), 0)));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let _ = read_in_pieces(Framing::Chunked(Chunk::Size), &bytes, &[cut]);
        }
    }
}
