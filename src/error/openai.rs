//! An error as `OpenAI` writes it: four fields, all of which its schema requires, in the order of the
//! contract with key holders.

use serde::Serialize;

use super::Words;

#[derive(Serialize)]
struct Envelope<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
}

/// An `error` event of a stream of responses.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    sequence_number: u64,
    code: Option<&'static str>,
    message: &'a str,
    param: Option<&'a str>,
    error: ErrorObject<'a>,
}

fn object<'a>(words: &'a Words<'_>) -> ErrorObject<'a> {
    let Words { message, kind, param, code, .. } = words;
    ErrorObject { message, kind, param: *param, code: *code }
}

pub(super) fn body(words: &Words<'_>) -> String {
    // Texts and absent values always have a JSON form.
    serde_json::to_string(&Envelope { error: object(words) }).unwrap_or_default()
}

pub(super) fn event(words: &Words<'_>) -> String {
    format!("data: {}\n\n", body(words))
}

/// The schema has its fields at the top, what OpenAI sends has them in an `error` (openai-dotnet issue
/// 881), and its clients raise only what has that (`openai/_streaming.py`): so they are in both places.
/// The number is not that of the event, which nobody here counts; strict readers want one.
pub(super) fn responses_event(words: &Words<'_>) -> String {
    let event = Event {
        name: "error",
        sequence_number: 0,
        code: words.code,
        message: &words.message,
        param: words.param,
        error: object(words),
    };
    format!("event: error\ndata: {}\n\n", serde_json::to_string(&event).unwrap_or_default())
}
