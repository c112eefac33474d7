//! The journal's stream.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::{self, Stream};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Client;
use super::refusals::{Made, remedy};
use super::scan::Scan;
use super::settings::{Refusal, Reserved, StreamConfig, reserved};
use super::setup::SetupError;
use crate::config::JournalStream;
use crate::journal::Sink;

/// What the stream is bound to: the last token is the workload.
const SUBJECTS: &str = "tidegate.journal.*";
/// Lines that may wait to be stored.
const WAITING: usize = 1024;
/// How long the server may take to store a line.
const STORED_WITHIN: Duration = Duration::from_secs(10);
/// After how many failures in a row one is logged again.
const REMIND: u64 = 1000;

/// Finds or makes the stream: what brings lines there, one after the other, and never waits.
///
/// # Errors
/// [`SetupError`] if the stream cannot be used.
pub async fn journal_stream(client: &Client, config: &JournalStream, may_create: bool) -> Result<Sink, SetupError> {
    find(client, config, may_create).await?;
    let (lines, waiting) = mpsc::channel(WAITING);
    let lost = Arc::new(AtomicU64::new(0));
    tokio::spawn(store(client.clone(), waiting, lost.clone()));
    let dropped = lost.clone();
    let take = Box::new(move |workload: &str, line: &[u8]| {
        let line = (format!("tidegate.journal.{workload}"), Bytes::copy_from_slice(line));
        if lines.try_send(line).is_err() {
            dropped.fetch_add(1, Relaxed);
        }
    });
    Ok(Sink { take, lost })
}

async fn find(client: &Client, config: &JournalStream, may_create: bool) -> Result<(), SetupError> {
    let name = config.name.as_str();
    let failed = |problem: String| SetupError::Journal { stream: name.to_owned(), problem };
    match client.stream_state(name).await.map_err(|error| failed(error.to_string()))? {
        Some(found) => return fits(client, &found.config).map_err(failed),
        None if may_create => {}
        None => {
            return Err(failed(format!(
                "it is not there; make it, bound to {SUBJECTS}, or let one workload have manage = \"create\""
            )));
        }
    }
    let wanted = stream::Config {
        name: name.to_owned(),
        description: Some("Decisions of tidegate with what led to them".to_owned()),
        subjects: vec![SUBJECTS.to_owned()],
        storage: stream::StorageType::File,
        num_replicas: config.replicas,
        max_age: config.max_age.unwrap_or_default(),
        max_bytes: config.max_bytes,
        discard: stream::DiscardPolicy::Old,
        ..stream::Config::default()
    };
    let wanted = serde_json::to_value(wanted).unwrap_or_default();
    client.make_stream(name, &wanted).await.map_err(|error| {
        match error.code().and_then(|code| remedy(Made::Journal, code)) {
            Some(remedy) => failed(format!("{error}\n  {remedy}")),
            None => failed(error.to_string()),
        }
    })?;
    tracing::info!(stream = name, "stream of the journal created");
    Ok(())
}

/// Whether lines can be kept in a stream that is there.
fn fits(client: &Client, config: &StreamConfig) -> Result<(), String> {
    if !config.subjects.iter().any(|subject| subject == SUBJECTS) {
        return Err(format!("it is there, and not bound to {SUBJECTS}; name another in journal.stream"));
    }
    if config.no_ack {
        return Err("it acknowledges no publication (no_ack), so no line could be known to be kept".to_owned());
    }
    match reserved(config, Some(SUBJECTS), Reserved { inbox: client.inbox() }) {
        Some(Refusal { problem, remedy }) => Err(format!("{problem}\n  {remedy}")),
        None => Ok(()),
    }
}

/// Ends when nothing more can come.
async fn store(client: Client, mut lines: mpsc::Receiver<(String, Bytes)>, lost: Arc<AtomicU64>) {
    let mut failures = 0u64;
    while let Some((subject, line)) = lines.recv().await {
        let stored = async { client.context.publish(subject, line).await?.await };
        let problem = match timeout(STORED_WITHIN, stored).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer".to_owned()),
        };
        match problem {
            None => failures = 0,
            Some(problem) => {
                lost.fetch_add(1, Relaxed);
                if failures.is_multiple_of(REMIND) {
                    tracing::error!(
                        problem,
                        failures,
                        "a line of the journal is not stored in its stream; decisions go on without it"
                    );
                }
                failures += 1;
            }
        }
    }
}

/// The decisions in a stream as it was when it was opened.
#[derive(Debug)]
pub struct Decisions {
    stream: Stream,
    name: String,
    last: u64,
}

/// Why the journal in a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecisionsError {
    /// The stream is not there.
    #[error(
        "there is no journal: stream {stream} is not there\n  A host writes one with journal.stream; name another with --stream."
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
    /// If it is not there, or the server does not say.
    pub async fn decisions(&self, name: &str) -> Result<Decisions, DecisionsError> {
        let failed = |reason| DecisionsError::Server { stream: name.to_owned(), reason };
        let found = self.find_stream(name).await.map_err(|error| failed(error.to_string()))?;
        let stream = found.ok_or_else(|| DecisionsError::NoStream { stream: name.to_owned() })?;
        let last = stream.cached_info().state.last_sequence;
        Ok(Decisions { stream, name: name.to_owned(), last })
    }
}

impl Decisions {
    /// Reads the lines in their order, each with its sequence, until `each` has enough: those of one workload, and stored
    /// since a time, if so wanted.
    ///
    /// # Errors
    /// If they cannot all be read.
    pub async fn scan(
        &self,
        workload: Option<&str>,
        since: Option<SystemTime>,
        mut each: impl FnMut(u64, Bytes) -> ControlFlow<()>,
    ) -> Result<(), DecisionsError> {
        let subjects = vec![format!("tidegate.journal.{}", workload.unwrap_or("*"))];
        let scan = Scan { last: self.last, subjects, since, payloads: true };
        let done = scan.run(&self.stream, |stored| each(stored.sequence, stored.payload)).await;
        done.map_err(|error| DecisionsError::Server { stream: self.name.clone(), reason: error.to_string() })
    }
}
