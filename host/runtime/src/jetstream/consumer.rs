use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use super::binding::WorkloadBinding;
use super::bucket::Histories;
use super::consumer_watch::{Follow, FoundAtSetup, OwnPlaces};
use super::denied::unless_denied;
use super::guest_requests::GuestRequests;
use super::header_watch::HeaderWatch;
use super::in_use::InUse;
use super::key_value::Buckets;
use super::parked_pull::ParkedPull;
use super::paused::{Moment, Paused};
use super::publisher::Publisher;
use super::pull::Use;
use super::setup::WorkloadSetup;
use super::setup_error::SetupError;
use super::signals::Signals;
use super::{Client, Puller};
use crate::conditions::Conditions;
use crate::config::{DeadLetters, SignalSource, Workload};
use crate::delivery::consumer_settings::Effective;
use crate::delivery::counters::Traffic;
use crate::delivery::order::Unsettled;
use crate::permissions::Denial;
use crate::telemetry::{Telemetry, WorkloadSpans};

/// How long a pull on the headers consumer waits at the server.
const WATCHED_FOR: Duration = Duration::from_secs(1);

/// A workload's consumer, checked and ready to be pulled from.
#[derive(Debug, Clone)]
pub struct BoundConsumer {
    pub(super) binding: Arc<WorkloadBinding>,
    consumer: String,
    expires: Duration,
    effective: Arc<Effective>,
    pub(super) found: FoundAtSetup,
    watch_consumer: Option<(String, Arc<Effective>)>,
    /// Of the buckets that are granted.
    histories: Histories,
    buckets: Arc<OnceLock<Arc<Buckets>>>,
    /// From the time when it is set up, for it may wait for its plugin before it runs.
    _in_use: Arc<InUse>,
}

impl BoundConsumer {
    /// Finds or makes the stream and the consumer of a workload and the stream of dead letters. `journal` is the stream
    /// of the journal, if there is one in the workload's account.
    ///
    /// # Errors
    /// [`SetupError`], each case with what to do.
    pub async fn new(
        client: &Client,
        workload: &Workload,
        (dead_letters, journal): (&DeadLetters, Option<&str>),
        host: &str,
    ) -> Result<Self, SetupError> {
        Self::set_up(client, workload, (dead_letters, journal), host, Moment::Start).await
    }

    /// Finds or makes the same again for a workload that works. A consumer that is there is left as it is, paused or
    /// not, and one that is made is paused as the one before was.
    ///
    /// # Errors
    /// As [`BoundConsumer::new`].
    pub(crate) async fn mend(
        client: &Client,
        workload: &Workload,
        streams: (&DeadLetters, Option<&str>),
        host: &str,
    ) -> Result<(), SetupError> {
        Self::set_up(client, workload, streams, host, Moment::Mending).await.map(drop)
    }

    async fn set_up(
        client: &Client,
        workload: &Workload,
        (dead_letters, journal): (&DeadLetters, Option<&str>),
        host: &str,
        moment: Moment,
    ) -> Result<Self, SetupError> {
        let letters = &dead_letters.stream;
        let setup = WorkloadSetup { client, workload, queue: &workload.queue, letters, journal };
        let concerns = |denial: &Denial| setup.concerns(denial, &dead_letters.stream);
        // Boxed: the future is large, and runs once.
        let bound = Box::pin(Self::bind(&setup, dead_letters, host, moment));
        client.denied.unless(concerns, bound).await.unwrap_or_else(|denial| {
            let allow = client.denied.grant(&denial);
            let Denial { verb, subject } = denial;
            Err(SetupError::Denied { workload: workload.name.clone(), verb, subject, allow })
        })
    }

    async fn bind(
        setup: &WorkloadSetup<'_>,
        dead_letters: &DeadLetters,
        host: &str,
        moment: Moment,
    ) -> Result<Self, SetupError> {
        let WorkloadSetup { client, workload, .. } = *setup;
        let stream = setup.stream().await?;
        let (mut state, mut verdict) = setup.consumer(&stream, moment).await?;
        let paused = if moment == Moment::Start { setup.pause(state.paused).await? } else { None };
        if let Some(Paused { paused, until }) = paused {
            state.paused = paused;
            state.config.pause_until = until.unwrap_or_default();
            client.floors.saw(&workload.queue.stream, &workload.queue.consumer, &state, &stream);
            verdict = setup.judged(&state, &stream);
        }
        let watch_consumer = match workload.scale.source {
            SignalSource::Info => None,
            SignalSource::Headers => {
                let settings = setup.watch_consumer(&stream).await?.settings;
                Some((workload.queue.watch_consumer.clone(), Effective::new(&settings)))
            }
        };
        setup.dead_letters(dead_letters).await?;
        let histories = setup.buckets().await?;
        let watch = watch_consumer.as_ref().map(|(consumer, _)| consumer.as_str());
        let consumers: Vec<&str> = watch.into_iter().chain([workload.queue.consumer.as_str()]).collect();
        client.probe_consumers(&workload.queue.stream, &consumers).await;
        let own = OwnPlaces::of(setup.reserved());
        let binding = WorkloadBinding {
            client: client.clone(),
            publisher: Publisher::new(client.clone()),
            workload: workload.name.as_str().into(),
            stream: workload.queue.stream.clone(),
            stream_made: stream.created.clone(),
            consumer: workload.queue.consumer.clone(),
            is_partition: workload.queue.partition.is_some(),
            dead_letters: dead_letters.stream.clone(),
            letters_seen: Mutex::default(),
            host: host.to_owned(),
            grants: workload.grants.clone(),
            traffic: Arc::default(),
            spans: OnceLock::new(),
            parked: ParkedPull::default(),
            gone: watch::Sender::new(false),
        };
        let (effective, mut in_use) = (Effective::new(&verdict.settings), InUse::default());
        let watched = watch_consumer.iter().map(|(consumer, effective)| (consumer, effective));
        for (consumer, effective) in watched.chain([(&workload.queue.consumer, &effective)]) {
            in_use.add(client, &workload.queue.stream, consumer, effective);
        }
        Ok(Self {
            binding: Arc::new(binding),
            consumer: workload.queue.consumer.clone(),
            expires: workload.pull.expires,
            effective,
            found: FoundAtSetup { workload: workload.clone(), own, consumer: state, stream, verdict },
            watch_consumer,
            histories,
            buckets: Arc::default(),
            _in_use: Arc::new(in_use),
        })
    }

    /// The connection that it is worked on by.
    pub(crate) fn client(&self) -> &Client {
        &self.binding.client
    }

    /// Its deliveries are traced from now on.
    pub(crate) fn trace(&self, telemetry: &Telemetry) {
        let WorkloadBinding { workload, stream, consumer, spans, .. } = &*self.binding;
        spans.get_or_init(|| WorkloadSpans::new(telemetry, workload, stream, consumer));
    }

    /// The consumer's settings, as the server has them.
    pub(crate) fn consumer(&self) -> Arc<Effective> {
        self.effective.clone()
    }

    /// The key-value buckets that its handler may use, if it may use any.
    pub(crate) fn buckets(&self, conditions: &Arc<Conditions>) -> Option<Arc<Buckets>> {
        let (client, granted) = (&self.binding.client, &self.histories);
        let make = || Buckets::new(client.clone(), granted.clone(), conditions.clone());
        (!granted.is_empty()).then(|| self.buckets.get_or_init(make).clone())
    }

    /// What sends its handler's requests, if it may send any.
    pub(crate) fn requests(&self) -> Option<Arc<GuestRequests>> {
        let granted = !self.binding.grants.request.is_empty();
        granted.then(|| GuestRequests::new(self.binding.client.clone()))
    }

    /// Counts what this workload says to the server.
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        self.binding.traffic.clone()
    }

    /// Bytes of the headers that the host adds to each publication.
    pub(crate) fn own_headers(&self) -> usize {
        self.binding.own_headers()
    }

    /// The largest payload with headers that the server takes, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.binding.client.max_payload()
    }

    /// What the consumer says of deliveries that are not settled, of all hosts.
    ///
    /// # Errors
    /// If the server does not answer, or the consumer is gone.
    pub(crate) async fn unsettled(&self) -> anyhow::Result<Unsettled> {
        let WorkloadBinding { client, stream, .. } = &*self.binding;
        let asked = client.api_subject(&format!("CONSUMER.INFO.{stream}.{}", self.consumer));
        let state = unless_denied(client, &asked, client.consumer_state(stream, &self.consumer)).await;
        let state = state.map_err(anyhow::Error::msg)??;
        let state = state.ok_or_else(|| anyhow::anyhow!("there is no consumer {}", self.consumer))?;
        let (count, redelivered) = (state.num_ack_pending, state.num_redelivered);
        Ok(Unsettled { count, redelivered, last: state.delivered.consumer_seq })
    }

    /// Whether the consumer or its stream is gone, as the signals saw it last. Told at each look while it is.
    pub(crate) fn gone(&self) -> watch::Receiver<bool> {
        self.binding.gone.subscribe()
    }

    /// Starts to pull.
    ///
    /// # Errors
    /// If the connection is closed for good.
    pub(crate) async fn puller(&self) -> anyhow::Result<Puller> {
        self.binding.client.denied.tell();
        Ok(Puller::new(self.binding.clone(), &self.consumer, self.expires, self.effective.clone(), Use::Handle))
    }

    /// The signals that the monitor reads, and for the `headers` source the watch that has to run beside it.
    ///
    /// # Errors
    /// If the connection is closed for good.
    pub async fn signals(&self) -> anyhow::Result<(Signals, Option<HeaderWatch>)> {
        let watch = match &self.watch_consumer {
            None => None,
            Some((consumer, effective)) => {
                let puller = Puller::new(self.binding.clone(), consumer, WATCHED_FOR, effective.clone(), Use::Count);
                Some(HeaderWatch::new(puller))
            }
        };
        let arrivals = watch.as_ref().map(HeaderWatch::arrivals);
        let follow = Follow::new(self.found.clone(), self.effective.clone());
        Ok((Signals::new(self.binding.clone(), self.consumer.clone(), follow, arrivals), watch))
    }
}
