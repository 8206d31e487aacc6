//! The database, opened anew after it failed.
//!
//! After an I/O error redb refuses everything until its file is closed and opened again, so that
//! nobody builds on pages that may not be what they seem. A full disk must not end the service for
//! good, so that is done here, at the next transaction. What was committed is never in doubt: opening
//! finds either the last commit or the one before it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageError, TransactionError,
    WriteTransaction,
};

use super::StoreError;

type Open = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

pub(super) struct Vault {
    open: Open,
    /// Absent while it could not be opened again.
    db: RwLock<Option<Database>>,
    /// A transaction failed: the next one looks first whether the database still works.
    suspect: AtomicBool,
}

impl Vault {
    pub(super) fn open(
        open: impl Fn() -> Result<Database, DatabaseError> + Send + Sync + 'static,
    ) -> Result<Self, DatabaseError> {
        let db = open()?;
        let suspect = AtomicBool::new(false);
        Ok(Self { open: Box::new(open), db: RwLock::new(Some(db)), suspect })
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        if self.suspect.load(Ordering::Acquire) {
            // A write transaction is what tells whether the database still works.
            drop(self.begin_write()?);
        }
        Ok(self.begin(ReadableDatabase::begin_read)?)
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        let begun = match self.begin(Database::begin_write) {
            Err(TransactionError::Storage(StorageError::PreviousIo)) => {
                self.reopen()?;
                self.begin(Database::begin_write)
            }
            other => other,
        };
        let mut begun = begun?;
        // After a crash a large store must not be read through before it serves again.
        begun.set_quick_repair(true);
        self.suspect.store(false, Ordering::Release);
        Ok(begun)
    }

    /// Remembers it when a transaction failed.
    pub(super) fn watched<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Database(_)) = &result {
            self.suspect.store(true, Ordering::Release);
        }
        result
    }

    fn begin<T>(
        &self,
        begin: impl FnOnce(&Database) -> Result<T, TransactionError>,
    ) -> Result<T, TransactionError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        begin(db.as_ref().ok_or(StorageError::PreviousIo)?)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = db.take() {
            let works = failed.begin_write().is_ok();
            if works {
                // Somebody else was here first.
                *db = Some(failed);
                return Ok(());
            }
            // Its file is locked until it is closed.
            drop(failed);
        }
        let opened = (self.open)().map_err(|error| match error {
            DatabaseError::Storage(error) => StoreError::from(error),
            other => StoreError::Database(Box::new(other.into())),
        });
        *db = Some(opened?);
        tracing::info!("the database was opened again after it had failed");
        Ok(())
    }
}
