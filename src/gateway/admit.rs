//! Whether a call may be made: what it takes of the key's rates, what it can cost at most, and the
//! hold for that. A call that is refused leaves nothing behind.

use std::sync::Arc;

use actix_web::web;
use bytes::Bytes;

use crate::clock;
use crate::domain::ceiling::Ceiling;
use crate::domain::money::Money;
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
    /// The targets that the hold is enough for, the best first; never empty.
    pub(super) targets: Vec<Destination>,
    /// The output cap that must be set for the ceiling to be true.
    pub(super) cap: Option<u64>,
}

/// Takes what the call needs of the key's rates, then sets the most that it can cost at any of its
/// targets aside: as it is; after waiting for the key's other calls; or with targets left out and its
/// output capped to what is left. Only then is it refused.
pub(super) async fn admit(
    ledger: &Arc<Ledger>,
    account: &Arc<Account>,
    (call, body): (&Call, &Bytes),
    targets: Vec<Destination>,
    describe: impl Fn(&Destination) -> Description,
    floor: u64,
    now: Timestamp,
) -> Result<Admission, ApiError> {
    let pass = account.enter(estimate(call), clock::now)?;
    let mut options = Options::new(call, body, targets);
    if account.is_limited() {
        options.leave_out_unpriced();
    }
    if options.targets.is_empty() {
        return Err(ApiError::Unpriced(call.model.clone()));
    }
    if !ledger.has_room(account, options.ceiling(), now) {
        options.count_prompt(call, body).await;
    }
    let mut cap = None;
    loop {
        let description = describe(&options.targets[0]);
        match ledger.hold(account, options.ceiling(), &description, now).await {
            Ok(mut hold) => {
                hold.carry(pass);
                return Ok(Admission { hold, targets: options.targets, cap });
            }
            Err(Refusal::TooLarge { left, period, resets_at }) => {
                let spent = ApiError::SpendingLimit { period, resets_at };
                // What is rejected of a prediction is billed as output, whatever the cap.
                let floor = floor.saturating_add(call.predicted_bytes);
                if let Some(tokens) = options.fit(left, floor).map_err(|TooDear| spent)? {
                    cap = Some(tokens.saturating_sub(call.predicted_bytes));
                }
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Spent { period, resets_at } | Refusal::TooLarge { period, resets_at, .. } => {
                Self::SpendingLimit { period, resets_at }
            }
            Refusal::Reserved => Self::SpendingReserved,
            Refusal::Unsafe(_) => Self::Unsafe,
        }
    }
}

/// No target can be afforded.
struct TooDear;

/// The targets of a call, each with the most that it can cost there.
struct Options {
    targets: Vec<Destination>,
    ceilings: Vec<Ceiling>,
}

impl Options {
    fn new(call: &Call, body: &[u8], targets: Vec<Destination>) -> Self {
        let each = targets.iter().map(|target| ceiling(call, body, target, &target.pricing));
        Self { ceilings: each.collect(), targets }
    }

    /// The most that the call can cost, wherever it goes.
    fn ceiling(&self) -> Money {
        self.ceilings.iter().map(Ceiling::amount).max().unwrap_or(Money::ZERO)
    }

    fn leave_out_unpriced(&mut self) {
        self.retain(|target, ceiling| (!target.pricing.is_unknown()).then_some(ceiling));
    }

    async fn count_prompt(&mut self, call: &Call, body: &Bytes) {
        for (target, ceiling) in self.targets.iter().zip(&mut self.ceilings) {
            let tokens = count_prompt(call, body, target).await;
            *ceiling = ceiling.with_input_tokens(&target.pricing, tokens);
        }
    }

    /// Makes the call fit into `left`: the best target that can be afforded, with its output capped if
    /// need be, is the first from here on, and of the others those stay that can be afforded like that.
    /// Says the cap, in tokens.
    fn fit(&mut self, left: Money, floor: u64) -> Result<Option<u64>, TooDear> {
        let cap_for = |ceiling: &Ceiling| {
            let fits = ceiling.amount() <= left;
            let capped = || ceiling.capped_to(left, floor).map(|c| Some(c.output_tokens()));
            if fits { Some(None) } else { capped() }
        };
        let found =
            self.ceilings.iter().enumerate().find_map(|(index, c)| Some((index, cap_for(c)?)));
        let (first, cap) = found.ok_or(TooDear)?;
        let mut index = 0;
        self.retain(|_, ceiling| {
            let is_before = index < first;
            index += 1;
            let ceiling = cap.map_or(ceiling, |tokens| ceiling.with_output_at_most(tokens));
            (!is_before && ceiling.amount() <= left).then_some(ceiling)
        });
        Ok(cap)
    }

    /// Keeps the targets that are given a ceiling.
    fn retain(&mut self, mut keep: impl FnMut(&Destination, Ceiling) -> Option<Ceiling>) {
        let mut ceilings = std::mem::take(&mut self.ceilings).into_iter();
        let kept = &mut self.ceilings;
        self.targets.retain(|target| {
            let ceiling = ceilings.next().and_then(|ceiling| keep(target, ceiling));
            kept.extend(ceiling);
            ceiling.is_some()
        });
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
