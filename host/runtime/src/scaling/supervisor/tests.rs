//! Workers that end by themselves, with models of JetStream and of the component host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::AtomicUsize;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::*;
use crate::conditions::{Conditions, Part};
use crate::config::{Batching, Grants, Isolation, Retry};
use crate::contract::Author;
use crate::contract::{Delivery, Outcome, Response};
use crate::delivery::ResponseBounds;
use crate::delivery::attempts::Attempts;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::inbox::Inbox;
use crate::delivery::rate_limit::RateLimit;
use crate::delivery::settle::Rules;
use crate::delivery::test_delivery::TestDelivery;
use crate::events::Observer;
use crate::ports::Handler;

const MINUTE: Duration = Duration::from_secs(60);

struct IdleHandler(Author);

impl Handler for IdleHandler {
    async fn handle(&mut self, _: &Delivery) -> Outcome {
        Ok(Ok(Response::default()))
    }

    fn author(&self) -> &Author {
        &self.0
    }
}

/// What happens when an instance is made, for the first ones; those after work.
#[derive(Debug, Clone, Copy, PartialEq)]
enum InstanceStart {
    Works,
    Fails,
    Panics,
    /// There is no room for it beside the one before.
    Cramped,
}

#[derive(Clone)]
struct TestHandlers {
    starts: Arc<[InstanceStart]>,
    tried: Arc<AtomicUsize>,
    prepared: Arc<AtomicUsize>,
    generation: watch::Receiver<u32>,
    /// How many instances there is room for; any number if there is none.
    room: Option<watch::Receiver<u32>>,
}

impl TestHandlers {
    fn make(&self) -> Result<IdleHandler, Fault> {
        match self.starts.get(self.tried.fetch_add(1, Relaxed)) {
            Some(InstanceStart::Fails) => Err(Fault::Start("no memory".into())),
            Some(InstanceStart::Panics) => panic!("a fault of the host"),
            Some(InstanceStart::Cramped) => Err(Fault::Room("not beside the other".into())),
            Some(InstanceStart::Works) | None => {
                Ok(IdleHandler(Author { plugin: "model".into(), generation: "1".into() }))
            }
        }
    }
}

impl Handlers for TestHandlers {
    type Instance = IdleHandler;

    async fn instantiate(&mut self, _: u64) -> Result<IdleHandler, Fault> {
        self.generation.borrow_and_update();
        self.make()
    }

    fn prepare(&mut self) -> impl Future<Output = Result<(), Fault>> + Send + use<> {
        self.generation.borrow_and_update();
        self.prepared.fetch_add(1, Relaxed);
        let this = self.clone();
        async move { this.make().map(drop) }
    }

    fn most(&mut self) -> u32 {
        self.room.as_mut().map_or(u32::MAX, |room| *room.borrow_and_update())
    }

    fn why_no_more(&self) -> String {
        "the machine is small".into()
    }

    fn room_changed(&self, _: bool) -> impl Future<Output = ()> + Send + use<> {
        let room = self.room.clone();
        async move {
            match room {
                Some(mut room) => room.changed().await.unwrap(),
                None => std::future::pending().await,
            }
        }
    }

    fn is_newer(&mut self) -> bool {
        self.generation.has_changed().unwrap()
    }

    async fn newer(&mut self) {
        self.generation.clone().changed().await.unwrap();
    }
}

fn shared(observer: Observer, conditions: &Arc<Conditions>) -> WorkerShared<TestDelivery> {
    WorkerShared {
        workload: "work".into(),
        conditions: conditions.clone(),
        inbox: Arc::new(Inbox::<TestDelivery>::new(10, usize::MAX)),
        rules: Rules::new(
            Retry { max_attempts: 3, backoff: vec![] },
            16,
            Effective::with_ack_wait(Duration::from_secs(30)),
            ResponseBounds { max_payload: 1024, own_headers: 0, publications: 10, grants: Grants::default() },
            (Arc::default(), conditions),
        ),
        isolation: Isolation::Worker,
        batching: Batching { size: 1, max_bytes: usize::MAX, wait: Duration::ZERO, wanted: false },
        concurrency: 1,
        respawns: Arc::new(RateLimit::new(100)),
        observer,
    }
}

/// A supervisor that runs.
struct Running {
    conditions: Arc<Conditions>,
    shared: Arc<WorkerShared<TestDelivery>>,
    workers: Arc<Workers>,
    desired: Arc<Desired>,
    /// How often an instance was made ahead.
    prepared: Arc<AtomicUsize>,
    _swap: watch::Sender<u32>,
    stop: oneshot::Sender<()>,
    run: tokio::task::JoinHandle<()>,
}

impl Running {
    /// It is to have so many workers, the first of which start so.
    fn new(starts: &[InstanceStart], desired: u32) -> Self {
        let conditions = Conditions::new("work".into());
        let shared = Arc::new(shared(Observer::new(|_| {}), &conditions));
        let (workers, desired) = (Arc::new(Workers::default()), Arc::new(Desired::new(desired)));
        let (swap, generation) = watch::channel(1);
        let (starts, prepared) = (starts.into(), Arc::<AtomicUsize>::default());
        let handlers =
            TestHandlers { starts, tried: Arc::default(), prepared: prepared.clone(), generation, room: None };
        let grace = Duration::from_secs(1);
        let supervisor = Supervisor::new(shared.clone(), handlers, desired.clone(), workers.clone(), grace);
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(supervisor.run(async {
            let _ = stopped.await;
        }));
        Self { conditions, shared, workers, desired, prepared, _swap: swap, stop, run }
    }

    /// Whether this is all that is wrong with the workers.
    fn tells(&self, part: &str) {
        let told = self.conditions.all();
        assert!(matches!(told.as_slice(), [(Part::Workers, text)] if text.contains(part)), "{told:?}");
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.run.await.unwrap();
    }
}

/// When each worker started and ended, from the start of a supervisor that shall have `desired` workers for a minute.
/// In the middle of it comes a new generation.
async fn a_minute(starts: &[InstanceStart], desired: u32) -> (Vec<(u64, Duration)>, Vec<(u64, Duration)>) {
    let (started, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let conditions = Conditions::new("work".into());
    let begin = Instant::now();
    let observer = {
        let (started, ended, conditions) = (started.clone(), ended.clone(), conditions.clone());
        Observer::new(move |event| match event {
            Event::WorkerStarted { worker, .. } => started.lock().push((worker, begin.elapsed())),
            Event::WorkerEnded { worker, .. } => {
                let by_itself = begin.elapsed() < MINUTE;
                let parts: Vec<Part> = conditions.all().into_iter().map(|(part, _)| part).collect();
                assert_eq!(parts == [Part::Workers], by_itself, "{parts:?}");
                ended.lock().push((worker, begin.elapsed()));
            }
            _ => {}
        })
    };
    let shared = shared(observer, &conditions);
    let (swap, generation) = watch::channel(1);
    let prepared = Arc::new(AtomicUsize::new(0));
    let starts = starts.into();
    let handlers = TestHandlers { starts, tried: Arc::default(), prepared: prepared.clone(), generation, room: None };
    let (workers, wanted) = (Arc::new(Workers::default()), Arc::new(Desired::new(desired)));
    let supervisor = Supervisor::new(Arc::new(shared), handlers, wanted, workers.clone(), Duration::from_secs(1));
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(supervisor.run(async {
        let _ = stopped.await;
    }));
    tokio::time::sleep(MINUTE / 2).await;
    swap.send_replace(2);
    tokio::time::sleep(MINUTE / 2).await;
    assert_eq!(workers.running(), desired);
    assert_eq!(conditions.all(), []);
    // At zero for each generation, once; elsewhere never.
    assert_eq!(prepared.load(Relaxed), if desired == 0 { 2 } else { 0 });
    let before_stop = ended.lock().clone();
    stop.send(()).unwrap();
    run.await.unwrap();
    assert_eq!(ended.lock().len(), started.lock().len());
    let started = started.lock().clone();
    (started, before_stop)
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_by_itself_is_replaced_each_time_after_a_longer_pause() {
    let (started, ended) = a_minute(&[InstanceStart::Fails; 4], 1).await;
    let started_ms: Vec<u128> = started.iter().map(|(_, at)| at.as_millis()).collect();
    let pauses: Vec<u128> = started_ms.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The timer's own step is a millisecond.
    for (pause, wanted) in pauses.iter().zip([100, 200, 400, 800]) {
        assert!((wanted..=wanted + 2).contains(pause), "{pauses:?}");
    }
    assert_eq!((started.len(), ended.len()), (5, 4));
}

#[test]
fn a_delivery_without_a_worker_is_told_once_and_not_as_long_as_it_waits() {
    let inbox = Inbox::<TestDelivery>::new(10, usize::MAX);
    inbox.set_workers(0);
    inbox.put(TestDelivery::default(), Instant::now());
    assert!(inbox.arrived_without_worker().now_or_never().is_some());
    inbox.set_workers(0);
    assert!(inbox.arrived_without_worker().now_or_never().is_none());
}

#[test]
fn what_is_delivered_again_before_it_was_tried_takes_the_place_of_the_one_before_and_uses_up_no_attempt() {
    let attempts = Arc::new(Attempts::default());
    let inbox = Inbox::<TestDelivery>::new(10, usize::MAX).remembering(attempts.clone());
    let delivery = |stream_sequence, attempt| Delivery { stream_sequence, attempt, ..Delivery::default() };
    for (sequence, attempt) in [(1, 1), (2, 1), (1, 2), (3, 2)] {
        inbox.put(TestDelivery::of(delivery(sequence, attempt)), Instant::now());
    }
    let all = std::iter::from_fn(|| inbox.try_take()).map(|waiting| waiting.held.delivery);
    let all: Vec<_> = all.map(|delivery| (delivery.stream_sequence, delivery.attempt)).collect();
    assert_eq!(all, [(1, 2), (2, 1), (3, 2)]);
    assert_eq!((attempts.used(&delivery(1, 2)), attempts.used(&delivery(3, 2))), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_is_replaced_and_the_others_stay() {
    let (started, ended) = a_minute(&[InstanceStart::Panics], 3).await;
    assert_eq!((started.len(), ended.len()), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_goes_on_with_what_it_has_where_a_newer_generation_does_not_start() {
    let (started, ended) = a_minute(&[InstanceStart::Works, InstanceStart::Fails], 1).await;
    assert_eq!((started.len(), ended.len()), (1, 0));
    let (started, ended) = a_minute(&[InstanceStart::Works, InstanceStart::Works], 1).await;
    assert_eq!((started.len(), ended.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn at_zero_one_instance_of_each_generation_is_made_ahead_and_no_worker_runs() {
    let (started, _) = a_minute(&[], 0).await;
    assert_eq!(started.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_cannot_be_made_ahead_is_told_and_tried_again_until_it_can() {
    // They are tried after 0, 0.1, 0.3 and 0.7 s.
    let running = Running::new(&[InstanceStart::Fails, InstanceStart::Panics, InstanceStart::Cramped], 0);
    for told in ["no memory", "panicked", "not beside the other"] {
        tokio::time::sleep(BACKOFF.0 / 2 * u32::try_from(1 << running.prepared.load(Relaxed)).unwrap()).await;
        running.tells(told);
    }
    tokio::time::sleep(MINUTE).await;
    let made = running.prepared.load(Relaxed);
    assert_eq!((made, running.workers.running(), running.conditions.all()), (4, 0, vec![]));
    assert!(!running.shared.inbox.is_suspended());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_does_not_wait_until_an_instance_is_tried_again_that_could_not_be_made_ahead() {
    // They are tried after 0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3 and 12.7 s; the one after 22.7 s would work.
    let running = Running::new(&[InstanceStart::Fails; 8], 0);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!((running.conditions.all().len(), running.workers.running()), (1, 0));
    running.shared.inbox.put(TestDelivery::default(), Instant::now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((running.conditions.all(), running.workers.running()), (vec![], 1));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_pause_before_a_replacement_has_an_end() {
    // Ten pauses that went on doubling would take 102 s; with an end at 10 s they take 43 s.
    let (started, _) = a_minute(&[InstanceStart::Fails; 10], 1).await;
    assert_eq!(started.len(), 11);
    assert!(started.last().unwrap().1 < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn workers_that_fail_at_the_same_time_count_as_one_failure() {
    // Each for itself, they would make the pause as long as it gets.
    let (started, ended) = a_minute(&[InstanceStart::Fails; 50], 50).await;
    assert_eq!((started.len(), ended.len()), (51 + 49, 50));
    assert!(started.last().unwrap().1 < Duration::from_millis(150), "{:?}", started.last());
}

#[tokio::test(start_paused = true)]
async fn where_no_worker_starts_it_is_told_and_the_inbox_gives_back_until_one_does() {
    // They are tried after 0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 12.7 and 22.7 s; the one after 32.7 s starts.
    let running = Running::new(&[InstanceStart::Fails; 9], 1);
    let seconds = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    seconds(5).await;
    running.tells("no memory");
    let Running { shared, workers, conditions, .. } = &running;
    assert!(!shared.inbox.is_suspended());
    seconds(10).await;
    assert!(shared.inbox.is_suspended());
    // Nobody asks for a worker any more, and one is tried nevertheless: nothing would be fetched otherwise.
    running.desired.set(0);
    seconds(10).await;
    assert!(shared.inbox.is_suspended() && !conditions.all().is_empty());
    seconds(10).await;
    assert!(!shared.inbox.is_suspended() && conditions.all().is_empty());
    assert_eq!((workers.running(), workers.alive().len()), (0, 0));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn where_two_instances_do_not_fit_at_once_the_one_before_makes_room() {
    let (started, ended) = a_minute(&[InstanceStart::Works, InstanceStart::Cramped, InstanceStart::Works], 1).await;
    assert_eq!((started.len(), ended.len()), (1, 0));
}

/// What `most` says can be less true a moment later: the part became smaller, or others are beyond theirs.
#[tokio::test(start_paused = true)]
async fn a_worker_that_finds_no_room_is_not_told_as_one_that_failed() {
    let running = Running::new(&[InstanceStart::Works, InstanceStart::Cramped], 2);
    tokio::time::sleep(BACKOFF.0 / 2).await;
    running.tells("no room for one more");
    tokio::time::sleep(BACKOFF.0).await;
    assert_eq!((running.workers.running(), running.conditions.all()), (2, vec![]));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ended_by_itself_is_told_no_more_when_fewer_are_wanted_by_the_time_it_would_be_replaced() {
    let running = Running::new(&[InstanceStart::Works, InstanceStart::Fails], 2);
    tokio::time::sleep(BACKOFF.0 / 2).await;
    running.tells("is replaced");
    running.desired.set(1);
    tokio::time::sleep(BACKOFF.0).await;
    assert_eq!((running.workers.running(), running.conditions.all()), (1, vec![]));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_grace_time_is_over_has_no_other_when_all_drain() {
    let shared = Arc::new(shared(Observer::new(|_| {}), &Conditions::new("work".into())));
    let (workers, desired) = (Arc::new(Workers::default()), Arc::new(Desired::new(1)));
    let (_swap, generation) = watch::channel(1);
    let (starts, tried, prepared) = ([].into(), Arc::default(), Arc::default());
    let handlers = TestHandlers { starts, tried, prepared, generation, room: None };
    let mut supervisor = Supervisor::new(shared, handlers, desired, workers, Duration::from_secs(1));
    let id = supervisor.start();
    let mode = supervisor.alive[&id].mode.clone();
    supervisor.drain(id);
    assert_eq!(*mode.borrow(), WorkerMode::Drain);
    mode.send_replace(WorkerMode::GiveBack);
    supervisor.drain(id);
    assert_eq!(*mode.borrow(), WorkerMode::GiveBack);
}

#[tokio::test(start_paused = true)]
async fn there_are_no_more_workers_than_there_is_room_for_and_that_is_told_as_long_as_it_is_so() {
    let conditions = Conditions::new("work".into());
    let shared = Arc::new(shared(Observer::new(|_| {}), &conditions));
    let (workers, desired) = (Arc::new(Workers::default()), Arc::new(Desired::new(5)));
    let (_swap, generation) = watch::channel(1);
    let (room, has_room) = watch::channel(2);
    let (starts, tried) = ([].into(), Arc::<AtomicUsize>::default());
    let handlers =
        TestHandlers { starts, tried: tried.clone(), prepared: Arc::default(), generation, room: Some(has_room) };
    let grace = Duration::from_secs(1);
    let supervisor = Supervisor::new(shared.clone(), handlers, desired, workers.clone(), grace);
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(supervisor.run(async {
        let _ = stopped.await;
    }));
    let a_second = || tokio::time::sleep(Duration::from_secs(1));
    a_second().await;
    assert_eq!((workers.running(), tried.load(Relaxed)), (2, 2));
    let told = conditions.all();
    assert!(matches!(told.as_slice(), [(Part::Workers, text)] if text.contains("room for 2 workers")), "{told:?}");
    room.send_replace(5);
    a_second().await;
    assert_eq!((workers.running(), conditions.all()), (5, vec![]));
    room.send_replace(1);
    a_second().await;
    assert_eq!((workers.running(), conditions.all().len()), (1, 1));
    stop.send(()).unwrap();
    run.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_for_any_worker_what_was_fetched_is_given_back_until_there_is() {
    let conditions = Conditions::new("work".into());
    let shared = Arc::new(shared(Observer::new(|_| {}), &conditions));
    let (workers, desired) = (Arc::new(Workers::default()), Arc::new(Desired::new(1)));
    let (_swap, generation) = watch::channel(1);
    let (room, has_room) = watch::channel(0);
    let handlers = TestHandlers {
        // Tried after 10, 10.1, 10.3 and 10.7 s.
        starts: vec![InstanceStart::Cramped; 4].into(),
        tried: Arc::default(),
        prepared: Arc::default(),
        generation,
        room: Some(has_room),
    };
    let grace = Duration::from_secs(1);
    let supervisor = Supervisor::new(shared.clone(), handlers, desired, workers.clone(), grace);
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(supervisor.run(async {
        let _ = stopped.await;
    }));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(shared.inbox.is_suspended() && conditions.all().len() == 1 && workers.running() == 0);
    room.send_replace(1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!shared.inbox.is_suspended());
    assert_eq!((workers.running(), conditions.all()), (1, vec![]));
    stop.send(()).unwrap();
    run.await.unwrap();
}
