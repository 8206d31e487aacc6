//! An error as Anthropic writes it: a type for each status, and in `details` the code that programs go
//! by, where Anthropic's own are (`error.details.error_code`).

use serde::Serialize;

use super::Words;

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    error: ErrorObject<'a>,
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
}

#[derive(Serialize)]
struct Details<'a> {
    error_code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
}

/// The types of <https://platform.claude.com/docs/en/api/errors>. A 503, which is not among them, is
/// what Anthropic says by 529: come back later.
const fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

pub(super) fn body(words: &Words<'_>) -> String {
    let envelope = Envelope {
        name: "error",
        error: ErrorObject {
            kind: kind(words.status),
            message: &words.message,
            details: words.code.map(|error_code| Details { error_code, param: words.param }),
        },
        request_id: words.request_id.as_deref(),
    };
    // Texts and absent values always have a JSON form.
    serde_json::to_string(&envelope).unwrap_or_default()
}

pub(super) fn event(words: &Words<'_>) -> String {
    format!("event: error\ndata: {}\n\n", body(words))
}
