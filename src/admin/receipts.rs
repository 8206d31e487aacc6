//! Receipts, one by one.

use serde::{Deserialize, Serialize};

use super::keys::find;
use super::{AdminError, Desk, Verb};
use crate::domain::key::KeyId;
use crate::domain::money::{Charge, Money, Rate};
use crate::domain::pattern::Pattern;
use crate::domain::price::Line;
use crate::domain::receipt::{Ending, Metered, Receipt};
use crate::domain::request_id::RequestId;
use crate::domain::usage::ServiceTier;
use crate::domain::window::Timestamp;
use crate::store::{ReceiptFilter, Statuses};

/// The most receipts in one answer; whoever wants more asks again for those after the last.
pub const PAGE: usize = 1_000;

/// Lists receipts, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub at: Timestamp,
    pub id: RequestId,
}

/// A receipt, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReceiptView {
    pub id: RequestId,
    /// The call that this is an attempt of.
    #[serde(default)]
    pub of: Option<RequestId>,
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
    /// What the provider says it cost.
    #[serde(default)]
    pub provider_cost_usd: Option<Money>,
    pub held_usd: Money,
    /// Which price list: its source and date, `free` or `unknown`.
    pub price: String,
    pub first_byte_ms: Option<u64>,
    pub total_ms: u64,
}

/// So many of a class at a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LineView {
    pub class: String,
    pub count: u64,
    pub usd_per_million: Rate,
    /// Their product, to the last digit.
    pub usd: String,
    /// The same in nano-dollars.
    pub nano_usd: String,
    /// Which of a list's rates it is: empty for the ordinary one of the class.
    pub why: String,
    /// The model whose list the rate is from, where it is another than the one that was called.
    pub model: Option<String>,
    /// The list has no rate for it: another stands in, named by `why`, or none where nobody knows any.
    pub unpriced: bool,
}

impl LineView {
    fn new(line: &Line) -> Self {
        let mut charge = Charge::default();
        charge.add(line.count, line.rate);
        Self {
            class: line.class.name().to_owned(),
            count: line.count,
            usd_per_million: line.rate,
            usd: charge.to_string(),
            nano_usd: nano(line),
            why: why(line),
            model: line.model.as_deref().map(str::to_owned),
            unpriced: line.unpriced,
        }
    }
}

/// Count times rate in nano-dollars, to the last digit.
fn nano(line: &Line) -> String {
    let product = u128::from(line.count) * u128::from(line.rate.nano_per_million());
    let (whole, fraction) = (product / 1_000_000, product % 1_000_000);
    let fraction = format!("{fraction:06}");
    match fraction.trim_end_matches('0') {
        "" => whole.to_string(),
        fraction => format!("{whole}.{fraction}"),
    }
}

fn why(line: &Line) -> String {
    let basis = &line.basis;
    let lack = match (line.unpriced, line.is_gap()) {
        (_, true) => Some("no price"),
        (true, false) => Some("no price of its own"),
        (false, false) => None,
    };
    let tier = Some(basis.service).filter(|tier| *tier != ServiceTier::Standard);
    let above = Some(basis.above_input_tokens).filter(|above| *above > 0);
    let parts = [
        lack.map(str::to_owned),
        basis.class.map(|class| format!("as {class}")),
        tier.map(|tier| format!("{} tier", tier.name())),
        above.map(|above| format!("prompt above {above} tokens")),
        basis.variant.as_deref().map(str::to_owned),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

impl ReceiptView {
    pub(super) fn new(desk: &Desk, receipt: &Receipt) -> Self {
        let usage = receipt.usage();
        Self {
            id: receipt.id,
            of: receipt.of,
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
            lines: receipt.lines.iter().map(LineView::new).collect(),
            cost_usd: receipt.cost,
            provider_cost_usd: receipt.provider_cost.map(|cost| cost.amount),
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
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<ReceiptView>, AdminError> {
        let key = self.key.as_deref().map(|key| find(desk, key)).transpose()?;
        let filter = ReceiptFilter {
            key: key.map(|key| key.id()),
            model: self.model,
            since: self.since.unwrap_or(Timestamp::MIN),
            until: self.until,
            status: self.status,
            recovered: self.recovered,
            of: None,
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
