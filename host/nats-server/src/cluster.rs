//! Several servers that are one cluster.

use std::net::TcpListener;

use crate::{Server, ServerError, ServerOptions};

/// Servers that this process started, as one cluster. It takes some seconds from their start until streams can be
/// made, because they first have to find each other.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
}

impl Cluster {
    /// Starts so many servers with these options, each with a name, a store and a port of its own.
    ///
    /// # Errors
    /// When a server does not start; see [`ServerError`]. Another program may have taken a port meanwhile.
    pub async fn start(options: &ServerOptions, servers: usize) -> Result<Self, ServerError> {
        let listeners: Result<Vec<_>, _> = (0..servers).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
        let ports: Result<Vec<u16>, _> =
            listeners.and_then(|all| all.iter().map(|listener| listener.local_addr().map(|at| at.port())).collect());
        let ports = ports.map_err(ServerError::io("listen on", "127.0.0.1".as_ref()))?;
        let routes: Vec<String> = ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let routes = routes.join(", ");
        let mut all = Vec::new();
        for port in ports {
            let cluster = format!("name: local, listen: \"127.0.0.1:{port}\", routes: [{routes}]");
            let config = format!("{}\nserver_name: server-{port}\ncluster {{ {cluster} }}\n", options.config);
            let options = ServerOptions { config, store_dir: None, port: None, ..options.clone() };
            all.push(Server::start(options).await?);
        }
        Ok(Self { servers: all })
    }

    /// Where clients connect, of each server.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(Server::url)
    }

    /// The numbers of their processes.
    pub fn processes(&self) -> impl Iterator<Item = u32> {
        self.servers.iter().map(Server::process)
    }

    /// Asks all servers to end and waits for that.
    pub async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
    }
}
