//! Which headers travel: what belongs to one connection, to us or to somebody's account stays behind,
//! and what belongs to a dialect goes no further than that dialect; everything else goes through as it
//! is.

use std::fmt::Display;
use std::io::Write;

use actix_web::http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

use super::identify::carries_key;
use crate::fields::Headers;
use crate::provider::endpoint::Dialect;

/// The longest text of ours that is shown in a header.
const LONGEST_SHOWN: usize = 64;

/// What something shows, as the value of a header; `None` for what cannot stand in one.
pub(super) fn shown(what: impl Display) -> Option<HeaderValue> {
    let mut text = [0; LONGEST_SHOWN];
    let mut room = text.as_mut_slice();
    write!(room, "{what}").ok()?;
    let left = room.len();
    HeaderValue::from_bytes(&text[..LONGEST_SHOWN - left]).ok()
}

/// RFC 9110, section 7.6.1, and the older names for the same.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Names that `Connection` lists belong to the connection too.
struct Listed(Vec<HeaderValue>);

impl Listed {
    fn has(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|value| {
            let mut list = value.as_bytes().split(|byte| *byte == b',');
            list.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
        })
    }
}

/// The dialect that a header belongs to by its name.
///
/// Google's say which client asks and whose project pays, Amazon's are part of a signature: neither is
/// ever sent on, not even to their own.
fn is_foreign(name: &HeaderName, native: Option<Dialect>) -> bool {
    let begins = |prefix: &str| name.as_str().starts_with(prefix);
    if begins("anthropic-") {
        native != Some(Dialect::Anthropic)
    } else if begins("openai-") {
        native != Some(Dialect::OpenAi)
    } else {
        begins("x-goog-") || begins("x-amz-") || begins("x-amzn-") || begins("amz-sdk-")
    }
}

/// Which of a client's headers go on to the provider.
///
/// Credentials never do, and neither do headers that would choose an account at the provider, tell
/// who the client is, or have the answer encoded in a way the meter cannot read.
pub(super) struct Upward {
    listed: Listed,
    native: Option<Dialect>,
}

impl Upward {
    /// `native` is the dialect that both speak, if the call goes through as it is.
    pub(super) fn new(headers: &HeaderMap, native: Option<Dialect>) -> Self {
        Self { listed: Listed(headers.get_all(CONNECTION).cloned().collect()), native }
    }

    pub(super) fn goes(&self, name: &HeaderName) -> bool {
        let stays = matches!(
            name.as_str(),
            "host"
                | "content-length"
                | "accept-encoding"
                | "cookie"
                | "expect"
                | "forwarded"
                | "x-real-ip"
                | "via"
                | "openai-organization"
                | "openai-project"
                | "x-request-id"
        ) || name.as_str().starts_with("x-forwarded-")
            || name.as_str().starts_with("x-conduit-");
        !stays
            && !is_foreign(name, self.native)
            && !carries_key(name)
            && !is_hop_by_hop(name)
            && !self.listed.has(name)
    }
}

/// Which of a provider's headers go on to the client.
///
/// Whose account it is, its cookies, and what we say ourselves stay behind. So does another place to send
/// the call to: a client that goes there takes its key and its prompt past this gateway.
pub(super) struct Downward(Listed);

impl Downward {
    pub(super) fn new(headers: &Headers) -> Self {
        Self(Listed(headers.all(CONNECTION).cloned().collect()))
    }

    pub(super) fn goes(&self, name: &HeaderName) -> bool {
        let stays = matches!(
            name.as_str(),
            "content-length"
                | "date"
                | "server"
                | "set-cookie"
                | "openai-organization"
                | "openai-project"
                | "anthropic-organization-id"
                | "anthropic-workspace-id"
                | "x-request-id"
                | "alt-svc"
                | "location"
                | "strict-transport-security"
        ) || name.as_str().starts_with("x-conduit-");
        !stays && !is_hop_by_hop(name) && !self.0.has(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_connection_headers_stay_behind() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("close, X-Hop"));
        let upward = Upward::new(&headers, Some(Dialect::OpenAi));
        for (name, goes) in [
            ("authorization", false),
            ("x-api-key", false),
            ("api-key", false),
            ("x-goog-api-key", false),
            ("cookie", false),
            ("host", false),
            ("te", false),
            ("x-hop", false),
            ("x-forwarded-for", false),
            ("openai-organization", false),
            ("accept-encoding", false),
            ("content-type", true),
            ("user-agent", true),
            ("openai-beta", true),
            ("x-stainless-lang", true),
            ("idempotency-key", true),
        ] {
            let name = HeaderName::from_static(name);
            assert_eq!(upward.goes(&name), goes, "{name}");
        }
    }

    #[test]
    fn what_belongs_to_a_dialect_goes_no_further() {
        use Dialect::*;
        let headers = HeaderMap::new();
        for (name, native, goes) in [
            ("anthropic-version", Some(Anthropic), true),
            ("anthropic-beta", Some(Anthropic), true),
            ("anthropic-beta", Some(OpenAi), false),
            ("anthropic-beta", None, false),
            ("openai-beta", Some(OpenAi), true),
            ("openai-beta", Some(Anthropic), false),
            ("openai-organization", Some(OpenAi), false),
            ("x-goog-user-project", Some(Gemini), false),
            ("x-goog-api-client", Some(Gemini), false),
            ("x-amz-security-token", Some(Bedrock), false),
            ("user-agent", None, true),
        ] {
            let name = HeaderName::from_static(name);
            assert_eq!(Upward::new(&headers, native).goes(&name), goes, "{name} {native:?}");
        }
    }

    #[test]
    fn an_account_behind_the_gateway_stays_unknown() {
        let headers = Headers::default();
        let downward = Downward::new(&headers);
        for (name, goes) in [
            ("set-cookie", false),
            ("location", false),
            ("openai-organization", false),
            ("transfer-encoding", false),
            ("content-length", false),
            ("anthropic-organization-id", false),
            ("anthropic-workspace-id", false),
            ("anthropic-ratelimit-requests-remaining", true),
            ("request-id", true),
            ("content-type", true),
            ("retry-after", true),
            ("openai-processing-ms", true),
            ("x-ratelimit-remaining-requests", true),
        ] {
            let name = HeaderName::from_static(name);
            assert_eq!(downward.goes(&name), goes, "{name}");
        }
    }
}
