//! Sums of receipts: what reports are made of, so that they need not read every receipt.
//!
//! Version 2 is written. Version 1, of the first stores, is read: it did not say how long calls took.

use crate::domain::codec::{DecodeError, Decoder, Encoder};
use crate::domain::durations::Durations;
use crate::domain::money::Money;
use crate::domain::receipt::{Ending, Metered, Written};
use crate::domain::usage::{Class, Usage};

/// The sum of some receipts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub calls: u64,
    /// Calls that were answered with an error.
    pub failed: u64,
    /// Calls whose usage was counted by us, or whose hold was posted after a crash.
    pub estimated: u64,
    pub cost: Money,
    pub usage: Usage,
    /// How long the first byte took, of calls whose answer was none of an error and went out whole.
    pub first_byte: Durations,
    /// How long the same calls took from beginning to end.
    pub whole: Durations,
}

const VERSION: u64 = 2;

impl Totals {
    pub fn add_receipt(&mut self, receipt: &Written<'_>) {
        self.calls += 1;
        self.failed += u64::from(receipt.status >= 400);
        let is_estimate = matches!(receipt.metered, Metered::Estimated | Metered::Recovered);
        self.estimated += u64::from(is_estimate);
        self.cost = self.cost.saturating_add(receipt.cost);
        self.usage.add(&receipt.usage);
        // An error that comes at once, or a client that leaves, says nothing about how fast answers are.
        if receipt.status < 400 && receipt.ending == Ending::Done {
            receipt.first_byte_ms.into_iter().for_each(|millis| self.first_byte.record(millis));
            self.whole.record(receipt.total_ms);
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.estimated += other.estimated;
        self.cost = self.cost.saturating_add(other.cost);
        self.usage.add(&other.usage);
        self.first_byte.add(&other.first_byte);
        self.whole.add(&other.whole);
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.number(VERSION);
        for count in [self.calls, self.failed, self.estimated, self.cost.nano()] {
            out.number(count);
        }
        out.number(self.usage.counted().count() as u64);
        for (class, count) in self.usage.counted() {
            out.number(class as u64);
            out.number(count);
        }
        self.first_byte.encode(&mut out);
        self.whole.encode(&mut out);
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        let version = input.version(VERSION)?;
        let mut totals = Self {
            calls: input.number()?,
            failed: input.number()?,
            estimated: input.number()?,
            cost: Money::from_nano(input.number()?),
            ..Self::default()
        };
        for _ in 0..input.number()? {
            let class = input.number()?;
            let class = Class::from_index(class).ok_or(DecodeError::Unknown(class))?;
            totals.usage.set(class, input.number()?);
        }
        if version >= 2 {
            totals.first_byte = Durations::decode(&mut input)?;
            totals.whole = Durations::decode(&mut input)?;
        }
        Ok(totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_back_and_so_are_those_of_the_first_stores() {
        let mut totals = Totals { calls: 3, failed: 1, estimated: 2, ..Totals::default() };
        totals.cost = Money::from_nano(77);
        totals.usage.set(Class::Input, 5);
        totals.first_byte.record(120);
        totals.whole.record(3_000);
        assert_eq!(Totals::decode(&totals.encode()), Ok(totals.clone()));
        // Version, calls, failed, estimated, cost, one class: its number and its count.
        let first = [1, 3, 1, 2, 77, 1, 0, 5];
        let read = Totals::decode(&first).unwrap();
        totals.first_byte = Durations::default();
        totals.whole = Durations::default();
        assert_eq!(read, totals);
    }
}
