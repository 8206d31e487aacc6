//! A prompt whose tokens are told as a whole and in parts that may overlap.
//!
//! No token may end up in two classes, and none may be lost.

use crate::domain::usage::{Class, Usage};

/// A prompt of `whole` tokens and what is said of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    pub(super) whole: u64,
    pub(super) cached: u64,
    pub(super) written: u64,
    pub(super) audio: u64,
    pub(super) image: u64,
}

impl Parts {
    /// Sets the prompt's classes. Parts that add up to more than the whole overlap: the tokens that are
    /// in two of them were cached and of the other sort as well.
    pub(super) fn count(self, usage: &mut Usage) {
        let Self { whole, mut cached, written, mut audio, mut image } = self;
        let parts = [cached, written, audio, image].into_iter().fold(0, u64::saturating_add);
        let overlap = parts.saturating_sub(whole);
        let cached_audio = overlap.min(audio).min(cached);
        cached -= cached_audio;
        audio -= cached_audio;
        let cached_image = (overlap - cached_audio).min(image).min(cached);
        cached -= cached_image;
        image -= cached_image;
        let parts = parts.saturating_sub(cached_audio).saturating_sub(cached_image);
        usage.set(Class::CacheRead, cached);
        usage.set(Class::CacheWrite, written);
        usage.set(Class::InputAudio, audio);
        usage.set(Class::CacheReadAudio, cached_audio);
        usage.set(Class::InputImage, image);
        usage.set(Class::CacheReadImage, cached_image);
        usage.set(Class::Input, whole.saturating_sub(parts));
    }
}
