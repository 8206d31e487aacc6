//! Where below a provider's address an endpoint is, and how a model's name stands in a path.
//!
//! A name comes from a client. In a path it is one segment, whatever is in it: it must never lead to
//! another resource, another method or another query.

use std::fmt::Write as _;

use super::endpoint::{Dialect, Endpoint};

/// How a provider lays out its endpoints below its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Each endpoint under its own name, the model in the body.
    Plain,
    /// Azure's dated API: most endpoints below `deployments/{model}`.
    Deployments,
    /// Google's: `models/{model}:{method}`.
    Methods,
    /// Amazon's: `model/{model}/{method}`.
    Bedrock,
}

impl Layout {
    /// How the providers of a dialect do it, unless they are set up otherwise.
    pub const fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::OpenAi | Dialect::Anthropic => Self::Plain,
            Dialect::Gemini => Self::Methods,
            Dialect::Bedrock => Self::Bedrock,
        }
    }

    /// Whether an endpoint is found at one place for all models.
    pub const fn is_fixed(self) -> bool {
        matches!(self, Self::Plain)
    }

    /// The path of an endpoint, without a `/` at its start. `None` for a model whose name no path can
    /// hold.
    pub fn path(self, endpoint: Endpoint, model: &str) -> Option<String> {
        let name = endpoint.name();
        match self {
            Self::Deployments if has_deployments(endpoint) => {
                Some(format!("deployments/{}/{name}", segment(model)?))
            }
            Self::Plain | Self::Deployments => Some(name.to_owned()),
            Self::Methods => Some(format!("{}:{name}", resource(model)?)),
            Self::Bedrock => Some(format!("model/{}/{name}", segment(model)?)),
        }
    }
}

/// Which endpoints have the deployment in their path: those that OpenAI's own client for Azure writes
/// so (`openai/lib/azure.py`, `_deployments_endpoints`). Responses, for one, have it in the body.
const fn has_deployments(endpoint: Endpoint) -> bool {
    matches!(
        endpoint,
        Endpoint::Chat
            | Endpoint::Completions
            | Endpoint::Embeddings
            | Endpoint::ImageGenerations
            | Endpoint::ImageEdits
            | Endpoint::Speech
            | Endpoint::Transcriptions
            | Endpoint::Translations
    )
}

/// The query of a call that no client wrote: without this one Google answers a stream with a JSON list.
pub const fn usual_query(endpoint: Endpoint) -> Option<&'static str> {
    match endpoint {
        Endpoint::StreamGenerateContent => Some("alt=sse"),
        _ => None,
    }
}

/// A model of Google's as a resource: `models/…`, or the collection that the name itself begins with.
fn resource(model: &str) -> Option<String> {
    for collection in ["models/", "tunedModels/"] {
        if let Some(name) = model.strip_prefix(collection) {
            return Some(format!("{collection}{}", segment(name)?));
        }
    }
    Some(format!("models/{}", segment(model)?))
}

/// A text as one segment of a path: everything is percent-encoded but what RFC 3986 calls unreserved.
/// Dots alone would be a step in the path, and no encoding hides them from every reader.
pub fn segment(text: &str) -> Option<String> {
    if matches!(text, "" | "." | "..") {
        return None;
    }
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    Some(segment)
}

/// The text that a part of a path or of a query stands for. `None` where its percent-encoding is not
/// whole, or what it encodes is not UTF-8.
pub fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_layout_has_its_own_paths() {
        use Endpoint::*;
        for (layout, endpoint, model, expected) in [
            (Layout::Plain, Chat, "gpt-4o", "chat/completions"),
            (Layout::Plain, Messages, "../x", "messages"),
            (
                Layout::Deployments,
                Chat,
                "my deployment",
                "deployments/my%20deployment/chat/completions",
            ),
            (Layout::Deployments, Speech, "tts", "deployments/tts/audio/speech"),
            (Layout::Deployments, Responses, "gpt-5", "responses"),
            (Layout::Methods, GenerateContent, "gemini-x", "models/gemini-x:generateContent"),
            (
                Layout::Methods,
                GenerateContent,
                "models/gemini-x",
                "models/gemini-x:generateContent",
            ),
            (Layout::Methods, EmbedContent, "tunedModels/mine", "tunedModels/mine:embedContent"),
            (Layout::Methods, GeminiCountTokens, "a/b", "models/a%2Fb:countTokens"),
            (
                Layout::Bedrock,
                Converse,
                "anthropic.claude-v1:0",
                "model/anthropic.claude-v1%3A0/converse",
            ),
            (
                Layout::Bedrock,
                ConverseStream,
                "arn:aws:bedrock:us-east-1:1:inference-profile/x",
                "model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse-stream",
            ),
        ] {
            assert_eq!(layout.path(endpoint, model).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_name_cannot_be_a_step_in_the_path() {
        for model in ["", ".", "..", "models/", "models/..", "tunedModels/."] {
            assert_eq!(Layout::Methods.path(Endpoint::GenerateContent, model), None, "{model}");
        }
        for model in ["", ".", ".."] {
            assert_eq!(Layout::Deployments.path(Endpoint::Chat, model), None, "{model}");
            assert_eq!(Layout::Bedrock.path(Endpoint::Converse, model), None, "{model}");
        }
    }

    #[test]
    fn what_is_not_encoded_whole_is_no_text() {
        assert_eq!(decoded("a%2Fb%25").as_deref(), Some("a/b%"));
        assert_eq!(decoded("a+b").as_deref(), Some("a+b"));
        for part in ["%", "%2", "%2g", "%+1", "%ff", "é%é"] {
            assert_eq!(decoded(part), None, "{part}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_one_segment_and_comes_back_whole(text in ".{1,40}") {
            if let Some(segment) = segment(&text) {
                prop_assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
                prop_assert_eq!(decoded(&segment), Some(text));
            }
        }

        #[test]
        fn decoding_never_panics(part in ".{0,40}") {
            let _ = decoded(&part);
        }
    }
}
