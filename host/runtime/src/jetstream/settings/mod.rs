//! What the server says of a stream and of a consumer, in its own words, and what a host makes of it. No IO.

mod info;
mod judge;
mod overlap;
mod refusal;
#[cfg(test)]
mod tests;

pub use info::{ConsumerConfig, ConsumerState, StreamConfig, StreamState};
#[cfg(test)]
pub use info::{Messages, SequencePair};
pub use judge::{ConsumerVerdict, judge, judge_watch};
pub use overlap::{Reserved, reserved};
pub use refusal::SettingsRefusal;
