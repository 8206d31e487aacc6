//! Frames written by an encoder of the tests' own, and those that no encoder would write.

use proptest::prelude::*;

use super::*;
use crate::provider::sse::{Cutter, Step};

fn text_header(name: &str, value: &str) -> Vec<u8> {
    let mut header = vec![u8::try_from(name.len()).expect("a short name")];
    header.extend_from_slice(name.as_bytes());
    header.push(7);
    header.extend_from_slice(&u16::try_from(value.len()).expect("a short value").to_be_bytes());
    header.extend_from_slice(value.as_bytes());
    header
}

fn frame_of(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).expect("a small frame").to_be_bytes();
    let mut frame = Vec::new();
    frame.extend_from_slice(&length(PRELUDE + headers.len() + payload.len() + CHECKSUM));
    frame.extend_from_slice(&length(headers.len()));
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(headers);
    frame.extend_from_slice(payload);
    let sum = crc32fast::hash(&frame).to_be_bytes();
    frame.extend_from_slice(&sum);
    frame
}

fn frame(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let headers: Vec<u8> =
        headers.iter().flat_map(|(name, value)| text_header(name, value)).collect();
    frame_of(&headers, payload.as_bytes())
}

fn event(kind: &str, payload: &str) -> Vec<u8> {
    frame(
        &[(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")],
        payload,
    )
}

fn decoded(stream: &[u8], cuts: &[usize]) -> String {
    let mut decoder = Decoder::with_limit(1000);
    let mut out = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([stream.len()]) {
        out.extend_from_slice(&decoder.push(&stream[from.min(to)..to]));
        from = to;
    }
    out.extend_from_slice(&decoder.finish());
    String::from_utf8_lossy(&out).into_owned()
}

/// The names of a stream's events.
fn names(sse: &str) -> Vec<String> {
    let mut cutter = Cutter::new(usize::MAX);
    let mut names = Vec::new();
    let mut at = 0;
    while let Step::Event(event) = cutter.next(sse.as_bytes(), at) {
        at = event.end;
        assert!(event.data().is_some(), "{sse}");
        names.push(event.name().unwrap_or_default().to_owned());
    }
    names
}

#[test]
fn events_exceptions_and_errors_come_out_under_their_names() {
    let mut stream = event("messageStart", r#"{"role":"assistant"}"#);
    stream.extend(event("contentBlockDelta", r#"{"delta":{"text":"é"}}"#));
    stream.extend(frame(
        &[(":message-type", "exception"), (":exception-type", "throttlingException")],
        r#"{"message":"Too many tokens."}"#,
    ));
    stream.extend(frame(
        &[
            (":message-type", "error"),
            (":error-code", "InternalError"),
            (":error-message", "It broke.\nTwice."),
        ],
        "",
    ));
    let expected = "event: messageStart\ndata: {\"role\":\"assistant\"}\n\n\
        event: contentBlockDelta\ndata: {\"delta\":{\"text\":\"é\"}}\n\n\
        event: throttlingException\ndata: {\"message\":\"Too many tokens.\"}\n\n\
        event: error\ndata: {\"message\":\"It broke.\\nTwice.\",\"code\":\"InternalError\"}\n\n";
    for cut in 0..=stream.len() {
        assert_eq!(decoded(&stream, &[cut]), expected, "cut at {cut}");
    }
    let each: Vec<usize> = (1..stream.len()).collect();
    assert_eq!(decoded(&stream, &each), expected);
}

#[test]
fn a_frame_without_headers_or_payload_is_an_event_too() {
    // The bytes of the empty message, as the specification has them.
    let empty = [
        0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8,
        0xff,
    ];
    assert_eq!(frame_of(&[], &[]), empty);
    assert_eq!(decoded(&empty, &[]), "event: unknown\ndata: {}\n\n");
}

#[test]
fn lines_of_a_payload_are_lines_of_data() {
    let stream = event("metadata", "{\r\n\"a\":1\n}");
    assert_eq!(
        decoded(&stream, &[]),
        "event: metadata\ndata: {\ndata: \ndata: \"a\":1\ndata: }\n\n"
    );
    let odd = event("two\nlines", "{}");
    assert_eq!(decoded(&odd, &[]), "event: unknown\ndata: {}\n\n");
}

#[test]
fn headers_of_every_type_are_passed_over() {
    let mut headers = Vec::new();
    for (kind, value) in [
        (0_u8, &[][..]),
        (1, &[]),
        (2, &[7]),
        (3, &[1, 2]),
        (4, &[1, 2, 3, 4]),
        (5, &[0; 8]),
        (6, &[0, 3, 9, 9, 9]),
        (8, &[0; 8]),
        (9, &[0; 16]),
    ] {
        headers.extend_from_slice(b"\x01x");
        headers.push(kind);
        headers.extend_from_slice(value);
    }
    headers.extend(text_header(":event-type", "metadata"));
    assert_eq!(decoded(&frame_of(&headers, b"{}"), &[]), "event: metadata\ndata: {}\n\n");
    headers.extend_from_slice(b"\x01x\x0a");
    assert_eq!(names(&decoded(&frame_of(&headers, b"{}"), &[])), ["error"], "no such type");
}

#[test]
fn any_changed_byte_is_found_and_ends_the_stream() {
    let good = event("metadata", r#"{"usage":{"inputTokens":1}}"#);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad.extend_from_slice(&good);
        assert_eq!(names(&decoded(&bad, &[])), ["error"], "byte {at}");
    }
}

#[test]
fn a_cut_frame_is_told_once() {
    let good = event("metadata", "{}");
    for cut in 1..good.len() {
        let mut decoder = Decoder::new();
        assert!(decoder.push(&good[..cut]).is_empty());
        assert!(!decoder.is_broken());
        assert_eq!(names(&String::from_utf8_lossy(&decoder.finish())), ["error"], "{cut}");
        assert!(decoder.is_broken());
        assert!(decoder.finish().is_empty() && decoder.push(&good).is_empty());
    }
}

#[test]
fn a_frame_past_the_limit_is_refused_by_its_prelude() {
    let good = event("metadata", &"x".repeat(1000));
    let mut decoder = Decoder::with_limit(good.len() - 1);
    assert!(decoder.push(&good[..PRELUDE - 1]).is_empty());
    assert_eq!(
        names(&String::from_utf8_lossy(&decoder.push(&good[PRELUDE - 1..PRELUDE]))),
        ["error"]
    );
    assert!(decoder.tail.is_empty());
    let mut decoder = Decoder::with_limit(good.len());
    assert_eq!(names(&String::from_utf8_lossy(&decoder.push(&good))), ["metadata"]);
}

proptest! {
    #[test]
    fn events_are_the_same_for_any_chunks(
        payloads in proptest::collection::vec("[ -~é\r\n]{0,30}", 0..6),
        damage in proptest::option::of(any::<prop::sample::Index>()),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut stream: Vec<u8> =
            payloads.iter().flat_map(|payload| event("contentBlockDelta", payload)).collect();
        if let Some(at) = damage.filter(|_| !stream.is_empty()) {
            let at = at.index(stream.len());
            stream[at] ^= 0x10;
        }
        let mut places: Vec<usize> = cuts.iter().map(|i| i.index(stream.len() + 1)).collect();
        places.sort_unstable();
        let whole = decoded(&stream, &[]);
        prop_assert_eq!(&whole, &decoded(&stream, &places));
        if damage.is_none() {
            prop_assert_eq!(names(&whole).len(), payloads.len());
        }
    }

    #[test]
    fn any_bytes_are_decoded_without_panic(
        bytes: Vec<u8>,
        headers in proptest::collection::vec(any::<u8>(), 0..40),
        size in 1_usize..20,
    ) {
        for stream in [bytes, frame_of(&headers, b"{}")] {
            let mut decoder = Decoder::with_limit(1000);
            for chunk in stream.chunks(size) {
                let _ = decoder.push(chunk);
                prop_assert!(decoder.tail.len() <= 1000);
            }
            let _ = decoder.finish();
        }
    }
}
