//! A policy in use with its state: asks it, and has each call written in the journal.

use std::sync::Arc;

use crate::clock::time_of_day;
use crate::delivery::Fault;
use crate::journal::{Adoption, Bounds, Entry, Journal, Made, Role, What};
use crate::ports::{Author, Policies, Policy};
use crate::scaling::{Decision, Observation};

/// For whom a policy decides.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The workload's name.
    pub workload: Arc<str>,
    /// Whether it is acted upon.
    pub role: Role,
    /// What it gets in `init`.
    pub settings: Arc<[(String, String)]>,
    /// What it may spend.
    pub bounds: Bounds,
    /// Where it is kept.
    pub journal: Journal,
}

/// The newest version of a policy that has accepted its settings, and its state.
pub struct Fold<P: Policies> {
    desk: Desk,
    policies: P,
    adopted: Option<Adopted<P::Policy>>,
}

struct Adopted<P> {
    policy: P,
    state: Vec<u8>,
}

impl<P: Policies> Fold<P> {
    /// With no policy yet.
    pub fn new(desk: Desk, policies: P) -> Self {
        Self { desk, policies, adopted: None }
    }

    /// Waits until there is a version that [`Fold::adopt`] has not tried.
    pub async fn newer(&mut self) {
        self.policies.newer().await;
    }

    /// Moves to the newest version if that accepts the settings; otherwise the one before stays. What was tried, and what is
    /// wrong with it; `None` if there is nothing to try.
    pub async fn adopt(&mut self) -> Option<(Author, Result<(), String>)> {
        let policy = self.policies.latest()?;
        let author = policy.author().clone();
        let previous = self.adopted.as_ref().map(|adopted| adopted.state.clone());
        let answer = policy.init(&self.desk.settings, previous.as_deref()).await;
        let outcome = match &answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refusal)) => Err(format!("it refuses its settings: {refusal}")),
            Err(fault) => Err(fault.to_string()),
        };
        let first = answer.as_ref().ok().and_then(|answer| answer.as_ref().ok()).cloned();
        self.record(&author, || What::Init(Adoption { previous, answer }));
        if let Some(state) = first {
            self.adopted = Some(Adopted { policy, state });
        }
        Some((author, outcome))
    }

    /// Whether a version is in use.
    pub fn has_policy(&self) -> bool {
        self.adopted.is_some()
    }

    /// Asks for a decision on what was seen, after so many arrivals in all, and has it carried out; `None` if there is no
    /// policy yet.
    ///
    /// # Errors
    /// If the policy did not answer. Its state stays as it is.
    pub async fn decide(
        &mut self,
        (seen, arrivals): (&Observation, u64),
        act: impl FnOnce(&Decision) -> Option<Made>,
    ) -> Option<Result<(), Fault>> {
        let adopted = self.adopted.as_mut()?;
        let answer = adopted.policy.decide(seen, &adopted.state).await;
        let made = answer.as_ref().ok().and_then(act);
        let outcome = answer.as_ref().map(|_| ()).map_err(Clone::clone);
        let state = match &answer {
            Ok(decision) => std::mem::replace(&mut adopted.state, decision.state.clone()),
            Err(_) => adopted.state.clone(),
        };
        let author = adopted.policy.author().clone();
        self.record(&author, || What::Decide { seen: *seen, arrivals, state, answer, made });
        Some(outcome)
    }

    fn record(&self, policy: &Author, what: impl FnOnce() -> What) {
        let Desk { workload, role, settings, bounds, journal } = &self.desk;
        if journal.is_kept() {
            journal.record(Entry {
                at: time_of_day(),
                workload: workload.clone(),
                role: *role,
                policy: policy.clone(),
                settings: settings.clone(),
                bounds: *bounds,
                what: what(),
            });
        }
    }
}
