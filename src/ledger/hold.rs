//! A hold: money set aside for one call, which ends exactly once.
//!
//! `post` and `void` consume it. One that is dropped instead, by a panic say, is posted whole: nobody
//! can say any more what the provider was asked to do, and a limit must stay a ceiling.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::account::{Account, Asked, Asking};
use super::cover::Need;
use super::line::{Granted, Served};
use super::team::Team;
use super::traffic::Pass;
use super::{Ledger, whole_hold_receipt};
use crate::clock;
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::receipt::Receipt;
use crate::domain::request_id::RequestId;
use crate::domain::team::Share;
use crate::domain::window::{Period, Timestamp};
use crate::metrics::Metrics;
use crate::store::journal::{Haste, Position};
use crate::store::record::OpenHold;

/// Why no money is set aside for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is left of a limit; the window starts anew then.
    Spent { period: Period, resets_at: Timestamp },
    /// It is larger than what is left: at most `left` could be held.
    TooLarge { left: Money, period: Period, resets_at: Timestamp },
    /// It would fit if other calls ended, but they did not within the time it may wait.
    Reserved,
    /// The journal cannot be written: a promise could not be kept.
    Unsafe(Arc<String>),
}

/// Whether there is room for a call that could not be had at once: then only others wait before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HasRoom(pub bool);

/// What a receipt needs to say of a call whose end nobody saw.
#[derive(Clone, Debug)]
pub struct Description {
    pub id: RequestId,
    pub model: Arc<str>,
    pub provider: Arc<str>,
    pub upstream_model: Arc<str>,
    pub endpoint: Arc<str>,
    pub price: Arc<str>,
}

/// That money set aside for a call will outlive the machine, whatever becomes of the call meanwhile.
pub struct Promise {
    ledger: Arc<Ledger>,
    account: Arc<Account>,
    need: Need,
    position: Position,
    is_covered: bool,
}

impl Promise {
    /// Returns once it is kept: until then nothing of the answer may be shown. `false` when the
    /// journal was closed before.
    pub async fn is_durable(&self) -> bool {
        let journal = self.ledger.store().journal();
        if journal.is_durable(self.position) {
            return true;
        }
        if self.is_covered && journal.is_handed_over(self.position) {
            return true;
        }
        self.ledger.cover(&self.account, &self.need);
        journal.durable(self.position).await
    }

    /// What counts the call that the promise was given to.
    pub fn metrics(&self) -> &Metrics {
        self.ledger.metrics()
    }
}

/// Money set aside; see the module.
#[must_use = "a hold that is dropped is posted whole"]
pub struct Hold {
    ledger: Arc<Ledger>,
    account: Arc<Account>,
    /// The team that part of it was set aside in.
    team: Option<Arc<Team>>,
    open: OpenHold,
    position: Position,
    /// The key's cover stands for it until it is on the disk itself.
    is_covered: bool,
    /// What the call took beside money, given back with it.
    pass: Option<Pass>,
    /// How long its call stood in line for it.
    waited: Duration,
    resolved: bool,
}

impl Ledger {
    /// Sets `ceiling` aside for a call if there is room for it right now and nobody waits before it. The
    /// error inside is whether there is room.
    pub fn hold_at_once(
        self: &Arc<Self>,
        account: &Arc<Account>,
        ceiling: Money,
        call: Description,
        now: Timestamp,
    ) -> Result<Result<Hold, HasRoom>, Refusal> {
        self.check_safe()?;
        let (asked, team) = self.ask(account, ceiling, now, false);
        Ok(match asked {
            Asked::Granted(granted) => Ok(self.open_hold(account, team, ceiling, granted, call)),
            Asked::Busy { fits } => Err(HasRoom(fits)),
            _ => Err(HasRoom(false)),
        })
    }

    /// Sets `ceiling` aside for a call, waiting for other calls of the key where that would help.
    ///
    /// Dropping the future gives up the place in line.
    pub async fn hold(
        self: &Arc<Self>,
        account: &Arc<Account>,
        ceiling: Money,
        call: Description,
        now: Timestamp,
    ) -> Result<Hold, Refusal> {
        self.check_safe()?;
        let mut queued = None;
        loop {
            let (asked, team) = self.ask(account, ceiling, now, true);
            match asked {
                Asked::Granted(granted) => {
                    return Ok(self.open_hold(account, team, ceiling, granted, call));
                }
                Asked::Refused(refusal) => return Err(refusal),
                Asked::LineFull | Asked::Busy { .. } | Asked::Elsewhere => {
                    return Err(Refusal::Reserved);
                }
                Asked::Queued { ticket, answer } => {
                    let (began, end) = *queued.get_or_insert_with(|| {
                        let now = Instant::now();
                        (now, now + Duration::from_millis(self.policy.load().max_wait_ms))
                    });
                    let place = InLine { ledger: self, account, team, ticket, answer, ceiling };
                    let waited = place.wait(end).await;
                    if !matches!(waited, Ok(None)) {
                        self.metrics().waited(began.elapsed());
                    }
                    if let Some((granted, team)) = waited? {
                        let mut hold = self.open_hold(account, team, ceiling, granted, call);
                        hold.waited = began.elapsed();
                        if let Err(refusal) = self.check_safe() {
                            hold.void();
                            return Err(refusal);
                        }
                        return Ok(hold);
                    }
                }
            }
        }
    }

    /// Whether promises can be kept.
    fn check_safe(&self) -> Result<(), Refusal> {
        self.store().journal().trouble().map_or(Ok(()), |trouble| Err(Refusal::Unsafe(trouble)))
    }

    /// Asks the key or, if it is in one, its team, which is said, too.
    fn ask(
        &self,
        account: &Arc<Account>,
        ceiling: Money,
        now: Timestamp,
        may_wait: bool,
    ) -> (Asked, Option<Arc<Team>>) {
        let policy = self.policy.load();
        let (rule, enforcement) = (&policy.windows, policy.enforcement);
        let asking = Asking { ceiling, rule, enforcement, now, may_wait };
        // Most keys are in no team, and one that is says so.
        let mut team: Option<Arc<Team>> = None;
        loop {
            let asked = match &team {
                Some(team) => team.ask(account, &asking),
                None => account.ask(&asking),
            };
            if !matches!(asked, Asked::Elsewhere) {
                return (asked, team);
            }
            team = account.team();
        }
    }

    fn open_hold(
        self: &Arc<Self>,
        account: &Arc<Account>,
        team: Option<Arc<Team>>,
        amount: Money,
        granted: Granted,
        call: Description,
    ) -> Hold {
        let share = team.as_ref().zip(granted.team);
        let Description { id, model, provider, upstream_model, endpoint, price } = call;
        let open = OpenHold {
            id,
            key: account.id(),
            amount,
            starts: granted.starts,
            share: share.map(|(team, starts)| Share { team: team.id(), starts }),
            model,
            provider,
            upstream_model,
            endpoint,
            price,
        };
        let journal = self.store().journal();
        let position = journal.hold(&open);
        let is_covered = account.cover().takes(journal, &open, position);
        Hold {
            ledger: Arc::clone(self),
            account: Arc::clone(account),
            team,
            open,
            position,
            is_covered,
            pass: None,
            waited: Duration::ZERO,
            resolved: false,
        }
    }
}

/// A place in line, given up when it is dropped.
struct InLine<'a> {
    ledger: &'a Ledger,
    account: &'a Arc<Account>,
    /// Whose line it is; the account's own without one.
    team: Option<Arc<Team>>,
    ticket: u64,
    answer: oneshot::Receiver<Served>,
    ceiling: Money,
}

impl InLine<'_> {
    /// What was granted and by which team; `None` if the call must ask in another line.
    async fn wait(
        mut self,
        deadline: Instant,
    ) -> Result<Option<(Granted, Option<Arc<Team>>)>, Refusal> {
        loop {
            // A window that rolls frees money too, and nobody else may come by to notice.
            let roll = Instant::now() + Duration::from_millis(self.to_next_roll().max(1));
            match tokio::time::timeout_at(deadline.min(roll), &mut self.answer).await {
                Ok(Ok(Served::Granted(granted))) => return Ok(Some((granted, self.team.clone()))),
                Ok(Ok(Served::Turned(refusal))) => return Err(refusal),
                Ok(Ok(Served::Elsewhere)) => return Ok(None),
                Ok(Err(_)) => return Err(Refusal::Reserved),
                Err(_) if Instant::now() >= deadline => return Err(Refusal::Reserved),
                Err(_) => self.wake(),
            }
        }
    }

    fn to_next_roll(&self) -> u64 {
        let own = self.account.purse().next_roll();
        let next = self.team.as_ref().map_or(own, |team| team.purse().next_roll().min(own));
        next.millis_since(clock::now())
    }

    fn wake(&self) {
        let policy = self.ledger.policy.load();
        let (rule, enforcement) = (&policy.windows, policy.enforcement);
        match &self.team {
            Some(team) => team.wake(self.account, rule, enforcement, clock::now()),
            None => self.account.wake(rule, enforcement, clock::now()),
        }
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let enforcement = self.ledger.policy.load().enforcement;
        let (ticket, ceiling) = (self.ticket, self.ceiling);
        match &self.team {
            Some(team) => {
                team.leave_line(self.account, ticket, &mut self.answer, ceiling, enforcement);
            }
            None => self.account.leave_line(ticket, &mut self.answer, ceiling, enforcement),
        }
        // Money of a key that has moved meanwhile is waited for elsewhere.
        self.account.serve_elsewhere(self.team.as_deref(), enforcement);
    }
}

impl Hold {
    pub const fn id(&self) -> RequestId {
        self.open.id
    }

    pub const fn key(&self) -> KeyId {
        self.open.key
    }

    pub const fn amount(&self) -> Money {
        self.open.amount
    }

    /// What its call is, as receipts say it.
    pub fn description(&self) -> Description {
        let open = &self.open;
        Description {
            id: open.id,
            model: Arc::clone(&open.model),
            upstream_model: Arc::clone(&open.upstream_model),
            provider: Arc::clone(&open.provider),
            endpoint: Arc::clone(&open.endpoint),
            price: Arc::clone(&open.price),
        }
    }

    /// How long its call stood in line for it.
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    #[cfg(test)]
    pub(super) const fn opened(&self) -> &OpenHold {
        &self.open
    }

    /// The promise that the hold will outlive the machine.
    pub fn promise(&self) -> Promise {
        Promise {
            ledger: Arc::clone(&self.ledger),
            account: Arc::clone(&self.account),
            need: Need::from(&self.open),
            position: self.position,
            is_covered: self.is_covered,
        }
    }

    /// Ends the hold at the true cost, which is what `receipt` says. When this returns, the receipt
    /// outlives the process.
    pub fn post(mut self, receipt: &Receipt) {
        self.finish(receipt, Haste::Now);
    }

    /// As [`Hold::post`]. What it returns is ready when the receipt outlives the machine, where the hold
    /// does not yet and is not covered: it is handed over, or synced, in one go with those of others.
    pub fn post_durably(mut self, receipt: &Receipt) -> impl Future<Output = ()> + use<> {
        let ledger = Arc::clone(&self.ledger);
        let is_durable = ledger.store().journal().is_durable(self.position);
        let is_covered = self.is_covered;
        if !is_durable && !is_covered {
            ledger.cover(&self.account, &Need::from(&self.open));
        }
        let position = self.finish(receipt, Haste::Together);
        async move {
            let journal = ledger.store().journal();
            if is_durable || is_covered {
                // Those that this worker ends in the same turn are appended first; one write takes all.
                tokio::task::yield_now().await;
                if journal.is_handed_over(position) || is_durable {
                    return;
                }
            }
            journal.durable(position).await;
        }
    }

    /// Ends the hold at nothing.
    pub fn void(mut self) {
        self.resolved = true;
        self.ledger.store().journal().void(self.open.id);
        self.ledger.metrics().voided();
        self.release(Money::ZERO);
    }

    /// Has what the call took beside money end with the hold.
    pub fn carry(&mut self, pass: Option<Pass>) {
        self.pass = pass;
    }

    /// Points the hold to another target of its call: what receipts say of it from here on, also one
    /// that is written after a crash.
    pub fn redirect(&mut self, call: &Description) {
        let open = &self.open;
        if open.provider == call.provider && open.upstream_model == call.upstream_model {
            return;
        }
        self.open.provider = Arc::clone(&call.provider);
        self.open.upstream_model = Arc::clone(&call.upstream_model);
        self.open.price = Arc::clone(&call.price);
        self.position = self.ledger.store().journal().hold(&self.open);
    }

    /// Ends the hold like [`Hold::post`], while its call goes on with another: what the call took
    /// beside money is handed over to that one.
    pub fn post_attempt(mut self, receipt: &Receipt) -> Option<Pass> {
        let mut pass = self.pass.take();
        if let Some(pass) = &mut pass {
            pass.count(receipt);
        }
        self.finish(receipt, Haste::Now);
        pass
    }

    /// Ends the hold in memory and serves whoever waits for its money: first the key's part, then
    /// its team's.
    fn release(&self, cost: Money) {
        let policy = self.ledger.policy.load();
        let enforcement = policy.enforcement;
        let (open, amount) = (&self.open, self.open.amount);
        let settled = self.account.settle(&open.starts, amount, cost, enforcement);
        self.ledger.alert_key(&self.account, &settled, cost, &policy);
        if let Some((team, share)) = self.team.as_ref().zip(open.share) {
            let settled = team.settle(&share.starts, amount, cost, enforcement);
            self.ledger.alert_team(team, &settled, cost, &policy);
        }
        self.account.serve_elsewhere(self.team.as_deref(), enforcement);
    }

    fn finish(&mut self, receipt: &Receipt, haste: Haste) -> Position {
        self.resolved = true;
        let amount = self.open.amount;
        if receipt.cost > amount {
            tracing::warn!(
                request.id = %receipt.id, key.id = %receipt.key, held = %amount, cost = %receipt.cost,
                "a call cost more than its ceiling: the provider did not keep the cap it was given"
            );
        }
        // Written before what is left over is given to others: were it the other way about, a crash in
        // between would find their holds beside the whole of this one, above the limit.
        let starts = self.account.purse().windows_of(&self.open.starts);
        let share = self
            .team
            .as_ref()
            .zip(self.open.share)
            .map(|(team, share)| Share { starts: team.purse().windows_of(&share.starts), ..share });
        let journal = self.ledger.store().journal();
        let position = journal.post(&starts, share.as_ref(), receipt, haste);
        self.ledger.metrics().posted(receipt);
        self.release(receipt.cost);
        if let Some(pass) = self.pass.take() {
            pass.settle(receipt);
        }
        position
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.resolved {
            return;
        }
        let receipt = whole_hold_receipt(&self.open, clock::now());
        tracing::error!(request.id = %receipt.id, "a call broke off inside the gateway: its hold is posted");
        self.ledger.metrics().abandoned();
        self.finish(&receipt, Haste::Now);
    }
}
