//! Reads what is not chat: images, speech, transcripts, rerankings.
//!
//! Newer models report tokens; older ones nothing, and are sold by the image, the second, the
//! character, which the answer does not always tell: then the request does. Events are named by their
//! `type`. (`OpenAI`'s API document: `ImageGenCompletedEvent`, `TranscriptTextDoneEvent`,
//! `SpeechAudioDoneEvent`; Cohere's of `rerank`.)

use super::StreamReport;
use crate::domain::usage::{Class, Usage};
use crate::provider::endpoint::Endpoint;
use crate::provider::json::{Cursor, is_truthy, name, text_bytes};
use crate::provider::kind::Kind;
use crate::provider::usage::number::{count, decimal, overwrite};
use crate::provider::usage::openai::{Counts, Shape};

#[derive(Debug)]
pub(super) struct Reader {
    kind: Kind,
    shape: Shape,
    counts: Counts,
    /// `duration` of what was heard, in milliseconds.
    duration_ms: Option<u64>,
    /// `search_units` (Cohere).
    search_units: Option<u64>,
}

/// What one event or answer says.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Debug, Default)]
struct Facts {
    has_counts: bool,
    images: u64,
    /// What was made of what the request left open.
    size: Option<Box<str>>,
    quality: Option<Box<str>>,
    /// Bytes of a piece of text, and of a whole one.
    delta_bytes: u64,
    text_bytes: u64,
    completed: bool,
    ended: bool,
    error: bool,
}

impl Reader {
    pub(super) fn new(kind: Kind, endpoint: Endpoint) -> Self {
        let shape = match endpoint {
            Endpoint::ImageGenerations | Endpoint::ImageEdits => Shape::Images,
            Endpoint::Speech => Shape::Speech,
            Endpoint::Transcriptions | Endpoint::Translations => Shape::Transcript,
            _ => Shape::Responses,
        };
        let counts = Counts::default();
        Self { kind, shape, counts, duration_ms: None, search_units: None }
    }

    pub(super) fn event(&mut self, text: &[u8], report: &mut StreamReport) {
        let mut facts = self.read(text);
        report.content_events += u64::from(facts.delta_bytes > 0);
        // The last event repeats the text of those before it.
        facts.text_bytes = 0;
        // Each image has an event of its own; what ends it need not end the stream.
        facts.images = u64::from(facts.completed && self.shape == Shape::Images);
        report.finished |= facts.completed;
        report.done |= facts.ended;
        self.note(facts, report);
    }

    pub(super) fn whole(&mut self, body: &[u8], report: &mut StreamReport) {
        let facts = self.read(body);
        self.note(facts, report);
    }

    fn note(&self, facts: Facts, report: &mut StreamReport) {
        report.error |= facts.error;
        if self.shape == Shape::Images {
            overwrite(&mut report.chosen.image_size, facts.size);
            overwrite(&mut report.chosen.image_quality, facts.quality);
        }
        report.images = report.images.saturating_add(facts.images);
        let bytes = facts.delta_bytes.saturating_add(facts.text_bytes);
        report.content_bytes = report.content_bytes.saturating_add(bytes);
        if facts.has_counts {
            overwrite(&mut report.usage, self.usage());
            overwrite(&mut report.provider_cost, self.counts.cost(self.kind));
            overwrite(&mut report.service, self.counts.service);
        }
    }

    fn usage(&self) -> Option<Usage> {
        let counted = self.counts.usage(self.kind, self.shape);
        let heard = || Some(Usage::default().with(Class::AudioMillisecond, self.duration_ms?));
        let ranked = || Some(Usage::default().with(Class::Call, self.search_units?));
        counted.or_else(heard).or_else(ranked)
    }

    /// Reads an event or an answer in one pass. Text that stops making sense is read so far.
    fn read(&mut self, text: &[u8]) -> Facts {
        let mut facts = Facts::default();
        let mut cursor = Cursor::new(text);
        cursor.object(|cursor, key, _| {
            match key {
                b"usage" => {
                    facts.has_counts = true;
                    self.counts.read(&mut Cursor::new(cursor.skip()?));
                }
                b"duration" => {
                    facts.has_counts = true;
                    let heard = self.shape == Shape::Transcript;
                    let duration = decimal(cursor.skip()?, 3).filter(|_| heard);
                    overwrite(&mut self.duration_ms, duration);
                }
                b"meta" => {
                    facts.has_counts = true;
                    self.read_meta(cursor)?;
                }
                b"data" => cursor.array(|cursor| {
                    let value = cursor.skip()?;
                    facts.images += u64::from(self.shape == Shape::Images && is_truthy(value));
                    Some(())
                })?,
                b"size" => facts.size = name(cursor.skip()?),
                b"quality" => facts.quality = name(cursor.skip()?),
                b"delta" => facts.delta_bytes = text_bytes(cursor)?,
                b"text" => facts.text_bytes = text_bytes(cursor)?,
                b"error" => facts.error |= is_truthy(cursor.skip()?),
                b"type" => facts.read_type(cursor.skip()?),
                _ => drop(cursor.skip()?),
            }
            Some(())
        });
        facts
    }

    /// Cohere's units: a search unit is what one rerank of a number of documents costs.
    fn read_meta(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.object(|cursor, key, _| match key {
            b"billed_units" => cursor.object(|cursor, key, _| {
                let value = cursor.skip()?;
                if key == b"search_units" {
                    overwrite(&mut self.search_units, count(value));
                }
                Some(())
            }),
            _ => cursor.skip().map(drop),
        })
    }
}

impl Facts {
    fn read_type(&mut self, value: &[u8]) {
        match value {
            b"\"image_generation.completed\"" | b"\"image_edit.completed\"" => {
                self.completed = true;
            }
            b"\"transcript.text.done\"" | b"\"speech.audio.done\"" => {
                self.completed = true;
                self.ended = true;
            }
            b"\"error\"" => self.error = true,
            _ => {}
        }
    }
}
