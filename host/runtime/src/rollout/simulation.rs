//! Trials with random messages: how often one that is no worse is rolled back, and how soon one that is worse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use super::trial::{Trial, Verdict};
use crate::config::RolloutConfig;
use crate::delivery::by_generation::CallSums;

/// SplitMix64: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Between 0 and 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Between two, each order of magnitude as often.
    fn between(&mut self, least: f64, most: f64) -> f64 {
        (least.ln() + self.unit() * (most / least).ln()).exp()
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// How many of `calls` fail, each with this chance: by leaps from one failure to the next.
    fn failures(&mut self, calls: u64, chance: f64) -> u64 {
        let mut at = 0.0;
        let mut count = 0;
        while chance > 0.0 {
            at += 1.0 + (self.unit().ln() / (1.0 - chance).ln()).floor();
            if at > calls as f64 {
                break;
            }
            count += 1;
        }
        count
    }

    /// Microseconds of so many calls of 10 ms on average, with a long tail: their logarithms have a deviation of 1.
    fn times(&mut self, calls: u64, factor: f64) -> u64 {
        (0..calls).map(|_| (10_000.0 * factor * (self.normal() - 0.5).exp()) as u64).sum()
    }
}

/// A workload, and how its generations fail and how much slower the new one is.
struct Scene {
    /// Messages in a second, of which the share goes to the new generation.
    rate: f64,
    rules: RolloutConfig,
    /// The chances that the new and the old generation fail, and that they trap.
    fails: (f64, f64),
    traps: (f64, f64),
    slowdown: f64,
}

fn rules() -> RolloutConfig {
    RolloutConfig::with_share(0.05)
}

fn scene() -> Scene {
    Scene { rate: 1000.0, rules: rules(), fails: (0.0, 0.0), traps: (0.0, 0.0), slowdown: 1.0 }
}

impl Scene {
    /// One trial, looked at once a second: how it ends, how long it took and how many messages the new one handled.
    fn run(&self, random: &mut Random) -> (Verdict, u64, u64) {
        let (mut trial, mut new, mut old) = (Trial::new(&self.rules), CallSums::default(), CallSums::default());
        trial.look(Duration::ZERO, new, old);
        for second in 1.. {
            let mut some = |share: f64, (fails, traps): (f64, f64), factor| {
                let calls = (self.rate * share * (0.5 + random.unit()) + random.unit()) as u64;
                let faulted = random.failures(calls, traps);
                let failed = (faulted + random.failures(calls, fails)).min(calls);
                CallSums { calls, failed, faulted, timed: calls, us: random.times(calls, factor) }
            };
            let share = self.rules.share;
            new = new.plus(some(share, (self.fails.0, self.traps.0), self.slowdown));
            old = old.plus(some(1.0 - share, (self.fails.1, self.traps.1), 1.0));
            let verdict = trial.look(Duration::from_secs(second), new, old);
            if verdict != Verdict::GoOn {
                return (verdict, second, new.calls);
            }
        }
        unreachable!("a trial ends")
    }

    /// So many trials, each rolled back: the most messages that the new generation handled.
    fn most_touched(&self, trials: u64) -> u64 {
        let touched = (0..trials).map(|seed| match self.run(&mut Random(seed)) {
            (Verdict::RollBack(_), _, touched) => touched,
            other => panic!("{other:?}"),
        });
        touched.max().unwrap()
    }
}

/// 0.5 % of what comes in an hour.
fn half_a_percent_of_an_hour(rate: f64) -> u64 {
    (rate * 3600.0 * 0.005) as u64
}

#[test]
fn a_generation_that_is_no_worse_is_rolled_back_less_often_than_alpha() {
    const TRIALS: u64 = 1000;
    let rolled_back = (0..TRIALS).filter(|seed| {
        let random = &mut Random(seed << 20);
        let (fails, traps) = (random.between(0.0001, 0.5), random.between(0.00001, 0.1));
        let share = random.between(0.05, 0.5);
        let rules = RolloutConfig { share, max_failure_ratio: 1.1, max_slowdown: 1.1, ..rules() };
        let scene =
            Scene { rate: random.between(1.0, 100.0), fails: (fails, fails), traps: (traps, traps), rules, ..scene() };
        matches!(scene.run(random).0, Verdict::RollBack(_))
    });
    let rolled_back = rolled_back.count();
    assert!((rolled_back as f64) < TRIALS as f64 * super::trial::ALPHA, "{rolled_back} of {TRIALS}");
}

#[test]
fn one_that_fails_two_percent_more_is_rolled_back_before_many_messages_met_it() {
    for old in [0.0, 0.001, 0.005, 0.01, 0.015] {
        let touched = Scene { fails: (old + 0.02, old), ..scene() }.most_touched(20);
        assert!(touched < half_a_percent_of_an_hour(1000.0) / 4, "{old}: {touched}");
    }
}

#[test]
fn one_that_traps_in_two_percent_of_its_calls_is_rolled_back_though_both_fail_often() {
    let touched = Scene { fails: (0.2, 0.2), traps: (0.02, 0.0), ..scene() }.most_touched(20);
    assert!(touched < half_a_percent_of_an_hour(1000.0) / 10, "{touched}");
}

#[test]
fn one_that_traps_on_each_call_is_rolled_back_after_a_few() {
    for rate in [2.0, 100.0] {
        let touched = Scene { traps: (1.0, 0.0), rate, ..scene() }.most_touched(20);
        assert!(touched < 20, "{rate}: {touched}");
    }
}

#[test]
fn one_that_is_slower_by_half_is_rolled_back() {
    let touched = Scene { slowdown: 1.5, ..scene() }.most_touched(10);
    assert!(touched < half_a_percent_of_an_hour(1000.0), "{touched}");
}

#[test]
fn one_that_is_fine_is_promoted_when_the_time_is_over() {
    for seed in 0..20 {
        let fine = Scene { fails: (0.01, 0.01), rate: 100.0, ..scene() }.run(&mut Random(seed));
        assert!(matches!(fine, (Verdict::Promote(_), 300..=600, 1000..)), "{fine:?}");
        let better = Scene { fails: (0.0, 0.05), slowdown: 0.5, rate: 100.0, ..scene() }.run(&mut Random(seed));
        assert!(matches!(better, (Verdict::Promote(_), 300, _)), "{better:?}");
    }
}
