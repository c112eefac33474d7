//! When the trial of a new generation ends, and how.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evidence::{Counted, MoreFailures, Slower};
use crate::config::RolloutConfig;
use crate::delivery::by_generation::CallSums;

/// The chance that a generation that is no worse is rolled back, by all tests together.
pub(crate) const ALPHA: f64 = 0.01;

/// What is tested: failures, faults, time.
const TESTS: f64 = 3.0;

/// A trial that is in doubt after `rollout.for` goes on for at most so many times as long in all.
pub(crate) const LONGEST: u32 = 12;

/// How many calls of each generation are compared at once, for failures and for time. For time the mean of some calls
/// is taken; failures are looked at as soon as may be.
const COMPARED: (u64, u64) = (5, 20);

/// From which part of a bound on something counts: one that is exactly at the bound would be measured below it half of
/// the time.
const NEAR: f64 = 0.95;

/// What is known of both generations.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Measured {
    /// What the new generation's calls came to since the trial began.
    pub(crate) new: CallSums,
    /// The same of the old one's.
    pub(crate) old: CallSums,
    /// How many times as often the new one fails; infinite if the old one never does.
    pub(crate) failure_ratio: f64,
    /// How many times as often its calls end without an answer.
    pub(crate) fault_ratio: f64,
    /// How many times as long its calls take.
    pub(crate) slowdown: f64,
}

/// How a trial ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    GoOn,
    Promote(String),
    /// No evidence against it, in all the time that there is, though it looks worse or was called too seldom.
    PromoteInDoubt(String),
    RollBack(String),
}

/// Something that is as bad as may be, as measured.
struct Concern {
    told: String,
    /// Whether it is no chance.
    is_sure: bool,
}

/// The trial of one new generation beside an old one, by what is counted of both.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    rules: RolloutConfig,
    /// What was counted at the last look, of the new and the old generation.
    last: Option<(CallSums, CallSums)>,
    compared: Comparison,
}

/// What is known of a new generation beside an old one. It can be written down, and another host go on from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Comparison {
    new: CallSums,
    old: CallSums,
    /// What was not compared yet, for failures and for time.
    open: [(CallSums, CallSums); 2],
    failures: MoreFailures,
    faults: MoreFailures,
    times: Slower,
}

impl Trial {
    pub(crate) fn new(rules: &RolloutConfig) -> Self {
        Self { last: None, compared: Comparison::new(rules), rules: rules.clone() }
    }

    /// Takes in what the calls of both came to, ever, when the trial has gone on for `elapsed`.
    pub(crate) fn look(&mut self, elapsed: Duration, new: CallSums, old: CallSums) -> Verdict {
        let (new_before, old_before) = self.last.replace((new, old)).unwrap_or((new, old));
        self.compared.add(more(new, new_before), more(old, old_before));
        self.compared.verdict(&self.rules, elapsed)
    }

    /// What is known of both generations.
    pub(crate) fn measured(&self) -> Measured {
        self.compared.measured()
    }
}

impl Comparison {
    pub(crate) fn new(rules: &RolloutConfig) -> Self {
        Self {
            new: CallSums::default(),
            old: CallSums::default(),
            open: Default::default(),
            failures: MoreFailures::default(),
            faults: MoreFailures::default(),
            // Halfway between as fast and too slow: such a one is slower most of the time, an equal one seldom.
            times: Slower::new(rules.max_slowdown.sqrt()),
        }
    }

    /// Takes in more calls of both, of the same time.
    pub(crate) fn add(&mut self, new: CallSums, old: CallSums) {
        (self.new, self.old) = (self.new.plus(new), self.old.plus(old));
        for open in &mut self.open {
            *open = (open.0.plus(new), open.1.plus(old));
        }
        self.compare();
    }

    /// Compares what was not compared yet, as soon as there is enough of both.
    fn compare(&mut self) {
        let [failures, times] = &mut self.open;
        if failures.0.calls >= COMPARED.0 && failures.1.calls >= COMPARED.0 {
            let (new, old) = std::mem::take(failures);
            let calls = (new.calls, old.calls);
            self.failures.add(Counted { calls, bad: (new.failed, old.failed) });
            self.faults.add(Counted { calls, bad: (new.faulted, old.faulted) });
        }
        if times.0.timed >= COMPARED.1 && times.1.timed >= COMPARED.1 {
            let (new, old) = std::mem::take(times);
            self.times.add(new, old);
        }
    }

    /// How a trial ends that has gone on for `elapsed`, if it does.
    pub(crate) fn verdict(&self, rules: &RolloutConfig, elapsed: Duration) -> Verdict {
        let seen = self.measured();
        let concerns = self.concerns(rules, &seen);
        if let Some(sure) = concerns.iter().find(|concern| concern.is_sure) {
            return Verdict::RollBack(sure.told.clone());
        }
        if elapsed < rules.duration {
            return Verdict::GoOn;
        }
        let few = format!("it was called {} times, and min-messages is {}", seen.new.calls, rules.min_messages);
        let few = Some(few).filter(|_| seen.new.calls < rules.min_messages);
        let doubt = few.or_else(|| concerns.first().map(|concern| format!("{}, which may be chance", concern.told)));
        let numbers = format!(
            "{} of {} calls failed, {} of {} of the generation before; {:.2} times as long",
            seen.new.failed, seen.new.calls, seen.old.failed, seen.old.calls, seen.slowdown
        );
        match doubt {
            None => Verdict::Promote(numbers),
            Some(doubt) if elapsed >= rules.duration.saturating_mul(LONGEST) => {
                Verdict::PromoteInDoubt(format!("{numbers}; {doubt}"))
            }
            Some(_) => Verdict::GoOn,
        }
    }

    /// What is as bad as may be, as measured.
    fn concerns(&self, rules: &RolloutConfig, seen: &Measured) -> Vec<Concern> {
        let is_sure = |log: f64| log >= (TESTS / ALPHA).ln();
        let (most, most_slow) = (rules.max_failure_ratio, rules.max_slowdown);
        let failures = (seen.failure_ratio, &self.failures, (seen.new.failed, seen.old.failed), "failed");
        let faults = (seen.fault_ratio, &self.faults, (seen.new.faulted, seen.old.faulted), "ended without an answer");
        let often = [failures, faults].into_iter().filter(|(ratio, ..)| *ratio >= most * NEAR);
        let mut all: Vec<Concern> = often
            .map(|(ratio, evidence, (new, old), what)| Concern {
                told: format!(
                    "{new} of {} calls {what}, {old} of {} of the generation before{}; max-failure-ratio is {most}",
                    seen.new.calls,
                    seen.old.calls,
                    if ratio.is_finite() { format!(": {ratio:.2} times as often") } else { String::new() },
                ),
                is_sure: is_sure(evidence.log()),
            })
            .collect();
        if seen.slowdown >= most_slow * NEAR {
            let told = format!(
                "calls take {:.2} times as long as those of the generation before; max-slowdown is {most_slow}",
                seen.slowdown
            );
            all.push(Concern { told, is_sure: is_sure(self.times.log()) });
        }
        all
    }

    /// What is known of both generations.
    pub(crate) fn measured(&self) -> Measured {
        Measured {
            new: self.new,
            old: self.old,
            failure_ratio: self.failures.ratio(),
            fault_ratio: self.faults.ratio(),
            slowdown: self.times.ratio(),
        }
    }
}

/// What was counted since a look. Where less is counted than then, the workload was started again.
fn more(now: CallSums, before: CallSums) -> CallSums {
    if now.calls < before.calls || now.us < before.us { now } else { now.since(before) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> RolloutConfig {
        RolloutConfig {
            share: 0.05,
            duration: Duration::from_secs(300),
            min_messages: 1000,
            max_failure_ratio: 2.0,
            max_slowdown: 1.5,
        }
    }

    fn sums(calls: u64, failed: u64, faulted: u64, us: u64) -> CallSums {
        CallSums { calls, failed, faulted, timed: calls, us }
    }

    fn begun() -> Trial {
        let mut trial = Trial::new(&rules());
        assert_eq!(trial.look(Duration::ZERO, sums(0, 0, 0, 0), sums(9_000, 900, 900, 9)), Verdict::GoOn);
        trial
    }

    #[test]
    fn what_was_before_the_trial_does_not_count() {
        let mut trial = begun();
        assert_eq!(
            trial.look(Duration::from_secs(300), sums(1000, 0, 0, 1000), sums(28_000, 900, 900, 19_009)),
            Verdict::Promote("0 of 1000 calls failed, 0 of 19000 of the generation before; 1.00 times as long".into())
        );
    }

    #[test]
    fn one_that_traps_on_each_call_is_rolled_back_after_a_few() {
        let mut trial = begun();
        let verdict = trial.look(Duration::from_secs(1), sums(5, 5, 5, 5), sums(9_095, 900, 900, 104));
        assert_eq!(
            verdict,
            Verdict::RollBack("5 of 5 calls failed, 0 of 95 of the generation before; max-failure-ratio is 2".into())
        );
    }

    #[test]
    fn traps_are_seen_though_both_fail_often() {
        let mut trial = begun();
        let verdict = trial.look(Duration::from_secs(1), sums(1000, 110, 10, 1000), sums(28_000, 2_800, 900, 19_009));
        assert!(matches!(&verdict, Verdict::RollBack(why) if why.contains("ended without an answer")), "{verdict:?}");
    }

    #[test]
    fn too_few_messages_are_waited_for_and_not_for_ever() {
        let mut trial = begun();
        let (new, old) = (sums(999, 0, 0, 999), sums(28_000, 900, 900, 19_009));
        assert_eq!(trial.look(Duration::from_secs(3_599), new, old), Verdict::GoOn);
        let verdict = trial.look(Duration::from_secs(3_600), new, old);
        assert!(
            matches!(&verdict, Verdict::PromoteInDoubt(why) if why.contains("min-messages is 1000")),
            "{verdict:?}"
        );
    }

    #[test]
    fn one_that_looks_worse_by_chance_is_watched_on() {
        let mut trial = begun();
        let verdict = trial.look(Duration::from_secs(300), sums(1000, 1, 0, 1000), sums(28_000, 900, 900, 19_009));
        assert_eq!(verdict, Verdict::GoOn);
    }

    #[test]
    fn a_workload_that_was_started_again_counts_on() {
        let mut trial = begun();
        trial.look(Duration::from_secs(1), sums(50, 0, 0, 50), sums(10_000, 900, 900, 1_009));
        trial.look(Duration::from_secs(2), sums(7, 1, 0, 7), sums(90, 2, 0, 90));
        let seen = trial.measured();
        assert_eq!((seen.new, seen.old), (sums(57, 1, 0, 57), sums(1090, 2, 0, 1090)));
    }

    proptest! {
        #[test]
        fn a_trial_always_ends_and_never_promotes_early(
            looks in proptest::collection::vec((0u64..100, 0u64..100, 0u64..100, 0u64..1000), 1..100),
        ) {
            let mut trial = begun();
            let (mut new, mut old) = (CallSums::default(), CallSums::default());
            let each = rules().duration.saturating_mul(LONGEST) / u32::try_from(looks.len()).unwrap_or(1);
            let mut elapsed = Duration::ZERO;
            let mut verdict = Verdict::GoOn;
            for (a, b, failed, us) in looks {
                elapsed += each + Duration::from_nanos(1);
                new = new.plus(sums(a, failed.min(a), 0, us));
                old = old.plus(sums(b, failed.min(b) / 2, 0, us));
                verdict = trial.look(elapsed, new, old);
                let promoted = matches!(verdict, Verdict::Promote(_) | Verdict::PromoteInDoubt(_));
                prop_assert!(!promoted || elapsed >= rules().duration);
                if verdict != Verdict::GoOn {
                    break;
                }
            }
            prop_assert_ne!(verdict, Verdict::GoOn);
        }
    }
}
