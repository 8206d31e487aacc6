//! The bill, added up.

mod sheet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keys::find;
use super::{AdminError, Desk, Verb};
use crate::domain::adjustment::Corrected;
use crate::domain::durations::Durations;
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::pattern::Pattern;
use crate::domain::usage::Class;
use crate::domain::window::{Timestamp, Zone};
use crate::store::{Grouping, Step, UsageFilter, UsageRow};
pub use sheet::csv;

/// Adds up what was used since an instant, counted from the start of its hour.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReportUsage {
    pub key: Option<String>,
    pub model: Option<Pattern>,
    pub since: Option<Timestamp>,
    /// Up to but not with this hour; one that has begun by then counts whole.
    pub until: Option<Timestamp>,
    pub by: Grouping,
    /// One row for each hour or day as well: a series. Of hours and days the shorter counts.
    pub per: Option<Step>,
    /// Whose days they are, as `Europe/Berlin`: UTC unless it is said.
    #[schemars(with = "Option<Zone>")]
    pub zone: Option<String>,
}

/// How long calls took, of those whose answer was none of an error and went out whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// How many calls it is of. Fewer than were good where some are of a time when this was not kept.
    pub calls: u64,
    /// The sum of all, exactly.
    pub sum: u64,
    /// Half of them took no longer, nearly.
    pub median: Option<u64>,
    /// 95 % of them took no longer, nearly.
    pub p95: Option<u64>,
}

impl From<&Durations> for Latency {
    fn from(durations: &Durations) -> Self {
        Self {
            calls: durations.count(),
            sum: durations.sum_ms(),
            median: durations.percentile_ms(50),
            p95: durations.percentile_ms(95),
        }
    }
}

/// One row of the report.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct UsageLine {
    /// The start of the hour that a row is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hour: Option<Timestamp>,
    /// The start of the day.
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
    /// Milliseconds to the first byte of the answer.
    #[serde(default)]
    pub first_byte_ms: Latency,
    /// Milliseconds from the beginning of a call to its end.
    #[serde(default)]
    pub total_ms: Latency,
}

/// The rows and their sum.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UsageReport {
    pub since: Timestamp,
    #[serde(default)]
    pub until: Option<Timestamp>,
    pub by: Grouping,
    #[serde(default)]
    pub per: Option<Step>,
    /// Whose days they are.
    #[serde(default)]
    pub zone: Zone,
    pub rows: Vec<UsageLine>,
    pub total: UsageLine,
}

impl Verb for ReportUsage {
    type Answer = UsageReport;
    const PATH: &'static str = "usage";
    const CHANGES: bool = false;

    fn run(self, desk: &Desk) -> Result<UsageReport, AdminError> {
        let key = self.key.as_deref().map(|key| find(desk, key)).transpose()?;
        let since = self.since.unwrap_or(Timestamp::MIN);
        let filter = UsageFilter {
            key: key.map(|key| key.id()),
            model: self.model,
            since,
            until: self.until,
            per: self.per,
            zone: zone(self.zone.as_deref())?,
        };
        let step = self.by.step(self.per);
        let store = desk.ledger.store();
        store.journal().put_away_now();
        let mut total = UsageRow::default();
        let mut rows = Vec::new();
        for row in store.usage(&filter, self.by)? {
            total.totals.add(&row.totals);
            total.corrected.join(row.corrected);
            rows.push(line(desk, row, step));
        }
        let total = line(desk, total, None);
        let (by, per, zone) = (self.by, self.per, filter.zone);
        Ok(UsageReport { since, until: self.until, by, per, zone, rows, total })
    }
}

fn zone(name: Option<&str>) -> Result<Zone, AdminError> {
    name.map_or_else(|| Ok(Zone::default()), |name| name.parse().map_err(AdminError::NotFound))
}

fn line(desk: &Desk, row: UsageRow, step: Option<Step>) -> UsageLine {
    let usage = &row.totals.usage;
    UsageLine {
        hour: row.start.filter(|_| step == Some(Step::Hour)),
        day: row.start.filter(|_| step == Some(Step::Day)),
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
        first_byte_ms: Latency::from(&row.totals.first_byte),
        total_ms: Latency::from(&row.totals.whole),
    }
}

impl UsageLine {
    /// Charges and credits set off against each other.
    pub const fn corrected(&self) -> Corrected {
        Corrected { charged: self.charged_usd, credited: self.credited_usd }
    }
}
