//! A breaker: while too many calls say that what is behind the handler does not work, one call at a time tries it.
//! Pure: it is told the time.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::told::Told;
use crate::config::BreakerConfig;

/// Into how many parts the window is cut: calls are forgotten a part at a time.
const PARTS: u32 = 10;

/// Counts calls, and slows to probes.
#[derive(Debug)]
pub(super) struct Breaker {
    config: BreakerConfig,
    begin: Instant,
    /// Calls that have ended within the window, and how many of them failed, by the part of it that they ended in.
    counts: VecDeque<(u128, Count)>,
    open: Option<Open>,
    opened: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Count {
    calls: u64,
    failed: u64,
}

/// It has slowed to probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    next_probe: Instant,
    /// Whether a probe runs.
    probing: bool,
}

/// It has slowed to probes, or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has slowed to probes.
    Opened,
    /// It goes on as before.
    Closed,
}

impl Breaker {
    /// Nothing has been called yet.
    pub(super) fn new(config: BreakerConfig, now: Instant) -> Self {
        Self { config, begin: now, counts: VecDeque::new(), open: None, opened: 0 }
    }

    /// Whether it has slowed to probes.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// How often it has.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// How many calls may begin now.
    pub(super) fn startable(&self, now: Instant) -> usize {
        match self.open {
            None => usize::MAX,
            Some(Open { probing, next_probe }) => usize::from(!probing && next_probe <= now),
        }
    }

    /// When so many calls may begin at once; `None` if time alone does not bring that.
    pub(super) fn when(&self, count: usize, now: Instant) -> Option<Instant> {
        match self.open {
            None => Some(now),
            Some(Open { probing: false, next_probe }) if count <= 1 => Some(next_probe),
            Some(_) => None,
        }
    }

    /// Calls begin that [`Breaker::startable`] allows. Returns whether it is a probe.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let interval = self.config.probe_interval;
        match &mut self.open {
            None => false,
            Some(open) => {
                *open = Open { probing: true, next_probe: now + interval };
                true
            }
        }
    }

    /// A call is over, whatever it says.
    pub(super) fn end(&mut self, was_probe: bool) {
        if let Some(open) = self.open.as_mut().filter(|_| was_probe) {
            open.probing = false;
        }
    }

    /// A call has said something. While it is open, only probes count: what began before knows nothing new.
    pub(super) fn told(&mut self, told: Told, was_probe: bool, now: Instant) -> Option<Turn> {
        if self.open.is_some() {
            if !was_probe || told != Told::Works {
                return None;
            }
            self.open = None;
            self.counts.clear();
            return Some(Turn::Closed);
        }
        // A probe of a time before that ended late is a call like any other.
        let failed = match told {
            Told::Nothing => return None,
            Told::Works => 0,
            Told::Fails => 1,
        };
        let Count { calls, failed } = self.count(Count { calls: 1, failed }, now);
        let most = self.config.ratio * calls as f64;
        if calls < u64::from(self.config.min_calls) || failed as f64 <= most {
            return None;
        }
        self.open = Some(Open { next_probe: now + self.config.probe_interval, probing: false });
        self.opened += 1;
        Some(Turn::Opened)
    }

    /// Adds calls and returns all within the window.
    fn count(&mut self, more: Count, now: Instant) -> Count {
        let part = (self.config.window / PARTS).max(Duration::from_nanos(1));
        let number = now.saturating_duration_since(self.begin).as_nanos() / part.as_nanos();
        while self.counts.front().is_some_and(|(of, _)| of + u128::from(PARTS) <= number) {
            self.counts.pop_front();
        }
        match self.counts.back_mut().filter(|(of, _)| *of == number) {
            Some((_, count)) => *count = count.plus(more),
            None => self.counts.push_back((number, more)),
        }
        self.counts.iter().fold(Count::default(), |sum, (_, count)| sum.plus(*count))
    }
}

impl Count {
    fn plus(self, more: Self) -> Self {
        Self { calls: self.calls + more.calls, failed: self.failed + more.failed }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn config(ratio: f64, min_calls: u32) -> BreakerConfig {
        BreakerConfig { ratio, window: SECOND * 10, min_calls, probe_interval: SECOND }
    }

    fn fail(breaker: &mut Breaker, times: u32, now: Instant) -> Option<Turn> {
        (0..times).filter_map(|_| breaker.told(Told::Fails, false, now)).last()
    }

    #[test]
    fn it_slows_to_one_call_an_interval_and_comes_back_when_one_works() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(config(0.5, 4), now);
        assert_eq!(fail(&mut breaker, 3, now), None);
        assert_eq!(fail(&mut breaker, 1, now), Some(Turn::Opened));
        assert_eq!((breaker.startable(now), breaker.when(1, now)), (0, Some(now + SECOND)));
        now += SECOND;
        assert_eq!(breaker.startable(now), 1);
        assert!(breaker.begin(now));
        assert_eq!((breaker.startable(now + SECOND * 9), breaker.when(1, now)), (0, None), "a probe runs");
        now += SECOND * 3;
        assert_eq!(breaker.told(Told::Fails, true, now), None);
        breaker.end(true);
        assert_eq!(breaker.startable(now), 1, "the interval is from one beginning to the next");
        assert!(breaker.begin(now));
        assert_eq!(breaker.told(Told::Works, true, now), Some(Turn::Closed));
        breaker.end(true);
        assert_eq!((breaker.startable(now), breaker.opened()), (usize::MAX, 1));
        assert_eq!(fail(&mut breaker, 3, now), None, "what was counted before is past");
    }

    #[test]
    fn what_began_before_does_not_end_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(config(0.5, 1), now);
        assert_eq!(fail(&mut breaker, 1, now), Some(Turn::Opened));
        assert_eq!(breaker.told(Told::Works, false, now), None);
        assert!(breaker.is_open());
    }

    #[test]
    fn a_probe_that_says_nothing_is_followed_by_the_next() {
        let now = Instant::now();
        let mut breaker = Breaker::new(config(0.5, 1), now);
        fail(&mut breaker, 1, now);
        breaker.begin(now + SECOND);
        assert_eq!(breaker.told(Told::Nothing, true, now + SECOND), None);
        breaker.end(true);
        assert!(breaker.is_open());
        assert_eq!((breaker.startable(now + SECOND), breaker.startable(now + SECOND * 2)), (0, 1));
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let now = Instant::now();
        let mut breaker = Breaker::new(config(0.5, 4), now);
        assert_eq!(fail(&mut breaker, 3, now), None);
        assert_eq!(fail(&mut breaker, 1, now + SECOND * 10), None);
        assert_eq!(fail(&mut breaker, 3, now + SECOND * 11), Some(Turn::Opened));
    }

    fn tolds() -> impl Strategy<Value = Told> {
        prop_oneof![Just(Told::Works), Just(Told::Fails), Just(Told::Nothing)]
    }

    proptest! {
        #[test]
        fn open_or_not_it_is_what_a_count_of_all_calls_says(
            ratio in 0.01f64..0.99, min_calls in 1u32..20,
            calls in proptest::collection::vec((0u64..3_000, tolds()), 1..200)
        ) {
            let begin = Instant::now();
            let (mut breaker, mut now, mut past) = (Breaker::new(config(ratio, min_calls), begin), begin, Vec::new());
            for (step, told) in calls {
                now += Duration::from_millis(step);
                if told != Told::Nothing {
                    past.push(((now - begin).as_secs(), told == Told::Fails));
                }
                let turn = breaker.told(told, false, now);
                // A part of the window is a second here.
                let second = (now - begin).as_secs();
                let within: Vec<bool> =
                    past.iter().filter(|(at, _)| at + 10 > second).map(|(_, failed)| *failed).collect();
                let failed = within.iter().filter(|failed| **failed).count();
                let must = told != Told::Nothing
                    && within.len() >= min_calls as usize && failed as f64 > ratio * within.len() as f64;
                prop_assert_eq!(turn == Some(Turn::Opened), must);
                if must {
                    break;
                }
            }
        }

        #[test]
        fn while_it_is_open_one_call_begins_an_interval_at_most(
            steps in proptest::collection::vec((0u64..2_000, any::<bool>()), 1..100)
        ) {
            let begin = Instant::now();
            let (mut breaker, mut now) = (Breaker::new(config(0.5, 1), begin), begin);
            fail(&mut breaker, 1, begin);
            let (mut begun, mut running) = (0_u128, false);
            for (step, ends) in steps {
                now += Duration::from_millis(step);
                if running && ends {
                    breaker.told(Told::Fails, true, now);
                    breaker.end(true);
                    running = false;
                }
                if breaker.startable(now) > 0 {
                    prop_assert!(!running);
                    running = breaker.begin(now);
                    begun += 1;
                }
                prop_assert!(begun <= (now - begin).as_millis() / 1_000);
            }
        }
    }
}
