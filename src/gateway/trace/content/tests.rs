//! That what is told of a call is in the words of the conventions, and bounded.

use super::*;

fn told(endpoint: Endpoint, asked: &str, said: &str) -> Vec<(&'static str, Json)> {
    let mut content = Content::new(endpoint, Bytes::copy_from_slice(asked.as_bytes()));
    // In pieces, as it comes.
    said.as_bytes().chunks(7).for_each(|chunk| content.hear(chunk));
    let read = |(name, value)| match value {
        Value::Text(text) => (name, serde_json::from_str(&text).unwrap()),
        Value::Flag(flag) => (name, json!(flag)),
        Value::Number(number) => (name, json!(number)),
    };
    content.attributes().into_iter().map(read).collect()
}

#[test]
fn chat_with_tools() {
    let asked = r#"{"messages": [{"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"},
            {"type": "image_url", "image_url": {"url": "data:secret"}}]},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function",
            "function": {"name": "weather", "arguments": "{\"city\":\"Bonn\"}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "Rain"}]}"#;
    let said = r#"{"choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "It rains."}}]}"#;
    let call = json!({ "type": "tool_call", "id": "c1", "name": "weather", "arguments": { "city": "Bonn" } });
    let result = json!({ "type": "tool_call_response", "id": "c1", "response": "Rain" });
    let image = json!({ "type": "image_url" });
    assert_eq!(
        told(Endpoint::Chat, asked, said),
        [
            (
                "gen_ai.input.messages",
                json!([
                    { "role": "system", "parts": [text("Be brief.")] },
                    { "role": "user", "parts": [text("Weather?"), image] },
                    { "role": "assistant", "parts": [call] },
                    { "role": "tool", "parts": [result] },
                ])
            ),
            (
                "gen_ai.output.messages",
                json!([
                    { "role": "assistant", "parts": [text("It rains.")], "finish_reason": "stop" }
                ])
            ),
        ]
    );
}

#[test]
fn streams_are_put_together() {
    let chat = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"It \"}}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"rains.\"},\"finish_reason\":\"stop\"}]}\n\n\
        data: [DONE]\n\n";
    let anthropic = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
        \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":\
        {\"type\":\"text_delta\",\"text\":\"It rains.\"}}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"stop\"}}\n\n";
    let gemini = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"It rains.\"}]},\
        \"finishReason\":\"stop\"}]}\n\n";
    let responses = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":\
        {\"status\":\"stop\",\"output\":[{\"type\":\"message\",\"role\":\"assistant\",\"content\":\
        [{\"type\":\"output_text\",\"text\":\"It rains.\"}]}]}}\n\n";
    let expected =
        json!([{ "role": "assistant", "parts": [text("It rains.")], "finish_reason": "stop" }]);
    for stream in [chat, anthropic, gemini, responses] {
        let told = told(Endpoint::Chat, "{}", stream);
        assert_eq!(told, [("gen_ai.output.messages", expected.clone())], "{stream}");
    }
}

#[test]
fn tools_that_are_called_in_pieces_are_put_together() {
    let chat = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\
        \"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\"\"}}]}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":\
        {\"arguments\":\":1}\"}}]}}]}\n\n";
    let call = json!({ "type": "tool_call", "id": "c1", "name": "f", "arguments": { "a": 1 } });
    let expected = json!([{ "role": "assistant", "parts": [call], "finish_reason": "" }]);
    assert_eq!(told(Endpoint::Chat, "{}", chat), [("gen_ai.output.messages", expected)]);
}

#[test]
fn other_dialects_are_read() {
    let messages = r#"{"system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}]}"#;
    let gemini = r#"{"systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}"#;
    let responses = r#"{"instructions": "Be brief.", "input": "Hi"}"#;
    for (endpoint, asked) in [
        (Endpoint::Messages, messages),
        (Endpoint::GenerateContent, gemini),
        (Endpoint::Responses, responses),
    ] {
        let instructions = ("gen_ai.system_instructions", json!([text("Be brief.")]));
        let input = json!([{ "role": "user", "parts": [text("Hi")] }]);
        assert_eq!(
            told(endpoint, asked, "not JSON"),
            [instructions, ("gen_ai.input.messages", input)]
        );
    }
}

#[test]
fn it_is_bounded() {
    let long = "ä".repeat(LONGEST_TEXT);
    let asked = json!({ "messages": [{ "role": "user", "content": long }] }).to_string();
    let said = json!({ "choices": [{ "message": { "content": long } }] }).to_string();
    let told = told(Endpoint::Chat, &asked, &said);
    assert_eq!(told.last(), Some(&("conduit.content_cut", json!(true))));
    assert!(told.iter().all(|(_, value)| value.to_string().len() < LONGEST_TEXT + 200));
    let mut content = Content::new(Endpoint::Chat, vec![b' '; LONGEST_PROMPT + 1].into());
    content.hear(&vec![b'x'; LONGEST_ANSWER]);
    content.hear(b"x");
    assert_eq!(content.attributes(), [("conduit.content_cut", Value::Flag(true))]);
}
