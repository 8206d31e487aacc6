//! The client against hosts that follow a script, over real TCP.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rustls::crypto::ring;

use super::*;

/// A host that handles its connections one after the other, and tells what it read of each request.
fn host(
    serve: impl Fn(usize, &mut TcpStream, &Sender<String>) + Send + 'static,
) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, hears) = channel();
    thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            serve(index, &mut stream.unwrap(), &told);
        }
    });
    (address, hears)
}

/// Reads a head, and the body that it announces; nothing once the client has left.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        read.push(byte[0]);
    }
    let head = String::from_utf8(read).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

/// Answers each request on a connection with the next of `answers`, and closes it after the last.
fn answering(answers: &'static [&'static str]) -> (SocketAddr, Receiver<String>) {
    host(move |index, stream, told| {
        for answer in answers {
            let Some(request) = request(stream) else { return };
            let _ = told.send(format!("{index}: {request}"));
            stream.write_all(answer.as_bytes()).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
    })
}

fn client(address: SocketAddr) -> Client {
    at(&format!("http://{address}/"), 8)
}

fn at(uri: &str, limit: usize) -> Client {
    patient(uri, limit, Duration::from_millis(500))
}

fn patient(uri: &str, limit: usize, connect: Duration) -> Client {
    let provider = Arc::new(ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider);
    let tls = tls.with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let terms = Terms { tls: Arc::new(tls), connect, limit, keep: Duration::from_mins(1) };
    Client::new(Origin::of(&uri.parse().unwrap()).unwrap(), &terms)
}

fn whole(body: &str) -> Outgoing {
    Outgoing::Whole(body.to_owned().into())
}

async fn ask(client: &Client, body: Outgoing) -> Result<(u16, String), ClientError> {
    let mut request = client.request(&Method::POST, &"/v1/x?y=z".parse().unwrap());
    request.header("x-a", b"b");
    let mut answer = client.ready().await?.send(request, body, None).await?;
    Ok((answer.status.as_u16(), read(&mut answer.body).await?))
}

async fn read(body: &mut Body) -> Result<String, ClientError> {
    let mut text = String::new();
    while let Some(part) = body.next().await {
        text.push_str(std::str::from_utf8(&part?).unwrap());
    }
    Ok(text)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), work).await.expect("it takes too long")
    })
}

#[test]
fn calls_go_out_as_they_are_and_share_a_connection() {
    let (address, hears) = answering(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst",
        "HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n3\r\nsec\r\n3\r\nond\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    ]);
    let client = client(address);
    let found = run(async {
        let mut found = Vec::new();
        for body in ["{}", "", "more", "last", "another"] {
            found.push(ask(&client, whole(body)).await.unwrap());
        }
        found
    });
    let expected =
        [(200, "first"), (404, "second"), (204, ""), (200, "until the end"), (200, "first")];
    assert_eq!(found, expected.map(|(status, text)| (status, text.to_owned())));
    let head = format!("POST /v1/x?y=z HTTP/1.1\r\nhost: {address}\r\nx-a: b\r\n");
    assert_eq!(hears.recv().unwrap(), format!("0: {head}content-length: 2\r\n\r\n{{}}"));
    assert_eq!(hears.recv().unwrap(), format!("0: {head}content-length: 0\r\n\r\n"));
    let connections: Vec<_> = hears.try_iter().map(|request| request[..1].to_owned()).collect();
    assert_eq!(connections, ["0", "0", "1"]);
}

#[test]
fn a_connection_with_something_left_on_it_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let (address, hears) = host(move |index, stream, told| {
            told.send(format!("{index}")).unwrap();
            if request(stream).is_some() {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let client = client(address);
        for _ in 0..2 {
            let found = run(ask(&client, whole("")));
            assert_eq!(found.unwrap(), (200, "ok".to_owned()), "{answer}");
        }
        assert_eq!(hears.recv().unwrap() + &hears.recv().unwrap(), "01", "{answer}");
    }
}

#[test]
fn what_comes_before_the_answer_is_passed_over() {
    let (address, _) = answering(&[
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    ]);
    let client = client(address);
    let (first, second) =
        run(async { (ask(&client, whole("")).await, ask(&client, whole("")).await) });
    assert_eq!(first.unwrap(), (200, "ok".to_owned()));
    assert!(matches!(second, Err(ClientError::NoHttp(_))), "{second:?}");
}

#[test]
fn an_answer_that_breaks_off_is_no_answer() {
    for (answer, expected) in [
        ("", "the connection was closed without an answer"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "the connection was closed without an answer"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            "the answer cannot be read: it ended before its end",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "the answer cannot be read: it ended before its end",
        ),
        ("SSH-2.0-x\r\n\r\n", "that is no answer in HTTP/1.1: its head cannot be read"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "the answer cannot be read: it has two lengths",
        ),
    ] {
        let (address, _) = host(move |_, stream, _| {
            if request(stream).is_some() {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let error = run(ask(&client(address), whole(""))).unwrap_err();
        assert_eq!(error.to_string(), expected, "{answer}");
        assert!(!error.is_unsent());
    }
}

#[test]
fn a_head_without_an_end_is_given_up() {
    let (address, _) = host(|_, stream, _| {
        let _ = request(stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all("x-y: z\r\n".repeat(100).as_bytes()).is_ok() {}
    });
    let error = run(ask(&client(address), whole(""))).unwrap_err();
    assert!(matches!(error, ClientError::NoHttp(_)), "{error}");
}

#[test]
fn a_large_body_and_one_that_flows_arrive_whole() {
    let (address, hears) = answering(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"; 2]);
    let client = client(address);
    let long = "0123456789".repeat(200_000);
    let parts = [&long[..5], "", &long[5..1_000_000], &long[1_000_000..]];
    let flow = stream::iter(parts.map(|part| Ok(Bytes::from(part.to_owned()))));
    let flow = Outgoing::Flow(long.len() as u64, Box::pin(flow));
    run(async {
        ask(&client, whole(&long)).await.unwrap();
        ask(&client, flow).await.unwrap();
    });
    for _ in 0..2 {
        assert!(hears.recv().unwrap().ends_with(&format!("content-length: 2000000\r\n\r\n{long}")));
    }
}

#[test]
fn a_body_that_is_not_what_was_announced_is_not_sent_as_if_it_were() {
    let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
    for parts in [
        vec![Ok(Bytes::from("abc"))],
        vec![Ok(Bytes::from("abcdef"))],
        vec![Ok(Bytes::from("ab")), Err(broken())],
    ] {
        let (address, hears) = host(|_, stream, told| {
            told.send(format!("{:?}", request(stream))).unwrap();
        });
        let flow = Outgoing::Flow(5, Box::pin(stream::iter(parts)));
        let error = run(ask(&client(address), flow)).unwrap_err();
        assert!(matches!(error, ClientError::Request(_)), "{error}");
        assert_eq!(hears.recv().unwrap(), "None");
    }
}

/// Reads no more than the head of a request before it answers.
fn hasty(answer: &'static str, then_reads: bool) -> (SocketAddr, Receiver<String>) {
    host(move |_, stream, told| {
        let mut head = [0; 16];
        stream.read_exact(&mut head).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        if then_reads {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            told.send(format!("{}", rest.ends_with(b"the end"))).unwrap();
        } else {
            stream.shutdown(Shutdown::Write).unwrap();
            told.send(String::new()).unwrap();
            thread::sleep(Duration::from_millis(200));
        }
    })
}

#[test]
fn a_refusal_is_heard_before_all_of_the_request_is_out() {
    let (address, _) = hasty("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nno!", false);
    let endless =
        stream::iter((0..10).map(|_| Ok(Bytes::from(vec![0; 1 << 20])))).chain(stream::pending());
    let flow = Outgoing::Flow(u64::MAX, Box::pin(endless));
    let found = run(ask(&client(address), flow)).unwrap();
    assert_eq!(found, (413, "no!".to_owned()));
}

#[test]
fn a_request_goes_on_while_its_answer_comes() {
    let (address, hears) =
        hasty("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", true);
    let client = client(address);
    let parts = [vec![0; 4 << 20], vec![0; 4 << 20], b"the end".to_vec()];
    let length = parts.iter().map(Vec::len).sum::<usize>() as u64;
    let flow = stream::iter(parts.map(|part| Ok(Bytes::from(part))));
    run(async {
        let request = client.request(&Method::POST, &"/".parse().unwrap());
        let mut answer = client
            .ready()
            .await
            .unwrap()
            .send(request, Outgoing::Flow(length, Box::pin(flow)), None)
            .await
            .unwrap();
        assert_eq!(answer.body.next().await.unwrap().unwrap(), "ok");
        // Nothing more comes of the answer; the request is sent to its end all the same.
        let more = tokio::time::timeout(Duration::from_millis(500), answer.body.next()).await;
        assert!(more.is_err());
    });
    assert_eq!(hears.recv().unwrap(), "true");
}

#[test]
fn whoever_leaves_takes_the_connection_along() {
    let (address, hears) = host(|index, stream, told| {
        let _ = request(stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").unwrap();
        let _ = stream.read(&mut [0; 1]);
        told.send(format!("{index} is closed")).unwrap();
    });
    let client = client(address);
    run(async {
        let request = client.request(&Method::POST, &"/".parse().unwrap());
        let mut answer =
            client.ready().await.unwrap().send(request, Outgoing::None, None).await.unwrap();
        assert_eq!(answer.body.next().await.unwrap().unwrap(), "half");
    });
    assert_eq!(hears.recv().unwrap(), "0 is closed");
}

#[test]
fn no_more_calls_are_under_way_than_may_be() {
    let (address, _) = answering(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"; 4]);
    let client = at(&format!("http://{address}/"), 1);
    run(async {
        let request = || client.request(&Method::POST, &"/".parse().unwrap());
        let first =
            client.ready().await.unwrap().send(request(), Outgoing::None, None).await.unwrap();
        let second = client.ready();
        tokio::pin!(second);
        let waits = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
        assert!(waits.is_err(), "the first answer has not been read");
        drop(first);
        second.await.unwrap().send(request(), Outgoing::None, None).await.unwrap();
    });
}

#[test]
fn nobody_there_is_told_from_nobody_answering() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = run(ask(&client(closed), whole(""))).unwrap_err();
    assert!(matches!(error, ClientError::Connect(_)) && error.is_unsent(), "{error}");
    let error = run(ask(&at("http://no-such-name.invalid/", 1), whole(""))).unwrap_err();
    assert!(matches!(error, ClientError::Lookup(_)) && error.is_unsent(), "{error}");
    let (address, _) = host(|_, stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let error = run(ask(&at(&format!("https://{address}/"), 1), whole(""))).unwrap_err();
    assert!(matches!(error, ClientError::Tls(_)) && error.is_unsent(), "{error}");
    let (address, _) = host(|_, _, _| thread::sleep(Duration::from_secs(3)));
    let error = run(ask(&at(&format!("https://{address}/"), 1), whole(""))).unwrap_err();
    assert!(matches!(error, ClientError::Slow(_)) && error.is_unsent(), "{error}");
}

#[test]
fn however_many_connections_were_closed_none_of_them_is_used() {
    const MANY: usize = 300;
    let (address, _hears) = host(|_, stream, _| {
        let mut stream = stream.try_clone().unwrap();
        thread::spawn(move || {
            if request(&mut stream).is_some() {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            }
            stream.shutdown(Shutdown::Both).unwrap();
        });
    });
    let client = patient(&format!("http://{address}/"), MANY, Duration::from_secs(9));
    run(async {
        let all = (0..MANY).map(|_| ask(&client, whole("")));
        for found in futures_util::future::join_all(all).await {
            found.unwrap();
        }
        for _ in 0..3 {
            // The host closes each connection a moment after its answer.
            tokio::time::sleep(Duration::from_millis(200)).await;
            ask(&client, whole("")).await.unwrap();
        }
    });
}
