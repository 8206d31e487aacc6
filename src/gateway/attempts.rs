//! Which target is tried next after one has failed, if any, and when.
//!
//! Another target at once; the same one only when no other is left, after a pause, and within a budget,
//! so that an outage is not multiplied. What the call itself is to blame for is never sent twice.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::Received;
use super::health::{self, Health, Watch};
use super::route::Destination;
use super::upstreams::Key;
use crate::clock;
use crate::config::Routing;
use crate::domain::choice::{fingerprint, pause_ms};
use crate::domain::circuit::Rule;
use crate::domain::receipt::Ending;
use crate::domain::request_id::RequestId;
use crate::error::{ApiError, UpstreamError};
use crate::metrics::Metrics;
use crate::provider::trouble::{Fault, Trouble};
use crate::translate::Untranslatable;

/// How an attempt failed of which there is no answer.
pub(super) enum Failed {
    /// The target's dialect cannot say what the call says.
    Unable(Untranslatable),
    /// The client's own body broke off, or turned out not to be what it began as.
    Body(ApiError),
    Upstream(UpstreamError),
}

/// What an attempt came to before anything of it was shown.
pub(super) type Outcome = Result<Received, Failed>;

impl Failed {
    pub(super) const fn ending(&self) -> Ending {
        match self {
            Self::Unable(_) | Self::Upstream(UpstreamError::Unreachable) => Ending::UpstreamError,
            Self::Body(_) => Ending::ClientGone,
            Self::Upstream(UpstreamError::Broken) => Ending::UpstreamCut,
            Self::Upstream(UpstreamError::TimedOut) => Ending::Timeout,
        }
    }
}

impl From<UpstreamError> for Failed {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

impl From<Failed> for ApiError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Unable(what) => Self::Untranslatable(what),
            Failed::Body(error) => error,
            Failed::Upstream(error) => Self::Upstream(error),
        }
    }
}

/// The attempts of one call.
pub(super) struct Attempts<'a> {
    call: RequestId,
    routing: &'a Routing,
    health: &'a Health,
    metrics: &'a Metrics,
    targets: Vec<Choice>,
    at: usize,
    made: u64,
    retries: u64,
    watch: Option<Watch>,
}

/// A target and what has become of it.
struct Choice {
    target: Rc<Destination>,
    is_tried: bool,
    /// There is no use in trying it again.
    is_out: bool,
    /// The provider asked to be left alone until then.
    not_before: Option<Instant>,
    /// How many more of the provider's keys may be tried.
    keys: usize,
}

/// What is done after an attempt.
pub(super) enum Next {
    /// Its outcome is the client's answer.
    Show,
    /// Another is made.
    Again(Turn),
}

/// Whose turn it is next, and after what time.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    at: usize,
    pub(super) pause: Duration,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(
        call: RequestId,
        routing: &'a Routing,
        health: &'a Health,
        metrics: &'a Metrics,
        targets: Vec<Rc<Destination>>,
    ) -> Self {
        let choice = |target: Rc<Destination>| Choice {
            keys: target.provider.keys.len().saturating_sub(1),
            target,
            is_tried: false,
            is_out: false,
            not_before: None,
        };
        let targets = targets.into_iter().map(choice).collect();
        Self { call, routing, health, metrics, targets, at: 0, made: 0, retries: 0, watch: None }
    }

    pub(super) fn target(&self) -> &Rc<Destination> {
        &self.targets[self.at].target
    }

    pub(super) fn target_of(&self, turn: Turn) -> &Rc<Destination> {
        &self.targets[turn.at].target
    }

    /// Turns to the target of the next attempt.
    pub(super) const fn turn_to(&mut self, turn: Turn) {
        self.at = turn.at;
    }

    /// How many attempts have been made.
    pub(super) const fn made(&self) -> u64 {
        self.made
    }

    /// Whether anything else could be done if this attempt failed.
    pub(super) fn has_others(&self) -> bool {
        self.routing.retries > self.retries || self.targets.iter().any(|option| !option.is_tried)
    }

    /// An attempt at the present target begins.
    pub(super) fn begin(&mut self) {
        self.made += 1;
        let option = &mut self.targets[self.at];
        option.is_tried = true;
        option.target.health.begin();
    }

    /// Takes note of how the attempt went, and decides what is next; `end` is when the call must have
    /// ended, and a target that cannot `say` what the call says is passed by.
    pub(super) fn judge(
        &mut self,
        outcome: &Outcome,
        key: Option<&Key>,
        end: Instant,
        say: impl Fn(&Destination) -> bool,
    ) -> Next {
        let (trouble, reason) = match outcome {
            Ok(received) => match received.trouble(self.target().provider.kind) {
                None if received.is_under_way() => {
                    self.watch = Some(self.watch());
                    return self.key_went_well(key);
                }
                None => return self.went_well(key),
                Some(trouble) if trouble.fault == Fault::Call => return self.went_well(key),
                Some(trouble) => (trouble, format!("status {}", received.status.as_u16())),
            },
            Err(Failed::Unable(_)) => {
                self.target().health.undecided();
                self.targets[self.at].is_out = true;
                return self.next(end, false, say);
            }
            Err(Failed::Body(_)) => {
                self.target().health.undecided();
                return Next::Show;
            }
            Err(Failed::Upstream(error)) => {
                let trouble = Trouble { fault: Fault::Moment, wait_ms: None };
                (trouble, ApiError::Upstream(*error).to_string())
            }
        };
        self.went_badly(trouble, reason, key);
        let has_key = matches!(trouble.fault, Fault::Key | Fault::Rate) && self.another_key(key);
        if has_key {
            return Next::Again(Turn { at: self.at, pause: Duration::ZERO });
        }
        self.next(end, true, say)
    }

    fn went_well(&self, key: Option<&Key>) -> Next {
        self.target().health.succeeded();
        self.key_went_well(key)
    }

    fn key_went_well(&self, key: Option<&Key>) -> Next {
        if let Some(key) = key.filter(|_| self.has_many_keys()) {
            self.health.key_succeeded(key.fingerprint);
        }
        Next::Show
    }

    fn watch(&self) -> Watch {
        Watch::new(&self.target().health, health::rule(self.routing))
    }

    /// Who is to hear how the answer ends, where it is still coming.
    pub(super) const fn take_watch(&mut self) -> Option<Watch> {
        self.watch.take()
    }

    fn has_many_keys(&self) -> bool {
        self.target().provider.keys.len() > 1
    }

    fn went_badly(&mut self, trouble: Trouble, reason: String, key: Option<&Key>) {
        let rule = health::rule(self.routing);
        let has_many_keys = self.has_many_keys();
        let option = &mut self.targets[self.at];
        self.metrics.attempt_failed(&option.target.provider.name, trouble.fault.name());
        let (provider, model) = (&*option.target.provider.name, &*option.target.upstream_model);
        if trouble.fault == Fault::Key {
            tracing::error!(
                provider,
                model,
                reason,
                "a provider refused its key or the account behind it"
            );
        } else {
            tracing::warn!(call.id = %self.call, provider, model, reason, "an attempt failed");
        }
        option.is_out |= matches!(trouble.fault, Fault::Key | Fault::Target);
        option.not_before =
            trouble.wait_ms.map(|ms| Instant::now() + Duration::from_millis(ms.min(A_DAY_MS)));
        let is_keys = matches!(trouble.fault, Fault::Key | Fault::Rate);
        if let Some(key) = key.filter(|_| is_keys && has_many_keys) {
            self.health.key_failed(key.fingerprint, rule, trouble.wait_ms);
            option.target.health.undecided();
            return;
        }
        // A key that is refused will be refused again.
        let failures = if trouble.fault == Fault::Key { 1 } else { rule.failures };
        let rule = Rule { failures, ..rule };
        option.target.health.failed(rule, trouble.wait_ms, reason);
    }

    /// Another number for each pause.
    fn random(&self) -> u64 {
        fingerprint(&[&self.call.bits().to_le_bytes(), &self.made.to_le_bytes()])
    }

    /// Whether the present target can be tried with another key at once.
    fn another_key(&mut self, used: Option<&Key>) -> bool {
        let option = &mut self.targets[self.at];
        if used.is_none() || option.keys == 0 {
            return false;
        }
        option.keys -= 1;
        (option.is_out, option.not_before) = (false, None);
        true
    }

    /// The next target that has not been tried, or one that is worth trying again.
    fn next(&mut self, end: Instant, may_retry: bool, say: impl Fn(&Destination) -> bool) -> Next {
        if Instant::now() >= end {
            return Next::Show;
        }
        for (at, option) in self.targets.iter_mut().enumerate().filter(|(_, o)| !o.is_tried) {
            if say(&option.target) {
                return Next::Again(Turn { at, pause: Duration::ZERO });
            }
            (option.is_tried, option.is_out) = (true, true);
        }
        if !may_retry || self.retries >= self.routing.retries {
            return Next::Show;
        }
        let left = self.targets.iter().enumerate().filter(|(_, option)| !option.is_out);
        let Some((at, option)) = left.min_by_key(|(_, option)| option.not_before) else {
            return Next::Show;
        };
        let pause = Duration::from_millis(pause_ms(self.retries, self.random()));
        let asked = option.not_before.map(|at| at.saturating_duration_since(Instant::now()));
        let most = Duration::from_millis(self.routing.max_retry_wait_ms);
        if asked.is_some_and(|asked| asked > most) {
            return Next::Show;
        }
        let pause = asked.map_or(pause, |asked| asked.max(pause));
        if Instant::now() + pause >= end
            || !option.target.health.may_retry(self.routing.retry_budget)
        {
            return Next::Show;
        }
        self.retries += 1;
        Next::Again(Turn { at, pause })
    }
}

/// Nobody waits longer, and clocks do not overflow.
const A_DAY_MS: u64 = 86_400_000;

/// The key that the next attempt is sent with.
pub(super) fn key<'u>(
    upstream: &'u super::upstreams::Upstream,
    health: &Health,
) -> Option<&'u Key> {
    upstream.key(|key| health.key_is_fit(key.fingerprint, clock::now()))
}
