//! The queue of spans, and the task that sends them to a collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::client::CollectorClient;
use crate::config::TelemetryConfig;

/// Spans that wait for the collector. More are dropped: what is told of messages must not hold them up.
const QUEUE: usize = 8_192;
/// Spans of one request.
const BATCH: usize = 512;
/// How long a span waits for others.
const WAIT: Duration = Duration::from_secs(1);
/// How long the last spans may take when the host stops.
const LAST: Duration = Duration::from_secs(3);

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp: {0}")]
pub struct TelemetryError(String);

/// What became of spans.
#[derive(Debug, Default)]
struct SpanCounts {
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// A span that waits for the collector.
#[derive(Debug)]
pub(super) struct WaitingSpan {
    pub(super) span: SpanData,
    _place: Place,
}

/// A place in the queue, which its workload has until this is dropped.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Where the spans of one workload are put.
#[derive(Debug, Clone)]
pub(super) struct SpanQueue {
    sender: mpsc::Sender<WaitingSpan>,
    counts: Arc<SpanCounts>,
    /// Places that the workload has.
    taken: Arc<AtomicUsize>,
}

impl SpanQueue {
    /// Adds a span. It never waits: a span for which there is no room is dropped and counted. A workload has at most as
    /// many places as are free, so that none can take all of them.
    pub(super) fn push(&self, span: SpanData) {
        let taken = self.taken.fetch_add(1, Relaxed);
        let waiting = WaitingSpan { span, _place: Place(self.taken.clone()) };
        if taken < self.sender.capacity() && self.sender.try_send(waiting).is_ok() {
            return;
        }
        let dropped = self.counts.dropped.fetch_add(1, Relaxed) + 1;
        // Not logged each time: there are as many as messages.
        if dropped.is_power_of_two() {
            tracing::warn!(
                dropped,
                "spans are dropped: the collector does not take as many as are made; lower telemetry.sample"
            );
        }
    }

    /// A queue that nobody empties but the test.
    #[cfg(test)]
    pub(super) fn of_test(places: usize) -> (Self, mpsc::Receiver<WaitingSpan>) {
        let (sender, spans) = mpsc::channel(places);
        (Self { sender, counts: Arc::default(), taken: Arc::default() }, spans)
    }

    #[cfg(test)]
    pub(super) fn of_another_workload(&self) -> Self {
        Self { taken: Arc::default(), ..self.clone() }
    }
}

/// The spans of a host, on their way.
#[derive(Debug)]
pub struct Telemetry {
    sender: mpsc::Sender<WaitingSpan>,
    counts: Arc<SpanCounts>,
    pub(super) sample: f64,
    stop: Mutex<Option<Stop>>,
}

type Stop = (oneshot::Sender<()>, oneshot::Receiver<()>);

impl Telemetry {
    /// Starts the task that sends spans for a host of this name. Reads files, so it blocks for a moment.
    ///
    /// # Errors
    /// [`TelemetryError`] if the authorities cannot be read. That no collector answers is none.
    pub(crate) fn start(config: &TelemetryConfig, host: &str) -> Result<Self, TelemetryError> {
        let exporter = exporter(config, host).map_err(TelemetryError)?;
        let (sender, spans) = mpsc::channel(QUEUE);
        let counts = Arc::<SpanCounts>::default();
        let ((stop, stops), (ends, ended)) = (oneshot::channel(), oneshot::channel());
        let to = config.otlp.clone();
        let task = Task { exporter, spans, batch: Vec::new(), counts: counts.clone(), to, problem: None };
        tokio::spawn(async move {
            task.run(stops).await;
            // Nobody may wait for the end.
            let _ = ends.send(());
        });
        Ok(Self { sender, counts, sample: config.sample, stop: Mutex::new(Some((stop, ended))) })
    }

    /// Where a workload puts its spans.
    pub(super) fn queue(&self) -> SpanQueue {
        SpanQueue { sender: self.sender.clone(), counts: self.counts.clone(), taken: Arc::default() }
    }

    /// Spans that the collector took, and those that were lost: for want of room in the queue, and for a collector that
    /// did not take them. All only grow.
    pub(crate) fn spans(&self) -> (u64, [(&'static str, u64); 2]) {
        let SpanCounts { exported, dropped, failed } = &*self.counts;
        (exported.load(Relaxed), [("queue", dropped.load(Relaxed)), ("collector", failed.load(Relaxed))])
    }

    /// Sends what waits, and ends.
    pub(crate) async fn close(&self) {
        let Some((stop, ended)) = self.stop.lock().take() else { return };
        drop(stop);
        if timeout(LAST, ended).await.is_err() {
            tracing::warn!("the collector does not take the last spans");
        }
    }
}

fn exporter(config: &TelemetryConfig, host: &str) -> Result<impl SpanExporter + use<>, String> {
    let client = CollectorClient::new(config.ca.as_deref())?;
    let made = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(config.traces())
        .build();
    let mut exporter = made.map_err(|error| error.to_string())?;
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", host.to_owned()),
    ];
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the say.
    let named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
    let resource = Resource::builder().with_attributes(own);
    let resource = if named { resource } else { resource.with_service_name("tidegate") };
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

/// Sends spans.
struct Task<E> {
    exporter: E,
    spans: mpsc::Receiver<WaitingSpan>,
    batch: Vec<WaitingSpan>,
    counts: Arc<SpanCounts>,
    to: String,
    /// Why the collector does not take them.
    problem: Option<String>,
}

impl<E: SpanExporter> Task<E> {
    async fn run(mut self, mut stops: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                there = self.fill() => if !there { return },
                _ = &mut stops => break,
            }
            self.send().await;
        }
        // What waits is sent; then there is no more.
        self.spans.close();
        while self.fill().await {
            self.send().await;
        }
    }

    /// Waits until a batch is full, or its first span has waited. `false` if there are no more. Cancel-safe.
    async fn fill(&mut self) -> bool {
        if self.batch.is_empty() && self.spans.recv_many(&mut self.batch, BATCH).await == 0 {
            return false;
        }
        let until = Instant::now() + WAIT;
        while let room @ 1.. = BATCH.saturating_sub(self.batch.len()) {
            if !matches!(timeout_at(until, self.spans.recv_many(&mut self.batch, room)).await, Ok(1..)) {
                break;
            }
        }
        true
    }

    async fn send(&mut self) {
        let batch: Vec<SpanData> = self.batch.drain(..).map(|waiting| waiting.span).collect();
        let count = batch.len() as u64;
        let problem = match self.exporter.export(batch).await {
            Ok(()) => {
                self.counts.exported.fetch_add(count, Relaxed);
                if self.problem.take().is_some() {
                    tracing::info!(to = self.to, "spans are taken again");
                }
                return;
            }
            Err(error) => error.to_string(),
        };
        self.counts.failed.fetch_add(count, Relaxed);
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!(
                to = self.to,
                error = problem,
                "spans are not taken, and are lost: messages go on without them"
            );
        }
        self.problem = Some(problem);
    }
}
