//! The models that a key may use, in the dialect of whoever asks: the names that are written out in the
//! configuration, and what the providers themselves list, under the names by which it can be asked for
//! here.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Edge;
use super::entry::{dialect, parameters};
use super::identify::{self, Caller};
use crate::catalogue::Prices;
use crate::clock;
use crate::config::live::Snapshot;
use crate::config::{Config, Provider, Route, Routes, Target};
use crate::domain::key::KeyRecord;
use crate::domain::pattern::Pattern;
use crate::domain::window::Timestamp;
use crate::error::ApiError;
use crate::message::{Head, Response};
use crate::provider::address::decoded;
use crate::provider::endpoint::{Dialect, Endpoint};
use crate::provider::offers::Offer;
use crate::translate;

/// What the clients of three dialects are told of a model.
struct Model {
    /// The name to ask for here.
    name: String,
    upstream_name: String,
    provider: Arc<Provider>,
    /// Seconds since 1970.
    created: u64,
    max_output_tokens: Option<u64>,
    /// What is in force, for what the catalogue knows of it.
    prices: Arc<Prices>,
}

/// `GET /v1/models` and Google's of the same name.
pub(super) async fn list(edge: &Edge, head: &Head) -> Result<Response, ApiError> {
    let snapshot = edge.live.snapshot();
    let Caller { key, .. } =
        identify::identify(&edge.ledger, &snapshot.config, head, clock::now())?;
    let dialect = dialect(head);
    if head.path().ends_with("/tunedModels") {
        // What is tuned is listed with all else.
        return Ok(Response::json(StatusCode::OK, &json!({})));
    }
    let models = gather(edge, &snapshot, &key).await;
    let parameter = |wanted: &str| {
        parameters(head.query()).find(|(name, _)| name == wanted).map(|(_, value)| value)
    };
    let body = match dialect {
        Dialect::OpenAi | Dialect::Bedrock => {
            json!({"object": "list", "data": models.iter().map(openai).collect::<Vec<_>>()})
        }
        Dialect::Anthropic => anthropic_page(&models, parameter),
        Dialect::Gemini => gemini_page(&models, parameter),
    };
    Ok(Response::json(StatusCode::OK, &body))
}

/// `GET /v1/models/{id}`: also a name that only a wildcard reaches; `written` is the name in the path.
pub(super) fn one(edge: &Edge, head: &Head, written: &str) -> Result<Response, ApiError> {
    let snapshot = edge.live.snapshot();
    let Caller { key, .. } =
        identify::identify(&edge.ledger, &snapshot.config, head, clock::now())?;
    let mut name = decoded(written).unwrap_or_else(|| written.to_owned());
    if head.path().contains("/tunedModels/") {
        name.insert_str(0, "tunedModels/");
    }
    let created = snapshot.loaded_at.millis() / 1000;
    let found = key.may_use(&name).then(|| written_out(&snapshot.config, &name, created));
    let model = found.flatten().ok_or(ApiError::NoSuchModel(name))?;
    let body = match dialect(head) {
        Dialect::OpenAi | Dialect::Bedrock => openai(&model),
        Dialect::Anthropic => anthropic(&model),
        Dialect::Gemini => gemini(&model),
    };
    Ok(Response::json(StatusCode::OK, &body))
}

/// All models of a key, by name.
async fn gather(edge: &Edge, snapshot: &Snapshot, key: &KeyRecord) -> Vec<Model> {
    let routes = &snapshot.config.routes;
    let created = snapshot.loaded_at.millis() / 1000;
    let mut models = BTreeMap::new();
    for (name, _) in routes.names().filter(|(name, _)| key.may_use(name)) {
        if let Some(model) = written_out(&snapshot.config, name, created) {
            models.insert(name.to_owned(), model);
        }
    }
    let providers = open_ended(routes);
    let offered = edge.offers.of(&edge.upstreams, &providers).await;
    for provider in &providers {
        for offer in offered.get(&provider.name).into_iter().flat_map(|offers| offers.iter()) {
            for name in names_of(routes, provider, offer).filter(|name| key.may_use(name)) {
                let created = offer.created.unwrap_or(created);
                if let Some(model) = written_out(&snapshot.config, &name, created) {
                    models.entry(name).or_insert(model);
                }
            }
        }
    }
    models.into_values().collect()
}

/// The model that a name leads to.
fn written_out(config: &Config, name: &str, created: u64) -> Option<Model> {
    let found = config.route(name)?;
    Some(Model {
        name: name.to_owned(),
        upstream_name: found.upstream_model.into_owned(),
        provider: Arc::clone(found.provider),
        created,
        max_output_tokens: found.route.and_then(|route| route.max_output_tokens),
        prices: Arc::clone(&config.prices),
    })
}

fn wildcards(routes: &Routes) -> impl Iterator<Item = &Route> {
    routes.list().iter().filter(|route| !route.pattern.is_exact())
}

/// The providers of which more can be asked for than the names that are written out.
fn open_ended(routes: &Routes) -> Vec<Arc<Provider>> {
    let targets = wildcards(routes).flat_map(|route| &route.targets);
    let providers = targets.map(|target| &target.provider).chain(routes.default_provider());
    let mut found: Vec<Arc<Provider>> = Vec::new();
    for provider in providers {
        if !found.iter().any(|other| other.name == provider.name) {
            found.push(Arc::clone(provider));
        }
    }
    found
}

/// The names by which an offer can be asked for. A name that a more exact route takes away leads
/// elsewhere and is not one.
fn names_of<'a>(
    routes: &'a Routes,
    provider: &'a Arc<Provider>,
    offer: &'a Offer,
) -> impl Iterator<Item = String> + 'a {
    let by_route = wildcards(routes).filter_map(|route| {
        let mut targets = route.targets.iter().filter(|t| t.provider.name == provider.name);
        let name = targets.find_map(|target| asked_by(route, target, &offer.name))?;
        routes.route(&name).is_some_and(|taker| std::ptr::eq(taker, route)).then_some(name)
    });
    let is_default = routes.default_provider().is_some_and(|other| other.name == provider.name);
    let plain = (is_default && routes.route(&offer.name).is_none()).then(|| offer.name.clone());
    by_route.chain(plain)
}

/// The name that makes `route` ask `target` for `offered`.
fn asked_by(route: &Route, target: &Target, offered: &str) -> Option<String> {
    let pattern = route.pattern.as_str();
    let filled = |part: &str| pattern.replacen('*', part, 1);
    let captured = match &target.model {
        Some(template) => filled(Pattern::new(template).ok()?.capture(offered)?),
        None => filled(offered),
    };
    let leads_there = |name: &String| {
        route.pattern.matches(name) && route.upstream_model(target, name) == offered
    };
    // `gpt-*` keeps the whole name, `openai/*` and templates only what the star stood for.
    [captured, offered.to_owned()].into_iter().find(leads_there)
}

impl Model {
    /// The most tokens of a prompt and of an answer, as far as the catalogue or the file knows them.
    fn limits(&self) -> (Option<u64>, Option<u64>) {
        let catalogue = self.provider.kind.preset().catalogue;
        let listed = catalogue.and_then(|name| self.prices.find(name, &self.upstream_name));
        let input = listed.and_then(|entry| entry.max_input_tokens);
        (input, self.max_output_tokens.or(listed.and_then(|entry| entry.max_output_tokens)))
    }

    /// Whether calls to `endpoint` reach it, as they are or carried over.
    fn takes(&self, endpoint: Endpoint) -> bool {
        let dialect = self.provider.kind.dialect();
        dialect == endpoint.dialect() || translate::plan(endpoint, dialect).is_some()
    }
}

fn openai(model: &Model) -> Value {
    json!({
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": &*model.provider.name,
    })
}

/// As in <https://platform.claude.com/docs/en/api/models/list>.
fn anthropic(model: &Model) -> Value {
    let (input, output) = model.limits();
    json!({
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": Timestamp::from_millis(model.created.saturating_mul(1000)),
        "lifecycle": "active",
        "max_input_tokens": input,
        "max_tokens": output,
    })
}

/// As in <https://ai.google.dev/api/models>: what cannot be called by Google's methods has none.
fn gemini(model: &Model) -> Value {
    let (input, output) = model.limits();
    let methods: Vec<&str> = Endpoint::ALL
        .into_iter()
        .filter(|endpoint| endpoint.dialect() == Dialect::Gemini && model.takes(*endpoint))
        .map(Endpoint::name)
        .collect();
    let name = &model.name;
    let is_tuned = name.starts_with("tunedModels/");
    let mut body = Map::new();
    body.insert(
        "name".to_owned(),
        if is_tuned { json!(name) } else { json!(format!("models/{name}")) },
    );
    body.insert("version".to_owned(), json!(""));
    body.insert("displayName".to_owned(), json!(name));
    body.extend(input.map(|limit| ("inputTokenLimit".to_owned(), json!(limit))));
    body.extend(output.map(|limit| ("outputTokenLimit".to_owned(), json!(limit))));
    body.insert("supportedGenerationMethods".to_owned(), json!(methods));
    Value::Object(body)
}

/// A part of the models: those after or before a name, at most so many, and whether there are more that
/// way. Without a size it is all of them: not every client asks again.
fn page<'m>(
    models: &'m [Model],
    after: Option<&str>,
    before: Option<&str>,
    size: Option<usize>,
) -> (&'m [Model], bool) {
    let size = size.filter(|size| *size > 0).unwrap_or(usize::MAX);
    if let Some(before) = before {
        let end = models.partition_point(|model| model.name.as_str() < before);
        let start = end.saturating_sub(size);
        return (&models[start..end], start > 0);
    }
    let is_passed = |model: &Model| after.is_some_and(|after| model.name.as_str() <= after);
    let rest = &models[models.partition_point(is_passed)..];
    (&rest[..rest.len().min(size)], rest.len() > size)
}

fn anthropic_page(models: &[Model], parameter: impl Fn(&str) -> Option<String>) -> Value {
    let size = parameter("limit").and_then(|text| text.parse().ok());
    let (after, before) = (parameter("after_id"), parameter("before_id"));
    let (part, has_more) = page(models, after.as_deref(), before.as_deref(), size);
    json!({
        "data": part.iter().map(anthropic).collect::<Vec<_>>(),
        "has_more": has_more,
        "first_id": part.first().map(|model| &model.name),
        "last_id": part.last().map(|model| &model.name),
    })
}

fn gemini_page(models: &[Model], parameter: impl Fn(&str) -> Option<String>) -> Value {
    let size = parameter("pageSize").and_then(|text| text.parse().ok());
    let after = parameter("pageToken").filter(|token| !token.is_empty());
    let (part, has_more) = page(models, after.as_deref(), None, size);
    let mut body = json!({"models": part.iter().map(gemini).collect::<Vec<_>>()});
    if let Some(last) = part.last().filter(|_| has_more) {
        body["nextPageToken"] = json!(last.name);
    }
    body
}
