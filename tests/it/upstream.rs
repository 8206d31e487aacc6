//! The provider's side: a server that follows a script for each call, over real TCP, and remembers
//! what it saw.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{lines, reset};

/// Whoever waits for something here gives up after this time, and the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// One step of a script.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Sends a byte at a time, without waiting for more.
    Drip(Vec<u8>),
    /// Sends the same bytes over and over, for so long.
    Flood(Vec<u8>, Duration),
    /// Waits, and notices if the gateway leaves.
    Pause(Duration),
    /// Waits until [`Upstream::open`] is called.
    Gate,
    Close,
    Reset,
}

/// A call as the provider saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// All of it, head and body.
    pub(crate) raw: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Script = dyn Fn(&Seen) -> Vec<Step> + Send + Sync;

#[derive(Default)]
struct State {
    /// What the next calls get in place of the usual answer.
    next: VecDeque<Vec<Step>>,
    seen: Vec<Seen>,
    connections: usize,
    /// Calls during which the gateway left.
    left: usize,
    written: usize,
    open: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    usual: Box<Script>,
}

/// A scripted provider. Its threads end with their connections, the listening one with the process.
#[derive(Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Answers like a provider that has nothing to hide; see [`polite`].
    pub(crate) fn start() -> Self {
        Self::with(polite)
    }

    pub(crate) fn with(usual: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            usual: Box::new(usual),
        });
        let upstream = Self { address: listener.local_addr().unwrap(), shared };
        let accepting = upstream.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serving, stream) = (accepting.clone(), stream.unwrap());
                serving.change(|state| state.connections += 1);
                thread::spawn(move || serving.serve(stream));
            }
        });
        upstream
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the next call gets; further ones queue behind it.
    pub(crate) fn then(&self, script: impl Into<Vec<Step>>) {
        self.change(|state| state.next.push_back(script.into()));
    }

    /// Opens every gate, now and later.
    pub(crate) fn open(&self) {
        self.change(|state| state.open = true);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.read(|state| state.seen.clone())
    }

    pub(crate) fn last(&self) -> Seen {
        self.read(|state| state.seen.last().cloned()).unwrap()
    }

    pub(crate) fn connections(&self) -> usize {
        self.read(|state| state.connections)
    }

    pub(crate) fn written(&self) -> usize {
        self.read(|state| state.written)
    }

    pub(crate) fn left(&self) -> usize {
        self.read(|state| state.left)
    }

    /// Waits for so many calls in all.
    pub(crate) fn wait_for_calls(&self, count: usize) {
        self.wait("calls", |state| state.seen.len() >= count);
    }

    /// Waits until the gateway has left so many calls, and says how long that took.
    pub(crate) fn wait_for_leavers(&self, count: usize) -> Duration {
        let began = Instant::now();
        self.wait("the gateway to leave", |state| state.left >= count);
        began.elapsed()
    }

    fn wait(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let state = self.shared.state.lock().unwrap();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |s| !is_so(s));
        let (state, result) = waited.unwrap();
        let seen = state.seen.len();
        drop(state);
        assert!(!result.timed_out(), "waited for {what} in vain; {seen} calls were seen");
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.shared.state.lock().unwrap())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap());
        self.shared.changed.notify_all();
    }

    fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut call = Exchange { upstream: self, stream, rest: Vec::new() };
        while let Some(seen) = call.request() {
            let mut script = Vec::new();
            self.change(|state| {
                script = state.next.pop_front().unwrap_or_default();
                state.seen.push(seen.clone());
            });
            if script.is_empty() {
                script = (self.shared.usual)(&seen);
            }
            for step in script {
                match step {
                    Step::Close => return,
                    Step::Reset => return reset(call.stream),
                    step => {
                        if call.play(step).is_none() {
                            self.change(|state| state.left += 1);
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// One connection at work.
struct Exchange<'a> {
    upstream: &'a Upstream,
    stream: TcpStream,
    /// Read, and not part of a request yet.
    rest: Vec<u8>,
}

impl Exchange<'_> {
    /// The next request; `None` at the end of the connection.
    fn request(&mut self) -> Option<Seen> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 96];
            let mut head = httparse::Request::new(&mut headers);
            if let Ok(httparse::Status::Complete(length)) = head.parse(&self.rest) {
                let mut seen = Seen { path: head.path.unwrap().to_owned(), ..Seen::default() };
                for header in head.headers.iter() {
                    let value = String::from_utf8_lossy(header.value).into_owned();
                    seen.headers.push((header.name.to_ascii_lowercase(), value));
                }
                let body = seen.header("content-length").map_or(0, |text| text.parse().unwrap());
                while self.rest.len() < length + body {
                    self.fill()?;
                }
                seen.raw = self.rest.drain(..length + body).collect();
                seen.body = seen.raw[length..].to_vec();
                return Some(seen);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Option<()> {
        let mut chunk = [0; 16 << 10];
        let count = self.stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        self.rest.extend_from_slice(&chunk[..count]);
        Some(())
    }

    /// Plays a step; `None` when the gateway has left.
    fn play(&mut self, step: Step) -> Option<()> {
        match step {
            Step::Send(bytes) => self.send(&bytes),
            Step::Drip(bytes) => bytes.chunks(1).try_for_each(|byte| self.send(byte)),
            Step::Flood(bytes, time) => {
                let end = Instant::now() + time;
                while Instant::now() < end {
                    self.send(&bytes)?;
                }
                Some(())
            }
            Step::Pause(time) => self.pause(time),
            Step::Gate => {
                let end = Instant::now() + PATIENCE;
                while !self.upstream.read(|state| state.open) && Instant::now() < end {
                    self.pause(Duration::from_millis(5))?;
                }
                Some(())
            }
            Step::Close | Step::Reset => None,
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()?;
        self.upstream.change(|state| state.written += bytes.len());
        Some(())
    }

    fn pause(&self, time: Duration) -> Option<()> {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(None).unwrap();
        match peeked {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Some(()),
            Ok(count) if count > 0 => {
                thread::sleep(time);
                Some(())
            }
            Ok(_) | Err(_) => None,
        }
    }
}

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn send(bytes: impl Into<Vec<u8>>) -> Step {
    Step::Send(bytes.into())
}

/// The tokens that [`polite`] reports, unless the call asks for fewer.
pub(crate) const PROMPT_TOKENS: u64 = 20;
pub(crate) const COMPLETION_TOKENS: u64 = 50;

/// A whole JSON answer with a status, more header lines and a body.
pub(crate) fn json(status: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let lines = lines(headers);
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn completion(prompt: u64, completion: u64) -> String {
    let usage = usage(prompt, completion);
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","choices":[{{"index":0,"message":{{"role":"assistant","content":"Hello there"}},"finish_reason":"stop"}}],{usage}}}"#
    )
}

fn usage(prompt: u64, completion: u64) -> String {
    let total = prompt + completion;
    format!(
        r#""usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total}}}"#
    )
}

/// The head of a stream whose end can be told.
pub(crate) const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

pub(crate) fn chunked(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// The end of a chunked body.
pub(crate) const END: &str = "0\r\n\r\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// An event with a word of generated text.
pub(crate) fn word(text: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

pub(crate) fn stop() -> String {
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".to_owned()
}

/// The event that only `include_usage` brings.
pub(crate) fn usage_event(prompt: u64, completion: u64) -> String {
    let usage = usage(prompt, completion);
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[],{usage}}}\n\n"
    )
}

/// The events of a polite stream before its usage, and after it.
pub(crate) fn words() -> String {
    [word("Hello"), word(" there"), stop()].concat()
}

/// A provider that keeps all rules: it streams when asked to, counts when asked to, and keeps the
/// cap it was given.
pub(crate) fn polite(call: &Seen) -> Vec<Step> {
    let asked = call.json();
    let caps = ["max_completion_tokens", "max_tokens"].map(|name| asked[name].as_u64());
    let output = caps.into_iter().flatten().fold(COMPLETION_TOKENS, u64::min);
    if call.path.contains("embeddings") || call.path.contains("moderations") {
        let body = format!(r#"{{"object":"list","data":[],{}}}"#, usage(PROMPT_TOKENS, 0));
        return vec![send(json("200 OK", &[], &body))];
    }
    if asked["stream"] != true {
        return vec![send(json("200 OK", &[], &completion(PROMPT_TOKENS, output)))];
    }
    let mut steps = vec![send(STREAM_HEAD)];
    steps.extend([word("Hello"), word(" there"), stop()].map(|event| send(chunked(event))));
    if asked["stream_options"]["include_usage"] == true {
        steps.push(send(chunked(usage_event(PROMPT_TOKENS, output))));
    }
    steps.extend([send(chunked(DONE)), send(END)]);
    steps
}
