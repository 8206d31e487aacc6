//! The client's side: HTTP/1.1 by hand, so that every byte, its timing and the way a connection ends
//! are the test's to choose.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than anything here takes: a test fails rather than hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, as far as it came.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body ended as its head said it would.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} came twice: {self:?}");
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The `code` of its error object, which must have the four fields of the contract.
    pub(crate) fn code(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let body = self.json();
        let error = body["error"].as_object().unwrap_or_else(|| panic!("no error: {body}"));
        let mut names: Vec<_> = error.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["code", "message", "param", "type"], "{body}");
        assert!(error["message"].is_string() && error["type"].is_string(), "{body}");
        error["code"].clone()
    }
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    /// Received and not read yet.
    buffer: Vec<u8>,
}

/// How a client can leave.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leave {
    /// It closes its sending side and goes on listening.
    HalfClose,
    /// FIN: it closes the socket, having read all that came.
    Close,
    /// RST: as when a process is killed or a network device gives up.
    Reset,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends as much as the other side takes: it may answer before it has read everything.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Whether more came before the end of the connection.
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer came in time"),
            Err(_) => false,
        }
    }

    /// The head of an answer; `None` when the connection ends before.
    pub(crate) fn head(&mut self) -> Option<Answer> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 96];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) = head.parse(&self.buffer).unwrap() {
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                let pair = |h: &httparse::Header<'_>| (h.name.to_ascii_lowercase(), text(h.value));
                let headers = head.headers.iter().map(pair).collect();
                let answer = Answer { status: head.code.unwrap(), headers, ..Answer::default() };
                self.buffer.drain(..length);
                return Some(answer);
            }
            if !self.fill() {
                assert!(self.buffer.is_empty(), "cut in its head: {:?}", self.buffer);
                return None;
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
                self.buffer.drain(..end + 2);
                return Some(line);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn take(&mut self, count: usize) -> (Vec<u8>, bool) {
        while self.buffer.len() < count {
            if !self.fill() {
                return (std::mem::take(&mut self.buffer), false);
            }
        }
        (self.buffer.drain(..count).collect(), true)
    }

    /// The next chunk of a chunked body: empty at its orderly end, `None` when it is cut.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line()?, 16).unwrap();
        let (bytes, whole) = self.take(length);
        let (end, _) = self.take(2);
        (whole && end == b"\r\n").then_some(bytes)
    }

    /// Reads chunks until what came ends with `end`.
    pub(crate) fn until(&mut self, end: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(end.as_bytes()) {
            let chunk = self.chunk();
            let chunk = chunk.filter(|chunk| !chunk.is_empty());
            let text = String::from_utf8_lossy(&seen).into_owned();
            seen.extend(chunk.unwrap_or_else(|| panic!("ended before {end:?}: {text}")));
        }
        String::from_utf8(seen).unwrap()
    }

    /// Reads the body that belongs to a head.
    pub(crate) fn body(&mut self, mut answer: Answer) -> Answer {
        if answer.header("transfer-encoding").is_some() {
            loop {
                match self.chunk() {
                    Some(chunk) if chunk.is_empty() => answer.whole = true,
                    Some(chunk) => {
                        answer.body.extend(chunk);
                        continue;
                    }
                    None => {}
                }
                return answer;
            }
        }
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        (answer.body, answer.whole) = self.take(length);
        answer
    }

    pub(crate) fn answer(&mut self) -> Answer {
        let head = self.head().unwrap_or_else(|| panic!("the connection ended without an answer"));
        self.body(head)
    }

    /// Whether the other side has closed the connection, or does so soon.
    pub(crate) fn is_closed(&mut self) -> bool {
        !self.fill()
    }

    pub(crate) fn leave(self, how: Leave) -> Option<Self> {
        match how {
            Leave::HalfClose => {
                self.stream.shutdown(Shutdown::Write).unwrap();
                Some(self)
            }
            Leave::Close => None,
            Leave::Reset => {
                reset(self.stream);
                None
            }
        }
    }
}

/// Closes a connection by RST. The standard library cannot ask for that yet.
pub(crate) fn reset(stream: TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    stream.set_nonblocking(true).unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        stream.set_zero_linger().unwrap();
    });
}

/// A request with a body; `headers` are complete lines without their ends.
pub(crate) fn post(path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: gateway\r\n");
    request.push_str(&lines(headers));
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    let mut request = (request + &length).into_bytes();
    request.extend_from_slice(body);
    request
}

pub(crate) fn get(path: &str, headers: &[&str]) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n{}\r\n", lines(headers)).into_bytes()
}

/// Header lines with their ends.
pub(crate) fn lines(headers: &[&str]) -> String {
    headers.iter().flat_map(|line| [*line, "\r\n"]).collect()
}
