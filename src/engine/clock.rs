//! Whether the clock of the host went on as time did.
//!
//! A boot writes moments of that clock, and waits by them. It may be set by hours while a machine starts.

use std::time::{Duration, Instant};

use crate::domain::ids::At;

/// A smaller difference is no matter.
const SET_BY_US_MIN: i64 = 2_000_000;

/// The host's clock and time itself, when they were last compared.
pub(super) struct Clock {
    wall: At,
    steady: Instant,
}

impl Clock {
    pub(super) fn new(wall: At, steady: Instant) -> Self {
        Self { wall, steady }
    }

    /// What the clock would say now if it had not been set since the last question, if it was. The time of a host that
    /// sleeps does not go on either.
    pub(super) fn expected(&mut self, wall: At, steady: Instant) -> Option<At> {
        let passed = steady.saturating_duration_since(self.steady);
        let expected = At(self.wall.0.saturating_add(us(passed)));
        *self = Self { wall, steady };
        let by_us = wall.0.saturating_sub(expected.0);
        (by_us.saturating_abs() >= SET_BY_US_MIN).then_some(expected)
    }
}

fn us(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_seen_once_and_one_that_goes_on_is_not() {
        let (begun, second) = (Instant::now(), 1_000_000);
        let steady = |seconds| begun + Duration::from_secs(seconds);
        let mut clock = Clock::new(At(100 * second), begun);
        assert_eq!(clock.expected(At(3_701 * second), steady(3_600)), None);
        // Set back by an hour; a second later it goes on.
        let set = clock.expected(At(102 * second), steady(3_601));
        assert_eq!(set, Some(At(3_702 * second)));
        assert_eq!(clock.expected(At(103 * second), steady(3_602)), None);
        let set = clock.expected(At(1_000 * second), steady(3_602));
        assert_eq!(set, Some(At(103 * second)));
    }
}
