//! Hosts in processes of their own, a stream that fills while they run, and what both take for it.
//!
//! A process each, because memory that one measurement has freed stays with its process, and because processor time
//! and mappings can then be read from outside, without what publishes.

mod cost;
mod counted;
mod deal;
mod host_process;
mod proc;
mod publish;
mod served;
mod site;

pub use cost::LoadCost;
pub(super) use deal::Load;
pub use deal::{Code, HostTask};
pub(super) use proc::{mappings, resident_kib_of, smaps_kib};
pub use served::serve;
pub(super) use site::{LoadSite, terminate};
