//! What stands of a rollout in the entries of hosts, in the lease and in the plan.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::delivery::by_generation::CallSums;
use crate::digest::Digest;
use crate::rollout::ending::Ending;
use crate::rollout::trial::{Comparison, Measured};

/// What a host says of the generations of a workload's handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct HostGenerations {
    /// The one that its file has.
    pub(crate) file: Digest,
    /// The one that its workers run, but for those that try another.
    pub(crate) stable: Digest,
    /// Which run of the workload this is about: in each it counts anew.
    #[serde(default)]
    pub(crate) run: u64,
    /// What calls came to, of each that it could run: those that it has loaded and kept.
    pub(crate) calls: BTreeMap<Digest, CallSums>,
    /// One whose instances do not start here, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unusable: Option<(Digest, String)>,
}

impl HostGenerations {
    pub(crate) fn holds(&self, generation: &Digest) -> bool {
        self.calls.contains_key(generation)
    }
}

/// What a leader knows of a workload's rollouts, and the next one goes on from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct FleetRollout {
    /// The generation that is in use.
    pub(crate) stable: Digest,
    /// How many trials have begun, ever.
    pub(crate) number: u64,
    /// The one that is tried.
    pub(crate) tried: Option<Tried>,
    /// The one that was rolled back last, as long as the file of a host has it.
    pub(crate) rejected: Option<Digest>,
    /// Others that were in use (`true`) or only tried before, and that files of hosts still have: these hosts are late.
    pub(crate) passed: BTreeMap<Digest, bool>,
    /// Hosts whose file has one of these. A host that is gone counts for a while with the file that it had last.
    #[serde(default)]
    pub(crate) late_hosts: BTreeMap<String, LateHost>,
    /// How the last trial ended.
    pub(crate) last: Option<EndedTrial>,
    /// How many ended so, in the order of [`Ending::ALL`].
    pub(crate) ended: [u64; Ending::ALL.len()],
    /// Hosts that do not have the generation that is tried, or else the one in use.
    pub(crate) without: Vec<String>,
}

/// A host whose file has a generation that was rolled back, in use or tried before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LateHost {
    pub(crate) file: Digest,
    /// Since when the host is gone, in milliseconds that leaders have watched; `None` while it is there.
    pub(crate) gone_ms: Option<u64>,
}

/// A trial that goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Tried {
    pub(crate) generation: Digest,
    /// When it began, in milliseconds since the Unix epoch.
    pub(crate) began_ms: u64,
    /// The same in milliseconds that leaders have watched, and how many it has lasted.
    pub(crate) since_ms: u64,
    pub(crate) elapsed_ms: u64,
    /// The looks at which a single worker ran: it takes turns.
    pub(crate) turns: u64,
    /// How many workers of each host run it.
    pub(crate) workers: BTreeMap<String, u32>,
    /// What is taken in of each host.
    pub(crate) taken: BTreeMap<String, Taken>,
    pub(crate) compared: Comparison,
}

/// What is taken in of a host so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Taken {
    /// Of which process and run.
    pub(crate) boot: String,
    /// What it had counted then, of the new and the old generation, if it had them.
    pub(crate) new: Option<CallSums>,
    pub(crate) old: Option<CallSums>,
}

/// A trial that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct EndedTrial {
    pub(crate) generation: Digest,
    pub(crate) ending: Ending,
    pub(crate) reason: String,
    /// Whether it has lasted as long as it may, and was promoted for that.
    pub(crate) in_doubt: bool,
    pub(crate) at_ms: u64,
    pub(crate) numbers: Numbers,
}

/// What hosts are told by the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RolloutPlan {
    /// The generation that all workers run, but for those that try another.
    pub(crate) stable: Digest,
    /// How many trials have begun, ever.
    pub(crate) number: u64,
    pub(crate) tried: Option<TriedPlan>,
    pub(crate) rejected: Option<Digest>,
    /// Those that were in use before and that files of hosts still have.
    pub(crate) before: BTreeSet<Digest>,
    pub(crate) last: Option<EndedTrial>,
    pub(crate) ended: [u64; Ending::ALL.len()],
    /// Hosts that do not have the generation that is tried, or else the one in use.
    pub(crate) without: Vec<String>,
}

/// A trial, for those who carry it out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TriedPlan {
    pub(crate) generation: Digest,
    pub(crate) began_ms: u64,
    pub(crate) elapsed_ms: u64,
    /// How many workers of each host run it.
    pub(crate) workers: BTreeMap<String, u32>,
    pub(crate) numbers: Numbers,
}

/// What is measured, in a form that JSON has.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Numbers {
    pub(crate) new: CallSums,
    pub(crate) old: CallSums,
    /// `None` where the old generation never fails.
    pub(crate) failure_ratio: Option<f64>,
    pub(crate) fault_ratio: Option<f64>,
    pub(crate) slowdown: f64,
}

/// What a person has decided about a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Verdict {
    /// Which of all trials.
    pub(crate) number: u64,
    /// Whether its generation is put into use; otherwise it is tried no more.
    pub(crate) promote: bool,
}

impl FleetRollout {
    /// What hosts are told of it.
    pub(crate) fn plan(&self) -> RolloutPlan {
        let tried = self.tried.as_ref().map(|tried| TriedPlan {
            generation: tried.generation.clone(),
            began_ms: tried.began_ms,
            elapsed_ms: tried.elapsed_ms,
            workers: tried.workers.clone(),
            numbers: tried.compared.measured().into(),
        });
        RolloutPlan {
            stable: self.stable.clone(),
            number: self.number,
            tried,
            rejected: self.rejected.clone(),
            before: self
                .passed
                .iter()
                .filter(|(_, in_use)| **in_use)
                .map(|(generation, _)| generation.clone())
                .collect(),
            last: self.last.clone(),
            ended: self.ended,
            without: self.without.clone(),
        }
    }
}

impl RolloutPlan {
    /// The most workers that a host may run by what it has: of a generation that was never in use no more than are to
    /// try it.
    pub(crate) fn most_workers(&self, host: &str, generations: &HostGenerations) -> u32 {
        if generations.holds(&self.stable) || self.before.contains(&generations.stable) {
            return u32::MAX;
        }
        let tried = self.tried.as_ref().filter(|tried| generations.holds(&tried.generation));
        tried.and_then(|tried| tried.workers.get(host)).copied().unwrap_or(0)
    }

    /// Whether both have the same for hosts to do and to tell, whatever is measured meanwhile.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let still = |plan: &Self| {
            let mut plan = plan.clone();
            plan.tried.iter_mut().for_each(|tried| (tried.elapsed_ms, tried.numbers) = (0, Numbers::default()));
            plan
        };
        still(self) == still(other)
    }
}

impl From<Measured> for Numbers {
    fn from(Measured { new, old, failure_ratio, fault_ratio, slowdown }: Measured) -> Self {
        // So few digits are read as they were written, so that a plan is the same wherever it is read.
        let rounded = |ratio: f64| (ratio * 1e4).round() / 1e4;
        let finite = |ratio: f64| Some(rounded(ratio)).filter(|ratio| ratio.is_finite());
        Self {
            new,
            old,
            failure_ratio: finite(failure_ratio),
            fault_ratio: finite(fault_ratio),
            slowdown: finite(slowdown).unwrap_or(1.0),
        }
    }
}

impl From<Numbers> for Measured {
    fn from(Numbers { new, old, failure_ratio, fault_ratio, slowdown }: Numbers) -> Self {
        let [failure_ratio, fault_ratio] = [failure_ratio, fault_ratio].map(|ratio| ratio.unwrap_or(f64::INFINITY));
        Self { new, old, failure_ratio, fault_ratio, slowdown }
    }
}
