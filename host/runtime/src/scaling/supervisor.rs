//! Starts and drains workers until as many run as are desired.

mod ahead;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument;

use crate::backoff::Backoff;
use crate::conditions::Part;
use crate::contract::Fault;
use crate::delivery::counters::Stats;
use crate::delivery::settle::hand_back;
use crate::delivery::slow_lane::roam;
use crate::delivery::worker::{Worker, WorkerMode, WorkerShared};
use crate::events::Event;
use crate::ports::{Handlers, Held};
use crate::scaling::plan::{Candidate, plan};
use crate::scaling::tell::tell_woken;
use crate::scaling::workers::{Desired, Workers};

use self::ahead::{Came, MadeAhead, Next, Prepared};

/// The shortest and the longest wait before a worker that ended by itself is replaced.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How long no worker can start before deliveries that were fetched are given back: another host may be able to handle
/// them.
const GIVE_BACK: Duration = Duration::from_secs(10);

/// How long after starting a worker for a message the start is logged. The message goes first: on a small machine a log
/// line would delay it.
const FIRST_REPLY: Duration = Duration::from_millis(1);

/// A worker that runs, or drains.
struct WorkerTask {
    /// Whether its instance has been made.
    started: Arc<AtomicBool>,
    stats: Arc<Stats>,
    mode: watch::Sender<WorkerMode>,
}

/// Why a worker ended by itself.
struct Ending {
    text: String,
    /// Whether there was no room for its instance.
    lacks_room: bool,
}

/// No worker can start.
#[derive(Debug, Clone, Copy)]
struct Stuck {
    since: Instant,
    /// Whether the inbox gives back its deliveries.
    suspended: bool,
}

/// How a worker's task ended.
type EndedTask = Result<(Id, Result<(), Fault>), JoinError>;

/// What a supervisor waits for, beside another number of workers that are desired or that there is room for.
enum Happening {
    /// A delivery found no worker.
    Arrived,
    /// Deliveries that were fetched can be given back: no pull is open that would bring them right back.
    InboxClosed,
    /// The instance of a worker was made.
    WorkerStarted,
    WorkerEnded(EndedTask),
    /// No worker could start for [`GIVE_BACK`].
    StuckForLong,
    /// The wait after a worker that ended by itself is over.
    MayStart,
    /// There are no workers, and the instance that stands ready is of an older generation.
    NewGeneration,
    /// Of the instance that is made ahead.
    Ahead(Next),
}

/// Keeps the number of workers as it is desired.
pub(crate) struct Supervisor<D, H> {
    shared: Arc<WorkerShared<D>>,
    handlers: H,
    desired: Arc<Desired>,
    workers: Arc<Workers>,
    grace: Duration,
    alive: BTreeMap<u64, WorkerTask>,
    /// How many of them do not drain. It is counted as it changes: thousands start at once, and each wakes this.
    working: usize,
    tasks: JoinSet<Result<(), Fault>>,
    /// The numbers of the workers that the tasks are of.
    of_tasks: HashMap<Id, u64>,
    next: u64,
    backoff: Backoff,
    not_before: Option<Instant>,
    /// Notified when an instance of a worker was made.
    started: Arc<Notify>,
    /// Set while no worker can start.
    stuck: Option<Stuck>,
    /// Whether the condition is raised that there is no room for all workers.
    lacks_room: bool,
    /// Whether the condition is raised that a worker ended by itself and is replaced.
    replaces: bool,
    ahead: MadeAhead,
}

impl<D: Held, H: Handlers> Supervisor<D, H> {
    /// A supervisor without workers. Nothing runs before [`Supervisor::run`].
    pub(crate) fn new(
        shared: Arc<WorkerShared<D>>,
        handlers: H,
        desired: Arc<Desired>,
        workers: Arc<Workers>,
        grace: Duration,
    ) -> Self {
        Self {
            shared,
            handlers,
            desired,
            workers,
            grace,
            alive: BTreeMap::new(),
            working: 0,
            tasks: JoinSet::new(),
            of_tasks: HashMap::new(),
            next: 1,
            backoff: Backoff::new(BACKOFF.0, BACKOFF.1),
            not_before: None,
            started: Arc::default(),
            stuck: None,
            lacks_room: false,
            replaces: false,
            ahead: MadeAhead::new(Backoff::new(BACKOFF.0, BACKOFF.1)),
        }
    }

    /// Runs until `stop` ends, then drains all workers: they have the grace time to finish what they run.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut changes = self.desired.count.subscribe();
        loop {
            let woken = self.wake();
            let wanted = changes.borrow_and_update().count;
            let fitting = self.fitting(wanted);
            let room_changes = self.handlers.room_changed(fitting < wanted);
            self.become_as_many(fitting, woken).await;
            self.needs_no_other(fitting);
            // Where no worker starts, one is tried again and again anyway.
            let at_zero = wanted == 0 && self.alive.is_empty() && self.stuck.is_none();
            self.ahead.keep(at_zero, || self.handlers.prepare());
            tokio::select! {
                () = &mut stop => break,
                _ = changes.changed() => {}
                () = room_changes => {}
                happened = self.happening(at_zero) => self.take_in(happened).await,
            }
        }
        self.drain_all().await;
    }

    /// Waits for what happens first. Cancel-safe: whatever a branch takes is returned by the same poll.
    async fn happening(&mut self, at_zero: bool) -> Happening {
        let inbox = &self.shared.inbox;
        let give_back_at = self.stuck.filter(|stuck| !stuck.suspended).map(|stuck| stuck.since + GIVE_BACK);
        tokio::select! {
            biased;
            // Before the end of another worker, which may be what is wrong from then on.
            () = self.started.notified() => Happening::WorkerStarted,
            Some(ended) = self.tasks.join_next_with_id() => Happening::WorkerEnded(ended),
            () = inbox.arrived_without_worker() => Happening::Arrived,
            () = inbox.closed() => Happening::InboxClosed,
            () = reached(give_back_at) => Happening::StuckForLong,
            () = reached(self.not_before) => Happening::MayStart,
            () = self.handlers.newer(), if at_zero => Happening::NewGeneration,
            next = self.ahead.next() => Happening::Ahead(next),
        }
    }

    async fn take_in(&mut self, happened: Happening) {
        match happened {
            // `wake` looks at the inbox on the next turn.
            Happening::Arrived => {}
            Happening::InboxClosed => self.give_back().await,
            Happening::WorkerStarted => self.has_started(),
            Happening::WorkerEnded(ended) => {
                self.ended(ended);
                // All that have ended, before the others are looked at: thousands may end at once.
                while let Some(ended) = self.tasks.try_join_next_with_id() {
                    self.ended(ended);
                }
            }
            Happening::StuckForLong => self.suspend(),
            Happening::MayStart => self.not_before = None,
            Happening::NewGeneration | Happening::Ahead(Next::MayPrepare) => self.ahead.again(),
            Happening::Ahead(Next::Prepared(made)) => self.prepared(made),
        }
    }

    /// Starts and drains workers until this many run. If a delivery has `woken` the first worker, that delivery goes
    /// before what is logged.
    async fn become_as_many(&mut self, desired: u32, woken: bool) {
        let started = self.reconcile(desired);
        self.shared.inbox.set_workers(self.working);
        if woken {
            sleep(FIRST_REPLY).await;
            tell_woken(&self.desired, &self.shared.observer, &self.shared.workload);
            self.desired.woken.notify_one();
        }
        self.announce_started(&started);
    }

    /// Tells if an instance could not be made ahead: no worker would start for the next message.
    fn prepared(&mut self, made: Prepared) {
        match self.ahead.came(made) {
            Came::Well => {}
            Came::WellAgain => self.shared.conditions.clear(Part::Workers),
            Came::Failed(problem) => {
                let again = "It is tried again with the next message, and";
                self.shared.conditions.raise(Part::Workers, &no_worker_starts(&problem, again, ""));
            }
        }
    }

    /// Sets the desired count to one if a message waits and no worker is desired. Changes nothing during the pause
    /// after a worker that could not start. Returns whether the count was set.
    fn wake(&self) -> bool {
        self.not_before.is_none() && !self.shared.inbox.is_empty() && self.desired.wake()
    }

    /// How many of the desired workers there is room for. If not for all, a condition is raised.
    fn fitting(&mut self, desired: u32) -> u32 {
        let most = self.handlers.most();
        if desired > most && self.stuck.is_none() {
            self.lacks_room = true;
            let why = self.handlers.why_no_more();
            self.shared
                .conditions
                .raise(Part::Workers, &format!("there is room for {most} workers and for no more: {why}"));
            if most == 0 {
                self.stuck = Some(Stuck { since: Instant::now(), suspended: false });
            }
        } else if desired <= most && std::mem::take(&mut self.lacks_room) && self.stuck.is_none() {
            self.shared.conditions.clear(Part::Workers);
        }
        desired.min(most)
    }

    /// Starts and drains workers; returns the numbers of those that were started.
    fn reconcile(&mut self, desired: u32) -> Vec<u64> {
        if self.stuck.is_none() && u32::try_from(self.working) == Ok(desired) {
            return Vec::new();
        }
        let candidates: Vec<Candidate> = self
            .alive
            .iter()
            .map(|(id, worker)| Candidate {
                worker: *id,
                handling: worker.stats.is_handling(),
                settled: worker.stats.acked(),
                draining: *worker.mode.borrow() > WorkerMode::Work,
            })
            .collect();
        let plan = plan(&candidates, desired);
        let start = match (self.not_before, self.stuck) {
            (Some(_), _) => 0,
            // One worker that tries to start is enough. It tries even if none is desired, because nothing is fetched
            // until one has started.
            (None, Some(Stuck { suspended, .. })) if candidates.is_empty() => plan.start.clamp(suspended.into(), 1),
            (None, Some(_)) => 0,
            (None, None) => plan.start,
        };
        let started: Vec<u64> = (0..start).map(|_| self.start()).collect();
        // A worker that is not desired is started only to find out whether workers start again.
        let unwanted = started.iter().copied().skip(usize::try_from(plan.start).unwrap_or(usize::MAX));
        for id in plan.drain.into_iter().chain(unwanted) {
            self.drain(id);
        }
        started
    }

    /// So many workers more, or fewer, that do not drain.
    fn count_working(&mut self, change: isize) {
        self.working = self.working.saturating_add_signed(change);
        self.workers.running.store(u32::try_from(self.working).unwrap_or(u32::MAX), Relaxed);
    }

    fn start(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        let stats = Arc::new(Stats::default());
        let (mode, modes) = watch::channel(WorkerMode::Work);
        let span = tracing::info_span!("tidegate.worker.run", workload = %self.shared.workload, worker = id);
        let started = Arc::new(AtomicBool::new(false));
        let run = {
            let (shared, mut handlers, stats) = (self.shared.clone(), self.handlers.clone(), stats.clone());
            let (started, a_start) = (started.clone(), self.started.clone());
            async move {
                let instance = handlers.instantiate(id).await?;
                started.store(true, Relaxed);
                a_start.notify_one();
                Worker::new(id, shared, handlers, stats, modes).run(instance).await
            }
        };
        let task = self.tasks.spawn(roam(run.instrument(span))).id();
        self.workers.add(id, stats.clone());
        self.of_tasks.insert(task, id);
        self.alive.insert(id, WorkerTask { started, stats, mode });
        self.count_working(1);
        id
    }

    fn announce_started(&self, started: &[u64]) {
        for id in started {
            tracing::info!(workload = %self.shared.workload, worker = id, "worker started");
            self.shared.observer.tell(Event::WorkerStarted { workload: self.shared.workload.clone(), worker: *id });
        }
    }

    fn drain(&mut self, id: u64) {
        let Some(worker) = self.alive.get(&id) else { return };
        let (mode, grace) = (worker.mode.clone(), self.grace);
        // One that drains already has its grace time, or had it.
        if *mode.borrow() > WorkerMode::Work {
            return;
        }
        mode.send_replace(WorkerMode::Drain);
        self.count_working(-1);
        self.workers.drains(id);
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(grace) => { mode.send_replace(WorkerMode::GiveBack); }
                () = mode.closed() => {}
            }
        });
    }

    fn ended(&mut self, ended: EndedTask) {
        let (task, problem) = match ended {
            Ok((task, Ok(()))) => (task, None),
            Ok((task, Err(fault))) => {
                if let Some(worker) = self.of_tasks.get(&task).and_then(|id| self.alive.get(id)) {
                    worker.stats.faulted(fault.kind());
                }
                (task, Some(Ending { text: fault.to_string(), lacks_room: matches!(fault, Fault::Room(_)) }))
            }
            Err(error) => (error.id(), Some(Ending { text: error.to_string(), lacks_room: false })),
        };
        let Some(id) = self.of_tasks.remove(&task) else { return };
        let Some(worker) = self.alive.remove(&id) else { return };
        if *worker.mode.borrow() == WorkerMode::Work {
            self.count_working(-1);
        }
        let (workload, handled) = (self.shared.workload.clone(), worker.stats.acked());
        match problem {
            None => {
                self.backoff.reset();
                tracing::info!(%workload, worker = id, handled, "worker stopped");
            }
            Some(problem) => {
                if handled > 0 {
                    self.backoff.reset();
                }
                self.failed(id, handled, &problem);
            }
        }
        self.workers.remove(id);
        self.shared.observer.tell(Event::WorkerEnded { workload, worker: id, handled });
    }

    /// A worker ended by itself. Of several at the same time only the first is logged as an error, and delays the
    /// replacement of all. A worker for which there was no room did not fail: the workload's share has become smaller,
    /// or other workloads have not given back yet what they have beyond theirs.
    fn failed(&mut self, worker: u64, handled: u64, ending: &Ending) {
        let Ending { text: problem, lacks_room } = ending;
        let workload = &self.shared.workload;
        if self.not_before.is_some() {
            tracing::debug!(%workload, worker, handled, problem, "worker ended by itself");
        } else {
            let retry_in = self.backoff.pause();
            self.not_before = Some(Instant::now() + retry_in);
            match (self.stuck.is_some(), lacks_room) {
                (true, _) => {}
                (false, true) => {
                    tracing::warn!(%workload, worker, problem, ?retry_in, "there is no room for one more worker yet");
                }
                (false, false) => {
                    tracing::error!(%workload, worker, handled, problem, ?retry_in, "worker ended by itself");
                }
            }
        }
        if self.any_started() {
            let problem = if *lacks_room {
                format!("there is no room for one more worker yet: {problem}")
            } else {
                format!("a worker ended by itself and is replaced: {problem}; the others go on")
            };
            self.shared.conditions.raise(Part::Workers, &problem);
            self.replaces = true;
            return;
        }
        self.stuck.get_or_insert(Stuck { since: Instant::now(), suspended: false });
        let and = format!("; what was fetched is given back after {GIVE_BACK:?}");
        self.shared.conditions.raise(Part::Workers, &no_worker_starts(problem, "It is tried again", &and));
    }

    /// A worker that ended by itself needs no other where fewer are wanted by now.
    fn needs_no_other(&mut self, wanted: u32) {
        let enough = usize::try_from(wanted).is_ok_and(|wanted| self.working >= wanted);
        if self.replaces && enough && self.not_before.is_none() && self.stuck.is_none() && !self.lacks_room {
            let starts = self.alive.values().any(|worker| !worker.started.load(Relaxed));
            // One that starts says how it went.
            if !starts {
                self.replaces = false;
                self.shared.conditions.clear(Part::Workers);
            }
        }
    }

    fn any_started(&self) -> bool {
        self.alive.values().any(|worker| worker.started.load(Relaxed))
    }

    /// Ends the condition that no worker starts, unless the worker that has started has ended since.
    fn has_started(&mut self) {
        if self.any_started() {
            self.ahead.is_told_no_more();
            // That there is no room for all stays true however many have started.
            if !self.lacks_room {
                self.replaces = false;
                self.shared.conditions.clear(Part::Workers);
            }
            if self.stuck.take().is_some() {
                self.shared.inbox.resume();
            }
        }
    }

    /// Gives back the deliveries that wait: another host may be able to handle them. A delivery that the server would
    /// not deliver again stays.
    async fn give_back(&self) {
        let rules = &self.shared.rules;
        for waiting in self.shared.inbox.take_those(|held| !rules.consumer.is_last(held.delivery().attempt)) {
            hand_back(waiting, rules).await;
        }
    }

    fn suspend(&mut self) {
        if let Some(stuck) = &mut self.stuck {
            stuck.suspended = true;
            self.shared.inbox.suspend();
        }
    }

    async fn drain_all(&mut self) {
        let ids: Vec<u64> = self.alive.keys().copied().collect();
        for id in ids {
            self.drain(id);
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
    }
}

/// What is told where no instance can be made: why, and what becomes of it.
fn no_worker_starts(problem: &str, again: &str, then: &str) -> String {
    format!(
        "no worker starts: {problem}; mend the handler, raise the limit that it names or free what this machine \
         lacks. {again} at least every {:?}{then}",
        BACKOFF.1
    )
}

/// Waits until this time; for ever if there is none.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
