//! One key's account: its record, its balance behind one short lock, and its waiting line.
//!
//! The calls of a key in a team are admitted by the team, which locks itself first and then the key:
//! in that order always, and never two keys at once, so nobody waits in a circle.

use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::oneshot;

use super::cover::Cover;
use super::hold::Refusal;
use super::line::{Granted, Line, Served};
use super::purse::{Funds, Purse, Settled, Standing, refusal};
use super::team::Team;
use super::traffic::Traffic;
use crate::domain::adjustment::Correction;
use crate::domain::budget::{Enforcement, Remembered, Starts, Verdict};
use crate::domain::key::{KeyId, KeyRecord, Limits};
use crate::domain::money::Money;
use crate::domain::window::{Timestamp, WindowRule};

/// A key and its money.
pub struct Account {
    id: KeyId,
    record: ArcSwap<KeyRecord>,
    team: ArcSwapOption<Team>,
    purse: Purse<Line>,
    cover: Cover,
    pub(super) traffic: Mutex<Traffic>,
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
    /// It would have to wait, which it must not: because others wait before it, if it `fits` by itself.
    Busy {
        fits: bool,
    },
    /// The key is in another team than was thought, or in none: ask there.
    Elsewhere,
}

/// How a call asks for money.
pub(super) struct Asking<'a> {
    pub(super) ceiling: Money,
    pub(super) rule: &'a WindowRule,
    pub(super) enforcement: Enforcement,
    pub(super) now: Timestamp,
    /// Where it would have to wait, it stands in line.
    pub(super) may_wait: bool,
}

/// How a key's own limits are applied.
pub(super) fn enforcement_of(record: &KeyRecord, general: Enforcement) -> Enforcement {
    record.controls.enforcement.unwrap_or(general)
}

impl Account {
    pub(super) fn new(
        record: KeyRecord,
        team: Option<Arc<Team>>,
        remembered: &Remembered,
        rule: &WindowRule,
        now: Timestamp,
    ) -> Self {
        Self {
            id: record.id,
            purse: Purse::new(record.created, remembered, rule, now),
            record: ArcSwap::from_pointee(record),
            team: ArcSwapOption::new(team),
            cover: Cover::default(),
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

    /// Whether any limit of its team's bounds what the key may spend.
    pub fn is_limited_by_team(&self) -> bool {
        self.team.load().as_ref().is_some_and(|team| team.record().limits.any())
    }

    pub(super) const fn cover(&self) -> &Cover {
        &self.cover
    }

    pub(super) const fn purse(&self) -> &Purse<Line> {
        &self.purse
    }

    /// Asks for money, in one critical section over all windows, for a key without a team. Whoever would
    /// have to wait stands in line, and whoever comes while others stand there stands behind them.
    pub(super) fn ask(&self, asking: &Asking<'_>) -> Asked {
        let Asking { ceiling, rule, enforcement, now, may_wait } = *asking;
        let mut funds = self.purse.lock_at(rule, now);
        if self.team.load().is_some() {
            return Asked::Elsewhere;
        }
        let record = self.record.load();
        let own = enforcement_of(&record, enforcement);
        let verdict = funds.balance.decide(&record.limits, own, ceiling);
        let must_queue = match verdict {
            Verdict::Fits => !funds.line.is_empty() && record.limits.any(),
            Verdict::Waits => true,
            Verdict::TooLarge { .. } | Verdict::Spent(_) => false,
        };
        if let Some(refusal) = refusal(&funds.balance, verdict) {
            return Asked::Refused(refusal);
        }
        if !must_queue {
            let starts = funds.hold(ceiling);
            return Asked::Granted(Granted { starts, team: None });
        }
        if !may_wait {
            return Asked::Busy { fits: verdict == Verdict::Fits };
        }
        let ticket = funds.draw_ticket();
        let queued = funds.line.join(ticket, ceiling);
        // The line may have been standing still only because nobody had come by since a window
        // rolled.
        funds.serve(&record.limits, own);
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
        let mut funds = self.purse.lock();
        funds.line.leave(ticket);
        if let Ok(Served::Granted(granted)) = answer.try_recv() {
            funds.give_back(&granted.starts, ceiling);
        }
        self.serve(&mut funds, enforcement);
    }

    /// Ends a hold at `cost` and serves the line.
    pub(super) fn settle(
        &self,
        starts: &Starts,
        amount: Money,
        cost: Money,
        enforcement: Enforcement,
    ) -> Settled {
        let mut funds = self.purse.lock();
        let settled = funds.settle(starts, amount, cost);
        self.serve(&mut funds, enforcement);
        settled
    }

    /// Opens the windows of `now` and serves the line, which may have been waiting for just that.
    pub(super) fn wake(&self, rule: &WindowRule, enforcement: Enforcement, now: Timestamp) {
        let mut funds = self.purse.lock_at(rule, now);
        self.serve(&mut funds, enforcement);
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
        let mut funds = self.purse.lock();
        if !is_same {
            funds.line.send_away();
        }
        self.serve(&mut funds, enforcement);
        drop(funds);
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
            (None, Some(_)) => self.serve(&mut self.purse.lock(), enforcement),
            (Some(present), Some(served)) if std::ptr::eq(served, Arc::as_ptr(&present)) => {}
            (Some(present), _) => present.serve(enforcement),
        }
    }

    fn serve(&self, funds: &mut Funds<Line>, enforcement: Enforcement) {
        if funds.line.is_empty() {
            return;
        }
        let record = self.record.load();
        funds.serve(&record.limits, enforcement_of(&record, enforcement));
    }

    /// Makes a correction that was weighed and is in the store, and serves the line.
    pub(super) fn correct(
        &self,
        (starts, counted): &(Starts, [Money; 3]),
        correction: Correction,
        enforcement: Enforcement,
    ) {
        let mut funds = self.purse.lock();
        funds.balance.correct(starts, correction, counted);
        self.serve(&mut funds, enforcement);
    }

    /// Where the key stands with each of its windows.
    pub fn standing(&self, rule: &WindowRule, now: Timestamp) -> [Standing; 3] {
        self.purse.standing(&self.record.load().limits, rule, now)
    }

    /// What is set aside for its calls.
    pub fn held(&self) -> Money {
        self.purse.held()
    }

    /// How many of its calls are under way, and how many stand in its own line.
    pub fn in_flight(&self) -> (u64, usize) {
        let funds = self.purse.lock();
        (funds.open_holds, funds.line.len())
    }
}

impl Funds<Line> {
    fn serve(&mut self, limits: &Limits, enforcement: Enforcement) {
        while let Some((_, ceiling)) = self.line.first() {
            let verdict = self.balance.decide(limits, enforcement, ceiling);
            let served = match refusal(&self.balance, verdict) {
                Some(refusal) => Served::Turned(refusal),
                None if verdict == Verdict::Waits => return,
                None => {
                    let starts = self.hold(ceiling);
                    Served::Granted(Granted { starts, team: None })
                }
            };
            if let Some(granted) = self.line.serve_first(served) {
                self.give_back(&granted.starts, ceiling);
            }
        }
    }
}
