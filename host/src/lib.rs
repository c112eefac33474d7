//! Runs WebAssembly workers on NATS JetStream and lets a WebAssembly policy decide how many.

pub mod cli;
pub mod config;
pub mod delivery;
pub mod demo;
pub mod events;
pub mod jetstream;
pub mod scaling;
pub mod server;
