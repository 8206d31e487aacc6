//! How much in a minute: token buckets as plain values.
//!
//! A bucket holds what one minute allows and fills evenly; what is taken for a call is settled to
//! what it used at its end, which may leave the bucket in debt. All in whole units and with time as
//! an argument: nothing here reads a clock, and nothing is ever rounded in anybody's favour.

use std::fmt::Write as _;

use super::window::Timestamp;

/// A limit of so many per minute gives back exactly so many units in every millisecond.
const UNITS: u128 = 60_000;

/// What is used up of a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// In units; more than the limit when calls used more than was taken for them.
    used: u128,
    at: Timestamp,
}

/// Why a bucket does not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// It will in so many milliseconds, if nobody else takes from it.
    Wait(u64),
    /// It never holds that much.
    Never,
}

/// What a bucket says to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub limit: u64,
    pub remaining: u64,
    /// When it is full again.
    pub full_in_ms: u64,
}

const fn units(count: u64) -> u128 {
    count as u128 * UNITS
}

/// How long `limit` per minute takes to give back `missing` units.
fn time_for(missing: u128, limit: u64) -> u64 {
    u64::try_from(missing.div_ceil(u128::from(limit.max(1)))).unwrap_or(u64::MAX)
}

impl Bucket {
    /// The bucket at `now`. A clock that runs backwards gives nothing back.
    fn refill(&mut self, limit: u64, now: Timestamp) {
        let given_back = u128::from(now.millis_since(self.at)) * u128::from(limit);
        self.used = self.used.saturating_sub(given_back);
        self.at = self.at.max(now);
    }

    /// Whether `count` could be taken at `now`.
    pub fn check(&mut self, limit: u64, count: u64, now: Timestamp) -> Result<(), Short> {
        if count > limit || limit == 0 {
            return Err(Short::Never);
        }
        self.refill(limit, now);
        let over = (self.used + units(count)).saturating_sub(units(limit));
        if over == 0 { Ok(()) } else { Err(Short::Wait(time_for(over, limit))) }
    }

    /// Takes `count`, whether it is there or not.
    pub fn take(&mut self, limit: u64, count: u64, now: Timestamp) {
        self.settle(limit, 0, count, now);
    }

    /// Makes what was taken for a call what it used.
    pub fn settle(&mut self, limit: u64, taken: u64, used: u64, now: Timestamp) {
        self.refill(limit, now);
        self.used = self.used.saturating_add(units(used)).saturating_sub(units(taken));
    }

    pub fn allowance(&mut self, limit: u64, now: Timestamp) -> Allowance {
        self.refill(limit, now);
        let left = units(limit).saturating_sub(self.used) / UNITS;
        Allowance {
            limit,
            remaining: u64::try_from(left).unwrap_or(u64::MAX),
            full_in_ms: time_for(self.used, limit),
        }
    }
}

/// A length of time as OpenAI writes it in headers: `20ms`, `1s`, `6m0s`.
pub fn duration_text(millis: u64) -> String {
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1_000 {
        return format!("{millis}ms");
    }
    let (seconds, fraction) = (millis / 1_000, millis % 1_000);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if seconds >= 60 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{}", seconds % 60);
    if fraction > 0 {
        text.push_str(format!(".{fraction:03}").trim_end_matches('0'));
    }
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + millis)
    }

    #[test]
    fn a_minute_s_worth_can_be_taken_at_once_and_then_evenly() {
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.check(3, 1, at(0)), Ok(()));
            bucket.take(3, 1, at(0));
        }
        assert_eq!(bucket.check(3, 1, at(0)), Err(Short::Wait(20_000)));
        assert_eq!(bucket.check(3, 1, at(19_999)), Err(Short::Wait(1)));
        assert_eq!(bucket.check(3, 1, at(20_000)), Ok(()));
        assert_eq!(bucket.check(3, 4, at(90_000)), Err(Short::Never));
        assert_eq!(bucket.check(0, 0, at(90_000)), Err(Short::Never));
    }

    #[test]
    fn a_call_that_used_more_than_was_taken_leaves_a_debt() {
        let mut bucket = Bucket::default();
        bucket.take(600, 100, at(0));
        bucket.settle(600, 100, 1_200, at(0));
        let full = Allowance { limit: 600, remaining: 0, full_in_ms: 120_000 };
        assert_eq!(bucket.allowance(600, at(0)), full);
        assert_eq!(bucket.check(600, 1, at(0)), Err(Short::Wait(60_100)));
        bucket.settle(600, 1_200, 0, at(0));
        assert_eq!(bucket.allowance(600, at(0)).remaining, 600);
    }

    #[test]
    fn a_clock_that_runs_backwards_gives_nothing_back() {
        let mut bucket = Bucket::default();
        bucket.take(60, 60, at(10_000));
        assert_eq!(bucket.check(60, 1, at(0)), Err(Short::Wait(1_000)));
        assert_eq!(bucket.check(60, 1, at(10_999)), Err(Short::Wait(1)));
        assert_eq!(bucket.check(60, 1, at(11_000)), Ok(()));
    }

    #[test]
    fn lengths_of_time_are_written_as_openai_does() {
        for (millis, text) in [
            (0, "0s"),
            (20, "20ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (61_250, "1m1.25s"),
            (360_000, "6m0s"),
            (3_600_007, "1h0m0.007s"),
        ] {
            assert_eq!(duration_text(millis), text);
        }
    }

    proptest! {
        /// A naive bucket that is refilled millisecond by millisecond, and what such a bucket means:
        /// in no stretch of time is more taken than a full bucket and what flows in meanwhile.
        #[test]
        fn it_agrees_with_a_naive_bucket(
            limit in 1u64..100_000,
            steps in proptest::collection::vec((0u64..2_000, 0u64..50_000, 0u64..=100), 1..60),
        ) {
            let (mut bucket, mut used, mut now) = (Bucket::default(), 0u128, 0u64);
            let mut taken: Vec<(u64, u64)> = Vec::new();
            for (pass, count, share) in steps {
                for _ in 0..pass {
                    used = used.saturating_sub(u128::from(limit));
                }
                now += pass;
                let fits = count <= limit && used + units(count) <= units(limit);
                let checked = bucket.check(limit, count, at(now));
                prop_assert_eq!(checked.is_ok(), fits);
                if let Err(Short::Wait(wait)) = checked {
                    let mut later = bucket;
                    prop_assert!(later.check(limit, count, at(now + wait - 1)).is_err());
                    prop_assert!(later.check(limit, count, at(now + wait)).is_ok());
                }
                if !fits {
                    continue;
                }
                bucket.take(limit, count, at(now));
                let actual = count * share / 100;
                bucket.settle(limit, count, actual, at(now));
                used += units(actual);
                taken.push((now, actual));
                let left = bucket.allowance(limit, at(now));
                prop_assert_eq!(u128::from(left.remaining), units(limit).saturating_sub(used) / UNITS);
            }
            for (first, (from, _)) in taken.iter().enumerate() {
                let mut before = 0;
                for (until, count) in &taken[first..] {
                    let flowed = u128::from(*until - *from) * u128::from(limit);
                    prop_assert!(before <= units(limit) + flowed);
                    before += units(*count);
                }
            }
        }
    }
}
