//! Calls the policy in use, keeps its state, and records each call in the journal.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::clock::time_of_day;
use crate::contract::Author;
use crate::contract::Fault;
use crate::contract::{Decision, Observation};
use crate::fleet::entries::Fold;
use crate::journal::{Adoption, Change, Entry, Journal, PlanLine, PolicyBounds, PolicyCall, Role};
use crate::ports::{Policies, Policy};
use crate::scaling::handover::LeftFold;

/// What a policy is called with beside observations, and the journal of its calls.
#[derive(Debug, Clone)]
pub(crate) struct PolicySetup {
    /// The workload's name.
    pub workload: Arc<str>,
    /// Whether its decisions are acted upon.
    pub role: Role,
    /// The settings that the policy gets in `init`.
    pub settings: Arc<[(String, String)]>,
    /// What the policy may spend in one call.
    pub bounds: PolicyBounds,
    /// The journal in which its calls are recorded.
    pub journal: Journal,
}

/// The newest generation of a policy that has accepted its settings, and its state.
pub(crate) struct ActivePolicy<P: Policies> {
    setup: PolicySetup,
    policies: P,
    adopted: Option<Adopted<P::Policy>>,
    /// What an earlier run of the workload has left.
    left: Option<LeftFold>,
}

struct Adopted<P> {
    policy: P,
    state: Vec<u8>,
}

/// A call of `decide`, to be recorded in the journal by [`ActivePolicy::record`].
#[derive(Debug)]
#[must_use]
pub(crate) struct DecideCall {
    policy: Author,
    seen: Observation,
    arrivals: u64,
    /// The state that the policy was given.
    state: Vec<u8>,
    /// What the policy answered.
    pub answer: Result<Decision, Fault>,
}

impl<P: Policies> ActivePolicy<P> {
    /// With no policy yet.
    pub(crate) fn new(setup: PolicySetup, policies: P) -> Self {
        Self { setup, policies, adopted: None, left: None }
    }

    /// The same, going on from where an earlier run of the workload has left it.
    pub(crate) fn going_on_from(self, left: Option<LeftFold>) -> Self {
        Self { left, ..self }
    }

    /// What the next run of the workload can go on from.
    pub(crate) fn leave(&self) -> Option<LeftFold> {
        let Some(Adopted { policy, state }) = &self.adopted else { return self.left.clone() };
        let (author, settings) = (policy.author().clone(), self.setup.settings.clone());
        Some(LeftFold { author, settings, state: state.clone() })
    }

    /// Waits until there is a generation that [`ActivePolicy::adopt`] has not tried.
    pub(crate) async fn newer(&mut self) {
        self.policies.newer().await;
    }

    /// Moves to the newest generation if it accepts the settings. Otherwise the one before stays. Returns which
    /// generation was tried and what is wrong with it; `None` if there is none to try.
    pub(crate) async fn adopt(&mut self) -> Option<(Author, Result<(), String>)> {
        let policy = self.policies.latest()?;
        let author = policy.author();
        let previous = match (&self.adopted, &self.left) {
            (Some(adopted), _) => Some(adopted.state.clone()),
            (None, Some(left)) if left.goes_on(author, &self.setup.settings) => {
                let (author, state) = (author.clone(), left.state.clone());
                self.adopted = Some(Adopted { policy, state });
                return Some((author, Ok(())));
            }
            (None, left) => left.clone().and_then(|left| left.previous(author)),
        };
        Some(self.begin(policy, previous).await)
    }

    /// Goes on from where another host has left it: with that state where this host has the same generation and
    /// settings, and otherwise as with a new generation. Returns the same as [`ActivePolicy::adopt`].
    pub(crate) async fn take_over(&mut self, fold: Option<&Fold>) -> Option<(Author, Result<(), String>)> {
        self.adopted = None;
        let policy = self.policies.latest()?;
        let author = policy.author().clone();
        match fold {
            Some(fold) if is_same(fold, &author) && fold.settings == self.settings_digest() => {
                self.adopted = Some(Adopted { policy, state: fold.state.clone() });
                Some((author, Ok(())))
            }
            fold => Some(self.begin(policy, fold.map(|fold| fold.state.clone())).await),
        }
    }

    /// Nothing is asked of it until it takes over again.
    pub(crate) fn step_down(&mut self) {
        self.adopted = None;
    }

    /// What the next call begins with, and the code that is called.
    pub(crate) fn fold(&self) -> Option<(&Author, &[u8])> {
        self.adopted.as_ref().map(|adopted| (adopted.policy.author(), adopted.state.as_slice()))
    }

    /// Tells the policy's settings from others.
    pub(crate) fn settings_digest(&self) -> String {
        let mut digest = HEXLOWER.encode(&Sha256::digest(format!("{:?}", self.setup.settings)));
        digest.truncate(12);
        digest
    }

    async fn begin(&mut self, policy: P::Policy, previous: Option<Vec<u8>>) -> (Author, Result<(), String>) {
        let author = policy.author().clone();
        let answer = policy.init(&self.setup.settings, previous.as_deref()).await;
        let outcome = match &answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refusal)) => Err(format!("it refuses its settings: {refusal}")),
            Err(fault) => Err(fault.to_string()),
        };
        let first = answer.as_ref().ok().and_then(|answer| answer.as_ref().ok()).cloned();
        self.write(&author, || PolicyCall::Init(Adoption { previous, answer }));
        if let Some(state) = first {
            self.adopted = Some(Adopted { policy, state });
        }
        (author, outcome)
    }

    /// Whether a generation is in use.
    pub(crate) fn has_policy(&self) -> bool {
        self.adopted.is_some()
    }

    /// Asks for a decision on an observation; `None` if there is no policy yet. `arrivals` is for the journal: how many
    /// messages have arrived in all. If the policy does not answer, its state stays as it is.
    pub(crate) async fn decide(&mut self, seen: &Observation, arrivals: u64) -> Option<DecideCall> {
        let Adopted { policy, state } = self.adopted.as_mut()?;
        let answer = policy.decide(seen, state).await;
        let before = match &answer {
            Ok(decision) => std::mem::replace(state, decision.state.clone()),
            Err(_) => state.clone(),
        };
        Some(DecideCall { policy: policy.author().clone(), seen: *seen, arrivals, state: before, answer })
    }

    /// Records a call in the journal, with what was made of its decision.
    pub(crate) fn record(&self, call: DecideCall, made: Option<Change>) {
        self.record_shared(call, made, None);
    }

    /// The same with how the workers are shared out among the hosts of a fleet.
    pub(crate) fn record_shared(&self, call: DecideCall, made: Option<Change>, fleet: Option<PlanLine>) {
        let DecideCall { policy, seen, arrivals, state, answer } = call;
        let fleet = fleet.map(Box::new);
        self.write(&policy, || PolicyCall::Decide { seen, arrivals, state, answer, made, fleet });
    }

    fn write(&self, policy: &Author, call: impl FnOnce() -> PolicyCall) {
        let PolicySetup { workload, role, settings, bounds, journal } = &self.setup;
        if journal.is_kept() {
            journal.record(Entry {
                at: time_of_day(),
                workload: workload.clone(),
                role: *role,
                policy: policy.clone(),
                settings: settings.clone(),
                bounds: *bounds,
                call: call(),
            });
        }
    }
}

/// Whether a state is that of this code.
fn is_same(fold: &Fold, author: &Author) -> bool {
    fold.plugin == *author.plugin && fold.generation == author.generation.whole()
}
