//! What all workloads of a host have in common: the connection, the journal, where events go.

use std::time::Duration;

use crate::config::DeadLetters;
use crate::events::Observer;
use crate::jetstream::Client;
use crate::journal::Journal;

/// What a workload needs of its host.
pub struct HostContext {
    /// The connection.
    pub client: Client,
    /// Where dead letters are kept.
    pub dead_letters: DeadLetters,
    /// Where decisions are kept.
    pub journal: Journal,
    /// The host's name.
    pub host: String,
    /// How long workers may take to finish.
    pub grace: Duration,
    /// Where events go.
    pub observer: Observer,
}
