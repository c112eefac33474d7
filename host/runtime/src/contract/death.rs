//! Why a message is not tried again.

/// Why a message will not be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The kind of the last failure.
    pub cause: Cause,
    /// What the handler or the host said about it.
    pub reason: String,
    /// What the handler wrote to standard error in the call that failed, as [`Handler::last_words`] has it. Empty if it
    /// wrote nothing, or no call failed.
    ///
    /// [`Handler::last_words`]: crate::ports::Handler::last_words
    pub stderr: String,
}

impl Death {
    /// One that no output of a handler belongs to.
    pub fn new(cause: Cause, reason: String) -> Self {
        Self { cause, reason, stderr: String::new() }
    }
}

/// The kind of a failure, as dead letters name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The handler rejected the message.
    Rejected,
    /// The handler asked for one more try than the workload allows.
    Retries,
    /// The last attempt trapped.
    Trapped,
    /// The last attempt took too long.
    Time,
    /// The last attempt needed too much memory.
    Memory,
    /// The last attempt answered what cannot be carried out.
    Effects,
    /// No instance could be made for the last attempt.
    Start,
    /// Delivered several times as often as the workload tries a message, and never finished: it may have killed its
    /// hosts.
    Exhausted,
    /// The client library cannot read the message's headers, so no handler was given it.
    Unreadable,
    /// A stream had another last message than the last attempt's publication expected.
    Conflict,
    /// It came through more workloads than its own allows: it goes round.
    Hops,
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::Rejected,
        Self::Retries,
        Self::Trapped,
        Self::Time,
        Self::Memory,
        Self::Effects,
        Self::Start,
        Self::Exhausted,
        Self::Unreadable,
        Self::Conflict,
        Self::Hops,
    ];

    /// The word that stands in a dead letter's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Rejected => "rejected",
            Cause::Retries => "retries",
            Cause::Trapped => "trapped",
            Cause::Time => "time",
            Cause::Memory => "memory",
            Cause::Effects => "effects",
            Cause::Start => "start",
            Cause::Exhausted => "exhausted",
            Cause::Unreadable => "unreadable",
            Cause::Conflict => "conflict",
            Cause::Hops => "hops",
        }
    }
}
