//! Counts by a name that is a word of this program, and by what else there is: of what is not on a
//! call's way.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use super::OTHER;

/// Names that are told apart.
const MOST: usize = 500;

/// Counts by `L` and a name.
#[derive(Debug)]
pub(super) struct Tally<L>(Mutex<HashMap<(L, &'static str), u64>>);

impl<L> Default for Tally<L> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Hash + Ord + Clone> Tally<L> {
    pub(super) fn count(&self, label: &L, name: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = (label.clone(), name);
        if counts.len() >= MOST && !counts.contains_key(&place) {
            place.1 = OTHER;
            if counts.len() >= 2 * MOST && !counts.contains_key(&place) {
                return;
            }
        }
        *counts.entry(place).or_default() += 1;
    }

    /// All counts, in order.
    pub(super) fn all(&self) -> Vec<((L, &'static str), u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = counts.iter().map(|(place, count)| (place.clone(), *count)).collect();
        drop(counts);
        all.sort();
        all
    }
}
