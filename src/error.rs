//! Every way a call can fail at our door, and the one place where a failure becomes HTTP.
//!
//! The 401 and 403 bodies are the contract with key holders, word for word. Everything else follows
//! OpenAI's error object, whose four fields its clients expect; clients of another dialect get the same
//! words and codes in the places where their SDK looks for them. A provider's own error bodies never
//! come through here: they pass unchanged. Internal detail is logged where it is known, never sent.

mod anthropic;
mod gemini;
mod openai;

use std::fmt;

use bytes::Bytes;
use http::StatusCode;

use crate::domain::rate::duration_text;
use crate::domain::request_id::RequestId;
use crate::domain::window::{Period, Timestamp};
use crate::fields::Headers;
use crate::message::Response;
use crate::provider::endpoint::{Dialect, Endpoint};
use crate::provider::request::RequestError;
use crate::translate::Untranslatable;

/// Obeyed by the official clients of `OpenAI` and Anthropic above everything else they know about
/// retrying. Google's retries only where its user said so, by status alone.
const SHOULD_RETRY: &str = "x-should-retry";
const RETRY_AFTER: &str = "retry-after";

/// Why a call is not served.
#[derive(Debug)]
pub enum ApiError {
    /// No key, or none that opens the door, for whatever reason: which one is not the caller's to know.
    InvalidKey,
    SpendingLimit {
        period: Period,
        resets_at: Timestamp,
    },
    /// Other calls of the key hold what this one needs.
    SpendingReserved,
    /// The key makes as many calls at the same time as it may.
    TooManyCalls {
        limit: u64,
    },
    RequestRate {
        limit: u64,
        wait_ms: u64,
    },
    TokenRate {
        limit: u64,
        wait_ms: u64,
    },
    /// The prompt alone is more than the key may use in a minute.
    PromptAboveRate {
        limit: u64,
        tokens: u64,
    },
    /// The key is not for this endpoint.
    EndpointNotAllowed(&'static str),
    BadRequest(RequestError),
    ContentType(String),
    /// The body is compressed.
    ContentEncoding(String),
    BodyTooLarge {
        limit: usize,
    },
    /// The client broke off while it sent the body, or sent one that does not match its length.
    BodyBroken,
    Method {
        allowed: &'static str,
    },
    NoSuchPath {
        method: String,
        path: String,
    },
    NoSuchModel(String),
    /// None of the model's providers has the endpoint, nor can the call be carried to one.
    EndpointNotServed {
        endpoint: &'static str,
        model: String,
    },
    /// The call says what its provider's dialect cannot.
    Untranslatable(Untranslatable),
    /// A key with limits asked for a model whose price nobody knows.
    Unpriced(String),
    Upstream(UpstreamError),
    /// The journal cannot be written, so no promise about money can be kept.
    Unsafe,
    ShuttingDown,
    Internal,
}

/// How a provider let us down before anything of its answer was sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamError {
    /// It could not be reached: it cannot have billed.
    Unreachable,
    /// It broke off, or did not speak HTTP.
    Broken,
    /// It was silent for too long.
    TimedOut,
}

/// What an error says, for each dialect to put it in its own places.
struct Words<'a> {
    status: u16,
    message: String,
    /// `OpenAI`'s `type`.
    kind: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
    /// How long to wait before the call is sent again.
    wait_ms: Option<u64>,
    request_id: Option<String>,
}

impl ApiError {
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::InvalidKey => StatusCode::UNAUTHORIZED,
            Self::SpendingLimit { .. } | Self::EndpointNotAllowed(_) => StatusCode::FORBIDDEN,
            Self::SpendingReserved
            | Self::TooManyCalls { .. }
            | Self::RequestRate { .. }
            | Self::TokenRate { .. }
            | Self::PromptAboveRate { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BadRequest(_)
            | Self::BodyBroken
            | Self::EndpointNotServed { .. }
            | Self::Untranslatable(_)
            | Self::Unpriced(_) => StatusCode::BAD_REQUEST,
            Self::ContentType(_) | Self::ContentEncoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoSuchPath { .. } | Self::NoSuchModel(_) => StatusCode::NOT_FOUND,
            Self::Upstream(UpstreamError::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
            Self::Unsafe | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// `type`, `code` and `param` of the error object.
    fn labels(&self) -> (&'static str, Option<&'static str>, Option<&str>) {
        const REQUEST: &str = "invalid_request_error";
        const SERVER: &str = "server_error";
        match self {
            Self::InvalidKey => ("authentication_error", Some("invalid_api_key"), None),
            Self::SpendingLimit { .. } => {
                ("authorization_error", Some("spending_limit_exceeded"), None)
            }
            Self::SpendingReserved => ("rate_limit_error", Some("spending_limit_reserved"), None),
            Self::TooManyCalls { .. } => ("requests", Some("concurrency_limit_exceeded"), None),
            Self::RequestRate { .. } => ("requests", Some("rate_limit_exceeded"), None),
            Self::TokenRate { .. } | Self::PromptAboveRate { .. } => {
                ("tokens", Some("rate_limit_exceeded"), None)
            }
            Self::EndpointNotAllowed(_) => {
                ("authorization_error", Some("endpoint_not_allowed"), None)
            }
            Self::BadRequest(error) => (REQUEST, error.code(), error.param()),
            Self::ContentType(_) => (REQUEST, Some("unsupported_content_type"), None),
            Self::ContentEncoding(_) => (REQUEST, Some("unsupported_content_encoding"), None),
            Self::BodyTooLarge { .. } => (REQUEST, Some("request_too_large"), None),
            Self::BodyBroken => (REQUEST, Some("incomplete_body"), None),
            Self::Method { .. } => (REQUEST, Some("method_not_supported"), None),
            Self::NoSuchPath { .. } => (REQUEST, Some("unknown_url"), None),
            Self::NoSuchModel(_) => (REQUEST, Some("model_not_found"), Some("model")),
            Self::EndpointNotServed { .. } => {
                (REQUEST, Some("endpoint_not_supported"), Some("model"))
            }
            Self::Untranslatable(what) => {
                (REQUEST, Some("unsupported_parameter"), what.param.as_deref())
            }
            Self::Unpriced(_) => (REQUEST, Some("model_without_price"), Some("model")),
            Self::Upstream(UpstreamError::Unreachable) => {
                (SERVER, Some("upstream_unreachable"), None)
            }
            Self::Upstream(UpstreamError::Broken) => (SERVER, Some("upstream_error"), None),
            Self::Upstream(UpstreamError::TimedOut) => (SERVER, Some("upstream_timeout"), None),
            Self::Unsafe => (SERVER, Some("ledger_unavailable"), None),
            Self::ShuttingDown => (SERVER, Some("shutting_down"), None),
            Self::Internal => (SERVER, Some("internal_error"), None),
        }
    }

    /// What the refusal is counted as: its code. A provider's failure is no refusal of ours.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Upstream(_) => None,
            _ => Some(self.labels().1.unwrap_or("invalid_request")),
        }
    }

    fn words(&self, id: Option<RequestId>) -> Words<'_> {
        let (kind, code, param) = self.labels();
        Words {
            status: self.status().as_u16(),
            message: self.to_string(),
            kind,
            param,
            code,
            wait_ms: self.wait_ms(),
            request_id: id.map(|id| id.to_string()),
        }
    }

    /// The body of the answer to the call `id`.
    pub fn body(&self, dialect: Dialect, id: Option<RequestId>) -> String {
        let words = self.words(id);
        match dialect {
            Dialect::OpenAi | Dialect::Bedrock => openai::body(&words),
            Dialect::Anthropic => anthropic::body(&words),
            Dialect::Gemini => gemini::body(&words),
        }
    }

    /// The event that tells the client of a stream what went wrong after its status went out: in each
    /// dialect one that its official clients raise.
    pub fn event(&self, endpoint: Endpoint, id: Option<RequestId>) -> String {
        let words = self.words(id);
        match endpoint.dialect() {
            Dialect::OpenAi if endpoint == Endpoint::Responses => openai::responses_event(&words),
            Dialect::OpenAi | Dialect::Bedrock => openai::event(&words),
            Dialect::Anthropic => anthropic::event(&words),
            Dialect::Gemini => gemini::event(&words),
        }
    }

    const fn wait_ms(&self) -> Option<u64> {
        match self {
            Self::SpendingReserved
            | Self::TooManyCalls { .. }
            | Self::Unsafe
            | Self::ShuttingDown => Some(1_000),
            Self::RequestRate { wait_ms, .. } | Self::TokenRate { wait_ms, .. } => Some(*wait_ms),
            _ => None,
        }
    }

    /// What the status does not say by itself.
    fn headers(&self) -> Headers {
        let mut headers = Headers::default();
        match self {
            Self::InvalidKey => headers.add("www-authenticate", "Bearer"),
            Self::SpendingLimit { period, resets_at } => {
                headers.add(SHOULD_RETRY, "false");
                headers.add("x-conduit-limit", period.name());
                headers.show("x-conduit-resets-at", resets_at);
            }
            Self::SpendingReserved
            | Self::TooManyCalls { .. }
            | Self::Unsafe
            | Self::ShuttingDown => headers.add(RETRY_AFTER, "1"),
            Self::RequestRate { wait_ms, .. } | Self::TokenRate { wait_ms, .. } => {
                headers.show(RETRY_AFTER, wait_ms.div_ceil(1_000));
                headers.show("retry-after-ms", wait_ms);
            }
            Self::Method { allowed } => headers.add("allow", allowed),
            Self::ContentEncoding(_) => headers.add("accept-encoding", "identity"),
            // The same body would be refused again; a retry only costs.
            Self::Unpriced(_)
            | Self::EndpointNotAllowed(_)
            | Self::EndpointNotServed { .. }
            | Self::Untranslatable(_)
            | Self::PromptAboveRate { .. } => headers.add(SHOULD_RETRY, "false"),
            Self::BadRequest(_)
            | Self::ContentType(_)
            | Self::BodyTooLarge { .. }
            | Self::BodyBroken
            | Self::NoSuchPath { .. }
            | Self::NoSuchModel(_)
            | Self::Upstream(_)
            | Self::Internal => {}
        }
        headers
    }

    /// The answer to the call `id`.
    pub fn response(&self, dialect: Dialect, id: Option<RequestId>) -> Response {
        let mut headers = self.headers();
        headers.add("content-type", "application/json");
        let body = Bytes::from(self.body(dialect, id));
        let closes =
            matches!(self, Self::BodyTooLarge { .. } | Self::BodyBroken | Self::ShuttingDown);
        Response { closes, ..Response::new(self.status(), headers, body) }
    }
}

impl fmt::Display for ApiError {
    /// The public words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidKey => f.write_str("Invalid API key provided."),
            Self::SpendingLimit { .. } => f.write_str("API key has exceeded its spending limit."),
            Self::SpendingReserved => f.write_str(
                "What is left of this API key's spending limit is set aside for its other calls. \
                 Please try again when they have ended.",
            ),
            Self::TooManyCalls { limit } => write!(
                f,
                "This API key may make at most {limit} calls at the same time. Please try again \
                 when one has ended."
            ),
            Self::RequestRate { limit, wait_ms } => write!(
                f,
                "Rate limit reached for this API key on requests per minute: limit {limit}. \
                 Please try again in {}.",
                duration_text(*wait_ms)
            ),
            Self::TokenRate { limit, wait_ms } => write!(
                f,
                "Rate limit reached for this API key on tokens per minute: limit {limit}. \
                 Please try again in {}.",
                duration_text(*wait_ms)
            ),
            Self::PromptAboveRate { limit, tokens } => write!(
                f,
                "Request too large for this API key on tokens per minute: limit {limit}, \
                 requested {tokens}. The prompt must be made shorter."
            ),
            Self::EndpointNotAllowed(endpoint) => {
                write!(f, "This API key is not allowed to call the endpoint '{endpoint}'.")
            }
            Self::BadRequest(error) => error.fmt(f),
            Self::ContentEncoding(found) => {
                write!(
                    f,
                    "Unsupported content encoding: '{found}'. The body must not be compressed."
                )
            }
            Self::ContentType(found) => write!(
                f,
                "Unsupported content type: '{}'. This endpoint only accepts 'application/json'.",
                found.escape_debug()
            ),
            Self::BodyTooLarge { limit } => {
                write!(f, "The request body is larger than the {limit} bytes this gateway accepts.")
            }
            Self::BodyBroken => f.write_str("The request body ended before it was complete."),
            Self::Method { allowed } => {
                write!(f, "This URL does not support that method: use {allowed}.")
            }
            Self::NoSuchPath { method, path } => {
                write!(f, "Unknown request URL: {method} {path}. Please check the URL for typos.")
            }
            Self::NoSuchModel(model) => write!(
                f,
                "The model `{}` does not exist or you do not have access to it.",
                model.escape_debug()
            ),
            Self::EndpointNotServed { endpoint, model } => write!(
                f,
                "The model `{}` cannot be called at this endpoint: no provider of it takes \
                 '{endpoint}'.",
                model.escape_debug()
            ),
            Self::Untranslatable(what) => {
                write!(f, "The provider of this model cannot do what the call asks: {what}")
            }
            Self::Unpriced(model) => write!(
                f,
                "The model `{}` has no price, so it cannot be used with a key that has a spending \
                 limit. Its price can be set in the gateway's configuration.",
                model.escape_debug()
            ),
            Self::Upstream(UpstreamError::Unreachable) => {
                f.write_str("The provider of this model could not be reached.")
            }
            Self::Upstream(UpstreamError::Broken) => {
                f.write_str("The provider of this model broke off before it answered.")
            }
            Self::Upstream(UpstreamError::TimedOut) => {
                f.write_str("The provider of this model did not answer in time.")
            }
            Self::Unsafe => f.write_str(
                "The gateway cannot record spending at the moment and therefore serves no calls.",
            ),
            Self::ShuttingDown => f.write_str("The gateway is shutting down. Please try again."),
            Self::Internal => f.write_str("The gateway had an internal error."),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self::BadRequest(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_contract_is_kept_to_the_letter() {
        let body = |error: ApiError| {
            serde_json::from_str::<Value>(&error.body(Dialect::OpenAi, None)).unwrap()
        };
        let expected = json!({"error": {
            "message": "Invalid API key provided.",
            "type": "authentication_error",
            "param": null,
            "code": "invalid_api_key",
        }});
        assert_eq!(body(ApiError::InvalidKey), expected);
        let expected = json!({"error": {
            "message": "API key has exceeded its spending limit.",
            "type": "authorization_error",
            "param": null,
            "code": "spending_limit_exceeded",
        }});
        let spent = ApiError::SpendingLimit { period: Period::Daily, resets_at: Timestamp::MIN };
        assert_eq!(body(spent), expected);
    }

    /// An error with a wait, one with a parameter, one without a code, and the two of the contract.
    fn errors() -> [ApiError; 5] {
        let reset = Timestamp::MIN;
        [
            ApiError::InvalidKey,
            ApiError::SpendingLimit { period: Period::Daily, resets_at: reset },
            ApiError::RequestRate { limit: 3, wait_ms: 1_500 },
            ApiError::BadRequest(RequestError::Missing("messages")),
            ApiError::BadRequest(RequestError::NotAnObject),
        ]
    }

    fn in_dialect(dialect: Dialect) -> [Value; 5] {
        let id = Some(RequestId::from_bits(7));
        errors().map(|error| serde_json::from_str(&error.body(dialect, id)).unwrap())
    }

    #[test]
    fn anthropic_has_a_type_for_each_status_and_a_code_in_the_details() {
        let bodies = in_dialect(Dialect::Anthropic);
        let [key, limit, rate, missing, bare] = &bodies;
        for body in &bodies {
            assert_eq!(body["type"], "error");
            assert!(body["request_id"].as_str().is_some_and(|id| id.starts_with("req_")), "{body}");
        }
        let expected = json!({
            "type": "permission_error",
            "message": "API key has exceeded its spending limit.",
            "details": {"error_code": "spending_limit_exceeded"},
        });
        assert_eq!(limit["error"], expected);
        assert_eq!(key["error"]["type"], "authentication_error");
        assert_eq!(rate["error"]["type"], "rate_limit_error");
        let details = json!({"error_code": "missing_required_parameter", "param": "messages"});
        assert_eq!(missing["error"]["details"], details);
        let expected = json!({
            "type": "invalid_request_error",
            "message": "The request body must be a JSON object.",
        });
        assert_eq!(bare["error"], expected);
    }

    #[test]
    fn gemini_has_a_status_and_says_in_the_body_when_to_come_back() {
        let [key, limit, rate, missing, bare] = in_dialect(Dialect::Gemini);
        assert_eq!(
            (&key["error"]["code"], &key["error"]["status"]),
            (&json!(401), &json!("UNAUTHENTICATED"))
        );
        let expected = json!({"error": {
            "code": 403,
            "message": "API key has exceeded its spending limit.",
            "status": "PERMISSION_DENIED",
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SPENDING_LIMIT_EXCEEDED",
                "domain": "conduit",
                "metadata": {"code": "spending_limit_exceeded"},
            }],
        }});
        assert_eq!(limit, expected);
        assert_eq!(rate["error"]["status"], "RESOURCE_EXHAUSTED");
        let retry =
            json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.500s"});
        assert_eq!(rate["error"]["details"][1], retry);
        assert_eq!(missing["error"]["details"][1]["fieldViolations"][0]["field"], "messages");
        assert_eq!(bare["error"]["status"], "INVALID_ARGUMENT");
        assert_eq!(bare["error"].get("details"), None);
    }

    #[test]
    fn an_event_is_one_that_the_dialects_clients_raise() {
        let error = ApiError::Upstream(UpstreamError::Broken);
        for (endpoint, name, place) in [
            (Endpoint::Chat, None, "/error/code"),
            (Endpoint::Responses, Some("error"), "/error/code"),
            (Endpoint::Responses, Some("error"), "/code"),
            (Endpoint::Messages, Some("error"), "/error/details/error_code"),
            (Endpoint::StreamGenerateContent, None, "/error/details/0/metadata/code"),
        ] {
            let event = error.event(endpoint, None);
            let event = event.strip_suffix("\n\n").unwrap();
            let (head, data) = event.rsplit_once("data: ").unwrap();
            assert_eq!(head, name.map(|name| format!("event: {name}\n")).unwrap_or_default());
            assert!(!data.contains('\n'));
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(data.pointer(place), Some(&json!("upstream_error")), "{data}");
        }
    }

    #[test]
    fn what_a_caller_sent_cannot_break_the_body() {
        let odd = "a\"b\\c\n\u{1b}[31m".to_owned();
        let error = ApiError::NoSuchPath { method: "GET".into(), path: odd };
        for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini] {
            assert!(serde_json::from_str::<Value>(&error.body(dialect, None)).is_ok());
        }
    }
}
