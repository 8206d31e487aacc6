//! The parts of a chat message as content blocks.

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::super::media::{self, DataUrl};

/// The content of a message as blocks. Text that is empty or blank is left out: Anthropic refuses such a
/// block, and it says nothing.
pub(super) fn blocks(content: &Value, path: &str) -> Result<Vec<Value>, Untranslatable> {
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(text_block(text).into_iter().collect()),
        Value::Array(parts) => {
            let mut blocks = Vec::with_capacity(parts.len());
            for (index, part) in parts.iter().enumerate() {
                let path = format!("{path}[{index}]");
                let Some(mut block) = block(part, &path)? else { continue };
                copy_cache_control(part, &mut block);
                blocks.push(block);
            }
            Ok(blocks)
        }
        _ => Err(Untranslatable::new(path, format!("'{path}' must be a text or a list of parts."))),
    }
}

/// A block of text, if there is any.
pub(super) fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({ "type": "text", "text": text }))
}

/// Anthropic's marks for its cache stand in chat where they stand there.
pub(super) fn copy_cache_control(from: &Value, to: &mut Value) {
    if let (Some(mark), Some(to)) = (from.get("cache_control"), to.as_object_mut())
        && !mark.is_null()
    {
        to.insert("cache_control".to_owned(), mark.clone());
    }
}

fn block(part: &Value, path: &str) -> Result<Option<Value>, Untranslatable> {
    match part["type"].as_str() {
        Some("text") => Ok(text_block(part["text"].as_str().unwrap_or_default())),
        Some("refusal") => Ok(text_block(part["refusal"].as_str().unwrap_or_default())),
        Some("image_url") => {
            let url = part["image_url"]["url"].as_str().or(part["image_url"].as_str());
            let path = format!("{path}.image_url");
            image(url.ok_or_else(|| missing(&path))?, &path).map(Some)
        }
        Some("file") => file(&part["file"], &format!("{path}.file")).map(Some),
        Some("input_audio") => Err(Untranslatable::new(
            format!("{path}.input_audio"),
            "Anthropic's models take no audio.",
        )),
        Some(other) => Err(Untranslatable::new(
            format!("{path}.type"),
            format!("Parts of the type '{other}' cannot be carried to Anthropic."),
        )),
        None => Err(missing(&format!("{path}.type"))),
    }
}

fn image(url: &str, path: &str) -> Result<Value, Untranslatable> {
    match media::data_url(url) {
        Some(inline) if inline.media_type.starts_with("image/") => Ok(json!({
            "type": "image",
            "source": base64_source(&inline),
        })),
        Some(inline) => document(&inline, path),
        None if media::is_data_url(url) => Err(not_base64(path)),
        None => Ok(json!({ "type": "image", "source": { "type": "url", "url": url } })),
    }
}

/// A file: its content, a link to it, or the id that Anthropic's own store of files gave it.
fn file(file: &Value, path: &str) -> Result<Value, Untranslatable> {
    let name = file["filename"].as_str();
    let mut block = match (file["file_data"].as_str(), file["file_id"].as_str()) {
        (Some(data), _) => file_data(data, name, &format!("{path}.file_data"))?,
        (None, Some(id)) => {
            json!({ "type": "document", "source": { "type": "file", "file_id": id } })
        }
        (None, None) => return Err(missing(&format!("{path}.file_data"))),
    };
    if let (Some(name), Some("document")) = (name, block["type"].as_str())
        && let Some(block) = block.as_object_mut()
    {
        block.insert("title".to_owned(), json!(name));
    }
    Ok(block)
}

fn file_data(data: &str, name: Option<&str>, path: &str) -> Result<Value, Untranslatable> {
    if let Some(inline) = media::data_url(data) {
        return if inline.media_type.starts_with("image/") {
            image(data, path)
        } else {
            document(&inline, path)
        };
    }
    if media::is_data_url(data) {
        return Err(not_base64(path));
    }
    if data.starts_with("https://") || data.starts_with("http://") {
        return Ok(json!({ "type": "document", "source": { "type": "url", "url": data } }));
    }
    let ending = name.and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    let media_type = match ending.map(str::to_ascii_lowercase).as_deref() {
        None | Some("pdf") => "application/pdf",
        Some("txt" | "md" | "csv" | "json" | "xml" | "html") => "text/plain",
        Some(ending) => return Err(no_such_document(ending, path)),
    };
    document(&DataUrl { media_type, base64: data }, path)
}

fn document(inline: &DataUrl<'_>, path: &str) -> Result<Value, Untranslatable> {
    let media_type = inline.media_type.to_ascii_lowercase();
    if media_type == "application/pdf" {
        return Ok(json!({ "type": "document", "source": base64_source(inline) }));
    }
    if !media_type.starts_with("text/") && media_type != "application/json" {
        return Err(no_such_document(&media_type, path));
    }
    let text = media::text_of(inline.base64).ok_or_else(|| not_base64(path))?;
    let source = json!({ "type": "text", "media_type": "text/plain", "data": text });
    Ok(json!({ "type": "document", "source": source }))
}

fn base64_source(inline: &DataUrl<'_>) -> Value {
    let media_type = inline.media_type.to_ascii_lowercase();
    // A name that is often seen and that Anthropic does not know.
    let media_type = if media_type == "image/jpg" { "image/jpeg" } else { &media_type };
    let mut source = Map::new();
    source.insert("type".to_owned(), json!("base64"));
    source.insert("media_type".to_owned(), json!(media_type));
    source.insert("data".to_owned(), json!(inline.base64));
    Value::Object(source)
}

pub(in crate::translate) fn missing(path: &str) -> Untranslatable {
    Untranslatable::new(path, format!("'{path}' is missing."))
}

fn not_base64(path: &str) -> Untranslatable {
    Untranslatable::new(path, format!("The data in '{path}' must be base64, of text in UTF-8."))
}

fn no_such_document(kind: &str, path: &str) -> Untranslatable {
    let message = format!("Anthropic takes PDF and text as documents, not '{kind}'.");
    Untranslatable::new(path, message)
}
