//! A tighter bound of a prompt's tokens than its bytes, for calls that do not fit by their bytes.
//!
//! Counting takes a few milliseconds for a hundred kilobytes, and tens of milliseconds the first time,
//! when the vocabulary is unpacked: not for a worker of the gateway, and only where it may decide.

use super::kind::Kind;

/// What a count in OpenAI's newest public vocabulary is raised by, in hundredths, to bound the count
/// in a model's own. Other makers' vocabularies are of about the same size, and differ most for
/// languages that one of them knows better.
const OWN_MARGIN: u64 = 10;
const OTHER_MARGIN: u64 = 50;
/// What a provider may wrap around a prompt: roles, separators, the preamble that tools get.
const WRAPPING: u64 = 64;

/// At most how many tokens the text of `body` is to a model of `kind`; never more than its bytes.
///
/// The body is counted as it is, its JSON included, which stands for what the provider puts around
/// each message.
pub fn bound(kind: Kind, body: &str) -> u64 {
    let margin = match kind {
        Kind::OpenAi | Kind::Azure => OWN_MARGIN,
        Kind::OpenRouter
        | Kind::Groq
        | Kind::Mistral
        | Kind::DeepSeek
        | Kind::Xai
        | Kind::Together
        | Kind::Fireworks
        | Kind::Perplexity
        | Kind::Cerebras
        | Kind::DeepInfra
        | Kind::Moonshot
        | Kind::Alibaba
        | Kind::Anthropic
        | Kind::Gemini
        | Kind::GeminiOpenAi
        | Kind::Bedrock
        | Kind::Ollama
        | Kind::Vllm
        | Kind::LmStudio
        | Kind::LlamaCpp
        | Kind::Echo => OTHER_MARGIN,
    };
    let counted = bpe_openai::o200k_base().count(body) as u64;
    let raised = counted.saturating_mul(100 + margin).div_ceil(100).saturating_add(WRAPPING);
    raised.min(body.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_bounded_well_below_its_bytes() {
        let prose = "The quick brown fox jumps over the lazy dog while it rains. ".repeat(100);
        let bound = bound(Kind::OpenAi, &prose);
        assert!(bound > 1_200 && bound < prose.len() as u64 / 3, "{bound}");
    }

    #[test]
    fn a_bound_is_never_above_the_bytes() {
        assert_eq!(bound(Kind::Groq, "hi"), 2);
        assert_eq!(bound(Kind::Groq, ""), 0);
    }

    #[test]
    fn another_makers_vocabulary_gets_a_wider_margin() {
        let text = "Grüße aus Köln, 你好, привет. ".repeat(50);
        assert!(bound(Kind::DeepSeek, &text) > bound(Kind::OpenAi, &text));
    }
}
