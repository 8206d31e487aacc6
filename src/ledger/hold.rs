//! A hold: money set aside for one call, which ends exactly once.
//!
//! `post` and `void` consume it. One that is dropped instead, by a panic say, is posted whole: nobody
//! can say any more what the provider was asked to do, and a limit must stay a ceiling.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::account::{Account, Asked};
use super::line::Served;
use super::{Ledger, whole_hold_receipt};
use crate::clock;
use crate::domain::budget::{Enforcement, Starts, Verdict};
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::receipt::Receipt;
use crate::domain::request_id::RequestId;
use crate::domain::window::{Period, Timestamp};
use crate::store::journal::Position;
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

/// Money set aside; see the module.
#[must_use = "a hold that is dropped is posted whole"]
pub struct Hold {
    ledger: Arc<Ledger>,
    account: Arc<Account>,
    open: OpenHold,
    position: Position,
    enforcement: Enforcement,
    resolved: bool,
}

impl Ledger {
    /// Sets `ceiling` aside for a call, waiting for other calls of the key where that would help.
    ///
    /// Dropping the future gives up the place in line.
    pub async fn hold(
        self: &Arc<Self>,
        account: &Arc<Account>,
        ceiling: Money,
        call: &Description,
        now: Timestamp,
    ) -> Result<Hold, Refusal> {
        if let Some(trouble) = self.store().journal().trouble() {
            return Err(Refusal::Unsafe(trouble));
        }
        let policy = self.policy();
        let enforcement = policy.enforcement;
        let starts = match account.ask(ceiling, &policy.windows, enforcement, now) {
            Asked::Granted(starts) => starts,
            Asked::Refused(verdict) => return Err(refusal(account, verdict)),
            Asked::LineFull => return Err(Refusal::Reserved),
            Asked::Queued { ticket, answer } => {
                let place = InLine { ledger: self, account, ticket, answer, ceiling, enforcement };
                let starts = place.wait(policy.max_wait_ms).await?;
                if let Some(trouble) = self.store().journal().trouble() {
                    account.settle(&starts, ceiling, Money::ZERO, enforcement);
                    return Err(Refusal::Unsafe(trouble));
                }
                starts
            }
        };
        Ok(self.open_hold(account, ceiling, starts, call, enforcement))
    }

    fn open_hold(
        self: &Arc<Self>,
        account: &Arc<Account>,
        amount: Money,
        starts: Starts,
        call: &Description,
        enforcement: Enforcement,
    ) -> Hold {
        let open = OpenHold {
            id: call.id,
            key: account.id(),
            amount,
            starts,
            model: Arc::clone(&call.model),
            provider: Arc::clone(&call.provider),
            upstream_model: Arc::clone(&call.upstream_model),
            endpoint: Arc::clone(&call.endpoint),
            price: Arc::clone(&call.price),
        };
        let position = self.store().journal().hold(&open);
        Hold {
            ledger: Arc::clone(self),
            account: Arc::clone(account),
            open,
            position,
            enforcement,
            resolved: false,
        }
    }
}

fn refusal(account: &Account, verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::TooLarge { left, period } => {
            Refusal::TooLarge { left, period, resets_at: account.window_end(period) }
        }
        Verdict::Spent(period) => Refusal::Spent { period, resets_at: account.window_end(period) },
        Verdict::Fits | Verdict::Waits => Refusal::Reserved,
    }
}

/// A place in line, given up when it is dropped.
struct InLine<'a> {
    ledger: &'a Ledger,
    account: &'a Arc<Account>,
    ticket: u64,
    answer: oneshot::Receiver<Served>,
    ceiling: Money,
    enforcement: Enforcement,
}

impl InLine<'_> {
    async fn wait(mut self, max_wait_ms: u64) -> Result<Starts, Refusal> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(max_wait_ms);
        loop {
            // A window that rolls frees money too, and nobody else may come by to notice.
            let to_roll = self.account.next_roll().millis_since(clock::now());
            let roll = tokio::time::Instant::now() + Duration::from_millis(to_roll.max(1));
            match tokio::time::timeout_at(deadline.min(roll), &mut self.answer).await {
                Ok(Ok(Served::Granted(starts))) => return Ok(starts),
                Ok(Ok(Served::Turned(verdict))) => return Err(refusal(self.account, verdict)),
                Ok(Err(_)) => return Err(Refusal::Reserved),
                Err(_) if tokio::time::Instant::now() >= deadline => return Err(Refusal::Reserved),
                Err(_) => {
                    let rule = &self.ledger.policy().windows;
                    self.account.wake(rule, self.enforcement, clock::now());
                }
            }
        }
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.account.leave_line(self.ticket, &mut self.answer, self.ceiling, self.enforcement);
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

    /// Returns once the hold outlives the machine: until then nothing of the answer may be shown.
    /// `false` when the journal was closed before.
    pub async fn durable(&self) -> bool {
        self.ledger.store().journal().durable(self.position).await
    }

    /// Whether [`Hold::durable`] would return at once.
    pub fn is_durable(&self) -> bool {
        self.ledger.store().journal().is_durable(self.position)
    }

    /// Ends the hold at the true cost, which is what `receipt` says. When this returns, the receipt
    /// outlives the process.
    pub fn post(mut self, receipt: &Receipt) {
        self.finish(receipt);
    }

    /// Ends the hold at nothing.
    pub fn void(mut self) {
        self.resolved = true;
        self.ledger.store().journal().void(self.open.id);
        self.account.settle(&self.open.starts, self.open.amount, Money::ZERO, self.enforcement);
    }

    fn finish(&mut self, receipt: &Receipt) {
        self.resolved = true;
        let (starts, amount) = (&self.open.starts, self.open.amount);
        if receipt.cost > amount {
            tracing::warn!(
                request.id = %receipt.id, key.id = %receipt.key, held = %amount, cost = %receipt.cost,
                "a call cost more than its ceiling: the provider did not keep the cap it was given"
            );
        }
        // Written before what is left over is given to others: were it the other way about, a crash in
        // between would find their holds beside the whole of this one, above the limit.
        let counted = self.account.windows_of(starts);
        self.ledger.store().journal().post(&counted, receipt);
        self.account.settle(starts, amount, receipt.cost, self.enforcement);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.resolved {
            return;
        }
        let receipt = whole_hold_receipt(&self.open, clock::now());
        tracing::error!(request.id = %receipt.id, "a call broke off inside the gateway: its hold is posted");
        self.finish(&receipt);
    }
}
