//! Whether there is more than text in a prompt: images, audio, files, or what is not in the body at all.
//!
//! What does not say that it is text is taken for something else: a bound that is too wide costs a wait,
//! one that is too narrow costs the promise. A key written with escapes is not looked into, for another
//! reader does: it counts as what it may hide.

use super::super::json::Cursor;

/// What is in a prompt beside text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Media {
    /// Images, which are bounded one by one.
    pub(super) images: u64,
    /// Something that only the model's own bound bounds.
    pub(super) other: bool,
    /// Something that is not in the body.
    pub(super) unseen: bool,
}

/// Reads a list of messages, or of `OpenAI`'s items.
pub(super) fn messages(raw: &str, media: &mut Media) {
    // In most calls every content is a text, and then there is nothing to look into.
    if !may_nest(raw.as_bytes()) {
        return;
    }
    let read = Cursor::new(raw.as_bytes()).array(|cursor| message(cursor, media));
    media.other |= read.is_none();
}

/// Reads a content: a text, a part, or a list of them.
pub(super) fn content(raw: &str, media: &mut Media) {
    let read = parts(&mut Cursor::new(raw.as_bytes()), media);
    media.other |= read.is_none();
}

/// Whether a list or an object may be the value of a member, or an item may refer to something.
fn may_nest(raw: &[u8]) -> bool {
    // The list itself and its first message are the value of nothing in it.
    let from = if raw.starts_with(b"[{") { 2 } else { 0 };
    let opens = memchr::memchr2_iter(b'[', b'{', &raw[from..]);
    opens.map(|at| from + at).any(|at| raw[..at].trim_ascii_end().last() == Some(&b':'))
}

fn message(cursor: &mut Cursor<'_>, media: &mut Media) -> Option<()> {
    cursor.object(|cursor, key, _| match key {
        b"content" => parts(cursor, media),
        b"audio" | b"image" | b"images" | b"video" | b"videos" | b"file" | b"files"
        | b"document" | b"documents" | b"attachments" => {
            media.other |= matches!(cursor.skip()?, [b'[' | b'{', ..]);
            Some(())
        }
        key => {
            media.other |= key.contains(&b'\\');
            cursor.skip().map(drop)
        }
    })
}

pub(super) fn parts(cursor: &mut Cursor<'_>, media: &mut Media) -> Option<()> {
    if cursor.peek()? == b'{' {
        return part(cursor, media);
    }
    cursor.array(|cursor| part(cursor, media))
}

/// A part that does not say, once, that it is text or one image is something else.
fn part(cursor: &mut Cursor<'_>, media: &mut Media) -> Option<()> {
    if cursor.peek()? != b'{' {
        return cursor.skip().map(drop);
    }
    let mut kind = None;
    let mut nested = None;
    let mut refers = false;
    cursor.object(|cursor, key, _| {
        let value = cursor.skip()?;
        match key {
            b"type" => media.other |= kind.replace(kind_of(value)).is_some(),
            b"content" => media.other |= nested.replace(value).is_some(),
            b"file_id" => refers |= value != b"null",
            key => media.other |= key.contains(&b'\\'),
        }
        Some(())
    })?;
    media.other |= refers;
    media.unseen |= refers;
    match kind {
        Some(Kind::Text) => {}
        Some(Kind::Image) => media.images += 1,
        Some(Kind::Nested) => {
            if let Some(nested) = nested {
                parts(&mut Cursor::new(nested), media)?;
            }
        }
        Some(Kind::Other) | None => media.other = true,
    }
    Some(())
}

enum Kind {
    Text,
    Image,
    /// A tool's result, whose content is a content again.
    Nested,
    Other,
}

fn kind_of(value: &[u8]) -> Kind {
    match value {
        br#""text""#
        | br#""input_text""#
        | br#""output_text""#
        | br#""refusal""#
        | br#""summary_text""#
        | br#""reasoning_text""#
        | br#""thinking""#
        | br#""redacted_thinking""#
        | br#""tool_use""#
        | br#""server_tool_use""#
        | br#""mcp_tool_use""#
        | br#""search_result""#
        | br#""web_search_tool_result""# => Kind::Text,
        br#""image_url""# | br#""input_image""# | br#""image""# => Kind::Image,
        br#""tool_result""# | br#""mcp_tool_result""# => Kind::Nested,
        _ => Kind::Other,
    }
}
