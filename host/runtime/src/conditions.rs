//! What keeps a workload from flowing: told in the log when it begins and when it ends, and in `/readyz` and `/status`
//! as long as it lasts.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::text::one_line;

/// The part of a workload that a problem is of. One part has one problem at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The connection that it has for itself.
    Connection,
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
    /// Publications and replies.
    Effects,
    /// The key-value buckets that its handler uses.
    KeyValue,
    /// Its dead letters.
    DeadLetters,
    /// The order of its keys: what is waited for.
    Order,
    /// The few of a key that are handled at once: what waits for them.
    PerKey,
    /// What is behind its handler, as the handler's answers say.
    Breaker,
    /// Its workers: instances that do not start.
    Workers,
    /// Its policy.
    Policy,
    /// The signals that its policy decides by.
    Signals,
    /// The fleet that its host is one of.
    Fleet,
    /// What was written of it since: it is not run by that yet.
    Reload,
    /// The whole of it: it ended though nobody stopped it.
    Run,
}

impl Part {
    /// Whether a server that is away is cause enough for a problem of it.
    pub(crate) fn is_of_the_server(self) -> bool {
        !matches!(
            self,
            Self::Connection | Self::PerKey | Self::Breaker | Self::Workers | Self::Policy | Self::Reload | Self::Run
        )
    }

    /// Whether it is not of one run of the workload, and so stays where a run ends.
    fn outlasts_a_run(self) -> bool {
        matches!(self, Self::Reload)
    }

    /// The word for it in `/status`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Setup => "setup",
            Self::Consumer => "consumer",
            Self::Pull => "pull",
            Self::Watch => "watch",
            Self::Settlement => "settlement",
            Self::Effects => "effects",
            Self::KeyValue => "key-value",
            Self::DeadLetters => "dead-letters",
            Self::Order => "order",
            Self::PerKey => "per-key",
            Self::Breaker => "breaker",
            Self::Workers => "workers",
            Self::Policy => "policy",
            Self::Signals => "signals",
            Self::Fleet => "fleet",
            Self::Reload => "reload",
            Self::Run => "run",
        }
    }
}

/// The problems that one workload has now.
#[derive(Debug)]
pub(crate) struct Conditions {
    workload: Arc<str>,
    problems: Mutex<BTreeMap<Part, String>>,
}

impl Conditions {
    /// Of a workload that has none.
    pub(crate) fn new(workload: Arc<str>) -> Arc<Self> {
        Arc::new(Self { workload, problems: Mutex::default() })
    }

    /// Whose they are.
    pub(crate) fn workload(&self) -> Arc<str> {
        self.workload.clone()
    }

    /// A part does not work, and what mends it. Logged when the text is another than before.
    pub(crate) fn raise(&self, part: Part, problem: &str) {
        let problem = one_line(problem);
        let before = self.problems.lock().insert(part, problem.clone());
        if before.as_ref() != Some(&problem) {
            tracing::error!(workload = %self.workload, part = part.as_str(), "{problem}");
        }
    }

    /// The same of a problem whose reasons the log has elsewhere: logged when it begins, whatever its text is then.
    pub(crate) fn keep_raised(&self, part: Part, problem: &str) {
        let is_told = self.problems.lock().get_mut(&part).map(|told| *told = one_line(problem)).is_some();
        if !is_told {
            self.raise(part, problem);
        }
    }

    /// The whole of it ended. What its parts had is past.
    pub(crate) fn ended(&self, problem: &str) {
        self.raise(Part::Run, problem);
        self.begins();
    }

    /// A run of it begins. What raised problems in the run before is gone, and could not clear them.
    pub(crate) fn begins(&self) {
        self.problems.lock().retain(|part, _| part.outlasts_a_run() || *part == Part::Run);
    }

    /// It rests, and nothing of it has to flow.
    pub(crate) fn rests(&self) {
        self.problems.lock().retain(|part, _| part.outlasts_a_run());
    }

    /// Whether the part works is no more for this host to say.
    pub(crate) fn forget(&self, part: Part) {
        self.problems.lock().remove(&part);
    }

    /// A part works. Logged if it did not before.
    pub(crate) fn clear(&self, part: Part) {
        if self.problems.lock().remove(&part).is_some() {
            tracing::info!(workload = %self.workload, part = part.as_str(), "works again");
        }
    }

    /// All problems, in the order of [`Part`].
    pub(crate) fn all(&self) -> Vec<(Part, String)> {
        self.problems.lock().iter().map(|(part, problem)| (*part, problem.clone())).collect()
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
        conditions.keep_raised(Part::Pull, "denied, and why");
        assert_eq!(conditions.all().last(), Some(&(Part::Pull, "denied, and why".to_owned())));
        conditions.clear(Part::Pull);
        conditions.clear(Part::Pull);
        assert_eq!(conditions.all().len(), 1);
    }

    #[test]
    fn what_the_parts_had_is_past_when_the_whole_has_ended() {
        let conditions = Conditions::new("orders".into());
        conditions.raise(Part::Pull, "refused");
        conditions.ended("it panicked:\n  at once");
        assert_eq!(conditions.all(), [(Part::Run, "it panicked: at once".to_owned())]);
    }

    #[test]
    fn a_run_that_ends_leaves_no_problem_of_its_own_behind() {
        let conditions = Conditions::new("orders".into());
        let raise = || {
            let parts = [Part::Setup, Part::Effects, Part::Order, Part::Breaker, Part::Run, Part::Reload];
            parts.into_iter().for_each(|part| conditions.raise(part, "wrong"));
        };
        let parts = || conditions.all().into_iter().map(|(part, _)| part).collect::<Vec<_>>();
        raise();
        conditions.begins();
        // Why it ended is told until it has run for a while, and that it waits for its plugins until they are there.
        assert_eq!(parts(), [Part::Reload, Part::Run]);
        raise();
        conditions.ended("it ended");
        assert_eq!(parts(), [Part::Reload, Part::Run]);
        raise();
        conditions.rests();
        assert_eq!(parts(), [Part::Reload]);
        conditions.forget(Part::Reload);
        assert_eq!(parts(), []);
    }
}
