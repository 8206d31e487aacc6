//! Adjustments: money charged or given back besides what calls cost. Entries, never edits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forms::{Line, Reason};
use super::keys::find;
use super::{AdminError, Desk, Verb};
use crate::clock;
use crate::domain::adjustment::{Adjustment, AdjustmentId, Correction};
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::window::{Period, Timestamp};
use crate::ledger::Request;

/// The longest reason and the longest name of somebody, in characters.
const LONGEST_WHY: usize = 500;
const LONGEST_BY: usize = 128;

/// Charges a key or gives it back money, from now on and in its present windows. A credit takes from
/// each window at most what was spent in it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adjust {
    /// Chosen by whoever asks, so that asking again after a lost answer adjusts once.
    #[serde(default)]
    pub id: Option<AdjustmentId>,
    pub key: String,
    /// `0.50` charges, `-0.50` credits.
    pub amount_usd: Correction,
    #[schemars(with = "Reason")]
    pub why: String,
    #[serde(default)]
    #[schemars(with = "Line")]
    pub by: String,
}

/// An adjustment, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdjustmentView {
    pub id: AdjustmentId,
    pub at: Timestamp,
    pub key_id: KeyId,
    pub key_name: Option<String>,
    pub amount_usd: Correction,
    pub why: String,
    pub by: String,
    pub windows: Vec<CountedView>,
}

/// How much of an adjustment counts in a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountedView {
    pub period: Period,
    pub starts_at: Timestamp,
    pub counted_usd: Money,
}

fn view(desk: &Desk, adjustment: &Adjustment) -> AdjustmentView {
    let windows = Period::ALL.map(|period| CountedView {
        period,
        starts_at: adjustment.starts[period.index()],
        counted_usd: adjustment.counted[period.index()],
    });
    AdjustmentView {
        id: adjustment.id,
        at: adjustment.at,
        key_id: adjustment.key,
        key_name: desk.key_name(adjustment.key),
        amount_usd: adjustment.correction,
        why: adjustment.why.clone(),
        by: adjustment.by.clone(),
        windows: windows.to_vec(),
    }
}

fn check(member: &'static str, what: &str, text: &str, longest: usize) -> Result<(), AdminError> {
    let problem = if text.chars().count() > longest {
        format!("is longer than {longest} characters")
    } else if text.chars().any(char::is_control) {
        "must not hold control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(AdminError::wrong(member, format!("{what} {problem}")))
}

impl Verb for Adjust {
    type Answer = AdjustmentView;
    const PATH: &'static str = "adjustments/create";
    const CHANGES: bool = true;

    fn run(self, desk: &Desk) -> Result<AdjustmentView, AdminError> {
        if self.why.trim().is_empty() {
            return Err(AdminError::wrong("why", "an adjustment needs a reason"));
        }
        check("why", "the reason", &self.why, LONGEST_WHY)?;
        check("by", "the name of who adjusts", &self.by, LONGEST_BY)?;
        let account = find(desk, &self.key)?;
        let now = clock::now();
        let id = match self.id {
            Some(id) => id,
            None => AdjustmentId::new(now, clock::random()?),
        };
        let request = Request { id, correction: self.amount_usd, why: self.why, by: self.by };
        let made = desk.ledger.adjust(&account, request, now)?;
        if made.key != account.id() || made.correction != self.amount_usd {
            return Err(AdminError::Conflict(format!(
                "{id} is another adjustment: {} for {}",
                made.correction, made.key
            )));
        }
        tracing::info!(
            key.id = %made.key, adjustment.id = %made.id, amount_usd = %made.correction,
            by = made.by, why = made.why, "spend adjusted"
        );
        Ok(view(desk, &made))
    }

    fn target(answer: &AdjustmentView) -> Option<String> {
        Some(answer.id.to_string())
    }
}

/// Lists adjustments, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListAdjustments {
    pub key: Option<String>,
    pub limit: usize,
    /// Only those that are older than this one: the last of the page before.
    pub after: Option<AdjustmentId>,
}

impl Default for ListAdjustments {
    fn default() -> Self {
        Self { key: None, limit: 50, after: None }
    }
}

impl Verb for ListAdjustments {
    type Answer = Vec<AdjustmentView>;
    const PATH: &'static str = "adjustments/list";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<Vec<AdjustmentView>, AdminError> {
        let key = self.key.as_deref().map(|key| find(desk, key)).transpose()?;
        let key = key.map(|key| key.id());
        let all = desk.ledger.store().latest_adjustments(key, self.after, self.limit)?;
        Ok(all.iter().map(|adjustment| view(desk, adjustment)).collect())
    }
}
