//! How the server is doing.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificates::{self, CertificateStatus};
use super::{AdminError, Desk, Served, Verb};
use crate::clock;
use crate::config::Live;
use crate::domain::money::Money;
use crate::domain::window::Timestamp;
use crate::store::FORMAT;
use crate::version::{VERSION, line};

/// Asks how the server is doing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportStatus {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub version: String,
    /// What it was built from, as `conduit --version` says it.
    #[serde(default)]
    pub build: String,
    /// Whether a server answered; `false` when the store was opened by the command itself.
    pub running: bool,
    pub store: String,
    /// Where calls are taken; none where no server runs.
    #[serde(default)]
    pub listen: Vec<String>,
    /// Whether calls are taken over TLS.
    #[serde(default)]
    pub tls: bool,
    /// Where the admin API answers.
    #[serde(default)]
    pub admin_listen: Vec<String>,
    /// What the listeners show that speak TLS.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    pub keys: usize,
    pub held_usd: Money,
    /// Absent where no server runs.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    #[serde(default)]
    pub uptime_ms: Option<u64>,
    /// Calls whose money is on hold.
    #[serde(default)]
    pub calls_under_way: u64,
    /// Calls that wait for money which others have on hold.
    #[serde(default)]
    pub calls_waiting: u64,
    #[serde(default)]
    pub teams: usize,
    #[serde(default)]
    pub store_format: u64,
    #[serde(default)]
    pub store_bytes: u64,
    /// Of the journal, which is entered in the store every few seconds.
    #[serde(default)]
    pub journal_bytes: u64,
    /// Targets of calls that fare badly now.
    #[serde(default)]
    pub cooling: Vec<String>,
    /// Why spending cannot be recorded, while it cannot.
    pub trouble: Option<String>,
    pub config: Option<ConfigStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigStatus {
    pub file: String,
    /// How often a configuration was put in force since the start.
    pub generation: u64,
    pub in_force_since: Timestamp,
    /// What is wrong with the file as it is now; the configuration in force is an earlier one.
    pub last_error: Option<String>,
    pub failed_at: Option<Timestamp>,
    /// Options whose change takes effect at the next start.
    pub waiting_for_restart: Vec<String>,
}

impl Verb for ReportStatus {
    type Answer = Status;
    const PATH: &'static str = "status";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Status, AdminError> {
        let ledger = &desk.ledger;
        let now = clock::now();
        let started_at = desk.live.as_deref().map(Live::opened_at);
        let size = ledger.store().size();
        let (calls_under_way, calls_waiting) = in_flight(desk);
        Ok(Status {
            version: VERSION.to_owned(),
            build: line().to_owned(),
            started_at,
            uptime_ms: started_at.map(|start| now.millis_since(start)),
            calls_under_way,
            calls_waiting,
            teams: ledger.teams().len(),
            store_format: FORMAT,
            store_bytes: size.tables,
            journal_bytes: size.journal,
            cooling: cooling(desk),
            running: desk.live.is_some(),
            store: ledger.store().path().display().to_string(),
            listen: addresses(desk, |served| &served.listen),
            admin_listen: addresses(desk, |served| &served.admin),
            certificates: certificates::standing(desk),
            tls: desk.live.as_deref().is_some_and(|live| live.load().config.server.tls.is_some()),
            keys: ledger.directory().all().len(),
            held_usd: ledger.held(),
            trouble: ledger.store().journal().trouble().map(|trouble| trouble.to_string()),
            config: desk.live.as_deref().map(config_status),
        })
    }
}

/// Calls under way and those that stand in line, of keys and of teams.
fn in_flight(desk: &Desk) -> (u64, u64) {
    let (mut open, mut waiting) = (0, 0);
    for account in desk.ledger.directory().all() {
        let (calls, line) = account.in_flight();
        open += calls;
        waiting += line as u64;
    }
    for team in desk.ledger.teams() {
        waiting += team.in_flight().1 as u64;
    }
    (open, waiting)
}

fn cooling(desk: &Desk) -> Vec<String> {
    let targets = desk.targets.as_ref().map(|targets| targets()).unwrap_or_default();
    let cooling = targets.into_iter().filter(|target| target.cooling_until.is_some());
    cooling.map(|target| format!("{} {}", target.provider, target.model)).collect()
}

fn addresses(desk: &Desk, which: impl Fn(&Served) -> &[SocketAddr]) -> Vec<String> {
    let served = desk.served.as_deref();
    served.map(|served| which(served).iter().map(ToString::to_string).collect()).unwrap_or_default()
}

fn config_status(live: &Live) -> ConfigStatus {
    let snapshot = live.snapshot();
    let failed = live.failed();
    ConfigStatus {
        file: live.path().display().to_string(),
        generation: snapshot.generation,
        in_force_since: snapshot.loaded_at,
        last_error: failed.as_ref().map(|failed| failed.problems.render(false)),
        failed_at: failed.map(|failed| failed.at),
        waiting_for_restart: snapshot.needs_restart.iter().map(|&o| o.to_owned()).collect(),
    }
}
