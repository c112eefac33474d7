//! One workload as it would go: arrivals of a trace, workers that the real policy component decides about.
//!
//! Pure: what comes out depends on what goes in and on nothing else, on any machine. `docs/simulate.md` has the model.

pub mod arrivals;
mod bound;
pub mod chart;
mod coming;
pub mod generate;
mod given_file;
mod key_turns;
mod keys;
mod outage;
mod outage_row;
mod outcome;
pub mod parse;
mod places;
mod random;
mod recorded;
mod redeliveries;
pub mod report;
mod run;
mod start_limits;
pub mod trace;
mod waits;
mod worker_pool;

pub use arrivals::Arrivals;
pub use bound::bound;
pub use given_file::text_of;
pub use keys::{KeyModel, KeySpread};
pub use outage::Outage;
pub use outcome::{OutageOutcome, PARTS, SimulationOutcome, WaitPart, allowed};
pub use random::{Attempt, RandomAttempts, RetryModel, ServiceTime};
pub use recorded::recorded;
pub use run::MIDNIGHT_MS;
pub use run::{Model, run};

#[cfg(test)]
mod tests;
