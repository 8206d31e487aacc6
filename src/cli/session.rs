//! How a command reaches the ledger: over the socket of a server that runs, or by opening the store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ConfigArg, Exit, Failure, environment, output};
use crate::admin::audit::perform;
use crate::admin::client::Client;
use crate::admin::{Desk, Verb};
use crate::clock;
use crate::config::{Paths, Secrets, load};
use crate::domain::audit::Actor;
use crate::ledger::{Ledger, Policy};
use crate::server;
use crate::store::{Store, StoreError};

/// Runs a verb where the ledger is.
pub(super) fn run<V: Verb>(config: &ConfigArg, verb: V) -> Result<V::Answer, Failure> {
    Session::open(config)?.run(verb)
}

/// Where the ledger is, for as many verbs as a command needs.
pub(super) enum Session {
    /// In a server; the connection is for the next verb.
    Served { socket: PathBuf, next: Option<Client> },
    /// Here.
    Own(Desk),
}

impl Session {
    pub(super) fn open(config: &ConfigArg) -> Result<Self, Failure> {
        let (file, paths) = places(config)?;
        if let Some(client) = connect(&paths.socket)? {
            return Ok(Self::Served { socket: paths.socket, next: Some(client) });
        }
        let (store, found) = Store::open(&paths.store)?;
        if found.is_new {
            output::note(&format!("a new store was made: {}", paths.store.display()));
        }
        if let Some(migrated) = &found.migrated {
            output::note(&migrated.to_string());
        }
        // Windows and their zone are the configuration's to say; the rest of it may be unfinished.
        let policy = load(&file, environment(), Secrets::Skip)
            .map_or_else(|_| Policy::default(), |config| server::policy(&config));
        let ledger = Ledger::load(Arc::new(store), found.open, policy, clock::now())?;
        Ok(Self::Own(Desk::without_server(ledger)))
    }

    /// The ledger, where it is here.
    pub(super) const fn own(&self) -> Option<&Desk> {
        match self {
            Self::Own(desk) => Some(desk),
            Self::Served { .. } => None,
        }
    }

    pub(super) fn run<V: Verb>(&mut self, verb: V) -> Result<V::Answer, Failure> {
        match self {
            Self::Own(desk) => Ok(perform(desk, &Actor::at_the_command_line(), verb)?),
            Self::Served { socket, next } => {
                let client = match next.take() {
                    Some(client) => client,
                    None => connect(socket)?.ok_or_else(|| {
                        Failure::new(Exit::Unavailable, "the server has stopped meanwhile")
                    })?,
                };
                Ok(client.send(&verb)?)
            }
        }
    }
}

/// The configuration and where it puts the store and the socket.
pub(super) fn places(config: &ConfigArg) -> Result<(PathBuf, Paths), Failure> {
    let file = config.path()?;
    if !file.exists() {
        let message = format!("the configuration {} does not exist", file.display());
        return Err(Failure::new(Exit::Config, message));
    }
    let paths = Paths::find(&file, environment());
    Ok((file, paths))
}

/// Connects to the server; `None` when none runs.
pub(super) fn connect(socket: &Path) -> Result<Option<Client>, Failure> {
    Client::connect(socket).map_err(|error| {
        let exit = if error.kind() == io::ErrorKind::PermissionDenied {
            Exit::NotPermitted
        } else {
            Exit::Unavailable
        };
        Failure::new(exit, format!("the socket {} cannot be used: {error}", socket.display()))
    })
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
            | StoreError::TokenNameTaken(_)
            | StoreError::TooManyTokens(_)
            | StoreError::PasswordChanged
            | StoreError::TeamInUse { .. }
            | StoreError::Exists(_)
            | StoreError::Itself(_) => Exit::Conflict,
            StoreError::NoSuchKey
            | StoreError::NoSuchTeam
            | StoreError::NoSuchToken
            | StoreError::NoSuchSession => Exit::NotFound,
            StoreError::Unusable { .. }
            | StoreError::NoCopy { .. }
            | StoreError::Unclean(_)
            | StoreError::DoesNotAddUp { .. }
            | StoreError::Troubled(_)
            | StoreError::Io(_)
            | StoreError::Database(_)
            | StoreError::Damaged(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}
