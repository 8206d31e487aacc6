//! What a key with rates is told on every answer to a call: the headers of the client's dialect, about
//! its own limits.
//!
//! A provider's headers of these names speak of its account with us, so such a key never sees them.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::clock;
use crate::domain::rate::{Allowance, duration_text};
use crate::ledger::account::Account;
use crate::provider::endpoint::Dialect;

/// The limit, what remains of it, and when it is whole again.
type Names = [HeaderName; 3];

const REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];
const ANTHROPIC_REQUESTS: Names = [
    HeaderName::from_static("anthropic-ratelimit-requests-limit"),
    HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
    HeaderName::from_static("anthropic-ratelimit-requests-reset"),
];
const ANTHROPIC_TOKENS: Names = [
    HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
    HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
    HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
];

/// Says where the key stands with its rates, in place of what the provider said. Google has no such
/// headers: its clients get those of `OpenAI`.
pub(super) fn show(account: &Account, dialect: Dialect, headers: &mut HeaderMap) {
    let is_theirs = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-ratelimit-") || name.starts_with("anthropic-ratelimit-")
    };
    let theirs: Vec<HeaderName> = headers.keys().filter(|name| is_theirs(name)).cloned().collect();
    for name in theirs {
        headers.remove(name);
    }
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
    headers: &mut HeaderMap,
    [limit, remaining, reset]: Names,
    allowance: Option<Allowance>,
    full: impl Fn(&Allowance) -> String,
) {
    let Some(allowance) = allowance else { return };
    headers.insert(limit, allowance.limit.into());
    headers.insert(remaining, allowance.remaining.into());
    if let Ok(text) = HeaderValue::try_from(full(&allowance)) {
        headers.insert(reset, text);
    }
}
