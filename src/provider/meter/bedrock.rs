//! Reads Bedrock's Converse: its answers, and its events once they are out of their binary frames.
//!
//! The payload of an event does not say what it is; its name stands in the `event` line. `metadata`
//! comes last and has the usage; what fails ends in `…Exception`. (AWS's reference of
//! `ConverseStreamOutput`.)

use super::StreamReport;
use crate::provider::json::{Cursor, is_truthy, text_bytes};
use crate::provider::usage::bedrock::Counts;
use crate::provider::usage::number::{overwrite, service_tier};

#[derive(Debug, Default)]
pub(super) struct Reader {
    counts: Counts,
}

impl Reader {
    pub(super) fn event(&mut self, name: Option<&str>, text: &[u8], report: &mut StreamReport) {
        let before = report.content_bytes;
        let had_usage = self.read(text, report);
        report.content_events += u64::from(report.content_bytes > before);
        report.done |= had_usage;
        report.error |= name.is_some_and(|name| name.ends_with("Exception") || name == "error");
    }

    pub(super) fn whole(&mut self, body: &[u8], report: &mut StreamReport) {
        self.read(body, report);
    }

    /// Reads an event or an answer, and says whether there was usage in it.
    fn read(&mut self, text: &[u8], report: &mut StreamReport) -> bool {
        let mut has_usage = false;
        let mut bytes = 0u64;
        let mut cursor = Cursor::new(text);
        cursor.object(|cursor, key, _| {
            match key {
                b"usage" => {
                    has_usage = cursor.peek()? == b'{';
                    self.counts.read(cursor)?;
                }
                b"serviceTier" => cursor.object(|cursor, key, _| {
                    let value = cursor.skip()?;
                    if key == b"type" {
                        overwrite(&mut report.service, service_tier(value));
                    }
                    Some(())
                })?,
                b"stopReason" => report.finished |= cursor.skip()? != b"null",
                b"delta" | b"start" => read_block(cursor, &mut bytes)?,
                b"output" => read_output(cursor, &mut bytes)?,
                b"error" => report.error |= is_truthy(cursor.skip()?),
                _ => drop(cursor.skip()?),
            }
            Some(())
        });
        report.content_bytes = report.content_bytes.saturating_add(bytes);
        if has_usage {
            overwrite(&mut report.usage, self.counts.usage());
        }
        has_usage
    }
}

fn read_output(cursor: &mut Cursor<'_>, bytes: &mut u64) -> Option<()> {
    cursor.object(|cursor, key, _| match key {
        b"message" => cursor.object(|cursor, key, _| match key {
            b"content" => cursor.array(|cursor| read_block(cursor, bytes)),
            _ => cursor.skip().map(drop),
        }),
        _ => cursor.skip().map(drop),
    })
}

/// A block of content or a piece of one.
fn read_block(cursor: &mut Cursor<'_>, bytes: &mut u64) -> Option<()> {
    cursor.object(|cursor, key, _| {
        match key {
            b"text" => *bytes = bytes.saturating_add(text_bytes(cursor)?),
            b"toolUse" => cursor.object(|cursor, key, _| {
                match key {
                    b"name" | b"input" => *bytes = bytes.saturating_add(text_bytes(cursor)?),
                    _ => drop(cursor.skip()?),
                }
                Some(())
            })?,
            b"reasoningContent" => read_thought(cursor, bytes)?,
            _ => drop(cursor.skip()?),
        }
        Some(())
    })
}

/// A piece of reasoning is a text; a whole block has it one level deeper.
fn read_thought(cursor: &mut Cursor<'_>, bytes: &mut u64) -> Option<()> {
    let mut text = |cursor: &mut Cursor<'_>, key: &[u8]| {
        match key {
            b"text" => *bytes = bytes.saturating_add(text_bytes(cursor)?),
            _ => drop(cursor.skip()?),
        }
        Some(())
    };
    cursor.object(|cursor, key, _| match key {
        b"reasoningText" => cursor.object(|cursor, key, _| text(cursor, key)),
        _ => text(cursor, key),
    })
}
