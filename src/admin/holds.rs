//! Money that is set aside right now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AdminError, Desk, Verb};
use crate::clock;
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::request_id::RequestId;
use crate::domain::window::Timestamp;

/// Lists the holds that are open, oldest first. Where no server runs there are none: opening the store
/// posts what a crash left open.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListHolds {}

/// A call under way.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HoldView {
    pub id: RequestId,
    pub key_id: KeyId,
    pub key_name: Option<String>,
    pub model: String,
    pub provider: String,
    pub endpoint: String,
    pub amount_usd: Money,
    pub since: Timestamp,
    pub age_ms: u64,
}

impl Verb for ListHolds {
    type Answer = Vec<HoldView>;
    const PATH: &'static str = "holds";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<HoldView>, AdminError> {
        let mut open = desk.ledger.store().open_holds()?;
        open.sort_by_key(|hold| hold.id);
        let now = clock::now();
        let views = open.into_iter().map(|hold| HoldView {
            id: hold.id,
            key_id: hold.key,
            key_name: desk.key_name(hold.key),
            model: hold.model.to_string(),
            provider: hold.provider.to_string(),
            endpoint: hold.endpoint.to_string(),
            amount_usd: hold.amount,
            since: hold.id.began(),
            age_ms: now.millis_since(hold.id.began()),
        });
        Ok(views.collect())
    }
}
