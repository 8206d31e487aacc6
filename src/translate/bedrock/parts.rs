//! The parts of a chat message as content blocks, each with the mark for the cache that stands behind it.

use serde_json::{Map, Value, json};

use super::super::Untranslatable;
use super::super::anthropic::missing;
use super::super::thought::Piece;
use super::files::{Files, Kind, audio};

/// A block, and the cache point that follows on it.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) value: Value,
    pub(super) point: Option<Value>,
}

/// Where blocks stand: Converse takes less in some places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    System,
    User,
    Assistant,
    Result,
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::System => "a system prompt",
            Self::User => "a message of the user",
            Self::Assistant => "a message of the assistant",
            Self::Result => "the result of a tool",
        }
    }

    const fn takes(self, kind: Kind) -> bool {
        match self {
            Self::System | Self::Assistant => false,
            Self::User => true,
            Self::Result => !matches!(kind, Kind::Audio),
        }
    }
}

impl Block {
    pub(super) const fn plain(value: Value) -> Self {
        Self { value, point: None }
    }

    pub(super) fn has(&self, member: &str) -> bool {
        self.value.get(member).is_some()
    }

    /// Text that Bedrock would refuse: of a text that is cut at a thought, a piece can be blank.
    pub(super) fn is_blank(&self) -> bool {
        self.value["text"].as_str().is_some_and(|text| text.trim().is_empty())
    }

    /// The block and its cache point, as a list has them.
    pub(super) fn spread(self) -> impl Iterator<Item = Value> {
        std::iter::once(self.value).chain(self.point)
    }
}

impl Piece for Block {
    fn of_text(text: &str) -> Self {
        Self::plain(json!({ "text": text }))
    }

    fn text(&mut self) -> Option<&mut String> {
        self.value.text()
    }
}

/// A mark of Anthropic's for its cache as Converse's block of its own.
pub(super) fn cache_point(marked: &Value) -> Option<Value> {
    let mark = marked.get("cache_control")?.as_object()?;
    let mut point = Map::new();
    point.insert("type".to_owned(), json!("default"));
    if let Some(ttl) = mark.get("ttl").filter(|ttl| ttl.is_string()) {
        point.insert("ttl".to_owned(), ttl.clone());
    }
    Some(json!({ "cachePoint": point }))
}

/// A block of text, if there is any: Bedrock refuses such as are empty or blank, and they say nothing.
pub(super) fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({ "text": text }))
}

/// The content of a message as blocks.
pub(super) fn blocks(
    content: &Value,
    place: Place,
    path: &str,
    files: &mut Files,
) -> Result<Vec<Block>, Untranslatable> {
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(text_block(text).map(Block::plain).into_iter().collect()),
        Value::Array(parts) => {
            let mut blocks = Vec::with_capacity(parts.len());
            for (index, part) in parts.iter().enumerate() {
                let path = format!("{path}[{index}]");
                let Some(value) = block(part, place, &path, files)? else { continue };
                blocks.push(Block { value, point: cache_point(part) });
            }
            Ok(blocks)
        }
        _ => Err(Untranslatable::new(path, format!("'{path}' must be a text or a list of parts."))),
    }
}

fn block(
    part: &Value,
    place: Place,
    path: &str,
    files: &mut Files,
) -> Result<Option<Value>, Untranslatable> {
    let kind = part["type"].as_str().ok_or_else(|| missing(&format!("{path}.type")))?;
    let url = || {
        let member = &part[kind];
        let url = member["url"].as_str().or(member.as_str());
        url.ok_or_else(|| missing(&format!("{path}.{kind}.url")))
    };
    let path = format!("{path}.{kind}");
    let (media, block) = match kind {
        "text" | "refusal" => return Ok(text_block(part[kind].as_str().unwrap_or_default())),
        "image_url" => files.at(url()?, Kind::Image, &path)?,
        "video_url" => files.at(url()?, Kind::Video, &path)?,
        "input_audio" => audio(&part["input_audio"], &path)?,
        "file" => files.file(&part["file"], &path)?,
        other => {
            let message = format!("Parts of the type '{other}' cannot be carried to Bedrock.");
            return Err(Untranslatable::new(path, message));
        }
    };
    if place.takes(media) {
        Ok(Some(block))
    } else {
        let message = format!("Bedrock takes no {} in {}.", media.name(), place.name());
        Err(Untranslatable::new(path, message))
    }
}
