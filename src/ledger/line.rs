//! The waiting line of a key: calls that will fit once other calls' holds have ended,
//! first come, first served.
//!
//! Whoever ends a hold serves the line; who stands in it sleeps. A place that is given up, because the
//! client left or lost patience, gives back what it was granted in the same instant.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::hold::Refusal;
use crate::domain::budget::Starts;
use crate::domain::money::Money;

/// Money that is set aside: in which windows of the key, and of its team where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) starts: Starts,
    pub(super) team: Option<Starts>,
}

/// What became of a place in line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// The money is set aside.
    Granted(Granted),
    /// It cannot fit any more, whoever else ends: decide anew.
    Turned(Refusal),
    /// This is not the line to stand in any more: the key has another team.
    Elsewhere,
}

struct Place {
    ticket: u64,
    ceiling: Money,
    answer: oneshot::Sender<Served>,
}

/// How many may stand in one line; who comes after them is told to come back later.
const LONGEST: usize = 10_000;

/// The calls of one key that wait.
#[derive(Default)]
pub(super) struct Line {
    /// Tickets grow from front to back.
    places: VecDeque<Place>,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Takes a place at the end; `None` when the line is as long as it may be.
    pub(super) fn join(
        &mut self,
        ticket: u64,
        ceiling: Money,
    ) -> Option<oneshot::Receiver<Served>> {
        if self.places.len() >= LONGEST {
            return None;
        }
        let (answer, receiver) = oneshot::channel();
        self.places.push_back(Place { ticket, ceiling, answer });
        Some(receiver)
    }

    /// Gives a place up; does nothing if it was served already.
    pub(super) fn leave(&mut self, ticket: u64) {
        if let Ok(index) = self.places.binary_search_by_key(&ticket, |place| place.ticket) {
            self.places.remove(index);
        }
    }

    /// Whoever stands first, and what they ask for.
    pub(super) fn first(&self) -> Option<(u64, Money)> {
        self.places.front().map(|place| (place.ticket, place.ceiling))
    }

    /// Answers whoever stands first. Returns what was granted to somebody who had just left.
    #[must_use = "what is not taken must be given back"]
    pub(super) fn serve_first(&mut self, served: Served) -> Option<Granted> {
        let place = self.places.pop_front()?;
        match place.answer.send(served) {
            Err(Served::Granted(granted)) => Some(granted),
            Ok(()) | Err(Served::Turned(_) | Served::Elsewhere) => None,
        }
    }

    /// Sends everybody to another line.
    pub(super) fn send_away(&mut self) {
        for place in self.places.drain(..) {
            let _ = place.answer.send(Served::Elsewhere);
        }
    }
}
