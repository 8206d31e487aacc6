//! Questions about the past: hourly totals, and receipts one by one.

use std::collections::BTreeMap;

use super::adjust::adjustments;
use super::schema::{HOURS, RECEIPTS};
use super::{Store, StoreError, Totals};
use crate::domain::adjustment::Corrected;
use crate::domain::codec::Decoder;
use crate::domain::key::KeyId;
use crate::domain::receipt::Receipt;
use crate::domain::request_id::RequestId;
use crate::domain::window::{Timestamp, Zone};

/// Between provider and model in a row's key: neither can hold a control character.
const SEPARATOR: char = '\u{1f}';
/// Where the totals of a receipt are: its provider and the model that was asked for.
pub(super) fn place(provider: &str, model: &str) -> String {
    format!("{provider}{SEPARATOR}{model}")
}

/// What a usage report adds up.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    Hour,
    #[default]
    Day,
    Key,
    Model,
    Provider,
}

impl Grouping {
    /// The stretch of time that each row is about: of those that are asked for, the shorter.
    pub const fn step(self, per: Option<Step>) -> Option<Step> {
        match (self, per) {
            (Self::Hour, _) | (Self::Day, Some(Step::Hour)) => Some(Step::Hour),
            (Self::Day, _) => Some(Step::Day),
            (Self::Key | Self::Model | Self::Provider, per) => per,
        }
    }
}

/// A stretch of time that a series has one row for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Hour,
    Day,
}

impl Step {
    fn start(self, hour: Timestamp, zone: &Zone) -> Timestamp {
        match self {
            Self::Hour => hour,
            Self::Day => zone.start_of_day(hour),
        }
    }
}

/// Which calls a usage report is about.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    pub key: Option<KeyId>,
    pub model: Option<crate::domain::pattern::Pattern>,
    /// From the start of this instant's hour.
    pub since: Timestamp,
    /// To the end of this instant's hour, unless it begins one.
    pub until: Option<Timestamp>,
    /// One row for each of these, too.
    pub per: Option<Step>,
    /// Whose days they are.
    pub zone: Zone,
}

/// One row of a usage report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageRow {
    /// Set when grouped by hour or day: its start.
    pub start: Option<Timestamp>,
    pub key: Option<KeyId>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub totals: Totals,
    /// What was adjusted besides. An adjustment belongs to no model: a report by model has a row of its
    /// own for them, without one.
    pub corrected: Corrected,
}

/// Where a row is among all: by time, then what it is about.
type Place = (Timestamp, u64, String);

fn row_of(start: Option<Timestamp>, number: u64, name: &str) -> (Place, UsageRow) {
    let place = (start.unwrap_or_default(), number, name.to_owned());
    (place, UsageRow { start, ..UsageRow::default() })
}

fn row_of_key(start: Option<Timestamp>, key: KeyId) -> (Place, UsageRow) {
    let (place, row) = row_of(start, key.bits(), "");
    (place, UsageRow { key: Some(key), ..row })
}

/// The longest a call can last, and so how far a clock that was set back can have a receipt before it.
const LONGEST_CALL_MS: u64 = 25 * 3_600_000;

impl Store {
    /// Adds up hourly totals. What the journal holds must have been put away before.
    pub fn usage(&self, filter: &UsageFilter, by: Grouping) -> Result<Vec<UsageRow>, StoreError> {
        let read = self.vault.begin_read()?;
        let table = read.open_table(HOURS)?;
        let mut rows: BTreeMap<Place, UsageRow> = BTreeMap::new();
        let since = filter.since.hour();
        let until = filter.until.unwrap_or(Timestamp::MAX);
        if since >= until {
            return Ok(Vec::new());
        }
        for row in table.range((since.millis(), 0, "")..(until.millis(), 0, ""))? {
            let (place, totals) = row?;
            let (hour, key, name) = place.value();
            let (provider, model) = name.split_once(SEPARATOR).unwrap_or(("", name));
            let is_wanted = filter.key.is_none_or(|wanted| wanted.bits() == key)
                && filter.model.as_ref().is_none_or(|wanted| wanted.matches(model));
            if !is_wanted {
                continue;
            }
            let start = by
                .step(filter.per)
                .map(|step| step.start(Timestamp::from_millis(hour), &filter.zone));
            let (place, new) = match by {
                Grouping::Hour | Grouping::Day => row_of(start, 0, ""),
                Grouping::Key => row_of_key(start, KeyId::from_bits(key)),
                Grouping::Model => {
                    let (place, row) = row_of(start, 0, name);
                    let (provider, model) = (Some(provider.into()), Some(model.into()));
                    (place, UsageRow { provider, model, ..row })
                }
                Grouping::Provider => {
                    let (place, row) = row_of(start, 0, provider);
                    (place, UsageRow { provider: Some(provider.into()), ..row })
                }
            };
            rows.entry(place).or_insert(new).totals.add(&Totals::decode(totals.value())?);
        }
        for adjustment in adjustments(&read)? {
            let is_wanted = filter.model.is_none()
                && filter.key.is_none_or(|wanted| wanted == adjustment.key)
                && (since..until).contains(&adjustment.at.hour());
            if !is_wanted {
                continue;
            }
            let start =
                by.step(filter.per).map(|step| step.start(adjustment.at.hour(), &filter.zone));
            let (place, new) = match by {
                Grouping::Hour | Grouping::Day => row_of(start, 0, ""),
                Grouping::Key => row_of_key(start, adjustment.key),
                // After every name.
                Grouping::Model | Grouping::Provider => row_of(start, 1, ""),
            };
            rows.entry(place).or_insert(new).corrected.add(adjustment.correction);
        }
        Ok(rows.into_values().collect())
    }

    /// Receipts posted since `since`, in the order they were posted, as long as `each` wants more.
    pub fn receipts(
        &self,
        since: Timestamp,
        mut each: impl FnMut(Receipt) -> bool,
    ) -> Result<(), StoreError> {
        let read = self.vault.begin_read()?;
        let table = read.open_table(RECEIPTS)?;
        for row in table.range((since.millis(), 0)..)? {
            let (_, run) = row?;
            let mut input = Decoder::new(run.value());
            while !input.is_empty() {
                let receipt = Receipt::decode(&mut input)?;
                if receipt.at >= since && !each(receipt) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The receipt of one call, which may have been posted long after the call began: at the start that
    /// found its hold open.
    pub fn receipt(&self, id: RequestId) -> Result<Option<Receipt>, StoreError> {
        let found = self.find(id, id.began(), Timestamp::MAX)?;
        if found.is_some() {
            return Ok(found);
        }
        // The clock may have been set back during the call.
        let earliest = id.began().millis().saturating_sub(LONGEST_CALL_MS);
        self.find(id, Timestamp::from_millis(earliest), id.began())
    }

    fn find(
        &self,
        id: RequestId,
        since: Timestamp,
        latest: Timestamp,
    ) -> Result<Option<Receipt>, StoreError> {
        let mut found = None;
        self.receipts(since, |receipt| {
            let (is_it, at) = (receipt.id == id, receipt.at);
            if is_it {
                found = Some(receipt);
            }
            !is_it && at <= latest
        })?;
        Ok(found)
    }
}
