//! The authority on spend: what each key and team has posted and on hold, in memory, with the journal as its
//! memory.
//!
//! To hold is one short critical section over all of an account's windows; a hold ends exactly once,
//! posted or void, because its type will not be forgotten. Nothing here knows HTTP or a provider.

pub mod account;
mod books;
mod cover;
pub mod directory;
pub mod hold;
mod line;
mod purse;
pub mod team;
#[cfg(test)]
mod tests;
pub mod traffic;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;

use crate::alerts::{Alarm, Alert, Subject};
use crate::clock;
use crate::domain::budget::{Enforcement, Remembered};
use crate::domain::key::{KeyHash, KeyId, KeyRecord};
use crate::domain::money::Money;
use crate::domain::receipt::{Ending, Metered, Receipt};
use crate::domain::team::{TeamId, TeamRecord};
use crate::domain::usage::ServiceTier;
use crate::domain::window::{Timestamp, WindowRule};
use crate::metrics::Metrics;
use crate::store::journal::Haste;
use crate::store::record::OpenHold;
use crate::store::{Store, StoreError};
use account::Account;
use directory::Directory;
use purse::{Passed, Settled};
use team::Team;

pub use books::Request;
pub use hold::{Description, HasRoom, Hold, Promise, Refusal};
pub use purse::Standing;
pub use traffic::{Estimate, Pass, Throttled};

/// How limits are applied; changes with the configuration.
#[derive(Clone, Debug)]
pub struct Policy {
    pub windows: WindowRule,
    pub enforcement: Enforcement,
    /// How long a call may stand in line for other calls' holds to end.
    pub max_wait_ms: u64,
    /// At which hundredths of a limit somebody is told; ascending.
    pub alert_at: Vec<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            windows: WindowRule::Rolling,
            enforcement: Enforcement::Hard,
            max_wait_ms: 30_000,
            alert_at: Vec::new(),
        }
    }
}

/// All accounts, and the store behind them.
pub struct Ledger {
    store: Arc<Store>,
    directory: Directory,
    teams: ArcSwap<HashMap<TeamId, Arc<Team>>>,
    policy: ArcSwap<Policy>,
    /// One change at a time of what is not a call's: of keys, teams, adjustments, the windows' rule. First
    /// in the store and then in memory, so that memory takes them up in the store's order.
    changing: Mutex<()>,
    /// The accounts that have cover.
    covered: Mutex<Vec<Arc<Account>>>,
    /// Who is told when a key comes near its limits.
    alarm: OnceLock<Alarm>,
    metrics: Metrics,
}

impl Ledger {
    /// Loads the accounts and posts what a crash left open.
    pub fn load(
        store: Arc<Store>,
        open: Vec<OpenHold>,
        policy: Policy,
        now: Timestamp,
    ) -> Result<Arc<Self>, StoreError> {
        Self::load_counting(store, open, policy, Metrics::default(), now)
    }

    /// As [`Ledger::load`], with metrics that count what is posted.
    pub fn load_counting(
        store: Arc<Store>,
        mut open: Vec<OpenHold>,
        policy: Policy,
        metrics: Metrics,
        now: Timestamp,
    ) -> Result<Arc<Self>, StoreError> {
        let (keys, teams) = (store.keys()?, store.teams()?);
        let has_new_windows = books::follow_rule(&store, &keys, &teams, &policy.windows, now)?;
        let remembered = store.accounts()?;
        let remembered_teams = store.team_accounts()?;
        let teams = teams.into_iter().map(|record| {
            let spent = remembered_teams.get(&record.id).copied().unwrap_or_default();
            (record.id, Arc::new(Team::new(record, &spent, &policy.windows, now)))
        });
        let teams: HashMap<TeamId, Arc<Team>> = teams.collect();
        let accounts = keys.into_iter().map(|record| {
            let spent = remembered.get(&record.id).copied().unwrap_or_default();
            let team = record.controls.team.and_then(|id| teams.get(&id).cloned());
            Arc::new(Account::new(record, team, &spent, &policy.windows, now))
        });
        let directory = Directory::new(accounts.collect());
        let ledger = Arc::new(Self {
            store,
            directory,
            teams: ArcSwap::from_pointee(teams),
            policy: ArcSwap::from_pointee(policy),
            changing: Mutex::default(),
            covered: Mutex::default(),
            alarm: OnceLock::new(),
            metrics,
        });
        let calls = open.iter().filter(|hold| !hold.is_cover()).count();
        if calls > 0 {
            tracing::warn!(
                holds = calls,
                "the last run ended during calls: their holds are posted"
            );
        }
        let (mut remembered, mut remembered_teams) = (remembered, remembered_teams);
        // Cover last: it is posted up to what the others leave.
        open.sort_by_key(OpenHold::is_cover);
        for mut hold in open {
            if has_new_windows {
                // Its own windows are those of another rule.
                ledger.move_to_present(&mut hold);
            }
            let spent = remembered.entry(hold.key).or_default();
            let of_team = hold.share.map(|share| remembered_teams.entry(share.team).or_default());
            let posted = if hold.is_cover() {
                ledger.end_left_cover(&hold, [Some(&*spent), of_team.as_deref()], now)
            } else {
                ledger.post_recovered(&hold, now);
                hold.amount
            };
            spent.post(&hold.starts, posted);
            if let Some((spent, share)) = of_team.zip(hold.share) {
                spent.post(&share.starts, posted);
            }
        }
        Ok(ledger)
    }

    fn move_to_present(&self, hold: &mut OpenHold) {
        if let Some(account) = self.directory.by_id(hold.key) {
            hold.starts = account.purse().starts();
        }
        if let Some(share) = &mut hold.share
            && let Some(team) = self.team(share.team)
        {
            share.starts = team.purse().starts();
        }
    }

    /// A hold whose call nobody can say anything about any more costs all of it: the provider may
    /// have been paid that much, and a limit must stay a ceiling.
    fn post_recovered(&self, hold: &OpenHold, now: Timestamp) {
        let receipt = whole_hold_receipt(hold, now);
        let journal = self.store.journal();
        journal.post(&hold.starts, hold.share.as_ref(), &receipt, Haste::Now);
        self.metrics.posted(&receipt);
        let team = hold.share.and_then(|share| self.team(share.team).zip(Some(share.starts)));
        if let Some((team, starts)) = team {
            team.purse().post_foreign(&starts, hold.amount);
        }
        if let Some(account) = self.directory.by_id(hold.key) {
            account.purse().post_foreign(&hold.starts, hold.amount);
        }
    }

    /// Names who is told when a key comes near its limits; the first naming counts.
    pub fn set_alarm(&self, alarm: Alarm) {
        let _ = self.alarm.set(alarm);
    }

    /// How many alerts wait to be told.
    pub fn alerts_waiting(&self) -> usize {
        self.alarm.get().map_or(0, Alarm::waiting)
    }

    /// Tells if a cost that has just been settled passed a share of one of the key's limits.
    fn alert_key(&self, account: &Account, settled: &Settled, cost: Money, policy: &Policy) {
        let Some(alarm) = self.alarm.get().filter(|_| !cost.is_zero()) else { return };
        let key = account.peek();
        for passed in settled.passed(&key.limits, cost, &policy.alert_at) {
            alarm
                .raise(alert(Subject::Key { key_id: key.id, key_name: key.name.clone() }, &passed));
        }
    }

    /// The same for a team's limits.
    fn alert_team(&self, team: &Team, settled: &Settled, cost: Money, policy: &Policy) {
        let Some(alarm) = self.alarm.get().filter(|_| !cost.is_zero()) else { return };
        let team = team.record();
        for passed in settled.passed(&team.limits, cost, &policy.alert_at) {
            let (team_id, team_name) = (team.id, team.name.clone());
            alarm.raise(alert(Subject::Team { team_id, team_name }, &passed));
        }
    }

    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// All teams, oldest first.
    pub fn teams(&self) -> Vec<Arc<Team>> {
        let mut teams: Vec<_> = self.teams.load().values().cloned().collect();
        teams.sort_by_key(|team| (team.record().created, team.id()));
        teams
    }

    pub fn team(&self, id: TeamId) -> Option<Arc<Team>> {
        self.teams.load().get(&id).cloned()
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// The account that a secret of this hash opens now, and its key as it is now.
    pub fn identify(
        &self,
        hash: KeyHash,
        now: Timestamp,
    ) -> Option<(Arc<Account>, Arc<KeyRecord>)> {
        let account = self.directory.by_hash(hash)?;
        let key = account.record();
        key.accepts(hash, now).then_some((account, key))
    }

    /// Stores a new key and opens its account.
    pub fn create_key(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<Arc<Account>, StoreError> {
        let _changing = self.changing();
        self.store.insert_key(&record)?;
        let rule = &self.policy.load().windows;
        let team = record.controls.team.and_then(|id| self.team(id));
        let account = Arc::new(Account::new(record, team, &Remembered::default(), rule, now));
        self.directory.insert(Arc::clone(&account));
        Ok(account)
    }

    /// Changes a key; the next call finds it changed.
    pub fn change_key<E: From<StoreError>>(
        &self,
        id: KeyId,
        change: impl FnOnce(&mut KeyRecord) -> Result<(), E>,
    ) -> Result<Arc<Account>, E> {
        let _changing = self.changing();
        let record = self.store.change_key(id, change)?;
        let account = self.directory.by_id(id).ok_or(StoreError::NoSuchKey)?;
        let team = record.controls.team.and_then(|id| self.team(id));
        account.replace(record, team, self.policy.load().enforcement);
        self.directory.reindex();
        Ok(account)
    }

    /// Stores a new team and opens its account.
    pub fn create_team(&self, record: TeamRecord, now: Timestamp) -> Result<Arc<Team>, StoreError> {
        let _changing = self.changing();
        self.store.insert_team(&record)?;
        let rule = &self.policy.load().windows;
        let team = Arc::new(Team::new(record, &Remembered::default(), rule, now));
        let mut teams = HashMap::clone(&self.teams.load());
        teams.insert(team.id(), Arc::clone(&team));
        self.teams.store(Arc::new(teams));
        Ok(team)
    }

    /// Changes a team; the next call of its keys finds it changed.
    pub fn change_team(
        &self,
        id: TeamId,
        change: impl FnOnce(&mut TeamRecord),
    ) -> Result<Arc<Team>, StoreError> {
        let _changing = self.changing();
        let record = self.store.change_team(id, change)?;
        let team = self.team(id).ok_or(StoreError::NoSuchTeam)?;
        team.replace(record, self.policy.load().enforcement);
        Ok(team)
    }

    /// Deletes a team that no key is in; what it spent stays in the store.
    pub fn delete_team(&self, id: TeamId) -> Result<(), StoreError> {
        let _changing = self.changing();
        self.store.delete_team(id)?;
        let mut teams = HashMap::clone(&self.teams.load());
        teams.remove(&id);
        self.teams.store(Arc::new(teams));
        Ok(())
    }

    /// How many calls are under way over all accounts.
    pub fn calls_under_way(&self) -> u64 {
        self.directory.all().into_iter().map(|account| account.in_flight().0).sum()
    }

    /// What is on hold over all accounts.
    pub fn held(&self) -> Money {
        let held = self.directory.all().into_iter().map(|account| account.purse().held());
        held.fold(Money::ZERO, Money::saturating_add)
    }
}

fn alert(subject: Subject, passed: &Passed) -> Alert {
    Alert {
        subject,
        period: passed.period,
        percent: passed.percent,
        spent_usd: passed.spend.posted,
        limit_usd: passed.limit,
        resets_at: passed.spend.window.end,
        at: clock::now(),
    }
}

/// The receipt of a call whose end nobody saw: it costs what was set aside for it.
fn whole_hold_receipt(hold: &OpenHold, now: Timestamp) -> Receipt {
    Receipt {
        id: hold.id,
        of: None,
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
        provider_cost: None,
        held: hold.amount,
        price: Arc::clone(&hold.price),
        first_byte_ms: None,
        total_ms: now.millis_since(hold.id.began()),
    }
}
