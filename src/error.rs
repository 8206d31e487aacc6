//! Every way a call can fail at our door, and the one place where a failure becomes HTTP.
//!
//! The 401 and 403 bodies are the contract with key holders, word for word. Everything else follows
//! OpenAI's error object, whose four fields its clients expect. A provider's own error bodies never
//! come through here: they pass unchanged. Internal detail is logged where it is known, never sent.

use std::fmt;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use serde::Serialize;

use crate::domain::rate::duration_text;
use crate::domain::window::{Period, Timestamp};
use crate::provider::request::RequestError;
use crate::translate::Untranslatable;

/// Obeyed by OpenAI's official clients above everything else they know about retrying.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

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

/// The four fields that OpenAI's schema requires of an error, in the order of the contract.
#[derive(Serialize)]
struct ErrorObject<'a> {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: ErrorObject<'a>,
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
            Self::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
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

    /// The error object, in an envelope, as OpenAI's clients expect it.
    pub fn body(&self) -> String {
        let (kind, code, param) = self.labels();
        let error = ErrorObject { message: self.to_string(), kind, param, code };
        // Texts and absent values always have a JSON form.
        serde_json::to_string(&Envelope { error }).unwrap_or_default()
    }

    /// What the status does not say by itself.
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let text = |name, value| vec![(name, HeaderValue::from_static(value))];
        match self {
            Self::InvalidKey => text(header::WWW_AUTHENTICATE, "Bearer"),
            Self::SpendingLimit { period, resets_at } => {
                let mut headers = text(SHOULD_RETRY, "false");
                let limit = HeaderName::from_static("x-conduit-limit");
                headers.push((limit, HeaderValue::from_static(period.name())));
                let resets = HeaderName::from_static("x-conduit-resets-at");
                headers.extend(resets_at.to_string().parse().ok().map(|at| (resets, at)));
                headers
            }
            Self::SpendingReserved
            | Self::TooManyCalls { .. }
            | Self::Unsafe
            | Self::ShuttingDown => text(header::RETRY_AFTER, "1"),
            Self::RequestRate { wait_ms, .. } | Self::TokenRate { wait_ms, .. } => {
                let precise = HeaderName::from_static("retry-after-ms");
                vec![
                    (header::RETRY_AFTER, wait_ms.div_ceil(1_000).into()),
                    (precise, (*wait_ms).into()),
                ]
            }
            Self::Method { allowed } => text(header::ALLOW, allowed),
            // The same body would be refused again; a retry only costs.
            Self::Unpriced(_)
            | Self::EndpointNotAllowed(_)
            | Self::EndpointNotServed { .. }
            | Self::Untranslatable(_)
            | Self::PromptAboveRate { .. } => text(SHOULD_RETRY, "false"),
            Self::BadRequest(_)
            | Self::ContentType(_)
            | Self::BodyTooLarge { .. }
            | Self::BodyBroken
            | Self::NoSuchPath { .. }
            | Self::NoSuchModel(_)
            | Self::Upstream(_)
            | Self::Internal => Vec::new(),
        }
    }

    pub fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status());
        for header in self.headers() {
            response.insert_header(header);
        }
        if matches!(self, Self::BodyTooLarge { .. } | Self::BodyBroken | Self::ShuttingDown) {
            response.force_close();
        }
        response.content_type("application/json").body(self.body())
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
    use serde_json::json;

    #[test]
    fn the_contract_is_kept_to_the_letter() {
        let body =
            |error: ApiError| serde_json::from_str::<serde_json::Value>(&error.body()).unwrap();
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

    #[test]
    fn what_a_caller_sent_cannot_break_the_body() {
        let odd = "a\"b\\c\n\u{1b}[31m".to_owned();
        let error = ApiError::NoSuchPath { method: "GET".into(), path: odd };
        assert!(serde_json::from_str::<serde_json::Value>(&error.body()).is_ok());
    }
}
