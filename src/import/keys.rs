//! Keys to be made: what another gateway allowed its own.

use std::collections::BTreeSet;

use super::Lost;
use super::taken::{NO_COUNTERPART, Record, lose};
use crate::domain::cidr::Cidr;
use crate::domain::key::Limits;
use crate::domain::money::Money;
use crate::domain::pattern::Pattern;
use crate::domain::window::{Period, Timestamp, parse_duration_ms};

/// How another gateway's record of a key is read.
pub(super) struct Reading {
    pub(super) head: fn(&mut Record, &mut Vec<Lost>) -> Head,
    /// Takes from the record what the key may do.
    pub(super) fill: fn(&mut Record, &mut PlannedKey, &mut Vec<Lost>),
    /// What a record says of the key and not of what it may do.
    pub(super) facts: &'static [&'static str],
}

/// What has to be known of a key first.
pub(super) struct Head {
    /// How it is called where it is not made; may be nothing.
    pub(super) called: String,
    pub(super) name: String,
    pub(super) expires_at: Option<Timestamp>,
}

impl Reading {
    /// Plans the keys of a file. One that has expired is not made, and whatever of a record is not
    /// understood is lost.
    pub(super) fn plan(
        &self,
        records: impl Iterator<Item = Record>,
        now: Timestamp,
        lost: &mut Vec<Lost>,
    ) -> Vec<PlannedKey> {
        let (mut planned, mut names) = (Vec::new(), Names::default());
        for mut record in records {
            let Head { called, name, expires_at } = (self.head)(&mut record, lost);
            let place = record.place.clone();
            if expires_at.is_some_and(|end| end <= now) {
                lose(lost, place, format!("{called} has expired, and is not made").trim_start());
                continue;
            }
            let name = names.unique(&name);
            let mut key = PlannedKey { place, name, expires_at, ..PlannedKey::default() };
            (self.fill)(&mut record, &mut key, lost);
            record.forget(self.facts);
            record.rest(NO_COUNTERPART, lost);
            planned.push(key);
        }
        planned
    }
}

/// A key to be made, with a new secret.
#[derive(Clone, Debug, Default)]
pub struct PlannedKey {
    /// Where it came from.
    pub place: String,
    pub name: String,
    pub limits: Limits,
    pub expires_at: Option<Timestamp>,
    pub models: Vec<Pattern>,
    pub tags: Vec<(String, String)>,
    pub rpm: Option<u64>,
    pub tpm: Option<u64>,
    pub parallel: Option<u64>,
    pub allow_ips: Vec<Cidr>,
    pub disabled: bool,
}

impl PlannedKey {
    /// Sets the limit for a period of the other's; a period that is none of ours gets the stricter one.
    pub(super) fn limit(
        &mut self,
        amount: Money,
        period: Option<&str>,
        place: &str,
        lost: &mut Vec<Lost>,
    ) {
        const DAY: u64 = 86_400_000;
        let Some(written) = period else {
            self.limits.monthly = Some(amount);
            let why = "a budget for all time is not known here; it is the limit for each month";
            lose(lost, place, why);
            return;
        };
        let length = length_ms(written);
        let period = match length {
            Some(0..=DAY) => Period::Daily,
            Some(length) if length <= 7 * DAY => Period::Weekly,
            _ => Period::Monthly,
        };
        let ours = match period {
            Period::Daily => &mut self.limits.daily,
            Period::Weekly => &mut self.limits.weekly,
            Period::Monthly => &mut self.limits.monthly,
        };
        *ours = Some(amount);
        let is_exact = matches!(length, Some(length) if [DAY, 7 * DAY, 30 * DAY].contains(&length));
        if !is_exact {
            let why =
                format!("a period of `{written}` is not known here; it is the {period} limit");
            lose(lost, place, why);
        }
    }

    pub(super) fn models(&mut self, names: &[String], place: &str, lost: &mut Vec<Lost>) {
        for name in names {
            match Pattern::new(name) {
                Ok(pattern) => self.models.push(pattern),
                Err(why) => lose(lost, place, why),
            }
        }
    }

    pub(super) fn networks(&mut self, names: &[String], place: &str, lost: &mut Vec<Lost>) {
        for name in names {
            match name.parse() {
                Ok(network) => self.allow_ips.push(network),
                Err(why) => lose(lost, place, why),
            }
        }
    }

    pub(super) fn tag(&mut self, name: &str, value: String) {
        let is_plain = |text: &str| {
            (1..=64).contains(&text.len()) && !text.contains(|c: char| c.is_control() || c == '=')
        };
        if is_plain(name) && is_plain(&value) && self.tags.len() < 16 {
            self.tags.push((name.to_owned(), value));
        }
    }
}

/// `30d`, `1mo`, `24h`; LiteLLM's `1mo` is a calendar month.
fn length_ms(text: &str) -> Option<u64> {
    if let Some(months) = text.strip_suffix("mo") {
        return months.parse::<u64>().ok()?.checked_mul(30 * 86_400_000);
    }
    parse_duration_ms(text).ok()
}

/// Names that no two keys share, and that a key may have.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn unique(&mut self, wanted: &str) -> String {
        let plain: String = wanted.chars().filter(|c| !c.is_control()).take(100).collect();
        let plain = match plain.trim() {
            "" => "imported",
            plain => plain,
        };
        let mut name = plain.to_owned();
        let mut again = 2;
        while !self.0.insert(name.clone()) {
            name = format!("{plain}-{again}");
            again += 1;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_looser_than_its_period_allows_us_to_say() {
        for (period, expected, is_exact) in [
            (Some("1d"), [Some(5), None, None], true),
            (Some("24h"), [Some(5), None, None], true),
            (Some("1h"), [Some(5), None, None], false),
            (Some("7d"), [None, Some(5), None], true),
            (Some("2d"), [None, Some(5), None], false),
            (Some("30d"), [None, None, Some(5)], true),
            (Some("1mo"), [None, None, Some(5)], true),
            (Some("14d"), [None, None, Some(5)], false),
            (None, [None, None, Some(5)], false),
        ] {
            let (mut key, mut lost) = (PlannedKey::default(), Vec::new());
            key.limit(Money::from_nano(5), period, "here", &mut lost);
            let Limits { daily, weekly, monthly } = key.limits;
            assert_eq!(
                [daily, weekly, monthly].map(|l| l.map(Money::nano)),
                expected,
                "{period:?}"
            );
            assert_eq!(lost.is_empty(), is_exact, "{period:?}");
        }
    }

    #[test]
    fn no_two_keys_have_one_name() {
        let mut names = Names::default();
        assert_eq!(
            ["a", "a", "", "a", "\n"].map(|name| names.unique(name)),
            ["a", "a-2", "imported", "a-3", "imported-2"]
        );
    }
}
