//! One entry of LiteLLM's `model_list`: a name for clients, and where calls for it go.

use serde_json::Value;

use super::{Environment, NO_COUNTERPART, seconds};
use crate::import::Lost;
use crate::import::layout::{Key, Layout, Provider, Target};
use crate::import::number::shifted;
use crate::import::taken::{Record, lose};

/// LiteLLM's word for a provider, ours, and what its address is without `api_base`.
const KINDS: [(&str, &str, Option<&str>); 36] = [
    ("openai", "openai", None),
    ("text-completion-openai", "openai", None),
    ("custom_openai", "openai", None),
    ("openai_like", "openai", None),
    ("litellm_proxy", "openai", None),
    ("azure", "azure", None),
    ("azure_ai", "openai", None),
    ("anthropic", "anthropic", None),
    ("gemini", "gemini", None),
    ("bedrock", "bedrock", None),
    ("openrouter", "openrouter", None),
    ("groq", "groq", None),
    ("mistral", "mistral", None),
    ("codestral", "openai", Some("https://codestral.mistral.ai/v1")),
    ("deepseek", "deepseek", None),
    ("xai", "xai", None),
    ("together_ai", "together", None),
    ("fireworks_ai", "fireworks", None),
    ("perplexity", "perplexity", None),
    ("cerebras", "cerebras", None),
    ("deepinfra", "deepinfra", None),
    ("moonshot", "moonshot", None),
    ("dashscope", "alibaba", None),
    ("ollama", "ollama", None),
    ("ollama_chat", "ollama", None),
    ("hosted_vllm", "vllm", None),
    ("vllm", "vllm", None),
    ("lm_studio", "lmstudio", None),
    ("llamafile", "llamacpp", None),
    ("nvidia_nim", "openai", Some("https://integrate.api.nvidia.com/v1")),
    ("sambanova", "openai", Some("https://api.sambanova.ai/v1")),
    ("github", "openai", Some("https://models.inference.ai.azure.com")),
    ("novita", "openai", Some("https://api.novita.ai/v3/openai")),
    ("nebius", "openai", Some("https://api.studio.nebius.ai/v1")),
    ("volcengine", "openai", Some("https://ark.cn-beijing.volces.com/api/v3")),
    ("ai21", "openai", Some("https://api.ai21.com/studio/v1")),
];

/// How models are named that have no provider before them.
const BARE: [(&str, &str); 10] = [
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-", "openai"),
    ("dall-e-", "openai"),
    ("whisper-", "openai"),
    ("tts-", "openai"),
    ("claude-", "anthropic"),
];

/// LiteLLM's name of a price for one, ours for a million.
const PRICES: [(&str, &str); 6] = [
    ("input_cost_per_token", "input"),
    ("output_cost_per_token", "output"),
    ("cache_read_input_token_cost", "cache_read"),
    ("cache_creation_input_token_cost", "cache_write"),
    ("input_cost_per_audio_token", "input_audio"),
    ("output_cost_per_reasoning_token", "reasoning"),
];

/// Reads an entry into `layout`.
pub(super) fn read(
    mut entry: Record,
    environment: &Environment<'_>,
    layout: &mut Layout,
    lost: &mut Vec<Lost>,
) {
    let Some(name) = entry.text("model_name") else {
        lose(lost, entry.place, "has no `model_name`");
        return;
    };
    let Some(mut params) = entry.record("litellm_params") else {
        lose(lost, entry.place, "has no `litellm_params`");
        return;
    };
    let place = params.place.clone();
    let target = match target(&mut params, environment) {
        Ok(target) => target,
        Err(why) => {
            lose(lost, place, format!("`{name}` does not lead there: {why}"));
            return;
        }
    };
    let mut target = Target { order: params.count("order"), ..target };
    target.total_timeout = seconds(&mut params, "timeout");
    target.first_byte_timeout = seconds(&mut params, "stream_timeout");
    target.weight = params.count("weight").map(|weight| weight.min(1_000_000));
    let rpm = params.count("rpm");
    if let Some(rpm) = rpm {
        let why = if target.weight.is_none() {
            target.weight = Some(rpm.min(1_000_000));
            "targets have no rates of their own; it is the weight by which they share calls"
        } else {
            "targets have no rates of their own: set `--rpm` on keys"
        };
        lose(lost, params.at("rpm"), why);
    }
    let mut info = entry.record("model_info");
    for record in [Some(&mut params), info.as_mut()].into_iter().flatten() {
        facts(record, &mut target, lost);
    }
    layout.model(&name).targets.push(target);
    params.rest(NO_COUNTERPART, lost);
    if let Some(mut info) = info {
        // What a model can do is known from its name, or does not matter for carrying calls.
        info.forget(&["id", "mode", "base_model", "db_model", "description", "max_input_tokens"]);
        info.rest(NO_COUNTERPART, lost);
    }
    entry.rest(NO_COUNTERPART, lost);
}

/// Prices and the longest answer.
fn facts(record: &mut Record, target: &mut Target, lost: &mut Vec<Lost>) {
    if target.max_output_tokens.is_none() {
        target.max_output_tokens = record.count("max_output_tokens");
    }
    let before = target.price.len();
    for (theirs, ours) in PRICES {
        let Some(text) = record.text(theirs) else { continue };
        match shifted(&text, 6) {
            Some(rate) if !target.price.iter().any(|(name, _)| *name == ours) => {
                target.price.push((ours, rate));
            }
            Some(_) => {}
            None => lose(lost, record.at(theirs), format!("`{text}` is not a price")),
        }
    }
    // Both are needed; what is not named costs nothing there.
    if target.price.len() > before {
        for ours in ["input", "output"] {
            if !target.price.iter().any(|(name, _)| *name == ours) {
                target.price.push((ours, "0".to_owned()));
            }
        }
    }
}

fn target(params: &mut Record, environment: &Environment<'_>) -> Result<Target, String> {
    let model = params.text("model").ok_or("it has no `model`")?;
    let said = params.text("custom_llm_provider");
    let base = params.text("api_base").or_else(|| params.text("base_url"));
    params.forget(&["api_base", "base_url"]);
    let (word, name) = split(&model, said.as_deref(), base.is_some())?;
    let known = KINDS.iter().find(|(theirs, ..)| *theirs == word);
    let Some((_, kind, usual)) = known else {
        return Err(format!("the provider `{word}` is not known here"));
    };
    // LiteLLM's names of Amazon's models may say which interface is used.
    let name = name.strip_prefix("converse/").or(name.strip_prefix("invoke/")).unwrap_or(name);
    let mut provider = Provider { kind, ..Provider::default() };
    provider.base_url = base
        .map(|base| resolve(&base, environment))
        .transpose()?
        .map(|base| address(kind, &base))
        .or(usual.map(str::to_owned));
    if *kind == "azure" && provider.base_url.is_none() {
        return Err("it has no `api_base`".to_owned());
    }
    provider.api_version = params.text("api_version").filter(|_| *kind == "azure");
    provider.keys.extend(params.text("api_key").map(|key| secret(&key)));
    if *kind == "bedrock" {
        amazon(params, &mut provider, environment)?;
    }
    if let Some(organization) = params.text("organization") {
        let organization = resolve(&organization, environment)?;
        provider.headers.push(("OpenAI-Organization".to_owned(), organization));
    }
    if let Some(Value::Object(headers)) = params.take("extra_headers") {
        for (name, value) in headers {
            if let Some(value) = value.as_str() {
                provider.headers.push((name, resolve(value, environment)?));
            }
        }
    }
    let wish = if usual.is_some() { word } else { kind }.to_owned();
    Ok(Target { provider, wish, model: Some(name.to_owned()), ..Target::default() })
}

/// The provider's word, and the model's name there.
fn split<'a>(
    model: &'a str,
    said: Option<&'a str>,
    has_base: bool,
) -> Result<(&'a str, &'a str), String> {
    let before = model.split_once('/').filter(|(word, _)| is_word(word));
    if let Some(word) = said {
        let name = before.filter(|(before, _)| *before == word).map_or(model, |(_, name)| name);
        return Ok((word, name));
    }
    if let Some(split) = before {
        return Ok(split);
    }
    if let Some((_, word)) = BARE.iter().find(|(start, _)| model.starts_with(start)) {
        return Ok((word, model));
    }
    match model {
        model if has_base => Ok(("openai", model)),
        "*" => Err("`*` needs a provider before it, as in `openai/*`".to_owned()),
        model => Err(format!("whose model `{model}` is, is not said: write `openai/{model}`")),
    }
}

/// Whether what is before a `/` is a provider; `org/model` of a server of one's own is not.
fn is_word(word: &str) -> bool {
    const OTHERS: [&str; 12] = [
        "vertex_ai",
        "cohere",
        "cohere_chat",
        "huggingface",
        "replicate",
        "sagemaker",
        "watsonx",
        "databricks",
        "cloudflare",
        "voyage",
        "snowflake",
        "predibase",
    ];
    KINDS.iter().any(|(known, ..)| *known == word) || OTHERS.contains(&word)
}

/// Our addresses end where endpoints begin; LiteLLM adds to some of its own.
fn address(kind: &str, base: &str) -> String {
    let base = base.trim_end_matches('/');
    let base = base.strip_suffix("/chat/completions").unwrap_or(base);
    match kind {
        "ollama" | "anthropic" if !base.ends_with("/v1") => format!("{base}/v1"),
        "gemini" if !base.ends_with("/v1beta") => format!("{base}/v1beta"),
        _ => base.to_owned(),
    }
}

fn amazon(
    params: &mut Record,
    provider: &mut Provider,
    environment: &Environment<'_>,
) -> Result<(), String> {
    let region = params.text("aws_region_name");
    provider.region = region.map(|region| resolve(&region, environment)).transpose()?;
    for (theirs, ours) in [
        ("aws_access_key_id", "access_key_id"),
        ("aws_secret_access_key", "secret_access_key"),
        ("aws_session_token", "session_token"),
    ] {
        provider.aws.extend(params.text(theirs).map(|text| (ours, secret(&text))));
    }
    if let Some(token) = params.text("aws_bearer_token") {
        provider.keys.push(secret(&token));
    }
    Ok(())
}

fn variable(text: &str) -> Option<&str> {
    text.strip_prefix("os.environ/")
}

fn secret(text: &str) -> Key {
    match variable(text) {
        Some(name) => Key::Variable(name.to_owned()),
        None => Key::Plain(text.to_owned()),
    }
}

/// What is not a secret stands in our file itself.
fn resolve(text: &str, environment: &Environment<'_>) -> Result<String, String> {
    let Some(name) = variable(text) else { return Ok(text.to_owned()) };
    environment(name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| format!("the variable {name} is not set here: set it for the import"))
}
