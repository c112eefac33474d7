//! Other code on the same observations: where the two would have parted.
//!
//! What was observed stays what it was: had the other policy run, there would have been other numbers of workers, and
//! so other backlogs. `tidegate simulate` answers that question.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::{ReplayError, ReplayPolicy, nothing};
use tidegate_runtime::journal::{JournalEvent, JournalReader, PolicyName, Role};
use tidegate_runtime::scaling::clamp;

/// One policy's number of workers at one tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DesiredWorkers {
    /// Within `scale.min` and `scale.max`.
    pub workers: u32,
    /// Why, in the policy's words.
    pub reason: String,
}

/// Ticks in a row on which the two wanted other numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferingTicks {
    /// When the first of them was.
    pub from: String,
    /// When the last of them was.
    pub to: String,
    /// How many they are.
    pub ticks: u64,
    /// What was decided on the first.
    pub recorded: DesiredWorkers,
    /// What the other decided on the first.
    pub other: DesiredWorkers,
}

/// Two policies on the same observations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyComparison {
    /// The workload.
    pub workload: String,
    /// Which code decided; several where it was swapped.
    pub recorded: Vec<PolicyName>,
    /// The other code.
    pub other: PolicyName,
    /// Ticks on which both decided.
    pub ticks: u64,
    /// Those on which both wanted the same number.
    pub same: u64,
    /// Ticks on which the one that was recorded did not answer.
    pub recorded_failures: u64,
    /// Ticks on which the other did not answer.
    pub other_failures: u64,
    /// Workers times seconds, from each tick to the next.
    pub recorded_worker_seconds: f64,
    /// The same of the other.
    pub other_worker_seconds: f64,
    /// Where they parted.
    pub stretches: Vec<DifferingTicks>,
    /// The first tick and the last.
    pub span: (String, String),
    /// All numbers, recorded and other, for a chart.
    #[serde(skip)]
    pub counts: (Vec<u32>, Vec<u32>),
}

/// Puts two rows of counts together, tick by tick.
#[derive(Debug, Default)]
pub(super) struct ComparedTicks {
    ticks: Vec<ComparedTick>,
    recorded_failures: u64,
    other_failures: u64,
}

#[derive(Debug)]
struct ComparedTick {
    time: String,
    now_ms: u64,
    recorded: DesiredWorkers,
    other: DesiredWorkers,
}

impl ComparedTicks {
    pub(super) fn push(
        &mut self,
        time: &str,
        now_ms: u64,
        recorded: Option<DesiredWorkers>,
        other: Option<DesiredWorkers>,
    ) {
        self.recorded_failures += u64::from(recorded.is_none());
        self.other_failures += u64::from(other.is_none());
        // Who does not answer leaves the number as it is.
        let before = self.ticks.last();
        let recorded = recorded.or_else(|| before.map(|tick| tick.recorded.clone()));
        let other = other.or_else(|| before.map(|tick| tick.other.clone()));
        if let (Some(recorded), Some(other)) = (recorded, other) {
            self.ticks.push(ComparedTick { time: time.to_owned(), now_ms, recorded, other });
        }
    }

    pub(super) fn finish(
        self,
        workload: String,
        recorded: Vec<PolicyName>,
        other: PolicyName,
    ) -> Option<PolicyComparison> {
        let (first, last) = (self.ticks.first()?, self.ticks.last()?);
        let span = (first.time.clone(), last.time.clone());
        let seconds = |count: fn(&ComparedTick) -> u32| {
            let pairs = self.ticks.iter().zip(self.ticks.iter().skip(1));
            // A host that starts again begins with a clock of its own.
            let parts = pairs.map(|(tick, next)| {
                let ms = next.now_ms.saturating_sub(tick.now_ms);
                f64::from(count(tick)) * ms as f64 / 1000.0
            });
            parts.sum::<f64>()
        };
        let was = |tick: &ComparedTick| tick.recorded.workers;
        let is = |tick: &ComparedTick| tick.other.workers;
        let mut stretches: Vec<DifferingTicks> = Vec::new();
        let mut parted = false;
        for tick in &self.ticks {
            let differs = was(tick) != is(tick);
            match stretches.last_mut() {
                Some(stretch) if differs && parted => {
                    stretch.to.clone_from(&tick.time);
                    stretch.ticks += 1;
                }
                _ if differs => stretches.push(DifferingTicks {
                    from: tick.time.clone(),
                    to: tick.time.clone(),
                    ticks: 1,
                    recorded: tick.recorded.clone(),
                    other: tick.other.clone(),
                }),
                _ => {}
            }
            parted = differs;
        }
        Some(PolicyComparison {
            workload,
            recorded,
            other,
            ticks: self.ticks.len() as u64,
            same: self.ticks.iter().filter(|tick| was(tick) == is(tick)).count() as u64,
            recorded_failures: self.recorded_failures,
            other_failures: self.other_failures,
            recorded_worker_seconds: seconds(was),
            other_worker_seconds: seconds(is),
            stretches,
            span,
            counts: (self.ticks.iter().map(was).collect(), self.ticks.iter().map(is).collect()),
        })
    }
}

/// Folds another policy over what was observed. Without settings of its own it gets those of the journal's first
/// decision.
///
/// # Errors
/// If a journal cannot be read, or the policy does not begin.
pub async fn compare(
    asked: &mut ReplayPolicy,
    journals: &[PathBuf],
    workload: String,
    settings: Option<&BTreeMap<String, String>>,
) -> Result<PolicyComparison, ReplayError> {
    let (mut pairs, mut recorded, mut state) = (ComparedTicks::default(), Vec::new(), None);
    for journal in journals {
        let mut reader = JournalReader::open(journal)?;
        while let Some(line) = reader.next()? {
            let JournalEvent::Decide(turn) = line.event else { continue };
            if turn.workload != workload || turn.role != Role::Live {
                continue;
            }
            let (plugin, context) = asked.for_workload(&workload, turn.limits);
            let before = match state.take() {
                Some(state) => state,
                None => {
                    let settings: Vec<_> = settings.unwrap_or(&turn.settings).clone().into_iter().collect();
                    let first = plugin.init(context, &settings, None).await.map_err(ReplayError::Fault)?;
                    first.map_err(ReplayError::Refused)?
                }
            };
            let seen = &turn.observation;
            let answer = plugin.decide(context, seen, &before).await;
            let within = |desired, reason: &str| DesiredWorkers {
                workers: clamp(desired, seen.min, seen.max),
                reason: reason.to_owned(),
            };
            let was = turn.decision.as_ref().map(|decision| within(decision.desired, &decision.reason));
            let is = answer.as_ref().ok().map(|decision| within(decision.desired, &decision.reason));
            pairs.push(&line.time, seen.now_ms, was, is);
            state = Some(answer.map_or(before, |decision| decision.state));
            if !recorded.contains(&turn.policy) {
                recorded.push(turn.policy);
            }
        }
    }
    let none = || nothing(&format!("no tick of workload {workload} on which both decided"));
    pairs.finish(workload.clone(), recorded, asked.name()).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn name(name: &str) -> PolicyName {
        PolicyName { name: name.to_owned(), generation: "g".to_owned() }
    }

    fn count(workers: u32) -> Option<DesiredWorkers> {
        Some(DesiredWorkers { workers, reason: workers.to_string() })
    }

    #[test]
    fn ticks_in_a_row_that_differ_are_one_stretch() {
        let mut pairs = ComparedTicks::default();
        for (second, was, is) in [(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 3, 3), (4, 3, 2), (6, 3, 3)] {
            pairs.push(&second.to_string(), second * 1000, count(was), count(is));
        }
        let compared = pairs.finish("w".to_owned(), vec![name("a")], name("b")).unwrap();
        assert_eq!((compared.ticks, compared.same), (6, 3));
        let stretches: Vec<_> = compared.stretches.iter().map(|s| (s.from.as_str(), s.to.as_str(), s.ticks)).collect();
        assert_eq!(stretches, [("1", "2", 2), ("4", "4", 1)]);
        assert_eq!(compared.stretches[0].recorded.workers, 2);
        // The last tick has no length; the one before lasts two seconds.
        assert_eq!(compared.recorded_worker_seconds, 1.0 + 2.0 + 3.0 + 3.0 + 6.0);
        assert_eq!(compared.other_worker_seconds, 1.0 + 1.0 + 1.0 + 3.0 + 4.0);
    }

    #[test]
    fn who_does_not_answer_leaves_the_number_as_it_is() {
        let mut pairs = ComparedTicks::default();
        pairs.push("0", 0, count(2), None);
        pairs.push("1", 1000, count(2), count(2));
        pairs.push("2", 2000, count(3), None);
        let compared = pairs.finish("w".to_owned(), vec![name("a")], name("b")).unwrap();
        assert_eq!((compared.ticks, compared.same, compared.other_failures), (2, 1, 2));
        assert_eq!(compared.counts, (vec![2, 3], vec![2, 2]));
    }
}
