//! Which path leads where on the gateway's listener. Everything else is a 404 in the dialect of the
//! path.

use std::borrow::Cow;

use http::Method;

use super::entry::{AZURE_DEPLOYMENTS, Entry, GOOGLE_COLLECTIONS, GOOGLE_VERSIONS, no_such_path};
use super::{Edge, answer, info, models, serve};
use crate::domain::request_id::RequestId;
use crate::error::ApiError;
use crate::map::Map;
use crate::message::{Body, Head, Request, Response, Serve};
use crate::provider::endpoint::{Dialect, Endpoint};

/// `OpenAI`'s paths, which many clients also use without the version, and the same as Azure has them.
const OPENAI: [&str; 4] = ["/v1", "", "/openai/v1", "/openai"];
/// Anthropic's, and the same below a name, for clients that are given one address for each dialect.
const ANTHROPIC: [&str; 2] = ["/v1", "/anthropic/v1"];

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// An endpoint whose model is in the body.
    Call(Endpoint),
    /// An endpoint of a deployment of Azure's.
    Deployment(Endpoint),
    /// The models that a key may use.
    Models,
    /// One of them.
    Model,
    /// One of them as Google has it, whose methods stand behind it.
    GoogleModel,
    Key,
    Healthz,
    Readyz,
}

/// The gateway, as the connections of one worker know it.
pub struct Gateway {
    edge: Edge,
    /// Paths that are what they are.
    paths: Map<String, Place>,
    /// What comes before a model's name, with the slash.
    collections: Vec<(String, Place)>,
}

impl Gateway {
    pub fn new(edge: Edge) -> Self {
        let mut paths = Map::default();
        let mut collections = Vec::new();
        for endpoint in Endpoint::ALL {
            let prefixes: &[&str] = match endpoint.dialect() {
                Dialect::OpenAi => &OPENAI,
                Dialect::Anthropic => &ANTHROPIC,
                // Their methods stand behind a model.
                Dialect::Gemini | Dialect::Bedrock => &[],
            };
            let each = prefixes.iter().map(|prefix| format!("{prefix}/{}", endpoint.name()));
            paths.extend(each.map(|path| (path, Place::Call(endpoint))));
        }
        // As Cohere's clients have it.
        paths.insert("/v2/rerank".to_owned(), Place::Call(Endpoint::Rerank));
        let mut models = |path: String, one: Place| {
            collections.push((format!("{path}/"), one));
            paths.insert(path, Place::Models);
        };
        for prefix in OPENAI.into_iter().chain(ANTHROPIC).filter(|prefix| *prefix != "/v1") {
            models(format!("{prefix}/models"), Place::Model);
        }
        for version in GOOGLE_VERSIONS {
            for collection in GOOGLE_COLLECTIONS {
                models(format!("{version}/{collection}"), Place::GoogleModel);
            }
        }
        for (place, names) in [
            (Place::Key, &["/v1/key", "/key"][..]),
            (Place::Healthz, &["/healthz", "/health", "/health/liveliness", "/health/liveness"]),
            (Place::Readyz, &["/readyz", "/health/readiness"]),
        ] {
            paths.extend(names.iter().map(|path| ((*path).to_owned(), place)));
        }
        Self { edge, paths, collections }
    }

    /// What is at a path, and the route to it.
    fn find<'p>(&'p self, path: &str) -> Option<(Place, Route<'p>)> {
        if let Some((path, place)) = self.paths.get_key_value(path) {
            return Some((*place, [path, ""]));
        }
        let is_below = |root: &str| path.len() > root.len() && path.starts_with(root);
        let found = self.collections.iter().find(|(root, _)| is_below(root));
        found.map(|(root, place)| (*place, [root, "{model}"])).or_else(|| deployment(path))
    }

    async fn place(&self, head: &Head, id: RequestId, body: Body) -> Result<Response, ApiError> {
        let edge = &self.edge;
        let path = plain(head.path());
        let (place, route) = self.find(&path).ok_or_else(|| no_such_path(head))?;
        match place {
            Place::Call(endpoint) => {
                check_posted(head)?;
                serve(edge, (Entry::plain(endpoint, head), route), id, head, body).await
            }
            Place::Deployment(endpoint) => {
                check_posted(head)?;
                let entry = Entry::of_deployment(endpoint, head)?;
                serve(edge, (entry, route), id, head, body).await
            }
            Place::GoogleModel if head.method == Method::POST => {
                serve(edge, (Entry::of_method(head)?, route), id, head, body).await
            }
            _ if head.method != Method::GET && head.method != Method::HEAD => {
                Err(ApiError::Method { allowed: "GET" })
            }
            Place::Models => models::list(edge, head).await,
            Place::Model | Place::GoogleModel => models::one(edge, head, &path[route[0].len()..]),
            Place::Key => info::key(edge, head),
            Place::Healthz => Ok(info::healthz()),
            Place::Readyz => Ok(info::readyz(edge)),
        }
    }
}

impl Serve for Gateway {
    async fn serve(&self, request: Request) -> Response {
        let Request { head, body } = request;
        answer(&self.edge, &head, async |id| self.place(&head, id, body).await).await
    }
}

/// The way to a place, with a word for what differs from one call to the next: for traces.
pub(super) type Route<'a> = [&'a str; 2];

fn check_posted(head: &Head) -> Result<(), ApiError> {
    if head.method == Method::POST { Ok(()) } else { Err(ApiError::Method { allowed: "POST" }) }
}

/// The endpoint of a deployment.
fn deployment(path: &str) -> Option<(Place, Route<'static>)> {
    let (name, rest) = path.strip_prefix(AZURE_DEPLOYMENTS)?.split_once('/')?;
    let mut endpoints = Endpoint::ALL.into_iter();
    let endpoint = endpoints.find(|e| e.dialect() == Dialect::OpenAi && e.name() == rest)?;
    let route = ["/openai/deployments/{deployment}/", endpoint.name()];
    (!name.is_empty()).then_some((Place::Deployment(endpoint), route))
}

/// The path with what was written by its code for no reason (RFC 3986, section 6.2.2): not what would
/// mean something else by itself.
fn plain(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut plain = String::with_capacity(path.len());
    let mut parts = path.split('%');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        if let Some(character) = character(part) {
            plain.push(character);
            plain.push_str(&part[2..]);
        } else {
            plain.push('%');
            plain.push_str(part);
        }
    }
    Cow::Owned(plain)
}

/// The character whose code stands at the beginning.
fn character(text: &str) -> Option<char> {
    let code = text.get(..2).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let character = char::from(u8::from_str_radix(code, 16).ok()?);
    (character.is_ascii() && !matches!(character, '%' | '/' | '+')).then_some(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_same_however_it_is_written() {
        for (path, expected) in [
            ("/v1/models/a", "/v1/models/a"),
            ("/v1/ch%61t/%63ompletions", "/v1/chat/completions"),
            ("/v1/models/a%2Fb%252F%2B%3A", "/v1/models/a%2Fb%252F%2B:"),
            ("/%", "/%"),
            ("/%a", "/%a"),
            ("/%zz%C3%A9%+1%é1", "/%zz%C3%A9%+1%é1"),
            ("/é%é1%41", "/é%é1A"),
        ] {
            assert_eq!(plain(path), expected, "{path}");
        }
    }

    #[test]
    fn a_deployment_has_the_endpoints_of_openai() {
        let found = |path: &str| deployment(path).map(|(place, _)| place);
        let call = Some(Place::Deployment(Endpoint::Chat));
        assert_eq!(found("/openai/deployments/a/chat/completions"), call);
        for path in [
            "/openai/deployments//chat/completions",
            "/openai/deployments/a/b/chat/completions",
            "/openai/deployments/a/messages",
            "/openai/deployments/a/",
            "/openai/deployments/a",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
