//! Carries out the steps of a trial with the real inbox, supervisor and workers on the model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::guest::{ModelGeneration, ModelPlugin};
use super::host::{EXPIRES, HeldDelivery, ModelPuller};
use super::server::{LATENCY, MessageState, ModelServer};
use super::step::{CallEnd, GenerationStart, ModelSetup, ModelStep, Store, retry};
use crate::conditions::Conditions;
use crate::config::{Grants, OrderKey};
use crate::delivery::ResponseBounds;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::fetch::fetch;
use crate::delivery::inbox::Inbox;
use crate::delivery::keep_order::keep_order;
use crate::delivery::order::{Limits, Unsettled};
use crate::delivery::rate_limit::RateLimit;
use crate::delivery::settle::Rules;
use crate::delivery::start_limits::StartGate;
use crate::delivery::worker::WorkerShared;
use crate::events::{Event, Observer};
use crate::scaling::supervisor::Supervisor;
use crate::scaling::workers::{Desired, Workers};

/// How long the host may take to do what a step asks for, while nothing of what is outside is slow.
const PROMPTLY: Duration = Duration::from_millis(10);
/// As `run` has it: what is not settled by then is left to the ack wait.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);
/// From a generation that starts to a worker of it: one that could not be made anew may have had effects to wait for
/// before it ended, and only then began the longest pause.
const REPLACED: Duration = Duration::from_secs(30);
/// Instances made anew in a second.
const RESPAWNS: u32 = 10;
/// By then all is settled, if nothing is wrong any more.
const AT_LAST: Duration = Duration::from_secs(3600);

struct ModelHost {
    number: usize,
    desired: Arc<Desired>,
    workers: Arc<Workers>,
    inbox: Arc<Inbox<HeldDelivery>>,
    /// The most workers that were desired, and that were since the last step.
    peak: Arc<AtomicU32>,
    recent: Arc<AtomicU32>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

struct Trial {
    setup: ModelSetup,
    server: ModelServer,
    plugin: watch::Sender<ModelGeneration>,
    host: Option<ModelHost>,
    /// Those that were told to stop.
    stopping: Vec<(ModelHost, Instant)>,
    wanted: u32,
}

/// Runs the steps, then lifts all faults and waits until all is settled. Gives what happened, and the rule that was
/// broken.
pub(super) async fn run(setup: ModelSetup, steps: Vec<ModelStep>) -> (String, Option<String>) {
    let server = ModelServer::new(setup);
    let pump = tokio::spawn(server.clone().run());
    let first = ModelGeneration { number: 1, start: GenerationStart::Works, since: Instant::now() };
    let plugin = watch::channel(first).0;
    let mut trial = Trial { setup, server: server.clone(), plugin, host: None, stopping: Vec::new(), wanted: 1 };
    trial.begin();
    for step in steps {
        trial.note(format!("> {step:?}"));
        trial.take(step).await;
        sleep(PROMPTLY).await;
        trial.look().await;
        if server.with(|state| state.ledger.broken.is_some()) {
            break;
        }
    }
    if server.with(|state| state.ledger.broken.is_none()) {
        trial.end().await;
    }
    trial.lose();
    pump.abort();
    server.with(|state| (state.ledger.trace(), state.ledger.broken.clone()))
}

impl Trial {
    fn note(&self, what: String) {
        self.server.with(|state| state.ledger.note(what));
    }

    fn rule(&self, holds: bool, broken: impl FnOnce() -> String) {
        self.server.with(|state| state.ledger.rule(holds, broken));
    }

    async fn take(&mut self, step: ModelStep) {
        match step {
            ModelStep::Publish(count, script) => {
                self.server.with(|state| (0..count).for_each(|_| state.publish(script)))
            }
            ModelStep::Desire(count) => self.desire(count),
            ModelStep::Pass(ms) => sleep(Duration::from_millis(ms)).await,
            ModelStep::Swap(start) => swap(&self.plugin, start),
            ModelStep::SwapAtNext(start) => {
                let plugin = self.plugin.clone();
                self.server.with(|state| state.at_next = Some(Box::new(move || swap(&plugin, start))));
            }
            ModelStep::Publications(store) => self.server.with(|state| state.publications = store),
            ModelStep::DeadLetters(store) => self.server.with(|state| state.dead_letters = store),
            ModelStep::Cut => self.server.with(|state| state.cut()),
            ModelStep::Mend => self.mend(),
            ModelStep::Stop => self.stop(),
            ModelStep::Lose => self.lose(),
            ModelStep::Begin => self.begin(),
        }
    }

    fn desire(&mut self, count: u32) {
        self.wanted = count;
        if let Some(host) = &self.host {
            host.peak.fetch_max(count, Relaxed);
            host.recent.fetch_max(count, Relaxed);
            host.desired.set(count);
        }
    }

    fn mend(&self) {
        self.server.with(|state| {
            if !state.is_up {
                state.mend();
            }
        });
    }

    /// Starts a host, if none runs. One that stops may still be there.
    fn begin(&mut self) {
        if self.host.is_some() {
            return;
        }
        let (setup, server) = (self.setup, self.server.clone());
        let number = server.with(|state| state.join());
        let consumer = Effective::with_ack_wait(setup.ack_wait);
        let rules =
            Rules::new(retry(), 16, consumer.clone(), bounds(), (Arc::default(), &Conditions::new("orders".into())));
        let starts = StartGate::new(&setup.start_limits(), &Conditions::new("orders".into()));
        let inbox =
            Inbox::<HeldDelivery>::new(setup.batch, usize::MAX).remembering(rules.attempts.clone()).limited_by(starts);
        let limits = |buffer| Limits { messages: buffer, bytes: usize::MAX };
        let inbox = match (setup.order, setup.per_key) {
            (Some(buffer), _) => inbox.in_order(OrderKey::Token(2), limits(buffer), consumer.clone()),
            (None, Some((each, buffer))) => {
                inbox.few_of_a_key(OrderKey::Token(2), each, limits(buffer), consumer.clone())
            }
            (None, None) => Arc::new(inbox),
        };
        let shared = WorkerShared {
            workload: "orders".into(),
            conditions: Conditions::new("orders".into()),
            inbox: inbox.clone(),
            rules,
            isolation: setup.isolation,
            batching: setup.batching(),
            concurrency: setup.concurrency(),
            respawns: Arc::new(RateLimit::new(RESPAWNS)),
            observer: observer(&server, number),
        };
        let (desired, workers) = (Arc::new(Desired::new(self.wanted)), Arc::new(Workers::default()));
        let peak = Arc::new(AtomicU32::new(self.wanted.max(1)));
        let recent = Arc::new(AtomicU32::new(self.wanted));
        let guests = ModelPlugin::new(server.clone(), number, self.plugin.subscribe());
        let supervisor = Supervisor::new(Arc::new(shared), guests, desired.clone(), workers.clone(), setup.grace);
        let most = {
            let (peak, recent, batch) = (peak.clone(), recent.clone(), setup.batch);
            let size = setup.batching().size.max(setup.concurrency());
            let counted = workers.clone();
            let buffer = setup.order.or(setup.per_key.map(|(_, buffer)| buffer));
            let in_order = buffer.map_or(0, |buffer| buffer + setup.max_ack_pending);
            // A worker that waits for its instance or for more has a call's deliveries beside those in the inbox, and
            // so has one that drains.
            move || {
                let alive = counted.alive().len().max(peak.load(Relaxed) as usize);
                recent.load(Relaxed).max(1) as usize * batch + alive * size + in_order
            }
        };
        let pull = ModelPuller::new(server.clone(), number, Arc::new(most));
        let (stop, stops) = oneshot::channel::<()>();
        let (stopped, stops) = watch_of(stops);
        let fetching = inbox.clone();
        let task = tokio::spawn(async move {
            let conditions = Conditions::new("orders".into());
            let run = async {
                tokio::join!(fetch(&fetching, pull, &consumer, |_| {}, ended(stopped)), supervisor.run(ended(stops)),)
            };
            tokio::select! {
                _ = run => {}
                never = keep_order(&fetching, &consumer, &conditions, || unsettled(&server)) => match never {},
            }
            server.with(|state| {
                state.ledger.note(format!("host {number} stopped"));
                // What came after the last pull was given up, since the connection was lost, is left to its ack wait.
                let quiet = state.is_up && state.up_since + EXPIRES * 2 < Instant::now();
                if quiet {
                    state.ledger.ended(number);
                } else {
                    state.lines[number].incoming.clear();
                    state.ledger.lost(number);
                }
                state.leave(number);
            });
        });
        self.note(format!("host {number} starts"));
        self.host = Some(ModelHost { number, desired, workers, inbox, peak, recent, stop: Some(stop), task });
    }

    fn stop(&mut self) {
        if let Some(mut host) = self.host.take() {
            drop(host.stop.take());
            self.stopping.push((host, Instant::now()));
        }
    }

    /// Ends the host, and those that stop, in the middle of what they do.
    fn lose(&mut self) {
        for host in self.host.take().into_iter().chain(self.stopping.drain(..).map(|(host, _)| host)) {
            self.server.with(|state| {
                state.ledger.lost(host.number);
                state.leave(host.number);
            });
            host.task.abort();
        }
    }

    /// What holds between the steps.
    async fn look(&mut self) {
        if let Some(host) = &self.host {
            let desired = host.desired.get();
            host.recent.store(desired, Relaxed);
            let running = host.workers.running();
            self.rule(running <= desired, || format!("{running} workers run, and {desired} are desired"));
            self.rule(!host.task.is_finished(), || "the host ended by itself".to_owned());
            // A worker that cannot start is waited for.
            let newest = *self.plugin.borrow();
            let starts =
                newest.number == 1 || newest.start == GenerationStart::Works && newest.since.elapsed() > REPLACED;
            let idle = running == 0 && !host.inbox.is_empty() && starts;
            self.rule(!idle, || "a delivery waits, and no worker is started for it".to_owned());
        }
        self.stopping.retain(|(host, _)| !host.task.is_finished());
        let within = self.setup.grace.max(EXPIRES) + SETTLE_WITHIN;
        let late = self.stopping.iter().find(|(_, since)| since.elapsed() > within).map(|(host, _)| host.number);
        self.rule(late.is_none(), || format!("host {late:?} has not stopped within {within:?}"));
    }

    /// Lifts all faults, waits until all is settled, and stops the host.
    async fn end(&mut self) {
        self.note("> all faults end".to_owned());
        self.server.with(|state| {
            (state.publications, state.dead_letters, state.at_next) = (Store::Works, Store::Works, None);
        });
        self.mend();
        if self.plugin.borrow().start != GenerationStart::Works {
            swap(&self.plugin, GenerationStart::Works);
        }
        self.begin();
        self.desire(2);
        sleep(PROMPTLY).await;
        let begin = Instant::now();
        while !self.is_calm() {
            sleep(Duration::from_secs(1)).await;
            self.look().await;
            self.rule(begin.elapsed() < AT_LAST, || "messages are left over, or workers are missing".to_owned());
            if self.server.with(|state| state.ledger.broken.is_some()) {
                return;
            }
        }
        self.stop();
        for (host, _) in self.stopping.drain(..) {
            let stopped = timeout(self.setup.grace.max(EXPIRES) + SETTLE_WITHIN, host.task).await;
            self.server.with(|state| state.ledger.rule(matches!(stopped, Ok(Ok(()))), || format!("{stopped:?}")));
        }
        self.settle_accounts();
    }

    /// Whether every message is settled, and the workers are there.
    fn is_calm(&self) -> bool {
        let settled = self.server.with(|state| state.messages.iter().all(|message| is_settled(message.place)));
        settled && self.host.as_ref().is_some_and(|host| host.workers.running() == 2)
    }

    fn settle_accounts(&self) {
        self.server.with(|state| {
            for (index, message) in state.messages.iter().enumerate() {
                let sequence = index as u64 + 1;
                match message.place {
                    MessageState::Termed => state.ledger.termed_at_last(sequence),
                    _ => {
                        let tries = state.ledger.tries.get(&sequence).copied().unwrap_or_default();
                        let ends = (1..=message.attempts.max(tries)).map(|attempt| message.script.at(attempt));
                        let fewest =
                            ends.filter_map(|end| if let CallEnd::Ok(count) = end { Some(count) } else { None }).min();
                        state.ledger.acked_at_last(sequence, fewest.unwrap_or_default());
                        state.ledger.rule(fewest.is_some(), || format!("#{sequence} is acked and never went well"));
                    }
                }
            }
        });
    }
}

fn swap(plugin: &watch::Sender<ModelGeneration>, start: GenerationStart) {
    let number = plugin.borrow().number + 1;
    plugin.send_replace(ModelGeneration { number, start, since: Instant::now() });
}

fn bounds() -> ResponseBounds {
    let grants = Grants { publish: vec!["out".into()], ..Grants::default() };
    ResponseBounds { max_payload: 1024, own_headers: 0, publications: 10, grants }
}

fn is_settled(place: MessageState) -> bool {
    matches!(place, MessageState::Acked | MessageState::Termed)
}

fn observer(server: &ModelServer, host: usize) -> Observer {
    let server = server.clone();
    Observer::new(move |event| match event {
        Event::WorkerStarted { worker, .. } => {
            server.with(|state| state.ledger.note(format!("worker {worker} of host {host} starts")));
        }
        Event::WorkerEnded { worker, .. } => {
            server.with(|state| state.ledger.note(format!("worker {worker} of host {host} ended")));
        }
        _ => {}
    })
}

/// Asks the server, which hears it and is heard a moment later.
async fn unsettled(server: &ModelServer) -> anyhow::Result<Unsettled> {
    sleep(LATENCY).await;
    let unsettled = server.with(|state| state.is_up.then(|| state.unsettled()));
    sleep(LATENCY).await;
    unsettled.ok_or_else(|| anyhow::anyhow!("the server is away"))
}

/// Two of a signal.
fn watch_of(signal: oneshot::Receiver<()>) -> (watch::Receiver<bool>, watch::Receiver<bool>) {
    let (both, first) = watch::channel(false);
    let second = both.subscribe();
    tokio::spawn(async move {
        // Its sender is dropped to stop.
        let _ = signal.await;
        both.send_replace(true);
    });
    (first, second)
}

async fn ended(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
