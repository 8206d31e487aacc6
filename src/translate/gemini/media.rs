//! Images, sound and files of a message, as Gemini's parts.
//!
//! What comes in the call goes inline. What lies elsewhere goes as `fileData`, which the newer
//! models fetch themselves (ai.google.dev, "File input methods"); Gemini wants to be told of what
//! kind it is, and from here nothing is fetched to find out: the address must say it by its ending.

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::super::media::{DataUrl, data_url, is_data_url};
use super::request::{cannot, present};

/// What an ending of a file's name says of its kind.
const KINDS: [(&str, &str); 19] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("json", "application/json"),
    ("wav", "audio/wav"),
    ("mp3", "audio/mp3"),
    ("ogg", "audio/ogg"),
    ("flac", "audio/flac"),
    ("aac", "audio/aac"),
    ("mp4", "video/mp4"),
];

/// An `image_url` part.
pub(super) fn image(part: &Map<String, Value>, param: &str) -> Result<Value, Untranslatable> {
    let param = format!("{param}.image_url.url");
    // Some clients send the address alone.
    let url = match part.get("image_url") {
        Some(Value::String(url)) => Some(url.as_str()),
        Some(image) => image.get("url").and_then(Value::as_str),
        None => None,
    };
    let url = url.ok_or_else(|| cannot(&*param))?;
    if let Some(inline) = inline(url, &param)? {
        return Ok(inline);
    }
    let is_remote = ["https://", "http://", "gs://"].iter().any(|scheme| url.starts_with(scheme));
    let kind = kind_by_name(url).filter(|kind| is_remote && !kind.starts_with("text/"));
    let kind = kind.ok_or_else(|| {
        Untranslatable::new(
            &*param,
            "The provider of this model must be told of what kind an image is, and this address \
             does not say it by its ending: send the image as a data URL.",
        )
    })?;
    Ok(json!({ "fileData": { "mimeType": kind, "fileUri": url } }))
}

/// An `input_audio` part.
pub(super) fn audio(part: &Map<String, Value>, param: &str) -> Result<Value, Untranslatable> {
    let text = |name: &str| {
        let value = part.get("input_audio").and_then(|audio| audio.get(name));
        value.and_then(Value::as_str).ok_or_else(|| cannot(format!("{param}.input_audio.{name}")))
    };
    let format = text("format")?;
    let kind = KINDS.iter().find(|(ending, kind)| *ending == format && kind.starts_with("audio/"));
    let (_, kind) = kind.ok_or_else(|| cannot(format!("{param}.input_audio.format")))?;
    Ok(json!({ "inlineData": { "mimeType": kind, "data": text("data")? } }))
}

/// A `file` part. A file that was uploaded to another provider cannot be reached.
pub(super) fn file(part: &Map<String, Value>, param: &str) -> Result<Value, Untranslatable> {
    let param = format!("{param}.file");
    let file = part.get("file").and_then(Value::as_object).ok_or_else(|| cannot(&*param))?;
    if present(file, "file_id").is_some() {
        return Err(cannot(format!("{param}.file_id")));
    }
    let param = format!("{param}.file_data");
    let data = file.get("file_data").and_then(Value::as_str).ok_or_else(|| cannot(&*param))?;
    if let Some(inline) = inline(data, &param)? {
        return Ok(inline);
    }
    let name = file.get("filename").and_then(Value::as_str);
    let kind = name.and_then(kind_by_name).ok_or_else(|| {
        Untranslatable::new(&*param, "A file must be a data URL, or its name must say its kind.")
    })?;
    Ok(json!({ "inlineData": { "mimeType": kind, "data": data } }))
}

/// A data URL as a part; nothing where it is no data URL.
fn inline(url: &str, param: &str) -> Result<Option<Value>, Untranslatable> {
    if !is_data_url(url) {
        return Ok(None);
    }
    let DataUrl { media_type, base64 } =
        data_url(url).ok_or_else(|| Untranslatable::new(param, "A data URL must be in base64."))?;
    Ok(Some(json!({ "inlineData": { "mimeType": media_type, "data": base64 } })))
}

/// The kind that the ending of a name or of an address says.
fn kind_by_name(name: &str) -> Option<&'static str> {
    let path = name.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    let is_same = |known: &str| known.eq_ignore_ascii_case(ending);
    KINDS.iter().find(|(known, _)| is_same(known)).map(|(_, kind)| *kind)
}
