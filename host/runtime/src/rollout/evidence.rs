//! Evidence that a generation is worse than the one before, which may be looked at as often as one likes.
//!
//! Each kind of evidence is a mixture of likelihood ratios, of "worse by so much" for several values of so much against
//! "no worse". Where the new generation is no worse, its expected value is at most 1 at each moment, so the chance that
//! it ever exceeds `1 / a` is at most `a` (Ville's inequality): looking often does not add up. That is the mixture
//! sequential probability ratio test (Robbins 1970; Johari, Pekelis, Walsh 2015, for comparisons that are watched).
//! Rejected: Fisher's exact test and Mann-Whitney's, whose level holds for one look that was fixed beforehand; alpha
//! spending, which needs to know how many messages will come.

use serde::{Deserialize, Serialize};

use crate::delivery::by_generation::CallSums;

/// By how many times the new generation may fail more often.
const RATIOS: [f64; 8] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];

/// How often the new generation may be the slower one.
const CHANCES: [f64; 6] = [0.6, 0.7, 0.8, 0.9, 0.97, 0.99];

/// Calls of both generations in the same time, and how many of each came to something bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Counted {
    /// Calls of the new and of the old generation.
    pub(crate) calls: (u64, u64),
    /// The bad ones among them.
    pub(crate) bad: (u64, u64),
}

/// Evidence that the new generation fails more often.
///
/// Of what fails in some time, the new generation's part is `q(r) = n r / (n r + m)`, if it makes `n` calls, the old
/// one `m`, and it fails `r` times as often. A failure of the new one counts `q(r) / q(1)` for `r`, one of the old one
/// `(1 - q(r)) / (1 - q(1))`. With `p` the old one's chance and `s <= 1` the true ratio, the product over all calls is
/// expected to be at most `exp(p (n s + m) (q(s) q(r) / q(1) + (1 - q(s)) (1 - q(r)) / (1 - q(1)) - 1))`, and that is
/// at most 1 since `q(s) <= q(1)`. How often both fail may change with time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct MoreFailures {
    logs: [f64; RATIOS.len()],
    /// What the ratio is measured by, so that times with more failures of both weigh as they should (Mantel-Haenszel).
    weighed: (f64, f64),
}

impl MoreFailures {
    /// Takes in calls of one time.
    pub(crate) fn add(&mut self, Counted { calls: (new, old), bad: (bad_new, bad_old) }: Counted) {
        if new == 0 || old == 0 {
            return;
        }
        let (new, old, bad_new, bad_old) = (new as f64, old as f64, bad_new as f64, bad_old as f64);
        for (log, ratio) in self.logs.iter_mut().zip(RATIOS) {
            // `(1 - q(s)) / (1 - q(1))`, without a difference of numbers that may be nearly the same.
            let rest = (new + old) / (new * ratio + old);
            *log += bad_new * (ratio * rest).ln() + bad_old * rest.ln();
        }
        let (measured, expected) = &mut self.weighed;
        *measured += bad_new * old / (new + old);
        *expected += bad_old * new / (new + old);
    }

    /// The logarithm of the evidence.
    pub(crate) fn log(&self) -> f64 {
        log_of_mean(&self.logs)
    }

    /// How many times as often the new generation fails, as measured: infinite if the old one never did. 1 if none did.
    pub(crate) fn ratio(&self) -> f64 {
        match self.weighed {
            (new, _) if new <= 0.0 => {
                if self.weighed.1 > 0.0 {
                    0.0
                } else {
                    1.0
                }
            }
            (new, old) => new / old,
        }
    }
}

/// Evidence that the new generation is slower.
///
/// Of calls of the same time, the mean of the new generation's is compared with that of the old one's: is it longer by
/// more than `margin`? For a generation that is as fast that is so in less than half of all times, whatever the
/// distribution, for its median is near its mean within the margin. So this is a sign test: it asks nothing of the
/// distribution of times, which have long tails, and what makes both slow for a while does no harm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slower {
    margin: f64,
    logs: [f64; CHANCES.len()],
    /// Microseconds of the new generation's calls, and what they would be if the old one had made them.
    us: (f64, f64),
}

impl Slower {
    /// With the margin of a comparison.
    pub(crate) fn new(margin: f64) -> Self {
        Self { margin, logs: [0.0; CHANCES.len()], us: (0.0, 0.0) }
    }

    /// Takes in calls of one time.
    pub(crate) fn add(&mut self, new: CallSums, old: CallSums) {
        if new.timed == 0 || old.timed == 0 || old.us == 0 {
            return;
        }
        let mean = |sums: CallSums| sums.us as f64 / sums.timed as f64;
        let slower = mean(new) > self.margin * mean(old);
        for (log, chance) in self.logs.iter_mut().zip(CHANCES) {
            *log += (2.0 * if slower { chance } else { 1.0 - chance }).ln();
        }
        self.us.0 += new.us as f64;
        self.us.1 += mean(old) * new.timed as f64;
    }

    /// The logarithm of the evidence.
    pub(crate) fn log(&self) -> f64 {
        log_of_mean(&self.logs)
    }

    /// How many times as long the new generation takes, as measured; 1 before anything was.
    pub(crate) fn ratio(&self) -> f64 {
        if self.us.1 > 0.0 { self.us.0 / self.us.1 } else { 1.0 }
    }
}

/// The logarithm of the mean of what these are logarithms of.
fn log_of_mean(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|log| (log - most).exp()).sum();
    most + (sum / logs.len().max(1) as f64).ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(calls: (u64, u64), bad: (u64, u64)) -> Counted {
        Counted { calls, bad }
    }

    #[test]
    fn a_few_failures_of_the_new_one_alone_are_strong_evidence() {
        let mut seen = MoreFailures::default();
        seen.add(counted((50, 950), (3, 0)));
        assert!(seen.log() > 5.7, "{}", seen.log());
        assert_eq!(seen.ratio(), f64::INFINITY);
    }

    #[test]
    fn numbers_that_no_calls_have_are_no_evidence_that_cannot_be_written() {
        let mut seen = MoreFailures::default();
        seen.add(counted((u64::MAX, 5), (0, 0)));
        seen.add(counted((5, u64::MAX), (u64::MAX, u64::MAX)));
        assert!(seen.log().is_finite() && seen.logs.iter().all(|log| log.is_finite()), "{seen:?}");
    }

    #[test]
    fn as_many_failures_are_none() {
        let mut seen = MoreFailures::default();
        assert_eq!((seen.ratio(), seen.log()), (1.0, 0.0));
        seen.add(counted((50, 950), (5, 95)));
        assert!(seen.log() < 0.0, "{}", seen.log());
        assert!((seen.ratio() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn that_both_fail_at_a_time_in_which_the_new_one_ran_more_is_none() {
        let mut seen = MoreFailures::default();
        seen.add(counted((500, 500), (250, 250)));
        seen.add(counted((10, 9990), (0, 0)));
        assert!((seen.ratio() - 1.0).abs() < 1e-9);
        assert!(seen.log() < 0.0);
    }

    #[test]
    fn a_generation_that_is_slower_each_time_is_slower() {
        let times = |us| CallSums { timed: 100, us, ..CallSums::default() };
        let mut seen = Slower::new(1.2);
        (0..11).for_each(|_| seen.add(times(15_000), times(10_000)));
        assert!(seen.log() > 5.7, "{}", seen.log());
        assert!((seen.ratio() - 1.5).abs() < 1e-9);
        let mut seen = Slower::new(1.2);
        (0..100).for_each(|_| seen.add(times(11_000), times(10_000)));
        assert!(seen.log() < 0.0);
    }

    proptest! {
        /// The expected value over all outcomes of one call of each, which is all that the proof needs.
        #[test]
        fn a_generation_that_is_no_worse_is_expected_to_leave_no_evidence(
            new in 1u64..30, old in 1u64..30, chance in 0.0f64..1.0, ratio in 0.0f64..=1.0,
        ) {
            let mean_for = |place: usize| {
                let one = |bad| {
                    let mut seen = MoreFailures::default();
                    seen.add(counted((new, old), bad));
                    seen.logs.get(place).copied().unwrap_or_default().exp()
                };
                let (fails_new, fails_old) = (one((1, 0)), one((0, 1)));
                let each = |chance: f64, factor: f64, calls: u64| (1.0 - chance + chance * factor).powf(calls as f64);
                each(chance * ratio, fails_new, new) * each(chance, fails_old, old)
            };
            for place in 0..RATIOS.len() {
                prop_assert!(mean_for(place) <= 1.0 + 1e-9, "{}", mean_for(place));
            }
        }

        #[test]
        fn no_counts_make_evidence_that_is_no_number(
            all in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()), 0..20),
        ) {
            let (mut failures, mut times) = (MoreFailures::default(), Slower::new(1.2));
            for (a, b, c, d) in all {
                let (a, b, c, d) = (a.into(), b.into(), c.into(), d.into());
                failures.add(counted((a, b), (c, d)));
                let sums = |timed, us| CallSums { timed, us, ..CallSums::default() };
                times.add(sums(a, c), sums(b, d));
            }
            prop_assert!(!failures.log().is_nan() && !failures.ratio().is_nan());
            prop_assert!(!times.log().is_nan() && !times.ratio().is_nan());
        }
    }
}
