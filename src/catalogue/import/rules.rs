//! The rules of price, numbered as in `packaging/catalogue/make.py`: what is believed of a price that
//! somebody else wrote down.

use crate::domain::money::Rate;
use crate::domain::price::{Price, Pricing, Rates};
use crate::domain::usage::{Class, ServiceTier};

/// What a model is for, which decides what it must have a price for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Text,
    Image,
    Embedding,
    Moderation,
    Rerank,
    Transcription,
    Speech,
}

impl Mode {
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "chat" | "responses" | "completion" => Self::Text,
            "image_generation" | "image_edit" => Self::Image,
            "embedding" => Self::Embedding,
            "moderation" => Self::Moderation,
            "rerank" => Self::Rerank,
            "audio_transcription" => Self::Transcription,
            "audio_speech" => Self::Speech,
            _ => return None,
        })
    }
}

/// Makes a pricing of what was written down; the reason where it is not one.
pub(super) fn settle(
    provider: &str,
    model: &str,
    mode: Mode,
    mut price: Price,
) -> Result<Pricing, &'static str> {
    let is_zero = |rates: &Rates| rates.named().all(|(_, rate)| rate == Rate::ZERO);
    let overlays_are_zero = price.overlays.iter().all(|overlay| is_zero(&overlay.rates));
    if is_zero(&price.base) && overlays_are_zero && price.variants.is_empty() {
        let is_own = provider == "ollama" && !model.ends_with("-cloud");
        let is_moderation = provider == "openai" && mode == Mode::Moderation;
        let is_said = !price.base.is_empty();
        return if is_said && (is_own || is_moderation) {
            Ok(Pricing::Free)
        } else if is_said {
            Err("a price of zero is not believed: where it is free, the configuration says so")
        } else {
            Err("it has no price")
        };
    }
    if !is_billable(mode, &price) {
        return Err("it lacks a rate that it cannot be billed without");
    }
    prune(&mut price);
    Ok(Pricing::Priced(price))
}

/// Rule 1: whether a model's own kind of work has a rate.
fn is_billable(mode: Mode, price: &Price) -> bool {
    let has = |class| price.base.get(class).is_some_and(|rate| rate > Rate::ZERO);
    match mode {
        Mode::Text => has(Class::Output) && (has(Class::Input) || has(Class::Call)),
        Mode::Image => has(Class::Image) || has(Class::OutputImage) || !price.variants.is_empty(),
        Mode::Transcription => {
            has(Class::AudioMillisecond) || has(Class::InputAudio) || has(Class::Input)
        }
        Mode::Speech => {
            let speaks = has(Class::Output) || has(Class::OutputAudio);
            has(Class::Character) || (has(Class::Input) && speaks)
        }
        Mode::Embedding | Mode::Moderation | Mode::Rerank => has(Class::Input) || has(Class::Call),
    }
}

fn prune(price: &mut Price) {
    // Rule 2: a zero stays only as the ordinary rate of input or output.
    let base_zero = |class| !matches!(class, Class::Input | Class::Output);
    drop_where(&mut price.base, |class, rate| rate == Rate::ZERO && base_zero(class));
    for overlay in &mut price.overlays {
        drop_where(&mut overlay.rates, |_, rate| rate == Rate::ZERO);
    }
    // Rule 3: to write to a cache never costs less than to read the prompt plainly.
    let ordinary = price.base.get(Class::Input);
    let rates = price.overlays.iter_mut().map(|overlay| &mut overlay.rates);
    for rates in rates.chain([&mut price.base]) {
        let plain = rates.get(Class::Input).or(ordinary).unwrap_or_default();
        let is_write = |class| matches!(class, Class::CacheWrite | Class::CacheWrite1h);
        drop_where(rates, |class, rate| is_write(class) && rate < plain);
    }
    follow(price);
    price.overlays.retain(|overlay| !overlay.rates.is_empty());
    price.overlays.sort_by_key(|o| (tier_order(o.service), o.above_input_tokens));
}

/// Rule 4: a rate equal to that of the class it belongs to, without tiers of its own, follows that
/// class into every tier. Children before parents, so that each is compared with a rate still there.
fn follow(price: &mut Price) {
    for class in Class::ALL.into_iter().rev() {
        let Some(parent) = class.priced_as() else { continue };
        let has_tiers = price.overlays.iter().any(|overlay| overlay.rates.get(class).is_some());
        let own = price.base.get(class);
        if !has_tiers && own.is_some() && own == price.base.get(parent) {
            price.base.unset(class);
        }
    }
}

/// The order of groups in the catalogue.
pub(super) const fn tier_order(service: ServiceTier) -> u8 {
    match service {
        ServiceTier::Standard => 0,
        ServiceTier::Batch => 1,
        ServiceTier::Flex => 2,
        ServiceTier::Priority => 3,
    }
}

fn drop_where(rates: &mut Rates, unwanted: impl Fn(Class, Rate) -> bool) {
    for class in Class::ALL {
        if rates.get(class).is_some_and(|rate| unwanted(class, rate)) {
            rates.unset(class);
        }
    }
}
