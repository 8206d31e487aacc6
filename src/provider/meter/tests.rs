//! The meter over streams of every shape: what goes through, what is hidden, what is read.

use super::*;
use crate::domain::price::Wanted;
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
        (r#"data: {"usage":{"a":1},"usage":{"a":2},"choices":[{}]}"#, r#"data: {"choices":[{}]}"#),
        (r#"data: {"choices":[{}],"usage":{"a":1},"usage":{"a":2}}"#, r#"data: {"choices":[{}]}"#),
        (
            r#"data: {"choices":[],"usage":{"a":1},"error":{"code":1}}"#,
            r#"data: {"choices":[],"error":{"code":1}}"#,
        ),
        ("data: {\"choices\":[{}],\ndata: \"usage\":\ndata: {}}", "data: {\"choices\":[{}]}"),
        (r#"data: {"choices":[{"usage":{"a":1}}]}"#, r#"data: {"choices":[{"usage":{"a":1}}]}"#),
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

/// A list that ends in a comma is no JSON, and some servers write it.
#[test]
fn an_odd_usage_counts_as_far_as_it_can_be_read_and_so_does_what_stands_behind_it() {
    let odd = "data: {\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":7,},\"error\":{\"message\":\"x\"},\
               \"choices\":[{\"delta\":{\"content\":\"hello\"},\"finish_reason\":\"stop\"}]}\n\n";
    let report = relay(false, 1 << 20, odd.as_bytes(), &[]).1;
    assert_eq!(report.usage, used(&[(Class::Input, 10), (Class::Output, 7)]));
    assert_eq!((report.error, report.finished, report.content_bytes), (true, true, 5));
    let alone = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,}}\n\n";
    assert_eq!(hidden(alone), "");
}

#[test]
fn of_two_usages_in_one_event_the_last_counts() {
    let stream = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":700},\
                  \"usage\":{\"prompt_tokens\":10}}\n\n";
    let report = relay(false, 1 << 20, stream.as_bytes(), &[]).1;
    assert_eq!(report.usage, used(&[(Class::Input, 10)]));
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

/// The report of a stream of this endpoint, which must not depend on the chunks, and must not change
/// what passes.
fn metered(kind: Kind, endpoint: Endpoint, stream: &str) -> StreamReport {
    let whole = Bytes::copy_from_slice(stream.as_bytes());
    let through = |cuts: &[usize]| {
        let mut meter = StreamMeter::new(kind, endpoint, true);
        let (mut out, mut from) = (Vec::new(), 0);
        for to in cuts.iter().copied().chain([whole.len()]) {
            meter.push(whole.slice(from..to)).into_iter().for_each(|piece| out.extend(piece));
            from = to;
        }
        meter.finish().into_iter().for_each(|piece| out.extend(piece));
        assert_eq!(String::from_utf8_lossy(&out), stream);
        meter.report().clone()
    };
    let report = through(&[]);
    for split in 0..=stream.len() {
        assert_eq!(through(&[split]), report, "split at {split}");
    }
    report
}

fn events(all: &[(&str, &str)]) -> String {
    let event = |(name, data): &(&str, &str)| format!("event: {name}\ndata: {data}\n\n");
    all.iter().map(event).collect::<Vec<_>>().concat()
}

#[expect(clippy::unnecessary_wraps, reason = "it stands beside what a report has")]
fn used(pairs: &[(Class, u64)]) -> Option<Usage> {
    Some(pairs.iter().fold(Usage::default(), |usage, (class, n)| usage.with(*class, *n)))
}

#[test]
fn a_response_has_its_usage_however_it_ends() {
    let begun = events(&[
        (
            "response.created",
            r#"{"type":"response.created","response":{"status":"in_progress","usage":null,"service_tier":"auto"}}"#,
        ),
        ("response.output_text.delta", r#"{"type":"response.output_text.delta","delta":"four"}"#),
        (
            "response.function_call_arguments.delta",
            r#"{"type":"response.function_call_arguments.delta","delta":"{\"a\":1}"}"#,
        ),
        (
            "response.output_item.done",
            r#"{"type":"response.output_item.done","item":{"type":"web_search_call","action":{"type":"search"}}}"#,
        ),
        (
            "response.output_item.done",
            r#"{"type":"response.output_item.done","item":{"type":"web_search_call","action":{"type":"open_page"}}}"#,
        ),
    ]);
    let cut = metered(Kind::OpenAi, Endpoint::Responses, &begun);
    assert_eq!((cut.usage, cut.content_bytes, cut.content_events), (None, 11, 2));
    assert!(!cut.done && !cut.finished && !cut.error);
    for (name, error) in
        [("response.completed", false), ("response.incomplete", false), ("response.failed", true)]
    {
        let end = format!(
            r#"{{"response":{{"output":[{{"type":"message","content":[{{"type":"output_text","text":"four"}}]}}],"service_tier":"flex","error":null,
            "usage":{{"input_tokens":10,"input_tokens_details":{{"cached_tokens":4}},"output_tokens":7,"output_tokens_details":{{"reasoning_tokens":5}},"total_tokens":17}}}},"type":"{name}"}}"#
        ).replace('\n', " ");
        let report =
            metered(Kind::OpenAi, Endpoint::Responses, &(begun.clone() + &events(&[(name, &end)])));
        assert_eq!(
            report.usage,
            used(&[
                (Class::Input, 6),
                (Class::CacheRead, 4),
                (Class::Output, 2),
                (Class::Reasoning, 5),
                (Class::WebSearch, 1)
            ])
        );
        assert_eq!(report.service, Some(ServiceTier::Flex));
        assert!(report.done && report.finished && report.error == error, "{name}");
        assert_eq!(report.content_bytes, 11, "the end repeats what came");
    }
    let error = events(&[("error", r#"{"type":"error","code":"server_error","message":"no"}"#)]);
    let report = metered(Kind::OpenAi, Endpoint::Responses, &error);
    assert!(report.error && !report.done);
}

#[test]
fn tools_that_the_provider_ran_are_counted_beside_the_tokens() {
    let answer = |more: &str| {
        let body = format!(
            r#"{{"object":"response","status":"completed","tools":[{{"type":"image_generation","model":"painter-1"}}],
            "output":[{{"type":"image_generation_call","result":"aGk="}},{{"type":"web_search_call","status":"completed"}}]{more},
            "usage":{{"input_tokens":3,"output_tokens":2,"total_tokens":5}}}}"#
        );
        read_whole(Kind::OpenAi, Endpoint::Responses, body.as_bytes())
    };
    let told = answer(
        r#","tool_usage":{"web_search":{"num_requests":4},"image_gen":{"input_tokens":9,
        "input_tokens_details":{"image_tokens":5,"text_tokens":4},"output_tokens":50}}"#,
    );
    assert_eq!(told.usage.map(|usage| usage.get(Class::WebSearch)), Some(4));
    let painted = used(&[(Class::Input, 4), (Class::InputImage, 5), (Class::OutputImage, 50)]);
    let extra = |usage: Option<Usage>| {
        vec![Extra {
            model: Some("painter-1".into()),
            usage: usage.expect("usage"),
            wanted: Wanted::default(),
        }]
    };
    assert_eq!(told.extra, extra(painted));
    let untold = answer("");
    assert_eq!(untold.usage.map(|usage| usage.get(Class::WebSearch)), Some(1));
    assert_eq!(untold.extra, extra(used(&[(Class::Image, 1)])));
}

#[test]
fn images_that_a_tool_made_are_told_apart_by_size_and_quality() {
    let item = |quality: &str, size: &str| {
        format!(
            r#"{{"type":"image_generation_call","quality":"{quality}","result":"aGk=","size":"{size}"}}"#
        )
    };
    let items = [item("high", "1x1"), item("low", "2x2"), item("high", "1x1")];
    let end = format!(
        r#"{{"output":[{}],"usage":{{"input_tokens":3,"output_tokens":2}}}}"#,
        items.join(",")
    );
    let whole = read_whole(Kind::OpenAi, Endpoint::Responses, end.as_bytes());
    let done = |item: &String| format!(r#"{{"type":"response.output_item.done","item":{item}}}"#);
    let done = items.each_ref().map(done);
    let last = format!(r#"{{"type":"response.completed","response":{end}}}"#);
    let names = ["response.output_item.done"; 3].iter().zip(&done);
    let stream: Vec<(&str, &str)> = names
        .map(|(name, data)| (*name, &**data))
        .chain([("response.completed", &*last)])
        .collect();
    let streamed = metered(Kind::OpenAi, Endpoint::Responses, &events(&stream));
    for extra in [whole.extra, streamed.extra] {
        let made: Vec<_> = extra
            .iter()
            .map(|extra| {
                let (wanted, count) = (&extra.wanted, extra.usage.get(Class::Image));
                (wanted.image_size.as_deref(), wanted.image_quality.as_deref(), count)
            })
            .collect();
        assert_eq!(made, [(Some("1x1"), Some("high"), 2), (Some("2x2"), Some("low"), 1)]);
    }
}

#[test]
fn an_image_says_what_it_was_made_like() {
    let body =
        r#"{"created":1,"size":"1024x1536","quality":"medium","data":[{"b64_json":"aGk="}]}"#;
    let report = read_whole(Kind::OpenAi, Endpoint::ImageGenerations, body.as_bytes());
    let chosen = (report.chosen.image_size.as_deref(), report.chosen.image_quality.as_deref());
    assert_eq!(chosen, (Some("1024x1536"), Some("medium")));
}

#[test]
fn a_message_is_counted_from_its_start_and_its_changes() {
    let start = events(&[
        (
            "message_start",
            r#"{"type":"message_start","message":{"id":"m","content":[],"stop_reason":null,"usage":{"input_tokens":100,"cache_read_input_tokens":8,"output_tokens":1,"service_tier":"priority"}}}"#,
        ),
        ("ping", r#"{"type":"ping"}"#),
        (
            "content_block_start",
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        ),
        (
            "content_block_delta",
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        ),
        (
            "content_block_delta",
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#,
        ),
        (
            "content_block_delta",
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Grün"}}"#,
        ),
        (
            "content_block_delta",
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}"#,
        ),
    ]);
    let cut = metered(Kind::Anthropic, Endpoint::Messages, &start);
    assert!(cut.usage_of_start && !cut.finished && !cut.done);
    assert_eq!(cut.usage.map(|usage| usage.input_tokens()), Some(108));
    assert_eq!((cut.content_bytes, cut.content_events), (2 + 5 + 7, 3));
    let end = events(&[
        (
            "message_delta",
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"input_tokens":130,"output_tokens":40,"server_tool_use":{"web_search_requests":2}}}"#,
        ),
        ("message_stop", r#"{"type":"message_stop"}"#),
    ]);
    let report = metered(Kind::Anthropic, Endpoint::Messages, &(start.clone() + &end));
    assert!(!report.usage_of_start && report.finished && report.done && !report.error);
    let expected =
        [(Class::Input, 130), (Class::CacheRead, 8), (Class::Output, 40), (Class::WebSearch, 2)];
    assert_eq!(report.usage, used(&expected));
    assert_eq!(report.service, Some(ServiceTier::Priority));
    let error = events(&[(
        "error",
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
    )]);
    let failed = metered(Kind::Anthropic, Endpoint::Messages, &(start + &error));
    assert!(failed.error && failed.usage_of_start);
}

#[test]
fn a_message_that_was_refused_before_a_word_was_said_costs_nothing() {
    for (reason, output, input) in [("refusal", 0, 0), ("refusal", 3, 9), ("end_turn", 0, 9)] {
        let body = format!(
            r#"{{"stop_reason":"{reason}","usage":{{"input_tokens":9,"output_tokens":{output}}}}}"#
        );
        let report = read_whole(Kind::Anthropic, Endpoint::Messages, body.as_bytes());
        let counted = report.usage.map(|usage| usage.input_tokens());
        assert_eq!(counted, Some(input), "{reason} after {output}");
    }
}

#[test]
fn what_gemini_streams_is_read_as_events_and_as_an_array() {
    let chunks = [
        r#"{"candidates":[{"content":{"parts":[{"text":"fo"}]}}],"usageMetadata":{"promptTokenCount":9,"thoughtsTokenCount":40,"totalTokenCount":49},"modelVersion":"gemini-3-x"}"#,
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}],"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"ur}]"}]},"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a","b",""],"groundingChunks":[{}]}}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":3,"thoughtsTokenCount":44,"totalTokenCount":56,"serviceTier":"flex"}}"#,
    ];
    let sse = chunks.map(|chunk| format!("data: {chunk}\r\n\r\n")).concat();
    let array = format!("[{}\n]", chunks.join("\n,\r\n"));
    for stream in [sse, array] {
        let report = metered(Kind::Gemini, Endpoint::StreamGenerateContent, &stream);
        let expected =
            [(Class::Input, 9), (Class::Output, 3), (Class::Reasoning, 44), (Class::WebSearch, 2)];
        assert_eq!(report.usage, used(&expected));
        assert_eq!(report.service, Some(ServiceTier::Flex));
        assert!(report.finished && !report.done && !report.error);
        assert_eq!(report.content_bytes, 2 + 12 + 4);
    }
    let begun = format!("data: {}\n\ndata: {}\n\n", chunks[0], chunks[1]);
    let cut = metered(Kind::Gemini, Endpoint::StreamGenerateContent, &begun);
    assert_eq!(cut.usage, used(&[(Class::Input, 9), (Class::Reasoning, 40)]), "the largest");
    for error in [r#"[{"error":{"code":429}}]"#, r#"{"error":{"code":429}}"#] {
        assert!(metered(Kind::Gemini, Endpoint::StreamGenerateContent, error).error);
        assert!(read_whole(Kind::Gemini, Endpoint::GenerateContent, error.as_bytes()).error);
    }
}

#[test]
fn searches_of_older_geminis_are_charged_once_for_a_prompt() {
    for (model, queries, searches) in [
        ("gemini-2.5-pro", r#"["a","b"]"#, 1),
        ("models/gemini-2.0-flash", r#"["a"]"#, 1),
        ("gemini-3-flash-preview", r#"["a","b"]"#, 2),
        ("gemini-3-flash-preview", "null", 1),
        ("", r#"["a","b"]"#, 2),
    ] {
        let body = format!(
            r#"{{"modelVersion":"{model}","candidates":[{{"groundingMetadata":{{"webSearchQueries":{queries},"groundingChunks":[{{"web":{{}}}}]}}}}],
            "usageMetadata":{{"promptTokenCount":1}}}}"#
        );
        let report = read_whole(Kind::Gemini, Endpoint::GenerateContent, body.as_bytes());
        let counted = report.usage.map(|usage| usage.get(Class::WebSearch));
        assert_eq!(counted, Some(searches), "{model} {queries}");
    }
}

#[test]
fn a_conversation_with_bedrock_ends_with_its_usage() {
    let begun = events(&[
        ("messageStart", r#"{"role":"assistant"}"#),
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t","name":"fn"}}}"#,
        ),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{}"}}}"#),
        (
            "contentBlockDelta",
            r#"{"contentBlockIndex":1,"delta":{"reasoningContent":{"text":"hm"}}}"#,
        ),
        ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"text":"four"}}"#),
        ("messageStop", r#"{"stopReason":"tool_use"}"#),
    ]);
    let cut = metered(Kind::Bedrock, Endpoint::ConverseStream, &begun);
    assert!(cut.finished && !cut.done);
    assert_eq!((cut.content_bytes, cut.content_events), (10, 4));
    let end = events(&[(
        "metadata",
        r#"{"usage":{"inputTokens":5,"outputTokens":4,"totalTokens":12,"cacheReadInputTokens":3},"metrics":{"latencyMs":1},"serviceTier":{"type":"priority"}}"#,
    )]);
    let report = metered(Kind::Bedrock, Endpoint::ConverseStream, &(begun + &end));
    assert!(report.done && !report.error);
    assert_eq!(report.service, Some(ServiceTier::Priority));
    assert_eq!(report.usage, used(&[(Class::Input, 5), (Class::CacheRead, 3), (Class::Output, 4)]));
    let failed = events(&[("throttlingException", r#"{"message":"no"}"#)]);
    assert!(metered(Kind::Bedrock, Endpoint::ConverseStream, &failed).error);
    let answer = br#"{"output":{"message":{"role":"assistant","content":[{"text":"four"},{"reasoningContent":{"reasoningText":{"text":"hm"}}}]}},
        "stopReason":"end_turn","usage":{"inputTokens":5,"outputTokens":4,"totalTokens":9}}"#;
    let report = read_whole(Kind::Bedrock, Endpoint::Converse, answer);
    assert_eq!(report.usage, used(&[(Class::Input, 5), (Class::Output, 4)]));
    assert_eq!(report.content_bytes, 6);
}

#[test]
fn images_are_counted_by_tokens_and_by_their_number() {
    let body = br#"{"created":1,"data":[{"b64_json":"aGk="},{"url":"x"}],"usage":{"input_tokens":30,
        "input_tokens_details":{"text_tokens":10,"image_tokens":20},"output_tokens":400,"total_tokens":430}}"#;
    let report = read_whole(Kind::OpenAi, Endpoint::ImageEdits, body);
    let expected = [(Class::Input, 10), (Class::InputImage, 20), (Class::OutputImage, 400)];
    assert_eq!((report.usage, report.images), (used(&expected), 2));
    let untold = read_whole(Kind::OpenAi, Endpoint::ImageGenerations, br#"{"data":[{"url":"x"}]}"#);
    assert_eq!((untold.usage, untold.images), (None, 1));
    let stream = events(&[
        (
            "image_generation.partial_image",
            r#"{"type":"image_generation.partial_image","b64_json":"aGk="}"#,
        ),
        (
            "image_generation.completed",
            r#"{"type":"image_generation.completed","b64_json":"aGk=","usage":{"input_tokens":5,"input_tokens_details":{"text_tokens":5,"image_tokens":0},"output_tokens":60,"output_tokens_details":{"image_tokens":50,"text_tokens":10}}}"#,
        ),
    ]);
    let report = metered(Kind::OpenAi, Endpoint::ImageGenerations, &stream);
    let expected = [(Class::Input, 5), (Class::OutputImage, 50), (Class::Output, 10)];
    assert_eq!((report.usage, report.images), (used(&expected), 1));
    assert!(report.finished);
}

#[test]
fn audio_is_counted_by_tokens_or_by_time() {
    for (body, expected) in [
        (
            r#"{"text":"hi","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":3,"total_tokens":17}}"#,
            used(&[(Class::Input, 4), (Class::InputAudio, 10), (Class::Output, 3)]),
        ),
        (
            r#"{"text":"hi","usage":{"type":"duration","seconds":9}}"#,
            used(&[(Class::AudioMillisecond, 9_000)]),
        ),
        (r#"{"text":"hi","duration":"8.4701"}"#, used(&[(Class::AudioMillisecond, 8_471)])),
        (r#"{"text":"hi"}"#, None),
        ("1\n00:00:00,000 --> 00:00:01,000\nhi\n", None),
    ] {
        let report = read_whole(Kind::OpenAi, Endpoint::Transcriptions, body.as_bytes());
        assert_eq!(report.usage, expected, "{body}");
    }
    let stream = events(&[
        ("transcript.text.delta", r#"{"type":"transcript.text.delta","delta":"four"}"#),
        (
            "transcript.text.done",
            r#"{"type":"transcript.text.done","text":"four","usage":{"type":"tokens","input_tokens":6,"output_tokens":2}}"#,
        ),
    ]);
    let report = metered(Kind::OpenAi, Endpoint::Transcriptions, &stream);
    assert_eq!(report.usage, used(&[(Class::InputAudio, 6), (Class::Output, 2)]));
    assert!(report.done && report.content_bytes == 4);
    let speech = events(&[
        ("speech.audio.delta", r#"{"type":"speech.audio.delta","audio":"aGk="}"#),
        (
            "speech.audio.done",
            r#"{"type":"speech.audio.done","usage":{"input_tokens":6,"output_tokens":90,"total_tokens":96}}"#,
        ),
    ]);
    let report = metered(Kind::OpenAi, Endpoint::Speech, &speech);
    assert_eq!(report.usage, used(&[(Class::Input, 6), (Class::OutputAudio, 90)]));
}

#[test]
fn rerankings_are_counted_by_tokens_or_by_searches() {
    for (body, expected) in [
        (r#"{"results":[],"usage":{"total_tokens":12}}"#, used(&[(Class::Input, 12)])),
        (r#"{"results":[],"meta":{"billed_units":{"search_units":2}}}"#, used(&[(Class::Call, 2)])),
        (r#"{"results":[]}"#, None),
    ] {
        let report = read_whole(Kind::OpenAi, Endpoint::Rerank, body.as_bytes());
        assert_eq!(report.usage, expected, "{body}");
    }
}

#[test]
fn an_answer_is_read_whole() {
    let body = br#"{"id":"a","choices":[{"message":{"content":"h\u00e9\n","refusal":null,
        "tool_calls":[{"function":{"name":"ab","arguments":"{}"}}]},"finish_reason":"stop"}],
        "service_tier":"flex","usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}"#;
    let report = read_whole(Kind::OpenAi, Endpoint::Chat, body);
    assert_eq!(report.usage, used(&[(Class::Input, 4), (Class::Output, 2)]));
    assert_eq!((report.service, report.content_bytes), (Some(ServiceTier::Flex), 8));
    let error =
        read_whole(Kind::OpenRouter, Endpoint::Chat, br#"{"error":{"message":"no","code":429}}"#);
    assert_eq!(error, StreamReport { error: true, ..StreamReport::default() });
    let body =
        br#"{"data":[{"embedding":[0.1,-0.2]}],"usage":{"prompt_tokens":5,"total_tokens":5}}"#;
    assert_eq!(
        read_whole(Kind::OpenAi, Endpoint::Embeddings, body).usage,
        used(&[(Class::Input, 5)])
    );
    let body = br#"{"x_groq":{"usage":{"prompt_tokens":5,"completion_tokens":1}}}"#;
    assert!(read_whole(Kind::Groq, Endpoint::Chat, body).usage.is_some());
    for body in ["", "null", "[{\"error\":{}}]", "<html>", "{\"usage\":"] {
        assert_eq!(read_whole(Kind::GeminiOpenAi, Endpoint::Chat, body.as_bytes()).usage, None);
    }
}

/// Text made of what the readers look for, whole and broken.
fn any_wire() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 34] = [
        "data: ",
        "event: message_stop\n",
        "\n\n",
        "\r\n",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "null",
        "-1.5e3",
        "99999999999999999999",
        "\"usage\":{",
        "\"usageMetadata\":{",
        "\"response\":{",
        "\"input_tokens\":",
        "\"iterations\":[",
        "\"type\":\"advisor_message\"",
        "\"delta\":",
        "\"text\"",
        "\"candidates\":[{",
        "\"promptTokenCount\":7",
        "\"cacheTokensDetails\":[{\"modality\":\"AUDIO\",\"tokenCount\":9}]",
        "\"output\":[{",
        "\"cacheDetails\":[{\"ttl\":\"1h\",\"inputTokens\":5}]",
        "\"inputTokens\":3",
        "\"type\":\"response.completed\"",
        "\"duration\":1",
        "\"choices\":[{",
        "\u{feff}",
        "é",
    ];
    let text = proptest::collection::vec(0..WORDS.len(), 0..40).prop_map(|words| {
        words.into_iter().map(|word| WORDS[word]).collect::<String>().into_bytes()
    });
    prop_oneof![5 => text, 1 => any::<Vec<u8>>()]
}

proptest! {
    #[test]
    fn no_bytes_stop_or_change_any_stream(
        stream in any_wire(), limit in 20usize..400,
        endpoint in prop::sample::select(&Endpoint::ALL[..]), kind in prop::sample::select(&Kind::ALL[..]),
        mut cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut places: Vec<usize> = cuts.drain(..).map(|i| i.index(stream.len() + 1)).collect();
        places.sort_unstable();
        let whole = Bytes::from(stream);
        let through = |cuts: &[usize]| {
            let mut meter = StreamMeter::with_event_limit(kind, endpoint, false, limit);
            let (mut out, mut from) = (Vec::new(), 0);
            for to in cuts.iter().copied().chain([whole.len()]) {
                meter.push(whole.slice(from..to)).into_iter().for_each(|piece| out.extend(piece));
                assert!(meter.cutter.held().len() <= limit);
                from = to;
            }
            meter.finish().into_iter().for_each(|piece| out.extend(piece));
            (out, meter.report().clone())
        };
        let (out, report) = through(&[]);
        prop_assert_eq!(&out, &whole);
        let (out, same) = through(&places);
        prop_assert_eq!(&out, &whole);
        prop_assert_eq!(same, report);
        let _ = read_whole(kind, endpoint, &whole);
    }
}
