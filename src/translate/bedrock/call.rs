//! The members of a chat call as members of a Converse call.
//!
//! The output cap comes from the brief and from nowhere else: what the gateway decided there, a member of
//! the call must not undo, nor one that is handed on to the model.

use serde_json::{Map, Value, json};

use super::super::anthropic::asks_for_nothing;
use super::super::{Brief, Untranslatable};
use super::family::{self, Family};
use super::{tools, turns};

/// Members that are read elsewhere: in the brief, or by name below.
const ELSEWHERE: [&str; 16] = [
    "model",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "messages",
    "cache_control",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning",
    "reasoning_effort",
    "output_config",
    "top_k",
    "additionalModelRequestFields",
    "service_tier",
];

/// Members that steer how `OpenAI` serves or keeps a call, and promise nothing about its answer: a
/// `seed` is best effort by its own documentation, the end user's id is for `OpenAI` to tell its abusers
/// apart.
const WITHOUT_EFFECT: [&str; 9] = [
    "stream_options",
    "store",
    "seed",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "user",
    "safety_identifier",
];

/// Members that Converse cannot do, unless they have the value that asks for nothing.
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

/// Members of Converse's own that a client may give.
const OWN: [&str; 5] = [
    "guardrailConfig",
    "performanceConfig",
    "requestMetadata",
    "additionalModelResponseFieldPaths",
    "promptVariables",
];

/// What models call the cap of their output, or the number of their answers.
const CAPS: [&str; 10] = [
    "max_tokens",
    "maxTokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "max_gen_len",
    "maxTokenCount",
    "n",
    "num_generations",
    "numResults",
];

/// What becomes a call.
#[derive(Default)]
struct Call {
    inference: Map<String, Value>,
    /// What is handed on to the model.
    fields: Map<String, Value>,
    own: Map<String, Value>,
}

pub(super) fn translate(
    chat: &Map<String, Value>,
    brief: &Brief<'_>,
) -> Result<Map<String, Value>, Untranslatable> {
    let mut turns = turns::read(chat)?;
    let mut call = Call::default();
    if let Some(cap) = brief.output_cap {
        call.inference.insert("maxTokens".to_owned(), json!(cap));
    }
    for (name, value) in chat {
        if !value.is_null() && !ELSEWHERE.contains(&name.as_str()) {
            call.carry(name, value)?;
        }
    }
    call.service_tier(chat.get("service_tier").unwrap_or(&Value::Null))?;
    if let Some(top_k) = chat.get("top_k").filter(|value| !value.is_null()) {
        Family::of(brief.model).write_top_k(top_k, &mut call.fields);
    }
    family::write_reasoning(chat, brief, &mut call.fields)?;
    call.additional(chat.get("additionalModelRequestFields").unwrap_or(&Value::Null))?;
    let tools = tools::read(chat, brief, &mut call.fields)?;
    check_caps(&call.fields)?;
    if tools.config.is_none() {
        turns.tell_tools();
    }
    if let Some(mark) = chat.get("cache_control") {
        turns.mark_last(mark);
    }
    let mut body = turns.write();
    for (name, members) in
        [("inferenceConfig", call.inference), ("additionalModelRequestFields", call.fields)]
    {
        if !members.is_empty() {
            body.insert(name.to_owned(), Value::Object(members));
        }
    }
    for (name, value) in [("toolConfig", tools.config), ("outputConfig", tools.output)] {
        body.extend(value.map(|value| (name.to_owned(), value)));
    }
    body.extend(call.own);
    Ok(body)
}

impl Call {
    fn carry(&mut self, name: &str, value: &Value) -> Result<(), Untranslatable> {
        match name {
            // Converse's ends at 1.
            "temperature" if value.as_f64().is_some_and(|heat| heat > 1.0) => {
                self.inference.insert(name.to_owned(), json!(1));
            }
            "temperature" => {
                self.inference.insert(name.to_owned(), value.clone());
            }
            "top_p" => {
                self.inference.insert("topP".to_owned(), value.clone());
            }
            "stop" => {
                let list = if value.is_string() { json!([value]) } else { value.clone() };
                self.inference.insert("stopSequences".to_owned(), list);
            }
            "metadata" => self.metadata(value)?,
            "requestMetadata" if value.is_object() => {
                self.request_metadata(value.as_object().into_iter().flatten());
            }
            _ if WITHOUT_EFFECT.contains(&name) => {}
            _ if OWN.contains(&name) => {
                self.own.insert(name.to_owned(), value.clone());
            }
            _ => match REFUSED.iter().find(|(refused, _)| *refused == name) {
                Some((_, nothing)) if asks_for_nothing(value, nothing) => {}
                Some(_) => return Err(refusal(name)),
                None => {
                    self.fields.insert(name.to_owned(), value.clone());
                }
            },
        }
        Ok(())
    }

    /// Both are pairs to find a call by in a log; Converse's have fewer characters.
    fn metadata(&mut self, value: &Value) -> Result<(), Untranslatable> {
        let pairs = value.as_object().filter(|pairs| pairs.len() <= 16);
        let pairs = pairs.filter(|pairs| {
            pairs.iter().all(|(name, value)| {
                !name.is_empty() && is_metadata(name) && value.as_str().is_some_and(is_metadata)
            })
        });
        let Some(pairs) = pairs else {
            return Err(Untranslatable::new(
                "metadata",
                "Bedrock takes at most 16 pairs of texts as metadata, each of at most 256 ASCII \
                 letters, digits, spaces and the characters :_@$#=/+,-.",
            ));
        };
        self.request_metadata(pairs);
        Ok(())
    }

    fn request_metadata<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a String, &'a Value)>) {
        for (name, value) in pairs {
            let all = self.own.entry("requestMetadata").or_insert_with(|| json!({}));
            all[name] = value.clone();
        }
    }

    fn service_tier(&mut self, value: &Value) -> Result<(), Untranslatable> {
        match value.as_str() {
            None if value.is_null() => {}
            Some("auto") => {}
            Some(tier @ ("default" | "priority" | "flex" | "reserved")) => {
                self.own.insert("serviceTier".to_owned(), json!({ "type": tier }));
            }
            _ => {
                return Err(Untranslatable::new(
                    "service_tier",
                    "Bedrock has the service tiers 'default', 'priority', 'flex' and 'reserved'.",
                ));
            }
        }
        Ok(())
    }

    /// What the client hands on to the model itself; it stands before what was made of other members.
    fn additional(&mut self, value: &Value) -> Result<(), Untranslatable> {
        match value {
            Value::Null => Ok(()),
            Value::Object(fields) => {
                self.fields.extend(fields.clone());
                Ok(())
            }
            _ => Err(Untranslatable::new(
                "additionalModelRequestFields",
                "'additionalModelRequestFields' must be an object.",
            )),
        }
    }
}

fn is_metadata(text: &str) -> bool {
    let is_taken =
        |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c);
    text.len() <= 256 && text.chars().all(is_taken)
}

/// Refuses a cap among what is handed on to the model, also where Nova has it, one level deeper.
fn check_caps(fields: &Map<String, Value>) -> Result<(), Untranslatable> {
    let nested = fields.iter().flat_map(|(_, value)| value.as_object().into_iter().flatten());
    let own = fields.keys().find(|name| CAPS.contains(&name.as_str()));
    let deeper = nested.map(|(name, _)| name).find(|name| name.eq_ignore_ascii_case("maxtokens"));
    match own.or(deeper) {
        None => Ok(()),
        Some(name) => Err(Untranslatable::new(
            format!("additionalModelRequestFields.{name}"),
            format!("The output is capped by 'max_tokens' alone, not by the model's own '{name}'."),
        )),
    }
}

fn refusal(name: &str) -> Untranslatable {
    let message = match name {
        "n" => "Bedrock gives one answer to a call: 'n' must be 1.".to_owned(),
        "functions" | "function_call" => {
            format!("'{name}' is not carried to Bedrock: use 'tools' and 'tool_choice'.")
        }
        _ => format!("Bedrock's Converse has nothing that does what '{name}' asks for."),
    };
    Untranslatable::new(name, message)
}
