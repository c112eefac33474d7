//! JetStream. The only folder that names async_nats types.

mod ack_permission;
mod arrivals;
mod connect;
mod connection_log;
mod consumer;
mod consumer_watch;
mod create_errors;
mod credentials;
mod dead_letter_stream;
mod dead_letters;
mod fallback;
mod journal;
mod loss_cause;
mod message;
mod pending_pulls;
mod permission_denials;
mod publisher;
mod pull;
mod pull_status;
mod raw_message;
mod redeliver;
mod redrive_target;
mod reply_inboxes;
mod request;
mod resubscribe;
mod server_check;
#[doc(hidden)]
pub mod settings;
mod setup;
mod signals;
mod state;
mod stranded;
mod stream_scan;
mod unreadable;
mod unsettled;

use std::sync::Arc;

use crate::config::Grants;
use crate::delivery::counters::Traffic;

pub use connect::{Client, ConnectError};
pub use consumer::Bound;
pub use dead_letter_stream::{Letters, LettersError, Original, SendError};
pub use journal::{Decisions, DecisionsError, Lines, journal_stream};
pub use message::Message;
#[doc(hidden)]
pub use message::{may_be_headers, position};
pub use pull::Puller;
pub use request::{Reply, RequestError, RequestOptions, Stored};
pub use server_check::{Finding, Survey};
pub use setup::SetupError;
pub use signals::{HeaderWatch, Signals};

/// What every delivery of one workload needs to be settled.
#[derive(Debug)]
struct Lane {
    client: Client,
    publisher: publisher::Publisher,
    workload: Arc<str>,
    stream: String,
    consumer: String,
    /// The stream of dead letters.
    dead_letters: String,
    host: String,
    grants: Grants,
    traffic: Arc<Traffic>,
}
