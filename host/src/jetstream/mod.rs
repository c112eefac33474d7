//! JetStream: the one module that names async_nats types.

use anyhow::Context as _;

mod request;

pub use request::{Reply, RequestError, RequestOptions, Stored};

/// A connection and what is asked of JetStream through it. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) nats: async_nats::Client,
    pub(crate) context: async_nats::jetstream::Context,
    pub(crate) requests: request::Requests,
}

impl Client {
    /// Connects to one server, such as `nats://127.0.0.1:4222`.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let nats = async_nats::connect(url).await.with_context(|| format!("cannot connect to {url}"))?;
        let context = async_nats::jetstream::new(nats.clone());
        Ok(Self { nats, context, requests: request::Requests::default() })
    }

    /// The version of the server that the client is connected to.
    pub fn server_version(&self) -> String {
        self.nats.server_info().version
    }

    /// Messages that a durable consumer has still to settle: not yet delivered, or delivered and not acknowledged.
    ///
    /// # Errors
    /// When the stream or the consumer is not there, or the server does not answer.
    pub async fn unsettled(&self, stream: &str, consumer: &str) -> anyhow::Result<u64> {
        let what = || format!("consumer {consumer} of stream {stream}");
        let info: async_nats::jetstream::consumer::PullConsumer =
            self.context.get_consumer_from_stream(consumer, stream).await.with_context(what)?;
        let info = info.cached_info();
        Ok(info.num_pending.saturating_add(u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX)))
    }
}
