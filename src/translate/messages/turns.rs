//! The system prompt and the turns of a messages call as chat messages.
//!
//! A turn of the user can hold the results of several tools beside its text: each result is a message
//! of its own in chat, and stands before the text. Chat's results are text; an image in one follows in
//! the user's message, under a line that says whose it is.

use serde_json::{Map, Value, json};

use super::super::thought::Place;
use super::super::{Untranslatable, media};

pub(super) fn read(call: &Map<String, Value>) -> Result<Vec<Value>, Untranslatable> {
    let mut messages = Vec::new();
    if let Some(system) = call.get("system") {
        messages.extend(said("system", parts(system, "system")?));
    }
    let turns = call.get("messages").and_then(Value::as_array);
    for (index, turn) in turns.ok_or_else(|| missing("messages"))?.iter().enumerate() {
        let path = format!("messages[{index}]");
        let (content, inside) = (&turn["content"], format!("{path}.content"));
        match turn["role"].as_str() {
            Some("user") => user(content, &inside, &mut messages)?,
            Some("assistant") => messages.extend(assistant(content, &inside)?),
            Some("system") => messages.extend(said("system", parts(content, &inside)?)),
            _ => {
                let path = format!("{path}.role");
                let message = format!("'{path}' must be 'user', 'assistant' or 'system'.");
                return Err(Untranslatable::new(path, message));
            }
        }
    }
    Ok(messages)
}

/// A message of one role, if it says anything.
fn said(role: &str, parts: Vec<Value>) -> Option<Value> {
    (!parts.is_empty()).then(|| json!({ "role": role, "content": content(parts) }))
}

/// Parts as content: a single text is written as text.
fn content(mut parts: Vec<Value>) -> Value {
    match parts.as_mut_slice() {
        [Value::Object(part)] if part.len() == 2 && part.contains_key("text") => {
            part.remove("text").unwrap_or_default()
        }
        _ => Value::Array(parts),
    }
}

fn user(content: &Value, path: &str, messages: &mut Vec<Value>) -> Result<(), Untranslatable> {
    let mut rest = Vec::new();
    for (block, path) in blocks(content, path)? {
        if block["type"] == "tool_result" {
            messages.push(result(&block, &path, &mut rest)?);
        } else {
            part(&block, &path, &mut rest)?;
        }
    }
    messages.extend(said("user", rest));
    Ok(())
}

/// A message of role `tool`; what is not text goes to `rest`.
fn result(block: &Value, path: &str, rest: &mut Vec<Value>) -> Result<Value, Untranslatable> {
    let id = block["tool_use_id"].as_str();
    let id = id.ok_or_else(|| missing(&format!("{path}.tool_use_id")))?;
    let inside = match &block["content"] {
        Value::Null => Vec::new(),
        content => parts(content, &format!("{path}.content"))?,
    };
    let (mut text, other): (Vec<Value>, Vec<Value>) =
        inside.into_iter().partition(|part| part["type"] == "text");
    if !other.is_empty() {
        if text.is_empty() {
            text.push(json!({ "type": "text", "text": "The result follows in the next message." }));
        }
        let line = format!("Result of the tool call {id}:");
        rest.push(json!({ "type": "text", "text": line }));
        rest.extend(other);
    }
    let content = if text.is_empty() { json!("") } else { content(text) };
    let mut message = json!({ "role": "tool", "tool_call_id": id, "content": content });
    if let (true, Some(message)) = (block["is_error"] == json!(true), message.as_object_mut()) {
        message.insert("is_error".to_owned(), json!(true));
    }
    copy_cache_control(block, &mut message);
    Ok(message)
}

fn assistant(content_: &Value, path: &str) -> Result<Option<Value>, Untranslatable> {
    let (mut text, mut calls, mut thinking) = (Vec::new(), Vec::new(), Vec::new());
    let mut said = 0;
    for (block, path) in blocks(content_, path)? {
        match block["type"].as_str() {
            Some("text") => {
                part(&block, &path, &mut text)?;
                said += characters(&block);
            }
            Some("tool_use") => calls.push(tool_call(&block, &path)?),
            Some("thinking" | "redacted_thinking") => {
                let mut block = block.into_owned();
                Place { characters: said, calls: calls.len() }.mark(&mut block);
                thinking.push(block);
            }
            other => return Err(unknown(other, &path)),
        }
    }
    if text.is_empty() && calls.is_empty() && thinking.is_empty() {
        return Ok(None);
    }
    let mut message = Map::new();
    message.insert("role".to_owned(), json!("assistant"));
    let content = if text.is_empty() { Value::Null } else { content(text) };
    message.insert("content".to_owned(), content);
    let thoughts: Vec<&str> =
        thinking.iter().filter_map(|block| block["thinking"].as_str()).collect();
    let thoughts = thoughts.concat();
    if !thoughts.is_empty() {
        message.insert("reasoning_content".to_owned(), json!(thoughts));
    }
    for (name, list) in [("thinking_blocks", thinking), ("tool_calls", calls)] {
        if !list.is_empty() {
            message.insert(name.to_owned(), Value::Array(list));
        }
    }
    Ok(Some(Value::Object(message)))
}

/// How much a block of text adds to a message. Blank text does not, as no provider that has thinking of
/// its own takes such a block.
fn characters(block: &Value) -> usize {
    let text = block["text"].as_str().unwrap_or_default();
    if text.trim().is_empty() { 0 } else { text.chars().count() }
}

fn tool_call(block: &Value, path: &str) -> Result<Value, Untranslatable> {
    let id = block["id"].as_str().ok_or_else(|| missing(&format!("{path}.id")))?;
    let name = block["name"].as_str().ok_or_else(|| missing(&format!("{path}.name")))?;
    let arguments = match &block["input"] {
        Value::Null => "{}".to_owned(),
        input => input.to_string(),
    };
    let function = json!({ "name": name, "arguments": arguments });
    let mut call = json!({ "id": id, "type": "function", "function": function });
    copy_cache_control(block, &mut call);
    Ok(call)
}

type Blocks<'a> = Vec<(std::borrow::Cow<'a, Value>, String)>;

/// The blocks of a content, each with its path: a text stands for one block of it.
fn blocks<'a>(content: &'a Value, path: &str) -> Result<Blocks<'a>, Untranslatable> {
    use std::borrow::Cow;
    match content {
        Value::String(text) => {
            Ok(vec![(Cow::Owned(json!({ "type": "text", "text": text })), path.to_owned())])
        }
        Value::Array(blocks) => Ok(blocks
            .iter()
            .enumerate()
            .map(|(index, block)| (Cow::Borrowed(block), format!("{path}[{index}]")))
            .collect()),
        _ => {
            let message = format!("'{path}' must be a text or a list of blocks.");
            Err(Untranslatable::new(path, message))
        }
    }
}

fn parts(content: &Value, path: &str) -> Result<Vec<Value>, Untranslatable> {
    let mut parts = Vec::new();
    for (block, path) in blocks(content, path)? {
        part(&block, &path, &mut parts)?;
    }
    Ok(parts)
}

fn part(block: &Value, path: &str, parts: &mut Vec<Value>) -> Result<(), Untranslatable> {
    if block["citations"]["enabled"] == json!(true) {
        let message = "This model cannot cite: its provider has no citations.";
        return Err(Untranslatable::new(format!("{path}.citations"), message));
    }
    let before = parts.len();
    match block["type"].as_str() {
        Some("text") => {
            let text = block["text"].as_str().unwrap_or_default();
            if !text.is_empty() {
                parts.push(json!({ "type": "text", "text": text }));
            }
        }
        Some("image") => parts.push(image(&block["source"], &format!("{path}.source"))?),
        Some("document") => document(block, path, parts)?,
        Some("search_result") => {
            for name in ["title", "source"] {
                parts.extend(block[name].as_str().map(line));
            }
            parts.extend(self::parts(&block["content"], &format!("{path}.content"))?);
        }
        other => return Err(unknown(other, path)),
    }
    if let Some(last) = parts.get_mut(before..).and_then(<[Value]>::last_mut) {
        copy_cache_control(block, last);
    }
    Ok(())
}

fn line(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn image(source: &Value, path: &str) -> Result<Value, Untranslatable> {
    let url = match source["type"].as_str() {
        Some("base64") => inline(source, path)?,
        Some("url") => {
            source["url"].as_str().ok_or_else(|| missing(&format!("{path}.url")))?.to_owned()
        }
        other => return Err(unknown(other, path)),
    };
    Ok(json!({ "type": "image_url", "image_url": { "url": url } }))
}

/// A document: a PDF as a file, text as text under its title.
fn document(block: &Value, path: &str, parts: &mut Vec<Value>) -> Result<(), Untranslatable> {
    let source = &block["source"];
    let path = format!("{path}.source");
    let title = block["title"].as_str().filter(|title| !title.is_empty());
    let file = match source["type"].as_str() {
        Some("base64") => {
            json!({ "filename": title.unwrap_or("document.pdf"), "file_data": inline(source, &path)? })
        }
        Some("file") => {
            let id = source["file_id"].as_str();
            json!({ "file_id": id.ok_or_else(|| missing(&format!("{path}.file_id")))? })
        }
        Some(kind @ ("text" | "content")) => {
            parts.extend(title.map(line));
            parts.extend(block["context"].as_str().filter(|text| !text.is_empty()).map(line));
            let name = if kind == "text" { "data" } else { "content" };
            parts.extend(self::parts(&source[name], &format!("{path}.{name}"))?);
            return Ok(());
        }
        other => return Err(unknown(other, &path)),
    };
    parts.extend(block["context"].as_str().filter(|text| !text.is_empty()).map(line));
    parts.push(json!({ "type": "file", "file": file }));
    Ok(())
}

fn inline(source: &Value, path: &str) -> Result<String, Untranslatable> {
    let kind = source["media_type"].as_str();
    let kind = kind.ok_or_else(|| missing(&format!("{path}.media_type")))?;
    let data = source["data"].as_str().ok_or_else(|| missing(&format!("{path}.data")))?;
    Ok(media::to_data_url(kind, data))
}

/// Anthropic's marks for its cache go along where they stood.
pub(super) fn copy_cache_control(from: &Value, to: &mut Value) {
    if let (Some(mark), Some(to)) = (from.get("cache_control"), to.as_object_mut())
        && !mark.is_null()
    {
        to.insert("cache_control".to_owned(), mark.clone());
    }
}

pub(super) fn missing(path: &str) -> Untranslatable {
    Untranslatable::new(path, format!("'{path}' is missing."))
}

fn unknown(kind: Option<&str>, path: &str) -> Untranslatable {
    let path = format!("{path}.type");
    match kind {
        Some(kind) => {
            let message = format!("'{kind}' cannot be carried to this model's provider.");
            Untranslatable::new(path, message)
        }
        None => missing(&path),
    }
}
