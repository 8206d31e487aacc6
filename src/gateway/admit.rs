//! Whether a call may be made: what it takes of the key's rates, what it can cost at most, and the
//! hold for that. A call that is refused leaves nothing behind.

use std::sync::Arc;

use actix_web::web;
use bytes::Bytes;

use crate::clock;
use crate::domain::ceiling::Ceiling;
use crate::domain::price::Pricing;
use crate::domain::usage::{Class, ServiceTier};
use crate::domain::window::Timestamp;
use crate::error::ApiError;
use crate::ledger::account::Account;
use crate::ledger::{Description, Estimate, Hold, Ledger, Refusal, Throttled};
use crate::provider::bounds::{Bounds, Model, bounds};
use crate::provider::endpoint::{Dialect, Endpoint};
use crate::provider::request::{Call, RequestError};
use crate::provider::tokens;

use super::route::Destination;

/// The output that is taken from a key's tokens per minute for a call without a cap; what it really
/// has counts at its end.
const USUAL_OUTPUT: u64 = 1_024;
/// About how many bytes of a prompt are a token.
const BYTES_PER_TOKEN: u64 = 4;

/// A call that may be made.
pub(super) struct Admission {
    pub(super) hold: Hold,
    /// The output cap that must be set for the ceiling to be true.
    pub(super) cap: Option<u64>,
}

/// Takes what the call needs of the key's rates, then sets the most that it can cost aside: as it is;
/// after waiting for the key's other calls; or with its output capped to what is left. Only then is it
/// refused.
pub(super) async fn admit(
    ledger: &Arc<Ledger>,
    account: &Arc<Account>,
    (call, body): (&Call, &Bytes),
    destination: &Destination,
    description: &Description,
    floor: u64,
    now: Timestamp,
) -> Result<Admission, ApiError> {
    let pass = account.enter(estimate(call), clock::now)?;
    if account.is_limited() {
        check_bounded(call)?;
        check_priced(call, &destination.pricing)?;
    }
    let mut ceiling = ceiling(call, call.body_bytes, destination);
    if !ledger.has_room(account, ceiling.amount(), now) {
        ceiling = self::ceiling(call, count_prompt(call, body, destination).await, destination);
    }
    let mut cap = None;
    loop {
        match ledger.hold(account, ceiling.amount(), description, now).await {
            Ok(mut hold) => {
                hold.carry(pass);
                return Ok(Admission { hold, cap });
            }
            Err(Refusal::TooLarge { left, period, resets_at }) => {
                let spent = ApiError::SpendingLimit { period, resets_at };
                // What is rejected of a prediction is billed as output, whatever the cap.
                let floor = floor.max(call.least_cap).saturating_add(call.predicted_bytes);
                let capped = ceiling.capped_to(left, floor).filter(|_| call.can_be_capped());
                ceiling = capped.ok_or(spent)?;
                cap = Some(ceiling.output_tokens().saturating_sub(call.predicted_bytes));
            }
            Err(Refusal::Spent { period, resets_at }) => {
                return Err(ApiError::SpendingLimit { period, resets_at });
            }
            Err(Refusal::Reserved) => return Err(ApiError::SpendingReserved),
            Err(Refusal::Unsafe(_)) => return Err(ApiError::Unsafe),
        }
    }
}

/// About what the call will use.
fn estimate(call: &Call) -> Estimate {
    let output = if call.endpoint.generates() {
        call.output_cap.unwrap_or(USUAL_OUTPUT).saturating_mul(call.choices)
    } else {
        0
    };
    Estimate { prompt_tokens: call.prompt_bytes.div_ceil(BYTES_PER_TOKEN), output_tokens: output }
}

impl From<Throttled> for ApiError {
    fn from(throttled: Throttled) -> Self {
        match throttled {
            Throttled::Parallel { limit } => Self::TooManyCalls { limit },
            Throttled::Requests { limit, wait_ms } => Self::RequestRate { limit, wait_ms },
            Throttled::Tokens { limit, wait_ms } => Self::TokenRate { limit, wait_ms },
            Throttled::Prompt { limit, tokens } => Self::PromptAboveRate { limit, tokens },
        }
    }
}

/// Whether all that the call can cost is known by its end: what is not, a key with limits may not ask for.
fn check_bounded(call: &Call) -> Result<(), RequestError> {
    if call.background {
        return Err(RequestError::Unwatched("background"));
    }
    if call.other_models {
        // The provider may serve the call by a dearer model than the one that was priced.
        let is_chat = call.endpoint.dialect() == Dialect::OpenAi;
        let param = if is_chat { "models" } else { "fallbacks" };
        return Err(RequestError::Unpriced { param, what: "another model".to_owned() });
    }
    match &call.unpriced {
        Some((param, what)) => Err(RequestError::Unpriced { param, what: what.clone() }),
        None => Ok(()),
    }
}

/// Whether what the call is sure to use has a price.
fn check_priced(call: &Call, pricing: &Pricing) -> Result<(), ApiError> {
    let price = match pricing {
        _ if call.is_free() => return Ok(()),
        Pricing::Free => return Ok(()),
        Pricing::Unknown => return Err(ApiError::Unpriced(call.model.clone())),
        Pricing::Priced(price) => price,
    };
    let has = |classes: &[Class]| {
        classes.iter().any(|class| price.rate(*class, ServiceTier::Standard, 0).is_some())
    };
    let wanted: &[Class] = match call.endpoint {
        _ if call.searches && !has(&[Class::WebSearch]) => {
            let param =
                if call.endpoint == Endpoint::Chat { "web_search_options" } else { "tools" };
            let what = "web_search".to_owned();
            return Err(RequestError::Unpriced { param, what }.into());
        }
        Endpoint::ImageGenerations | Endpoint::ImageEdits => &[Class::Image, Class::OutputImage],
        Endpoint::Speech => &[Class::Character, Class::OutputAudio],
        Endpoint::Transcriptions | Endpoint::Translations => {
            &[Class::AudioMillisecond, Class::Input]
        }
        Endpoint::Rerank => &[Class::Call, Class::Input],
        _ => return Ok(()),
    };
    if has(wanted) { Ok(()) } else { Err(ApiError::Unpriced(call.model.clone())) }
}

/// The most that the call can cost, if its text is at most `text_tokens`.
fn ceiling(call: &Call, text_tokens: u64, destination: &Destination) -> Ceiling {
    let model = Model {
        kind: destination.provider.kind,
        max_input_tokens: destination.max_input_tokens,
        max_output_tokens: destination.max_output_tokens,
    };
    let pricing = if call.is_free() { &Pricing::Free } else { &*destination.pricing };
    let Bounds { input_tokens, output_tokens, choices, pieces } = bounds(call, text_tokens, model);
    Ceiling::new(pricing, input_tokens, output_tokens, choices).with_pieces(pricing, &pieces)
}

/// The tokens of the call's text by a tokenizer, with a margin: for a call that does not fit by its bytes.
async fn count_prompt(call: &Call, body: &Bytes, destination: &Destination) -> u64 {
    if call.is_form {
        return call.body_bytes;
    }
    let (kind, text) = (destination.provider.kind, body.clone());
    let counted = web::block(move || {
        let text = std::str::from_utf8(&text).ok()?;
        Some(tokens::bound(kind, text))
    });
    counted.await.ok().flatten().unwrap_or(call.body_bytes)
}
