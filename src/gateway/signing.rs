//! Signs a call to AWS: Signature Version 4 with access keys, or the bearer token that Bedrock's own
//! API keys are.
//!
//! The signature covers the method, the address, some headers and the body, so this comes last: what
//! is signed must go out as it is. No secret and nothing of the body may reach a log from here: of the
//! body only its hash is handed on, of the headers only those that tell nothing.
//!
//! Which headers are signed, and that a path is encoded once more for it, is as AWS's own clients do it
//! (AWS, "Create a signed AWS API request").

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials as AwsCredentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningParams, SigningSettings, sign as sign_request,
};
use aws_sigv4::sign::v4;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use ring::digest::{SHA256, digest};

use crate::domain::window::Timestamp;

/// The name that AWS signs calls to Bedrock under, its models' endpoint included.
const SERVICE: &str = "bedrock";

/// What a call is signed with. Never shown: it has no `Debug`.
#[derive(Clone, Copy)]
pub(super) enum Credentials<'a> {
    /// A Bedrock API key, as in `AWS_BEARER_TOKEN_BEDROCK`.
    #[cfg_attr(not(test), expect(dead_code, reason = "it goes out as any provider's key does"))]
    Bearer(&'a str),
    AccessKeys {
        id: &'a str,
        secret: &'a str,
        /// Only temporary keys have one.
        session_token: Option<&'a str>,
    },
}

/// A call as it will be sent.
#[derive(Clone, Copy)]
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a str,
    /// The whole address, encoded as it goes out.
    pub(super) uri: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
}

/// The call cannot be signed: its address is none, or a key has characters that no header takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call cannot be signed with these credentials")]
pub(super) struct NotSigned;

/// The headers to add to a call, in place of any that have the same names.
///
/// Beside the host and what signing itself adds only the content type is signed: what else a call has
/// a proxy may change on the way.
pub(super) fn sign(
    credentials: Credentials<'_>,
    region: &str,
    call: Unsigned<'_>,
    now: Timestamp,
) -> Result<Vec<(HeaderName, HeaderValue)>, NotSigned> {
    match credentials {
        Credentials::Bearer(token) => {
            Ok(vec![(AUTHORIZATION, secret_value(&format!("Bearer {token}"))?)])
        }
        Credentials::AccessKeys { id, secret, session_token } => {
            let token = session_token.map(str::to_owned);
            let keys = AwsCredentials::new(id, secret, token, None, "conduit");
            let headers = [("content-type", call.content_type)];
            sign_as(SERVICE, keys, region, call, &headers, now)
        }
    }
}

fn sign_as(
    service: &str,
    keys: AwsCredentials,
    region: &str,
    call: Unsigned<'_>,
    headers: &[(&str, &str)],
    now: Timestamp,
) -> Result<Vec<(HeaderName, HeaderValue)>, NotSigned> {
    let identity = keys.into();
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(UNIX_EPOCH + Duration::from_millis(now.millis()))
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| NotSigned)?
        .into();
    let body = SignableBody::Precomputed(hex(digest(&SHA256, call.body).as_ref()));
    let request = SignableRequest::new(call.method, call.uri, headers.iter().copied(), body);
    let signed = sign_request(request.map_err(|_| NotSigned)?, &params).map_err(|_| NotSigned)?;
    let (instructions, _) = signed.into_parts();
    let headers = instructions.headers().map(|(name, value)| {
        let name = HeaderName::try_from(name).map_err(|_| NotSigned)?;
        Ok((name, secret_value(value)?))
    });
    headers.collect()
}

/// A value that is left out wherever headers are shown.
fn secret_value(value: &str) -> Result<HeaderValue, NotSigned> {
    let mut value = HeaderValue::from_str(value).map_err(|_| NotSigned)?;
    value.set_sensitive(true);
    Ok(value)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "AKIDEXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    type Signed = Vec<(HeaderName, HeaderValue)>;

    fn value<'a>(signed: &'a Signed, wanted: &str) -> Option<&'a str> {
        let (_, value) = signed.iter().find(|(name, _)| name == wanted)?;
        assert!(value.is_sensitive());
        value.to_str().ok()
    }

    fn signature(signed: &Signed) -> &str {
        value(signed, "authorization").and_then(|v| v.rsplit_once("Signature=")).expect("one").1
    }

    /// What AWS publishes for the signatures of its test suite: its keys, service and instant.
    #[test]
    fn the_signatures_are_those_of_the_published_suite() {
        let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
        let form = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-length", "13"),
            (
                "x-amz-content-sha256",
                "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
            ),
        ];
        let host = "https://example.amazonaws.com";
        for (method, path, token, headers, body, expected) in [
            (
                "GET",
                "/",
                None,
                &[][..],
                "",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "GET",
                "/",
                Some(token),
                &[],
                "",
                "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
            ),
            (
                "GET",
                "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
                None,
                &[],
                "",
                "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
            ),
            (
                "POST",
                "/",
                None,
                &form,
                "Param1=value1",
                "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
            ),
        ] {
            let keys = AwsCredentials::new(ID, SECRET, token.map(str::to_owned), None, "test");
            let uri = format!("{host}{path}");
            let call = Unsigned { method, uri: &uri, content_type: "", body: body.as_bytes() };
            // 2015-08-30T12:36:00Z
            let now = Timestamp::from_millis(1_440_938_160_000);
            let signed = sign_as("service", keys, "us-east-1", call, headers, now).expect("signed");
            assert_eq!(signature(&signed), expected, "{method} {path}");
        }
    }

    /// What botocore 1.44.5 signs for the same calls, keys and instant.
    #[test]
    fn the_signatures_are_those_of_the_official_client() {
        let token = "IQoJb3JpZ2luX2VjEXAMPLE//token==";
        for (uri, session_token, expected) in [
            (
                "https://bedrock-runtime.us-east-1.amazonaws.com/model/\
                 us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse",
                None,
                "a8c37f0e508799394f3b326724007877dc4e4d47f55283d39040953218b4c8bb",
            ),
            (
                "https://bedrock-runtime.us-east-1.amazonaws.com/model/\
                 arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3A\
                 application-inference-profile%2Fabc123def456/converse",
                Some(token),
                "17d0adbb2e42b9e8dede06666b17891e83397bf03a85f2539802a5154ec56538",
            ),
            (
                "http://127.0.0.1:4566/model/amazon.nova-lite-v1%3A0/converse",
                None,
                "ac9cf5fce5d4fd321ee44903c6bf4ffb20fcba651d38b96e6a60466a2cb7c04f",
            ),
        ] {
            let call = Unsigned {
                method: "POST",
                uri,
                content_type: "application/json",
                body: "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"Grüße\"}]}]}"
                    .as_bytes(),
            };
            let keys = Credentials::AccessKeys { id: ID, secret: SECRET, session_token };
            // 2026-11-23T09:08:07Z
            let now = Timestamp::from_millis(1_795_424_887_000);
            let signed = sign(keys, "us-east-1", call, now).expect("signed");
            assert_eq!(signature(&signed), expected, "{uri}");
            assert_eq!(value(&signed, "x-amz-date"), Some("20261123T090807Z"));
            assert_eq!(value(&signed, "x-amz-security-token"), session_token);
            assert!(value(&signed, "authorization").is_some_and(|value| value.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/us-east-1/bedrock/aws4_request, "
            )));
            assert_eq!(signed.len(), 2 + usize::from(session_token.is_some()));
        }
    }

    #[test]
    fn a_bearer_token_needs_no_signature() {
        let call = Unsigned { method: "POST", uri: "", content_type: "", body: b"" };
        let signed = sign(Credentials::Bearer("bedrock-key"), "", call, Timestamp::MIN);
        let signed = signed.expect("signed");
        assert_eq!(
            (signed.len(), value(&signed, "authorization")),
            (1, Some("Bearer bedrock-key"))
        );
        let bad = sign(Credentials::Bearer("a\nb"), "", call, Timestamp::MIN);
        assert_eq!(bad, Err(NotSigned));
    }

    #[test]
    fn what_cannot_be_signed_is_an_error() {
        let keys = Credentials::AccessKeys { id: ID, secret: SECRET, session_token: None };
        let call = Unsigned { method: "POST", uri: "not an address", content_type: "", body: b"" };
        assert_eq!(sign(keys, "us-east-1", call, Timestamp::MIN), Err(NotSigned));
        let call = Unsigned { uri: "https://example.com/", ..call };
        for (id, token, region, content_type) in [
            (ID, Some("a\nb"), "us-east-1", ""),
            ("a\nb", None, "us-east-1", ""),
            (ID, None, "us\neast", ""),
            (ID, None, "us-east-1", "a\nb"),
        ] {
            let keys = Credentials::AccessKeys { id, secret: "s", session_token: token };
            let call = Unsigned { content_type, ..call };
            assert_eq!(sign(keys, region, call, Timestamp::MAX), Err(NotSigned), "{id} {region}");
        }
    }
}
