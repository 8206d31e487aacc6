//! One key's account: its record, its balance behind one short lock, and its waiting line.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::line::{Line, Served};
use crate::domain::budget::{Balance, Enforcement, Remembered, Starts, Verdict};
use crate::domain::key::{KeyId, KeyRecord, Limits};
use crate::domain::money::Money;
use crate::domain::window::{Period, Timestamp, WindowRule};
use crate::store::StoreError;

struct State {
    balance: Balance,
    line: Line,
    open_holds: u64,
}

/// A key and its money.
pub struct Account {
    id: KeyId,
    record: ArcSwap<KeyRecord>,
    state: Mutex<State>,
}

/// Where a key stands with one of its windows.
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

/// The answer to a call that asks for money.
pub(super) enum Asked {
    Granted(Starts),
    Queued { ticket: u64, answer: oneshot::Receiver<Served> },
    LineFull,
    Refused(Verdict),
}

impl Account {
    pub(super) fn new(
        record: KeyRecord,
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

    pub const fn id(&self) -> KeyId {
        self.id
    }

    pub fn record(&self) -> Arc<KeyRecord> {
        self.record.load_full()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is a few integer operations that cannot stop half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for `ceiling`, in one critical section over all windows. Whoever would have to wait
    /// stands in line, and whoever comes while others stand there stands behind them.
    pub(super) fn ask(
        &self,
        ceiling: Money,
        rule: &WindowRule,
        enforcement: Enforcement,
        now: Timestamp,
    ) -> Asked {
        let record = self.record.load();
        let mut state = self.state();
        state.balance.roll(rule, record.created, now);
        let verdict = state.balance.decide(&record.limits, enforcement, ceiling);
        let must_queue = match verdict {
            Verdict::Fits => !state.line.is_empty() && record.limits.any(),
            Verdict::Waits => true,
            Verdict::TooLarge { .. } | Verdict::Spent(_) => return Asked::Refused(verdict),
        };
        if !must_queue {
            state.open_holds += 1;
            return Asked::Granted(state.balance.hold(ceiling));
        }
        let queued = state.line.join(ceiling);
        // The line may have been standing still only because nobody had come by since a window
        // rolled.
        state.serve(&record.limits, enforcement);
        queued.map_or(Asked::LineFull, |(ticket, answer)| Asked::Queued { ticket, answer })
    }

    /// Gives up a place in line, and what was granted to it if it was served in the meantime.
    pub(super) fn leave_line(
        &self,
        ticket: u64,
        answer: &mut oneshot::Receiver<Served>,
        ceiling: Money,
        enforcement: Enforcement,
    ) {
        let record = self.record.load();
        let mut state = self.state();
        state.line.leave(ticket);
        if let Ok(Served::Granted(starts)) = answer.try_recv() {
            state.open_holds -= 1;
            state.balance.settle(&starts, ceiling, Money::ZERO);
        }
        state.serve(&record.limits, enforcement);
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
    ) {
        let record = self.record.load();
        let mut state = self.state();
        state.open_holds -= 1;
        state.balance.settle(starts, amount, cost);
        state.serve(&record.limits, enforcement);
    }

    /// Posts a cost that was held by an earlier process.
    pub(super) fn post_foreign(&self, starts: &Starts, cost: Money) {
        self.state().balance.settle(starts, Money::ZERO, cost);
    }

    /// Opens the windows of `now` and serves the line, which may have been waiting for just that.
    pub(super) fn wake(&self, rule: &WindowRule, enforcement: Enforcement, now: Timestamp) {
        let record = self.record.load();
        let mut state = self.state();
        state.balance.roll(rule, record.created, now);
        state.serve(&record.limits, enforcement);
    }

    /// Puts a changed record in force.
    pub(super) fn replace(&self, record: KeyRecord, enforcement: Enforcement) {
        let limits = record.limits;
        self.record.store(Arc::new(record));
        self.state().serve(&limits, enforcement);
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
        let mut sums = [Money::ZERO; 3];
        for (sum, window) in sums.iter_mut().zip(&windows) {
            *sum = spent(window.start)?;
        }
        self.state().balance.rebase(&windows, &sums);
        Ok(())
    }

    /// Where the key stands with each of its windows.
    pub fn standing(&self, rule: &WindowRule, now: Timestamp) -> [Standing; 3] {
        let record = self.record.load();
        let mut state = self.state();
        state.balance.roll(rule, record.created, now);
        Period::ALL.map(|period| {
            let spend = state.balance.spend(period);
            let limit = record.limits.get(period);
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

    /// When the first of the windows ends.
    pub(super) fn next_roll(&self) -> Timestamp {
        self.state().balance.next_roll()
    }

    /// When the present window of `period` ends.
    pub(super) fn window_end(&self, period: Period) -> Timestamp {
        self.state().balance.spend(period).window.end
    }

    /// What is on hold in the widest window.
    pub fn held(&self) -> Money {
        self.state().balance.spend(Period::Monthly).held
    }

    /// How many of its calls are under way, and how many stand in line.
    pub fn in_flight(&self) -> (u64, usize) {
        let state = self.state();
        (state.open_holds, state.line.len())
    }
}

impl State {
    fn serve(&mut self, limits: &Limits, enforcement: Enforcement) {
        if self.line.is_empty() {
            return;
        }
        let Self { balance, line, open_holds } = self;
        line.serve(
            &mut (balance, open_holds),
            |(balance, open_holds), ceiling| match balance.decide(limits, enforcement, ceiling) {
                Verdict::Fits => {
                    **open_holds += 1;
                    Some(Served::Granted(balance.hold(ceiling)))
                }
                Verdict::Waits => None,
                turned @ (Verdict::TooLarge { .. } | Verdict::Spent(_)) => {
                    Some(Served::Turned(turned))
                }
            },
            |(balance, open_holds), ceiling, starts| {
                **open_holds -= 1;
                balance.settle(&starts, ceiling, Money::ZERO);
            },
        );
    }
}
