//! Runs WebAssembly workers on NATS JetStream and lets a WebAssembly policy decide how many.

pub mod config;
pub mod delivery;
pub mod events;
pub mod inbox;
pub mod jetstream;
pub mod monitor;
pub mod ports;
pub mod scaling;
pub mod settle;
pub mod supervisor;
pub mod worker;
pub mod workload;
