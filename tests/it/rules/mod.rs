//! The rules that hold always, one after the other.

mod fetched;
mod guests;
mod lives;
mod outages;
mod plugins;
mod workloads;
