//! How long things took, kept as counts of size classes: small enough for every row of a report, and
//! sums of it are as good as the parts. A value is told to within a quarter, mostly to within a tenth, a mean exactly.

use super::codec::{DecodeError, Decoder, Encoder};

/// Each power of two is cut into so many classes.
const PARTS: u64 = 4;
/// The class of everything longer, at about four hours.
const LAST: u8 = 91;

/// Durations in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    sum_ms: u64,
    /// Class and count, by class; a class without a count is not there.
    counts: Vec<(u8, u64)>,
}

impl Durations {
    pub fn record(&mut self, millis: u64) {
        self.sum_ms = self.sum_ms.saturating_add(millis);
        self.count_in(class(millis), 1);
    }

    pub fn add(&mut self, other: &Self) {
        self.sum_ms = self.sum_ms.saturating_add(other.sum_ms);
        for (class, count) in &other.counts {
            self.count_in(*class, *count);
        }
    }

    fn count_in(&mut self, class: u8, more: u64) {
        match self.counts.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(more),
            Err(at) => self.counts.insert(at, (class, more)),
        }
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    pub const fn sum_ms(&self) -> u64 {
        self.sum_ms
    }

    /// The duration that `percent` of all did not pass; `None` where there are none. Within a class
    /// they are taken to lie evenly.
    pub fn percentile_ms(&self, percent: u64) -> Option<u64> {
        let all = self.count();
        let rank = (u128::from(all) * u128::from(percent.min(100))).div_ceil(100).max(1);
        let mut before = 0u128;
        for (class, count) in &self.counts {
            let within = rank - before;
            if within <= u128::from(*count) {
                let (low, width) = bounds(*class);
                // Each of a class's values has an equal part of it and lies in the middle of that.
                let part = u128::from(width) * (2 * within - 1) / (2 * u128::from(*count));
                return Some(low.saturating_add(u64::try_from(part).unwrap_or(width)));
            }
            before += u128::from(*count);
        }
        None
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.number(self.sum_ms);
        out.number(self.counts.len() as u64);
        for (class, count) in &self.counts {
            out.number(u64::from(*class));
            out.number(*count);
        }
    }

    pub fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut durations = Self { sum_ms: input.number()?, counts: Vec::new() };
        for _ in 0..input.number()? {
            let class = input.number()?;
            let known = u8::try_from(class).ok().filter(|class| *class <= LAST);
            let class = known.ok_or(DecodeError::Unknown(class))?;
            durations.count_in(class, input.number()?);
        }
        Ok(durations)
    }
}

fn class(millis: u64) -> u8 {
    if millis < PARTS {
        return u8::try_from(millis).unwrap_or(LAST);
    }
    let power = u64::from(millis.ilog2());
    let part = (millis >> (power - 2)) & (PARTS - 1);
    u8::try_from(PARTS * (power - 1) + part).map_or(LAST, |class| class.min(LAST))
}

/// Where a class begins and how wide it is.
const fn bounds(class: u8) -> (u64, u64) {
    let class = class as u64;
    if class < PARTS {
        return (class, 1);
    }
    let (power, part) = (class / PARTS + 1, class % PARTS);
    let width = 1 << (power - 2);
    ((PARTS + part) * width, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_follow_each_other_without_a_gap() {
        let mut end = 0;
        for one in 0..LAST {
            let (low, width) = bounds(one);
            assert_eq!(low, end, "class {one}");
            assert_eq!((class(low), class(low + width - 1)), (one, one));
            end = low + width;
        }
        assert_eq!(class(u64::MAX), LAST);
        assert!(end > 3 * 3_600_000, "{end}");
    }

    #[test]
    fn few_values_are_told_nearly_and_none_not_at_all() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile_ms(50), None);
        for millis in [1, 2, 3, 200, 1_000] {
            durations.record(millis);
        }
        assert_eq!((durations.count(), durations.sum_ms()), (5, 1_206));
        assert_eq!(durations.percentile_ms(50), Some(3));
        assert_eq!(durations.percentile_ms(0), Some(1));
        assert_eq!(durations.percentile_ms(80), Some(208));
        assert_eq!(durations.percentile_ms(100), Some(960));
    }

    proptest! {
        #[test]
        fn a_percentile_is_within_a_quarter_of_the_true_one(
            mut values in prop::collection::vec(0u64..10_000_000, 1..300),
            percent in 1u64..=100,
        ) {
            let mut durations = Durations::default();
            for value in &values {
                durations.record(*value);
            }
            values.sort_unstable();
            let rank = (values.len() as u64 * percent).div_ceil(100).max(1);
            let truth = values[usize::try_from(rank - 1).unwrap()];
            let told = durations.percentile_ms(percent).unwrap();
            prop_assert!(told.abs_diff(truth) <= truth / 4, "{told} for {truth}");
        }

        #[test]
        fn sums_are_as_good_as_the_parts_and_are_read_back(
            left in prop::collection::vec(any::<u64>(), 0..50),
            right in prop::collection::vec(0u64..100_000, 0..50),
        ) {
            let of = |values: &[u64]| {
                let mut durations = Durations::default();
                for value in values {
                    durations.record(*value);
                }
                durations
            };
            let mut sum = of(&left);
            sum.add(&of(&right));
            prop_assert_eq!(&sum, &of(&[left, right].concat()));
            let mut out = Encoder::new();
            sum.encode(&mut out);
            prop_assert_eq!(Durations::decode(&mut Decoder::new(out.as_slice())), Ok(sum));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = Durations::decode(&mut Decoder::new(&bytes));
        }
    }
}
