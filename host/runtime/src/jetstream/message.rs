use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use bytes::Bytes;

use super::binding::WorkloadBinding;
use super::header_map::headers;
use super::publication_id::{longest_publication_id, publication_id};
use super::publisher::PublishWindow;
use crate::contract::Author;
use crate::contract::{Death, Delivery, Publication};
use crate::dead_letter::refusal;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::trace_context::TraceContext;
use crate::delivery::{MAX_HEADERS, header_block, hops};
use crate::ports::{Confirmed, Kept};
use crate::ports::{EffectError, Excused, Held, PublicationIds};
use crate::subject::{check_subject, shown};
use crate::telemetry::DeliverySpans;

/// The header that names where a requester waits, as the Auto-Scaler of NATS by Example has it.
pub(crate) const REPLY_HEADER: &str = "Nats-Reply";

/// The header by which the server names the pinned client.
const PIN_HEADER: &str = "Nats-Pin-Id";

/// The longest delay of a nak. The server adds the delay to the time of day in a signed 64-bit count of nanoseconds
/// since 1970. A sum that does not fit becomes no delay at all.
const LONGEST_DELAY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A delivery of a pull consumer. The type is small, because deliveries are moved often.
#[derive(Debug)]
pub(crate) struct PulledMessage(Box<MessageParts>);

#[derive(Debug)]
struct MessageParts {
    delivery: Delivery,
    /// The consumer's number of the delivery.
    number: u64,
    settle: Subject,
    binding: Arc<WorkloadBinding>,
    /// What traces it, if it is traced.
    spans: Option<Box<DeliverySpans>>,
}

impl PulledMessage {
    /// Reads a message that the server sent. `None` if it is not a delivery of a consumer. Where the consumer gives
    /// messages to one host at a time, it is told by what the server knows this one.
    pub(super) fn new(
        message: async_nats::Message,
        binding: Arc<WorkloadBinding>,
        consumer: &Effective,
    ) -> Option<Self> {
        let settle = message.reply?;
        let position = DeliveryPosition::parse(&settle)?;
        let headers = message.headers.as_ref().map(|all| without_pin(all, Some(consumer))).unwrap_or_default();
        let reply_to = headers.iter().find(|(name, _)| name == REPLY_HEADER);
        let reply_to = reply_to.map(|(_, inbox)| inbox.clone()).filter(|inbox| !inbox.is_empty());
        let delivery = Delivery {
            subject: binding.published(message.subject.into_string()),
            reply_to: reply_to.filter(|inbox| binding.may_reply(inbox, position.stream_sequence)),
            headers,
            payload: message.payload,
            stream_sequence: position.stream_sequence,
            attempt: position.attempt,
            published_at_ms: position.published_at_ms,
        };
        let number = position.consumer_sequence;
        let spans = binding.spans.get().and_then(|of| of.begin(&delivery));
        Some(Self(Box::new(MessageParts { delivery, number, settle, binding, spans })))
    }

    /// Acks a message that was only counted. No handler gets it, so there are no effects to confirm.
    pub(super) async fn seen(self) {
        self.settle(Bytes::from_static(b"+ACK")).await;
    }

    /// Sends the settlement of a delivery.
    async fn settle(self, verb: Bytes) {
        let MessageParts { delivery, settle, binding, spans, .. } = *self.0;
        let span = spans.as_ref().map(|spans| spans.settle(&delivery, settlement(&verb)));
        let said = pin!(binding.client.nats.publish(settle, verb)).await;
        binding.log_unsettled(said, delivery.stream_sequence);
        if let Some(span) = span {
            span.end(None);
        }
    }

    /// Tells the requester that there will be no reply. If that cannot be sent, the requester waits until its own
    /// time-out.
    async fn refuse(&self, death: &Death, letter: u64) {
        let MessageParts { delivery, binding, .. } = &*self.0;
        let Some(inbox) = &delivery.reply_to else { return };
        let (nats, headers) = (&binding.client.nats, headers(refusal::headers(death, letter)));
        let said = match headers {
            Ok(headers) => {
                nats.publish_with_headers(inbox.clone(), headers, Bytes::new()).await.map_err(|e| e.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = said {
            tracing::debug!(error, workload = %binding.workload, "a requester is not told of a dead letter");
        }
    }
}

impl WorkloadBinding {
    /// Whether a reply may be sent to the subject that the requester names. Whoever publishes a message can write any
    /// subject there.
    fn may_reply(&self, inbox: &str, stream_sequence: u64) -> bool {
        let problem = match check_subject(inbox) {
            Err(problem) => problem,
            Ok(()) if self.grants.may_reply(inbox) => return true,
            Ok(()) => {
                let inbox = shown(inbox);
                format!("`{inbox}` is not granted: grants.reply of the workload has no subject that matches")
            }
        };
        let refused = self.traffic.refused_reply();
        // Not logged each time: a stranger could fill the log.
        if refused.is_power_of_two() {
            tracing::warn!(workload = %self.workload, stream_sequence, refused, problem,
                "no reply where its requester wants it");
        }
        false
    }

    /// The most bytes of the headers that a publication gets beside its own.
    pub(super) fn own_headers(&self) -> usize {
        "Nats-Msg-Id: \r\n".len() + longest_publication_id(&self.stream, &self.consumer) + hops::MAX_BYTES
    }

    /// Adds a message's trace to the headers of what is sent because of it, beside which there are so many bytes. Where
    /// the server would not take it with them, it goes without: a trace keeps no message from being sent.
    fn trace(&self, trace: &TraceContext<'_>, headers: &mut Vec<(String, String)>, beside: usize) {
        let before = headers.len();
        let missing: Vec<_> =
            trace.missing_in(headers).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        headers.extend(missing);
        let block = header_block(headers);
        if block.saturating_add(beside) > self.client.max_payload()
            || block.saturating_add(self.own_headers()) > MAX_HEADERS
        {
            headers.truncate(before);
        }
    }

    /// Logs a settlement that could not be sent. That happens only when the connection is closed for good; the server
    /// then delivers again after the ack wait.
    fn log_unsettled(&self, said: Result<(), async_nats::PublishError>, stream_sequence: u64) {
        if let Err(error) = said {
            tracing::debug!(%error, workload = %self.workload, stream_sequence, "not settled");
        }
    }
}

/// What a settlement is called.
fn settlement(verb: &[u8]) -> &'static str {
    match verb {
        [b'+', b'A', ..] => "ack",
        [b'+', ..] => "term",
        _ => "nak",
    }
}

impl Held for PulledMessage {
    fn delivery(&self) -> &Delivery {
        &self.0.delivery
    }

    fn number(&self) -> u64 {
        self.0.number
    }

    fn count_attempts(&mut self, more: u32) {
        self.0.delivery.attempt = self.0.delivery.attempt.saturating_add(more);
    }

    fn call_begins(&mut self) {
        let MessageParts { delivery, spans, .. } = &mut *self.0;
        if let Some(spans) = spans {
            spans.call_begins(delivery);
        }
    }

    fn call_ended(&self, failure: Option<&'static str>, author: &Author) {
        let MessageParts { delivery, spans, .. } = &*self.0;
        if let Some(spans) = spans {
            spans.call_ended(delivery, failure, author);
        }
    }

    async fn excused(&self) -> Option<Excused> {
        self.0.binding.excused().await
    }

    async fn publish(
        &self,
        publications: Vec<Publication>,
        ids: PublicationIds,
    ) -> Result<impl Future<Output = Result<(), EffectError>> + Send + use<>, EffectError> {
        let MessageParts { binding, delivery, spans, .. } = &*self.0;
        let mut sent = VecDeque::with_capacity(publications.len());
        let (hops, trace) = (hops::next(delivery, &binding.workload), TraceContext::of(delivery));
        let span = spans.as_ref().zip(publications.first());
        let span = span.map(|(spans, first)| spans.publish(delivery, publications.len(), &first.subject));
        let trace = match (&trace, &span) {
            (Some(trace), Some(span)) => Some(trace.at_step(span.name())),
            _ => trace,
        };
        for (index, mut publication) in publications.into_iter().enumerate() {
            publication.headers.retain(|(name, _)| !hops::is_hops(name));
            let content = (ids == PublicationIds::OfContent).then_some(&publication);
            let id = publication_id(&binding.stream, &binding.consumer, delivery, index, content);
            if let Some(trace) = &trace {
                let Publication { headers, payload, .. } = &mut publication;
                binding.trace(trace, headers, binding.own_headers().saturating_add(payload.len()));
            }
            let mut headers = headers(publication.headers)?;
            headers.insert(NATS_MESSAGE_ID, id);
            headers.insert(hops::HOPS, hops.as_str());
            let Publication { subject, payload, .. } = publication;
            binding.publisher.send(PublishWindow::Publications, &mut sent, subject, headers, payload.into()).await?;
        }
        drop(trace);
        Ok(async move {
            // The publications are stored in about this order.
            let mut stored = Ok(());
            for one in sent {
                stored = one.stored().await.map(drop);
                if stored.is_err() {
                    break;
                }
            }
            if let Some(span) = span {
                span.end(stored.is_err().then_some("unconfirmed"));
            }
            stored
        })
    }

    async fn reply(&self, payload: Vec<u8>) -> Result<(), EffectError> {
        let Some(inbox) = &self.0.delivery.reply_to else { return Ok(()) };
        let MessageParts { delivery, binding, .. } = &*self.0;
        let mut traced = Vec::new();
        if let Some(trace) = TraceContext::of(delivery) {
            binding.trace(&trace, &mut traced, payload.len());
        }
        let nats = &binding.client.nats;
        let sent = match traced.is_empty() {
            true => nats.publish(inbox.clone(), payload.into()).await,
            false => nats.publish_with_headers(inbox.clone(), headers(traced)?, payload.into()).await,
        };
        let problem = |error: &async_nats::PublishError| format!("the reply to `{}`: {error}", shown(inbox));
        sent.map_err(|error| match error.kind() {
            async_nats::client::PublishErrorKind::Send => EffectError::Unavailable(problem(&error)),
            _ => EffectError::Refused(problem(&error)),
        })
    }

    async fn dead_letter(&self, death: &Death, author: &Author) -> Result<u64, EffectError> {
        let MessageParts { delivery, binding, .. } = &*self.0;
        let letter = binding.keep_dead_letter(delivery, death, author).await?;
        self.refuse(death, letter).await;
        Ok(letter)
    }

    async fn has_letter(&self, kept: &Kept) -> Result<bool, EffectError> {
        let MessageParts { delivery, binding, .. } = &*self.0;
        binding.has_letter(delivery, kept.letter_sequence()).await
    }

    fn in_progress(&self) -> impl Future<Output = ()> + Send + use<> {
        let MessageParts { delivery, settle, binding, .. } = &*self.0;
        let (binding, settle, stream_sequence) = (binding.clone(), settle.clone(), delivery.stream_sequence);
        async move {
            binding.traffic.told_in_progress();
            binding
                .log_unsettled(binding.client.nats.publish(settle, Bytes::from_static(b"+WPI")).await, stream_sequence);
        }
    }

    fn ack(self, _: Confirmed) -> impl Future<Output = ()> + Send {
        self.settle(Bytes::from_static(b"+ACK"))
    }

    async fn nak(self, delay: Duration) {
        let verb = match delay.min(LONGEST_DELAY).as_nanos() {
            0 => Bytes::from_static(b"-NAK"),
            nanos => format!("-NAK {{\"delay\":{nanos}}}").into(),
        };
        self.settle(verb).await;
    }

    async fn term(self, _: Kept, reason: &str) {
        let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        self.settle(format!("+TERM {reason}").into()).await;
    }
}

/// Attempt, position in the stream, and time of publication in milliseconds since the Unix epoch, from a delivery's
/// reply subject.
#[doc(hidden)]
pub fn position(reply: &str) -> Option<(u32, u64, u64)> {
    DeliveryPosition::parse(reply)
        .map(|position| (position.attempt, position.stream_sequence, position.published_at_ms))
}

/// The headers in the order of their names, so that a handler sees the same list on every attempt.
pub(super) fn list(headers: &HeaderMap) -> Vec<(String, String)> {
    without_pin(headers, None)
}

/// The same without that by which the server names the pinned host, of which the consumer is told. The server adds it
/// to what it delivers; what a publisher has written so stands before it, and stays.
fn without_pin(headers: &HeaderMap, consumer: Option<&Effective>) -> Vec<(String, String)> {
    let mut list = Vec::new();
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        let mut values = values.as_slice();
        if let (Some(consumer), PIN_HEADER, Some((id, before))) = (consumer, name, values.split_last())
            && consumer.pinned(id.as_str())
        {
            values = before;
        }
        list.extend(values.iter().map(|value| (name.to_owned(), value.as_str().to_owned())));
    }
    list.sort_by(|(a, _): &(String, String), (b, _)| a.cmp(b));
    list
}

/// What the reply subject of a delivery says (JetStream's ADR-15).
#[derive(Debug, PartialEq, Eq)]
struct DeliveryPosition {
    attempt: u32,
    stream_sequence: u64,
    consumer_sequence: u64,
    published_at_ms: u64,
}

impl DeliveryPosition {
    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, or the longer form that
    /// has `<domain>.<account hash>` before the stream and may go on after pending.
    fn parse(reply: &str) -> Option<Self> {
        // By bytes: a search for a character costs more than most tokens are long, and each message is parsed.
        let mut tokens = reply.strip_prefix("$JS.ACK.")?.as_bytes();
        let skip = match tokens.iter().filter(|byte| **byte == b'.').count() {
            6 => 2,
            8.. => 4,
            _ => return None,
        };
        for _ in 0..skip {
            tokens = next_token(tokens)?.1;
        }
        let mut number = || {
            let (token, rest) = next_token(tokens)?;
            tokens = rest;
            decimal(token)
        };
        let (attempt, stream_sequence, consumer_sequence, nanos) = (number()?, number()?, number()?, number()?);
        Some(Self {
            attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            stream_sequence,
            consumer_sequence,
            published_at_ms: nanos / 1_000_000,
        })
    }
}

/// What stands before the first dot, and what after it.
fn next_token(tokens: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = tokens.iter().position(|byte| *byte == b'.')?;
    Some((tokens.get(..dot)?, tokens.get(dot + 1..)?))
}

/// A number of decimal digits.
fn decimal(digits: &[u8]) -> Option<u64> {
    let add = |number: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_of_the_reply_subject_are_read() {
        let position = DeliveryPosition {
            attempt: 3,
            stream_sequence: 77,
            consumer_sequence: 9,
            published_at_ms: 1_600_000_000_123,
        };
        let short = "$JS.ACK.ORDERS.w.3.77.9.1600000000123456789.5";
        let long = "$JS.ACK._.ACCHASH.ORDERS.w.3.77.9.1600000000123456789.5";
        let longer = "$JS.ACK.hub.ACCHASH.ORDERS.w.3.77.9.1600000000123456789.5.random";
        for reply in [short, long, longer] {
            assert_eq!(DeliveryPosition::parse(reply).as_ref(), Some(&position), "{reply}");
        }
    }

    #[test]
    fn a_message_that_is_no_delivery_is_not_taken_for_one() {
        let too_large = "$JS.ACK.S.c.1.2.3.99999999999999999999.5";
        let empty = "$JS.ACK.S.c.1..3.4.5";
        for reply in
            ["", "_INBOX.abc", "$JS.ACK.", "$JS.ACK.S.c.x.2.3.4.5", "$JS.ACK.a.b.c.d.e.f.g.h", too_large, empty]
        {
            assert_eq!(DeliveryPosition::parse(reply), None, "{reply}");
        }
    }

    #[test]
    fn what_the_server_adds_of_the_pinned_host_is_told_and_not_shown() {
        let mut headers = HeaderMap::new();
        for (name, value) in [(PIN_HEADER, "a publisher's"), (PIN_HEADER, "the server's"), ("B", "2"), ("A", "1")] {
            headers.append(name, value);
        }
        let consumer = Effective::grouped(Duration::from_secs(30));
        let entry = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let shown = without_pin(&headers, Some(&consumer));
        assert_eq!(shown, [entry("A", "1"), entry("B", "2"), entry(PIN_HEADER, "a publisher's")]);
        assert_eq!(consumer.pull_as().and_then(|pull| pull.id).as_deref(), Some("the server's"));
        assert_eq!(list(&headers).last(), Some(&entry(PIN_HEADER, "the server's")));
        // Without a group it is no name that the server gave, and stays.
        let alone = Effective::with_ack_wait(Duration::from_secs(30));
        assert_eq!(without_pin(&headers, Some(&alone)), list(&headers));
        assert_eq!(alone.pull_as(), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(reply in "(\\$JS\\.ACK\\.)?[a-z0-9.]{0,60}") {
            let _ = DeliveryPosition::parse(&reply);
        }
    }
}
