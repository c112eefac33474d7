//! Plugins: WebAssembly components that are compiled, linked, limited, run and replaced.
//!
//! The only folder that names wasmtime. Here belongs what a file, a component or an instance is and may do. What is
//! made of a guest's answer does not (`delivery`, `scaling`), nor what the contract's words are (`contract`). What it
//! offers to the rest:
//!
//! - [`Host`] compiles files; [`Directory`] keeps what workloads ask for up to date.
//! - [`HandlerPlugin`] makes a [`HandlerInstance`], which handles one delivery at a time.
//! - [`PolicyPlugin`] decides, each time in a fresh instance.
//!
//! A guest can spend only what its limits allow, and can reach only its imports. Whatever it does comes back as a
//! [`Fault`](crate::contract::Fault).

mod adapter;
mod bindings;
mod cache;
mod compiler;
mod declared;
mod directory;
mod engine;
mod engine_config;
mod fault;
mod file;
mod guest;
mod handler;
mod kind;
mod limits;
mod lines;
mod load;
mod look;
mod policy;
mod quota;
mod refusal;
mod room;
mod share;
mod slot;
mod source;
mod stdio;
mod system;
mod ticker;
mod watch;
mod world;

pub use adapter::{PluginHandler, PluginHandlers, PluginPolicies, PluginPolicy};
pub use cache::CacheError;
pub use compiler::{CompileError, compile_into};
pub use declared::Declared;
pub use directory::Directory;
pub use engine::{Host, HostError};
pub use handler::{HandlerInstance, HandlerPlugin, HandlerWatch, WorkerContext};
pub use kind::{Inspection, Kind, KindError, inspect};
pub use policy::{PolicyContext, PolicyPlugin, PolicyWatch};
pub use refusal::{LoadError, Refusal};
pub use room::{Need, Room};
pub use slot::{PluginState, Watch};
pub use source::{Generation, others};
pub use stdio::LogMeter;
pub use world::{GuestContext, Plugin, World};

#[cfg(test)]
mod tests;
