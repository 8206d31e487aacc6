//! Reads Anthropic's messages.
//!
//! `message_start` has the prompt's counts and a placeholder of the output's; `message_delta` has
//! cumulative counts that overwrite them. What an event is, its members tell: their order and the
//! `event` line decide nothing.

use super::StreamReport;
use crate::domain::usage::Usage;
use crate::provider::json::{Cursor, is_truthy, text_bytes};
use crate::provider::usage::anthropic::Counts;
use crate::provider::usage::number::overwrite;

#[derive(Debug, Default)]
pub(super) struct Reader {
    counts: Counts,
}

/// What one event or answer says beside its counts.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Debug, Default)]
struct Facts {
    /// Counts that stand at the start of a stream.
    is_start: bool,
    has_usage: bool,
    content_bytes: u64,
    stopped: bool,
    refused: bool,
    ended: bool,
    error: bool,
}

impl Reader {
    pub(super) fn event(&mut self, text: &[u8], report: &mut StreamReport) {
        let mut facts = Facts::default();
        self.read(&mut Cursor::new(text), &mut facts);
        report.content_events += u64::from(facts.content_bytes > 0);
        if facts.has_usage {
            report.usage_of_start = facts.is_start;
        }
        self.note(&facts, report);
    }

    pub(super) fn whole(&mut self, body: &[u8], report: &mut StreamReport) {
        let mut facts = Facts::default();
        self.read(&mut Cursor::new(body), &mut facts);
        self.note(&facts, report);
    }

    fn note(&self, facts: &Facts, report: &mut StreamReport) {
        report.error |= facts.error;
        report.finished |= facts.stopped;
        report.done |= facts.ended;
        report.content_bytes = report.content_bytes.saturating_add(facts.content_bytes);
        if facts.has_usage {
            overwrite(&mut report.usage, self.counts.usage());
            if facts.refused && report.usage.is_some_and(|usage| usage.output_tokens() == 0) {
                // Anthropic does not bill a request that it refuses before it has said anything (its
                // release notes of June 2026).
                report.usage = Some(Usage::default());
            }
            overwrite(&mut report.service, self.counts.service());
            report.extra = self.counts.extra();
            report.served_by = self.counts.served_by();
        }
    }

    /// Reads an event or an answer: the counts of both stand in a `usage`.
    fn read(&mut self, cursor: &mut Cursor<'_>, facts: &mut Facts) -> Option<()> {
        cursor.object(|cursor, key, _| match key {
            b"usage" => self.read_usage(cursor, facts),
            b"message" => {
                facts.is_start = true;
                cursor.object(|cursor, key, _| match key {
                    b"usage" => self.read_usage(cursor, facts),
                    _ => cursor.skip().map(drop),
                })
            }
            b"delta" => read_delta(cursor, facts),
            b"content_block" => read_block(cursor, facts),
            b"content" => cursor.array(|cursor| read_block(cursor, facts)),
            b"stop_reason" => {
                facts.stop(cursor.skip()?);
                Some(())
            }
            b"error" => {
                facts.error |= is_truthy(cursor.skip()?);
                Some(())
            }
            b"type" => {
                match cursor.skip()? {
                    b"\"message_stop\"" => facts.ended = true,
                    b"\"error\"" => facts.error = true,
                    _ => {}
                }
                Some(())
            }
            _ => cursor.skip().map(drop),
        })
    }

    fn read_usage(&mut self, cursor: &mut Cursor<'_>, facts: &mut Facts) -> Option<()> {
        facts.has_usage |= cursor.peek()? == b'{';
        self.counts.read(cursor)
    }
}

impl Facts {
    fn stop(&mut self, reason: &[u8]) {
        self.stopped |= reason != b"null";
        self.refused |= reason == b"\"refusal\"";
    }
}

/// A piece of a block, or what changed in the message.
fn read_delta(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Option<()> {
    cursor.object(|cursor, key, _| {
        match key {
            b"text" | b"thinking" | b"partial_json" => {
                let bytes = text_bytes(cursor)?;
                facts.content_bytes = facts.content_bytes.saturating_add(bytes);
            }
            b"stop_reason" => facts.stop(cursor.skip()?),
            _ => drop(cursor.skip()?),
        }
        Some(())
    })
}

/// A block of content. The results of tools that the provider ran were not generated.
fn read_block(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Option<()> {
    let (mut bytes, mut is_result) = (0u64, false);
    cursor.object(|cursor, key, _| {
        match key {
            b"text" | b"thinking" | b"name" | b"input" => {
                bytes = bytes.saturating_add(text_bytes(cursor)?);
            }
            b"type" => is_result = cursor.skip()?.ends_with(b"_result\""),
            _ => drop(cursor.skip()?),
        }
        Some(())
    })?;
    let said = if is_result { 0 } else { bytes };
    facts.content_bytes = facts.content_bytes.saturating_add(said);
    Some(())
}
