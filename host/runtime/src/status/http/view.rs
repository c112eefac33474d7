use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::drain::Drain;
use crate::jetstream::Client;
use crate::journal::Journal;
use crate::plugin::Directory;
use crate::reload::ConfigSource;
use crate::status::workload::WorkloadState;
use crate::status::workload_list::WorkloadList;
use crate::telemetry::Telemetry;

/// What can be seen of a host.
pub(crate) struct View {
    /// Its name.
    pub(crate) host: String,
    /// What it is called by others: one token.
    pub(crate) id: String,
    /// Whether it is one of a fleet.
    pub(crate) in_fleet: bool,
    /// Workers that it is for.
    pub(crate) capacity: u32,
    /// Whether it is drained.
    pub(crate) drain: Arc<Drain>,
    /// Its own connection, once there was one.
    pub(crate) connection: Arc<OnceLock<Client>>,
    /// Why there was none yet, when it was tried last.
    pub(crate) awaited: Mutex<Option<String>>,
    /// Its plugins.
    pub(crate) directory: Arc<Directory>,
    /// Its workloads.
    pub(crate) workloads: Arc<WorkloadList>,
    /// The stream of its dead letters.
    pub(crate) dead_letters: String,
    /// Its journal.
    pub(crate) journal: Journal,
    /// What traces messages, if anything does.
    pub(crate) telemetry: Option<Arc<Telemetry>>,
    /// Where its configuration is from.
    pub(crate) source: ConfigSource,
    /// Whether it stops.
    pub(crate) stops: watch::Receiver<bool>,
}

/// What is told while the server cannot be reached.
pub(super) const AWAY: &str = "the NATS server is away";

impl View {
    /// The connection of a workload, once there was one.
    ///
    /// # Errors
    /// If there is none: why, for a person.
    pub(crate) fn connection_of(&self, state: &WorkloadState) -> Result<Client, String> {
        if state.workload.nats.is_none() {
            return self.connection.get().cloned().ok_or_else(|| AWAY.to_owned());
        }
        let name = &state.workload.name;
        match state.own_client() {
            Some(client) => Ok(client),
            None if state.running().is_some() => Err(format!("the NATS server of {name}'s account is away")),
            None => Err(format!(
                "{name} has a connection of its own, and none while it does not run here: it begins, rests, is drained \
                 or has ended; ask a host that works it"
            )),
        }
    }

    /// Why the server cannot be reached, where that is known.
    pub(super) fn why_away(&self) -> Option<String> {
        match self.connection.get() {
            Some(client) => client.why_lost(),
            None => self.awaited.lock().clone(),
        }
    }

    /// Whether the server can be reached now, as far as is known.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.get().is_some_and(Client::is_connected)
    }
}
