//! Chat carried to Anthropic's messages, and its answers back.
//!
//! What is where: `call` the members of a call, `turns` and `parts` its messages, `tools` its tools and
//! the shape of the answer, `thinking` how much is thought; `answer` and `source` what comes back.
//!
//! Nothing a client asked for may be lost in silence. A member of chat that Anthropic has no place for
//! is refused by name unless leaving it out changes nothing the client could rely on; [`call`] lists
//! both kinds. A member that chat does not know travels on as it is: it is Anthropic's own (`top_k`,
//! `thinking`, `output_config`), or the provider refuses it by name, as its API does with what it does
//! not know.
//!
//! Where the two differ and this page's sources leave a choice, Anthropic's own chat endpoint is
//! followed (platform.claude.com, "`OpenAI` SDK compatibility"): system messages anywhere are gathered
//! in front, a temperature above 1 counts as 1, the names of participants are left out.
//!
//! Thinking comes to the client in two members that other gateways use too: `reasoning_content` is text
//! to show, `thinking_blocks` a list to send back with the message. Without those blocks, their
//! signatures and their places (see [`super::thought`]) a loop of tool calls with thinking is refused by
//! the provider.

mod answer;
mod call;
mod parts;
mod source;
pub(super) mod thinking;
mod tools;
mod turns;

// What holds for Anthropic's models elsewhere too, and for chat itself.
pub(super) use answer::arguments;
pub(super) use call::asks_for_nothing;
pub(super) use parts::missing;
pub(super) use tools::{close, input_schema};
pub(super) use turns::input;

use serde_json::{Map, Value};

use super::{About, Backend, Brief, Failure, Source, Untranslatable};
use crate::provider::endpoint::Endpoint;

/// The cap where neither the client nor the catalogue knows one: Anthropic demands a number, and every
/// model of its takes this one.
const DEFAULT_MAX_TOKENS: u64 = 4096;

/// The tool that a model is made to call where chat asks for any JSON object: Anthropic can only be
/// held to a schema. Its input comes back as the answer's text.
pub(super) const JSON_TOOL: &str = "answer_with_json";

/// Between chat and Anthropic's messages.
#[derive(Clone, Copy, Debug)]
pub struct Anthropic;

impl Backend for Anthropic {
    fn endpoint(&self, _stream: bool) -> Endpoint {
        Endpoint::Messages
    }

    fn request(
        &self,
        chat: &Map<String, Value>,
        brief: &Brief<'_>,
    ) -> Result<Map<String, Value>, Untranslatable> {
        call::translate(chat, brief)
    }

    fn answer(&self, answer: &Value, about: &About) -> Value {
        answer::completion(answer, about)
    }

    fn source(&self, about: &About) -> Box<dyn Source> {
        Box::new(source::MessageSource::new(about.clone()))
    }

    fn failure(&self, status: u16, body: &[u8]) -> Failure {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        failure(status, &body["error"])
    }
}

/// An error object of Anthropic's, from an answer or an `error` event.
fn failure(status: u16, error: &Value) -> Failure {
    let word = error["type"].as_str().unwrap_or_default();
    let kind = match (word, status) {
        ("invalid_request_error" | "not_found_error" | "request_too_large", _) => {
            "invalid_request_error"
        }
        ("authentication_error" | "permission_error" | "rate_limit_error", _) => word,
        ("billing_error", _) => "insufficient_quota",
        ("api_error" | "overloaded_error" | "timeout_error", _) => "server_error",
        (_, 401) => "authentication_error",
        (_, 403) => "permission_error",
        (_, 429) => "rate_limit_error",
        (_, 400..=499) => "invalid_request_error",
        _ => "server_error",
    };
    let told = error["details"]["error_code"].as_str();
    let code = told.or((!word.is_empty() && word != kind).then_some(word));
    let message = match error["message"].as_str() {
        Some(message) if !message.is_empty() => message.to_owned(),
        _ => format!("The provider answered with status {status} and no message."),
    };
    Failure { status, message, kind: kind.to_owned(), code: code.map(str::to_owned), param: None }
}

#[cfg(test)]
pub(in crate::translate) mod tests;
