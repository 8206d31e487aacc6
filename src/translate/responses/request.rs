//! A call of the responses endpoint as a chat call: which member goes where, and which cannot go.

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::{cannot, input, present, tools};

/// Members that are read one by one.
const READ: [&str; 11] = [
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "max_output_tokens",
    "top_logprobs",
    "include",
    "truncation",
];

/// Members that are left out: storing is answered with `"store": false`, the rest says how a stream is
/// padded and how often tools may be called that are refused anyway.
const HINTS: [&str; 3] = ["store", "stream_options", "max_tool_calls"];

/// Members that need what only `OpenAI` keeps or runs.
const REFUSED: [&str; 8] = [
    "previous_response_id",
    "conversation",
    "prompt",
    "background",
    "background_options",
    "context_management",
    "access_programs",
    "image",
];

/// Members of chat that a call of this endpoint must not smuggle in: its price was reckoned without.
const OF_CHAT: [&str; 8] = [
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "response_format",
    "functions",
    "function_call",
    "logprobs",
];

pub(super) fn request(call: &Map<String, Value>) -> Result<Map<String, Value>, Untranslatable> {
    let mut chat = Map::new();
    for (name, value) in call {
        let is_empty = value.is_null() || (name == "background" && value == &Value::Bool(false));
        let name = name.as_str();
        if is_empty || READ.contains(&name) || HINTS.contains(&name) {
            continue;
        }
        if REFUSED.contains(&name) {
            return Err(cannot(name));
        }
        if OF_CHAT.contains(&name) {
            let message = format!("`{name}` is no member of this endpoint's calls.");
            return Err(Untranslatable::new(name, message));
        }
        // The rest has the same name in chat, or is the provider's own and travels on.
        chat.insert(name.to_owned(), value.clone());
    }
    chat.insert("messages".to_owned(), input::messages(call)?.into());
    if call.get("stream") == Some(&Value::Bool(true)) {
        chat.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    if let Some(cap) = present(call, "max_output_tokens") {
        chat.insert("max_completion_tokens".to_owned(), cap.clone());
    }
    tools::put(call, &mut chat)?;
    text(call, &mut chat)?;
    reasoning(call, &mut chat)?;
    logprobs(call, &mut chat)?;
    match call.get("truncation") {
        None | Some(Value::Null) => {}
        Some(word) if word == "disabled" => {}
        Some(_) => return Err(cannot("truncation")),
    }
    Ok(chat)
}

/// `text`: the shape of the answer and how wordy it is.
fn text(call: &Map<String, Value>, chat: &mut Map<String, Value>) -> Result<(), Untranslatable> {
    let Some(text) = present(call, "text") else { return Ok(()) };
    let Some(text) = text.as_object() else { return Err(cannot("text")) };
    if let Some(verbosity) = present(text, "verbosity") {
        chat.insert("verbosity".to_owned(), verbosity.clone());
    }
    if let Some(other) = text.keys().find(|name| !["format", "verbosity"].contains(&name.as_str()))
    {
        return Err(cannot(format!("text.{other}")));
    }
    let Some(format) = present(text, "format") else { return Ok(()) };
    let theirs = match format.get("type").and_then(Value::as_str) {
        Some("text") => return Ok(()),
        Some("json_object") => json!({ "type": "json_object" }),
        Some("json_schema") => {
            let mut schema = format.as_object().cloned().unwrap_or_default();
            schema.shift_remove("type");
            json!({ "type": "json_schema", "json_schema": schema })
        }
        _ => return Err(cannot("text.format.type")),
    };
    chat.insert("response_format".to_owned(), theirs);
    Ok(())
}

/// Chat knows how hard to think and has no summaries: what a provider shows of its thought comes
/// whether or not one was asked for.
fn reasoning(
    call: &Map<String, Value>,
    chat: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    let Some(reasoning) = present(call, "reasoning") else { return Ok(()) };
    let Some(reasoning) = reasoning.as_object() else { return Err(cannot("reasoning")) };
    for (name, value) in reasoning {
        match name.as_str() {
            _ if value.is_null() => {}
            "effort" => {
                chat.insert("reasoning_effort".to_owned(), value.clone());
            }
            "summary" | "generate_summary" => {}
            "context" if value == "auto" => {}
            "mode" if value == "standard" => {}
            _ => return Err(cannot(format!("reasoning.{name}"))),
        }
    }
    Ok(())
}

/// `include` and `top_logprobs`. What else can be included belongs to tools that are refused, or is
/// in every answer.
fn logprobs(
    call: &Map<String, Value>,
    chat: &mut Map<String, Value>,
) -> Result<(), Untranslatable> {
    const LOGPROBS: &str = "message.output_text.logprobs";
    const OTHERS: [&str; 7] = [
        "reasoning.encrypted_content",
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
    ];
    let mut is_asked = false;
    let include = present(call, "include").map(|include| include.as_array().ok_or(include));
    let include = include.transpose().map_err(|_| cannot("include"))?;
    for (index, word) in include.into_iter().flatten().enumerate() {
        match word.as_str() {
            Some(LOGPROBS) => is_asked = true,
            Some(word) if OTHERS.contains(&word) => {}
            _ => return Err(cannot(format!("include[{index}]"))),
        }
    }
    if let Some(count) = present(call, "top_logprobs").filter(|count| count.as_u64() != Some(0)) {
        is_asked = true;
        chat.insert("top_logprobs".to_owned(), count.clone());
    }
    if is_asked {
        chat.insert("logprobs".to_owned(), true.into());
    }
    Ok(())
}
