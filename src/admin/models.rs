//! Where calls go: providers, the models that lead to them, and what those cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::running;
use super::{AdminError, Desk, Verb};
use crate::catalogue::Catalogue;
use crate::config::{Provider, Route};
use crate::domain::price::Pricing;
use crate::provider::kind::Kind;

/// Lists the providers, in the order of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListProviders {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProviderView {
    pub name: String,
    pub kind: String,
    /// Absent for the kind that answers by itself.
    pub base_url: Option<String>,
    /// Whether calls carry a key of the provider's.
    pub has_key: bool,
    /// Whether it takes what no model's name fits.
    pub is_default: bool,
    /// The names of the models that lead to it.
    pub models: Vec<String>,
}

impl Verb for ListProviders {
    type Answer = Vec<ProviderView>;
    const PATH: &'static str = "providers";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<ProviderView>, AdminError> {
        let snapshot = running(desk)?.snapshot();
        let config = &snapshot.config;
        let default = config.routes.default_provider().map(|provider| &provider.name);
        let views = config.providers.iter().map(|provider| {
            let leads_here =
                |route: &&Route| route.targets.iter().any(|t| t.provider.name == provider.name);
            let models = config.routes.list().iter().filter(leads_here);
            ProviderView {
                name: provider.name.to_string(),
                kind: provider.kind.name().to_owned(),
                base_url: provider.base_url.as_ref().map(ToString::to_string),
                has_key: provider.key.is_some(),
                is_default: default == Some(&provider.name),
                models: models.map(|route| route.pattern.as_str().to_owned()).collect(),
            }
        });
        Ok(views.collect())
    }
}

/// Lists the models that clients may ask for, in the order of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListModels {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ModelView {
    /// What clients ask for; a `*` in it stands for anything.
    pub name: String,
    pub aliases: Vec<String>,
    /// Tried in this order.
    pub targets: Vec<TargetView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TargetView {
    pub provider: String,
    /// What the provider is asked for.
    pub model: String,
    pub price: PriceState,
    /// Where the price comes from: `config`, or the edition of the catalogue.
    pub price_source: Option<String>,
    pub max_output_tokens: Option<u64>,
}

/// What is known of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceState {
    Priced,
    /// On purpose.
    Free,
    /// Keys with a limit cannot use it.
    Unknown,
    /// It stands for many models, each with a price of its own or none.
    Depends,
}

impl Verb for ListModels {
    type Answer = Vec<ModelView>;
    const PATH: &'static str = "models";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<ModelView>, AdminError> {
        let snapshot = running(desk)?.snapshot();
        let views = snapshot.config.routes.list().iter().map(|route| ModelView {
            name: route.pattern.as_str().to_owned(),
            aliases: route.aliases.iter().map(ToString::to_string).collect(),
            targets: route
                .targets
                .iter()
                .map(|target| {
                    let model = route.upstream_model(target, route.pattern.as_str());
                    view(route, &target.provider, model.into_owned())
                })
                .collect(),
        });
        Ok(views.collect())
    }
}

fn view(route: &Route, provider: &Provider, model: String) -> TargetView {
    let catalogue = provider.kind.preset().catalogue;
    let listed = catalogue.and_then(|name| Catalogue::embedded().find(name, &model));
    let state = |pricing: &Pricing| match pricing {
        Pricing::Priced(_) => PriceState::Priced,
        Pricing::Free => PriceState::Free,
        Pricing::Unknown => PriceState::Unknown,
    };
    let (price, price_source) = match (&route.price, listed) {
        (Some(pricing), _) => (state(pricing), Some("config".to_owned())),
        (None, Some(entry)) => (state(&entry.pricing), Some(entry.version.to_string())),
        (None, None) if provider.kind == Kind::Echo => (PriceState::Free, None),
        (None, None) if model.contains('*') => (PriceState::Depends, None),
        (None, None) => (PriceState::Unknown, None),
    };
    let listed_output = listed.and_then(|entry| entry.max_output_tokens);
    TargetView {
        provider: provider.name.to_string(),
        model,
        price,
        price_source,
        max_output_tokens: route.max_output_tokens.or(listed_output),
    }
}
