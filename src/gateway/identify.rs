//! Who is calling, and from where: one key in one place, one answer.
//!
//! The secret lives for the length of this function. Why a key does not open the door is nobody's
//! business but the log's: every reason is the same 401.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::entry::{self, parameters};
use crate::config::Config;
use crate::domain::cidr::Cidr;
use crate::domain::forwarded;
use crate::domain::key::{KeyRecord, KeyStatus, Secret};
use crate::domain::window::Timestamp;
use crate::error::ApiError;
use crate::fields::{Headers, ascii};
use crate::ledger::Ledger;
use crate::ledger::account::Account;
use crate::message::Head;
use crate::provider::endpoint::Dialect;

/// Where clients of other APIs put their key.
const KEY_HEADERS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// Whether a header carries the caller's key, which must never be sent on.
pub(super) fn carries_key(name: &[u8]) -> bool {
    name == b"authorization" || KEY_HEADERS.iter().any(|known| known.as_bytes() == name)
}

/// Who calls: the account, and its key as it was when the call came.
pub(super) struct Caller {
    pub(super) account: Arc<Account>,
    pub(super) key: Arc<KeyRecord>,
}

/// Whose key the caller holds. A key that may not be used from where the caller is looks like one that
/// does not exist.
pub(super) fn identify(
    ledger: &Ledger,
    config: &Config,
    head: &Head,
    now: Timestamp,
) -> Result<Caller, ApiError> {
    let Some(presented) = presented(&head.headers, in_query(head)) else {
        return chosen(ledger, head, now).ok_or(ApiError::InvalidKey);
    };
    let secret = Secret::parse(&presented).ok_or(ApiError::InvalidKey)?;
    let (account, key) = ledger.identify(secret.hash(), now).ok_or(ApiError::InvalidKey)?;
    if key.controls.allow_ips.is_empty() {
        return Ok(Caller { account, key });
    }
    let address = address(head, config);
    if key.may_come_from(address) {
        return Ok(Caller { account, key });
    }
    tracing::debug!(key.id = %key.id, ?address, "the key may not be used from this address");
    Err(ApiError::InvalidKey)
}

/// The account of the key that an administrator chose, who may call from anywhere.
fn chosen(ledger: &Ledger, head: &Head, now: Timestamp) -> Option<Caller> {
    let account = ledger.directory().by_id(head.key?.0)?;
    let key = account.record();
    (key.status(now) == KeyStatus::Active).then_some(Caller { account, key })
}

/// Where a call really comes from, as far as that is known.
pub(super) fn address(head: &Head, config: &Config) -> Option<IpAddr> {
    caller(head.peer?.ip(), &head.headers, &config.server.trusted_proxies)
}

/// Where a call really comes from.
fn caller(peer: IpAddr, headers: &Headers, trusted: &[Cidr]) -> Option<IpAddr> {
    let lines: Vec<_> = headers.all("x-forwarded-for").collect();
    forwarded::caller(peer, &lines, trusted)
}

/// Keys in the query, where older clients of Google's API put them. Nothing else reads a key there:
/// a query is what proxies write into their logs.
fn in_query(head: &Head) -> Vec<String> {
    if head.query().is_empty() || entry::dialect(head) != Dialect::Gemini {
        return Vec::new();
    }
    let keys = parameters(head.query()).filter(|(name, _)| name == "key");
    keys.map(|(_, value)| value).collect()
}

/// The one key that was sent; two are as good as none, for they may differ.
fn presented(headers: &Headers, in_query: Vec<String>) -> Option<Cow<'_, str>> {
    let mut found = None;
    for value in headers.all("authorization") {
        if found.replace(Cow::Borrowed(bearer(value)?)).is_some() {
            return None;
        }
    }
    for name in KEY_HEADERS {
        for value in headers.all(name) {
            if found.replace(Cow::Borrowed(ascii(value)?)).is_some() {
                return None;
            }
        }
    }
    for key in in_query {
        if found.replace(Cow::Owned(key)).is_some() {
            return None;
        }
    }
    found
}

/// The token of `Bearer <token>`, the scheme in any case (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&str> {
    let (scheme, token) = ascii(value)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &[u8])]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in pairs {
            headers.add(name, value);
        }
        headers
    }

    #[test]
    fn the_caller_is_the_rightmost_hop_that_is_no_proxy_of_ours() {
        let ours: Vec<Cidr> = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        for (peer, forwarded, expected) in [
            ("203.0.113.9", &["192.0.2.1"][..], Some("203.0.113.9")),
            ("127.0.0.1", &[], Some("127.0.0.1")),
            ("127.0.0.1", &["192.0.2.1"], Some("192.0.2.1")),
            ("127.0.0.1", &["1.1.1.1, 192.0.2.1 ,10.0.0.7"], Some("192.0.2.1")),
            ("127.0.0.1", &["1.1.1.1, 192.0.2.1", "10.0.0.7,10.0.0.8"], Some("192.0.2.1")),
            ("127.0.0.1", &["10.0.0.7"], Some("10.0.0.7")),
            ("127.0.0.1", &["192.0.2.1:4711"], Some("192.0.2.1")),
            ("127.0.0.1", &["[2001:db8::1]:4711"], Some("2001:db8::1")),
            ("127.0.0.1", &["[2001:db8::1]"], Some("2001:db8::1")),
            ("::ffff:127.0.0.1", &["192.0.2.1"], Some("192.0.2.1")),
            ("127.0.0.1", &["192.0.2.1, unknown"], None),
            ("127.0.0.1", &["192.0.2.1,"], None),
            ("127.0.0.1", &["garbage, 192.0.2.1"], Some("192.0.2.1")),
        ] {
            let pairs: Vec<_> =
                forwarded.iter().map(|v| ("x-forwarded-for", v.as_bytes())).collect();
            let found = caller(peer.parse().unwrap(), &headers(&pairs), &ours);
            assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{peer} {forwarded:?}");
        }
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
            let headers = headers(pairs);
            assert_eq!(presented(&headers, vec![]).as_deref(), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_key_in_the_query_is_read_on_googles_paths_only() {
        for (uri, header, expected) in [
            ("/v1beta/models/a:generateContent?key=abc", None, Some("abc")),
            ("/v1beta/models/a:streamGenerateContent?alt=sse&key=abc", None, Some("abc")),
            ("/v1beta/models?key=abc", None, Some("abc")),
            ("/v1beta/models?key=abc&key=abc", None, None),
            ("/v1beta/models?key=abc", Some("x-goog-api-key"), None),
            ("/v1beta/models", Some("x-goog-api-key"), Some("header")),
            ("/v1/chat/completions?key=abc", None, None),
            ("/v1/messages?key=abc", None, None),
        ] {
            let header = header.map(|name| (name, "header"));
            let head = Head::of("POST", uri, header.as_slice());
            let found = presented(&head.headers, in_query(&head));
            assert_eq!(found.as_deref(), expected, "{uri}");
        }
    }
}
