//! Whose a model is: what Converse hands on to a model as it is differs from maker to maker.
//!
//! It can only be read from the model's name; behind the ARN of a profile of one's own it is unknown, and
//! what depends on it must be said in the model's own members.

use serde_json::{Map, Value, json};

use super::super::anthropic::thinking;
use super::super::{Brief, Untranslatable};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Claude,
    Nova,
    /// `OpenAI`'s open models.
    GptOss,
    /// `OpenAI`'s other models.
    OpenAi,
    Other,
}

/// The cap that a budget of thinking is a share of, where neither the client nor the catalogue knows one.
const USUAL_CAP: u64 = 4096;

impl Family {
    pub(super) fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        if model.contains("claude") || model.contains("anthropic.") {
            Self::Claude
        } else if model.contains("amazon.nova") {
            Self::Nova
        } else if model.contains("gpt-oss") {
            Self::GptOss
        } else if model.contains("openai.") {
            Self::OpenAi
        } else {
            Self::Other
        }
    }

    /// Where a model takes `top_k`, which Converse has no member for. (AWS, "Model parameters"; for Nova
    /// its user guide, "Request schema".)
    pub(super) fn write_top_k(self, value: &Value, fields: &mut Map<String, Value>) {
        match self {
            Self::Nova => {
                fields.insert("inferenceConfig".to_owned(), json!({ "topK": value }));
            }
            _ => {
                fields.insert("top_k".to_owned(), value.clone());
            }
        }
    }
}

/// Whether a model can be held to a JSON schema (AWS, "Get validated JSON results from models", the list
/// of models). A newer model than that page is taken to.
pub(super) fn answers_by_schema(model: &str) -> bool {
    const WITHOUT: [&str; 5] = ["amazon.", "meta.", "cohere.", "ai21.", "writer."];
    let name = model.to_ascii_lowercase();
    match Family::of(model) {
        Family::Claude => thinking::version(model).is_none_or(|version| version >= (4, 5)),
        Family::Nova => false,
        Family::GptOss | Family::OpenAi | Family::Other => {
            !WITHOUT.iter().any(|maker| {
                name.split_once(maker).is_some_and(|(before, _)| {
                    // A maker's name stands first, or behind the region's alone.
                    before.is_empty() || (before.ends_with('.') && !before.contains(':'))
                })
            })
        }
    }
}

/// Writes how much is thought among a model's own members.
///
/// Claude as at Anthropic itself. Nova has three efforts and takes no cap with the highest ("`maxTokens`
/// must be unset when reasoningConfig type is 'enabled' and maxReasoningEffort is 'high'", its answer to
/// such a call). `OpenAI`'s open models have `reasoning_effort`, its other ones refuse that name and have
/// `reasoning.effort`.
pub(super) fn write_reasoning(
    chat: &Map<String, Value>,
    brief: &Brief<'_>,
    fields: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let family = Family::of(brief.model);
    if family == Family::Claude {
        let cap = brief.output_cap.or(brief.max_output_tokens).unwrap_or(USUAL_CAP);
        return thinking::write(chat, brief.model, cap, fields);
    }
    if let Some(config) = chat.get("output_config").filter(|config| !config.is_null()) {
        fields.insert("output_config".to_owned(), config.clone());
    }
    let Some((param, effort)) = effort(chat)? else { return Ok(()) };
    match family {
        Family::GptOss => {
            fields.insert("reasoning_effort".to_owned(), json!(effort));
        }
        Family::OpenAi => {
            fields.insert("reasoning".to_owned(), json!({ "effort": effort }));
        }
        Family::Nova => {
            let config = nova_reasoning(param, effort, brief)?;
            fields.insert("reasoningConfig".to_owned(), config);
        }
        Family::Other | Family::Claude => {
            return Err(Untranslatable::new(
                param,
                format!(
                    "How much this model thinks is not set by '{param}': \
                     use its own members in 'additionalModelRequestFields'."
                ),
            ));
        }
    }
    Ok(())
}

/// The effort that a call asks for, and the member that says it.
fn effort(chat: &Map<String, Value>) -> Result<Option<(&'static str, &str)>, Untranslatable> {
    let reasoning = chat.get("reasoning").unwrap_or(&Value::Null);
    let (param, effort) = match chat.get("reasoning_effort") {
        Some(effort) if !effort.is_null() => ("reasoning_effort", effort),
        _ => ("reasoning.effort", &reasoning["effort"]),
    };
    match effort {
        Value::String(effort) => Ok(Some((param, effort))),
        Value::Null if !reasoning["max_tokens"].is_null() => Err(Untranslatable::new(
            "reasoning.max_tokens",
            "This model takes no budget for its thinking: use 'reasoning_effort'.",
        )),
        Value::Null => Ok(reasoning["enabled"]
            .as_bool()
            .map(|on| ("reasoning.enabled", if on { "medium" } else { "none" }))),
        _ => Err(Untranslatable::new(param, format!("'{param}' must be a word."))),
    }
}

fn nova_reasoning(param: &str, effort: &str, brief: &Brief<'_>) -> Result<Value, Untranslatable> {
    let effort = match effort {
        "none" => return Ok(json!({ "type": "disabled" })),
        "minimal" | "low" => "low",
        "medium" => "medium",
        "high" | "xhigh" | "max" => "high",
        _ => {
            let message = format!("'{effort}' is not a known effort.");
            return Err(Untranslatable::new(param, message));
        }
    };
    if effort == "high" && brief.output_cap.is_some() {
        return Err(Untranslatable::new(
            param,
            "Nova takes no cap of its output with this effort, and this call has one: \
             ask for 'medium'.",
        ));
    }
    Ok(json!({ "type": "enabled", "maxReasoningEffort": effort }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_read_from_names() {
        for (model, family, by_schema) in [
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Claude, true),
            ("anthropic.claude-3-5-haiku-20241022-v1:0", Family::Claude, false),
            ("global.anthropic.claude-opus-5-5", Family::Claude, true),
            ("amazon.nova-2-lite-v1:0", Family::Nova, false),
            ("eu.amazon.nova-pro-v1:0", Family::Nova, false),
            ("openai.gpt-oss-120b-1:0", Family::GptOss, true),
            ("us.openai.gpt-5.6", Family::OpenAi, true),
            ("us.meta.llama4-scout-17b-instruct-v1:0", Family::Other, false),
            ("qwen.qwen3-32b-v1:0", Family::Other, true),
            (
                "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc",
                Family::Other,
                true,
            ),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
            assert_eq!(answers_by_schema(model), by_schema, "{model}");
        }
    }
}
