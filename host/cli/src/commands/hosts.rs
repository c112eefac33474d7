//! What the commands have in common that ask hosts by NATS.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;

use super::connect::{connect, given};
use super::flags::ConnectionFlags;
use super::output::Output;
use tidegate_runtime::config::{Nats, nearest, process_environment};
use tidegate_runtime::jetstream::{AskError, Client, FoundHost};

/// How long hosts may take to answer.
pub(super) const WITHIN: Duration = Duration::from_secs(2);
/// How long a host may take that has to ask JetStream itself, or to stop.
const LONG: Duration = Duration::from_secs(10);

/// How hosts are asked, and how the answer is printed.
#[derive(Debug, Clone, clap::Args)]
pub struct HostsArgs {
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    /// A configuration file that says in its table `nats` how to connect
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[allow(missing_docs)]
    #[command(flatten, next_help_heading = "Connection")]
    pub connection: ConnectionFlags,
}

impl HostsArgs {
    /// Connects.
    pub(super) async fn connect(&self) -> anyhow::Result<Client> {
        let nats = Nats::load(&self.connection.0, self.config.as_deref(), &process_environment())?;
        connect(&nats, given(self.config.as_deref())).await
    }

    /// Connects, and finds the hosts.
    pub(super) async fn find(&self) -> anyhow::Result<(Client, Vec<FoundHost>)> {
        let client = self.connect().await?;
        let hosts = client.find_hosts(WITHIN).await?;
        Ok((client, hosts))
    }
}

/// The host of this id.
pub(super) fn named<'a>(hosts: &'a [FoundHost], id: &str) -> anyhow::Result<&'a FoundHost> {
    if let Some(host) = hosts.iter().find(|host| host.id == id) {
        return Ok(host);
    }
    let ids = || hosts.iter().map(|host| host.id.as_str());
    match nearest(id, ids()) {
        Some(meant) => bail!("no host {id:?} answers; did you mean {meant}?"),
        None => bail!("no host {id:?} answers; there is {}", ids().collect::<Vec<_>>().join(", ")),
    }
}

/// Asks a host, and reads its answer.
pub(super) async fn ask<T: serde::de::DeserializeOwned>(
    client: &Client,
    host: &FoundHost,
    what: &str,
    body: String,
) -> anyhow::Result<T> {
    let answer = client.ask_host(&host.subject(what), Bytes::from(body), LONG).await.map_err(|error| match error {
        AskError::Refused { why, .. } => anyhow::anyhow!("host {}: {why}", host.id),
        other => other.into(),
    })?;
    serde_json::from_slice(&answer).map_err(|error| anyhow::anyhow!("host {} answers otherwise: {error}", host.id))
}
