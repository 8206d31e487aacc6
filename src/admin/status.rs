//! How the server is doing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AdminError, Desk, Verb};
use crate::config::Live;
use crate::domain::money::Money;
use crate::domain::window::Timestamp;

/// Asks how the server is doing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportStatus {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub version: String,
    /// Whether a server answered; `false` when the store was opened by the command itself.
    pub running: bool,
    pub store: String,
    /// Where calls are taken; none where no server runs.
    #[serde(default)]
    pub listen: Vec<String>,
    pub keys: usize,
    pub held_usd: Money,
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
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running: desk.live.is_some(),
            store: ledger.store().path().display().to_string(),
            listen: desk.live.as_deref().map(listen).unwrap_or_default(),
            keys: ledger.directory().all().len(),
            held_usd: ledger.held(),
            trouble: ledger.store().journal().trouble().map(|trouble| trouble.to_string()),
            config: desk.live.as_deref().map(config_status),
        })
    }
}

fn listen(live: &Live) -> Vec<String> {
    live.load().config.server.listen.iter().map(ToString::to_string).collect()
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
