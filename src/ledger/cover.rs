//! Cover: what lets the answers of a busy key go out without each waiting for the disk.
//!
//! Before the first byte of an answer goes out its hold must outlive the machine. Where a provider
//! answers faster than a disk syncs, every call would wait for that. Instead one more hold of the key,
//! its *cover*, is put on the disk, large enough for all of its calls whose own holds are not there
//! yet. It sets nothing aside in memory, where those calls' holds count. Should the power fail, it is
//! posted in place of what the disk does not know of, up to what is left of the limits: if that is less,
//! the whole limit is charged, for holds that are found open are posted whole. Should only the process
//! die, everything it stood for is on the disk, and it means nothing.
//!
//! A key gets cover when a call of it had to wait, and loses it when it has not needed it for a while.
//! What must never happen: a call that counts as covered while its cover is not on the disk, or is not
//! enough for it and all others that the cover stands for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Ledger;
use super::account::Account;
use crate::clock;
use crate::domain::budget::{Remembered, Starts};
use crate::domain::key::Limits;
use crate::domain::money::Money;
use crate::domain::request_id::RequestId;
use crate::domain::team::Share;
use crate::domain::window::Timestamp;
use crate::store::journal::{Journal, Position};
use crate::store::record::OpenHold;

/// How many calls like the one that had to wait the first cover is enough for: about as many as may
/// come between two syncs.
const CALLS: u64 = 128;
/// How long cover may go unneeded before it is taken off the disk, in milliseconds.
const IDLE_MS: u64 = 1_000;

/// A key's cover.
#[derive(Default)]
pub(super) struct Cover(Mutex<State>);

#[derive(Default)]
struct State {
    in_force: Option<Standing>,
    /// Written, but not on the disk yet.
    coming: Option<Standing>,
    /// What the cover stands for: the calls since `older` was begun whose holds may not be on the disk.
    older: Risk,
    newer: Risk,
    needed: Timestamp,
}

/// Cover that stands in the journal.
#[derive(Clone, Copy)]
struct Standing {
    id: RequestId,
    amount: Money,
    position: Position,
    /// Where a failure would count it: the same as the calls it stands for.
    starts: Starts,
    share: Option<Share>,
}

/// Covered holds, up to the place in the journal where all of them are on the disk.
#[derive(Clone, Copy, Default)]
struct Risk {
    amount: Money,
    until: Position,
}

impl Standing {
    fn is_for(&self, hold: &OpenHold) -> bool {
        self.starts == hold.starts && self.share == hold.share
    }
}

impl State {
    /// Forgets what has reached the disk, and puts cover in force that has.
    fn catch_up(&mut self, journal: &Journal) {
        // Twice, for both may be there by now.
        for _ in 0..2 {
            if journal.is_durable(self.older.until) {
                self.older = std::mem::take(&mut self.newer);
            }
        }
        if self.coming.is_some_and(|coming| journal.is_durable(coming.position)) {
            let before = std::mem::replace(&mut self.in_force, self.coming.take());
            if let Some(before) = before {
                journal.void(before.id);
            }
        }
    }
}

impl Cover {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is a few moves that cannot stop half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a hold that has just been written at `position` is covered; from here on the cover
    /// stands for it.
    pub(super) fn takes(&self, journal: &Journal, hold: &OpenHold, position: Position) -> bool {
        let mut state = self.lock();
        if state.in_force.is_none() && state.coming.is_none() {
            return false;
        }
        state.catch_up(journal);
        let at_risk = state.older.amount.saturating_add(state.newer.amount);
        let needed = at_risk.saturating_add(hold.amount);
        let is_enough = |cover: &Standing| cover.is_for(hold) && needed <= cover.amount;
        if !state.in_force.as_ref().is_some_and(is_enough) {
            return false;
        }
        state.newer.amount = state.newer.amount.saturating_add(hold.amount);
        state.newer.until = state.newer.until.max(position);
        state.needed = hold.id.began();
        true
    }

    /// Writes cover that `hold`, which has to wait, would have been covered by. Says whether it is the
    /// first.
    fn extend(&self, journal: &Journal, hold: &Need, new: impl FnOnce(Money) -> OpenHold) -> bool {
        let mut state = self.lock();
        if state.coming.is_some() {
            return false;
        }
        let enough = Money::from_nano(hold.amount.nano().saturating_mul(CALLS));
        let twice =
            state.in_force.map_or(Money::ZERO, |cover| cover.amount.saturating_add(cover.amount));
        let cover = new(enough.max(twice));
        state.needed = cover.id.began();
        state.coming = Some(Standing {
            id: cover.id,
            amount: cover.amount,
            position: journal.hold(&cover),
            starts: cover.starts,
            share: cover.share,
        });
        state.in_force.is_none()
    }

    /// Takes cover off that has not been needed for `idle_ms` and stands for nothing any more. Says
    /// whether there is some left.
    fn retire(&self, journal: &Journal, now: Timestamp, idle_ms: u64) -> bool {
        let mut state = self.lock();
        state.catch_up(journal);
        let stands_for_some = !state.newer.amount.is_zero() || !state.older.amount.is_zero();
        if stands_for_some || now.millis_since(state.needed) < idle_ms {
            return true;
        }
        for cover in [state.in_force.take(), state.coming.take()].into_iter().flatten() {
            journal.void(cover.id);
        }
        false
    }
}

/// A hold that is not on the disk yet, as far as cover must be like it.
#[derive(Clone, Copy)]
pub(super) struct Need {
    amount: Money,
    starts: Starts,
    share: Option<Share>,
}

impl From<&OpenHold> for Need {
    fn from(hold: &OpenHold) -> Self {
        Self { amount: hold.amount, starts: hold.starts, share: hold.share }
    }
}

impl Ledger {
    /// A call of the key has to wait for the disk: has those that come after it covered.
    pub(super) fn cover(&self, account: &Arc<Account>, need: &Need) {
        // Without randomness for a name there is no cover, and calls wait.
        let Ok(random) = clock::random() else { return };
        let id = RequestId::new(clock::now(), random);
        let new = |amount| {
            let (store, key) = (&self.store, account.id());
            OpenHold::cover((id, key, amount), (need.starts, need.share), store.boot())
        };
        if account.cover().extend(self.store.journal(), need, new) {
            self.covered().push(Arc::clone(account));
        }
    }

    /// Takes all cover off that is not needed any more. For whoever looks after the ledger, about once
    /// a second.
    pub fn retire_cover(&self) {
        self.retire(IDLE_MS);
    }

    fn retire(&self, idle_ms: u64) {
        let now = clock::now();
        let is_left =
            |account: &Arc<Account>| account.cover().retire(self.store.journal(), now, idle_ms);
        self.covered().retain(is_left);
    }

    /// Ends the ledger after its last call: everything is put away, and no cover is left that a later
    /// failure would have posted.
    pub fn close(&self) {
        self.store.journal().put_away_now();
        self.retire(0);
        self.store.journal().close();
    }

    fn covered(&self) -> MutexGuard<'_, Vec<Arc<Account>>> {
        self.covered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the cover that an earlier process left, after everything else of it was posted: at what it
    /// may have stood for, if the machine went down, else at nothing.
    pub(super) fn end_left_cover(
        &self,
        cover: &OpenHold,
        spent: [Option<&Remembered>; 2],
        now: Timestamp,
    ) -> Money {
        let boot = self.store.boot().map(|boot| &**boot);
        let team = cover.share.and_then(|share| Some((self.team(share.team)?, share.starts)));
        let key =
            self.directory.by_id(cover.key).map(|account| (account.record().limits, cover.starts));
        let team = team.map(|(team, starts)| (team.record().limits, starts));
        let left = |(limits, starts): (Limits, Starts), spent: Option<&Remembered>| {
            spent.copied().unwrap_or_default().left(&limits, &starts)
        };
        let left = [key, team].into_iter().zip(spent).filter_map(|(who, spent)| left(who?, spent));
        let amount = left.fold(cover.amount, Money::min);
        if cover.is_cover_of(boot) || amount.is_zero() {
            self.store.journal().void(cover.id);
            return Money::ZERO;
        }
        self.post_recovered(&OpenHold { amount, ..cover.clone() }, now);
        amount
    }
}
