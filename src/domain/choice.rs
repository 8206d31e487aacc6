//! Which of several targets a call goes to, and when it is sent again.
//!
//! Weighted rendezvous hashing: each target draws a number from the call's seed and its own name, and
//! the best draw wins. A seed from chance shares calls by weight; one from a key sends its calls to
//! one place, and a target that comes or goes moves no calls but its own. Exact integers throughout.

/// How well a target of this weight did with `seed`: the lowest wins. Never compare those of
/// different seeds.
pub fn draw(seed: u64, target: u64, weight: u64) -> u128 {
    // Of exponential variables with these rates the i-th is the least with probability wᵢ / Σw.
    let uniform = mix(seed ^ mix(target));
    (u128::from(minus_log2(uniform)) << 64) / u128::from(weight.max(1))
}

/// A number for a name, the same in every run.
pub fn fingerprint(parts: &[&[u8]]) -> u64 {
    // FNV-1a, with a byte between the parts that no text has.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for part in parts {
        part.iter().copied().for_each(&mut eat);
        eat(0xff);
    }
    mix(hash)
}

/// Spreads the bits of a number (the last step of `SplitMix64`).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// `-log2(number / 2⁶⁴)` in units of 2⁻⁴⁰, by squaring: each square gives one binary place.
fn minus_log2(number: u64) -> u64 {
    const PLACES: u32 = 40;
    let number = number.max(1);
    let mut log = u64::from(number.ilog2()) << PLACES;
    // Between 1 and 2, with 63 places.
    let mut rest = number << number.leading_zeros();
    for place in (0..PLACES).rev() {
        let square = (u128::from(rest) * u128::from(rest)) >> 63;
        let is_above_two = square >> 64 != 0;
        log |= u64::from(is_above_two) << place;
        rest = u64::try_from(square >> u32::from(is_above_two)).unwrap_or(u64::MAX);
    }
    (64 << PLACES) - log
}

/// The first pause before a call is sent again, and the longest.
const FIRST_PAUSE_MS: u64 = 500;
const LONGEST_PAUSE_MS: u64 = 8_000;

/// How long to wait before a call is sent again for the `retry`-th time, the first being 0: twice as
/// long each time, and somewhere between half of that and all of it, so that calls that failed
/// together do not come back together.
pub fn pause_ms(retry: u64, random: u64) -> u64 {
    let factor = 1_u64.checked_shl(u32::try_from(retry).unwrap_or(u32::MAX)).unwrap_or(u64::MAX);
    let pause = FIRST_PAUSE_MS.saturating_mul(factor).min(LONGEST_PAUSE_MS);
    pause / 2 + random % (pause / 2 + 1)
}

/// What may be spent on sending calls again: each call earns a share of a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// In hundredths of a retry.
    saved: u64,
}

impl RetryBudget {
    const RETRY: u64 = 100;
    /// Enough for a few where calls are rare.
    const MOST: u64 = 10 * Self::RETRY;

    /// A call is made for the first time; it earns `percent` hundredths of a retry.
    pub fn earn(&mut self, percent: u64) {
        self.saved = self.saved.saturating_add(percent).min(Self::MOST);
    }

    /// Takes a retry out, if there is one.
    pub const fn take(&mut self) -> bool {
        let Some(left) = self.saved.checked_sub(Self::RETRY) else { return false };
        self.saved = left;
        true
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { saved: Self::MOST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn winner(seed: u64, targets: &[(u64, u64)]) -> u64 {
        targets.iter().min_by_key(|(id, weight)| draw(seed, *id, *weight)).unwrap().0
    }

    #[test]
    fn calls_are_shared_by_weight() {
        let targets = [(11, 1), (22, 3), (33, 6)];
        let mut counts = [0_u64; 3];
        for seed in 0..30_000 {
            let won = winner(seed, &targets);
            counts[targets.iter().position(|(id, _)| *id == won).unwrap()] += 1;
        }
        // Three standard deviations of the largest share are 255 calls.
        for (count, (_, weight)) in counts.into_iter().zip(targets) {
            assert!(count.abs_diff(weight * 3_000) < 300, "{counts:?}");
        }
    }

    #[test]
    fn a_target_that_goes_moves_no_calls_but_its_own() {
        let all = [(11, 1), (22, 3), (33, 6)];
        for seed in 0..2_000 {
            let before = winner(seed, &all);
            let after = winner(seed, &all[..2]);
            assert!(before == 33 || before == after, "{seed}");
        }
    }

    #[test]
    fn logarithms_are_exact_to_many_places() {
        for (number, expected) in [(1 << 63, 1_u64 << 40), (1, 64 << 40), (1 << 32, 32 << 40)] {
            assert_eq!(minus_log2(number), expected);
        }
        // -log2(3/4) = 0.415037499278843…
        let found = minus_log2(3 << 62);
        assert!(found.abs_diff(456_338_556_420) < 8, "{found}");
    }

    #[test]
    fn pauses_double_and_end_somewhere() {
        for (retry, from, to) in
            [(0, 250, 500), (1, 500, 1_000), (4, 4_000, 8_000), (99, 4_000, 8_000)]
        {
            for random in [0, 1, u64::MAX] {
                let pause = pause_ms(retry, random);
                assert!((from..=to).contains(&pause), "{retry} {random}: {pause}");
            }
        }
    }

    #[test]
    fn retries_are_a_share_of_the_calls() {
        let mut budget = RetryBudget::default();
        let mut retried = 0;
        for _ in 0..1_000 {
            budget.earn(20);
            retried += u64::from(budget.take());
        }
        assert!((200..=211).contains(&retried), "{retried}");
    }

    proptest! {
        #[test]
        fn names_in_parts_are_not_mixed_up(a in "[a-z/]{0,6}", b in "[a-z/]{0,6}") {
            let whole = format!("{a}{b}");
            prop_assert_ne!(
                fingerprint(&[a.as_bytes(), b.as_bytes()]),
                fingerprint(&[whole.as_bytes()])
            );
        }

        #[test]
        fn a_larger_number_has_a_smaller_logarithm(a in 1u64.., b in 1u64..) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(minus_log2(low) >= minus_log2(high));
        }
    }
}
