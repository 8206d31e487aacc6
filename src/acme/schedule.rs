//! When to order: a decision that needs no clock and no authority.

use std::time::Duration;

use crate::clock::NoRandomness;
use crate::domain::window::Timestamp;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// How often an authority is asked for its advice, whatever it says itself.
const ADVICE: std::ops::RangeInclusive<u64> = HOUR..=DAY;

/// Why an order failed: it decides how soon the next one is worth while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody was asked: the network, or something on this machine.
    Unreachable,
    /// The authority said no. It counts how often it is asked.
    Refused,
    /// It does not know the account.
    NoAccount,
}

/// What an authority says of when its certificate should be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// Absent where it says nothing.
    pub(super) renew_at: Option<Timestamp>,
    pub(super) ask_again: Timestamp,
}

impl Advice {
    /// An instant of the window that it gave, so that not all come at once.
    pub(super) fn given(
        (start, end): (Timestamp, Timestamp),
        again: Duration,
        now: Timestamp,
        chance: Result<[u8; 2], NoRandomness>,
    ) -> Self {
        let length = end.millis_since(start);
        let again = u64::try_from(again.as_millis()).unwrap_or(u64::MAX);
        Self {
            renew_at: Some(start.plus_millis(share(length, chance))),
            ask_again: now.plus_millis(again.clamp(*ADVICE.start(), *ADVICE.end())),
        }
    }

    pub(super) const fn none(now: Timestamp) -> Self {
        Self { renew_at: None, ask_again: now.plus_millis(DAY) }
    }
}

/// Without advice: when two thirds of its time are over.
pub(super) const fn renewal(from: Timestamp, until: Timestamp) -> Timestamp {
    from.plus_millis(until.millis_since(from) / 3 * 2)
}

/// Whatever is advised, there must be time to try again.
pub(super) const fn latest(from: Timestamp, until: Timestamp) -> Timestamp {
    from.plus_millis(until.millis_since(from) / 10 * 9)
}

/// How long to rest after so many failures, one at least, by up to a quarter more. An authority that
/// refuses is asked five times in the first hours, which stays below what is counted as abuse.
pub(super) fn pause(kind: Kind, failures: u32, chance: Result<[u8; 2], NoRandomness>) -> u64 {
    let (first, longest) = match kind {
        Kind::Unreachable => (MINUTE / 6, HOUR),
        Kind::Refused => (10 * MINUTE, 12 * HOUR),
        Kind::NoAccount => (1_000, HOUR),
    };
    let doubled = first.saturating_mul(1 << (failures.max(1) - 1).min(20));
    let pause = doubled.min(longest);
    pause + share(pause / 4, chance)
}

/// A part of `whole` that chance decides.
fn share(whole: u64, chance: Result<[u8; 2], NoRandomness>) -> u64 {
    let chance = u64::from(u16::from_be_bytes(chance.unwrap_or_default()));
    whole / u64::from(u16::MAX) * chance
        + whole % u64::from(u16::MAX) * chance / u64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(day: u64) -> Timestamp {
        Timestamp::from_millis(day * DAY)
    }

    #[test]
    fn a_certificate_is_replaced_when_two_thirds_are_over() {
        assert_eq!(renewal(at(100), at(190)), at(160));
        assert_eq!(latest(at(100), at(190)), at(181));
        // One that was never valid is replaced at once.
        assert_eq!(renewal(at(100), at(100)), at(100));
    }

    #[test]
    fn advice_is_an_instant_of_the_window() {
        let given =
            |chance| Advice::given((at(10), at(12)), Duration::from_secs(1), at(5), Ok(chance));
        assert_eq!(given([0, 0]).renew_at, Some(at(10)));
        assert_eq!(given([0xff, 0xff]).renew_at, Some(at(12)));
        // Whatever it says of itself, it is not asked more than once an hour.
        assert_eq!(given([0, 0]).ask_again, at(5).plus_millis(HOUR));
        let never = Advice::given((at(12), at(10)), Duration::MAX, at(5), Ok([9, 9]));
        assert_eq!((never.renew_at, never.ask_again), (Some(at(12)), at(6)));
    }

    #[test]
    fn pauses_grow_and_end_growing() {
        let of = |kind, failures| pause(kind, failures, Ok([0, 0]));
        assert_eq!(of(Kind::Unreachable, 1), 10_000);
        assert_eq!(of(Kind::Unreachable, 3), 40_000);
        assert_eq!(of(Kind::Refused, 2), 20 * MINUTE);
        for kind in [Kind::Unreachable, Kind::Refused, Kind::NoAccount] {
            assert!(of(kind, u32::MAX) <= 12 * HOUR);
            assert_eq!(of(kind, 0), of(kind, 1));
        }
        assert_eq!(pause(Kind::Refused, 1, Ok([0xff, 0xff])), 12 * MINUTE + MINUTE / 2);
    }
}
