//! Whether the books add up.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AdminError, Desk, Verb};
use crate::domain::money::Money;
use crate::store::Books;

/// Compares receipts, hourly totals, adjustments, accounts and windows, on the disk and in memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyBooks {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VerifyReport {
    pub agrees: bool,
    pub keys: u64,
    pub receipts: u64,
    /// Receipts that were deleted because of their age, of which sums are kept.
    pub pruned_receipts: u64,
    pub hourly_totals: u64,
    pub adjustments: u64,
    pub cost_usd: Money,
    pub differences: Vec<DifferenceView>,
}

/// Two places that should say the same and do not.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DifferenceView {
    /// The id of a key or a team.
    pub owner: String,
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl From<Books> for VerifyReport {
    fn from(books: Books) -> Self {
        let differences = books.differences.into_iter().map(|difference| DifferenceView {
            owner: difference.owner.to_string(),
            what: difference.what,
            expected: difference.expected,
            found: difference.found,
        });
        let differences: Vec<_> = differences.collect();
        Self {
            agrees: differences.is_empty(),
            keys: books.keys,
            receipts: books.receipts,
            pruned_receipts: books.pruned,
            hourly_totals: books.hours,
            adjustments: books.adjustments,
            cost_usd: books.cost,
            differences,
        }
    }
}

impl Verb for VerifyBooks {
    type Answer = VerifyReport;
    const PATH: &'static str = "verify";
    const CHANGES: bool = false;
    const PATIENCE: Duration = Duration::from_hours(1);

    fn run(self, desk: &Desk) -> Result<VerifyReport, AdminError> {
        Ok(desk.ledger.verify()?.into())
    }
}
