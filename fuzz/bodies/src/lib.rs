//! The bodies of the fuzz targets in `fuzz/`: each takes a fuzzer's bytes, makes of them what comes from outside, and
//! panics where the host does what it must not.
//!
//! Each seed in `fuzz/seeds/` goes through its body in the unit tests too, so what was found once is tried for ever.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is a finding"
)]

mod config;
mod consumer;
mod contract;
mod declared;
mod guests;
mod journal;
mod judged;
mod lab;
mod letter;
mod plugin;
mod trace;
mod wire;

pub use config::config;
pub use consumer::consumer;
pub use contract::contract;
pub use declared::declared;
pub use journal::journal;
pub use letter::letter;
pub use plugin::plugin;
pub use trace::trace;
pub use wire::wire;

#[cfg(test)]
mod tests;
