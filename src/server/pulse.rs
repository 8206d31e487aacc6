//! Whether the loops that serve calls still turn: each beats by itself, and one that is stuck stops.
//!
//! Nothing beats where nobody asked for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The beats of all workers.
pub(super) struct Pulse {
    began: Instant,
    /// How often a worker beats; not at all without it.
    every: Option<Duration>,
    workers: Mutex<Vec<Weak<AtomicU64>>>,
}

impl Pulse {
    pub(super) fn new(every: Option<Duration>) -> Self {
        Self { began: Instant::now(), every, workers: Mutex::default() }
    }

    /// Has the worker beat that calls this, for as long as its loop turns.
    pub(super) fn follow_worker(self: &Arc<Self>) {
        let Some(every) = self.every else { return };
        let beat = self.add_worker();
        let pulse = Arc::clone(self);
        actix_web::rt::spawn(async move {
            let mut tick = tokio::time::interval(every);
            loop {
                tick.tick().await;
                pulse.beat(&beat);
            }
        });
    }

    fn add_worker(&self) -> Arc<AtomicU64> {
        let beat = Arc::new(AtomicU64::new(self.elapsed()));
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::downgrade(&beat));
        beat
    }

    fn beat(&self, worker: &AtomicU64) {
        worker.store(self.elapsed(), Ordering::Release);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether at least so many workers live, and all of them have beaten within `age`.
    pub(super) fn is_steady(&self, at_least: usize, age: Duration) -> bool {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let now = self.elapsed();
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|worker| worker.strong_count() > 0);
        let mut beats = workers.iter().filter_map(Weak::upgrade);
        workers.len() >= at_least
            && beats.all(|beat| now.saturating_sub(beat.load(Ordering::Acquire)) <= age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_millis(50);

    #[test]
    fn one_worker_that_is_stuck_is_enough_to_worry() {
        let pulse = Pulse::new(Some(AGE));
        let (one, two) = (pulse.add_worker(), pulse.add_worker());
        assert!(pulse.is_steady(2, AGE) && !pulse.is_steady(3, AGE));
        std::thread::sleep(2 * AGE);
        pulse.beat(&one);
        assert!(!pulse.is_steady(2, AGE));
        pulse.beat(&two);
        assert!(pulse.is_steady(2, AGE));
        // One that has ended is missing.
        drop(two);
        assert!(!pulse.is_steady(2, AGE) && pulse.is_steady(1, AGE));
    }
}
