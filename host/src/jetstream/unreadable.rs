//! Messages that the client library cannot read.
//!
//! A header block that is not what NATS says it is (bytes that are no UTF-8, a name with a space in it) makes the library
//! give up the connection, and with it all that was on its way. The server delivers the message again after its ack
//! wait, to the same end, for ever; nobody would be told. So after each connect the host looks for such a message among
//! those that its consumer has delivered and nobody has settled, in a way that no header block can break, and keeps it
//! as a dead letter. No handler could be given it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;

use super::Lane;
use super::connect::Link;
use super::raw::{self, Raw};
use crate::config::subjects_overlap;
use crate::delivery::{Cause, Death, Delivery};
use crate::letter::{Letter, block};

/// How many messages are read at once.
const AT_ONCE: usize = 16;

/// Looks for them on one consumer, now and after each connect, until it is dropped.
#[derive(Debug)]
pub(super) struct Search(tokio::task::AbortHandle);

impl Search {
    pub(super) fn start(lane: Arc<Lane>, consumer: String, link: watch::Receiver<Link>) -> Self {
        Self(tokio::spawn(search(lane, consumer, link)).abort_handle())
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn search(lane: Arc<Lane>, consumer: String, mut link: watch::Receiver<Link>) {
    // What was looked at once is not looked at again: a message does not change.
    let mut seen = 0;
    loop {
        let connects = link.borrow_and_update().connects;
        if let Err(error) = look(&lane, &consumer, &mut seen).await {
            let stream = &lane.stream;
            tracing::warn!(workload = %lane.workload, stream, consumer, error = format!("{error:#}"),
                "cannot look for messages with headers that cannot be read; looking again after the next connect");
        }
        if link.wait_for(|link| link.connects != connects).await.is_err() {
            return;
        }
    }
}

async fn look(lane: &Lane, consumer: &str, seen: &mut u64) -> anyhow::Result<()> {
    let info = lane.client.context.get_stream_no_info(&lane.stream).await?.consumer_info(consumer).await?;
    let first = info.ack_floor.stream_sequence.max(*seen) + 1;
    let last = info.delivered.stream_sequence;
    if info.num_ack_pending == 0 || last < first {
        return Ok(());
    }
    let filters = super::consumer::filters(&info.config);
    let read = |sequence| async move { (sequence, raw::get(&lane.client, &lane.stream, sequence).await) };
    let mut messages = stream::iter(first..=last).map(read).buffered(AT_ONCE);
    while let Some((sequence, message)) = messages.next().await {
        let delivered =
            |raw: &Raw| filters.is_empty() || filters.iter().any(|filter| subjects_overlap(filter, &raw.subject));
        if let Some(raw) = message?.filter(delivered)
            && let Err(why) = block::read(&raw.block)
        {
            let reason = format!("its headers cannot be read: {why}");
            keep(lane, consumer, sequence, raw, reason).await?;
        }
        *seen = sequence;
    }
    Ok(())
}

async fn keep(lane: &Lane, consumer: &str, stream_sequence: u64, raw: Raw, reason: String) -> anyhow::Result<()> {
    let published = raw.time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let delivery = Delivery {
        subject: raw.subject,
        payload: raw.payload,
        stream_sequence,
        published_at_ms: u64::try_from(published.as_millis()).unwrap_or(u64::MAX),
        ..Delivery::default()
    };
    // A user who may not read letters keeps one twice rather than none.
    if !kept_before(lane, &delivery).await.unwrap_or(false) {
        let death = Death { cause: Cause::Unreadable, reason };
        lane.bury_unreadable(&delivery, &death, &raw.block).await?;
        tracing::error!(workload = %lane.workload, stream = lane.stream, stream_sequence, reason = death.reason, "dead letter");
    }
    // The server goes by the stream sequence; how often and when it was delivered is not known here.
    let settle = format!("$JS.ACK.{}.{consumer}.1.{stream_sequence}.1.{}.0", lane.stream, published.as_nanos());
    lane.client.nats.publish(settle, Bytes::from_static(b"+TERM headers that cannot be read")).await?;
    Ok(())
}

/// Whether an earlier search has kept it: what is settled cannot be told from what is not while a message before it is not.
async fn kept_before(lane: &Lane, delivery: &Delivery) -> anyhow::Result<bool> {
    let letters = lane.client.letters(&lane.dead_letters).await?;
    let mut kept = false;
    let scan = letters.scan(Some(&lane.workload), None, |stored| {
        kept |= Letter::read(&stored).is_some_and(|letter| {
            letter.cause == Cause::Unreadable.as_str()
                && (letter.stream.as_str(), letter.stream_sequence) == (lane.stream.as_str(), delivery.stream_sequence)
                && letter.published_ms() == Some(delivery.published_at_ms)
        });
    });
    scan.await?;
    Ok(kept)
}
