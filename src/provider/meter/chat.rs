//! Reads `OpenAI`'s chat, its older completions, embeddings and moderations, and takes out the usage
//! that only we asked for.
//!
//! The hot path of the gateway: one pass over each event, and nothing is copied.

use std::ops::Range;

use super::{Fate, StreamReport};
use crate::domain::usage::{ServiceTier, Usage};
use crate::provider::endpoint::Endpoint;
use crate::provider::json::{self, Cursor, is_truthy, text_bytes};
use crate::provider::kind::Kind;
use crate::provider::sse::Data;
use crate::provider::usage::number::{overwrite, service_tier};
use crate::provider::usage::openai::{Counts, Shape};

#[derive(Debug)]
pub(super) struct Reader {
    kind: Kind,
    endpoint: Endpoint,
    counts: Counts,
    /// What was found where only some kinds put it, for when it is nowhere else.
    fallback: Option<Box<Counts>>,
}

impl Reader {
    pub(super) fn new(kind: Kind, endpoint: Endpoint) -> Self {
        Self { kind, endpoint, counts: Counts::default(), fallback: None }
    }

    /// Reads an event and says what becomes of it.
    pub(super) fn event(
        &mut self,
        data: &Data<'_>,
        hide_usage: bool,
        report: &mut StreamReport,
    ) -> Fate {
        let facts = Facts::read(self, b"delta", &data.text);
        self.note(&facts, report);
        if hide_usage { fate(data, &facts) } else { Fate::Keep }
    }

    /// Reads an answer that is not a stream.
    pub(super) fn whole(&mut self, body: &[u8], report: &mut StreamReport) {
        let facts = Facts::read(self, b"message", body);
        self.note(&facts, report);
    }

    fn note(&mut self, facts: &Facts<'_>, report: &mut StreamReport) {
        report.error |= facts.error;
        report.finished |= facts.finished;
        report.content_bytes = report.content_bytes.saturating_add(facts.content_bytes);
        report.content_events += u64::from(facts.content_bytes > 0);
        overwrite(&mut report.service, facts.service);
        if facts.counts.is_none() && facts.fallback_usage.is_none() {
            return;
        }
        if let Some(counts) = facts.counts {
            self.counts = counts;
        }
        if let Some(usage) = facts.fallback_usage {
            self.fallback.get_or_insert_default().read(&mut Cursor::new(usage));
        }
        report.usage = self.usage();
        report.provider_cost = self.counts.cost(self.kind);
        if facts.service.is_none() {
            overwrite(&mut report.service, self.counts.service);
        }
    }

    fn usage(&self) -> Option<Usage> {
        let of = |counts: &Counts| counts.usage(self.kind, Shape::Chat);
        of(&self.counts).or_else(|| of(self.fallback.as_deref()?))
    }
}

/// An event that is nothing but usage goes; of any other only the usage does. An error is always
/// shown.
fn fate(data: &Data<'_>, facts: &Facts<'_>) -> Fate {
    if facts.counts.is_none() {
        return Fate::Keep;
    }
    if facts.choices == Choices::None && !facts.error {
        return Fate::Drop;
    }
    let cuts = json::cuts(&data.text, &usage_members(&data.text));
    let raw = |cut: Range<usize>| data.raw_offset(cut.start)..data.raw_offset(cut.end);
    Fate::Cut(cuts.into_iter().map(raw).collect())
}

/// Where each usage that is not null stands in an event, with its key.
fn usage_members(text: &[u8]) -> Vec<Range<usize>> {
    let mut members = Vec::new();
    let mut cursor = Cursor::new(text);
    cursor.object(|cursor, key, key_at| {
        let place = cursor.skip_range()?;
        if key == b"usage" && text.get(place.clone())? != b"null" {
            members.push(key_at..place.end);
        }
        Some(())
    });
    members
}

/// What the `choices` of an event are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Choices {
    #[default]
    Absent,
    /// An empty list, or null as some servers write it.
    None,
    Some,
}

/// What one JSON event or answer says.
#[derive(Debug, Default)]
struct Facts<'a> {
    /// The counts with those of its usage, if it has one that is not null.
    counts: Option<Counts>,
    fallback_usage: Option<&'a [u8]>,
    service: Option<ServiceTier>,
    error: bool,
    finished: bool,
    choices: Choices,
    content_bytes: u64,
}

impl<'a> Facts<'a> {
    /// Reads what is known of `text` in one pass; `message` is the member of a choice that holds what
    /// was generated. Text that stops making sense is read so far.
    fn read(reader: &Reader, message: &[u8], text: &'a [u8]) -> Self {
        let mut facts = Self::default();
        let mut cursor = Cursor::new(text);
        cursor.object(|cursor, key, _| match key {
            b"choices" => facts.read_choices(cursor, reader.endpoint, message),
            b"usage" => facts.read_usage(cursor, reader.counts),
            b"x_groq" => cursor.object(|cursor, key, _| {
                let value = cursor.skip()?;
                if key == b"usage" {
                    facts.fallback_usage = Some(value);
                }
                Some(())
            }),
            b"service_tier" => {
                overwrite(&mut facts.service, service_tier(cursor.skip()?));
                Some(())
            }
            b"error" => {
                facts.error |= is_truthy(cursor.skip()?);
                Some(())
            }
            _ => cursor.skip().map(drop),
        });
        facts
    }

    /// Reads a usage on top of `counts`, unless it is null. Inside it may be odd: as long as it has an end,
    /// what could be read of it counts, and so does what stands behind it.
    fn read_usage(&mut self, cursor: &mut Cursor<'a>, mut counts: Counts) -> Option<()> {
        let mut inside = *cursor;
        if cursor.peek()? == b'{' && counts.read(&mut inside).is_some() {
            *cursor = inside;
        } else if cursor.skip()? == b"null" {
            return Some(());
        }
        self.counts = Some(counts);
        Some(())
    }

    fn read_choices(
        &mut self,
        cursor: &mut Cursor<'a>,
        endpoint: Endpoint,
        message: &[u8],
    ) -> Option<()> {
        self.choices = Choices::None;
        if cursor.peek()? != b'[' {
            let value = cursor.skip()?;
            if value != b"null" {
                self.choices = Choices::Some;
            }
            return Some(());
        }
        cursor.array(|cursor| {
            self.choices = Choices::Some;
            cursor.object(|cursor, key, _| {
                if key == b"finish_reason" {
                    self.finished |= cursor.skip()? != b"null";
                    return Some(());
                }
                let count = match endpoint {
                    Endpoint::Chat if key == message => generated(cursor)?,
                    Endpoint::Completions if key == b"text" => text_bytes(cursor)?,
                    _ => cursor.skip().map(|_| 0)?,
                };
                self.content_bytes = self.content_bytes.saturating_add(count);
                Some(())
            })
        })
    }
}

/// Bytes of what was generated in a message or a piece of one.
fn generated(cursor: &mut Cursor<'_>) -> Option<u64> {
    let mut count = 0u64;
    // Some send the same thoughts under both of their names.
    let mut thoughts = 0u64;
    cursor.object(|cursor, key, _| {
        match key {
            b"content" | b"refusal" => count = count.saturating_add(text_bytes(cursor)?),
            b"reasoning" | b"reasoning_content" => thoughts = thoughts.max(text_bytes(cursor)?),
            b"function_call" => count = count.saturating_add(function(cursor)?),
            b"tool_calls" => {
                cursor.array(|cursor| {
                    cursor.object(|cursor, key, _| {
                        match key {
                            b"function" | b"custom" => {
                                count = count.saturating_add(function(cursor)?);
                            }
                            _ => drop(cursor.skip()?),
                        }
                        Some(())
                    })
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Some(())
    })?;
    Some(count.saturating_add(thoughts))
}

fn function(cursor: &mut Cursor<'_>) -> Option<u64> {
    let mut count = 0u64;
    cursor.object(|cursor, key, _| {
        match key {
            b"name" | b"arguments" | b"input" => count = count.saturating_add(text_bytes(cursor)?),
            _ => drop(cursor.skip()?),
        }
        Some(())
    })?;
    Some(count)
}
