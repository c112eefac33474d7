//! What a host of a fleet tells of its consumer, its policy and its signals, with models of JetStream and of the
//! component host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, VecDeque};
use std::future::{pending, ready};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use parking_lot::Mutex;

use super::*;
use crate::conditions::Conditions;
use crate::config::{Limits, Scale, SignalSource};
use crate::contract::{Author, Fault};
use crate::delivery::consumer_settings::Effective;
use crate::delivery::counters::Work;
use crate::events::{Event, Observer};
use crate::fleet::entries::{HostId, Plan, Report, plan_key, text};
use crate::fleet::host::Fleet;
use crate::journal::{Journal, PolicyBounds, Role};
use crate::ports::{FleetBucket, Forgetting, KeyChange, KeyChanges, KvEntry, KvError, KvFuture, Policy, ServerAway};
use crate::scaling::policy_state::{ActivePolicy, PolicySetup};
use crate::scaling::shadow::Ticks;
use crate::scaling::tell::tell_woken;
use crate::scaling::workers::Desired;

fn unavailable<'a, T: Send + 'a>() -> KvFuture<'a, T> {
    Box::pin(ready(Err(KvError::Unavailable("away".to_owned()))))
}

/// A bucket of which this plan is all that can be known; that cannot be used where there is none.
struct OnlyPlan(Option<Plan>);

impl FleetBucket for OnlyPlan {
    fn find(&self) -> KvFuture<'_, Forgetting> {
        match &self.0 {
            Some(_) => Box::pin(ready(Ok(Forgetting::default()))),
            None => unavailable(),
        }
    }

    fn get<'a>(&'a self, _: &'a str) -> KvFuture<'a, KvEntry> {
        unavailable()
    }

    fn put<'a>(&'a self, _: &'a str, _: Bytes, _: Option<u64>) -> KvFuture<'a, u64> {
        unavailable()
    }

    fn delete<'a>(&'a self, _: &'a str, _: Option<u64>) -> KvFuture<'a, ()> {
        unavailable()
    }

    fn forget<'a>(&'a self, _: &'a str, _: u64) -> KvFuture<'a, ()> {
        unavailable()
    }

    fn watch(&self, _: Vec<String>) -> KvFuture<'_, KeyChanges> {
        let Some(plan) = &self.0 else { return unavailable() };
        let change = KeyChange { key: plan_key("work"), revision: 1, value: Some(text(plan).into()) };
        Box::pin(ready(Ok(stream::iter([Ok(change)]).chain(stream::pending()).boxed())))
    }
}

/// A generation that refuses its settings, or does not.
struct Generation {
    author: Author,
    refuses: bool,
}

impl Policy for Generation {
    async fn init(&self, _: &[(String, String)], _: Option<&[u8]>) -> Result<Result<Vec<u8>, String>, Fault> {
        Ok(if self.refuses { Err("no good".to_owned()) } else { Ok(Vec::new()) })
    }

    async fn decide(&self, _: &Observation, _: &[u8]) -> Result<Decision, Fault> {
        Err(Fault::Trap("unreachable".to_owned()))
    }

    fn author(&self) -> &Author {
        &self.author
    }
}

/// Generations, each of which refuses its settings or does not.
struct Generations(VecDeque<bool>);

impl Policies for Generations {
    type Policy = Generation;

    fn latest(&mut self) -> Option<Generation> {
        let refuses = self.0.pop_front()?;
        let generation = format!("generation {}", self.0.len()).into();
        Some(Generation { author: Author { plugin: "policy".into(), generation }, refuses })
    }

    async fn newer(&mut self) {
        if self.0.is_empty() {
            pending::<()>().await;
        }
    }
}

/// A consumer that is seen as it is by then with each sample.
struct Seen {
    effective: Arc<Effective>,
    is: Arc<Mutex<ConsumerFlow>>,
}

impl Source for Seen {
    async fn sample(&mut self, _: u64) -> anyhow::Result<Sample> {
        self.effective.flows(self.is.lock().clone());
        Ok(Sample::default())
    }
}

struct Trial {
    fleet: Arc<Fleet>,
    monitor: FleetMonitor<Generations, Seen>,
    consumer: Arc<Mutex<ConsumerFlow>>,
}

impl Trial {
    fn new(generations: &[bool]) -> Self {
        Self::with(Arc::new(OnlyPlan(None)), generations)
    }

    fn with(bucket: Arc<dyn FleetBucket>, generations: &[bool]) -> Self {
        let me = HostId { id: "a".to_owned(), boot: "a-1".to_owned() };
        let fleet = Fleet::new(me, (1, None), bucket, ("fleet".to_owned(), BTreeMap::new()));
        let member = Member::join(fleet.clone(), "work", Box::new(Report::default), Box::new(|| None));
        let (effective, consumer) = (Effective::with_ack_wait(LOOK), Arc::new(Mutex::new(ConsumerFlow::Free)));
        let setup = PolicySetup {
            workload: "work".into(),
            role: Role::Live,
            settings: Arc::new([]),
            bounds: PolicyBounds::of(&Limits::default()),
            journal: Journal::none(),
        };
        let second = Duration::from_secs(1);
        let monitor = Monitor {
            workload: "work".into(),
            scale: Scale { min: 0, max: 4, interval: second, window: second, source: SignalSource::Info },
            consumer: effective.clone(),
            policy: ActivePolicy::new(setup, Generations(generations.iter().copied().collect())),
            ticks: Ticks::default(),
            source: Seen { effective, is: consumer.clone() },
            workers: Arc::default(),
            desired: Arc::new(Desired::new(0)),
            chosen: Arc::default(),
            waiting: Box::new(|| false),
            starts: None,
            keys: Box::new(|_| None),
            bound_by_keys: Box::new(|| false),
            events: Observer::new(|_| {}),
            conditions: Conditions::new("work".into()),
            history: Arc::default(),
            handover: Arc::default(),
            start: Since::now(),
        };
        Self { fleet, monitor: FleetMonitor::new(monitor, member, Box::new(|_| {}), None), consumer }
    }

    /// It leads from now on, and neither its signals can be read nor does its policy answer.
    fn leads_in_vain(&mut self) {
        let mut lead = Lead {
            term: 1,
            observer: ObservationBuilder::new(LOOK),
            clock: Clock::default(),
            unread: FailureRow::new(Part::Signals),
            undecided: FailureRow::new(Part::Policy),
            began: Since::now(),
            before: Watched::default(),
            first: None,
            arrivals: 0,
            unknown: None,
        };
        for _ in 0..5 {
            lead.unread.count(&self.monitor.monitor, Some("no answer".to_owned()));
            lead.undecided.count(&self.monitor.monitor, Some("trapped".to_owned()));
        }
        self.monitor.lead = Some(lead);
    }

    /// What is told, but for that the bucket is away.
    fn told(&self) -> Vec<Part> {
        let all = self.monitor.monitor.conditions.all().into_iter().map(|(part, _)| part);
        all.filter(|part| *part != Part::Fleet).collect()
    }
}

#[test]
fn the_more_hosts_there_are_the_more_seldom_each_looks_at_its_consumer() {
    let seconds = [0, 1, 5, 20, 50, 1_000, u32::MAX].map(|hosts| look_every(hosts, true).as_secs());
    assert_eq!(seconds, [30, 30, 30, 120, 300, 300, 300]);
    assert_eq!(look_every(u32::MAX, false), LOOK);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_follows_tells_what_is_wrong_with_the_consumer_from_one_look_to_the_next() {
    let mut trial = Trial::new(&[]);
    *trial.consumer.lock() = ConsumerFlow::Held("paused".to_owned());
    trial.monitor.look().await;
    assert_eq!(trial.told(), []);
    sleep(LOOK).await;
    trial.monitor.look().await;
    assert_eq!(trial.monitor.monitor.conditions.all(), [(Part::Consumer, "paused".to_owned())]);
    *trial.consumer.lock() = ConsumerFlow::Free;
    trial.monitor.look().await;
    assert_eq!(trial.told(), [Part::Consumer]);
    sleep(LOOK).await;
    trial.monitor.look().await;
    assert_eq!(trial.told(), []);
}

#[tokio::test(start_paused = true)]
async fn a_host_runs_no_more_workers_than_its_own_settings_let_it_whatever_the_plan_says() {
    let shares = [("a".to_owned(), 1_000_000)].into();
    let mut trial = Trial::with(Arc::new(OnlyPlan(Some(Plan { desired: 1_000_000, shares, ..Plan::default() }))), &[]);
    let fleet = trial.fleet.clone();
    let is_planned = async {
        while fleet.seen("work").plan.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = fleet.run() => panic!("it runs for ever"),
        () = is_planned => {}
    }
    trial.monitor.follow(false);
    assert_eq!(trial.monitor.monitor.desired.get(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_leads_no_more_tells_no_more_what_it_told_as_the_leader() {
    let mut trial = Trial::new(&[]);
    trial.leads_in_vain();
    assert_eq!(trial.told(), [Part::Policy, Part::Signals]);
    trial.monitor.monitor.history.saw(Observation { pending: 90, ..Observation::default() });
    let fleet = trial.fleet.clone();
    tokio::select! {
        () = fleet.run() => panic!("it runs for ever"),
        () = trial.monitor.tick(false) => {}
    }
    assert!(trial.monitor.lead.is_none());
    assert_eq!(trial.told(), []);
    assert_eq!(trial.monitor.monitor.history.scaling().problem, None);
    assert_eq!(trial.monitor.monitor.history.seen(), None, "how much waits is the leader's to say");
}

#[test]
fn a_server_that_is_away_is_no_fault_of_the_signals() {
    let trial = Trial::new(&[]);
    let (monitor, mut row) = (&trial.monitor.monitor, FailureRow::new(Part::Signals));
    for _ in 0..5 {
        row.count_sample(monitor, &Err(ServerAway.into()));
    }
    assert_eq!(trial.told(), []);
    assert_eq!(monitor.history.scaling().problem.as_deref(), Some("the server is away"));
    for _ in 0..5 {
        row.count_sample(monitor, &Err(anyhow::anyhow!("no answer")));
    }
    assert_eq!(trial.told(), [Part::Signals]);
}

#[tokio::test(start_paused = true)]
async fn without_a_policy_it_is_told_how_many_workers_there_are_until_there_is_one() {
    let mut trial = Trial::new(&[true]);
    assert!(!trial.monitor.monitor.adopt(4).await);
    let told = trial.monitor.monitor.conditions.all();
    let [(Part::Policy, problem)] = &told[..] else { panic!("not told: {told:?}") };
    assert!(problem.contains("it refuses its settings: no good"), "{problem}");
    assert!(problem.ends_with("until then the number of workers stays as it is: 4"), "{problem}");
}

#[test]
fn what_waits_is_told_also_while_the_consumer_gives_nothing() {
    let trial = Trial::new(&[]);
    let monitor = &trial.monitor.monitor;
    let (mut clock, mut observer) = (Clock::default(), ObservationBuilder::new(LOOK));
    let mut observe = |flow: ConsumerFlow, pending| {
        monitor.consumer.flows(flow);
        let sample = Sample { pending, ..Sample::default() };
        let seen = monitor.observe(sample, (Work::default(), 0), (&mut clock, &mut observer), Duration::ZERO);
        (seen.is_ok(), monitor.history.seen().map(|seen| seen.pending))
    };
    assert_eq!(observe(ConsumerFlow::Free, 1), (true, Some(1)));
    assert_eq!(observe(ConsumerFlow::Held("paused".to_owned()), 60), (false, Some(60)));
    assert_eq!(observe(ConsumerFlow::Refused("no".to_owned()), 61), (false, Some(61)));
}

#[tokio::test(start_paused = true)]
async fn a_generation_of_the_policy_that_is_refused_changes_nothing_and_one_that_is_used_begins_anew() {
    let mut trial = Trial::new(&[false, true, false]);
    assert!(trial.monitor.monitor.adopt(0).await);
    trial.leads_in_vain();
    // It is refused, and the one before goes on: it is that one whose next answer ends what was told of it.
    trial.monitor.newer().await;
    assert_eq!(trial.told(), [Part::Policy, Part::Signals]);
    let answers = |trial: &mut Trial| {
        let FleetMonitor { monitor, lead, .. } = &mut trial.monitor;
        lead.as_mut().unwrap().undecided.count(monitor, None);
    };
    answers(&mut trial);
    assert_eq!(trial.told(), [Part::Signals]);
    trial.leads_in_vain();
    trial.monitor.newer().await;
    assert_eq!(trial.told(), [Part::Signals]);
}

/// It may come while the policy is asked for what was seen before it.
#[test]
fn the_worker_that_a_message_starts_before_a_decision_is_known_to_it_and_told_before_what_it_changes() {
    let mut trial = Trial::new(&[]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = told.clone();
    trial.monitor.monitor.events = Observer::new(move |event| {
        if let Event::Scaled { from, to, .. } = event {
            tells.lock().push((from, to));
        }
    });
    let monitor = &trial.monitor.monitor;
    let act = |desired| {
        let decision = Decision { desired, reason: "asked before".to_owned(), state: Vec::new() };
        let Change { from, to, .. } = monitor.act(&decision, &Observation { max: 4, ..Observation::default() }, false);
        (from, to)
    };
    assert_eq!(act(0), (0, 0));
    assert!(monitor.desired.wake());
    assert!(!monitor.desired.wake(), "there is one");
    assert_eq!(act(0), (0, 1));
    assert_eq!(monitor.history.scaling().last.back().unwrap().reason, "a message arrived; asked before");
    assert_eq!(act(3), (1, 3));
    assert_eq!(*told.lock(), [(0, 1), (1, 3)]);
    tell_woken(&monitor.desired, &monitor.events, &monitor.workload);
    assert_eq!(act(0), (3, 0));
    assert_eq!(*told.lock(), [(0, 1), (1, 3), (3, 0)]);
}
