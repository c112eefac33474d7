//! Requests by HTTP: `wasi:http/outgoing-handler`, to the origins of `grants.http`.
//!
//! Every handler may import it; a request that no grant covers is denied. [`access`](HttpAccess) is what a workload
//! has, [`state`](HttpState) what an instance has of it; `send` is the one way out, `client` makes its pool of
//! connections, `resolver` looks names up for it, `exchange` ends with a call what the guest left open, and `bounded`
//! keeps texts short that would be the host's memory.

mod access;
mod bounded;
mod client;
mod error;
mod exchange;
mod resolver;
mod send;
mod state;

pub use access::HttpAccess;
pub(crate) use bounded::{bound, bound_async};
pub(crate) use state::HttpState;
