use async_nats::jetstream::consumer::PullConsumer;

use super::Client;

impl Client {
    /// Messages that a durable consumer has still to settle: not yet delivered, or delivered and not acknowledged.
    ///
    /// # Errors
    /// When the stream or the consumer is not there, or the server does not answer.
    pub async fn unsettled(&self, stream: &str, consumer: &str) -> anyhow::Result<u64> {
        let found = self.context.get_consumer_from_stream(consumer, stream).await;
        let found: PullConsumer =
            found.map_err(|error| anyhow::anyhow!("consumer {consumer} of stream {stream}: {error}"))?;
        let info = found.cached_info();
        Ok(info.num_pending.saturating_add(u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX)))
    }
}
