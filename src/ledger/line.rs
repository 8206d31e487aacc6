//! The waiting line of an account: calls that will fit once other calls' holds have ended, first
//! come, first served.
//!
//! Whoever ends a hold serves the line; who stands in it sleeps. A place that is given up, because the
//! client left or lost patience, gives back what it was granted in the same instant.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::domain::budget::{Starts, Verdict};
use crate::domain::money::Money;

/// What became of a place in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// The money is set aside.
    Granted(Starts),
    /// It cannot fit any more, whoever else ends: decide anew.
    Turned(Verdict),
}

struct Place {
    ticket: u64,
    ceiling: Money,
    answer: oneshot::Sender<Served>,
}

/// How many may stand in one account's line; who comes after them is told to come back later.
const LONGEST: usize = 10_000;

#[derive(Default)]
pub(super) struct Line {
    places: VecDeque<Place>,
    tickets: u64,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Takes a place at the end; `None` when the line is as long as it may be.
    pub(super) fn join(&mut self, ceiling: Money) -> Option<(u64, oneshot::Receiver<Served>)> {
        if self.places.len() >= LONGEST {
            return None;
        }
        self.tickets += 1;
        let (answer, receiver) = oneshot::channel();
        self.places.push_back(Place { ticket: self.tickets, ceiling, answer });
        Some((self.tickets, receiver))
    }

    /// Gives a place up; does nothing if it was served already.
    pub(super) fn leave(&mut self, ticket: u64) {
        self.places.retain(|place| place.ticket != ticket);
    }

    /// Serves from the front as long as `serve` has an answer for a ceiling. `refund` takes back what
    /// was granted to somebody who had just left.
    pub(super) fn serve<B>(
        &mut self,
        balance: &mut B,
        serve: impl Fn(&mut B, Money) -> Option<Served>,
        refund: impl Fn(&mut B, Money, Starts),
    ) {
        while let Some(front) = self.places.front() {
            let ceiling = front.ceiling;
            let Some(served) = serve(balance, ceiling) else { return };
            let Some(place) = self.places.pop_front() else { return };
            if let Err(Served::Granted(starts)) = place.answer.send(served) {
                refund(balance, ceiling, starts);
            }
        }
    }
}
