use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep, timeout};

use super::arrivals::{ArrivalCount, ConsumerReading};
use super::binding::WorkloadBinding;
use super::connect::Client;
use super::consumer_watch::Follow;
use super::denied::unless_denied;
use super::header_watch::HeaderArrivals;
use super::parked_pull::Mark;
use super::settings::{ConsumerState, StreamState};
use crate::ports::{Sample, ServerAway, Source};

/// How long an answer is waited for, and after how many failures in a row for as long as it takes: a server that is
/// gone does not answer, and the next one may be there.
const ANSWER: Duration = Duration::from_secs(2);
const HASTY: u32 = 3;

/// Reads the state of a consumer and of its stream: two requests a sample, and a third when the oldest message changed.
/// Edited settings take effect with a sample. With the `headers` source, arrivals are counted by a
/// [`HeaderWatch`](super::HeaderWatch) instead.
///
/// While a consumer is idle and no other host pulls from it, the parked pull brings the next message. So the server is
/// asked only now and then, for edits. In a fleet the host that leads keeps that pull, and the others none.
#[derive(Debug)]
pub struct Signals {
    binding: Arc<WorkloadBinding>,
    consumer: String,
    follow: Follow,
    count: ArrivalCount,
    oldest: Option<(u64, u64)>,
    watch: Option<Arc<HeaderArrivals>>,
    idle: Option<IdleSample>,
    /// How often in a row the server has not answered.
    failures: u32,
}

/// A sample of a consumer that has nothing to do.
#[derive(Debug)]
struct IdleSample {
    sample: Sample,
    at: Instant,
    mark: Mark,
}

impl Signals {
    pub(super) fn new(
        binding: Arc<WorkloadBinding>,
        consumer: String,
        follow: Follow,
        watch: Option<Arc<HeaderArrivals>>,
    ) -> Self {
        Self { binding, consumer, follow, count: ArrivalCount::default(), oldest: None, watch, idle: None, failures: 0 }
    }

    /// The sample before, if no message can have come since.
    fn still_idle(&self, now: Instant) -> Option<Sample> {
        let IdleSample { sample, at, mark } = self.idle.as_ref()?;
        let recent = now < *at + self.follow.unlooked();
        (recent && self.binding.parked.is_silent_since(*mark, now)).then_some(*sample)
    }

    /// Remembers a sample if the consumer is idle and the parked pull will bring what comes next.
    fn remember(&mut self, sample: Sample, consumer: &ConsumerState, (at, mark): (Instant, Mark)) {
        let hears_all = is_idle_and_alone(&sample, consumer) && self.watch.is_none();
        let idle = hears_all && self.follow.is_free() && self.count.is_settled();
        self.idle = idle.then_some(IdleSample { sample, at, mark });
    }
}

/// Waits for an answer about the state of a stream or consumer; after some failures in a row for as long as it takes.
/// `asked` is the request, which the server leaves without an answer where this user may not make it.
async fn answered<T>(
    client: &Client,
    failures: u32,
    asked: &str,
    answer: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let subject = client.api_subject(asked);
    let answer = unless_denied(client, &subject, answer);
    let answer = match failures {
        HASTY.. => answer.await,
        _ => timeout(ANSWER, answer).await.with_context(|| format!("no answer within {ANSWER:?}"))?,
    };
    if answer.is_err() && failures >= HASTY {
        // It is told by now, and the server writes a line about each request that it denies.
        sleep(ANSWER).await;
    }
    answer.map_err(anyhow::Error::msg)
}

/// Whether the consumer is idle and its next message comes by this host's parked pull.
fn is_idle_and_alone(sample: &Sample, consumer: &ConsumerState) -> bool {
    let nothing = sample.pending == 0 && sample.ack_pending == 0 && sample.redelivered == 0;
    // A pull of another host could bring the next message to that host, unheard by this one.
    nothing && consumer.num_waiting <= 1
}

impl Source for Signals {
    async fn sample(&mut self, redelivered: u64) -> anyhow::Result<Sample> {
        let sample = self.read(redelivered).await;
        // What an answer lacks then is nothing of the signals.
        sample.map_err(|error| if self.binding.client.is_connected() { error } else { ServerAway.into() })
    }
}

impl Signals {
    async fn read(&mut self, redelivered: u64) -> anyhow::Result<Sample> {
        let moment = (Instant::now(), self.binding.parked.mark());
        if let Some(sample) = self.still_idle(moment.0) {
            return Ok(sample);
        }
        self.idle = None;
        let (client, of, name) = (&self.binding.client, &self.binding.stream, &self.consumer);
        // Counted as failed until there is an answer.
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        let stream = answered(client, failures, &format!("STREAM.INFO.{of}"), client.stream_state(of)).await;
        let stream = stream.with_context(|| format!("stream {of}"))?;
        let stream = stream.with_context(|| format!("the state of stream {of}"))?;
        let Some(stream) = stream else {
            self.gone();
            anyhow::bail!("stream {} is gone", self.binding.stream);
        };
        let asked = format!("CONSUMER.INFO.{of}.{name}");
        let consumer = answered(client, failures, &asked, client.consumer_state(of, name)).await;
        let consumer = consumer.with_context(|| format!("consumer {name}"))?;
        let consumer = consumer.with_context(|| format!("the state of consumer {name}"))?;
        let Some(consumer) = consumer else {
            self.gone();
            anyhow::bail!("consumer {} is gone", self.consumer);
        };
        self.binding.gone.send_if_modified(std::mem::take);
        self.follow.look(&consumer, &stream);
        self.follow.keep_dropped(&self.binding, &consumer).await;
        client.floors.saw(of, &self.consumer, &consumer, &stream);
        let (arrivals, last_arrival) = match &self.watch {
            None => (self.count(&consumer, &stream, redelivered), None),
            Some(watch) => {
                // A consumer that is gone must not look like a quiet one.
                anyhow::ensure!(!watch.is_lost(), "nothing can be fetched from the headers consumer");
                let (arrivals, last) = watch.read();
                (arrivals, Some(last))
            }
        };
        let sample = Sample {
            arrivals,
            pending: consumer.num_pending,
            ack_pending: consumer.num_ack_pending,
            redelivered: consumer.num_redelivered,
            oldest_ms: self.oldest(&consumer, failures).await?,
            now_ms: milliseconds(&consumer.ts),
            last_arrival,
        };
        self.failures = 0;
        self.remember(sample, &consumer, moment);
        Ok(sample)
    }
}

/// A time of day as servers write it, in milliseconds since the Unix epoch.
fn milliseconds(time: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(time, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

impl Signals {
    /// The consumer or its stream is gone. Told each time: a workload that asks for nothing has no pull that tells, and
    /// what could not be made anew is tried again.
    fn gone(&mut self) {
        self.follow.gone();
        self.binding.gone.send_replace(true);
    }

    fn count(&mut self, consumer: &ConsumerState, stream: &StreamState, redelivered: u64) -> u64 {
        let reading = ConsumerReading {
            stream: stream.created.clone(),
            consumer: consumer.created.clone(),
            messages: stream.state.messages,
            last: stream.state.last_seq,
            pending: consumer.num_pending,
            deliveries: consumer.delivered.consumer_seq,
            delivered: consumer.delivered.stream_seq,
            redelivered,
        };
        self.count.read(reading, !consumer.config.filters().is_empty())
    }

    /// When the first message after the ack floor was published. Read once for each ack floor.
    async fn oldest(&mut self, consumer: &ConsumerState, failures: u32) -> anyhow::Result<Option<u64>> {
        if consumer.num_pending == 0 && consumer.num_ack_pending == 0 {
            self.oldest = None;
            return Ok(None);
        }
        let floor = consumer.ack_floor.stream_seq;
        if let Some((known, published)) = self.oldest
            && known == floor
        {
            return Ok(Some(published));
        }
        let mut first: Option<(u64, u64)> = None;
        let (client, of) = (&self.binding.client, &self.binding.stream);
        let (stream, asked) = (client.context.get_stream_no_info(of).await?, format!("STREAM.MSG.GET.{of}"));
        let (all, filters) = ([">".to_owned()], consumer.config.filters());
        for subject in if filters.is_empty() { all.as_slice() } else { filters.as_slice() } {
            let answer = stream.get_first_raw_message_by_subject(subject, floor + 1);
            match answered(client, failures, &asked, answer).await.context("the oldest message")? {
                Ok(message) => {
                    let ms = u64::try_from(message.time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
                    if first.is_none_or(|(sequence, _)| message.sequence < sequence) {
                        first = Some((message.sequence, ms));
                    }
                }
                // The message was settled between the two requests.
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(error).context("the oldest message"),
            }
        }
        self.oldest = first.map(|(_, published)| (floor, published));
        Ok(first.map(|(_, published)| published))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_another_host_pulls_from_or_that_has_something_to_give_is_asked_about() {
        let waiting = |num_waiting| ConsumerState { num_waiting, ..ConsumerState::default() };
        let none = Sample::default();
        assert!(is_idle_and_alone(&none, &waiting(1)));
        assert!(!is_idle_and_alone(&none, &waiting(2)));
        for busy in
            [Sample { pending: 1, ..none }, Sample { ack_pending: 1, ..none }, Sample { redelivered: 1, ..none }]
        {
            assert!(!is_idle_and_alone(&busy, &waiting(1)), "{busy:?}");
        }
    }
}
