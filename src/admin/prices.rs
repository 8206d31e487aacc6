//! What models cost and from where that is known, and updates of the price catalogue.
//!
//! An update is kept first and put in force then, so that no call is ever priced by one that a restart
//! would not find. Nothing here changes a receipt: each carries its own rates.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forms::PriceFile;
use super::{AdminError, Desk, Verb};
use crate::catalogue::import::{self, Comparison, Difference, ImportError, ListLine};
use crate::catalogue::saved::{self, SavedError};
use crate::catalogue::{Catalogue, Entry, Prices};
use crate::clock;
use crate::config::{Candidate, Config, Route};
use crate::domain::price::Pricing;
use crate::domain::usage::Class;
use crate::provider::kind::Kind;

/// The longest file that is read.
pub const LONGEST: usize = 32 << 20;

/// One update or reset at a time: what is kept and what is in force must be the same.
static CHANGING: Mutex<()> = Mutex::new(());

/// Shows what applies to the model that a client would name, at each place its calls could go; or to
/// every model of the configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShowPrices {
    pub model: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PricesView {
    /// The edition inside the binary.
    pub embedded: String,
    /// The update that goes before it.
    pub update: Option<String>,
    /// How many models it lists.
    pub update_models: usize,
    /// Why an update that is there is not in force.
    pub trouble: Option<String>,
    pub models: Vec<ModelPrices>,
}

/// A name that clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelPrices {
    pub model: String,
    pub targets: Vec<TargetPrice>,
}

/// What it costs at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetPrice {
    pub provider: String,
    pub upstream_model: String,
    /// `priced`, `free`, `unknown`; `by name` where the name decides.
    pub state: String,
    /// The line of the configuration, or the edition.
    pub from: String,
    /// Provider and name that it is listed under, where that is not the configuration.
    pub listed_as: Option<String>,
    pub max_input_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub rates: Vec<RateView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateView {
    pub what: String,
    /// Under which condition; empty for the ordinary rate.
    pub when: String,
    pub usd: String,
    pub per: String,
}

impl From<ListLine> for RateView {
    fn from(line: ListLine) -> Self {
        Self { usd: line.dollars(), what: name(line.class), when: line.when, per: per(line.class) }
    }
}

fn name(class: Class) -> String {
    match class {
        Class::AudioMillisecond => "audio".to_owned(),
        _ => class.name().to_owned(),
    }
}

fn per(class: Class) -> String {
    let unit = match class {
        Class::WebSearch => "search",
        Class::Image => "image",
        Class::AudioMillisecond => "second",
        Class::Character => "character",
        Class::Call => "call",
        _ => "million tokens",
    };
    unit.to_owned()
}

impl Verb for ShowPrices {
    type Answer = PricesView;
    const PATH: &'static str = "prices";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<PricesView, AdminError> {
        let live = desk.live.as_deref().ok_or_else(|| {
            AdminError::Invalid("no configuration is in force where no server runs".to_owned())
        })?;
        show(&live.snapshot().config, self.model.as_deref())
    }
}

/// What applies by a configuration and the prices in it.
pub fn show(config: &Config, model: Option<&str>) -> Result<PricesView, AdminError> {
    let models = match model {
        Some(model) => vec![of_model(config, model)?],
        None => of_all(config),
    };
    let update = config.prices.update();
    Ok(PricesView {
        embedded: Catalogue::embedded().version().to_string(),
        update: update.map(|update| update.version().to_string()),
        update_models: update.map_or(0, |update| update.entries().len()),
        trouble: config.prices.trouble().map(str::to_owned),
        models,
    })
}

fn of_model(config: &Config, model: &str) -> Result<ModelPrices, AdminError> {
    let mut targets = Vec::new();
    config.routes.visit(model, |candidate| targets.push(target(config, model, &candidate)));
    if targets.is_empty() {
        return Err(AdminError::NotFound(format!(
            "no route of the configuration takes the model `{model}`"
        )));
    }
    Ok(ModelPrices { model: model.to_owned(), targets })
}

fn of_all(config: &Config) -> Vec<ModelPrices> {
    let of_name = |name: &str, shown: &str| {
        let mut targets = Vec::new();
        config.routes.visit(name, |candidate| {
            let mut price = target(config, name, &candidate);
            if price.upstream_model.contains('*') && price.state == "unknown" {
                "by name".clone_into(&mut price.state);
                price.from.clear();
            }
            targets.push(price);
        });
        ModelPrices { model: shown.to_owned(), targets }
    };
    let patterns = config.routes.list().iter().map(|route| route.pattern.as_str());
    let mut models: Vec<_> = patterns.map(|pattern| of_name(pattern, pattern)).collect();
    // A lone star is a route of its own, or else what only the default provider takes.
    if config.routes.default_provider().is_some() && config.routes.route("*").is_none() {
        models.push(of_name("*", "(any other)"));
    }
    models
}

/// What applies at one place: the configuration's price, else the catalogue's, else none.
fn target(config: &Config, model: &str, candidate: &Candidate<'_>) -> TargetPrice {
    let (provider, upstream) = (candidate.provider, &*candidate.upstream_model);
    let catalogue = provider.kind.preset().catalogue;
    let listed = catalogue.and_then(|catalogue| config.prices.find(catalogue, upstream));
    let (pricing, from) = match (candidate.price, listed) {
        (Some(pricing), _) => (&**pricing, from_config(config, model, pricing)),
        (None, Some(entry)) => (&*entry.pricing, entry.version.to_string()),
        (None, None) if provider.kind == Kind::Echo => (&Pricing::Free, "the gateway".to_owned()),
        (None, None) => (&Pricing::Unknown, "unknown".to_owned()),
    };
    let lines = match pricing {
        Pricing::Priced(price) => import::lines(price),
        Pricing::Free | Pricing::Unknown => Vec::new(),
    };
    let listed_output = listed.and_then(|entry| entry.max_output_tokens);
    TargetPrice {
        provider: provider.name.to_string(),
        upstream_model: upstream.to_owned(),
        state: pricing.state().to_owned(),
        from,
        listed_as: listed.filter(|_| candidate.price.is_none()).map(listed_as),
        max_input_tokens: listed.and_then(|entry| entry.max_input_tokens),
        max_output_tokens: candidate.max_output_tokens.or(listed_output),
        rates: lines.into_iter().map(RateView::from).collect(),
    }
}

fn listed_as(entry: &Entry) -> String {
    format!("{} {}", entry.provider, entry.model)
}

/// The line, where the price is that of the whole model or of one of those it falls back on.
fn from_config(config: &Config, model: &str, pricing: &Arc<Pricing>) -> String {
    let own = config.routes.route(model);
    let fallbacks = own.into_iter().flat_map(|route| &route.fallbacks);
    let routes = own.into_iter().chain(fallbacks.filter_map(|name| config.routes.route(name)));
    let is_its = |route: &&Route| route.price.as_ref().is_some_and(|p| Arc::ptr_eq(p, pricing));
    let line =
        routes.filter(is_its).find_map(|route| config.price_lines.get(route.pattern.as_str()));
    line.map_or_else(|| "config".to_owned(), |line| format!("config, line {line}"))
}

/// Makes an update of what is in a file of prices, and puts it in force.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePrices {
    #[schemars(with = "PriceFile")]
    pub text: String,
    /// Only says what would be.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an update came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateView {
    /// As receipts name it.
    pub update: Option<String>,
    pub models: usize,
    pub added: Vec<ChangeView>,
    pub changed: Vec<ChangeView>,
    pub removed: Vec<ChangeView>,
    pub unchanged: usize,
    /// Models that were not taken, and why: they cost what they did.
    pub unreadable: Vec<RefusedView>,
    /// What nobody could sell: why, and how many.
    pub left_out: Vec<LeftOutView>,
    pub file: PathBuf,
    pub dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeView {
    pub provider: String,
    pub model: String,
    pub what: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedView {
    pub name: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOutView {
    pub reason: String,
    pub count: usize,
}

impl From<Difference> for ChangeView {
    fn from(difference: Difference) -> Self {
        let Difference { provider, model, what } = difference;
        Self { provider, model, what }
    }
}

impl UpdateView {
    fn new(file: PathBuf, comparison: Comparison, dry_run: bool) -> Self {
        let views = |list: Vec<Difference>| list.into_iter().map(ChangeView::from).collect();
        Self {
            update: None,
            models: 0,
            added: views(comparison.added),
            changed: views(comparison.changed),
            removed: views(comparison.removed),
            unchanged: comparison.unchanged,
            unreadable: Vec::new(),
            left_out: Vec::new(),
            file,
            dry_run,
        }
    }
}

impl Verb for UpdatePrices {
    type Answer = UpdateView;
    const PATH: &'static str = "prices/update";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<UpdateView, AdminError> {
        if self.text.len() > LONGEST {
            return Err(AdminError::Invalid("the file is longer than any price list".to_owned()));
        }
        let today = clock::now().to_string();
        let today = today.split('T').next().unwrap_or_default();
        let import = import::read(&self.text, today)?;
        let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, before) = in_force(desk);
        let comparison = import::compare(&before, Some(&import.catalogue));
        let edition = import.catalogue.version().to_string();
        let view = UpdateView {
            update: Some(edition.clone()),
            models: import.catalogue.entries().len(),
            unreadable: import
                .unreadable
                .into_iter()
                .map(|refused| RefusedView { name: refused.name, reason: refused.reason })
                .collect(),
            left_out: import
                .left_out
                .into_iter()
                .map(|(reason, count)| LeftOutView { reason, count })
                .collect(),
            ..UpdateView::new(file.clone(), comparison, self.dry_run)
        };
        if !self.dry_run {
            saved::save(&file, &import.text)?;
            put_in_force(desk, Prices::updated(import.catalogue.into()));
            tracing::info!(
                prices.edition = edition,
                prices.models = view.models,
                prices.changed = view.changed.len(),
                "prices updated"
            );
        }
        Ok(view)
    }

    fn recorded(&self) -> serde_json::Value {
        serde_json::json!({"bytes": self.text.len(), "dry_run": self.dry_run})
    }

    fn target(answer: &UpdateView) -> Option<String> {
        answer.update.clone()
    }
}

/// Goes back to the edition inside the binary.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResetPrices {
    pub dry_run: bool,
}

impl Verb for ResetPrices {
    type Answer = UpdateView;
    const PATH: &'static str = "prices/reset";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<UpdateView, AdminError> {
        let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, before) = in_force(desk);
        let view = UpdateView::new(file.clone(), import::compare(&before, None), self.dry_run);
        if !self.dry_run {
            let was_there = saved::remove(&file)?;
            put_in_force(desk, Prices::embedded());
            tracing::info!(prices.update_removed = was_there, "prices reset");
        }
        Ok(view)
    }
}

/// The update's file, and the prices in force: the server's, or what a server would have.
fn in_force(desk: &Desk) -> (PathBuf, Arc<Prices>) {
    let store = desk.ledger.store().path();
    let prices = match &desk.live {
        Some(live) => Arc::clone(&live.snapshot().config.prices),
        None => saved::prices(store),
    };
    (saved::path(store), prices)
}

fn put_in_force(desk: &Desk, prices: Arc<Prices>) {
    if let Some(live) = &desk.live {
        live.set_prices(prices);
        desk.ledger.metrics().rename();
    }
}

impl From<ImportError> for AdminError {
    fn from(error: ImportError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<SavedError> for AdminError {
    fn from(error: SavedError) -> Self {
        Self::Failed(error.to_string())
    }
}
