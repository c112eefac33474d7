//! Reads the stream of dead letters, and sends letters back.

use std::fmt::Display;
use std::ops::ControlFlow;
use std::time::SystemTime;

use async_nats::header::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::{PurgeError, PurgeErrorKind, PurgeResponse, Stream};
use async_nats::jetstream::{Error as JetStreamError, ErrorCode};
use bytes::Bytes;
use futures_util::TryStreamExt;

use super::connect::Client;
use super::dead_letter_errors::{LettersError, SendError};
use super::header_map::headers;
use super::probe;
use super::raw_message::{self, RawMessage};
use super::redrive_target::{Homes, RedriveTarget};
use super::stream_scan::Scan;
use crate::dead_letter::{self, Content, Headers, Letter, StoredMessage, block};
use crate::delivery::MAX_HEADERS;
use crate::permissions::{Denial, Verb};
use crate::subject::check_subject;

const READ: &str = "read";
const DELETE: &str = "delete";

/// A stream of dead letters as it was when it was opened. Letters that are kept later are not seen.
#[derive(Debug, Clone)]
pub struct Letters {
    client: Client,
    stream: Stream,
    name: String,
    last: u64,
    homes: Homes,
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
        let found = asked(self, name, READ, self.find_stream(name)).await?;
        let stream = found.ok_or_else(|| LettersError::NoStream { stream: name.to_owned() })?;
        let last = stream.cached_info().state.last_sequence;
        Ok(Letters { client: self.clone(), stream, name: name.to_owned(), last, homes: Homes::default() })
    }
}

/// Awaits an answer about a stream of dead letters, or the denial because of which no answer comes.
async fn asked<T, E: Display>(
    client: &Client,
    stream: &str,
    verb: &'static str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, LettersError> {
    let concerns = |denial: &Denial| {
        denial.verb == Verb::Publish
            && denial.subject.starts_with(client.config.api())
            && denial.subject.split('.').any(|token| token == stream)
    };
    let stream = stream.to_owned();
    match client.denied.unless(concerns, answer).await {
        Ok(answer) => answer.map_err(|error| LettersError::Server { verb, stream, reason: error.to_string() }),
        Err(denial) => {
            let allow = client.denied.grant(&denial);
            let Denial { verb: does, subject } = denial;
            Err(LettersError::Denied { verb, stream, does, subject, allow })
        }
    }
}

impl Letters {
    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.name
    }

    async fn asked<T, E: Display>(
        &self,
        verb: &'static str,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, LettersError> {
        asked(&self.client, &self.name, verb, answer).await
    }

    async fn raw(&self, sequence: u64) -> Result<Option<RawMessage>, LettersError> {
        self.asked(READ, raw_message::get(&self.client, &self.name, sequence)).await
    }

    /// The position of the last message.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The workloads that have letters.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn workloads(&self) -> Result<Vec<String>, LettersError> {
        let info = self.asked(READ, self.stream.info_builder().subjects(">").fetch()).await?;
        let subjects = self.asked(READ, info.try_collect::<Vec<_>>()).await?;
        let names = subjects.iter().filter_map(|(subject, _)| dead_letter::workload(subject));
        let mut workloads: Vec<String> = names.map(str::to_owned).collect();
        workloads.sort();
        workloads.dedup();
        Ok(workloads)
    }

    /// Reads all messages in their order, without their payloads. `workload` and `since` limit them to one workload's,
    /// and to those kept since a time.
    ///
    /// # Errors
    /// If they cannot all be read.
    pub async fn scan(
        &self,
        workload: Option<&str>,
        since: Option<SystemTime>,
        each: impl FnMut(StoredMessage),
    ) -> Result<(), LettersError> {
        let subjects = subjects(workload);
        self.read(Scan { first: 1, last: self.last, subjects, since, payloads: false }, each).await
    }

    /// The same of those at these positions.
    ///
    /// # Errors
    /// If they cannot all be read.
    pub async fn scan_between(
        &self,
        workload: Option<&str>,
        (first, last): (u64, u64),
        each: impl FnMut(StoredMessage),
    ) -> Result<(), LettersError> {
        let (last, subjects) = (last.min(self.last), subjects(workload));
        self.read(Scan { first, last, subjects, since: None, payloads: false }, each).await
    }

    async fn read(&self, scan: Scan, mut each: impl FnMut(StoredMessage)) -> Result<(), LettersError> {
        let each = |stored| {
            each(stored);
            ControlFlow::Continue(())
        };
        // Boxed: the future that reads a stream is large, and seldom runs.
        self.asked(READ, Box::pin(scan.run(&self.client, &self.stream, each))).await
    }

    /// Reads one message, with its headers in the order in which they were published. `None` if it is not there.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn get(&self, sequence: u64) -> Result<Option<StoredMessage>, LettersError> {
        let Some(raw) = self.raw(sequence).await? else { return Ok(None) };
        Ok(Some(raw.into()))
    }

    /// The original of a letter that was read with its payload. `None` if the original was kept in a message of its own
    /// and that is not there any more.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn original(&self, letter: &Letter, stored: &StoredMessage) -> Result<Option<Original>, LettersError> {
        let payload = stored.payload.clone();
        Ok(Some(match &letter.content {
            Content::Here(headers) => Original { headers: Ok(headers.clone()), payload },
            Content::Unreadable(block) => Original { headers: Err(block.clone()), payload },
            Content::Apart { sequence, headers } => {
                let raw = self.raw(*sequence).await?;
                let Some(mut content) = raw.map(|raw| raw.payload).filter(|payload| payload.len() >= *headers) else {
                    return Ok(None);
                };
                let block = content.split_to(*headers);
                Original { headers: block::read(&block).map_err(|_| block.to_vec()), payload: content }
            }
        }))
    }

    /// Publishes an original again and waits until it is stored. It has to be stored in the stream `into`. Without
    /// `into` it has to be stored in the stream that the message died in, or in one that this stream takes its messages
    /// from. Gives whether that stream had the message already.
    ///
    /// # Errors
    /// If the original cannot be sent, or is stored elsewhere.
    pub async fn send(&self, letter: &Letter, original: Original, into: Option<&str>) -> Result<bool, SendError> {
        let Ok(list) = &original.headers else {
            return Err(SendError::Letter(
                "its subject or headers cannot be published by this client, as no handler could be given them"
                    .to_owned(),
            ));
        };
        // The subject is not trusted: whoever may publish dead letters can write it.
        check_subject(&letter.subject).map_err(SendError::Letter)?;
        let stream = into.unwrap_or(&letter.stream);
        let home = self.homes.of(&self.client, stream).await.map_err(SendError::Server)?;
        let room = MAX_HEADERS.min(self.client.max_payload().saturating_sub(original.payload.len()));
        // Before 2.12 a mirror refuses a message that its origin took with `Nats-Expected-Stream`.
        let is_exact = home.is_exact && self.client.nats.is_server_compatible(2, 12, 0);
        // Where the headers cannot name the stream, the server is asked for the stream before, and the answer is
        // compared after.
        if !is_exact
            && let Ok(taker) = self.client.context.stream_by_subject(letter.subject.as_str()).await
            && !home.takers.contains(&taker)
        {
            return Err(self.misled(&letter.subject, &home, None).await);
        }
        for name in &home.takers {
            let named = letter.redriven(list, Some(name));
            // A letter without room for the stream's name is compared with the stream that took it.
            let is_named = is_exact && block::size(&named) <= room;
            let map = headers(if is_named { named } else { letter.redriven(list, None) });
            let map = map.map_err(|error| SendError::Letter(format!("its headers: {error}")))?;
            match self.publish(&letter.subject, map, original.payload.clone()).await? {
                Some(ack) if home.takers.contains(&ack.stream) => return Ok(ack.duplicate),
                Some(ack) => return Err(self.misled(&letter.subject, &home, Some(ack)).await),
                None => {}
            }
        }
        Err(self.misled(&letter.subject, &home, None).await)
    }

    /// Publishes one message. `None` if the stream that took it is another than its headers say.
    async fn publish(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Option<PublishAck>, SendError> {
        let publish = PublishMessage::build().payload(payload).headers(headers);
        let stored = async { self.client.context.send_publish(subject.to_owned(), publish).await?.await };
        let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject == subject;
        match self.client.denied.unless(concerns, stored).await {
            Ok(Ok(ack)) => Ok(Some(ack)),
            Ok(Err(error)) if is_elsewhere(&error) => Ok(None),
            Ok(Err(error)) => Err(explain(subject, &error)),
            Err(denial) => Err(SendError::Letter(format!(
                "the NATS server does not let this user {} to `{}`; allow it, or connect as another user",
                denial.verb,
                denial.subject.escape_debug()
            ))),
        }
    }

    /// The error for a letter whose subject leads to another stream.
    async fn misled(&self, subject: &str, home: &RedriveTarget, stored: Option<PublishAck>) -> SendError {
        let copy = match &stored {
            Some(ack) => format!(", and has stored it at {}", ack.sequence),
            None => String::new(),
        };
        let taker = match stored {
            Some(ack) => Some(ack.stream),
            None => self.client.context.stream_by_subject(subject).await.ok(),
        };
        SendError::Letter(home.misled(subject, taker.as_deref(), &copy))
    }

    /// Deletes a letter, and the message of its own that holds its original if there is one. `false` if the letter was
    /// not there.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn delete(&self, letter: &Letter) -> Result<bool, LettersError> {
        let denies = self.stream.cached_info().config.deny_delete;
        let remedy = "letters go from it by its limits, or all together where it may be purged";
        self.lets_go(("deny_delete", denies), remedy)?;
        let deleted = self.remove(letter.sequence).await?;
        if let Content::Apart { sequence, .. } = letter.content {
            self.remove(sequence).await?;
        }
        Ok(deleted)
    }

    async fn remove(&self, sequence: u64) -> Result<bool, LettersError> {
        self.asked(DELETE, raw_message::delete(&self.client, &self.name, sequence)).await
    }

    /// Checks that letters may be deleted, as far as that can be known without deleting one.
    ///
    /// # Errors
    /// If the stream or the server's permissions keep every letter.
    pub async fn may_delete(&self) -> Result<(), LettersError> {
        let denies = self.stream.cached_info().config.deny_delete;
        self.lets_go(("deny_delete", denies), "--keep leaves letters where they are")?;
        // No stream has a message 0, so nothing is deleted.
        let nothing = async {
            let _ = tokio::time::timeout(probe::WITHIN, raw_message::delete(&self.client, &self.name, 0)).await;
            Ok::<(), std::convert::Infallible>(())
        };
        self.asked(DELETE, nothing).await
    }

    /// Checks that neither this setting of the stream nor that it is sealed keeps every message in it.
    fn lets_go(&self, (setting, is_set): (&str, bool), remedy: &str) -> Result<(), LettersError> {
        let setting = match self.stream.cached_info().config.sealed {
            true => "sealed",
            false if is_set => setting,
            false => return Ok(()),
        };
        let reason = format!("its setting {setting} keeps every message; {remedy}");
        Err(LettersError::Server { verb: DELETE, stream: self.name.clone(), reason })
    }

    /// Deletes all letters, or all of one workload, that were there when the stream was opened. Gives how many messages
    /// the server has deleted.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn purge(&self, workload: Option<&str>) -> Result<u64, LettersError> {
        let config = &self.stream.cached_info().config;
        let remedy = match config.deny_delete || config.sealed {
            true => "letters go from it by its limits alone",
            false => "have them deleted one by one, by their sequences or a filter such as --until 1s",
        };
        self.lets_go(("deny_purge", config.deny_purge), remedy)?;
        let Some(workload) = workload else {
            return self.purge_what(self.stream.purge().sequence(self.last + 1).into_future()).await;
        };
        let mut purged = 0;
        // A stream that somebody else made may store letters with the subject that they were published on.
        for subject in [dead_letter::stored_subject(workload), dead_letter::subject(workload)] {
            let purge = self.stream.purge().sequence(self.last + 1).filter(subject);
            purged += self.purge_what(purge.into_future()).await?;
        }
        Ok(purged)
    }

    async fn purge_what(
        &self,
        purge: impl Future<Output = Result<PurgeResponse, PurgeError>>,
    ) -> Result<u64, LettersError> {
        // The server's reason is the source of the client's error.
        let words = |error: PurgeError| match error.kind() {
            PurgeErrorKind::JetStream(error) => error.to_string(),
            _ => error.to_string(),
        };
        Ok(self.asked(DELETE, async { purge.await.map_err(words) }).await?.purged)
    }
}

/// The subjects of a workload's letters; all if none is named. A stream that somebody else made may store them as they
/// were published.
fn subjects(workload: Option<&str>) -> Vec<String> {
    let both = workload.map(|workload| vec![dead_letter::stored_subject(workload), dead_letter::subject(workload)]);
    both.unwrap_or_default()
}

/// Whether a stream refused a message because its headers name another stream.
fn is_elsewhere(error: &PublishError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<JetStreamError>());
    source.is_some_and(|error| error.error_code() == ErrorCode::STREAM_NOT_MATCH)
}

fn explain(subject: &str, error: &PublishError) -> SendError {
    let reason = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match error.kind() {
        PublishErrorKind::StreamNotFound => {
            SendError::Letter(format!("no stream takes `{}` now: create one with this subject", subject.escape_debug()))
        }
        PublishErrorKind::MaxPayloadExceeded => SendError::Letter(format!(
            "with the headers that name it, it is larger than the server takes; raise the server's max_payload: \
             {reason}"
        )),
        PublishErrorKind::TimedOut => SendError::Server(
            "no PubAck in time: it may be stored or not; run it again, and it is stored once within the duplicate \
             window"
                .to_owned(),
        ),
        PublishErrorKind::BrokenPipe | PublishErrorKind::MaxAckPending => SendError::Server(reason),
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence | PublishErrorKind::Other => {
            SendError::Letter(format!("the stream of `{}` refused it: {reason}", subject.escape_debug()))
        }
    }
}
