//! Stores the journal's lines in a stream, and reads them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::{self, Stream};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::Client;
use super::create_errors::{Creation, remedy};
use super::denied::unless_denied;
use super::settings::{OwnMessages, SettingsRefusal, StreamConfig, StreamState, keeps, reserved};
use super::stream_scan::Scan;
use crate::backoff::Backoff;
use crate::config::{JOURNAL, JournalStream};
use crate::journal::{ByteBudget, JournalSink, Trouble};

/// Lines that may wait to be stored.
const WAITING: usize = 1024;
/// How long the server may take to store a line.
const STORED_WITHIN: Duration = Duration::from_secs(10);
/// For how long the stream counts as it was seen.
const SEEN: Duration = Duration::from_secs(1);
/// The shortest and the longest pause before a stream that cannot be used is looked for again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// The lines on their way to the stream.
pub(crate) struct Lines {
    config: JournalStream,
    may_create: bool,
    waiting: mpsc::Receiver<(String, Bytes)>,
    room: Arc<ByteBudget>,
    lost: Arc<AtomicU64>,
    trouble: Arc<Trouble>,
}

/// The sink that takes lines without ever waiting, and the task's part that brings them to the stream.
pub(crate) fn journal_stream(config: JournalStream, may_create: bool) -> (JournalSink, Lines) {
    let (lines, waiting) = mpsc::channel(WAITING);
    let (lost, trouble) = (Arc::new(AtomicU64::new(0)), Arc::new(Trouble::default()));
    let room = Arc::new(ByteBudget::default());
    let to_store =
        Lines { config, may_create, waiting, room: room.clone(), lost: lost.clone(), trouble: trouble.clone() };
    let dropped = lost.clone();
    let take = Box::new(move |workload: &str, line: &[u8]| {
        let size = line.len();
        let has_room = room.take(size);
        if has_room && lines.try_send((format!("tidegate.journal.{workload}"), Bytes::copy_from_slice(line))).is_ok() {
            return;
        }
        if has_room {
            room.give(size);
        }
        dropped.fetch_add(1, Relaxed);
    });
    (JournalSink { take, lost, trouble }, to_store)
}

/// Finds or makes the stream. The error says what is wrong.
async fn find(client: &Client, config: &JournalStream, may_create: bool) -> Result<(), String> {
    let name = config.name.as_str();
    let failed = |problem: String| format!("the journal's stream {name} cannot be used: {problem}");
    match stream_of(client, name).await.map_err(failed)? {
        Some(found) => return fits(client, &found.config).map_err(failed),
        None if may_create => {}
        None => {
            return Err(failed(format!(
                "it is not there; make it, bound to {JOURNAL}, or let one workload have manage = \"create\""
            )));
        }
    }
    let wanted = stream::Config {
        name: name.to_owned(),
        description: Some("Decisions of tidegate with what led to them".to_owned()),
        subjects: vec![JOURNAL.to_owned()],
        storage: stream::StorageType::File,
        num_replicas: config.replicas,
        max_age: config.max_age.unwrap_or_default(),
        max_bytes: config.max_bytes,
        discard: stream::DiscardPolicy::Old,
        ..stream::Config::default()
    };
    let wanted = serde_json::to_value(wanted).unwrap_or_default();
    client.make_stream(name, &wanted).await.map_err(|error| {
        match error.code().and_then(|code| remedy(Creation::Journal, code)) {
            Some(remedy) => failed(format!("{error}. {remedy}")),
            None => failed(error.to_string()),
        }
    })?;
    tracing::info!(stream = name, "stream of the journal created");
    Ok(())
}

/// The stream, where there is one.
async fn stream_of(client: &Client, name: &str) -> Result<Option<StreamState>, String> {
    let asked = client.api_subject(&format!("STREAM.INFO.{name}"));
    unless_denied(client, &asked, client.stream_state(name)).await?.map_err(|error| error.to_string())
}

/// Whether the stream is there. A stream that cannot keep lines is an error.
pub(super) async fn is_there(client: &Client, name: &str) -> Result<bool, String> {
    match stream_of(client, name).await? {
        Some(found) => fits(client, &found.config).map(|()| true),
        None => Ok(false),
    }
}

/// Checks that a stream can keep lines.
fn fits(client: &Client, config: &StreamConfig) -> Result<(), String> {
    keeps(config, OwnMessages::Lines).map_err(|SettingsRefusal { problem, remedy }| format!("{problem}; {remedy}"))?;
    match reserved(config, Some(JOURNAL), client.inbox()) {
        Some(SettingsRefusal { problem, remedy }) => Err(format!("{problem}. {remedy}")),
        None => Ok(()),
    }
}

impl Lines {
    /// Finds or makes the stream, however long that takes, and stores one line after the other. Ends when the journal
    /// is closed and all lines are stored.
    pub(crate) async fn store(mut self, client: Client) {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        while let Err(problem) = find(&client, &self.config, self.may_create).await {
            if client.is_connected() {
                self.trouble.begin(&problem);
            }
            client.reconnected(backoff.pause()).await;
        }
        self.trouble.end("the journal's stream");
        let mut seen = Instant::now();
        while let Some((subject, line)) = self.waiting.recv().await {
            self.room.give(line.len());
            match self.keep(&client, subject, line, &mut seen).await {
                Ok(()) => self.trouble.end("the journal's stream"),
                Err(problem) => {
                    self.lost.fetch_add(1, Relaxed);
                    let name = &self.config.name;
                    self.trouble.begin(&format!("lines of the journal are not stored in its stream {name}: {problem}"));
                }
            }
        }
    }

    /// Stores a line. The error says what is wrong.
    async fn keep(&self, client: &Client, subject: String, line: Bytes, seen: &mut Instant) -> Result<(), String> {
        let name = &self.config.name;
        // Somebody may have edited it, and the server would acknowledge a line that it lets go at once.
        if seen.elapsed() >= SEEN {
            if let Some(found) = client.stream_seen(name).await {
                fits(client, &found.config)?;
            }
            *seen = Instant::now();
        }
        let stored = async { client.context.publish(subject.clone(), line).await?.await };
        match timeout(STORED_WITHIN, unless_denied(client, &subject, stored)).await {
            Ok(Err(denied)) => Err(denied),
            Ok(Ok(Ok(ack))) if ack.stream == *name => Ok(()),
            Ok(Ok(Ok(ack))) => Err(format!("stream {} takes them; bind {name} to {JOURNAL}, and no other", ack.stream)),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }
}

/// The decisions in a stream as it was when it was opened.
#[derive(Debug)]
pub struct Decisions {
    client: Client,
    stream: Stream,
    name: String,
    last: u64,
}

/// Why the journal in a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecisionsError {
    /// The stream is not there.
    #[error(
        "there is no journal: stream {stream} is not there\n  A host writes one with journal.stream; name another with \
         --stream."
    )]
    NoStream {
        /// The stream.
        stream: String,
    },
    /// The server did not answer, or refused.
    #[error("cannot read the journal in stream {stream}: {reason}")]
    Server {
        /// The stream.
        stream: String,
        /// What the server or the client said.
        reason: String,
    },
}

impl Client {
    /// Opens the stream of a journal.
    ///
    /// # Errors
    /// If the stream is not there, or the server does not answer.
    pub async fn decisions(&self, name: &str) -> Result<Decisions, DecisionsError> {
        let failed = |reason| DecisionsError::Server { stream: name.to_owned(), reason };
        let found = self.find_stream(name).await.map_err(|error| failed(error.to_string()))?;
        let stream = found.ok_or_else(|| DecisionsError::NoStream { stream: name.to_owned() })?;
        let last = stream.cached_info().state.last_sequence;
        Ok(Decisions { client: self.clone(), stream, name: name.to_owned(), last })
    }
}

impl Decisions {
    /// Reads the lines in their order, each with its sequence and when it was stored, until `each` says that it has
    /// enough. `workload` and `since` limit them to one workload's, and to those stored since a time.
    ///
    /// # Errors
    /// If they cannot all be read.
    pub async fn scan(
        &self,
        workload: Option<&str>,
        since: Option<SystemTime>,
        mut each: impl FnMut((u64, SystemTime), Bytes) -> ControlFlow<()>,
    ) -> Result<(), DecisionsError> {
        let subjects = vec![format!("tidegate.journal.{}", workload.unwrap_or("*"))];
        let scan = Scan { first: 1, last: self.last, subjects, since, payloads: true };
        let done =
            scan.run(&self.client, &self.stream, |stored| each((stored.sequence, stored.time), stored.payload)).await;
        done.map_err(|error| DecisionsError::Server { stream: self.name.clone(), reason: error.to_string() })
    }
}
