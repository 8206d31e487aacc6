//! Receipts, one by one, and the arithmetic of each.

use serde::{Deserialize, Serialize};

use super::keys::find;
use super::{AdminError, Desk, Verb};
use crate::domain::key::KeyId;
use crate::domain::money::{Charge, Money, Rate};
use crate::domain::pattern::Pattern;
use crate::domain::receipt::{Ending, Metered, Receipt};
use crate::domain::request_id::RequestId;
use crate::domain::window::Timestamp;
use crate::store::{ReceiptFilter, Statuses};

/// The most receipts in one answer; whoever wants more asks again for those after the last.
pub const PAGE: usize = 1_000;

/// Lists receipts, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListReceipts {
    pub key: Option<String>,
    pub model: Option<Pattern>,
    pub since: Option<Timestamp>,
    /// Up to but not with this instant.
    pub until: Option<Timestamp>,
    pub status: Option<Statuses>,
    /// Only those of calls whose end nobody saw.
    pub recovered: bool,
    /// How many at most; never more than [`PAGE`].
    pub limit: usize,
    /// Only those after this one: the last of the page before.
    pub after: Option<Place>,
}

impl Default for ListReceipts {
    fn default() -> Self {
        Self {
            key: None,
            model: None,
            since: None,
            until: None,
            status: None,
            recovered: false,
            limit: 50,
            after: None,
        }
    }
}

/// Where a receipt is among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub at: Timestamp,
    pub id: RequestId,
}

/// A receipt, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptView {
    pub id: RequestId,
    pub began: Timestamp,
    pub at: Timestamp,
    pub key_id: KeyId,
    pub key_name: Option<String>,
    pub model: String,
    pub provider: String,
    pub upstream_model: String,
    pub endpoint: String,
    pub status: u16,
    pub streamed: bool,
    pub ending: Ending,
    pub metered: Metered,
    pub service_tier: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub lines: Vec<LineView>,
    pub cost_usd: Money,
    pub held_usd: Money,
    /// Which price list: its source and date, `free` or `unknown`.
    pub price: String,
    pub first_byte_ms: Option<u64>,
    pub total_ms: u64,
}

/// So many of a class at a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineView {
    pub class: String,
    pub count: u64,
    pub usd_per_million: Rate,
    /// Their product, to the last digit.
    pub usd: String,
}

impl ReceiptView {
    pub(super) fn new(desk: &Desk, receipt: &Receipt) -> Self {
        let usage = receipt.usage();
        let lines = receipt.lines.iter().map(|line| {
            let mut charge = Charge::default();
            charge.add(line.count, line.rate);
            LineView {
                class: line.class.name().to_owned(),
                count: line.count,
                usd_per_million: line.rate,
                usd: charge.to_string(),
            }
        });
        Self {
            id: receipt.id,
            began: receipt.id.began(),
            at: receipt.at,
            key_id: receipt.key,
            key_name: desk.key_name(receipt.key),
            model: receipt.model.to_string(),
            provider: receipt.provider.to_string(),
            upstream_model: receipt.upstream_model.to_string(),
            endpoint: receipt.endpoint.to_string(),
            status: receipt.status,
            streamed: receipt.streamed,
            ending: receipt.ending,
            metered: receipt.metered,
            service_tier: receipt.service.name().to_owned(),
            input_tokens: usage.input_tokens(),
            output_tokens: usage.output_tokens(),
            lines: lines.collect(),
            cost_usd: receipt.cost,
            held_usd: receipt.held,
            price: receipt.price.to_string(),
            first_byte_ms: receipt.first_byte_ms,
            total_ms: receipt.total_ms,
        }
    }

    pub const fn place(&self) -> Place {
        Place { at: self.at, id: self.id }
    }
}

impl Verb for ListReceipts {
    type Answer = Vec<ReceiptView>;
    const PATH: &'static str = "receipts";

    fn run(self, desk: &Desk) -> Result<Vec<ReceiptView>, AdminError> {
        let key = self.key.as_deref().map(|key| find(desk, key)).transpose()?;
        let filter = ReceiptFilter {
            key: key.map(|key| key.id()),
            model: self.model,
            since: self.since.unwrap_or(Timestamp::MIN),
            until: self.until,
            status: self.status,
            recovered: self.recovered,
            after: self.after.map(|place| (place.at, place.id)),
        };
        let store = desk.ledger.store();
        if self.after.is_none() {
            store.journal().put_away_now();
        }
        let receipts = store.latest_receipts(&filter, self.limit.min(PAGE))?;
        Ok(receipts.iter().map(|receipt| ReceiptView::new(desk, receipt)).collect())
    }
}

/// Shows how the cost of a call came about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    pub id: RequestId,
}

/// A receipt with its arithmetic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    #[serde(flatten)]
    pub receipt: ReceiptView,
    /// The sum of the lines, to the last digit.
    pub sum_usd: String,
    /// Why the cost is what it is.
    pub because: String,
}

impl Verb for Explain {
    type Answer = Explanation;
    const PATH: &'static str = "receipts/explain";

    fn run(self, desk: &Desk) -> Result<Explanation, AdminError> {
        let store = desk.ledger.store();
        store.journal().put_away_now();
        let Some(receipt) = store.receipt(self.id)? else {
            let open = store.open_holds()?.into_iter().any(|hold| hold.id == self.id);
            let id = self.id;
            return Err(AdminError::NotFound(if open {
                format!("{id} is still under way: its receipt is written when it ends")
            } else {
                format!(
                    "there is no receipt of {id}: it may be older than `store.receipts_keep`, or \
                     the call was refused before anything was set aside for it"
                )
            }));
        };
        let mut sum = Charge::default();
        for line in &receipt.lines {
            sum.add(line.count, line.rate);
        }
        Ok(Explanation {
            receipt: ReceiptView::new(desk, &receipt),
            sum_usd: sum.to_string(),
            because: because(&receipt, sum).to_owned(),
        })
    }
}

fn because(receipt: &Receipt, sum: Charge) -> &'static str {
    let is_sum = sum.total() == receipt.cost;
    match receipt.metered {
        Metered::Recovered => {
            "the process ended during the call, and nobody knows what it used: all that was held"
        }
        Metered::Nothing => "nothing was used",
        Metered::Reported if is_sum => {
            "what the provider reported, at these prices, rounded up once to the nano-dollar"
        }
        Metered::Reported => "the provider's own figure, which takes the place of the sum",
        Metered::Estimated if is_sum => {
            "what was counted here, because the provider reported nothing, at these prices, rounded \
             up once to the nano-dollar"
        }
        Metered::Estimated => "the answer could not be read: all that was held",
    }
}
