//! The kinds of provider: where each is found, which variable its key is usually in, and the ways in
//! which it differs from `OpenAI`'s own wire.
//!
//! A kind is chosen in the configuration and never guessed from an answer.

use super::endpoint::Dialect;

/// A kind of provider. Those that are not named otherwise speak `OpenAI`'s dialect over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `OpenAI`, and any server that speaks its wire at a `base_url` of its own.
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
    /// Anthropic's own messages.
    Anthropic,
    /// Google's own `generateContent`.
    Gemini,
    /// Google's Gemini at its `OpenAI`-compatible address.
    GeminiOpenAi,
    /// Amazon Bedrock's Converse, each call signed.
    Bedrock,
    Ollama,
    Vllm,
    LmStudio,
    LlamaCpp,
    /// Answers by itself, with no account anywhere.
    Echo,
}

impl Kind {
    pub const ALL: [Self; 23] = [
        Self::OpenAi,
        Self::Azure,
        Self::OpenRouter,
        Self::Groq,
        Self::Mistral,
        Self::DeepSeek,
        Self::Xai,
        Self::Together,
        Self::Fireworks,
        Self::Perplexity,
        Self::Cerebras,
        Self::DeepInfra,
        Self::Moonshot,
        Self::Alibaba,
        Self::Anthropic,
        Self::Gemini,
        Self::GeminiOpenAi,
        Self::Bedrock,
        Self::Ollama,
        Self::Vllm,
        Self::LmStudio,
        Self::LlamaCpp,
        Self::Echo,
    ];

    /// What is filled in for this kind.
    pub const fn preset(self) -> &'static Preset {
        &PRESETS[self as usize]
    }

    /// Whether it obeys `max_tokens` alone in a chat call. Some refuse `max_completion_tokens` (Mistral, by
    /// 422), others pass over it in silence (`DeepSeek`, Ollama): a cap that stood only there would be none.
    pub const fn has_old_cap(self) -> bool {
        matches!(
            self,
            Self::Mistral
                | Self::DeepSeek
                | Self::Together
                | Self::Perplexity
                | Self::DeepInfra
                | Self::Alibaba
                | Self::Ollama
                | Self::LmStudio
        )
    }

    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        self.preset().name
    }

    /// How it is spoken to.
    pub const fn dialect(self) -> Dialect {
        self.preset().dialect
    }

    /// The kind that a word in the configuration names.
    pub fn from_name(name: &str) -> Option<Self> {
        PRESETS.iter().find(|preset| preset.name == name).map(|preset| preset.kind)
    }
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
    /// `x-api-key: …`
    XApiKey,
    /// `x-goog-api-key: …`: never in the URL, which reaches logs.
    XGoogApiKey,
}

/// What is filled in for a kind where the configuration says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    pub kind: Kind,
    /// The word in the configuration.
    pub name: &'static str,
    pub dialect: Dialect,
    /// What the endpoint's path is appended to; absent where every account has its own address.
    pub base_url: Option<&'static str>,
    /// The environment variable that the provider's own tools read the key from; absent where no key
    /// is needed.
    pub key_variable: Option<&'static str>,
    pub key_header: KeyHeader,
    pub stream_usage: StreamUsage,
    /// It has `OpenAI`'s responses.
    pub responses: bool,
    /// The provider's name in the price catalogue.
    pub catalogue: Option<&'static str>,
}

/// One row for each kind, in the order of [`Kind::ALL`].
///
/// Who sends usage unasked was read from recorded streams that did not ask: all of `OpenRouter`'s,
/// Groq's, Mistral's and Perplexity's had it. Where few or none were seen the kind is asked.
///
/// Who has responses is what was heard of each and was not tried: the option `responses` of a provider
/// says otherwise. Where nothing was heard, they are carried to chat.
pub const PRESETS: [Preset; 23] = [
    Preset {
        base_url: Some("https://api.openai.com/v1"),
        key_variable: Some("OPENAI_API_KEY"),
        catalogue: Some("openai"),
        responses: true,
        ..Preset::plain(Kind::OpenAi, "openai")
    },
    Preset {
        key_header: KeyHeader::ApiKey,
        base_url: None,
        key_variable: Some("AZURE_OPENAI_API_KEY"),
        catalogue: Some("azure"),
        responses: true,
        ..Preset::plain(Kind::Azure, "azure")
    },
    Preset {
        stream_usage: StreamUsage::Always,
        base_url: Some("https://openrouter.ai/api/v1"),
        key_variable: Some("OPENROUTER_API_KEY"),
        catalogue: None,
        responses: true,
        ..Preset::plain(Kind::OpenRouter, "openrouter")
    },
    Preset {
        stream_usage: StreamUsage::Always,
        base_url: Some("https://api.groq.com/openai/v1"),
        key_variable: Some("GROQ_API_KEY"),
        catalogue: Some("groq"),
        responses: true,
        ..Preset::plain(Kind::Groq, "groq")
    },
    Preset {
        stream_usage: StreamUsage::Always,
        base_url: Some("https://api.mistral.ai/v1"),
        key_variable: Some("MISTRAL_API_KEY"),
        catalogue: Some("mistral"),
        ..Preset::plain(Kind::Mistral, "mistral")
    },
    Preset {
        base_url: Some("https://api.deepseek.com/v1"),
        key_variable: Some("DEEPSEEK_API_KEY"),
        catalogue: Some("deepseek"),
        ..Preset::plain(Kind::DeepSeek, "deepseek")
    },
    Preset {
        base_url: Some("https://api.x.ai/v1"),
        key_variable: Some("XAI_API_KEY"),
        catalogue: Some("xai"),
        responses: true,
        ..Preset::plain(Kind::Xai, "xai")
    },
    Preset {
        base_url: Some("https://api.together.xyz/v1"),
        key_variable: Some("TOGETHER_API_KEY"),
        catalogue: Some("together_ai"),
        ..Preset::plain(Kind::Together, "together")
    },
    Preset {
        base_url: Some("https://api.fireworks.ai/inference/v1"),
        key_variable: Some("FIREWORKS_API_KEY"),
        catalogue: Some("fireworks_ai"),
        responses: true,
        ..Preset::plain(Kind::Fireworks, "fireworks")
    },
    Preset {
        stream_usage: StreamUsage::Always,
        base_url: Some("https://api.perplexity.ai"),
        key_variable: Some("PERPLEXITY_API_KEY"),
        catalogue: Some("perplexity"),
        ..Preset::plain(Kind::Perplexity, "perplexity")
    },
    Preset {
        base_url: Some("https://api.cerebras.ai/v1"),
        key_variable: Some("CEREBRAS_API_KEY"),
        catalogue: Some("cerebras"),
        ..Preset::plain(Kind::Cerebras, "cerebras")
    },
    Preset {
        base_url: Some("https://api.deepinfra.com/v1/openai"),
        key_variable: Some("DEEPINFRA_API_KEY"),
        catalogue: Some("deepinfra"),
        ..Preset::plain(Kind::DeepInfra, "deepinfra")
    },
    Preset {
        base_url: Some("https://api.moonshot.ai/v1"),
        key_variable: Some("MOONSHOT_API_KEY"),
        catalogue: Some("moonshot"),
        ..Preset::plain(Kind::Moonshot, "moonshot")
    },
    Preset {
        base_url: Some("https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        key_variable: Some("DASHSCOPE_API_KEY"),
        catalogue: Some("dashscope"),
        ..Preset::plain(Kind::Alibaba, "alibaba")
    },
    Preset {
        dialect: Dialect::Anthropic,
        key_header: KeyHeader::XApiKey,
        stream_usage: StreamUsage::Always,
        base_url: Some("https://api.anthropic.com/v1"),
        key_variable: Some("ANTHROPIC_API_KEY"),
        catalogue: Some("anthropic"),
        ..Preset::plain(Kind::Anthropic, "anthropic")
    },
    Preset {
        dialect: Dialect::Gemini,
        key_header: KeyHeader::XGoogApiKey,
        stream_usage: StreamUsage::Always,
        base_url: Some("https://generativelanguage.googleapis.com/v1beta"),
        key_variable: Some("GEMINI_API_KEY"),
        catalogue: Some("gemini"),
        ..Preset::plain(Kind::Gemini, "gemini")
    },
    Preset {
        base_url: Some("https://generativelanguage.googleapis.com/v1beta/openai"),
        key_variable: Some("GEMINI_API_KEY"),
        catalogue: Some("gemini"),
        ..Preset::plain(Kind::GeminiOpenAi, "gemini-openai")
    },
    Preset {
        dialect: Dialect::Bedrock,
        stream_usage: StreamUsage::Always,
        base_url: None,
        key_variable: Some("AWS_BEARER_TOKEN_BEDROCK"),
        catalogue: Some("bedrock"),
        ..Preset::plain(Kind::Bedrock, "bedrock")
    },
    Preset {
        base_url: Some("http://127.0.0.1:11434/v1"),
        key_variable: None,
        catalogue: Some("ollama"),
        ..Preset::plain(Kind::Ollama, "ollama")
    },
    Preset {
        base_url: Some("http://127.0.0.1:8000/v1"),
        key_variable: None,
        catalogue: None,
        responses: true,
        ..Preset::plain(Kind::Vllm, "vllm")
    },
    Preset {
        base_url: Some("http://127.0.0.1:1234/v1"),
        key_variable: None,
        catalogue: None,
        responses: true,
        ..Preset::plain(Kind::LmStudio, "lmstudio")
    },
    Preset {
        base_url: Some("http://127.0.0.1:8080/v1"),
        key_variable: None,
        catalogue: None,
        ..Preset::plain(Kind::LlamaCpp, "llamacpp")
    },
    Preset {
        base_url: None,
        key_variable: None,
        catalogue: None,
        ..Preset::plain(Kind::Echo, "echo")
    },
];

impl Preset {
    /// What most kinds have in common.
    const fn plain(kind: Kind, name: &'static str) -> Self {
        Self {
            kind,
            name,
            dialect: Dialect::OpenAi,
            base_url: None,
            key_variable: None,
            key_header: KeyHeader::Bearer,
            stream_usage: StreamUsage::Ask,
            responses: false,
            catalogue: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_row_and_name() {
        for (kind, preset) in Kind::ALL.into_iter().zip(&PRESETS) {
            assert_eq!(preset.kind, kind);
            assert_eq!(kind.preset(), preset);
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("OpenAI"), None, "names are written in lower case");
    }

    #[test]
    fn base_urls_take_a_path_after_them() {
        for preset in &PRESETS {
            let Some(url) = preset.base_url else {
                assert!(
                    matches!(preset.kind, Kind::Azure | Kind::Bedrock | Kind::Echo),
                    "{}",
                    preset.name
                );
                continue;
            };
            assert!(!url.ends_with('/'), "{url}");
            let local = url.starts_with("http://127.0.0.1:");
            assert!(local || url.starts_with("https://"), "{url}");
            assert_eq!(local, preset.key_variable.is_none(), "{url}: a local server needs no key");
        }
    }
}
