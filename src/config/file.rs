//! The configuration file as written: which keys there are, of which type and in which range.
//!
//! Nothing is resolved, defaulted or compared here, and nothing outside the file is read. What is
//! absent or wrong is `None`; that it was wrong has been reported by then.

use std::ops::{Range, RangeInclusive};
use std::rc::Rc;

use toml::de::DeTable;

use super::model::{ClientGone, ENFORCEMENTS, LogFormat, MetricsFor};
use super::price;
use super::reader::{At, Findings, Section};
use super::shape::Outline;
use crate::domain::price::Pricing;
use crate::provider::kind::StreamUsage;

const MAX_OUTPUT: RangeInclusive<u64> = 1..=100_000_000;

pub(super) struct File {
    pub(super) server: Server,
    pub(super) store: Store,
    pub(super) admin: Admin,
    pub(super) acme: Option<Acme>,
    pub(super) log: Log,
    pub(super) limits: Limits,
    pub(super) alerts: Alerts,
    pub(super) tracing: Tracing,
    pub(super) defaults: Transport,
    pub(super) providers: Vec<Provider>,
    /// None is written, not even a wrong one.
    pub(super) no_provider: bool,
    pub(super) models: Vec<Model>,
    pub(super) routing: Routing,
}

#[derive(Default)]
pub(super) struct Server {
    pub(super) listen: Option<Vec<At<String>>>,
    pub(super) workers: Option<u64>,
    pub(super) max_body: Option<u64>,
    pub(super) shutdown_deadline_ms: Option<u64>,
    pub(super) keep_alive_ms: Option<u64>,
    pub(super) header_timeout_ms: Option<u64>,
    pub(super) trusted_proxies: Vec<At<String>>,
    pub(super) proxy_protocol: Option<At<bool>>,
    pub(super) tls: Option<Tls>,
}

/// Where a listener's certificate is.
pub(super) struct Tls {
    /// The name of the section.
    pub(super) span: Range<usize>,
    pub(super) certificate: Written<String>,
    pub(super) key: Written<String>,
    pub(super) acme: Option<At<bool>>,
}

/// Which certificate is ordered, and of whom.
pub(super) struct Acme {
    /// The name of the section.
    pub(super) span: Range<usize>,
    pub(super) names: Option<Vec<At<String>>>,
    pub(super) agree_to_terms: Option<At<bool>>,
    pub(super) contact: Option<At<String>>,
    pub(super) directory: Option<At<String>>,
    pub(super) authority_file: Option<At<String>>,
    pub(super) folder: Option<At<String>>,
    pub(super) binding_id: Option<At<String>>,
    pub(super) binding_file: Option<At<String>>,
}

#[derive(Default)]
pub(super) struct Store {
    pub(super) path: Option<At<String>>,
    pub(super) receipts_keep_ms: Option<u64>,
}

#[derive(Default)]
pub(super) struct Admin {
    pub(super) socket: Option<At<String>>,
    pub(super) listen: Option<Vec<At<String>>>,
    pub(super) allow_remote: Option<bool>,
    pub(super) hosts: Vec<At<String>>,
    pub(super) password_file: Option<At<String>>,
    pub(super) password_credential: Option<At<String>>,
    pub(super) audit_keep_ms: Option<u64>,
    pub(super) metrics: Option<MetricsFor>,
    pub(super) proxy_protocol: Option<At<bool>>,
    pub(super) tls: Option<Tls>,
}

#[derive(Default)]
pub(super) struct Log {
    pub(super) level: Option<At<String>>,
    pub(super) format: Option<LogFormat>,
    pub(super) access: Option<At<String>>,
    pub(super) audit: Option<At<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    Rolling,
    Calendar,
}

#[derive(Default)]
pub(super) struct Limits {
    pub(super) windows: Written<Windows>,
    pub(super) time_zone: Option<At<String>>,
    pub(super) enforcement: Option<crate::domain::budget::Enforcement>,
    pub(super) max_wait_ms: Option<u64>,
    pub(super) min_output_tokens: Option<u64>,
}

#[derive(Default)]
pub(super) struct Alerts {
    pub(super) at: Option<Vec<u64>>,
    pub(super) webhook: Option<At<String>>,
    pub(super) secret_env: Option<At<String>>,
    pub(super) secret_file: Option<At<String>>,
}

#[derive(Default)]
pub(super) struct Tracing {
    pub(super) endpoint: Option<At<String>>,
    pub(super) service_name: Option<At<String>>,
    pub(super) percent: Option<u64>,
    pub(super) capture_content: Option<bool>,
}

/// How calls travel to a provider; written per provider, or once under `[defaults]`.
#[derive(Clone, Copy, Default)]
pub(super) struct Transport {
    pub(super) connect_timeout_ms: Option<u64>,
    pub(super) first_byte_timeout_ms: Option<u64>,
    pub(super) idle_timeout_ms: Option<u64>,
    pub(super) total_timeout_ms: Option<u64>,
    pub(super) max_connections: Option<u64>,
    pub(super) on_client_gone: Option<ClientGone>,
}

pub(super) struct Provider {
    pub(super) name: At<String>,
    pub(super) kind: Written<String>,
    pub(super) base_url: Written<String>,
    /// A key itself is written, which has been reported.
    pub(super) has_api_key: bool,
    pub(super) api_key_env: Written<Vec<At<String>>>,
    pub(super) api_key_file: Written<Vec<At<String>>>,
    pub(super) api_key_credential: Written<Vec<At<String>>>,
    pub(super) stream_usage: Option<StreamUsage>,
    /// Names and values of headers; the values may be secrets.
    pub(super) headers: Vec<(At<String>, At<String>)>,
    pub(super) api_version: Option<At<String>>,
    pub(super) region: Option<At<String>>,
    pub(super) aws: AwsPlaces,
    pub(super) transport: Transport,
    pub(super) prefer_provider_cost: Option<bool>,
    pub(super) responses: Option<bool>,
}

/// Where what Amazon's calls are signed with is to be found.
pub(super) struct AwsPlaces {
    /// One stands in the file itself, which was reported already.
    pub(super) has_secret: bool,
    pub(super) access_key_id: Place,
    pub(super) secret_access_key: Place,
    pub(super) session_token: Place,
}

impl AwsPlaces {
    pub(super) fn is_absent(&self) -> bool {
        let all = [&self.access_key_id, &self.secret_access_key, &self.session_token];
        all.iter().all(|place| place.is_absent())
    }
}

/// The place of a secret; at most one of the three.
pub(super) struct Place {
    pub(super) env: Written<String>,
    pub(super) file: Written<String>,
    pub(super) credential: Written<String>,
}

impl Place {
    fn read(section: &mut Section<'_>, [env, file, credential]: [&'static str; 3]) -> Self {
        Self {
            env: Written::read(section, env, Section::text),
            file: Written::read(section, file, Section::text),
            credential: Written::read(section, credential, Section::text),
        }
    }

    /// In the order in which messages name them.
    pub(super) const fn options(&self) -> [&Written<String>; 3] {
        [&self.env, &self.file, &self.credential]
    }

    pub(super) fn is_absent(&self) -> bool {
        self.options().iter().all(|option| option.is_absent())
    }
}

/// A value of which it matters that absent and wrong are different.
#[derive(Default)]
pub(super) enum Written<T> {
    #[default]
    Absent,
    /// Reported already.
    Wrong,
    Right(At<T>),
}

impl<T> Written<T> {
    fn read<'t>(
        section: &mut Section<'t>,
        key: &'static str,
        read: impl FnOnce(&mut Section<'t>, &'static str) -> Option<At<T>>,
    ) -> Self {
        match read(section, key) {
            Some(at) => Self::Right(at),
            None if section.has(key) => Self::Wrong,
            None => Self::Absent,
        }
    }

    pub(super) const fn right(&self) -> Option<&At<T>> {
        match self {
            Self::Right(at) => Some(at),
            Self::Absent | Self::Wrong => None,
        }
    }

    pub(super) const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

pub(super) struct Model {
    pub(super) name: At<String>,
    /// The short form, for a single target.
    pub(super) provider: Written<String>,
    /// The name that the provider is asked for.
    pub(super) upstream: Option<At<String>>,
    pub(super) targets: Written<Vec<Target>>,
    pub(super) fallbacks: Vec<At<String>>,
    pub(super) aliases: Vec<At<String>>,
    pub(super) max_output_tokens: Option<u64>,
    pub(super) price: Option<Pricing>,
    /// The byte at which its price begins.
    pub(super) price_at: Option<usize>,
}

/// One place that a model leads to.
pub(super) struct Target {
    /// The way to it, as `models.a.targets[0]`.
    pub(super) path: String,
    /// The table in the file.
    pub(super) span: Range<usize>,
    pub(super) provider: Written<String>,
    pub(super) upstream: Option<At<String>>,
    pub(super) order: Option<u64>,
    pub(super) weight: Option<u64>,
    pub(super) first_byte_timeout_ms: Option<u64>,
    pub(super) idle_timeout_ms: Option<u64>,
    pub(super) total_timeout_ms: Option<u64>,
    pub(super) max_output_tokens: Option<u64>,
    pub(super) price: Option<Pricing>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sticky {
    Off,
    Key,
    Header,
}

#[derive(Default)]
pub(super) struct Routing {
    pub(super) default_provider: Option<At<String>>,
    pub(super) retries: Option<u64>,
    pub(super) retry_budget: Option<u64>,
    pub(super) max_retry_wait_ms: Option<u64>,
    pub(super) failures: Option<u64>,
    pub(super) cooldown_ms: Option<u64>,
    pub(super) sticky: Option<At<Sticky>>,
    pub(super) sticky_header: Option<At<String>>,
}

pub(super) fn read(root: &DeTable<'_>, findings: &Findings) -> File {
    read_from(Section::root(root, findings), findings)
}

/// Everything that may be written.
pub(super) fn outline() -> Rc<Outline> {
    let (nothing, findings) = (DeTable::new(), Findings::default());
    let outline = Rc::new(Outline::default());
    read_from(Section::outlined(&nothing, &findings, Rc::clone(&outline)), &findings);
    outline
}

fn read_from(mut top: Section<'_>, findings: &Findings) -> File {
    let before = findings.count();
    let providers: Vec<Provider> =
        entries(top.section("providers"), "a table such as [providers.openai]")
            .map(|(name, section)| provider(name, section))
            .collect();
    let no_provider = providers.is_empty() && findings.count() == before;
    let file = File {
        server: top.section("server").map(server).unwrap_or_default(),
        store: top.section("store").map(store).unwrap_or_default(),
        admin: top.section("admin").map(admin).unwrap_or_default(),
        acme: top.section("acme").map(acme),
        log: top.section("log").map(log).unwrap_or_default(),
        limits: top.section("limits").map(limits).unwrap_or_default(),
        alerts: top.section("alerts").map(alerts).unwrap_or_default(),
        tracing: top.section("tracing").map(tracing).unwrap_or_default(),
        defaults: top.section("defaults").map(defaults).unwrap_or_default(),
        providers,
        no_provider,
        models: entries(top.section("models"), "a table such as [models.\"gpt-4o\"]")
            .map(|(name, section)| model(name, section))
            .collect(),
        routing: top.section("routing").map(routing).unwrap_or_default(),
    };
    top.finish();
    file
}

fn entries<'t>(
    section: Option<Section<'t>>,
    expected: &str,
) -> impl Iterator<Item = (At<String>, Section<'t>)> {
    section.map(|section| section.named_sections(expected)).unwrap_or_default().into_iter()
}

fn server(mut section: Section<'_>) -> Server {
    let server = Server {
        listen: section.text_or_texts("listen"),
        workers: section.integer("workers", &(1..=1024)),
        max_body: section.size("max_body", &("1KiB"..="4GiB")),
        shutdown_deadline_ms: section.duration("shutdown_deadline", &("0s"..="1d")),
        keep_alive_ms: section.duration("keep_alive", &("1s"..="1h")),
        header_timeout_ms: section.duration("header_timeout", &("1s"..="10m")),
        trusted_proxies: section.texts("trusted_proxies").unwrap_or_default(),
        proxy_protocol: section.flag_at("proxy_protocol"),
        tls: section.section("tls").map(tls),
    };
    section.finish();
    server
}

fn tls(mut section: Section<'_>) -> Tls {
    let tls = Tls {
        span: section.span.clone(),
        certificate: Written::read(&mut section, "cert", Section::text),
        key: Written::read(&mut section, "key", Section::text),
        acme: section.flag_at("acme"),
    };
    section.finish();
    tls
}

fn acme(mut section: Section<'_>) -> Acme {
    section.refuse(
        "eab_key",
        "a secret must not be written in this file",
        "name the file that has it: `eab_key_file`",
    );
    let acme = Acme {
        span: section.span.clone(),
        names: section.text_or_texts("names"),
        agree_to_terms: section.flag_at("agree_to_terms"),
        contact: section.text("contact"),
        directory: section.text("directory"),
        authority_file: section.text("authority_file"),
        folder: section.text("folder"),
        binding_id: section.text("eab_key_id"),
        binding_file: section.text("eab_key_file"),
    };
    section.finish();
    acme
}

fn store(mut section: Section<'_>) -> Store {
    let store = Store {
        path: section.text("path"),
        receipts_keep_ms: section.duration("receipts_keep", &("1d"..="36500d")),
    };
    section.finish();
    store
}

fn admin(mut section: Section<'_>) -> Admin {
    section.refuse(
        "password",
        "a password must not be written in this file",
        "set it with `conduit admin password`, or name where it is kept: `password_file` or \
         `password_credential`",
    );
    let admin = Admin {
        socket: section.text("socket"),
        listen: section.text_or_texts("listen"),
        allow_remote: section.flag("allow_remote"),
        hosts: section.texts("hosts").unwrap_or_default(),
        password_file: section.text("password_file"),
        password_credential: section.text("password_credential"),
        audit_keep_ms: section.duration("audit_keep", &("1d"..="36500d")),
        metrics: section.choice("metrics", &MetricsFor::WORDS).map(|word| word.value),
        proxy_protocol: section.flag_at("proxy_protocol"),
        tls: section.section("tls").map(tls),
    };
    section.finish();
    admin
}

fn log(mut section: Section<'_>) -> Log {
    let log = Log {
        level: section.text("level"),
        format: section.choice("format", &LogFormat::WORDS).map(|format| format.value),
        access: section.text("access"),
        audit: section.text("audit"),
    };
    section.finish();
    log
}

fn tracing(mut section: Section<'_>) -> Tracing {
    let tracing = Tracing {
        endpoint: section.text("endpoint"),
        service_name: section.text("service_name"),
        percent: section.integer("percent", &(0..=100)),
        capture_content: section.flag("capture_content"),
    };
    section.finish();
    tracing
}

fn limits(mut section: Section<'_>) -> Limits {
    let windows = [("rolling", Windows::Rolling), ("calendar", Windows::Calendar)];
    let limits = Limits {
        windows: Written::read(&mut section, "windows", |s, key| s.choice(key, &windows)),
        time_zone: section.text("time_zone"),
        enforcement: section.choice("enforcement", &ENFORCEMENTS).map(|at| at.value),
        max_wait_ms: section.duration("max_wait", &("0s"..="10m")),
        min_output_tokens: section.integer("min_output_tokens", &(1..=1_000_000)),
    };
    section.finish();
    limits
}

fn alerts(mut section: Section<'_>) -> Alerts {
    let alerts = Alerts {
        at: section.integers("at", &(1..=1000)),
        webhook: section.text("webhook"),
        secret_env: section.text("webhook_secret_env"),
        secret_file: section.text("webhook_secret_file"),
    };
    section.finish();
    alerts
}

fn defaults(mut section: Section<'_>) -> Transport {
    let transport = transport(&mut section);
    section.finish();
    transport
}

fn transport(section: &mut Section<'_>) -> Transport {
    Transport {
        connect_timeout_ms: section.duration("connect_timeout", &("1ms"..="10m")),
        first_byte_timeout_ms: section.duration("first_byte_timeout", &("1ms"..="1d")),
        idle_timeout_ms: section.duration("idle_timeout", &("1ms"..="1d")),
        total_timeout_ms: section.duration("total_timeout", &("1ms"..="7d")),
        max_connections: section.integer("max_connections", &(1..=65_535)),
        on_client_gone: section.choice("on_client_gone", &ClientGone::WORDS).map(|at| at.value),
    }
}

fn provider(name: At<String>, mut section: Section<'_>) -> Provider {
    section.refuse(
        "api_key",
        "a key must not be written in this file",
        "name the place it is kept in: `api_key_env`, `api_key_file` or `api_key_credential`",
    );
    let stream_usage =
        [("ask", StreamUsage::Ask), ("always", StreamUsage::Always), ("never", StreamUsage::Never)];
    let provider = Provider {
        name,
        kind: Written::read(&mut section, "kind", Section::text),
        base_url: Written::read(&mut section, "base_url", Section::text),
        has_api_key: section.has("api_key"),
        api_key_env: Written::read(&mut section, "api_key_env", one_or_more),
        api_key_file: Written::read(&mut section, "api_key_file", one_or_more),
        api_key_credential: Written::read(&mut section, "api_key_credential", one_or_more),
        stream_usage: section.choice("stream_usage", &stream_usage).map(|at| at.value),
        headers: section
            .section("headers")
            .map(|headers| headers.secret_texts())
            .unwrap_or_default(),
        api_version: section.text("api_version"),
        region: section.text("region"),
        aws: aws_places(&mut section),
        transport: transport(&mut section),
        prefer_provider_cost: section.flag("prefer_provider_cost"),
        responses: section.flag("responses"),
    };
    section.finish();
    provider
}

/// What calls to Amazon are signed with, and where it may be kept.
const AWS_SECRETS: [(&str, &str); 3] = [
    ("access_key_id", "`access_key_id_env`, `…_file` or `…_credential`"),
    ("secret_access_key", "`secret_access_key_env`, `…_file` or `…_credential`"),
    ("session_token", "`session_token_env`, `…_file` or `…_credential`"),
];

fn aws_places(section: &mut Section<'_>) -> AwsPlaces {
    for (key, place) in AWS_SECRETS {
        let help = format!("name the place it is kept in: {place}");
        section.refuse(key, "a key must not be written in this file", &help);
    }
    AwsPlaces {
        has_secret: AWS_SECRETS.iter().any(|(key, _)| section.has(key)),
        access_key_id: Place::read(
            section,
            ["access_key_id_env", "access_key_id_file", "access_key_id_credential"],
        ),
        secret_access_key: Place::read(
            section,
            ["secret_access_key_env", "secret_access_key_file", "secret_access_key_credential"],
        ),
        session_token: Place::read(
            section,
            ["session_token_env", "session_token_file", "session_token_credential"],
        ),
    }
}

/// A text or a list of them, at the place of the first; nothing for an empty list.
fn one_or_more(section: &mut Section<'_>, key: &'static str) -> Option<At<Vec<At<String>>>> {
    let texts = section.text_or_texts(key)?;
    let span = texts.first()?.span.clone();
    Some(At::new(texts, span))
}

fn model(name: At<String>, mut section: Section<'_>) -> Model {
    let model = Model {
        name,
        provider: Written::read(&mut section, "provider", Section::text),
        upstream: section.text("model"),
        targets: Written::read(&mut section, "targets", targets),
        fallbacks: section.texts("fallbacks").unwrap_or_default(),
        aliases: section.texts("aliases").unwrap_or_default(),
        max_output_tokens: section.integer("max_output_tokens", &MAX_OUTPUT),
        price_at: price::place(&section),
        price: price::read(&mut section),
    };
    section.finish();
    model
}

fn targets(section: &mut Section<'_>, key: &'static str) -> Option<At<Vec<Target>>> {
    let list = section.sections_in(key, "a list of tables such as { provider = \"openai\" }")?;
    Some(At::new(list.value.into_iter().map(target).collect(), list.span))
}

fn target(mut section: Section<'_>) -> Target {
    let target = Target {
        path: section.path().to_owned(),
        span: section.span.clone(),
        provider: Written::read(&mut section, "provider", Section::text),
        upstream: section.text("model"),
        order: section.integer("order", &(1..=1000)),
        weight: section.integer("weight", &(1..=1_000_000)),
        first_byte_timeout_ms: section.duration("first_byte_timeout", &("1ms"..="1d")),
        idle_timeout_ms: section.duration("idle_timeout", &("1ms"..="1d")),
        total_timeout_ms: section.duration("total_timeout", &("1ms"..="7d")),
        max_output_tokens: section.integer("max_output_tokens", &MAX_OUTPUT),
        price: price::read(&mut section),
    };
    section.finish();
    target
}

fn routing(mut section: Section<'_>) -> Routing {
    let sticky = [("off", Sticky::Off), ("key", Sticky::Key), ("header", Sticky::Header)];
    let routing = Routing {
        default_provider: section.text("default_provider"),
        retries: section.integer("retries", &(0..=10)),
        retry_budget: section.integer("retry_budget", &(0..=100)),
        max_retry_wait_ms: section.duration("max_retry_wait", &("0s"..="10m")),
        failures: section.integer("failures", &(1..=1000)),
        cooldown_ms: section.duration("cooldown", &("0s"..="1h")),
        sticky: section.choice("sticky", &sticky),
        sticky_header: section.text("sticky_header"),
    };
    section.finish();
    routing
}
