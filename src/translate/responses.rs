//! Clients that speak `OpenAI`'s responses, where the provider speaks only chat.
//!
//! What is where: `request` the members of a call, `input` its items, `tools` its tools, `settings` what
//! an answer repeats of it; `output` the items of an answer, `writer` how they grow,
//! `sink` the response around them.
//!
//! Nothing is stored: what refers to an earlier response is refused by name, and a call that asks to be
//! stored is told in its answer that it was not. Whoever goes on with a conversation sends its items
//! back, and so they carry what a provider wants to see again: reasoning as text, and in
//! `encrypted_content` or `extra_content` what only the provider understands.

mod input;
mod output;
mod request;
mod settings;
mod sink;
mod tools;
mod writer;

use serde_json::{Map, Value, json};

use super::{About, Failure, Frontend, Sink, Untranslatable};

/// Between the responses endpoint and chat.
#[derive(Clone, Copy, Debug)]
pub struct Responses;

impl Frontend for Responses {
    fn request(&self, call: &Map<String, Value>) -> Result<Map<String, Value>, Untranslatable> {
        request::request(call)
    }

    fn settings(&self, call: &Map<String, Value>) -> Map<String, Value> {
        settings::settings(call)
    }

    fn answer(&self, completion: &Value, about: &About) -> Value {
        sink::response(completion, about)
    }

    fn sink(&self, about: &About) -> Box<dyn Sink> {
        Box::new(sink::ResponseSink::new(about))
    }

    fn failure(&self, failure: &Failure, _about: &About) -> Value {
        json!({
            "error": {
                "message": failure.message,
                "type": failure.kind,
                "param": failure.param,
                "code": failure.code,
            },
        })
    }
}

/// A member that is there and not null.
fn present<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

/// A refusal of what chat has no place for.
fn cannot(param: impl Into<String>) -> Untranslatable {
    let param = param.into();
    let message =
        format!("The provider of this model has no responses endpoint and cannot take `{param}`.");
    Untranslatable::new(param, message)
}

#[cfg(test)]
mod tests;
