//! How often a password may be tried: so often from one network, and so often in all, in a quarter of an
//! hour. An attempt counts before it is checked, so that many at once are not more than one after the
//! other. A value: the time is an argument.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use crate::domain::window::Timestamp;

const WINDOW_MS: u64 = 15 * 60_000;
/// Enough for somebody who tries to remember.
const PER_ADDRESS: usize = 10;
/// Bounds what many machines together can try, and what is remembered here.
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

    /// How long until there is room for one more.
    fn wait_ms(&self, most: usize, now: Timestamp) -> Option<u64> {
        let first = self.at.get(self.at.len().checked_sub(most)?)?;
        Some(WINDOW_MS.saturating_sub(now.millis_since(*first)).max(1))
    }
}

/// The attempts of the last quarter of an hour.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_network: HashMap<IpAddr, Tries>,
    all: Tries,
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
    pub(super) fn take(&mut self, address: Option<IpAddr>, now: Timestamp) -> Result<(), TooMany> {
        self.all.forget_old(now);
        self.by_network.retain(|_, tries| {
            tries.forget_old(now);
            !tries.at.is_empty()
        });
        let network = network(address);
        if let Some(wait_ms) = self.all.wait_ms(IN_ALL, now) {
            let is_first = !std::mem::replace(&mut self.all.turned_away, true);
            return Err(TooMany { wait_ms, is_first });
        }
        let tries = self.by_network.entry(network).or_default();
        if let Some(wait_ms) = tries.wait_ms(PER_ADDRESS, now) {
            let is_first = !std::mem::replace(&mut tries.turned_away, true);
            return Err(TooMany { wait_ms, is_first });
        }
        for tries in [tries, &mut self.all] {
            tries.at.push_back(now);
            tries.turned_away = false;
        }
        Ok(())
    }

    /// The attempt was right: neither it nor those before it from there count any more.
    pub(super) fn forgive(&mut self, address: Option<IpAddr>) {
        let forgiven = self.by_network.remove(&network(address));
        for _ in 0..forgiven.map_or(0, |tries| tries.at.len()) {
            self.all.at.pop_back();
        }
    }
}

/// What one person easily has: an address of IPv4, or a /64 of IPv6. Those of whom nothing is known
/// count together.
fn network(address: Option<IpAddr>) -> IpAddr {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        Some(address) => address,
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[expect(clippy::unnecessary_wraps, reason = "what is tried takes an option")]
    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
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
        assert!(attempts.by_network.len() <= IN_ALL);
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
