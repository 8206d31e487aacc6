//! What an administrator can do, as verbs: each is a value that can be sent and run.
//!
//! The command line runs a verb in its own process when no server runs, and sends it to the server's
//! Unix socket when one does: the same code, so the same result. The socket's file mode is its lock.

pub mod adjust;
pub mod backup;
pub mod client;
pub mod explain;
pub mod holds;
pub mod keys;
pub mod prices;
pub mod receipts;
pub mod socket;
pub mod status;
pub mod teams;
pub mod usage;
pub mod verify;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

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
}

impl Desk {
    fn key_name(&self, key: KeyId) -> Option<String> {
        let account = self.ledger.directory().by_id(key)?;
        Some(account.record().name.clone())
    }
}

/// One thing an administrator can ask for.
pub trait Verb: Serialize + DeserializeOwned + Send + 'static {
    type Answer: Serialize + DeserializeOwned + Send + 'static;
    /// Its path below `/admin/v1/`.
    const PATH: &'static str;
    /// How long a client waits for the answer: a verb may wait for the disk, but not for ever.
    const PATIENCE: Duration = Duration::from_mins(2);

    /// Does it. Blocks on the disk: not for a worker of the gateway.
    fn run(self, desk: &Desk) -> Result<Self::Answer, AdminError>;
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
    #[error("{0}")]
    Failed(String),
}

impl AdminError {
    /// The HTTP status that says this over the socket.
    pub const fn status(&self) -> u16 {
        match self {
            Self::NotFound(_) => 404,
            Self::Conflict(_) => 409,
            Self::Invalid(_) => 422,
            Self::Failed(_) => 500,
        }
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
            StoreError::NoSuchKey | StoreError::NoSuchTeam => Self::NotFound(error.to_string()),
            StoreError::NameTaken(_)
            | StoreError::TeamNameTaken(_)
            | StoreError::TeamInUse { .. }
            | StoreError::InUse(_)
            | StoreError::Exists(_)
            | StoreError::Itself(_) => Self::Conflict(error.to_string()),
            StoreError::Newer { .. }
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
