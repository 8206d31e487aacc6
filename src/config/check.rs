//! From the file as written to the configuration in force: defaults, ranges that need other values,
//! names resolved, secrets fetched. Everything wrong is reported together.
//!
//! A value that is wrong takes its default here so that checking can go on; nothing made that way
//! leaves this module.

mod acme;
mod address;
mod admin;
mod alerts;
mod aws;
mod provider;
mod route;
mod secret;
mod tls;
mod tracing;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;

use jiff::tz::{self, TimeZone};
use toml::de::DeTable;
use tracing_subscriber::EnvFilter;

use super::file::{self, File, Windows};
use super::model::{Config, Limits, Log, LogFormat, Override, Server, Store};
use super::problem::{Problem, Problems, guessed_masks};
use super::reader::{At, Findings, either, suggestion};
use super::routes::Routes;
use super::secrets::Environment;
use crate::catalogue::Prices;
use crate::domain::cidr::Cidr;
use crate::domain::window::WindowRule;

const MILLIS_PER_SECOND: u64 = 1_000;
const MILLIS_PER_DAY: u64 = 86_400_000;

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
pub(super) const DEFAULT_STORE: &str = "data/conduit.redb";
pub(super) const DEFAULT_SOCKET: &str = "data/admin.sock";
const DEFAULT_LOG: &str = "info";
/// A prompt with images is large; a body beyond this is a mistake.
const DEFAULT_MAX_BODY: u64 = 32 << 20;

/// Whether provider keys are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    Read,
    /// For checking a file on a machine that does not have them.
    Skip,
}

/// What checking needs besides the file.
struct Context<'a> {
    /// Where the file is: paths in it start here.
    folder: &'a Path,
    environment: &'a Environment<'a>,
    secrets: Secrets,
    findings: &'a Findings,
    secret_files: RefCell<Vec<PathBuf>>,
}

impl Context<'_> {
    fn report(&self, problem: Problem) {
        self.findings.report(problem);
    }

    /// Where a file with a secret is, which is remembered.
    fn secret_file(&self, path: &str) -> PathBuf {
        let path = self.folder.join(path);
        let mut files = self.secret_files.borrow_mut();
        if !files.contains(&path) {
            files.push(path.clone());
        }
        path
    }

    /// A variable that is set and not empty.
    fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }
}

/// Checks the text of a configuration file. `path` names it in problems, and its folder is where
/// relative paths in it start.
///
/// # Errors
/// All problems. Those of syntax come alone, because what follows them is guesswork.
pub fn check(
    path: &Path,
    text: &str,
    environment: &Environment<'_>,
    secrets: Secrets,
) -> Result<Config, Problems> {
    let name = path.display().to_string();
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(Problems::new(name, text, &guessed_masks(text), syntax(text, errors)));
    }
    let findings = Findings::default();
    let file = file::read(root.get_ref(), &findings);
    let folder = path.parent().unwrap_or(Path::new(""));
    let secret_files = RefCell::default();
    let context = Context { folder, environment, secrets, findings: &findings, secret_files };
    let mut config = resolve(&file, &context);
    config.secret_files = context.secret_files.take();
    config.price_lines = price_lines(&file, text);
    let (problems, masks) = findings.into_parts();
    if problems.is_empty() { Ok(config) } else { Err(Problems::new(name, text, &masks, problems)) }
}

/// One problem a line: what a parser finds after the first on a line is its own confusion.
fn syntax(text: &str, errors: Vec<toml::de::Error>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for error in errors {
        let message = syntax_message(text, &error);
        problems.push(match error.span() {
            Some(span) => Problem::at(span, message),
            None => Problem::nowhere(message),
        });
    }
    let start = |problem: &Problem| problem.span.as_ref().map_or(text.len(), |span| span.start);
    let line =
        |problem: &Problem| text.bytes().take(start(problem)).filter(|byte| *byte == b'\n').count();
    problems.sort_by_key(start);
    problems.dedup_by_key(|problem| line(problem));
    problems
}

fn syntax_message(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    // The parser takes a word without quotes for a text, or for the beginning of a number.
    let no_value = || {
        let rest = error.span().and_then(|span| text.get(span.start..)).unwrap_or_default();
        let rest = rest.trim_start_matches([' ', '\t']);
        rest.is_empty() || rest.starts_with(['\r', '\n', '#'])
    };
    if message == "duplicate key" {
        "this key is written twice".to_owned()
    } else if message.starts_with("string values must be quoted") && no_value() {
        "not TOML: a value is missing".to_owned()
    } else if message.starts_with("string values") || message.starts_with("invalid float") {
        "not TOML: a text must be in quotes".to_owned()
    } else {
        format!("not TOML: {message}")
    }
}

fn resolve(file: &File, context: &Context<'_>) -> Config {
    let mut overrides = Vec::new();
    let server = server(file, context, &mut overrides);
    let store = store(file, context, &mut overrides);
    let admin = admin::resolve(file, context, &mut overrides);
    let acme = acme::resolve(file, &store.path, context);
    let log = log(file, context, &mut overrides);
    let limits = limits(file, context);
    let alerts = alerts::resolve(file, context);
    let tracing = tracing::resolve(file, context, &mut overrides);
    let providers = provider::resolve(file, context);
    let default_provider = file
        .routing
        .default_provider
        .as_ref()
        .and_then(|name| providers.find(name, "routing.default_provider", context));
    let routes = route::resolve(file, &providers, context);
    Config {
        server,
        store,
        admin,
        acme,
        log,
        limits,
        alerts,
        tracing,
        providers: providers.into_list(),
        routes: Routes::new(routes, default_provider),
        routing: route::routing(file, context),
        overrides,
        secret_files: Vec::new(),
        price_lines: HashMap::new(),
        prices: Prices::embedded(),
    }
}

fn price_lines(file: &File, text: &str) -> HashMap<String, usize> {
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let priced = file
        .models
        .iter()
        .filter_map(|model| Some((model.name.value.clone(), line(model.price_at?))));
    priced.collect()
}

fn server(file: &File, context: &Context<'_>, overrides: &mut Vec<Override>) -> Server {
    let written = &file.server;
    let mut listen = Vec::new();
    for text in written.listen.iter().flatten() {
        match listen_address(&text.value) {
            Err(message) => context
                .report(Problem::at(text.span.clone(), format!("`server.listen`: {message}"))),
            Ok(address) if address.port() != 0 && listen.contains(&address) => {
                let message = format!("`server.listen`: {address} is written twice");
                context.report(Problem::at(text.span.clone(), message));
            }
            Ok(address) => listen.push(address),
        }
    }
    if let Some(value) = context.variable("CONDUIT_LISTEN") {
        overrides.push(Override { variable: "CONDUIT_LISTEN", option: "server.listen" });
        match value.split(',').map(|text| listen_address(text.trim())).collect() {
            Ok(addresses) => listen = addresses,
            Err(message) => context.report(Problem::nowhere(format!("CONDUIT_LISTEN: {message}"))),
        }
    }
    let listen_is_default = listen.is_empty();
    if listen_is_default {
        listen.extend(DEFAULT_LISTEN.parse::<SocketAddr>());
    }
    let mut trusted_proxies = Vec::new();
    for text in &written.trusted_proxies {
        match text.value.parse::<Cidr>() {
            Ok(network) => trusted_proxies.push(network),
            Err(message) => context.report(Problem::at(
                text.span.clone(),
                format!("`server.trusted_proxies`: {message}"),
            )),
        }
    }
    let cores = thread::available_parallelism().map_or(1, Into::into);
    Server {
        listen,
        listen_is_default,
        workers: size(written.workers).unwrap_or(cores),
        max_body: size(Some(written.max_body.unwrap_or(DEFAULT_MAX_BODY))).unwrap_or(usize::MAX),
        shutdown_deadline_ms: written.shutdown_deadline_ms.unwrap_or(120 * MILLIS_PER_SECOND),
        keep_alive_ms: written.keep_alive_ms.unwrap_or(75 * MILLIS_PER_SECOND),
        header_timeout_ms: written.header_timeout_ms.unwrap_or(10 * MILLIS_PER_SECOND),
        proxy_protocol: proxy_protocol(
            written.proxy_protocol.as_ref(),
            "server.proxy_protocol",
            file,
            context,
        ),
        tls: tls::resolve(written.tls.as_ref(), "server.tls", context),
        trusted_proxies,
    }
}

/// Whether proxies say who connects. Without proxies that are believed nobody could.
fn proxy_protocol(
    written: Option<&At<bool>>,
    option: &str,
    file: &File,
    context: &Context<'_>,
) -> bool {
    let Some(written) = written.filter(|written| written.value) else { return false };
    if file.server.trusted_proxies.is_empty() {
        let message = format!("`{option}` needs `server.trusted_proxies`");
        let help = "name the proxies there: nobody else may say where a connection is from";
        context.report(Problem::at(written.span.clone(), message).help(help));
    }
    true
}

fn size(number: Option<u64>) -> Option<usize> {
    usize::try_from(number?).ok()
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "`{}` is not an address and port: write 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080",
            text.escape_debug()
        )
    })
}

fn store(file: &File, context: &Context<'_>, overrides: &mut Vec<Override>) -> Store {
    let path = file_path(file.store.path.as_ref(), "store.path", DEFAULT_STORE, context);
    let keep = file.store.receipts_keep_ms.unwrap_or(400 * MILLIS_PER_DAY);
    let path = match context.variable("CONDUIT_STORE") {
        Some(value) => {
            overrides.push(Override { variable: "CONDUIT_STORE", option: "store.path" });
            PathBuf::from(value)
        }
        None => path,
    };
    Store { path, receipts_keep_ms: keep }
}

/// A path in the file starts at the file's folder.
fn file_path(
    written: Option<&At<String>>,
    option: &str,
    default: &str,
    context: &Context<'_>,
) -> PathBuf {
    if let Some(text) = written.filter(|text| text.value.is_empty() || text.value.contains('\0')) {
        let problem = Problem::at(text.span.clone(), format!("`{option}` must be a path"));
        context.report(problem);
    }
    context.folder.join(written.map_or(default, |text| &text.value))
}

fn log(file: &File, context: &Context<'_>, overrides: &mut Vec<Override>) -> Log {
    let written = file.log.level.as_ref();
    let mut filter = written.map_or(DEFAULT_LOG, |text| &text.value).to_owned();
    if let Some(text) = written
        && let Err(message) = log_filter(&text.value)
    {
        context.report(Problem::at(text.span.clone(), format!("`log.level`: {message}")));
    }
    for variable in ["CONDUIT_LOG", "RUST_LOG"] {
        let Some(value) = context.variable(variable) else { continue };
        if let Err(error) = EnvFilter::try_new(&value) {
            context.report(Problem::nowhere(format!("{variable}: {error}")));
        }
        overrides.push(Override { variable, option: "log.level" });
        filter = value;
        break;
    }
    let mut format = file.log.format.unwrap_or_default();
    if let Some(value) = context.variable("CONDUIT_LOG_FORMAT") {
        overrides.push(Override { variable: "CONDUIT_LOG_FORMAT", option: "log.format" });
        if let Some((_, found)) = LogFormat::WORDS.iter().find(|(name, _)| *name == value) {
            format = *found;
        } else {
            let names = LogFormat::WORDS.map(|(name, _)| name.to_owned());
            let message = format!("CONDUIT_LOG_FORMAT must be {}", either(&names));
            context.report(Problem::nowhere(message));
        }
    }
    let place = |written: &Option<At<String>>, option| {
        let written = written.as_ref();
        written.map(|_| file_path(written, option, "", context))
    };
    let access = place(&file.log.access, "log.access");
    let audit = place(&file.log.audit, "log.audit");
    if let Some(text) = file.log.audit.as_ref().filter(|_| access.is_some() && access == audit) {
        let message = "`log.access` and `log.audit` are the same file";
        context.report(Problem::at(text.span.clone(), message));
    }
    Log { filter, format, access, audit }
}

/// A word alone that is no level would be taken for the name of a module, and everything else
/// silenced.
fn log_filter(text: &str) -> Result<(), String> {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    for part in text.split(',').map(str::trim) {
        let bare = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
        if bare && part != "conduit" && !levels.contains(&part.to_ascii_lowercase().as_str()) {
            let near = suggestion(part, levels.into_iter()).map(|near| format!("; {near}"));
            let levels = levels.map(str::to_owned);
            let near = near.unwrap_or_default();
            return Err(format!("`{part}` is not a level: {}{near}", either(&levels)));
        }
    }
    EnvFilter::try_new(text).map(|_| ()).map_err(|error| error.to_string())
}

fn limits(file: &File, context: &Context<'_>) -> Limits {
    let written = &file.limits;
    let windows = written.windows.right().map(|windows| windows.value);
    if let Some(zone) = &written.time_zone
        && (written.windows.is_absent() || windows == Some(Windows::Rolling))
    {
        let message = "`limits.time_zone` has a meaning only with `windows = \"calendar\"`";
        context.report(Problem::at(zone.span.clone(), message));
    }
    let zone = written.time_zone.as_ref().and_then(|name| time_zone(name, context));
    Limits {
        windows: match windows {
            Some(Windows::Calendar) => WindowRule::Calendar(zone.unwrap_or(TimeZone::UTC)),
            _ => WindowRule::Rolling,
        },
        enforcement: written.enforcement.unwrap_or_default(),
        max_wait_ms: written.max_wait_ms.unwrap_or(30 * MILLIS_PER_SECOND),
        min_output_tokens: written.min_output_tokens.unwrap_or(16),
    }
}

fn time_zone(name: &At<String>, context: &Context<'_>) -> Option<TimeZone> {
    if let Ok(zone) = TimeZone::get(&name.value) {
        return Some(zone);
    }
    let written = name.value.escape_debug();
    let message = format!("`limits.time_zone`: there is no time zone `{written}`");
    let known = tz::db().available().map(|zone| zone.as_str().to_owned()).collect::<Vec<_>>();
    let label = suggestion(&name.value, known.iter().map(String::as_str))
        .unwrap_or_else(|| "write it like \"Europe/Berlin\"".to_owned());
    context.report(Problem::at(name.span.clone(), message).label(label));
    None
}
