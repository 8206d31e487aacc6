//! A chat call as `generateContent` takes it: which member goes where, and which cannot go.

use serde_json::{Map, Value, json};

use super::super::{Brief, Untranslatable};
use super::{generation, messages, thinking, tools};

/// Members that are left out: names for the bookkeeping of `OpenAI`, and what the path, the brief
/// or the stream itself already says. None of them changes what the model answers.
pub(super) const HINTS: [&str; 10] = [
    "model",
    "stream",
    "stream_options",
    "user",
    "metadata",
    "store",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
];

/// Members that are carried, here or in a neighbour.
const CARRIED: [&str; 20] = [
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stop",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "response_format",
    "reasoning_effort",
    "modalities",
    "tools",
    "tool_choice",
    "service_tier",
    "extra_body",
];

pub(super) fn request(
    chat: &Map<String, Value>,
    brief: &Brief<'_>,
) -> Result<Map<String, Value>, Untranslatable> {
    check_members(chat)?;
    let google = google(chat)?;
    let conversation = messages::conversation(chat, brief.model)?;
    let mut call = Map::new();
    call.insert("contents".to_owned(), conversation.contents.into());
    if !conversation.system.is_empty() {
        call.insert("systemInstruction".to_owned(), json!({ "parts": conversation.system }));
    }
    tools::put(chat, &mut call)?;
    let mut config = generation::config(chat, brief)?;
    if let Some(thinking) = thinking::config(chat, google, brief.model)? {
        config.insert("thinkingConfig".to_owned(), thinking);
    }
    if !config.is_empty() {
        call.insert("generationConfig".to_owned(), config.into());
    }
    if let Some(tier) = service_tier(chat)? {
        call.insert("serviceTier".to_owned(), tier.into());
    }
    for (name, theirs) in
        [("cached_content", "cachedContent"), ("safety_settings", "safetySettings")]
    {
        if let Some(value) = google.and_then(|google| present(google, name)) {
            call.insert(theirs.to_owned(), value.clone());
        }
    }
    Ok(call)
}

/// A member that is there and not null.
pub(super) fn present<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

/// A refusal of a member for which Gemini has no place.
pub(super) fn cannot(param: impl Into<String>) -> Untranslatable {
    let param = param.into();
    let message = format!("The provider of this model cannot take `{param}`.");
    Untranslatable::new(param, message)
}

fn check_members(chat: &Map<String, Value>) -> Result<(), Untranslatable> {
    for (name, value) in chat {
        let is_fine = match name.as_str() {
            _ if value.is_null() => true,
            "parallel_tool_calls" if value == &Value::Bool(false) && tools::has_tools(chat) => {
                return Err(Untranslatable::new(
                    name,
                    "The provider of this model cannot keep it from calling several tools at once.",
                ));
            }
            "parallel_tool_calls" => true,
            "logit_bias" => value.as_object().is_some_and(Map::is_empty),
            "verbosity" => value == "medium",
            name => CARRIED.contains(&name) || HINTS.contains(&name),
        };
        if !is_fine {
            return Err(cannot(name));
        }
    }
    Ok(())
}

/// What Google's own chat endpoint takes beside chat: `extra_body.google`.
fn google(chat: &Map<String, Value>) -> Result<Option<&Map<String, Value>>, Untranslatable> {
    const KNOWN: [&str; 3] = ["thinking_config", "cached_content", "safety_settings"];
    let Some(extra) = present(chat, "extra_body") else { return Ok(None) };
    let Some(extra) = extra.as_object() else { return Err(cannot("extra_body")) };
    if let Some(other) = extra.keys().find(|name| *name != "google") {
        return Err(cannot(format!("extra_body.{other}")));
    }
    let Some(google) = present(extra, "google") else { return Ok(None) };
    let Some(google) = google.as_object() else { return Err(cannot("extra_body.google")) };
    match google.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        Some(other) => Err(cannot(format!("extra_body.google.{other}"))),
        None => Ok(Some(google)),
    }
}

fn service_tier(chat: &Map<String, Value>) -> Result<Option<&str>, Untranslatable> {
    let Some(tier) = present(chat, "service_tier") else { return Ok(None) };
    match tier.as_str() {
        Some("auto" | "default") => Ok(None),
        Some(tier @ ("flex" | "priority")) => Ok(Some(tier)),
        _ => Err(cannot("service_tier")),
    }
}
