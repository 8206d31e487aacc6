//! Chat carried to Amazon Bedrock's Converse and `ConverseStream`, and its answers back.
//!
//! What is where: `call` the members of a call, `turns`, `parts` and `files` its messages, `tools` its
//! tools and the shape of the answer, `family` what differs from one maker's models to another's;
//! `answer` and `source` what comes back. The model is no member of the call, it stands in the path.
//!
//! Nothing a client asked for may be lost in silence. A member of chat that Converse has no place for
//! is refused by name unless leaving it out changes nothing the client could rely on; [`call`] lists
//! both kinds. Converse's own members (`guardrailConfig`, `performanceConfig`, `requestMetadata`, …)
//! travel on as they are; any other that chat does not know is the model's own and goes among
//! `additionalModelRequestFields`, where the model refuses by name what it does not know. A cap of the
//! output is taken from the brief and from nowhere else.
//!
//! Converse knows no `tool_choice` of `none`, and refuses calls of tools in a conversation for which no
//! tools are declared (its `ToolChoice`, and "The toolConfig field must be defined when using toolUse and
//! toolResult content blocks"). A model that must not call tools is therefore given none, and the calls
//! and results of the conversation so far as text: it sees all of them and can call nothing.
//!
//! Thinking comes to the client as it does from Anthropic's own models: `reasoning_content` to show,
//! `thinking_blocks` to send back with the message.
//!
//! Where nothing else is named the facts are from the service's own model in botocore 1.44.5
//! (`bedrock-runtime`, 2023-09-30) and from AWS's reference of Converse.

mod answer;
mod call;
mod failure;
mod family;
mod files;
mod parts;
mod source;
mod tools;
mod turns;

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{About, Backend, Brief, Failure, Source, Untranslatable};
use crate::provider::endpoint::Endpoint;

/// The path that a model is called at. All of the name is encoded, its colons and slashes too, as AWS's
/// own clients do it: whatever is in it, it stays one segment.
pub fn path(model: &str, endpoint: Endpoint) -> String {
    let mut path = "/model/".to_owned();
    for byte in model.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path.push('/');
    path.push_str(endpoint.name());
    path
}

/// Between chat and Bedrock's Converse.
#[derive(Clone, Copy, Debug)]
pub struct Bedrock;

impl Backend for Bedrock {
    fn endpoint(&self, stream: bool) -> Endpoint {
        if stream { Endpoint::ConverseStream } else { Endpoint::Converse }
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
        Box::new(source::ConverseSource::new(about.clone()))
    }

    fn failure(&self, status: u16, body: &[u8]) -> Failure {
        failure::of_answer(status, body)
    }
}

#[cfg(test)]
mod tests;
