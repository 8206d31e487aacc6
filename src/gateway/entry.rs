//! What a client called, as the path and the query of its request say, and in which dialect it wants
//! to be answered.
//!
//! Of a query only what is known to be harmless goes on, and it is never the client's own text that
//! does: a query can carry a key, or choose what an answer leaves out.

use http::Method;

use crate::error::ApiError;
use crate::message::Head;
use crate::provider::address::decoded;
use crate::provider::endpoint::{Dialect, Endpoint};
use crate::provider::request::MAX_MODEL_NAME;

/// The versions of Google's API; its client asks for the first.
pub(super) const GOOGLE_VERSIONS: [&str; 3] = ["/v1beta", "/v1alpha", "/v1"];
/// What Google's models are called below those.
pub(super) const GOOGLE_COLLECTIONS: [&str; 2] = ["models", "tunedModels"];
/// Where the client of `OpenAI` for Azure puts a deployment in front of the endpoint.
pub(super) const AZURE_DEPLOYMENTS: &str = "/openai/deployments/";

/// The endpoint that a client called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) endpoint: Endpoint,
    /// The model, in dialects that name it in the path.
    pub(super) model: Option<String>,
    /// The part of the query that goes on to a provider of the same dialect.
    pub(super) query: Option<&'static str>,
}

impl Entry {
    /// A call whose model is in its body.
    pub(super) fn plain(endpoint: Endpoint, head: &Head) -> Self {
        Self { endpoint, model: None, query: forwarded(endpoint, head.query()) }
    }

    /// A call to a method of a model of Google's.
    pub(super) fn of_method(head: &Head) -> Result<Self, ApiError> {
        if !head.path().contains(':') {
            // A model as such can only be looked at.
            return Err(ApiError::Method { allowed: "GET" });
        }
        let (model, endpoint) = method(head.path()).ok_or_else(|| no_such_path(head))?;
        let model = Some(checked(&model)?);
        Ok(Self { endpoint, model, query: forwarded(endpoint, head.query()) })
    }

    /// A call to a deployment of Azure's.
    pub(super) fn of_deployment(endpoint: Endpoint, head: &Head) -> Result<Self, ApiError> {
        let rest = head.path().strip_prefix(AZURE_DEPLOYMENTS);
        let name = rest.and_then(|rest| rest.strip_suffix(endpoint.name())?.strip_suffix('/'));
        let name = name.and_then(decoded).ok_or_else(|| no_such_path(head))?;
        Ok(Self { endpoint, model: Some(checked(&name)?), query: None })
    }
}

/// The dialect that the client of a request speaks.
pub(super) fn dialect(head: &Head) -> Dialect {
    let path = head.path();
    let is_below = |root: &str| {
        path.strip_prefix(root).is_some_and(|p| matches!(p.as_bytes(), [] | [b'/', ..]))
    };
    if is_below("/v1beta") || is_below("/v1alpha") {
        Dialect::Gemini
    } else if is_below("/v1/messages") || is_below("/messages") || is_below("/anthropic") {
        Dialect::Anthropic
    } else if is_below("/v1/models") || is_below("/v1/tunedModels") {
        of_models(head)
    } else {
        Dialect::OpenAi
    }
}

/// Three dialects have their models under one path: there it is what the client sends along that tells
/// them apart.
fn of_models(head: &Head) -> Dialect {
    let headers = &head.headers;
    // With a bearer key it may be anybody.
    let has = |name: &str| headers.contains(name) && !headers.contains("authorization");
    let is_google = has("x-goog-api-key")
        || headers.contains("x-goog-api-client")
        || parameters(head.query()).any(|(name, _)| name == "key");
    if is_google || (head.method == Method::POST && method(head.path()).is_some()) {
        Dialect::Gemini
    } else if headers.contains("anthropic-version") || has("x-api-key") {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    }
}

/// The model and the method of a path of Google's. A name may have slashes and colons in it: the
/// method comes after the last colon. What is not in the collection `models` keeps its collection.
fn method(path: &str) -> Option<(String, Endpoint)> {
    let below = |version: &str| path.strip_prefix(version)?.strip_prefix('/');
    let rest = GOOGLE_VERSIONS.iter().find_map(|version| below(version))?;
    let (resource, method) = rest.rsplit_once(':')?;
    let mut endpoints = Endpoint::ALL.into_iter();
    let endpoint = endpoints.find(|e| e.dialect() == Dialect::Gemini && e.name() == method)?;
    let (collection, name) = resource.split_once('/')?;
    let model = match collection {
        "models" => decoded(name)?,
        "tunedModels" => format!("tunedModels/{}", decoded(name)?),
        _ => return None,
    };
    Some((model, endpoint))
}

/// A model's name as a body could have named it.
fn checked(model: &str) -> Result<String, ApiError> {
    if model.is_empty() || model.len() > MAX_MODEL_NAME || model.contains(char::is_control) {
        let end = model.char_indices().map(|(at, _)| at).nth(MAX_MODEL_NAME).unwrap_or(model.len());
        return Err(ApiError::NoSuchModel(model[..end].to_owned()));
    }
    Ok(model.to_owned())
}

/// What of a query goes on: Anthropic's client marks its beta calls by it, and Google's asks for
/// events. `fields`, `key` and all else stay behind.
fn forwarded(endpoint: Endpoint, query: &str) -> Option<&'static str> {
    let asks =
        |wanted: (&str, &str)| parameters(query).any(|(name, value)| (&*name, &*value) == wanted);
    match endpoint {
        Endpoint::Messages | Endpoint::CountTokens => asks(("beta", "true")).then_some("beta=true"),
        Endpoint::StreamGenerateContent => {
            (asks(("alt", "sse")) || asks(("$alt", "sse"))).then_some("alt=sse")
        }
        _ => None,
    }
}

/// The parameters of a query; those that cannot be read are left out.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(&value.replace('+', " "))?))
    })
}

pub(super) fn no_such_path(head: &Head) -> ApiError {
    ApiError::NoSuchPath { method: head.method.to_string(), path: head.path().to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_model_and_a_method_are_read_from_the_path() {
        use Endpoint::*;
        for (path, expected) in [
            ("/v1beta/models/gemini-x:generateContent", Some(("gemini-x", GenerateContent))),
            ("/v1/models/gemini-x:countTokens", Some(("gemini-x", GeminiCountTokens))),
            ("/v1alpha/models/a:embedContent", Some(("a", EmbedContent))),
            (
                "/v1beta/models/openai/gpt-4o:generateContent",
                Some(("openai/gpt-4o", GenerateContent)),
            ),
            (
                "/v1beta/models/openai%2Fgpt-4o:streamGenerateContent",
                Some(("openai/gpt-4o", StreamGenerateContent)),
            ),
            ("/v1beta/models/llama3:8b:generateContent", Some(("llama3:8b", GenerateContent))),
            (
                "/v1beta/tunedModels/mine:generateContent",
                Some(("tunedModels/mine", GenerateContent)),
            ),
            ("/v1beta/models/a%252F:generateContent", Some(("a%2F", GenerateContent))),
            ("/v1beta/models/a:batchEmbedContents", Some(("a", BatchEmbedContents))),
            ("/v1beta/models/a", None),
            ("/v1beta/models/a:chat/completions", None),
            ("/v1beta/models/a:converse", None),
            ("/v1beta/corpora/a:generateContent", None),
            ("/v1beta/models/%:generateContent", None),
            ("/v1beta/models/%ff:generateContent", None),
            ("/v2/models/a:generateContent", None),
        ] {
            let expected = expected.map(|(model, endpoint)| (model.to_owned(), endpoint));
            assert_eq!(method(path), expected, "{path}");
        }
    }

    #[test]
    fn a_name_that_no_body_could_hold_is_unknown() {
        for name in ["", "%0A", &"x".repeat(300), &"%C3%A9".repeat(200)] {
            let uri = format!("/v1beta/models/{name}:generateContent");
            let head = Head::of("POST", &uri, &[]);
            assert!(matches!(Entry::of_method(&head), Err(ApiError::NoSuchModel(_))), "{name}");
        }
    }

    #[test]
    fn a_deployment_is_a_model() {
        let uri = "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21";
        let head = Head::of("POST", uri, &[]);
        let entry = Entry::of_deployment(Endpoint::Chat, &head).unwrap();
        let model = Some("my gpt".to_owned());
        assert_eq!(entry, Entry { endpoint: Endpoint::Chat, model, query: None });
    }

    #[test]
    fn a_query_goes_on_only_where_it_is_known() {
        for (endpoint, query, expected) in [
            (Endpoint::Messages, "beta=true", Some("beta=true")),
            (Endpoint::Messages, "x=1&beta=true", Some("beta=true")),
            (Endpoint::Messages, "beta=1", None),
            (Endpoint::Chat, "beta=true", None),
            (Endpoint::StreamGenerateContent, "alt=sse", Some("alt=sse")),
            (Endpoint::StreamGenerateContent, "%24alt=sse&key=secret", Some("alt=sse")),
            (Endpoint::StreamGenerateContent, "alt=proto&fields=candidates", None),
            (Endpoint::GenerateContent, "key=secret&alt=json", None),
        ] {
            assert_eq!(forwarded(endpoint, query), expected, "{query}");
        }
    }

    #[test]
    fn the_dialect_is_that_of_the_path_or_else_of_the_headers() {
        use Dialect::*;
        for (method, uri, header, expected) in [
            ("POST", "/v1/chat/completions", "x-api-key", OpenAi),
            ("POST", "/v1/messages", "authorization", Anthropic),
            ("POST", "/v1/messages/count_tokens?beta=true", "authorization", Anthropic),
            ("POST", "/v1/messagesx", "authorization", OpenAi),
            ("POST", "/anthropic/v1/nothing", "authorization", Anthropic),
            ("GET", "/v1beta/nothing", "authorization", Gemini),
            ("POST", "/v1/models/a:generateContent", "authorization", Gemini),
            ("GET", "/v1/models/llama3:8b", "authorization", OpenAi),
            ("GET", "/v1/models", "authorization", OpenAi),
            ("GET", "/v1/models", "anthropic-version", Anthropic),
            ("GET", "/v1/models", "x-api-key", Anthropic),
            ("GET", "/v1/models", "x-goog-api-key", Gemini),
            ("GET", "/v1/models?key=secret", "accept", Gemini),
        ] {
            let head = Head::of(method, uri, &[(header, "x")]);
            assert_eq!(dialect(&head), expected, "{method} {uri} {header}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_without_a_panic(path in "(/v1beta/models/)?.{0,60}(:generateContent)?") {
            if let Some((model, _)) = method(&path) {
                let _ = checked(&model);
            }
        }
    }
}
