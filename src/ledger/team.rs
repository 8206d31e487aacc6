//! A team's account: what its keys spend together, and the line of their calls.
//!
//! A call of a key in a team is decided under two locks, the team's and then the key's, so that it is
//! held in all windows of both or in none. All calls of its keys wait in the team's one line: one
//! that only its own key keeps back is passed by, one that the team keeps back is not. Whatever frees
//! money of the team or of one of its keys must serve this line afterwards.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::account::{Account, Asked, Standing, enforcement_of, refusal, standing, sums_of};
use super::hold::Refusal;
use super::line::{Granted, Line, Served, Turn};
use crate::domain::budget::{Balance, Enforcement, Remembered, Starts, Verdict};
use crate::domain::key::{KeyId, Limits};
use crate::domain::money::Money;
use crate::domain::team::{TeamId, TeamRecord};
use crate::domain::window::{Period, Timestamp, WindowRule};
use crate::store::StoreError;

struct State {
    balance: Balance,
    line: Line<Arc<Account>>,
    open_holds: u64,
}

/// A team and its money.
pub struct Team {
    id: TeamId,
    record: ArcSwap<TeamRecord>,
    state: Mutex<State>,
}

/// What the limits of a key and of its team say to a call together.
enum Outcome {
    Held(Granted),
    /// Other holds of the key are in the way.
    KeyIsFull,
    /// Other holds of the team are in the way.
    TeamIsFull,
    Refused(Refusal),
}

impl Team {
    pub(super) fn new(
        record: TeamRecord,
        remembered: &Remembered,
        rule: &WindowRule,
        now: Timestamp,
    ) -> Self {
        let balance = Balance::restore(remembered, rule, record.created, now);
        Self {
            id: record.id,
            record: ArcSwap::from_pointee(record),
            state: Mutex::new(State { balance, line: Line::default(), open_holds: 0 }),
        }
    }

    pub const fn id(&self) -> TeamId {
        self.id
    }

    pub fn record(&self) -> Arc<TeamRecord> {
        self.record.load_full()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is a few integer operations that cannot stop half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for `ceiling` for a call of `account`, as [`Account::ask`].
    pub(super) fn ask(
        &self,
        account: &Arc<Account>,
        ceiling: Money,
        rule: &WindowRule,
        enforcement: Enforcement,
        now: Timestamp,
    ) -> Asked {
        let mut state = self.state();
        if !account.is_in(self) {
            return Asked::Elsewhere;
        }
        let record = self.record.load();
        state.balance.roll(rule, record.created, now);
        account.state().balance.roll(rule, account.peek().created, now);
        if state.line.is_empty() {
            match state.attempt(&record.limits, account, ceiling, enforcement) {
                Outcome::Held(granted) => return Asked::Granted(granted),
                Outcome::Refused(refusal) => return Asked::Refused(refusal),
                Outcome::KeyIsFull | Outcome::TeamIsFull => {}
            }
        }
        let queued = state.line.join(Arc::clone(account), ceiling);
        // Some may be passed by, and windows may have rolled since anybody looked.
        state.serve(&record.limits, enforcement);
        queued.map_or(Asked::LineFull, |(ticket, answer)| Asked::Queued { ticket, answer })
    }

    /// Gives up a place in line, and what was granted to it if it was served in the meantime.
    pub(super) fn leave_line(
        &self,
        account: &Account,
        ticket: u64,
        answer: &mut oneshot::Receiver<Served>,
        ceiling: Money,
        enforcement: Enforcement,
    ) {
        let mut state = self.state();
        state.line.leave(ticket);
        if let Ok(Served::Granted(granted)) = answer.try_recv() {
            state.give_back(account, ceiling, granted);
        }
        state.serve(&self.record.load().limits, enforcement);
    }

    /// Ends the team's part of a hold at `cost` and serves the line; the key's part must have ended
    /// before. Returns the windows the cost belongs to.
    pub(super) fn settle(
        &self,
        starts: &Starts,
        amount: Money,
        cost: Money,
        enforcement: Enforcement,
    ) -> Starts {
        let mut state = self.state();
        state.open_holds -= 1;
        let counted = state.balance.settle(starts, amount, cost);
        state.serve(&self.record.load().limits, enforcement);
        counted
    }

    /// Posts a cost that was held by an earlier process.
    pub(super) fn post_foreign(&self, starts: &Starts, cost: Money) {
        self.state().balance.settle(starts, Money::ZERO, cost);
    }

    /// Serves the line after something else than a hold of the team made room.
    pub(super) fn serve(&self, enforcement: Enforcement) {
        let mut state = self.state();
        state.serve(&self.record.load().limits, enforcement);
    }

    /// Opens the windows of `now`, the team's and one waiting key's, and serves the line.
    pub(super) fn wake(
        &self,
        account: &Account,
        rule: &WindowRule,
        enforcement: Enforcement,
        now: Timestamp,
    ) {
        let mut state = self.state();
        let record = self.record.load();
        state.balance.roll(rule, record.created, now);
        account.state().balance.roll(rule, account.peek().created, now);
        state.serve(&record.limits, enforcement);
    }

    /// Sends the calls of a key away that has left the team.
    pub(super) fn send_away(&self, key: KeyId, enforcement: Enforcement) {
        let mut state = self.state();
        state.line.send_away(|account| account.id() == key);
        state.serve(&self.record.load().limits, enforcement);
    }

    /// Puts a changed record in force.
    pub(super) fn replace(&self, record: TeamRecord, enforcement: Enforcement) {
        self.record.store(Arc::new(record));
        self.serve(enforcement);
    }

    /// Moves to the windows of another rule; `spent` tells what was posted since an instant.
    pub(super) fn rebase(
        &self,
        rule: &WindowRule,
        now: Timestamp,
        spent: impl Fn(Timestamp) -> Result<Money, StoreError>,
    ) -> Result<(), StoreError> {
        let created = self.record.load().created;
        let windows = Period::ALL.map(|period| rule.window(period, created, now));
        let sums = sums_of(&windows, spent)?;
        self.state().balance.rebase(&windows, &sums);
        Ok(())
    }

    /// Where the team stands with each of its windows.
    pub fn standing(&self, rule: &WindowRule, now: Timestamp) -> [Standing; 3] {
        let record = self.record.load();
        let mut state = self.state();
        state.balance.roll(rule, record.created, now);
        standing(&state.balance, &record.limits)
    }

    /// Whether `amount` fits now, beside the holds there are.
    pub(super) fn has_room(&self, amount: Money, rule: &WindowRule, now: Timestamp) -> bool {
        let record = self.record.load();
        let mut state = self.state();
        state.balance.roll(rule, record.created, now);
        state.balance.free(&record.limits).is_none_or(|free| amount <= free)
    }

    /// When the first of the windows ends.
    pub(super) fn next_roll(&self) -> Timestamp {
        self.state().balance.next_roll()
    }

    /// How many calls of its keys are under way, and how many stand in line.
    pub fn in_flight(&self) -> (u64, usize) {
        let state = self.state();
        (state.open_holds, state.line.len())
    }
}

impl State {
    /// Holds `ceiling` for the key and for the team, or for neither.
    fn attempt(
        &mut self,
        limits: &Limits,
        account: &Account,
        ceiling: Money,
        enforcement: Enforcement,
    ) -> Outcome {
        let record = account.peek();
        let own = enforcement_of(&record, enforcement);
        let mut key = account.state();
        let by_key = key.balance.decide(&record.limits, own, ceiling);
        let by_team = self.balance.decide(limits, enforcement, ceiling);
        let refused = match (by_key, by_team) {
            // Whoever asks for less must not be turned away twice.
            (Verdict::TooLarge { left, .. }, Verdict::TooLarge { left: of_team, .. })
                if of_team < left =>
            {
                refusal(&self.balance, by_team)
            }
            (Verdict::Fits | Verdict::Waits | Verdict::TooLarge { .. }, Verdict::Spent(_)) => {
                refusal(&self.balance, by_team)
            }
            _ => refusal(&key.balance, by_key).or_else(|| refusal(&self.balance, by_team)),
        };
        if let Some(refusal) = refused {
            return Outcome::Refused(refusal);
        }
        if by_key == Verdict::Waits {
            return Outcome::KeyIsFull;
        }
        if by_team == Verdict::Waits {
            return Outcome::TeamIsFull;
        }
        key.open_holds += 1;
        self.open_holds += 1;
        let team = Some(self.balance.hold(ceiling));
        Outcome::Held(Granted { starts: key.balance.hold(ceiling), team })
    }

    fn give_back(&mut self, account: &Account, amount: Money, granted: Granted) {
        account.state().give_back(&granted.starts, amount);
        if let Some(starts) = granted.team {
            self.open_holds -= 1;
            self.balance.settle(&starts, amount, Money::ZERO);
        }
    }

    fn serve(&mut self, limits: &Limits, enforcement: Enforcement) {
        if self.line.is_empty() {
            return;
        }
        let mut line = std::mem::take(&mut self.line);
        // Who comes behind a call of the same key must not overtake it.
        let mut full: HashSet<KeyId> = HashSet::new();
        line.serve(
            self,
            |state, account, ceiling| {
                if full.contains(&account.id()) {
                    return Turn::Skipped;
                }
                match state.attempt(limits, account, ceiling, enforcement) {
                    Outcome::Held(granted) => Turn::Served(Served::Granted(granted)),
                    Outcome::Refused(refusal) => Turn::Served(Served::Turned(refusal)),
                    Outcome::TeamIsFull => Turn::Last,
                    Outcome::KeyIsFull => {
                        full.insert(account.id());
                        Turn::Skipped
                    }
                }
            },
            |state, account, ceiling, granted| state.give_back(account, ceiling, granted),
        );
        self.line = line;
    }
}
