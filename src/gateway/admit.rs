//! Whether a call may be made: what it takes of the key's rates, what it can cost at most, and the
//! hold for that. A call that is refused leaves nothing behind.

use std::sync::Arc;

use actix_web::web;
use bytes::Bytes;

use crate::clock;
use crate::domain::ceiling::Ceiling;
use crate::domain::price::Pricing;
use crate::domain::window::Timestamp;
use crate::error::ApiError;
use crate::ledger::account::Account;
use crate::ledger::{Description, Estimate, Hold, Ledger, Refusal, Throttled};
use crate::provider::request::Call;
use crate::provider::tokens;

use super::route::Destination;

/// The most output tokens a model is taken to give when neither the client, the configuration nor the
/// catalogue says: no model on the market gives more.
const LONGEST_OUTPUT: u64 = 131_072;
/// The most prompt tokens that one image at an address can come to: the dearest way of counting that
/// is published (`gpt-4o-mini` in high detail) gives 36,835 for eight tiles.
const IMAGE_TOKENS: u64 = 50_000;
/// The most prompt tokens a model is taken to read when nobody says.
const LONGEST_INPUT: u64 = 1_000_000;

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
    let pricing = &*destination.pricing;
    let pass = account.enter(estimate(call), clock::now)?;
    if pricing.is_unknown() && account.is_limited() {
        return Err(ApiError::Unpriced(description.model.to_string()));
    }
    let mut ceiling = ceiling(call, body, destination, pricing);
    if !ledger.has_room(account, ceiling.amount(), now) {
        let tokens = count_prompt(call, body, destination).await;
        ceiling = ceiling.with_input_tokens(pricing, tokens);
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
                let floor = floor.saturating_add(call.predicted_bytes);
                ceiling = ceiling.capped_to(left, floor).ok_or(spent)?;
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

fn ceiling(call: &Call, body: &[u8], destination: &Destination, pricing: &Pricing) -> Ceiling {
    // A token is never shorter than a byte, so the body's bytes bound its tokens.
    let input = call.body_bytes.saturating_add(media_tokens(call, body, destination));
    let output = if call.endpoint.generates() {
        let cap = call.output_cap.or(destination.max_output_tokens).unwrap_or(LONGEST_OUTPUT);
        cap.saturating_add(call.predicted_bytes)
    } else {
        0
    };
    Ceiling::new(pricing, input, output, call.choices)
}

/// The prompt's tokens by a tokenizer, with a margin: for a call that does not fit by its bytes.
async fn count_prompt(call: &Call, body: &Bytes, destination: &Destination) -> u64 {
    let media = media_tokens(call, body, destination);
    let (kind, text) = (destination.provider.kind, body.clone());
    let counted = web::block(move || {
        let text = std::str::from_utf8(&text).ok()?;
        Some(tokens::bound(kind, text))
    });
    let counted = counted.await.ok().flatten().unwrap_or(call.body_bytes);
    counted.saturating_add(media)
}

/// What images and files can come to beside their bytes: so much for every mention of an image, and
/// all that the model can read where there is something else, or where escapes could hide a mention.
fn media_tokens(call: &Call, body: &[u8], destination: &Destination) -> u64 {
    if !call.media {
        return 0;
    }
    let all = destination.max_input_tokens.unwrap_or(LONGEST_INPUT);
    let mentions = |word: &[u8]| memchr::memmem::find_iter(body, word).count() as u64;
    let images = mentions(b"image_url");
    if images == 0 || mentions(br"\u") > 0 || mentions(b"\"file\"") > 0 {
        return all;
    }
    images.saturating_mul(IMAGE_TOKENS).min(all)
}
