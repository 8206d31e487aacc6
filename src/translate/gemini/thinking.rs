//! How much a model is to think: `reasoning_effort` as `thinkingConfig`.
//!
//! From the third generation on Gemini takes a level, before that a budget of tokens; the two are
//! refused together. The numbers are those of Google's own chat endpoint (ai.google.dev, "OpenAI
//! compatibility", the table of reasoning efforts). Who says how hard to think is shown the thought, as
//! `reasoning_content`: other dialects' clients wait for it, and it costs nothing more.

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::request::{cannot, present};

pub(super) fn config(
    chat: &Map<String, Value>,
    google: Option<&Map<String, Value>>,
    model: &str,
) -> Result<Option<Value>, Untranslatable> {
    let own = google.and_then(|google| present(google, "thinking_config"));
    let mut config = match own {
        Some(own) => native(own)?,
        None => Map::new(),
    };
    if let Some(effort) = present(chat, "reasoning_effort") {
        let effort = effort.as_str().ok_or_else(|| cannot("reasoning_effort"))?;
        if config.contains_key("thinkingLevel") || config.contains_key("thinkingBudget") {
            return Err(Untranslatable::new(
                "reasoning_effort",
                "`reasoning_effort` and `extra_body.google.thinking_config` both say how much to \
                 think: send one of them.",
            ));
        }
        let (name, value) = by_effort(effort, model)?;
        config.insert(name.to_owned(), value);
        if effort != "none" {
            config.entry("includeThoughts").or_insert(true.into());
        }
    }
    Ok((!config.is_empty()).then(|| config.into()))
}

/// `extra_body.google.thinking_config`, as Google's chat endpoint takes it.
fn native(own: &Value) -> Result<Map<String, Value>, Untranslatable> {
    const PARAM: &str = "extra_body.google.thinking_config";
    let mut config = Map::new();
    for (name, value) in own.as_object().ok_or_else(|| cannot(PARAM))? {
        let theirs = match name.as_str() {
            "include_thoughts" => "includeThoughts",
            "thinking_budget" => "thinkingBudget",
            "thinking_level" => "thinkingLevel",
            _ => return Err(cannot(format!("{PARAM}.{name}"))),
        };
        config.insert(theirs.to_owned(), value.clone());
    }
    Ok(config)
}

fn by_effort(effort: &str, model: &str) -> Result<(&'static str, Value), Untranslatable> {
    let by_level = takes_levels(model);
    if effort == "none" {
        // Only the smaller ones of the second generation can be kept from thinking.
        if by_level || model.contains("pro") {
            return Err(Untranslatable::new(
                "reasoning_effort",
                format!("The model `{model}` cannot be kept from thinking: ask for `low`."),
            ));
        }
        return Ok(("thinkingBudget", 0.into()));
    }
    let level = match effort {
        // Only the smaller models know less than a little.
        "minimal" if model.contains("flash") => "minimal",
        "minimal" | "low" => "low",
        // The first of the third generation knows nothing between.
        "medium" if model.starts_with("gemini-3-pro") => "high",
        "medium" => "medium",
        // The most that all of them know.
        "high" | "xhigh" | "max" => "high",
        _ => return Err(cannot("reasoning_effort")),
    };
    if by_level {
        return Ok(("thinkingLevel", level.into()));
    }
    let budget = match level {
        "minimal" | "low" => json!(1024),
        "medium" => json!(8192),
        _ => json!(24576),
    };
    Ok(("thinkingBudget", budget))
}

/// Whether a model is of the third generation or later; one that does not say it in its name is
/// taken to be of the newest.
pub(super) fn takes_levels(model: &str) -> bool {
    let Some((_, rest)) = model.split_once("gemini-") else { return true };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(..digits).and_then(|digits| digits.parse::<u32>().ok()).is_none_or(|n| n >= 3)
}
