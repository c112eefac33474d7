//! What the server says of a stream and of a consumer, in its own words, and what a host makes of it. No IO.

mod info;
mod judge;
mod letters;
mod mapping;
mod overlap;
mod own_stream;
mod refusal;
mod stored;
mod stream_keys;
mod targets;
#[cfg(test)]
mod tests;
mod workqueue;

#[cfg(test)]
pub use info::Messages;
pub use info::SequencePair;
pub use info::{ConsumerConfig, StreamConfig};
pub use info::{ConsumerState, StreamState};
pub(crate) use info::{EXCUSED, FOR_EVER, PINNED};
pub use judge::ConsumerVerdict;
pub(super) use judge::inactive_by_edit;
pub use judge::judge;
pub(crate) use judge::judge_watch;
pub(crate) use letters::judge_letters;
pub(crate) use mapping::{keyed_by_partition, unmapped};
pub use overlap::Reserved;
pub(crate) use overlap::{circular, reserved};
pub(crate) use own_stream::{OwnMessages, keeps};
pub use refusal::SettingsRefusal;
pub(crate) use targets::unfit;
pub(crate) use workqueue::rival;
