//! Runs WebAssembly workers on NATS JetStream and lets a WebAssembly policy decide how many.
//!
//! # The story of a message
//!
//! A workload's pulls wait at its durable consumer, so JetStream delivers a message to this host as soon as it is
//! stored. [`inbox`] keeps it until a worker is free; if there is no worker, that starts one, with an instance that
//! stands ready. A [`worker`] owns one instance of the handler component and calls it with one [`delivery`] at a time.
//! What the handler answers, or how it failed, becomes a disposition by a pure function, [`delivery::dispose`], and
//! [`settle`] carries that out: first the effects (publications are stored, the reply is sent, a dead letter is kept),
//! then the ack, nak or term.
//!
//! Beside that, once an interval, a [`monitor`] reads the consumer's state and makes an observation of it
//! ([`scaling`]), asks the policy component, clamps its answer and sets the desired count. The [`supervisor`] starts
//! and drains workers until they are as many.
//!
//! # What always holds
//!
//! 1. A delivery that was fetched is settled by this host or was never touched.
//! 2. An ack goes out only after all effects of the message are confirmed.
//! 3. A worker that drains finishes what it runs, or gives it back when the grace time is over.
//! 4. A swap happens between two messages.
//! 5. A plugin that cannot be used changes nothing: the last good generation stays.
//! 6. A delivery that waits is announced as in progress before half its ack wait is over.
//! 7. A policy that fails leaves the count where it is, and so do signals that cannot be read.
//! 8. A guest can spend only its own time, memory and memory mappings, and a workload only its own publish window.
//! 9. An outage is not a failure of a message or a guest.
//! 10. Nothing fails silently: what does not flow is told in the log, in `/readyz` and in `/status`.
//! 11. One workload that cannot start or go on does not stop the others.
//!
//! # Using it as a library
//!
//! [`run()`] is all that the `tidegate` program calls.

pub mod attempts;
mod backoff;
pub mod bench;
pub mod board;
pub mod cli;
pub mod clock;
pub mod conditions;
pub mod config;
pub mod confirmed;
pub mod delivery;
pub mod demo;
pub mod digest;
pub mod effective;
pub mod events;
pub mod fold;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
pub mod inbox;
pub mod jetstream;
pub mod journal;
mod keep;
mod lanes;
pub mod letter;
pub mod live;
#[cfg(test)]
mod machine;
mod mend;
pub mod monitor;
pub mod new;
pub mod outage;
mod pace;
mod patience;
pub mod permissions;
mod plugged;
pub mod plugin;
pub mod ports;
pub mod replay;
pub mod rights;
mod run;
pub mod scaling;
pub mod server;
pub mod settle;
pub mod shadow;
pub mod simulate;
pub mod spark;
pub mod stderr;
pub mod supervisor;
pub mod tally;
pub mod terminal;
pub mod text_table;
pub mod unconfirmed;
pub mod worker;
pub mod workload;

pub use http::HttpError;
pub use plugged::{PluginHandler, PluginHandlers, PluginPolicies, PluginPolicy};
pub use run::{RunError, run};
