//! The authority on spend: what each key has posted and on hold, in memory, with the journal as its
//! memory.
//!
//! To hold is one short critical section over all of an account's windows; a hold ends exactly once,
//! posted or void, because its type will not be forgotten. Nothing here knows HTTP or a provider.

pub mod account;
mod books;
pub mod directory;
pub mod hold;
mod line;

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use crate::domain::budget::{Enforcement, Remembered};
use crate::domain::key::{KeyHash, KeyId, KeyRecord};
use crate::domain::money::Money;
use crate::domain::receipt::{Ending, Metered, Receipt};
use crate::domain::usage::ServiceTier;
use crate::domain::window::{Timestamp, WindowRule};
use crate::store::record::OpenHold;
use crate::store::{Store, StoreError};
use account::Account;
use directory::Directory;

pub use account::Standing;
pub use books::Request;
pub use hold::{Description, Hold, Refusal};

/// How limits are applied; changes with the configuration.
#[derive(Clone, Debug)]
pub struct Policy {
    pub windows: WindowRule,
    pub enforcement: Enforcement,
    /// How long a call may stand in line for other calls' holds to end.
    pub max_wait_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { windows: WindowRule::Rolling, enforcement: Enforcement::Hard, max_wait_ms: 30_000 }
    }
}

/// All accounts, and the store behind them.
pub struct Ledger {
    store: Arc<Store>,
    directory: Directory,
    policy: ArcSwap<Policy>,
    /// Held while accounts are changed by something other than a call, first in the store and then in
    /// memory: one such change at a time.
    books: Mutex<()>,
}

impl Ledger {
    /// Loads the accounts and posts what a crash left open.
    pub fn load(
        store: Arc<Store>,
        open: Vec<OpenHold>,
        policy: Policy,
        now: Timestamp,
    ) -> Result<Arc<Self>, StoreError> {
        let keys = store.keys()?;
        let has_new_windows = books::follow_rule(&store, &keys, &policy.windows, now)?;
        let remembered = store.accounts()?;
        let accounts = keys.into_iter().map(|record| {
            let spent = remembered.get(&record.id).copied().unwrap_or_default();
            Arc::new(Account::new(record, &spent, &policy.windows, now))
        });
        let directory = Directory::new(accounts.collect());
        let policy = ArcSwap::from_pointee(policy);
        let ledger = Arc::new(Self { store, directory, policy, books: Mutex::new(()) });
        if !open.is_empty() {
            tracing::warn!(
                holds = open.len(),
                "the last run ended during calls: their holds are posted"
            );
        }
        for mut hold in open {
            if let Some(account) = ledger.directory.by_id(hold.key).filter(|_| has_new_windows) {
                // Its own windows are those of another rule.
                hold.starts = account.starts();
            }
            ledger.post_recovered(&hold, now);
        }
        Ok(ledger)
    }

    /// A hold whose call nobody can say anything about any more costs all of it: the provider may
    /// have been paid that much, and a limit must stay a ceiling.
    fn post_recovered(&self, hold: &OpenHold, now: Timestamp) {
        let receipt = whole_hold_receipt(hold, now);
        self.store.journal().post(&hold.starts, &receipt);
        if let Some(account) = self.directory.by_id(hold.key) {
            account.post_foreign(&hold.starts, hold.amount);
        }
    }

    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// The account that a secret of this hash opens now.
    pub fn identify(&self, hash: KeyHash, now: Timestamp) -> Option<Arc<Account>> {
        self.directory.by_hash(hash).filter(|account| account.record().accepts(hash, now))
    }

    /// Stores a new key and opens its account.
    pub fn create_key(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<Arc<Account>, StoreError> {
        self.store.insert_key(&record)?;
        let rule = &self.policy.load().windows;
        let account = Arc::new(Account::new(record, &Remembered::default(), rule, now));
        self.directory.insert(Arc::clone(&account));
        Ok(account)
    }

    /// Changes a key; the next call finds it changed.
    pub fn change_key<E: From<StoreError>>(
        &self,
        id: KeyId,
        change: impl FnOnce(&mut KeyRecord) -> Result<(), E>,
    ) -> Result<Arc<Account>, E> {
        let record = self.store.change_key(id, change)?;
        let account = self.directory.by_id(id).ok_or(StoreError::NoSuchKey)?;
        account.replace(record, self.policy.load().enforcement);
        self.directory.reindex();
        Ok(account)
    }

    /// What is on hold over all accounts.
    pub fn held(&self) -> Money {
        let held = self.directory.all().into_iter().map(|account| account.held());
        held.fold(Money::ZERO, Money::saturating_add)
    }
}

/// The receipt of a call whose end nobody saw: it costs what was set aside for it.
fn whole_hold_receipt(hold: &OpenHold, now: Timestamp) -> Receipt {
    Receipt {
        id: hold.id,
        key: hold.key,
        at: now,
        model: Arc::clone(&hold.model),
        provider: Arc::clone(&hold.provider),
        upstream_model: Arc::clone(&hold.upstream_model),
        endpoint: Arc::clone(&hold.endpoint),
        status: 500,
        streamed: false,
        ending: Ending::Crash,
        metered: Metered::Recovered,
        service: ServiceTier::Standard,
        lines: Vec::new(),
        cost: hold.amount,
        held: hold.amount,
        price: Arc::clone(&hold.price),
        first_byte_ms: None,
        total_ms: now.millis_since(hold.id.began()),
    }
}
