//! The members of a chat call as members of a messages call.
//!
//! The model, the stream and the output cap come from the brief and from nowhere else: what the gateway
//! decided there, a member of the call must not undo.

use serde_json::{Map, Value, json};

use super::super::{Brief, Untranslatable};
use super::{DEFAULT_MAX_TOKENS, thinking, tools, turns};

/// The longest id of an end user that Anthropic takes, in characters.
const USER_ID_LIMIT: usize = 256;

/// Members that are read elsewhere: in the brief, or by name below.
const ELSEWHERE: [&str; 15] = [
    "model",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning",
    "reasoning_effort",
    "output_config",
    "user",
    "safety_identifier",
    "metadata",
];

/// Members that steer how `OpenAI` serves or keeps a call, and promise nothing about its answer: a
/// `seed` is best effort by its own documentation, a `prediction` and the cache's keys save time only.
const WITHOUT_EFFECT: [&str; 7] = [
    "stream_options",
    "store",
    "seed",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
];

/// Members that Anthropic cannot do, unless they have the value that asks for nothing.
const REFUSED: [(&str, &str); 14] = [
    ("n", "1"),
    ("logprobs", "false"),
    ("top_logprobs", "0"),
    ("logit_bias", "{}"),
    ("presence_penalty", "0"),
    ("frequency_penalty", "0"),
    ("modalities", r#"["text"]"#),
    ("verbosity", r#""medium""#),
    ("audio", "null"),
    ("web_search_options", "null"),
    ("functions", "[]"),
    ("function_call", r#""none""#),
    ("moderation", "null"),
    ("models", "null"),
];

pub(super) fn translate(
    chat: &Map<String, Value>,
    brief: &Brief<'_>,
) -> Result<Map<String, Value>, Untranslatable> {
    let max_tokens = brief.output_cap.or(brief.max_output_tokens).unwrap_or(DEFAULT_MAX_TOKENS);
    let mut call = Map::new();
    call.insert("model".to_owned(), json!(brief.model));
    call.insert("max_tokens".to_owned(), json!(max_tokens));
    if brief.stream {
        call.insert("stream".to_owned(), json!(true));
    }
    for (name, value) in chat {
        if !value.is_null() && !ELSEWHERE.contains(&name.as_str()) {
            carry(name, value, &mut call)?;
        }
    }
    if let Some(user) = user_id(chat) {
        call.insert("metadata".to_owned(), json!({ "user_id": user }));
    }
    let turns = turns::read(chat)?;
    thinking::write(chat, brief.model, max_tokens, &mut call)?;
    tools::write(chat, &turns.called, &mut call)?;
    turns.write(&mut call);
    Ok(call)
}

fn carry(name: &str, value: &Value, call: &mut Map<String, Value>) -> Result<(), Untranslatable> {
    let carried = match name {
        "temperature" if value.as_f64().is_some_and(|heat| heat > 1.0) => ("temperature", json!(1)),
        "stop" if value.is_string() => ("stop_sequences", json!([value])),
        "stop" => ("stop_sequences", value.clone()),
        "service_tier" => ("service_tier", json!(service_tier(value)?)),
        _ if WITHOUT_EFFECT.contains(&name) => return Ok(()),
        _ => match REFUSED.iter().find(|(refused, _)| *refused == name) {
            Some((_, nothing)) if asks_for_nothing(value, nothing) => return Ok(()),
            Some(_) => return Err(refusal(name)),
            None => (name, value.clone()),
        },
    };
    call.insert(carried.0.to_owned(), carried.1);
    Ok(())
}

/// Whether a value is the one that is written, numbers by what they are worth.
pub(in crate::translate) fn asks_for_nothing(value: &Value, nothing: &str) -> bool {
    let Ok(nothing) = serde_json::from_str::<Value>(nothing) else { return false };
    match (value.as_f64(), nothing.as_f64()) {
        (Some(value), Some(nothing)) => value.total_cmp(&nothing).is_eq(),
        _ => *value == nothing,
    }
}

fn refusal(name: &str) -> Untranslatable {
    let message = match name {
        "n" => "Anthropic gives one answer to a call: 'n' must be 1.".to_owned(),
        "functions" | "function_call" => {
            format!("'{name}' is not carried to Anthropic: use 'tools' and 'tool_choice'.")
        }
        _ => format!("Anthropic has nothing that does what '{name}' asks for."),
    };
    Untranslatable::new(name, message)
}

/// `OpenAI`'s tiers in Anthropic's words. The others are bought there in another way or not at all.
fn service_tier(value: &Value) -> Result<&'static str, Untranslatable> {
    match value.as_str() {
        Some("auto") => Ok("auto"),
        Some("default" | "standard_only") => Ok("standard_only"),
        _ => Err(Untranslatable::new(
            "service_tier",
            "Anthropic has the service tiers 'auto' and 'default' only.",
        )),
    }
}

/// The end user's id, by whichever of its names it has. One that is too long is hashed: it still tells
/// users apart, and nothing else is done with it.
fn user_id(chat: &Map<String, Value>) -> Option<String> {
    let named = ["user", "safety_identifier"].into_iter().filter_map(|name| chat.get(name));
    let id = named.chain(chat.get("metadata").and_then(|all| all.get("user_id")));
    let id = id.filter_map(Value::as_str).find(|id| !id.is_empty())?;
    Some(if id.chars().count() > USER_ID_LIMIT {
        blake3::hash(id.as_bytes()).to_hex().to_string()
    } else {
        id.to_owned()
    })
}
