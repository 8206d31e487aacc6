//! What a key with rates is told on every answer to a call: OpenAI's headers, about its own limits.
//!
//! A provider's headers of these names speak of its account with us, so such a key never sees them.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::clock;
use crate::domain::rate::{Allowance, duration_text};
use crate::ledger::account::Account;

const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Says where the key stands with its rates, in place of what the provider said.
pub(super) fn show(account: &Account, headers: &mut HeaderMap) {
    let theirs: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-ratelimit-")).cloned().collect();
    for name in theirs {
        headers.remove(name);
    }
    let rates = account.rates(clock::now());
    insert(headers, REQUESTS, rates.requests);
    insert(headers, TOKENS, rates.tokens);
}

fn insert(
    headers: &mut HeaderMap,
    [limit, remaining, reset]: [HeaderName; 3],
    allowance: Option<Allowance>,
) {
    let Some(allowance) = allowance else { return };
    headers.insert(limit, allowance.limit.into());
    headers.insert(remaining, allowance.remaining.into());
    if let Ok(text) = HeaderValue::try_from(duration_text(allowance.full_in_ms)) {
        headers.insert(reset, text);
    }
}
