//! Once an interval: signals, an observation, the policy's decision, the desired count.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock::{Since, time_of_day};
use crate::conditions::{Conditions, Part};
use crate::config::Scale;
use crate::contract::Author;
use crate::contract::{Decision, Observation};
use crate::delivery::consumer_settings::{ConsumerFlow, Effective};
use crate::delivery::counters::Work;
use crate::delivery::start_limits::StartGate;
use crate::duration::unix_millis;
use crate::events::{Event, Observer as Events};
use crate::journal::Change;
use crate::ports::{Policies, Source};
use crate::ports::{Sample, ServerAway};
use crate::scaling::clock::Clock;
use crate::scaling::count_override::{CountOverride, SetCount};
use crate::scaling::handover::{Handover, LastDecided};
use crate::scaling::history::History;
use crate::scaling::observe::ObservationBuilder;
use crate::scaling::policy_state::ActivePolicy;
use crate::scaling::shadow::{Tick, Ticks};
use crate::scaling::tell::{tell_scaled, tell_woken};
use crate::scaling::workers::{Desired, Settled, Workers};
use crate::scaling::{carried_out, clamp};

/// After how many failures in a row a condition of the workload is raised, and after how many more its text is renewed.
const RAISE: u32 = 3;
const REMIND: u32 = 60;

/// Why there are as few workers as may be while the consumer delivers nothing.
pub(super) const NOTHING: &str = "the consumer gives nothing";

/// The same while another host is given the messages of a consumer that is ordered.
const STANDBY: &str = "another host is given the messages";

/// How long after a message that found no worker the policy is asked. Messages that come right behind it then count
/// too, and reading the signals does not delay the first reply.
pub const BURST: Duration = Duration::from_millis(5);

/// Sets the desired count of one workload.
pub(crate) struct Monitor<P: Policies, S> {
    /// The workload's name.
    pub workload: Arc<str>,
    /// The limits and the interval.
    pub scale: Scale,
    /// The consumer's settings.
    pub consumer: Arc<Effective>,
    /// The policy.
    pub policy: ActivePolicy<P>,
    /// Where observations go to the shadow.
    pub ticks: Ticks,
    /// Where signals come from.
    pub source: S,
    /// The workers.
    pub workers: Arc<Workers>,
    /// The count that is set.
    pub desired: Arc<Desired>,
    /// What a person has set instead of the policy.
    pub chosen: Arc<CountOverride>,
    /// Whether a delivery waits for a worker.
    pub waiting: Box<dyn Fn() -> bool + Send + Sync>,
    /// What lets deliveries begin; `None` where nothing is limited.
    pub starts: Option<Arc<StartGate>>,
    /// Of how many keys messages wait or are handled, if no others can come; told whether messages are pending.
    pub keys: Box<dyn Fn(bool) -> Option<u32> + Send + Sync>,
    /// Whether all that is here and may not begin waits for others of its key.
    pub bound_by_keys: Box<dyn Fn() -> bool + Send + Sync>,
    /// Where events go.
    pub events: Events,
    /// What keeps the workload from flowing.
    pub conditions: Arc<Conditions>,
    /// Where decisions can be seen.
    pub history: Arc<History>,
    /// Where it is left how far this has got, for the next run of the workload.
    pub handover: Arc<Handover>,
    /// When the host started to watch.
    pub start: Since,
}

/// What one tick leaves for the next.
struct TickState {
    clock: Clock,
    observer: ObservationBuilder,
    unread: FailureRow,
    undecided: FailureRow,
}

impl<P: Policies, S: Source> Monitor<P, S> {
    /// Runs until `stop` ends; then the desired count is 0.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        tokio::select! {
            biased;
            () = &mut stop => {}
            () = self.watch() => {}
        }
        self.stop();
    }

    /// Nothing is wanted any more, and it is left how far this has got.
    pub(super) fn stop(&self) {
        self.handover.leave(LastDecided { desired: self.desired.get(), fold: self.policy.leave() });
        self.set(0, "the workload stops");
    }

    async fn watch(&mut self) {
        let mut ticks = interval(self.scale.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut state = TickState {
            clock: Clock::default(),
            observer: ObservationBuilder::new(self.scale.window),
            unread: FailureRow::new(Part::Signals),
            undecided: FailureRow::new(Part::Policy),
        };
        let (desired, chosen, workload) = (self.desired.clone(), self.chosen.clone(), self.workload.clone());
        let mut news = chosen.news();
        loop {
            tokio::select! {
                () = chosen.changed(&mut news, &workload) => match chosen.get() {
                    Some(set) => self.obey(set),
                    None => self.tick(false, &mut state).await,
                },
                _ = ticks.tick() => self.tick(false, &mut state).await,
                () = desired.woken.notified() => {
                    sleep(BURST).await;
                    ticks.reset();
                    self.tick(true, &mut state).await;
                }
                () = self.policy.newer() => {
                    let count = self.desired.get();
                    if self.adopt(count).await {
                        state.undecided = FailureRow::new(Part::Policy);
                    }
                }
            }
        }
    }

    /// Reads the signals, asks the policy, acts upon its decision, and records the call in the journal. `woken` is
    /// whether a message that found no worker has just started one.
    async fn tick(&mut self, woken: bool, state: &mut TickState) {
        let sample = self.source.sample(self.workers.tally().redelivered).await;
        state.unread.count_sample(self, &sample);
        let Ok(sample) = sample else { return };
        let done = (self.workers.tally().work, self.workers.running());
        let seen = match self.observe(sample, done, (&mut state.clock, &mut state.observer), self.start.elapsed()) {
            Ok(seen) => seen,
            Err(Idle { min }) => {
                if self.consumer.is_standby() {
                    self.set(min, STANDBY);
                } else if sample.ack_pending == 0 && self.chosen.get().is_none() {
                    self.set(min, NOTHING);
                }
                return;
            }
        };
        let needed = woken || seen.pending > 0 || (self.waiting)();
        let call = self.policy.decide(&seen, sample.arrivals).await;
        let decision = call.as_ref().and_then(|call| call.answer.as_ref().ok());
        let live = decision.map(|decision| clamp(decision.desired, seen.min, seen.max));
        let made = decision.map(|decision| self.act(decision, &seen, needed));
        if let Some(call) = call {
            state.undecided.count(self, call.answer.as_ref().err().map(ToString::to_string));
            self.policy.record(call, made);
        }
        self.ticks.send(&self.history, Tick { seen, arrivals: sample.arrivals, live });
    }

    /// The observation for the policies, of what the workers have done, of how many run, and of the time that has
    /// passed. It is told, but given to nobody, if the consumer delivers nothing, because then a decision would change
    /// nothing.
    pub(super) fn observe(
        &self,
        sample: Sample,
        (work, running): (Work, u32),
        (clock, observer): (&mut Clock, &mut ObservationBuilder),
        elapsed: Duration,
    ) -> Result<Observation, Idle> {
        let flow = self.tell_flow();
        let scale = self.consumer.employable(&self.scale);
        let now = clock.moment(elapsed, unix_millis(time_of_day()));
        let seen = observer.observe(now, sample, work, running, &scale);
        let pending = sample.pending > 0;
        let limited = self.starts.as_ref().is_some_and(|starts| starts.limited(pending)) || (self.bound_by_keys)();
        let seen = Observation { limited, keys_waiting: (self.keys)(pending), ..seen };
        self.history.saw(seen);
        if matches!(flow, ConsumerFlow::Held(_) | ConsumerFlow::Refused(_)) || self.consumer.is_standby() {
            // More workers would have nothing to do. The workers that run finish what was delivered.
            return Err(Idle { min: scale.min });
        }
        Ok(seen)
    }

    /// Tells what is wrong with the consumer, as it was seen last.
    pub(super) fn tell_flow(&self) -> ConsumerFlow {
        let flow = self.consumer.flow();
        match flow.problem() {
            Some(problem) => self.conditions.raise(Part::Consumer, problem),
            None => self.conditions.clear(Part::Consumer),
        }
        flow
    }

    /// Carries a decision out.
    pub(super) fn act(&self, decision: &Decision, seen: &Observation, needed: bool) -> Change {
        let chosen = self.chosen.get();
        let reason = chosen.map_or_else(|| decision.reason.clone(), |set| set.reason());
        let Decision { desired, reason: why, .. } = decision;
        tracing::debug!(workload = %self.workload, ?seen, desired, reason = why, "decision");
        let Settled { from, to, woken } = self.settle(&reason, |before, woken| {
            let needed = needed || woken;
            let to = match chosen {
                Some(set) => self.chosen_count(set, before, needed),
                None => carried_out(*desired, (seen.min, seen.max), before, needed),
            };
            self.history.decided(decision, to, woken);
            to
        });
        // The worker that a message has started is told with the first decision after it.
        Change { from: if woken { 0 } else { from }, to, set_by_person: chosen.is_some() }
    }

    /// Carries out at once what a person has set, also where the policy cannot be asked.
    fn obey(&self, set: SetCount) {
        let needed = (self.waiting)();
        self.settle(&set.reason(), |before, woken| self.chosen_count(set, before, needed || woken));
    }

    /// A person may go below `scale.min`. The last worker stays while it is needed, as with a policy that wants none.
    fn chosen_count(&self, set: SetCount, before: u32, needed: bool) -> u32 {
        let max = self.consumer.employable(&self.scale).max;
        carried_out(set.count, (0, max), before, needed)
    }

    /// Moves to the newest generation of the policy if it accepts the settings. Otherwise the one before stays. Returns
    /// whether it has moved. `count` is how many workers there are to be until a policy decides.
    pub(super) async fn adopt(&mut self, count: u32) -> bool {
        let adopted = self.policy.adopt().await;
        adopted.is_some_and(|adopted| self.adopted(adopted, count))
    }

    /// Tells that a generation is in use, or why it is not. Returns whether it is.
    pub(super) fn adopted(&self, (author, outcome): (Author, Result<(), String>), count: u32) -> bool {
        let is_used = outcome.is_ok();
        match outcome {
            Ok(()) => {
                let Author { plugin, generation } = author.clone();
                tracing::info!(workload = %self.workload, %plugin, %generation, "policy in use");
                let workload = self.workload.clone();
                self.events.tell(Event::Swapped { workload, plugin, generation });
                self.history.adopted(author);
                self.conditions.clear(Part::Policy);
            }
            Err(problem) => {
                self.history.refused(&problem);
                let Author { plugin, generation } = author;
                if self.policy.has_policy() {
                    tracing::error!(workload = %self.workload, %plugin, %generation, problem,
                        "policy not used: the version before goes on");
                } else {
                    let problem = format!(
                        "policy not used: {problem}; mend {plugin} (generation {generation}) or the policy-settings; \
                         until then the number of workers stays as it is: {count}"
                    );
                    self.conditions.raise(Part::Policy, &problem);
                }
            }
        }
        is_used
    }

    /// Another host asks the policy from now on, or this one begins anew: what was wrong with it, and with the signals,
    /// is the next leader's to say.
    pub(super) fn step_down(&mut self) {
        self.policy.step_down();
        self.history.steps_down();
        self.conditions.forget(Part::Policy);
        self.conditions.forget(Part::Signals);
    }

    /// Sets how many workers are wanted.
    pub(super) fn set(&self, to: u32, reason: &str) {
        let from = self.desired.set(to);
        self.tell_scaled(from, to, reason);
    }

    /// Sets as many workers as a decision comes to: see [`Desired::settle`].
    pub(super) fn settle(&self, reason: &str, decide: impl FnOnce(u32, bool) -> u32) -> Settled {
        let settled = self.desired.settle(decide);
        self.tell_scaled(settled.from, settled.to, reason);
        settled
    }

    fn tell_scaled(&self, from: u32, to: u32, reason: &str) {
        if from != to {
            // Before what came after it.
            tell_woken(&self.desired, &self.events, &self.workload);
            tell_scaled(&self.events, &self.workload, (from, to), reason);
        }
    }
}

/// The consumer delivers nothing, so as few workers as may be are enough.
pub(super) struct Idle {
    /// How many that is.
    pub(super) min: u32,
}

/// Failures in a row of something that a decision needs.
pub(super) struct FailureRow {
    part: Part,
    failures: u32,
    /// All failures, in a row or not.
    ever: u64,
}

impl FailureRow {
    pub(super) fn new(part: Part) -> Self {
        Self { part, failures: 0, ever: 0 }
    }

    /// Counts a sample. Where the server is away, that says nothing of the signals.
    pub(super) fn count_sample<P: Policies, S: Source>(&mut self, of: &Monitor<P, S>, sample: &anyhow::Result<Sample>) {
        match sample {
            Ok(_) => self.count(of, None),
            Err(away) if away.is::<ServerAway>() => of.history.undecided(&away.to_string()),
            Err(error) => {
                self.count(of, Some(format!("{error:#}")));
                // What was wrong with a consumer that is gone is past.
                of.tell_flow();
            }
        }
    }

    /// Counts a tick. Several failures in a row raise a condition; a single one may be transient. Failures of a policy
    /// are logged ever more seldom.
    pub(super) fn count<P: Policies, S>(&mut self, of: &Monitor<P, S>, problem: Option<String>) {
        let Some(problem) = problem else {
            if std::mem::take(&mut self.failures) >= RAISE {
                of.conditions.clear(self.part);
            }
            return;
        };
        of.history.undecided(&problem);
        let problem = format!("no decision, so the number of workers stays as it is: {problem}");
        self.failures = self.failures.saturating_add(1);
        self.ever += 1;
        if self.failures % REMIND == RAISE {
            of.conditions.raise(self.part, &problem);
        } else if self.part == Part::Policy && self.ever.is_power_of_two() {
            tracing::warn!(workload = %of.workload, failures = self.ever, "{problem}");
        }
    }
}
