//! The most that a call can use of anything that is charged, before it is sent.
//!
//! A bound is true while the provider keeps the caps it was given and the model its own limits. Where
//! nobody publishes a limit the bound here says what it is taken from; what passes one all the same is
//! charged as it is and counted, never hidden.

use super::endpoint::Endpoint;
use super::kind::Kind;
use super::request::Call;
use crate::domain::usage::{Class, Usage};

/// The most output tokens a model is taken to give when neither the client, the configuration nor the
/// catalogue says: no model on the market gives more.
const LONGEST_OUTPUT: u64 = 131_072;
/// The most prompt tokens a model is taken to read when nobody says.
const LONGEST_INPUT: u64 = 1_000_000;
/// The most prompt tokens that one image can come to: the dearest way of counting that is published
/// (`gpt-4o-mini` in high detail) gives 36,835 for eight tiles.
const IMAGE_TOKENS: u64 = 50_000;
/// How often a provider uses tools of its own for one call where the call does not say: Anthropic's loop
/// pauses after ten rounds (its guide to stop reasons), and the others publish no number.
const TOOL_USES: u64 = 10;
/// What many providers put before each prompt by themselves and charge for: of recorded calls to xAI's
/// models, at Azure too, some came to 199 tokens with bodies of 117 to 158 bytes.
const OWN_WORDS: u64 = 256;
/// What they put before a prompt with tools: Anthropic's guide to tools names up to some hundred tokens for
/// each model, and recorded calls to Claude with one tool had 633 tokens with bodies of 582 to 608 bytes.
const WORDS_ON_TOOLS: u64 = 1_024;
/// How many pixels are at least one token of an image that is made: in high quality `gpt-image-1` gives
/// 4,160 tokens to 1024 × 1024, and by its price list `gpt-image-2` about 7,000.
const PIXELS_PER_TOKEN: u64 = 100;
/// The tokens of an image whose size the provider chooses: more than 1536 × 1024, the largest that it does.
const IMAGE_MADE_TOKENS: u64 = 16_384;
/// What each unfinished image in a stream is charged (`OpenAI`'s guide to image generation).
const PARTIAL_IMAGE_TOKENS: u64 = 100;
/// A second of audio is at least so many bytes: 6 kbit/s, the lowest rate that Opus is made for
/// (RFC 6716), and MP3, AAC, AMR and uncompressed audio have none below 4.75. Silence in FLAC is shorter:
/// who sends that gets more than was set aside, and pays it.
const LEAST_BYTES_PER_SECOND: u64 = 4_750 / 8;
/// The most audio that a form at an address can hold: `OpenAI` and Groq take files up to 100 MB.
const LONGEST_AUDIO_BYTES: u64 = 100 * 1024 * 1024;
/// A second of audio is at most so many tokens: speech encoders take 50 frames a second, `OpenAI`'s price
/// list comes to 17 and Gemini counts 32 (its guide to tokens).
const TOKENS_PER_SECOND: u64 = 50;
/// A character that is spoken is at most so many tokens of audio: `OpenAI`'s price list comes to 21 tokens
/// for a second, and nobody speaks slower than three characters in one unless told to.
const TOKENS_PER_CHARACTER: u64 = 8;
/// Pauses and breath, however short the text.
const SPEECH_TOKENS: u64 = 512;
/// Cohere counts a query with up to so many documents as one search (its price list), and each started
/// 500 tokens of a document as one more document.
const DOCUMENTS_PER_SEARCH: u64 = 100;
const TOKENS_PER_DOCUMENT: u64 = 500;

/// What is known of the model that a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    pub kind: Kind,
    pub max_input_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
}

/// The most that a call can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub input_tokens: u64,
    /// Of each choice.
    pub output_tokens: u64,
    pub choices: u64,
    /// What is counted one by one: images, searches, characters.
    pub pieces: Usage,
}

/// The bounds of a call whose text is at most `text_tokens`: its bytes, which are never fewer, or less by
/// a tokenizer.
pub fn bounds(call: &Call, text_tokens: u64, model: Model) -> Bounds {
    Bounds {
        input_tokens: input(call, text_tokens, model),
        output_tokens: output(call, model),
        choices: call.choices,
        pieces: pieces(call, text_tokens, model.kind),
    }
}

fn input(call: &Call, text_tokens: u64, model: Model) -> u64 {
    let whole = model.max_input_tokens.unwrap_or(LONGEST_INPUT).max(text_tokens);
    let once = match call.endpoint {
        // Each document is read together with the query.
        Endpoint::Rerank => {
            text_tokens.saturating_add(call.query_bytes.saturating_mul(call.documents))
        }
        Endpoint::Transcriptions | Endpoint::Translations => {
            let audio = audio_seconds(call).saturating_mul(TOKENS_PER_SECOND);
            text_tokens.saturating_add(audio).min(whole)
        }
        _ if call.unseen_input => whole,
        _ if call.media => call.images_in.map_or(whole, |images| {
            text_tokens.saturating_add(images.saturating_mul(IMAGE_TOKENS)).min(whole)
        }),
        _ => text_tokens,
    };
    let once = once.saturating_add(own_words(call, model.kind));
    if call.hosted_tools {
        // It is read again with the result of each use, which may be anything.
        let uses = call.tool_limit.unwrap_or(TOOL_USES);
        return whole.saturating_mul(uses.saturating_add(1));
    }
    once
}

/// What the provider adds to the prompt. `OpenAI` itself adds less than the JSON around a text has bytes.
fn own_words(call: &Call, kind: Kind) -> u64 {
    if matches!(kind, Kind::OpenAi | Kind::Echo) || !call.endpoint.generates() {
        return 0;
    }
    OWN_WORDS + if call.tools { WORDS_ON_TOOLS } else { 0 }
}

fn output(call: &Call, model: Model) -> u64 {
    let longest = model.max_output_tokens.unwrap_or(LONGEST_OUTPUT);
    match call.endpoint {
        endpoint if endpoint.generates() => {
            call.output_cap.unwrap_or(longest).saturating_add(call.predicted_bytes)
        }
        Endpoint::ImageGenerations | Endpoint::ImageEdits => {
            let each = call
                .image_size
                .as_deref()
                .and_then(pixels)
                .map_or(IMAGE_MADE_TOKENS, |pixels| pixels.div_ceil(PIXELS_PER_TOKEN));
            let partial = call.partial_images.saturating_mul(PARTIAL_IMAGE_TOKENS);
            each.saturating_add(partial).saturating_mul(call.images)
        }
        Endpoint::Speech => {
            let spoken = call.speech_characters.saturating_mul(TOKENS_PER_CHARACTER);
            spoken.saturating_add(SPEECH_TOKENS).min(longest)
        }
        Endpoint::Transcriptions | Endpoint::Translations => longest,
        _ => 0,
    }
}

/// The pixels of a size like `1024x1536`.
fn pixels(size: &str) -> Option<u64> {
    let (width, height) = size.split_once('x')?;
    width.trim().parse::<u64>().ok()?.checked_mul(height.trim().parse().ok()?)
}

fn audio_seconds(call: &Call) -> u64 {
    let bytes = if call.unseen_input { LONGEST_AUDIO_BYTES } else { call.audio_bytes };
    bytes.div_ceil(LEAST_BYTES_PER_SECOND)
}

fn pieces(call: &Call, text_tokens: u64, kind: Kind) -> Usage {
    let mut pieces = Usage::default();
    // Perplexity searches for every call.
    if call.searches || kind == Kind::Perplexity {
        pieces.set(Class::WebSearch, call.search_limit.unwrap_or(TOOL_USES));
    }
    pieces.set(Class::Image, call.images);
    pieces.set(Class::Character, call.speech_characters);
    if matches!(call.endpoint, Endpoint::Transcriptions | Endpoint::Translations) {
        pieces.set(Class::AudioMillisecond, audio_seconds(call).saturating_mul(1_000));
    }
    if call.endpoint == Endpoint::Rerank {
        let chunks = call.documents.saturating_add(text_tokens / TOKENS_PER_DOCUMENT);
        pieces.set(Class::Call, chunks.div_ceil(DOCUMENTS_PER_SEARCH).max(1));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::super::request::{Head, read};
    use super::*;

    const MODEL: Model = Model {
        kind: Kind::OpenAi,
        max_input_tokens: Some(100_000),
        max_output_tokens: Some(4_000),
    };

    fn of(endpoint: Endpoint, body: &str) -> Bounds {
        let head = Head { model: Some("m"), content_type: None };
        let call = read(endpoint, &head, body.as_bytes()).expect("a call");
        bounds(&call, call.body_bytes, MODEL)
    }

    #[test]
    fn what_is_not_in_the_body_widens_the_prompt_to_all_that_the_model_reads() {
        for (endpoint, body, tokens) in [
            (Endpoint::Responses, r#"{"model":"m","input":"hi"}"#, 26),
            (
                Endpoint::Responses,
                r#"{"model":"m","input":"hi","previous_response_id":"r"}"#,
                100_000,
            ),
            (Endpoint::Responses, r#"{"model":"m","prompt":{"id":"p"}}"#, 100_000),
            (
                Endpoint::Responses,
                r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]}"#,
                100_000,
            ),
            (
                Endpoint::Messages,
                r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"u"}}]}]}"#,
                50_120,
            ),
            (Endpoint::GenerateContent, r#"{"contents":[],"cached_content":"c"}"#, 100_000),
            (
                Endpoint::GenerateContent,
                r#"{"contents":[{"parts":[{"file_data":{"file_uri":"u"}}]}]}"#,
                100_000,
            ),
        ] {
            assert_eq!(of(endpoint, body).input_tokens, tokens, "{body}");
        }
    }

    #[test]
    fn tools_that_the_provider_runs_read_the_prompt_again_each_time() {
        let tools = |tools: &str| {
            let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[],"tools":[{tools}]}}"#);
            of(Endpoint::Messages, &body)
        };
        let search = r#"{"type":"web_search_20250305","name":"web_search","max_uses":2}"#;
        let bounds = tools(search);
        assert_eq!((bounds.input_tokens, bounds.pieces.get(Class::WebSearch)), (300_000, 2));
        let open = r#"{"type":"web_search_20250305","name":"web_search"}"#;
        let bounds = tools(open);
        assert_eq!((bounds.input_tokens, bounds.pieces.get(Class::WebSearch)), (1_100_000, 10));
        let own = r#"{"name":"mine","input_schema":{}},{"type":"bash_20250124","name":"bash"}"#;
        assert!(tools(own).input_tokens < 200);
    }

    #[test]
    fn pieces_are_counted_as_they_are_sold() {
        let speech = of(Endpoint::Speech, r#"{"model":"m","input":"gr\u00fcß dich","voice":"v"}"#);
        assert_eq!(speech.pieces.get(Class::Character), 9);
        assert_eq!(speech.output_tokens, 9 * 8 + 512);
        let images = of(
            Endpoint::ImageGenerations,
            r#"{"prompt":"a","n":3,"size":"1024x1024","model":"m"}"#,
        );
        assert_eq!(images.pieces.get(Class::Image), 3);
        assert_eq!(images.output_tokens, 3 * 10_486);
        let documents = vec![r#""d""#; 150].join(",");
        let body = format!(r#"{{"model":"m","query":"q","documents":[{documents}]}}"#);
        let rerank = of(Endpoint::Rerank, &body);
        assert_eq!(rerank.pieces.get(Class::Call), 2);
        assert_eq!(rerank.input_tokens, body.len() as u64 + 3 * 150);
    }
}
