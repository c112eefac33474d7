//! Messages that wait for another try when somebody sets the consumer's `max_deliver`.
//!
//! The server drops each message that has had that many deliveries, and tells of some of them in an advisory. So the
//! host that gave the messages back keeps them as dead letters, as soon as it reads the edited setting.

use bytes::Bytes;

use super::binding::WorkloadBinding;
use super::raw_message::{self, RawMessage};
use crate::contract::Author;
use crate::contract::{Cause, Death, Delivery};
use crate::dead_letter::block;
use crate::duration::millis;
use crate::ports::EffectError;

impl WorkloadBinding {
    /// Keeps dropped messages, by sequence and attempts, as dead letters. Returns those that could not be kept.
    pub(super) async fn keep_dropped(&self, consumer: &str, dropped: Vec<(u64, u32)>) -> Vec<(u64, u32)> {
        let mut left = Vec::new();
        for (stream_sequence, attempt) in dropped {
            let workload = &self.workload;
            match self.keep_one(consumer, stream_sequence, attempt).await {
                Ok(()) => {
                    tracing::warn!(%workload, stream_sequence, attempt, "dead letter: the consumer's max_deliver \
                    would have had the server drop it")
                }
                Err(error) => {
                    tracing::error!(%workload, stream_sequence, attempt, error = format!("{error:#}"), "a message that \
                        the consumer's max_deliver has the server drop is not kept yet; trying again");
                    left.push((stream_sequence, attempt));
                }
            }
        }
        left
    }

    async fn keep_one(&self, consumer: &str, stream_sequence: u64, attempt: u32) -> anyhow::Result<()> {
        // The stream itself has deleted the message.
        let Some(raw) = raw_message::get(&self.client, &self.stream, stream_sequence).await? else { return Ok(()) };
        let published = raw.time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.keep_raw(raw, stream_sequence, attempt, millis(published)).await?;
        // Settled too, in case the edit is undone before the server has dropped the message.
        let settle =
            format!("$JS.ACK.{}.{consumer}.{attempt}.{stream_sequence}.1.{}.0", self.stream, published.as_nanos());
        self.client.nats.publish(settle, Bytes::from_static(b"+TERM kept as a dead letter")).await?;
        Ok(())
    }

    async fn keep_raw(
        &self,
        raw: RawMessage,
        stream_sequence: u64,
        attempt: u32,
        published_at_ms: u64,
    ) -> Result<u64, EffectError> {
        let reason =
            format!("waited for another try after {attempt} deliveries, and the consumer's max_deliver allows no more");
        let death = Death::new(Cause::Exhausted, reason);
        let headers = block::read(&raw.block);
        let is_readable = headers.is_ok();
        let delivery = Delivery {
            subject: self.published(raw.subject),
            headers: headers.unwrap_or_default(),
            payload: raw.payload,
            stream_sequence,
            attempt,
            published_at_ms,
            reply_to: None,
        };
        if !is_readable {
            return self.keep_unreadable(&delivery, &death, &raw.block).await;
        }
        self.keep_dead_letter(&delivery, &death, &Author { plugin: "".into(), generation: "".into() }).await
    }
}
