//! The bill, added up.

use serde::{Deserialize, Serialize};

use super::keys::find;
use super::{AdminError, Desk, Verb};
use crate::domain::adjustment::Corrected;
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::pattern::Pattern;
use crate::domain::usage::Class;
use crate::domain::window::Timestamp;
use crate::store::{Grouping, UsageFilter, UsageRow};

/// Adds up what was used since an instant, counted from the start of its hour.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportUsage {
    pub key: Option<String>,
    pub model: Option<Pattern>,
    pub since: Option<Timestamp>,
    pub by: Grouping,
}

/// One row of the report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UsageLine {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub day: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_id: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    pub calls: u64,
    pub failed: u64,
    pub estimated: u64,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: Money,
    /// What was charged and credited besides. A report by model has one row for it, without a model.
    #[serde(default)]
    pub charged_usd: Money,
    #[serde(default)]
    pub credited_usd: Money,
}

/// The rows and their sum.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UsageReport {
    pub since: Timestamp,
    pub by: Grouping,
    pub rows: Vec<UsageLine>,
    pub total: UsageLine,
}

impl Verb for ReportUsage {
    type Answer = UsageReport;
    const PATH: &'static str = "usage";

    fn run(self, desk: &Desk) -> Result<UsageReport, AdminError> {
        let key = self.key.as_deref().map(|key| find(desk, key)).transpose()?;
        let since = self.since.unwrap_or(Timestamp::MIN);
        let filter = UsageFilter { key: key.map(|key| key.id()), model: self.model, since };
        let store = desk.ledger.store();
        store.journal().put_away_now();
        let rows: Vec<_> =
            store.usage(&filter, self.by)?.into_iter().map(|row| line(desk, row)).collect();
        let mut total = UsageLine::default();
        for row in &rows {
            total.add(row);
        }
        Ok(UsageReport { since, by: self.by, rows, total })
    }
}

fn line(desk: &Desk, row: UsageRow) -> UsageLine {
    let usage = &row.totals.usage;
    UsageLine {
        day: row.day,
        key_id: row.key,
        key_name: row.key.and_then(|key| desk.key_name(key)),
        provider: row.provider,
        model: row.model,
        calls: row.totals.calls,
        failed: row.totals.failed,
        estimated: row.totals.estimated,
        input_tokens: usage.input_tokens(),
        cached_input_tokens: [Class::CacheRead, Class::CacheReadAudio, Class::CacheReadImage]
            .into_iter()
            .fold(0, |sum, class| sum.saturating_add(usage.get(class))),
        output_tokens: usage.output_tokens(),
        cost_usd: row.totals.cost,
        charged_usd: row.corrected.charged,
        credited_usd: row.corrected.credited,
    }
}

impl UsageLine {
    /// Charges and credits set off against each other.
    pub const fn corrected(&self) -> Corrected {
        Corrected { charged: self.charged_usd, credited: self.credited_usd }
    }

    fn add(&mut self, row: &Self) {
        self.calls += row.calls;
        self.failed += row.failed;
        self.estimated += row.estimated;
        self.input_tokens = self.input_tokens.saturating_add(row.input_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(row.cached_input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(row.output_tokens);
        self.cost_usd = self.cost_usd.saturating_add(row.cost_usd);
        self.charged_usd = self.charged_usd.saturating_add(row.charged_usd);
        self.credited_usd = self.credited_usd.saturating_add(row.credited_usd);
    }
}
