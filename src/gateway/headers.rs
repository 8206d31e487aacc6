//! Which headers travel: what belongs to one connection, to us or to somebody's account stays behind,
//! and what belongs to a dialect goes no further than that dialect; everything else goes through as it
//! is.

use super::identify::carries_key;
use crate::fields::Headers;
use crate::provider::endpoint::Dialect;

pub(super) const CONTENT_TYPE: &str = "content-type";

/// RFC 9110, section 7.6.1, and the older names for the same.
fn is_hop_by_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"proxy-connection"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
    )
}

/// Names that `Connection` lists belong to the connection too.
struct Listed(Vec<Vec<u8>>);

impl Listed {
    fn of(headers: &Headers) -> Self {
        Self(headers.all("connection").map(<[u8]>::to_vec).collect())
    }

    fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|value| {
            let mut list = value.split(|byte| *byte == b',');
            list.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(name))
        })
    }
}

/// The dialect that a header belongs to by its name.
///
/// Google's say which client asks and whose project pays, Amazon's are part of a signature: neither is
/// ever sent on, not even to their own.
fn is_foreign(name: &[u8], native: Option<Dialect>) -> bool {
    let begins = |prefix: &str| name.starts_with(prefix.as_bytes());
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
    pub(super) fn new(headers: &Headers, native: Option<Dialect>) -> Self {
        Self { listed: Listed::of(headers), native }
    }

    pub(super) fn goes(&self, name: &[u8]) -> bool {
        let stays = matches!(
            name,
            b"host"
                | b"content-length"
                | b"accept-encoding"
                | b"cookie"
                | b"expect"
                | b"forwarded"
                | b"x-real-ip"
                | b"via"
                | b"openai-organization"
                | b"openai-project"
                | b"x-request-id"
        ) || name.starts_with(b"x-forwarded-")
            || name.starts_with(b"x-conduit-");
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
        Self(Listed::of(headers))
    }

    pub(super) fn goes(&self, name: &[u8]) -> bool {
        let stays = matches!(
            name,
            b"content-length"
                | b"date"
                | b"server"
                | b"set-cookie"
                | b"openai-organization"
                | b"openai-project"
                | b"anthropic-organization-id"
                | b"anthropic-workspace-id"
                | b"x-request-id"
                | b"alt-svc"
                | b"location"
                | b"strict-transport-security"
        ) || name.starts_with(b"x-conduit-");
        !stays && !is_hop_by_hop(name) && !self.0.has(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_connection_headers_stay_behind() {
        let mut headers = Headers::default();
        headers.add("connection", "close, X-Hop");
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
            assert_eq!(upward.goes(name.as_bytes()), goes, "{name}");
        }
    }

    #[test]
    fn what_belongs_to_a_dialect_goes_no_further() {
        use Dialect::*;
        let headers = Headers::default();
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
            let found = Upward::new(&headers, native).goes(name.as_bytes());
            assert_eq!(found, goes, "{name} {native:?}");
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
            assert_eq!(downward.goes(name.as_bytes()), goes, "{name}");
        }
    }
}
