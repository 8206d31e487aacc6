//! Connections of HTTP/1.1 from the first byte to the last, over a pipe.

use std::cell::Cell;

use actix_server::Server;
use actix_web::rt::System;
use actix_web::rt::task::JoinHandle;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::fields::Headers;
use crate::message::{Body, Response};

impl Link for DuplexStream {
    fn has_left(&self) -> bool {
        false
    }

    fn break_off(&self) {}
}

/// What a test's client has in hand.
struct Client {
    io: DuplexStream,
    serving: JoinHandle<()>,
}

impl Client {
    /// Connects to a service that echoes bodies, and does what some paths say.
    fn connect(log: &Rc<Log>) -> Self {
        Self::impatient(log, Duration::from_secs(10), Duration::from_secs(10))
    }

    fn impatient(log: &Rc<Log>, patience: Duration, keep_alive: Duration) -> Self {
        Self::narrow(log, 16 << 10, patience, keep_alive)
    }

    /// With a pipe that takes no more than `width` bytes at a time.
    fn narrow(log: &Rc<Log>, width: usize, patience: Duration, keep_alive: Duration) -> Self {
        let (io, far) = duplex(width);
        let log = Rc::clone(log);
        let serving = actix_web::rt::spawn(async move {
            let app = App(log);
            let over = Server::build().graceful_shutdown_signal();
            let clock = ServiceConfig::default();
            let terms = Terms { patience, keep_alive, over: &over, clock: &clock };
            let _ = serve(far, None, &app, &terms).await;
        });
        Self { io, serving }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    /// All that comes until the connection is closed, without what is always there.
    async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        let _ = self.io.read_to_end(&mut read).await;
        let text = String::from_utf8(read).unwrap();
        text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
    }
}

#[derive(Default)]
struct Log {
    /// Calls that were dropped before they were answered.
    left: Cell<usize>,
    /// Parts of a long answer that were asked for.
    parts: Cell<usize>,
}

/// Counts unless it is told that all went well.
struct Guard(Rc<Log>, bool);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.left.set(self.0.left.get() + usize::from(!self.1));
    }
}

struct App(Rc<Log>);

impl Serve for App {
    fn serve(&self, request: Request) -> impl Future<Output = Response> {
        respond(request, Rc::clone(&self.0))
    }
}

fn status(status: StatusCode) -> Response {
    answered(status, Body::default())
}

fn answered(status: StatusCode, body: Body) -> Response {
    Response::new(status, Headers::default(), body)
}

async fn respond(request: Request, log: Rc<Log>) -> Response {
    let two = || stream::iter([Ok(Bytes::from("one")), Ok(Bytes::from("two"))]);
    let ok = |body| answered(StatusCode::OK, body);
    match request.head.path() {
        "/refuse" => status(StatusCode::PAYLOAD_TOO_LARGE),
        "/nothing" => status(StatusCode::NO_CONTENT),
        "/stream" => ok(Body::flow(two())),
        "/broken" => {
            let broken = stream::iter([Err(io::ErrorKind::Other.into())]);
            ok(Body::flow(two().chain(broken)))
        }
        "/short" => ok(Body::Flow(Some(9), Box::pin(two()))),
        "/long" => ok(Body::Flow(Some(4), Box::pin(two()))),
        "/much" => ok(Body::flow(stream::iter(0..10_000).map(move |_| {
            log.parts.set(log.parts.get() + 1);
            Ok(Bytes::from(vec![b'x'; 1_000]))
        }))),
        "/large" => ok(Body::flow(stream::iter([b'a', b'b', b'c'].map(|byte| Ok(large(byte)))))),
        "/wait" => {
            let mut guard = Guard(log, false);
            tokio::time::sleep(Duration::from_mins(1)).await;
            guard.1 = true;
            status(StatusCode::OK)
        }
        _ => {
            let (mut body, mut whole) = (request.body, Vec::new());
            while let Some(part) = body.next().await {
                let Ok(part) = part else { return status(StatusCode::BAD_REQUEST) };
                whole.extend_from_slice(&part);
            }
            ok(Body::Whole(Bytes::from(whole)))
        }
    }
}

/// A part of a body that is not copied on its way.
fn large(byte: u8) -> Bytes {
    Bytes::from(vec![byte; 9_001])
}

fn run(test: impl AsyncFnOnce(Rc<Log>)) {
    System::new().block_on(async {
        let log = Rc::default();
        tokio::time::timeout(Duration::from_secs(20), test(log)).await.expect("it takes too long");
    });
}

const CLOSE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const CLOSED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

#[test]
fn each_request_has_its_answer_in_order() {
    run(async |log| {
        let mut client = Client::connect(&log);
        client
            .send(get("/nothing") + "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        client
            .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            .await;
        client.send("2\r\nde\r\n0\r\n\r\n".to_owned() + &get("/stream")).await;
        client.send("HEAD /stream HTTP/1.1\r\nhost: a\r\n\r\n".to_owned() + CLOSE).await;
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let expected = [
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde",
            chunked,
            "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
            chunked,
            CLOSED,
        ];
        assert_eq!(client.rest().await, expected.concat());
    });
}

#[test]
fn requests_may_come_in_any_pieces() {
    let body =
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let all = body.to_owned() + CLOSE;
    run(async |log| {
        for cut in 1..all.len() {
            let mut client = Client::connect(&log);
            client.send(&all[..cut]).await;
            tokio::task::yield_now().await;
            client.send(&all[cut..]).await;
            let expected = format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc{CLOSED}");
            assert_eq!(client.rest().await, expected, "{cut}");
        }
    });
}

#[test]
fn clients_of_http_1_0_are_served_as_they_expect() {
    run(async |log| {
        for (request, expected) in [
            ("GET / HTTP/1.0\r\n\r\n", CLOSED),
            (
                "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
                &*format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n{CLOSED}"
                ),
            ),
            ("GET /stream HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"),
        ] {
            let mut client = Client::connect(&log);
            client.send(request).await;
            assert_eq!(client.rest().await, expected, "{request}");
        }
    });
}

#[test]
fn what_is_no_request_is_refused_and_nothing_after_it_is_read() {
    run(async |log| {
        let head = |lines: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
        for (request, status) in [
            ("GARBAGE\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(), 400),
            ("GET http://[ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/2.0\r\nhost: a\r\n\r\n".to_owned(), 400),
            (head("content-length: -1\r\n"), 400),
            (head("content-length: 1\r\ncontent-length: 1\r\n"), 400),
            (head("content-length: 3\r\ntransfer-encoding: chunked\r\n"), 400),
            (head("transfer-encoding: gzip, chunked\r\n"), 400),
            (head("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"), 400),
            ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), 400),
            (head("x: y\r\n z\r\n"), 400),
            (head("x : y\r\n"), 400),
            (head(&"x: y\r\n".repeat(100)), 431),
            (head(&format!("x: {}\r\n", "y".repeat(200_000))), 431),
        ] {
            let mut client = Client::connect(&log);
            let all = request.clone() + CLOSE;
            let (mut far, mut near) = tokio::io::split(&mut client.io);
            let (sent, read) = tokio::join!(near.write_all(all.as_bytes()), async {
                let mut read = [0; 12];
                far.read_exact(&mut read).await.unwrap();
                let mut rest = Vec::new();
                let _ = far.read_to_end(&mut rest).await;
                (String::from_utf8_lossy(&read).into_owned(), String::from_utf8(rest).unwrap())
            });
            let _ = sent;
            assert_eq!(
                read.0,
                format!("HTTP/1.1 {status}"),
                "{}",
                &request[..60.min(request.len())]
            );
            assert!(!read.1.contains("HTTP/1.1"), "{request}");
            assert!(read.1.contains("connection: close"), "{request}");
        }
    });
}

#[test]
fn nobody_is_waited_for_too_long() {
    run(async |log| {
        let (short, long) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut client = Client::impatient(&log, short, long);
        client.send("GET / HT").await;
        assert!(client.rest().await.starts_with("HTTP/1.1 408 "));
        let mut client = Client::impatient(&log, short, long);
        assert_eq!(client.rest().await, "", "it never said anything");
        let mut client = Client::impatient(&log, long, short);
        client.send(get("/")).await;
        assert_eq!(client.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        // A drop now and then does not stretch it.
        let mut client = Client::impatient(&log, short, long);
        let dripping = async {
            for byte in get("/").bytes() {
                let _ = client.io.write_all(&[byte]).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        dripping.await;
        assert!(client.rest().await.starts_with("HTTP/1.1 408 "));
    });
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    run(async |log| {
        let mut client = Client::connect(&log);
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\ncontent-length: 2\r\n\r\n";
        client.send(head).await;
        let mut word = [0; 25];
        client.io.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.send("ok".to_owned() + CLOSE).await;
        let expected = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{CLOSED}");
        assert_eq!(client.rest().await, expected);
    });
}

#[test]
fn a_body_that_nobody_read_is_not_taken_for_a_request() {
    run(async |log| {
        let smuggled = get("/stream");
        let refuse = |length: usize| {
            format!(
                "POST /refuse HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{smuggled}"
            )
        };
        let mut client = Client::connect(&log);
        client.send(refuse(smuggled.len()) + CLOSE).await;
        let kept = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(client.rest().await, format!("{kept}{CLOSED}"), "all of it was there");
        let mut client = Client::connect(&log);
        client.send(refuse(1_000_000)).await;
        let closed =
            "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        assert_eq!(client.rest().await, closed);
    });
}

#[test]
fn a_client_that_leaves_ends_its_call() {
    run(async |log| {
        for said in ["", "GET / HTTP/1.1\r\n"] {
            let mut client = Client::connect(&log);
            client.send(get("/wait") + said).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let before = log.left.get();
            let Client { io, serving } = client;
            drop(io);
            serving.await.unwrap();
            assert_eq!(log.left.get(), before + 1);
        }
    });
}

#[test]
fn a_client_that_does_not_read_is_not_read_for() {
    run(async |log| {
        let mut client = Client::connect(&log);
        client.send(get("/much")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let parts = log.parts.get();
        assert!(parts < 100, "{parts} parts were asked for");
        client.io.read_exact(&mut vec![0; 500_000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(log.parts.get() > 400, "it goes on");
        let Client { io, serving } = client;
        drop(io);
        serving.await.unwrap();
        assert!(log.parts.get() < 1_000);
    });
}

#[test]
fn what_breaks_off_does_not_look_whole() {
    run(async |log| {
        for (path, expected) in [
            ("/broken", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            ("/short", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
            ("/long", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"),
        ] {
            let mut client = Client::connect(&log);
            client.send(get(path)).await;
            let answer = client.rest().await;
            let (_, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
            assert!(!body.ends_with("0\r\n\r\n") && body.len() < 17, "{path}: {answer}");
            assert!(answer.is_empty() || answer.starts_with(expected), "{path}: {answer}");
        }
    });
}

#[test]
fn a_large_body_goes_both_ways_at_once() {
    run(async |log| {
        let mut client = Client::connect(&log);
        let body = "0123456789".repeat(100_000);
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\nconnection: close\r\n\r\n";
        client.send(head.to_owned() + &body).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n"));
        assert!(answer.ends_with(&body));
    });
}

#[test]
fn large_chunks_arrive_in_order_however_little_the_client_takes_at_a_time() {
    let second = Duration::from_secs(9);
    let chunk = |byte| format!("2329\r\n{}\r\n", String::from_utf8(large(byte).to_vec()).unwrap());
    let body = chunk(b'a') + &chunk(b'b') + &chunk(b'c') + "0\r\n\r\n";
    run(async |log| {
        for width in [1, 2, 3, 7, 9_001, 9_002, 9_003, 9_007, 9_009] {
            let mut client = Client::narrow(&log, width, second, second);
            client.send("GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
            let answer = client.rest().await;
            assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{width}");
        }
    });
}

#[test]
fn a_body_that_makes_no_sense_is_answered_and_nothing_behind_it_is_read() {
    run(async |log| {
        for body in
            ["zz\r\n0\r\n\r\n", "1\r\nab\r\n0\r\n\r\n", "5;a\nx\r\n", "0\r\nGET / HTTP/1.1\r\n\r\n"]
        {
            let mut client = Client::connect(&log);
            let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            client.send(head.to_owned() + body + &get("/stream")).await;
            let expected =
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            assert_eq!(client.rest().await, expected, "{body}");
        }
    });
}

#[test]
fn an_empty_line_between_requests_is_nothing() {
    run(async |log| {
        let mut client =
            Client::impatient(&log, Duration::from_secs(9), Duration::from_millis(200));
        client.send(get("/") + "\r\n").await;
        assert_eq!(client.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let mut client = Client::connect(&log);
        client.send("\r\n\r\n".to_owned() + CLOSE).await;
        assert_eq!(client.rest().await, CLOSED);
    });
}

#[test]
fn a_client_whose_body_nobody_wants_is_not_told_to_go_on() {
    run(async |log| {
        let mut client = Client::connect(&log);
        let head =
            "POST /refuse HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        client.send(head).await;
        assert!(client.rest().await.starts_with("HTTP/1.1 413 "));
    });
}
