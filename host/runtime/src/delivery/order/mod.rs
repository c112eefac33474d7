//! Messages of one key one after the other, in the order of their stream, whatever the number of workers.
//!
//! `Dispatch` decides which delivery may begin: one of each key, and the next when the one before is settled for
//! good. `Completeness` knows whether a message of an earlier place may still be elsewhere, and until it is here
//! nothing begins. Both are pure; the inbox asks them (`inbox/ordered.rs`), and `keep_order` is the task that looks
//! after what is due.
//!
//! [`KeyPlaces`] is the looser rule, without an order: so many of a key at once.

mod completeness;
mod dispatch;
mod key;
mod places;
mod queue;
pub(crate) mod seen;
mod settled_late;

pub(crate) use completeness::{Asked, Completeness, Unsettled};
pub(crate) use dispatch::{Dispatch, Limits};
pub use key::KeyHash;
pub(crate) use key::{ByKey, KeyHasher};
pub use places::KeyPlaces;
pub(crate) use settled_late::SettledLate;
