//! Where a call goes: a model's name becomes a provider, the name it has there, and its price.

use std::sync::{Arc, LazyLock};

use crate::catalogue::Catalogue;
use crate::config::{Config, Provider};
use crate::domain::key::KeyRecord;
use crate::domain::price::Pricing;
use crate::error::ApiError;
use crate::provider::endpoint::Endpoint;
use crate::provider::kind::Kind;

/// What receipts say of a price from the configuration.
static FROM_CONFIG: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("config"));

/// Where a call goes, and what it costs there.
pub(super) struct Destination {
    pub(super) provider: Arc<Provider>,
    pub(super) upstream_model: String,
    pub(super) pricing: Arc<Pricing>,
    /// Which price list, for receipts.
    pub(super) price: Arc<str>,
    pub(super) max_input_tokens: Option<u64>,
    pub(super) max_output_tokens: Option<u64>,
}

/// Finds where `model` goes for this key, if it may call `endpoint` at all. A model it may not use is as unknown as one that nobody serves.
pub(super) fn choose(
    config: &Config,
    key: &KeyRecord,
    endpoint: Endpoint,
    model: &str,
) -> Result<Destination, ApiError> {
    if !key.may_call(endpoint.name()) {
        return Err(ApiError::EndpointNotAllowed(endpoint.name()));
    }
    let unknown = || ApiError::NoSuchModel(model.to_owned());
    let found = config.route(model).filter(|_| key.may_use(model)).ok_or_else(unknown)?;
    let kind = found.provider.kind;
    let listed = kind
        .preset()
        .catalogue
        .and_then(|catalogue| Catalogue::embedded().find(catalogue, &found.upstream_model));
    let configured = found.route.and_then(|route| route.price.as_ref());
    let (pricing, price): (Arc<Pricing>, Arc<str>) = match (configured, listed) {
        (Some(pricing), _) => (Arc::clone(pricing), Arc::clone(&FROM_CONFIG)),
        (None, Some(entry)) => (Arc::clone(&entry.pricing), Arc::clone(&entry.version)),
        // It answers by itself and owes nobody anything.
        (None, None) if kind == Kind::Echo => (Arc::new(Pricing::Free), "free".into()),
        (None, None) => (Arc::new(Pricing::Unknown), "unknown".into()),
    };
    let configured = found.route.and_then(|route| route.max_output_tokens);
    Ok(Destination {
        upstream_model: found.upstream_model.clone().into_owned(),
        pricing,
        price,
        max_input_tokens: listed.and_then(|entry| entry.max_input_tokens),
        max_output_tokens: configured.or_else(|| listed.and_then(|entry| entry.max_output_tokens)),
        provider: Arc::clone(found.provider),
    })
}
