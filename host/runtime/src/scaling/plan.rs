//! From the workers that are there to those that should be.

/// What the supervisor knows of a worker when it plans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The worker's number.
    pub worker: u64,
    /// Whether it is in its handler now.
    pub handling: bool,
    /// Deliveries it settled in all.
    pub settled: u64,
    /// Whether it has been told to end.
    pub draining: bool,
}

/// The workers to start and to drain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// How many workers to start.
    pub start: u32,
    /// Which workers to drain.
    pub drain: Vec<u64>,
}

/// Plans the steps from `workers` to `desired` of them; those that drain already do not count.
///
/// Workers outside their handler drain first, then those that settled least, then the youngest.
pub fn plan(workers: &[Candidate], desired: u32) -> Plan {
    let mut running: Vec<Candidate> = workers.iter().copied().filter(|w| !w.draining).collect();
    let wanted = usize::try_from(desired).unwrap_or(usize::MAX);
    if let Some(missing) = wanted.checked_sub(running.len()) {
        return Plan { start: u32::try_from(missing).unwrap_or(u32::MAX), drain: Vec::new() };
    }
    running.sort_by_key(|w| (w.handling, w.settled, std::cmp::Reverse(w.worker)));
    let surplus = running.len() - wanted;
    Plan { start: 0, drain: running.into_iter().take(surplus).map(|w| w.worker).collect() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn worker(worker: u64, handling: bool, settled: u64) -> Candidate {
        Candidate { worker, handling, settled, draining: false }
    }

    #[test]
    fn the_least_busy_worker_drains_first() {
        let workers = [worker(1, true, 0), worker(2, false, 900), worker(3, false, 20), worker(4, true, 5)];
        assert_eq!(plan(&workers, 3).drain, [3]);
        assert_eq!(plan(&workers, 2).drain, [3, 2]);
        assert_eq!(plan(&workers, 1).drain, [3, 2, 1]);
    }

    #[test]
    fn a_draining_worker_is_replaced_if_it_is_wanted_after_all() {
        let workers = [Candidate { draining: true, ..worker(1, true, 0) }];
        assert_eq!(plan(&workers, 1), Plan { start: 1, drain: vec![] });
        assert_eq!(plan(&workers, 0), Plan::default());
    }

    proptest! {
        #[test]
        fn carrying_out_the_plan_gives_the_desired_count(
            states in proptest::collection::vec((any::<bool>(), 0u64..100, any::<bool>()), 0..50), desired in 0u32..100,
        ) {
            let workers: Vec<Candidate> = (0..).zip(states)
                .map(|(worker, (handling, settled, draining))| Candidate { worker, handling, settled, draining })
                .collect();
            let plan = plan(&workers, desired);
            let running = workers.iter().filter(|w| !w.draining && !plan.drain.contains(&w.worker)).count();
            prop_assert_eq!(running + plan.start as usize, desired as usize);
            prop_assert!(plan.start == 0 || plan.drain.is_empty());
            prop_assert!(plan.drain.iter().all(|id| workers.iter().any(|w| w.worker == *id && !w.draining)));
        }

        #[test]
        fn a_clamped_count_is_within_the_limits(desired: u32, min in 0u32..50, more in 0u32..50) {
            let clamped = crate::scaling::clamp(desired, min, min + more);
            prop_assert!((min..=min + more).contains(&clamped));
            prop_assert!(clamped == desired || !(min..=min + more).contains(&desired));
        }
    }
}
