//! Keeps a workload running: where it cannot be set up, ends or panics, that is raised as a condition and it is tried
//! again. The other workloads do not notice.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::conditions::Part;
use crate::config::{ShadowConfig, Workload};
use crate::connections::{Connections, WorkloadConnection, not_made};
use crate::contract::Author;
use crate::drain::Drain;
use crate::events::{Event, Observer};
use crate::host_context::HostContext;
use crate::jetstream::{BoundConsumer, Client};
use crate::partitions::Partitions;
use crate::plugin::{Directory, GuestsSeen, PendingRollouts, PluginHandlers, PluginPolicies, Wanted};
use crate::rollout::switch::Newest;
use crate::status::workload::WorkloadState;
use crate::workload::{self, Parts};

/// The shortest and the longest pause before a workload is tried again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// How long a workload that had ended has to run until that condition is cleared.
const STEADY: Duration = Duration::from_secs(10);
/// How many workloads are set up at the same time: a server should not meet a thousand at once.
const TOGETHER: usize = 16;

/// What all workloads of a host are kept running with.
pub(crate) struct Keeper {
    host: Arc<HostContext>,
    connections: Connections,
    turns: Semaphore,
    drain: Arc<Drain>,
    /// Of a host of a fleet.
    partitions: Option<Partitions>,
}

/// What a workload was told before it ended.
enum Told {
    /// To stop.
    ToStop,
    Nothing,
}

/// One workload with its plugins.
pub(crate) struct KeptWorkload {
    pub(crate) state: Arc<WorkloadState>,
    pub(crate) handlers: PluginHandlers,
    pub(crate) policies: PluginPolicies,
    pub(crate) shadow: Option<PluginPolicies>,
    pub(crate) rollouts: Option<PendingRollouts>,
}

impl KeptWorkload {
    /// Its plugins are looked for from now on.
    pub(crate) fn new(directory: &Directory, workload: Workload) -> Self {
        Self::make(directory, workload, WorkloadState::new)
    }

    /// The same for one that goes on from another of its name.
    pub(crate) fn after(directory: &Directory, workload: Workload, before: &WorkloadState) -> Self {
        Self::make(directory, workload, |workload, guests| WorkloadState::after(workload, guests, before))
    }

    fn make(
        directory: &Directory,
        workload: Workload,
        state: impl FnOnce(Workload, Vec<GuestsSeen>) -> Arc<WorkloadState>,
    ) -> Self {
        let mut handlers = PluginHandlers::new(directory, &workload);
        let rollouts = workload.rollout.as_ref().and_then(|rules| handlers.roll_out(&workload, rules));
        let policies = PluginPolicies::new(directory, &workload, &workload.policy, workload.policy_pin.as_ref());
        let of_shadow = |of: &ShadowConfig| PluginPolicies::new(directory, &workload, &of.policy, of.pin.as_ref());
        let shadow = workload.shadow.as_ref().map(of_shadow);
        let guests = [handlers.seen(), policies.seen()];
        let guests = guests.into_iter().chain(shadow.as_ref().map(PluginPolicies::seen)).collect();
        let state = state(workload, guests);
        if let Some(rollouts) = &rollouts {
            state.rolls_out(rollouts.switch.clone());
        }
        Self { state, handlers, policies, shadow, rollouts }
    }

    /// Waits until a generation of its handler and one of its policy are loaded.
    pub(crate) async fn loaded(&self) {
        self.handler_loaded().await;
        self.policy_loaded().await;
    }

    async fn handler_loaded(&self) {
        match &self.rollouts {
            Some(PendingRollouts { file, .. }) => drop(file.clone().next().await),
            None => self.handlers.clone().is_loaded().await,
        }
    }

    async fn policy_loaded(&self) {
        self.policies.anew().is_loaded().await;
    }

    /// Its handler and its policy, in words, as far as no generation of them is loaded.
    pub(crate) fn missing(&self) -> Vec<String> {
        let Workload { handler, policy, .. } = &self.state.workload;
        let handler = self.handler_loaded().now_or_never().is_none().then(|| format!("its handler {handler}"));
        let policy = self.policy_loaded().now_or_never().is_none().then(|| format!("its policy {policy}"));
        handler.into_iter().chain(policy).collect()
    }

    /// Waits until a generation of one of them is loaded.
    pub(crate) async fn one_loaded(&self) {
        tokio::select! {
            () = self.handler_loaded() => {}
            () = self.policy_loaded() => {}
        }
    }

    /// Goes on from how the rollouts of the same handler stood at the end of an earlier run: which generation is in
    /// use, and which was rolled back.
    pub(crate) fn take_over(&self, before: &Self) {
        let (old, new) = (&before.state.workload, &self.state.workload);
        let is_same = old.handler == new.handler && Wanted::handler(old) == Wanted::handler(new);
        if let (Some(before), Some(rollouts), true) = (&before.rollouts, &self.rollouts, is_same) {
            rollouts.switch.go_on_from(&before.switch);
        }
    }
}

impl Keeper {
    pub(crate) fn new(host: Arc<HostContext>, drain: Arc<Drain>) -> Self {
        let connections = Connections::new(host.client.clone());
        let partitions = host.fleet.clone().map(|fleet| Partitions::new(fleet, drain.clone()));
        Self { host, connections, turns: Semaphore::new(TOGETHER), drain, partitions }
    }

    /// Runs a workload until it is stopped, and begins anew each time it ends before.
    pub(crate) async fn keep(&self, kept: &KeptWorkload, stop: watch::Receiver<bool>) {
        let (Some(partitions), Some(partition)) = (&self.partitions, &kept.state.workload.queue.partition) else {
            return self.keep_with_rollouts(kept, stop).await;
        };
        kept.state.has_place(partitions.place(partition, &kept.state));
        if !kept.state.workload.is_first() {
            return self.keep_with_rollouts(kept, stop).await;
        }
        let tells_loaded = Box::pin(async {
            tokio::select! {
                () = kept.loaded() => partitions.has_loaded(partition, true),
                () = stopped(stop.clone()) => return,
            }
            stopped(stop.clone()).await;
            partitions.has_loaded(partition, false);
        });
        tokio::join!(Box::pin(self.keep_with_rollouts(kept, stop.clone())), tells_loaded);
    }

    /// Shares out the partitions of a workload of this name, as it is written, until `stop` ends; none where the host
    /// has no fleet.
    pub(crate) async fn share_out(&self, workload: &str, stop: impl Future<Output = ()>) {
        if let Some(partitions) = &self.partitions {
            partitions.share_out(workload, stop).await;
        }
    }

    /// The same of one workload. Its rollouts go on meanwhile.
    async fn keep_with_rollouts(&self, kept: &KeptWorkload, stop: watch::Receiver<bool>) {
        let Some(PendingRollouts { switch, file }) = &kept.rollouts else {
            return self.keep_running(kept, stop).await;
        };
        let counted = || kept.state.running().map(|parts| parts.workers.by_generation());
        let (file, observer) = (file.clone(), self.host.observer.clone());
        let roll_out = async {
            match workload::fleet(&self.host, &kept.state.workload) {
                Some(fleet) => switch.follow(file, counted, fleet.plans(&kept.state.workload.name), observer).await,
                None => switch.run(file, counted, observer).await,
            }
        };
        tokio::select! {
            () = self.keep_running(kept, stop) => {}
            never = roll_out => match never {},
        }
    }

    async fn keep_running(&self, kept: &KeptWorkload, stop: watch::Receiver<bool>) {
        let _kept = self.drain.keep();
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let mut has_ended = false;
        loop {
            let began = Instant::now();
            kept.state.conditions.begins();
            let once = Box::pin(AssertUnwindSafe(self.once(kept, has_ended, &stop)).catch_unwind()).await;
            kept.state.ended();
            let problem = match once {
                Ok(Ok(_)) if *stop.borrow() => return,
                Ok(Ok(Told::ToStop)) => {
                    self.rest(&kept.state, &stop).await;
                    continue;
                }
                Ok(Ok(Told::Nothing)) => "it ended though nobody stopped it".to_owned(),
                Ok(Err(error)) => format!("it ended: {error:#}"),
                Err(panic) => format!("it panicked, which is a fault of tidegate's own: {}", words(&*panic)),
            };
            let problem = format!("{problem}; what it held is delivered again after its ack wait");
            if *stop.borrow() {
                tracing::error!(workload = kept.state.workload.name, "{problem}");
                return;
            }
            has_ended = true;
            kept.state.conditions.ended(&format!("{problem}; it is started again"));
            if began.elapsed() > STEADY {
                backoff.reset();
            }
            tokio::select! {
                () = sleep(backoff.pause()) => {}
                () = stopped(stop.clone()) => return,
            }
        }
    }

    /// Waits until the host is not drained any more and has the partition, or this is stopped.
    async fn rest(&self, state: &WorkloadState, stop: &watch::Receiver<bool>) {
        // That the host is drained is told of the host.
        state.conditions.rests();
        // What was settled and given back is on its way when that is told.
        self.host.client.flush().await;
        let _resting = self.drain.rest();
        let goes_on = async {
            self.drain.is(false).await;
            if let Some(place) = state.place() {
                place.is_here(true).await;
            }
        };
        tokio::select! {
            () = goes_on => {}
            () = stopped(stop.clone()) => {}
        }
    }

    /// Ends when this is stopped, the host is drained, or the fleet gives the partition to another one.
    async fn halted(&self, state: &WorkloadState, stop: &watch::Receiver<bool>) {
        let elsewhere = async {
            match state.place() {
                Some(place) => place.is_here(false).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stopped(stop.clone()) => {}
            () = self.drain.is(true) => {}
            () = elsewhere => tracing::debug!(workload = state.workload.name, "the partition is not this host's"),
        }
    }

    /// Connects it, sets it up and runs it. Returns when it is stopped or the host is drained, or when it ends by
    /// itself.
    async fn once(&self, kept: &KeptWorkload, has_ended: bool, stop: &watch::Receiver<bool>) -> anyhow::Result<Told> {
        let connection = tokio::select! {
            biased;
            () = self.halted(&kept.state, stop) => return Ok(Told::ToStop),
            connection = self.connect(&kept.state) => connection,
        };
        kept.state.connects(connection.own());
        // Boxed, as what makes a connection is: both are large, and a thread's stack is not.
        let run = Box::pin(self.connected(kept, &connection.client, has_ended, stop));
        let ended = tokio::select! {
            ended = run => ended,
            () = connection.ended() => Err(anyhow::anyhow!("the NATS client library has failed")),
            never = connection.watch(&kept.state.conditions) => match never {},
        };
        connection.flush().await;
        ended
    }

    /// The same by its connection.
    async fn connected(
        &self,
        kept: &KeptWorkload,
        client: &Client,
        has_ended: bool,
        stop: &watch::Receiver<bool>,
    ) -> anyhow::Result<Told> {
        let KeptWorkload { state, handlers, policies, shadow, .. } = kept;
        let mut handlers = handlers.clone();
        let begin = async {
            let bound = self.set_up(state, client).await;
            handlers.loaded().await;
            bound
        };
        let bound = tokio::select! {
            biased;
            () = self.halted(state, stop) => return Ok(Told::ToStop),
            bound = begin => bound,
        };
        if let Some(buckets) = bound.buckets(&state.conditions) {
            handlers.reach(buckets);
        }
        if let Some(requests) = bound.requests() {
            handlers.ask_by(requests);
        }
        let (policies, shadow) = (policies.anew(), shadow.as_ref().map(PluginPolicies::anew));
        let swaps = tell_swaps(handlers.clone(), state, &self.host.observer);
        let parts = Parts { state: state.clone(), bound, host: self.host.clone(), handlers, policies, shadow };
        let was_told = AtomicBool::new(false);
        let halted = async {
            self.halted(state, stop).await;
            if state.is_elsewhere() {
                tracing::info!(
                    workload = state.workload.name,
                    "draining: the fleet gives the partition to another host"
                );
            }
            was_told.store(true, Relaxed);
        };
        let run = async {
            tokio::select! {
                ended = workload::run(parts, halted) => ended,
                never = swaps => match never {},
            }?;
            Ok(if was_told.load(Relaxed) { Told::ToStop } else { Told::Nothing })
        };
        let mut run = pin!(run);
        if has_ended {
            tokio::select! {
                ended = &mut run => return ended,
                () = sleep(STEADY) => state.conditions.clear(Part::Run),
            }
        }
        run.await
    }

    /// The connection of a workload. It is tried until it is there.
    async fn connect(&self, state: &WorkloadState) -> WorkloadConnection {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        loop {
            match self.connections.of(&state.workload).await {
                Ok(connection) => {
                    state.conditions.clear(Part::Connection);
                    return connection;
                }
                Err(error) => {
                    let problem = not_made(&error, &state.workload.name);
                    state.conditions.raise(Part::Connection, &problem);
                }
            }
            sleep(backoff.pause()).await;
        }
    }

    /// Tries until it is done.
    async fn set_up(&self, state: &WorkloadState, client: &Client) -> BoundConsumer {
        let (workload, host) = (&state.workload, &*self.host);
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        loop {
            client.connected().await;
            let turn = self.turns.acquire().await;
            let bound = BoundConsumer::new(client, workload, host.own_streams(workload), &host.host).await;
            drop(turn);
            match bound {
                Ok(bound) => {
                    if let Some(telemetry) = &self.host.telemetry {
                        bound.trace(telemetry);
                    }
                    state.conditions.clear(Part::Setup);
                    return bound;
                }
                Err(error) if client.is_connected() => {
                    let text = error.to_string();
                    let name = format!("workload {}: ", state.workload.name);
                    let problem = text.strip_prefix(&name).unwrap_or(&text).trim_end_matches('.');
                    state.conditions.raise(Part::Setup, &format!("{problem}; tried again until it works"));
                }
                // That the server is away is logged once, for all workloads.
                Err(error) => tracing::debug!(workload = state.workload.name, %error, "not set up"),
            }
            client.reconnected(backoff.pause()).await;
        }
    }
}

/// Tells of each generation of the handler after the first. The scaling loop tells of the policy's.
async fn tell_swaps(mut handlers: PluginHandlers, state: &WorkloadState, observer: &Observer) -> Infallible {
    loop {
        let Author { plugin, generation } = handlers.another().await;
        observer.tell(Event::Swapped { workload: state.workload.name.as_str().into(), plugin, generation });
    }
}

/// Ends when it is time to stop.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that who could say so is gone, and that is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
