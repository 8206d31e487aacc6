//! Reads a call's body for the few facts the gateway needs, and splices in the few it must change.
//!
//! The body stays as it came: members nobody here knows travel on byte for byte. What would let a
//! provider read another call than the one that was metered (a member twice, or in other letter
//! case) is refused. Each dialect has its own file, which says what its members mean.

mod anthropic;
mod error;
mod form;
mod gemini;
pub mod multipart;
mod openai;
mod parts;
mod pieces;
mod responses;
mod scan;
mod splice;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use error::RequestError;
use splice::{Cap, ModelSlot, Options, Slot};

use super::endpoint::Endpoint;
use crate::domain::usage::ServiceTier;

/// The longest model name, in bytes.
pub const MAX_MODEL_NAME: usize = 256;

/// What is said of a call outside of its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// The model, where the path names it: without `models/` before it.
    pub model: Option<&'a str>,
    /// The `Content-Type`, for bodies that are forms.
    pub content_type: Option<&'a str>,
}

/// What a call asks for, and where in its body it says so.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub endpoint: Endpoint,
    pub model: String,
    /// `stream: true` was written, even where the endpoint cannot stream, or the method says so.
    pub stream: bool,
    /// The client itself asked for a stream's usage, or its wire tells it unasked: nothing is to be hidden.
    pub wants_usage: bool,
    /// The most tokens of one choice: the largest cap among the members that the endpoint has, since
    /// a provider may obey any of them.
    pub output_cap: Option<u64>,
    /// The least cap that the call can be given without becoming invalid: Anthropic demands that
    /// `max_tokens` is above `thinking.budget_tokens`. 0 where any will do.
    pub least_cap: u64,
    /// How many answers are generated: `n` or `best_of`, for each prompt; at least 1.
    pub choices: u64,
    pub service: Option<ServiceTier>,
    /// Length of the body without the files of a form: a bound of its text tokens.
    pub body_bytes: u64,
    /// Length of the members that become the prompt.
    pub prompt_bytes: u64,
    /// Tools are declared.
    pub tools: bool,
    /// Length of `prediction`: what is rejected of it is billed as output.
    pub predicted_bytes: u64,
    /// The body is a form: its files are not text that could be counted.
    pub is_form: bool,
    /// Something other than text may be in the prompt.
    pub media: bool,
    /// How many images are in the prompt, where nothing else is there but text.
    pub images_in: Option<u64>,
    /// A part of the prompt is not in the body: a stored answer, a file, a cache.
    pub unseen_input: bool,
    /// The provider is asked to search, which costs what no cap bounds.
    pub searches: bool,
    /// The most searches, where the call says so.
    pub search_limit: Option<u64>,
    /// How much a search brings along: `low`, `medium` or `high`.
    pub search_context: Option<String>,
    /// The provider runs tools itself, and reads the prompt again with each result.
    pub hosted_tools: bool,
    /// The most uses of such tools, where the call says so.
    pub tool_limit: Option<u64>,
    /// Something is asked for whose price is in no list: the member, and its name for it.
    pub unpriced: Option<(&'static str, String)>,
    /// The answer is made after the call has ended.
    pub background: bool,
    /// Other models are named for the provider to fall back on.
    pub other_models: bool,
    /// Images to be made.
    pub images: u64,
    pub image_size: Option<String>,
    pub image_quality: Option<String>,
    /// Unfinished images that a stream shows before each image.
    pub partial_images: u64,
    /// Characters of text to be spoken.
    pub speech_characters: u64,
    /// Bytes of audio to be heard.
    pub audio_bytes: u64,
    /// Documents to be ranked.
    pub documents: u64,
    /// Length of the query that each document is ranked by.
    pub query_bytes: u64,
    caps: Vec<Cap>,
    /// Where a cap is put if none is there; `None` where the endpoint has no cap.
    cap_slot: Option<Slot>,
    /// The same for `max_tokens` of a chat call.
    old_cap_slot: Option<Slot>,
    models: Vec<ModelSlot>,
    /// The provider would choose a model by itself: it is always named.
    must_name_model: bool,
    options: Options,
}

/// A member that caps the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapField {
    MaxCompletionTokens,
    MaxTokens,
    MaxOutputTokens,
}

impl CapField {
    const ALL: [Self; 3] = [Self::MaxCompletionTokens, Self::MaxTokens, Self::MaxOutputTokens];

    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxTokens => "max_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
        }
    }

    /// Whether a provider that speaks the endpoint's wire may be trusted to obey it there.
    const fn binds(self, endpoint: Endpoint) -> bool {
        match self {
            Self::MaxCompletionTokens => matches!(endpoint, Endpoint::Chat),
            Self::MaxTokens => {
                matches!(endpoint, Endpoint::Chat | Endpoint::Completions | Endpoint::Messages)
            }
            Self::MaxOutputTokens => matches!(
                endpoint,
                Endpoint::Responses | Endpoint::GenerateContent | Endpoint::StreamGenerateContent
            ),
        }
    }
}

/// What to change in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits<'a> {
    pub model: Option<&'a str>,
    /// Ask for a stream's usage.
    pub include_usage: bool,
    /// The most tokens of one choice.
    pub output_cap: Option<u64>,
    /// The provider obeys `max_tokens` alone in a chat call: see [`super::kind::Kind::has_old_cap`].
    pub old_cap: bool,
}

/// Reads a call.
pub fn read(endpoint: Endpoint, head: &Head<'_>, body: &[u8]) -> Result<Call, RequestError> {
    match endpoint {
        Endpoint::Chat | Endpoint::Completions | Endpoint::Embeddings | Endpoint::Moderations => {
            openai::read(endpoint, head.model, scan::text(body)?)
        }
        Endpoint::Responses => responses::read(head.model, scan::text(body)?),
        Endpoint::ImageGenerations | Endpoint::Speech | Endpoint::Rerank => {
            pieces::read(endpoint, head.model, scan::text(body)?)
        }
        Endpoint::ImageEdits if !head.content_type.is_some_and(multipart::is_form) => {
            pieces::read(endpoint, head.model, scan::text(body)?)
        }
        Endpoint::ImageEdits | Endpoint::Transcriptions | Endpoint::Translations => {
            form::read(endpoint, head.model, head.content_type.unwrap_or_default(), body)
        }
        Endpoint::Messages | Endpoint::CountTokens => anthropic::read(endpoint, scan::text(body)?),
        Endpoint::GenerateContent
        | Endpoint::StreamGenerateContent
        | Endpoint::GeminiCountTokens
        | Endpoint::EmbedContent
        | Endpoint::BatchEmbedContents => {
            gemini::read(endpoint, head.model.unwrap_or_default(), scan::text(body)?)
        }
        // Spoken to providers only: no client has a path to them.
        Endpoint::Converse | Endpoint::ConverseStream => Err(RequestError::NotAnObject),
    }
}

/// Reads a call from what is known of its form, once [`multipart::Scanner::is_ready`] says that it is
/// enough; for a form that is not read whole, [`multipart::Form::file_bytes`] must be set to a bound.
pub fn read_form(
    endpoint: Endpoint,
    named: Option<&str>,
    boundary: &str,
    form: &multipart::Form,
) -> Result<Call, RequestError> {
    form::call(endpoint, named, boundary, form)
}

impl Call {
    /// A call of which only the model and the size are known.
    fn new(endpoint: Endpoint, model: String, body_bytes: usize) -> Self {
        Self {
            endpoint,
            model,
            stream: false,
            wants_usage: true,
            output_cap: None,
            least_cap: 0,
            choices: 1,
            service: None,
            body_bytes: body_bytes as u64,
            prompt_bytes: 0,
            tools: false,
            predicted_bytes: 0,
            is_form: false,
            media: false,
            images_in: None,
            unseen_input: false,
            searches: false,
            search_limit: None,
            search_context: None,
            hosted_tools: false,
            tool_limit: None,
            unpriced: None,
            background: false,
            other_models: false,
            images: 0,
            image_size: None,
            image_quality: None,
            partial_images: 0,
            speech_characters: 0,
            audio_bytes: 0,
            documents: 0,
            query_bytes: 0,
            caps: Vec::new(),
            cap_slot: None,
            old_cap_slot: None,
            models: Vec::new(),
            must_name_model: false,
            options: Options::Absent(0),
        }
    }

    /// Each cap that was given, whether or not the endpoint has it.
    pub fn caps(&self) -> impl Iterator<Item = (CapField, u64)> + '_ {
        self.caps.iter().map(|cap| (cap.field, cap.value))
    }

    /// Whether its output can be capped.
    pub const fn can_be_capped(&self) -> bool {
        self.cap_slot.is_some()
    }

    /// Whether the provider answers without a charge.
    pub const fn is_free(&self) -> bool {
        matches!(self.endpoint, Endpoint::CountTokens | Endpoint::GeminiCountTokens)
    }

    /// Takes the caps that were found, and what they come to.
    fn set_caps(&mut self, caps: Vec<Cap>) {
        let bound = caps.iter().filter(|cap| cap.field.binds(self.endpoint));
        self.output_cap = bound.map(|cap| cap.value).max();
        self.caps = caps;
    }

    /// Takes what was found in the prompt beside text.
    fn set_media(&mut self, found: parts::Media) {
        self.media = found.images > 0 || found.other;
        self.images_in = (self.media && !found.other).then_some(found.images);
        self.unseen_input |= found.unseen;
    }
}

/// The body with the edits in it and every other byte as it was; the same bytes, not copied, where
/// nothing changes. `call` must have been read from `body`.
pub fn rewrite(body: &Bytes, call: &Call, edits: &Edits<'_>) -> Bytes {
    splice::rewrite(body, call, edits)
}

/// Whether a text can be the name of a model.
fn check_model(param: &'static str, model: &str) -> Result<(), RequestError> {
    if model.is_empty() {
        return Err(RequestError::Empty(param));
    }
    if model.len() > MAX_MODEL_NAME {
        return Err(RequestError::TooLong { param, limit: MAX_MODEL_NAME });
    }
    let is_visible = |byte: u8| matches!(byte, b' '..=b'~');
    if !model.bytes().all(is_visible) && model.chars().any(char::is_control) {
        return Err(RequestError::ControlCharacter(param));
    }
    Ok(())
}
