//! Anthropic's messages carried to chat, and chat's answers back: for clients of Anthropic's SDKs whose
//! model is served by a provider that speaks chat.
//!
//! What is where: `call` the members of a call, `turns` its messages, `tools` its tools and the shape of
//! the answer; `answer` and `sink` what goes back.
//!
//! What only Anthropic's own service can do (tools that run there, its containers, citations) is refused
//! by name. What is only a mark for it, such as how it prunes a long context, is left out: the model then
//! sees more and never less. A member that Anthropic's API does not know travels on as it is: it is meant
//! for the provider.
//!
//! Three members go with a call that chat itself does not have: `thinking_blocks` and
//! `reasoning_content` on messages of the assistant, `cache_control` where it stood, `is_error` on the
//! results of tools. [`super::extension`] takes them out again for providers that refuse them.

mod answer;
mod call;
mod sink;
mod tools;
mod turns;
mod waiting;

use serde_json::{Map, Value, json};

use super::{About, Failure, Frontend, Sink, Untranslatable};

/// Between Anthropic's messages and chat.
#[derive(Clone, Copy, Debug)]
pub struct Messages;

impl Frontend for Messages {
    fn request(&self, call: &Map<String, Value>) -> Result<Map<String, Value>, Untranslatable> {
        call::translate(call)
    }

    fn answer(&self, completion: &Value, about: &About) -> Value {
        answer::message(completion, about)
    }

    fn sink(&self, about: &About) -> Box<dyn Sink> {
        Box::new(sink::MessageSink::new(about.clone()))
    }

    fn failure(&self, failure: &Failure, about: &About) -> Value {
        let kind = error_type(Some(failure.status), &failure.kind);
        json!({
            "type": "error",
            "error": { "type": kind, "message": failure.message },
            "request_id": format!("req_{}", about.id),
        })
    }
}

/// Anthropic's word for an error: by its status, and where there is none, as in a stream, by `OpenAI`'s
/// word for it (platform.claude.com, "Errors").
fn error_type(status: Option<u16>, kind: &str) -> &'static str {
    let Some(status) = status else { return error_type_of(kind) };
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

fn error_type_of(kind: &str) -> &'static str {
    match kind {
        "invalid_request_error" => "invalid_request_error",
        "authentication_error" => "authentication_error",
        "permission_error" | "authorization_error" => "permission_error",
        "not_found_error" => "not_found_error",
        "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" => "rate_limit_error",
        "overloaded_error" => "overloaded_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests;
