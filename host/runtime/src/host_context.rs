//! What all workloads of a host have in common: the connection, the journal, where events go.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{DeadLetters, Workload};
use crate::events::Observer;
use crate::fleet::host::Fleet;
use crate::jetstream::Client;
use crate::journal::Journal;
use crate::telemetry::Telemetry;

/// What a workload needs of its host.
pub struct HostContext {
    /// Its own connection. That of a workload may be another.
    pub client: Client,
    /// Where dead letters are kept.
    pub dead_letters: DeadLetters,
    /// Where decisions are kept.
    pub journal: Journal,
    /// The stream of these, if they are kept in one.
    pub(crate) journal_stream: Option<String>,
    /// The host's name.
    pub host: String,
    /// How long workers may take to finish.
    pub grace: Duration,
    /// Where events go.
    pub observer: Observer,
    /// What traces messages, if anything does.
    pub(crate) telemetry: Option<Arc<Telemetry>>,
    /// The fleet that the host is one of.
    pub(crate) fleet: Option<Arc<Fleet>>,
}

impl HostContext {
    /// Of a host that is in no fleet.
    pub fn alone(
        (client, host): (Client, String),
        dead_letters: DeadLetters,
        journal: Journal,
        grace: Duration,
        observer: Observer,
    ) -> Self {
        let (journal_stream, telemetry, fleet) = (None, None, None);
        Self { client, dead_letters, journal, journal_stream, host, grace, observer, telemetry, fleet }
    }

    /// Where letters of a workload are kept, and the journal's stream if there is one in its account.
    pub fn own_streams(&self, workload: &Workload) -> (&DeadLetters, Option<&str>) {
        (&self.dead_letters, self.journal_stream.as_deref().filter(|_| workload.nats.is_none()))
    }
}
