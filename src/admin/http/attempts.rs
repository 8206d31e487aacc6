//! How often a password may be tried: so often from one network, and so often in all, in a quarter of an
//! hour. A browser that signed in before has as many attempts of its own, which strangers do not use up:
//! they can shut each other out, and never the administrator for good. An attempt counts before it is
//! checked, so that many at once are not more than one after the other. A value: the time is an argument.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use crate::domain::access::KnownBrowser;
use crate::domain::window::Timestamp;

const WINDOW_MS: u64 = 15 * 60_000;
/// Enough for somebody who tries to remember.
const PER_ADDRESS: usize = 10;
/// Bounds what many machines together can try, and what is remembered of strangers.
const IN_ALL: usize = 100;

#[derive(Debug, Default)]
struct Tries {
    at: VecDeque<Timestamp>,
    /// Somebody has been turned away since the last attempt that was let through.
    turned_away: bool,
}

impl Tries {
    fn forget_old(&mut self, now: Timestamp) {
        while self.at.front().is_some_and(|at| now.millis_since(*at) >= WINDOW_MS) {
            self.at.pop_front();
        }
    }

    fn count(&mut self, now: Timestamp) {
        self.at.push_back(now);
        self.turned_away = false;
    }

    /// How long until there is room for one more.
    fn wait_ms(&self, most: usize, now: Timestamp) -> Option<u64> {
        let first = self.at.get(self.at.len().checked_sub(most)?)?;
        Some(WINDOW_MS.saturating_sub(now.millis_since(*first)).max(1))
    }
}

/// The attempts of the last quarter of an hour.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_whom: HashMap<By, Tries>,
    /// Of strangers.
    all: Tries,
}

/// Whose attempts count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum By {
    Known(KnownBrowser),
    /// What one person easily has: an address of IPv4, or a /64 of IPv6.
    Network(IpAddr),
}

impl By {
    /// Those of whom nothing is known count together.
    pub(super) fn address(address: Option<IpAddr>) -> Self {
        Self::Network(match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                let network = address.to_bits() & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            Some(address) => address,
            None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        })
    }
}

/// Too many attempts were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    pub(super) wait_ms: u64,
    /// Nobody was turned away before this one: worth an entry in the audit log, unlike those to come.
    pub(super) is_first: bool,
}

impl Attempts {
    /// Counts an attempt, or says how long to wait before the next.
    pub(super) fn take(&mut self, by: By, now: Timestamp) -> Result<(), TooMany> {
        self.all.forget_old(now);
        self.by_whom.retain(|_, tries| {
            tries.forget_old(now);
            !tries.at.is_empty()
        });
        let is_stranger = matches!(by, By::Network(_));
        if is_stranger && let Some(wait_ms) = self.all.wait_ms(IN_ALL, now) {
            let is_first = !std::mem::replace(&mut self.all.turned_away, true);
            return Err(TooMany { wait_ms, is_first });
        }
        let tries = self.by_whom.entry(by).or_default();
        if let Some(wait_ms) = tries.wait_ms(PER_ADDRESS, now) {
            let is_first = !std::mem::replace(&mut tries.turned_away, true);
            return Err(TooMany { wait_ms, is_first });
        }
        tries.count(now);
        if is_stranger {
            self.all.count(now);
        }
        Ok(())
    }

    /// The attempt was right: neither it nor those before it by the same count any more.
    pub(super) fn forgive(&mut self, by: By) {
        let forgiven = self.by_whom.remove(&by).map_or(0, |tries| tries.at.len());
        if matches!(by, By::Network(_)) {
            let left = self.all.at.len().saturating_sub(forgiven);
            self.all.at.truncate(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn address(text: &str) -> By {
        By::address(Some(text.parse().unwrap()))
    }

    #[test]
    fn ten_attempts_and_then_a_wait_until_the_first_is_forgotten() {
        let mut attempts = Attempts::default();
        for n in 0..10 {
            assert_eq!(attempts.take(address("192.0.2.1"), at(n)), Ok(()));
        }
        let refused = |is_first| Err(TooMany { wait_ms: WINDOW_MS - 10, is_first });
        assert_eq!(attempts.take(address("192.0.2.1"), at(10)), refused(true));
        assert_eq!(attempts.take(address("192.0.2.1"), at(10)), refused(false));
        assert_eq!(attempts.take(address("::ffff:192.0.2.1"), at(10)), refused(false));
        assert_eq!(attempts.take(address("192.0.2.2"), at(10)), Ok(()));
        assert_eq!(attempts.take(address("192.0.2.1"), at(WINDOW_MS)), Ok(()));
        assert!(attempts.take(address("192.0.2.1"), at(WINDOW_MS)).is_err());
    }

    #[test]
    fn many_machines_together_have_so_many_and_no_more() {
        let mut attempts = Attempts::default();
        let mut let_through = 0;
        for n in 0..1_000_u64 {
            let machine = address(&format!("2001:db8:{n:x}::1"));
            let_through += u64::from(attempts.take(machine, at(n)).is_ok());
        }
        assert_eq!(let_through, IN_ALL as u64);
        assert!(attempts.by_whom.len() <= IN_ALL);
    }

    #[test]
    fn strangers_do_not_shut_out_a_browser_that_signed_in_before() {
        let mut attempts = Attempts::default();
        let known = |n| By::Known(KnownBrowser::new([n; 16]));
        for n in 0..1_000_u64 {
            let _ = attempts.take(address(&format!("2001:db8:{n:x}::1")), at(0));
        }
        assert!(attempts.take(address("192.0.2.1"), at(1)).is_err());
        for _ in 0..PER_ADDRESS {
            assert_eq!(attempts.take(known(1), at(1)), Ok(()));
        }
        assert!(attempts.take(known(1), at(1)).is_err(), "it has no more than others");
        assert_eq!(attempts.take(known(2), at(1)), Ok(()));
        attempts.forgive(known(2));
        assert!(attempts.take(address("192.0.2.1"), at(2)).is_err(), "strangers gain nothing");
    }

    #[test]
    fn a_right_password_is_forgiven_what_went_before() {
        let mut attempts = Attempts::default();
        for _ in 0..1_000 {
            attempts.take(address("2001:db8::1"), at(1)).unwrap();
            attempts.take(address("2001:db8::2"), at(1)).unwrap();
            attempts.forgive(address("2001:db8::3"));
        }
    }
}
