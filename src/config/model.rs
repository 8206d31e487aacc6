//! The configuration in force: valid, complete, names resolved.
//!
//! Only `check` makes one, from a file; the values of a provider's key and headers are held so that
//! they are never printed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use super::base_url::BaseUrl;
use super::certificate::Certificate;
use super::routes::{RouteMatch, Routes};
use crate::catalogue::Prices;
use crate::domain::budget::Enforcement;
use crate::domain::cidr::Cidr;
use crate::domain::trace::Sampler;
use crate::domain::window::{Timestamp, WindowRule};
use crate::provider::address::Layout;
use crate::provider::kind::{KeyHeader, Kind, StreamUsage};

#[derive(Clone, Debug)]
pub struct Config {
    pub server: Server,
    pub store: Store,
    pub admin: Admin,
    /// The certificate that is ordered, where a listener has it.
    pub acme: Option<Acme>,
    pub log: Log,
    pub limits: Limits,
    pub alerts: Alerts,
    /// Where traces of calls are sent; nowhere without.
    pub tracing: Option<Tracing>,
    /// In the order of the file.
    pub providers: Vec<Arc<Provider>>,
    pub routes: Routes,
    pub routing: Routing,
    /// Environment variables that took the place of an option, with its name: shown by `check`.
    pub overrides: Vec<Override>,
    /// The files that it names for secrets.
    pub secret_files: Vec<PathBuf>,
    /// By the name of a model that has a `price` in the file: the line it is on, from 1.
    pub price_lines: HashMap<String, usize>,
    /// What models cost where the file does not say. It is not of the file: who puts the configuration
    /// in force gives it the prices in force, so that a call reads both from one snapshot.
    pub prices: Arc<Prices>,
}

impl Config {
    /// Where a call for `model` goes; `None` if no route and no default provider takes it.
    pub fn route<'a>(&'a self, model: &'a str) -> Option<RouteMatch<'a>> {
        self.routes.find(model)
    }

    pub fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| &*provider.name == name)
    }

    /// The certificates of its listeners that are in files.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.server.tls.iter().chain(&self.admin.tls).filter_map(Tls::files)
    }

    /// What must not come into force in the place of `running`: a certificate that clients refuse, where
    /// there is one that they take.
    pub(super) fn step_back(&self, running: &Self, now: Timestamp) -> Option<String> {
        let doors =
            [(&self.server.tls, &running.server.tls), (&self.admin.tls, &running.admin.tls)];
        doors.into_iter().find_map(|(new, old)| {
            let (new, old) = (new.as_ref()?.files()?, old.as_ref()?.files()?);
            let (found, had) = (new.pair.as_ref()?, old.pair.as_ref()?);
            let is_worse = !found.is_same(had) && had.is_valid(now);
            new.warning(now).filter(|_| is_worse)
        })
    }

    /// What is in force stays so until a restart: takes those values from `running` and names the
    /// options in which this file differs.
    pub(super) fn keep_until_restart(&mut self, running: &Self) -> Vec<&'static str> {
        let mut differs = Vec::new();
        let new = (&mut self.server, &running.server);
        keep("server.listen", &mut new.0.listen, &new.1.listen, &mut differs);
        keep("server.workers", &mut new.0.workers, &new.1.workers, &mut differs);
        keep("server.keep_alive", &mut new.0.keep_alive_ms, &new.1.keep_alive_ms, &mut differs);
        let (timeout, running_timeout) = (&mut new.0.header_timeout_ms, &new.1.header_timeout_ms);
        keep("server.header_timeout", timeout, running_timeout, &mut differs);
        let (proxy, running_proxy) = (&mut new.0.proxy_protocol, &new.1.proxy_protocol);
        keep("server.proxy_protocol", proxy, running_proxy, &mut differs);
        keep_tls("server.tls", &mut new.0.tls, new.1.tls.as_ref(), &mut differs);
        let (proxy, running_proxy) =
            (&mut self.admin.proxy_protocol, &running.admin.proxy_protocol);
        keep("admin.proxy_protocol", proxy, running_proxy, &mut differs);
        keep_tls("admin.tls", &mut self.admin.tls, running.admin.tls.as_ref(), &mut differs);
        keep("store.path", &mut self.store.path, &running.store.path, &mut differs);
        keep("admin.socket", &mut self.admin.socket, &running.admin.socket, &mut differs);
        keep("admin.listen", &mut self.admin.listen, &running.admin.listen, &mut differs);
        differs
    }
}

/// Whether a listener speaks TLS stays; its certificate may be another.
fn keep_tls(
    name: &'static str,
    new: &mut Option<Tls>,
    running: Option<&Tls>,
    differs: &mut Vec<&'static str>,
) {
    if new.is_some() != running.is_some() {
        *new = running.cloned();
        differs.push(name);
    }
}

fn keep<T: Clone + PartialEq>(
    name: &'static str,
    new: &mut T,
    running: &T,
    differs: &mut Vec<&'static str>,
) {
    if new != running {
        new.clone_from(running);
        differs.push(name);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    pub variable: &'static str,
    pub option: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Never empty. Changing it needs a restart.
    pub listen: Vec<SocketAddr>,
    /// Nobody wrote `listen`: a service manager that passes sockets decides.
    pub listen_is_default: bool,
    /// Threads that serve calls. Changing it needs a restart.
    pub workers: usize,
    /// The longest body of a call, in bytes.
    pub max_body: usize,
    /// How long streams in flight may go on once the gateway is told to stop.
    pub shutdown_deadline_ms: u64,
    /// How long an idle connection of a client stays open. Changing it needs a restart.
    pub keep_alive_ms: u64,
    /// How long a client may take to send its request's head. Changing it needs a restart.
    pub header_timeout_ms: u64,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Connections begin with a header of the PROXY protocol. Changing it needs a restart.
    pub proxy_protocol: bool,
    /// Where the certificate is from; without one the listeners are plain. To have one at all needs a
    /// restart.
    pub tls: Option<Tls>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Changing it needs a restart.
    pub path: PathBuf,
    pub receipts_keep_ms: u64,
}

#[derive(Clone, Debug)]
pub struct Admin {
    /// Changing it needs a restart.
    pub socket: PathBuf,
    /// Where the admin API and the dashboard answer; nowhere if empty. Changing it needs a restart.
    pub listen: Vec<SocketAddr>,
    /// Nobody wrote `listen`: that its address is taken must not keep the gateway from serving.
    pub listen_is_default: bool,
    /// The names, in lower case, that it may be called by beside those of this machine.
    pub hosts: Vec<String>,
    /// The password, where the configuration says which file has it.
    pub password: Option<SecretString>,
    pub audit_keep_ms: u64,
    pub metrics: MetricsFor,
    /// As for the gateway.
    pub proxy_protocol: bool,
    pub tls: Option<Tls>,
}

/// Where a listener has its certificate from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    Files(Certificate),
    /// It is the one that is ordered.
    Acme,
}

impl Tls {
    pub const fn files(&self) -> Option<&Certificate> {
        match self {
            Self::Files(certificate) => Some(certificate),
            Self::Acme => None,
        }
    }
}

/// Which certificate is ordered, and of whom.
#[derive(Clone, Debug)]
pub struct Acme {
    /// What it is for, in lower case.
    pub names: Vec<String>,
    /// Where the authority says what it can do.
    pub directory: String,
    /// Whom the authority may write to.
    pub contact: Option<String>,
    /// The only roots by which the authority is believed, where it is not one of the public ones.
    pub authority_file: Option<PathBuf>,
    /// Where the account and the certificate are kept.
    pub folder: PathBuf,
    /// What binds the account to one that somebody has with the authority already.
    pub binding: Option<Binding>,
}

#[derive(Clone, Debug)]
pub struct Binding {
    pub key_id: String,
    /// As the authority gave it. Absent where secrets were not to be read.
    pub key: Option<SecretString>,
}

/// Who may read the metrics on the admin listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsFor {
    /// Whoever may see everything else there.
    #[default]
    Token,
    /// This machine, too, without saying who asks.
    Local,
    /// Whoever reaches the listener.
    Open,
}

impl MetricsFor {
    pub(super) const WORDS: [(&'static str, Self); 3] =
        [("token", Self::Token), ("local", Self::Local), ("open", Self::Open)];
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What is logged, in the syntax of `EnvFilter`.
    pub filter: String,
    pub format: LogFormat,
    /// The file for the lines of calls; they are among all others without.
    pub access: Option<PathBuf>,
    /// The file for the lines of changes by administrators.
    pub audit: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Text,
    Json,
}

impl LogFormat {
    pub(super) const WORDS: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json)];
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub windows: WindowRule,
    pub enforcement: Enforcement,
    /// How long a call may wait for other calls' holds to end.
    pub max_wait_ms: u64,
    /// A call's output is never capped below this to make it affordable.
    pub min_output_tokens: u64,
}

/// What happens when a target fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// How often a call is sent again once no other target is left.
    pub retries: u64,
    /// The most of those, in hundredths of a target's calls.
    pub retry_budget: u64,
    /// A provider that asks for a longer wait than this is not waited for.
    pub max_retry_wait_ms: u64,
    /// So many failures within a minute, and a target cools down.
    pub failures: u64,
    pub cooldown_ms: u64,
    pub sticky: Sticky,
}

/// What of a call decides which of several targets it goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sticky {
    /// Chance.
    #[default]
    Off,
    /// Its key: all calls of a key go to one target.
    Key,
    /// The value of a header, in lower case; chance, where a call does not have it.
    Header(String),
}

/// Who is told when a key comes near its limits.
#[derive(Clone, Debug)]
pub struct Alerts {
    /// Hundredths of a limit, ascending.
    pub at: Vec<u64>,
    pub webhook: Option<Webhook>,
}

/// An address that is told of alerts.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub url: String,
    /// What the messages are signed with.
    pub secret: Option<SecretString>,
}

/// Where traces of calls are sent, and which.
#[derive(Clone, Debug)]
pub struct Tracing {
    /// The whole address.
    pub url: String,
    pub headers: Vec<ExtraHeader>,
    pub timeout_ms: u64,
    /// How long spans gather before they are sent.
    pub delay_ms: u64,
    /// Who sends them.
    pub resource: Vec<(String, String)>,
    pub sampler: Sampler,
    /// Spans say what was asked and answered, too.
    pub capture_content: bool,
}

/// The words for [`Enforcement`].
pub(super) const ENFORCEMENTS: [(&str, Enforcement); 2] =
    [("hard", Enforcement::Hard), ("soft", Enforcement::Soft)];

/// A place that calls go to.
#[derive(Clone, Debug)]
pub struct Provider {
    pub name: Arc<str>,
    pub kind: Kind,
    /// Absent for the kind that answers by itself.
    pub base_url: Option<BaseUrl>,
    /// Used in turn. None where none is needed, and where secrets were not to be read.
    pub keys: Vec<SecretString>,
    pub key_header: KeyHeader,
    /// Where its endpoints are below the address.
    pub layout: Layout,
    /// For Bedrock alone.
    pub aws: Option<Aws>,
    pub stream_usage: StreamUsage,
    pub headers: Vec<ExtraHeader>,
    /// For `?api-version=`.
    pub api_version: Option<String>,
    pub timeouts: Timeouts,
    /// Open connections at most, for each worker.
    pub max_connections: usize,
    pub on_client_gone: ClientGone,
    /// The cost that this provider reports counts instead of the one from the price list.
    pub prefer_provider_cost: bool,
    /// It has `OpenAI`'s responses; without them such calls are carried as chat.
    pub responses: bool,
}

/// What Amazon wants to know beside the call.
#[derive(Clone, Debug)]
pub struct Aws {
    pub region: String,
    /// Absent where a key is sent instead, and where secrets were not to be read.
    pub credentials: Option<Credentials>,
}

/// What calls to Amazon are signed with.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub access_key_id: SecretString,
    pub secret_access_key: SecretString,
    /// Belongs to credentials that expire.
    pub session_token: Option<SecretString>,
}

/// A header that is added to every call. The value may be a secret.
#[derive(Clone, Debug)]
pub struct ExtraHeader {
    /// In lower case.
    pub name: String,
    pub value: SecretString,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect_ms: u64,
    /// From the request having been sent to the first byte of the answer.
    pub first_byte_ms: u64,
    /// Between two bytes of the answer.
    pub idle_ms: u64,
    /// From the call's start to the answer's end.
    pub total_ms: u64,
}

/// What becomes of the provider's answer when the client has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientGone {
    /// The call is ended, and charged for what it used until then.
    #[default]
    Cancel,
    /// The rest is read, so that the exact usage is known.
    Drain,
}

impl ClientGone {
    pub(super) const WORDS: [(&'static str, Self); 2] =
        [("cancel", Self::Cancel), ("drain", Self::Drain)];
}
