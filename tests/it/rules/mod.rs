//! The rules that hold always, one after the other.

mod fetched;
mod guests;
mod outages;
mod plugins;
mod workloads;
