//! What an administrator can do, as verbs: each is a value that can be sent and run.
//!
//! The command line runs a verb in its own process when no server runs, and sends it to the server's
//! Unix socket when one does: the same code, so the same result. The socket's file mode is its lock.

pub mod access;
pub mod adjust;
pub mod audit;
pub mod backup;
pub mod certificates;
pub mod change;
pub mod client;
pub mod config;
pub mod csv;
pub mod explain;
mod forms;
pub mod holds;
pub mod http;
pub mod keys;
pub mod metrics;
pub mod models;
pub mod password;
pub mod prices;
pub mod receipts;
pub mod socket;
pub mod status;
pub mod teams;
pub mod usage;
pub mod verify;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::acme::Shelf;
use crate::clock::NoRandomness;
use crate::config::Live;
use crate::domain::key::KeyId;
use crate::ledger::Ledger;
use crate::store::StoreError;

/// What verbs may touch.
#[derive(Clone)]
pub struct Desk {
    pub ledger: Arc<Ledger>,
    /// The configuration in force; absent where no server runs.
    pub live: Option<Arc<Live>>,
    /// Says how the targets of calls fare; absent where no server runs.
    pub targets: Option<Arc<Targets>>,
    /// Writes what else is counted while a server runs.
    pub counts: Option<Arc<metrics::Counts>>,
    /// Where a server that runs is reached; absent where none does.
    pub served: Option<Arc<Served>>,
}

/// What only a server that runs knows of its doors.
pub struct Served {
    /// Where calls are taken, with the ports and sockets that it really has.
    pub listen: Vec<SocketAddr>,
    /// Where the admin API answers.
    pub admin: Vec<SocketAddr>,
    /// The certificate that is ordered.
    pub shelf: Arc<Shelf>,
}

/// Says how the targets of calls fare.
pub type Targets = dyn Fn() -> Vec<models::TargetView> + Send + Sync;

impl Desk {
    /// One where no server runs.
    pub const fn without_server(ledger: Arc<Ledger>) -> Self {
        Self { ledger, live: None, targets: None, counts: None, served: None }
    }

    fn key_name(&self, key: KeyId) -> Option<String> {
        let account = self.ledger.directory().by_id(key)?;
        Some(account.record().name.clone())
    }
}

/// One thing an administrator can ask for. Whoever opens a door to it runs it by [`audit::perform`].
pub trait Verb: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    type Answer: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
    /// Its path below `/admin/v1/` on the socket, and its name in the audit log.
    const PATH: &'static str;
    /// Whether it changes anything, so that it belongs in the audit log.
    const CHANGES: bool;
    /// How long a client waits for the answer: a verb may wait for the disk, but not for ever.
    const PATIENCE: Duration = Duration::from_mins(2);

    /// Does it. Blocks on the disk: not for a worker of the gateway.
    fn run(self, desk: &Desk) -> Result<Self::Answer, AdminError>;

    /// What the audit log says was asked for: never a secret.
    fn recorded(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The id of what was made or changed.
    fn target(_answer: &Self::Answer) -> Option<String> {
        None
    }
}

/// Why a verb was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Invalid(String),
    /// One member of what was asked for is not right.
    #[error("{message}")]
    Wrong { member: &'static str, message: String },
    #[error("{0}")]
    Failed(String),
}

impl AdminError {
    /// The HTTP status that says this over the socket.
    pub const fn status(&self) -> u16 {
        match self {
            Self::NotFound(_) => 404,
            Self::Conflict(_) => 409,
            Self::Invalid(_) | Self::Wrong { .. } => 422,
            Self::Failed(_) => 500,
        }
    }

    pub(crate) fn wrong(member: &'static str, message: impl Into<String>) -> Self {
        Self::Wrong { member, message: message.into() }
    }

    /// The error that a status and a sentence from the socket mean.
    pub fn from_status(status: u16, message: String) -> Self {
        match status {
            404 => Self::NotFound(message),
            409 => Self::Conflict(message),
            400 | 422 => Self::Invalid(message),
            _ => Self::Failed(message),
        }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchKey
            | StoreError::NoSuchTeam
            | StoreError::NoSuchToken
            | StoreError::NoSuchSession => Self::NotFound(error.to_string()),
            StoreError::NameTaken(_)
            | StoreError::TokenNameTaken(_)
            | StoreError::TooManyTokens(_)
            | StoreError::PasswordChanged
            | StoreError::TeamNameTaken(_)
            | StoreError::TeamInUse { .. }
            | StoreError::InUse(_)
            | StoreError::Exists(_)
            | StoreError::Itself(_) => Self::Conflict(error.to_string()),
            StoreError::Newer { .. }
            | StoreError::NoCopy { .. }
            | StoreError::Unclean(_)
            | StoreError::Foreign { .. }
            | StoreError::Unusable { .. }
            | StoreError::DoesNotAddUp { .. }
            | StoreError::Troubled(_)
            | StoreError::Io(_)
            | StoreError::Database(_)
            | StoreError::Damaged(_) => Self::Failed(error.to_string()),
        }
    }
}

impl From<NoRandomness> for AdminError {
    fn from(error: NoRandomness) -> Self {
        Self::Failed(error.to_string())
    }
}
