//! Plugins: WebAssembly components that are compiled, linked, limited, run and replaced.
//!
//! The only folder that names wasmtime. Here belongs what a file, a component or an instance is and may do. What is
//! done with a guest's answer belongs elsewhere (`delivery`, `scaling`), and so do the contract's types (`contract`).
//! This folder offers to the rest:
//!
//! - [`PluginHost`] compiles files; [`Directory`] keeps what workloads ask for up to date.
//! - [`HandlerPlugin`] makes a [`HandlerInstance`], which handles one delivery, or one batch, at a time.
//! - [`PolicyPlugin`] decides, each time in a fresh instance.
//!
//! A guest can spend only what its limits allow, and can reach only its imports. A call that goes wrong comes back as a
//! [`Fault`](crate::contract::Fault).
//!
//! `load/` makes a generation of a file and keeps it up to date. `run/` makes instances of a generation and holds them
//! to their limits, which are all in `limits.rs`. `capability/` is what a grant or a setting opens to a handler.
//! `generations.rs` is which of its handler's generations a worker gets an instance of.
//! `adapter.rs` puts plugins behind the traits of [`ports`](crate::ports): nothing else here knows what a plugin is
//! for, deliveries or scaling.

mod adapter;
mod capability;
mod generations;
mod limits;
mod load;
mod run;

pub(crate) use adapter::PendingRollouts;
pub use adapter::{PluginHandler, PluginHandlers, PluginPolicies, PluginPolicy};
pub use capability::http::HttpAccess;
pub use capability::secrets::SettingsReader;
pub use load::{
    CacheError, CompileError, CompileFor, Directory, FoundPlugin, HostError, Inspection, KindError, ListError,
    LoadError, PluginHost, PluginRefusal, PluginState, compile_into, digest_of_file, found_in, inspect, others,
    signature_file, signature_of,
};
pub(crate) use load::{DirectoryEvents, HandlerWatch, PolicyWatch, Stamp};
pub(crate) use run::Used;
pub use run::{
    Declared, Generation, GuestContext, GuestsSeen, HandlerInstance, HandlerPlugin, Kind, LogMeter, Need, Plugin,
    PolicyContext, PolicyPlugin, Room, Wanted, WantedForm, WorkerContext, World,
};

#[cfg(test)]
mod tests;
