//! JetStream. The only folder that names async_nats types.

mod ack_floors;
mod ack_permission;
mod arrivals;
mod binding;
mod connect;
mod connect_error;
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
mod parked_pull;
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

pub use connect::Client;
pub use connect_error::ConnectError;
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
