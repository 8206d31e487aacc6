//! How the server is doing.

use serde::{Deserialize, Serialize};

use super::{AdminError, Desk, Verb};
use crate::domain::money::Money;
use crate::domain::window::Timestamp;

/// Asks how the server is doing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportStatus {}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    /// Whether a server answered; `false` when the store was opened by the command itself.
    pub running: bool,
    pub store: String,
    pub keys: usize,
    pub held_usd: Money,
    /// Why spending cannot be recorded, while it cannot.
    pub trouble: Option<String>,
    pub config: Option<ConfigStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
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
