//! What the server knows of one message: the stream that has it, and the consumer that is to deliver it.

use std::fmt::Display;

use super::Client;
use super::raw_message;
use super::settings::{ConsumerConfig, ConsumerState};
use crate::config::subjects_overlap;
use crate::dead_letter::StoredMessage;
use crate::permissions::{Denial, Verb};

/// What the server knows of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The message; none if the stream does not have it.
    pub message: Option<StoredMessage>,
    /// The position of the last message that the stream has stored.
    pub last: u64,
    /// Whether the stream deletes what is settled.
    pub deletes_settled: bool,
    /// How far the consumer is; none if it is not there.
    pub consumer: Option<Progress>,
}

/// How far a consumer is, in sequences of its stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Everything up to here was delivered at least once, as far as the consumer takes it.
    pub delivered: u64,
    /// Everything up to here is settled.
    pub settled: u64,
    /// Messages that are delivered and not settled.
    pub unsettled: u64,
    /// Whether its filter takes the message; false if the message is not there.
    pub takes: bool,
    /// Whether it was made to begin elsewhere than at the stream's first message.
    pub begins_later: bool,
    /// Whether it is paused.
    pub paused: bool,
}

/// Why the server did not tell.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The stream is not there.
    #[error("stream {0} is not there\n  A host that may make it does when it starts.")]
    NoStream(String),
    /// The server does not let this user ask.
    #[error("the NATS server does not let this user publish to `{0}`\n  Allow it, or connect as another user.")]
    Denied(String),
    /// The server did not answer, or refused.
    #[error("the NATS server does not tell what it knows of stream {stream}: {reason}")]
    Server {
        /// The stream.
        stream: String,
        /// What the server or the client said.
        reason: String,
    },
}

impl Client {
    /// Reads what the server knows of the message at `sequence` of a stream, for a consumer.
    ///
    /// # Errors
    /// [`LookupError`]. That the message or the consumer is not there is none.
    pub async fn look_up(&self, stream: &str, consumer: &str, sequence: u64) -> Result<Lookup, LookupError> {
        // In this order what is stored, delivered or settled meanwhile is not taken for deleted.
        let found = self.asked_of(stream, self.stream_state(stream)).await?;
        let found = found.ok_or_else(|| LookupError::NoStream(stream.to_owned()))?;
        let message = self.asked_of(stream, raw_message::get(self, stream, sequence)).await?.map(StoredMessage::from);
        let state = self.asked_of(stream, self.consumer_state(stream, consumer)).await?;
        let subject = message.as_ref().map(|message| message.subject.as_str());
        Ok(Lookup {
            last: found.state.last_seq,
            deletes_settled: matches!(found.config.retention.as_str(), "workqueue" | "interest"),
            consumer: state.map(|state| progress(&state, subject)),
            message,
        })
    }

    /// Awaits an answer about a stream, or the denial because of which none comes.
    async fn asked_of<T, E: Display>(
        &self,
        stream: &str,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, LookupError> {
        let concerns = |denial: &Denial| {
            denial.verb == Verb::Publish
                && denial.subject.contains(".API.")
                && denial.subject.split('.').any(|token| token == stream)
        };
        match self.denied.unless(concerns, answer).await {
            Ok(answer) => {
                answer.map_err(|error| LookupError::Server { stream: stream.to_owned(), reason: error.to_string() })
            }
            Err(denial) => Err(LookupError::Denied(denial.subject)),
        }
    }
}

fn progress(state: &ConsumerState, subject: Option<&str>) -> Progress {
    let begins = state.config.other.get("deliver_policy").and_then(|policy| policy.as_str());
    Progress {
        delivered: state.delivered.stream_seq,
        settled: state.ack_floor.stream_seq,
        unsettled: state.num_ack_pending,
        takes: subject.is_some_and(|subject| takes(&state.config, subject)),
        begins_later: begins.is_some_and(|policy| policy != "all"),
        paused: state.paused,
    }
}

fn takes(config: &ConsumerConfig, subject: &str) -> bool {
    let single = Some(&config.filter_subject).filter(|filter| !filter.is_empty());
    let mut filters = config.filter_subjects.iter().chain(single).peekable();
    filters.peek().is_none() || filters.any(|filter| subjects_overlap(filter, subject))
}
