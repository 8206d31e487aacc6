//! Forms with files in them: small ones are kept and can be sent again, large ones flow through to one
//! target, and whatever they say too late is refused before the provider has all of them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use conduit::domain::receipt::{Ending, Metered, Receipt};
use serde_json::json;

use crate::client::{Answer, Client, Leave, post};
use crate::gateway::{Gateway, Key, Setup, eventually};
use crate::upstream::{Seen, Step, Upstream, json as answer_with, send};

/// More than is kept.
const LARGE: usize = 6 << 20;
/// Nano-dollars for a second of audio, which a file of 16,000 bytes is taken for where nothing is told.
const SECOND: u64 = 100_000;

const TRANSCRIPT: &str = r#"{"text":"Hello there"}"#;

fn gateway(first: &str, second: &Upstream) -> Gateway {
    Setup::to(second)
        .more(&format!(
            "[providers.first]\nkind = \"openai\"\nbase_url = \"http://{first}/v1\"\n\
             api_key_env = \"SECOND_KEY\"\nconnect_timeout = \"300ms\"\n\
             [models.heard]\nprice = {{ audio_second = 0.0001 }}\n\
             targets = [{{ provider = \"first\", model = \"whisper\" }},\n\
             {{ provider = \"scripted\", model = \"whisper-spare\", order = 2 }}]\n\
             [models.drawn]\nprovider = \"first\"\nprice = {{ image = 0.01 }}\n\
             [routing]\ncooldown = \"0s\""
        ))
        .start()
}

fn field(name: &str, value: &str) -> Vec<u8> {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        .into_bytes()
}

fn file(name: &str, length: usize) -> Vec<u8> {
    let head = format!(
        "--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let bytes = (0..length).map(|at| u8::try_from(at % 251).unwrap());
    head.into_bytes().into_iter().chain(bytes).chain(*b"\r\n").collect()
}

fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), b"--b--\r\n".to_vec()].concat()
}

fn request(key: &Key, path: &str, form: &[u8]) -> Vec<u8> {
    let headers = [&*key.header(), "Content-Type: multipart/form-data; boundary=b"];
    post(path, &headers, form)
}

fn transcribed(_: &Seen) -> Vec<Step> {
    vec![send(answer_with("200 OK", &[], TRANSCRIPT))]
}

/// What a file of so many bytes costs where its length in time is not told.
fn heard(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(16) * SECOND / 1_000
}

const PATH: &str = "/v1/audio/transcriptions";

#[test]
fn a_small_form_is_kept_and_sent_to_another_target() {
    let (first, second) = (Upstream::start(), Upstream::with(transcribed));
    let gateway = gateway(&first.address().to_string(), &second);
    let key = gateway.key();
    first.then(vec![send(answer_with("503 Busy", &[], "{}"))]);
    let body = form(&[file("file", 32_000), field("model", "heard")]);
    let answer = gateway.exchange(&request(&key, PATH, &body));
    assert_eq!((answer.status, answer.text()), (200, TRANSCRIPT.to_owned()));
    assert_eq!(answer.header("x-conduit-provider"), Some("scripted"));
    let renamed = form(&[file("file", 32_000), field("model", "whisper-spare")]);
    assert!(second.last().body == renamed, "all but the model is as it was");
    assert_eq!(gateway.receipt(1).cost.nano(), heard(32_000));
}

/// A provider that says how much it has read, and answers when it has all.
fn reader() -> (String, Arc<AtomicUsize>, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (count, (give, seen)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel());
    let counter = Arc::clone(&count);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut bytes) = (stream.unwrap(), Vec::new());
            let mut chunk = [0; 16 << 10];
            loop {
                let read = stream.read(&mut chunk).unwrap_or(0);
                bytes.extend_from_slice(&chunk[..read]);
                counter.store(bytes.len(), Ordering::Release);
                let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
                let length = head.and_then(|head| {
                    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
                    let length = text.split("content-length: ").nth(1)?;
                    Some(head + 4 + length.lines().next()?.parse::<usize>().ok()?)
                });
                if read == 0 || length.is_some_and(|length| bytes.len() >= length) {
                    break;
                }
            }
            let _ = give.send(bytes);
            let _ = stream.write_all(&answer_with("200 OK", &[], TRANSCRIPT));
        }
    });
    (address, count, seen)
}

#[test]
fn a_large_form_reaches_the_provider_while_it_still_comes() {
    let (address, count, seen) = reader();
    let gateway = gateway(&address, &Upstream::start());
    let key = gateway.limited("laptop", 10_000_000_000);
    let body = form(&[
        field("model", "heard"),
        field("x", "y"),
        file("file", LARGE),
        field("prompt", "hm"),
    ]);
    let request = request(&key, PATH, &body);
    let mut client = gateway.client();
    let (start, rest) = request.split_at(request.len() / 2);
    client.send(start);
    let most = LARGE / 3;
    eventually(|| format!("{most} bytes, not {count:?}"), || count.load(Ordering::Acquire) > most);
    client.send(rest);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (200, TRANSCRIPT.to_owned()));
    let seen = seen.recv().unwrap();
    let renamed = form(&[
        field("model", "whisper"),
        field("x", "y"),
        file("file", LARGE),
        field("prompt", "hm"),
    ]);
    assert!(seen.ends_with(&renamed), "all but the model is as it was");
    let head = String::from_utf8_lossy(&seen[..seen.len() - renamed.len()]).to_ascii_lowercase();
    assert!(head.contains(&format!("content-length: {}\r\n", renamed.len())), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.cost.nano(), receipt.metered), (heard(LARGE), Metered::Estimated));
    // No second of audio is shorter than 4,750 bits.
    let (held, bound) = (receipt.held.nano(), (body.len() as u64).div_ceil(593) * SECOND);
    assert!(held > heard(LARGE) && held <= bound, "{held} of {bound}");
    assert_eq!(answer.header("x-conduit-cost"), Some(&*receipt.cost.to_string()));
    gateway.wait_for_flight(&key, (0, 0));
    // The connection goes on.
    client.send(&request_of_small(&key));
    assert_eq!(client.answer().status, 200);
}

fn request_of_small(key: &Key) -> Vec<u8> {
    request(key, PATH, &form(&[field("model", "heard"), file("file", 16)]))
}

#[test]
fn a_large_form_that_says_too_late_what_it_costs_is_kept_or_refused() {
    let upstream = Upstream::with(transcribed);
    let gateway = gateway(&upstream.address().to_string(), &Upstream::start());
    let key = gateway.key();
    // The model comes last: nothing could have been decided before.
    let body = form(&[file("file", LARGE), field("model", "heard")]);
    let answer = gateway.exchange(&request(&key, PATH, &body));
    assert_eq!((answer.status, upstream.seen().len()), (200, 1), "{}", answer.text());
    assert_eq!(gateway.receipt(1).cost.nano(), heard(LARGE));

    let long = "w".repeat(5_000);
    for (path, model, late, param) in [
        ("/v1/images/edits", "drawn", field("n", "4"), "n"),
        ("/v1/images/edits", "drawn", field("size", "1024x1024"), "size"),
        ("/v1/images/edits", "drawn", field("prompt", &long), "prompt"),
        (PATH, "heard", field("stream", "true"), "stream"),
        (PATH, "heard", field("url", "http://a.test/b"), "url"),
        (PATH, "heard", field("model", "other"), "model"),
    ] {
        let name = if model == "drawn" { "image" } else { "file" };
        let body = form(&[field("model", model), file(name, LARGE), late]);
        let mut client = gateway.client();
        client.try_send(&request(&key, path, &body));
        let answer = client.answer();
        assert_eq!(answer.status, 400, "{param}: {}", answer.text());
        assert_eq!(answer.json()["error"]["param"], param, "{}", answer.text());
    }
    let unfinished = [field("model", "heard"), file("file", LARGE)].concat();
    let answer = gateway.exchange(&request(&key, PATH, &unfinished));
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("last boundary"), "{}", answer.text());
    assert_eq!(upstream.seen().len(), 1, "the provider never had all of any of them");
    gateway.wait_for_flight(&key, (0, 0));
    assert_eq!(gateway.receipts().len(), 1);
    // What may follow the file does.
    let fine =
        form(&[field("model", "heard"), file("file", LARGE), field("response_format", "json")]);
    assert_eq!(gateway.exchange(&request(&key, PATH, &fine)).status, 200);
    let fine = form(&[
        field("model", "drawn"),
        field("n", "2"),
        file("image[]", LARGE),
        file("mask", 10),
        field("user", "me"),
    ]);
    let answer = gateway.exchange(&request(&key, "/v1/images/edits", &fine));
    assert_eq!(answer.status, 200);
}

#[test]
fn an_upload_that_breaks_off_costs_nothing() {
    let (address, count, _seen) = reader();
    let gateway = gateway(&address, &Upstream::start());
    let key = gateway.key();
    let body = form(&[field("model", "heard"), file("file", LARGE)]);
    let bytes = request(&key, PATH, &body);
    for how in [Leave::Close, Leave::Reset] {
        count.store(0, Ordering::Release);
        let mut client = gateway.client();
        client.send(&bytes[..bytes.len() / 2]);
        eventually(|| "some bytes".to_owned(), || count.load(Ordering::Acquire) > LARGE / 3);
        client.leave(how);
        gateway.wait_for_flight(&key, (0, 0));
    }
    assert!(gateway.receipts().iter().all(|receipt| receipt.cost.is_zero()));
    assert_eq!(gateway.spent(&key), 0);
}

/// What a large form comes to whose provider reads a little of it and then does `what`; nobody else is
/// tried, for what has flown cannot be sent again.
fn flown(what: impl Fn(&mut TcpStream) + Send + 'static) -> (Answer, Receipt) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            what(&mut stream);
        }
    });
    let spare = Upstream::with(transcribed);
    let gateway = gateway(&address, &spare);
    let body = form(&[field("model", "heard"), file("file", LARGE)]);
    let mut client = gateway.client();
    client.try_send(&request(&gateway.key(), PATH, &body));
    let answer = client.answer();
    let receipt = gateway.receipt(1);
    assert!(spare.seen().is_empty(), "what has flown cannot be sent again");
    (answer, receipt)
}

#[test]
fn a_provider_that_closes_while_a_form_flows_is_owed_nothing() {
    let (answer, receipt) = flown(|_| {});
    assert_eq!((answer.status, answer.code()), (502, json!("upstream_error")));
    assert_eq!((receipt.ending, receipt.cost.nano()), (Ending::UpstreamCut, 0));
}

#[test]
fn a_provider_that_refuses_a_form_before_it_has_read_it_is_heard() {
    let refusal = answer_with("413 Content Too Large", &[], r#"{"error":{"message":"too long"}}"#);
    let (answer, receipt) = flown(move |stream| {
        stream.write_all(&refusal).unwrap();
        thread::sleep(Duration::from_millis(300));
    });
    assert_eq!(
        (answer.status, answer.json()["error"]["message"].as_str()),
        (413, Some("too long"))
    );
    assert_eq!((receipt.ending, receipt.cost.nano()), (Ending::UpstreamError, 0));
}

#[test]
fn a_large_form_goes_elsewhere_where_nobody_took_any_of_it() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let spare = Upstream::with(transcribed);
    let gateway = gateway(&nobody, &spare);
    let key = gateway.key();
    let body = form(&[field("model", "heard"), file("file", LARGE)]);
    let answer = gateway.exchange(&request(&key, PATH, &body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-conduit-provider"), Some("scripted"));
    assert_eq!(answer.header("x-conduit-attempts"), Some("2"));
    assert_eq!(gateway.receipt(1).cost.nano(), heard(LARGE));
}

#[test]
fn a_large_form_that_a_limit_does_not_allow_is_refused_before_it_flows() {
    let upstream = Upstream::with(transcribed);
    let gateway = gateway(&upstream.address().to_string(), &Upstream::start());
    let key = gateway.limited("laptop", heard(LARGE));
    let body = form(&[field("model", "heard"), file("file", LARGE)]);
    let mut client: Client = gateway.client();
    client.try_send(&request(&key, PATH, &body));
    assert_eq!(client.answer().code(), json!("spending_limit_exceeded"));
    assert!(upstream.seen().is_empty());
}
