//! Finds an account by the hash of a secret or by its id: read by every call, written when a key is
//! made or changed, so readers never wait.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::account::Account;
use crate::domain::key::{KeyHash, KeyId};
use crate::map::Map;

#[derive(Default)]
struct Index {
    by_id: Map<KeyId, Arc<Account>>,
    by_hash: Map<KeyHash, Arc<Account>>,
}

impl Index {
    fn of(accounts: impl IntoIterator<Item = Arc<Account>>) -> Self {
        let mut index = Self::default();
        for account in accounts {
            let record = account.record();
            index.by_hash.insert(record.hash, Arc::clone(&account));
            if let Some(retiring) = &record.retiring {
                index.by_hash.insert(retiring.hash, Arc::clone(&account));
            }
            index.by_id.insert(record.id, account);
        }
        index
    }
}

pub struct Directory {
    index: ArcSwap<Index>,
    /// One writer at a time, so that none undoes another's work.
    writing: Mutex<()>,
}

impl Directory {
    pub(super) fn new(accounts: Vec<Arc<Account>>) -> Self {
        Self { index: ArcSwap::from_pointee(Index::of(accounts)), writing: Mutex::new(()) }
    }

    pub fn by_hash(&self, hash: KeyHash) -> Option<Arc<Account>> {
        self.index.load().by_hash.get(&hash).cloned()
    }

    pub fn by_id(&self, id: KeyId) -> Option<Arc<Account>> {
        self.index.load().by_id.get(&id).cloned()
    }

    /// All accounts, oldest key first.
    pub fn all(&self) -> Vec<Arc<Account>> {
        let mut accounts: Vec<_> = self.index.load().by_id.values().cloned().collect();
        accounts.sort_by_key(|account| (account.record().created, account.id()));
        accounts
    }

    pub(super) fn insert(&self, account: Arc<Account>) {
        self.rebuild(Some(account));
    }

    /// Reads every account's hashes again.
    pub(super) fn reindex(&self) {
        self.rebuild(None);
    }

    fn rebuild(&self, added: Option<Arc<Account>>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let present: Vec<_> = self.index.load().by_id.values().cloned().collect();
        self.index.store(Arc::new(Index::of(present.into_iter().chain(added))));
    }
}
