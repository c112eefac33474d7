//! The rules that hold always, one after the other.

mod fetched;
mod guests;
mod plugins;
mod workloads;
