//! JetStream. The only folder that names async_nats types.

mod connect;
mod consumer;
mod dead;
mod lab;
mod message;
mod pull;
mod replies;
mod request;
mod signals;
mod unsettled;

use std::sync::Arc;

use crate::config::Grants;
use crate::tally::Traffic;

pub use connect::{Client, ConnectError};
pub use consumer::{Bound, SetupError};
pub use message::Message;
pub use pull::Puller;
pub use request::{Reply, RequestError, RequestOptions, Stored};
pub use signals::{HeaderWatch, Signals};

/// What every delivery of one workload needs to be settled.
#[derive(Debug)]
struct Lane {
    client: Client,
    workload: Arc<str>,
    stream: String,
    host: String,
    grants: Grants,
    traffic: Arc<Traffic>,
}
