//! Runs WebAssembly workers on NATS JetStream and lets a WebAssembly policy decide how many.
//!
//! # The story of a message
//!
//! A workload's pulls wait at its durable consumer, so JetStream delivers a message to this host as soon as it is
//! stored. The inbox (`delivery::inbox`) keeps it until a worker is free; if there is no worker, that starts one, with
//! an instance that stands ready. A worker (`delivery::worker`) owns one instance of the handler component and calls
//! it with one delivery at a time. What the handler answers, or how it failed, becomes a disposition by a pure
//! function, `dispose`, and `delivery::settle` carries that out: first the effects (publications are stored,
//! the reply is sent, a dead letter is kept), then the ack, nak or term.
//!
//! Beside that, once an interval, a [`monitor`](scaling::monitor) reads the consumer's state and makes an
//! [observation](scaling::observe) of it, asks the policy component, clamps its answer and sets the desired count. A
//! supervisor starts and drains workers until they are as many.
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
//! # Embedding a host
//!
//! [`run()`] is a whole host: it takes a [`Config`], tells [`Event`]s to an [`Observer`], and ends with the future that
//! it is given as `shutdown`, or with a [`RunError`]. `examples/embed.rs` is a program of 30 lines that does so.
//! [`run_from()`] takes a [`ConfigSource`] instead, which may be read again while the host runs.
//! [`config`] says what can be set, [`events`] what is told, and [`contract`] what an event, a policy or a handler is
//! about.
//!
//! # Beside a host
//!
//! What the `tidegate` program is made of, for tools of your own:
//!
//! - [`jetstream`]: a [`Client`](jetstream::Client) that sends requests through a stream, reads and redrives dead
//!   letters, reads a journal, and looks whether servers fit a configuration;
//! - [`dead_letter`], [`journal`]: what those say; [`permissions`]: what a host must be allowed;
//! - [`plugin`]: compiles components, says what is wrong with one, calls a handler or a policy; [`signature`]: who has
//!   signed one.
//!
//! # The parts of a host
//!
//! What tries a policy or a single workload takes these (the crate `tidegate-lab` does: simulation, replay,
//! benchmark). They change whenever the host does:
//!
//! - [`workload`] runs one workload, with a [`host_context`] and whatever stands at its [`ports`]; [`status`] is what
//!   can be seen of it;
//! - [`delivery`] and [`scaling`] are what it decides;
//! - [`telemetry`] is what traces them;
//! - [`clock`], [`digest`], [`duration`], [`process_status`] and [`text`] are small things that all of them use.

mod backoff;
pub mod bounded_file;
pub mod clock;
pub(crate) mod conditions;
pub mod config;
pub(crate) mod connections;
pub mod contract;
pub mod dead_letter;
pub mod delivery;
mod denial_log;
pub mod digest;
mod drain;
pub mod duration;
pub mod events;
pub(crate) mod fleet;
mod host;
pub mod host_context;
pub(crate) mod http_client;
pub mod jetstream;
pub mod journal;
#[cfg(test)]
mod model_test;
pub(crate) mod partitions;
pub mod permissions;
pub mod plugin;
pub mod ports;
pub mod process_status;
mod recreate;
pub mod registry;
pub(crate) mod reload;
mod restart;
pub(crate) mod rollout;
pub mod scaling;
pub(crate) mod secret;
mod service;
pub mod signature;
pub mod status;
mod subject;
pub mod telemetry;
pub mod text;
pub mod workload;
mod workloads;

pub use config::Config;
pub use events::{Event, Observer};
pub use host::{RunError, run, run_from};
pub use reload::{ConfigSource, Reloaded};
pub use status::http::HttpError;
