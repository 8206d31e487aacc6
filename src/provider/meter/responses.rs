//! Reads `OpenAI`'s responses.
//!
//! The usage stands in the response that ends the stream, which may be completed, incomplete or failed;
//! there is no `[DONE]`. Tools that the provider ran are billed beside the tokens: searches each, and
//! images by tokens of the model that made them. (`OpenAI`'s API document: `ResponseCompletedEvent`,
//! `ResponseIncompleteEvent`, `ResponseFailedEvent`, `ResponseErrorEvent`; recorded streams.)

use std::collections::BTreeMap;

use super::StreamReport;
use crate::domain::price::Wanted;
use crate::domain::usage::{Class, ServiceTier, Usage};
use crate::provider::json::{Cursor, is_truthy, name, text_bytes};
use crate::provider::kind::Kind;
use crate::provider::usage::Extra;
use crate::provider::usage::number::{count, overwrite, service_tier};
use crate::provider::usage::openai::{Counts, Shape};

/// The model that makes images for a response where none is named. (`OpenAI`'s API document, of the
/// tool `image_generation`.)
const IMAGE_MODEL: &str = "gpt-image-1";
/// More sorts of images than one answer has; what is above is counted among those of no known sort.
const MOST_SORTS: usize = 32;

#[derive(Debug)]
pub(super) struct Reader {
    kind: Kind,
    counts: Counts,
    /// What `tool_usage` counts.
    searches: Option<u64>,
    images: ImageTokens,
    image_model: Option<Box<str>>,
    /// Searches and images that were items of their own in the stream.
    done: Items,
}

/// Items of an output that are billed by their number.
#[derive(Clone, Debug, Default)]
struct Items {
    searches: u64,
    images: Images,
    content_bytes: u64,
}

/// Images by the size and the quality that the provider chose.
#[derive(Clone, Debug, Default)]
struct Images(BTreeMap<Sort, u64>);

type Sort = (Option<Box<str>>, Option<Box<str>>);

impl Images {
    fn add(&mut self, sort: Sort, count: u64) {
        let is_known = self.0.len() < MOST_SORTS || self.0.contains_key(&sort);
        let made = self.0.entry(if is_known { sort } else { Sort::default() }).or_default();
        *made = made.saturating_add(count);
    }

    fn take_in(&mut self, other: Self) {
        for (sort, count) in other.0 {
            self.add(sort, count);
        }
    }

    fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// `tool_usage.image_gen`.
#[derive(Clone, Copy, Debug, Default)]
struct ImageTokens {
    input: Option<u64>,
    input_image: Option<u64>,
    output: Option<u64>,
    output_text: Option<u64>,
}

/// What one event or answer says.
#[derive(Debug, Default)]
struct Facts {
    delta_bytes: u64,
    /// The output of a response that is told whole.
    output: Option<Items>,
    /// An item of it that is finished.
    item: Option<Items>,
    service: Option<ServiceTier>,
    has_counts: bool,
    kind: Event,
    error: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Event {
    #[default]
    Other,
    ItemDone,
    End,
}

impl Reader {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            counts: Counts::default(),
            searches: None,
            images: ImageTokens::default(),
            image_model: None,
            done: Items::default(),
        }
    }

    pub(super) fn event(&mut self, text: &[u8], report: &mut StreamReport) {
        let mut facts = Facts::default();
        self.read(&mut Cursor::new(text), &mut facts);
        report.content_events += u64::from(facts.delta_bytes > 0);
        report.content_bytes = report.content_bytes.saturating_add(facts.delta_bytes);
        if let (Event::ItemDone, Some(item)) = (facts.kind, facts.item.take()) {
            self.done.searches = self.done.searches.saturating_add(item.searches);
            self.done.images.take_in(item.images);
        }
        let is_end = facts.kind == Event::End;
        report.done |= is_end;
        report.finished |= is_end;
        self.note(facts, report);
    }

    pub(super) fn whole(&mut self, body: &[u8], report: &mut StreamReport) {
        let mut facts = Facts::default();
        self.read(&mut Cursor::new(body), &mut facts);
        self.note(facts, report);
    }

    fn note(&mut self, facts: Facts, report: &mut StreamReport) {
        report.error |= facts.error;
        overwrite(&mut report.service, facts.service);
        if let Some(output) = facts.output {
            // The whole repeats its pieces.
            report.content_bytes = report.content_bytes.max(output.content_bytes);
            self.done.searches = self.done.searches.max(output.searches);
            if output.images.count() >= self.done.images.count() {
                self.done.images = output.images;
            }
        }
        if !facts.has_counts {
            return;
        }
        let Some(mut usage) = self.counts.usage(self.kind, Shape::Responses) else { return };
        if usage.get(Class::WebSearch) == 0 {
            usage.set(Class::WebSearch, self.searches.unwrap_or(self.done.searches));
        }
        report.usage = Some(usage);
        report.provider_cost = self.counts.cost(self.kind);
        report.extra = self.made_images();
    }

    /// Images by the tokens of the model that made them; by their number, each sort at its own price,
    /// where no tokens are told.
    fn made_images(&self) -> Vec<Extra> {
        let model = || Some(self.image_model.clone().unwrap_or_else(|| IMAGE_MODEL.into()));
        if let Some(usage) = self.images.usage() {
            return vec![Extra { model: model(), usage, wanted: Wanted::default() }];
        }
        let extra = |(sort, count): (&Sort, &u64)| {
            let (image_size, image_quality) = sort.clone();
            let wanted = Wanted { image_size, image_quality, search_context: None };
            Extra { model: model(), usage: Usage::default().with(Class::Image, *count), wanted }
        };
        self.done.images.0.iter().map(extra).collect()
    }

    /// Reads an event, or the response in it, or one that is an answer of its own.
    fn read(&mut self, cursor: &mut Cursor<'_>, facts: &mut Facts) -> Option<()> {
        cursor.object(|cursor, key, _| match key {
            b"response" => cursor.object(|cursor, key, _| self.member(cursor, key, facts)),
            b"type" => {
                match cursor.skip()? {
                    b"\"response.completed\"" | b"\"response.incomplete\"" => {
                        facts.kind = Event::End;
                    }
                    b"\"response.failed\"" => {
                        facts.kind = Event::End;
                        facts.error = true;
                    }
                    b"\"response.output_item.done\"" => facts.kind = Event::ItemDone,
                    b"\"error\"" => facts.error = true,
                    _ => {}
                }
                Some(())
            }
            b"delta" => {
                facts.delta_bytes = text_bytes(cursor)?;
                Some(())
            }
            b"item" => {
                let mut item = Items::default();
                self.read_item(cursor, &mut item)?;
                facts.item = Some(item);
                Some(())
            }
            _ => self.member(cursor, key, facts),
        })
    }

    fn member(&mut self, cursor: &mut Cursor<'_>, key: &[u8], facts: &mut Facts) -> Option<()> {
        match key {
            b"usage" => {
                facts.has_counts = true;
                self.counts.read(&mut Cursor::new(cursor.skip()?));
            }
            b"tool_usage" => self.read_tools(cursor)?,
            b"output" => {
                let mut items = Items::default();
                cursor.array(|cursor| self.read_item(cursor, &mut items))?;
                facts.output = Some(items);
            }
            b"tools" => cursor.array(|cursor| self.read_tool(cursor))?,
            b"service_tier" => overwrite(&mut facts.service, service_tier(cursor.skip()?)),
            b"error" => facts.error |= is_truthy(cursor.skip()?),
            _ => drop(cursor.skip()?),
        }
        Some(())
    }

    fn read_tools(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.object(|cursor, key, _| match key {
            b"web_search" => cursor.object(|cursor, key, _| {
                let value = cursor.skip()?;
                if key == b"num_requests" {
                    overwrite(&mut self.searches, count(value));
                }
                Some(())
            }),
            b"image_gen" => self.images.read(cursor),
            _ => cursor.skip().map(drop),
        })
    }

    /// A tool that the call offered: the one for images may name its model.
    fn read_tool(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let (mut is_images, mut model) = (false, None);
        cursor.object(|cursor, key, _| {
            let value = cursor.skip()?;
            match key {
                b"type" => is_images = value == b"\"image_generation\"",
                b"model" => model = name(value),
                _ => {}
            }
            Some(())
        })?;
        if is_images {
            overwrite(&mut self.image_model, model);
        }
        Some(())
    }

    /// An item of the output. Only a search is charged, not what is read of what it found. (`OpenAI`'s
    /// guide to web search.)
    fn read_item(&mut self, cursor: &mut Cursor<'_>, items: &mut Items) -> Option<()> {
        let (mut is_search, mut is_image, mut opens) = (false, false, false);
        let mut sort = Sort::default();
        let mut bytes = 0u64;
        cursor.object(|cursor, key, _| {
            match key {
                b"type" => {
                    let value = cursor.skip()?;
                    is_search = value == b"\"web_search_call\"";
                    is_image = value == b"\"image_generation_call\"";
                }
                b"action" => cursor.object(|cursor, key, _| {
                    let value = cursor.skip()?;
                    opens |= key == b"type" && value != b"\"search\"";
                    Some(())
                })?,
                b"model" => {
                    let model = name(cursor.skip()?);
                    overwrite(&mut self.image_model, model.filter(|_| is_image));
                }
                b"size" => sort.0 = name(cursor.skip()?),
                b"quality" => sort.1 = name(cursor.skip()?),
                b"content" | b"summary" => cursor.array(|cursor| read_part(cursor, &mut bytes))?,
                b"arguments" | b"name" | b"input" | b"code" => {
                    bytes = bytes.saturating_add(text_bytes(cursor)?);
                }
                _ => drop(cursor.skip()?),
            }
            Some(())
        })?;
        items.searches += u64::from(is_search && !opens);
        if is_image {
            items.images.add(sort, 1);
        }
        items.content_bytes = items.content_bytes.saturating_add(bytes);
        Some(())
    }
}

fn read_part(cursor: &mut Cursor<'_>, bytes: &mut u64) -> Option<()> {
    cursor.object(|cursor, key, _| {
        match key {
            b"text" | b"refusal" => *bytes = bytes.saturating_add(text_bytes(cursor)?),
            _ => drop(cursor.skip()?),
        }
        Some(())
    })
}

impl ImageTokens {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.object(|cursor, key, _| {
            match key {
                b"input_tokens" => overwrite(&mut self.input, count(cursor.skip()?)),
                b"output_tokens" => overwrite(&mut self.output, count(cursor.skip()?)),
                b"input_tokens_details" => detail(cursor, b"image_tokens", &mut self.input_image)?,
                b"output_tokens_details" => detail(cursor, b"text_tokens", &mut self.output_text)?,
                _ => drop(cursor.skip()?),
            }
            Some(())
        })
    }

    /// What was used, if anything was.
    fn usage(&self) -> Option<Usage> {
        let (input, output) = (self.input.unwrap_or(0), self.output.unwrap_or(0));
        if input == 0 && output == 0 {
            return None;
        }
        let image = self.input_image.unwrap_or(0).min(input);
        let text = self.output_text.unwrap_or(0).min(output);
        let usage = Usage::default()
            .with(Class::Input, input - image)
            .with(Class::InputImage, image)
            .with(Class::Output, text)
            .with(Class::OutputImage, output - text);
        Some(usage)
    }
}

fn detail(cursor: &mut Cursor<'_>, wanted: &[u8], slot: &mut Option<u64>) -> Option<()> {
    cursor.object(|cursor, key, _| {
        let value = cursor.skip()?;
        if key == wanted {
            overwrite(slot, count(value));
        }
        Some(())
    })
}
