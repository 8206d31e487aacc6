//! Receipts one by one, newest first, and the end of those that were kept long enough.
//!
//! Receipts stand in runs, a row for many, under the last of each; what is read is held one run at a
//! time, however many receipts there are.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::recovery::RUN_SPAN_MS;
use super::schema::{META, PRUNED, PRUNED_KEY, RECEIPTS};
use super::{Store, StoreError, Totals};
use crate::domain::codec::Decoder;
use crate::domain::key::KeyId;
use crate::domain::pattern::Pattern;
use crate::domain::receipt::{KnownNames, Metered, Receipt, Written};
use crate::domain::request_id::RequestId;
use crate::domain::window::Timestamp;

/// Which receipts are wanted.
#[derive(Clone, Debug, Default)]
pub struct ReceiptFilter {
    pub key: Option<KeyId>,
    pub model: Option<Pattern>,
    pub since: Timestamp,
    /// Up to but not with this instant.
    pub until: Option<Timestamp>,
    pub status: Option<Statuses>,
    /// Only those of calls whose end nobody saw.
    pub recovered: bool,
    /// Only attempts at this call.
    pub of: Option<RequestId>,
    /// Only those that come after this one, newest first: where the page before ended.
    pub after: Option<(Timestamp, RequestId)>,
}

/// One status, or a hundred of them: `200`, `4xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is not a status: write 200 or 4xx");
        let (digits, span) = match text.strip_suffix("xx") {
            Some(digit) => (format!("{digit}00"), 99),
            None => (text.to_owned(), 0),
        };
        let is_status = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
        let first = digits.parse().ok().filter(|first| is_status && *first >= 100);
        first.map(|first: u16| Self { first, last: first + span }).ok_or_else(expected)
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            f.pad(&self.first.to_string())
        } else {
            f.pad(&format!("{}xx", self.first / 100))
        }
    }
}

impl schemars::JsonSchema for Statuses {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "One status, or a hundred of them.",
            "pattern": "^([1-9][0-9]{2}|[1-9]xx)$",
            "examples": ["4xx"],
        })
    }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl ReceiptFilter {
    fn wants(&self, receipt: &Receipt) -> bool {
        let place = (receipt.at, receipt.id);
        receipt.at >= self.since
            && self.until.is_none_or(|until| receipt.at < until)
            && self.after.is_none_or(|after| place < after)
            && self.key.is_none_or(|key| key == receipt.key)
            && self.model.as_ref().is_none_or(|model| model.matches(&receipt.model))
            && self.status.is_none_or(|s| (s.first..=s.last).contains(&receipt.status))
            && self.of.is_none_or(|of| receipt.of == Some(of))
            && (!self.recovered || receipt.metered == Metered::Recovered)
    }

    /// The last row that can have one of them.
    fn last_row(&self) -> (u64, u64) {
        let ends = [self.until, self.after.map(|(at, _)| at)];
        let end = ends.into_iter().flatten().min();
        (end.map_or(u64::MAX, |end| end.plus_millis(RUN_SPAN_MS).millis()), u64::MAX)
    }
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub receipts: u64,
    /// Nothing as old is left.
    pub is_done: bool,
}

impl Store {
    /// The latest receipts that are wanted, newest first. What the journal holds must have been put
    /// away before.
    pub fn latest_receipts(
        &self,
        filter: &ReceiptFilter,
        limit: usize,
    ) -> Result<Vec<Receipt>, StoreError> {
        let read = self.read()?;
        let table = read.open_table(RECEIPTS)?;
        let mut found = Vec::new();
        // Rows written one after the other may overlap in time: a receipt is next only when no row is
        // left that can have a later one.
        let mut waiting: BTreeMap<(Timestamp, RequestId), Receipt> = BTreeMap::new();
        let rows = (filter.since.millis(), 0)..=filter.last_row();
        if rows.is_empty() {
            return Ok(found);
        }
        for row in table.range(rows)?.rev() {
            let (place, run) = row?;
            let row_ends = Timestamp::from_millis(place.value().0);
            while let Some(latest) = waiting.last_entry().filter(|entry| entry.key().0 > row_ends) {
                found.push(latest.remove());
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            let mut input = Decoder::new(run.value());
            while !input.is_empty() {
                let receipt = Receipt::decode(&mut input)?;
                if filter.wants(&receipt) {
                    waiting.insert((receipt.at, receipt.id), receipt);
                }
            }
        }
        let left = limit.saturating_sub(found.len());
        found.extend(waiting.into_values().rev().take(left));
        Ok(found)
    }

    /// Deletes at most `most` rows of receipts that were all posted before `end`, in one transaction.
    /// Hourly totals stay, and so does the sum of what was deleted, so that the books still add up.
    pub fn prune_receipts(&self, end: Timestamp, most: usize) -> Result<Pruned, StoreError> {
        let is_any_old = {
            let read = self.read()?;
            let table = read.open_table(RECEIPTS)?;
            table.first()?.is_some_and(|(place, _)| place.value().0 < end.millis())
        };
        if !is_any_old {
            return Ok(Pruned { receipts: 0, is_done: true });
        }
        self.change(|write| prune(write, end, most))
    }
}

fn prune(write: &WriteTransaction, end: Timestamp, most: usize) -> Result<Pruned, StoreError> {
    let mut sums: HashMap<u64, Totals> = HashMap::new();
    let mut rows = Vec::new();
    let mut receipts = 0;
    let mut table = write.open_table(RECEIPTS)?;
    for row in table.range((0, 0)..(end.millis(), 0))?.take(most) {
        let (place, run) = row?;
        rows.push(place.value());
        let mut known = KnownNames::default();
        let mut input = Decoder::new(run.value());
        while !input.is_empty() {
            let receipt = Written::decode(&mut input, &mut known)?;
            sums.entry(receipt.key.bits()).or_default().add_receipt(&receipt);
            receipts += 1;
        }
    }
    for place in &rows {
        table.remove(*place)?;
    }
    let mut sums_kept = write.open_table(PRUNED)?;
    for (key, mut totals) in sums {
        if let Some(earlier) = sums_kept.get(key)? {
            totals.add(&Totals::decode(earlier.value())?);
        }
        sums_kept.insert(key, totals.encode().as_slice())?;
    }
    if let Some((last, _)) = rows.last() {
        let mut meta = write.open_table(META)?;
        let earlier = meta.get(PRUNED_KEY)?.map_or(0, |earlier| earlier.value());
        meta.insert(PRUNED_KEY, earlier.max(*last))?;
    }
    Ok(Pruned { receipts, is_done: rows.len() < most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_or_a_hundred() {
        for (text, first, last) in [("200", 200, 200), ("4xx", 400, 499), ("1xx", 100, 199)] {
            let read: Statuses = text.parse().unwrap();
            assert_eq!((read.first, read.last, read.to_string().as_str()), (first, last, text));
        }
        for text in ["", "xx", "0xx", "44xx", "20", "+20", "abc", "4XX", "1000"] {
            assert!(text.parse::<Statuses>().is_err(), "{text}");
        }
    }
}
