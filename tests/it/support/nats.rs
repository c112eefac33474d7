//! A nats-server for one test.

use tidegate_nats_server::{Server, ServerOptions};
use tidegate_runtime::config::Nats;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A server with JetStream on; it ends with the test.
pub(crate) async fn nats() -> Server {
    nats_with(ServerOptions::default()).await
}

/// A server as told; it ends with the test.
pub(crate) async fn nats_with(options: ServerOptions) -> Server {
    // Shown, not debugged: the message says what to do where there is no nats-server.
    Server::start(options).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A client of `server`.
pub(crate) async fn client(server: &Server) -> async_nats::Client {
    async_nats::connect(server.url()).await.unwrap()
}

/// How a host reaches `server`.
pub(crate) fn reach(server: &Server) -> Nats {
    Nats { servers: vec![server.url().to_owned()], ..Nats::default() }
}

/// JetStream as a client of `server` sees it.
pub(crate) async fn jetstream(server: &Server) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(client(server).await)
}

/// Whether something accepts connections on `port`.
pub(crate) async fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

/// Awaits the first bytes that the server on `port` says to a new client.
pub(crate) async fn greeting(port: u16) -> [u8; 4] {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut greeting = [0; 4];
    client.read_exact(&mut greeting).await.unwrap();
    greeting
}
