//! What is counted while calls run, for Prometheus to read.
//!
//! To count costs a call a few additions: no lock, no text, no wait for another worker. What a call's
//! labels are is found out once for each worker and remembered there.
//!
//! There is an end to what is told apart: the first [`MOST_CALLS`] sets of key, provider and model, and
//! the first [`MOST_TARGETS`] of provider and model, have series of their own; all others are counted
//! together as `other`. A name that a client made up is never a label: see [`Naming`].

mod cells;
pub mod histogram;
pub mod page;
mod register;
mod tally;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::domain::key::KeyId;
use crate::domain::receipt::Receipt;
use crate::domain::window::Timestamp;
use cells::{CallCells, Calls, TargetCells, WorkerCells};
use histogram::{Counted, Histogram, OWN, PROVIDER, WAITING};
use page::{Kind, Page};
use register::{Register, SHARDS, shard};
use tally::Tally;

/// The most sets of key, provider and model.
pub const MOST_CALLS: usize = 2_000;
/// The most sets of provider and model.
pub const MOST_TARGETS: usize = 200;
/// What stands for all that is not told apart.
pub const OTHER: &str = "other";

static OTHER_NAME: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(OTHER));

/// How a model is called in labels, by its provider, the name that the client asked for and the name
/// that the provider was asked for. It must make no more names than the configuration and the price
/// list have.
pub type Naming = dyn Fn(&str, &str, &str) -> Arc<str> + Send + Sync;

/// Everything that is counted. Counts begin at zero with the process.
pub struct Metrics {
    /// Tells the counts of one server from those of another in the same process.
    instance: u64,
    /// One up whenever models may be called otherwise in labels.
    generation: AtomicU64,
    began: Timestamp,
    naming: Option<Box<Naming>>,
    calls: Register<CallLabels, CallCells>,
    targets: Register<TargetLabels, TargetCells>,
    workers: [WorkerCells; SHARDS],
    refused: Tally<()>,
    failed: Tally<Arc<str>>,
    waited: Histogram,
    voided: AtomicU64,
    abandoned: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct CallLabels {
    /// `None` for those that are not told apart.
    key: Option<KeyId>,
    target: TargetLabels,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct TargetLabels {
    provider: Arc<str>,
    model: Arc<str>,
}

/// What a worker remembers of calls like one that it has seen.
struct Known {
    instance: u64,
    generation: u64,
    key: KeyId,
    provider: Arc<str>,
    model: Arc<str>,
    upstream_model: Arc<str>,
    calls: Arc<CallCells>,
    target: Arc<TargetCells>,
}

/// How many kinds of calls a worker remembers. Of two that fall on the same place the later stays.
const REMEMBERED: usize = 1 << 10;

thread_local! {
    static KNOWN: RefCell<Vec<Option<Known>>> = const { RefCell::new(Vec::new()) };
}

impl Default for Metrics {
    fn default() -> Self {
        static INSTANCES: AtomicU64 = AtomicU64::new(0);
        Self {
            instance: INSTANCES.fetch_add(1, Ordering::Relaxed),
            generation: AtomicU64::new(0),
            began: Timestamp::MIN,
            naming: None,
            calls: Register::default(),
            targets: Register::default(),
            workers: std::array::from_fn(|_| WorkerCells::default()),
            refused: Tally::default(),
            failed: Tally::default(),
            waited: Histogram::default(),
            voided: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Metrics whose models are called as `naming` says.
    pub fn new(
        began: Timestamp,
        naming: impl Fn(&str, &str, &str) -> Arc<str> + Send + Sync + 'static,
    ) -> Self {
        Self { began, naming: Some(Box::new(naming)), ..Self::default() }
    }

    /// When counting began.
    pub const fn began(&self) -> Timestamp {
        self.began
    }

    /// Has models named anew: the configuration has changed.
    pub fn rename(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// A receipt has been posted.
    pub fn posted(&self, receipt: &Receipt) {
        self.with_known(receipt, |calls, _| calls.count(receipt));
    }

    /// What a provider took for the call of a receipt: to the first of its answer, if that came, and to
    /// its end, if that came.
    pub fn timed(&self, receipt: &Receipt, first_byte: Option<Duration>, whole: Option<Duration>) {
        self.with_known(receipt, |_, target| {
            if let Some(first_byte) = first_byte {
                target.first_byte.observe(PROVIDER, first_byte);
            }
            if let Some(whole) = whole {
                target.whole.observe(PROVIDER, whole);
            }
        });
    }

    /// What the gateway itself took for a call.
    pub fn added(&self, duration: Duration) {
        self.workers[shard()].added.observe(OWN, duration);
    }

    /// A call's output was capped so that it could be afforded.
    pub fn clamped(&self) {
        self.workers[shard()].clamped.fetch_add(1, Ordering::Relaxed);
    }

    /// A call stood in line for money, whether it got any or not.
    pub fn waited(&self, duration: Duration) {
        self.waited.observe(WAITING, duration);
    }

    /// A call was not served, for a reason that has a name.
    pub fn refused(&self, reason: &'static str) {
        self.refused.count(&(), reason);
    }

    /// An attempt at a provider failed.
    pub fn attempt_failed(&self, provider: &Arc<str>, reason: &'static str) {
        self.failed.count(provider, reason);
    }

    /// A hold ended at nothing.
    pub fn voided(&self) {
        self.voided.fetch_add(1, Ordering::Relaxed);
    }

    /// A hold was posted whole because its call broke off inside the gateway.
    pub fn abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// Finds the cells of this thread for calls like that of `receipt`.
    fn with_known(&self, receipt: &Receipt, count: impl FnOnce(&CallCells, &TargetCells)) {
        let Receipt { key, provider, model, upstream_model, .. } = receipt;
        let generation = self.generation.load(Ordering::Acquire);
        let at = place(*key, provider, model);
        let mut count = Some(count);
        // A thread that is ending remembers nothing any more.
        let _ = KNOWN.try_with(|known| {
            let mut known = known.borrow_mut();
            if known.is_empty() {
                known.resize_with(REMEMBERED, || None);
            }
            let slot = &mut known[at];
            let is_it = slot.as_ref().is_some_and(|known| {
                known.instance == self.instance
                    && known.generation == generation
                    && known.key == *key
                    && same(&known.model, model)
                    && same(&known.provider, provider)
                    && same(&known.upstream_model, upstream_model)
            });
            if !is_it {
                *slot = Some(self.look_up(receipt, generation));
            }
            if let (Some(known), Some(count)) = (slot, count.take()) {
                count(&known.calls, &known.target);
            }
        });
        if let Some(count) = count {
            let known = self.look_up(receipt, generation);
            count(&known.calls, &known.target);
        }
    }

    fn look_up(&self, receipt: &Receipt, generation: u64) -> Known {
        let Receipt { key, provider, model, upstream_model, .. } = receipt;
        let name = self.naming.as_ref().map_or_else(
            || Arc::clone(&OTHER_NAME),
            |naming| naming(provider, model, upstream_model),
        );
        let labels = TargetLabels { provider: Arc::clone(provider), model: name };
        let others =
            TargetLabels { provider: Arc::clone(&OTHER_NAME), model: Arc::clone(&OTHER_NAME) };
        // The one for all others always finds room.
        let target = self.targets.cells(&labels, MOST_TARGETS);
        let labels = if target.is_some() { labels } else { others.clone() };
        let target = target.or_else(|| self.targets.cells(&others, usize::MAX));
        let one = CallLabels { key: Some(*key), target: labels };
        let all = CallLabels { key: None, target: one.target.clone() };
        let calls = self.calls.cells(&one, MOST_CALLS);
        let calls = calls.or_else(|| self.calls.cells(&all, MOST_CALLS + MOST_TARGETS + 1));
        Known {
            instance: self.instance,
            generation,
            key: *key,
            provider: Arc::clone(provider),
            model: Arc::clone(model),
            upstream_model: Arc::clone(upstream_model),
            calls: calls.unwrap_or_default(),
            target: target.unwrap_or_default(),
        }
    }

    /// Writes all that is counted here.
    pub fn write(&self, page: &mut Page) {
        self.write_calls(page);
        self.write_targets(page);
        self.write_own(page);
    }

    fn write_calls(&self, page: &mut Page) {
        let all = self.calls.all().into_iter().map(|(labels, cells)| {
            let mut calls = Calls::default();
            for cells in &cells {
                cells.add_to(&mut calls);
            }
            let key = labels.key.map_or_else(|| OTHER.to_owned(), |key| key.to_string());
            (key, labels.target, calls)
        });
        let all: Vec<_> = all.collect();
        let help = "Calls and billed attempts that have ended, by what their receipts say.";
        page.family("conduit_calls_total", Kind::Counter, help);
        for (key, target, calls) in &all {
            for (status, count) in calls.statuses() {
                page.sample(
                    &[named(key), target.provider(), target.model(), ("status", status)],
                    count,
                );
            }
        }
        let help = "Tokens that were used, by class; no token is in two classes.";
        page.family("conduit_tokens_total", Kind::Counter, help);
        for (key, target, calls) in &all {
            for (class, count) in calls.units().filter(|(class, _)| class.is_token()) {
                let class = ("class", class.name());
                page.sample(&[named(key), target.provider(), target.model(), class], count);
            }
        }
        let help = "What is charged for beside tokens: searches, images, characters, and so on.";
        page.family("conduit_units_total", Kind::Counter, help);
        for (key, target, calls) in &all {
            for (class, count) in calls.units().filter(|(class, _)| !class.is_token()) {
                let class = ("class", class.name());
                page.sample(&[named(key), target.provider(), target.model(), class], count);
            }
        }
        let help = "What calls have cost, in dollars: the sum of their receipts.";
        page.family("conduit_spend_usd_total", Kind::Counter, help);
        for (key, target, calls) in &all {
            page.sample(&[named(key), target.provider(), target.model()], calls.spend);
        }
    }

    fn write_targets(&self, page: &mut Page) {
        let all = self.targets.all();
        let sum = |cells: &[Arc<TargetCells>], of: fn(&TargetCells) -> &Histogram| {
            let mut counted = Counted::default();
            for cells in cells {
                of(cells).add_to(&mut counted);
            }
            counted
        };
        let help = "From a request having been sent to the end of its provider's answer, where that was whole and no error.";
        page.family("conduit_upstream_duration_seconds", Kind::Histogram, help);
        for (target, cells) in &all {
            let counted = sum(cells, |cells| &cells.whole);
            page.histogram(&[target.provider(), target.model()], PROVIDER, &counted);
        }
        let help =
            "From a request having been sent to the first of the body of its provider's answer.";
        page.family("conduit_upstream_first_byte_seconds", Kind::Histogram, help);
        for (target, cells) in &all {
            let counted = sum(cells, |cells| &cells.first_byte);
            page.histogram(&[target.provider(), target.model()], PROVIDER, &counted);
        }
        let help = "Attempts at a provider that failed, by what was wrong.";
        page.family("conduit_upstream_failures_total", Kind::Counter, help);
        for ((provider, reason), count) in self.failed.all() {
            page.sample(&[("provider", &provider), ("reason", reason)], count);
        }
    }

    fn write_own(&self, page: &mut Page) {
        let (mut added, mut clamped) = (Counted::default(), 0_u64);
        for worker in &self.workers {
            worker.added.add_to(&mut added);
            clamped = clamped.saturating_add(worker.clamped.load(Ordering::Relaxed));
        }
        let help = "What the gateway itself adds to a call that is neither queued nor tried again: \
                    from its body having come to its being sent, and from its answer having come, \
                    or the first of a stream, to that being shown.";
        page.family("conduit_added_latency_seconds", Kind::Histogram, help);
        page.histogram(&[], OWN, &added);
        let help = "How long calls stood in line for money that other calls of their key hold.";
        page.family("conduit_wait_duration_seconds", Kind::Histogram, help);
        page.histogram(&[], WAITING, &self.waited.counted());
        let help = "Calls whose output was capped so that their limit could afford them.";
        page.single("conduit_clamped_total", Kind::Counter, help, clamped);
        let help = "Requests to the gateway that were not served, by the code of their error.";
        page.family("conduit_refused_total", Kind::Counter, help);
        for (((), reason), count) in self.refused.all() {
            page.sample(&[("reason", reason)], count);
        }
        let help = "Holds that ended at nothing, because their call was never sent.";
        page.single(
            "conduit_voided_total",
            Kind::Counter,
            help,
            self.voided.load(Ordering::Relaxed),
        );
        let help = "Holds that were posted whole because their call broke off inside the gateway.";
        let abandoned = self.abandoned.load(Ordering::Relaxed);
        page.single("conduit_abandoned_total", Kind::Counter, help, abandoned);
    }
}

impl TargetLabels {
    fn provider(&self) -> page::Label<'_> {
        ("provider", &self.provider)
    }

    fn model(&self) -> page::Label<'_> {
        ("model", &self.model)
    }
}

fn named(key: &str) -> page::Label<'_> {
    ("key", key)
}

/// Where a worker remembers calls of this kind: eight bytes of the names at a time, because this is done
/// for every call.
fn place(key: KeyId, provider: &str, model: &str) -> usize {
    let mut hash = key.bits();
    for name in [provider, model] {
        for part in name.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash = hash.rotate_left(29);
        }
    }
    usize::try_from(hash >> (u64::BITS - REMEMBERED.ilog2())).unwrap_or(0)
}

/// Whether two names are equal; most are the same.
fn same(one: &Arc<str>, other: &Arc<str>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("instance", &self.instance).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
