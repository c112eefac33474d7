//! The client of a workload: a pool of connections.

use std::path::Path;
use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use wasmtime_wasi_http::WasiBody;

use super::resolver::Resolver;
use crate::http_client::{Connector, connector_with};

pub(super) type HttpClient = Client<Connector<Resolver>, WasiBody>;

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes of the head of a response, and of its body that wait for the guest.
const BUFFER: usize = 64 << 10;
/// Headers of a response.
const HEADERS: usize = 100;

/// Makes a client. What is wrong comes in words that follow "its handler".
pub(super) fn client(ca: Option<&Path>, connect: Duration, at_once: usize) -> Result<HttpClient, String> {
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(at_once)
        .http1_max_buf_size(BUFFER)
        .http1_max_headers(HEADERS)
        .build(connector_with((ca, "grants.http-ca"), connect, Resolver::system())?))
}
