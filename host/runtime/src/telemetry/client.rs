//! What carries requests to a collector.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::time::timeout;

use crate::http_client::{Connector, connector};

/// How long a connection may take to be there, and an answer to come.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes of an answer. It says what was refused, in a few words.
const MOST: usize = 64 << 10;

/// Sends requests to a collector.
#[derive(Debug, Clone)]
pub(super) struct CollectorClient(Client<Connector, Full<Bytes>>);

impl CollectorClient {
    /// Makes a client that trusts the system's authorities and those of the file. Reads files, so it blocks.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, String> {
        let connector = connector((ca, "telemetry.ca"), CONNECT)?;
        Ok(Self(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector)))
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = self.0.request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, MOST).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        timeout(ANSWER, self.send(request)).await?
    }
}
