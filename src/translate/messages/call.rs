//! The members of a messages call as members of a chat call.

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::{tools, turns};

/// The longest id of an end user that `OpenAI` takes, in characters.
const USER_LIMIT: usize = 64;

/// Members that are read by name below.
const ELSEWHERE: [&str; 8] = [
    "system",
    "messages",
    "tools",
    "tool_choice",
    "metadata",
    "thinking",
    "output_config",
    "output_format",
];

/// Members that steer how Anthropic's service works and promise nothing about the answer: how it prunes
/// a long context, what it tells of its cache.
const WITHOUT_EFFECT: [&str; 3] = ["context_management", "diagnostics", "betas"];

/// Members that only Anthropic's service can do, or that mean another thing in chat, unless they have
/// the value that asks for nothing.
const REFUSED: [(&str, &str); 9] = [
    ("container", "null"),
    ("mcp_servers", "[]"),
    ("fallbacks", "[]"),
    ("inference_geo", "null"),
    ("speed", r#""standard""#),
    ("user_profile_id", "null"),
    ("workspace_id", "null"),
    ("n", "1"),
    ("functions", "[]"),
];

pub(super) fn translate(call: &Map<String, Value>) -> Result<Map<String, Value>, Untranslatable> {
    let mut chat = Map::new();
    for (name, value) in call {
        if !value.is_null() && !ELSEWHERE.contains(&name.as_str()) {
            carry(name, value, &mut chat)?;
        }
    }
    if call.get("stream") == Some(&json!(true)) {
        // Anthropic's streams always end with usage.
        chat.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    if let Some(user) = user(call) {
        chat.insert("user".to_owned(), json!(user));
    }
    if let Some(effort) = effort(call) {
        chat.insert("reasoning_effort".to_owned(), json!(effort));
    }
    tools::write(call, &mut chat)?;
    chat.insert("messages".to_owned(), Value::Array(turns::read(call)?));
    Ok(chat)
}

fn carry(name: &str, value: &Value, chat: &mut Map<String, Value>) -> Result<(), Untranslatable> {
    let carried = match name {
        "max_tokens" => ("max_completion_tokens", value.clone()),
        "stop_sequences" => ("stop", value.clone()),
        "service_tier" if *value == "standard_only" => ("service_tier", json!("default")),
        _ if WITHOUT_EFFECT.contains(&name) => return Ok(()),
        _ => match REFUSED.iter().find(|(refused, _)| *refused == name) {
            Some((_, nothing)) if is_written(value, nothing) => return Ok(()),
            Some(_) => {
                let message = format!("'{name}' cannot be carried to this model's provider.");
                return Err(Untranslatable::new(name, message));
            }
            None => (name, value.clone()),
        },
    };
    if carried.0 == "stop" && carried.1.as_array().is_some_and(Vec::is_empty) {
        return Ok(());
    }
    chat.insert(carried.0.to_owned(), carried.1);
    Ok(())
}

fn is_written(value: &Value, written: &str) -> bool {
    serde_json::from_str::<Value>(written).is_ok_and(|written| *value == written)
}

/// The end user's id. One that is too long for chat is hashed: it still tells users apart, and nothing
/// else is done with it.
fn user(call: &Map<String, Value>) -> Option<String> {
    let id = call.get("metadata")?.get("user_id")?.as_str().filter(|id| !id.is_empty())?;
    Some(if id.chars().count() > USER_LIMIT {
        blake3::hash(id.as_bytes()).to_hex().to_string()
    } else {
        id.to_owned()
    })
}

/// How much the model is to think, in chat's words. Where Anthropic's model would decide that itself,
/// the provider's does; that it must not think at all cannot be asked of every model, so it is not.
///
/// A budget is read by its size: the bounds are the ones that other gateways use for the way back.
fn effort(call: &Map<String, Value>) -> Option<&str> {
    let thinking = call.get("thinking").unwrap_or(&Value::Null);
    let said = call.get("output_config").and_then(|config| config["effort"].as_str());
    match (said, thinking["type"].as_str()) {
        (_, Some("disabled")) => None,
        // The highest that chat has a word for.
        (Some("max"), _) => Some("xhigh"),
        (Some(effort), _) => Some(effort),
        (None, Some("enabled")) => Some(match thinking["budget_tokens"].as_u64() {
            Some(0..=2047) => "low",
            Some(2048..=8191) => "medium",
            _ => "high",
        }),
        _ => None,
    }
}
