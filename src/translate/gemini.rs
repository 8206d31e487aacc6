//! Chat calls to Gemini's `generateContent` and `streamGenerateContent`, and its answers back.
//!
//! What a call says is carried whole or refused by name; only hints that change no answer are left
//! out, and the list of them is [`request::HINTS`]. A signature of thought, which Gemini 3 demands back,
//! travels as Google's own chat endpoint carries it: in `extra_content.google.thought_signature` of a
//! tool call or a message (ai.google.dev, "OpenAI compatibility" and "Thought signatures").

mod answer;
mod generation;
mod media;
mod messages;
mod request;
mod source;
mod thinking;
mod tools;

use serde_json::{Map, Value};

use super::{About, Backend, Brief, Failure, Source, Untranslatable};
use crate::provider::endpoint::Endpoint;

/// Gemini, of the Gemini API and of Vertex AI.
#[derive(Clone, Copy, Debug)]
pub struct Gemini;

impl Backend for Gemini {
    fn endpoint(&self, stream: bool) -> Endpoint {
        if stream { Endpoint::StreamGenerateContent } else { Endpoint::GenerateContent }
    }

    fn request(
        &self,
        chat: &Map<String, Value>,
        brief: &Brief<'_>,
    ) -> Result<Map<String, Value>, Untranslatable> {
        request::request(chat, brief)
    }

    fn answer(&self, answer: &Value, about: &About) -> Value {
        answer::completion(answer, about)
    }

    fn source(&self, about: &About) -> Box<dyn Source> {
        Box::new(source::GeminiSource::new(about))
    }

    fn failure(&self, status: u16, body: &[u8]) -> Failure {
        let value = serde_json::from_slice(body).unwrap_or_default();
        let error = error_of(&value);
        let text = |name: &str| error.and_then(|error| error.get(name)).and_then(Value::as_str);
        Failure {
            status,
            message: text("message").map_or_else(
                || format!("The provider answered with the status {status}."),
                str::to_owned,
            ),
            kind: kind(status).to_owned(),
            code: text("status").map(str::to_owned),
            param: None,
        }
    }
}

/// The error in a body: an object, or the first of a list, as the endpoints that stream without
/// `alt=sse` and Google's chat endpoint write it.
fn error_of(value: &Value) -> Option<&Value> {
    let value = value.as_array().map_or(Some(value), |list| list.first())?;
    value.get("error").filter(|error| !error.is_null())
}

/// `OpenAI`'s word for an error of this status.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests;
