//! Request-reply through a stream.
//!
//! The request is a message of the stream, so it waits there until a worker has handled it; its `Nats-Reply` header
//! says where the requester listens. (The message's own reply subject is taken: the stream sends its PubAck there.)
//!
//! The last token of an inbox is made from the message id, so a request that is sent again with the same id, which
//! the stream then drops as a duplicate, still hears the reply to the message that it stored.

use std::time::Duration;

use async_nats::header::{HeaderName, HeaderValue};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::DeleteStatus;
use async_nats::{HeaderMap, jetstream::publish::PublishAck};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::connect::Client;
use super::message::REPLY_HEADER;
use super::reply_inboxes::{Waiter, last_token, token};
use super::request_error::{RequestError, StoredAt};
use crate::dead_letter::refusal;
use crate::permissions::{Denial, Verb};
use crate::subject::check_subject;

/// The header by which a stream knows duplicates.
const ID_HEADER: &str = "Nats-Msg-Id";
/// How long a deletion may take once a request has timed out.
const DELETE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a reply may take from the connection to its waiter.
const LAST_LOOK: Duration = Duration::from_millis(50);

/// How a request is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOptions {
    /// How long to wait, for the PubAck and the reply together.
    pub timeout: Duration,
    /// The message id; `None` makes a new one. A request that failed with [`RequestError::NoPubAck`] can be sent
    /// again with the same id and is stored once. After [`RequestError::NoReply`] it needs another id: the stream
    /// remembers the id for its duplicate window even if the message is deleted, and would drop the message.
    pub message_id: Option<String>,
}

impl Default for RequestOptions {
    /// 5 s and a new message id.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), message_id: None }
    }
}

/// The reply to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What the handler answered.
    pub payload: Bytes,
    /// The reply's headers.
    pub headers: Vec<(String, String)>,
    /// Where the request was stored; `None` if the reply came and the PubAck did not.
    pub stored: Option<StoredAt>,
}

impl Client {
    /// Publishes a request into a stream and waits for the reply of whoever handles it.
    ///
    /// The message gets the headers `Nats-Reply` and `Nats-Msg-Id` beside `headers`. If no reply comes in time the
    /// message is deleted from its stream, unless it is that of an earlier request with the same id, and a reply that
    /// comes until then still counts.
    ///
    /// # Errors
    /// [`RequestError`] says what was missing.
    pub async fn request(
        &self,
        subject: &str,
        payload: Bytes,
        headers: &[(String, String)],
        options: &RequestOptions,
    ) -> Result<Reply, RequestError> {
        if check_subject(subject).is_err() {
            return Err(RequestError::Subject { subject: subject.to_owned() });
        }
        let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject == subject;
        let asked = Box::pin(self.ask(subject, payload, headers, options));
        self.denied.unless(concerns, asked).await.unwrap_or_else(|denial| {
            let allow = self.denied.grant(&denial);
            let Denial { verb, subject } = denial;
            Err(RequestError::Denied { verb, subject, allow })
        })
    }

    async fn ask(
        &self,
        subject: &str,
        payload: Bytes,
        headers: &[(String, String)],
        options: &RequestOptions,
    ) -> Result<Reply, RequestError> {
        let failed = |error: PublishError| publish_error(subject, options.timeout, &error);
        let deadline = Instant::now() + options.timeout;
        let inbox = self
            .requests
            .inbox(&self.nats)
            .await
            .map_err(|error| RequestError::Publish { subject: subject.to_owned(), reason: error.to_string() })?;
        let id = match &options.message_id {
            Some(id) => id.clone(),
            None => last_token(&self.nats.new_inbox()).to_owned(),
        };
        let token = token(&id);
        let headers = header_map(headers, &id, &inbox.subject(&token))?;
        let mut waiter = inbox.wait(token);

        let publish = self.context.publish_with_headers(subject.to_owned(), headers, payload);
        let ack = match timeout_at(deadline, publish).await {
            Ok(sent) => sent.map_err(failed)?,
            Err(_) => {
                let reason = "the connection takes no messages".to_owned();
                return Err(RequestError::Publish { subject: subject.to_owned(), reason });
            }
        };
        let stored = match timeout_at(deadline, ack.into_future()).await {
            Ok(Ok(ack)) => Some(StoredAt::from(ack)),
            Ok(Err(error)) if error.kind() == PublishErrorKind::TimedOut => None,
            Ok(Err(error)) => return Err(failed(error)),
            Err(_) => None,
        };
        let message = match timeout_at(deadline, &mut waiter.reply).await {
            Ok(Ok(message)) => message,
            Ok(Err(_)) | Err(_) => self.give_up(subject, &mut waiter, stored.clone(), options.timeout).await?,
        };
        let headers = pairs(message.headers.as_ref());
        match refusal::read(&headers) {
            Some(refusal) => Err(RequestError::Dead { stored, refusal: Box::new(refusal) }),
            None => Ok(Reply { payload: message.payload, headers, stored }),
        }
    }

    /// Deletes a message that was not replied to in time. A reply that was sent before the message left the stream
    /// reaches this connection before the answer to the deletion does. So the reply is looked for once more after that
    /// answer.
    async fn give_up(
        &self,
        subject: &str,
        waiter: &mut Waiter,
        stored: Option<StoredAt>,
        timeout: Duration,
    ) -> Result<async_nats::Message, RequestError> {
        let Some(stored) = stored else {
            let missing = RequestError::NoPubAck { subject: subject.to_owned(), timeout };
            return waiter.reply.try_recv().map_err(|_| missing);
        };
        // A duplicate is the message of another request, which may still wait for it, or may have been answered long
        // ago.
        let deleted = !stored.duplicate && self.delete_message(&stored.stream, stored.sequence).await;
        match tokio::time::timeout(LAST_LOOK, &mut waiter.reply).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(_)) | Err(_) => Err(RequestError::NoReply { stored, deleted, timeout }),
        }
    }

    async fn delete_message(&self, stream: &str, sequence: u64) -> bool {
        let body = serde_json::json!({ "seq": sequence });
        let request = self.context.request(format!("STREAM.MSG.DELETE.{stream}"), &body);
        match tokio::time::timeout(DELETE_TIMEOUT, request).await {
            Ok(Ok(Response::Ok(DeleteStatus { success }))) => success,
            Ok(Ok(Response::Err { error })) => {
                tracing::debug!(stream, sequence, %error, "request not deleted");
                false
            }
            Ok(Err(error)) => {
                tracing::debug!(stream, sequence, %error, "request not deleted");
                false
            }
            Err(_) => false,
        }
    }
}

impl From<PublishAck> for StoredAt {
    fn from(ack: PublishAck) -> Self {
        Self { stream: ack.stream, sequence: ack.sequence, duplicate: ack.duplicate }
    }
}

fn publish_error(subject: &str, timeout: Duration, error: &PublishError) -> RequestError {
    let subject = subject.to_owned();
    let reason = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match error.kind() {
        PublishErrorKind::StreamNotFound => RequestError::NoStream { subject },
        PublishErrorKind::MaxPayloadExceeded => RequestError::TooLarge { reason },
        PublishErrorKind::TimedOut => RequestError::NoPubAck { subject, timeout },
        PublishErrorKind::BrokenPipe | PublishErrorKind::MaxAckPending => RequestError::Publish { subject, reason },
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence | PublishErrorKind::Other => {
            RequestError::Refused { subject, reason }
        }
    }
}

fn header_map(headers: &[(String, String)], id: &str, reply_to: &str) -> Result<HeaderMap, RequestError> {
    let mut map = HeaderMap::new();
    let bad = |name: &str, reason| RequestError::Header { name: name.to_owned(), reason };
    let own = [(REPLY_HEADER, reply_to), (ID_HEADER, id)];
    for (name, _) in headers {
        if own.iter().any(|(own, _)| name.eq_ignore_ascii_case(own)) {
            return Err(bad(name, "the request sets this one itself"));
        }
    }
    let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in given.chain(own) {
        let header: HeaderName =
            name.parse().map_err(|_| bad(name, "a name is visible ASCII characters without a colon"))?;
        let value: HeaderValue = value.parse().map_err(|_| bad(name, "a value has no line breaks"))?;
        if name.is_empty() {
            return Err(bad(name, "a name is not empty"));
        }
        map.append(header, value);
    }
    Ok(map)
}

fn pairs(headers: Option<&HeaderMap>) -> Vec<(String, String)> {
    let Some(headers) = headers else { return Vec::new() };
    let pair = |name: &HeaderName, value: &HeaderValue| (name.to_string(), value.to_string());
    headers.iter().flat_map(|(name, values)| values.iter().map(move |value| pair(name, value))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn illegal_and_reserved_headers_are_refused_by_name() {
        let refused = |name: &str, value: &str| {
            let error = header_map(&[(name.to_owned(), value.to_owned())], "1", "_INBOX.x.y").unwrap_err();
            assert!(matches!(&error, RequestError::Header { name: refused, .. } if refused == name), "{error}");
        };
        refused("a:b", "x");
        refused("a b", "x");
        refused("", "x");
        refused("a", "x\r\ny");
        refused("nats-msg-id", "x");
        refused("Nats-Reply", "x");
        let map = header_map(&[("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())], "id", "r").unwrap();
        assert_eq!(map.get_all("a").count(), 2);
        assert_eq!(map.get("Nats-Msg-Id").unwrap().as_str(), "id");
        assert_eq!(map.get("Nats-Reply").unwrap().as_str(), "r");
    }

    #[test]
    fn a_message_id_with_a_line_break_is_refused() {
        assert!(
            matches!(header_map(&[], "1\r\n2", "r"), Err(RequestError::Header { name, .. }) if name == "Nats-Msg-Id")
        );
    }
}
