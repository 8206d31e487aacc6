//! `conduit check`: says what is wrong with a configuration, and which models have no price.

use std::path::PathBuf;

use clap::Args;

use super::{ConfigArg, Exit, Failure, environment, output};
use crate::catalogue::saved;
use crate::clock;
use crate::config::{Config, EXAMPLE, Route, Secrets, load};
use crate::provider::kind::Kind;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The configuration file
    file: Option<PathBuf>,
    /// Do not read providers' keys
    #[arg(long)]
    offline: bool,
    /// Print a configuration in which every option is explained, and do nothing else
    #[arg(long)]
    example: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.example {
            return output::answer(EXAMPLE);
        }
        let path = match self.file {
            Some(file) => file,
            None => self.config.path()?,
        };
        let secrets = if self.offline { Secrets::Skip } else { Secrets::Read };
        let mut config = load(&path, environment(), secrets).map_err(|problems| {
            Failure::new(Exit::Config, problems.render(output::is_error_terminal()))
        })?;
        config.prices = saved::prices(&config.store.path);
        for change in &config.overrides {
            output::note(&format!(
                "note: {} takes the place of {}",
                change.variable, change.option
            ));
        }
        let warnings = config.certificates().filter_map(|one| one.warning(clock::now()));
        for warning in warnings.chain(unpriced(&config)) {
            output::note(&format!("warning: {warning}"));
        }
        output::answer(&format!(
            "{} is good: {}, {}\n",
            path.display(),
            count(config.providers.len(), "provider"),
            count(config.routes.list().len(), "model")
        ))
    }
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// The names that lead to a model without a price, with what follows from that.
pub(super) fn unpriced(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for route in config.routes.list() {
        for target in &route.targets {
            if route.price.is_some() || target.price.is_some() || target.provider.kind == Kind::Echo
            {
                continue;
            }
            let upstream = route.upstream_model(target, route.pattern.as_str());
            let listed = target.provider.kind.preset().catalogue.is_some_and(|catalogue| {
                let entry = config.prices.find(catalogue, &upstream);
                entry.is_some_and(|entry| !entry.pricing.is_unknown())
            });
            if !listed {
                warnings.push(explain(route, &target.provider.name, &upstream));
            }
        }
    }
    if let Some(provider) = config.routes.default_provider() {
        warnings.push(format!(
            "the default provider `{}` takes any name: one that the price catalogue does not list \
             has no price, and keys with a limit cannot use it",
            provider.name
        ));
    }
    warnings
}

fn explain(route: &Route, provider: &str, upstream: &str) -> String {
    if route.pattern.is_exact() {
        format!(
            "`{}` has no price: the catalogue does not list `{upstream}` of `{provider}`; keys with \
             a limit cannot use it until `price` is set",
            route.pattern.as_str()
        )
    } else {
        format!(
            "`{}` reaches any model of `{provider}`: one that the price catalogue does not list has \
             no price, and keys with a limit cannot use it",
            route.pattern.as_str()
        )
    }
}
