//! `kill -9` at random instants, under load: what a client received in full is on its bill, exactly;
//! what was acknowledged is there.
//!
//! `CONDUIT_CRASH_CYCLES` sets how often, `CONDUIT_SEED` the instants.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use conduit::domain::money::Money;
use conduit::domain::receipt::Metered;
use conduit::domain::request_id::RequestId;
use conduit::store::Store;
use tempfile::TempDir;

use crate::books::{check_totals, read};
use crate::chance::Chance;

const CYCLES: u64 = 50;
const CLIENTS: u64 = 6;
/// Dollars per million tokens, and so thousands of nano-dollars per token.
const INPUT_PRICE: u64 = 3;
const OUTPUT_PRICE: u64 = 7;

/// A provider that answers with usage of its own choosing.
fn start_provider() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let calls = AtomicU64::new(1);
        for stream in listener.incoming().flatten() {
            let mut chance = Chance::new(calls.fetch_add(1, Ordering::Relaxed));
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while let Ok(body) = read_request(&mut reader) {
                    if answer(&stream, &body, &mut chance).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let head = read_head(reader)?;
    let length = header(&head, "content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn answer(mut stream: &TcpStream, body: &[u8], chance: &mut Chance) -> io::Result<()> {
    let (input, output) = (1 + chance.below(10_000), 1 + chance.below(100));
    let usage = format!(
        r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{}}}"#,
        input + output
    );
    let pause =
        |chance: &mut Chance| std::thread::sleep(Duration::from_micros(chance.below(4_000)));
    pause(chance);
    if !String::from_utf8_lossy(body).contains(r#""stream":true"#) {
        let body = format!(
            r#"{{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"Hello"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
        );
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
        return stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes());
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
    stream.write_all(format!("{head}\r\n\r\n").as_bytes())?;
    let mut send = |event: &str| {
        let event = format!("data: {event}\n\n");
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
    };
    let common = r#""id":"x","object":"chat.completion.chunk","created":1,"model":"m""#;
    for _ in 0..chance.below(5) {
        send(&format!(r#"{{{common},"choices":[{{"index":0,"delta":{{"content":"Hi"}}}}]}}"#))?;
        pause(chance);
    }
    let stop = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#;
    send(&format!(r#"{{{common},"choices":[{stop}]}}"#))?;
    send(&format!(r#"{{{common},"choices":[],"usage":{usage}}}"#))?;
    send("[DONE]")?;
    stream.write_all(b"0\r\n\r\n")
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(lines);
        }
        lines.push(line.to_owned());
    }
}

fn header<'h>(head: &'h [String], name: &str) -> Option<&'h str> {
    head.iter().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Reads a body until its end, or until it has all that matters of a stream.
fn read_body(reader: &mut impl BufRead, head: &[String], marker: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(length) = header(head, "content-length") {
        body.resize(length.parse().unwrap(), 0);
        reader.read_exact(&mut body)?;
        return Ok(body);
    }
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim_end(), 16);
        let size = size.map_err(|_| io::ErrorKind::UnexpectedEof)?;
        if size == 0 {
            return Ok(body);
        }
        let before = body.len();
        body.resize(before + size, 0);
        reader.read_exact(&mut body[before..])?;
        reader.read_exact(&mut [0; 2])?;
        if body.windows(marker.len()).any(|window| window == marker) {
            return Ok(body);
        }
    }
}

/// One call. Returns its id and what it costs by the usage in an answer received in full.
fn call(gateway: SocketAddr, secret: &str, stream: bool) -> io::Result<(RequestId, Money)> {
    let connection = TcpStream::connect(gateway)?;
    connection.set_read_timeout(Some(Duration::from_secs(20)))?;
    let body = format!(
        r#"{{"model":"m","stream":{stream},"stream_options":{{"include_usage":true}},"max_tokens":200,"messages":[{{"role":"user","content":"Hello"}}]}}"#
    );
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    (&connection).write_all(head.as_bytes())?;
    let mut reader = BufReader::new(connection);
    let head = read_head(&mut reader)?;
    let body = read_body(&mut reader, &head, b"data: [DONE]\n\n")?;
    let body = String::from_utf8_lossy(&body);
    assert!(head[0].contains("200"), "{head:?} {body}");
    let id = header(&head, "x-conduit-request-id").unwrap().parse().unwrap();
    let count = |name: &str| -> Option<u64> {
        let at = body.rfind(name)? + name.len();
        let digits = body[at..].split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    if stream && !body.contains("data: [DONE]\n\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let input = count(r#""prompt_tokens":"#).ok_or(io::ErrorKind::UnexpectedEof)?;
    let output = count(r#""completion_tokens":"#).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((id, Money::from_nano((input * INPUT_PRICE + output * OUTPUT_PRICE) * 1_000)))
}

/// The folder, the configuration and the running binary.
struct Gateway {
    folder: TempDir,
    address: SocketAddr,
    child: Mutex<Option<Child>>,
}

impl Gateway {
    fn new(provider: SocketAddr) -> Self {
        let folder = TempDir::new().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "[server]\nlisten = \"{address}\"\nworkers = 2\n\
             [providers.p]\nkind = \"openai\"\nbase_url = \"http://{provider}/v1\"\n\
             [models.m]\nprovider = \"p\"\n\
             price = {{ input = {INPUT_PRICE}, output = {OUTPUT_PRICE} }}\n\
             max_output_tokens = 1000\n"
        );
        std::fs::write(folder.path().join("conduit.toml"), config).unwrap();
        Self { folder, address, child: Mutex::new(None) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conduit"));
        command.args(arguments).arg("--config").arg(self.folder.path().join("conduit.toml"));
        command.env("CONDUIT_LOG", "warn").stdin(Stdio::null());
        command
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("data/conduit.redb")
    }

    fn spawn(&self) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = self.command(&["serve"]).stdout(Stdio::null()).stderr(log).spawn();
        *self.child.lock().unwrap() = Some(child.unwrap());
    }

    fn start(&self) {
        self.spawn();
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(began.elapsed() < Duration::from_secs(20), "it does not start: {}", log());
            let ended = self.child.lock().unwrap().as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(&self) {
        let running = self.child.lock().unwrap().take();
        if let Some(mut child) = running {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The secret of a new key, if making it was acknowledged.
    fn create_key(&self, name: &str) -> Option<String> {
        let made = self.command(&["keys", "create", name]).stderr(Stdio::null()).output().unwrap();
        let secret = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        made.status.success().then_some(secret)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What clients received in full and what was acknowledged to an administrator.
#[derive(Default)]
struct Received {
    bills: Mutex<BTreeMap<RequestId, Money>>,
    keys: Mutex<Vec<String>>,
}

impl Received {
    fn check(&self, store: &Store) -> usize {
        let receipts = read(store);
        check_totals(store, &receipts);
        let differences = store.verify().unwrap().differences;
        assert!(differences.is_empty(), "{differences:?}");
        let bills = self.bills.lock().unwrap();
        for (id, cost) in &*bills {
            let receipt = receipts.get(id).unwrap_or_else(|| panic!("{id} is not on the bill"));
            assert_eq!((receipt.cost, receipt.metered), (*cost, Metered::Reported), "{receipt:?}");
        }
        let names: Vec<_> = store.keys().unwrap().into_iter().map(|key| key.name).collect();
        for name in &*self.keys.lock().unwrap() {
            assert!(names.contains(name), "the key {name} was acknowledged and is gone");
        }
        receipts.len() - bills.len()
    }
}

fn load(gateway: &Gateway, secret: &str, received: &Received, cycle: u64, chance: &mut Chance) {
    let (address, stop) = (gateway.address, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let stop = &stop;
        for client in 0..CLIENTS {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((id, cost)) = call(address, secret, client % 2 == 0) {
                        received.bills.lock().unwrap().insert(id, cost);
                    }
                }
            });
        }
        scope.spawn(move || {
            let name = format!("key {cycle}");
            if gateway.create_key(&name).is_some() {
                received.keys.lock().unwrap().push(name);
            }
        });
        // Now and then long enough for the journal to be put away under load.
        let most = if chance.one_in(8) { 3_500 } else { 700 };
        std::thread::sleep(Duration::from_millis(chance.below(most)));
        gateway.kill();
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_a_client_received_in_full_survives_kill_9_at_its_exact_cost() {
    let mut chance = Chance::of_the_day("kill");
    let cycles = std::env::var("CONDUIT_CRASH_CYCLES").ok().and_then(|cycles| cycles.parse().ok());
    let gateway = Gateway::new(start_provider());
    let secret = gateway.create_key("client").expect("the first key");
    let received = Arc::new(Received::default());
    for cycle in 0..cycles.unwrap_or(CYCLES) {
        gateway.start();
        load(&gateway, &secret, &received, cycle, &mut chance);
        if chance.one_in(2) {
            // The next start recovers by itself, from what this crash left.
            continue;
        }
        let (store, found) = Store::open(&gateway.store()).unwrap();
        let others = received.check(&store);
        let bills = received.bills.lock().unwrap().len();
        println!("cycle {cycle}: {bills} in full, {others} not, {} open", found.open.len());
    }
    gateway.start();
    gateway.kill();
    let (store, _) = Store::open(&gateway.store()).unwrap();
    received.check(&store);
    assert!(!received.keys.lock().unwrap().is_empty(), "no key was made");
    assert!(received.bills.lock().unwrap().len() > 100, "hardly a call was served");
}

#[test]
fn a_first_start_that_was_killed_can_be_repeated() {
    let mut chance = Chance::of_the_day("first start");
    let provider = start_provider();
    for _ in 0..15 {
        let gateway = Gateway::new(provider);
        gateway.spawn();
        std::thread::sleep(Duration::from_micros(chance.below(60_000)));
        gateway.kill();
        assert!(gateway.create_key("first").is_some());
    }
}
