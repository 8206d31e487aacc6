//! What is counted of calls with the same labels. A worker has cells of its own, so that no two wait for
//! one another's.

use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::Histogram;
use crate::domain::money::Money;
use crate::domain::receipt::Receipt;
use crate::domain::usage::Class;

/// The statuses that are told apart: those that providers and this program answer with.
const STATUSES: [u16; 27] = [
    200, 201, 202, 204, 206, 301, 302, 307, 308, 400, 401, 402, 403, 404, 405, 408, 409, 413, 415,
    422, 429, 499, 500, 502, 503, 504, 529,
];
/// Their names, and those of all others by their first digit.
const NAMES: [&str; STATUSES.len() + 5] = [
    "200", "201", "202", "204", "206", "301", "302", "307", "308", "400", "401", "402", "403",
    "404", "405", "408", "409", "413", "415", "422", "429", "499", "500", "502", "503", "504",
    "529", "1xx", "2xx", "3xx", "4xx", "5xx",
];

/// Where a status is in [`NAMES`].
fn place(status: u16) -> usize {
    if status == 200 {
        return 0;
    }
    let known = STATUSES.iter().position(|other| *other == status);
    known.unwrap_or_else(|| STATUSES.len() + usize::from(status / 100).clamp(1, 5) - 1)
}

/// Calls of one key to one model of one provider.
#[derive(Debug, Default)]
pub(super) struct CallCells {
    statuses: [AtomicU64; NAMES.len()],
    units: [AtomicU64; Class::COUNT],
    spend_nano: AtomicU64,
}

/// The sum of the cells of all workers.
#[derive(Debug, Default)]
pub(super) struct Calls {
    statuses: [u64; NAMES.len()],
    units: [u64; Class::COUNT],
    pub(super) spend: Money,
}

impl CallCells {
    pub(super) fn count(&self, receipt: &Receipt) {
        self.statuses[place(receipt.status)].fetch_add(1, Ordering::Relaxed);
        for line in &receipt.lines {
            self.units[line.class.index()].fetch_add(line.count, Ordering::Relaxed);
        }
        if !receipt.cost.is_zero() {
            self.spend_nano.fetch_add(receipt.cost.nano(), Ordering::Relaxed);
        }
    }

    pub(super) fn add_to(&self, calls: &mut Calls) {
        let statuses = calls.statuses.iter_mut().zip(&self.statuses);
        for (sum, cell) in statuses.chain(calls.units.iter_mut().zip(&self.units)) {
            *sum = sum.saturating_add(cell.load(Ordering::Relaxed));
        }
        let spend = Money::from_nano(self.spend_nano.load(Ordering::Relaxed));
        calls.spend = calls.spend.saturating_add(spend);
    }
}

impl Calls {
    /// How many calls had each status; those that none had are left out.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.into_iter().zip(self.statuses).filter(|(_, count)| *count > 0)
    }

    /// What was used, by class; classes that were not used are left out.
    pub(super) fn units(&self) -> impl Iterator<Item = (Class, u64)> + '_ {
        Class::ALL.into_iter().zip(self.units).filter(|(_, count)| *count > 0)
    }
}

/// How long one model of one provider took.
#[derive(Debug, Default)]
pub(super) struct TargetCells {
    pub(super) first_byte: Histogram,
    pub(super) whole: Histogram,
}

/// What is counted of all calls together.
#[derive(Debug, Default)]
pub(super) struct WorkerCells {
    pub(super) added: Histogram,
    pub(super) clamped: AtomicU64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_name_that_says_it() {
        for (index, status) in STATUSES.into_iter().enumerate() {
            assert_eq!((place(status), NAMES[index]), (index, status.to_string().as_str()));
        }
        for (status, name) in [(0, "1xx"), (199, "1xx"), (299, "2xx"), (418, "4xx"), (999, "5xx")] {
            assert_eq!(NAMES[place(status)], name);
        }
    }
}
