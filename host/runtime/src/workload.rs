//! Puts one workload together: its consumer, its plugins, its inbox, its workers and its monitor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::FutureExt;
use tokio::task::JoinSet;

use crate::clock::Since;
use crate::conditions::Part;
use crate::config::{PerKey, RolloutConfig, Workload};
use crate::delivery::ResponseBounds;
use crate::delivery::fetch::fetch;
use crate::delivery::inbox::Inbox;
use crate::delivery::keep_order::{keep_order, watch_places};
use crate::delivery::order::Limits;
use crate::delivery::rate_limit::RateLimit;
use crate::delivery::settle::Rules;
use crate::delivery::start_limits::StartGate;
use crate::delivery::worker::WorkerShared;
use crate::events::Event;
use crate::fleet::entries::Report;
use crate::fleet::host::Fleet;
use crate::fleet::limits::Follows;
use crate::fleet::member::Member;
use crate::host_context::HostContext;
use crate::jetstream::{BoundConsumer, Buckets, HeaderWatch, PulledMessage, Signals};
use crate::journal::{self, Role};
use crate::ports::{Handlers, Notice, Policies};
use crate::recreate::{PullHealth, notices};
use crate::rollout::together::entries::HostGenerations;
use crate::scaling::fleet_monitor::FleetMonitor;
use crate::scaling::handover::LeftFold;
use crate::scaling::monitor::Monitor;
use crate::scaling::policy_state::{ActivePolicy, PolicySetup};
use crate::scaling::shadow::{Shadow, Ticks};
use crate::scaling::supervisor::Supervisor;
use crate::scaling::workers::{Desired, Workers};
use crate::status::workload::{RunningParts, WorkloadState};

/// How many runs of workloads have had a place in a fleet.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// What a workload is made of.
pub struct Parts<H, P> {
    /// Its configuration, and where what it does can be seen.
    pub state: Arc<WorkloadState>,
    /// Its consumer.
    pub bound: BoundConsumer,
    /// Its host.
    pub host: Arc<HostContext>,
    /// Its handler.
    pub handlers: H,
    /// Its policy.
    pub policies: P,
    /// The policy that is only compared with it.
    pub shadow: Option<P>,
}

/// Runs a workload until `shutdown` ends: pulls end first, workers finish within the grace time, what is left is given
/// back.
///
/// # Errors
/// If the connection is closed for good.
pub async fn run<H: Handlers, P: Policies>(
    parts: Parts<H, P>,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let Parts { state, bound, host, handlers, policies, shadow } = parts;
    let (start, shutdown) = (Since::now(), shutdown.shared());
    let pull = bound.puller().await?;
    let (source, header_watch) = bound.signals().await?;
    state.attempts.learn(bound.excused());
    let assembly = Assembly::new(&state, &bound, &host, start);
    let (ticks, shadow) = assembly.shadow(shadow);
    let monitor = assembly.monitor(policies, source, ticks);
    let supervisor = Supervisor::new(
        assembly.shared.clone(),
        handlers,
        assembly.desired.clone(),
        assembly.workers.clone(),
        host.grace,
    );
    let queue = &state.workload.queue;
    let health = |part, consumer| PullHealth { state: &state, host: &host, client: bound.client(), consumer, part };
    let (pulls, watch) = (health(Part::Pull, &queue.consumer), health(Part::Watch, &queue.watch_consumer));
    let ((tell, of_pulls), (tell_watch, of_watch)) = (notices(), notices());
    assembly.announce();
    // A task of its own, which ends when this is dropped.
    let _shadow: JoinSet<()> = shadow.into_iter().map(Shadow::run).collect();
    let WorkerShared { inbox, rules, conditions, .. } = &*assembly.shared;
    let run = async {
        tokio::join!(
            fetch(inbox, pull, &rules.consumer, tell, shutdown.clone()),
            async {
                supervisor.run(shutdown.clone()).await;
                // Not only when the last pull has ended: others have by now what workers have given back.
                bound.tell_excused(&state.attempts).await;
            },
            watch_count(monitor, assembly.member(), (inbox.clone(), state.workload.rollout.clone()), shutdown.clone()),
            watch_headers(header_watch, start, tell_watch, shutdown.clone()),
            pulls.run(of_pulls, bound.gone()),
            // The signals say nothing of that one.
            watch.run(of_watch, tokio::sync::watch::channel(false).1),
        );
    };
    tokio::select! {
        () = run => {}
        never = rules.effects.watch() => match never {},
        never = rules.letters.watch() => match never {},
        never = watch_buckets(bound.buckets(&state.conditions)) => match never {},
        never = keep_order(inbox, &rules.consumer, conditions, || bound.unsettled()) => match never {},
        never = watch_places(inbox, conditions) => match never {},
        never = bound.watch_rights(conditions, |paused| inbox.pause(paused)) => match never {},
    }
    bound.tell_excused(&state.attempts).await;
    Ok(())
}

/// What the tasks of a workload share.
struct Assembly<'a> {
    state: &'a Arc<WorkloadState>,
    bound: &'a BoundConsumer,
    host: &'a HostContext,
    start: Since,
    shared: Arc<WorkerShared<PulledMessage>>,
    starts: Option<Arc<StartGate>>,
    desired: Arc<Desired>,
    workers: Arc<Workers>,
    /// What an earlier run has left of its policy.
    fold: Option<LeftFold>,
}

impl<'a> Assembly<'a> {
    fn new(state: &'a Arc<WorkloadState>, bound: &'a BoundConsumer, host: &'a HostContext, start: Since) -> Self {
        let (workload, consumer) = (&state.workload, bound.consumer());
        // The hosts of a fleet begin with the shares of its plan.
        let scale = consumer.employable(&workload.scale);
        // One that is started again has as many workers as before.
        let left = state.handover.take();
        let alone = || left.as_ref().map_or(0, |left| left.desired).clamp(scale.min, scale.max);
        let first = if fleet(host, workload).is_some() { 0 } else { alone() };
        let desired = Arc::new(Desired::new(first));
        let fold = left.and_then(|left| left.fold);
        let bounds = ResponseBounds {
            max_payload: bound.max_payload(),
            own_headers: bound.own_headers(),
            publications: workload.limits.publications,
            grants: workload.grants.clone(),
        };
        let rules = Rules::new(
            workload.retry.clone(),
            workload.max_hops,
            consumer,
            bounds,
            (state.attempts.clone(), &state.conditions),
        );
        let starts = StartGate::new(&workload.start_limits, &state.conditions);
        state.handover.starts_by(starts.as_ref());
        if let (Some(starts), Some(_)) = (&starts, fleet(host, workload)) {
            // Until it is known what part of them this host has.
            starts.divide(Some((0, 1)));
        }
        let inbox = Inbox::new(workload.pull.batch, workload.pull.max_bytes)
            .of_workload(&workload.name)
            .ahead_by(workload.pull.ahead, rules.consumer.clone())
            .remembering(rules.attempts.clone())
            .limited_by(starts.clone());
        let inbox = match (&workload.order, &workload.per_key) {
            (Some(order), _) => {
                let limits = Limits { messages: order.buffer, bytes: order.buffer_bytes };
                inbox.in_order(order.key.clone(), limits, rules.consumer.clone())
            }
            (None, Some(PerKey { key, max_in_flight, buffer, buffer_bytes })) => {
                let limits = Limits { messages: *buffer, bytes: *buffer_bytes };
                inbox.few_of_a_key(key.clone(), *max_in_flight, limits, rules.consumer.clone())
            }
            (None, None) => Arc::new(inbox),
        };
        let shared = WorkerShared {
            workload: workload.name.as_str().into(),
            conditions: state.conditions.clone(),
            inbox,
            rules,
            isolation: workload.isolation,
            batching: workload.batching,
            concurrency: workload.concurrency,
            respawns: Arc::new(RateLimit::new(workload.limits.respawns)),
            observer: host.observer.clone(),
        };
        let workers = Arc::default();
        Self { state, bound, host, start, shared: Arc::new(shared), starts, desired, workers, fold }
    }

    fn policy(&self, role: Role, settings: &[(String, String)]) -> PolicySetup {
        PolicySetup {
            workload: self.shared.workload.clone(),
            role,
            settings: settings.into(),
            bounds: journal::PolicyBounds::of(&self.state.workload.limits),
            journal: self.host.journal.clone(),
        }
    }

    /// The shadow, if there is one, and where ticks go.
    fn shadow<P: Policies>(&self, policies: Option<P>) -> (Ticks, Option<Shadow<P>>) {
        let (Some(policies), Some(of)) = (policies, &self.state.workload.shadow) else {
            return (Ticks::default(), None);
        };
        let (sender, ticks) = Ticks::channel();
        let policy = ActivePolicy::new(self.policy(Role::Shadow, &of.settings), policies);
        let (workload, history) = (self.shared.workload.clone(), self.state.history.clone());
        (sender, Some(Shadow { workload, policy, ticks, history }))
    }

    fn monitor<P: Policies>(&self, policies: P, source: Signals, ticks: Ticks) -> Monitor<P, Signals> {
        let (workload, inbox) = (&self.state.workload, self.shared.inbox.clone());
        let (keys, bound) = (inbox.clone(), inbox.clone());
        Monitor {
            workload: self.shared.workload.clone(),
            scale: workload.scale.clone(),
            consumer: self.shared.rules.consumer.clone(),
            policy: ActivePolicy::new(self.policy(Role::Live, &workload.policy_settings), policies)
                .going_on_from(self.fold.clone()),
            ticks,
            source,
            workers: self.workers.clone(),
            desired: self.desired.clone(),
            chosen: self.state.chosen.clone(),
            waiting: Box::new(move || !inbox.is_empty()),
            starts: self.starts.clone(),
            keys: Box::new(move |pending| keys.keys_waiting(pending)),
            bound_by_keys: Box::new(move || bound.bound_by_keys()),
            events: self.host.observer.clone(),
            conditions: self.state.conditions.clone(),
            history: self.state.history.clone(),
            handover: self.state.handover.clone(),
            start: self.start,
        }
    }

    /// Its place in the fleet, if the host is in one.
    fn member(&self) -> Option<Member> {
        let fleet = fleet(self.host, &self.state.workload).cloned()?;
        let (workers, desired, inbox) = (self.workers.clone(), self.desired.clone(), self.shared.inbox.clone());
        let (starts, max) = (self.starts.clone(), self.state.workload.scale.max);
        let report = move || {
            let (tally, waiting) = (workers.tally(), !inbox.is_empty());
            let (running, wanted, redelivered) = (workers.running(), desired.get(), tally.redelivered);
            let room = if inbox.is_suspended() { 0 } else { max };
            let uses = starts.as_ref().and_then(|starts| starts.uses(inbox.expects()));
            let limit = uses.map(|uses| Follows { uses, ..Follows::default() });
            let limited = starts.as_ref().is_some_and(|starts| starts.was_limited()) || inbox.bound_by_keys();
            Report {
                running,
                wanted,
                room,
                waiting,
                limited,
                limit,
                work: tally.work,
                redelivered,
                ..Report::default()
            }
        };
        let (workers, rollouts) = (self.workers.clone(), self.state.shared_rollouts());
        let run = RUNS.fetch_add(1, Relaxed);
        let generations = move || {
            let told = rollouts.as_ref()?.told(&workers.by_generation().1)?;
            Some(HostGenerations { run, ..told })
        };
        Some(Member::join(fleet, &self.state.workload.name, Box::new(report), Box::new(generations)))
    }

    /// It runs from now on.
    fn announce(&self) {
        let Self { shared, starts, desired, workers, .. } = self;
        self.state.runs(RunningParts {
            workers: workers.clone(),
            desired: desired.clone(),
            traffic: self.bound.traffic(),
            respawns: shared.respawns.clone(),
            fleet: fleet(self.host, &self.state.workload).cloned(),
            order: shared.inbox.order_seen(),
            per_key: shared.inbox.places_seen(),
            starts: starts.clone(),
            consumer: shared.rules.consumer.clone(),
        });
        let queue = &self.state.workload.queue;
        tracing::info!(workload = %shared.workload, stream = queue.stream, consumer = queue.consumer, "ready");
        self.host.observer.tell(Event::Ready { workload: shared.workload.clone() });
    }
}

/// The fleet that plans the workers of a workload. One that keeps an order is worked by one host at a time, which
/// decides alone.
pub(crate) fn fleet<'a>(host: &'a HostContext, workload: &Workload) -> Option<&'a Arc<Fleet>> {
    host.fleet.as_ref().filter(|_| workload.order.is_none())
}

/// Sets the desired count: for this host alone, or as one of a fleet.
async fn watch_count<P: Policies>(
    monitor: Monitor<P, Signals>,
    member: Option<Member>,
    (inbox, rollout): (Arc<Inbox<PulledMessage>>, Option<RolloutConfig>),
    stop: impl Future<Output = ()>,
) {
    match member {
        None => monitor.run(stop).await,
        Some(member) => {
            let park = Box::new(move |parks| inbox.park(parks));
            FleetMonitor::new(monitor, member, park, rollout).run(stop).await;
        }
    }
}

async fn watch_buckets(buckets: Option<Arc<Buckets>>) -> std::convert::Infallible {
    match buckets {
        Some(buckets) => buckets.watch().await,
        None => std::future::pending().await,
    }
}

async fn watch_headers(
    watch: Option<HeaderWatch>,
    start: Since,
    tell: impl FnMut(Option<Notice>),
    stop: impl Future<Output = ()>,
) {
    match watch {
        Some(watch) => watch.run(start, tell, stop).await,
        None => stop.await,
    }
}
