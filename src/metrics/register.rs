//! Which labels there are, and the cells of each: one set for each worker, made when it first counts
//! there.
//!
//! A register never grows beyond its room: who asks is told, and counts elsewhere.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many threads have cells of their own; more share them, which costs time and nothing else.
pub(super) const SHARDS: usize = 16;

/// The number of this thread among those with cells.
pub(super) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    MINE.try_with(|mine| *mine).unwrap_or(0)
}

type Shards<C> = [Option<Arc<C>>; SHARDS];

/// Cells by label.
#[derive(Debug)]
pub(super) struct Register<L, C>(Mutex<HashMap<L, Shards<C>>>);

impl<L, C> Default for Register<L, C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Hash + Eq + Clone, C: Default> Register<L, C> {
    fn lock(&self) -> MutexGuard<'_, HashMap<L, Shards<C>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This thread's cells for `labels`; `None` if they are new and there is no room beside `most`.
    pub(super) fn cells(&self, labels: &L, most: usize) -> Option<Arc<C>> {
        let mut known = self.lock();
        if !known.contains_key(labels) && known.len() >= most {
            return None;
        }
        let shards = known.entry(labels.clone()).or_default();
        Some(Arc::clone(shards[shard()].get_or_insert_default()))
    }

    /// The cells of all threads for each of the labels, in the labels' order.
    pub(super) fn all(&self) -> Vec<(L, Vec<Arc<C>>)>
    where
        L: Ord,
    {
        let known = self.lock();
        let each = known.iter().map(|(labels, shards)| {
            (labels.clone(), shards.iter().flatten().cloned().collect::<Vec<_>>())
        });
        let mut all: Vec<_> = each.collect();
        drop(known);
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_never_larger_than_its_room() {
        let register = Register::<u64, AtomicUsize>::default();
        for label in 0..100 {
            assert_eq!(register.cells(&label, 3).is_some(), label < 3);
        }
        assert!(register.cells(&2, 3).is_some(), "what is known stays so");
        assert_eq!(register.all().len(), 3);
    }

    #[test]
    fn threads_count_apart_and_are_seen_together() {
        let register = Register::<u64, AtomicUsize>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let cells = register.cells(&1, 1).unwrap();
                        cells.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let all = register.all();
        let sum: usize = all[0].1.iter().map(|cell| cell.load(Ordering::Relaxed)).sum();
        assert_eq!(sum, 4_000);
    }
}
