//! Instants, and the windows that limits are counted in.
//!
//! A window is half open, `[start, end)`, and a function of its rule, the key's creation and an
//! instant: nothing here reads a clock. Rolling windows follow on from the key's creation; calendar
//! windows are the day, ISO week and month of a time zone, daylight saving included.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MILLIS_PER_HOUR: u64 = 3_600_000;
const MILLIS_PER_DAY: u64 = 24 * MILLIS_PER_HOUR;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const MIN: Self = Self(0);
    /// The latest instant that can be written as a date in every time zone, at the end of 9999.
    pub const MAX: Self = Self(253_402_207_200_000);

    /// The instant so many milliseconds after the epoch, held to [`Timestamp::MAX`].
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    pub const fn millis(self) -> u64 {
        self.0
    }

    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to here; zero if it is later.
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The start of the hour (UTC) that this instant is in.
    #[must_use]
    pub const fn hour(self) -> Self {
        Self(self.0 - self.0 % MILLIS_PER_HOUR)
    }

    fn to_jiff(self) -> jiff::Timestamp {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
    }

    fn from_jiff(timestamp: jiff::Timestamp) -> Self {
        Self::from_millis(u64::try_from(timestamp.as_millisecond()).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the millisecond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.3}", self.to_jiff()))
    }
}

impl std::str::FromStr for Timestamp {
    type Err = String;

    /// Reads RFC 3339, or a date alone, which means its midnight in UTC.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Ok(Self::from_jiff(instant));
        }
        let date: Date = text.parse().map_err(|_| {
            format!("`{text}` is not a time: write 2027-01-31 or 2027-01-31T12:00:00Z")
        })?;
        let midnight = date.to_zoned(TimeZone::UTC).map_err(|e| e.to_string())?;
        Ok(Self::from_jiff(midnight.timestamp()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads a length of time as people write it: `90d`, `12h`, `30m`, `45s`, `2w`, `500ms`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let expected =
        || format!("`{text}` is not a length of time: write 500ms, 30s, 5m, 12h, 90d or 2w");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let count: u64 = text[..digits].parse().map_err(|_| expected())?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => MILLIS_PER_HOUR,
        "d" => MILLIS_PER_DAY,
        "w" => 7 * MILLIS_PER_DAY,
        _ => return Err(expected()),
    };
    count.checked_mul(unit).ok_or_else(expected)
}

/// A time zone by its name in the tz database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// The first instant of the day that this one is in.
    pub fn start_of_day(&self, instant: Timestamp) -> Timestamp {
        let start = Zoned::new(instant.to_jiff(), self.0.clone()).start_of_day();
        start.map_or(instant, |start| Timestamp::from_jiff(start.timestamp()))
    }

    /// What the day is called there.
    pub fn date(&self, instant: Timestamp) -> Date {
        Zoned::new(instant.to_jiff(), self.0.clone()).date()
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl std::str::FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let unknown = |_| format!("there is no time zone `{}`", name.escape_debug());
        TimeZone::get(name).map(Self).map_err(unknown)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// How often a limit starts anew.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Daily,
    Weekly,
    Monthly,
}

impl Period {
    pub const ALL: [Self; 3] = [Self::Daily, Self::Weekly, Self::Monthly];

    pub const fn index(self) -> usize {
        self as usize
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    /// The length of a rolling window of this period.
    const fn rolling_millis(self) -> u64 {
        match self {
            Self::Daily => MILLIS_PER_DAY,
            Self::Weekly => 7 * MILLIS_PER_DAY,
            Self::Monthly => 30 * MILLIS_PER_DAY,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A stretch of time, `[start, end)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Window {
    pub fn contains(&self, instant: Timestamp) -> bool {
        self.start <= instant && instant < self.end
    }
}

/// Where windows begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WindowRule {
    /// 24 hours, 7 days, 30 days, one after the other from the key's creation.
    #[default]
    Rolling,
    /// The day, the week from Monday and the month of a time zone.
    Calendar(TimeZone),
}

impl WindowRule {
    /// The window of `period` that `now` is in, for something created at `anchor`.
    pub fn window(&self, period: Period, anchor: Timestamp, now: Timestamp) -> Window {
        match self {
            Self::Rolling => rolling(period.rolling_millis(), anchor, now),
            Self::Calendar(zone) => calendar(period, zone, now)
                .unwrap_or_else(|| rolling(period.rolling_millis(), anchor, now)),
        }
    }
}

/// An instant before the anchor belongs to the first window: a clock that was set back must not
/// open a window of its own.
fn rolling(length: u64, anchor: Timestamp, now: Timestamp) -> Window {
    let elapsed = now.millis_since(anchor);
    let start = anchor.plus_millis(elapsed - elapsed % length);
    Window { start, end: start.plus_millis(length) }
}

/// `None` only at the end of the calendar, year 9999.
fn calendar(period: Period, zone: &TimeZone, now: Timestamp) -> Option<Window> {
    let today = Zoned::new(now.to_jiff(), zone.clone()).date();
    let (first, next) = match period {
        Period::Daily => (today, today.tomorrow().ok()?),
        Period::Weekly => {
            let monday = today.checked_sub(today.weekday().to_monday_zero_offset().days()).ok()?;
            (monday, monday.checked_add(7.days()).ok()?)
        }
        Period::Monthly => {
            let first = today.first_of_month();
            (first, first.checked_add(1.month()).ok()?)
        }
    };
    // `to_zoned` picks the first instant that the day has, also where midnight is skipped.
    let midnight = |date: Date| date.to_zoned(zone.clone()).ok()?.start_of_day().ok();
    let instant = |date| Some(Timestamp::from_jiff(midnight(date)?.timestamp()));
    Some(Window { start: instant(first)?, end: instant(next)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn zone(name: &str) -> WindowRule {
        WindowRule::Calendar(TimeZone::get(name).unwrap())
    }

    #[test]
    fn rolling_windows_follow_on_from_the_creation() {
        let created = at("2026-01-01T10:30:00Z");
        let window = |period, now| WindowRule::Rolling.window(period, created, at(now));
        let day = window(Period::Daily, "2026-01-03T10:29:59Z");
        assert_eq!(day.start, at("2026-01-02T10:30:00Z"));
        assert_eq!(day.end, at("2026-01-03T10:30:00Z"));
        assert_eq!(
            window(Period::Weekly, "2026-01-08T10:30:00Z").start,
            at("2026-01-08T10:30:00Z")
        );
        assert_eq!(window(Period::Monthly, "2026-01-31T10:29:00Z").start, created);
        assert_eq!(window(Period::Daily, "2025-12-01T00:00:00Z").start, created);
    }

    #[test]
    fn a_day_begins_where_its_zone_says() {
        let day = |zone: &str, at: &str| {
            let zone: Zone = zone.parse().unwrap();
            zone.start_of_day(at.parse().unwrap()).to_string()
        };
        assert_eq!(day("UTC", "2027-03-28T05:00:00Z"), "2027-03-28T00:00:00.000Z");
        assert_eq!(day("Europe/Berlin", "2027-03-28T22:30:00Z"), "2027-03-28T22:00:00.000Z");
        assert_eq!(day("Europe/Berlin", "2027-03-28T21:59:00Z"), "2027-03-27T23:00:00.000Z");
        assert_eq!(day("Asia/Kolkata", "2027-03-28T19:00:00Z"), "2027-03-28T18:30:00.000Z");
        assert_eq!(day("America/New_York", "1970-01-01T00:00:00Z"), "1970-01-01T00:00:00.000Z");
        assert!("Europe/Nowhere".parse::<Zone>().is_err());
    }

    #[test]
    fn calendar_windows_follow_the_zone_through_daylight_saving() {
        for (rule, period, now, start, end) in [
            // 23 hours: clocks go forward at 02:00 on 2026-03-29.
            (
                "Europe/Berlin",
                Period::Daily,
                "2026-03-29T12:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            // 25 hours: clocks go back on 2026-10-25.
            (
                "Europe/Berlin",
                Period::Daily,
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            // Midnight does not exist in Santiago on 2026-09-06: the day begins at 01:00.
            (
                "America/Santiago",
                Period::Daily,
                "2026-09-06T12:00:00Z",
                "2026-09-06T04:00:00Z",
                "2026-09-07T03:00:00Z",
            ),
            (
                "Europe/Berlin",
                Period::Weekly,
                "2026-03-29T12:00:00Z",
                "2026-03-22T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            (
                "Europe/Berlin",
                Period::Weekly,
                "2026-03-29T22:00:00Z",
                "2026-03-29T22:00:00Z",
                "2026-04-05T22:00:00Z",
            ),
            (
                "UTC",
                Period::Monthly,
                "2024-02-29T23:59:59Z",
                "2024-02-01T00:00:00Z",
                "2024-03-01T00:00:00Z",
            ),
            (
                "Asia/Kolkata",
                Period::Monthly,
                "2026-12-31T18:29:59Z",
                "2026-11-30T18:30:00Z",
                "2026-12-31T18:30:00Z",
            ),
        ] {
            let window = zone(rule).window(period, Timestamp::MIN, at(now));
            assert_eq!((window.start, window.end), (at(start), at(end)), "{rule} {period} {now}");
        }
    }

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        assert_eq!(parse_duration_ms("90d"), Ok(90 * MILLIS_PER_DAY));
        assert_eq!(parse_duration_ms("500ms"), Ok(500));
        for text in ["", "d", "90", "90 d", "-1d", "1y", "99999999999999999999d", "1d2h"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_are_read_and_written() {
        assert_eq!(at("2027-01-31").to_string(), "2027-01-31T00:00:00.000Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-30T22:00:00.000Z");
    }

    proptest! {
        #[test]
        fn windows_tile_time(now in 0u64..4_102_444_800_000, created in 0u64..2_000_000_000_000, which in 0usize..4) {
            let rules = [WindowRule::Rolling, zone("Europe/Berlin"), zone("America/New_York"), zone("Asia/Kathmandu")];
            let (rule, created) = (&rules[which], Timestamp::from_millis(created));
            let now = Timestamp::from_millis(now.max(created.millis()));
            for period in Period::ALL {
                let window = rule.window(period, created, now);
                prop_assert!(window.contains(now));
                prop_assert_eq!(rule.window(period, created, window.start), window);
                let next = rule.window(period, created, window.end);
                prop_assert_eq!(next.start, window.end);
            }
        }
    }
}
