//! Routes: model names and aliases that mean one thing each, the targets they lead to, and what
//! happens when a target fails.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::Context;
use super::provider::Providers;
use crate::config::file::{self, File, Written};
use crate::config::model::{Routing, Sticky, Timeouts};
use crate::config::problem::Problem;
use crate::config::reader::{At, suggestion, written_key};
use crate::config::routes::{Route, Target};
use crate::domain::pattern::Pattern;

const DEFAULT_ORDER: u64 = 1;
const DEFAULT_WEIGHT: u64 = 1;
/// Each may be tried for one call.
const MOST_TARGETS: usize = 32;

/// Official clients try again by themselves: those of `OpenAI` and Anthropic twice.
const RETRIES: u64 = 0;
const RETRY_BUDGET: u64 = 20;
const MAX_RETRY_WAIT_MS: u64 = 10_000;
const FAILURES: u64 = 3;
const COOLDOWN_MS: u64 = 30_000;
/// The gateway's own headers never reach a provider.
const DEFAULT_STICKY_HEADER: &str = "x-conduit-session";

pub(super) fn resolve(file: &File, providers: &Providers, context: &Context<'_>) -> Vec<Route> {
    one_meaning(&file.models, context);
    let before = context.findings.count();
    let routes: Vec<Route> =
        file.models.iter().filter_map(|model| route(model, providers, context)).collect();
    if context.findings.count() == before {
        // A route with a mistake is missing here, which is not the mistake of whoever names it.
        check_fallbacks(&file.models, &routes, context);
    }
    routes
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
    if let Some(pattern) = &pattern {
        check_aliases(model, pattern, context);
        let upstreams = model.targets.right().into_iter().flat_map(|list| &list.value);
        let upstreams = upstreams.filter_map(|target| target.upstream.as_ref());
        for name in model.upstream.iter().chain(upstreams) {
            check_upstream(name, pattern, context);
        }
    }
    let mut targets = match &model.targets {
        Written::Absent => vec![only_target(model, providers, context)?],
        Written::Wrong => return None,
        Written::Right(list) => {
            check_form(model, list, context);
            let each = list.value.iter().map(|written| target(written, providers, context));
            each.collect::<Option<Vec<_>>>()?
        }
    };
    targets.sort_by_key(|target| target.order);
    Some(Route {
        pattern: pattern?,
        aliases: model.aliases.iter().map(|alias| Arc::from(alias.value.as_str())).collect(),
        targets,
        fallbacks: model.fallbacks.iter().map(|name| Arc::from(name.value.as_str())).collect(),
        max_output_tokens: model.max_output_tokens,
        price: model.price.clone().map(Arc::new),
    })
}

/// The target of the short form.
fn only_target(
    model: &file::Model,
    providers: &Providers,
    context: &Context<'_>,
) -> Option<Target> {
    if model.provider.is_absent() {
        let shown = model.name.value.escape_debug();
        let message = format!("model `{shown}` needs a `provider`");
        let problem = Problem::at(model.name.span.clone(), message);
        context.report(problem.help(
            "write the name of a provider: provider = \"openai\"; or several: targets = [{ \
             provider = \"openai\" }, { provider = \"azure\" }]",
        ));
    }
    let option = format!("models.{}.provider", written_key(&model.name.value));
    let name = model.provider.right()?;
    let provider = providers.find(name, &option, context)?;
    Some(Target {
        model: model.upstream.as_ref().map(|name| name.value.clone()),
        order: DEFAULT_ORDER,
        weight: DEFAULT_WEIGHT,
        timeouts: provider.timeouts,
        max_output_tokens: None,
        price: None,
        provider,
    })
}

/// Either form, not both.
fn check_form(model: &file::Model, list: &At<Vec<file::Target>>, context: &Context<'_>) {
    let shown = model.name.value.escape_debug();
    if list.value.is_empty() {
        let message = format!("model `{shown}` leads nowhere: its `targets` are empty");
        context.report(Problem::at(list.span.clone(), message));
    } else if list.value.len() > MOST_TARGETS {
        let message = format!("model `{shown}` has more than {MOST_TARGETS} targets");
        context.report(Problem::at(list.span.clone(), message));
    }
    let provider = model.provider.right();
    for name in [provider, model.upstream.as_ref()].into_iter().flatten() {
        let message = format!("model `{shown}` has `targets`: this belongs into one of them");
        let problem = Problem::at(name.span.clone(), message);
        context.report(problem.other(list.span.clone(), "the targets are here"));
    }
}

fn target(written: &file::Target, providers: &Providers, context: &Context<'_>) -> Option<Target> {
    let option = format!("{}.provider", written.path);
    if written.provider.is_absent() {
        let problem = Problem::at(written.span.clone(), format!("`{option}` is missing"));
        context.report(problem.help("write the name of a provider: provider = \"openai\""));
    }
    let provider = providers.find(written.provider.right()?, &option, context)?;
    let usual = provider.timeouts;
    Some(Target {
        model: written.upstream.as_ref().map(|name| name.value.clone()),
        order: written.order.unwrap_or(DEFAULT_ORDER),
        weight: written.weight.unwrap_or(DEFAULT_WEIGHT),
        timeouts: Timeouts {
            connect_ms: usual.connect_ms,
            first_byte_ms: written.first_byte_timeout_ms.unwrap_or(usual.first_byte_ms),
            idle_ms: written.idle_timeout_ms.unwrap_or(usual.idle_ms),
            total_ms: written.total_timeout_ms.unwrap_or(usual.total_ms),
        },
        max_output_tokens: written.max_output_tokens,
        price: written.price.clone().map(Arc::new),
        provider,
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

/// The name that a provider is asked for.
fn check_upstream(name: &At<String>, pattern: &Pattern, context: &Context<'_>) {
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

/// The models that others fall back on must be there.
fn check_fallbacks(models: &[file::Model], routes: &[Route], context: &Context<'_>) {
    let leads_to = |name: &str| {
        let is_alias = |route: &Route| route.aliases.iter().any(|alias| **alias == *name);
        routes.iter().any(|route| route.pattern.matches(name) || is_alias(route))
    };
    for model in models {
        for name in &model.fallbacks {
            let shown = name.value.escape_debug();
            let is_own = name.value == model.name.value
                || model.aliases.iter().any(|alias| alias.value == name.value);
            if is_own {
                let message = format!("model `{shown}` must not fall back on itself");
                context.report(Problem::at(name.span.clone(), message));
            } else if !leads_to(&name.value) {
                let option = format!("models.{}.fallbacks", written_key(&model.name.value));
                let message = format!("`{option}`: there is no model `{shown}`");
                let names = models.iter().map(|other| other.name.value.as_str());
                let names = names.filter(|other| *other != model.name.value);
                let label = suggestion(&name.value, names).unwrap_or_default();
                context.report(Problem::at(name.span.clone(), message).label(label));
            }
        }
    }
}

/// What happens when a target fails.
pub(super) fn routing(file: &File, context: &Context<'_>) -> Routing {
    let written = &file.routing;
    Routing {
        retries: written.retries.unwrap_or(RETRIES),
        retry_budget: written.retry_budget.unwrap_or(RETRY_BUDGET),
        max_retry_wait_ms: written.max_retry_wait_ms.unwrap_or(MAX_RETRY_WAIT_MS),
        failures: written.failures.unwrap_or(FAILURES),
        cooldown_ms: written.cooldown_ms.unwrap_or(COOLDOWN_MS),
        sticky: sticky(&file.routing, context),
    }
}

fn sticky(written: &file::Routing, context: &Context<'_>) -> Sticky {
    let choice = written.sticky.as_ref();
    let is_header = choice.is_some_and(|choice| choice.value == file::Sticky::Header);
    match (choice.map(|choice| choice.value), &written.sticky_header) {
        (Some(file::Sticky::Header), Some(name)) => {
            let lower = name.value.to_ascii_lowercase();
            if is_header_name(&lower) {
                return Sticky::Header(lower);
            }
            let shown = name.value.escape_debug();
            let message = format!("`routing.sticky_header`: `{shown}` is not a header to go by");
            context.report(Problem::at(name.span.clone(), message));
        }
        (Some(file::Sticky::Key), None) => return Sticky::Key,
        (_, Some(name)) if !is_header => {
            let message = "`routing.sticky_header` has a meaning only with sticky = \"header\"";
            context.report(Problem::at(name.span.clone(), message));
        }
        (Some(file::Sticky::Header), None) => {
            return Sticky::Header(DEFAULT_STICKY_HEADER.to_owned());
        }
        _ => {}
    }
    Sticky::Off
}

/// Any header that is not a credential.
fn is_header_name(lower: &str) -> bool {
    const CREDENTIALS: [&str; 5] =
        ["authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"];
    let symbols = b"!#$%&'*+-.^_`|~";
    let token = |b: u8| b.is_ascii_alphanumeric() || symbols.contains(&b);
    !lower.is_empty() && lower.bytes().all(token) && !CREDENTIALS.contains(&lower)
}
