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
use crate::domain::window::Timestamp;

/// Between provider and model in a row's key: neither can hold a control character.
const SEPARATOR: char = '\u{1f}';
/// Where the totals of a receipt are: its provider and the model that was asked for.
pub(super) fn place(receipt: &Receipt) -> String {
    format!("{}{SEPARATOR}{}", receipt.provider, receipt.model)
}

/// What a usage report adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    #[default]
    Day,
    Key,
    Model,
}

/// Which calls a usage report is about.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    pub key: Option<KeyId>,
    pub model: Option<crate::domain::pattern::Pattern>,
    pub since: Timestamp,
}

/// One row of a usage report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageRow {
    /// Set when grouped by day: its midnight, UTC.
    pub day: Option<Timestamp>,
    pub key: Option<KeyId>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub totals: Totals,
    /// What was adjusted besides. An adjustment belongs to no model: a report by model has a row of its
    /// own for them, without one.
    pub corrected: Corrected,
}

/// The longest a call can last, and so how far a clock that was set back can have a receipt before it.
const LONGEST_CALL_MS: u64 = 25 * 3_600_000;
const DAY_MS: u64 = 86_400_000;

impl Store {
    /// Adds up hourly totals. What the journal holds must have been put away before.
    pub fn usage(&self, filter: &UsageFilter, by: Grouping) -> Result<Vec<UsageRow>, StoreError> {
        let read = self.vault.begin_read()?;
        let table = read.open_table(HOURS)?;
        let mut rows: BTreeMap<(u64, u64, String), UsageRow> = BTreeMap::new();
        for row in table.range((filter.since.hour().millis(), 0, "")..)? {
            let (place, totals) = row?;
            let (hour, key, name) = place.value();
            let (provider, model) = name.split_once(SEPARATOR).unwrap_or(("", name));
            let is_wanted = filter.key.is_none_or(|wanted| wanted.bits() == key)
                && filter.model.as_ref().is_none_or(|wanted| wanted.matches(model));
            if !is_wanted {
                continue;
            }
            let day = hour - hour % DAY_MS;
            let group = match by {
                Grouping::Day => (day, 0, String::new()),
                Grouping::Key => (0, key, String::new()),
                Grouping::Model => (0, 0, name.to_owned()),
            };
            let row = rows.entry(group).or_insert_with(|| match by {
                Grouping::Day => {
                    UsageRow { day: Some(Timestamp::from_millis(day)), ..UsageRow::default() }
                }
                Grouping::Key => {
                    UsageRow { key: Some(KeyId::from_bits(key)), ..UsageRow::default() }
                }
                Grouping::Model => UsageRow {
                    provider: Some(provider.to_owned()),
                    model: Some(model.to_owned()),
                    ..UsageRow::default()
                },
            });
            row.totals.add(&Totals::decode(totals.value())?);
        }
        for adjustment in adjustments(&read)? {
            let is_wanted = filter.model.is_none()
                && filter.key.is_none_or(|wanted| wanted == adjustment.key)
                && adjustment.at >= filter.since.hour();
            if !is_wanted {
                continue;
            }
            let key = adjustment.key;
            let day = adjustment.at.millis() - adjustment.at.millis() % DAY_MS;
            let (group, new) = match by {
                Grouping::Day => {
                    let day_of = Some(Timestamp::from_millis(day));
                    ((day, 0, String::new()), UsageRow { day: day_of, ..UsageRow::default() })
                }
                Grouping::Key => (
                    (0, key.bits(), String::new()),
                    UsageRow { key: Some(key), ..UsageRow::default() },
                ),
                // After every name.
                Grouping::Model => ((1, 0, String::new()), UsageRow::default()),
            };
            rows.entry(group).or_insert(new).corrected.add(adjustment.correction);
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
