//! How the gateway comes to its end, as those who answer calls see it: first connections are not kept,
//! then calls are refused. It also knows what is still being answered.
//!
//! Each worker counts for itself, on memory that no other worker writes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

/// Whether the gateway has been told to stop, and what of it still works.
#[derive(Debug, Default)]
pub struct Stopping {
    refuses: AtomicBool,
    closes: AtomicBool,
    closing: watch::Sender<bool>,
    workers: Mutex<Vec<Weak<Tally>>>,
}

impl Stopping {
    /// From here on every answer is the last one on its connection.
    pub fn close_connections(&self) {
        self.closes.store(true, Ordering::Release);
        self.closing.send_replace(true);
    }

    pub fn closes_connections(&self) -> bool {
        self.closes.load(Ordering::Relaxed)
    }

    /// Returns when connections are no longer to be kept.
    pub async fn closing(&self) {
        // The sender lives as long as `self`.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// From here on calls are refused.
    pub fn begin(&self) {
        self.refuses.store(true, Ordering::Release);
    }

    pub fn is_stopping(&self) -> bool {
        self.refuses.load(Ordering::Acquire)
    }

    /// What all workers have begun and ended to answer. A stream counts until its head has gone out;
    /// from there on its hold is what shows it.
    pub fn answers(&self) -> Answers {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|worker| worker.strong_count() > 0);
        let mut all = Answers::default();
        for tally in workers.iter().filter_map(Weak::upgrade) {
            // Ends first, so that an answer in between counts as one that goes on.
            all.ended += tally.ended.load(Ordering::Acquire);
            all.begun += tally.begun.load(Ordering::Acquire);
        }
        all
    }

    pub(super) fn worker(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::downgrade(&tally));
        tally
    }
}

/// So many answers were begun, and so many have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    pub begun: u64,
    pub ended: u64,
}

/// What one worker has begun and ended to answer, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Tally {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Tally {
    /// Counts an answer until the guard is dropped.
    pub(super) fn answer(&self) -> Answering<'_> {
        bump(&self.begun);
        Answering(self)
    }
}

/// One answer that is being made.
pub(super) struct Answering<'a>(&'a Tally);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        bump(&self.0.ended);
    }
}

/// One more, in a count that a single thread writes: nobody else's write can be lost.
fn bump(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_all_workers_are_counted_and_those_that_went_are_forgotten() {
        let stopping = Stopping::default();
        let (one, two) = (stopping.worker(), stopping.worker());
        let (first, second) = (one.answer(), two.answer());
        assert_eq!(stopping.answers(), Answers { begun: 2, ended: 0 });
        drop(first);
        assert_eq!(stopping.answers(), Answers { begun: 2, ended: 1 });
        drop(second);
        drop(two);
        assert_eq!(stopping.answers(), Answers { begun: 1, ended: 1 });
    }

    #[tokio::test]
    async fn who_waits_for_the_closing_is_told() {
        let stopping = Stopping::default();
        assert!(!stopping.closes_connections());
        stopping.close_connections();
        stopping.closing().await;
        assert!(stopping.closes_connections() && !stopping.is_stopping());
    }
}
