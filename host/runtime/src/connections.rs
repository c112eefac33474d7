//! The connections of a host's workloads: the host's own, and one for each account that workloads have for themselves.
//!
//! Workloads whose tables `[workload.NAME.nats]` come to the same share one. It is made when the first of them begins
//! and closed when the last has ended, and what happens to it concerns nobody else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::conditions::{Conditions, Part};
use crate::config::{Nats, Workload};
use crate::jetstream::{Client, ConnectError, ConnectionUsers};

/// How many connections are made at the same time. One that hangs holds up those after it for some seconds.
const TOGETHER: usize = 16;

/// The connections of a host's workloads.
pub(crate) struct Connections {
    host: Client,
    own: Mutex<BTreeMap<Nats, Arc<Slot>>>,
    turns: Semaphore,
}

/// Where workloads of one account find their connection. Whoever makes it holds the lock.
type Slot = tokio::sync::Mutex<Weak<OwnConnection>>;

/// A connection that is not the host's.
struct OwnConnection {
    client: Client,
    users: ConnectionUsers,
    /// A task that ends when this is dropped.
    _hears_again: JoinSet<Infallible>,
}

/// The connection of a workload that is to run.
pub(crate) struct WorkloadConnection {
    /// What it speaks by.
    pub(crate) client: Client,
    own: Option<(Arc<OwnConnection>, String)>,
}

impl Connections {
    pub(crate) fn new(host: Client) -> Self {
        Self { host, own: Mutex::default(), turns: Semaphore::new(TOGETHER) }
    }

    /// The connection of a workload. One of its own is made, if no other workload has it already.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) async fn of(&self, workload: &Workload) -> Result<WorkloadConnection, ConnectError> {
        let Some(nats) = &workload.nats else {
            return Ok(WorkloadConnection { client: self.host.clone(), own: None });
        };
        let slot = self.slot(nats);
        let mut known = slot.lock().await;
        let found = known.upgrade().filter(|own| !own.client.has_ended());
        let own = match found {
            Some(own) => own,
            None => {
                // It is never closed.
                let _turn = self.turns.acquire().await;
                let made = OwnConnection::new(nats, &workload.name).await?;
                *known = Arc::downgrade(&made);
                made
            }
        };
        own.users.add(&workload.name);
        Ok(WorkloadConnection { client: own.client.clone(), own: Some((own, workload.name.clone())) })
    }

    fn slot(&self, nats: &Nats) -> Arc<Slot> {
        let mut all = self.own.lock();
        // Those of accounts that no workload has any more.
        all.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|own| own.strong_count() > 0));
        all.entry(nats.clone()).or_default().clone()
    }
}

impl OwnConnection {
    async fn new(nats: &Nats, workload: &str) -> Result<Arc<Self>, ConnectError> {
        let users = ConnectionUsers::default();
        users.add(workload);
        let client = Box::pin(Client::connect_for(nats, users.clone())).await?;
        let hears = client.clone();
        let hears_again = std::iter::once(async move { hears.hear_again().await }).collect();
        Ok(Arc::new(Self { client, users, _hears_again: hears_again }))
    }
}

impl WorkloadConnection {
    /// Its client, if it is not the host's.
    pub(crate) fn own(&self) -> Option<&Client> {
        self.own.as_ref().map(|(own, _)| &own.client)
    }

    /// Waits until a connection of its own cannot be used any more. The host's ends the host.
    pub(crate) async fn ended(&self) {
        match self.own() {
            Some(client) => client.ended().await,
            None => pending().await,
        }
    }

    /// Raises it as a condition of the workload while its own connection is lost. Never ends.
    pub(crate) async fn watch(&self, conditions: &Conditions) -> Infallible {
        let Some(client) = self.own() else { return pending().await };
        loop {
            match client.is_connected() {
                true => conditions.clear(Part::Connection),
                false => {
                    let why = client.why_lost();
                    conditions.keep_raised(Part::Connection, &lost(client.servers(), why.as_deref()));
                }
            }
            client.state_changed().await;
        }
    }

    /// Waits until all that was sent by a connection of its own is on its way.
    pub(crate) async fn flush(&self) {
        if let Some(client) = self.own() {
            client.flush().await;
        }
    }
}

impl Drop for WorkloadConnection {
    fn drop(&mut self) {
        if let Some((own, workload)) = &self.own {
            own.users.remove(workload);
        }
    }
}

fn lost(servers: &str, why: Option<&str>) -> String {
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    format!("the NATS server of its own account is away ({servers}){why}; trying to reach it until it is back")
}

/// What is told of a connection of a workload's own that cannot be made.
pub(crate) fn not_made(error: &ConnectError, workload: &str) -> String {
    let (problem, remedy) = error.parts_without_flags();
    let remedy = match remedy {
        Some(remedy) => format!(". {remedy}"),
        None => format!("; look at [workload.{workload}.nats]"),
    };
    format!("{problem}{}; tried again until it works", remedy.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::FileUse;

    #[test]
    fn a_connection_that_cannot_be_made_is_told_with_what_counts_for_it() {
        let servers = "nats://a:1".to_owned();
        let full = ConnectError::Full { servers: servers.clone(), reason: "maximum connections exceeded".to_owned() };
        let told = not_made(&full, "orders");
        assert!(told.contains("exceeded. Raise `max_connections`") && !told.contains("look at"), "{told}");
        let refused = ConnectError::Refused { servers, offered: "a token".to_owned(), file: FileUse::Read };
        let told = not_made(&refused, "orders");
        assert!(told.contains("a token; look at [workload.orders.nats]; tried") && !told.contains("--user"), "{told}");
    }
}
