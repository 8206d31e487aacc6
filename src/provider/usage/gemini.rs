//! The counts of Gemini's `usageMetadata`.
//!
//! Cached tokens lie inside the prompt; thoughts lie outside the candidates, and what tools read into
//! the prompt outside the prompt: in every recorded answer the total is the sum of the four. Details
//! tell audio and images apart; what they leave out is text.

use super::number::{count, overwrite};
use super::parts::Parts;
use crate::domain::usage::{Class, ServiceTier, Usage};
use crate::provider::json::Cursor;

/// The counts of one report. Each is whole in itself.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::provider) struct Counts {
    prompt: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    tool_use: Option<u64>,
    cached: Option<u64>,
    total: Option<u64>,
    prompt_details: Details,
    cache_details: Details,
    candidates_details: Details,
    tool_details: Details,
    pub(in crate::provider) service: Option<ServiceTier>,
}

/// Counts by modality.
#[derive(Clone, Copy, Debug, Default)]
struct Details {
    audio: u64,
    image: u64,
}

impl Counts {
    /// Reads a `usageMetadata`; text that stops making sense is read so far.
    pub(in crate::provider) fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.object(|cursor, key, _| {
            let slot = match key {
                b"promptTokenCount" => &mut self.prompt,
                b"candidatesTokenCount" => &mut self.candidates,
                b"thoughtsTokenCount" => &mut self.thoughts,
                b"toolUsePromptTokenCount" => &mut self.tool_use,
                b"cachedContentTokenCount" => &mut self.cached,
                b"totalTokenCount" => &mut self.total,
                b"promptTokensDetails" => return self.prompt_details.read(cursor),
                b"cacheTokensDetails" => return self.cache_details.read(cursor),
                b"candidatesTokensDetails" => return self.candidates_details.read(cursor),
                b"toolUsePromptTokensDetails" => return self.tool_details.read(cursor),
                b"serviceTier" | b"trafficType" => {
                    overwrite(&mut self.service, tier(cursor.skip()?));
                    return Some(());
                }
                _ => return cursor.skip().map(drop),
            };
            overwrite(slot, count(cursor.skip()?));
            Some(())
        })
    }

    /// The counts in disjoint classes; `None` where nothing was counted.
    ///
    /// Where the total is more than everything that is named, the rest is taken for thoughts: it was
    /// counted, and output is the dearest thing it can be.
    pub(in crate::provider) fn usage(&self) -> Option<Usage> {
        self.prompt.or(self.candidates).or(self.thoughts).or(self.total)?;
        let mut usage = Usage::default();
        self.count_input(&mut usage);
        let candidates = self.candidates.unwrap_or(0);
        let image = self.candidates_details.image.min(candidates);
        let audio = self.candidates_details.audio.min(candidates - image);
        usage.set(Class::OutputImage, image);
        usage.set(Class::OutputAudio, audio);
        usage.set(Class::Output, candidates - image - audio);
        let named = [self.prompt.unwrap_or(0), candidates, self.thoughts.unwrap_or(0)];
        let named = named.into_iter().fold(self.tool_use.unwrap_or(0), u64::saturating_add);
        let unnamed = self.total.unwrap_or(0).saturating_sub(named);
        // A total alone is a prompt: where nothing is generated there is nothing else to count.
        let is_prompt = self.prompt.is_none() && candidates == 0 && self.thoughts.is_none();
        let class = if is_prompt { Class::Input } else { Class::Reasoning };
        usage.set(Class::Reasoning, self.thoughts.unwrap_or(0));
        usage.set(class, usage.get(class).saturating_add(unnamed));
        Some(usage)
    }

    fn count_input(&self, usage: &mut Usage) {
        let whole = self.prompt.unwrap_or(0);
        let cached = self.cached.unwrap_or(0).min(whole);
        let (all, cache) = (self.prompt_details, self.cache_details);
        let cached_audio = cache.audio.min(all.audio).min(cached);
        let cached_image = cache.image.min(all.image).min(cached - cached_audio);
        // What the details of the cache do not place, only an overlap does.
        let parts = Parts {
            whole: whole - cached_audio - cached_image,
            cached: cached - cached_audio - cached_image,
            written: 0,
            audio: (all.audio - cached_audio).min(whole - cached_audio - cached_image),
            image: (all.image - cached_image).min(whole - cached_audio - cached_image),
        };
        parts.count(usage);
        let tool_use = self.tool_use.unwrap_or(0);
        let tool_audio = self.tool_details.audio.min(tool_use);
        let tool_image = self.tool_details.image.min(tool_use - tool_audio);
        for (class, more) in [
            (Class::CacheReadAudio, cached_audio),
            (Class::CacheReadImage, cached_image),
            (Class::InputAudio, tool_audio),
            (Class::InputImage, tool_image),
            (Class::Input, tool_use - tool_audio - tool_image),
        ] {
            usage.set(class, usage.get(class).saturating_add(more));
        }
    }
}

impl Details {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        *self = Self::default();
        cursor.array(|cursor| {
            let (mut tokens, mut modality) = (0, &b""[..]);
            cursor.object(|cursor, key, _| {
                let value = cursor.skip()?;
                match key {
                    b"modality" => modality = value,
                    b"tokenCount" => tokens = count(value).unwrap_or(0),
                    _ => {}
                }
                Some(())
            })?;
            let slot = match modality {
                b"\"AUDIO\"" => &mut self.audio,
                b"\"IMAGE\"" => &mut self.image,
                // Video and documents cost what text does.
                _ => return Some(()),
            };
            *slot = slot.saturating_add(tokens);
            Some(())
        })
    }
}

/// The tier named by `serviceTier` (`standard`, `flex`, `priority`) or, at Vertex, by `trafficType`
/// (`ON_DEMAND`, `ON_DEMAND_FLEX`, `ON_DEMAND_PRIORITY`).
fn tier(value: &[u8]) -> Option<ServiceTier> {
    let word = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?.to_ascii_lowercase();
    let word = std::str::from_utf8(&word).ok()?;
    Some(ServiceTier::from_word(word.strip_prefix("on_demand_").unwrap_or(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(report: &str) -> Counts {
        let mut counts = Counts::default();
        counts.read(&mut Cursor::new(report.as_bytes()));
        counts
    }

    #[test]
    fn each_count_is_in_its_class() {
        let detail = |audio: u64, image: u64| {
            format!(
                r#"[{{"modality":"TEXT","tokenCount":1}},{{"modality":"AUDIO","tokenCount":{audio}}},
                {{"modality":"IMAGE","tokenCount":{image}}},{{"modality":"VIDEO","tokenCount":2}}]"#
            )
        };
        let report = format!(
            r#"{{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":30,
            "thoughtsTokenCount":9,"toolUsePromptTokenCount":11,"totalTokenCount":150,
            "promptTokensDetails":{},"cacheTokensDetails":{},"candidatesTokensDetails":{},
            "toolUsePromptTokensDetails":{},"serviceTier":"flex"}}"#,
            detail(20, 30),
            detail(5, 6),
            detail(7, 8),
            detail(1, 2)
        );
        let expected = Usage::default()
            .with(Class::Input, 100 - 40 - 15 - 24 + 8)
            .with(Class::CacheRead, 29)
            .with(Class::CacheReadAudio, 5)
            .with(Class::CacheReadImage, 6)
            .with(Class::InputAudio, 15 + 1)
            .with(Class::InputImage, 24 + 2)
            .with(Class::Output, 15)
            .with(Class::OutputAudio, 7)
            .with(Class::OutputImage, 8)
            .with(Class::Reasoning, 9);
        assert_eq!(counts(&report).usage(), Some(expected));
        assert_eq!(expected.input_tokens() + expected.output_tokens(), 150);
        assert_eq!(counts(&report).service, Some(ServiceTier::Flex));
    }

    #[test]
    fn what_only_the_total_has_is_output_where_there_can_be_some() {
        for (report, input, output) in [
            (r#"{"promptTokenCount":9,"candidatesTokenCount":10,"totalTokenCount":275}"#, 9, 266),
            (r#"{"promptTokenCount":9,"totalTokenCount":9}"#, 9, 0),
            (r#"{"totalTokenCount":9}"#, 9, 0),
            (r#"{"promptTokenCount":9,"candidatesTokenCount":10,"totalTokenCount":3}"#, 9, 10),
        ] {
            let usage = counts(report).usage().expect("usage");
            assert_eq!((usage.input_tokens(), usage.output_tokens()), (input, output), "{report}");
        }
    }

    #[test]
    fn zero_is_a_report_and_nothing_is_not() {
        assert_eq!(counts(r#"{"promptTokenCount":0}"#).usage(), Some(Usage::default()));
        for report in
            ["{}", "null", r#"{"promptTokenCount":null}"#, r#"{"trafficType":"ON_DEMAND"}"#]
        {
            assert_eq!(counts(report).usage(), None, "{report}");
        }
    }

    #[test]
    fn tiers_are_known_by_both_of_their_names() {
        for (text, expected) in [
            ("\"standard\"", Some(ServiceTier::Standard)),
            ("\"PRIORITY\"", Some(ServiceTier::Priority)),
            ("\"ON_DEMAND\"", Some(ServiceTier::Standard)),
            ("\"ON_DEMAND_PRIORITY\"", Some(ServiceTier::Priority)),
            ("\"ON_DEMAND_FLEX\"", Some(ServiceTier::Flex)),
            ("\"PROVISIONED_THROUGHPUT\"", Some(ServiceTier::Standard)),
            ("null", None),
        ] {
            assert_eq!(tier(text.as_bytes()), expected, "{text}");
        }
    }
}
