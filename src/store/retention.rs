//! Deletes receipts and entries of the audit log that were kept long enough, a few rows at a time, so that nobody waits for it
//! and a year's worth does not go in one transaction.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Pruned, Store};
use crate::domain::window::Timestamp;

/// How often it is looked for receipts that have grown too old.
const EVERY: Duration = Duration::from_mins(10);
/// Rows in one transaction: a megabyte.
const BATCH: usize = 64;
/// Entries of the audit log in one transaction.
const AUDIT_BATCH: usize = 1_000;
/// Between two transactions, so that the journal comes in between.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    woken: Condvar,
}

impl Stop {
    /// Waits, and says whether it is time to stop.
    fn wait(&self, length: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.woken.wait_timeout_while(asked, length, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What is too old to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub receipts: Timestamp,
    pub audit: Timestamp,
}

/// The thread that deletes; dropping this ends it.
pub struct Retention {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Retention {
    /// Starts deleting what is from before the instants that `ends` says, whenever it is asked.
    pub fn start(store: Arc<Store>, ends: impl Fn() -> Ends + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let told = Arc::clone(&stop);
        let run = move || {
            while !(prune_receipts(&store, &ends, &told)
                || prune_audit(&store, &ends, &told)
                || told.wait(EVERY))
            {}
        };
        let thread = std::thread::Builder::new().name("retention".to_owned()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Deletes until nothing as old is left; `true` when it was told to stop.
fn prune_receipts(store: &Store, ends: &impl Fn() -> Ends, stop: &Stop) -> bool {
    let mut deleted = 0;
    let stopped = loop {
        match store.prune_receipts(ends().receipts, BATCH) {
            Ok(Pruned { receipts, is_done }) => {
                deleted += receipts;
                if is_done {
                    break false;
                }
            }
            Err(error) => {
                tracing::warn!("old receipts cannot be deleted for now: {error}");
                break false;
            }
        }
        if stop.wait(PAUSE) {
            break true;
        }
    };
    if deleted > 0 {
        tracing::info!(receipts = deleted, "receipts were deleted because of their age");
    }
    stopped
}

/// The same for the audit log.
fn prune_audit(store: &Store, ends: &impl Fn() -> Ends, stop: &Stop) -> bool {
    loop {
        match store.prune_audit(ends().audit, AUDIT_BATCH) {
            Ok(deleted) if deleted < AUDIT_BATCH => return false,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("old entries of the audit log cannot be deleted for now: {error}");
                return false;
            }
        }
        if stop.wait(PAUSE) {
            return true;
        }
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        *self.stop.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.woken.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
