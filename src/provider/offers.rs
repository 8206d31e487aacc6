//! What a provider says of the models it has: how its list is asked for, and what is read of it.
//!
//! A list is somebody else's text: names that could not be asked for are left out, and neither a page
//! nor the whole may grow without bound.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::address::segment;
use super::endpoint::Dialect;
use super::kind::Kind;
use super::request::MAX_MODEL_NAME;

/// The path of the list below a provider's address.
pub const PATH: &str = "models";
/// More than any provider has; what comes after is not read.
pub const MAX_OFFERS: usize = 10_000;

/// A model that a provider has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// As calls name it.
    pub name: String,
    /// Seconds since 1970, where the provider says it.
    pub created: Option<u64>,
}

/// A part of a provider's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub offers: Vec<Offer>,
    /// What asks for the next part.
    pub next_query: Option<String>,
}

/// Whether a kind has a list of what can be called. Azure's names models, where calls name deployments;
/// Amazon's is at another address.
pub const fn is_listed(kind: Kind) -> bool {
    !matches!(kind, Kind::Echo | Kind::Azure | Kind::Bedrock)
}

/// What asks for the first part: the longest that the provider allows.
pub const fn first_query(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Anthropic => "limit=1000",
        Dialect::Gemini => "pageSize=1000",
        Dialect::OpenAi | Dialect::Bedrock => "",
    }
}

/// The lists of `OpenAI` and Anthropic have `data`, Google's `models`; Together's is bare.
#[derive(Deserialize)]
#[serde(untagged)]
enum List {
    Bare(Vec<Model>),
    Object(Object),
}

#[derive(Deserialize)]
struct Object {
    #[serde(default, alias = "models")]
    data: Vec<Model>,
    #[serde(default)]
    has_more: Option<bool>,
    #[serde(default)]
    last_id: Option<String>,
    #[serde(default, rename = "nextPageToken")]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Model {
    Named {
        #[serde(alias = "name")]
        id: String,
        #[serde(default)]
        created: Option<Created>,
    },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Created {
    Seconds(u64),
    Other(IgnoredAny),
}

/// Reads a part of a list; `None` for what is not one.
pub fn read(kind: Kind, body: &[u8]) -> Option<Page> {
    let object = match serde_json::from_slice(body).ok()? {
        List::Bare(data) => return Some(Page { offers: offers(kind, data), next_query: None }),
        List::Object(object) => object,
    };
    let next_query = match kind.dialect() {
        Dialect::Anthropic if object.has_more == Some(true) => object
            .last_id
            .as_deref()
            .and_then(segment)
            .map(|id| format!("limit=1000&after_id={id}")),
        Dialect::Gemini => {
            let token = object.next_page_token.as_deref().and_then(segment);
            token.map(|token| format!("pageSize=1000&pageToken={token}"))
        }
        _ => None,
    };
    Some(Page { offers: offers(kind, object.data), next_query })
}

fn offers(kind: Kind, models: Vec<Model>) -> Vec<Offer> {
    let offer = |model| match model {
        Model::Named { id, created } => {
            let name = match kind {
                // A resource's name, where calls name the model.
                Kind::Gemini | Kind::GeminiOpenAi => id.strip_prefix("models/").unwrap_or(&id),
                _ => &id,
            };
            let can_be_asked = (1..=MAX_MODEL_NAME).contains(&name.len())
                && !name.contains(|c: char| c.is_control() || c.is_whitespace() || c == '*');
            let created = match created {
                Some(Created::Seconds(seconds)) => Some(seconds),
                Some(Created::Other(_)) | None => None,
            };
            can_be_asked.then(|| Offer { name: name.to_owned(), created })
        }
        Model::Other(_) => None,
    };
    models.into_iter().filter_map(offer).take(MAX_OFFERS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(kind: Kind, body: &str) -> (Vec<String>, Option<String>) {
        let page = read(kind, body.as_bytes()).unwrap();
        (page.offers.into_iter().map(|offer| offer.name).collect(), page.next_query)
    }

    #[test]
    fn the_lists_of_all_dialects_are_read() {
        let body = r#"{"object":"list","data":[{"id":"a","object":"model","created":7},{"id":"b/c","created":null}]}"#;
        let page = read(Kind::OpenAi, body.as_bytes()).unwrap();
        let offer = |name: &str, created| Offer { name: name.to_owned(), created };
        assert_eq!(page.offers, [offer("a", Some(7)), offer("b/c", None)]);
        assert_eq!(page.next_query, None);

        let body = r#"[{"id":"a","created":0,"pricing":{"input":0.1}},{"id":"b"}]"#;
        assert_eq!(names(Kind::Together, body).0, ["a", "b"]);

        let body = r#"{"data":[{"type":"model","id":"claude-x","created_at":"2026-01-01T00:00:00Z"}],
                       "has_more":true,"first_id":"claude-x","last_id":"claude-x"}"#;
        let next = Some("limit=1000&after_id=claude-x".to_owned());
        assert_eq!(names(Kind::Anthropic, body), (vec!["claude-x".to_owned()], next));

        let body = r#"{"models":[{"name":"models/gemini-x"},{"name":"tunedModels/mine"}],
                       "nextPageToken":"a b&c"}"#;
        let next = Some("pageSize=1000&pageToken=a%20b%26c".to_owned());
        let expected = vec!["gemini-x".to_owned(), "tunedModels/mine".to_owned()];
        assert_eq!(names(Kind::Gemini, body), (expected, next));
    }

    #[test]
    fn what_could_not_be_asked_for_is_left_out() {
        let long = "x".repeat(MAX_MODEL_NAME + 1);
        let body = format!(
            r#"{{"data":[{{"id":""}},{{"id":"a b"}},{{"id":"a\n"}},{{"id":"*"}},{{"id":7}},8,null,{{"id":"{long}"}},{{"id":"ok"}}]}}"#
        );
        assert_eq!(names(Kind::OpenAi, &body).0, ["ok"]);
        assert_eq!(read(Kind::OpenAi, b"{\"error\":{}}"), Some(Page::default()));
        assert_eq!(read(Kind::OpenAi, b"<html>"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(body in ".{0,80}") {
            let _ = read(Kind::Gemini, body.as_bytes());
        }
    }
}
