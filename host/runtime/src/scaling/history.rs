//! What has been decided about the number of a workload's workers, for `/status`.

use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::clock::time_of_day;
use crate::contract::{Author, Decision, Observation};

/// How many decisions are remembered.
const REMEMBERED: usize = 20;

/// Why a message starts a worker where there is none.
pub(crate) const WOKEN: &str = "a message arrived";

/// What the policy of a workload and its shadow have decided.
#[derive(Debug, Default)]
pub struct History {
    scaling: Mutex<Scaling>,
    shadow: Mutex<Shadowed>,
}

/// What the policy has decided so far.
#[derive(Debug, Clone, Default)]
pub struct Scaling {
    /// The policy in use.
    pub policy: Option<Author>,
    /// Why the newest generation of the policy is not in use, if it is not.
    pub refused: Option<String>,
    /// Decisions, ever.
    pub decisions: u64,
    /// Ticks that ended without a decision, ever.
    pub failures: u64,
    /// Why the last tick ended without a decision, if it did.
    pub problem: Option<String>,
    /// The last observation, while this host looks.
    pub seen: Option<Observation>,
    /// The last decisions that differ from the one before, oldest first.
    pub(crate) last: VecDeque<Decided>,
}

/// What a shadow has decided so far. Nothing of it was acted upon.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shadowed {
    /// The policy in use.
    pub policy: Option<Author>,
    /// Decisions, ever.
    pub decisions: u64,
    /// Decisions that would have given another number of workers than the live policy's, ever.
    pub differing: u64,
    /// Ticks on which the shadow did not answer, ever.
    pub failures: u64,
    /// Ticks that passed while the shadow still worked on an earlier one, ever.
    pub missed: u64,
    /// Why the last tick ended without a decision, or why the newest generation is not in use.
    pub problem: Option<String>,
    /// The last decision: how many workers, and why.
    pub last: Option<(u32, String)>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decided {
    /// Which it is of all decisions, from 1.
    pub number: u64,
    /// When the decision was made first.
    pub at: SystemTime,
    /// Workers that the policy wants.
    pub desired: u32,
    /// Workers that are started, within `scale.min` and `scale.max`.
    pub count: u32,
    /// Why it was made first, in the policy's words.
    pub reason: String,
    /// Why it was made last.
    pub latest_reason: String,
    /// How often in a row the decision was made.
    pub times: u64,
    /// What was observed when it was made first.
    pub seen: Option<Observation>,
}

impl History {
    /// What the policy has decided.
    pub fn scaling(&self) -> Scaling {
        self.scaling.lock().clone()
    }

    /// What was seen last.
    pub(crate) fn seen(&self) -> Option<Observation> {
        self.scaling.lock().seen
    }

    /// The last decision.
    pub(crate) fn last(&self) -> Option<Decided> {
        self.scaling.lock().last.back().cloned()
    }

    /// The remembered decisions that were made first after the one of this number, oldest first.
    pub(crate) fn decided_after(&self, number: u64) -> Vec<Decided> {
        let scaling = self.scaling.lock();
        scaling.last.iter().filter(|decided| decided.number > number).cloned().collect()
    }

    /// Notes the generation of the policy that is in use.
    pub(crate) fn adopted(&self, author: Author) {
        let mut scaling = self.scaling.lock();
        scaling.policy = Some(author);
        scaling.refused = None;
    }

    /// Notes why a generation of the policy is not used.
    pub(crate) fn refused(&self, problem: &str) {
        self.scaling.lock().refused = Some(problem.to_owned());
    }

    /// Notes an observation.
    pub(crate) fn saw(&self, seen: Observation) {
        self.scaling.lock().seen = Some(seen);
    }

    /// Notes a decision, and the number of workers it comes to. `woken` is whether a message has just started the first
    /// of them, before the policy was asked.
    pub(crate) fn decided(&self, decision: &Decision, count: u32, woken: bool) {
        let mut scaling = self.scaling.lock();
        scaling.decisions += 1;
        scaling.problem = None;
        // A reason may change with each tick. Only decisions that changed the workers are kept apart.
        match scaling.last.back_mut() {
            Some(last) if (last.desired, last.count) == (decision.desired, count) => {
                last.times += 1;
                last.latest_reason.clone_from(&decision.reason);
            }
            _ => {
                let Decision { desired, reason: latest_reason, .. } = decision.clone();
                let reason = if woken { format!("{WOKEN}; {latest_reason}") } else { latest_reason.clone() };
                let (number, at, times, seen) = (scaling.decisions, time_of_day(), 1, scaling.seen);
                scaling.last.push_back(Decided { number, at, desired, count, reason, latest_reason, times, seen });
                if scaling.last.len() > REMEMBERED {
                    scaling.last.pop_front();
                }
            }
        }
    }

    /// Notes that a tick ended without a decision.
    pub(crate) fn undecided(&self, problem: &str) {
        let mut scaling = self.scaling.lock();
        scaling.failures += 1;
        scaling.problem = Some(problem.to_owned());
    }

    /// This host asks the policy no more: another one leads, and what is wrong with the policy, and how much waits, is
    /// seen there.
    pub(crate) fn steps_down(&self) {
        let mut scaling = self.scaling.lock();
        (scaling.problem, scaling.refused, scaling.seen) = (None, None, None);
    }

    /// This host looks at the consumer no more. What it saw last is soon not so any more, and nobody could tell.
    pub(crate) fn looks_no_more(&self) {
        self.scaling.lock().seen = None;
    }

    /// Counts what the shadow did.
    pub(crate) fn shadow(&self, count: impl FnOnce(&mut Shadowed)) {
        count(&mut self.shadow.lock());
    }

    /// What the shadow has decided.
    pub(crate) fn shadowed(&self) -> Shadowed {
        self.shadow.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_row_of_one_decision_is_told_with_why_it_began_and_a_message_that_started_a_worker_is_named() {
        let history = History::default();
        let decide = |desired, reason: &str, count, woken| {
            let reason = reason.to_owned();
            history.decided(&Decision { desired, reason, state: Vec::new() }, count, woken);
            let last = history.last().unwrap();
            (last.reason, last.latest_reason, last.times)
        };
        let row = |first: &str, last: &str, times| (first.to_owned(), last.to_owned(), times);
        assert_eq!(decide(0, "idle", 0, false), row("idle", "idle", 1));
        let woken = "a message arrived; quiet for 0 of 300 s";
        assert_eq!(decide(1, "quiet for 0 of 300 s", 1, true), row(woken, "quiet for 0 of 300 s", 1));
        assert_eq!(decide(1, "quiet for 36 of 300 s", 1, false), row(woken, "quiet for 36 of 300 s", 2));
        assert_eq!(decide(0, "quiet for 300 s", 0, false), row("quiet for 300 s", "quiet for 300 s", 1));
        assert_eq!(decide(0, "backlog 0", 0, false), row("quiet for 300 s", "backlog 0", 2));
    }
}
