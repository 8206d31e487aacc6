//! An error as Google writes it (`google.rpc.Status`): the status' word of `google.rpc.Code`, and in
//! `details` what programs go by: `ErrorInfo`, `RetryInfo`, `BadRequest`.

use serde::Serialize;

use super::Words;

#[derive(Serialize)]
struct Envelope<'a> {
    /// First: Google's client for Python knows an error in a stream by how it begins.
    error: RpcStatus<'a>,
}

#[derive(Serialize)]
struct RpcStatus<'a> {
    code: u16,
    message: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "@type")]
enum Detail<'a> {
    #[serde(rename = "type.googleapis.com/google.rpc.ErrorInfo")]
    Info { reason: String, domain: &'static str, metadata: Metadata },
    #[serde(rename = "type.googleapis.com/google.rpc.RetryInfo", rename_all = "camelCase")]
    Retry { retry_delay: String },
    #[serde(rename = "type.googleapis.com/google.rpc.BadRequest", rename_all = "camelCase")]
    Bad { field_violations: [Violation<'a>; 1] },
}

#[derive(Serialize)]
struct Metadata {
    code: &'static str,
}

#[derive(Serialize)]
struct Violation<'a> {
    field: &'a str,
    description: &'a str,
}

const fn status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        502 | 503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

pub(super) fn body(words: &Words<'_>) -> String {
    let mut details = Vec::new();
    details.extend(words.code.map(|code| Detail::Info {
        reason: code.to_ascii_uppercase(),
        domain: "conduit",
        metadata: Metadata { code },
    }));
    details.extend(words.wait_ms.map(|wait_ms| Detail::Retry { retry_delay: seconds(wait_ms) }));
    details.extend(words.param.map(|field| Detail::Bad {
        field_violations: [Violation { field, description: &words.message }],
    }));
    let error = RpcStatus {
        code: words.status,
        message: &words.message,
        status: status(words.status),
        details,
    };
    // Texts, numbers and absent values always have a JSON form.
    serde_json::to_string(&Envelope { error }).unwrap_or_default()
}

pub(super) fn event(words: &Words<'_>) -> String {
    format!("data: {}\n\n", body(words))
}

/// A duration as protocol buffers write it in JSON: seconds, with decimal places where there are any.
fn seconds(millis: u64) -> String {
    let (whole, rest) = (millis / 1_000, millis % 1_000);
    if rest == 0 { format!("{whole}s") } else { format!("{whole}.{rest:03}s") }
}
