//! What keeps a workload from flowing: told in the log when it begins and when it ends, and in `/readyz` and `/status` as
//! long as it lasts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The part of a workload that a problem is of. One part has one problem at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Its stream, its consumer and the stream of dead letters could not be found, made or used.
    Setup,
    /// Its consumer or stream, as the server has it now.
    Consumer,
    /// Its pulls.
    Pull,
    /// The pulls of its `headers` source.
    Watch,
    /// Acks, naks, terms and in-progress signals.
    Settlement,
    /// Publications, replies and dead letters.
    Effects,
    /// Its workers: instances that do not start.
    Workers,
    /// Its policy.
    Policy,
    /// The signals that its policy decides by.
    Signals,
    /// The whole of it: it ended though nobody stopped it.
    Run,
}

impl Part {
    /// The word for it in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Consumer => "consumer",
            Self::Pull => "pull",
            Self::Watch => "watch",
            Self::Settlement => "settlement",
            Self::Effects => "effects",
            Self::Workers => "workers",
            Self::Policy => "policy",
            Self::Signals => "signals",
            Self::Run => "run",
        }
    }
}

/// The problems that one workload has now.
#[derive(Debug)]
pub struct Conditions {
    workload: Arc<str>,
    problems: Mutex<BTreeMap<Part, String>>,
}

impl Conditions {
    /// Of a workload that has none.
    pub fn new(workload: Arc<str>) -> Arc<Self> {
        Arc::new(Self { workload, problems: Mutex::default() })
    }

    /// A part does not work, and what mends it. Logged when the text is another than before.
    pub fn raise(&self, part: Part, problem: &str) {
        let before = self.lock().insert(part, problem.to_owned());
        if before.as_deref() != Some(problem) {
            tracing::error!(workload = %self.workload, part = part.as_str(), "{problem}");
        }
    }

    /// A part works. Logged if it did not before.
    pub fn clear(&self, part: Part) {
        if self.lock().remove(&part).is_some() {
            tracing::info!(workload = %self.workload, part = part.as_str(), "works again");
        }
    }

    /// All problems, in the order of [`Part`].
    pub fn all(&self) -> Vec<(Part, String)> {
        self.lock().iter().map(|(part, problem)| (*part, problem.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Part, String>> {
        // Nothing panics while it holds the lock.
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_one_problem_until_it_works_again() {
        let conditions = Conditions::new("orders".into());
        conditions.raise(Part::Pull, "refused");
        conditions.raise(Part::Pull, "denied");
        conditions.raise(Part::Setup, "no stream");
        assert_eq!(conditions.all(), [(Part::Setup, "no stream".to_owned()), (Part::Pull, "denied".to_owned())]);
        conditions.clear(Part::Pull);
        conditions.clear(Part::Pull);
        assert_eq!(conditions.all().len(), 1);
    }
}
