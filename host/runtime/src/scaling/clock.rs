//! The clock of a policy.

use std::time::Duration;

use super::observe::Moment;
use crate::duration::millis;

/// Makes moments of the host's clocks. A policy's time follows the wall clock. When the wall clock jumps ahead, because
/// somebody sets it or the machine was suspended, a policy's time jumps too. When the wall clock is set back, a
/// policy's time goes on half as fast as time passes, until the wall clock has caught up.
///
/// Rejected: the wall clock as it was at the start and then a clock that nobody can set. It never finds out that the
/// wall clock was wrong at the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    last: Option<Moment>,
}

impl Clock {
    /// Goes on from the last time that a policy was told, by another host's clock it may be.
    pub(crate) fn after(elapsed: Duration, now_ms: u64) -> Self {
        Self { last: (now_ms > 0).then_some(Moment { elapsed, now_ms, wall_ms: now_ms }) }
    }

    /// The moment at which `elapsed` has passed since the host started to watch, by a clock that nobody can set, and
    /// the wall clock reads `wall_ms` milliseconds since the Unix epoch.
    pub(crate) fn moment(&mut self, elapsed: Duration, wall_ms: u64) -> Moment {
        let now_ms = match self.last {
            None => wall_ms,
            Some(last) => {
                let passed = millis(elapsed.saturating_sub(last.elapsed));
                wall_ms.max(last.now_ms.saturating_add(passed / 2))
            }
        };
        *self.last.insert(Moment { elapsed, now_ms, wall_ms })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u64 = 1_700_000_000_000;
    const HOUR: u64 = 3_600_000;

    /// The times that a policy is told at these seconds, with the wall clock this many milliseconds ahead of its start.
    fn told(steps: &[(u64, i64)]) -> Vec<i64> {
        let mut clock = Clock::default();
        let told = |&(second, ahead): &(u64, i64)| {
            let wall = (START + second * 1000).checked_add_signed(ahead).unwrap_or_default();
            clock.moment(Duration::from_secs(second), wall).now_ms as i64 - START as i64
        };
        steps.iter().map(told).collect()
    }

    #[test]
    fn a_wall_clock_that_is_set_ahead_is_followed() {
        assert_eq!(told(&[(0, 0), (1, 0), (2, HOUR as i64), (3, HOUR as i64)]), [0, 1000, 3_602_000, 3_603_000]);
    }

    #[test]
    fn one_that_is_set_back_is_waited_for_at_half_the_speed() {
        let back = [(0, 0), (10, 0), (12, -4000), (14, -4000), (16, -4000), (18, -4000), (20, -4000)];
        assert_eq!(told(&back), [0, 10_000, 11_000, 12_000, 13_000, 14_000, 16_000]);
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_is_never_behind_the_wall_clock(
            steps in proptest::collection::vec((0_u64..10_000, 0..2 * HOUR), 1..50)
        ) {
            let (mut clock, mut elapsed, mut before) = (Clock::default(), 0, 0);
            for (step, wall) in steps {
                elapsed += step;
                let moment = clock.moment(Duration::from_millis(elapsed), START + wall);
                prop_assert!(moment.now_ms >= before && moment.now_ms >= moment.wall_ms);
                before = moment.now_ms;
            }
        }
    }
}
