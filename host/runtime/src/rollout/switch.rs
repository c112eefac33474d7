//! The rollouts of one workload: which generation each worker runs, and the trial that changes it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::ending::BY_HAND;
use super::following::Following;
use super::seen::{Ended, Ending, NoCandidate, RolloutSeen, Rollouts, TrialSeen};
use super::share::Share;
use super::together::entries::HostGenerations;
use super::trial::{Measured, Trial, Verdict};
use crate::clock::time_of_day;
use crate::config::RolloutConfig;
use crate::contract::Author;
use crate::delivery::by_generation::GenerationSums;
use crate::digest::Digest;
use crate::events::{Event, Observer};

/// The shortest and the longest time between two looks at a trial.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// So many looks are had in `rollout.for`, if that is not too often or too seldom.
const LOOKS: u32 = 60;

/// A compiled version of the handler.
pub(crate) trait Version: Clone + Send + Sync + 'static {
    /// What it is called.
    fn author(&self) -> Author;
}

/// Gives the generations that the plugin's file has.
pub(crate) trait Newest<V> {
    /// Waits for one that is another than the last one given. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = V> + Send;
}

/// Which generation each worker runs.
#[derive(Clone)]
pub(crate) struct Choice<V> {
    pub(super) stable: Option<V>,
    /// The one that is tried, and by which workers.
    pub(super) candidate: Option<(V, BTreeSet<u64>)>,
}

impl<V> Choice<V> {
    /// The generation of this worker. `None` before one was loaded.
    pub(crate) fn of(&self, worker: u64) -> Option<&V> {
        let tried = self.candidate.as_ref().filter(|(_, workers)| workers.contains(&worker));
        tried.map(|(version, _)| version).or(self.stable.as_ref())
    }

    /// The generation of all workers that try none.
    pub(crate) fn stable(&self) -> Option<&V> {
        self.stable.as_ref()
    }
}

/// The rollouts of one workload.
pub(crate) struct Switch<V> {
    pub(super) workload: Arc<str>,
    rules: RolloutConfig,
    pub(super) choice: watch::Sender<Choice<V>>,
    state: Mutex<State<V>>,
    /// Where the hosts of a fleet try new generations together.
    pub(super) following: Mutex<Option<Following<V>>>,
    pub(super) observer: OnceLock<Observer>,
}

struct State<V> {
    trial: Option<RunningTrial>,
    /// The generation that the file has and that is not in use, since a trial ended so.
    rejected: Option<V>,
    last: Option<Ended>,
    ended: [u64; Ending::ALL.len()],
}

struct RunningTrial {
    author: Author,
    trial: Trial,
    share: Share,
    since: Instant,
    began: SystemTime,
}

impl<V: Version> Switch<V> {
    pub(crate) fn new(workload: Arc<str>, rules: RolloutConfig) -> Arc<Self> {
        let choice = watch::Sender::new(Choice { stable: None, candidate: None });
        let state = State { trial: None, rejected: None, last: None, ended: Default::default() };
        let (state, following, observer) = (Mutex::new(state), Mutex::new(None), OnceLock::new());
        Arc::new(Self { workload, rules, choice, state, following, observer })
    }

    /// Goes on from how rollouts of the same handler stood when they ended: what is in use stays, and what was rolled
    /// back is not tried again. A trial that was not decided begins anew.
    pub(crate) fn go_on_from(&self, before: &Self) {
        let stable = before.choice.borrow().stable().cloned();
        self.choice.send_modify(|choice| choice.stable = stable);
        let (before, mut state) = (before.state.lock(), self.state.lock());
        state.rejected.clone_from(&before.rejected);
        state.last.clone_from(&before.last);
        state.ended = before.ended;
    }

    /// Which generation each worker runs, as it changes.
    pub(crate) fn choices(&self) -> watch::Receiver<Choice<V>> {
        self.choice.subscribe()
    }

    /// Tries each new generation. `counted` gives the workers that run and what calls came to, while the workload runs.
    pub(crate) async fn run(
        &self,
        mut newest: impl Newest<V>,
        counted: impl Fn() -> Option<(Vec<u64>, GenerationSums)>,
        observer: Observer,
    ) -> Infallible {
        // It is set once, for this is run once.
        let _ = self.observer.set(observer);
        let every = (self.rules.duration / LOOKS).clamp(LOOK.0, LOOK.1);
        loop {
            let is_tried = self.state.lock().trial.is_some();
            tokio::select! {
                version = newest.next() => self.arrived(version),
                () = sleep(every), if is_tried => {}
            }
            if let Some((running, sums)) = counted() {
                self.look(&running, &sums);
            }
        }
    }

    /// The file has this generation now.
    fn arrived(&self, version: V) {
        let mut state = self.state.lock();
        let author = version.author();
        // It has not changed since an earlier run of the workload.
        if state.rejected.as_ref().is_some_and(|rejected| rejected.author() == author) {
            return;
        }
        state.rejected = None;
        let stable = self.choice.borrow().stable().map(Version::author);
        let again = stable.as_ref() == Some(&author);
        let why = if again { "its file has the generation before again" } else { "its file has changed again" };
        self.end(&mut state, Ending::Replaced, why);
        if stable.is_none() {
            self.choice.send_modify(|choice| choice.stable = Some(version));
        } else if !again {
            self.begin(&mut state, version, author);
        }
    }

    fn begin(&self, state: &mut State<V>, version: V, author: Author) {
        let Author { plugin, generation } = author.clone();
        tracing::info!(workload = %self.workload, %plugin, %generation,
            "a new generation is tried by a share of the workers");
        self.choice.send_modify(|choice| choice.candidate = Some((version, BTreeSet::new())));
        let (trial, share) = (Trial::new(&self.rules), Share::new(self.rules.share));
        state.trial = Some(RunningTrial { author, trial, share, since: Instant::now(), began: time_of_day() });
        self.tell(Event::RolloutBegan { workload: self.workload.clone(), plugin, generation });
    }

    /// Looks at what calls came to, and acts upon it.
    fn look(&self, running: &[u64], sums: &GenerationSums) {
        let mut state = self.state.lock();
        let Some(tried) = &mut state.trial else { return };
        let Some(stable) = self.choice.borrow().stable().map(Version::author) else { return };
        let (new, old) = (sums.of(&tried.author.generation), sums.of(&stable.generation));
        match tried.trial.look(tried.since.elapsed(), new, old) {
            Verdict::GoOn => {
                let chosen = self.chosen();
                let workers = tried.share.choose(running, &chosen);
                if workers != chosen {
                    self.choice.send_modify(|choice| {
                        if let Some((_, chosen)) = &mut choice.candidate {
                            *chosen = workers;
                        }
                    });
                }
            }
            Verdict::Promote(why) => self.end(&mut state, Ending::Promoted, &why),
            Verdict::PromoteInDoubt(why) => {
                self.warn_of_doubt(&tried.author, &why);
                self.end(&mut state, Ending::Promoted, &why);
            }
            Verdict::RollBack(why) => self.end(&mut state, Ending::RolledBack, &why),
        }
    }

    /// The workers that run the generation that is tried.
    pub(super) fn chosen(&self) -> BTreeSet<u64> {
        self.choice.borrow().candidate.as_ref().map(|(_, workers)| workers.clone()).unwrap_or_default()
    }

    /// An instance of this generation does not start.
    pub(crate) fn does_not_start(&self, version: &V, why: &str) {
        self.is_unusable_here(&version.author().generation, why);
        let mut state = self.state.lock();
        if state.trial.as_ref().is_some_and(|tried| tried.author == version.author()) {
            self.end(&mut state, Ending::RolledBack, why);
        }
    }

    /// Ends the trial, if one goes on.
    fn end(&self, state: &mut State<V>, ending: Ending, reason: &str) {
        let Some(RunningTrial { author, trial, .. }) = state.trial.take() else { return };
        let mut tried = None;
        self.choice.send_modify(|choice| {
            tried = choice.candidate.take().map(|(version, _)| version);
            if ending == Ending::Promoted && tried.is_some() {
                choice.stable = tried.take();
            }
        });
        if matches!(ending, Ending::RolledBack | Ending::Aborted) {
            state.rejected = tried;
        }
        let generation = author.generation.clone();
        self.announce(ending, author, reason);
        self.record(state, generation, ending, reason, trial.measured());
    }

    /// Says how a trial has ended.
    pub(super) fn announce(&self, ending: Ending, Author { plugin, generation }: Author, reason: &str) {
        let workload = self.workload.clone();
        match ending {
            Ending::Promoted => {
                tracing::info!(%workload, %plugin, %generation, reason, "a new generation is promoted");
                self.tell(Event::Swapped { workload, plugin, generation });
            }
            Ending::Replaced => {
                tracing::info!(%workload, %plugin, %generation, reason, "a new generation is tried no more");
            }
            Ending::RolledBack | Ending::Aborted => {
                tracing::warn!(%workload, %plugin, %generation, reason,
                    "a new generation is rolled back, and not tried again until its file changes");
                self.tell(Event::RolledBack { workload, plugin, generation, reason: reason.to_owned() });
            }
        }
    }

    /// Says that the generation is promoted though something was in doubt.
    pub(super) fn warn_of_doubt(&self, Author { plugin, generation }: &Author, reason: &str) {
        tracing::warn!(workload = %self.workload, %plugin, %generation, reason,
            "a new generation is promoted in doubt: its trial has lasted as long as it may");
    }

    fn record(&self, state: &mut State<V>, generation: Digest, ending: Ending, reason: &str, measured: Measured) {
        if let Some(count) = state.ended.get_mut(ending as usize) {
            *count += 1;
        }
        state.last = Some(Ended { generation, ending, reason: reason.to_owned(), at: time_of_day(), measured });
    }

    pub(super) fn tell(&self, event: Event) {
        if let Some(observer) = self.observer.get() {
            observer.tell(event);
        }
    }
}

impl<V: Version> Rollouts for Switch<V> {
    fn seen(&self) -> RolloutSeen {
        if let Some(together) = self.seen_together() {
            return together;
        }
        let state = self.state.lock();
        let trial = state.trial.as_ref().map(|tried| TrialSeen {
            generation: tried.author.generation.clone(),
            began: tried.began,
            elapsed: tried.since.elapsed(),
            workers: self.chosen().into_iter().collect(),
            measured: tried.trial.measured(),
        });
        let generation = self.choice.borrow().stable().map(|version| version.author().generation);
        RolloutSeen { generation, trial, last: state.last.clone(), ended: state.ended, together: None }
    }

    fn told(&self, sums: &GenerationSums) -> Option<HostGenerations> {
        self.told_to_fleet(sums)
    }

    fn promote(&self) -> Result<Digest, NoCandidate> {
        let mut state = self.state.lock();
        if let Some(tried) = &state.trial {
            let generation = tried.author.generation.clone();
            self.end(&mut state, Ending::Promoted, BY_HAND);
            return Ok(generation);
        }
        let version = state.rejected.take().ok_or(NoCandidate)?;
        let Author { plugin, generation } = version.author();
        self.choice.send_modify(|choice| choice.stable = Some(version));
        tracing::info!(workload = %self.workload, %plugin, %generation, reason = BY_HAND,
            "a generation that was rolled back is promoted");
        let measured = state.last.as_ref().map(|last| last.measured).unwrap_or_default();
        self.record(&mut state, generation.clone(), Ending::Promoted, BY_HAND, measured);
        self.tell(Event::Swapped { workload: self.workload.clone(), plugin, generation: generation.clone() });
        Ok(generation)
    }

    fn abort(&self) -> Result<Digest, NoCandidate> {
        let mut state = self.state.lock();
        let generation = state.trial.as_ref().map(|tried| tried.author.generation.clone()).ok_or(NoCandidate)?;
        self.end(&mut state, Ending::Aborted, BY_HAND);
        Ok(generation)
    }
}

impl<V> std::fmt::Debug for Switch<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switch").field("workload", &self.workload).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
