//! The journal: every decision of a host with all that led to it, one JSON line each, so that it can be replayed.
//!
//! An `Entry` is handed over without waiting: a thread of its own makes the line and writes it. Where that does not
//! keep up, entries are dropped and counted, and the count is written as soon as there is room.

mod bounds;
mod entry;
mod excerpt;
mod file;
mod line;
mod read;
mod room;
mod trouble;
mod writer;

pub use bounds::PolicyBounds;
pub(crate) use entry::{Adoption, Entry, PolicyCall};
pub use entry::{Change, PlanLine, Role};
pub use excerpt::Excerpt;
pub use file::OpenError;
pub use line::{
    DecideLine, InitLine, JournalEvent, JournalFault, JournalLine, JournalState, JournaledDecision, PolicyName,
    STATES_WITHIN, STATES_WITHIN_LINES, VERSION, digest,
};
#[doc(hidden)]
pub use read::parse;
pub use read::{JournalError, JournalReader, Survey};
pub(crate) use room::ByteBudget;
pub(crate) use trouble::Trouble;
pub use writer::Journal;
pub(crate) use writer::JournalSink;
