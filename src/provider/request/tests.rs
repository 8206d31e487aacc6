//! What is read and rewritten of chat calls and their like, and what holds for every wire.

use super::*;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Reads a body; where only the path names the model it is `m`.
fn read_body(endpoint: Endpoint, body: &[u8]) -> Result<Call, RequestError> {
    read_named(endpoint, is_gemini(endpoint).then_some("m"), body)
}

fn read_named(endpoint: Endpoint, model: Option<&str>, body: &[u8]) -> Result<Call, RequestError> {
    let form = "multipart/form-data; boundary=b";
    let content_type = if body.starts_with(b"--") { form } else { "application/json" };
    read(endpoint, &Head { model, content_type: Some(content_type) }, body)
}

fn chat(body: &str) -> Result<Call, RequestError> {
    read_body(Endpoint::Chat, body.as_bytes())
}

/// A chat call with further members in it.
fn with(members: &str) -> String {
    format!(r#"{{"model":"m","messages":[]{members}}}"#)
}

fn edited(body: &str, edits: Edits<'_>) -> String {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let call = chat(body).expect("a call");
    String::from_utf8(rewrite(&bytes, &call, &edits).to_vec()).expect("UTF-8")
}

#[test]
fn the_facts_of_a_call_are_read() {
    let body = r#" {"messages" : [{"role":"user","content":"hi"}], "st\u0072eam":true,
        "mod\u0065l":"a\/b","max_tokens":50,"max_completion_tokens":70,"max_output_tokens":900,
        "n":3,"best_of":null,"service_tier":"flex","stream_options":{"x":1,"include_usage":true},
        "tools":[],"other":{"model":5},"seed":null} "#;
    let call = chat(body).expect("a call");
    assert_eq!(call.model, "a/b");
    assert!(call.stream && call.wants_usage && !call.media && !call.searches);
    assert_eq!(call.output_cap, Some(70));
    let caps: Vec<_> = call.caps().map(|(field, value)| (field.name(), value)).collect();
    assert_eq!(
        caps,
        [("max_completion_tokens", 70), ("max_tokens", 50), ("max_output_tokens", 900)]
    );
    assert_eq!(call.choices, 3);
    assert_eq!(call.service, Some(ServiceTier::Flex));
    assert_eq!(call.body_bytes, body.len() as u64);
    assert_eq!(call.prompt_bytes, r#"[{"role":"user","content":"hi"}][]"#.len() as u64);
}

#[test]
fn what_is_absent_or_null_has_its_default() {
    for body in [
        with(""),
        with(r#","stream":null,"n":null,"max_tokens":null,"stream_options":null,"plugins":null"#),
    ] {
        let call = chat(&body).expect("a call");
        assert!(!call.stream && !call.wants_usage && !call.searches && !call.other_models);
        assert_eq!((call.output_cap, call.choices, call.service), (None, 1, None));
    }
    let call = chat(&with(r#","n":0,"max_output_tokens":5"#)).expect("a call");
    assert_eq!((call.output_cap, call.choices), (None, 1), "not a cap of this endpoint");
    let call = chat(&with(r#","plugins":[],"models":["z"],"prediction":{}"#)).expect("a call");
    assert!(call.searches && call.other_models);
    assert_eq!(call.predicted_bytes, 2);
}

#[test]
fn what_is_not_a_call_is_refused_with_its_reason() {
    use RequestError as E;
    let integer = "a non-negative integer";
    let long = format!(r#"{{"model":"{}","messages":[]}}"#, "m".repeat(MAX_MODEL_NAME + 1));
    let deep = format!(r#"{{"model":"m","messages":{}"#, "[".repeat(200_000));
    for (body, expected) in [
        ("[]", E::NotAnObject),
        ("7", E::NotAnObject),
        ("{}", E::Missing("model")),
        (r#"{"model":null}"#, E::Missing("model")),
        (r#"{"model":7}"#, E::WrongType { param: "model", expected: "a string" }),
        (r#"{"model":"\ud800"}"#, E::WrongType { param: "model", expected: "a string" }),
        (r#"{"model":""}"#, E::Empty("model")),
        (r#"{"model":"a\u0000"}"#, E::ControlCharacter("model")),
        (&long, E::TooLong { param: "model", limit: MAX_MODEL_NAME }),
        (r#"{"model":"m"}"#, E::Missing("messages")),
        (r#"{"model":"m","messages":null}"#, E::Missing("messages")),
        (
            r#"{"model":"m","messages":"hi"}"#,
            E::WrongType { param: "messages", expected: "a list of messages" },
        ),
        (&with(r#","stream":1"#), E::WrongType { param: "stream", expected: "a boolean" }),
        (&with(r#","n":-1"#), E::WrongType { param: "n", expected: integer }),
        (&with(r#","n":1.5"#), E::WrongType { param: "n", expected: integer }),
        (&with(r#","max_tokens":"5""#), E::WrongType { param: "max_tokens", expected: integer }),
        (
            &with(r#","max_completion_tokens":99999999999999999999"#),
            E::WrongType { param: "max_completion_tokens", expected: integer },
        ),
        (
            &with(r#","stream_options":true"#),
            E::WrongType { param: "stream_options", expected: "an object" },
        ),
        (&with(r#","stream":true,"stream":false"#), E::Duplicate("stream")),
        (&with(r#","\u006dodel":"x""#), E::Duplicate("model")),
        (&with(r#","n":null,"n":9"#), E::Duplicate("n")),
        (
            &with(r#","stream_options":{"include_usage":true,"include_usage":false}"#),
            E::Duplicate("stream_options.include_usage"),
        ),
        (
            &with(r#","Max_Tokens":9"#),
            E::LetterCase { written: "Max_Tokens".to_owned(), param: "max_tokens" },
        ),
        (
            &with(",\"\u{17f}tream\":true"),
            E::LetterCase { written: "\u{17f}tream".to_owned(), param: "stream" },
        ),
    ] {
        assert_eq!(chat(body), Err(expected), "{body}");
    }
    for (body, line, column) in [
        ("", 1, 0),
        ("{\n\"model\" 5}", 2, 9),
        (r#"{"model":"m"} x"#, 1, 15),
        ("\u{feff}{}", 1, 1),
        (&deep, 1, deep.len()),
    ] {
        let error = chat(body).expect_err("not JSON");
        let E::NotJson { line: l, column: c, .. } = &error else { panic!("{error}") };
        assert_eq!((*l, *c), (line, column), "{error}");
    }
    let error = read_body(Endpoint::Chat, b"{\n \xff}").expect_err("not UTF-8");
    assert_eq!(
        error.to_string(),
        "The request body is not valid JSON: it is not UTF-8 at line 2, column 2."
    );
    assert_eq!((error.param(), error.code()), (None, None));
    let error = E::Missing("model");
    assert_eq!((error.param(), error.code()), (Some("model"), Some("missing_required_parameter")));
}

#[test]
fn a_whole_number_is_one_however_it_is_written() {
    for (written, expected) in [
        ("100", Some(100)),
        ("100.0", Some(100)),
        ("1e2", Some(100)),
        ("1.0E+2", Some(100)),
        ("12000e-2", Some(120)),
        ("0.0", Some(0)),
        ("100.5", None),
        ("100.00000000000000000001", None),
        ("-1", None),
        ("-0.0", None),
        ("1e400", None),
        ("99999999999999999999999999", None),
        ("\"100\"", None),
    ] {
        let read = chat(&with(&format!(r#","max_tokens":{written}"#)));
        let refused =
            RequestError::WrongType { param: "max_tokens", expected: "a non-negative integer" };
        assert_eq!(
            read.map(|call| call.output_cap),
            expected.map(Some).ok_or(refused),
            "{written}"
        );
    }
}

#[test]
fn each_endpoint_asks_for_its_own_members() {
    for (endpoint, missing, body) in [
        (Endpoint::Chat, "messages", r#"{"model":"m","messages":[]}"#),
        (Endpoint::Completions, "prompt", r#"{"model":"m","prompt":""}"#),
        (Endpoint::Embeddings, "input", r#"{"model":"m","input":"a","max_tokens":"x","n":-1}"#),
        (Endpoint::Moderations, "input", r#"{"model":"m","input":["a"],"stream":true}"#),
    ] {
        let error = read_body(endpoint, br#"{"model":"m"}"#).expect_err("missing");
        assert_eq!(error, RequestError::Missing(missing));
        assert!(read_body(endpoint, body.as_bytes()).is_ok(), "{body}");
    }
}

#[test]
fn each_prompt_is_answered_so_many_times() {
    for (prompt, n, choices) in [
        (r#""a""#, 2, 2),
        (r#"["a","b","c"]"#, 2, 6),
        ("[1,2,3]", 2, 2),
        ("[[1,2],[3]]", 1, 2),
        ("[]", 1, 1),
    ] {
        let body = format!(r#"{{"model":"m","prompt":{prompt},"n":1,"best_of":{n}}}"#);
        let call = read_body(Endpoint::Completions, body.as_bytes()).expect("a call");
        assert_eq!(call.choices, choices, "{prompt}");
    }
}

#[test]
fn what_is_not_text_is_noticed_however_it_is_written() {
    for (messages, media) in [
        (r#"[{"content":"image_url"},{"content":null}]"#, false),
        (
            r#"[{"content":[{"type":"text","text":"a"},"b"],"tool_calls":[{"type":"function"}]}]"#,
            false,
        ),
        (r#"[{"content":[{"type":"image_url","image_url":{"url":"u"}}]}]"#, true),
        (r#"[{"content" : [ {"\u0074ype":"text"}]}]"#, true),
        (r#"[{"content":[{"type":"\u0066ile"}]}]"#, true),
        (r#"[{"content":[{"type":"text","type":"input_audio"}]}]"#, true),
        (r#"[{"content":[{"image_url":"u"}]}]"#, true),
        (r#"[{"content":{"type":"video"}}]"#, true),
        (r#"[{"c\u006fntent":[{"type":"image_url"}]}]"#, true),
        (r#"[{"role":"assistant","audio":{"id":"a"}}]"#, true),
        (r#"[{"role":"assistant","audio":null}]"#, false),
        (r#"[{"content":"a: [b]","audio":null}]"#, false),
    ] {
        let body = format!(r#"{{"model":"m","messages":{messages}}}"#);
        assert_eq!(chat(&body).map(|call| call.media), Ok(media), "{messages}");
    }
    for (input, media) in [
        (r#""a""#, false),
        (r#"["a","b"]"#, false),
        ("[[1],[2]]", false),
        (r#"[{"type":"text","text":"a"}]"#, false),
        (r#"[{"type":"image_url"}]"#, true),
    ] {
        let body = format!(r#"{{"model":"m","input":{input}}}"#);
        let call = read_body(Endpoint::Moderations, body.as_bytes());
        assert_eq!(call.map(|call| call.media), Ok(media), "{input}");
    }
}

#[test]
fn usage_is_asked_for_beside_what_the_client_asked() {
    let ask = Edits { include_usage: true, ..Edits::default() };
    for (options, expected) in [
        (
            "",
            r#"{"stream_options":{"include_usage":true},"model":"m","messages":[],"stream":true}"#
                .to_owned(),
        ),
        (
            r#","stream_options":null"#,
            with(r#","stream":true,"stream_options":{"include_usage":true}"#),
        ),
        (
            r#","stream_options":{ }"#,
            with(r#","stream":true,"stream_options":{"include_usage":true }"#),
        ),
        (
            r#","stream_options":{"include_obfuscation": false}"#,
            with(
                r#","stream":true,"stream_options":{"include_usage":true,"include_obfuscation": false}"#,
            ),
        ),
        (
            r#","stream_options":{"include_usage" : false,"b":1}"#,
            with(r#","stream":true,"stream_options":{"include_usage" : true,"b":1}"#),
        ),
        (
            r#","stream_options":{"include_usage":null}"#,
            with(r#","stream":true,"stream_options":{"include_usage":true}"#),
        ),
    ] {
        assert_eq!(edited(&with(&format!(r#","stream":true{options}"#)), ask), expected);
    }
    for unchanged in
        [r#","stream":true,"stream_options":{"include_usage":true}"#, "", r#","stream":false"#]
    {
        let body = Bytes::from(with(unchanged));
        let call = read_body(Endpoint::Chat, &body).expect("a call");
        let out = rewrite(&body, &call, &ask);
        assert_eq!((out.as_ptr(), &out), (body.as_ptr(), &body), "not copied");
    }
}

#[test]
fn a_cap_is_set_wherever_a_provider_may_look() {
    let cap = Edits { output_cap: Some(9), ..Edits::default() };
    let no_cap = r#"{"max_completion_tokens":9,"model":"m","messages":[]}"#;
    let other = r#"{"max_completion_tokens":9,"model":"m","messages":[],"max_output_tokens":9}"#;
    for (members, expected) in [
        ("", no_cap.to_owned()),
        (r#","max_tokens":50"#, with(r#","max_tokens":9"#)),
        (
            r#","max_tokens":50,"max_completion_tokens":9"#,
            with(r#","max_tokens":9,"max_completion_tokens":9"#),
        ),
        (r#","max_output_tokens":50"#, other.to_owned()),
    ] {
        assert_eq!(edited(&with(members), cap), expected);
    }
    let body = Bytes::from(r#"{"prompt":"a","model":"m"}"#);
    let call = read_body(Endpoint::Completions, &body).expect("a call");
    assert_eq!(rewrite(&body, &call, &cap), r#"{"max_tokens":9,"prompt":"a","model":"m"}"#);
    let body = Bytes::from(r#"{"input":"a","model":"m"}"#);
    let call = read_body(Endpoint::Embeddings, &body).expect("a call");
    assert_eq!(rewrite(&body, &call, &cap), body);
}

#[test]
fn a_cap_is_where_a_provider_looks_that_knows_the_old_one_alone() {
    for (body, cap, expected) in [
        (with(""), None, with("")),
        (with(""), Some(9), r#"{"max_tokens":9,"model":"m","messages":[]}"#.to_owned()),
        (
            with(r#","max_completion_tokens":50"#),
            None,
            r#"{"max_tokens":50,"model":"m","messages":[],"max_completion_tokens":50}"#.to_owned(),
        ),
        (
            with(r#","max_completion_tokens":50,"max_tokens":null"#),
            Some(9),
            with(r#","max_completion_tokens":9,"max_tokens":9"#),
        ),
        (with(r#","max_tokens":50"#), None, with(r#","max_tokens":50"#)),
        (with(r#","max_tokens":50"#), Some(9), with(r#","max_tokens":9"#)),
    ] {
        let edits = Edits { output_cap: cap, old_cap: true, ..Edits::default() };
        assert_eq!(edited(&body, edits), expected);
    }
    // Not in calls that have but one.
    let body = br#"{"model":"m","input":"a","max_output_tokens":5}"#;
    let call = read_body(Endpoint::Responses, body).expect("a call");
    let edits = Edits { old_cap: true, ..Edits::default() };
    assert_eq!(rewrite(&Bytes::from_static(body), &call, &edits), body.as_slice());
}

#[test]
fn another_body_than_the_one_read_is_no_panic() {
    let call = chat(&with(r#","stream":true"#)).expect("a call");
    let edits =
        Edits { model: Some("x"), include_usage: true, output_cap: Some(1), old_cap: false };
    let _ = rewrite(&Bytes::from("{"), &call, &edits);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z_\"]{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_options() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        Just(Some(json!({}))),
        any_value().prop_map(|value| Some(json!({"include_usage": value, "other": 1}))),
        any_value().prop_map(|value| Some(json!({"zz": value}))),
    ]
}

#[test]
fn a_model_in_the_path_is_the_model_whatever_the_body_says() {
    let form = |name: &str| {
        let part = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let file = part("file\"; filename=\"f", "x");
        format!(
            "{}{file}--b--\r\n",
            if name.is_empty() { String::new() } else { part("model", name) }
        )
    };
    for (endpoint, body, expected) in [
        (
            Endpoint::Chat,
            r#"{"model":"<ignored>","messages":[]}"#.to_owned(),
            r#"{"model":"there","messages":[]}"#.to_owned(),
        ),
        (
            Endpoint::Embeddings,
            r#"{"input":"a"}"#.to_owned(),
            r#"{"model":"there","input":"a"}"#.to_owned(),
        ),
        (
            Endpoint::Responses,
            r#"{"input":"a", "model" : 7}"#.to_owned(),
            r#"{"input":"a", "model" : "there"}"#.to_owned(),
        ),
        (
            Endpoint::Speech,
            r#"{"model":null,"input":"a"}"#.to_owned(),
            r#"{"model":"there","input":"a"}"#.to_owned(),
        ),
        (Endpoint::Transcriptions, form("x"), form("there")),
        (Endpoint::Transcriptions, form(""), form("there")),
        (
            Endpoint::ImageEdits,
            form("x").replace("\"file", "\"image"),
            form("there").replace("\"file", "\"image"),
        ),
    ] {
        let call = read_named(endpoint, Some("here"), body.as_bytes()).expect("a call");
        assert_eq!(call.model, "here");
        let edits = Edits { model: Some("there"), ..Edits::default() };
        let sent = rewrite(&Bytes::from(body.clone()), &call, &edits);
        assert_eq!(String::from_utf8_lossy(&sent), expected);
        // Nor does the body's own go on where the provider knows the model by the path's name.
        let sent = rewrite(&Bytes::from(body), &call, &Edits::default());
        assert_eq!(String::from_utf8_lossy(&sent), expected.replace("there", "here"));
    }
}

#[test]
fn tools_of_chat_that_the_provider_runs_are_seen() {
    let tools = |tools: &str| {
        let body = format!(r#"{{"model":"m","messages":[],"tools":{tools}}}"#);
        read(Endpoint::Chat, &Head::default(), body.as_bytes()).expect("a call")
    };
    let own = tools(r#"[{"type":"function","function":{"name":"f"}},{"type":"custom"}]"#);
    assert!(own.tools && !own.hosted_tools);
    let search = tools(r#"[{"type":"openrouter:web_search"}]"#);
    assert!(search.hosted_tools && search.searches && search.unpriced.is_none());
    let other = tools(r#"[{"type":"code_execution"}]"#);
    assert_eq!(other.unpriced, Some(("tools", "code_execution".to_owned())));
    assert!(!tools(r#"{"type":"code_execution"}"#).hosted_tools, "for the provider to judge");
}

proptest! {
    #[test]
    fn the_edits_are_made_and_all_else_stays(
        others in proptest::collection::btree_map("x[a-z_]{0,6}", any_value(), 0..5),
        messages in proptest::collection::vec(any_value(), 0..3),
        options in any_options(),
        caps in any::<(Option<u32>, Option<u32>)>(),
        stream: bool, pretty: bool, model in "[^\\p{Cc}]{1,20}",
        new_model in proptest::option::of("[^\\p{Cc}]{1,20}"), include_usage: bool,
        output_cap in proptest::option::of(0u64..1000),
    ) {
        let mut map: Map<String, Value> = others.into_iter().collect();
        map.insert("model".into(), json!(model));
        map.insert("messages".into(), json!(messages));
        map.insert("stream".into(), json!(stream));
        if let Some(options) = options {
            map.insert("stream_options".into(), options);
        }
        for (name, cap) in [("max_tokens", caps.0), ("max_completion_tokens", caps.1)] {
            if let Some(cap) = cap {
                map.insert(name.into(), json!(cap));
            }
        }
        let text = if pretty {
            serde_json::to_string_pretty(&map)
        } else {
            serde_json::to_string(&map)
        }.expect("JSON");
        let body = Bytes::from(text);
        let call = read_body(Endpoint::Chat, &body).expect("a call");
        prop_assert_eq!(&call.model, &model);
        prop_assert_eq!(call.output_cap, caps.0.max(caps.1).map(u64::from));

        let edits = Edits { model: new_model.as_deref(), include_usage, output_cap, old_cap: false };
        let out = rewrite(&body, &call, &edits);
        let mut expected = map.clone();
        if let Some(model) = &new_model {
            expected.insert("model".into(), json!(model));
        }
        if include_usage && stream {
            let options = expected.entry("stream_options").or_insert(Value::Null);
            if options.is_null() {
                *options = json!({});
            }
            options["include_usage"] = json!(true);
        }
        if let Some(cap) = output_cap {
            let given: Vec<&str> = ["max_tokens", "max_completion_tokens"]
                .into_iter().filter(|name| map.contains_key(*name)).collect();
            let names = if given.is_empty() { vec!["max_completion_tokens"] } else { given };
            for name in names {
                expected.insert(name.into(), json!(cap));
            }
        }
        let read_back: Map<String, Value> = serde_json::from_slice(&out).expect("JSON");
        prop_assert_eq!(&read_back, &expected);
        // Byte for byte: the raw text of every member that was not edited.
        let raw_before: std::collections::BTreeMap<String, &RawValue> =
            serde_json::from_slice(&body).expect("JSON");
        let raw_after: std::collections::BTreeMap<String, &RawValue> =
            serde_json::from_slice(&out).expect("JSON");
        for (name, before) in raw_before {
            if map[&name] == expected[&name] {
                prop_assert_eq!(before.get(), raw_after[&name].get());
            }
        }
        let again = read_body(Endpoint::Chat, &out).expect("a call");
        prop_assert_eq!(rewrite(&out, &again, &edits), out);
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        bytes: Vec<u8>,
        text in r#"\{("model":"m",|"messages":\[|"stream":|true|"n":|1|null|[\[\]{},:"]){0,12}\}"#,
    ) {
        for input in [Bytes::from(bytes), Bytes::from(text)] {
            for endpoint in Endpoint::ALL {
                if let Ok(call) = read_body(endpoint, &input) {
                    let edits = Edits { model: Some("m"), include_usage: true, output_cap: Some(1), old_cap: false };
                    let out = rewrite(&input, &call, &edits);
                    prop_assert!(read_body(endpoint, &out).is_ok());
                }
            }
        }
    }

    #[test]
    fn every_wire_is_edited_where_it_must_be_and_nowhere_else(
        endpoint in proptest::sample::select(JSON_WIRES.to_vec()),
        known in proptest::collection::vec((proptest::sample::select(KNOWN.to_vec()), any_known()), 0..6),
        others in proptest::collection::btree_map("x[a-z_]{0,6}", any_value(), 0..4),
        pretty: bool, renamed: bool, output_cap in proptest::option::of(1u64..1000),
    ) {
        let mut map: Map<String, Value> = others.into_iter().collect();
        map.extend(known.into_iter().map(|(name, value)| (name.to_owned(), value)));
        map.extend(needed(endpoint));
        let text = if pretty {
            serde_json::to_string_pretty(&map)
        } else {
            serde_json::to_string(&map)
        }.expect("JSON");
        let body = Bytes::from(text);
        if let Ok(call) = read_body(endpoint, &body) {
            let edits = Edits { model: renamed.then_some("n"), include_usage: false, output_cap, old_cap: false };
            let out = rewrite(&body, &call, &edits);
            let mut expected = map.clone();
            if renamed && map.contains_key("model") {
                let prefix = if is_gemini(endpoint) { "models/" } else { "" };
                expected.insert("model".into(), json!(format!("{prefix}n")));
            }
            if let Some(cap) = output_cap {
                expect_cap(endpoint, &mut expected, cap);
            }
            let read_back: Map<String, Value> = serde_json::from_slice(&out).expect("JSON");
            prop_assert_eq!(&read_back, &expected);
            if read_back == map {
                prop_assert_eq!(&out, &body, "not a byte is changed");
            }
        }
    }
}

const JSON_WIRES: [Endpoint; 15] = [
    Endpoint::Chat,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::Moderations,
    Endpoint::Responses,
    Endpoint::ImageGenerations,
    Endpoint::Speech,
    Endpoint::Rerank,
    Endpoint::Messages,
    Endpoint::CountTokens,
    Endpoint::GenerateContent,
    Endpoint::StreamGenerateContent,
    Endpoint::GeminiCountTokens,
    Endpoint::EmbedContent,
    Endpoint::ImageEdits,
];

/// Members that some wire reads.
const KNOWN: [&str; 18] = [
    "stream",
    "max_tokens",
    "max_output_tokens",
    "max_completion_tokens",
    "generationConfig",
    "generation_config",
    "thinking",
    "tools",
    "system",
    "input",
    "contents",
    "messages",
    "n",
    "size",
    "background",
    "max_tool_calls",
    "service_tier",
    "cachedContent",
];

fn is_gemini(endpoint: Endpoint) -> bool {
    endpoint.dialect() == crate::provider::endpoint::Dialect::Gemini
}

fn any_known() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0u32..2000).prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!({"maxOutputTokens": 5, "topK": 1})),
        Just(json!({"max_output_tokens": null})),
        Just(json!({"budget_tokens": 1024})),
        Just(json!([{"type": "web_search_20250305", "max_uses": 2}])),
        Just(
            json!([{"role": "user", "content": [{"type": "image_url"}], "parts": [{"text": "a"}]}])
        ),
        any_value(),
    ]
}

/// What a call must have on a wire, and the model where the body may name it.
fn needed(endpoint: Endpoint) -> Map<String, Value> {
    let needed = match endpoint {
        Endpoint::Chat | Endpoint::CountTokens => json!({"model": "m", "messages": []}),
        Endpoint::Messages => json!({"model": "m", "messages": [], "max_tokens": 1500}),
        Endpoint::Completions | Endpoint::ImageGenerations | Endpoint::ImageEdits => {
            json!({"model": "m", "prompt": "a"})
        }
        Endpoint::Rerank => json!({"model": "m", "query": "a", "documents": []}),
        Endpoint::EmbedContent => json!({"model": "models/m", "content": {}}),
        endpoint if is_gemini(endpoint) => json!({"model": "models/m", "contents": []}),
        _ => json!({"model": "m", "input": "a"}),
    };
    let Value::Object(needed) = needed else { panic!("an object") };
    needed
}

/// Sets the cap as the wire has it.
fn expect_cap(endpoint: Endpoint, call: &mut Map<String, Value>, cap: u64) {
    let set = |call: &mut Map<String, Value>, own: &str, names: &[&str], binding: &[&str]| {
        let is_there = |name: &&&str| call.get(**name).is_some_and(|value| !value.is_null());
        let given: Vec<String> =
            names.iter().filter(is_there).map(|name| (*name).to_owned()).collect();
        if !given.iter().any(|name| binding.contains(&name.as_str())) {
            call.insert(own.to_owned(), json!(cap));
        }
        for name in given {
            call.insert(name, json!(cap));
        }
    };
    let all = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
    match endpoint {
        Endpoint::Chat => set(call, all[0], &all, &all[..2]),
        Endpoint::Completions => set(call, all[1], &all, &all[1..2]),
        Endpoint::Messages => set(call, all[1], &all[1..2], &all[1..2]),
        Endpoint::Responses => set(call, all[2], &all[2..], &all[2..]),
        Endpoint::GenerateContent | Endpoint::StreamGenerateContent => {
            let snake = call.contains_key("generation_config");
            let name = if snake { "generation_config" } else { "generationConfig" };
            let config = call.entry(name).or_insert(Value::Null);
            if config.is_null() {
                *config = json!({});
            }
            let config = config.as_object_mut().expect("an object");
            let own = ["max_output_tokens", "maxOutputTokens"]
                .into_iter()
                .find(|own| config.contains_key(*own));
            config.insert(own.unwrap_or("maxOutputTokens").to_owned(), json!(cap));
        }
        _ => {}
    }
}
