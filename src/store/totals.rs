//! Sums of receipts: what reports are made of, so that they need not read every receipt.

use crate::domain::codec::{DecodeError, Decoder, Encoder};
use crate::domain::money::Money;
use crate::domain::receipt::{Metered, Receipt};
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
}

const VERSION: u64 = 1;

impl Totals {
    pub fn add_receipt(&mut self, receipt: &Receipt) {
        self.calls += 1;
        self.failed += u64::from(receipt.status >= 400);
        let is_estimate = matches!(receipt.metered, Metered::Estimated | Metered::Recovered);
        self.estimated += u64::from(is_estimate);
        self.cost = self.cost.saturating_add(receipt.cost);
        self.usage.add(&receipt.usage());
    }

    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.estimated += other.estimated;
        self.cost = self.cost.saturating_add(other.cost);
        self.usage.add(&other.usage);
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
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        input.version(VERSION)?;
        let mut totals = Self {
            calls: input.number()?,
            failed: input.number()?,
            estimated: input.number()?,
            cost: Money::from_nano(input.number()?),
            usage: Usage::default(),
        };
        for _ in 0..input.number()? {
            let class = input.number()?;
            let class = Class::from_index(class).ok_or(DecodeError::Unknown(class))?;
            totals.usage.set(class, input.number()?);
        }
        Ok(totals)
    }
}
