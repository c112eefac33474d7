//! JetStream. The only folder that names async_nats types.

mod pull_status;
mod arrivals;
mod pending_pulls;
mod fallback;
mod connect;
mod consumer;
mod dead_letters;
mod permission_denials;
mod loss_cause;
mod stranded;
mod resubscribe;
mod consumer_watch;
mod redrive_target;
mod credentials;
mod journal;
mod dead_letter_stream;
mod ack_permission;
mod message;
mod redeliver;
mod publisher;
mod pull;
mod raw_message;
mod create_errors;
mod reply_inboxes;
mod request;
mod stream_scan;
#[doc(hidden)]
pub mod settings;
mod setup;
mod signals;
mod state;
mod server_check;
mod connection_log;
mod unreadable;
mod unsettled;

use std::sync::Arc;

use crate::config::Grants;
use crate::status::counters::Traffic;

pub use connect::{Client, ConnectError};
pub use consumer::Bound;
pub use journal::{Decisions, DecisionsError, Lines, journal_stream};
pub use dead_letter_stream::{Letters, LettersError, Original, SendError};
pub use message::Message;
#[doc(hidden)]
pub use message::{may_be_headers, position};
pub use pull::Puller;
pub use request::{Reply, RequestError, RequestOptions, Stored};
pub use setup::SetupError;
pub use signals::{HeaderWatch, Signals};
pub use server_check::{Finding, Survey};

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
