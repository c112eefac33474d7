//! What a policy remembers of the last while, small enough for its state.
//!
//! Every call of a policy runs in a fresh instance, so a window of the past has to go through the state each time.
//! [`Means`] keeps averages in slots of equal length, [`Peaks`] what the largest value of a window needs and nothing
//! else, [`Ages`] how long what runs has been running. All are written as one word without spaces, as the values in a
//! state are.

mod ages;
mod means;
mod peaks;

pub use ages::Ages;
pub use means::Means;
pub use peaks::Peaks;
