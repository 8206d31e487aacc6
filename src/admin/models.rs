//! Where calls go: providers, the models that lead to them, and what those cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::running;
use super::prices::{self, TargetPrice};
use super::{AdminError, Desk, Verb};
use crate::config::Route;
use crate::domain::window::Timestamp;

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
    /// How it has fared since the start, by the names that models have there.
    pub targets: Vec<TargetView>,
}

/// How calls to a model of a provider have fared since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetView {
    #[serde(skip)]
    pub provider: String,
    pub model: String,
    /// `healthy`, `cooling`, or `due` for the call that tries it.
    pub state: String,
    pub cooling_until: Option<Timestamp>,
    pub attempts: u64,
    pub failed: u64,
    pub last_failure: Option<String>,
    pub last_failure_at: Option<Timestamp>,
}

impl Verb for ListProviders {
    type Answer = Vec<ProviderView>;
    const PATH: &'static str = "providers";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<ProviderView>, AdminError> {
        let snapshot = running(desk)?.snapshot();
        let config = &snapshot.config;
        let default = config.routes.default_provider().map(|provider| &provider.name);
        let fared = desk.targets.as_ref().map(|targets| targets()).unwrap_or_default();
        let views = config.providers.iter().map(|provider| {
            let leads_here =
                |route: &&Route| route.targets.iter().any(|t| t.provider.name == provider.name);
            let models = config.routes.list().iter().filter(leads_here);
            ProviderView {
                name: provider.name.to_string(),
                kind: provider.kind.name().to_owned(),
                base_url: provider.base_url.as_ref().map(ToString::to_string),
                has_key: !provider.keys.is_empty(),
                is_default: default == Some(&provider.name),
                models: models.map(|route| route.pattern.as_str().to_owned()).collect(),
                targets: fared.iter().filter(|t| t.provider == *provider.name).cloned().collect(),
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
    /// Where its calls go, and what they cost there.
    pub targets: Vec<TargetPrice>,
}

impl Verb for ListModels {
    type Answer = Vec<ModelView>;
    const PATH: &'static str = "models";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<ModelView>, AdminError> {
        let snapshot = running(desk)?.snapshot();
        let config = &snapshot.config;
        let aliases = |name: &str| {
            let route = config.routes.list().iter().find(|r| r.pattern.as_str() == name);
            let aliases = route.map(|route| route.aliases.iter().map(ToString::to_string));
            aliases.map(Iterator::collect).unwrap_or_default()
        };
        let models = prices::show(config, None)?.models.into_iter().map(|model| ModelView {
            aliases: aliases(&model.model),
            name: model.model,
            targets: model.targets,
        });
        Ok(models.collect())
    }
}
