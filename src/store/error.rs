//! Everything that can go wrong with the store, in sentences that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

use crate::domain::codec::DecodeError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "another process has {0} open: if that is the server, commands reach it over its socket; \
         is `admin.socket` in the configuration the one it was started with?"
    )]
    InUse(PathBuf),
    #[error(
        "{path} was written by a newer conduit (store format {found}, this one reads up to \
         {known}): install that version or a later one, or go back to a copy from before, such as \
         {path}.format-{known}"
    )]
    Newer { path: PathBuf, found: u64, known: u64 },
    #[error(
        "{path} has store format {format} and must be copied before it is migrated, but {to} cannot \
         be written: {reason}; nothing was changed"
    )]
    NoCopy { path: PathBuf, format: u64, to: PathBuf, reason: io::Error },
    #[error("{path} is not a conduit store: {reason}")]
    Foreign { path: PathBuf, reason: String },
    #[error("{0} was not closed in order, and only opening it for good can mend that")]
    Unclean(PathBuf),
    #[error("{path} cannot be used: {reason}")]
    Unusable { path: PathBuf, reason: io::Error },
    #[error("a name is taken: there is a key called `{0}` already")]
    NameTaken(String),
    #[error("there is no such key")]
    NoSuchKey,
    #[error("there is a file at {0} already: --force puts the new one in its place")]
    Exists(PathBuf),
    #[error("{0} is the store that is in use")]
    Itself(PathBuf),
    #[error(
        "{path} does not add up in {differences} places, `conduit admin verify` says which; --force \
         takes it all the same"
    )]
    DoesNotAddUp { path: PathBuf, differences: usize },
    #[error("{0}")]
    Troubled(String),
    #[error("a name is taken: there is a team called `{0}` already")]
    TeamNameTaken(String),
    #[error("there is no such team")]
    NoSuchTeam,
    #[error("the team has {keys} key(s) that are not revoked: move them out of it first")]
    TeamInUse { keys: usize },
    #[error("a name is taken: there is a token called `{0}` already")]
    TokenNameTaken(String),
    #[error("there are {0} tokens already: revoke those that nobody uses")]
    TooManyTokens(usize),
    #[error("there is no such token")]
    NoSuchToken,
    #[error("there is no such session")]
    NoSuchSession,
    #[error("the password has just been changed")]
    PasswordChanged,
    #[error("the disk refuses: {0}")]
    Io(#[from] io::Error),
    #[error("the database fails: {0}")]
    Database(Box<redb::Error>),
    #[error("a record in the store cannot be read: {0}")]
    Damaged(#[from] DecodeError),
}

impl StoreError {
    pub(super) fn unusable(path: &Path, reason: io::Error) -> Self {
        Self::Unusable { path: path.to_owned(), reason }
    }

    pub(super) fn opening(path: &Path, error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                Self::InUse(path.to_owned())
            }
            DatabaseError::RepairAborted => Self::Unclean(path.to_owned()),
            DatabaseError::Storage(StorageError::Io(error))
                if error.kind() != io::ErrorKind::InvalidData =>
            {
                Self::unusable(path, error)
            }
            other => Self::Foreign { path: path.to_owned(), reason: other.to_string() },
        }
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })*
    };
}

from_redb!(StorageError, TableError, TransactionError, CommitError);
