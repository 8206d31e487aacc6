//! Who is calling: one header, one key, one answer.
//!
//! The secret lives for the length of this function. Why a key does not open the door is nobody's
//! business but the log's: every reason is the same 401.

use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::domain::key::Secret;
use crate::domain::window::Timestamp;
use crate::error::ApiError;
use crate::ledger::Ledger;
use crate::ledger::account::Account;

/// Where clients of other APIs put their key.
static KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Whether a header carries the caller's key, which must never be sent on.
pub(super) fn carries_key(name: &HeaderName) -> bool {
    name == AUTHORIZATION || KEY_HEADERS.contains(name)
}

/// The account whose key the caller holds.
pub(super) fn identify(
    ledger: &Ledger,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Arc<Account>, ApiError> {
    let secret = presented(headers).and_then(Secret::parse).ok_or(ApiError::InvalidKey)?;
    ledger.identify(secret.hash(), now).ok_or(ApiError::InvalidKey)
}

/// The one key that was sent; two are as good as none, for they may differ.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let mut found = None;
    for value in headers.get_all(AUTHORIZATION) {
        if found.replace(bearer(value)?).is_some() {
            return None;
        }
    }
    for name in &KEY_HEADERS {
        for value in headers.get_all(name) {
            if found.replace(value.to_str().ok()?).is_some() {
                return None;
            }
        }
    }
    found
}

/// The token of `Bearer <token>`, the scheme in any case (RFC 9110, section 11.1).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn exactly_one_key_in_a_known_place_is_read() {
        for (pairs, expected) in [
            (&[][..], None),
            (&[("authorization", b"Bearer abc".as_slice())], Some("abc")),
            (&[("authorization", b"bearer abc")], Some("abc")),
            (&[("authorization", b"BEARER   abc ")], Some("abc")),
            (&[("authorization", b"")], None),
            (&[("authorization", b"Bearer")], None),
            (&[("authorization", b"Basic abc")], None),
            (&[("authorization", b"abc")], None),
            (&[("authorization", b"Bearer \xff\xfe")], None),
            (&[("authorization", b"Bearer a"), ("authorization", b"Bearer a")], None),
            (&[("x-api-key", b"abc")], Some("abc")),
            (&[("api-key", b"abc")], Some("abc")),
            (&[("x-goog-api-key", b"abc")], Some("abc")),
            (&[("x-api-key", b"abc"), ("authorization", b"Bearer abc")], None),
        ] {
            assert_eq!(presented(&headers(pairs)), expected, "{pairs:?}");
        }
    }
}
