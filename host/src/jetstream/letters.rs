//! Reads the stream of dead letters, and sends letters back.

use std::ops::ControlFlow;
use std::time::SystemTime;

use async_nats::header::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use futures_util::StreamExt;

use super::Client;
use super::message::headers;
use super::raw::{self, Raw};
use super::scan::Scan;
use crate::letter::{self, Content, Headers, Letter, Stored, block};

/// A stream of dead letters as it was when it was opened: what is kept later does not count.
#[derive(Debug, Clone)]
pub struct Letters {
    client: Client,
    stream: Stream,
    name: String,
    last: u64,
}

/// Why dead letters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The stream is not there.
    #[error(
        "there are no dead letters: stream {stream} is not there\n  A host makes it when it starts; name another with --dead-letters."
    )]
    NoStream {
        /// The stream.
        stream: String,
    },
    /// The server did not answer, or refused.
    #[error("cannot read the dead letters in stream {stream}: {reason}")]
    Server {
        /// The stream.
        stream: String,
        /// What the server or the client said.
        reason: String,
    },
}

/// Why a letter was not sent back. It stays where it is.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// Something about this letter; others may fare better.
    #[error("{0}")]
    Letter(String),
    /// The server or the way to it; others would fare no better now.
    #[error("{0}")]
    Server(String),
}

/// An original, as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// Its headers; `Err` is the block that cannot be read.
    pub headers: Result<Headers, Vec<u8>>,
    /// Its payload.
    pub payload: Bytes,
}

impl Client {
    /// Opens a stream of dead letters.
    ///
    /// # Errors
    /// [`LettersError`], each case with what to do.
    pub async fn letters(&self, name: &str) -> Result<Letters, LettersError> {
        let failed = |reason| LettersError::Server { stream: name.to_owned(), reason };
        let found = self.find_stream(name).await.map_err(|error| failed(error.to_string()))?;
        let stream = found.ok_or_else(|| LettersError::NoStream { stream: name.to_owned() })?;
        let last = stream.cached_info().state.last_sequence;
        Ok(Letters { client: self.clone(), stream, name: name.to_owned(), last })
    }
}

impl Letters {
    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.name
    }

    fn error(&self, reason: impl std::fmt::Display) -> LettersError {
        LettersError::Server { stream: self.name.clone(), reason: reason.to_string() }
    }

    /// The workloads that have letters.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn workloads(&self) -> Result<Vec<String>, LettersError> {
        let info = self.stream.info_builder().subjects(">").fetch().await.map_err(|error| self.error(error))?;
        let subjects: Vec<_> = info.collect().await;
        let mut workloads = Vec::new();
        for subject in subjects {
            let (subject, _) = subject.map_err(|error| self.error(error))?;
            workloads.extend(letter::workload(&subject).map(str::to_owned));
        }
        workloads.sort();
        workloads.dedup();
        Ok(workloads)
    }

    /// Reads all messages in their order, without their payloads: those of one workload, and kept since a time, if so
    /// wanted.
    ///
    /// # Errors
    /// If they cannot all be read.
    pub async fn scan(
        &self,
        workload: Option<&str>,
        since: Option<SystemTime>,
        mut each: impl FnMut(Stored),
    ) -> Result<(), LettersError> {
        let subjects = workload.map(|workload| vec![letter::stored_subject(workload), letter::subject(workload)]);
        let scan = Scan { last: self.last, subjects: subjects.unwrap_or_default(), since, payloads: false };
        let each = |stored| {
            each(stored);
            ControlFlow::Continue(())
        };
        scan.run(&self.stream, each).await.map_err(|error| self.error(error))
    }

    /// Reads one message, with its headers in the order in which they were published. `None` if it is not there.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn get(&self, sequence: u64) -> Result<Option<Stored>, LettersError> {
        let Some(raw) = raw::get(&self.client, &self.name, sequence).await.map_err(|error| self.error(error))? else {
            return Ok(None);
        };
        let Raw { subject, block, payload, time, .. } = raw;
        let headers = block::read(&block).unwrap_or_default();
        Ok(Some(Stored { sequence, subject, headers, size: payload.len(), payload, time }))
    }

    /// The original of a letter, which was read with its payload. `None` if the other message that holds it is not
    /// there any more.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn original(&self, letter: &Letter, stored: &Stored) -> Result<Option<Original>, LettersError> {
        let payload = stored.payload.clone();
        Ok(Some(match &letter.content {
            Content::Here(headers) => Original { headers: Ok(headers.clone()), payload },
            Content::Unreadable(block) => Original { headers: Err(block.clone()), payload },
            Content::Apart { sequence, headers } => {
                let raw = raw::get(&self.client, &self.name, *sequence).await.map_err(|error| self.error(error))?;
                let Some(mut content) = raw.map(|raw| raw.payload).filter(|payload| payload.len() >= *headers) else {
                    return Ok(None);
                };
                let block = content.split_to(*headers);
                Original { headers: block::read(&block).map_err(|_| block.to_vec()), payload: content }
            }
        }))
    }

    /// Publishes an original again, and returns what waits until it is stored; that gives whether the stream had it
    /// already.
    ///
    /// # Errors
    /// If it cannot be sent, or is not stored.
    pub async fn send(
        &self,
        letter: &Letter,
        original: Original,
    ) -> Result<impl Future<Output = Result<bool, SendError>> + Send + use<>, SendError> {
        let Ok(list) = &original.headers else {
            return Err(SendError::Letter(
                "its subject or headers cannot be published by this client, as no handler could be given them"
                    .to_owned(),
            ));
        };
        let map: HeaderMap =
            headers(letter.redriven(list)).map_err(|error| SendError::Letter(format!("its headers: {error}")))?;
        let subject = letter.subject.clone();
        let explain = move |error: PublishError| explain(&subject, &error);
        let publish = PublishMessage::build().payload(original.payload).headers(map);
        let sent = self.client.context.send_publish(letter.subject.clone(), publish).await;
        let ack = sent.map_err(&explain)?;
        Ok(async move { ack.await.map(|ack| ack.duplicate).map_err(explain) })
    }

    /// Deletes a letter, with the other message that holds its content if there is one. `false` if it was not there.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn delete(&self, letter: &Letter) -> Result<bool, LettersError> {
        let deleted = self.remove(letter.sequence).await?;
        if let Content::Apart { sequence, .. } = letter.content {
            self.remove(sequence).await?;
        }
        Ok(deleted)
    }

    async fn remove(&self, sequence: u64) -> Result<bool, LettersError> {
        raw::delete(&self.client, &self.name, sequence).await.map_err(|error| self.error(error))
    }

    /// Deletes all messages, or all of one workload, that were there when the stream was opened. Gives how many that were.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn purge(&self, workload: Option<&str>) -> Result<u64, LettersError> {
        let purge = self.stream.purge().sequence(self.last + 1);
        let done = match workload {
            Some(workload) => purge.filter(letter::stored_subject(workload)).await,
            None => purge.await,
        };
        Ok(done.map_err(|error| self.error(error))?.purged)
    }
}

fn explain(subject: &str, error: &PublishError) -> SendError {
    let reason = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match error.kind() {
        PublishErrorKind::StreamNotFound => {
            SendError::Letter(format!("no stream takes `{}` now: create one with this subject", subject.escape_debug()))
        }
        PublishErrorKind::MaxPayloadExceeded => SendError::Letter(format!(
            "with the headers that name it, it is larger than the server takes; raise the server's max_payload: {reason}"
        )),
        PublishErrorKind::TimedOut => SendError::Server(
            "no PubAck in time: it may be stored or not; run it again, and it is stored once within the duplicate window"
                .to_owned(),
        ),
        PublishErrorKind::BrokenPipe | PublishErrorKind::MaxAckPending => SendError::Server(reason),
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence | PublishErrorKind::Other => {
            SendError::Letter(format!("the stream of `{}` refused it: {reason}", subject.escape_debug()))
        }
    }
}
