//! The end of the gateway: what is under way may finish, within bounds; what comes new is turned
//! away; and everything is on the books afterwards.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use conduit::domain::receipt::{Ending, Metered};

use crate::client::{Client, get};
use crate::gateway::{Gateway, Key, Setup, body, by_output, chat, cost, estimate};
use crate::upstream::{
    DONE, END, STREAM_HEAD, Step, Upstream, chunked, millis, send, usage_event, word,
};

const STREAM: &str = r#","stream":true"#;

fn begin_stream(gateway: &Gateway, key: &Key) -> (Client, crate::client::Answer) {
    let mut client = gateway.begin(key, &body(STREAM));
    let head = client.head().unwrap();
    client.until("\n\n");
    (client, head)
}

#[test]
fn a_stream_in_flight_may_end_and_new_calls_are_turned_away() {
    let upstream = Upstream::start();
    let mut gateway = Setup::to(&upstream).deadline("5s").start();
    let key = gateway.key();
    upstream.then([
        send(STREAM_HEAD),
        send(chunked(word("one"))),
        Step::Gate,
        send(chunked([&*word("two"), &usage_event(10, 10), DONE].concat())),
        send(END),
    ]);
    let (mut streaming, head) = begin_stream(&gateway, &key);
    let mut idle = gateway.client();
    idle.send(&get("/readyz", &[]));
    assert_eq!(idle.answer().status, 200);

    gateway.begin_stop();
    std::thread::sleep(millis(100));
    // A connection that was open already may be told so, or be closed; a new one gets nowhere.
    idle.try_send(&chat(&key, &body("")));
    if let Some(head) = idle.head() {
        let answer = idle.body(head);
        assert_eq!((answer.status, answer.code()), (503, "shutting_down".into()));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    if let Ok(stream) = TcpStream::connect(gateway.address) {
        drop(stream);
        let mut late = gateway.client();
        late.try_send(&chat(&key, &body("")));
        assert!(late.head().is_none_or(|head| head.status == 503));
    }

    upstream.open();
    let rest = streaming.body(head);
    assert_eq!((rest.text(), rest.whole), ([&*word("two"), DONE].concat(), true));
    drop(streaming);
    gateway.stop();
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.ending, receipt.cost.nano()), (Ending::Done, cost(10, 10)));
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_plain_call_in_flight_is_answered() {
    let upstream = Upstream::with(|call| {
        [vec![Step::Pause(millis(300))], crate::upstream::polite(call)].concat()
    });
    let mut gateway = Setup::to(&upstream).deadline("5s").start();
    let key = gateway.key();
    let mut client = gateway.begin(&key, &body(""));
    upstream.wait_for_calls(1);
    gateway.begin_stop();
    let answer = client.answer();
    assert!(answer.status == 200 && answer.whole, "{answer:?}");
    drop(client);
    gateway.stop();
    assert_eq!(gateway.receipt(1).ending, Ending::Done);
}

#[test]
fn a_stream_past_the_deadline_is_cut_and_posted() {
    let upstream = Upstream::start();
    let mut gateway = Setup::to(&upstream).deadline("1s").start();
    let key = gateway.key();
    upstream.then([send(STREAM_HEAD), send(chunked(word("Hello"))), Step::Pause(millis(9000))]);
    let (mut client, _) = begin_stream(&gateway, &key);
    let began = Instant::now();
    gateway.stop();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(client.chunk().is_none(), "a stream that was cut must not look as if it were whole");
    let receipt = gateway.receipt(1);
    assert_eq!((receipt.ending, receipt.metered), (Ending::Shutdown, Metered::Estimated));
    assert_eq!(receipt.cost.nano(), estimate(5, 1));
    upstream.wait_for_leavers(1);
}

#[test]
fn a_call_that_waits_in_line_is_let_go() {
    let upstream = Upstream::start();
    let mut gateway = Setup::to(&upstream).deadline("1s").start();
    let call = by_output(r#","max_completion_tokens":500"#);
    let key = gateway.limited("narrow", cost(0, 500));
    upstream.then([Step::Pause(millis(9000))]);
    let first = gateway.begin(&key, &call);
    upstream.wait_for_calls(1);
    let second = gateway.begin(&key, &call);
    gateway.wait_for_flight(&key, (1, 1));
    gateway.stop();
    drop((first, second));
    // When the first is cut, the second may be served for an instant before it is cut, too.
    let receipts = gateway.receipts();
    assert!(matches!(receipts.len(), 1 | 2), "{receipts:?}");
    assert!(receipts.iter().all(|receipt| receipt.ending == Ending::Shutdown), "{receipts:?}");
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let upstream = Upstream::start();
    let mut gateway = Setup::to(&upstream).deadline("8s").start();
    let key = gateway.key();
    let mut clients: Vec<_> = (0..3).map(|_| gateway.client()).collect();
    for client in &mut clients[..2] {
        client.send(&chat(&key, &body("")));
        assert_eq!(client.answer().status, 200);
    }
    let began = Instant::now();
    gateway.stop();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(clients.iter_mut().all(Client::is_closed));
}

#[test]
fn a_gateway_that_was_stopped_starts_again_with_its_books() {
    let upstream = Upstream::start();
    let mut gateway = Setup::to(&upstream).start();
    let key = gateway.key();
    assert_eq!(gateway.call(&key, &body("")).status, 200);
    let spent = gateway.spent(&key);
    gateway.restart();
    assert_eq!(gateway.spent(&key), spent);
    assert_eq!(gateway.call(&key, &body("")).status, 200);
    assert_eq!(gateway.spent(&key), 2 * spent);
    assert_eq!(gateway.receipts().len(), 2);
}
