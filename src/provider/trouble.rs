//! What a provider's refusal means for the next attempt: whether the call itself is at fault, the key
//! it was sent with, the target or only the moment, and how long the provider asks to be left alone.
//!
//! Read from the status, a few headers and the words that providers are known to use; anything else
//! is taken by its status. Text from a provider is never a reason to panic.

use serde_json::Value;

use super::kind::Kind;

/// Who or what is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call: another target would say the same.
    Call,
    /// The provider's key, or the account behind it. Another key may do.
    Key,
    /// Too much was asked with this key in a short time.
    Rate,
    /// The target as it is set up: sending the call again does not help, another target may.
    Target,
    /// The moment: the same target may answer soon.
    Moment,
}

impl Fault {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Key => "key",
            Self::Rate => "rate",
            Self::Target => "target",
            Self::Moment => "moment",
        }
    }
}

/// Why a call was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub fault: Fault,
    /// How long the provider asks to be left alone.
    pub wait_ms: Option<u64>,
}

/// The headers of an answer that say when to come back.
#[derive(Clone, Copy, Debug, Default)]
pub struct RetryHeaders<'a> {
    /// `retry-after-ms`, of `OpenAI` and Azure.
    pub after_ms: Option<&'a str>,
    /// `retry-after`, in seconds; a date is not read, for clocks differ.
    pub after: Option<&'a str>,
    /// `x-should-retry: false`, which official clients obey above everything.
    pub should_retry: Option<&'a str>,
}

/// Refusals of an account that come with a status of the call's own fault. Each text is one that a
/// provider was seen to answer with.
const ACCOUNT_WORDS: [&[u8]; 6] = [
    // Anthropic, 400 `invalid_request_error`: without credit, and at an organisation's own cap.
    b"credit balance is too low",
    b"reached your specified API usage limits",
    // Groq, 400.
    b"blocked_api_access",
    // OpenAI, 400.
    b"billing_hard_limit_reached",
    b"billing_not_active",
    // Google, 400 `INVALID_ARGUMENT` for a wrong key.
    b"API_KEY_INVALID",
];

/// What an answer means that has a status of an error, or an error in place of its content. `None`
/// for a status that is not one.
pub fn read(kind: Kind, status: u16, headers: &RetryHeaders<'_>, body: &[u8]) -> Option<Trouble> {
    let status = match status {
        200..=299 => told_status(body)?,
        status => status,
    };
    judge(kind, status, headers, body)
}

/// What an event means that came in place of a stream's first: an error by its content, or by its
/// name. `None` for one that is no error.
pub fn read_event(
    kind: Kind,
    name: Option<&str>,
    headers: &RetryHeaders<'_>,
    data: &[u8],
) -> Option<Trouble> {
    let named = || status_of_event(name?, data);
    judge(kind, told_status(data).or_else(named)?, headers, data)
}

/// The status that an event means which is an error by its name: Bedrock's exceptions, and `error` of
/// `OpenAI`'s responses, whose `code` stands beside its message.
fn status_of_event(name: &str, data: &[u8]) -> Option<u16> {
    Some(match name {
        "validationException" => 400,
        "accessDeniedException" => 403,
        "resourceNotFoundException" => 404,
        "modelTimeoutException" => 408,
        "modelErrorException" | "modelStreamErrorException" => 424,
        "throttlingException" | "serviceQuotaExceededException" => 429,
        "error" => {
            let value: Value = serde_json::from_slice(data).unwrap_or_default();
            match value.get("code").and_then(Value::as_str).unwrap_or_default() {
                "rate_limit_exceeded" => 429,
                "insufficient_quota" => 402,
                "invalid_prompt" | "context_length_exceeded" => 400,
                _ => 500,
            }
        }
        name if name.ends_with("Exception") || name == "exception" => 500,
        _ => return None,
    })
}

fn judge(kind: Kind, status: u16, headers: &RetryHeaders<'_>, body: &[u8]) -> Option<Trouble> {
    let mut fault = fault_of(status)?;
    let says = |word: &&[u8]| memchr::memmem::find(body, word).is_some();
    if fault == Fault::Call && ACCOUNT_WORDS.iter().any(says) {
        fault = Fault::Key;
    }
    if fault == Fault::Rate && memchr::memmem::find(body, b"insufficient_quota").is_some() {
        // OpenAI's 429 for an account without money: waiting does not help.
        fault = Fault::Key;
    }
    if fault == Fault::Moment && headers.should_retry == Some("false") {
        fault = Fault::Target;
    }
    let asked = headers.after_ms.and_then(millis).or_else(|| headers.after.and_then(seconds));
    let in_body = || matches!(kind, Kind::Gemini | Kind::GeminiOpenAi).then(|| retry_info(body));
    Some(Trouble { fault, wait_ms: asked.or_else(|| in_body().flatten()) })
}

const fn fault_of(status: u16) -> Option<Fault> {
    Some(match status {
        401..=403 => Fault::Key,
        // A deployment that is not there, a redirect, or what a server does not do.
        300..=399 | 404 | 405 | 410 | 501 | 505 => Fault::Target,
        429 => Fault::Rate,
        // 409 is a lock that OpenAI could not get; 424 a model that failed within Bedrock.
        408 | 409 | 424 | 425 | 500..=599 => Fault::Moment,
        400..=499 => Fault::Call,
        _ => return None,
    })
}

/// The status that an error means which came in an answer of success, as `OpenRouter` sends them:
/// `error.code` is a number there. `None` where the body has no error.
fn told_status(body: &[u8]) -> Option<u16> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let error = value.get("error").filter(|error| !error.is_null())?;
    let number = error.get("code").or_else(|| error.get("status")).and_then(Value::as_u64);
    let number = number.and_then(|number| u16::try_from(number).ok());
    if let Some(status) = number.filter(|status| (400..600).contains(status)) {
        return Some(status);
    }
    let word = error.get("type").and_then(Value::as_str).unwrap_or_default();
    Some(match word {
        "invalid_request_error" | "request_too_large" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "rate_limit_error" => 429,
        _ => 500,
    })
}

/// Google's `RetryInfo`, which stands in the body: `"retryDelay": "34.4s"`.
fn retry_info(body: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(body).ok()?;
    // The OpenAI-compatible address wraps it into a list.
    let value = value.get(0).unwrap_or(&value);
    let details = value.get("error")?.get("details")?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay"))?;
    seconds(delay.as_str()?.strip_suffix('s')?)
}

/// Milliseconds as written, with or without a fraction, which counts as a whole one.
fn millis(text: &str) -> Option<u64> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let ms: u64 = digits(whole)?;
    let more = fraction.bytes().any(|byte| byte != b'0');
    fraction.bytes().all(|byte| byte.is_ascii_digit()).then(|| ms.saturating_add(u64::from(more)))
}

/// Seconds as written, with or without a fraction, in milliseconds rounded up.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let ms = digits(whole)?.saturating_mul(1_000);
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let places = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let part = places.fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'));
    let more = fraction.bytes().skip(3).any(|byte| byte != b'0');
    Some(ms.saturating_add(part + u64::from(more)))
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(status: u16, body: &str) -> Option<Fault> {
        let trouble = read(Kind::OpenAi, status, &RetryHeaders::default(), body.as_bytes());
        trouble.map(|trouble| trouble.fault)
    }

    #[test]
    fn a_refusal_has_somebody_at_fault() {
        for (status, body, expected) in [
            (200, r#"{"choices":[]}"#, None),
            (200, "not json", None),
            (200, r#"{"error":null}"#, None),
            (200, r#"{"error":{"code":429}}"#, Some(Fault::Rate)),
            (200, r#"{"error":{"code":"x"}}"#, Some(Fault::Moment)),
            (200, r#"{"type":"error","error":{"type":"overloaded_error"}}"#, Some(Fault::Moment)),
            (200, r#"{"error":{"type":"invalid_request_error"}}"#, Some(Fault::Call)),
            (307, "", Some(Fault::Target)),
            (400, "{}", Some(Fault::Call)),
            (400, r#"{"error":{"code":"context_length_exceeded"}}"#, Some(Fault::Call)),
            (400, r#"{"error":{"message":"Your credit balance is too low"}}"#, Some(Fault::Key)),
            (400, r#"[{"error":{"details":[{"reason":"API_KEY_INVALID"}]}}]"#, Some(Fault::Key)),
            (401, "", Some(Fault::Key)),
            (402, "", Some(Fault::Key)),
            (403, "", Some(Fault::Key)),
            (404, "", Some(Fault::Target)),
            (408, "", Some(Fault::Moment)),
            (409, "", Some(Fault::Moment)),
            (413, "", Some(Fault::Call)),
            (422, "", Some(Fault::Call)),
            (429, "", Some(Fault::Rate)),
            (429, r#"{"error":{"code":"insufficient_quota"}}"#, Some(Fault::Key)),
            (500, "", Some(Fault::Moment)),
            (501, "", Some(Fault::Target)),
            (503, "", Some(Fault::Moment)),
            (529, "", Some(Fault::Moment)),
        ] {
            assert_eq!(fault(status, body), expected, "{status} {body}");
        }
        let never = RetryHeaders { should_retry: Some("false"), ..RetryHeaders::default() };
        let trouble = read(Kind::OpenAi, 500, &never, b"").unwrap();
        assert_eq!(trouble.fault, Fault::Target);
    }

    #[test]
    fn an_event_is_an_error_by_its_content_or_by_its_name() {
        for (name, data, expected) in [
            (Some("messageStart"), r#"{"role":"assistant"}"#, None),
            (None, r#"{"error":{"type":"rate_limit_error"}}"#, Some(Fault::Rate)),
            (Some("throttlingException"), r#"{"message":"slow"}"#, Some(Fault::Rate)),
            (Some("validationException"), "{}", Some(Fault::Call)),
            (Some("accessDeniedException"), "{}", Some(Fault::Key)),
            (Some("somethingNewException"), "{}", Some(Fault::Moment)),
            (Some("error"), r#"{"code":"invalid_event_stream"}"#, Some(Fault::Moment)),
            (Some("error"), r#"{"type":"error","code":"rate_limit_exceeded"}"#, Some(Fault::Rate)),
            (Some("error"), r#"{"type":"error","code":"insufficient_quota"}"#, Some(Fault::Key)),
            (Some("error"), r#"{"type":"error","code":"invalid_prompt"}"#, Some(Fault::Call)),
            (Some("error"), "?", Some(Fault::Moment)),
        ] {
            let headers = RetryHeaders::default();
            let trouble = read_event(Kind::Bedrock, name, &headers, data.as_bytes());
            assert_eq!(trouble.map(|trouble| trouble.fault), expected, "{name:?} {data}");
        }
    }

    #[test]
    fn waits_are_read_from_headers_and_from_googles_body() {
        let headers = |after_ms, after| RetryHeaders { after_ms, after, should_retry: None };
        let delay = |text: &str| {
            format!(r#"{{"error":{{"details":[{{"x":1}},{{"retryDelay":"{text}"}}]}}}}"#)
        };
        for (kind, headers, body, expected) in [
            (Kind::OpenAi, headers(None, Some("17")), String::new(), Some(17_000)),
            (Kind::OpenAi, headers(None, Some("0.25")), String::new(), Some(250)),
            (Kind::OpenAi, headers(Some("1500.5"), Some("17")), String::new(), Some(1_501)),
            (Kind::OpenAi, headers(Some("x"), Some("1")), String::new(), Some(1_000)),
            (
                Kind::OpenAi,
                headers(None, Some("Wed, 21 Oct 2026 07:28:00 GMT")),
                String::new(),
                None,
            ),
            (Kind::OpenAi, headers(None, Some("-1")), String::new(), None),
            (Kind::OpenAi, headers(None, None), delay("34.4s"), None),
            (Kind::Gemini, headers(None, None), delay("34.4s"), Some(34_400)),
            (Kind::Gemini, headers(None, None), delay("0.0004s"), Some(1)),
            (Kind::Gemini, headers(None, None), delay("soon"), None),
            (Kind::GeminiOpenAi, headers(None, None), format!("[{}]", delay("7s")), Some(7_000)),
        ] {
            let trouble = read(kind, 429, &headers, body.as_bytes()).unwrap();
            assert_eq!(trouble.wait_ms, expected, "{kind:?} {headers:?} {body}");
        }
    }

    proptest! {
        #[test]
        fn any_refusal_is_read_without_panic(
            status in 0u16..1000, text in "\\PC{0,20}", body in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let headers = RetryHeaders {
                after_ms: Some(&text), after: Some(&text), should_retry: Some(&text),
            };
            for kind in [Kind::OpenAi, Kind::Gemini] {
                let _ = read(kind, status, &headers, &body);
            }
        }
    }
}
