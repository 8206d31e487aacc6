//! `conduit doctor`: looks at everything the gateway needs and says what is well, what is not, and what
//! to do about it.
//!
//! It changes nothing: a store is only read, no port stays bound, and providers are asked for no more
//! than their list of models, which is free. No secret is ever part of what it says.

mod certificates;
mod files;
mod machine;
mod models;
mod providers;
mod store;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{ConfigArg, Exit, Failure, environment, output, session};
use crate::admin::client::Client;
use crate::admin::status::{ReportStatus, Status};
use crate::catalogue::saved;
use crate::config::{Config, Paths, Problems, Secrets, load};

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Do not connect to providers
    #[arg(long)]
    offline: bool,
    /// How many seconds each provider may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Good,
    /// Not looked at, and why.
    Skipped,
    /// It works, but something should be done.
    Warning,
    Bad,
}

/// What was found of one thing.
#[derive(Debug, Serialize)]
struct Check {
    /// What was looked at: `configuration`, `disk`, `provider` and so on.
    #[serde(rename = "check")]
    what: &'static str,
    /// Which one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    state: State,
    found: String,
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Check {
    fn new(what: &'static str, state: State, found: impl Into<String>) -> Self {
        Self { what, subject: None, state, found: found.into(), advice: None }
    }

    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, State::Good, found)
    }

    fn skipped(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, State::Skipped, found)
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..Self::new(check, State::Warning, found) }
    }

    fn bad(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..Self::new(check, State::Bad, found) }
    }

    fn of(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    config: String,
    /// Whether nothing is bad; there may be warnings.
    well: bool,
    bad: usize,
    warnings: usize,
    checks: Vec<Check>,
}

/// What all checks may look at.
struct Patient<'a> {
    file: &'a Path,
    paths: &'a Paths,
    /// What a server that runs says of itself.
    status: Option<&'a Status>,
    /// Absent where the file is wrong.
    config: Option<&'a Config>,
}

impl Doctor {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (file, paths) = session::places(&self.config)?;
        let (status, socket) = ask_server(&paths.socket);
        let mut checks = vec![socket];
        let config = read_configuration(&file, &mut checks);
        let patient = Patient {
            file: &file,
            paths: &paths,
            status: status.as_ref(),
            config: config.as_ref(),
        };
        checks.extend(running(&patient));
        checks.extend(files::checks(&patient));
        checks.extend(machine::checks(&patient));
        checks.extend(store::checks(&patient));
        if let Some(config) = &config {
            checks.extend(certificates::checks(config, status.as_ref()));
            checks.extend(models::checks(config));
            let patience = (!self.offline).then(|| Duration::from_secs(self.timeout));
            checks.extend(providers::checks(config, patience));
        }
        let report = Report::new(&file, checks);
        if self.json {
            output::json(&report)?;
        } else {
            output::answer(&report.describe())?;
        }
        report.verdict(config.is_some())
    }
}

impl Report {
    fn new(file: &Path, checks: Vec<Check>) -> Self {
        let count = |state| checks.iter().filter(|check| check.state == state).count();
        let (bad, warnings) = (count(State::Bad), count(State::Warning));
        let (version, config) = (env!("CARGO_PKG_VERSION"), file.display().to_string());
        Self { version, config, well: bad == 0, bad, warnings, checks }
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let word = match check.state {
                State::Good => "ok",
                State::Skipped => "skipped",
                State::Warning => "WARNING",
                State::Bad => "BAD",
            };
            let what = match &check.subject {
                Some(subject) => format!("{} {subject}", check.what),
                None => check.what.to_owned(),
            };
            let _ = writeln!(text, "{word:<8} {what}: {}", indented(&check.found));
            if let Some(advice) = &check.advice {
                let _ = writeln!(text, "{:<8} -> {}", "", indented(advice));
            }
        }
        text.push('\n');
        let verdict = match (self.bad, self.warnings) {
            (0, 0) => "all is well".to_owned(),
            (0, warnings) => format!("it works; {}", counted(warnings, "warning")),
            (bad, 0) => format!("{} not well", counted(bad, "thing is")),
            (bad, warnings) => format!("{bad} bad, {}", counted(warnings, "warning")),
        };
        text + &verdict + "\n"
    }

    fn verdict(&self, has_config: bool) -> Result<(), Failure> {
        if self.well {
            return Ok(());
        }
        let exit = if has_config { Exit::Failed } else { Exit::Config };
        Err(Failure::new(exit, format!("{} not well", counted(self.bad, "thing is"))))
    }
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n         ")
}

fn counted(count: usize, noun: &str) -> String {
    match (count, noun) {
        (1, noun) => format!("1 {noun}"),
        (count, "thing is") => format!("{count} things are"),
        (count, noun) => format!("{count} {noun}s"),
    }
}

/// Asks the server, if one runs.
fn ask_server(socket: &Path) -> (Option<Status>, Check) {
    const SERVER: &str = "server";
    let shown = socket.display();
    let client = match Client::connect(socket) {
        Ok(Some(client)) => client,
        Ok(None) => {
            return (None, Check::good(SERVER, format!("none runs behind {shown}")));
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let found = format!("there is a socket {shown}, but it may not be used: {error}");
            let advice =
                "run this as root or as the service's user: sudo -u conduit conduit doctor";
            return (None, Check::bad(SERVER, found, advice));
        }
        Err(error) => {
            let found = format!("the socket {shown} cannot be used: {error}");
            return (None, Check::bad(SERVER, found, "look at what is at that place"));
        }
    };
    match client.send(&ReportStatus {}) {
        Ok(status) => {
            let found = format!("one runs, version {}, behind {shown}", status.version);
            (Some(status), Check::good(SERVER, found))
        }
        Err(error) => {
            let advice = "look into its log; if it does not answer to anything, restart it";
            (None, Check::bad(SERVER, error.to_string(), advice))
        }
    }
}

/// Reads the configuration; without secrets where those cannot be had here, so that all else can be
/// looked at.
fn read_configuration(file: &Path, checks: &mut Vec<Check>) -> Option<Config> {
    const CONFIGURATION: &str = "configuration";
    let prepared = |mut config: Config| {
        config.prices = saved::prices(&config.store.path);
        config
    };
    let whole = match load(file, environment(), Secrets::Read) {
        Ok(config) => {
            let (providers, models) = (config.providers.len(), config.routes.list().len());
            let found = format!(
                "{} is good: {}, {}",
                file.display(),
                counted(providers, "provider"),
                counted(models, "model")
            );
            checks.push(Check::good(CONFIGURATION, found));
            for change in &config.overrides {
                let found = format!("{} takes the place of {}", change.variable, change.option);
                checks.push(Check::good(CONFIGURATION, found));
            }
            return Some(prepared(config));
        }
        Err(problems) => problems,
    };
    let Ok(config) = load(file, environment(), Secrets::Skip) else {
        let advice = "mend the file; the last good one stays in force in a server that runs";
        checks.push(Check::bad(CONFIGURATION, whole.render(false), advice));
        return None;
    };
    let found = format!("{} is good but for secrets", file.display());
    checks.push(Check::good(CONFIGURATION, found));
    checks.push(without_secrets(&whole));
    Some(prepared(config))
}

fn without_secrets(problems: &Problems) -> Check {
    let advice = "set what is missing. Variables and systemd's credentials of a service are not seen \
                  from here: if only those are missing, all may be well, and `journalctl -u conduit` \
                  would tell";
    Check::bad("secrets", problems.lines().collect::<Vec<_>>().join("\n"), advice)
}

/// What a server that runs knows about itself.
fn running(patient: &Patient<'_>) -> Vec<Check> {
    let Some(status) = patient.status else { return Vec::new() };
    let mut checks = Vec::new();
    if status.version != env!("CARGO_PKG_VERSION") {
        let found = format!(
            "version {} runs, and this is version {}",
            status.version,
            env!("CARGO_PKG_VERSION")
        );
        checks.push(Check::warning("version", found, "restart the server"));
    }
    if let Some(trouble) = &status.trouble {
        let advice = "calls are refused until this is over: look at the disk and its rights";
        checks.push(Check::bad("journal", trouble.clone(), advice));
    }
    let Some(config) = &status.config else { return checks };
    if let Some(error) = &config.last_error {
        let advice = "an earlier configuration is in force until the file is mended";
        checks.push(Check::bad("in force", error.clone(), advice));
    }
    if !config.waiting_for_restart.is_empty() {
        let found = format!("{} changed", config.waiting_for_restart.join(", "));
        checks.push(Check::warning("in force", found, "restart the server for it to count"));
    }
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    };
    if !same(Path::new(&config.file), patient.file) {
        let found = format!("the server follows {}", config.file);
        let advice =
            format!("this looked at {}: name the other with --config", patient.file.display());
        checks.push(Check::warning("in force", found, advice));
    }
    checks
}
