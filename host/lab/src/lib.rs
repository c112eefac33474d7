//! What tries a policy or a host: simulations, replays, live runs, the demo and the benchmark, and what draws them.
//!
//! Nothing here is part of a running host. Commands are thin: they read flags, call this, and print what comes back.

mod alone;
pub mod bench;
pub mod chart;
pub mod demo;
pub mod live_run;
pub mod log_output;
pub mod replay;
pub mod simulate;
mod streams;
pub mod terminal;
pub mod text_table;
