//! The thread that puts finished segments away in the store, while others are written.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::{PutAway, RETRY, Shared};
use crate::metrics::histogram::OWN;

/// Puts away what the keeper has finished.
pub(super) struct Folder<P> {
    shared: Arc<Shared>,
    put_away: P,
}

/// A finished segment, and how often it had been asked for by then.
struct Finished {
    last: u64,
    covered: u64,
}

impl<P: PutAway> Folder<P> {
    pub(super) const fn new(shared: Arc<Shared>, put_away: P) -> Self {
        Self { shared, put_away }
    }

    pub(super) fn run(mut self) {
        while let Some(Finished { last, covered }) = self.wait_for_work() {
            let began = Instant::now();
            let stored = self.put_away.put_away(last);
            let outcome = stored.map_err(|e| format!("the store cannot be written: {e}"));
            let is_stored = outcome.is_ok();
            self.shared.report(&self.shared.store_trouble, outcome);
            if is_stored {
                self.shared.put_aways.observe(OWN, began.elapsed());
                self.put_away.forget(last);
                self.shared.lock().folded = last;
                self.shared.work.notify_one();
                self.shared.answer(covered);
            } else {
                // It cannot be done for the time being, whoever asked.
                let asked = self.shared.lock().asked;
                self.shared.answer(asked);
                std::thread::sleep(RETRY);
            }
        }
    }

    /// Sleeps until a segment is finished; `None` once nothing more will be, or will be tried.
    fn wait_for_work(&self) -> Option<Finished> {
        let mut tail = self.shared.lock();
        loop {
            if tail.ended {
                return None;
            }
            if tail.finished > tail.folded {
                return Some(Finished { last: tail.finished, covered: tail.covered });
            }
            tail = self.shared.to_fold.wait(tail).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<P> Drop for Folder<P> {
    fn drop(&mut self) {
        self.shared.end("the thread that puts the journal away broke off");
    }
}
