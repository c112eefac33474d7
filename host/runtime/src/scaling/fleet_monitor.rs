//! The monitor of a workload whose hosts are one fleet: the leader asks the policy for all of them, and each follows
//! its share of the plan.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::clock::{Since, time_of_day};
use crate::conditions::Part;
use crate::config::RolloutConfig;
use crate::contract::{Decision, Observation};
use crate::delivery::consumer_settings::ConsumerFlow;
use crate::duration::{millis, unix_millis};
use crate::fleet::entries::{Fold, Watched};
use crate::fleet::member::{Commit, Member};
use crate::fleet::seat::Decided;
use crate::fleet::totals::Together;
use crate::journal::{Change, PlanLine};
use crate::ports::{Policies, Sample, Source};
use crate::rollout::together::decide::Moment;
use crate::scaling::clock::Clock;
use crate::scaling::count_override::{SetCount, tell_over};
use crate::scaling::monitor::{BURST, FailureRow, Idle, Monitor, NOTHING};
use crate::scaling::observe::ObservationBuilder;
use crate::scaling::policy_state::DecideCall;
use crate::scaling::shadow::Tick;
use crate::scaling::{carried_out, clamp};

mod vain_lead;

use self::vain_lead::VainLead;

/// How often a host that follows looks at its consumer, for what somebody may have edited: more seldom the more hosts
/// there are, for each look is two requests, and the leader looks each interval. What is wrong with it is told by each.
const LOOK: Duration = Duration::from_secs(30);
const LOOK_A_HOST: Duration = Duration::from_secs(6);
const LOOK_AT_LEAST: Duration = Duration::from_secs(300);

/// Sets the desired count of one workload of one host of a fleet.
pub(crate) struct FleetMonitor<P: Policies, S> {
    monitor: Monitor<P, S>,
    member: Member,
    /// Lets this host ask for messages though it runs no worker, or not.
    park: Box<dyn Fn(bool) + Send + Sync>,
    /// Whether the policy is loaded, so that this host could lead.
    ready: bool,
    lead: Option<Lead>,
    vain: VainLead,
    /// How new generations of the handler are tried; `None` where they take over at once.
    rollout: Option<RolloutConfig>,
    /// Why the plan is as it is, as far as this host knows.
    reason: String,
    looked: Instant,
}

/// What a leader keeps from one tick to the next.
struct Lead {
    term: u64,
    observer: ObservationBuilder,
    clock: Clock,
    unread: FailureRow,
    undecided: FailureRow,
    /// When it began to lead, and what was counted until then.
    began: Since,
    before: Watched,
    /// What the source had counted when it began.
    first: Option<u64>,
    /// What leaders have counted until now.
    arrivals: u64,
    /// A decision of which nobody knows yet whether it holds.
    unknown: Option<UnknownCall>,
}

/// A decision of which nobody knows yet whether it holds.
struct UnknownCall {
    /// Which of all decisions it is.
    decisions: u64,
    call: DecideCall,
    made: Change,
    planned: PlanLine,
}

impl<P: Policies, S: Source> FleetMonitor<P, S> {
    pub(crate) fn new(
        monitor: Monitor<P, S>,
        member: Member,
        park: Box<dyn Fn(bool) + Send + Sync>,
        rollout: Option<RolloutConfig>,
    ) -> Self {
        let (ready, lead, reason, looked) = (false, None, String::new(), Instant::now());
        Self { monitor, member, park, ready, lead, vain: VainLead::default(), rollout, reason, looked }
    }

    /// Runs until `stop` ends; then this host gives back its share, and the desired count is 0.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        tokio::select! {
            biased;
            () = &mut stop => {}
            () = self.watch() => {}
        }
        self.monitor.stop();
        self.member.leave().await;
    }

    async fn watch(&mut self) {
        let mut ticks = interval(self.monitor.scale.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let desired = self.monitor.desired.clone();
        loop {
            let asks = !self.ready || self.lead.is_some();
            tokio::select! {
                _ = ticks.tick() => self.tick(false).await,
                () = desired.woken.notified() => {
                    self.member.tell_woken();
                    sleep(BURST).await;
                    ticks.reset();
                    self.tick(true).await;
                }
                () = self.member.changed() => self.tick(false).await,
                () = self.monitor.policy.newer(), if asks => self.newer().await,
            }
        }
    }

    /// There is another generation of the policy. A host that follows only notes that it could lead.
    async fn newer(&mut self) {
        self.ready = true;
        let count = self.member.lease().map_or(0, |lease| lease.desired);
        if let Some(lead) = &mut self.lead
            && self.monitor.adopt(count).await
        {
            lead.undecided = FailureRow::new(Part::Policy);
        }
    }

    /// Leads, if this host does, and follows the plan. `woken` is whether a message that found no worker has just
    /// started one here.
    async fn tick(&mut self, woken: bool) {
        let elsewhere = self.member.was_woken();
        let stands_back = self.vain.stands_back(Instant::now()) && !self.member.is_unled();
        let leads = self.member.turn(self.ready && !stands_back).await;
        if self.member.lease().is_none() && self.lead.take().is_some() {
            self.monitor.step_down();
        }
        if leads {
            self.begin().await;
            self.decide(woken || elsewhere).await;
            self.give_up_in_vain().await;
        } else if self.lead.is_none() {
            self.look().await;
        }
        self.follow(woken);
        if !leads && let Some(starts) = &self.monitor.starts {
            // The leader asks that of all hosts. Here it is not known whether the stream has more.
            starts.limited(true);
        }
        match self.member.problem() {
            Some(problem) => self.monitor.conditions.raise(Part::Fleet, &problem),
            None => self.monitor.conditions.clear(Part::Fleet),
        }
    }

    /// Gives the lead up where the policy does not decide, so that another host leads, whose policy may.
    async fn give_up_in_vain(&mut self) {
        let now = Instant::now();
        if self.vain.is_enough(now) && self.member.has_others() && self.member.give_up_lead().await {
            self.vain.gives_up(now);
            self.lead = None;
            self.monitor.step_down();
            tracing::warn!(
                workload = %self.monitor.workload,
                "the policy has made none of its last decisions, so this host gives up the lead of the fleet: another \
                 may have a policy that does"
            );
        }
    }

    /// Looks at the consumer now and then, for edited settings take effect with a sample, and tells what is wrong with
    /// it.
    async fn look(&mut self) {
        let was_well = self.monitor.consumer.flow() == ConsumerFlow::Free;
        if self.looked.elapsed() >= look_every(self.member.hosts(), was_well) {
            self.looked = Instant::now();
            if let Err(error) = self.monitor.source.sample(0).await {
                tracing::debug!(workload = %self.monitor.workload, "the consumer was not looked at: {error:#}");
            }
        }
        self.monitor.tell_flow();
    }

    /// Runs as many workers as are this host's share. The last one stays while deliveries wait here.
    fn follow(&mut self, woken: bool) {
        // Whoever may write plans decides no more than this host's own settings let it.
        let share = self.member.share().unwrap_or(0).min(self.monitor.scale.max);
        let needed = woken || (self.monitor.waiting)();
        (self.park)(self.member.parks());
        if let Some(starts) = &self.monitor.starts {
            self.member.divide(starts.parts().unwrap_or(1), |part| starts.divide(part));
        }
        let leader = self.member.leader();
        let reason = match (&self.lead, leader) {
            (Some(_), _) => self.reason.clone(),
            (None, Some(leader)) => format!("the share that {leader} has planned"),
            (None, None) => "the share of the last plan".to_owned(),
        };
        self.monitor.settle(&reason, |before, woken| carried_out(share, (0, u32::MAX), before, needed || woken));
    }

    /// Goes on from where the leader before has left it, if this host has just begun to lead.
    async fn begin(&mut self) {
        let term = self.member.term();
        if self.lead.as_ref().is_some_and(|lead| lead.term == term) {
            return;
        }
        let Some(lease) = self.member.lease().cloned() else { return };
        let before = lease.watched;
        if let Some(unknown) = self.lead.take().and_then(|lead| lead.unknown)
            && lease.fold.as_ref().is_some_and(|fold| fold.decisions == unknown.decisions)
        {
            self.record(unknown.call, unknown.made, unknown.planned);
        }
        self.monitor.step_down();
        if let Some(adopted) = self.monitor.policy.take_over(lease.fold.as_ref()).await {
            self.monitor.adopted(adopted, lease.desired);
        }
        self.lead = Some(Lead {
            term,
            observer: ObservationBuilder::new(self.monitor.scale.window),
            clock: Clock::after(Duration::from_millis(before.elapsed_ms), before.now_ms),
            unread: FailureRow::new(Part::Signals),
            undecided: FailureRow::new(Part::Policy),
            began: Since::now(),
            before,
            first: None,
            arrivals: before.arrivals,
            unknown: None,
        });
    }

    /// Reads the signals, asks the policy for all hosts, and writes the plan.
    async fn decide(&mut self, woken: bool) {
        if self.member.end_set_workers(self.moment()).await {
            tell_over(&self.monitor.workload);
        }
        let together = self.member.together();
        let Self { monitor, lead: Some(lead), .. } = self else { return };
        let sample = monitor.source.sample(together.redelivered).await;
        lead.unread.count_sample(monitor, &sample);
        let Ok(sample) = sample else { return self.keep(None).await };
        let sample = lead.counted(sample);
        let elapsed = lead.elapsed();
        let done = (together.work, together.running);
        let seen = match monitor.observe(sample, done, (&mut lead.clock, &mut lead.observer), elapsed) {
            Ok(seen) => seen,
            Err(Idle { min }) => {
                NOTHING.clone_into(&mut self.reason);
                return self.keep((sample.ack_pending == 0).then_some(min)).await;
            }
        };
        let limited = seen.limited || (together.limited && sample.pending > 0);
        let seen = Observation { limited, ..seen };
        let needed = woken || seen.pending > 0 || together.waiting;
        let call = monitor.policy.decide(&seen, sample.arrivals).await;
        self.vain.asked(call.as_ref().is_some_and(|call| call.answer.is_ok()));
        let Some(call) = call else { return self.keep(None).await };
        lead.undecided.count(monitor, call.answer.as_ref().err().map(ToString::to_string));
        let live = call.answer.as_ref().ok().map(|decision| clamp(decision.desired, seen.min, seen.max));
        self.carry_out(call, &seen, &together, (needed, woken)).await;
        self.monitor.ticks.send(&self.monitor.history, Tick { seen, arrivals: sample.arrivals, live });
    }

    /// Makes the plan of a decision, and records it. Without a decision the count stays as it is.
    async fn carry_out(
        &mut self,
        call: DecideCall,
        seen: &Observation,
        together: &Together,
        (needed, woken): (bool, bool),
    ) {
        let Ok(decision) = &call.answer else {
            self.monitor.policy.record(call, None);
            return self.keep(None).await;
        };
        let Some(from) = self.member.lease().map(|lease| lease.desired) else { return };
        // A message may have started a worker that no plan has yet.
        let before = from.max(together.wanted);
        let set = self.set_workers();
        let to = match set {
            // A person may go below `scale.min`, as on one host.
            Some(set) => carried_out(set.count, (0, seen.max), before, needed),
            None => carried_out(decision.desired, (seen.min, seen.max), before, needed),
        };
        let (decision, made) = (decision.clone(), Change { from, to, set_by_person: set.is_some() });
        let decided = self.decided(to, seen.now_ms, true);
        let decisions = decided.fold.as_ref().map_or(0, |fold| fold.decisions);
        self.reason = set.map_or_else(|| decision.reason.clone(), |set| set.reason());
        let (came, plan) = self.member.commit(decided).await;
        let planned = PlanLine { epoch: plan.epoch, shares: plan.shares };
        match came {
            Commit::Done => {
                self.tell(&decision, seen, made, woken);
                self.record(call, made, planned);
            }
            Commit::Unknown => {
                if let Some(lead) = &mut self.lead {
                    lead.unknown = Some(UnknownCall { decisions, call, made, planned });
                }
            }
            // Another host leads, and has decided for itself; or this one asks again once it sees all hosts.
            Commit::Lost => {}
        }
    }

    fn tell(&self, decision: &Decision, seen: &Observation, Change { from, to, .. }: Change, woken: bool) {
        let workload = &self.monitor.workload;
        self.monitor.history.decided(decision, to, woken);
        let (desired, reason) = (decision.desired, &decision.reason);
        tracing::debug!(%workload, ?seen, desired, reason, "decision");
        if from != to {
            let reason = &self.reason;
            tracing::info!(%workload, reason, "scaling the fleet {from} -> {to}");
        }
    }

    fn record(&self, call: DecideCall, made: Change, planned: PlanLine) {
        self.monitor.policy.record_shared(call, Some(made), Some(planned));
    }

    /// What a person has set for all hosts.
    fn set_workers(&self) -> Option<SetCount> {
        let set = self.member.set_workers(self.moment())?;
        Some(SetCount::of(set.count, set.until_ms))
    }

    /// Shares out as many workers as before, or this many, or what a person has set, among the hosts that there are
    /// now.
    async fn keep(&mut self, count: Option<u32>) {
        let set = self.set_workers();
        if let Some(set) = set {
            self.reason = set.reason();
        }
        let max = self.monitor.consumer.employable(&self.monitor.scale).max;
        let Some(lease) = self.member.lease() else { return };
        let count = set.map(|set| set.count.min(max)).or(count);
        let (desired, now_ms) = (count.unwrap_or(lease.desired), lease.watched.now_ms);
        let decided = self.decided(desired, now_ms, false);
        self.member.commit(decided).await;
    }

    /// What is written for so many workers. `is_new` is whether the policy has decided it.
    fn decided(&self, desired: u32, now_ms: u64, is_new: bool) -> Decided {
        let before = self.member.lease().and_then(|lease| lease.fold.as_ref());
        let decisions = before.map_or(0, |fold| fold.decisions) + u64::from(is_new);
        let fold = self.monitor.policy.fold().map(|(author, state)| Fold {
            plugin: author.plugin.to_string(),
            generation: author.generation.whole().to_owned(),
            settings: self.monitor.policy.settings_digest(),
            state: state.to_vec(),
            decisions,
        });
        let watched = self.lead.as_ref().map(|lead| lead.watched(now_ms)).unwrap_or_default();
        let at = Moment { elapsed_ms: watched.elapsed_ms, ..self.moment() };
        let rollout = self.rollout.as_ref().and_then(|rules| self.member.rollout(rules, at));
        // Without a policy what the one before has left is kept for the next leader.
        let running = self.monitor.workers.running();
        let parts = self.monitor.starts.as_ref().and_then(|starts| starts.parts());
        let set = self.member.set_time(at);
        let (fold, partitions) = (fold.or_else(|| before.cloned()), false);
        Decided { desired, fold, watched, set, running, parts, rollout, partitions }
    }

    fn moment(&self) -> Moment {
        let elapsed = self.lead.as_ref().map(Lead::elapsed).unwrap_or_default();
        Moment { elapsed_ms: millis(elapsed), now_ms: unix_millis(time_of_day()) }
    }
}

/// How often one of so many hosts looks at its consumer. One with which something was wrong is looked at often, so that
/// it is not told long after it was mended.
fn look_every(hosts: u32, was_well: bool) -> Duration {
    if was_well { LOOK_A_HOST.saturating_mul(hosts).clamp(LOOK, LOOK_AT_LEAST) } else { LOOK }
}

impl Lead {
    /// The time that leaders have watched.
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.before.elapsed_ms).saturating_add(self.began.elapsed())
    }

    /// The sample with all arrivals that leaders have counted.
    fn counted(&mut self, sample: Sample) -> Sample {
        let first = *self.first.get_or_insert(sample.arrivals);
        self.arrivals = self.before.arrivals.saturating_add(sample.arrivals.saturating_sub(first));
        Sample { arrivals: self.arrivals, ..sample }
    }

    fn watched(&self, now_ms: u64) -> Watched {
        Watched { arrivals: self.arrivals, elapsed_ms: millis(self.elapsed()), now_ms }
    }
}

#[cfg(test)]
mod tests;
