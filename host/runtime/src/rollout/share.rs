//! Which workers run the new generation.

use std::collections::BTreeSet;

/// Chooses the workers of a new generation, look by look.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    share: f64,
    /// The looks at which a single worker ran: it takes turns.
    alone: u64,
}

impl Share {
    /// Of this share of the workers, between 0 and 1.
    pub(crate) fn new(share: f64) -> Self {
        Self { share, alone: 0 }
    }

    /// The workers that run the new generation from now on, of those that run, in ascending order: the share, rounded,
    /// but at least one, and one is left to the old generation. A single worker runs the new generation for the share
    /// of the time, look by look.
    pub(crate) fn choose(&mut self, running: &[u64], chosen: &BTreeSet<u64>) -> BTreeSet<u64> {
        let wanted = match running.len() {
            0 => 0,
            1 => self.turn(),
            many => ((many as f64 * self.share).round() as usize).clamp(1, many - 1),
        };
        pick(running, chosen, wanted)
    }

    /// Whether it is the new generation's turn, as 0 or 1.
    fn turn(&mut self) -> usize {
        let whole = |looks: u64| (looks as f64 * self.share).floor();
        let is_its = whole(self.alone + 1) > whole(self.alone);
        self.alone += 1;
        is_its.into()
    }
}

/// So many of those that run. Those that were chosen stay; otherwise the oldest are, which drain last.
pub(crate) fn pick(running: &[u64], chosen: &BTreeSet<u64>, wanted: usize) -> BTreeSet<u64> {
    let (stay, others): (Vec<u64>, Vec<u64>) = running.iter().copied().partition(|worker| chosen.contains(worker));
    stay.into_iter().chain(others).take(wanted).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(workers: &[u64]) -> BTreeSet<u64> {
        workers.iter().copied().collect()
    }

    #[test]
    fn those_that_were_chosen_stay_and_one_that_ended_is_replaced() {
        let mut share = Share::new(0.2);
        let running: Vec<u64> = (1..=10).collect();
        assert_eq!(share.choose(&running, &set(&[])), set(&[1, 2]));
        assert_eq!(share.choose(&running, &set(&[7, 9])), set(&[7, 9]));
        assert_eq!(share.choose(&running[..8], &set(&[7, 9])), set(&[1, 7]));
        assert_eq!(share.choose(&running[..3], &set(&[1, 7])), set(&[1]));
    }

    #[test]
    fn a_single_worker_takes_turns() {
        let mut share = Share::new(0.05);
        let turns: Vec<bool> = (0..100).map(|_| !share.choose(&[4], &set(&[])).is_empty()).collect();
        assert_eq!(turns.iter().filter(|turn| **turn).count(), 5);
        assert!(share.choose(&[], &set(&[4])).is_empty());
    }

    proptest! {
        #[test]
        fn both_generations_run_where_two_workers_do(share in 0.01f64..0.99, workers in 2usize..200) {
            let running: Vec<u64> = (1..=workers as u64).collect();
            let chosen = Share::new(share).choose(&running, &set(&[]));
            prop_assert!(!chosen.is_empty() && chosen.len() < workers);
            let off = (chosen.len() as f64 - workers as f64 * share).abs();
            prop_assert!(off <= 1.0, "{off}");
        }
    }
}
