//! JetStream: the connection, streams and consumers, pulls, settlements and publications.
//!
//! The only folder that names async_nats types. Here belongs whatever is sent to a NATS server or read from one, and
//! what its answers mean. What is done with a delivery does not (`delivery`), nor what a dead letter says
//! (`dead_letter`), nor which rights a host needs (`permissions`). The rest of the runtime sees the traits in `ports`,
//! which are implemented here.

mod ack_floors;
mod ack_permission;
mod answering;
mod arrivals;
mod binding;
mod bucket;
mod bucket_setup;
mod careful_inbox;
mod connect;
mod connect_error;
mod connection_log;
mod connection_users;
mod consumer;
mod consumer_watch;
mod create_errors;
mod credentials;
mod dead_letter_errors;
mod dead_letter_setup;
mod dead_letter_stream;
mod dead_letters;
mod denied;
mod fallback;
mod finding;
mod guest_requests;
mod header_map;
mod header_watch;
mod hosts;
mod journal;
mod key_value;
mod lookup;
mod loss_cause;
mod message;
mod parked_pull;
mod pause;
mod paused;
mod pending_pulls;
mod permission_denials;
mod plugin_bucket;
mod probe;
mod publication_id;
mod publisher;
mod pull;
mod pull_request;
mod pull_status;
mod raw_message;
mod redeliver;
mod redrive;
mod redrive_target;
mod reply_inboxes;
mod request;
mod request_error;
mod request_window;
mod requests;
mod resubscribe;
mod server_check;
#[doc(hidden)]
pub mod settings;
mod setup;
mod setup_error;
mod signals;
mod state;
mod stranded;
mod stream_scan;
mod subject_watch;
mod unpin;
mod unreadable;
mod unsettled;
mod wanted;

pub use connect::Client;
pub use connect_error::ConnectError;
pub(crate) use connection_users::ConnectionUsers;
pub use consumer::BoundConsumer;
pub use dead_letter_errors::{LettersError, SendError};
pub use dead_letter_stream::{Letters, Original};
pub(crate) use fallback::{Asked, Heard, Refusal, Requests};
pub use finding::{Finding, ServerCheck};
#[doc(hidden)]
pub use header_map::may_be_headers;
pub use header_watch::HeaderWatch;
pub use hosts::{AskError, FoundHost};
pub use journal::{Decisions, DecisionsError};
pub(crate) use journal::{Lines, journal_stream};
pub(crate) use key_value::{Bucket, Buckets};
pub use lookup::{Lookup, LookupError, Progress};
pub(crate) use message::PulledMessage;
pub use message::position;
pub use pause::PauseError;
pub use paused::Paused;
pub use plugin_bucket::{PluginBucket, StoredPlugin};
pub(crate) use pull::Puller;
pub use redrive::{Redriven, content_lost};
pub use request::{Reply, RequestOptions};
pub use request_error::{RequestError, StoredAt};
pub use setup_error::SetupError;
pub use signals::Signals;
