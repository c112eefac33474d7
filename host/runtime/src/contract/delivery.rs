//! What a handler is given, and what it answers.

use std::time::Duration;

use bytes::Bytes;

use super::Fault;

/// One message as JetStream delivered it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// The subject it was published on.
    pub subject: String,
    /// Its headers, as published.
    pub headers: Vec<(String, String)>,
    /// Its payload, as published.
    pub payload: Bytes,
    /// Its position in the stream, from 1.
    pub stream_sequence: u64,
    /// How often it has been delivered, this time included.
    pub attempt: u32,
    /// When the stream stored it: milliseconds since the Unix epoch, by the server's clock.
    pub published_at_ms: u64,
    /// Where a requester waits for a reply, if one does.
    pub reply_to: Option<String>,
}

impl Delivery {
    /// Bytes of what was published.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + size(&self.headers)
    }
}

fn size(headers: &[(String, String)]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// A message that a handler wants published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publication {
    /// A literal subject.
    pub subject: String,
    /// Headers without the `Nats-` prefix.
    pub headers: Vec<(String, String)>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// What a handler answers when it succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// The reply to the requester; `None` sends none.
    pub reply: Option<Vec<u8>>,
    /// What to publish, in order.
    pub publications: Vec<Publication>,
}

impl Response {
    /// Bytes of the reply and of what is published.
    pub(crate) fn size(&self) -> usize {
        let publication = |publication: &Publication| {
            publication.payload.len() + publication.subject.len() + size(&publication.headers)
        };
        self.reply.as_ref().map_or(0, Vec::len) + self.publications.iter().map(publication).sum::<usize>()
    }
}

/// What a handler answers when it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Try again, after this delay or after the workload's backoff.
    Retry(Option<Duration>),
    /// Try again, after the workload's backoff. What went wrong, in the handler's words.
    Failed(String),
    /// Never try again, for this reason.
    Reject(String),
}

/// What a handler answers to one delivery.
pub type Answer = Result<Response, Failure>;

/// How a call ended, for one delivery of it.
pub type Outcome = Result<Answer, Fault>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_that_is_sent_or_was_published_counts() {
        let headers = vec![("ab".to_owned(), "cde".to_owned())];
        let delivery = Delivery { headers: headers.clone(), payload: "fg".into(), ..Delivery::default() };
        assert_eq!(delivery.size(), 7);
        let publication = Publication { subject: "s.t".into(), headers, payload: vec![0; 10] };
        assert_eq!(Response { reply: Some(vec![0; 100]), publications: vec![publication] }.size(), 118);
    }
}
