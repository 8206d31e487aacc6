//! Reads Gemini's `generateContent`, whole and as a stream, and its embeddings.
//!
//! Each `usageMetadata` is whole in itself, and the last is the bill. Before the last it can go back to
//! less, while the model uses a tool, so an answer that broke off is billed by the largest.

use super::StreamReport;
use crate::domain::usage::{Class, Usage};
use crate::provider::json::{Cursor, is_truthy, name, text_bytes};
use crate::provider::usage::gemini::Counts;
use crate::provider::usage::number::overwrite;

#[derive(Debug, Default)]
pub(super) struct Reader {
    last: Option<Usage>,
    largest: Option<Usage>,
    model: Option<Box<str>>,
    /// The most queries that one event had, of searches that ground the answer.
    queries: u64,
    is_grounded: bool,
}

/// What one event or answer says.
#[derive(Debug, Default)]
struct Facts {
    content_bytes: u64,
    queries: u64,
    is_grounded: bool,
    finished: bool,
    error: bool,
}

impl Reader {
    pub(super) fn event(&mut self, text: &[u8], report: &mut StreamReport) {
        let before = report.content_bytes;
        self.whole(text, report);
        report.content_events += u64::from(report.content_bytes > before);
    }

    /// Reads an event or an answer; an error may stand in a list.
    pub(super) fn whole(&mut self, text: &[u8], report: &mut StreamReport) {
        let mut facts = Facts::default();
        let mut cursor = Cursor::new(text);
        match cursor.peek() {
            Some(b'[') => cursor.array(|cursor| self.read(cursor, &mut facts, report)),
            _ => self.read(&mut cursor, &mut facts, report),
        };
        report.error |= facts.error;
        report.finished |= facts.finished;
        report.content_bytes = report.content_bytes.saturating_add(facts.content_bytes);
        self.queries = self.queries.max(facts.queries);
        self.is_grounded |= facts.is_grounded;
        let counted = if report.finished { self.last } else { self.largest };
        if let Some(usage) = counted {
            report.usage = Some(usage.with(Class::WebSearch, self.searches()));
        }
    }

    fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        facts: &mut Facts,
        report: &mut StreamReport,
    ) -> Option<()> {
        cursor.object(|cursor, key, _| {
            match key {
                b"candidates" => cursor.array(|cursor| read_candidate(cursor, facts))?,
                b"usageMetadata" => {
                    let mut counts = Counts::default();
                    counts.read(cursor)?;
                    overwrite(&mut report.service, counts.service);
                    self.count(counts.usage());
                }
                b"modelVersion" => overwrite(&mut self.model, name(cursor.skip()?)),
                // A prompt that is blocked has no candidates, and ends here.
                b"promptFeedback" => cursor.object(|cursor, key, _| {
                    let value = cursor.skip()?;
                    facts.finished |= key == b"blockReason" && is_truthy(value);
                    Some(())
                })?,
                b"error" => facts.error |= is_truthy(cursor.skip()?),
                _ => drop(cursor.skip()?),
            }
            Some(())
        })
    }

    fn count(&mut self, usage: Option<Usage>) {
        let Some(usage) = usage else { return };
        let size = |usage: &Usage| usage.input_tokens().saturating_add(usage.output_tokens());
        self.last = Some(usage);
        if self.largest.is_none_or(|largest| size(&usage) >= size(&largest)) {
            self.largest = Some(usage);
        }
    }

    /// Searches as Google bills them: each query from Gemini 3 on, and before that once for a prompt
    /// that was grounded, however many queries it took. (Google's page on grounding with Google Search,
    /// under pricing.) A model without a name is billed by the query, which is never less; so is one
    /// whose answer is grounded but lists no query, as recorded answers do: at least one was made.
    fn searches(&self) -> u64 {
        let is_older = self.model.as_deref().is_some_and(bills_by_prompt);
        match (self.is_grounded || self.queries > 0, is_older) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => self.queries.max(1),
        }
    }
}

fn bills_by_prompt(model: &str) -> bool {
    let model = model.rsplit('/').next().unwrap_or(model);
    ["gemini-1", "gemini-2"].iter().any(|older| model.starts_with(older))
}

fn read_candidate(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Option<()> {
    cursor.object(|cursor, key, _| {
        match key {
            b"content" => cursor.object(|cursor, key, _| match key {
                b"parts" => cursor.array(|cursor| read_part(cursor, &mut facts.content_bytes)),
                _ => cursor.skip().map(drop),
            })?,
            b"finishReason" => facts.finished |= cursor.skip()? != b"null",
            b"groundingMetadata" => read_grounding(cursor, facts)?,
            _ => drop(cursor.skip()?),
        }
        Some(())
    })
}

/// A part of the content: text, thoughts among it, and calls. An image is no text.
fn read_part(cursor: &mut Cursor<'_>, bytes: &mut u64) -> Option<()> {
    cursor.object(|cursor, key, _| {
        match key {
            b"text" | b"functionCall" | b"executableCode" => {
                *bytes = bytes.saturating_add(text_bytes(cursor)?);
            }
            _ => drop(cursor.skip()?),
        }
        Some(())
    })
}

fn read_grounding(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Option<()> {
    let mut queries = 0u64;
    cursor.object(|cursor, key, _| {
        match key {
            b"webSearchQueries" => cursor.array(|cursor| {
                // A query without words is not charged.
                queries += u64::from(is_truthy(cursor.skip()?));
                Some(())
            })?,
            b"groundingChunks" => facts.is_grounded |= is_truthy(cursor.skip()?),
            _ => drop(cursor.skip()?),
        }
        Some(())
    })?;
    facts.queries = facts.queries.saturating_add(queries);
    Some(())
}
