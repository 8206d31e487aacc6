//! The waiting line of an account or a team: calls that will fit once other calls' holds have ended,
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

/// What serving a place comes to.
pub(super) enum Turn {
    Served(Served),
    /// It must wait, which is nothing to who stands behind it.
    Skipped,
    /// It must wait, and so must everybody behind it.
    Last,
}

/// A place; `who` tells the calls of a team's keys apart.
struct Place<W> {
    ticket: u64,
    who: W,
    ceiling: Money,
    answer: oneshot::Sender<Served>,
}

/// How many may stand in one line; who comes after them is told to come back later.
const LONGEST: usize = 10_000;

pub(super) struct Line<W> {
    places: VecDeque<Place<W>>,
    tickets: u64,
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self { places: VecDeque::new(), tickets: 0 }
    }
}

impl<W> Line<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Takes a place at the end; `None` when the line is as long as it may be.
    pub(super) fn join(
        &mut self,
        who: W,
        ceiling: Money,
    ) -> Option<(u64, oneshot::Receiver<Served>)> {
        if self.places.len() >= LONGEST {
            return None;
        }
        self.tickets += 1;
        let (answer, receiver) = oneshot::channel();
        self.places.push_back(Place { ticket: self.tickets, who, ceiling, answer });
        Some((self.tickets, receiver))
    }

    /// Gives a place up; does nothing if it was served already.
    pub(super) fn leave(&mut self, ticket: u64) {
        // Tickets grow from front to back.
        if let Ok(index) = self.places.binary_search_by_key(&ticket, |place| place.ticket) {
            self.places.remove(index);
        }
    }

    /// Sends those whom `moves` names to another line.
    pub(super) fn send_away(&mut self, moves: impl Fn(&W) -> bool) {
        for place in std::mem::take(&mut self.places) {
            if moves(&place.who) {
                let _ = place.answer.send(Served::Elsewhere);
            } else {
                self.places.push_back(place);
            }
        }
    }

    /// Serves from the front as far as `serve` says. `refund` takes back what was granted to somebody
    /// who had just left.
    pub(super) fn serve<B>(
        &mut self,
        books: &mut B,
        mut serve: impl FnMut(&mut B, &W, Money) -> Turn,
        refund: impl Fn(&mut B, &W, Money, Granted),
    ) {
        let mut index = 0;
        while let Some(place) = self.places.get(index) {
            let served = match serve(books, &place.who, place.ceiling) {
                Turn::Served(served) => served,
                Turn::Skipped => {
                    index += 1;
                    continue;
                }
                Turn::Last => return,
            };
            let Some(place) = self.places.remove(index) else { return };
            if let Err(Served::Granted(granted)) = place.answer.send(served) {
                refund(books, &place.who, place.ceiling, granted);
            }
        }
    }
}
