//! What a call is charged, from what its answer told and what was asked: one rule for every wire.
//!
//! An unknown amount is never taken for zero: it is estimated, and where nothing can be estimated from,
//! the whole hold is charged. Nor is an unknown price: the dearest that is known of its kind stands in
//! for it, first from the model's own list, then from the others, and where nobody knows any, the whole
//! hold is charged.

use std::sync::Arc;

use super::endpoint::Endpoint;
use super::meter::StreamReport;
use super::request::Call;
use super::usage::{AnswerReport, Extra};
use crate::domain::money::{Money, Rate};
use crate::domain::price::{Bill, Line, Pricing, Wanted};
use crate::domain::receipt::Metered;
use crate::domain::usage::{Class, ServiceTier, Usage};

/// About how many bytes of text are a token, for what a provider did not count.
const BYTES_PER_TOKEN: u64 = 4;
/// Audio of 128 kbit/s, as recordings to be transcribed usually have at most, where its length is not
/// told.
const AUDIO_BYTES_PER_MS: u64 = 16;
/// What a second of audio comes to where a model counts it: what transcription is said to cost for a
/// minute, by its price of a token.
const AUDIO_TOKENS_PER_SECOND: u64 = 17;
/// Tokens of speech were measured at about 1.3 for each character; a little more is taken.
const SPEECH_TOKENS_PER_TWO_CHARACTERS: u64 = 3;

/// What was asked for, where an answer may not tell what it comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub prompt_bytes: u64,
    /// Of text to be spoken.
    pub characters: u64,
    /// Of audio to be heard.
    pub audio_bytes: u64,
    /// To be made.
    pub images: u64,
    /// What of it decides prices.
    pub wanted: Wanted,
}

/// What of a call decides the price of one of something.
pub fn wanted(call: &Call) -> Wanted {
    let word = |text: &Option<String>| text.as_deref().map(Into::into);
    Wanted {
        image_size: word(&call.image_size),
        image_quality: word(&call.image_quality),
        search_context: word(&call.search_context),
    }
}

/// What an answer told about itself, in so far as it came.
#[derive(Clone, Debug, Default)]
pub struct Metering {
    usage: Option<Usage>,
    extra: Vec<Extra>,
    served_by: Option<Box<str>>,
    pub service: ServiceTier,
    provider_cost: Option<Money>,
    content_bytes: u64,
    content_events: u64,
    images: u64,
    /// What the provider chose of what the request left open.
    chosen: Wanted,
    /// What was generated is not in the usage, or not all of it.
    usage_is_early: bool,
    /// The answer came to its end.
    is_whole: bool,
    /// The answer could not be read, so what it used is anybody's guess.
    unreadable: bool,
}

impl From<&StreamReport> for Metering {
    fn from(report: &StreamReport) -> Self {
        let is_whole = report.done || report.finished;
        let output = report.usage.map_or(0, |usage| usage.output_tokens());
        // Some servers send zeros with each event until the last.
        let is_early = !is_whole && output == 0 && report.content_bytes > 0;
        Self {
            usage: report.usage,
            extra: report.extra.clone(),
            served_by: report.served_by.clone(),
            service: report.service.unwrap_or_default(),
            provider_cost: report.provider_cost,
            content_bytes: report.content_bytes,
            content_events: report.content_events,
            images: report.images,
            chosen: report.chosen.clone(),
            usage_is_early: report.usage_of_start || is_early,
            is_whole,
            unreadable: report.overflow,
        }
    }
}

impl From<&AnswerReport> for Metering {
    fn from(report: &AnswerReport) -> Self {
        Self {
            usage: report.usage,
            extra: report.extra.clone(),
            served_by: report.served_by.clone(),
            service: report.service.unwrap_or_default(),
            provider_cost: report.provider_cost,
            content_bytes: report.content_bytes,
            images: report.images,
            chosen: report.chosen.clone(),
            is_whole: true,
            ..Self::default()
        }
    }
}

impl Metering {
    /// Of an answer in an encoding that the meter does not read.
    pub fn unreadable() -> Self {
        Self { unreadable: true, ..Self::default() }
    }
}

/// What a call is charged by.
pub struct Terms<'a> {
    /// What the provider was called at.
    pub endpoint: Endpoint,
    pub asked: &'a Asked,
    /// The price of the model that was called.
    pub pricing: &'a Arc<Pricing>,
    /// The price of another model of the same provider, where it is known.
    pub other_price: &'a dyn Fn(&str) -> Option<Arc<Pricing>>,
    /// The dearest rate of a class that is known of any model, and whose it is.
    pub dearest: &'a dyn Fn(Class) -> Option<(Rate, Arc<str>)>,
    /// What the provider says that it charged counts instead.
    pub prefer_provider_cost: bool,
    /// What was set aside for the call.
    pub held: Money,
}

/// What became of a call at its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never reached it.
    NotSent,
    /// It was answered with an error.
    Refused,
    Answered,
}

/// What a call used and costs. In this order:
///
/// 1. Counting tokens costs nothing.
/// 2. What the provider reported, at the tier that it says it served; or the cost that it reported.
/// 3. Where it reported only the prompt before the answer broke off: that, and what came of the answer
///    by its bytes.
/// 4. Nothing, where it refused, or was never asked.
/// 5. What the request tells, for what is sold by the character, the image or the second.
/// 6. The whole hold, where the answer cannot be read.
/// 7. The prompt and what came of the answer, by their bytes.
pub fn charge(terms: &Terms<'_>, metering: &Metering, fate: Fate) -> (Bill, Metered) {
    let is_free = matches!(terms.endpoint, Endpoint::CountTokens | Endpoint::GeminiCountTokens);
    if is_free {
        return (Bill::default(), Metered::Nothing);
    }
    if let Some(usage) = terms.reported(metering) {
        let is_exact = !metering.usage_is_early;
        let usage = if is_exact { usage } else { terms.completed(usage, metering) };
        let mut bill = terms.price(&usage, metering);
        if let Some(cost) = metering.provider_cost {
            bill.note_provider_cost(cost, terms.prefer_provider_cost);
        }
        terms.cover_gaps(&mut bill);
        return (bill, if is_exact { Metered::Reported } else { Metered::Estimated });
    }
    let came = metering.content_bytes > 0 || metering.images > 0;
    if fate == Fate::NotSent || (fate == Fate::Refused && !came) {
        return (Bill::default(), Metered::Nothing);
    }
    let bill = match terms.estimate(metering) {
        Some(usage) => {
            let mut bill = terms.price(&usage, metering);
            terms.cover_gaps(&mut bill);
            bill
        }
        None => Bill { cost: terms.held, ..Bill::default() },
    };
    (bill, Metered::Estimated)
}

impl Terms<'_> {
    /// What was reported, where the price list can charge it: models of images, speech and transcripts
    /// are sold by tokens or by something else, and some report tokens though they are not sold by them.
    fn reported(&self, metering: &Metering) -> Option<Usage> {
        let usage = metering.usage?;
        let may_differ = matches!(
            self.endpoint,
            Endpoint::ImageGenerations
                | Endpoint::ImageEdits
                | Endpoint::Speech
                | Endpoint::Transcriptions
                | Endpoint::Translations
        );
        let is_priced = |(class, _): (Class, u64)| self.has_rate(class);
        let fits = !may_differ || usage.counted().all(is_priced);
        // Of a recording its length alone may be told, and its tokens sold.
        let is_estimate =
            || self.by_unit(metering).is_some() || self.heard_in_tokens(metering).is_some();
        (fits || !is_estimate()).then_some(usage)
    }

    /// The milliseconds of audio that were reported where the list sells tokens instead.
    fn heard_in_tokens(&self, metering: &Metering) -> Option<u64> {
        let heard = metering.usage?.get(Class::AudioMillisecond);
        let by_token = !self.has_rate(Class::AudioMillisecond) && self.has_rate(Class::InputAudio);
        (heard > 0 && by_token).then_some(heard)
    }

    /// A usage that was told before the answer was, with what came of the answer.
    fn completed(&self, usage: Usage, metering: &Metering) -> Usage {
        let mut usage = usage;
        if usage.input_tokens() == 0 {
            usage.set(Class::Input, self.asked.prompt_bytes.div_ceil(BYTES_PER_TOKEN));
        }
        let missing = output_tokens(metering).saturating_sub(usage.output_tokens());
        usage.set(Class::Output, usage.get(Class::Output).saturating_add(missing));
        usage
    }

    /// `None` where there is nothing to estimate from.
    fn estimate(&self, metering: &Metering) -> Option<Usage> {
        if let Some(usage) = self.by_unit(metering) {
            return Some(usage);
        }
        let input = self.asked.prompt_bytes.div_ceil(BYTES_PER_TOKEN);
        let by_bytes = || {
            let output = output_tokens(metering);
            Usage::default().with(Class::Input, input).with(Class::Output, output)
        };
        match self.endpoint {
            Endpoint::Speech if self.asked.characters > 0 => {
                let spoken = self.asked.characters.saturating_mul(SPEECH_TOKENS_PER_TWO_CHARACTERS);
                let text = self.asked.characters.div_ceil(BYTES_PER_TOKEN);
                let usage = Usage::default().with(Class::Input, text);
                Some(usage.with(Class::OutputAudio, spoken.div_ceil(2)))
            }
            // What an image comes to in tokens, nobody knows but who made it.
            Endpoint::ImageGenerations | Endpoint::ImageEdits | Endpoint::Speech => None,
            _ if metering.unreadable => None,
            Endpoint::Transcriptions | Endpoint::Translations if self.asked.audio_bytes > 0 => {
                let heard = self.heard_in_tokens(metering).unwrap_or_else(|| self.heard_ms());
                let heard = heard.saturating_mul(AUDIO_TOKENS_PER_SECOND);
                Some(by_bytes().with(Class::InputAudio, heard.div_ceil(1_000)))
            }
            _ => Some(by_bytes()),
        }
    }

    /// What is sold by something else than tokens, where the price list does so.
    fn by_unit(&self, metering: &Metering) -> Option<Usage> {
        let (class, count) = match self.endpoint {
            Endpoint::ImageGenerations | Endpoint::ImageEdits => {
                // An image that was begun is made to its end, whoever still waits for it.
                let asked = if metering.is_whole { 0 } else { self.asked.images.max(1) };
                (Class::Image, metering.images.max(asked))
            }
            Endpoint::Speech if self.asked.characters > 0 => {
                (Class::Character, self.asked.characters)
            }
            Endpoint::Transcriptions | Endpoint::Translations if self.asked.audio_bytes > 0 => {
                (Class::AudioMillisecond, self.heard_ms())
            }
            _ => return None,
        };
        self.has_rate(class).then(|| Usage::default().with(class, count))
    }

    const fn heard_ms(&self) -> u64 {
        self.asked.audio_bytes.div_ceil(AUDIO_BYTES_PER_MS)
    }

    fn has_rate(&self, class: Class) -> bool {
        // Whatever an unknown price is counted by, it comes to the same.
        self.pricing.is_unknown() || self.pricing.prices(class, &self.asked.wanted)
    }

    /// Prices the usage and what it leaves out, each at its own model's price and by its own size; the
    /// sum is rounded once. A model without a known price has that of the one that was called: there
    /// is no better guess, and none of it is given away.
    fn price(&self, usage: &Usage, metering: &Metering) -> Bill {
        let (model, pricing) = self.list_of(metering.served_by.as_deref());
        let wanted = self.asked.wanted.or(&metering.chosen);
        let mut bill = pricing.bill(usage, metering.service, &wanted);
        for line in &mut bill.lines {
            line.model.clone_from(&model);
        }
        for extra in &metering.extra {
            let (model, pricing) = self.list_of(extra.model.as_deref());
            let (usage, wanted) = (&extra.usage, &extra.wanted);
            pricing.add_to(&mut bill, model.as_ref(), usage, metering.service, wanted);
        }
        bill
    }

    /// Charges what no list that applies has a price for. A model without any is one that only who has
    /// no limit may call: its lines stay as they are, and say so.
    fn cover_gaps(&self, bill: &mut Bill) {
        let is_settled = bill.provider_cost.is_some_and(|cost| cost.counts);
        if self.pricing.is_unknown() || is_settled || !bill.lines.iter().any(Line::is_gap) {
            return;
        }
        bill.fill_gaps(self.dearest);
        if bill.lines.iter().any(Line::is_gap) {
            bill.cost = bill.cost.max(self.held);
        }
    }

    /// The price list of a model, and its name where it is another than the one that was called.
    fn list_of(&self, model: Option<&str>) -> (Option<Arc<str>>, Arc<Pricing>) {
        let other = model.and_then(|model| Some((model, (self.other_price)(model)?)));
        match other.filter(|(_, pricing)| !pricing.is_unknown()) {
            Some((model, pricing)) => (Some(model.into()), pricing),
            None => (None, Arc::clone(self.pricing)),
        }
    }
}

/// About how many tokens came: never fewer than events that brought text.
fn output_tokens(metering: &Metering) -> u64 {
    metering.content_bytes.div_ceil(BYTES_PER_TOKEN).max(metering.content_events)
}

#[cfg(test)]
mod tests;
