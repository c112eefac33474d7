use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{HeaderMap, HeaderName, HeaderValue, NATS_MESSAGE_ID};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::{Subject, jetstream};
use bytes::Bytes;
use futures_util::future::try_join_all;

use super::{Client, Lane};
use crate::delivery::{Death, Delivery, Publication, is_literal_subject};
use crate::ports::{Author, EffectError, Held};

/// The header that names where a requester waits, as the Auto-Scaler of NATS by Example has it.
pub(crate) const REPLY_HEADER: &str = "Nats-Reply";

/// A delivery of a pull consumer. It is small, for it is moved often.
#[derive(Debug)]
pub struct Message(Box<Inner>);

#[derive(Debug)]
struct Inner {
    delivery: Delivery,
    settle: Subject,
    lane: Arc<Lane>,
}

impl Message {
    /// Takes what the server delivered; `None` if it is not a delivery of a consumer.
    pub(super) fn new(message: async_nats::Message, lane: Arc<Lane>) -> Option<Self> {
        let settle = message.reply?;
        let position = Position::parse(&settle)?;
        let headers = message.headers.as_ref().map(list).unwrap_or_default();
        let reply_to = message.headers.as_ref().and_then(|headers| headers.get(REPLY_HEADER));
        let reply_to = reply_to.map(|inbox| inbox.as_str().to_owned()).filter(|inbox| !inbox.is_empty());
        let delivery = Delivery {
            subject: message.subject.into_string(),
            reply_to: reply_to.filter(|inbox| lane.may_reply(inbox, position.stream_sequence)),
            headers,
            payload: message.payload,
            stream_sequence: position.stream_sequence,
            attempt: position.attempt,
            published_at_ms: position.published_at_ms,
        };
        Some(Self(Box::new(Inner { delivery, settle, lane })))
    }

    /// Says the last thing about a delivery.
    async fn settle(self, verb: Bytes) {
        let Inner { delivery, settle, lane } = &*self.0;
        lane.told(lane.client.nats.publish(settle.clone(), verb).await, delivery.stream_sequence);
    }
}

impl Lane {
    /// Whether a reply may go where the requester wants it: the subject is in a header that whoever publishes can write.
    fn may_reply(&self, inbox: &str, stream_sequence: u64) -> bool {
        let granted = is_literal_subject(inbox) && self.grants.may_reply(inbox);
        if !granted {
            let refused = self.traffic.refused_reply();
            // Each time would let a stranger fill the log.
            if refused.is_power_of_two() {
                tracing::warn!(workload = %self.workload, stream_sequence, refused,
                    "no reply to `{}`: grants.reply of the workload has no subject that matches", inbox.escape_debug());
            }
        }
        granted
    }

    /// What is said fails only when the connection is closed for good; then the server delivers again after the ack wait.
    fn told(&self, said: Result<(), async_nats::PublishError>, stream_sequence: u64) {
        if let Err(error) = said {
            tracing::debug!(%error, workload = %self.workload, stream_sequence, "not settled");
        }
    }
}

impl Held for Message {
    fn delivery(&self) -> &Delivery {
        &self.0.delivery
    }

    async fn publish(
        &self,
        publications: Vec<Publication>,
    ) -> Result<impl Future<Output = Result<(), EffectError>> + Send + use<>, EffectError> {
        let mut acks = Vec::with_capacity(publications.len());
        for (index, publication) in publications.into_iter().enumerate() {
            // Another consumer's publications, and those of a stream that was deleted and made anew, are others.
            let Inner { lane, delivery: Delivery { stream_sequence, published_at_ms, .. }, .. } = &*self.0;
            let id = format!("{}:{}:{stream_sequence}:{published_at_ms}:{index}", lane.stream, lane.consumer);
            let mut headers = headers(publication.headers)?;
            headers.insert(NATS_MESSAGE_ID, id);
            acks.push(stored(&self.0.lane.client, publication.subject, headers, publication.payload.into()).await?);
        }
        Ok(async move { try_join_all(acks).await.map(|_| ()) })
    }

    async fn reply(&self, payload: Vec<u8>) -> Result<(), EffectError> {
        let Some(inbox) = &self.0.delivery.reply_to else { return Ok(()) };
        let sent = self.0.lane.client.nats.publish(inbox.clone(), payload.into()).await;
        sent.map_err(|error| EffectError(format!("the reply to `{}`: {error}", inbox.escape_debug())))
    }

    async fn bury(&self, death: &Death, author: &Author) -> Result<(), EffectError> {
        let Inner { delivery, lane, .. } = &*self.0;
        lane.bury(delivery, death, author).await
    }

    fn in_progress(&self) -> impl Future<Output = ()> + Send + use<> {
        let Inner { delivery, settle, lane } = &*self.0;
        let (lane, settle, stream_sequence) = (lane.clone(), settle.clone(), delivery.stream_sequence);
        async move {
            lane.traffic.told_in_progress();
            lane.told(lane.client.nats.publish(settle, Bytes::from_static(b"+WPI")).await, stream_sequence);
        }
    }

    fn ack(self) -> impl Future<Output = ()> + Send {
        self.settle(Bytes::from_static(b"+ACK"))
    }

    async fn nak(self, delay: Duration) {
        let verb = match delay.as_nanos() {
            0 => Bytes::from_static(b"-NAK"),
            nanos => format!("-NAK {{\"delay\":{nanos}}}").into(),
        };
        self.settle(verb).await;
    }

    async fn term(self, reason: &str) {
        let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        self.settle(format!("+TERM {reason}").into()).await;
    }
}

/// Publishes, and returns what waits until a stream has stored it, and gives the position there.
pub(super) async fn stored(
    client: &Client,
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
) -> Result<impl Future<Output = Result<u64, EffectError>> + Send + use<>, EffectError> {
    let denied = client.denied.clone();
    let explain = move |subject: &str, error: jetstream::context::PublishError| match error.kind() {
        // The server does not answer what it denies.
        PublishErrorKind::TimedOut if denied.publication(subject) => EffectError(format!(
            "the NATS server does not let this host publish on `{subject}`; `tidegate permissions` prints what it needs"
        )),
        PublishErrorKind::StreamNotFound => {
            EffectError(format!("no stream is bound to `{subject}`, so the publication was not stored"))
        }
        PublishErrorKind::MaxPayloadExceeded => {
            EffectError(format!("the publication on `{subject}` is larger than the server takes"))
        }
        _ => EffectError(format!("the publication on `{subject}` was not stored: {error}")),
    };
    let publish = jetstream::message::PublishMessage::build().payload(payload).headers(headers);
    let ack = client.context.send_publish(subject.clone(), publish).await.map_err(|error| explain(&subject, error))?;
    Ok(async move { ack.await.map(|ack| ack.sequence).map_err(|error| explain(&subject, error)) })
}

pub(super) fn headers(list: Vec<(String, String)>) -> Result<HeaderMap, EffectError> {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        let header = name.parse::<HeaderName>().ok().zip(value.parse::<HeaderValue>().ok());
        let (legal_name, legal_value) =
            header.ok_or_else(|| EffectError(format!("`{}` is not a legal header", name.escape_debug())))?;
        headers.append(legal_name, legal_value);
    }
    Ok(headers)
}

/// Attempt, position in the stream and time in milliseconds, as a delivery's reply subject has them.
pub(crate) fn position(reply: &str) -> Option<(u32, u64, u64)> {
    Position::parse(reply).map(|position| (position.attempt, position.stream_sequence, position.published_at_ms))
}

/// Whether a message may be published with these.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn may_be_headers(list: Vec<(String, String)>) -> bool {
    headers(list).is_ok()
}

/// In the order of their names, so that a handler sees the same list on every attempt.
pub(super) fn list(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.as_str().to_owned())))
        .collect();
    list.sort_by(|(a, _), (b, _)| a.cmp(b));
    list
}

/// What the reply subject of a delivery says (JetStream's ADR-15).
#[derive(Debug, PartialEq, Eq)]
struct Position {
    attempt: u32,
    stream_sequence: u64,
    published_at_ms: u64,
}

impl Position {
    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, or the longer form that
    /// has `<domain>.<account hash>` before the stream and may go on after pending.
    fn parse(reply: &str) -> Option<Self> {
        let tokens = reply.strip_prefix("$JS.ACK.")?;
        let skip = match tokens.split('.').count() {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let mut numbers = tokens.split('.').skip(skip).map(|token| token.parse::<u64>().ok());
        let (attempt, stream_sequence, _consumer_sequence) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let nanos = numbers.next()??;
        Some(Self {
            attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            stream_sequence,
            published_at_ms: nanos / 1_000_000,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_of_the_reply_subject_are_read() {
        let position = Position { attempt: 3, stream_sequence: 77, published_at_ms: 1_600_000_000_123 };
        let short = "$JS.ACK.ORDERS.w.3.77.9.1600000000123456789.5";
        let long = "$JS.ACK._.ACCHASH.ORDERS.w.3.77.9.1600000000123456789.5";
        let longer = "$JS.ACK.hub.ACCHASH.ORDERS.w.3.77.9.1600000000123456789.5.random";
        for reply in [short, long, longer] {
            assert_eq!(Position::parse(reply).as_ref(), Some(&position), "{reply}");
        }
    }

    #[test]
    fn a_message_that_is_no_delivery_is_not_taken_for_one() {
        for reply in ["", "_INBOX.abc", "$JS.ACK.", "$JS.ACK.S.c.x.2.3.4.5", "$JS.ACK.a.b.c.d.e.f.g.h"] {
            assert_eq!(Position::parse(reply), None, "{reply}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(reply in "(\\$JS\\.ACK\\.)?[a-z0-9.]{0,60}") {
            let _ = Position::parse(&reply);
        }
    }
}
