//! How a command reaches the ledger: over the socket of a server that runs, or by opening the store.

use std::io;
use std::sync::Arc;

use super::{ConfigArg, Exit, Failure, environment, output};
use crate::admin::client::Client;
use crate::admin::{Desk, Verb};
use crate::clock;
use crate::config::{Paths, Secrets, load};
use crate::ledger::{Ledger, Policy};
use crate::server;
use crate::store::{Store, StoreError};

/// Runs a verb where the ledger is.
pub(super) fn run<V: Verb>(config: &ConfigArg, verb: V) -> Result<V::Answer, Failure> {
    let file = config.path()?;
    if !file.exists() {
        let message = format!("the configuration {} does not exist", file.display());
        return Err(Failure::new(Exit::Config, message));
    }
    let paths = Paths::find(&file, environment());
    match Client::connect(&paths.socket) {
        Ok(Some(client)) => return Ok(client.send(&verb)?),
        Ok(None) => {}
        Err(error) => {
            let exit = if error.kind() == io::ErrorKind::PermissionDenied {
                Exit::NotPermitted
            } else {
                Exit::Unavailable
            };
            let socket = paths.socket.display();
            return Err(Failure::new(exit, format!("the socket {socket} cannot be used: {error}")));
        }
    }
    let (store, found) = Store::open(&paths.store)?;
    if found.is_new {
        output::note(&format!("a new store was made: {}", paths.store.display()));
    }
    // Windows and their zone are the configuration's to say; the rest of it may be unfinished.
    let policy = load(&file, environment(), Secrets::Skip)
        .map_or_else(|_| Policy::default(), |config| server::policy(&config));
    let ledger = Ledger::load(Arc::new(store), found.open, policy, clock::now())?;
    Ok(verb.run(&Desk { ledger, live: None })?)
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::InUse(_) => Exit::Unavailable,
            StoreError::Newer { .. } | StoreError::Foreign { .. } => Exit::Config,
            StoreError::Unusable { reason, .. }
                if reason.kind() == io::ErrorKind::PermissionDenied =>
            {
                Exit::NotPermitted
            }
            StoreError::NameTaken(_)
            | StoreError::TeamNameTaken(_)
            | StoreError::TeamInUse { .. } => Exit::Conflict,
            StoreError::NoSuchKey | StoreError::NoSuchTeam => Exit::NotFound,
            StoreError::Unusable { .. }
            | StoreError::Io(_)
            | StoreError::Database(_)
            | StoreError::Damaged(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}
