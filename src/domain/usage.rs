//! What a call used, in classes that never overlap, so that nothing is priced twice.
//!
//! A provider's report is mapped here once, by the rules of its kind; absent is not zero.

use std::fmt;

use serde::Serialize;

/// A kind of thing that is counted and priced. Each unit of a call is in exactly one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Class {
    /// Prompt tokens at the full rate: not cached, not audio, not images.
    Input = 0,
    /// Prompt tokens read from the provider's cache.
    CacheRead = 1,
    /// Prompt tokens written to the provider's cache (five minutes, where it distinguishes).
    CacheWrite = 2,
    /// Prompt tokens written to a cache that lasts an hour.
    CacheWrite1h = 3,
    InputAudio = 4,
    CacheReadAudio = 5,
    InputImage = 6,
    CacheReadImage = 7,
    /// Completion tokens that are neither reasoning, audio nor images.
    Output = 8,
    Reasoning = 9,
    OutputAudio = 10,
    OutputImage = 11,
    /// Searches that the provider ran for the call, each.
    WebSearch = 12,
    /// Images made or read, each.
    Image = 13,
    /// Audio, by the thousandth of a second.
    AudioMillisecond = 14,
    /// Text to be spoken, by the character.
    Character = 15,
    /// The call itself, where a provider charges for it; of a reranking each search that it counts as.
    Call = 16,
}

impl Class {
    pub const COUNT: usize = 17;

    pub const ALL: [Self; Self::COUNT] = [
        Self::Input,
        Self::CacheRead,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::InputAudio,
        Self::CacheReadAudio,
        Self::InputImage,
        Self::CacheReadImage,
        Self::Output,
        Self::Reasoning,
        Self::OutputAudio,
        Self::OutputImage,
        Self::WebSearch,
        Self::Image,
        Self::AudioMillisecond,
        Self::Character,
        Self::Call,
    ];

    pub const fn index(self) -> usize {
        self as usize
    }

    pub fn from_index(index: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(index).ok()?).copied()
    }

    /// The class whose rate applies where a price list names none for this one. Cached and written
    /// tokens are prompt tokens first; reasoning is output first.
    pub const fn priced_as(self) -> Option<Self> {
        match self {
            Self::CacheRead | Self::CacheWrite | Self::InputAudio | Self::InputImage => {
                Some(Self::Input)
            }
            Self::CacheWrite1h => Some(Self::CacheWrite),
            Self::CacheReadAudio => Some(Self::InputAudio),
            Self::CacheReadImage => Some(Self::InputImage),
            Self::Reasoning | Self::OutputAudio | Self::OutputImage => Some(Self::Output),
            Self::Input
            | Self::Output
            | Self::WebSearch
            | Self::Image
            | Self::AudioMillisecond
            | Self::Character
            | Self::Call => None,
        }
    }

    /// Whether a unit of this class is a prompt token.
    pub const fn is_input_token(self) -> bool {
        self.index() <= Self::CacheReadImage.index()
    }

    /// Whether a unit of this class is a completion token.
    pub const fn is_output_token(self) -> bool {
        matches!(self, Self::Output | Self::Reasoning | Self::OutputAudio | Self::OutputImage)
    }

    pub const fn is_token(self) -> bool {
        self.is_input_token() || self.is_output_token()
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::InputAudio => "input_audio",
            Self::CacheReadAudio => "cache_read_audio",
            Self::InputImage => "input_image",
            Self::CacheReadImage => "cache_read_image",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::OutputAudio => "output_audio",
            Self::OutputImage => "output_image",
            Self::WebSearch => "web_search",
            Self::Image => "image",
            Self::AudioMillisecond => "audio_ms",
            Self::Character => "character",
            Self::Call => "call",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Counts by class. A count of zero that was reported and one that was not look alike here: whether
/// anything was reported at all is what [`Usage`] in an `Option` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage([u64; Class::COUNT]);

impl Usage {
    pub const fn get(&self, class: Class) -> u64 {
        self.0[class.index()]
    }

    pub const fn set(&mut self, class: Class, count: u64) {
        self.0[class.index()] = count;
    }

    #[must_use]
    pub const fn with(mut self, class: Class, count: u64) -> Self {
        self.set(class, count);
        self
    }

    /// The classes that have a count, in the order of [`Class::ALL`].
    pub fn counted(&self) -> impl Iterator<Item = (Class, u64)> + '_ {
        Class::ALL.into_iter().map(|class| (class, self.get(class))).filter(|(_, count)| *count > 0)
    }

    /// All prompt tokens, cached or not: what a long-context tier is measured by.
    pub fn input_tokens(&self) -> u64 {
        self.sum(Class::is_input_token)
    }

    /// All completion tokens, reasoning included.
    pub fn output_tokens(&self) -> u64 {
        self.sum(Class::is_output_token)
    }

    /// Adds so many of a class.
    pub const fn count(&mut self, class: Class, more: u64) {
        self.set(class, self.get(class).saturating_add(more));
    }

    /// Adds another attempt's counts to these.
    pub fn add(&mut self, other: &Self) {
        for class in Class::ALL {
            self.count(class, other.get(class));
        }
    }

    fn sum(&self, wanted: impl Fn(Class) -> bool) -> u64 {
        self.counted().filter(|(class, _)| wanted(*class)).fold(0, |n, (_, c)| n.saturating_add(c))
    }
}

/// The service tier that the provider says it used; batch prices apply to its batch endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    #[default]
    Standard,
    Batch,
    Flex,
    Priority,
}

impl ServiceTier {
    pub const ALL: [Self; 4] = [Self::Standard, Self::Batch, Self::Flex, Self::Priority];

    /// Reads the word a provider uses; one that names no priced tier is standard.
    pub fn from_word(word: &str) -> Self {
        match word {
            "batch" | "batches" => Self::Batch,
            "flex" => Self::Flex,
            "priority" | "fast" => Self::Priority,
            _ => Self::Standard,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Batch => "batch",
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_in_the_order_of_their_numbers() {
        for (index, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), index);
            assert_eq!(Class::from_index(index as u64), Some(class));
        }
        assert_eq!(Class::from_index(Class::COUNT as u64), None);
    }

    #[test]
    fn sums_cover_each_token_once() {
        let mut usage = Usage::default();
        for class in Class::ALL {
            usage.set(class, 1);
        }
        assert_eq!(usage.input_tokens(), 8);
        assert_eq!(usage.output_tokens(), 4);
        assert_eq!(usage.counted().count(), Class::COUNT);
    }
}
