//! What a key and a team have in common: a balance behind one short lock, a line that changes in the
//! same instant, and where they stand with their limits.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::hold::Refusal;
use crate::domain::adjustment::Correction;
use crate::domain::budget::{Balance, Remembered, Spend, Starts, Verdict};
use crate::domain::key::Limits;
use crate::domain::money::Money;
use crate::domain::window::{Period, Timestamp, WindowRule};

/// A balance and whoever waits for it; `L` is the line.
pub(super) struct Purse<L> {
    /// When its owner was made, which is where windows begin that follow one another.
    created: Timestamp,
    funds: Mutex<Funds<L>>,
}

/// What changes together.
pub(super) struct Funds<L> {
    pub(super) balance: Balance,
    pub(super) line: L,
    tickets: u64,
    pub(super) open_holds: u64,
}

/// Where a key or a team stands with one of its windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
    starts: Starts,
    spends: [Spend; 3],
}

/// A share of a limit that has been passed.
pub(super) struct Passed {
    pub(super) period: Period,
    pub(super) percent: u64,
    pub(super) limit: Money,
    pub(super) spend: Spend,
}

impl<L: Default> Purse<L> {
    /// The purse of somebody made at `created`, with what the store remembers of it.
    pub(super) fn new(
        created: Timestamp,
        remembered: &Remembered,
        rule: &WindowRule,
        now: Timestamp,
    ) -> Self {
        let balance = Balance::restore(remembered, rule, created, now);
        let funds = Funds { balance, line: L::default(), tickets: 0, open_holds: 0 };
        Self { created, funds: Mutex::new(funds) }
    }
}

impl<L> Purse<L> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Funds<L>> {
        // Every change under the lock is a few integer operations that cannot stop half-way.
        self.funds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locked, with the windows of `now` open.
    pub(super) fn lock_at(&self, rule: &WindowRule, now: Timestamp) -> MutexGuard<'_, Funds<L>> {
        let mut funds = self.lock();
        funds.balance.roll(rule, self.created, now);
        funds
    }

    pub(super) const fn created(&self) -> Timestamp {
        self.created
    }

    /// The windows that the cost of a hold made in the windows `starts` belongs to.
    pub(super) fn windows_of(&self, starts: &Starts) -> Starts {
        // On a copy: nothing is given back yet.
        let mut balance = self.balance();
        balance.settle(starts, Money::ZERO, Money::ZERO)
    }

    /// Posts a cost that was held by an earlier process.
    pub(super) fn post_foreign(&self, starts: &Starts, cost: Money) {
        self.lock().balance.settle(starts, Money::ZERO, cost);
    }

    /// Moves to the windows of another rule, in which the store knows of what is `remembered`.
    pub(super) fn rebase(&self, rule: &WindowRule, now: Timestamp, remembered: &Remembered) {
        let windows = Period::ALL.map(|period| rule.window(period, self.created, now));
        self.lock().balance.move_to(&windows, remembered);
    }

    /// Where the present windows begin.
    pub(super) fn starts(&self) -> Starts {
        self.lock().balance.starts()
    }

    /// The windows of `now`, and what a correction changes in each.
    pub(super) fn weigh(
        &self,
        correction: Correction,
        rule: &WindowRule,
        now: Timestamp,
    ) -> (Starts, [Money; 3]) {
        let funds = self.lock_at(rule, now);
        (funds.balance.starts(), funds.balance.weigh(correction))
    }

    /// The balance as it is at this instant.
    pub(super) fn balance(&self) -> Balance {
        self.lock().balance
    }

    /// Where its owner, who has these limits, stands with each window.
    pub(super) fn standing(
        &self,
        limits: &Limits,
        rule: &WindowRule,
        now: Timestamp,
    ) -> [Standing; 3] {
        let balance = self.lock_at(rule, now).balance;
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

    /// When the first of the windows ends.
    pub(super) fn next_roll(&self) -> Timestamp {
        self.lock().balance.next_roll()
    }

    /// What is on hold in the widest window.
    pub(super) fn held(&self) -> Money {
        self.lock().balance.spend(Period::Monthly).held
    }
}

impl<L> Funds<L> {
    /// A place in line; tickets grow.
    pub(super) const fn draw_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Sets `amount` aside for a call.
    pub(super) fn hold(&mut self, amount: Money) -> Starts {
        self.open_holds += 1;
        self.balance.hold(amount)
    }

    /// Ends a hold at `cost`.
    pub(super) fn settle(&mut self, starts: &Starts, amount: Money, cost: Money) -> Settled {
        self.open_holds -= 1;
        let starts = self.balance.settle(starts, amount, cost);
        Settled { starts, spends: Period::ALL.map(|period| *self.balance.spend(period)) }
    }

    /// Takes back what was set aside for a call that will not be made.
    pub(super) fn give_back(&mut self, starts: &Starts, amount: Money) {
        self.settle(starts, amount, Money::ZERO);
    }
}

impl Settled {
    /// Which shares of `limits` the cost that was settled passed: the highest of `shares`, which
    /// ascend, in each window.
    pub(super) fn passed(&self, limits: &Limits, cost: Money, shares: &[u64]) -> Vec<Passed> {
        let passed = |period: Period| {
            let (limit, spend) = (limits.get(period)?, self.spends[period.index()]);
            if self.starts[period.index()] != spend.window.start {
                return None;
            }
            let after = Money::percent_of(spend.posted, limit);
            let before = Money::percent_of(spend.posted.saturating_sub(cost), limit);
            let share = shares.iter().rev().find(|share| before < **share && **share <= after);
            Some(Passed { period, percent: *share?, limit, spend })
        };
        Period::ALL.into_iter().filter_map(passed).collect()
    }
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
