//! What a key with rates is told on every answer to a call: the headers of the client's dialect, about
//! its own limits.
//!
//! A provider's headers of these names speak of its account with us, so such a key never sees them.

use crate::clock;
use crate::domain::rate::{Allowance, duration_text};
use crate::fields::Headers;
use crate::ledger::account::Account;
use crate::provider::endpoint::Dialect;

/// The limit, what remains of it, and when it is whole again.
type Names = [&'static str; 3];

const REQUESTS: Names =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const TOKENS: Names =
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
const ANTHROPIC_REQUESTS: Names = [
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
];
const ANTHROPIC_TOKENS: Names = [
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
];

/// Says where the key stands with its rates, in place of what the provider said. Google has no such
/// headers: its clients get those of `OpenAI`.
pub(super) fn show(account: &Account, dialect: Dialect, headers: &mut Headers) {
    headers.retain(|name| {
        !name.starts_with(b"x-ratelimit-") && !name.starts_with(b"anthropic-ratelimit-")
    });
    let now = clock::now();
    let rates = account.rates(now);
    if dialect == Dialect::Anthropic {
        // An instant, where OpenAI has a length of time.
        let full = |allowance: &Allowance| now.plus_millis(allowance.full_in_ms).to_string();
        insert(headers, ANTHROPIC_REQUESTS, rates.requests, full);
        insert(headers, ANTHROPIC_TOKENS, rates.tokens, full);
    } else {
        let full = |allowance: &Allowance| duration_text(allowance.full_in_ms);
        insert(headers, REQUESTS, rates.requests, full);
        insert(headers, TOKENS, rates.tokens, full);
    }
}

fn insert(
    headers: &mut Headers,
    [limit, remaining, reset]: Names,
    allowance: Option<Allowance>,
    full: impl Fn(&Allowance) -> String,
) {
    let Some(allowance) = allowance else { return };
    headers.show(limit, allowance.limit);
    headers.show(remaining, allowance.remaining);
    headers.set(reset, full(&allowance));
}
