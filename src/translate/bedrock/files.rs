//! Images, documents, video and sound as content blocks: what is inside stays in base64, as it came.
//!
//! Bedrock fetches nothing from the web. It takes what is in the call, or in a bucket of S3. The name of a
//! document must keep to few characters and be the only one of its kind in a call.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::Untranslatable;
use super::super::anthropic::missing;
use super::super::media;

/// The longest name of a document, in characters.
const NAME_LIMIT: usize = 200;

/// The names that documents have got so far.
#[derive(Debug, Default)]
pub(super) struct Files {
    names: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Document,
    Video,
    Audio,
}

/// What is said of a content: by its media type, or by the ending of its name. Then what Converse calls
/// it.
const FORMATS: [(Kind, &str, &[&str]); 29] = [
    (Kind::Image, "png", &["image/png", "png"]),
    (Kind::Image, "jpeg", &["image/jpeg", "image/jpg", "jpeg", "jpg"]),
    (Kind::Image, "gif", &["image/gif", "gif"]),
    (Kind::Image, "webp", &["image/webp", "webp"]),
    (Kind::Document, "pdf", &["application/pdf", "pdf"]),
    (Kind::Document, "csv", &["text/csv", "csv"]),
    (Kind::Document, "doc", &["application/msword", "doc"]),
    (
        Kind::Document,
        "docx",
        &["application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"],
    ),
    (Kind::Document, "xls", &["application/vnd.ms-excel", "xls"]),
    (
        Kind::Document,
        "xlsx",
        &["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"],
    ),
    (Kind::Document, "html", &["text/html", "html", "htm"]),
    (Kind::Document, "md", &["text/markdown", "text/x-markdown", "md"]),
    // JSON and XML are text to a model, and Converse has no name of their own for them.
    (
        Kind::Document,
        "txt",
        &["text/plain", "application/json", "text/xml", "application/xml", "txt", "json", "xml"],
    ),
    (Kind::Video, "mp4", &["video/mp4", "mp4"]),
    (Kind::Video, "mov", &["video/quicktime", "mov"]),
    (Kind::Video, "mkv", &["video/x-matroska", "mkv"]),
    (Kind::Video, "webm", &["video/webm", "webm"]),
    (Kind::Video, "flv", &["video/x-flv", "flv"]),
    (Kind::Video, "mpeg", &["video/mpeg", "mpeg"]),
    (Kind::Video, "mpg", &["mpg"]),
    (Kind::Video, "wmv", &["video/x-ms-wmv", "wmv"]),
    (Kind::Video, "three_gp", &["video/3gpp", "3gp"]),
    (Kind::Audio, "mp3", &["audio/mpeg", "audio/mp3", "mp3"]),
    (Kind::Audio, "wav", &["audio/wav", "audio/x-wav", "audio/wave", "wav"]),
    (Kind::Audio, "flac", &["audio/flac", "flac"]),
    (Kind::Audio, "ogg", &["audio/ogg", "ogg"]),
    (Kind::Audio, "opus", &["audio/opus", "opus"]),
    (Kind::Audio, "aac", &["audio/aac", "aac"]),
    (Kind::Audio, "m4a", &["audio/mp4", "audio/x-m4a", "m4a"]),
];

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Document => "document",
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }

    fn block(self, format: &str, source: &Value) -> Value {
        json!({ self.name(): { "format": format, "source": source } })
    }
}

/// What a media type or an ending stands for. An ending may be of several kinds: the wanted one is
/// looked for first.
fn format(word: &str, wanted: Option<Kind>) -> Option<(Kind, &'static str)> {
    let word = word.trim().to_ascii_lowercase();
    let known = FORMATS.iter().filter(|(_, _, words)| words.contains(&word.as_str()));
    let found = known.min_by_key(|(kind, ..)| wanted.is_some_and(|wanted| wanted != *kind));
    if let Some((kind, name, _)) = found {
        return Some((*kind, name));
    }
    word.starts_with("text/").then_some((Kind::Document, "txt"))
}

fn ending(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, ending)| ending)
}

/// Sound, as chat has it.
pub(super) fn audio(audio: &Value, path: &str) -> Result<(Kind, Value), Untranslatable> {
    let data = audio["data"].as_str().ok_or_else(|| missing(&format!("{path}.data")))?;
    let said = audio["format"].as_str();
    let said = said.ok_or_else(|| missing(&format!("{path}.format")))?;
    let (_, name) = format(said, Some(Kind::Audio))
        .filter(|(kind, _)| *kind == Kind::Audio)
        .ok_or_else(|| unknown(said, &format!("{path}.format")))?;
    Ok((Kind::Audio, Kind::Audio.block(name, &json!({ "bytes": data }))))
}

impl Files {
    /// An address: of data, or in a bucket.
    pub(super) fn at(
        &mut self,
        url: &str,
        wanted: Kind,
        path: &str,
    ) -> Result<(Kind, Value), Untranslatable> {
        self.located(url, None, Some(wanted), path)
    }

    /// A file of chat: data with or without the head of a data URL, or an address.
    pub(super) fn file(
        &mut self,
        file: &Value,
        path: &str,
    ) -> Result<(Kind, Value), Untranslatable> {
        let name = file["filename"].as_str();
        let Some(data) = file["file_data"].as_str() else {
            if file["file_id"].is_string() {
                return Err(Untranslatable::new(
                    format!("{path}.file_id"),
                    "Bedrock keeps no files: send 'file_data'.",
                ));
            }
            return Err(missing(&format!("{path}.file_data")));
        };
        let path = format!("{path}.file_data");
        if media::is_data_url(data) || data.contains("://") {
            return self.located(data, name, None, &path);
        }
        let said = name.and_then(ending).unwrap_or("pdf");
        let (kind, format) =
            format(said, Some(Kind::Document)).ok_or_else(|| unknown(said, &path))?;
        Ok(self.made(kind, format, &json!({ "bytes": data }), name))
    }

    fn located(
        &mut self,
        url: &str,
        name: Option<&str>,
        wanted: Option<Kind>,
        path: &str,
    ) -> Result<(Kind, Value), Untranslatable> {
        if let Some(inline) = media::data_url(url) {
            let (kind, format) = format(inline.media_type, wanted)
                .ok_or_else(|| unknown(inline.media_type, path))?;
            return Ok(self.made(kind, format, &json!({ "bytes": inline.base64 }), name));
        }
        if media::is_data_url(url) {
            let message = format!("The data in '{path}' must be base64.");
            return Err(Untranslatable::new(path, message));
        }
        if !url.starts_with("s3://") {
            return Err(Untranslatable::new(
                path,
                "Bedrock fetches nothing from the web: send a data URL, or an address that begins \
                 with s3://.",
            ));
        }
        let said = ending(url).unwrap_or_default();
        let (kind, format) = format(said, wanted).ok_or_else(|| unknown(said, path))?;
        let own = url.rsplit('/').next();
        Ok(self.made(kind, format, &json!({ "s3Location": { "uri": url } }), name.or(own)))
    }

    fn made(
        &mut self,
        kind: Kind,
        format: &str,
        source: &Value,
        name: Option<&str>,
    ) -> (Kind, Value) {
        let mut block = kind.block(format, source);
        if kind == Kind::Document {
            block["document"]["name"] = json!(self.name(name.unwrap_or_default()));
        }
        (kind, block)
    }

    /// A name that Bedrock takes, made of the file's own: ASCII letters, digits, single spaces, hyphens
    /// and brackets ("The document file name can only contain …", its answer to others).
    fn name(&mut self, file: &str) -> String {
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let plain = stem.chars().map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '(' | ')' | '[' | ']' => c,
            '_' => '-',
            _ => ' ',
        });
        let plain: String = plain.collect();
        let words: Vec<&str> = plain.split_whitespace().collect();
        let mut name: String = words.join(" ").chars().take(NAME_LIMIT - 10).collect();
        name.truncate(name.trim_end().len());
        if name.is_empty() {
            name.push_str("document");
        }
        let mut own = name.clone();
        let mut number = 1_u32;
        while !self.names.insert(own.clone()) {
            number += 1;
            own = format!("{name} ({number})");
        }
        own
    }
}

fn unknown(said: &str, path: &str) -> Untranslatable {
    Untranslatable::new(path, format!("Bedrock takes no content of the type '{said}'."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_documents_keep_to_the_rules_and_apart() {
        let mut files = Files::default();
        for (file, name) in [
            ("report.pdf", "report"),
            ("report.csv", "report (2)"),
            ("John's résumé #1.docx", "John s r sum 1"),
            ("a_b [final] (2).md", "a-b [final] (2)"),
            ("분기보고서.pdf", "document"),
            ("", "document (2)"),
            ("..", "document (3)"),
        ] {
            assert_eq!(files.name(file), name);
        }
        let long = "x".repeat(500);
        assert!(files.name(&long).len() <= NAME_LIMIT);
        assert!(files.name(&long).len() <= NAME_LIMIT);
    }

    #[test]
    fn a_format_is_known_by_type_and_by_ending() {
        assert_eq!(format("image/JPG", None), Some((Kind::Image, "jpeg")));
        assert_eq!(format("text/x-python", None), Some((Kind::Document, "txt")));
        assert_eq!(format("webm", Some(Kind::Video)), Some((Kind::Video, "webm")));
        assert_eq!(format("application/zip", None), None);
        assert_eq!(format("image/tiff", Some(Kind::Image)), None);
    }

    #[test]
    fn what_lies_elsewhere_is_taken_from_a_bucket_only() {
        let mut files = Files::default();
        let block = files.at("s3://b/c/d.PNG", Kind::Image, "p").unwrap().1;
        assert_eq!(block["image"]["source"]["s3Location"]["uri"], "s3://b/c/d.PNG");
        for url in ["https://example.com/a.png", "a.png", "data:image/png,hi", "s3://b/c"] {
            assert_eq!(files.at(url, Kind::Image, "p").unwrap_err().param.unwrap(), "p", "{url}");
        }
    }
}
