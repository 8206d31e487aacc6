//! A team's account: what its keys spend together, and the lines of their calls.
//!
//! A call of a key in a team is decided under two locks, the team's and then the key's, so that it is
//! held in all windows of both or in none. The calls of its keys wait at the team, a line for each
//! key, and who came first is served first over all lines: one that only its own key keeps back is
//! passed by, one that the team keeps back is not. Whatever frees money of the team or of one of its
//! keys must serve these lines afterwards.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::account::{Account, Asked, Asking, enforcement_of};
use super::hold::Refusal;
use super::line::{Granted, Line, Served};
use super::purse::{Funds, Purse, Settled, Standing, refusal};
use crate::domain::adjustment::Correction;
use crate::domain::budget::{Enforcement, Remembered, Starts, Verdict};
use crate::domain::key::{KeyId, Limits};
use crate::domain::money::Money;
use crate::domain::team::{TeamId, TeamRecord};
use crate::domain::window::{Timestamp, WindowRule};

/// Of the keys whose calls wait. Tickets are drawn for all of them, so that their order over all is
/// known.
type Lines = HashMap<KeyId, (Arc<Account>, Line)>;

/// A team and its money.
pub struct Team {
    id: TeamId,
    record: ArcSwap<TeamRecord>,
    purse: Purse<Lines>,
}

/// What the limits of a key and of its team say to a call together.
enum Outcome {
    Held(Granted),
    /// It would be held.
    Fits,
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
        Self {
            id: record.id,
            purse: Purse::new(record.created, remembered, rule, now),
            record: ArcSwap::from_pointee(record),
        }
    }

    pub const fn id(&self) -> TeamId {
        self.id
    }

    pub fn record(&self) -> Arc<TeamRecord> {
        self.record.load_full()
    }

    pub(super) const fn purse(&self) -> &Purse<Lines> {
        &self.purse
    }

    /// Asks for money for a call of `account`, as [`Account::ask`].
    pub(super) fn ask(&self, account: &Arc<Account>, asking: &Asking<'_>) -> Asked {
        let Asking { ceiling, rule, enforcement, now, may_wait } = *asking;
        let mut funds = self.purse.lock();
        if !account.is_in(self) {
            return Asked::Elsewhere;
        }
        let record = self.record.load();
        let has_rolled = funds.roll(self.purse.created(), account, rule, now);
        let outcome = if funds.line.is_empty() {
            funds.attempt(&record.limits, account, ceiling, enforcement)
        } else {
            funds.judge(&record.limits, account, &account.purse().lock(), ceiling, enforcement)
        };
        let fits = match outcome {
            Outcome::Held(granted) => return Asked::Granted(granted),
            Outcome::Refused(refusal) => return Asked::Refused(refusal),
            Outcome::Fits => true,
            Outcome::KeyIsFull | Outcome::TeamIsFull => false,
        };
        if !may_wait {
            if has_rolled {
                funds.serve(&record.limits, enforcement);
            }
            return Asked::Busy { fits };
        }
        let ticket = funds.draw_ticket();
        let mine = funds.line.entry(account.id());
        let (_, line) = mine.or_insert_with(|| (Arc::clone(account), Line::default()));
        let is_first = line.is_empty();
        let queued = line.join(ticket, ceiling);
        // The first of its key may go past those that wait for their own keys.
        if is_first || has_rolled {
            funds.serve(&record.limits, enforcement);
        }
        queued.map_or(Asked::LineFull, |answer| Asked::Queued { ticket, answer })
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
        let mut funds = self.purse.lock();
        if let Some((_, line)) = funds.line.get_mut(&account.id()) {
            line.leave(ticket);
        }
        if let Ok(Served::Granted(granted)) = answer.try_recv() {
            funds.take_back(account, ceiling, granted);
        }
        funds.serve(&self.record.load().limits, enforcement);
    }

    /// Ends the team's part of a hold at `cost` and serves the line; the key's part must have ended
    /// before.
    pub(super) fn settle(
        &self,
        starts: &Starts,
        amount: Money,
        cost: Money,
        enforcement: Enforcement,
    ) -> Settled {
        let mut funds = self.purse.lock();
        let settled = funds.settle(starts, amount, cost);
        funds.serve(&self.record.load().limits, enforcement);
        settled
    }

    /// Serves the line after something else than a hold of the team made room.
    pub(super) fn serve(&self, enforcement: Enforcement) {
        let mut funds = self.purse.lock();
        funds.serve(&self.record.load().limits, enforcement);
    }

    /// Opens the windows of `now`, the team's and one waiting key's, and serves the line.
    pub(super) fn wake(
        &self,
        account: &Account,
        rule: &WindowRule,
        enforcement: Enforcement,
        now: Timestamp,
    ) {
        let mut funds = self.purse.lock();
        let record = self.record.load();
        funds.roll(self.purse.created(), account, rule, now);
        funds.serve(&record.limits, enforcement);
    }

    /// Sends the calls of a key away that has left the team.
    pub(super) fn send_away(&self, key: KeyId, enforcement: Enforcement) {
        let mut funds = self.purse.lock();
        if let Some((_, mut line)) = funds.line.remove(&key) {
            line.send_away();
        }
        funds.serve(&self.record.load().limits, enforcement);
    }

    /// Puts a changed record in force.
    pub(super) fn replace(&self, record: TeamRecord, enforcement: Enforcement) {
        self.record.store(Arc::new(record));
        self.serve(enforcement);
    }

    /// Makes a correction that was weighed and is in the store, and serves the line. The key's part must
    /// have been made before.
    pub(super) fn correct(
        &self,
        (starts, counted): &(Starts, [Money; 3]),
        correction: Correction,
        enforcement: Enforcement,
    ) {
        let mut funds = self.purse.lock();
        funds.balance.correct(starts, correction, counted);
        funds.serve(&self.record.load().limits, enforcement);
    }

    /// Where the team stands with each of its windows.
    pub fn standing(&self, rule: &WindowRule, now: Timestamp) -> [Standing; 3] {
        self.purse.standing(&self.record.load().limits, rule, now)
    }

    /// How many calls of its keys are under way, and how many stand in line.
    pub fn in_flight(&self) -> (u64, usize) {
        let funds = self.purse.lock();
        (funds.open_holds, funds.line.values().map(|(_, line)| line.len()).sum())
    }
}

impl Funds<Lines> {
    /// Opens the windows of `now`, the team's and a key's; says whether any were over.
    fn roll(
        &mut self,
        created: Timestamp,
        account: &Account,
        rule: &WindowRule,
        now: Timestamp,
    ) -> bool {
        let mut key = account.purse().lock();
        let is_over = now >= self.balance.next_roll() || now >= key.balance.next_roll();
        if is_over {
            self.balance.roll(rule, created, now);
            key.balance.roll(rule, account.purse().created(), now);
        }
        is_over
    }

    /// What the limits of the key and of the team say.
    fn judge(
        &self,
        limits: &Limits,
        account: &Account,
        key: &Funds<Line>,
        ceiling: Money,
        enforcement: Enforcement,
    ) -> Outcome {
        let record = account.peek();
        let own = enforcement_of(&record, enforcement);
        let by_key = key.balance.decide(&record.limits, own, ceiling);
        let by_team = self.balance.decide(limits, enforcement, ceiling);
        // What leaves less says it, so that nobody who asks for that much is turned away again.
        let team_first = match (by_key, by_team) {
            (Verdict::TooLarge { left, .. }, Verdict::TooLarge { left: of_team, .. }) => {
                of_team < left
            }
            (_, Verdict::Spent(_)) => !matches!(by_key, Verdict::Spent(_)),
            _ => false,
        };
        let of_key = refusal(&key.balance, by_key).filter(|_| !team_first);
        if let Some(refusal) = of_key.or_else(|| refusal(&self.balance, by_team)) {
            return Outcome::Refused(refusal);
        }
        match (by_key, by_team) {
            (Verdict::Waits, _) => Outcome::KeyIsFull,
            (_, Verdict::Waits) => Outcome::TeamIsFull,
            _ => Outcome::Fits,
        }
    }

    /// Holds `ceiling` for the key and for the team, or for neither.
    fn attempt(
        &mut self,
        limits: &Limits,
        account: &Account,
        ceiling: Money,
        enforcement: Enforcement,
    ) -> Outcome {
        let mut key = account.purse().lock();
        let outcome = self.judge(limits, account, &key, ceiling, enforcement);
        if !matches!(outcome, Outcome::Fits) {
            return outcome;
        }
        let team = Some(self.hold(ceiling));
        Outcome::Held(Granted { starts: key.hold(ceiling), team })
    }

    fn take_back(&mut self, account: &Account, amount: Money, granted: Granted) {
        account.purse().lock().give_back(&granted.starts, amount);
        if let Some(starts) = granted.team {
            self.give_back(&starts, amount);
        }
    }

    /// Serves the lines in the order of their tickets, until the team is full.
    fn serve(&mut self, limits: &Limits, enforcement: Enforcement) {
        if self.line.is_empty() {
            return;
        }
        let mut lines = std::mem::take(&mut self.line);
        let first = |(key, (_, line)): (&KeyId, &(_, Line))| Some(Reverse((line.first()?.0, *key)));
        let mut next: BinaryHeap<Reverse<(u64, KeyId)>> = lines.iter().filter_map(first).collect();
        while let Some(Reverse((_, key))) = next.pop() {
            let Some((account, line)) = lines.get_mut(&key) else { continue };
            let Some((_, ceiling)) = line.first() else { continue };
            let served = match self.attempt(limits, account, ceiling, enforcement) {
                Outcome::Held(granted) => Served::Granted(granted),
                Outcome::Refused(refusal) => Served::Turned(refusal),
                Outcome::KeyIsFull => continue,
                Outcome::TeamIsFull | Outcome::Fits => break,
            };
            if let Some(granted) = line.serve_first(served) {
                self.take_back(account, ceiling, granted);
            }
            next.extend(line.first().map(|(ticket, _)| Reverse((ticket, key))));
        }
        lines.retain(|_, (_, line)| !line.is_empty());
        self.line = lines;
    }
}
