//! Why a request was not answered, in words that say what is known of it and what to do.

use std::time::Duration;

use crate::dead_letter::refusal::Refusal;
use crate::permissions::Verb;

/// Where a request was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAt {
    /// The stream.
    pub stream: String,
    /// The position in it, from 1.
    pub sequence: u64,
    /// Whether the stream had a message with this id already; then this is that one's position.
    pub duplicate: bool,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Nothing was sent: messages cannot be published on such a subject.
    #[error("`{subject}` is not a subject to publish on: it must have no empty token, no space and no wildcard")]
    Subject {
        /// The subject.
        subject: String,
    },
    /// Nothing was sent: a header is not legal, or is one that the request sets itself.
    #[error("header `{name}`: {reason}")]
    Header {
        /// The header's name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nothing was sent: the server would refuse it.
    #[error("payload and headers of the request are too large: {reason}")]
    TooLarge {
        /// The size and the limit, in bytes.
        reason: String,
    },
    /// Nobody listens: no stream has the subject, or JetStream is off.
    #[error("no stream takes `{subject}`: create one with this subject, or turn JetStream on in the server")]
    NoStream {
        /// The subject.
        subject: String,
    },
    /// The server does not let this user do it.
    #[error(
        "the NATS server does not let this user {verb} to `{subject}`\n  Allow it to {verb} to `{allow}`, or connect \
         as another user."
    )]
    Denied {
        /// What the user wanted to do.
        verb: Verb,
        /// With which subject.
        subject: String,
        /// The subject to allow.
        allow: String,
    },
    /// The stream did not take the message.
    #[error("the stream of `{subject}` refused the request: {reason}")]
    Refused {
        /// The subject.
        subject: String,
        /// The server's words.
        reason: String,
    },
    /// The connection failed before the message was sent.
    #[error("cannot publish on `{subject}`: {reason}")]
    Publish {
        /// The subject.
        subject: String,
        /// The client's words.
        reason: String,
    },
    /// Neither PubAck nor reply came in time. The message may be stored or not; without a PubAck its position is
    /// unknown, so it could not be deleted.
    #[error(
        "no PubAck for `{subject}` within {}: the request may be stored and may still be handled; send it again with \
         the same message id to be sure of one copy", humantime::format_duration(*.timeout)
    )]
    NoPubAck {
        /// The subject.
        subject: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The message will not be handled: it is a dead letter, or its handler answered that it failed.
    #[error("{}", dead(.refusal))]
    Dead {
        /// Where the request was stored; `None` if the PubAck did not come.
        stored: Option<StoredAt>,
        /// What was answered.
        refusal: Box<Refusal>,
    },
    /// The message was stored, and no reply came in time.
    #[error(
        "no reply within {}: stored in {} at {}, {}", humantime::format_duration(*.timeout), .stored.stream,
        .stored.sequence, fate(.stored, *.deleted)
    )]
    NoReply {
        /// Where the message was.
        stored: StoredAt,
        /// Whether it was deleted. If not, it had left the stream before: handled without a reply, or dead; or the
        /// server did not answer.
        deleted: bool,
        /// How long was waited.
        timeout: Duration,
    },
}

fn dead(refusal: &Refusal) -> String {
    let Refusal { code, reason, cause, letter } = refusal;
    match (cause, letter) {
        (Some(cause), Some(letter)) => format!(
            "the request was not handled: it is dead letter {letter}, with the cause {cause}: {reason}\n  \
             `tidegate dead show {letter}` shows all of it."
        ),
        _ => format!("the request was answered with error {code}: {reason}"),
    }
}

fn fate(stored: &StoredAt, deleted: bool) -> &'static str {
    match (deleted, stored.duplicate) {
        (_, true) => "by an earlier request with this message id, to which its reply goes; it is left there",
        (true, false) => "deleted from there; a worker that had it already may handle it all the same",
        (false, false) => {
            "and not deleted: it is no longer there, so a handler may have taken it without replying, or this user may \
             not delete it"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_which_was_missing() {
        let stored = |duplicate| StoredAt { stream: "TEST".to_owned(), sequence: 7, duplicate };
        let timeout = Duration::from_secs(1);
        let text =
            |duplicate, deleted| RequestError::NoReply { stored: stored(duplicate), deleted, timeout }.to_string();
        assert!(text(false, true).starts_with("no reply within 1s: stored in TEST at 7, deleted from there; "));
        assert!(text(false, false).contains("no longer there"));
        assert!(text(true, false).contains("earlier request"));
        let missing = RequestError::NoPubAck { subject: "a.b".to_owned(), timeout }.to_string();
        assert!(missing.starts_with("no PubAck for `a.b` within 1s"), "{missing}");
    }
}
