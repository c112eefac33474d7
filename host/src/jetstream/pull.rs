use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{StatusCode, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::unreadable::Search;
use super::{Lane, Message};
use crate::effective::{Ask, Effective};
use crate::ports::{Notice, Pull, Pulled};

/// How much longer than `expires` a pull may stay unanswered before it counts as lost.
const SLACK: Duration = Duration::from_secs(1);

/// Pull requests on one consumer, all answered on one subscription that lives as long as the puller.
///
/// async-nats' own `batch` and `messages` subscribe for each batch or prefetch on their own, and what they have
/// buffered when they are dropped stays unsettled until the ack wait ends. Here a pull is just a request: the
/// puller counts what is still to come, so that whoever stops can wait for it.
#[derive(Debug)]
pub struct Puller {
    lane: Arc<Lane>,
    next: String,
    inbox: String,
    answers: Subscriber,
    connects: watch::Receiver<u64>,
    expires: Duration,
    asked: usize,
    last_ends: Instant,
    consumer: String,
    search: Option<Search>,
    effective: Arc<Effective>,
}

impl Puller {
    /// `effective` is what that consumer lets a pull ask for.
    pub(super) async fn new(
        lane: Arc<Lane>,
        consumer: &str,
        expires: Duration,
        effective: Arc<Effective>,
    ) -> anyhow::Result<Self> {
        let inbox = lane.client.nats.new_inbox();
        Ok(Self {
            next: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", lane.stream),
            answers: lane.client.nats.subscribe(inbox.clone()).await?,
            connects: lane.client.connects(),
            inbox,
            lane,
            expires,
            asked: 0,
            last_ends: Instant::now(),
            consumer: consumer.to_owned(),
            search: None,
            effective,
        })
    }

    /// Besides, looks for what no pull can bring, and keeps it as dead letters.
    pub(super) fn that_searches(mut self) -> Self {
        self.search = Some(Search::start(self.lane.clone(), self.consumer.clone(), self.lane.client.connects()));
        self
    }

    fn read(&mut self, answer: async_nats::Message) -> Option<Pulled<Message>> {
        let Some(status) = status(&answer) else {
            self.asked = self.asked.saturating_sub(1);
            return Message::new(answer, self.lane.clone()).map(Pulled::Delivery);
        };
        if status == StatusCode::IDLE_HEARTBEAT {
            return None;
        }
        let unanswered = answer.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
        let unanswered = unanswered.and_then(|count| count.as_str().parse::<usize>().ok());
        // Without a count the pull was refused as a whole, and nothing says which; the rest ends with it.
        self.asked = unanswered.map_or(0, |count| self.asked.saturating_sub(count));
        let words = answer.description.unwrap_or_default();
        let lower = words.to_ascii_lowercase();
        Some(match status {
            StatusCode::TIMEOUT | StatusCode::NOT_FOUND => Pulled::Ended,
            StatusCode::NO_RESPONDERS => Pulled::Failed(Notice::NoResponders),
            _ if lower.contains("consumer deleted") => Pulled::Failed(Notice::ConsumerDeleted),
            _ if lower.contains("maxwaiting") => Pulled::Failed(Notice::MaxWaiting),
            _ if lower.contains("maxackpending") => Pulled::Failed(Notice::MaxAckPending),
            _ if lower.contains("batch completed") || lower.contains("maxbytes") => Pulled::Ended,
            _ => Pulled::Failed(Notice::Other(if words.is_empty() { format!("status {status}") } else { words })),
        })
    }
}

impl Pull for Puller {
    type Held = Message;

    fn asked(&self) -> usize {
        self.asked
    }

    async fn ask(&mut self, count: usize, bytes: usize) -> anyhow::Result<()> {
        // It would be kept and sent with all the others when the server is back, and each of them be answered.
        anyhow::ensure!(self.lane.client.is_connected(), "the server is away");
        anyhow::ensure!(!self.effective.is_refused(), "the consumer may not be pulled from");
        let limits = self.effective.pulls();
        if self.asked.div_ceil(limits.batch) >= limits.waiting {
            return Ok(());
        }
        let Ask { batch, bytes, expires } = limits.ask(count, bytes, self.expires, self.lane.client.max_payload());
        let request = BatchConfig { batch, expires: Some(expires), max_bytes: bytes, ..BatchConfig::default() };
        let request = serde_json::to_vec(&request)?;
        self.lane.client.nats.publish_with_reply(self.next.clone(), self.inbox.clone(), request.into()).await?;
        self.lane.traffic.pulled();
        self.asked += batch;
        self.last_ends = Instant::now() + expires + SLACK;
        Ok(())
    }

    async fn next(&mut self) -> Pulled<Message> {
        loop {
            let deadline = if self.asked > 0 { self.last_ends } else { Instant::now() + Duration::from_secs(3600) };
            tokio::select! {
                biased;
                answer = timeout_at(deadline, self.answers.next()) => match answer {
                    Ok(Some(answer)) => if let Some(pulled) = self.read(answer) { return pulled },
                    Ok(None) => return Pulled::Failed(Notice::Other("the connection is closed".to_owned())),
                    Err(_elapsed) => {
                        self.asked = 0;
                        return Pulled::Ended;
                    }
                },
                // The server forgets its waiting pulls when the connection is lost.
                Ok(()) = self.connects.changed() => {
                    self.asked = 0;
                    return Pulled::Ended;
                }
            }
        }
    }

    fn ready(&mut self) -> Option<Pulled<Message>> {
        while let Some(Some(answer)) = self.answers.next().now_or_never() {
            if let Some(pulled) = self.read(answer) {
                return Some(pulled);
            }
        }
        None
    }
}

/// What the server says about a pull; `None` for a delivery. Servers before 2.12 deliver a message with the status line that it
/// was published with, so that alone says nothing.
fn status(answer: &async_nats::Message) -> Option<StatusCode> {
    let delivered = answer.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK."));
    answer.status.filter(|_| !delivered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_with_a_status_line_is_no_status() {
        let answer = |reply: Option<&str>| async_nats::Message {
            subject: "orders.new".into(),
            reply: reply.map(Into::into),
            payload: "".into(),
            headers: None,
            status: Some(StatusCode::NO_RESPONDERS),
            description: None,
            length: 0,
        };
        assert_eq!(status(&answer(Some("$JS.ACK.ORDERS.w.1.2.3.4.5"))), None);
        assert_eq!(status(&answer(None)), Some(StatusCode::NO_RESPONDERS));
    }
}
