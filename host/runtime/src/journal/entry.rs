//! What is handed over to be written: values that are there anyway, nothing made into text yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::bounds::PolicyBounds;
use crate::contract::Author;
use crate::contract::Fault;
use crate::contract::{Decision, Observation};

/// Whether what a policy decides is acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It is.
    Live,
    /// It is only noted.
    Shadow,
}

/// One call of a policy.
#[derive(Debug)]
pub(crate) struct Entry {
    /// When its answer was there.
    pub at: SystemTime,
    /// The workload's name.
    pub workload: Arc<str>,
    /// Whether it is acted upon.
    pub role: Role,
    /// Which code answered.
    pub policy: Author,
    /// What it got in `init`.
    pub settings: Arc<[(String, String)]>,
    /// What it might spend.
    pub bounds: PolicyBounds,
    /// What was asked and answered.
    pub call: PolicyCall,
}

impl Entry {
    /// About how many bytes it holds that no other entry has.
    pub(super) fn size(&self) -> usize {
        let held = match &self.call {
            PolicyCall::Init(Adoption { previous, answer }) => {
                let first = answer.as_ref().map_or(0, |answer| answer.as_ref().map_or_else(String::len, Vec::len));
                previous.as_ref().map_or(0, Vec::len) + first
            }
            PolicyCall::Decide { state, answer, fleet, .. } => {
                let answer = answer.as_ref().map_or(0, |decision| decision.reason.len() + decision.state.len());
                // A node of the map has about as much beside an id.
                let share = |id: &String| 2 * id.len() + size_of::<u64>();
                state.len() + answer + fleet.as_ref().map_or(0, |plan| plan.shares.keys().map(share).sum())
            }
        };
        size_of::<Self>() + held
    }
}

/// What a policy was asked, and what it answered.
#[derive(Debug)]
pub(crate) enum PolicyCall {
    /// `init`.
    Init(Adoption),
    /// `decide`.
    Decide {
        /// What it was told.
        seen: Observation,
        /// Messages that had arrived since the host began to watch.
        arrivals: u64,
        /// The state it was given.
        state: Vec<u8>,
        /// What it answered.
        answer: Result<Decision, Fault>,
        /// What was made of it; nothing of a shadow's.
        made: Option<Change>,
        /// How a fleet shares the workers out.
        fleet: Option<Box<PlanLine>>,
    },
}

/// A policy that was to begin, or to take over from the version before.
#[derive(Debug)]
pub(crate) struct Adoption {
    /// The state of the version before.
    pub previous: Option<Vec<u8>>,
    /// The first state, or why there is none.
    pub answer: Result<Result<Vec<u8>, String>, Fault>,
}

/// How the hosts of a fleet share out the workers that were decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLine {
    /// Which plan holds from then on.
    pub epoch: u64,
    /// Workers by host.
    pub shares: BTreeMap<String, u32>,
}

/// What the host made of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Workers wanted before.
    pub from: u32,
    /// Workers wanted from then on: the decision within `scale.min` and `scale.max`, or what a person has set.
    pub to: u32,
    /// Whether a person has set that number, whatever was decided.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub set_by_person: bool,
}
