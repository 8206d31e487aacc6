//! The arithmetic of limits: what an account has posted and on hold in each window, whether a call
//! fits, and how a hold ends. Pure decisions; who waits and what is written is the ledger's business.
//!
//! A call belongs to the windows it was held in. When a window has rolled on before the call ends,
//! its cost is history: the new window starts at nothing, which is what keeps the ceiling true.

use std::cmp::Ordering;

use super::adjustment::Correction;
use super::key::Limits;
use super::money::Money;
use super::window::{Period, Timestamp, Window, WindowRule};

/// Whether a limit holds money aside first, or only stops what comes after it was passed.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// `posted + held ≤ limit`, always.
    #[default]
    Hard,
    /// A call is admitted while `posted < limit`.
    Soft,
}

/// The windows a hold was made in, by their starts.
pub type Starts = [Timestamp; 3];

/// One window's money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spend {
    pub window: Window,
    pub posted: Money,
    pub held: Money,
    /// The start of the window that a change of rule replaced by this one: holds made in it count
    /// here.
    replaced: Option<Timestamp>,
}

/// What a limit says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fits,
    /// It would fit if other calls' holds ended at nothing.
    Waits,
    /// It is larger than what is left in this window, whatever the other calls do: `left` is the most
    /// it could be.
    TooLarge {
        left: Money,
        period: Period,
    },
    /// Nothing is left in this window.
    Spent(Period),
}

/// What is remembered of an account: what was posted in all, and of its latest windows where each
/// began and what was posted in it.
///
/// Charges and credits are sums of their own, so that it makes no difference in which order costs and
/// corrections come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// What calls cost since the key was made.
    pub total: Money,
    pub starts: Starts,
    /// What calls cost and what was charged besides.
    pub posted: [Money; 3],
    /// What was credited of that.
    pub credited: [Money; 3],
    /// The starts of the windows that a change of rule replaced by these: costs of calls held in them
    /// count here.
    pub replaced: [Option<Timestamp>; 3],
}

impl Remembered {
    /// Adds a cost to the windows it was held in; a later window takes an earlier one's place, and
    /// what belongs to an earlier one is history.
    pub fn post(&mut self, starts: &Starts, cost: Money) {
        self.total = self.total.saturating_add(cost);
        self.add(starts, &[cost; 3], &[Money::ZERO; 3]);
    }

    /// Adds a correction that changes `counted` in the windows `starts`.
    pub fn correct(&mut self, starts: &Starts, correction: Correction, counted: &[Money; 3]) {
        match correction {
            Correction::Charge(_) => self.add(starts, counted, &[Money::ZERO; 3]),
            Correction::Credit(_) => self.add(starts, &[Money::ZERO; 3], counted),
        }
    }

    fn add(&mut self, starts: &Starts, posted: &[Money; 3], credited: &[Money; 3]) {
        for period in Period::ALL.map(Period::index) {
            let is_replaced = self.replaced[period] == Some(starts[period]);
            let start = if is_replaced { self.starts[period] } else { starts[period] };
            if start > self.starts[period] {
                self.starts[period] = start;
                self.posted[period] = Money::ZERO;
                self.credited[period] = Money::ZERO;
                self.replaced[period] = None;
            }
            if start == self.starts[period] {
                self.posted[period] = self.posted[period].saturating_add(posted[period]);
                self.credited[period] = self.credited[period].saturating_add(credited[period]);
            }
        }
    }

    /// The most that can be posted in the windows `starts` without passing a limit; `None` if none of
    /// them is known to be limited. Of a window that is history nothing is known.
    pub fn left(&self, limits: &Limits, starts: &Starts) -> Option<Money> {
        let left = |period: Period| {
            let (limit, index) = (limits.get(period)?, period.index());
            match self.starts[index].cmp(&starts[index]) {
                Ordering::Less => Some(limit),
                Ordering::Equal => Some(limit.saturating_sub(self.spent(period))),
                Ordering::Greater => None,
            }
        };
        Period::ALL.into_iter().filter_map(left).min()
    }

    /// What counts against the limit of a window.
    pub const fn spent(&self, period: Period) -> Money {
        self.posted[period.index()].saturating_sub(self.credited[period.index()])
    }
}

/// An account's money in its three windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    spends: [Spend; 3],
    /// What calls cost since the key was made.
    total: Money,
}

impl Balance {
    /// The windows that `now` is in, with what is remembered of them. Where the clock has been set
    /// back since, they are the remembered ones: what was spent in them must not be forgotten.
    pub fn restore(
        remembered: &Remembered,
        rule: &WindowRule,
        anchor: Timestamp,
        now: Timestamp,
    ) -> Self {
        let mut balance = Self { total: remembered.total, ..Self::default() };
        for period in Period::ALL {
            let window = rule.window(period, anchor, now.max(remembered.starts[period.index()]));
            let spend = &mut balance.spends[period.index()];
            *spend = Spend { window, ..Spend::default() };
            if remembered.starts[period.index()] == window.start {
                spend.posted = remembered.spent(period);
                spend.replaced = remembered.replaced[period.index()];
            }
        }
        balance
    }

    pub const fn spend(&self, period: Period) -> &Spend {
        &self.spends[period.index()]
    }

    /// Opens the windows that `now` is in where those at hand are over. A clock that runs backwards
    /// opens nothing.
    pub fn roll(&mut self, rule: &WindowRule, anchor: Timestamp, now: Timestamp) {
        for period in Period::ALL {
            let spend = &mut self.spends[period.index()];
            if now >= spend.window.end {
                let window = rule.window(period, anchor, now);
                *spend = Spend { window, ..Spend::default() };
            }
        }
    }

    /// Moves to the windows of another rule, in which `spent` was posted already. Open holds go along.
    pub fn rebase(&mut self, windows: &[Window; 3], spent: &[Money; 3]) {
        for (index, spend) in self.spends.iter_mut().enumerate() {
            if spend.window != windows[index] {
                spend.replaced = Some(spend.window.start);
                spend.window = windows[index];
                spend.posted = spent[index];
            }
        }
    }

    /// What calls cost since the key was made.
    pub const fn total(&self) -> Money {
        self.total
    }

    /// Where the present windows begin.
    pub fn starts(&self) -> Starts {
        self.spends.map(|spend| spend.window.start)
    }

    /// What a correction changes in each of the present windows.
    pub fn weigh(&self, correction: Correction) -> [Money; 3] {
        self.spends.map(|spend| match correction {
            Correction::Charge(amount) => amount,
            Correction::Credit(amount) => amount.min(spend.posted),
        })
    }

    /// Makes a correction that was weighed in the windows `starts`.
    pub fn correct(&mut self, starts: &Starts, correction: Correction, counted: &[Money; 3]) {
        for (index, spend) in self.spends.iter_mut().enumerate() {
            if spend.window.start == starts[index] {
                spend.posted = match correction {
                    Correction::Charge(_) => spend.posted.saturating_add(counted[index]),
                    Correction::Credit(_) => spend.posted.saturating_sub(counted[index]),
                };
            }
        }
    }

    /// Moves to the windows of another rule, in which the store knows of what is `remembered`.
    pub fn move_to(&mut self, windows: &[Window; 3], remembered: &Remembered) {
        // Some of what was posted is not in the store's tables yet, or is not here yet.
        let ahead = self.total.saturating_sub(remembered.total);
        let behind = remembered.total.saturating_sub(self.total);
        let spent = Period::ALL
            .map(|period| remembered.spent(period).saturating_add(ahead).saturating_sub(behind));
        self.rebase(windows, &spent);
    }

    /// When the first of the windows ends.
    pub fn next_roll(&self) -> Timestamp {
        self.spends.iter().map(|spend| spend.window.end).min().unwrap_or_default()
    }

    /// What the limits say to a call of at most `ceiling`.
    pub fn decide(&self, limits: &Limits, enforcement: Enforcement, ceiling: Money) -> Verdict {
        let mut verdict = Verdict::Fits;
        for period in Period::ALL {
            let Some(limit) = limits.get(period) else { continue };
            let spend = self.spend(period);
            if spend.posted >= limit {
                return Verdict::Spent(period);
            }
            if enforcement == Enforcement::Soft {
                continue;
            }
            let left = limit.saturating_sub(spend.posted);
            let free = left.saturating_sub(spend.held);
            verdict = match verdict {
                Verdict::TooLarge { left: tightest, .. } if tightest <= left => verdict,
                _ if ceiling > left => Verdict::TooLarge { left, period },
                Verdict::Fits if ceiling > free => Verdict::Waits,
                earlier => earlier,
            };
        }
        verdict
    }

    /// Sets `amount` aside in all windows.
    pub fn hold(&mut self, amount: Money) -> Starts {
        for spend in &mut self.spends {
            spend.held = spend.held.saturating_add(amount);
        }
        self.starts()
    }

    /// Ends a hold of `amount` made in the windows `starts` at `cost`; at nothing for a void. Returns
    /// the windows that the cost belongs to.
    pub fn settle(&mut self, starts: &Starts, amount: Money, cost: Money) -> Starts {
        let mut counted = *starts;
        self.total = self.total.saturating_add(cost);
        for (spend, start) in self.spends.iter_mut().zip(&mut counted) {
            if spend.window.start == *start || spend.replaced == Some(*start) {
                spend.held = spend.held.saturating_sub(amount);
                spend.posted = spend.posted.saturating_add(cost);
                *start = spend.window.start;
            }
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 86_400_000;

    fn usd(nano: u64) -> Money {
        Money::from_nano(nano)
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn fresh() -> Balance {
        Balance::restore(&Remembered::default(), &WindowRule::Rolling, at(0), at(0))
    }

    fn daily(nano: u64) -> Limits {
        Limits { daily: Some(usd(nano)), ..Limits::default() }
    }

    #[test]
    fn each_answer_of_a_limit() {
        let mut balance = fresh();
        let starts = balance.hold(usd(40));
        balance.settle(&starts, usd(40), usd(30));
        balance.hold(usd(50));
        let decide = |ceiling| balance.decide(&daily(100), Enforcement::Hard, usd(ceiling));
        assert_eq!(decide(20), Verdict::Fits);
        assert_eq!(decide(21), Verdict::Waits);
        assert_eq!(decide(70), Verdict::Waits);
        assert_eq!(decide(71), Verdict::TooLarge { left: usd(70), period: Period::Daily });
        let spent = balance.decide(&daily(30), Enforcement::Hard, usd(0));
        assert_eq!(spent, Verdict::Spent(Period::Daily));
        let soft = balance.decide(&daily(31), Enforcement::Soft, usd(1_000));
        assert_eq!(soft, Verdict::Fits);
    }

    #[test]
    fn the_tightest_window_decides() {
        let balance = fresh();
        let limits = Limits { daily: Some(usd(50)), weekly: Some(usd(20)), monthly: Some(usd(90)) };
        let verdict = balance.decide(&limits, Enforcement::Hard, usd(60));
        assert_eq!(verdict, Verdict::TooLarge { left: usd(20), period: Period::Weekly });
        let none = Limits { monthly: Some(Money::ZERO), ..limits };
        let verdict = balance.decide(&none, Enforcement::Hard, usd(60));
        assert_eq!(verdict, Verdict::Spent(Period::Monthly));
    }

    #[test]
    fn a_cost_belongs_to_the_windows_of_its_hold() {
        let mut balance = fresh();
        let starts = balance.hold(usd(10));
        balance.roll(&WindowRule::Rolling, at(0), at(DAY));
        balance.settle(&starts, usd(10), usd(7));
        assert_eq!(balance.spend(Period::Daily).posted, usd(0));
        assert_eq!(balance.spend(Period::Daily).held, usd(0));
        assert_eq!(balance.spend(Period::Weekly).posted, usd(7));
    }

    #[test]
    fn open_holds_move_to_the_windows_of_a_new_rule() {
        let mut balance = fresh();
        let starts = balance.hold(usd(10));
        let windows = [Window { start: at(5), end: at(DAY) }; 3];
        balance.rebase(&windows, &[usd(3), usd(3), usd(3)]);
        let counted = balance.settle(&starts, usd(10), usd(7));
        assert_eq!(counted, [at(5); 3]);
        assert_eq!(balance.spend(Period::Daily).posted, usd(10));
        assert_eq!(balance.spend(Period::Daily).held, usd(0));
    }

    #[test]
    fn remembered_windows_give_way_to_later_ones() {
        let mut remembered = Remembered::default();
        remembered.post(&[at(DAY), at(0), at(0)], usd(1));
        remembered.post(&[at(DAY), at(0), at(0)], usd(2));
        remembered.post(&[at(0), at(0), at(0)], usd(4));
        assert_eq!(remembered.posted, [usd(3), usd(7), usd(7)]);
        let now = at(DAY + 1);
        let balance = Balance::restore(&remembered, &WindowRule::Rolling, at(0), now);
        assert_eq!(balance.spend(Period::Daily).posted, usd(3));
        let later = Balance::restore(&remembered, &WindowRule::Rolling, at(0), at(2 * DAY));
        assert_eq!(later.spend(Period::Daily).posted, usd(0));
        assert_eq!(later.spend(Period::Monthly).posted, usd(7));
    }

    #[test]
    fn a_clock_that_was_set_back_between_two_runs_forgets_nothing() {
        let mut remembered = Remembered::default();
        remembered.post(&[at(2 * DAY), at(0), at(0)], usd(3));
        let balance = Balance::restore(&remembered, &WindowRule::Rolling, at(0), at(DAY));
        assert_eq!(balance.spend(Period::Daily).posted, usd(3));
        assert_eq!(balance.spend(Period::Daily).window.start, at(2 * DAY));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Hold(u64),
        Post { which: usize, share: u64 },
        Void { which: usize },
        Pass(u64),
        Limit(Option<u64>, Option<u64>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1u64..200).prop_map(Step::Hold),
            4 => (any::<usize>(), 0u64..=100).prop_map(|(which, share)| Step::Post { which, share }),
            1 => any::<usize>().prop_map(|which| Step::Void { which }),
            1 => (0u64..3 * DAY).prop_map(Step::Pass),
            1 => (proptest::option::of(0u64..2_000), proptest::option::of(0u64..5_000))
                .prop_map(|(day, week)| Step::Limit(day, week)),
        ];
        proptest::collection::vec(step, 1..200)
    }

    /// A call as a naive book-keeper writes it down: when, and how much so far or in the end.
    struct Entry {
        held_at: Timestamp,
        amount: Money,
        open: Option<Starts>,
    }

    /// What a naive book-keeper finds in the window of `now` by adding up the whole list.
    fn naive(entries: &[Entry], period: Period, now: Timestamp, open: bool) -> Money {
        let window = WindowRule::Rolling.window(period, at(0), now);
        let counted =
            entries.iter().filter(|e| e.open.is_some() == open && window.contains(e.held_at));
        counted.fold(Money::ZERO, |sum, e| sum.saturating_add(e.amount))
    }

    proptest! {
        #[test]
        fn any_interleaving_keeps_the_ceiling_and_agrees_with_a_naive_list(steps in steps()) {
            let (mut balance, mut entries, mut now) = (fresh(), Vec::<Entry>::new(), at(0));
            let mut limits = daily(1_000);
            for step in steps {
                balance.roll(&WindowRule::Rolling, at(0), now);
                let open: Vec<usize> = (0..entries.len()).filter(|i| entries[*i].open.is_some()).collect();
                match step {
                    Step::Hold(amount) => {
                        let amount = usd(amount);
                        if balance.decide(&limits, Enforcement::Hard, amount) == Verdict::Fits {
                            let starts = balance.hold(amount);
                            entries.push(Entry { held_at: now, amount, open: Some(starts) });
                            for period in Period::ALL {
                                if let Some(limit) = limits.get(period) {
                                    let spend = balance.spend(period);
                                    prop_assert!(spend.posted.saturating_add(spend.held) <= limit);
                                }
                            }
                        }
                    }
                    Step::Post { which, share } if !open.is_empty() => {
                        let entry = &mut entries[open[which % open.len()]];
                        let cost = usd(entry.amount.nano() * share / 100);
                        let starts = entry.open.take().unwrap();
                        balance.settle(&starts, entry.amount, cost);
                        entry.amount = cost;
                    }
                    Step::Void { which } if !open.is_empty() => {
                        let entry = &mut entries[open[which % open.len()]];
                        let starts = entry.open.take().unwrap();
                        balance.settle(&starts, entry.amount, Money::ZERO);
                        entry.amount = Money::ZERO;
                    }
                    Step::Post { .. } | Step::Void { .. } => {}
                    Step::Pass(millis) => now = now.plus_millis(millis),
                    Step::Limit(day, week) => {
                        limits.daily = day.map(usd);
                        limits.weekly = week.map(usd);
                    }
                }
                balance.roll(&WindowRule::Rolling, at(0), now);
                for period in Period::ALL {
                    let spend = balance.spend(period);
                    prop_assert_eq!(spend.posted, naive(&entries, period, now, false));
                    prop_assert_eq!(spend.held, naive(&entries, period, now, true));
                }
            }
        }
    }
}
