//! How much a model thinks before it answers.
//!
//! Claude 4.6 and later decide that themselves within an `effort` (`thinking.type: adaptive`); earlier
//! ones are given a budget of tokens (`enabled`), and from 4.7 on a budget is refused
//! (platform.claude.com, "Adaptive thinking" and "Effort"). Which it is can only be read from the
//! model's name. Models of others that are served at such an endpoint are given a budget.

use serde_json::{Map, Value, json};

use super::super::Untranslatable;

/// The smallest budget that Anthropic takes; it must also stay below `max_tokens`.
const LEAST_BUDGET: u64 = 1024;

/// What of the output cap each effort is worth, in percent, where a budget must be named.
const SHARES: [(&str, u64); 6] =
    [("minimal", 10), ("low", 20), ("medium", 50), ("high", 80), ("xhigh", 95), ("max", 95)];

/// What a call says of reasoning, in `reasoning_effort` or in a `reasoning` object.
struct Asked<'a> {
    effort: Option<&'a str>,
    budget: Option<u64>,
    /// Whether the client wants to read it; the model's own default where nothing is said.
    shown: Option<bool>,
}

/// Writes `thinking` and `output_config.effort`. A `thinking` of the client's own stands as it is.
pub(in crate::translate) fn write(
    chat: &Map<String, Value>,
    model: &str,
    max_tokens: u64,
    call: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    if let Some(config) = chat.get("output_config").filter(|config| config.is_object()) {
        call.insert("output_config".to_owned(), config.clone());
    }
    let asked = Asked::read(chat)?;
    let version = version(model);
    let adapts = version.is_some_and(|version| version >= (4, 6));
    if let (true, Some(effort)) = (adapts, asked.effort.filter(|effort| *effort != "none")) {
        // Nothing below `low` exists. Words that a model does not know it refuses itself, by name.
        let effort = if effort == "minimal" { "low" } else { effort };
        set_in_config(call, "effort", json!(effort));
    }
    if call.contains_key("thinking") {
        return Ok(());
    }
    let thinking = match (asked.effort, asked.budget) {
        (Some("none"), _) => Some(json!({ "type": "disabled" })),
        (_, Some(_)) if version.is_some_and(|version| version > (4, 6)) => {
            return Err(Untranslatable::new(
                "reasoning.max_tokens",
                "This model takes no budget for its thinking: use 'reasoning_effort'.",
            ));
        }
        (_, Some(budget)) => Some(json!({ "type": "enabled", "budget_tokens": budget })),
        (Some(_), None) if adapts => Some(adaptive(&asked)),
        (Some(effort), None) => budget(effort, max_tokens)?
            .map(|budget| json!({ "type": "enabled", "budget_tokens": budget })),
        (None, None) => None,
    };
    if let Some(thinking) = thinking {
        call.insert("thinking".to_owned(), thinking);
    }
    Ok(())
}

/// Sets a member of `output_config`, which other members may already be in.
pub(super) fn set_in_config(call: &mut Map<String, Value>, name: &str, value: Value) {
    let config = call.entry("output_config").or_insert_with(|| json!({}));
    if let Some(config) = config.as_object_mut() {
        config.insert(name.to_owned(), value);
    }
}

impl<'a> Asked<'a> {
    fn read(chat: &'a Map<String, Value>) -> Result<Self, Untranslatable> {
        let reasoning = chat.get("reasoning").unwrap_or(&Value::Null);
        let (param, effort) = match chat.get("reasoning_effort") {
            Some(effort) if !effort.is_null() => ("reasoning_effort", effort),
            _ => ("reasoning.effort", &reasoning["effort"]),
        };
        let mut effort = match effort {
            Value::Null => None,
            Value::String(effort) => Some(effort.as_str()),
            _ => return Err(Untranslatable::new(param, format!("'{param}' must be a word."))),
        };
        let budget = reasoning["max_tokens"].as_u64();
        if effort.is_none() && budget.is_none() {
            effort = reasoning["enabled"].as_bool().map(|on| if on { "medium" } else { "none" });
        }
        let shown = reasoning.is_object().then(|| reasoning["exclude"] != json!(true));
        Ok(Self { effort, budget, shown })
    }
}

fn adaptive(asked: &Asked<'_>) -> Value {
    match asked.shown {
        Some(true) => json!({ "type": "adaptive", "display": "summarized" }),
        Some(false) => json!({ "type": "adaptive", "display": "omitted" }),
        None => json!({ "type": "adaptive" }),
    }
}

/// The budget for an effort; `None` where the cap leaves no room for any: to think less than the least
/// is not to think.
fn budget(effort: &str, max_tokens: u64) -> Result<Option<u64>, Untranslatable> {
    let Some((_, percent)) = SHARES.iter().find(|(name, _)| *name == effort) else {
        let message = format!("'{effort}' is not a known effort.");
        return Err(Untranslatable::new("reasoning_effort", message));
    };
    let share = max_tokens / 100 * percent;
    Ok((max_tokens > LEAST_BUDGET).then(|| share.clamp(LEAST_BUDGET, max_tokens - 1)))
}

/// The version in the name of one of Anthropic's models: `claude-opus-4-7`, `claude-3-5-haiku-20241022`,
/// also behind a vendor's prefix.
pub(in crate::translate) fn version(model: &str) -> Option<(u64, u64)> {
    let model = model.to_ascii_lowercase();
    let (_, name) = model.rsplit_once("claude")?;
    let number = |word: &str| if word.len() > 2 { None } else { word.parse::<u64>().ok() };
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    match words.by_ref().find_map(number) {
        Some(major) => Some((major, words.next().and_then(number).unwrap_or(0))),
        // Named without a number, and by its documentation as 4.7 is.
        None => name.contains("mythos").then_some((4, 7)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        for (model, read) in [
            ("claude-opus-4-7", Some((4, 7))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Some((4, 5))),
            ("anthropic/claude-opus-4.6", Some((4, 6))),
            ("claude-3-7-sonnet-latest", Some((3, 7))),
            ("claude-haiku-5-5", Some((5, 5))),
            ("claude-opus-5", Some((5, 0))),
            ("claude-mythos-preview", Some((4, 7))),
            ("claude-latest", None),
            ("kimi-k2", None),
        ] {
            assert_eq!(version(model), read, "{model}");
        }
    }

    #[test]
    fn budgets_stay_between_the_least_and_the_cap() {
        for max_tokens in [1025, 1500, 4096, 64_000, u64::MAX] {
            for (effort, _) in SHARES {
                let budget = budget(effort, max_tokens).unwrap().unwrap();
                assert!((LEAST_BUDGET..max_tokens).contains(&budget), "{effort} of {max_tokens}");
            }
        }
        assert_eq!(budget("high", 1024), Ok(None));
        assert!(budget("vast", 4096).is_err());
    }
}
