//! Writes down what the host tells and what the load sends, for the summary, the progress bar and the charts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::timeline::Timeline;
use tidegate_runtime::duration::millis;
use tidegate_runtime::events::{Event, Observer};

/// The desired number of workers changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DesiredChange {
    /// Milliseconds since the first request.
    pub at_ms: u64,
    /// Workers wanted before.
    pub from: u32,
    /// Workers wanted from then on.
    pub to: u32,
    /// Why, in the policy's words or the host's.
    pub reason: String,
}

/// Everything that was written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Arrivals and workers.
    pub timeline: Timeline,
    /// In order.
    pub scalings: Vec<DesiredChange>,
    /// Deliveries that each worker acknowledged; `None` while it runs.
    pub workers: BTreeMap<u64, Option<u64>>,
    /// Where in the stream the messages were that became dead letters.
    pub dead: BTreeSet<u64>,
}

/// What the demo waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DemoState {
    /// Whether the workload fetches, or could.
    pub ready: bool,
    /// Workers that run.
    pub running: u32,
    /// How often the desired number has changed.
    pub scalings: u64,
}

/// Shared by the host's observer and the load.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    start: Arc<OnceLock<Instant>>,
    record: Arc<Mutex<Record>>,
    state: watch::Sender<DemoState>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { start: Arc::default(), record: Arc::default(), state: watch::Sender::new(DemoState::default()) }
    }
}

impl Recorder {
    /// Time counts from the first call; what happens before is at zero.
    pub(super) fn start(&self) {
        self.start.get_or_init(Instant::now);
    }

    /// A request was sent.
    pub(super) fn arrived(&self) {
        let at = self.elapsed();
        self.with(|record| record.timeline.arrived(at));
    }

    /// Whether the message at this position became a dead letter.
    pub(super) fn is_dead(&self, stream_sequence: u64) -> bool {
        self.with(|record| record.dead.contains(&stream_sequence))
    }

    /// Takes down what a host tells, and logs it.
    pub(super) fn observer(&self) -> Observer {
        let recorder = self.clone();
        Observer::new(move |event| recorder.observe(event))
    }

    /// What the demo waits for, and its changes.
    pub(super) fn state(&self) -> watch::Receiver<DemoState> {
        self.state.subscribe()
    }

    /// All that was written down until now. The time line ends a little after the last event, so that it is seen.
    pub(super) fn finish(&self) -> Record {
        let mut record = self.with(|record| record.clone());
        let length = record.timeline.length();
        record.timeline.end(length.saturating_add(length / 32));
        record
    }

    fn observe(&self, event: Event) {
        let at = self.elapsed();
        match event {
            Event::Ready { .. } => {
                self.state.send_modify(|state| state.ready = true);
            }
            Event::Scaled { from, to, reason, .. } => {
                tracing::info!("scaling {from} -> {to} ({reason})");
                self.with(|record| record.scalings.push(DesiredChange { at_ms: millis(at), from, to, reason }));
                self.state.send_modify(|state| state.scalings = state.scalings.saturating_add(1));
            }
            Event::WorkerStarted { worker, .. } => {
                tracing::info!("worker {worker} started");
                self.worker(at, worker, None);
            }
            Event::WorkerEnded { worker, handled, .. } => {
                tracing::info!("worker {worker} stopped: processed {handled} messages");
                self.worker(at, worker, Some(handled));
            }
            // The host tells the reason.
            Event::Failed { stream_sequence, dead: true, .. } => {
                self.with(|record| record.dead.insert(stream_sequence));
            }
            Event::Failed { dead: false, .. }
            | Event::Listening { .. }
            | Event::RolloutBegan { .. }
            | Event::RolledBack { .. } => {}
            Event::Swapped { plugin, generation, .. } => tracing::info!("plugin {plugin}: generation {generation}"),
        }
    }

    fn worker(&self, at: Duration, worker: u64, handled: Option<u64>) {
        let running = self.with(|record| {
            record.workers.insert(worker, handled);
            let running = record.workers.values().filter(|handled| handled.is_none()).count();
            let running = u32::try_from(running).unwrap_or(u32::MAX);
            record.timeline.workers(at, running);
            running
        });
        self.state.send_modify(|state| state.running = running);
    }

    fn elapsed(&self) -> Duration {
        self.start.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    fn with<T>(&self, f: impl FnOnce(&mut Record) -> T) -> T {
        f(&mut self.record.lock())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_record_knows_what_each_worker_handled_and_how_many_ran_at_once() {
        let recorder = Recorder::default();
        let observer = recorder.observer();
        let workload: Arc<str> = "demo".into();
        observer.tell(Event::Ready { workload: Arc::clone(&workload) });
        observer.tell(Event::Scaled { workload: Arc::clone(&workload), from: 0, to: 2, reason: "so".to_owned() });
        observer.tell(Event::WorkerStarted { workload: Arc::clone(&workload), worker: 1 });
        observer.tell(Event::WorkerStarted { workload: Arc::clone(&workload), worker: 2 });
        observer.tell(Event::WorkerEnded { workload: Arc::clone(&workload), worker: 1, handled: 7 });
        observer.tell(Event::Failed { workload: Arc::clone(&workload), stream_sequence: 3, dead: false });
        observer.tell(Event::Failed { workload, stream_sequence: 4, dead: true });
        assert_eq!(*recorder.state().borrow(), DemoState { ready: true, running: 1, scalings: 1 });
        assert_eq!([3, 4].map(|sequence| recorder.is_dead(sequence)), [false, true]);
        let record = recorder.finish();
        assert_eq!(record.workers, BTreeMap::from([(1, Some(7)), (2, None)]));
        assert_eq!(record.timeline.peak_workers(), 2);
        assert_eq!(record.dead, BTreeSet::from([4]));
        assert_eq!(record.scalings, [DesiredChange { at_ms: 0, from: 0, to: 2, reason: "so".to_owned() }]);
    }
}
