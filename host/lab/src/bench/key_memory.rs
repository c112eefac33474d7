//! What messages that wait for their key take of the memory.

use std::fmt;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lab::{LOOK, Lab};
use super::native::author;
use super::options::{BenchOptions, KEYS};
use super::resident::resident_kib;
use crate::streams;
use tidegate_runtime::contract::{Author, Delivery, Failure, Fault, Outcome};
use tidegate_runtime::ports::{Handler, Handlers};

/// After which time a message is tried again: longer than this takes.
const LATER: Duration = Duration::from_secs(3600);
/// For how many looks the memory has to stay the same, once all is here.
const QUIET: u32 = 40;

/// Whose memory is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingKeys {
    /// All messages have one key, and wait for the first of them.
    One,
    /// Each message has a key of its own, and waits to be tried again.
    Each,
}

impl WaitingKeys {
    /// Both.
    pub const ALL: [Self; 2] = [Self::One, Self::Each];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Each => "each",
        }
    }

    /// The token of the subjects that is the key, from 1, and how many of `messages` have one of their own.
    fn key(self, messages: usize) -> (usize, usize) {
        match self {
            Self::One => (2, 1),
            Self::Each => (KEYS.len() + 1, KEYS.last().map_or(messages, |most| messages.min(*most))),
        }
    }
}

/// What messages that wait for their key take.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyMemory {
    /// How many keys they have.
    pub keys: usize,
    /// How many wait.
    pub messages: usize,
    /// Bytes of resident memory for each: the message itself, its place, and its share of what its key takes.
    pub bytes: f64,
}

/// Measures it on the nats-server at `url`, once. What is compared needs a process of its own each: memory that one has
/// freed stays with its process, and the next would seem to need less.
///
/// # Errors
/// If the server or the workload fails.
pub async fn key_memory(options: &BenchOptions, url: &str, which: WaitingKeys) -> anyhow::Result<KeyMemory> {
    let (token, keys) = which.key(options.messages);
    let mut lab = Lab::new(url, options).await?;
    let before = resident_kib()?;
    let failed = Arc::new(AtomicUsize::new(0));
    let (name, running) = lab.serve_held(token, Failing(failed.clone())).await?;
    while failed.load(Relaxed) < keys || streams::pending(&lab.client, name.0, &name.1).await? > 0 {
        tokio::time::sleep(LOOK).await;
    }
    let (mut most, mut quiet) = (resident_kib()?, 0);
    while quiet < QUIET {
        tokio::time::sleep(LOOK).await;
        let now = resident_kib()?;
        quiet = if now > most { 0 } else { quiet + 1 };
        most = most.max(now);
    }
    running.stop().await?;
    let bytes = most.saturating_sub(before) as f64 * 1024.0 / options.messages.max(1) as f64;
    Ok(KeyMemory { keys, messages: options.messages, bytes })
}

/// A native handler that wants each message tried again much later. It counts them.
#[derive(Clone)]
pub(super) struct Failing(Arc<AtomicUsize>);

/// An instance of it.
pub(super) struct FailingInstance(Arc<AtomicUsize>, Author);

impl Handlers for Failing {
    type Instance = FailingInstance;

    async fn instantiate(&mut self, _worker: u64) -> Result<FailingInstance, Fault> {
        Ok(FailingInstance(self.0.clone(), author()))
    }

    fn prepare(&mut self) -> impl Future<Output = Result<(), Fault>> + Send + use<> {
        ready(Ok(()))
    }

    fn is_newer(&mut self) -> bool {
        false
    }

    fn newer(&mut self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

impl Handler for FailingInstance {
    async fn handle(&mut self, _delivery: &Delivery) -> Outcome {
        self.0.fetch_add(1, Relaxed);
        Ok(Err(Failure::Retry(Some(LATER))))
    }

    fn author(&self) -> &Author {
        &self.1
    }
}

impl fmt::Display for KeyMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, messages, bytes } = self;
        let keys = if *keys == 1 { "1 key".to_owned() } else { format!("{keys} keys") };
        write!(f, "  {messages:<9} messages of {keys:<14} {bytes:>10.0}")
    }
}
