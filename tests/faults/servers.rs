//! Servers that can be killed, paused and restarted: one, or a cluster of three.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::ConnectOptions;
use tidegate_nats_server::{Server, ServerOptions};

/// One server, or three in a cluster.
pub(crate) struct Servers {
    members: Vec<Server>,
}

impl Servers {
    /// A server with this configuration in its own format; empty will do.
    pub(crate) async fn one(config: &str) -> Result<Self> {
        Self::with(ServerOptions { config: config.to_owned(), ..ServerOptions::default() }).await
    }

    /// A server as told.
    pub(crate) async fn with(options: ServerOptions) -> Result<Self> {
        Ok(Self { members: vec![Server::start(options).await?] })
    }

    /// A cluster of three.
    pub(crate) async fn three() -> Result<Self> {
        let ports = free_ports(3)?;
        let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let start = ports.iter().enumerate().map(|(index, port)| {
            // Clients are told of no other URL: they keep to those they know, some of which are proxies.
            let config = format!(
                "server_name: s{index}\ncluster {{ name: bench, listen: \"127.0.0.1:{port}\", no_advertise: true, \
                 routes: {routes:?} }}"
            );
            Server::start(ServerOptions { config, ..ServerOptions::default() })
        });
        let members = futures_util::future::try_join_all(start).await?;
        Ok(Self { members })
    }

    pub(crate) fn count(&self) -> usize {
        self.members.len()
    }

    /// Where clients connect.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.members.iter().map(|server| server.url().to_owned()).collect()
    }

    pub(crate) fn member(&mut self, index: usize) -> &mut Server {
        &mut self.members[index]
    }

    /// A client that goes on for ever, and looks soon for a server that is back.
    pub(crate) async fn client(&self) -> Result<async_nats::Client> {
        let options = ConnectOptions::new()
            .ping_interval(Duration::from_secs(1))
            .connection_timeout(Duration::from_secs(2))
            .reconnect_delay_callback(|_| Duration::from_millis(20))
            .retry_on_initial_connect();
        options.connect(self.urls()).await.context("the bench's own client")
    }
}

/// Ports that systems do not give out by themselves: a port out of theirs could be given to another server of the same
/// cluster, for its clients, before the server that it was chosen for listens there.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// Ports of loopback that are free now.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    // Held until all are found, so that none comes twice.
    let mut listeners = Vec::new();
    for _ in 0..1_000 {
        let port = fastrand::u16(PORTS);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            listeners.push((port, listener));
        }
        if listeners.len() == count {
            return Ok(listeners.iter().map(|(port, _)| *port).collect());
        }
    }
    anyhow::bail!("there are no {count} free ports in {PORTS:?}")
}
