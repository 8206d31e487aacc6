//! Routes: model names and aliases that mean one thing each, and the providers they lead to.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::Context;
use super::provider::Providers;
use crate::config::file::{self, File};
use crate::config::problem::Problem;
use crate::config::reader::{At, written_key};
use crate::config::routes::{Route, Target};
use crate::domain::pattern::Pattern;

pub(super) fn resolve(file: &File, providers: &Providers, context: &Context<'_>) -> Vec<Route> {
    one_meaning(&file.models, context);
    file.models.iter().filter_map(|model| route(model, providers, context)).collect()
}

/// Reports every name that two routes answer to.
fn one_meaning(models: &[file::Model], context: &Context<'_>) {
    // Names first: of a name and an alias that are the same, the alias is the mistake.
    let names = models.iter().map(|model| (&model.name, &model.name));
    let aliases = models.iter().flat_map(|m| m.aliases.iter().map(move |alias| (alias, &m.name)));
    let mut seen: HashMap<&str, (Range<usize>, &str)> = HashMap::new();
    for (name, of) in names.chain(aliases) {
        let Some((first, first_of)) = seen.get(name.value.as_str()) else {
            seen.insert(&name.value, (name.span.clone(), &of.value));
            continue;
        };
        let shown = name.value.escape_debug();
        let message = format!("`{shown}` already means the model `{}`", first_of.escape_debug());
        let problem = Problem::at(name.span.clone(), message).label("and here again");
        context.report(problem.other(first.clone(), "it is named here"));
    }
}

fn route(model: &file::Model, providers: &Providers, context: &Context<'_>) -> Option<Route> {
    let pattern = pattern(&model.name, context);
    if model.provider.is_absent() {
        let shown = model.name.value.escape_debug();
        let message = format!("model `{shown}` needs a `provider`");
        let problem = Problem::at(model.name.span.clone(), message);
        context.report(problem.help("write the name of a provider: provider = \"openai\""));
    }
    let option = format!("models.{}.provider", written_key(&model.name.value));
    let provider = model.provider.right().and_then(|name| providers.find(name, &option, context));
    if let Some(pattern) = &pattern {
        check_aliases(model, pattern, context);
        check_target(model, pattern, context);
    }
    let target = Target {
        provider: provider?,
        model: model.upstream.as_ref().map(|name| name.value.clone()),
    };
    Some(Route {
        pattern: pattern?,
        aliases: model.aliases.iter().map(|alias| Arc::from(alias.value.as_str())).collect(),
        targets: vec![target],
        max_output_tokens: model.max_output_tokens,
        price: model.price.clone().map(Arc::new),
    })
}

fn pattern(name: &At<String>, context: &Context<'_>) -> Option<Pattern> {
    let pattern = Pattern::new(&name.value);
    if let Err(message) = &pattern {
        context.report(Problem::at(name.span.clone(), message.clone()));
    }
    pattern.ok()
}

fn check_aliases(model: &file::Model, pattern: &Pattern, context: &Context<'_>) {
    for alias in &model.aliases {
        let Some(name) = self::pattern(alias, context) else { continue };
        let message = if !name.is_exact() {
            "an alias must not have a `*` in it"
        } else if !pattern.is_exact() {
            "a model with a `*` in its name must have no aliases"
        } else {
            continue;
        };
        context.report(Problem::at(alias.span.clone(), message));
    }
}

/// The name that the provider is asked for.
fn check_target(model: &file::Model, pattern: &Pattern, context: &Context<'_>) {
    let Some(name) = &model.upstream else { return };
    let stars = name.value.matches('*').count();
    if self::pattern(name, context).is_none() {
        return;
    }
    let message = if stars > 1 {
        "`model` must not have more than one `*` in it"
    } else if stars == 1 && pattern.is_exact() {
        "`model` must not have a `*` in it where the model's own name has none"
    } else {
        return;
    };
    context.report(Problem::at(name.span.clone(), message));
}
