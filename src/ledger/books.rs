//! What changes accounts besides calls: adjustments, and another rule for where windows begin. And the
//! comparison of what is in memory with what is on the disk.
//!
//! Such a change is in the store before it is in memory, so that a crash between the two loses nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::account::Account;
use super::{Ledger, Policy};
use crate::clock;
use crate::domain::adjustment::{Adjustment, AdjustmentId, Correction, TeamPart};
use crate::domain::budget::{Balance, Remembered};
use crate::domain::key::KeyRecord;
use crate::domain::money::Money;
use crate::domain::team::{Owner, TeamRecord};
use crate::domain::window::{Period, Timestamp, WindowRule};
use crate::store::{Books, Difference, Move, Store, StoreError};

/// How often memory is compared with the disk before a difference is believed: a call that ends just
/// then is in one of them a moment before it is in the other.
const LOOKS: usize = 3;

/// An adjustment that somebody wants.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: AdjustmentId,
    pub correction: Correction,
    pub why: String,
    pub by: String,
}

impl Ledger {
    /// Adjusts what a key, and with it its team, has spent in the present windows. Asked for a second
    /// time under the same id, it returns what was done the first time.
    ///
    /// Blocks on the store: not for a worker of the gateway.
    pub fn adjust(
        &self,
        account: &Account,
        request: Request,
        now: Timestamp,
    ) -> Result<Adjustment, StoreError> {
        let _changing = self.changing();
        let policy = self.policy();
        let Request { id, correction, why, by } = request;
        let own = account.purse().weigh(correction, &policy.windows, now);
        let team = account.team();
        let of_team =
            team.as_ref().map(|team| team.purse().weigh(correction, &policy.windows, now));
        let part = team.as_ref().zip(of_team).map(|(team, (starts, counted))| {
            let team = team.id();
            TeamPart { team, starts, counted }
        });
        let (starts, counted) = own;
        let key = account.id();
        let adjustment =
            Adjustment { id, key, at: now, correction, why, by, starts, counted, team: part };
        if let Some(earlier) = self.store.adjust(&adjustment)? {
            return Ok(earlier);
        }
        account.correct(&own, correction, policy.enforcement);
        if let Some((team, of_team)) = team.zip(of_team) {
            team.correct(&of_team, correction, policy.enforcement);
        }
        Ok(adjustment)
    }

    /// Puts a policy in force. When windows follow another rule from now on, what was spent in the
    /// new ones is added up from the hourly totals.
    ///
    /// Blocks on the store: not for a worker of the gateway.
    pub fn set_policy(&self, policy: Policy) -> Result<(), StoreError> {
        let _changing = self.changing();
        let (rule, enforcement) = (policy.windows.clone(), policy.enforcement);
        let earlier = self.policy.swap(Arc::new(policy));
        let rebased = if earlier.windows == rule { Ok(()) } else { self.rebase(&rule) };
        // What let calls wait may be over.
        let now = clock::now();
        for account in self.directory.all() {
            account.wake(&rule, enforcement, now);
        }
        for team in self.teams() {
            team.serve(enforcement);
        }
        rebased
    }

    fn rebase(&self, rule: &WindowRule) -> Result<(), StoreError> {
        self.store.journal().put_away_now();
        let now = clock::now();
        let (accounts, teams) = (self.directory.all(), self.teams());
        let of_keys = accounts.iter().map(|account| Move {
            replaced: Some(account.purse().starts()),
            ..of_key(&account.record(), rule, now)
        });
        let of_teams = teams.iter().map(|team| Move {
            replaced: Some(team.purse().starts()),
            ..of_team(&team.record(), rule, now)
        });
        let moves: Vec<_> = of_keys.chain(of_teams).collect();
        let remembered = self.store.follow_rule(mark(rule), &moves)?;
        for account in accounts {
            if let Some(remembered) = remembered.get(&Owner::Key(account.id())) {
                account.purse().rebase(rule, now, remembered);
            }
        }
        for team in teams {
            if let Some(remembered) = remembered.get(&Owner::Team(team.id())) {
                team.purse().rebase(rule, now, remembered);
            }
        }
        Ok(())
    }

    /// Whether the books add up, on the disk and in memory.
    ///
    /// Blocks on the store: not for a worker of the gateway.
    pub fn verify(&self) -> Result<Books, StoreError> {
        let mut looks = LOOKS;
        loop {
            let before = self.balances();
            let mut books = self.store.verify()?;
            let after = self.balances();
            // An account that moved meanwhile says nothing.
            let still = before.iter().filter(|(owner, balance)| after.get(owner) == Some(balance));
            let mut differences = Vec::new();
            for (owner, balance) in still {
                let remembered = books.accounts.get(owner).copied().unwrap_or_default();
                compare(*owner, balance, &remembered, &mut differences);
            }
            looks -= 1;
            if differences.is_empty() || looks == 0 {
                differences.sort_by_key(|difference| difference.owner);
                books.differences.append(&mut differences);
                return Ok(books);
            }
        }
    }

    fn balances(&self) -> HashMap<Owner, Balance> {
        let keys = self.directory.all().into_iter();
        let keys = keys.map(|account| (Owner::Key(account.id()), account.purse().balance()));
        let teams = self.teams().into_iter();
        keys.chain(teams.map(|team| (Owner::Team(team.id()), team.purse().balance()))).collect()
    }
}

fn compare(owner: Owner, balance: &Balance, remembered: &Remembered, out: &mut Vec<Difference>) {
    let mut differ = |what: String, expected: Money, found: Money| {
        if expected != found {
            let (expected, found) = (expected.to_string(), found.to_string());
            out.push(Difference { owner, what, expected, found });
        }
    };
    let what = "USD: account on the disk against memory";
    differ(what.to_owned(), remembered.total, balance.total());
    for period in Period::ALL {
        let spend = balance.spend(period);
        let start = spend.window.start;
        let is_same = remembered.starts[period.index()] == start;
        // A window in which nothing was posted yet is not on the disk.
        let expected = if is_same { remembered.spent(period) } else { Money::ZERO };
        let what = format!("USD spent in the {period} window from {start}: disk against memory");
        differ(what, expected, spend.posted);
    }
}

/// Sees to it that the store's accounts follow `rule`; `true` if they followed another one.
pub(super) fn follow_rule(
    store: &Store,
    keys: &[KeyRecord],
    teams: &[TeamRecord],
    rule: &WindowRule,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (mark, marked) = (mark(rule), store.window_rule()?);
    if marked == Some(mark) {
        return Ok(false);
    }
    // A store that was never told has followed the present rule.
    let of_keys = keys.iter().map(|key| of_key(key, rule, now));
    let moves = of_keys.chain(teams.iter().map(|team| of_team(team, rule, now)));
    let moves: Vec<_> = if marked.is_some() { moves.collect() } else { Vec::new() };
    store.follow_rule(mark, &moves)?;
    Ok(marked.is_some())
}

fn of_key(key: &KeyRecord, rule: &WindowRule, now: Timestamp) -> Move {
    going_over(Owner::Key(key.id), key.created, rule, now)
}

fn of_team(team: &TeamRecord, rule: &WindowRule, now: Timestamp) -> Move {
    going_over(Owner::Team(team.id), team.created, rule, now)
}

fn going_over(owner: Owner, created: Timestamp, rule: &WindowRule, now: Timestamp) -> Move {
    let starts = Period::ALL.map(|period| rule.window(period, created, now).start);
    Move { owner, starts, replaced: None }
}

/// A number that tells rules apart.
fn mark(rule: &WindowRule) -> u64 {
    let name = match rule {
        WindowRule::Rolling => "rolling".to_owned(),
        WindowRule::Calendar(zone) => match zone.iana_name() {
            Some(name) => format!("calendar {name}"),
            None => format!("calendar {zone:?}"),
        },
    };
    let hash = blake3::hash(name.as_bytes());
    let first = hash.as_bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first)
}
