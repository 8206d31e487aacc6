//! Where a call may go: a model's name becomes targets in the order in which they are tried, each with
//! the name the model has there, its price, and the way the call is carried.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use crate::catalogue::Prices;
use crate::clock;
use crate::config::{Candidate, Provider, Snapshot, Timeouts};
use crate::domain::choice;
use crate::domain::circuit::Standing;
use crate::domain::key::KeyRecord;
use crate::domain::price::Pricing;
use crate::error::ApiError;
use crate::map::Map;
use crate::provider::echo;
use crate::provider::endpoint::Endpoint;
use crate::provider::kind::Kind;
use crate::translate::{self, Translation};

use super::health::{Health, TargetHealth};

/// What receipts say of a price from the configuration.
static FROM_CONFIG: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("config"));

/// Names that are kept, for each endpoint: clients may make up as many as they like.
const MOST_NAMES: usize = 512;

/// Where a call may go, and what it costs there.
pub(super) struct Destination {
    /// The name that clients call the model by.
    pub(super) model: Arc<str>,
    pub(super) provider: Arc<Provider>,
    pub(super) upstream_model: Arc<str>,
    pub(super) pricing: Arc<Pricing>,
    /// Which price list, for receipts.
    pub(super) price: Arc<str>,
    pub(super) max_input_tokens: Option<u64>,
    pub(super) max_output_tokens: Option<u64>,
    pub(super) timeouts: Timeouts,
    /// Absent where the client's bytes go through as they are.
    pub(super) translation: Option<Translation>,
    pub(super) health: Arc<TargetHealth>,
    /// Those of a lower rank are tried first.
    rank: (usize, u64),
    /// Its part of the calls among those of the same rank.
    weight: u64,
}

/// How a key's call is to be placed.
pub(super) struct Wish<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) model: &'a str,
    /// What decides between targets of the same order.
    pub(super) seed: u64,
}

/// Where calls may go, as this worker has found it before: all that depends on neither the key nor the
/// call. It is found anew when the configuration changes, or what is known of targets was forgotten.
#[derive(Default)]
pub(super) struct Known {
    by: Option<(Arc<Snapshot>, u64)>,
    targets: [Map<Arc<str>, Targets>; Endpoint::ALL.len()],
}

/// In the order of the configuration; never none.
type Targets = Rc<[Rc<Destination>]>;

impl Known {
    fn targets(
        &mut self,
        snapshot: &Arc<Snapshot>,
        health: &Health,
        wish: &Wish<'_>,
    ) -> Result<Targets, ApiError> {
        let epoch = health.epoch();
        let is_same = |(by, at): &(Arc<Snapshot>, u64)| Arc::ptr_eq(by, snapshot) && *at == epoch;
        if !self.by.as_ref().is_some_and(is_same) {
            *self = Self::default();
            self.by = Some((Arc::clone(snapshot), epoch));
        }
        let known = &mut self.targets[wish.endpoint as usize];
        if let Some(targets) = known.get(wish.model) {
            return Ok(Rc::clone(targets));
        }
        let targets = find(snapshot, health, wish)?;
        if known.len() >= MOST_NAMES {
            known.clear();
        }
        known.insert(Arc::clone(&targets[0].model), Rc::clone(&targets));
        Ok(targets)
    }
}

/// Finds where calls may go.
fn find(snapshot: &Snapshot, health: &Health, wish: &Wish<'_>) -> Result<Targets, ApiError> {
    let Snapshot { config, .. } = snapshot;
    let name: Arc<str> = Arc::from(wish.model);
    let mut is_known = false;
    let mut found: Vec<Rc<Destination>> = Vec::with_capacity(1);
    config.routes.visit(wish.model, |candidate| {
        is_known = true;
        let is_there = |other: &Rc<Destination>| {
            Arc::ptr_eq(&other.provider, candidate.provider)
                && *other.upstream_model == *candidate.upstream_model
        };
        if !found.iter().any(is_there) {
            let target = destination(&config.prices, wish.endpoint, &name, &candidate, health);
            found.extend(target.map(Rc::new));
        }
    });
    if !is_known {
        return Err(ApiError::NoSuchModel(wish.model.to_owned()));
    } else if found.is_empty() {
        let (endpoint, model) = (wish.endpoint.name(), wish.model.to_owned());
        return Err(ApiError::EndpointNotServed { endpoint, model });
    }
    Ok(found.into())
}

/// Says where a call may go, the best first; never nothing. A model that the key may not use is as
/// unknown as one that nobody serves.
pub(super) fn choose(
    known: &RefCell<Known>,
    snapshot: &Arc<Snapshot>,
    health: &Health,
    key: &KeyRecord,
    wish: &Wish<'_>,
) -> Result<Vec<Rc<Destination>>, ApiError> {
    let Wish { endpoint, model, seed } = *wish;
    if !key.may_call(endpoint.name()) {
        return Err(ApiError::EndpointNotAllowed(endpoint.name()));
    }
    if !key.may_use(model) {
        return Err(ApiError::NoSuchModel(model.to_owned()));
    }
    let mut found = known.borrow_mut().targets(snapshot, health, wish)?.to_vec();
    if found.len() > 1 {
        let now = clock::now();
        found.sort_by_cached_key(|destination| {
            // What is to be left alone is tried when all others have failed.
            let standing = destination.health.standing(now);
            let is_cooling = matches!(standing, Standing::Cooling { .. });
            let draw = choice::draw(seed, destination.fingerprint(), destination.weight);
            (is_cooling, destination.rank, draw)
        });
    }
    Ok(found)
}

/// What is known of a candidate; `None` if it cannot take the endpoint in any way.
fn destination(
    prices: &Prices,
    endpoint: Endpoint,
    model: &Arc<str>,
    candidate: &Candidate<'_>,
    health: &Health,
) -> Option<Destination> {
    let provider = candidate.provider;
    let translation = if has(provider, endpoint) {
        None
    } else {
        Some(translate::plan(endpoint, provider.kind.dialect())?)
    };
    let kind = provider.kind;
    let listed = kind
        .preset()
        .catalogue
        .and_then(|catalogue| prices.find(catalogue, &candidate.upstream_model));
    let (pricing, price): (Arc<Pricing>, Arc<str>) = match (candidate.price, listed) {
        (Some(pricing), _) => (Arc::clone(pricing), Arc::clone(&FROM_CONFIG)),
        (None, Some(entry)) => (Arc::clone(&entry.pricing), Arc::clone(&entry.version)),
        // It answers by itself and owes nobody anything.
        (None, None) if kind == Kind::Echo => (Arc::new(Pricing::Free), "free".into()),
        (None, None) => (Arc::new(Pricing::Unknown), "unknown".into()),
    };
    let has_one_name = candidate.upstream_model == **model;
    let upstream_model =
        if has_one_name { Arc::clone(model) } else { Arc::from(&*candidate.upstream_model) };
    Some(Destination {
        model: Arc::clone(model),
        pricing,
        price,
        max_input_tokens: listed.and_then(|entry| entry.max_input_tokens),
        max_output_tokens: candidate
            .max_output_tokens
            .or_else(|| listed.and_then(|entry| entry.max_output_tokens)),
        timeouts: candidate.timeouts,
        translation,
        health: health.target(&provider.name, &upstream_model),
        provider: Arc::clone(provider),
        upstream_model,
        rank: candidate.rank,
        weight: candidate.weight,
    })
}

/// Whether a provider takes the endpoint's calls as they are.
fn has(provider: &Provider, endpoint: Endpoint) -> bool {
    provider.kind.dialect() == endpoint.dialect()
        && match provider.kind {
            Kind::Echo => echo::SPOKEN.contains(&endpoint),
            _ => endpoint != Endpoint::Responses || provider.responses,
        }
}

impl Destination {
    /// What the provider is called at for a call to `endpoint`.
    pub(super) fn endpoint(&self, endpoint: Endpoint, stream: bool) -> Endpoint {
        match self.translation {
            None => endpoint,
            Some(Translation { backend: Some(backend), .. }) => backend.endpoint(stream),
            Some(Translation { backend: None, .. }) => Endpoint::Chat,
        }
    }

    /// A number for the target that outlasts reloads.
    fn fingerprint(&self) -> u64 {
        choice::fingerprint(&[self.provider.name.as_bytes(), self.upstream_model.as_bytes()])
    }
}
