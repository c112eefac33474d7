//! Calls that did not come back with an answer.

use std::time::Duration;

use super::Cause;

/// A call that did not come back with an answer. The instance it happened in is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The guest trapped: `unreachable`, a panic, a stack overflow, an index out of bounds.
    #[error("trapped: {0}")]
    Trap(String),
    /// The call took longer than the workload's `limits.time`.
    #[error("took longer than the {} that limits.time allows", humantime::format_duration(*.0))]
    Time(Duration),
    /// The guest wanted more memory than the workload's `limits.memory`, in bytes, and gave up.
    #[error("needed more than the {0} bytes of memory that limits.memory allows")]
    Memory(u64),
    /// The guest wanted more table elements than the workload's `limits.table-elements`, and trapped.
    #[error("needed more than the {limit} table elements that limits.table-elements allows: {trap}")]
    Table {
        /// The limit.
        limit: u64,
        /// What the trap was.
        trap: String,
    },
    /// A policy ran through its `limits.fuel`.
    #[error("used up the fuel of {0} that limits.fuel allows")]
    Fuel(u64),
    /// The guest wanted to hand over more bytes at once than the workload's `limits.response`.
    #[error("handed over more than the {0} bytes that limits.response allows")]
    Response(u64),
    /// The handler answered with more publications than the workload's `limits.publications`.
    #[error("answered with {publications} publications, and limits.publications is {limit}")]
    Publications {
        /// How many there were.
        publications: usize,
        /// The limit.
        limit: usize,
    },
    /// A handler of batches answered with another number of results than it was given deliveries.
    #[error("answered with {answers} results to a batch of {deliveries} deliveries")]
    Answers {
        /// How many results there were.
        answers: usize,
        /// How many deliveries.
        deliveries: usize,
    },
    /// The guest answered something that cannot be carried out.
    #[error("answered what cannot be carried out: {0}")]
    Answer(String),
    /// No instance could be made.
    #[error("did not start: {0}")]
    Start(String),
    /// This process has no room for an instance. No guest is to blame.
    #[error("found no room: {0}")]
    Room(String),
}

/// The kind of a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// [`Fault::Trap`]
    Trap,
    /// [`Fault::Time`]
    Time,
    /// [`Fault::Memory`]
    Memory,
    /// [`Fault::Table`]
    Table,
    /// [`Fault::Fuel`]
    Fuel,
    /// [`Fault::Response`]
    Response,
    /// [`Fault::Publications`]
    Publications,
    /// [`Fault::Answer`] and [`Fault::Answers`]
    Answer,
    /// [`Fault::Start`] and [`Fault::Room`]
    Start,
}

impl FaultKind {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Trap,
        Self::Time,
        Self::Memory,
        Self::Table,
        Self::Fuel,
        Self::Response,
        Self::Publications,
        Self::Answer,
        Self::Start,
    ];

    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Time => "time",
            Self::Memory => "memory",
            Self::Table => "table",
            Self::Fuel => "fuel",
            Self::Response => "response",
            Self::Publications => "publications",
            Self::Answer => "answer",
            Self::Start => "start",
        }
    }

    /// The key in `limits` that says how much is allowed, if it is a limit that the guest ran into.
    pub(crate) fn limit(self) -> Option<&'static str> {
        match self {
            Self::Table => Some("table-elements"),
            Self::Time | Self::Memory | Self::Fuel | Self::Response | Self::Publications => Some(self.as_str()),
            Self::Trap | Self::Answer | Self::Start => None,
        }
    }
}

impl Fault {
    /// Its kind.
    pub fn kind(&self) -> FaultKind {
        match self {
            Fault::Trap(_) => FaultKind::Trap,
            Fault::Time(_) => FaultKind::Time,
            Fault::Memory(_) => FaultKind::Memory,
            Fault::Table { .. } => FaultKind::Table,
            Fault::Fuel(_) => FaultKind::Fuel,
            Fault::Response(_) => FaultKind::Response,
            Fault::Publications { .. } => FaultKind::Publications,
            Fault::Answer(_) | Fault::Answers { .. } => FaultKind::Answer,
            Fault::Start(_) | Fault::Room(_) => FaultKind::Start,
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        match self {
            Fault::Trap(_) => Cause::Trapped,
            Fault::Time(_) | Fault::Fuel(_) => Cause::Time,
            Fault::Memory(_) | Fault::Table { .. } => Cause::Memory,
            Fault::Answer(_) | Fault::Answers { .. } | Fault::Response(_) | Fault::Publications { .. } => {
                Cause::Effects
            }
            Fault::Start(_) | Fault::Room(_) => Cause::Start,
        }
    }
}
