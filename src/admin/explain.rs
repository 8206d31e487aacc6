//! How the cost of a call came about: the arithmetic of its receipt, done again, and the receipts of
//! the attempts that belong to it.
//!
//! It never takes a receipt's word for its cost: the sum is made anew, and where the two do not agree
//! it says so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::receipts::{PAGE, ReceiptView};
use super::{AdminError, Desk, Verb};
use crate::domain::money::Money;
use crate::domain::receipt::{Ending, Metered, Receipt};
use crate::domain::request_id::RequestId;
use crate::store::ReceiptFilter;

/// Later attempts are posted after the first, which has the call's own id; none takes so long.
const POSTED_LATER_MS: u64 = 24 * 60 * 60 * 1_000;

/// Shows how the cost of a call came about.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    pub id: RequestId,
}

/// A receipt with its arithmetic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    #[serde(flatten)]
    pub receipt: ReceiptView,
    /// The sum of the lines, to the last digit.
    pub sum_usd: String,
    /// The sum, rounded up once to the nano-dollar.
    pub rounded_usd: Money,
    /// Whether the cost is what the receipt's own figures come to.
    pub adds_up: bool,
    /// Why the cost is what it is.
    pub because: String,
    /// The other attempts at this call, oldest first.
    pub attempts: Vec<AttemptView>,
    /// The cost with that of all other attempts.
    pub with_attempts_usd: Money,
}

/// An attempt at a call that has a receipt of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    pub id: RequestId,
    pub provider: String,
    pub upstream_model: String,
    pub status: u16,
    pub ending: Ending,
    pub metered: Metered,
    pub cost_usd: Money,
}

impl From<&Receipt> for AttemptView {
    fn from(receipt: &Receipt) -> Self {
        Self {
            id: receipt.id,
            provider: receipt.provider.to_string(),
            upstream_model: receipt.upstream_model.to_string(),
            status: receipt.status,
            ending: receipt.ending,
            metered: receipt.metered,
            cost_usd: receipt.cost,
        }
    }
}

impl Verb for Explain {
    type Answer = Explanation;
    const PATH: &'static str = "receipts/explain";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Explanation, AdminError> {
        let store = desk.ledger.store();
        store.journal().put_away_now();
        let Some(receipt) = store.receipt(self.id)? else {
            let open = store.open_holds()?.into_iter().any(|hold| hold.id == self.id);
            return Err(not_found(self.id, open));
        };
        let attempts = attempts(desk, &receipt)?;
        let costs = attempts.iter().map(|attempt| attempt.cost_usd);
        let sum = receipt.sum();
        Ok(Explanation {
            receipt: ReceiptView::new(desk, &receipt),
            sum_usd: sum.to_string(),
            rounded_usd: sum.total(),
            adds_up: receipt.adds_up(),
            because: because(&receipt).to_owned(),
            with_attempts_usd: costs.fold(receipt.cost, Money::saturating_add),
            attempts,
        })
    }
}

fn not_found(id: RequestId, is_open: bool) -> AdminError {
    AdminError::NotFound(if is_open {
        format!("{id} is still under way: its receipt is written when it ends")
    } else {
        format!(
            "there is no receipt of {id}: it may be older than `store.receipts_keep`, or the call \
             was refused before anything was set aside for it"
        )
    })
}

fn attempts(desk: &Desk, receipt: &Receipt) -> Result<Vec<AttemptView>, AdminError> {
    if receipt.of.is_some() {
        return Ok(Vec::new());
    }
    let filter = ReceiptFilter {
        of: Some(receipt.id),
        since: receipt.id.began().min(receipt.at),
        until: Some(receipt.at.plus_millis(POSTED_LATER_MS)),
        ..ReceiptFilter::default()
    };
    let found = desk.ledger.store().latest_receipts(&filter, PAGE)?;
    Ok(found.iter().rev().map(AttemptView::from).collect())
}

fn because(receipt: &Receipt) -> &'static str {
    if !receipt.adds_up() {
        return "this does not add up: the cost is not what the lines come to, and nothing in the \
                receipt says why";
    }
    if receipt.provider_cost.is_some_and(|provider| provider.counts) {
        return "the provider's own figure, which takes the place of the sum";
    }
    let is_sum = receipt.cost == receipt.sum().total();
    if receipt.has_gap() && !is_sum {
        return "a part of it has a price that nobody knows: all that was held";
    }
    match receipt.metered {
        Metered::Recovered => {
            "the process ended during the call, and nobody knows what it used: all that was held"
        }
        Metered::Nothing => "nothing was used",
        Metered::Reported => {
            "what the provider reported, at these prices, rounded up once to the nano-dollar"
        }
        Metered::Estimated if is_sum => {
            "what was counted here, because the provider reported nothing, at these prices, rounded \
             up once to the nano-dollar"
        }
        Metered::Estimated => "the answer could not be read: all that was held",
    }
}
