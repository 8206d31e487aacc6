//! Checks where traces go: the section of the file, and the variables that OpenTelemetry defines for all
//! programs, which take its place.

use secrecy::SecretString;

use super::Context;
use crate::config::base_url::BaseUrl;
use crate::config::file::File;
use crate::config::model::{ExtraHeader, Override, Tracing};
use crate::config::problem::Problem;
use crate::domain::trace::Sampler;

/// What is below a collector's address.
const PATH: &str = "/v1/traces";
const DEFAULT_TIMEOUT_MS: u64 = 10_000;
const DEFAULT_DELAY_MS: u64 = 5_000;

pub(super) fn resolve(
    file: &File,
    context: &Context<'_>,
    overrides: &mut Vec<Override>,
) -> Option<Tracing> {
    let is_off =
        context.variable("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
            || context.variable("OTEL_TRACES_EXPORTER").is_some_and(|v| v == "none");
    let variables = Variables(context);
    let sampler = sampler(file, &variables, overrides);
    let resource = resource(file, &variables, overrides);
    let headers = variables.first("HEADERS").map(|(name, text)| headers(name, &text, context));
    let number = |name: &str, default| variables.number(name).unwrap_or(default);
    let timeout_ms = variables.first("TIMEOUT").map_or(DEFAULT_TIMEOUT_MS, |(name, text)| {
        text.parse().unwrap_or_else(|_| {
            context.report(Problem::nowhere(format!("{name}: a number of milliseconds is wanted")));
            DEFAULT_TIMEOUT_MS
        })
    });
    let delay_ms = number("OTEL_BSP_SCHEDULE_DELAY", DEFAULT_DELAY_MS);
    let url = url(file, &variables, overrides)?;
    if let Some((name, text)) = variables.first("PROTOCOL")
        && !is_off
        && text != "http/protobuf"
    {
        let message =
            format!("{name}: `{}` is not spoken here: http/protobuf", text.escape_debug());
        context.report(Problem::nowhere(message));
    }
    (!is_off).then_some(Tracing {
        url,
        headers: headers.unwrap_or_default(),
        timeout_ms,
        delay_ms,
        resource,
        sampler,
        capture_content: file.tracing.capture_content.unwrap_or(false),
    })
}

/// The variables of OpenTelemetry's specification.
struct Variables<'a>(&'a Context<'a>);

impl Variables<'_> {
    /// What is set for traces, or else for everything that is exported.
    fn first(&self, what: &str) -> Option<(&'static str, String)> {
        let names = match what {
            "ENDPOINT" => ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
            "HEADERS" => ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
            "TIMEOUT" => ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
            _ => ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"],
        };
        names.into_iter().find_map(|name| Some((name, self.0.variable(name)?)))
    }

    fn number(&self, name: &str) -> Option<u64> {
        let text = self.0.variable(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            let message = format!("{name}: a number of milliseconds is wanted");
            self.0.report(Problem::nowhere(message));
        }
        number
    }
}

/// Where spans are sent; `None` for nowhere.
fn url(file: &File, variables: &Variables<'_>, overrides: &mut Vec<Override>) -> Option<String> {
    let context = variables.0;
    let below = |text: &str| format!("{}{PATH}", text.trim_end_matches('/'));
    if let Some((variable, text)) = variables.first("ENDPOINT") {
        overrides.push(Override { variable, option: "tracing.endpoint" });
        if let Err(why) = BaseUrl::parse(&text) {
            context.report(Problem::nowhere(format!("{variable} is no address for traces: {why}")));
        }
        let is_whole = variable == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        return Some(if is_whole { text } else { below(&text) });
    }
    let written = file.tracing.endpoint.as_ref()?;
    if let Err(why) = BaseUrl::parse(&written.value) {
        let message = format!("`tracing.endpoint` is no address for traces: {why}");
        context.report(Problem::at(written.span.clone(), message));
    }
    Some(below(&written.value))
}

fn sampler(file: &File, variables: &Variables<'_>, overrides: &mut Vec<Override>) -> Sampler {
    let context = variables.0;
    let written = file.tracing.percent.map(Sampler::percent).unwrap_or_default();
    let Some(name) = context.variable("OTEL_TRACES_SAMPLER") else { return written };
    overrides.push(Override { variable: "OTEL_TRACES_SAMPLER", option: "tracing.percent" });
    let argument = context.variable("OTEL_TRACES_SAMPLER_ARG");
    Sampler::from_words(&name, argument.as_deref()).unwrap_or_else(|why| {
        context.report(Problem::nowhere(format!("OTEL_TRACES_SAMPLER: {why}")));
        written
    })
}

/// What all spans have in common: who sends them.
fn resource(
    file: &File,
    variables: &Variables<'_>,
    overrides: &mut Vec<Override>,
) -> Vec<(String, String)> {
    let context = variables.0;
    let mut resource = context
        .variable("OTEL_RESOURCE_ATTRIBUTES")
        .map(|text| pairs("OTEL_RESOURCE_ATTRIBUTES", &text, context))
        .unwrap_or_default();
    if let Some(text) = file.tracing.service_name.as_ref().filter(|text| text.value.is_empty()) {
        let message = "`tracing.service_name` must be a name";
        context.report(Problem::at(text.span.clone(), message));
    }
    let mut service = file.tracing.service_name.as_ref().map(|text| text.value.clone());
    if let Some(name) = context.variable("OTEL_SERVICE_NAME") {
        let (variable, option) = ("OTEL_SERVICE_NAME", "tracing.service_name");
        overrides.push(Override { variable, option });
        service = Some(name);
    }
    let has = |resource: &[(String, String)], name: &str| resource.iter().any(|(n, _)| n == name);
    if service.is_some() || !has(&resource, "service.name") {
        resource.retain(|(name, _)| name != "service.name");
        let service = service.unwrap_or_else(|| "conduit".to_owned());
        resource.push(("service.name".to_owned(), service));
    }
    if !has(&resource, "service.version") {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        resource.push(("service.version".to_owned(), version));
    }
    resource.push(("telemetry.sdk.name".to_owned(), "conduit".to_owned()));
    resource.push(("telemetry.sdk.language".to_owned(), "rust".to_owned()));
    resource
}

fn headers(variable: &str, text: &str, context: &Context<'_>) -> Vec<ExtraHeader> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let mut headers = Vec::new();
    for (name, value) in pairs(variable, text, context) {
        if is_name(&name) && value.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
            let (name, value) = (name.to_ascii_lowercase(), SecretString::from(value));
            headers.push(ExtraHeader { name, value });
        } else {
            let message = format!("{variable}: `{}` is not a header", name.escape_debug());
            context.report(Problem::nowhere(message));
        }
    }
    headers
}

/// `name=value,name=value`, with what is special written as `%2C` (W3C Baggage).
fn pairs(variable: &str, text: &str, context: &Context<'_>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        if let Some((name, value)) = part.split_once('=') {
            pairs.push((name.trim().to_owned(), decoded(value.trim())));
        } else {
            // What stands there may be a secret.
            let message = format!("{variable}: what stands there must be like name=value");
            context.report(Problem::nowhere(message));
        }
    }
    pairs
}

/// Without the escapes; what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
