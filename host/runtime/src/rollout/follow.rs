//! A host of a fleet follows the plan: its workers run the generations that the leader says, and it tells which it has.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::sleep;

use super::following::Following;
use super::seen::{Ended, RolloutSeen, TogetherSeen, TrialSeen};
use super::share::pick;
use super::switch::{Newest, Switch, Version};
use super::together::entries::{EndedTrial, HostGenerations, RolloutPlan};
use crate::contract::Author;
use crate::delivery::by_generation::GenerationSums;
use crate::digest::Digest;
use crate::events::{Event, Observer};

/// How often it is looked during a trial whether the workers are still the same.
const LOOK: Duration = Duration::from_secs(1);

/// The plans of a fleet for one workload, as this host sees them.
pub(crate) trait Plans: Send {
    /// This host's id.
    fn host(&self) -> &str;

    /// What the last plan says of rollouts; `None` before one was seen that says anything.
    fn now(&self) -> Option<RolloutPlan>;

    /// Waits until there may be another. Cancel-safe.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;

    /// The fleet is to hear soon what this host has.
    fn tell(&self);
}

impl<V: Version> Switch<V> {
    /// Tries new generations together with the other hosts of the fleet. `counted` gives the workers that run and what
    /// calls came to, while the workload runs.
    pub(crate) async fn follow(
        &self,
        mut newest: impl Newest<V>,
        counted: impl Fn() -> Option<(Vec<u64>, GenerationSums)>,
        mut plans: impl Plans,
        observer: Observer,
    ) -> Infallible {
        // It is set once, for a switch is run once.
        let _ = self.observer.set(observer);
        loop {
            let is_tried = self.choice.borrow().candidate.is_some();
            tokio::select! {
                version = newest.next() => {
                    self.has_file(version);
                    plans.tell();
                }
                () = plans.changed() => {}
                () = sleep(LOOK), if is_tried => {}
            }
            let running = counted().map(|(running, _)| running).unwrap_or_default();
            if let Some(plan) = plans.now() {
                self.obey(plan, plans.host(), &running);
            }
        }
    }

    /// The file has this generation now. The first one is in use until a plan says otherwise.
    pub(super) fn has_file(&self, version: V) {
        let mut following = self.following.lock();
        let file = version.author().generation;
        let stable = self.choice.borrow().stable().cloned();
        if stable.is_none() {
            self.choice.send_modify(|choice| choice.stable = Some(version.clone()));
        }
        let (mut held, plan) = following.take().map(|of| (of.held, of.plan)).unwrap_or_default();
        if held.is_empty() {
            held.extend(stable);
        }
        held.retain(|of: &V| of.author().generation != file);
        if plan.is_none() {
            // Nobody has asked for another than that in use.
            let stable = self.choice.borrow().stable().map(|of| of.author().generation);
            held.retain(|of| Some(of.author().generation) == stable);
        }
        held.push(version);
        *following = Some(Following { held, file, unusable: None, plan, missing: None });
    }

    /// Does what a plan says of this host.
    pub(super) fn obey(&self, plan: RolloutPlan, host: &str, running: &[u64]) {
        let mut following = self.following.lock();
        let Some(of) = following.as_mut() else { return };
        let before = of.plan.replace(plan.clone());
        let is_tried = |(generation, _): &(Digest, String)| {
            plan.tried.as_ref().is_some_and(|tried| tried.generation == *generation)
        };
        of.unusable = of.unusable.take().filter(is_tried);
        let tried = plan.tried.as_ref().filter(|_| of.unusable.is_none());
        let candidate = tried.and_then(|tried| {
            let wanted = tried.workers.get(host).copied().unwrap_or(0) as usize;
            let workers = pick(running, &self.chosen(), wanted);
            Some((held(of, &tried.generation)?.clone(), workers))
        });
        let stable = held(of, &plan.stable).cloned();
        self.choose(stable, candidate);
        self.tell_missing(of, &plan);
        self.tell_changes(before.as_ref(), &plan);
        let kept: BTreeSet<Digest> = self.kept(of, &plan);
        of.held.retain(|version| kept.contains(&version.author().generation));
    }

    /// Another choice, if it is another.
    fn choose(&self, stable: Option<V>, candidate: Option<(V, BTreeSet<u64>)>) {
        let named = |of: &Option<(V, BTreeSet<u64>)>| {
            of.as_ref().map(|(version, workers)| (version.author().generation, workers.clone()))
        };
        let digest = |of: &Option<V>| of.as_ref().map(|version| version.author().generation);
        self.choice.send_if_modified(|choice| {
            let other_stable = stable.is_some() && digest(&choice.stable) != digest(&stable);
            let other = other_stable || named(&choice.candidate) != named(&candidate);
            if other_stable {
                choice.stable = stable;
            }
            choice.candidate = candidate;
            other
        });
    }

    /// The generations that may be run later.
    fn kept(&self, of: &Following<V>, plan: &RolloutPlan) -> BTreeSet<Digest> {
        let own = self.choice.borrow().stable().map(|version| version.author().generation);
        let tried = plan.tried.as_ref().map(|tried| tried.generation.clone());
        let planned = [Some(plan.stable.clone()), tried, plan.rejected.clone()];
        planned.into_iter().chain([own, Some(of.file.clone())]).flatten().collect()
    }

    /// Says once that this host does not have what all run.
    fn tell_missing(&self, of: &mut Following<V>, plan: &RolloutPlan) {
        let missing = Some(plan.stable.clone()).filter(|stable| held(of, stable).is_none());
        if missing == of.missing {
            return;
        }
        if let (Some(missing), Some(own)) = (&missing, self.choice.borrow().stable()) {
            let Author { plugin, generation } = own.author();
            tracing::warn!(workload = %self.workload, %plugin, %generation, missing = %missing,
                "this host does not have the generation that its fleet has in use, and goes on with its own; give its \
                 plugin the file of the other hosts");
        }
        of.missing = missing;
    }

    /// Tells of what has begun and ended since the plan before. What had ended before this host saw a plan is past.
    fn tell_changes(&self, before: Option<&RolloutPlan>, plan: &RolloutPlan) {
        let Some(plugin) = self.choice.borrow().stable().map(|version| version.author().plugin) else { return };
        let has_ended = before.is_some_and(|before| before.ended != plan.ended);
        if let Some(ended) = plan.last.as_ref().filter(|_| has_ended) {
            self.tell_ended(ended, plugin.clone());
        }
        let is_same = before.is_some_and(|before| before.number == plan.number);
        if let Some(tried) = plan.tried.as_ref().filter(|_| !is_same) {
            let (workload, generation) = (self.workload.clone(), tried.generation.clone());
            tracing::info!(%workload, %plugin, %generation, "a new generation is tried by a share of the workers");
            self.tell(Event::RolloutBegan { workload, plugin, generation });
        }
    }

    fn tell_ended(&self, ended: &EndedTrial, plugin: Arc<str>) {
        let author = Author { plugin, generation: ended.generation.clone() };
        if ended.in_doubt {
            self.warn_of_doubt(&author, &ended.reason);
        }
        self.announce(ended.ending, author, &ended.reason);
    }

    /// An instance of this generation does not start here: the leader is to hear of it.
    pub(super) fn is_unusable_here(&self, generation: &Digest, why: &str) {
        let mut following = self.following.lock();
        let Some(of) = following.as_mut() else { return };
        let is_tried =
            of.plan.as_ref().and_then(|plan| plan.tried.as_ref()).is_some_and(|of| of.generation == *generation);
        if is_tried {
            of.unusable = Some((generation.clone(), why.to_owned()));
            self.choose(None, None);
        }
    }

    /// What the fleet is told of this host; `None` if it follows none.
    pub(super) fn told_to_fleet(&self, sums: &GenerationSums) -> Option<HostGenerations> {
        let following = self.following.lock();
        let of = following.as_ref()?;
        let stable = self.choice.borrow().stable()?.author().generation;
        let held = of.held.iter().map(|version| version.author().generation);
        let calls = held.map(|generation| (generation.clone(), sums.of(&generation))).collect();
        Some(HostGenerations { file: of.file.clone(), stable, run: 0, calls, unusable: of.unusable.clone() })
    }

    /// What can be seen of a rollout of all hosts together; `None` while no plan was followed.
    pub(super) fn seen_together(&self) -> Option<RolloutSeen> {
        let plan = self.following.lock().as_ref()?.plan.clone()?;
        let generation = self.choice.borrow().stable().map(|version| version.author().generation);
        let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(ms);
        let together = TogetherSeen {
            workers: plan.tried.as_ref().map(|tried| tried.workers.clone()).unwrap_or_default(),
            without: plan.without,
        };
        let trial = plan.tried.map(|tried| TrialSeen {
            generation: tried.generation,
            began: at(tried.began_ms),
            elapsed: Duration::from_millis(tried.elapsed_ms),
            workers: self.chosen().into_iter().collect(),
            measured: tried.numbers.into(),
        });
        let last = plan.last.map(|last| Ended {
            generation: last.generation,
            ending: last.ending,
            reason: last.reason,
            at: at(last.at_ms),
            measured: last.numbers.into(),
        });
        Some(RolloutSeen { generation, trial, last, ended: plan.ended, together: Some(together) })
    }
}

fn held<'a, V: Version>(of: &'a Following<V>, generation: &Digest) -> Option<&'a V> {
    of.held.iter().find(|version| version.author().generation == *generation)
}

#[cfg(test)]
mod tests;
