//! Instances that run: the two worlds of the contract, linked and limited, and what becomes of a call.
//!
//! What belongs here: engines, what is behind a guest's imports, its limits, its log, and its faults. What does not:
//! files, compiling, and which generation is in use; that is in [`load`](super::load), which uses this folder and not
//! the other way round.

pub(super) mod bindings;
mod concurrent;
pub(super) mod declared;
pub(super) mod engine;
pub(super) mod engine_config;
pub(super) mod fault;
pub(super) mod generation;
pub(super) mod guest;
pub(super) mod handler;
pub(super) mod kind;
mod log_rate;
mod owned_delivery;
mod policy;
mod quota;
pub(super) mod room;
mod share;
pub(super) mod source_lines;
mod stdio;
mod system;
mod ticker;
pub(super) mod told_text;
mod usage;
pub(super) mod world;

pub use declared::Declared;
pub use generation::Generation;
pub use handler::{HandlerInstance, HandlerPlugin, WorkerContext};
pub use kind::{Kind, Wanted, WantedForm};
pub use policy::{PolicyContext, PolicyPlugin};
pub use room::{Need, Room};
pub use stdio::LogMeter;
pub(crate) use usage::Used;
pub use world::{GuestContext, GuestsSeen, Plugin, World};
