//! Providers: their kind's preset filled in, their headers checked, their keys fetched.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use secrecy::SecretString;

use super::secret::Source;
use super::{Context, Secrets, address, aws};
use crate::config::base_url::BaseUrl;
use crate::config::file::{self, File, Written};
use crate::config::model::{ExtraHeader, Provider, Timeouts};
use crate::config::problem::Problem;
use crate::config::reader::{At, suggestion};
use crate::provider::kind::{Kind, PRESETS, Preset};

const CONNECT_MS: u64 = 5_000;
/// Models that think before they answer are silent for minutes.
const FIRST_BYTE_MS: u64 = 300_000;
const IDLE_MS: u64 = 120_000;
const TOTAL_MS: u64 = 1_800_000;
const MAX_CONNECTIONS: u64 = 4096;

/// Headers that are the gateway's business, or that carry a key.
const OWN_HEADERS: [&str; 19] = [
    "accept-encoding",
    "api-key",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-api-key",
    "x-goog-api-key",
];

/// All providers of the file by name; those that are wrong have a name only.
pub(super) struct Providers(Vec<(String, Option<Arc<Provider>>)>);

impl Providers {
    /// The provider that `option` names; reports a name that no provider has.
    pub(super) fn find(
        &self,
        name: &At<String>,
        option: &str,
        context: &Context<'_>,
    ) -> Option<Arc<Provider>> {
        if let Some((_, provider)) = self.0.iter().find(|(known, _)| *known == name.value) {
            return provider.clone();
        }
        let written = name.value.escape_debug();
        let message = format!("`{option}`: there is no provider `{written}`");
        let names = self.0.iter().map(|(name, _)| name.as_str());
        let label = suggestion(&name.value, names.clone()).unwrap_or_default();
        let mut problem = Problem::at(name.span.clone(), message).label(label);
        if !self.0.is_empty() {
            let names = names.map(|name| format!("`{name}`")).collect::<Vec<_>>();
            problem = problem.help(format!("there is {}", names.join(", ")));
        }
        context.report(problem);
        None
    }

    pub(super) fn into_list(self) -> Vec<Arc<Provider>> {
        self.0.into_iter().filter_map(|(_, provider)| provider).collect()
    }
}

pub(super) fn resolve(file: &File, context: &Context<'_>) -> Providers {
    if file.no_provider {
        let help = "write [providers.openai] and, below it, kind = \"openai\"";
        context.report(Problem::nowhere("there is no provider").help(help));
    }
    let each = file.providers.iter().map(|written| {
        check_name(&written.name, context);
        let provider = provider(written, &file.defaults, context);
        (written.name.value.clone(), provider.map(Arc::new))
    });
    Providers(each.collect())
}

/// The name stands in logs, receipts and metrics.
fn check_name(name: &At<String>, context: &Context<'_>) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.value.is_empty() || name.value.len() > 64 || !name.value.bytes().all(plain) {
        let message = format!("`{}` is not a name for a provider", name.value.escape_debug());
        let label = "at most 64 letters, digits, `-`, `_` or `.`";
        context.report(Problem::at(name.span.clone(), message).label(label));
    }
}

fn provider(
    written: &file::Provider,
    defaults: &file::Transport,
    context: &Context<'_>,
) -> Option<Provider> {
    let kind = kind(written, context)?;
    let preset = kind.preset();
    let before = context.findings.count();
    let region = aws::region(written, preset, context);
    let api_version = api_version(written, kind, context);
    let base_url = address::base_url(written, preset, region.as_deref(), context);
    let keys = keys(written, preset, base_url.as_ref(), context);
    let aws = aws::resolve(written, preset, base_url.as_ref(), region, !keys.is_empty(), context);
    let (base_url, layout) = address::laid_out(kind, base_url, api_version.as_deref());
    let own = &written.transport;
    let pick = |own: Option<u64>, shared: Option<u64>, default| own.or(shared).unwrap_or(default);
    let connections = pick(own.max_connections, defaults.max_connections, MAX_CONNECTIONS);
    let provider = Provider {
        name: Arc::from(written.name.value.as_str()),
        kind,
        base_url,
        keys,
        key_header: preset.key_header,
        layout,
        aws,
        stream_usage: written.stream_usage.unwrap_or(preset.stream_usage),
        headers: headers(written, context),
        api_version,
        timeouts: Timeouts {
            connect_ms: pick(own.connect_timeout_ms, defaults.connect_timeout_ms, CONNECT_MS),
            first_byte_ms: pick(
                own.first_byte_timeout_ms,
                defaults.first_byte_timeout_ms,
                FIRST_BYTE_MS,
            ),
            idle_ms: pick(own.idle_timeout_ms, defaults.idle_timeout_ms, IDLE_MS),
            total_ms: pick(own.total_timeout_ms, defaults.total_timeout_ms, TOTAL_MS),
        },
        max_connections: usize::try_from(connections).unwrap_or(usize::MAX),
        on_client_gone: own.on_client_gone.or(defaults.on_client_gone).unwrap_or_default(),
        prefer_provider_cost: written.prefer_provider_cost.unwrap_or(false),
        responses: written.responses.unwrap_or(preset.responses),
    };
    (context.findings.count() == before).then_some(provider)
}

fn kind(written: &file::Provider, context: &Context<'_>) -> Option<Kind> {
    let names = PRESETS.iter().map(|preset| preset.name);
    let help = || format!("the kinds are {}", names.clone().collect::<Vec<_>>().join(", "));
    if written.kind.is_absent() {
        let message = format!("provider `{}` needs a `kind`", written.name.value);
        let label = names.clone().find(|name| *name == written.name.value);
        let label = label.map(|name| format!("write kind = \"{name}\"")).unwrap_or_default();
        let problem = Problem::at(written.name.span.clone(), message).label(label);
        context.report(problem.help(help()));
    }
    let word = written.kind.right()?;
    let kind = Kind::from_name(&word.value);
    if kind.is_none() {
        let message = format!("`{}` is not a kind of provider", word.value.escape_debug());
        let label = suggestion(&word.value, names.clone()).unwrap_or_default();
        let problem = Problem::at(word.span.clone(), message).label(label);
        context.report(problem.help(help()));
    }
    kind
}

/// The provider's keys, in the order of the file.
fn keys(
    written: &file::Provider,
    preset: &Preset,
    base_url: Option<&BaseUrl>,
    context: &Context<'_>,
) -> Vec<SecretString> {
    let sources = sources(written, preset, base_url, context);
    if context.secrets == Secrets::Skip {
        return Vec::new();
    }
    let each = sources.into_iter().filter_map(|(source, span)| {
        let found = source.fetch(context);
        if let Err(why) = &found {
            let message = format!("provider `{}` has no key: {why}", written.name.value);
            context.report(Problem::at(span, message));
        }
        found.ok()
    });
    each.collect()
}

/// Where the keys are, and the places in the file that say so.
fn sources<'a>(
    written: &'a file::Provider,
    preset: &Preset,
    base_url: Option<&BaseUrl>,
    context: &Context<'_>,
) -> Vec<(Source<'a>, Range<usize>)> {
    let options = [&written.api_key_env, &written.api_key_file, &written.api_key_credential];
    let given = options.iter().filter_map(|option| option.right()).collect::<Vec<_>>();
    if let [first, second, ..] = given.as_slice() {
        let message = format!("provider `{}` has two places for its key", written.name.value);
        let problem = Problem::at(second.span.clone(), message).label("only one of them");
        context.report(problem.other(first.span.clone(), "the other is here"));
        return Vec::new();
    }
    if written.has_api_key || options.iter().any(|option| matches!(option, Written::Wrong)) {
        return Vec::new();
    }
    let Some(names) = given.first() else {
        let is_elsewhere = base_url.is_none() && !written.base_url.is_absent();
        let usual = preset.key_variable.filter(|_| address::is_presets_own(preset, base_url));
        // Amazon's may be signed instead.
        let may_be_absent = preset.kind == Kind::Bedrock;
        let usual = usual.filter(|name| !may_be_absent || context.variable(name).is_some());
        let usual = usual.filter(|_| !is_elsewhere && (!may_be_absent || written.aws.is_absent()));
        return usual
            .map(|variable| (Source::Variable(variable), written.name.span.clone()))
            .into_iter()
            .collect();
    };
    if preset.kind == Kind::Echo {
        let message = "a provider of kind `echo` answers by itself: it has no key";
        context.report(Problem::at(names.span.clone(), message));
        return Vec::new();
    }
    let which = options.iter().position(|option| option.right().is_some()).unwrap_or_default();
    let mut sources: Vec<(Source<'a>, Range<usize>)> = Vec::new();
    for (index, name) in names.value.iter().enumerate() {
        if names.value[..index].iter().any(|other| other.value == name.value) {
            let message = format!("provider `{}` has this key twice", written.name.value);
            context.report(Problem::at(name.span.clone(), message));
        }
        let source = Source::written("api_key", which, name, context);
        sources.extend(source.map(|source| (source, name.span.clone())));
    }
    sources
}

fn headers(written: &file::Provider, context: &Context<'_>) -> Vec<ExtraHeader> {
    let mut seen: BTreeMap<String, Range<usize>> = BTreeMap::new();
    let mut headers = Vec::new();
    for (name, value) in &written.headers {
        let lower = name.value.to_ascii_lowercase();
        if let Some(problem) = header_problem(&lower, name, value) {
            context.report(problem);
            continue;
        }
        if let Some(first) = seen.insert(lower.clone(), name.span.clone()) {
            let message = format!("the header `{lower}` is written twice");
            let problem = Problem::at(name.span.clone(), message);
            context.report(problem.other(first, "the other is here"));
        }
        headers.push(ExtraHeader { name: lower, value: SecretString::from(value.value.as_str()) });
    }
    headers
}

fn header_problem(lower: &str, name: &At<String>, value: &At<String>) -> Option<Problem> {
    let symbols = b"!#$%&'*+-.^_`|~";
    let token = |b: u8| b.is_ascii_alphanumeric() || symbols.contains(&b);
    if lower.is_empty() || !lower.bytes().all(token) {
        let message = format!("`{}` is not the name of a header", name.value.escape_debug());
        return Some(Problem::at(name.span.clone(), message));
    }
    if OWN_HEADERS.contains(&lower) {
        let message = format!("the header `{lower}` is set by the gateway");
        let problem = Problem::at(name.span.clone(), message);
        let carries_key = lower.contains("key") || lower.contains("authorization");
        let help = "for a provider's key there are `api_key_env`, `api_key_file` and \
                    `api_key_credential`";
        return Some(if carries_key { problem.help(help) } else { problem });
    }
    let plain = |b: u8| b.is_ascii_graphic() || b == b' ' || b == b'\t';
    let padded = value.value.trim() != value.value;
    if padded || !value.value.bytes().all(plain) {
        let message = format!("the value of the header `{lower}` must be visible ASCII");
        return Some(Problem::at(value.span.clone(), message));
    }
    None
}

fn api_version(written: &file::Provider, kind: Kind, context: &Context<'_>) -> Option<String> {
    let text = written.api_version.as_ref()?;
    if kind != Kind::Azure {
        let message = "`api_version` has a meaning only with kind `azure`";
        context.report(Problem::at(text.span.clone(), message));
        return None;
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    if text.value.is_empty() || !text.value.bytes().all(plain) {
        let message = "`api_version` must be a version such as \"2024-10-21\" or \"preview\"";
        context.report(Problem::at(text.span.clone(), message));
        return None;
    }
    Some(text.value.clone())
}
