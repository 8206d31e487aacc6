//! One key's account: its record, its balance behind one short lock, and its waiting line.
//!
//! The calls of a key in a team are admitted by the team, which locks itself first and then the key:
//! in that order always, and never two keys at once, so nobody waits in a circle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::hold::Refusal;
use super::line::{Granted, Line, Served};
use super::team::Team;
use super::traffic::Traffic;
use crate::domain::adjustment::Correction;
use crate::domain::budget::{Balance, Enforcement, Remembered, Spend, Starts, Verdict};
use crate::domain::key::{KeyId, KeyRecord, Limits};
use crate::domain::money::Money;
use crate::domain::window::{Period, Timestamp, WindowRule};

pub(super) struct State {
    pub(super) balance: Balance,
    line: Line,
    tickets: u64,
    pub(super) open_holds: u64,
}

/// A key and its money.
pub struct Account {
    id: KeyId,
    record: ArcSwap<KeyRecord>,
    team: ArcSwapOption<Team>,
    state: Mutex<State>,
    pub(super) traffic: Mutex<Traffic>,
}

/// Where a key or a team stands with one of its windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub period: Period,
    pub limit: Option<Money>,
    pub spent: Money,
    pub held: Money,
    /// What is left of the limit beside what is spent and held.
    pub remaining: Option<Money>,
    pub resets_at: Timestamp,
}

/// What settling a hold left behind, seen in the same instant.
pub(super) struct Settled {
    /// The windows that the cost belongs to.
    pub(super) starts: Starts,
    pub(super) spends: [Spend; 3],
}

/// A share of a limit that has been passed.
pub(super) struct Passed {
    pub(super) period: Period,
    pub(super) percent: u64,
    pub(super) limit: Money,
    pub(super) spend: Spend,
}

/// The answer to a call that asks for money.
pub(super) enum Asked {
    Granted(Granted),
    Queued {
        ticket: u64,
        answer: oneshot::Receiver<Served>,
    },
    LineFull,
    Refused(Refusal),
    /// The key has just changed its team: ask there.
    Elsewhere,
}

/// How a key's own limits are applied.
pub(super) fn enforcement_of(record: &KeyRecord, general: Enforcement) -> Enforcement {
    record.controls.enforcement.unwrap_or(general)
}

/// What a verdict that no waiting will change says to the caller.
pub(super) fn refusal(balance: &Balance, verdict: Verdict) -> Option<Refusal> {
    let resets_at = |period| balance.spend(period).window.end;
    match verdict {
        Verdict::TooLarge { left, period } => {
            Some(Refusal::TooLarge { left, period, resets_at: resets_at(period) })
        }
        Verdict::Spent(period) => Some(Refusal::Spent { period, resets_at: resets_at(period) }),
        Verdict::Fits | Verdict::Waits => None,
    }
}

/// Where somebody with these limits stands.
pub(super) fn standing(balance: &Balance, limits: &Limits) -> [Standing; 3] {
    Period::ALL.map(|period| {
        let spend = balance.spend(period);
        let limit = limits.get(period);
        let taken = spend.posted.saturating_add(spend.held);
        Standing {
            period,
            limit,
            spent: spend.posted,
            held: spend.held,
            remaining: limit.map(|limit| limit.saturating_sub(taken)),
            resets_at: spend.window.end,
        }
    })
}

impl Account {
    pub(super) fn new(
        record: KeyRecord,
        team: Option<Arc<Team>>,
        remembered: &Remembered,
        rule: &WindowRule,
        now: Timestamp,
    ) -> Self {
        let balance = Balance::restore(remembered, rule, record.created, now);
        Self {
            id: record.id,
            record: ArcSwap::from_pointee(record),
            team: ArcSwapOption::new(team),
            state: Mutex::new(State { balance, line: Line::default(), tickets: 0, open_holds: 0 }),
            traffic: Mutex::default(),
        }
    }

    pub const fn id(&self) -> KeyId {
        self.id
    }

    pub fn record(&self) -> Arc<KeyRecord> {
        self.record.load_full()
    }

    pub(super) fn peek(&self) -> arc_swap::Guard<Arc<KeyRecord>> {
        self.record.load()
    }

    pub fn team(&self) -> Option<Arc<Team>> {
        self.team.load_full()
    }

    pub(super) fn is_in(&self, team: &Team) -> bool {
        self.team.load().as_ref().is_some_and(|own| std::ptr::eq(Arc::as_ptr(own), team))
    }

    /// Whether any limit, its own or its team's, bounds what the key may spend.
    pub fn is_limited(&self) -> bool {
        self.record.load().limits.any()
            || self.team.load().as_ref().is_some_and(|team| team.record().limits.any())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is a few integer operations that cannot stop half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for `ceiling`, in one critical section over all windows, for a key without a team.
    /// Whoever would have to wait stands in line, and whoever comes while others stand there stands
    /// behind them.
    pub(super) fn ask(
        &self,
        ceiling: Money,
        rule: &WindowRule,
        enforcement: Enforcement,
        now: Timestamp,
    ) -> Asked {
        let mut state = self.state();
        if self.team.load().is_some() {
            return Asked::Elsewhere;
        }
        let record = self.record.load();
        let own = enforcement_of(&record, enforcement);
        state.balance.roll(rule, record.created, now);
        let verdict = state.balance.decide(&record.limits, own, ceiling);
        let must_queue = match verdict {
            Verdict::Fits => !state.line.is_empty() && record.limits.any(),
            Verdict::Waits => true,
            Verdict::TooLarge { .. } | Verdict::Spent(_) => false,
        };
        if let Some(refusal) = refusal(&state.balance, verdict) {
            return Asked::Refused(refusal);
        }
        if !must_queue {
            state.open_holds += 1;
            let starts = state.balance.hold(ceiling);
            return Asked::Granted(Granted { starts, team: None });
        }
        state.tickets += 1;
        let ticket = state.tickets;
        let queued = state.line.join(ticket, ceiling);
        // The line may have been standing still only because nobody had come by since a window
        // rolled.
        state.serve(&record.limits, own);
        queued.map_or(Asked::LineFull, |answer| Asked::Queued { ticket, answer })
    }

    /// Gives up a place in line, and what was granted to it if it was served in the meantime.
    pub(super) fn leave_line(
        &self,
        ticket: u64,
        answer: &mut oneshot::Receiver<Served>,
        ceiling: Money,
        enforcement: Enforcement,
    ) {
        let mut state = self.state();
        state.line.leave(ticket);
        if let Ok(Served::Granted(granted)) = answer.try_recv() {
            state.give_back(&granted.starts, ceiling);
        }
        self.serve(&mut state, enforcement);
    }

    /// The windows that the cost of a hold made in the windows `starts` belongs to.
    pub(super) fn windows_of(&self, starts: &Starts) -> Starts {
        // On a copy: nothing is given back yet.
        let mut balance = self.state().balance;
        balance.settle(starts, Money::ZERO, Money::ZERO)
    }

    /// Ends a hold at `cost` and serves the line.
    pub(super) fn settle(
        &self,
        starts: &Starts,
        amount: Money,
        cost: Money,
        enforcement: Enforcement,
    ) -> Settled {
        let mut state = self.state();
        state.open_holds -= 1;
        let starts = state.balance.settle(starts, amount, cost);
        let spends = Period::ALL.map(|period| *state.balance.spend(period));
        self.serve(&mut state, enforcement);
        Settled { starts, spends }
    }

    /// Which shares of the key's limits a cost that has just been settled passed: the highest of
    /// `shares`, which ascend, in each window.
    pub(super) fn passed(&self, settled: &Settled, cost: Money, shares: &[u64]) -> Vec<Passed> {
        let limits = self.record.load().limits;
        let passed = |period: Period| {
            let (limit, spend) = (limits.get(period)?, settled.spends[period.index()]);
            if settled.starts[period.index()] != spend.window.start {
                return None;
            }
            let after = Money::percent_of(spend.posted, limit);
            let before = Money::percent_of(spend.posted.saturating_sub(cost), limit);
            let share = shares.iter().rev().find(|share| before < **share && **share <= after);
            Some(Passed { period, percent: *share?, limit, spend })
        };
        Period::ALL.into_iter().filter_map(passed).collect()
    }

    /// Posts a cost that was held by an earlier process.
    pub(super) fn post_foreign(&self, starts: &Starts, cost: Money) {
        self.state().balance.settle(starts, Money::ZERO, cost);
    }

    /// Opens the windows of `now` and serves the line, which may have been waiting for just that.
    pub(super) fn wake(&self, rule: &WindowRule, enforcement: Enforcement, now: Timestamp) {
        let created = self.record.load().created;
        let mut state = self.state();
        state.balance.roll(rule, created, now);
        self.serve(&mut state, enforcement);
    }

    /// Puts a changed record in force, and has those who wait do so where that is right now.
    pub(super) fn replace(
        &self,
        record: KeyRecord,
        team: Option<Arc<Team>>,
        enforcement: Enforcement,
    ) {
        self.record.store(Arc::new(record));
        let before = self.team.swap(team.clone());
        let is_same = match (&before, &team) {
            (None, None) => true,
            (Some(before), Some(team)) => Arc::ptr_eq(before, team),
            (None, Some(_)) | (Some(_), None) => false,
        };
        // Who asks locks the line before looking at the team: each either stood here before, and is
        // sent away now, or finds the new one.
        let mut state = self.state();
        if !is_same {
            state.line.send_away();
        }
        self.serve(&mut state, enforcement);
        drop(state);
        if let Some(before) = before.filter(|_| !is_same) {
            before.send_away(self.id, enforcement);
        }
        if let Some(team) = team {
            team.serve(enforcement);
        }
    }

    /// Serves the line that the key's calls stand in now, unless that is the one of `served`: a key may
    /// have moved while money of it was held.
    pub(super) fn serve_elsewhere(&self, served: Option<&Team>, enforcement: Enforcement) {
        match (self.team(), served) {
            (None, None) => {}
            (None, Some(_)) => self.serve(&mut self.state(), enforcement),
            (Some(present), Some(served)) if std::ptr::eq(served, Arc::as_ptr(&present)) => {}
            (Some(present), _) => present.serve(enforcement),
        }
    }

    fn serve(&self, state: &mut State, enforcement: Enforcement) {
        if state.line.is_empty() {
            return;
        }
        let record = self.record.load();
        state.serve(&record.limits, enforcement_of(&record, enforcement));
    }

    /// Moves to the windows of another rule, in which the store knows of what is `remembered`.
    pub(super) fn rebase(&self, rule: &WindowRule, now: Timestamp, remembered: &Remembered) {
        let created = self.record.load().created;
        let windows = Period::ALL.map(|period| rule.window(period, created, now));
        self.state().balance.move_to(&windows, remembered);
    }

    /// Where the present windows begin.
    pub(super) fn starts(&self) -> Starts {
        self.state().balance.starts()
    }

    /// The windows of `now`, and what a correction changes in each.
    pub(super) fn weigh(
        &self,
        correction: Correction,
        rule: &WindowRule,
        now: Timestamp,
    ) -> (Starts, [Money; 3]) {
        let created = self.record.load().created;
        let mut state = self.state();
        state.balance.roll(rule, created, now);
        (state.balance.starts(), state.balance.weigh(correction))
    }

    /// Makes a correction that was weighed and is in the store, and serves the line.
    pub(super) fn correct(
        &self,
        (starts, counted): &(Starts, [Money; 3]),
        correction: Correction,
        enforcement: Enforcement,
    ) {
        let mut state = self.state();
        state.balance.correct(starts, correction, counted);
        self.serve(&mut state, enforcement);
    }

    /// The balance as it is at this instant.
    pub(super) fn balance(&self) -> Balance {
        self.state().balance
    }

    /// Where the key stands with each of its windows.
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

    /// What is on hold in the widest window.
    pub fn held(&self) -> Money {
        self.state().balance.spend(Period::Monthly).held
    }

    /// How many of its calls are under way, and how many stand in its own line.
    pub fn in_flight(&self) -> (u64, usize) {
        let state = self.state();
        (state.open_holds, state.line.len())
    }
}

impl State {
    /// Takes back what was set aside for a call that will not be made.
    pub(super) fn give_back(&mut self, starts: &Starts, amount: Money) {
        self.open_holds -= 1;
        self.balance.settle(starts, amount, Money::ZERO);
    }

    fn serve(&mut self, limits: &Limits, enforcement: Enforcement) {
        while let Some((_, ceiling)) = self.line.first() {
            let verdict = self.balance.decide(limits, enforcement, ceiling);
            let served = match refusal(&self.balance, verdict) {
                Some(refusal) => Served::Turned(refusal),
                None if verdict == Verdict::Waits => return,
                None => {
                    self.open_holds += 1;
                    let starts = self.balance.hold(ceiling);
                    Served::Granted(Granted { starts, team: None })
                }
            };
            if let Some(granted) = self.line.serve_first(served) {
                self.give_back(&granted.starts, ceiling);
            }
        }
    }
}
