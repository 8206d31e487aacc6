//! How Gemini is to generate: the members of chat that go into `generationConfig`.

use serde_json::{Map, Value};

use super::super::{Brief, Untranslatable};
use super::request::{cannot, present};

/// Members that only change their name.
const RENAMED: [(&str, &str); 6] = [
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
];

pub(super) fn config(
    chat: &Map<String, Value>,
    brief: &Brief<'_>,
) -> Result<Map<String, Value>, Untranslatable> {
    let mut config = Map::new();
    for (name, theirs) in RENAMED {
        if let Some(value) = present(chat, name) {
            config.insert(theirs.to_owned(), value.clone());
        }
    }
    let asked = present(chat, "max_completion_tokens").or_else(|| present(chat, "max_tokens"));
    if let Some(cap) = brief.output_cap.map(Value::from).or_else(|| asked.cloned()) {
        config.insert("maxOutputTokens".to_owned(), cap);
    }
    if let Some(n) = present(chat, "n").filter(|n| n.as_u64() != Some(1)) {
        config.insert("candidateCount".to_owned(), n.clone());
    }
    if let Some(stop) = stop(chat)? {
        config.insert("stopSequences".to_owned(), stop);
    }
    logprobs(chat, &mut config);
    format(chat, &mut config)?;
    modalities(chat, &mut config)?;
    Ok(config)
}

fn stop(chat: &Map<String, Value>) -> Result<Option<Value>, Untranslatable> {
    match present(chat, "stop") {
        None => Ok(None),
        Some(Value::String(one)) => Ok(Some(vec![one.clone()].into())),
        Some(Value::Array(list)) if list.is_empty() => Ok(None),
        Some(list @ Value::Array(_)) => Ok(Some(list.clone())),
        Some(_) => Err(cannot("stop")),
    }
}

/// `responseLogprobs` says whether, `logprobs` how many others.
fn logprobs(chat: &Map<String, Value>, config: &mut Map<String, Value>) {
    if chat.get("logprobs") != Some(&Value::Bool(true)) {
        return;
    }
    config.insert("responseLogprobs".to_owned(), true.into());
    if let Some(count) = present(chat, "top_logprobs").filter(|count| count.as_u64() != Some(0)) {
        config.insert("logprobs".to_owned(), count.clone());
    }
}

/// A schema goes as it is: `responseJsonSchema` takes JSON Schema (ai.google.dev, "Structured
/// output"). Its name and `strict` have no place and need none: Gemini always keeps to a schema.
fn format(
    chat: &Map<String, Value>,
    config: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let Some(format) = present(chat, "response_format") else { return Ok(()) };
    let kind = format.get("type").and_then(Value::as_str);
    match kind {
        Some("text") => return Ok(()),
        Some("json_object" | "json_schema") => {}
        _ => return Err(cannot("response_format.type")),
    }
    config.insert("responseMimeType".to_owned(), "application/json".into());
    let schema = format.pointer("/json_schema/schema").filter(|schema| !schema.is_null());
    if let Some(schema) = schema.filter(|_| kind == Some("json_schema")) {
        config.insert("responseJsonSchema".to_owned(), schema.clone());
    }
    Ok(())
}

/// Text is what a model answers with if nothing is said; images are asked for as other
/// OpenAI-compatible providers of such models let them be: `modalities` with `image` in it.
fn modalities(
    chat: &Map<String, Value>,
    config: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let Some(asked) = present(chat, "modalities") else { return Ok(()) };
    let Some(asked) = asked.as_array() else { return Err(cannot("modalities")) };
    let mut theirs = Vec::new();
    for (index, modality) in asked.iter().enumerate() {
        theirs.push(match modality.as_str() {
            Some("text") => "TEXT",
            Some("image") => "IMAGE",
            _ => return Err(cannot(format!("modalities[{index}]"))),
        });
    }
    if theirs.contains(&"IMAGE") {
        config.insert("responseModalities".to_owned(), theirs.into());
    }
    Ok(())
}
