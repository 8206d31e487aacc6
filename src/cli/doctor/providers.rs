//! Whether each provider is reached, takes its key, and has the models that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use super::Check;
use crate::config::{Config, Provider};
use crate::gateway::probe::{Answered, Outcome, probe};
use crate::gateway::tls;
use crate::provider::kind::Kind;

const PROVIDER: &str = "provider";
/// A clock that is off by more makes signed calls fail, and bills of two parties differ.
const MAX_SKEW_MS: u64 = 60_000;

/// Without `patience` nobody is asked.
pub(super) fn checks(config: &Config, patience: Option<Duration>) -> Vec<Check> {
    let Some(patience) = patience else {
        return vec![Check::skipped(PROVIDER, "none was asked: --offline")];
    };
    let tls = Arc::new(tls());
    // All at once: one that is silent must not make the others wait.
    let outcomes: Vec<Vec<Outcome>> = std::thread::scope(|scope| {
        let asked: Vec<_> = config
            .providers
            .iter()
            .map(|provider| {
                let tls = Arc::clone(&tls);
                scope.spawn(move || probe(provider, tls, patience))
            })
            .collect();
        asked.into_iter().map(|asked| asked.join().unwrap_or_default()).collect()
    });
    let mut checks = Vec::new();
    let mut skew = None;
    for (provider, outcomes) in config.providers.iter().zip(&outcomes) {
        for outcome in outcomes {
            checks.push(judge(provider, outcome).of(provider.name.to_string()));
            if let Outcome::Answered(answered) = outcome {
                skew = skew.or_else(|| skewed(provider, answered));
                checks.extend(missing_models(config, provider, answered));
            }
        }
    }
    checks.extend(skew);
    checks
}

fn judge(provider: &Provider, outcome: &Outcome) -> Check {
    match outcome {
        Outcome::BuiltIn => Check::good(PROVIDER, "it is built in and needs nothing"),
        Outcome::NoAddress { host, reason } => {
            let found = format!("the name {host} leads nowhere: {reason}");
            let advice = "is `base_url` right? Does this machine resolve other names: getent hosts example.com";
            Check::bad(PROVIDER, found, advice)
        }
        Outcome::Unreachable { reason } => {
            let found = format!("it cannot be reached: {reason}");
            Check::bad(PROVIDER, found, advice_on(reason))
        }
        Outcome::Silent { after } => {
            let found = format!("it said nothing for {} s", after.as_secs());
            let advice = "is a firewall in the way? --timeout lets it take longer";
            Check::bad(PROVIDER, found, advice)
        }
        Outcome::Answered(answered) => answer(provider, answered),
    }
}

fn advice_on(reason: &str) -> &'static str {
    let reason = reason.to_lowercase();
    if reason.contains("certificate") || reason.contains("unknownissuer") {
        "its certificate is not trusted here: install ca-certificates, or the private authority's \
         certificate (SSL_CERT_FILE names one), and see that the clock is right"
    } else if reason.contains("refused") {
        "nothing listens there: is `base_url` right, and does the server run?"
    } else {
        "is `base_url` right, with http:// or https:// as the server speaks? Is a firewall in the way?"
    }
}

fn answer(provider: &Provider, answered: &Answered) -> Check {
    let took = format!("{} ms", answered.took.as_millis());
    let key = match (answered.key, provider.keys.len()) {
        (Some(at), 2..) => format!("key {at} of {}", provider.keys.len()),
        _ => "the key".to_owned(),
    };
    let said = answered.said.as_ref().map(|said| format!(": {said}")).unwrap_or_default();
    match answered.status {
        200 if provider.kind == Kind::Azure => {
            Check::good(PROVIDER, format!("{key} is good ({took})"))
        }
        200 => match &answered.models {
            Some(models) => {
                let more = if answered.is_cut { " and more" } else { "" };
                let with =
                    if answered.key.is_some() { format!("{key} is good, ") } else { String::new() };
                Check::good(PROVIDER, format!("{with}{} models{more} ({took})", models.len()))
            }
            None => Check::warning(
                PROVIDER,
                "it answers, but not with a list of models",
                "is `base_url` the address below which /models and /chat/completions are?",
            ),
        },
        _ if provider.kind == Kind::Bedrock => Check::good(
            PROVIDER,
            format!(
                "it is reached ({took}); its credentials are not tried, since Amazon lists models elsewhere"
            ),
        ),
        401 | 403 if answered.key.is_none() => Check::bad(
            PROVIDER,
            format!("it wants a key ({}{said})", answered.status),
            "name where the key is kept: `api_key_env`, `api_key_file` or `api_key_credential`",
        ),
        401 | 403 => Check::bad(
            PROVIDER,
            format!("{key} is refused ({}{said})", answered.status),
            "put a good key in its place; a key may also lack the right to list models",
        ),
        429 => Check::warning(
            PROVIDER,
            format!("it is reached, but wants to be left alone ({took}{said})"),
            "has the account credit? Its rates may be used up",
        ),
        404 | 405 => Check::warning(
            PROVIDER,
            format!("it is reached ({took}), but has no list of models, so {key} was not tried"),
            "if calls fail too, `base_url` may be wrong: it often ends in /v1",
        ),
        status => Check::bad(
            PROVIDER,
            format!("it answers with status {status}{said}"),
            "see the provider's status page; if it is your own server, its log",
        ),
    }
}

/// Names in the configuration that the provider does not have.
fn missing_models(config: &Config, provider: &Provider, answered: &Answered) -> Vec<Check> {
    let Some(models) = answered.models.as_ref().filter(|m| !answered.is_cut && !m.is_empty())
    else {
        return Vec::new();
    };
    // Once is enough for all keys.
    if answered.key.is_some_and(|key| key > 1) {
        return Vec::new();
    }
    let mut checks = Vec::new();
    for route in config.routes.list().iter().filter(|route| route.pattern.is_exact()) {
        for target in route.targets.iter().filter(|t| t.provider.name == provider.name) {
            let name = route.upstream_model(target, route.pattern.as_str());
            // Ollama lists `llama3:latest` for `llama3`.
            let is_listed = |listed: &String| {
                *listed == *name || listed.strip_suffix(":latest") == Some(&*name)
            };
            if models.iter().any(is_listed) {
                continue;
            }
            let found = format!(
                "`{}` leads to `{name}`, which the provider does not list",
                route.pattern.as_str()
            );
            let advice = "is the name right? Some providers do not list all they have";
            checks.push(Check::warning("model", found, advice).of(provider.name.to_string()));
        }
    }
    checks
}

fn skewed(provider: &Provider, answered: &Answered) -> Option<Check> {
    let (theirs, ours) = answered.clock?;
    let apart = theirs.millis_since(ours).max(ours.millis_since(theirs));
    if apart <= MAX_SKEW_MS {
        return None;
    }
    let found = format!("it is {} s away from the clock of {}", apart / 1000, provider.name);
    let advice = "set it, best by a time service (timedatectl set-ntp true)";
    Some(Check::warning("clock", found, advice))
}
