//! The kinds of provider: where each is found, which variable its key is usually in, and the ways in
//! which it differs from OpenAI's own wire.
//!
//! A kind is chosen in the configuration and never guessed from an answer.

/// A kind of provider. All but [`Kind::Echo`] speak OpenAI's wire over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// OpenAI, and any server that speaks its wire at a `base_url` of its own.
    OpenAi,
    Azure,
    OpenRouter,
    Groq,
    Mistral,
    DeepSeek,
    Xai,
    Together,
    Fireworks,
    Perplexity,
    Cerebras,
    DeepInfra,
    Moonshot,
    Alibaba,
    /// Google's Gemini at its OpenAI-compatible address.
    Gemini,
    Ollama,
    Vllm,
    LmStudio,
    LlamaCpp,
    /// Answers by itself, with no account anywhere.
    Echo,
}

/// How a kind tells a stream's usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamUsage {
    /// Only when `stream_options.include_usage` asks for it: we ask, and hide it from a client that
    /// did not.
    Ask,
    /// Always: request and answer stay as they are.
    Always,
    /// Never, and it refuses the question: usage is estimated.
    Never,
}

/// How the key is sent to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeader {
    /// `Authorization: Bearer …`
    Bearer,
    /// `api-key: …`
    ApiKey,
}

/// What is filled in for a kind where the configuration says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    pub kind: Kind,
    /// The word in the configuration.
    pub name: &'static str,
    /// Absent where every account has its own address.
    pub base_url: Option<&'static str>,
    /// The environment variable that the provider's own tools read the key from.
    pub key_variable: Option<&'static str>,
    pub key_header: KeyHeader,
    pub stream_usage: StreamUsage,
    /// The provider's name in the price catalogue.
    pub catalogue: Option<&'static str>,
}
