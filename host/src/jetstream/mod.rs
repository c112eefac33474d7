//! JetStream. The only folder that names async_nats types.

mod ack_floors;
mod answer;
mod arrivals;
mod asked;
mod binding;
mod careful;
mod connect;
mod connect_error;
mod consumer;
mod dead;
mod denied;
mod doubt;
mod dropped;
mod ears;
mod follow;
mod home;
mod identity;
mod journal;
#[cfg(any(test, feature = "fuzzing"))]
mod judged;
mod lab;
mod letters;
mod may_ack;
mod message;
mod nudge;
mod publisher;
mod pull;
mod raw;
mod refusals;
mod replies;
mod request;
mod scan;
mod settings;
mod setup;
mod signals;
mod state;
mod survey;
mod told;
mod unreadable;
mod unsettled;

pub use connect::Client;
pub use connect_error::ConnectError;
pub use consumer::Bound;
pub use journal::{Decisions, DecisionsError, Lines, journal_stream};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use judged::Judged;
pub use letters::{Letters, LettersError, Original, SendError};
pub use message::Message;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use message::{may_be_headers, position};
pub use pull::Puller;
pub use request::{Reply, RequestError, RequestOptions, Stored};
pub use setup::SetupError;
pub use signals::{HeaderWatch, Signals};
pub use survey::{Finding, Survey};
