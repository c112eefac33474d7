//! Makes the server deliver messages again at once that the client library could not read. Otherwise they would come
//! again only after their ack wait.
//!
//! The messages are read in JSON, where their content can do no harm. They are looked for among the last that the
//! consumer has delivered: as many as one loss of the connection may have cost, and none a second time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::time::sleep;

use super::binding::WorkloadBinding;
use super::raw_message::{self, RawMessage};
use crate::config::subjects_overlap;

/// How many messages are read, how many bytes together, how many at once, and how long the pause after each such group
/// is.
const MOST: u64 = 1000;
const MOST_BYTES: usize = 32 << 20;
const AT_ONCE: usize = 16;
const PAUSE: Duration = Duration::from_millis(5);

/// Looks once, and gives back (nak) the unreadable messages. `seen` is the stream sequence up to which was looked
/// before.
pub(super) async fn nudge(binding: Arc<WorkloadBinding>, consumer: String, seen: Arc<AtomicU64>) {
    if let Err(error) = look(&binding, &consumer, &seen).await {
        let error = format!("{error:#}");
        tracing::debug!(workload = %binding.workload, consumer, error, "what cannot be read comes after its ack wait");
    }
}

async fn look(binding: &WorkloadBinding, consumer: &str, seen: &AtomicU64) -> anyhow::Result<()> {
    let info = binding.client.context.get_stream_no_info(&binding.stream).await?.consumer_info(consumer).await?;
    let last = info.delivered.stream_sequence;
    let first = info.ack_floor.stream_sequence.max(seen.load(Relaxed)).max(last.saturating_sub(MOST)) + 1;
    if info.num_ack_pending == 0 || last < first {
        return Ok(());
    }
    let filters = filters(&info.config);
    let read = |sequence| async move { (sequence, raw_message::get(&binding.client, &binding.stream, sequence).await) };
    let mut messages = stream::iter(first..=last).map(read).buffered(AT_ONCE);
    let mut bytes = 0;
    while let Some((sequence, message)) = messages.next().await {
        let message = message?;
        bytes += message.as_ref().map_or(0, |raw| raw.payload.len() + raw.block.len());
        let delivered = |raw: &RawMessage| {
            filters.is_empty() || filters.iter().any(|filter| subjects_overlap(filter, &raw.subject))
        };
        if message.is_some_and(|raw| raw.is_unreadable() && delivered(&raw)) {
            // The server finds the delivery by its stream sequence, and accepts any consumer sequence that it has used.
            let settle =
                format!("$JS.ACK.{}.{consumer}.1.{sequence}.{}.0.0", binding.stream, info.delivered.consumer_sequence);
            binding.client.nats.publish(settle, Bytes::from_static(b"-NAK")).await?;
        }
        seen.store(sequence, Relaxed);
        if bytes > MOST_BYTES {
            break;
        }
        if sequence % AT_ONCE as u64 == 0 {
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// The subjects that a consumer is limited to. Empty if it takes all.
fn filters(config: &async_nats::jetstream::consumer::Config) -> Vec<String> {
    let single = Some(config.filter_subject.clone()).filter(|subject| !subject.is_empty());
    config.filter_subjects.iter().cloned().chain(single).collect()
}
