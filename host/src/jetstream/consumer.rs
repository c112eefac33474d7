use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer;

use super::publisher::Publisher;
use super::pull::Use;
use super::setup::{Setup, SetupError};
use super::signals::{HeaderWatch, Signals};
use super::{Client, Lane, Puller};
use crate::config::{DeadLetters, Scale, Source, Workload};
use crate::permissions::Denial;
use crate::tally::Traffic;

/// A workload's consumer, checked and ready to be pulled from.
#[derive(Debug, Clone)]
pub struct Bound {
    pub(super) lane: Arc<Lane>,
    consumer: String,
    expires: Duration,
    ack_wait: Duration,
    filter: Vec<String>,
    max_ack_pending: i64,
    watch_consumer: Option<String>,
}

impl Bound {
    /// Finds or makes the stream and the consumer of a workload and the stream of dead letters.
    ///
    /// # Errors
    /// [`SetupError`], each case with what to do.
    pub async fn new(
        client: &Client,
        workload: &Workload,
        dead_letters: &DeadLetters,
        host: &str,
    ) -> Result<Self, SetupError> {
        let setup = Setup { client, workload, queue: &workload.queue };
        let concerns = |denial: &Denial| setup.concerns(denial, &dead_letters.stream);
        // Boxed: it is large, and needed once.
        let bound = Box::pin(Self::bind(&setup, dead_letters, host));
        client.denied.unless(concerns, bound).await.unwrap_or_else(|denial| {
            let allow = client.denied.grant(&denial);
            let Denial { verb, subject } = denial;
            Err(SetupError::Denied { workload: workload.name.clone(), verb, subject, allow })
        })
    }

    async fn bind(setup: &Setup<'_>, dead_letters: &DeadLetters, host: &str) -> Result<Self, SetupError> {
        let Setup { client, workload, .. } = *setup;
        let retention = setup.stream().await?;
        let config = setup.consumer().await?;
        let watch_consumer = match workload.scale.source {
            Source::Info => None,
            Source::Headers => Some(setup.watch_consumer(retention).await?),
        };
        setup.dead_letters(dead_letters).await?;
        setup.rehearse(&workload.queue.consumer).await;
        if let Some(consumer) = &watch_consumer {
            setup.rehearse(consumer).await;
        }
        let lane = Lane {
            client: client.clone(),
            publisher: Publisher::new(client.clone()),
            workload: workload.name.as_str().into(),
            stream: workload.queue.stream.clone(),
            consumer: workload.queue.consumer.clone(),
            host: host.to_owned(),
            grants: workload.grants.clone(),
            traffic: Arc::default(),
        };
        Ok(Self {
            lane: Arc::new(lane),
            consumer: workload.queue.consumer.clone(),
            expires: workload.pull.expires,
            ack_wait: config.backoff.iter().copied().min().unwrap_or(config.ack_wait),
            filter: filters(&config),
            max_ack_pending: config.max_ack_pending,
            watch_consumer,
        })
    }

    /// How long the server waits for a settlement.
    pub fn ack_wait(&self) -> Duration {
        self.ack_wait
    }

    /// The workload's scale, without workers that could never have a message: the server delivers no more than
    /// max_ack_pending at once.
    pub fn employable(&self, scale: &Scale) -> Scale {
        let most = match u32::try_from(self.max_ack_pending) {
            Ok(limit @ 1..) => scale.max.min(limit),
            _ => scale.max,
        };
        Scale { min: scale.min.min(most), max: most, ..scale.clone() }
    }

    /// What this workload says to the server.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.lane.traffic.clone()
    }

    /// Bytes of the headers that are added to a publication.
    pub fn own_headers(&self) -> usize {
        self.lane.own_headers()
    }

    /// The largest payload with headers that the server takes, in bytes.
    pub fn max_payload(&self) -> usize {
        self.lane.client.max_payload()
    }

    /// Starts to pull.
    ///
    /// # Errors
    /// If the connection is closed for good.
    pub async fn puller(&self) -> anyhow::Result<Puller> {
        self.lane.client.denied.tell();
        Ok(Puller::new(self.lane.clone(), &self.consumer, self.expires, Use::Handle))
    }

    /// What the monitor reads, and for the `headers` source what has to run beside it.
    ///
    /// # Errors
    /// If the connection is closed for good.
    pub async fn signals(&self) -> anyhow::Result<(Signals, Option<HeaderWatch>)> {
        let watch = match &self.watch_consumer {
            None => None,
            Some(consumer) => {
                let puller = Puller::new(self.lane.clone(), consumer, Duration::from_secs(1), Use::Count);
                Some(HeaderWatch::new(puller))
            }
        };
        let arrivals = watch.as_ref().map(HeaderWatch::arrivals);
        Ok((Signals::new(self.lane.clone(), self.consumer.clone(), self.filter.clone(), arrivals), watch))
    }
}

pub(super) fn filters(config: &consumer::Config) -> Vec<String> {
    let single = Some(config.filter_subject.clone()).filter(|subject| !subject.is_empty());
    config.filter_subjects.iter().cloned().chain(single).collect()
}
