//! The heads of requests as they are written, and those of answers as they are read.

use std::mem::MaybeUninit;

use bytes::{Buf as _, BufMut, BytesMut};
use http::{Method, StatusCode};
use httparse::{ParserConfig, Status};

use super::ClientError;
use super::origin::Origin;
use crate::fields::{self, Headers};
use crate::framing::{self, Chunk, Framing, FramingError};

/// The longest head that is read.
const LONGEST: usize = 64 << 10;
/// The most headers an answer may have.
const MOST_HEADERS: usize = 128;

/// The head of a request.
#[derive(Debug)]
pub struct Request {
    written: BytesMut,
}

impl Request {
    /// Begins one in `written`, which is empty.
    pub(super) fn new(
        mut written: BytesMut,
        method: &Method,
        target: &str,
        origin: &Origin,
    ) -> Self {
        let parts =
            [method.as_str(), " ", target, " HTTP/1.1\r\nhost: ", origin.authority(), "\r\n"];
        for part in parts {
            written.put_slice(part.as_bytes());
        }
        Self { written }
    }

    /// Adds a header. Those that say how long the body is are not the caller's to add.
    pub fn header(&mut self, name: impl AsRef<[u8]>, value: &[u8]) {
        fields::put(&mut self.written, name, value);
    }

    /// The whole head of a request whose body is so long, if it has one.
    pub(super) fn finish(mut self, length: Option<u64>) -> BytesMut {
        if let Some(length) = length {
            fields::put_length(&mut self.written, length);
        }
        self.written.put_slice(b"\r\n");
        self.written
    }
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) status: StatusCode,
    pub(super) headers: Headers,
    /// It is of HTTP/1.1: its connection stays open unless it says otherwise.
    pub(super) stays: bool,
}

impl AnswerHead {
    /// How the body is marked off (RFC 9112, section 6.3), and whether the connection can be used again.
    pub(super) fn framing(&self) -> Result<(Framing, bool), FramingError> {
        let says = |word| framing::lists(self.headers.all("connection"), word);
        let stays = !says("close") && (self.stays || says("keep-alive"));
        if matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok((Framing::Over, stays));
        }
        let length = framing::length(self.headers.all("content-length"))?;
        Ok(match (framing::last(self.headers.all("transfer-encoding")), length) {
            // Whoever says a length too may mean either: nothing more is read from them.
            (Some(coding), length) if coding.eq_ignore_ascii_case(b"chunked") => {
                (Framing::Chunked(Chunk::Size), stays && length.is_none())
            }
            (None, Some(0)) => (Framing::Over, stays),
            (None, Some(length)) => (Framing::Length(length), stays),
            (Some(_), _) | (None, None) => (Framing::Close, false),
        })
    }
}

/// Takes the head of an answer from what has come; `None` while it is not whole.
pub(super) fn read(buffer: &mut BytesMut) -> Result<Option<AnswerHead>, ClientError> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut places = [MaybeUninit::uninit(); MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let read = ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        buffer,
        &mut places,
    );
    let length = match read {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if buffer.len() < LONGEST => return Ok(None),
        Ok(Status::Partial) => return Err(ClientError::NoHttp("its head does not end")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(ClientError::NoHttp("it has too many headers"));
        }
        Err(_) => return Err(ClientError::NoHttp("its head cannot be read")),
    };
    let code = parsed.code.unwrap_or_default();
    let status =
        StatusCode::from_u16(code).map_err(|_| ClientError::NoHttp("its status is none"))?;
    let stays = parsed.version == Some(1);
    let headers =
        Headers::of_head(parsed.headers, &buffer[..length]).map_err(ClientError::NoHttp)?;
    buffer.advance(length);
    Ok(Some(AnswerHead { status, headers, stays }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(head: &str) -> Result<(Framing, bool), String> {
        let head = read(&mut BytesMut::from(head)).unwrap().unwrap();
        head.framing().map_err(|error| error.to_string())
    }

    #[test]
    fn the_head_says_how_the_body_ends_and_whether_the_connection_stays() {
        use Framing::*;
        for (lines, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", (Length(5), true)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5\r\n", (Length(5), true)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", (Over, true)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: Close\r\n", (Length(5), false)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n", (Chunked(Chunk::Size), true)),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n",
                (Chunked(Chunk::Size), true),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n",
                (Chunked(Chunk::Size), false),
            ),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n", (Close, false)),
            ("HTTP/1.1 200 OK\r\n", (Close, false)),
            ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n", (Length(5), false)),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n",
                (Length(5), true),
            ),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n", (Over, true)),
            ("HTTP/1.1 304 Not Modified\r\n", (Over, true)),
        ] {
            assert_eq!(framing(&format!("{lines}\r\n")), Ok(expected), "{lines}");
        }
        for lines in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 6\r\n",
            "content-length: +5\r\n",
            "content-length: 99999999999999999999\r\n",
            "content-length: \r\n",
        ] {
            assert!(framing(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).is_err(), "{lines}");
        }
    }
}
