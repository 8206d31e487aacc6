//! Errors of Bedrock, from an answer or from a stream, in no dialect.

use serde_json::Value;

use super::super::Failure;

/// Parts of the messages that say that a conversation is too long for its model. Bedrock has no code of
/// its own for it.
const TOO_LONG: [&str; 5] = [
    "input is too long",
    "prompt is too long",
    "too many input tokens",
    "input tokens exceed",
    "maximum context length",
];

/// What an answer with an error says; `body` may be anything. The name of the error is in a header
/// (`x-amzn-errortype`), and in the body only of errors that are not Bedrock's own.
pub(super) fn of_answer(status: u16, body: &[u8]) -> Failure {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = body["__type"].as_str().or(body["Output"]["__type"].as_str());
    let name = name.map(|name| name.rsplit('#').next().unwrap_or(name));
    failure(status, name, &body)
}

/// What an exception in a stream says.
pub(super) fn of_event(name: &str, event: &Value) -> Failure {
    let status = match name {
        "validationException" => 400,
        "accessDeniedException" => 403,
        "modelTimeoutException" => 408,
        "modelStreamErrorException" | "modelErrorException" => 424,
        "throttlingException" => 429,
        "serviceUnavailableException" => 503,
        _ => 500,
    };
    let named = event["code"].as_str().or(Some(name).filter(|name| *name != "error"));
    failure(status, named, event)
}

fn failure(status: u16, name: Option<&str>, error: &Value) -> Failure {
    let said = error["message"].as_str().or(error["Message"].as_str());
    let said = said.filter(|message| !message.trim().is_empty());
    let cause = error["originalMessage"].as_str().filter(|cause| !cause.trim().is_empty());
    let message = match (said, cause) {
        (Some(said), Some(cause)) => format!("{said} ({cause})"),
        (Some(said), None) | (None, Some(said)) => said.to_owned(),
        (None, None) => format!("The provider answered with status {status} and no message."),
    };
    let low = message.to_ascii_lowercase();
    let is_too_long = status == 400 && TOO_LONG.iter().any(|words| low.contains(words));
    let code = if is_too_long { Some("context_length_exceeded") } else { name };
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        // A model that took too long or failed is no mistake of the caller's.
        408 | 424 => "server_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    Failure { status, message, kind: kind.to_owned(), code: code.map(str::to_owned), param: None }
}
