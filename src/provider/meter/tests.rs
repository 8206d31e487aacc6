//! The meter over streams of every shape: what goes through, what is hidden, what is read.

use super::*;
use crate::domain::usage::Class;
use proptest::prelude::*;

/// The bytes forwarded and the report, for chunks that end at the given offsets.
fn relay(hide: bool, limit: usize, stream: &[u8], cuts: &[usize]) -> (Vec<u8>, StreamReport) {
    let mut meter = StreamMeter::with_event_limit(Kind::OpenAi, Endpoint::Chat, hide, limit);
    let whole = Bytes::copy_from_slice(stream);
    let mut out = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([stream.len()]) {
        for piece in meter.push(whole.slice(from.min(to)..to)) {
            out.extend_from_slice(&piece);
        }
        from = to;
    }
    for piece in meter.finish() {
        out.extend_from_slice(&piece);
    }
    (out, meter.report().clone())
}

fn hidden(stream: &str) -> String {
    let (whole, report) = relay(true, 1 << 20, stream.as_bytes(), &[]);
    for split in 0..=stream.len() {
        let (out, same) = relay(true, 1 << 20, stream.as_bytes(), &[split]);
        assert_eq!(out, whole, "split at {split}");
        assert_eq!(same, report, "split at {split}");
    }
    let each: Vec<usize> = (1..stream.len()).collect();
    assert_eq!(relay(true, 1 << 20, stream.as_bytes(), &each), (whole.clone(), report));
    String::from_utf8(whole).expect("UTF-8")
}

const PLAIN: &str = concat!(
    ": hello\n\n",
    "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"Gr\\u00fcn \"}}],\"usage\":null}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\"}}],\"service_tier\":\"priority\"}\n\n",
    "data: {\"choices\":[{\"delta\":{\"reasoning\":\"abc\",\"reasoning_content\":\"abc\",\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
);
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[test]
fn a_stream_is_relayed_as_it_came_and_at_once() {
    let stream = Bytes::from([PLAIN, USAGE, DONE].concat());
    for split in 0..=stream.len() {
        let mut meter = StreamMeter::new(Kind::OpenAi, Endpoint::Chat, false);
        for chunk in [stream.slice(..split), stream.slice(split..)] {
            let out: Vec<Bytes> = meter.push(chunk.clone()).into_iter().collect();
            let expected = if chunk.is_empty() { vec![] } else { vec![chunk.clone()] };
            assert_eq!(out, expected);
            assert!(out.iter().all(|piece| piece.as_ptr() == chunk.as_ptr()), "not copied");
        }
        assert!(meter.finish().is_empty());
        let report = meter.report();
        let usage = Usage::default().with(Class::Input, 7).with(Class::Output, 3);
        assert_eq!(report.usage, Some(usage));
        assert_eq!(report.service, Some(ServiceTier::Priority));
        assert!(report.done && report.finished && !report.error && !report.overflow);
        assert_eq!(report.content_bytes, 6 + 9 + 3 + 3);
        assert_eq!(report.content_events, 3);
    }
}

#[test]
fn usage_that_only_we_asked_for_is_taken_out() {
    assert_eq!(hidden(&[PLAIN, USAGE, DONE].concat()), [PLAIN, DONE].concat());
    for line_end in ["\n", "\r\n", "\r"] {
        let stream = [PLAIN, USAGE, DONE, USAGE].concat().replace('\n', line_end);
        let expected = [PLAIN, DONE].concat().replace('\n', line_end);
        assert_eq!(hidden(&stream), expected, "{line_end:?}");
    }
    assert_eq!(hidden(USAGE.trim_end()), "", "without its blank line");
    assert_eq!(hidden(&USAGE.replace("[]", "null")), "");
}

#[test]
fn usage_beside_other_members_is_cut_out_alone() {
    for (event, left) in [
        (
            r#"data: {"id":1,"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1},"model":"m"}"#,
            r#"data: {"id":1,"choices":[{"delta":{"content":"x"}}],"model":"m"}"#,
        ),
        (r#"data:{"usage" : {"a":1} , "choices":[{}]}"#, r#"data:{ "choices":[{}]}"#),
        (r#"data: {"usage":{"a":1}}"#, "data: {}"),
        (
            r#"data: {"usage":{"a":1},"usage":{"a":2},"choices":[{}]}"#,
            r#"data: {"choices":[{}]}"#,
        ),
        (
            r#"data: {"choices":[{}],"usage":{"a":1},"usage":{"a":2}}"#,
            r#"data: {"choices":[{}]}"#,
        ),
        (
            r#"data: {"choices":[],"usage":{"a":1},"error":{"code":1}}"#,
            r#"data: {"choices":[],"error":{"code":1}}"#,
        ),
        ("data: {\"choices\":[{}],\ndata: \"usage\":\ndata: {}}", "data: {\"choices\":[{}]}"),
        (
            r#"data: {"choices":[{"usage":{"a":1}}]}"#,
            r#"data: {"choices":[{"usage":{"a":1}}]}"#,
        ),
        (r#"data: {"choices":[],"usage":null}"#, r#"data: {"choices":[],"usage":null}"#),
        ("data: {\"usage\":{\"a\":1", "data: {\"usage\":{\"a\":1"),
        ("data: not JSON \"usage\"", "data: not JSON \"usage\""),
    ] {
        for end in ["\n\n", "\r\n\r\n", ""] {
            let stream = format!("{event}{end}");
            assert_eq!(hidden(&stream), format!("{left}{end}"), "{event}");
        }
    }
}

#[test]
fn what_does_not_change_is_not_copied() {
    let chunk = Bytes::from([PLAIN, "data: {\"half"].concat());
    let mut meter = StreamMeter::new(Kind::OpenAi, Endpoint::Chat, true);
    let out: Vec<Bytes> = meter.push(chunk.clone()).into_iter().collect();
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].as_ptr(), out[0].len()), (chunk.as_ptr(), PLAIN.len()));
}

#[test]
fn later_usage_replaces_what_it_names() {
    let chunk = |usage: &str| format!("data: {{\"choices\":[{{}}],\"usage\":{usage}}}\n\n");
    let stream = [
        chunk(r#"{"prompt_tokens":0,"completion_tokens":0}"#),
        chunk(r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":4}}"#),
        chunk(r#"{"completion_tokens":5,"prompt_tokens":null}"#),
        chunk("null"),
    ]
    .concat();
    let report = relay(false, 1 << 20, stream.as_bytes(), &[]).1;
    let usage =
        Usage::default().with(Class::Input, 5).with(Class::CacheRead, 4).with(Class::Output, 5);
    assert_eq!(report.usage, Some(usage));
}

#[test]
fn usage_in_its_second_place_counts_only_where_there_is_no_other() {
    let beside = "data: {\"x_groq\":{\"id\":\"a\",\"usage\":{\"prompt_tokens\":8}}}\n\n";
    let report = relay(false, 1 << 20, beside.as_bytes(), &[]).1;
    assert_eq!(report.usage, Some(Usage::default().with(Class::Input, 8)));
    let both = [USAGE, beside].concat();
    let report = relay(false, 1 << 20, both.as_bytes(), &[]).1;
    assert_eq!(report.usage.map(|usage| usage.input_tokens()), Some(7));
}

#[test]
fn an_error_event_is_seen() {
    for (event, error) in [
        (r#"data: {"error":{"message":"m"}}"#, true),
        (r#"data: {"error":"m"}"#, true),
        (r#"data: {"error":null,"choices":[]}"#, false),
        (r#"data: {"error":{}}"#, false),
    ] {
        assert_eq!(relay(false, 1 << 20, event.as_bytes(), &[]).1.error, error, "{event}");
    }
}

#[test]
fn an_event_past_the_limit_ends_the_reading_and_not_the_relay() {
    let long = format!("data: {{\"pad\":\"{}\"}}\n\n", "x".repeat(200));
    let stream = [PLAIN, USAGE, &long, USAGE, DONE].concat();
    let expected = [PLAIN, &long, USAGE, DONE].concat();
    for hide in [false, true] {
        let expected = if hide { &expected } else { &stream };
        let whole = relay(hide, 190, stream.as_bytes(), &[]);
        assert!(whole.1.overflow && !whole.1.done && whole.1.usage.is_some());
        assert_eq!(String::from_utf8_lossy(&whole.0), *expected);
        for split in 0..=stream.len() {
            assert_eq!(relay(hide, 190, stream.as_bytes(), &[split]), whole, "{split}");
        }
    }
}

#[test]
fn legacy_completions_have_their_text_elsewhere() {
    let stream = "data: {\"choices\":[{\"text\":\"four\",\"delta\":{\"content\":\"no\"}}]}\n\n";
    let mut meter = StreamMeter::new(Kind::OpenAi, Endpoint::Completions, false);
    let _ = meter.push(Bytes::from(stream));
    assert_eq!(meter.report().content_bytes, 4);
}

fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let event = prop_oneof![
        Just(USAGE.to_owned()),
        Just(DONE.to_owned()),
        Just(": ping\n\n".to_owned()),
        Just("\n".to_owned()),
        Just("\u{feff}".to_owned()),
        "(data: ?)?[{}\\[\\]\",:a-c 0-9]{0,20}\n{0,2}",
        "data: \\{\"choices\":\\[(\\{\\})?\\],\"usage\":(null|1|\\{\\})\\}\n\n?",
    ];
    let text = (proptest::collection::vec(event, 0..8), 0..3usize).prop_map(|(events, end)| {
        events.concat().replace('\n', ["\n", "\r\n", "\r"][end]).into_bytes()
    });
    prop_oneof![4 => text, 1 => any::<Vec<u8>>()]
}

proptest! {
    #[test]
    fn neither_bytes_nor_report_depend_on_the_chunks(
        stream in any_stream(), limit in 20usize..400, hide: bool,
        mut cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut places: Vec<usize> = cuts.drain(..).map(|i| i.index(stream.len() + 1)).collect();
        places.sort_unstable();
        let whole = relay(hide, limit, &stream, &[]);
        prop_assert_eq!(&whole, &relay(hide, limit, &stream, &places));
        if !hide {
            prop_assert_eq!(whole.0, stream);
        }
    }
}
