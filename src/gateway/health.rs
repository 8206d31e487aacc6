//! How each target and each of a provider's keys fares, shared by all workers and kept across reloads.
//!
//! It is told of every attempt and asked before the next. It never keeps a call from being made, and it
//! never grows without bound: names that clients make up are forgotten first.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::Serialize;

use crate::clock;
use crate::config::Routing;
use crate::domain::choice::RetryBudget;
use crate::domain::circuit::{Circuit, Rule, Standing};
use crate::domain::window::Timestamp;
use crate::map::Map;

/// Targets and keys that are remembered.
const MOST_TARGETS: usize = 1024;
const MOST_KEYS: usize = 1024;

/// What is known of all targets.
#[derive(Debug, Default)]
pub struct Health {
    targets: RwLock<Targets>,
    /// How often some of them were forgotten.
    epoch: AtomicU64,
    /// By fingerprint: a key keeps its place when others come or go.
    keys: Mutex<Map<u64, Circuit>>,
}

/// By provider, then by the name that the model has there.
type Targets = Map<Arc<str>, Map<Arc<str>, Arc<TargetHealth>>>;

/// What is known of one target. While all is well only counters are touched.
#[derive(Debug, Default)]
pub(super) struct TargetHealth {
    calls: AtomicU64,
    failed: AtomicU64,
    /// There is something in `circuit`.
    is_troubled: AtomicBool,
    circuit: Mutex<Circuit>,
    retries: Mutex<Retries>,
    last_failure: Mutex<Option<(Timestamp, String)>>,
}

#[derive(Debug, Default)]
struct Retries {
    budget: RetryBudget,
    /// How many calls have earned their share.
    earned_for: u64,
}

/// How a target stands, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetStanding {
    pub provider: String,
    pub model: String,
    /// `healthy`, `cooling`, or `due` for the call that tries it.
    pub state: &'static str,
    pub cooling_until: Option<Timestamp>,
    pub attempts: u64,
    pub failed: u64,
    pub last_failure: Option<String>,
    pub last_failure_at: Option<Timestamp>,
}

/// Who hears how an answer ends whose beginning has been shown: until then nobody knows whether its
/// target is well.
pub(super) struct Watch {
    health: Arc<TargetHealth>,
    rule: Rule,
}

impl Watch {
    pub(super) fn new(health: &Arc<TargetHealth>, rule: Rule) -> Self {
        health.answered();
        Self { health: Arc::clone(health), rule }
    }

    /// The answer came to its end.
    pub(super) fn succeeded(self) {
        self.health.succeeded();
    }

    /// Its provider broke it off.
    pub(super) fn failed(self, reason: String) {
        self.health.failed(self.rule, None, reason);
    }
}

/// When a target cools down, by the configuration.
pub(super) const fn rule(routing: &Routing) -> Rule {
    Rule { failures: routing.failures, cooldown_ms: routing.cooldown_ms }
}

impl Health {
    /// What is known of a target; it is known from here on, as long as there is room.
    pub(super) fn target(&self, provider: &Arc<str>, model: &Arc<str>) -> Arc<TargetHealth> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = targets.get(provider).and_then(|models| models.get(model)) {
            return Arc::clone(known);
        }
        drop(targets);
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        if targets.values().map(Map::len).sum::<usize>() >= MOST_TARGETS {
            for models in targets.values_mut() {
                models.retain(|_, health| health.is_troubled());
            }
            targets.retain(|_, models| !models.is_empty());
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
        let has_room = targets.values().map(Map::len).sum::<usize>() < MOST_TARGETS;
        if !has_room {
            return Arc::default();
        }
        let models = targets.entry(Arc::clone(provider)).or_default();
        Arc::clone(models.entry(Arc::clone(model)).or_default())
    }

    /// Changes when targets were forgotten: what is kept of them elsewhere is nobody's any more.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Every target that has been called, by name.
    pub fn snapshot(&self) -> Vec<TargetStanding> {
        let now = clock::now();
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let each = targets.iter().flat_map(|(provider, models)| {
            models.iter().map(move |(model, health)| health.describe(provider, model, now))
        });
        let mut standings: Vec<_> = each.collect();
        standings.sort_by(|a, b| (&a.provider, &a.model).cmp(&(&b.provider, &b.model)));
        standings
    }

    /// Whether a key may be used, as far as is known.
    pub(super) fn key_is_fit(&self, key: u64, now: Timestamp) -> bool {
        let keys = self.keys();
        let standing = keys.get(&key).map(|circuit| circuit.standing(now));
        !matches!(standing, Some(Standing::Cooling { .. }))
    }

    /// A key was refused: it cools down by itself, at once.
    pub(super) fn key_failed(&self, key: u64, rule: Rule, wait_ms: Option<u64>) {
        let now = clock::now();
        let mut keys = self.keys();
        if keys.len() >= MOST_KEYS {
            keys.retain(|_, circuit| matches!(circuit.standing(now), Standing::Cooling { .. }));
        }
        if keys.len() < MOST_KEYS || keys.contains_key(&key) {
            let at_once = Rule { failures: 1, ..rule };
            keys.entry(key).or_default().failed(at_once, wait_ms, now);
        }
    }

    pub(super) fn key_succeeded(&self, key: u64) {
        self.keys().remove(&key);
    }

    fn keys(&self) -> MutexGuard<'_, Map<u64, Circuit>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TargetHealth {
    fn is_troubled(&self) -> bool {
        self.is_troubled.load(Ordering::Relaxed)
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        if self.is_troubled() { self.circuit().standing(now) } else { Standing::Healthy }
    }

    /// An attempt is about to be made.
    pub(super) fn begin(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.is_troubled() {
            self.circuit().begin(clock::now());
        }
    }

    /// An attempt found the target well.
    pub(super) fn succeeded(&self) {
        if self.is_troubled() {
            let mut circuit = self.circuit();
            circuit.succeeded();
            self.is_troubled.store(false, Ordering::Relaxed);
        }
    }

    /// An attempt began to be answered.
    fn answered(&self) {
        if self.is_troubled() {
            self.circuit().answered();
        }
    }

    /// An attempt ended without a word about the target: its client left, say.
    pub(super) fn undecided(&self) {
        if self.is_troubled() {
            self.circuit().undecided();
        }
    }

    /// An attempt failed, for a reason in a few words.
    pub(super) fn failed(&self, rule: Rule, wait_ms: Option<u64>, reason: String) {
        let now = clock::now();
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut circuit = self.circuit();
        circuit.failed(rule, wait_ms, now);
        self.is_troubled.store(true, Ordering::Relaxed);
        drop(circuit);
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((now, reason));
    }

    /// Takes a retry out of the target's budget, if there is one.
    pub(super) fn may_retry(&self, percent: u64) -> bool {
        let calls = self.calls.load(Ordering::Relaxed);
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let new = calls.saturating_sub(retries.earned_for);
        retries.earned_for = calls;
        retries.budget.earn(new.saturating_mul(percent));
        percent > 0 && retries.budget.take()
    }

    fn describe(&self, provider: &Arc<str>, model: &Arc<str>, now: Timestamp) -> TargetStanding {
        let (state, cooling_until) = match self.standing(now) {
            Standing::Healthy => ("healthy", None),
            Standing::Due => ("due", None),
            Standing::Cooling { until } => ("cooling", Some(until)),
        };
        let last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (last_failure_at, last_failure) = last.unzip();
        TargetStanding {
            provider: provider.to_string(),
            model: model.to_string(),
            state,
            cooling_until,
            attempts: self.calls.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            last_failure,
            last_failure_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { failures: 1, cooldown_ms: 60_000 };

    fn name(text: impl AsRef<str>) -> Arc<str> {
        Arc::from(text.as_ref())
    }

    #[test]
    fn what_fails_is_remembered_and_shown() {
        let health = Health::default();
        let target = health.target(&name("a"), &name("m"));
        target.begin();
        target.failed(RULE, None, "status 503".to_owned());
        let again = health.target(&name("a"), &name("m"));
        assert!(matches!(again.standing(clock::now()), Standing::Cooling { .. }));
        let shown = health.snapshot();
        assert_eq!((shown.len(), shown[0].state, shown[0].failed), (1, "cooling", 1));
        assert_eq!(shown[0].last_failure.as_deref(), Some("status 503"));
        again.succeeded();
        assert_eq!(health.snapshot()[0].state, "healthy");
    }

    #[test]
    fn made_up_names_are_forgotten_before_what_is_in_trouble() {
        let health = Health::default();
        health.target(&name("a"), &name("m")).failed(RULE, None, String::new());
        for index in 0..3 * MOST_TARGETS {
            health.target(&name("a"), &name(format!("made-up-{index}")));
        }
        assert!(health.snapshot().len() <= MOST_TARGETS);
        assert!(health.target(&name("a"), &name("m")).is_troubled());
    }

    #[test]
    fn a_key_cools_down_alone() {
        let health = Health::default();
        health.key_failed(1, RULE, None);
        let now = clock::now();
        assert!(!health.key_is_fit(1, now) && health.key_is_fit(2, now));
        health.key_succeeded(1);
        assert!(health.key_is_fit(1, now));
    }
}
