//! A message that the client library cannot read becomes a dead letter: no handler could be given it.

use std::sync::Arc;

use bytes::Bytes;

use super::binding::WorkloadBinding;
use super::fallback::Raw;
use super::message::position;
use crate::contract::{Cause, Death, Delivery};

/// Keeps the message as a dead letter, and terms it. A message that cannot be kept is delivered again.
pub(super) async fn keep_dead_letter(binding: Arc<WorkloadBinding>, raw: Raw, reason: String) {
    let Some((attempt, stream_sequence, published_at_ms)) = raw.reply().and_then(position) else { return };
    let delivery = Delivery {
        subject: binding.published(raw.shown_subject()),
        payload: raw.payload.clone(),
        stream_sequence,
        attempt,
        published_at_ms,
        ..Delivery::default()
    };
    let death = Death::new(Cause::Unreadable, reason);
    let (workload, stream) = (&binding.workload, &binding.stream);
    let (subject, reason) = (&delivery.subject, &death.reason);
    let kept = binding.keep_unreadable(&delivery, &death, raw.block.as_deref().unwrap_or_default()).await;
    let verb = match kept {
        Ok(_) => {
            tracing::error!(%workload, stream, stream_sequence, subject, reason, "dead letter");
            Bytes::from_static(b"+TERM it cannot be read")
        }
        Err(error) => {
            tracing::error!(%workload, stream, stream_sequence, subject, reason, %error,
                "the dead letter could not be kept, so the message stays in its stream");
            Bytes::from_static(b"-NAK {\"delay\":5000000000}")
        }
    };
    if let Err(error) = binding.client.nats.publish(raw.reply().unwrap_or_default().to_owned(), verb).await {
        tracing::debug!(%error, %workload, stream_sequence, "not settled");
    }
}

/// Acks the message on a consumer whose messages are only counted.
pub(super) async fn pass(binding: Arc<WorkloadBinding>, raw: Raw) {
    let Some(reply) = raw.reply() else { return };
    if let Err(error) = binding.client.nats.publish(reply.to_owned(), Bytes::from_static(b"+ACK")).await {
        tracing::debug!(%error, workload = %binding.workload, "not settled");
    }
}
