//! Dead letters as they are stored: plain data and pure functions.
//!
//! What a letter says ([`draft`]), how it is read ([`Letter`]) and what of it goes back into its stream ([`headers`]).
//! Reading and writing the stream is in [`jetstream`](crate::jetstream); when a message becomes a dead letter is
//! decided in
//! [`delivery`](crate::delivery).

pub mod block;
pub mod draft;
pub mod filter;
pub mod headers;
mod letter;
mod lines;
pub mod refusal;

pub use headers::Headers;
#[cfg(test)]
pub(crate) use letter::tests;
pub use letter::{Content, Letter, StoredMessage, workload};
pub(crate) use letter::{name, stored_subject, subject};
