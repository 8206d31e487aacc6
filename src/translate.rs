//! Carries calls from one dialect to another, and their answers back.
//!
//! `OpenAI`'s chat is the middle: a [`Frontend`] lies between a client's dialect and chat, a [`Backend`]
//! between chat and a provider's. Where client and provider speak the same dialect nothing here is
//! used: those bytes go through as they are.
//!
//! Pure: values in, values out. What the target cannot do is refused by name, never dropped in silence;
//! what a provider sends is never a reason to panic or to stop.

pub mod anthropic;
pub mod bedrock;
mod chat;
pub mod extension;
pub mod functions;
pub mod gemini;
mod media;
pub mod messages;
pub mod reshape;
pub mod responses;
mod stream;
mod thought;
mod tool_id;

use serde_json::{Map, Value};

use crate::provider::endpoint::{Dialect, Endpoint};
pub use stream::StreamTranslation;

/// What a translated call needs beside its body.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'a> {
    /// The name that the provider knows the model by.
    pub model: &'a str,
    pub stream: bool,
    /// The output cap in force, in tokens: the client's own, or a lower one.
    pub output_cap: Option<u64>,
    /// The most tokens that the model can answer with, where that is known: for dialects that demand
    /// a cap.
    pub max_output_tokens: Option<u64>,
}

/// What an answer says of the call that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What the answer is named after, without a prefix.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name as the client gave it.
    pub model: String,
    /// The client asked for a stream's usage.
    pub wants_usage: bool,
    /// The client speaks chat with `functions`: see [`functions`].
    pub has_functions: bool,
    /// What the answer repeats of the call: see [`Frontend::settings`].
    pub settings: Map<String, Value>,
}

/// Something in a call that the target's dialect cannot say: a 400 to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Untranslatable {
    /// The member of the client's call, as `tools[2].type`.
    pub param: Option<String>,
    pub message: String,
}

/// An error of a provider, in no dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub status: u16,
    pub message: String,
    /// `OpenAI`'s word for the kind of error, as `invalid_request_error`.
    pub kind: String,
    pub code: Option<String>,
    pub param: Option<String>,
}

/// An event of a stream to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEvent {
    /// The `event:` line, in dialects that have one.
    pub name: Option<&'static str>,
    pub data: EventData,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventData {
    Json(Value),
    /// `OpenAI`'s `[DONE]`.
    Done,
}

/// Between a client's dialect and chat.
pub trait Frontend: Sync {
    /// The client's call as a chat call, with every member that chat has a place for.
    fn request(&self, call: &Map<String, Value>) -> Result<Map<String, Value>, Untranslatable>;
    /// What an answer in this dialect repeats of the client's call.
    fn settings(&self, _call: &Map<String, Value>) -> Map<String, Value> {
        Map::new()
    }
    /// A chat completion as the client's dialect writes an answer.
    fn answer(&self, completion: &Value, about: &About) -> Value;
    fn sink(&self, about: &About) -> Box<dyn Sink>;
    /// The body of an error.
    fn failure(&self, failure: &Failure, about: &About) -> Value;
}

/// Writes chat chunks as a client's stream.
pub trait Sink {
    /// A chunk in `OpenAI`'s shape: of choices, of usage, or an `error`.
    fn chunk(&mut self, chunk: &Value, out: &mut Vec<ClientEvent>);
    /// The end of the stream. Comes once, also after an error.
    fn finish(&mut self, out: &mut Vec<ClientEvent>);
}

/// Between chat and a provider's dialect.
pub trait Backend: Sync {
    /// What the provider is called at.
    fn endpoint(&self, stream: bool) -> Endpoint;
    /// A chat call in the provider's dialect.
    fn request(
        &self,
        chat: &Map<String, Value>,
        brief: &Brief<'_>,
    ) -> Result<Map<String, Value>, Untranslatable>;
    /// The provider's answer as a chat completion.
    fn answer(&self, answer: &Value, about: &About) -> Value;
    fn source(&self, about: &About) -> Box<dyn Source>;
    /// What an answer with an error says; `body` may be anything.
    fn failure(&self, status: u16, body: &[u8]) -> Failure;
}

/// Reads a provider's stream as chat chunks.
pub trait Source {
    /// An event with its `event:` line, if it has one. An event that is an error becomes a chunk with
    /// an `error` in it.
    fn event(&mut self, name: Option<&str>, event: &Value, out: &mut Vec<Value>);
    /// The end of the stream. Comes once, unless the stream failed on its way here.
    fn finish(&mut self, out: &mut Vec<Value>);
}

impl Untranslatable {
    pub fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), message: message.into() }
    }
}

/// How a call of one dialect is carried to a provider of another.
#[derive(Clone, Copy)]
pub struct Translation {
    /// Absent where the client speaks chat.
    pub frontend: Option<&'static dyn Frontend>,
    /// Absent where the provider speaks chat.
    pub backend: Option<&'static dyn Backend>,
}

impl Translation {
    /// The same where the call is one of chat with `functions`.
    #[must_use]
    pub fn with_functions(self, has_functions: bool) -> Self {
        match self.frontend {
            None if has_functions => Self { frontend: Some(&functions::Functions), ..self },
            _ => self,
        }
    }
}

/// How `endpoint` is carried to a provider that speaks `dialect` but does not have that endpoint; `None`
/// where that cannot be done.
pub fn plan(endpoint: Endpoint, dialect: Dialect) -> Option<Translation> {
    let frontend: Option<&'static dyn Frontend> = match endpoint {
        Endpoint::Chat => None,
        Endpoint::Messages => Some(&messages::Messages),
        Endpoint::Responses => Some(&responses::Responses),
        _ => return None,
    };
    let backend: Option<&'static dyn Backend> = match dialect {
        Dialect::OpenAi => None,
        Dialect::Anthropic => Some(&anthropic::Anthropic),
        Dialect::Gemini => Some(&gemini::Gemini),
        Dialect::Bedrock => Some(&bedrock::Bedrock),
    };
    Some(Translation { frontend, backend })
}
