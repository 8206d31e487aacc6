//! Whether a call may be made: what it takes of the key's rates, what it can cost at most, and the
//! hold for that. A call that is refused leaves nothing behind.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::web;
use bytes::Bytes;

use crate::clock;
use crate::domain::ceiling::Ceiling;
use crate::domain::money::Money;
use crate::domain::price::Pricing;
use crate::domain::usage::Class;
use crate::domain::window::Timestamp;
use crate::error::ApiError;
use crate::ledger::{Description, Estimate, HasRoom, Hold, Ledger, Refusal, Throttled};
use crate::provider::bounds::{Bounds, Model, bounds};
use crate::provider::charge::wanted;
use crate::provider::endpoint::{Dialect, Endpoint};
use crate::provider::request::{Call, RequestError};
use crate::provider::tokens;

use super::identify::Caller;
use super::route::Destination;

/// The output that is taken from a key's tokens per minute for a call without a cap; what it really
/// has counts at its end.
const USUAL_OUTPUT: u64 = 1_024;
/// About how many bytes of a prompt are a token.
const BYTES_PER_TOKEN: u64 = 4;

/// A call that may be made.
pub(super) struct Admission {
    pub(super) hold: Hold,
    /// The targets that the hold is enough for, the best first; never empty.
    pub(super) targets: Vec<Rc<Destination>>,
    /// The output cap that must be set for the ceiling to be true.
    pub(super) cap: Option<u64>,
}

/// Takes what the call needs of the key's rates, then sets the most that it can cost at any of its
/// targets aside: as it is; after waiting for the key's other calls; or with targets left out and its
/// output capped to what is left. Only then is it refused.
pub(super) async fn admit(
    ledger: &Arc<Ledger>,
    Caller { account, key }: &Caller,
    (call, body): (&Call, &Bytes),
    targets: Vec<Rc<Destination>>,
    describe: impl Fn(&Destination) -> Description,
    floor: u64,
    now: Timestamp,
) -> Result<Admission, ApiError> {
    let pass = account.enter(&key.controls, estimate(call), clock::now)?;
    let mut options = Options::new(call, targets);
    if key.limits.any() || account.is_limited_by_team() {
        check_bounded(call)?;
        options.leave_out_unpriced(call)?;
    }
    let description = describe(&options.targets[0]);
    match ledger.hold_at_once(account, options.ceiling(), description, now)? {
        Ok(mut hold) => {
            hold.carry(pass);
            return Ok(Admission { hold, targets: options.targets, cap: None });
        }
        Err(HasRoom(true)) => {}
        Err(HasRoom(false)) => options.count_prompt(call, body).await,
    }
    let mut cap = None;
    loop {
        let description = describe(&options.targets[0]);
        match ledger.hold(account, options.ceiling(), description, now).await {
            Ok(mut hold) => {
                hold.carry(pass);
                return Ok(Admission { hold, targets: options.targets, cap });
            }
            Err(Refusal::TooLarge { left, period, resets_at }) => {
                let spent = ApiError::SpendingLimit { period, resets_at };
                // What is rejected of a prediction is billed as output, whatever the cap.
                let floor = floor.max(call.least_cap).saturating_add(call.predicted_bytes);
                let floor = call.can_be_capped().then_some(floor);
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
    targets: Vec<Rc<Destination>>,
    ceilings: Vec<Ceiling>,
}

impl Options {
    /// By the bytes of the call: a token is never shorter.
    fn new(call: &Call, targets: Vec<Rc<Destination>>) -> Self {
        let each = targets.iter().map(|target| ceiling(call, call.body_bytes, target));
        Self { ceilings: each.collect(), targets }
    }

    /// The most that the call can cost, wherever it goes.
    fn ceiling(&self) -> Money {
        self.ceilings.iter().map(Ceiling::amount).max().unwrap_or(Money::ZERO)
    }

    /// Leaves out the targets at which something that the call is sure to use has no price; an error if
    /// that is all of them.
    fn leave_out_unpriced(&mut self, call: &Call) -> Result<(), ApiError> {
        if self.targets.iter().all(|target| check_priced(call, &target.pricing).is_ok()) {
            return Ok(());
        }
        let mut missing = None;
        self.retain(|target, ceiling| match check_priced(call, &target.pricing) {
            Ok(()) => Some(ceiling),
            Err(error) => {
                missing.get_or_insert(error);
                None
            }
        });
        missing.filter(|_| self.targets.is_empty()).map_or(Ok(()), Err)
    }

    async fn count_prompt(&mut self, call: &Call, body: &Bytes) {
        for (target, ceiling) in self.targets.iter().zip(&mut self.ceilings) {
            let tokens = count_prompt(call, body, target).await;
            *ceiling = self::ceiling(call, tokens, target);
        }
    }

    /// Makes the call fit into `left`: the best target that can be afforded, with its output capped if
    /// need be, is the first from here on, and of the others those stay that can be afforded like that.
    /// Says the cap, in tokens: at least `floor`, without which the output cannot be capped.
    fn fit(&mut self, left: Money, floor: Option<u64>) -> Result<Option<u64>, TooDear> {
        let cap_for = |ceiling: &Ceiling| {
            let fits = ceiling.amount() <= left;
            let capped = || Some(Some(ceiling.capped_to(left, floor?)?.output_tokens()));
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
    match pricing {
        _ if call.is_free() => return Ok(()),
        Pricing::Free => return Ok(()),
        Pricing::Unknown => return Err(ApiError::Unpriced(call.model.clone())),
        Pricing::Priced(_) => {}
    }
    let wanted = wanted(call);
    let has = |classes: &[Class]| classes.iter().any(|class| pricing.prices(*class, &wanted));
    let sold_by: &[Class] = match call.endpoint {
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
    if has(sold_by) { Ok(()) } else { Err(ApiError::Unpriced(call.model.clone())) }
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
    let tokens = (input_tokens, output_tokens, choices);
    Ceiling::new(pricing, tokens, &pieces, &wanted(call))
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
