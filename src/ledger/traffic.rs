//! What a key's calls take beside money: requests and tokens per minute, and places side by side.
//!
//! A [`Pass`] is to these what a hold is to money: taken before the call is made, all or nothing;
//! settled once when the call ends; and given back whole when it is dropped before.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::account::Account;
use crate::clock;
use crate::domain::key::Controls;
use crate::domain::rate::{Allowance, Bucket, Short};
use crate::domain::receipt::{Metered, Receipt};
use crate::domain::window::Timestamp;

/// What is under way and used up.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    requests: Bucket,
    tokens: Bucket,
    passes: u64,
}

/// Why a call must come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttled {
    Parallel {
        limit: u64,
    },
    Requests {
        limit: u64,
        wait_ms: u64,
    },
    Tokens {
        limit: u64,
        wait_ms: u64,
    },
    /// The prompt alone has more tokens than a minute allows.
    Prompt {
        limit: u64,
        tokens: u64,
    },
}

/// What a call may use, as far as it can be told before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    pub prompt_tokens: u64,
    pub output_tokens: u64,
}

/// What a call took; see the module.
#[must_use = "a pass that is dropped gives back what it took"]
pub struct Pass {
    account: Arc<Account>,
    requests: u64,
    tokens: u64,
    /// What attempts of the call used that ended before its last one.
    used: Option<u64>,
    is_used: bool,
}

/// The rates a holder is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    pub requests: Option<Allowance>,
    pub tokens: Option<Allowance>,
}

impl Account {
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a call needs beside money by the key's `controls`; nothing, and without a lock, for a key that nothing is
    /// counted of.
    ///
    /// Calls wait for money with their pass in hand: they are under way.
    pub fn enter(
        self: &Arc<Self>,
        controls: &Controls,
        estimate: Estimate,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Option<Pass>, Throttled> {
        if !controls.counts_traffic() {
            return Ok(None);
        }
        // Calls from before the limit was set have a hold but no pass; those in line for money have
        // a pass but no hold.
        let holds = controls.parallel.map_or(0, |_| self.in_flight().0);
        let (requests, tokens) = self.traffic().enter(controls, holds, estimate, now())?;
        Ok(Some(Pass { account: Arc::clone(self), requests, tokens, used: None, is_used: false }))
    }

    /// Where the key stands with its rates.
    pub fn rates(&self, now: Timestamp) -> Rates {
        let Controls { rpm, tpm, .. } = self.peek().controls;
        let mut traffic = self.traffic();
        Rates {
            requests: rpm.map(|limit| traffic.requests.allowance(limit, now)),
            tokens: tpm.map(|limit| traffic.tokens.allowance(limit, now)),
        }
    }
}

impl Traffic {
    /// Checks everything before anything is taken; says how many requests and tokens were.
    fn enter(
        &mut self,
        controls: &Controls,
        holds: u64,
        estimate: Estimate,
        now: Timestamp,
    ) -> Result<(u64, u64), Throttled> {
        if let Some(limit) = controls.parallel.filter(|limit| self.passes.max(holds) >= *limit) {
            return Err(Throttled::Parallel { limit });
        }
        let wait = |short| match short {
            Short::Wait(ms) => ms,
            Short::Never => 60_000,
        };
        if let Some(limit) = controls.rpm {
            let checked = self.requests.check(limit, 1, now);
            checked.map_err(|s| Throttled::Requests { limit, wait_ms: wait(s) })?;
        }
        let mut tokens = 0;
        if let Some(limit) = controls.tpm {
            let prompt = estimate.prompt_tokens;
            if prompt > limit {
                return Err(Throttled::Prompt { limit, tokens: prompt });
            }
            // An output cap is rarely reached: one above the limit asks for all of it.
            tokens = prompt.saturating_add(estimate.output_tokens).min(limit);
            let checked = self.tokens.check(limit, tokens, now);
            checked.map_err(|s| Throttled::Tokens { limit, wait_ms: wait(s) })?;
            self.tokens.take(limit, tokens, now);
        }
        if let Some(limit) = controls.rpm {
            self.requests.take(limit, 1, now);
        }
        self.passes += 1;
        Ok((u64::from(controls.rpm.is_some()), tokens))
    }
}

impl Pass {
    /// Counts an attempt that has ended while the call goes on.
    pub(super) fn count(&mut self, receipt: &Receipt) {
        self.used = Some(self.used.unwrap_or(0).saturating_add(self.tokens_of(receipt)));
    }

    /// Ends the call with what it used.
    pub(super) fn settle(mut self, receipt: &Receipt) {
        self.count(receipt);
        self.leave(self.requests, self.used.unwrap_or(0));
    }

    fn tokens_of(&self, receipt: &Receipt) -> u64 {
        let usage = receipt.usage();
        let counted = usage.input_tokens().saturating_add(usage.output_tokens());
        match receipt.metered {
            Metered::Nothing => 0,
            // Nobody could count: what was taken stays taken.
            Metered::Estimated | Metered::Recovered if counted == 0 => self.tokens,
            Metered::Reported | Metered::Estimated | Metered::Recovered => counted,
        }
    }

    fn leave(&mut self, requests: u64, tokens: u64) {
        self.is_used = true;
        let Controls { rpm, tpm, .. } = self.account.peek().controls;
        let mut traffic = self.account.traffic();
        traffic.passes -= 1;
        if let Some(limit) = rpm.filter(|_| requests != self.requests) {
            traffic.requests.settle(limit, self.requests, requests, clock::now());
        }
        if let Some(limit) = tpm.filter(|_| tokens != self.tokens) {
            traffic.tokens.settle(limit, self.tokens, tokens, clock::now());
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.is_used {
            let requests = if self.used.is_some() { self.requests } else { 0 };
            self.leave(requests, self.used.unwrap_or(0));
        }
    }
}
