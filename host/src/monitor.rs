//! Once an interval: signals, an observation, the policy's decision, the desired count.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::board::Board;
use crate::clock::{Since, time_of_day};
use crate::conditions::Part;
use crate::config::Scale;
use crate::delivery::Fault;
use crate::duration::unix_millis;
use crate::effective::{Effective, Flow};
use crate::events::{Event, Observer as Events};
use crate::fold::Fold;
use crate::journal::Made;
use crate::ports::{Author, Policies, Source};
use crate::scaling::clock::Clock;
use crate::scaling::observe::{Observer, Sample};
use crate::scaling::{carried_out, clamp};
use crate::shadow::{Tick, Window};
use crate::supervisor::{Crew, Desired};

/// How many failures in a row are told as a problem of the workload, and after how many more its words are told anew.
const TOLD: u32 = 3;
const REMIND: u32 = 60;

/// How long after a message that found no worker the policy is asked: what comes right behind it then counts too, and
/// reading the signals does not delay the first reply.
pub(crate) const BURST: Duration = Duration::from_millis(5);

/// What a monitor works with.
pub struct Monitor<P: Policies, S> {
    /// The workload's name.
    pub workload: Arc<str>,
    /// The limits and the interval.
    pub scale: Scale,
    /// What the consumer lets the workers have.
    pub consumer: Arc<Effective>,
    /// The policy.
    pub fold: Fold<P>,
    /// Who else is asked.
    pub window: Window,
    /// Where signals come from.
    pub source: S,
    /// What the workers do.
    pub crew: Arc<Crew>,
    /// What is set.
    pub desired: Arc<Desired>,
    /// Whether a delivery waits for a worker.
    pub waiting: Box<dyn Fn() -> bool + Send + Sync>,
    /// Who is told.
    pub events: Events,
    /// Where it is kept.
    pub board: Arc<Board>,
    /// When the host started to watch.
    pub start: Since,
}

impl<P: Policies, S: Source> Monitor<P, S> {
    /// Runs until `stop` ends; then the desired count is 0.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        tokio::select! {
            biased;
            () = &mut stop => {}
            () = self.watch() => {}
        }
        self.set(0, "the host stops");
    }

    async fn watch(&mut self) {
        let mut ticks = interval(self.scale.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut clock = Clock::default();
        let mut observer = Observer::new(self.scale.window);
        let (mut unread, mut undecided) = (Row::new(Part::Signals), Row::new(Part::Policy));
        let desired = self.desired.clone();
        loop {
            let woken = tokio::select! {
                _ = ticks.tick() => false,
                () = desired.woken.notified() => {
                    sleep(BURST).await;
                    ticks.reset();
                    true
                }
                () = self.fold.newer() => {
                    self.adopt().await;
                    undecided = Row::new(Part::Policy);
                    continue;
                }
            };
            let sample = self.source.sample(self.crew.tally().redelivered).await;
            unread.count(&self.board, sample.as_ref().err().map(|error| format!("{error:#}")));
            let Ok(sample) = sample else { continue };
            if let Some(decided) = self.decide((sample, woken), &mut clock, &mut observer).await {
                undecided.count(&self.board, decided.err().map(|fault| fault.to_string()));
            }
        }
    }

    /// Moves to the newest policy if that accepts the settings; otherwise the one before stays.
    async fn adopt(&mut self) {
        let Some((author, outcome)) = self.fold.adopt().await else { return };
        match outcome {
            Ok(()) => {
                tracing::info!(workload = %self.workload, plugin = %author.plugin, generation = %author.generation, "policy in use");
                let Author { plugin, generation } = author.clone();
                let workload = self.workload.clone();
                self.events.tell(Event::Swapped { workload, plugin, generation });
                self.board.adopted(author);
                self.board.conditions.clear(Part::Policy);
            }
            Err(problem) => {
                self.board.refused(&problem);
                let Author { plugin, generation } = author;
                if self.fold.has_policy() {
                    tracing::error!(workload = %self.workload, %plugin, %generation, problem,
                        "policy not used: the version before goes on");
                } else {
                    let problem = format!(
                        "policy not used: {problem}; mend {plugin} (generation {generation}) or the policy-settings; until then the \
                         workers stay at scale.min"
                    );
                    self.board.conditions.raise(Part::Policy, &problem);
                }
            }
        }
    }

    /// What came of asking the policy; `None` if there is none yet, or if nothing would come of it. `woken` is whether a
    /// message that found no worker has just started one.
    async fn decide(
        &mut self,
        (sample, woken): (Sample, bool),
        clock: &mut Clock,
        observer: &mut Observer,
    ) -> Option<Result<(), Fault>> {
        let flow = self.consumer.flow();
        match flow.problem() {
            Some(problem) => self.board.conditions.raise(Part::Consumer, problem),
            None => self.board.conditions.clear(Part::Consumer),
        }
        let scale = self.consumer.employable(&self.scale);
        if matches!(flow, Flow::Held(_) | Flow::Refused(_)) {
            // More workers would have nothing to do. Those that there are finish what is out.
            if sample.ack_pending == 0 {
                self.set(scale.min, "the consumer gives nothing");
            }
            return None;
        }
        let now = clock.moment(self.start.elapsed(), unix_millis(time_of_day()));
        let seen = observer.observe(now, sample, self.crew.tally().work, self.crew.running(), &scale);
        self.board.saw(seen);
        let hand = Hand { workload: &self.workload, desired: &self.desired, events: &self.events };
        let (board, limits) = (&self.board, (scale.min, scale.max));
        let needed = woken || seen.pending > 0 || (self.waiting)();
        let mut live = None;
        let decided = self.fold.decide((&seen, sample.arrivals), |decision| {
            let to = carried_out(decision.desired, limits, hand.desired.get(), needed);
            board.decided(decision, to);
            tracing::debug!(workload = %hand.workload, ?seen, desired = decision.desired, reason = decision.reason, "decision");
            live = Some(clamp(decision.desired, limits.0, limits.1));
            Some(Made { from: hand.set(to, &decision.reason), to })
        });
        let decided = decided.await;
        self.window.show(&self.board, Tick { seen, arrivals: sample.arrivals, live });
        decided
    }

    fn set(&self, to: u32, reason: &str) {
        Hand { workload: &self.workload, desired: &self.desired, events: &self.events }.set(to, reason);
    }
}

/// Failures in a row of what a decision needs.
struct Row {
    part: Part,
    failures: u32,
    /// Those that were not in a row among them.
    ever: u64,
}

impl Row {
    fn new(part: Part) -> Self {
        Self { part, failures: 0, ever: 0 }
    }

    /// Counts a tick. Several failures in a row are a condition. A single one may be of the moment; that of a policy is told
    /// ever more seldom.
    fn count(&mut self, board: &Board, problem: Option<String>) {
        let Some(problem) = problem else {
            if std::mem::take(&mut self.failures) >= TOLD {
                board.conditions.clear(self.part);
            }
            return;
        };
        board.undecided(&problem);
        let problem = format!("no decision, so the number of workers stays as it is: {problem}");
        self.failures = self.failures.saturating_add(1);
        self.ever += 1;
        if self.failures % REMIND == TOLD {
            board.conditions.raise(self.part, &problem);
        } else if self.part == Part::Policy && self.ever.is_power_of_two() {
            tracing::warn!(workload = %board.workload.name, failures = self.ever, "{problem}");
        }
    }
}

/// What changes the number of workers.
struct Hand<'a> {
    workload: &'a Arc<str>,
    desired: &'a Desired,
    events: &'a Events,
}

impl Hand<'_> {
    /// Sets how many are wanted, and returns how many were.
    fn set(&self, to: u32, reason: &str) -> u32 {
        let from = self.desired.set(to);
        if from != to {
            tracing::info!(workload = %self.workload, reason, "scaling {from} -> {to}");
            let workload = self.workload.clone();
            self.events.tell(Event::Scaled { workload, from, to, reason: reason.to_owned() });
        }
        from
    }
}
