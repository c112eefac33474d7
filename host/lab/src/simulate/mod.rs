//! One workload as it would go: arrivals of a trace, workers that the real policy component decides about.
//!
//! Pure: what comes out depends on what goes in and on nothing else, on any machine. `docs/simulate.md` has the model.

pub mod arrivals;
mod bound;
pub mod chart;
pub mod generate;
mod keys;
mod outcome;
pub mod parse;
mod random;
mod recorded;
pub mod report;
mod run;
mod start_limits;
pub mod trace;
mod worker_pool;

pub use arrivals::Arrivals;
pub use bound::bound;
pub use keys::{KeyModel, KeySpread};
pub use outcome::{PARTS, SimulationOutcome, WaitPart, allowed};
pub use random::{Attempt, RandomAttempts, RetryModel, ServiceTime};
pub use recorded::recorded;
pub use run::MIDNIGHT_MS;
pub use run::{Model, run};

#[cfg(test)]
mod tests;
