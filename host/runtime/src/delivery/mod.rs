//! A delivery from the pull to its settlement: what waits, what a worker does, what becomes of the answer.
//!
//! What is decided about a delivery is pure: `triage`, [`check()`] and `dispose`. The rest carries it out against
//! the traits of [`ports`](crate::ports). Nothing here knows NATS or WebAssembly; how many workers there are is decided
//! in [`scaling`](crate::scaling).

pub(crate) mod attempts;
pub(crate) mod by_generation;
mod check;
pub mod consumer_settings;
pub mod counters;
mod disposition;
pub(crate) mod fetch;
pub(crate) mod hops;
pub mod inbox;
pub(crate) mod keep;
pub(crate) mod keep_order;
mod nats_headers;
pub mod order;
pub(crate) mod outage;
pub(crate) mod paced_pull;
pub(crate) mod pending_publications;
mod pin;
mod pull_backoff;
pub(crate) mod rate_limit;
pub(crate) mod settle;
pub(crate) mod slow_lane;
pub mod start_limits;
#[cfg(test)]
pub(crate) mod test_delivery;
pub(crate) mod trace_context;
pub(crate) mod worker;

pub(crate) use check::{MAX_HEADERS, header_block};
pub use check::{ResponseBounds, check};
pub(crate) use disposition::{Disposition, conflicted, dispose, is_counted, triage};
pub use disposition::{Verdict, refused};
