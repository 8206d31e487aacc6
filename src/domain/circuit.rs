//! Whether a target is fit to be called: failures that come close together make it cool down, and
//! after that one call tries whether it is well again.
//!
//! A value and its rules; time is an argument. Nothing here keeps a call from being made: what is not
//! fit is only called last.

use super::window::Timestamp;

/// Failures count together within this time.
const WINDOW_MS: u64 = 60_000;
/// However long a provider asks to be left alone, it is tried again after this: billing caps are
/// lifted and clocks are wrong.
const LONGEST_MS: u64 = 300_000;
/// A call that tries whether a target is well is not waited for longer than this.
const PROBE_MS: u64 = 60_000;

/// When a target cools down, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// So many failures within a minute.
    pub failures: u64,
    pub cooldown_ms: u64,
}

/// How a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Healthy,
    /// It has cooled down: one call may try it.
    Due,
    /// To be left alone until then, or until the call that tries it has ended.
    Cooling {
        until: Timestamp,
    },
}

/// The failures of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circuit {
    failures: u64,
    /// When the first of them was.
    since: Timestamp,
    cooling_until: Option<Timestamp>,
    probed_until: Option<Timestamp>,
}

impl Circuit {
    pub fn standing(&self, now: Timestamp) -> Standing {
        let Some(until) = self.cooling_until else { return Standing::Healthy };
        match self.probed_until.filter(|end| now < *end) {
            _ if now < until => Standing::Cooling { until },
            Some(end) => Standing::Cooling { until: end },
            None => Standing::Due,
        }
    }

    /// A call is about to be made: of those that are due, the first tries the target.
    pub fn begin(&mut self, now: Timestamp) {
        if self.standing(now) == Standing::Due {
            self.probed_until = Some(now.plus_millis(PROBE_MS));
        }
    }

    /// A call was answered, but not to the end yet: the target is fit to be called. Its failures still
    /// count, so that one which breaks off whatever it begins cools down all the same.
    pub const fn answered(&mut self) {
        self.cooling_until = None;
        self.probed_until = None;
    }

    /// A call found the target well.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A call ended without saying anything about the target.
    pub const fn undecided(&mut self) {
        self.probed_until = None;
    }

    /// A call failed; `wait_ms` is how long the target itself asks to be left alone.
    pub fn failed(&mut self, rule: Rule, wait_ms: Option<u64>, now: Timestamp) {
        if now.millis_since(self.since) >= WINDOW_MS {
            (self.failures, self.since) = (0, now);
        }
        self.failures = self.failures.saturating_add(1);
        let is_tried = self.cooling_until.is_some();
        let due = (is_tried || self.failures >= rule.failures).then_some(rule.cooldown_ms);
        let cooldown = due.max(wait_ms).map(|ms| ms.min(LONGEST_MS));
        if let Some(ms) = cooldown.filter(|ms| *ms > 0) {
            let until = now.plus_millis(ms);
            self.cooling_until = self.cooling_until.max(Some(until));
        }
        self.probed_until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { failures: 3, cooldown_ms: 30_000 };

    const fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + ms)
    }

    #[test]
    fn failures_that_come_close_together_make_it_cool_down() {
        let mut circuit = Circuit::default();
        for ms in [0, 100] {
            circuit.failed(RULE, None, at(ms));
            assert_eq!(circuit.standing(at(ms)), Standing::Healthy);
        }
        circuit.failed(RULE, None, at(200));
        assert_eq!(circuit.standing(at(200)), Standing::Cooling { until: at(30_200) });
        assert_eq!(circuit.standing(at(30_200)), Standing::Due);

        let mut slow = Circuit::default();
        for ms in [0, 40_000, 80_000, 120_000, 160_000] {
            slow.failed(RULE, None, at(ms));
            assert_eq!(slow.standing(at(ms)), Standing::Healthy, "{ms}");
        }
    }

    #[test]
    fn one_call_tries_it_and_decides() {
        let mut circuit = Circuit::default();
        circuit.failed(Rule { failures: 1, ..RULE }, None, at(0));
        circuit.begin(at(30_000));
        assert_eq!(circuit.standing(at(30_001)), Standing::Cooling { until: at(90_000) });
        let mut lost = circuit;
        assert_eq!(lost.standing(at(90_000)), Standing::Due, "nobody heard of it again");
        lost.undecided();
        assert_eq!(lost.standing(at(30_002)), Standing::Due);

        let mut failed = circuit;
        failed.failed(RULE, None, at(31_000));
        assert_eq!(failed.standing(at(31_000)), Standing::Cooling { until: at(61_000) });
        circuit.succeeded();
        assert_eq!(circuit.standing(at(31_000)), Standing::Healthy);
    }

    #[test]
    fn what_breaks_off_all_that_it_begins_cools_down() {
        let mut circuit = Circuit::default();
        for ms in [0, 1_000, 2_000] {
            circuit.answered();
            assert_eq!(circuit.standing(at(ms)), Standing::Healthy);
            circuit.failed(RULE, None, at(ms));
        }
        assert_eq!(circuit.standing(at(2_000)), Standing::Cooling { until: at(32_000) });
        circuit.begin(at(32_000));
        circuit.answered();
        assert_eq!(
            circuit.standing(at(32_001)),
            Standing::Healthy,
            "others need not wait for its end"
        );
        circuit.failed(RULE, None, at(33_000));
        assert_eq!(circuit.standing(at(33_000)), Standing::Cooling { until: at(63_000) });
    }

    #[test]
    fn a_target_is_left_alone_as_long_as_it_asks_but_not_for_ever() {
        let mut circuit = Circuit::default();
        circuit.failed(RULE, Some(2_000), at(0));
        assert_eq!(circuit.standing(at(0)), Standing::Cooling { until: at(2_000) });
        circuit.failed(RULE, Some(u64::MAX), at(1));
        assert_eq!(circuit.standing(at(1)), Standing::Cooling { until: at(300_001) });
        let mut never = Circuit::default();
        let rule = Rule { failures: 1, cooldown_ms: 0 };
        never.failed(rule, None, at(0));
        assert_eq!(never.standing(at(0)), Standing::Healthy, "no cooldown is wanted");
    }
}
