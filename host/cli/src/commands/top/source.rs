//! Where what is shown comes from: one host by HTTP, or all that answer by NATS.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::fetch;
use super::host::Host;
use super::hosts::Hosts;
use super::status::Status;
use crate::commands::address::Address;
use crate::commands::hosts::WITHIN;
use tidegate_runtime::jetstream::{Client, FoundHost};

/// How often hosts are looked for.
const FIND: Duration = Duration::from_secs(10);
/// The most messages of one status: a host has thousands of workloads at most.
const PAGES: usize = 100;

/// Where what is shown comes from.
pub(super) enum Source {
    Http(Address),
    Nats(Box<Found>),
}

/// The hosts that answer by NATS.
pub(super) struct Found {
    client: Client,
    hosts: Vec<FoundHost>,
    looked: Option<Instant>,
    known: Hosts,
}

impl Source {
    /// All hosts that answer to this client.
    pub(super) fn nats(client: Client) -> Self {
        Self::Nats(Box::new(Found { client, hosts: Vec::new(), looked: None, known: Hosts::default() }))
    }

    /// Asks once, and notes the answer in what is known.
    pub(super) async fn ask(&mut self) -> Result<Status, String> {
        match self {
            Self::Http(address) => fetch::status(address).await,
            Self::Nats(found) => found.ask().await,
        }
    }

    /// What is shown where there is no terminal.
    pub(super) async fn once(&mut self) -> Result<Host, String> {
        Ok(Host { status: Some(self.ask().await?), away: None })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(address) => address.fmt(f),
            Self::Nats(_) => f.write_str("hosts by NATS"),
        }
    }
}

impl Found {
    async fn ask(&mut self) -> Result<Status, String> {
        if self.hosts.is_empty() || self.looked.is_none_or(|looked| looked.elapsed() >= FIND) {
            self.hosts = self.client.find_hosts(WITHIN).await.map_err(|error| error.to_string())?;
            self.looked = Some(Instant::now());
            self.known.found(&self.hosts.iter().map(|host| host.id.clone()).collect::<BTreeSet<_>>());
        }
        let client = &self.client;
        let answers =
            join_all(self.hosts.iter().map(|host| async move { (&host.id, whole(client, host).await) })).await;
        let now = Instant::now();
        let mut why = None;
        let mut any = false;
        for (id, answer) in answers {
            match &answer {
                Ok(_) => any = true,
                Err(error) => why = Some(error.clone()),
            }
            self.known.hear(id, answer, now);
        }
        match why {
            Some(why) if !any => Err(why),
            _ => Ok(self.known.as_one()),
        }
    }
}

/// A host's status, of which one message may not hold all.
async fn whole(client: &Client, host: &FoundHost) -> Result<Status, String> {
    let mut whole = page(client, host, 0).await?;
    for _ in 0..PAGES {
        let Some(next) = whole.next.take() else { break };
        let more = page(client, host, next).await?;
        whole.workloads.extend(more.workloads);
        whole.next = more.next.filter(|more| *more > next);
    }
    Ok(whole)
}

async fn page(client: &Client, host: &FoundHost, from: usize) -> Result<Status, String> {
    let body = Bytes::from(format!("{{\"from\":{from}}}"));
    let answer = client.ask_host(&host.subject("status"), body, WITHIN).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer).map_err(|error| format!("it does not answer as a tidegate host does: {error}"))
}
